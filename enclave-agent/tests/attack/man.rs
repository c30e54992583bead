//! What a man in the middle does to one message of a session.

use crate::peer::{Man, Way};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Passes on half of it.
    Truncate,
    /// Turns one bit of it.
    Change,
    /// Keeps it.
    Withhold,
    /// Passes it on twice.
    Replay,
    /// Passes on the next one before it.
    Reorder,
    /// Passes on one of its own before it.
    Inject,
    /// Passes on very many of its own before it.
    Flood,
    /// Passes on the first message of this way in its place.
    Substitute,
}

pub(crate) const ACTS: [Act; 8] =
    [Act::Truncate, Act::Change, Act::Withhold, Act::Replay, Act::Reorder, Act::Inject, Act::Flood, Act::Substitute];

/// Messages of a flood.
const MANY: usize = 2000;

/// Who does `act` to message `number` that goes `way`, and says so in `done`.
pub(crate) fn man(way: Way, number: usize, act: Act, done: &Arc<AtomicBool>) -> Man {
    let (done, mut passed, mut first, mut kept) = (Arc::clone(done), 0, None, None);
    Box::new(move |going, message| {
        if going != way {
            return vec![message];
        }
        let at = passed;
        passed += 1;
        let first = first.get_or_insert_with(|| message.clone());
        if let Some(kept) = kept.take() {
            done.store(true, Ordering::Relaxed);
            return vec![message, kept];
        }
        if at != number {
            return vec![message];
        }
        if act == Act::Reorder {
            kept = Some(message);
            return Vec::new();
        }
        done.store(act != Act::Substitute || *first != message, Ordering::Relaxed);
        let junk = vec![0x5a; message.len()];
        match act {
            Act::Truncate => vec![message[..message.len() / 2].to_vec()],
            Act::Change => {
                let mut changed = message;
                let at = changed.len() / 2;
                changed[at] ^= 1;
                vec![changed]
            }
            Act::Withhold => Vec::new(),
            Act::Replay => vec![message.clone(), message],
            Act::Inject => vec![junk, message],
            Act::Flood => vec![junk; MANY].into_iter().chain([message]).collect(),
            Act::Substitute => vec![first.clone()],
            Act::Reorder => unreachable!("it was kept"),
        }
    })
}
