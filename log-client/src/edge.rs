//! Where the core meets files and the network: the log in a directory, its checks, and what is served.
//!
//! - [`directory`]: reading any tlog-tiles directory.
//! - [`fsck`]: rehashing one to its signed root.
//! - [`log`]: our own log: adding entries, signing, publishing.

pub mod directory;
mod durable;
pub mod fsck;
pub mod log;
