//! What is in a message of a session: some content, perhaps a mark after it, and zeros.

use crate::noise::{TAG, Transport};
use crate::shape::Shaping;
use crate::{Content, Error};
use core::time::Duration;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Bytes before a record's data: its type and, big-endian, its length.
pub(crate) const HEAD: usize = 3;
/// Bytes of the data of the record that ends a request or a reply.
const END: usize = 1 + 8 + 32;
/// What each message has less room for than its size, and what a request takes once.
pub(crate) const PER_MESSAGE: usize = TAG + HEAD;
pub(crate) const ONCE: usize = HEAD + END;

const DATA_TYPE: u8 = 1;
const END_TYPE: u8 = 2;
const CANCEL_TYPE: u8 = 3;
const BYE_TYPE: u8 = 4;

/// How a reply ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is whole.
    Complete,
    /// The client had enough.
    Cancelled,
    /// The server could not go on.
    Failed,
}

impl Outcome {
    fn to_byte(self) -> u8 {
        match self {
            Self::Complete => 0,
            Self::Cancelled => 1,
            Self::Failed => 2,
        }
    }
}

/// What can follow the content of a message.
pub enum Mark {
    /// The request or reply is over; this was all of it.
    End {
        /// How it ended.
        outcome: Outcome,
        /// The length of all of it, big-endian, and its SHA-256.
        sum: [u8; 40],
    },
    /// The client has enough.
    Cancel,
    /// There will be no more messages.
    Bye,
}

/// A message's plaintext, taken apart.
pub struct Message<'a> {
    /// Some more of the request or reply.
    pub content: &'a [u8],
    /// What follows it.
    pub mark: Option<Mark>,
}

impl<'a> Message<'a> {
    /// Takes a plaintext apart.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn parse(plaintext: &'a [u8]) -> Result<Self, Error> {
        let (kind, data, rest) = record(plaintext)?;
        let (content, (kind, data, rest)) = match kind {
            DATA_TYPE if !data.is_empty() => (data, record(rest)?),
            _ => (&[][..], (kind, data, rest)),
        };
        let mark = match kind {
            0 => None,
            END_TYPE => {
                let (outcome, sum) = data.split_first().ok_or(Error::Broken)?;
                let outcomes = [Outcome::Complete, Outcome::Cancelled, Outcome::Failed];
                let outcome = outcomes.into_iter().find(|known| known.to_byte() == *outcome).ok_or(Error::Broken)?;
                Some(Mark::End { outcome, sum: sum.try_into().map_err(|_| Error::Broken)? })
            }
            CANCEL_TYPE if data.is_empty() => Some(Mark::Cancel),
            BYE_TYPE if data.is_empty() => Some(Mark::Bye),
            _ => return Err(Error::Broken),
        };
        let padded = rest.iter().all(|byte| *byte == 0);
        padded.then_some(Self { content, mark }).ok_or(Error::Broken)
    }

    /// Whether it is nothing but padding.
    pub(crate) fn is_empty(&self) -> bool {
        self.content.is_empty() && self.mark.is_none()
    }
}

/// The first record's type and data, and what follows it. Type 0 is the padding, which has no length.
fn record(plaintext: &[u8]) -> Result<(u8, &[u8], &[u8]), Error> {
    match plaintext {
        [] | [0, ..] => Ok((0, &[], plaintext)),
        [kind, high, low, rest @ ..] => {
            let length = u16::from_be_bytes([*high, *low]);
            let (data, rest) = rest.split_at_checked(length.into()).ok_or(Error::Broken)?;
            Ok((*kind, data, rest))
        }
        _ => Err(Error::Broken),
    }
}

/// The length and hash of what was said so far. They end it, so a reply is whole or it has not ended.
pub(crate) struct Sum {
    length: u64,
    hash: Sha256,
}

impl Sum {
    pub(crate) fn new() -> Self {
        Self { length: 0, hash: Sha256::new() }
    }

    pub(crate) fn add(&mut self, content: &[u8]) {
        self.length = self.length.saturating_add(content.len() as u64);
        self.hash.update(content);
    }

    pub(crate) fn length(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    fn to_bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let hash = self.hash.clone().finalize();
        let parts = self.length.to_be_bytes().into_iter().chain(hash);
        bytes.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    /// Whether `sum` is this one.
    pub(crate) fn is(&self, sum: &[u8; 40]) -> bool {
        self.to_bytes().ct_eq(sum).into()
    }
}

/// A message that is being written.
pub(crate) struct Draft {
    plaintext: Content,
    room: usize,
}

impl Draft {
    /// For a message that has `size` bytes when it is sealed.
    pub(crate) fn new(size: usize) -> Self {
        Self { plaintext: Content::with_capacity(size), room: size.saturating_sub(TAG) }
    }

    /// How many bytes of data a further record could have.
    fn room(&self) -> Option<usize> {
        self.room.checked_sub(self.plaintext.len())?.checked_sub(HEAD)
    }

    fn record(&mut self, kind: u8, data: &[u8]) -> bool {
        let length = u16::try_from(data.len()).ok().filter(|_| self.room().is_some_and(|room| data.len() <= room));
        let Some(length) = length else { return false };
        self.plaintext.append(&[kind]);
        self.plaintext.append(&length.to_be_bytes());
        self.plaintext.append(data);
        true
    }

    /// Takes as much of `content` as there is room for; says what is left. To be called once, before any mark.
    pub(crate) fn content<'a>(&mut self, content: &'a [u8]) -> &'a [u8] {
        let (now, later) = content.split_at_checked(self.room().unwrap_or(0)).unwrap_or((content, &[]));
        if now.is_empty() || self.record(DATA_TYPE, now) { later } else { content }
    }

    /// Ends the request or reply, if there is room.
    pub(crate) fn end(&mut self, outcome: Outcome, sum: &Sum) -> bool {
        let mut data = [0; END];
        let parts = [outcome.to_byte()].into_iter().chain(sum.to_bytes());
        data.iter_mut().zip(parts).for_each(|(byte, part)| *byte = part);
        self.record(END_TYPE, &data)
    }

    /// A message of this alone.
    pub(crate) fn cancel(size: usize) -> Self {
        let mut draft = Self::new(size);
        draft.record(CANCEL_TYPE, &[]);
        draft
    }

    /// A message of this alone.
    pub(crate) fn bye(size: usize) -> Self {
        let mut draft = Self::new(size);
        draft.record(BYE_TYPE, &[]);
        draft
    }
}

/// One side's end of a session: the keys, until it is over, and what is the same for both.
pub(crate) struct Line {
    transport: Option<Transport>,
    pub(crate) shaping: Shaping,
    started: Duration,
    /// Messages so far.
    pub(crate) received: u64,
}

impl Line {
    pub(crate) fn new(transport: Transport, shaping: Shaping, started: Duration) -> Self {
        Self { transport: Some(transport), shaping, started, received: 0 }
    }

    /// When the session is over, whatever happens.
    pub(crate) fn expires(&self) -> Duration {
        self.started.saturating_add(crate::MAX_AGE)
    }

    /// Wipes the keys.
    pub(crate) fn end(&mut self) {
        self.transport = None;
    }

    /// Wipes the keys if the session is too old.
    ///
    /// # Errors
    /// When it is over.
    pub(crate) fn check(&mut self, now: Duration) -> Result<(), Error> {
        if now >= self.expires() {
            self.end();
        }
        self.transport.as_ref().map(|_| ()).ok_or(Error::Over)
    }

    /// Wipes the keys if `result` says that the other side broke the protocol.
    pub(crate) fn judge<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        if matches!(result, Err(Error::Broken)) {
            self.end();
        }
        result
    }

    pub(crate) fn seal(&mut self, mut draft: Draft) -> Result<Vec<u8>, Error> {
        if self.shaping.pads() {
            let padding = draft.room.saturating_sub(draft.plaintext.len());
            draft.plaintext.append_zeros(padding);
        }
        self.transport.as_mut().ok_or(Error::Over)?.seal(draft.plaintext)
    }

    pub(crate) fn open(&mut self, message: &[u8]) -> Result<Content, Error> {
        self.received = self.received.saturating_add(1);
        if !self.shaping.admits(message.len()) || self.received > crate::MAX_MESSAGES {
            return Err(Error::Broken);
        }
        self.transport.as_mut().ok_or(Error::Over)?.open(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(plaintext: &[u8]) -> Option<(Vec<u8>, Option<&'static str>)> {
        let message = Message::parse(plaintext).ok()?;
        let mark = message.mark.map(|mark| match mark {
            Mark::End { outcome: Outcome::Complete, .. } => "complete",
            Mark::End { outcome: Outcome::Cancelled, .. } => "cancelled",
            Mark::End { outcome: Outcome::Failed, .. } => "failed",
            Mark::Cancel => "cancel",
            Mark::Bye => "bye",
        });
        Some((message.content.to_vec(), mark))
    }

    #[test]
    fn content_then_a_mark_then_zeros() {
        let end = |outcome| [&[2, 0, 41, outcome], &[7; 40][..]].concat();
        assert_eq!(parsed(&[]), Some((vec![], None)));
        assert_eq!(parsed(&[0; 9]), Some((vec![], None)));
        assert_eq!(parsed(&[1, 0, 2, 8, 9]), Some((vec![8, 9], None)));
        assert_eq!(parsed(&[1, 0, 1, 8, 3, 0, 0, 0]), Some((vec![8], Some("cancel"))));
        assert_eq!(parsed(&[4, 0, 0]), Some((vec![], Some("bye"))));
        assert_eq!(parsed(&[&[1, 0, 1, 8][..], &end(0), &[0]].concat()), Some((vec![8], Some("complete"))));
        assert_eq!(parsed(&end(1)), Some((vec![], Some("cancelled"))));
        assert_eq!(parsed(&end(2)), Some((vec![], Some("failed"))));
        for refused in [
            &[0, 1][..],
            &[1, 0, 0],
            &[1, 0, 1],
            &[1, 0],
            &[5, 0, 0],
            &[3, 0, 1, 0],
            &[4, 0, 1, 0],
            &[3, 0, 0, 4, 0, 0],
            &[3, 0, 0, 1, 0, 1, 8],
            &[1, 0, 1, 8, 1, 0, 1, 8],
            &[1, 0, 1, 8, 0, 1],
            &end(3),
            &[2, 0, 0],
            &[&[2, 0, 40][..], &[0; 40]].concat(),
            &[&[2, 0, 42][..], &[0; 42]].concat(),
        ] {
            assert_eq!(parsed(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn a_draft_takes_what_it_has_room_for() {
        let mut draft = Draft::new(256);
        assert_eq!(draft.content(&[7; 300]).len(), 300 - 237);
        assert!(!draft.end(Outcome::Complete, &Sum::new()));
        assert_eq!(draft.plaintext.len(), 240);
        let mut draft = Draft::new(256);
        assert!(draft.content(&[7; 237 - ONCE]).is_empty());
        assert!(draft.end(Outcome::Complete, &Sum::new()));
        assert_eq!(draft.plaintext.len(), 240);
        let mut draft = Draft::new(256);
        assert!(draft.content(&[7; 238 - ONCE]).is_empty());
        assert!(!draft.end(Outcome::Complete, &Sum::new()));
    }

    #[test]
    fn a_sum_is_of_all_that_was_said() {
        let (mut whole, mut parts) = (Sum::new(), Sum::new());
        whole.add(b"ab");
        parts.add(b"a");
        assert!(!whole.is(&parts.to_bytes()));
        parts.add(b"b");
        assert!(whole.is(&parts.to_bytes()));
        assert_eq!(whole.length(), 2);
    }
}
