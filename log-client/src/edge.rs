//! Where the core meets files and the network: the log in a directory, its checks, and what is served.
//!
//! - [`directory`]: reading any tlog-tiles directory.
//! - [`fsck`]: rehashing one to its signed root.
//! - [`log`]: our own log: adding entries, signing, publishing.
//! - [`copy`]: a copy of any log, which only grows.
//! - [`rules`]: what its owner has laid down: root keys, mirrors, witnesses.
//! - [`feed`]: what travels with evidence.
//! - [`cosign`]: getting checkpoints cosigned.
//! - [`witness`]: cosigning those of others.
//! - [`serve`]: a log's files over HTTP.

pub mod copy;
pub mod cosign;
pub mod directory;
mod durable;
pub mod feed;
pub mod fsck;
mod http;
mod index;
pub mod log;
pub mod rules;
pub mod serve;
mod source;
pub mod witness;
