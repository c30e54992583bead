//! The attested session between a client and the guest: handshake, evidence, requests and replies. Both sides of it;
//! messages in, messages out, no sockets, no clock, no randomness of its own.
//!
//! What a client gets is a session with whoever made the report, or nothing: the report is over the hash of this very
//! handshake, so neither a stolen static key nor another genuine guest can stand in the middle. What the report is worth
//! is not known here; [`client::Unverified::judge`] asks the caller. `docs/formats.md`, "Session", has every byte.
//!
//! A client reads like this; there is no other way from one line to the next:
//!
//! ```
//! use channel::{Error, Seed, Shaping, client};
//! # use channel::client::Unverified;
//! # struct Accepted; struct Rejected;
//! # fn verdict(_: &channel::Evidence) -> Result<Accepted, Rejected> { Ok(Accepted) }
//! # fn converse(seed: Seed, now: core::time::Duration, exchange: fn(Vec<u8>) -> Vec<u8>) -> Result<(), Error> {
//! let (hello, m1) = client::Hello::new(seed, Shaping::Paced)?;
//! let (connected, m3) = hello.finish(&exchange(m1), now)?;
//! let unverified = connected.evidence(&exchange(m3))?;
//! let Ok(mut session) = unverified.judge(verdict) else { return Ok(()) };
//! for message in session.request(b"what is the user's goes here, and nowhere before", now)? {
//!     exchange(message);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Without a verdict there is no session to send with:
//!
//! ```compile_fail,E0599
//! # use core::time::Duration;
//! fn too_early(mut unverified: channel::client::Unverified) {
//!     let _ = unverified.request(b"secret", Duration::ZERO);
//! }
//! ```
//!
//! ```compile_fail,E0599
//! # use core::time::Duration;
//! fn before_the_evidence(mut connected: channel::client::Connected) {
//!     let _ = connected.request(b"secret", Duration::ZERO);
//! }
//! ```
//!
//! A verdict is about one session and is used up by it:
//!
//! ```compile_fail,E0382
//! fn twice(unverified: channel::client::Unverified) {
//!     let first = unverified.judge(|_| Ok::<(), ()>(()));
//!     let second = unverified.judge(|_| Ok::<(), ()>(()));
//! }
//! ```
//!
//! A session says by whose verdict it is one, so a program that asks for its verifier's type gets no other's:
//!
//! ```compile_fail,E0308
//! struct Accepted(());
//! fn chat(session: channel::client::Verified<Accepted>) {}
//! fn believes_anything(unverified: channel::client::Unverified) {
//!     if let Ok(session) = unverified.judge(|_| Ok::<(), ()>(())) {
//!         chat(session);
//!     }
//! }
//! ```
//!
//! Nobody makes one, and nobody prints what is said in it:
//!
//! ```compile_fail,E0451
//! fn forged(session: channel::client::Verified<u8>) -> channel::client::Verified<u8> {
//!     channel::client::Verified { acceptance: 1, ..session }
//! }
//! ```
//!
//! ```compile_fail,E0277
//! fn logged(content: channel::Content) {
//!     let _ = format!("{content:?}");
//! }
//! ```

#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used))]
#![cfg_attr(not(test), warn(clippy::expect_used, clippy::panic))]

pub mod batch;
mod cbor;
pub mod client;
pub mod evidence;
pub mod feed;
mod noise;
pub mod operator;
pub mod receipt;
pub mod record;
pub mod server;
pub mod shape;
pub mod statement;

pub use evidence::{Binding, Evidence};
pub use noise::{M1, M2, M3, Seed};
pub use operator::Operator;
pub use record::Outcome;
pub use shape::Shaping;
pub use statement::KeyStatement;

use core::ops::{Deref, DerefMut};
use core::time::Duration;
use zeroize::Zeroize as _;

/// Where a guest serves sessions: the path of its WebSocket.
pub const PATH: &str = "/session";
/// What is spoken on it: its subprotocol.
pub const SUBPROTOCOL: &str = "vitrine.v1";
/// How long a session may last. There is no rekeying: Noise's gives nothing that a new handshake does not give better.
pub const MAX_AGE: Duration = Duration::from_secs(60 * 60);
/// Requests in a session.
pub const MAX_REQUESTS: u32 = 1000;
/// Bytes of a request.
pub const MAX_REQUEST: usize = 1 << 20;
/// Bytes of a reply.
pub const MAX_REPLY: usize = 4 << 20;
/// Messages that one side of a session may send, and so the number of those that can be nothing but padding.
pub const MAX_MESSAGES: u64 = 1 << 20;

/// Why nothing comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What came is not what the protocol has next. The session is over and its keys are gone. There is deliberately no
    /// more to say: an answer to what was wrong helps only who tries.
    #[error("the session is broken")]
    Broken,
    /// The session was ended by one side, or has reached its age or its number of requests.
    #[error("the session is over")]
    Over,
    /// A request or reply is not over yet, or there is none. Nothing has changed.
    #[error("it is not the time for this")]
    Untimely,
    /// What was to be sent is too long. Nothing has changed.
    #[error("expected at most {limit} bytes, found {found}")]
    TooLong {
        /// What would do.
        limit: usize,
        /// What there is.
        found: usize,
    },
}

/// What people say to each other: wiped when it is dropped, and not printed.
pub struct Content(Vec<u8>);

impl Content {
    fn zeroed(length: usize) -> Self {
        Self(vec![0; length])
    }

    /// No content, with room for `capacity` bytes that never moves them.
    fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Appends `bytes`, and leaves no copy behind where there was no room.
    fn append(&mut self, bytes: &[u8]) {
        let length = self.0.len().saturating_add(bytes.len());
        if length > self.0.capacity() {
            let mut roomier = Vec::with_capacity(length.max(self.0.capacity().saturating_mul(2)));
            roomier.extend_from_slice(&self.0);
            self.0.zeroize();
            self.0 = roomier;
        }
        self.0.extend_from_slice(bytes);
    }

    fn append_zeros(&mut self, count: usize) {
        let length = self.0.len().saturating_add(count);
        debug_assert!(length <= self.0.capacity(), "zeros are only for messages, which know their size");
        self.0.resize(length, 0);
    }

    /// Wipes it and keeps the room.
    fn clear(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.clear();
    }
}

impl Deref for Content {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for Content {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Content {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
