//! What the agent and its helper say to each other on `/run/agent/attest.sock` (docs/formats.md, "Attestation helper"), and the
//! helper itself.
//!
//! The helper alone can have reports made, and it makes one kind: the report of a session, over the two hashes it is asked
//! with, which it puts under their label itself. Whoever takes the agent over gets no report of anything else. It also
//! reads what the host gives on its ports (docs/formats.md, "Ports") and hands it on unread.
//!
//! ```
//! use attest::{Request, Answer, Failure};
//! use measure::Sha256;
//!
//! let request = Request::Report { handshake: Sha256::of(b"transcript"), statement: Sha256::of(b"statement") };
//! assert_eq!(Request::parse(&request.to_bytes()), Ok(request));
//! let answer = Answer::Failed(Failure::Busy);
//! assert_eq!(Answer::parse(&answer.to_bytes()?), Ok(answer));
//! # Ok::<(), attest::Malformed>(())
//! ```

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]

mod client;
pub mod frame;
pub mod log;
mod port;
mod processor;
mod protocol;
mod rate;
pub mod server;
mod tsm;

pub use channel::evidence::{Kind, MAX_OPERATOR, MAX_REPORT};
pub use channel::feed::MAX_FEED;
pub use client::{AskError, Report, feed, operator, report};
pub use port::open;
pub use protocol::{Answer, Failure, HEAD, Head, Malformed, REQUEST, Request, SOCKET};
pub use rate::Rate;
