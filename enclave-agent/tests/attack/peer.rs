//! A client that the test has in its hand, with somebody in the middle.

use anyhow::{Context as _, bail, ensure};
use channel::client::{Hello, Received, Verified};
use channel::{Outcome, PATH, SUBPROTOCOL, Seed, Shaping};
use openai::call::{Call, Piece, Pieces};
use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

/// Where the report has what it was made for (AMD 56860, table 23).
const REPORT_DATA: std::ops::Range<usize> = 0x50..0x90;

/// How long somebody waits who was robbed of a message: what would come of it may never come.
const IN_VAIN: Duration = Duration::from_secs(1);

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// From the client to the agent.
    Up,
    /// Back.
    Down,
}

/// Somebody in the middle: gets every message, says what goes on in its place.
pub(crate) type Man = Box<dyn FnMut(Way, Vec<u8>) -> Vec<Vec<u8>> + Send>;

/// Messages to and from the agent.
pub(crate) struct Line {
    socket: WebSocket<TcpStream>,
    man: Man,
    inbox: VecDeque<Vec<u8>>,
}

impl Line {
    /// Connects. Nothing is waited for longer than `patience`.
    pub(crate) fn dial(at: SocketAddr, patience: Duration, man: Man) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&at, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let mut request = format!("ws://{at}{PATH}").into_client_request()?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
        let (socket, _response) = tungstenite::client(request, stream).context("upgrading")?;
        Ok(Self { socket, man, inbox: VecDeque::new() })
    }

    /// What becomes of a message on its way.
    fn pass(&mut self, way: Way, message: Vec<u8>) -> anyhow::Result<Vec<Vec<u8>>> {
        let passed = (self.man)(way, message);
        if passed.is_empty() {
            self.stream().set_read_timeout(Some(IN_VAIN))?;
        }
        Ok(passed)
    }

    pub(crate) fn send(&mut self, message: Vec<u8>) -> anyhow::Result<()> {
        for message in self.pass(Way::Up, message)? {
            self.socket.send(Message::binary(message))?;
        }
        Ok(())
    }

    pub(crate) fn receive(&mut self) -> anyhow::Result<Vec<u8>> {
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Ok(message);
            }
            match self.socket.read()? {
                Message::Binary(message) => {
                    let passed = self.pass(Way::Down, message.into())?;
                    self.inbox.extend(passed);
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("expected a message, found {other:?}"),
            }
        }
    }

    /// The connection itself.
    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        self.socket.get_mut()
    }
}

/// A session with the agent.
pub(crate) struct Peer {
    pub(crate) line: Line,
    pub(crate) channel: Verified<()>,
    started: Instant,
}

/// Passes everything on.
pub(crate) fn relay() -> Man {
    Box::new(|_, message| vec![message])
}

impl Peer {
    /// Opens a session, as far as the report is one on it.
    pub(crate) fn open(mut line: Line, shaping: Shaping, seed: u64) -> anyhow::Result<Self> {
        let started = Instant::now();
        let (hello, m1) = Hello::new(channel_seed(seed), shaping)?;
        line.send(m1)?;
        let (connected, m3) = hello.finish(&line.receive()?, started.elapsed())?;
        line.send(m3)?;
        let unverified = connected.evidence(&line.receive()?)?;
        let channel = unverified.judge(|evidence| {
            let said = evidence.report.get(REPORT_DATA);
            ensure!(said == Some(evidence.report_data.as_bytes()), "the report is on something else");
            Ok(())
        })?;
        Ok(Self { line, channel, started })
    }

    /// The answer to one message. The worker of the tests says it back.
    pub(crate) fn ask(&mut self, text: &str) -> anyhow::Result<String> {
        let Reply { text, .. } = self.call(&chat(text).to_bytes())?;
        text.context("expected an answer")
    }

    /// What comes of any content of a request.
    pub(crate) fn call(&mut self, content: &[u8]) -> anyhow::Result<Reply> {
        for message in self.request(content)? {
            self.line.send(message)?;
        }
        self.reply()
    }

    /// The messages of a request with any content, which are now to be sent.
    pub(crate) fn request(&mut self, content: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
        Ok(self.channel.request(content, self.started.elapsed())?)
    }

    /// What comes of the request that was sent.
    pub(crate) fn reply(&mut self) -> anyhow::Result<Reply> {
        let (mut pieces, mut reply, mut end) = (Pieces::default(), Reply::default(), None);
        while end.is_none() || !self.channel.is_idle() {
            let message = self.line.receive()?;
            reply.sizes.push(message.len());
            let received = self.take(&message)?;
            ensure!(!received.over, "the agent has ended the session");
            for piece in pieces.push(&received.content)? {
                match piece {
                    Piece::Text(more) => reply.text.get_or_insert_default().push_str(&more),
                    Piece::Done(..) => reply.done = true,
                    Piece::Refused(json) => reply.refused = Some(String::from_utf8(json)?),
                    Piece::Failed(_) | Piece::Busy | Piece::Models(_) | Piece::Receipt(_) => {}
                }
            }
            end = received.end.or(end);
            if let Some(beat) = received.send {
                self.line.send(beat)?;
            }
        }
        ensure!(end == Some(Outcome::Complete), "expected a complete reply, found {end:?}");
        pieces.end()?;
        Ok(reply)
    }

    /// Takes a message of the agent's.
    pub(crate) fn take(&mut self, message: &[u8]) -> anyhow::Result<Received> {
        Ok(self.channel.receive(message, self.started.elapsed())?)
    }
}

/// What came of a request.
#[derive(Default)]
pub(crate) struct Reply {
    pub(crate) text: Option<String>,
    pub(crate) done: bool,
    pub(crate) refused: Option<String>,
    /// Bytes of each message.
    pub(crate) sizes: Vec<usize>,
}

/// A request of one message.
pub(crate) fn chat(text: &str) -> Call {
    scene::chat(text, "")
}

pub(crate) fn channel_seed(seed: u64) -> Seed {
    Seed::new(*measure::Sha256::of(&seed.to_be_bytes()).as_bytes())
}
