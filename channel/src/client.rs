//! The client's side: [`Hello`], [`Connected`], [`Unverified`], and after a verdict [`Verified`].

use crate::noise::{Initiator, Statics, Transport};
use crate::record::{Draft, Line, Mark, Message, ONCE, PER_MESSAGE, Sum};
use crate::shape::{BEAT, Bucket, LARGEST, SLOT, rounded};
use crate::{Content, Error, Evidence, MAX_REPLY, MAX_REQUEST, MAX_REQUESTS, Outcome, Seed, Shaping, evidence};
use core::time::Duration;

/// A handshake that waits for the server's answer.
pub struct Hello {
    handshake: Initiator,
    shaping: Shaping,
}

impl Hello {
    /// Begins a handshake: the message to send, of [`M1`](crate::M1) bytes. Nothing in it is the same in two sessions
    /// but `shaping`.
    ///
    /// # Errors
    /// None that can happen with a seed.
    pub fn new(seed: Seed, shaping: Shaping) -> Result<(Self, Vec<u8>), Error> {
        let (handshake, m1) = Initiator::start(seed, shaping.to_byte())?;
        Ok((Self { handshake, shaping }, m1))
    }

    /// Takes the server's answer at time `now`, from when the session counts; gives the message to send, of
    /// [`M3`](crate::M3) bytes. `now` is here and everywhere the time since a point of the caller's choice.
    ///
    /// # Errors
    /// [`Error::Broken`].
    pub fn finish(self, m2: &[u8], now: Duration) -> Result<(Connected, Vec<u8>), Error> {
        let (transport, statics, m3) = self.handshake.finish(m2)?;
        Ok((Connected { transport, statics, shaping: self.shaping, started: now }, m3))
    }
}

/// A session with nobody knows whom, which waits for evidence.
pub struct Connected {
    transport: Transport,
    statics: Statics,
    shaping: Shaping,
    started: Duration,
}

impl Connected {
    /// Takes the evidence message.
    ///
    /// # Errors
    /// [`Error::Broken`], also when the key statement names other keys than the ones that the server has used.
    pub fn evidence(mut self, message: &[u8]) -> Result<Unverified, Error> {
        if message.len() != evidence::MESSAGE {
            return Err(Error::Broken);
        }
        let plaintext = self.transport.open(message)?;
        let evidence = Evidence::parse(&plaintext, &self.transport.hash())?;
        if evidence.statement.x25519 != self.statics.dh || evidence.statement.ml_kem != self.statics.kem {
            return Err(Error::Broken);
        }
        Ok(Unverified { evidence, line: Line::new(self.transport, self.shaping, self.started) })
    }
}

/// A session that waits for a verdict on its evidence. There is nothing that could be sent in it.
pub struct Unverified {
    evidence: Evidence,
    line: Line,
}

impl Unverified {
    /// What is to be judged.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// Has the evidence judged. `verdict` must find that [`Evidence::report`] is genuine, says
    /// [`Evidence::report_data`], and that a guest with its measurement and key statement may be trusted. What it
    /// accepts with stays with the session as its type: a program that only takes `Verified<T>`, for a `T` that only its
    /// verifier makes, cannot be given a session which nobody verified.
    ///
    /// # Errors
    /// What `verdict` rejects with. The session's keys are gone.
    pub fn judge<A, R>(self, verdict: impl FnOnce(&Evidence) -> Result<A, R>) -> Result<Verified<A>, R> {
        let acceptance = verdict(&self.evidence)?;
        Ok(Verified { acceptance, evidence: self.evidence, line: self.line, reply: None, requests: 0 })
    }
}

/// A session whose evidence was accepted.
pub struct Verified<A> {
    acceptance: A,
    evidence: Evidence,
    line: Line,
    reply: Option<Reply>,
    requests: u32,
}

/// The reply that is being received.
struct Reply {
    sum: Sum,
    /// Messages so far.
    slots: u32,
    /// How many there will be, from when its end is known.
    until: Option<u32>,
    cancelled: bool,
}

/// What a message from the server means.
pub struct Received {
    /// Some more of the reply; mostly nothing, in [`Shaping::Paced`].
    pub content: Content,
    /// That the reply is over, and how. Without it, what was received is not a reply but a part of one.
    pub end: Option<Outcome>,
    /// A message to send now, whatever else there is to do.
    pub send: Option<Vec<u8>>,
    /// That the server has ended the session.
    pub over: bool,
}

impl<A> Verified<A> {
    /// What the verdict was.
    pub fn acceptance(&self) -> &A {
        &self.acceptance
    }

    /// What it was on.
    pub fn evidence(&self) -> &Evidence {
        &self.evidence
    }

    /// When the session is over.
    pub fn expires(&self) -> Duration {
        self.line.expires()
    }

    /// Whether a request can be made: no reply is being received, nor what a reply is rounded up with.
    pub fn is_idle(&self) -> bool {
        self.reply.is_none()
    }

    /// Makes a request of at most [`MAX_REQUEST`] bytes: the messages to send, at once.
    ///
    /// # Errors
    /// [`Error::Untimely`] unless the session [is idle](Self::is_idle), [`Error::TooLong`] and [`Error::Over`].
    pub fn request(&mut self, content: &[u8], now: Duration) -> Result<Vec<Vec<u8>>, Error> {
        self.line.check(now)?;
        if self.reply.is_some() {
            return Err(Error::Untimely);
        }
        if content.len() > MAX_REQUEST {
            return Err(Error::TooLong { limit: MAX_REQUEST, found: content.len() });
        }
        if self.requests >= MAX_REQUESTS {
            return Err(Error::Over);
        }
        let sent = messages(&mut self.line, content);
        let sent = self.line.judge(sent)?;
        self.requests = self.requests.saturating_add(1);
        self.reply = Some(Reply { sum: Sum::new(), slots: 0, until: None, cancelled: false });
        Ok(sent)
    }

    /// Takes a message of the server's.
    ///
    /// # Errors
    /// [`Error::Broken`] and [`Error::Over`].
    pub fn receive(&mut self, message: &[u8], now: Duration) -> Result<Received, Error> {
        self.line.check(now)?;
        let received = self.take(message);
        self.line.judge(received)
    }

    fn take(&mut self, message: &[u8]) -> Result<Received, Error> {
        let plaintext = self.line.open(message)?;
        let paced = self.line.shaping == Shaping::Paced;
        let Message { content, mark } = Message::parse(&plaintext)?;
        let mut received = Received { content: Content::with_capacity(0), end: None, send: None, over: false };
        let Some(reply) = &mut self.reply else {
            if !matches!(mark, Some(Mark::Bye)) || !content.is_empty() {
                return Err(Error::Broken);
            }
            self.line.end();
            received.over = true;
            return Ok(received);
        };
        let nothing = content.is_empty() && mark.is_none();
        // Paced messages have one size, and there are just as many as there must be; others say something.
        if paced && message.len() != SLOT || reply.until.is_some() && !nothing || !paced && nothing {
            return Err(Error::Broken);
        }
        reply.slots = reply.slots.saturating_add(1);
        reply.sum.add(content);
        if reply.sum.length() > MAX_REPLY {
            return Err(Error::Broken);
        }
        received.content.append(content);
        match mark {
            None => {}
            Some(Mark::End { outcome, sum }) if reply.sum.is(&sum) => {
                received.end = Some(outcome);
                reply.until = Some(if paced { rounded(reply.slots) } else { reply.slots });
            }
            Some(_) => return Err(Error::Broken),
        }
        if paced && reply.slots.is_multiple_of(BEAT) {
            let draft = if reply.cancelled { Draft::cancel(SLOT) } else { Draft::new(SLOT) };
            received.send = Some(self.line.seal(draft)?);
        }
        if reply.until == Some(reply.slots) {
            self.reply = None;
        }
        Ok(received)
    }

    /// Has enough of the reply: a message to send now, if there is one. In [`Shaping::Paced`] there is none, and the
    /// server learns of it with the next of the messages that [`receive`](Self::receive) asks to send, at most a second
    /// later. The reply goes on until [`Received::end`], and its padding until the session [is idle](Self::is_idle).
    ///
    /// # Errors
    /// [`Error::Untimely`] when there is no reply, and [`Error::Over`].
    pub fn cancel(&mut self, now: Duration) -> Result<Option<Vec<u8>>, Error> {
        self.line.check(now)?;
        let reply = self.reply.as_mut().ok_or(Error::Untimely)?;
        let first = !core::mem::replace(&mut reply.cancelled, true);
        if !first || self.line.shaping == Shaping::Paced {
            return Ok(None);
        }
        let sealed = self.line.seal(Draft::cancel(SLOT));
        self.line.judge(sealed).map(Some)
    }

    /// Ends the session: the message to send before the connection is closed.
    ///
    /// # Errors
    /// [`Error::Untimely`] during a reply, and [`Error::Over`].
    pub fn close(&mut self, now: Duration) -> Result<Vec<u8>, Error> {
        self.line.check(now)?;
        if self.reply.is_some() {
            return Err(Error::Untimely);
        }
        let sealed = self.line.seal(Draft::bye(SLOT));
        self.line.end();
        sealed
    }
}

/// A request's messages: its content, then its end, then padding up to its bucket.
fn messages(line: &mut Line, content: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
    let bucket = match line.shaping {
        Shaping::Paced | Shaping::Bucket => Bucket::of(content.len(), PER_MESSAGE, ONCE),
        Shaping::Off => Bucket { size: LARGEST, count: 0 },
    };
    let mut sum = Sum::new();
    sum.add(content);
    let (mut rest, mut ended) = (content, false);
    let mut sent = Vec::new();
    while !ended || sent.len() < bucket.count {
        let mut draft = Draft::new(bucket.size);
        if !ended {
            rest = draft.content(rest);
            ended = rest.is_empty() && draft.end(Outcome::Complete, &sum);
        }
        sent.push(line.seal(draft)?);
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Attestation, Kind};
    use crate::noise::{Responder, static_keys};
    use crate::server::{About, Identity};

    /// A man in the middle who runs the handshake with keys of his own, or of which he stole one, under the statement of
    /// a genuine guest.
    #[test]
    fn the_statement_names_the_keys_of_the_handshake() {
        let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
        let genuine = Identity::new(Seed::new([1; 32]), about).unwrap();
        let keys = |seed| static_keys(&mut Seed::new([seed; 32]).into_stream()).unwrap();
        for (dh, kem, expected) in [(1, 1, Ok(())), (2, 1, Err(Error::Broken)), (1, 2, Err(Error::Broken))] {
            let (hello, m1) = Hello::new(Seed::new([3; 32]), Shaping::Paced).unwrap();
            let (responder, _, m2) = Responder::answer(&keys(dh).0, &keys(kem).1, Seed::new([4; 32]), &m1).unwrap();
            let (connected, m3) = hello.finish(&m2, Duration::ZERO).unwrap();
            let mut transport = responder.finish(&m3).unwrap();
            let attestation = Attestation { kind: Kind::Snp, report: &[], path: None, operator: None, feed: &[] };
            let plaintext = attestation.plaintext(genuine.statement()).unwrap();
            let message = transport.seal(Content(plaintext)).unwrap();
            assert_eq!(connected.evidence(&message).map(|_| ()), expected, "{dh} {kem}");
        }
    }
    /// Replies by someone who knows how to write them, each with one thing wrong, and the right ones beside them.
    #[test]
    fn replies_have_one_form() {
        let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
        let guest = Identity::new(Seed::new([1; 32]), about).unwrap();
        let (dh, kem) = static_keys(&mut Seed::new([1; 32]).into_stream()).unwrap();
        let outcome = |shaping, messages: &[(&[u8], usize)]| {
            let (hello, m1) = Hello::new(Seed::new([3; 32]), shaping).unwrap();
            let (responder, _, m2) = Responder::answer(&dh, &kem, Seed::new([4; 32]), &m1).unwrap();
            let (connected, m3) = hello.finish(&m2, Duration::ZERO).unwrap();
            let mut transport = responder.finish(&m3).unwrap();
            let attestation = Attestation { kind: Kind::Snp, report: &[], path: None, operator: None, feed: &[] };
            let plaintext = attestation.plaintext(guest.statement()).unwrap();
            let evidence = connected.evidence(&transport.seal(Content(plaintext)).unwrap()).unwrap();
            let mut client = evidence.judge(|_| Ok::<(), ()>(())).unwrap();
            client.request(b"question", Duration::ZERO).unwrap();
            let mut last = Ok(None);
            for (plaintext, size) in messages {
                let mut content = Content::with_capacity(*size);
                content.append(plaintext);
                content.append_zeros(size - 16 - plaintext.len());
                let message = transport.seal(content).unwrap();
                last = client.receive(&message, Duration::ZERO).map(|received| received.end);
            }
            last
        };
        let hash = measure::Sha256::of(b"hi");
        let end = |outcome: u8| [&[2, 0, 41, outcome][..], &2_u64.to_be_bytes(), hash.as_bytes()].concat();
        let (hi, empty) = ([1, 0, 2, b'h', b'i'], &[][..]);
        let right = [&hi[..], &end(0)].concat();
        let [cancel, bye] = [[3, 0, 0], [4, 0, 0]];
        let broken = Err(Error::Broken);
        for shaping in [Shaping::Paced, Shaping::Bucket] {
            for (messages, expected) in [
                (&[(&right[..], 256)][..], Ok(Some(Outcome::Complete))),
                (&[(&hi, 256), (&end(2), 256)], Ok(Some(Outcome::Failed))),
                (&[(&hi, 256)], Ok(None)),
                // Something after the end, or an end of something else, or what a server does not say now.
                (&[(&right, 256), (&hi, 256)], broken),
                (&[(&right, 256), (&end(0), 256)], broken),
                (&[(&end(0), 256)], broken),
                (&[(&hi, 256), (&hi, 256), (&end(0), 256)], broken),
                (&[(&cancel, 256)], broken),
                (&[(&bye, 256)], broken),
                (&[(&hi, 300)], broken),
            ] {
                assert_eq!(outcome(shaping, messages), expected, "{shaping:?} {messages:?}");
            }
        }
        // Padding and sizes.
        let paced = |count: usize| [&[(&right[..], 256)][..], &vec![(empty, 256); count]].concat();
        assert_eq!(outcome(Shaping::Paced, &paced(19)), Ok(None));
        assert_eq!(outcome(Shaping::Paced, &paced(20)), broken);
        assert_eq!(outcome(Shaping::Paced, &[(&hi, 1024)]), broken);
        assert_eq!(outcome(Shaping::Bucket, &[(&hi, 1024)]), Ok(None));
        assert_eq!(outcome(Shaping::Bucket, &[(empty, 256)]), broken);
    }
}
