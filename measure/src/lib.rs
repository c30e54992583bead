//! What the hardware will measure, computed in advance: digests, dm-verity, the SEV-SNP launch digest and the
//! guest's command line. Bytes in, values out: no I/O, no clock, no processes.

pub mod cmdline;
pub mod digest;

pub use digest::{Digest, ParseDigestError, Sha1, Sha256, Sha384};
