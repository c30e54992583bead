//! A client, which takes anybody for a guest.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use channel::client::{Hello, Verified};
use channel::{Evidence, Outcome, PATH, SUBPROTOCOL, Seed, Shaping};
use openai::call::{Call, Piece, Pieces, Route};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, client};

/// A connection of the protocol below sessions.
pub type WebSocket = tungstenite::WebSocket<TcpStream>;

/// How long a client waits for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A session.
pub struct Client {
    /// What it is in.
    pub socket: WebSocket,
    session: Verified<()>,
    started: Instant,
    pieces: Pieces,
}

/// Why there is no session, or no more of it: the other side has closed the connection, or what it said is not the
/// protocol's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken(pub String);

impl<E: std::error::Error> From<E> for Broken {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// Connects and asks for the subprotocol.
///
/// # Errors
/// When the other side has another answer.
///
/// # Panics
/// When there is nobody.
pub fn dial(address: SocketAddr) -> Result<WebSocket, Broken> {
    upgrade(TcpStream::connect(address).expect("a connection"))
}

/// Asks for the subprotocol on a connection.
///
/// # Errors
/// When the other side has another answer.
///
/// # Panics
/// When there is nobody.
pub fn upgrade(stream: TcpStream) -> Result<WebSocket, Broken> {
    let address = stream.peer_addr().expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    stream.set_nodelay(true).expect("an option");
    let mut request = format!("ws://{address}{PATH}").into_client_request()?;
    request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static(SUBPROTOCOL));
    Ok(client(request, stream).map_err(|error| Broken(error.to_string()))?.0)
}

/// The next message.
///
/// # Errors
/// When there is no more.
pub fn receive(socket: &mut WebSocket) -> Result<Vec<u8>, Broken> {
    loop {
        match socket.read()? {
            Message::Binary(message) => return Ok(message.into()),
            Message::Ping(_) | Message::Pong(_) => socket.flush()?,
            Message::Close(reason) => {
                return Err(Broken(reason.map_or(String::new(), |reason| u16::from(reason.code).to_string())));
            }
            _ => return Err(Broken("text".to_owned())),
        }
    }
}

/// The next seed of this process: tests need different ones, and nothing secret.
fn seed() -> Seed {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    Seed::new(seed)
}

impl Client {
    /// Connects, shakes hands and believes what it is shown.
    ///
    /// # Errors
    /// When the other side ends it before that.
    pub fn open(address: SocketAddr, shaping: Shaping) -> Result<Self, Broken> {
        Self::shake_hands(dial(address)?, shaping)
    }

    /// Shakes hands on a connection and believes what it is shown.
    ///
    /// # Errors
    /// When the other side ends it before that.
    pub fn shake_hands(mut socket: WebSocket, shaping: Shaping) -> Result<Self, Broken> {
        let started = Instant::now();
        let (hello, m1) = Hello::new(seed(), shaping)?;
        socket.send(Message::binary(m1))?;
        let (connected, m3) = hello.finish(&receive(&mut socket)?, started.elapsed())?;
        socket.send(Message::binary(m3))?;
        let unverified = connected.evidence(&receive(&mut socket)?)?;
        let Ok(session) = unverified.judge(|_| Ok::<_, ()>(())) else { return Err(Broken(String::new())) };
        Ok(Self { socket, session, started, pieces: Pieces::default() })
    }

    /// What the guest has shown.
    pub fn evidence(&self) -> &Evidence {
        self.session.evidence()
    }

    /// Sends a call.
    ///
    /// # Errors
    /// When the session is over.
    pub fn send(&mut self, call: &Call) -> Result<(), Broken> {
        self.send_content(&call.to_bytes())
    }

    /// Sends a request with any content.
    ///
    /// # Errors
    /// When the session is over.
    pub fn send_content(&mut self, content: &[u8]) -> Result<(), Broken> {
        self.pieces = Pieces::default();
        for message in self.session.request(content, self.started.elapsed())? {
            self.socket.send(Message::binary(message))?;
        }
        Ok(())
    }

    /// Sends a request with any content, but for its last message.
    ///
    /// # Errors
    /// When the session is over.
    pub fn send_but_the_end(&mut self, content: &[u8]) -> Result<(), Broken> {
        let messages = self.session.request(content, self.started.elapsed())?;
        for message in messages.iter().take(messages.len().saturating_sub(1)) {
            self.socket.send(Message::binary(message.clone()))?;
        }
        Ok(())
    }

    /// What comes next of the reply: pieces, of which there may be none yet, and whether and how it has ended.
    ///
    /// # Errors
    /// When the session is over.
    pub fn receive(&mut self) -> Result<(Vec<Piece>, Option<Outcome>), Broken> {
        let message = receive(&mut self.socket)?;
        let received = self.session.receive(&message, self.started.elapsed())?;
        if let Some(message) = received.send {
            self.socket.send(Message::binary(message))?;
        }
        if received.over {
            return Err(Broken("over".to_owned()));
        }
        Ok((self.pieces.push(&received.content)?, received.end))
    }

    /// Has enough of the reply.
    ///
    /// # Errors
    /// When the session is over.
    pub fn cancel(&mut self) -> Result<(), Broken> {
        if let Some(message) = self.session.cancel(self.started.elapsed())? {
            self.socket.send(Message::binary(message))?;
        }
        Ok(())
    }

    /// The rest of the reply, and how it ended.
    ///
    /// # Errors
    /// When the session is over before that.
    pub fn rest(&mut self) -> Result<(Vec<Piece>, Outcome), Broken> {
        let (mut pieces, mut end) = (Vec::new(), None);
        while end.is_none() || !self.session.is_idle() {
            let (more, ended) = self.receive()?;
            pieces.extend(more);
            end = end.or(ended);
        }
        let outcome = end.ok_or_else(|| Broken(String::new()))?;
        if outcome == Outcome::Complete {
            self.pieces.end()?;
        }
        Ok((pieces, outcome))
    }

    /// Calls, and waits for the whole reply.
    ///
    /// # Panics
    /// When there is none.
    pub fn ask(&mut self, call: &Call) -> (Vec<Piece>, Outcome) {
        self.send(call).expect("a session");
        self.rest().expect("a reply")
    }

    /// Whether anything can be asked.
    ///
    /// # Errors
    /// When nothing can.
    pub fn ask_anything(&mut self) -> Result<(), Broken> {
        self.send(&Call { route: Route::Models, salt: None, body: Vec::new() })?;
        self.rest().map(|_| ())
    }

    /// Ends the session.
    ///
    /// # Errors
    /// When it is over already, or a reply is under way.
    pub fn close(&mut self) -> Result<(), Broken> {
        let bye = self.session.close(self.started.elapsed())?;
        Ok(self.socket.send(Message::binary(bye))?)
    }
}

/// All texts, one after the other.
pub fn text(pieces: &[Piece]) -> String {
    let texts = pieces.iter().map(|piece| if let Piece::Text(text) = piece { text } else { "" });
    texts.collect()
}
