//! Releases on a transparency log. The core (statements, notes, tiles, proofs) is bytes in, values out; files and the
//! network are at the edges.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

mod base64;
pub mod dsse;
pub mod keys;
pub mod statement;
