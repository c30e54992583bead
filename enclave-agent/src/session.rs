//! One session, from the WebSocket's beginning to its end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use channel::evidence::{Attestation, Kind};
use channel::server::{Hello, Received, Session};
use channel::{Error, M1, M3, Outcome};
use openai::call::Piece;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use crate::agent::Agent;
use crate::calls::{Reply, Signer};
use crate::identity;
use crate::log;
use crate::metrics::{Known, Seen, Tally, Timed};
use crate::socket::{Goodbye, Socket};
use crate::websocket::{Event, MAX_MESSAGE};

/// Bytes of the largest call. A request that is larger is none, and is not waited for.
const MAX_CALL: usize = 34 + openai::MAX_BODY;

/// How long before its end a session without a reply under way is closed in order.
const MARGIN: Duration = Duration::from_secs(1);

/// Serves a client until one of the two has enough, or until `drain` says that the agent has.
pub(crate) async fn serve(agent: Arc<Agent>, mut socket: Socket, drain: watch::Receiver<bool>) {
    let mut tally = agent.metrics.tally();
    // Boxed, so that a session that waits does not hold the room that a handshake needs.
    let opening = Box::pin(timeout(agent.limits.handshake_time, open(&agent, &mut socket, &mut tally)));
    match opening.await.unwrap_or(Err(Unopened::Late)) {
        Ok((session, signer)) => {
            agent.metrics.seen(Seen::HandshakeComplete);
            tally.attested();
            Open { agent, socket, session, signer, tally, drain, asked: None }.converse().await;
        }
        Err(unopened) => {
            let (seen, goodbye) = unopened.outcome();
            agent.metrics.seen(seen);
            socket.close(goodbye);
        }
    }
}

/// Why a connection has not become a session.
enum Unopened {
    /// What came was not a handshake.
    Malformed,
    /// It took too long.
    Late,
    /// Too many were before it.
    Limited,
    /// There is nothing to show the client.
    NotAttested,
    /// The client has ended it, or the network.
    Gone,
}

impl Unopened {
    /// What is counted, once for each connection, and what the client is told.
    fn outcome(self) -> (Seen, Goodbye) {
        match self {
            Self::Malformed => (Seen::HandshakeMalformed, Goodbye::Violation),
            Self::Late => (Seen::HandshakeLate, Goodbye::Violation),
            Self::Limited => (Seen::HandshakeLimited, Goodbye::Busy),
            Self::NotAttested => (Seen::HandshakeNotAttested, Goodbye::Busy),
            Self::Gone => (Seen::HandshakeGone, Goodbye::Normal),
        }
    }
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Malformed,
            io::ErrorKind::TimedOut => Self::Late,
            _ => Self::Gone,
        }
    }
}

/// The handshake and the evidence.
async fn open(agent: &Agent, socket: &mut Socket, tally: &mut Tally) -> Result<(Session, Signer), Unopened> {
    let m1 = message(socket, M1).await?;
    let peer = socket.peer().ok_or(Unopened::Gone)?;
    sleep_until(agent.turn(peer).ok_or(Unopened::Limited)?).await;
    let began = Instant::now();
    let identity = agent.identity().map_err(|_| Unopened::NotAttested)?;
    let seed = identity::seed().map_err(|_| Unopened::NotAttested)?;
    let (hello, m2) = Hello::answer(&identity, seed, &m1).map_err(|_| Unopened::Malformed)?;
    let mut took = began.elapsed();
    socket.send(&m2).await?;
    let m3 = message(socket, M3).await?;
    let began = Instant::now();
    let attesting = hello.finish(&m3, agent.now()).map_err(|_| Unopened::Malformed)?;
    took += began.elapsed();
    agent.session_begins(&identity);
    tally.time(Timed::Handshake, took);

    let began = Instant::now();
    let turn = agent.reports.acquire().await.map_err(|_| Unopened::NotAttested)?;
    let (handshake, statement) = (attesting.handshake(), attesting.statement_digest());
    let attested = agent.attester.report(handshake, statement, agent.operator_digest).await.map_err(|reason| {
        log::write(log::Event::NotAttested(reason));
        agent.metrics.seen(Seen::NotAttested);
        agent.not_attested(reason);
        Unopened::NotAttested
    })?;
    drop(turn);
    tally.time(Timed::Report, began.elapsed());
    let feed = agent.attester.feed().await.map_err(|_| {
        log::write(log::Event::NoFeed);
        agent.metrics.seen(Seen::NotAttested);
        Unopened::NotAttested
    })?;
    let operator = agent.operator.as_deref();
    let evidence = Attestation { kind: Kind::Snp, report: &attested.report, path: None, operator, feed: &feed };
    let (session, evidence) = attesting.attest(&evidence).map_err(|_| Unopened::NotAttested)?;
    socket.send(&evidence).await?;
    Ok((session, Signer { identity, measurement: attested.measurement }))
}

/// The next message, which must have this size.
async fn message(socket: &mut Socket, size: usize) -> io::Result<Vec<u8>> {
    loop {
        match socket.receive(size).await? {
            Some(Event::Message(message)) if message.len() == size => return Ok(message),
            Some(Event::Ping(content)) => socket.pong(&content).await?,
            Some(Event::Pong) | None => {}
            Some(Event::Message(_)) => return Err(io::ErrorKind::InvalidData.into()),
            Some(Event::Close) => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

/// A session in which requests can be made.
struct Open {
    agent: Arc<Agent>,
    socket: Socket,
    session: Session,
    signer: Signer,
    tally: Tally,
    drain: watch::Receiver<bool>,
    /// When the request came of which nothing has been said yet.
    asked: Option<Instant>,
}

/// When something has to be done if nothing else happens.
struct Times {
    /// There was a request or a reply.
    active: Instant,
    /// The request that is coming began to.
    request: Option<Instant>,
    /// The message that is coming began to.
    message: Option<Instant>,
    /// Something came.
    heard: Instant,
    /// The next ping.
    ping: Instant,
}

impl Open {
    async fn converse(mut self) {
        let goodbye = match self.serve().await {
            Ok(goodbye) => goodbye,
            Err(Ended::Wire) => return,
            Err(Ended::Channel(Error::Over)) => Goodbye::Normal,
            Err(Ended::Channel(_)) => {
                self.agent.metrics.seen(Seen::RejectedRecord);
                Goodbye::Violation
            }
            Err(Ended::WebSocket) => {
                self.agent.metrics.seen(Seen::RejectedWebSocket);
                Goodbye::Violation
            }
        };
        // It says so itself, unless it is in the middle of something or over.
        if let Ok(bye) = self.session.close(self.agent.now())
            && self.socket.send(&bye).await.is_err()
        {
            return;
        }
        self.socket.close(goodbye);
    }

    /// Answers requests until the session is to be closed.
    async fn serve(&mut self) -> Result<Goodbye, Ended> {
        let limits = self.agent.limits;
        let mut share = self.agent.budget.share();
        let mut reply: Option<Reply> = None;
        let now = Instant::now();
        let mut times = Times { active: now, request: None, message: None, heard: now, ping: now + limits.ping_every };
        loop {
            self.send_what_is_due().await?;
            if self.session.is_receiving() && self.session.held() > MAX_CALL {
                self.agent.metrics.seen(Seen::RejectedRecord);
                return Ok(Goodbye::Violation);
            }
            if !share.set(self.held(reply.as_ref()), self.session.is_receiving()) {
                return Ok(Goodbye::Busy);
            }
            let (idle, now) = (self.session.is_idle(), Instant::now());
            if !idle {
                times.active = now;
            }
            times.request = self.session.is_receiving().then(|| times.request.unwrap_or(now));
            times.message = self.socket.is_receiving().then(|| times.message.unwrap_or(now));
            let whole = [(times.request, limits.request_time), (times.message, limits.message_time)];
            let whole = whole.into_iter().filter_map(|(began, time)| Some((began? + time, Goodbye::Violation, true)));
            let ends = [
                (times.heard + limits.silence, Goodbye::GoingAway, true),
                (times.active + limits.idle_time, Goodbye::Normal, idle),
                (self.agent.at(self.session.expires().saturating_sub(MARGIN)), Goodbye::Normal, idle),
                (self.agent.at(self.session.expires()), Goodbye::Normal, true),
                (now, Goodbye::GoingAway, idle && *self.drain.borrow()),
            ];
            let ends = ends.into_iter().chain(whole).filter(|(.., applies)| *applies);
            let Some((end, goodbye, _)) = ends.min_by_key(|(at, ..)| *at) else { return Ok(Goodbye::Normal) };
            if end <= now {
                return Ok(goodbye);
            }
            if times.ping <= now {
                self.socket.ping().await?;
                times.ping = now + limits.ping_every;
            }
            let due = self.session.due().map(|due| self.agent.at(due));
            let next = [Some(end), Some(times.ping), due].into_iter().flatten().min().unwrap_or(end);
            tokio::select! {
                biased;
                () = sleep_until(next) => {}
                event = self.socket.receive(MAX_MESSAGE) => {
                    // What comes without end is no sign of life until it is whole.
                    let Some(event) = event? else { continue };
                    times.heard = Instant::now();
                    match event {
                        Event::Message(message) => {
                            times.message = None;
                            if self.take(&message, &mut reply)? {
                                return Ok(Goodbye::Normal);
                            }
                        }
                        Event::Ping(content) => self.socket.pong(&content).await?,
                        Event::Pong => {}
                        Event::Close => return Err(Ended::Wire),
                    }
                }
                piece = next_piece(&mut reply) => {
                    self.add(piece, &mut reply)?;
                }
                _ = self.drain.changed() => {}
            }
        }
    }

    /// Bytes that the session holds, of memory that grows by doubling.
    fn held(&self, reply: Option<&Reply>) -> usize {
        let channel = self.session.held().saturating_mul(2);
        self.socket.held().saturating_add(channel).saturating_add(reply.map_or(0, Reply::held))
    }

    async fn send_what_is_due(&mut self) -> Result<(), Ended> {
        loop {
            let began = Instant::now();
            let Some(message) = self.session.poll(self.agent.now())? else { return Ok(()) };
            self.tally.time(Timed::Seal, began.elapsed());
            self.socket.send(&message).await?;
        }
    }

    /// Takes a message; says whether it was the last.
    fn take(&mut self, message: &[u8], reply: &mut Option<Reply>) -> Result<bool, Ended> {
        match self.session.receive(message, self.agent.now())? {
            Received::Nothing => Ok(false),
            Received::Over => Ok(true),
            Received::Cancel => {
                *reply = None;
                self.tally.count(Known::ChatCancelled, 1);
                self.session.finish(Outcome::Cancelled, self.agent.now())?;
                Ok(false)
            }
            Received::Request(content) => {
                match Reply::begin(&content, &self.agent.model, &self.agent.workers, &self.signer) {
                    Ok(begun) => {
                        *reply = Some(begun);
                        self.asked = Some(Instant::now());
                    }
                    Err(_) => {
                        self.tally.count(Known::RejectedCall, 1);
                        self.session.finish(Outcome::Failed, self.agent.now())?;
                    }
                }
                Ok(false)
            }
        }
    }

    /// Adds a piece to the reply, or ends it.
    fn add(&mut self, piece: Option<Piece>, reply: &mut Option<Reply>) -> Result<(), Ended> {
        let now = self.agent.now();
        let Some(piece) = piece else {
            *reply = None;
            return Ok(self.session.finish(Outcome::Complete, now)?);
        };
        self.count(&piece);
        let mut bytes = Vec::new();
        piece.write(&mut bytes);
        match self.session.write(&bytes, now) {
            Err(Error::TooLong { .. }) => {
                *reply = None;
                Ok(self.session.finish(Outcome::Failed, now)?)
            }
            written => Ok(written?),
        }
    }

    fn count(&mut self, piece: &Piece) {
        let known = match piece {
            Piece::Text(_) => {
                if let Some(asked) = self.asked.take() {
                    self.tally.time(Timed::FirstToken, asked.elapsed());
                }
                return;
            }
            Piece::Receipt(_) => return,
            Piece::Done(_, usage) => {
                self.tally.count(Known::TokensIn, usage.prompt.into());
                self.tally.count(Known::TokensOut, usage.completion.into());
                Known::ChatComplete
            }
            Piece::Models(_) => Known::Models,
            Piece::Refused(_) => Known::ChatRefused,
            Piece::Failed(_) => Known::ChatFailed,
            Piece::Busy => Known::ChatBusy,
        };
        self.tally.count(known, 1);
    }
}

/// The next piece of the reply; never, if there is none.
async fn next_piece(reply: &mut Option<Reply>) -> Option<Piece> {
    match reply {
        Some(reply) => reply.next().await,
        None => std::future::pending().await,
    }
}

/// Why there is nothing more to be said in a session.
enum Ended {
    /// The connection is gone.
    Wire,
    /// What came is no WebSocket, or not ours.
    WebSocket,
    /// The channel has ended it.
    Channel(Error),
}

impl From<io::Error> for Ended {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData { Self::WebSocket } else { Self::Wire }
    }
}

impl From<Error> for Ended {
    fn from(error: Error) -> Self {
        Self::Channel(error)
    }
}
