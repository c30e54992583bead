//! Messages over a WebSocket (RFC 6455), each within a time and a size. TLS, where there is some, is nobody's proof of
//! anything: what is said is for whoever the verdict accepts.

use anyhow::{Context as _, anyhow, bail};
use channel::evidence::MESSAGE;
use channel::{PATH, SUBPROTOCOL};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use rustls_platform_verifier::BuilderVerifierExt as _;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::http::{HeaderValue, Uri, header::SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

/// For a connection to each of the addresses that a name has; to all of them, what a step may take.
const CONNECT: Duration = Duration::from_secs(15);
/// For each step until there is a session, and for sending a message.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often the connection is read, up to 16 KiB each time, for a message that is not waited for.
const READS: u32 = 64;

/// Where a guest is.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// As `ws://` or `wss://`, whatever it was given as.
    uri: Uri,
    host: String,
    port: u16,
    tls: bool,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a URL such as http://HOST:8080";
        let uri: Uri = text.parse().map_err(|error| format!("{EXPECTED}: {error}"))?;
        let (scheme, tls) = match uri.scheme_str() {
            Some("ws" | "http") => ("ws", false),
            Some("wss" | "https") => ("wss", true),
            found => return Err(format!("{EXPECTED}, found the scheme {:?}", found.unwrap_or_default())),
        };
        let authority = uri.authority().ok_or(EXPECTED)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(format!("{EXPECTED}, found a user or a query, which everybody on the way can read"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/');
        let path = if path.ends_with(PATH) { path.to_owned() } else { format!("{path}{PATH}") };
        let uri = Uri::builder().scheme(scheme).authority(authority.clone()).path_and_query(path).build();
        Ok(Self { uri: uri.map_err(|error| format!("{EXPECTED}: {error}"))?, host, port, tls })
    }
}

/// A connection with a guest, or with whoever answers in its place.
pub(super) struct Wire {
    socket: WebSocket<Stream>,
    address: String,
}

impl Wire {
    /// Connects, and is ready for messages within this time.
    pub(super) fn dial(address: &Address, time: Duration) -> anyhow::Result<Self> {
        let dialing = || format!("connecting to {}", address.uri);
        let late = || anyhow!("{}: no answer within {} s", dialing(), time.as_secs_f32());
        let until = Instant::now() + time;
        let mut request = (&address.uri).into_client_request().with_context(dialing)?;
        request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
        let addresses = (address.host.as_str(), address.port).to_socket_addrs().with_context(dialing)?;
        let tcp = connect(addresses, until, TcpStream::connect_timeout).with_context(dialing)?.ok_or_else(late)?;
        tcp.set_nodelay(true).with_context(dialing)?;
        let tcp = Timed { tcp, limit: Limit::Until(until) };
        let stream = if address.tls {
            Stream::Tls(Box::new(StreamOwned::new(tls(&address.host).with_context(dialing)?, tcp)))
        } else {
            Stream::Plain(tcp)
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(16 << 10)
            .write_buffer_size(0)
            .max_message_size(Some(MESSAGE))
            .max_frame_size(Some(MESSAGE));
        match tungstenite::client::client_with_config(request, stream, Some(config)) {
            Ok((socket, _response)) => Ok(Self { socket, address: address.uri.to_string() }),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                bail!("{}: expected a guest, which answered {}", dialing(), response.status())
            }
            Err(HandshakeError::Failure(error)) => bail!("{}: {error}", dialing()),
            Err(HandshakeError::Interrupted(_)) => Err(late()),
        }
    }

    /// Sends a message.
    pub(super) fn send(&mut self, message: Vec<u8>) -> anyhow::Result<()> {
        self.socket.get_mut().limit(PATIENCE);
        let sent = self.socket.send(Message::binary(message));
        sent.map_err(|error| anyhow!("sending to {}: {error}", self.address))
    }

    /// The message that must be the next.
    pub(super) fn expect(&mut self) -> anyhow::Result<Vec<u8>> {
        let message = self.receive(PATIENCE)?;
        message.with_context(|| format!("{}: no answer within {} s", self.address, PATIENCE.as_secs()))
    }

    /// The next message, if it is there within this time, or now if that is none. What has come of it is not lost if it is
    /// not. It returns whatever the other side sends, also without pause and without end.
    pub(super) fn receive(&mut self, time: Duration) -> anyhow::Result<Option<Vec<u8>>> {
        self.socket.get_mut().limit(time);
        loop {
            match self.socket.read() {
                Ok(Message::Binary(message)) => return Ok(Some(message.into())),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Ok(Message::Close(_)) | Err(Error::ConnectionClosed) => bail!("{} closed the connection", self.address),
                Ok(Message::Text(_) | Message::Frame(_)) => bail!("{} sent what is not of a session", self.address),
                Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => bail!("reading from {}: {error}", self.address),
            }
        }
    }

    /// Says goodbye, without waiting for an answer.
    pub(super) fn close(mut self) {
        self.socket.get_mut().limit(Duration::from_secs(1));
        let _gone = self.socket.close(None);
        let _gone = self.socket.flush();
    }
}

/// What comes of the first of a name's addresses that takes a connection; nothing, if the time was over before one said
/// yes or no.
fn connect<T>(
    addresses: impl Iterator<Item = SocketAddr>,
    until: Instant,
    mut connect: impl FnMut(&SocketAddr, Duration) -> io::Result<T>,
) -> io::Result<Option<T>> {
    let silent = |error: &io::Error| error.kind() == ErrorKind::TimedOut;
    let mut why = None;
    for address in addresses {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match connect(&address, CONNECT.min(left)) {
            Ok(connected) => return Ok(Some(connected)),
            // That one says no is worth more than that another says nothing.
            Err(error) if why.is_none() || !silent(&error) => why = Some(error),
            Err(_silent) => {}
        }
    }
    let late = Instant::now() >= until;
    match why {
        Some(error) if !late || !silent(&error) => Err(error),
        _ if late => Ok(None),
        _ => Err(io::Error::new(ErrorKind::NotFound, "the name has no address")),
    }
}

/// TLS as for other services: by the roots of the machine.
fn tls(host: &str) -> anyhow::Result<ClientConnection> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_platform_verifier()?.with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    Ok(ClientConnection::new(Arc::new(config), name)?)
}

enum Stream {
    Plain(Timed),
    Tls(Box<StreamOwned<ClientConnection, Timed>>),
}

impl Stream {
    /// What is done from now on is done within this time; or does not wait, if that is none.
    fn limit(&mut self, time: Duration) {
        let timed = match self {
            Self::Plain(timed) => timed,
            Self::Tls(tls) => &mut tls.sock,
        };
        timed.limit = if time.is_zero() { Limit::Now { reads: READS } } else { Limit::Until(Instant::now() + time) };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(timed) => timed.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(timed) => timed.flush(),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

/// A connection on which everything ends at a time, however slowly the other side goes on.
struct Timed {
    tcp: TcpStream,
    limit: Limit,
}

/// When it ends.
#[derive(Clone, Copy)]
enum Limit {
    Until(Instant),
    /// At once: nothing is waited for, and there are so many reads, or who sends without pause is read for ever.
    Now {
        reads: u32,
    },
}

impl Timed {
    fn left(until: Instant) -> io::Result<Option<Duration>> {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::WouldBlock.into()) } else { Ok(Some(left)) }
    }

    fn at_once<T>(&mut self, done: impl FnOnce(&mut TcpStream) -> io::Result<T>) -> io::Result<T> {
        // The shortest time that the kernel knows is some milliseconds.
        self.tcp.set_nonblocking(true)?;
        let done = done(&mut self.tcp);
        self.tcp.set_nonblocking(false)?;
        done
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.limit {
            Limit::Until(until) => {
                self.tcp.set_read_timeout(Self::left(*until)?)?;
                self.tcp.read(buffer)
            }
            Limit::Now { reads } => {
                *reads = reads.checked_sub(1).ok_or(ErrorKind::WouldBlock)?;
                self.at_once(|tcp| tcp.read(buffer))
            }
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Limit::Until(until) = self.limit else { return self.at_once(|tcp| tcp.write(bytes)) };
        self.tcp.set_write_timeout(Self::left(until)?)?;
        self.tcp.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::sync::mpsc;

    #[test]
    fn addresses_are_urls_of_this_kind() {
        for (text, uri, host, port, tls) in [
            ("http://a:8080", "ws://a:8080/session", "a", 8080, false),
            ("ws://a/session/", "ws://a/session", "a", 80, false),
            ("https://a.example/guests/1", "wss://a.example/guests/1/session", "a.example", 443, true),
            ("wss://[::1]:1", "wss://[::1]:1/session", "::1", 1, true),
        ] {
            let address: Address = text.parse().unwrap();
            let found = (address.uri.to_string(), address.host.as_str(), address.port, address.tls);
            assert_eq!(found, (uri.to_owned(), host, port, tls));
        }
        for text in
            ["", "a", "a:8080", "/session", "ftp://a", "http://", "http://u@a", "http://a?token=1", "http://a b"]
        {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    /// What comes of connecting to a server that does `serve` with the one connection it gets.
    fn dial(time: Duration, serve: impl FnOnce(TcpStream) + Send + 'static) -> anyhow::Result<Wire> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        std::thread::spawn(move || serve(listener.accept().unwrap().0));
        Wire::dial(&address, time)
    }

    /// The same, if the server begins well.
    fn dial_well(serve: impl FnOnce(WebSocket<TcpStream>) + Send + 'static) -> Wire {
        let wire = dial(PATIENCE, |tcp| {
            #[expect(clippy::result_large_err, reason = "tungstenite's own type")]
            let protocol = |_request: &_, mut response: tungstenite::handshake::server::Response| {
                response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
                Ok(response)
            };
            serve(tungstenite::accept_hdr(tcp, protocol).unwrap());
        });
        wire.unwrap()
    }

    #[test]
    fn who_is_no_guest_is_left() {
        let (done, waiting) = mpsc::channel::<()>();
        let silent = dial(Duration::from_millis(50), move |tcp| {
            let _never = waiting.recv();
            drop(tcp);
        });
        drop(done);
        let other = dial(PATIENCE, |tcp| drop(tungstenite::accept(tcp)));
        let web = dial(PATIENCE, |mut tcp| {
            let _request = tcp.read(&mut [0; 4096]).unwrap();
            tcp.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        });
        for (wire, reason) in [
            (silent, "no answer within 0.05 s"),
            (other, "SubProtocol error"),
            (web, "which answered 200 OK"),
            (dial(PATIENCE, drop), "connecting to ws://127.0.0.1"),
        ] {
            let error = format!("{:#}", wire.err().expect("no guest"));
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn all_addresses_have_one_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let error = Wire::dial(&address, Duration::ZERO).err().unwrap().to_string();
        assert!(error.ends_with("no answer within 0 s"), "{error}");
    }

    #[test]
    fn why_no_address_takes_a_connection_is_said() {
        const NO: ErrorKind = ErrorKind::ConnectionRefused;
        const SILENT: ErrorKind = ErrorKind::TimedOut;
        let (now, later) = (Instant::now(), Instant::now() + PATIENCE);
        for (answers, until, expected) in [
            (&[Err(NO), Ok(1), Ok(2)][..], later, Ok(Some(1))),
            (&[Err(SILENT), Err(NO), Err(SILENT)], later, Err(NO)),
            (&[Err(SILENT)], later, Err(SILENT)),
            (&[], later, Err(ErrorKind::NotFound)),
            (&[Ok(1)], now, Ok(None)),
        ] {
            let (mut left, addresses) = (answers.iter(), vec![SocketAddr::from(([127, 0, 0, 1], 1)); answers.len()]);
            let found = connect(addresses.into_iter(), until, |_, _| left.next().unwrap().map_err(io::Error::from));
            assert_eq!(found.map_err(|error| error.kind()), expected, "{answers:?}");
        }
    }

    #[test]
    fn messages_have_a_size_and_are_binary() {
        for (message, reason) in [
            (Message::binary(vec![1; MESSAGE]), None),
            (Message::binary(vec![1; MESSAGE + 1]), Some("too long")),
            (Message::text("1"), Some("not of a session")),
            (Message::Close(None), Some("closed the connection")),
        ] {
            let size = message.len();
            let mut wire = dial_well(move |mut socket| {
                socket.send(Message::Ping(vec![1].into())).unwrap();
                socket.send(message).unwrap();
                let _gone = socket.read();
            });
            match (wire.expect(), reason) {
                (Ok(message), None) => assert_eq!(message.len(), size),
                (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{error}"),
                (found, reason) => panic!("{found:?} {reason:?}"),
            }
        }
    }

    #[test]
    fn what_is_late_is_not_lost() {
        let (send, sent) = mpsc::channel::<()>();
        let mut wire = dial_well(move |mut socket| {
            // A binary frame of three bytes (RFC 6455, section 5.2), in two parts.
            socket.get_mut().write_all(&[0x82, 3, 1]).unwrap();
            sent.recv().unwrap();
            socket.get_mut().write_all(&[2, 3]).unwrap();
            let _gone = socket.read();
        });
        assert_eq!(wire.receive(Duration::from_millis(20)).unwrap(), None);
        send.send(()).unwrap();
        // Not even waiting is needed for it.
        let until = Instant::now() + PATIENCE;
        let late = loop {
            match wire.receive(Duration::ZERO).unwrap() {
                None if Instant::now() < until => std::thread::yield_now(),
                found => break found,
            }
        };
        assert_eq!(late, Some(vec![1, 2, 3]));
    }

    #[test]
    fn who_sends_without_pause_is_not_read_for_ever() {
        // Whole pings, and parts of a message that never ends (RFC 6455, section 5.2): empty frames in either case.
        for (first, frame) in [([0x89, 0], [0x89, 0]), ([2, 0], [0, 0])] {
            let mut wire = dial_well(move |mut socket| {
                let tcp = socket.get_mut();
                let frames = frame.repeat(32 << 10);
                let mut sent = tcp.write_all(&first);
                while sent.is_ok() {
                    sent = tcp.write_all(&frames);
                }
            });
            // Later there is always something to read.
            assert_eq!(wire.receive(Duration::from_millis(100)).unwrap(), None);
            assert_eq!(wire.receive(Duration::ZERO).unwrap(), None);
        }
    }
}
