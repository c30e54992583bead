//! What the hardware will measure, computed in advance: digests, dm-verity, the SEV-SNP launch digest and the
//! guest's command line. Bytes in, values out: no I/O, no clock, no processes.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

#[cfg(feature = "appraise")]
pub mod appraise;
pub mod cmdline;
pub mod digest;
pub mod guid;
pub mod snp;
#[cfg(feature = "tdx")]
pub mod tdx;
pub mod verity;

pub use digest::{Digest, ParseDigestError, Sha1, Sha256, Sha384};
