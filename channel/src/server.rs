//! The server's side: [`Hello`], [`Attesting`], [`Session`]; and the keys it is known by, [`Identity`].

use crate::evidence::{self, Attestation};
use crate::noise::{DhKeys, KemKeys, Responder, Transport, static_keys};
use crate::record::{Draft, Line, Mark, Message, ONCE, PER_MESSAGE, Sum};
use crate::shape::{Bucket, INTERVAL, LARGEST, SIZES, SLOT, next_slot, rounded};
use crate::{Content, Error, KeyStatement, MAX_REPLY, MAX_REQUEST, MAX_REQUESTS, Outcome, Seed, Shaping};
use core::time::Duration;
use ed25519_dalek::SigningKey;
use measure::verity::VerityRoot;
use measure::{Digest, Sha256};
use std::collections::BTreeSet;

/// What a key statement says beside keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// Drawn at each boot.
    pub boot_id: [u8; 16],
    /// Counts the sets of keys since boot, from 0.
    pub epoch: u64,
    /// The verity roots of the models that are served.
    pub models: BTreeSet<VerityRoot>,
    /// SHA-256 of the operator document, if there is one.
    pub operator: Option<Sha256>,
}

/// A set of static keys and the statement about them. They are to be replaced after an hour or 1000 sessions.
pub struct Identity {
    dh: DhKeys,
    kem: KemKeys,
    receipts: SigningKey,
    statement: Vec<u8>,
    digest: Sha256,
}

impl Identity {
    /// Makes new keys.
    ///
    /// # Errors
    /// [`Error::TooLong`] when there are too many models.
    pub fn new(seed: Seed, about: About) -> Result<Self, Error> {
        let mut stream = seed.into_stream();
        let (dh, kem) = static_keys(&mut stream).ok_or(Error::Broken)?;
        let receipts = SigningKey::from_bytes(&*stream.bytes().map_err(|_| Error::Broken)?);
        let About { boot_id, epoch, models, operator } = about;
        let (x25519, ml_kem, verifying) = (dh.public, kem.public, receipts.verifying_key().to_bytes());
        let statement =
            KeyStatement { x25519, ml_kem, receipts: verifying, boot_id, epoch, models, operator }.to_bytes()?;
        let digest = Sha256::of(&statement);
        Ok(Self { dh, kem, receipts, statement, digest })
    }

    /// The key statement's bytes.
    pub fn statement(&self) -> &[u8] {
        &self.statement
    }

    /// What the key statement is known by.
    pub fn statement_digest(&self) -> Sha256 {
        self.digest
    }

    /// The key that signs receipts.
    pub(crate) fn receipts(&self) -> &SigningKey {
        &self.receipts
    }
}

/// A handshake that waits for the client to show that it can read.
pub struct Hello {
    handshake: Responder,
    shaping: Shaping,
    identity: (Vec<u8>, Sha256),
}

impl Hello {
    /// Answers a client: the message to send, of [`M2`](crate::M2) bytes. This is what costs time; whoever serves limits
    /// how often.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn answer(identity: &Identity, seed: Seed, m1: &[u8]) -> Result<(Self, Vec<u8>), Error> {
        let (handshake, shaping, m2) = Responder::answer(&identity.dh, &identity.kem, seed, m1)?;
        let shaping = Shaping::from_byte(shaping).ok_or(Error::Broken)?;
        Ok((Self { handshake, shaping, identity: (identity.statement.clone(), identity.digest) }, m2))
    }

    /// Takes the client's second message at time `now`, from when the session counts. `now` is here and everywhere the
    /// time since a point of the caller's choice, of a clock that never goes back.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn finish(self, m3: &[u8], now: Duration) -> Result<Attesting, Error> {
        let transport = self.handshake.finish(m3)?;
        Ok(Attesting { transport, shaping: self.shaping, started: now, identity: self.identity })
    }
}

/// A session that waits for a report.
pub struct Attesting {
    transport: Transport,
    shaping: Shaping,
    started: Duration,
    identity: (Vec<u8>, Sha256),
}

impl Attesting {
    /// The handshake hash, for whoever has the report made and computes what it says by itself.
    pub fn handshake(&self) -> Sha256 {
        self.transport.hash()
    }

    /// The digest of the key statement, for the same.
    pub fn statement_digest(&self) -> Sha256 {
        self.identity.1
    }

    /// What the report must say, or the [batch](crate::batch::batch) that it is of.
    pub fn report_data(&self) -> Digest<64> {
        evidence::report_data(&self.handshake(), &self.identity.1)
    }

    /// Sends the evidence: the message, of [`evidence::MESSAGE`] bytes, and the session.
    ///
    /// # Errors
    /// [`Error::TooLong`].
    pub fn attest(mut self, attestation: &Attestation<'_>) -> Result<(Session, Vec<u8>), Error> {
        let plaintext = attestation.plaintext(&self.identity.0)?;
        let message = self.transport.seal(Content(plaintext))?;
        let line = Line::new(self.transport, self.shaping, self.started);
        Ok((Session { line, state: State::Idle, requests: 0 }, message))
    }
}

/// A session in which a client may ask, one thing at a time.
pub struct Session {
    line: Line,
    state: State,
    requests: u32,
}

enum State {
    Idle,
    Asked(Request),
    Replying(Reply),
}

/// The request that is being received.
struct Request {
    content: Content,
    sum: Sum,
    /// Bytes of each of its messages, and how many there were.
    size: usize,
    count: usize,
    /// How many there will be, from when its end is known.
    until: Option<usize>,
}

/// The reply that is being sent.
struct Reply {
    /// What was written, of which the first `sent` bytes are sent.
    queue: Content,
    sent: usize,
    /// Of everything sent.
    sum: Sum,
    outcome: Option<Outcome>,
    cancelled: bool,
    pace: Option<Pace>,
}

/// When the messages of a reply go out.
struct Pace {
    start: Duration,
    due: Duration,
    /// Messages so far.
    slots: u32,
    /// How many there will be, from when the end was sent.
    until: Option<u32>,
}

/// What a message from the client means.
pub enum Received {
    /// Nothing, yet.
    Nothing,
    /// A whole request, which now waits for its reply.
    Request(Content),
    /// The client has enough of the reply, which is now to be [finished](Session::finish).
    Cancel,
    /// The client has ended the session.
    Over,
}

impl Session {
    /// When the session is over.
    pub fn expires(&self) -> Duration {
        self.line.expires()
    }

    /// How the client wants its messages.
    pub fn shaping(&self) -> Shaping {
        self.line.shaping
    }

    /// Whether no request or reply is under way.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether a request has begun to come and is not whole yet.
    pub fn is_receiving(&self) -> bool {
        matches!(self.state, State::Asked(_))
    }

    /// Bytes of requests and replies that are held for this session, for limits on all of them together.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Idle => 0,
            State::Asked(request) => request.content.len(),
            State::Replying(reply) => reply.queue.len(),
        }
    }

    /// Takes a message of the client's.
    ///
    /// # Errors
    /// [`Error::Broken`] and [`Error::Over`].
    pub fn receive(&mut self, message: &[u8], now: Duration) -> Result<Received, Error> {
        self.line.check(now)?;
        let received = self.take(message, now);
        self.line.judge(received)
    }

    fn take(&mut self, message: &[u8], now: Duration) -> Result<Received, Error> {
        let plaintext = self.line.open(message)?;
        let parsed = Message::parse(&plaintext)?;
        let beat = self.line.shaping == Shaping::Paced && message.len() == SLOT && parsed.is_empty();
        match (&mut self.state, &parsed) {
            // A cancel that has crossed the end of the reply comes to nothing, too.
            (State::Idle, Message { content: [], mark: Some(Mark::Cancel) }) => return Ok(Received::Nothing),
            (State::Idle, Message { content: [], mark: Some(Mark::Bye) }) => {
                self.line.end();
                return Ok(Received::Over);
            }
            (State::Idle | State::Replying(_), _) if beat => return Ok(Received::Nothing),
            (State::Replying(reply), Message { content: [], mark: Some(Mark::Cancel) }) => {
                let news = !core::mem::replace(&mut reply.cancelled, true) && reply.outcome.is_none();
                return Ok(if news { Received::Cancel } else { Received::Nothing });
            }
            (State::Replying(_), _) => return Err(Error::Broken),
            (State::Idle, _) => {
                self.requests = self.requests.saturating_add(1);
                if self.requests > MAX_REQUESTS {
                    return Err(Error::Broken);
                }
                let (content, sum) = (Content::with_capacity(0), Sum::new());
                self.state = State::Asked(Request { content, sum, size: message.len(), count: 0, until: None });
            }
            (State::Asked(_), _) => {}
        }
        let State::Asked(request) = &mut self.state else { return Err(Error::Broken) };
        if !request.take(parsed, message.len(), self.line.shaping)? {
            return Ok(Received::Nothing);
        }
        let content = core::mem::replace(&mut request.content, Content::with_capacity(0));
        self.state = State::Replying(Reply::new(self.line.shaping, now));
        Ok(Received::Request(content))
    }

    /// Adds to the reply. In [`Shaping::Paced`] 237 bytes go out each 50 ms, the rest waits.
    ///
    /// # Errors
    /// [`Error::Untimely`] when there is no reply or it is finished, [`Error::TooLong`] and [`Error::Over`].
    pub fn write(&mut self, content: &[u8], now: Duration) -> Result<(), Error> {
        self.line.check(now)?;
        let State::Replying(reply @ Reply { outcome: None, .. }) = &mut self.state else {
            return Err(Error::Untimely);
        };
        let found = reply.sum.length().saturating_add(reply.waiting().len()).saturating_add(content.len());
        if found > MAX_REPLY {
            return Err(Error::TooLong { limit: MAX_REPLY, found });
        }
        reply.queue.append(content);
        Ok(())
    }

    /// Ends the reply: what was written is all of it, or, if it was cancelled, what was sent.
    ///
    /// # Errors
    /// [`Error::Untimely`] when there is no reply or it is finished, and [`Error::Over`].
    pub fn finish(&mut self, outcome: Outcome, now: Duration) -> Result<(), Error> {
        self.line.check(now)?;
        let State::Replying(reply @ Reply { outcome: None, .. }) = &mut self.state else {
            return Err(Error::Untimely);
        };
        if outcome == Outcome::Cancelled {
            reply.clear();
        }
        reply.outcome = Some(outcome);
        Ok(())
    }

    /// When [`poll`](Self::poll) has something to send: at this time, which may be past; `None` when nothing is to be
    /// sent before something is written.
    pub fn due(&self) -> Option<Duration> {
        let State::Replying(reply) = &self.state else { return None };
        match &reply.pace {
            Some(pace) => Some(pace.due),
            None => reply.has_something().then_some(Duration::ZERO),
        }
    }

    /// The next message to send, if it is time for one. To be called until there is none.
    ///
    /// # Errors
    /// [`Error::Over`].
    pub fn poll(&mut self, now: Duration) -> Result<Option<Vec<u8>>, Error> {
        self.line.check(now)?;
        let State::Replying(reply) = &mut self.state else { return Ok(None) };
        let Some((draft, over)) = reply.next(self.line.shaping, now) else { return Ok(None) };
        if over {
            self.state = State::Idle;
        }
        let sealed = self.line.seal(draft);
        self.line.judge(sealed).map(Some)
    }

    /// Ends the session: the message to send before the connection is closed.
    ///
    /// # Errors
    /// [`Error::Untimely`] during a request or reply, and [`Error::Over`].
    pub fn close(&mut self, now: Duration) -> Result<Vec<u8>, Error> {
        self.line.check(now)?;
        if !self.is_idle() {
            return Err(Error::Untimely);
        }
        let sealed = self.line.seal(Draft::bye(SLOT));
        self.line.end();
        sealed
    }
}

impl Request {
    /// Takes one of its messages; says whether it was the last.
    fn take(&mut self, Message { content, mark }: Message<'_>, size: usize, shaping: Shaping) -> Result<bool, Error> {
        self.count = self.count.saturating_add(1);
        let padding = content.is_empty() && mark.is_none();
        // After its end there is nothing but padding, and before it there is no message without content.
        if self.until.is_some() != padding || (shaping.pads() && size != self.size) {
            return Err(Error::Broken);
        }
        if self.content.len().saturating_add(content.len()) > MAX_REQUEST {
            return Err(Error::Broken);
        }
        self.sum.add(content);
        self.content.append(content);
        match mark {
            None => {}
            Some(Mark::End { outcome: Outcome::Complete, sum }) if self.sum.is(&sum) => {
                let bucket = match shaping {
                    Shaping::Paced | Shaping::Bucket => Bucket::of(self.sum.length(), PER_MESSAGE, ONCE),
                    Shaping::Off => Bucket { size, count: self.count },
                };
                if bucket.size != size || bucket.count < self.count {
                    return Err(Error::Broken);
                }
                self.until = Some(bucket.count);
            }
            Some(_) => return Err(Error::Broken),
        }
        Ok(self.until == Some(self.count))
    }
}

impl Reply {
    fn new(shaping: Shaping, now: Duration) -> Self {
        let due = now.saturating_add(INTERVAL);
        let pace = (shaping == Shaping::Paced).then_some(Pace { start: now, due, slots: 0, until: None });
        let (queue, sum) = (Content::with_capacity(0), Sum::new());
        Self { queue, sent: 0, sum, outcome: None, cancelled: false, pace }
    }

    fn waiting(&self) -> &[u8] {
        self.queue.get(self.sent..).unwrap_or(&[])
    }

    fn clear(&mut self) {
        self.queue.clear();
        self.sent = 0;
    }

    fn has_something(&self) -> bool {
        self.outcome.is_some() || !self.waiting().is_empty()
    }

    /// What goes out at `now`, if anything, and whether it is the reply's last message.
    fn next(&mut self, shaping: Shaping, now: Duration) -> Option<(Draft, bool)> {
        let Some(pace) = &self.pace else {
            if !self.has_something() {
                return None;
            }
            let end = if self.outcome.is_some() { ONCE } else { 0 };
            let needed = self.waiting().len().saturating_add(PER_MESSAGE).saturating_add(end);
            let size = match shaping {
                Shaping::Off => LARGEST,
                _ => SIZES.into_iter().find(|size| *size >= needed).unwrap_or(LARGEST),
            };
            let mut draft = Draft::new(size);
            let ended = self.fill(&mut draft);
            return Some((draft, ended));
        };
        if now < pace.due {
            return None;
        }
        let open = pace.until.is_none();
        let mut draft = Draft::new(SLOT);
        let ended = open && self.fill(&mut draft);
        let pace = self.pace.as_mut()?;
        pace.slots = pace.slots.saturating_add(1);
        pace.due = next_slot(pace.start, now);
        if ended {
            pace.until = Some(rounded(pace.slots));
        }
        Some((draft, pace.until == Some(pace.slots)))
    }

    /// Puts what there is into a message; says whether the end is in it, too.
    fn fill(&mut self, draft: &mut Draft) -> bool {
        let waiting = self.queue.get(self.sent..).unwrap_or(&[]);
        let left = draft.content(waiting).len();
        self.sum.add(waiting.get(..waiting.len().saturating_sub(left)).unwrap_or(&[]));
        self.sent = self.queue.len().saturating_sub(left);
        if left > 0 {
            return false;
        }
        self.clear();
        self.outcome.is_some_and(|outcome| draft.end(outcome, &self.sum))
    }
}

#[cfg(test)]
mod tests;
