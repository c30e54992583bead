//! Releases on a transparency log. The core (statements, notes, tiles, proofs) is bytes in, values out; files and the
//! network are at the edges.
//!
//! What a verified proof shows: an entry is in a tree whose root a log has signed and so many witnesses, each of which
//! has only ever seen this tree grow, have signed as well. It does not show that the entry is true, or that nothing
//! newer exists.
//!
//! ```
//! use log_client::{Policy, Proof, SplitView};
//!
//! # fn offline(entry: &[u8], proof: &[u8], policy: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
//! let policy = Policy::parse(policy, SplitView::Refused)?;
//! let accepted = Proof::parse(proof)?.verify(entry, &policy)?;
//! println!("in {} as of {:?}", accepted.checkpoint.origin, accepted.as_of);
//! # Ok(())
//! # }
//! ```

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

mod base64;
pub mod bundle;
pub mod checkpoint;
pub mod cosignature;
pub mod dsse;
#[cfg(feature = "edges")]
pub mod edge;
mod encoding;
pub mod feed;
pub mod fleet;
pub mod keys;
pub mod lifecycle;
pub mod merkle;
pub mod monitor;
pub mod note;
pub mod parts;
pub mod policy;
pub mod proof;
pub mod rekor;
pub mod sigstore;
pub mod statement;
pub mod tail;
pub mod tile;
pub mod tree;
pub mod witness;

pub use checkpoint::{Checkpoint, SignedCheckpoint};
pub use feed::Feed;
pub use note::{Note, Signer, VerifierKey};
pub use policy::{Accepted, Policy, SplitView};
pub use proof::Proof;
