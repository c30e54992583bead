//! What a client believes, and why: the policy, the evidence bundle and the verdict. Bytes in, values out: no I/O, no
//! clock, no processes.

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

pub mod appraise;
pub mod bundle;
mod collateral;
mod log;
pub mod memory;
mod operator;
pub mod policy;
mod release;
pub mod session;
pub mod verdict;

pub use appraise::{Request, appraise};
pub use bundle::Bundle;
pub use memory::Memory;
pub use policy::Policy;
pub use verdict::Verdict;
