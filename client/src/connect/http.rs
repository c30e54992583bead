//! As much of an HTTP/1.1 server as an API on this machine needs: heads and bodies bounded in bytes and time, answers
//! whole or in chunks, and the connection kept for the next request. It is blocking, a thread to a connection, as the
//! sessions behind it are.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Bytes of a request's line and header fields.
const MAX_HEAD: usize = 16 << 10;
/// Header fields of a request.
const MAX_FIELDS: usize = 64;
/// From the first byte of a head to its last, of who has shown the token.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// From the end of a head to the end of its body.
const BODY_TIME: Duration = Duration::from_secs(30);
/// From the end of an answer to the next request.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// From the connection to the only request of who has not shown the token.
const STRANGER_TIME: Duration = Duration::from_secs(10);
/// In all, for a client to take what fills its window in one answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// What is still read of a request that was refused, so that the refusal arrives, and how long.
const DRAIN: usize = 1 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// A client.
pub(super) struct Connection {
    stream: TcpStream,
    /// Read, and part of nothing yet.
    buffer: Vec<u8>,
    /// Whether the client has shown the token.
    trusted: bool,
    /// How long the client may still keep us waiting with the answer.
    patience: Duration,
}

/// A request but for its body.
pub(super) struct Head {
    pub(super) method: String,
    /// As it was sent, with its query.
    pub(super) path: String,
    fields: Vec<(String, Vec<u8>)>,
    /// Bytes of the body.
    pub(super) length: u64,
    /// Whether the client waits for a word before it sends the body.
    expects: bool,
    /// Whether it may send another request afterwards.
    pub(super) keep: bool,
}

/// What can come instead of a request.
pub(super) enum Unread {
    /// Nothing more, or not in time: there is nobody to answer.
    Ended,
    /// No request of this protocol: to be answered with this status and text, and nothing after it.
    Refused(u16, &'static str),
}

impl From<io::Error> for Unread {
    fn from(_: io::Error) -> Self {
        Self::Ended
    }
}

/// An answer that is whole.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Another header field.
    pub(super) field: Option<(&'static str, &'static str)>,
    pub(super) body: Vec<u8>,
}

impl Head {
    /// The values of a header field, each time it is there.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &[u8]> {
        let named = move |(found, _): &&(String, Vec<u8>)| found.eq_ignore_ascii_case(name);
        self.fields.iter().filter(named).map(|(_, value)| value.as_slice())
    }

    /// The value of a header field that is there once.
    pub(super) fn one(&self, name: &'static str) -> Option<&[u8]> {
        let mut all = self.all(name);
        let first = all.next();
        first.filter(|_| all.next().is_none())
    }
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::new(), trusted: false, patience: WRITE_TIME })
    }

    /// The client has shown the token.
    pub(super) fn trust(&mut self) {
        self.trusted = true;
    }

    /// Whether it has. Who has not gets one answer, or strangers could keep all connections with requests that need no
    /// token or have a wrong one.
    pub(super) fn trusted(&self) -> bool {
        self.trusted
    }

    /// How long the next request may take to come.
    fn idle(&self) -> Duration {
        if self.trusted { IDLE_TIME } else { STRANGER_TIME }
    }

    /// When a head whose first byte has come must be whole. To who has not shown the token it is what it was before.
    fn begun(&self, deadline: Instant) -> Instant {
        if self.trusted { Instant::now() + HEAD_TIME } else { deadline }
    }

    /// The address that the client has connected to.
    pub(super) fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// The head of the next request.
    pub(super) fn head(&mut self) -> Result<Head, Unread> {
        let mut deadline = Instant::now() + if self.buffer.is_empty() { self.idle() } else { HEAD_TIME };
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut parsed = httparse::Request::new(&mut fields);
            match parsed.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => {
                    let head = Head::of(&parsed);
                    self.buffer.drain(..length);
                    self.patience = WRITE_TIME;
                    return head;
                }
                Ok(httparse::Status::Partial) if self.buffer.len() < MAX_HEAD => {}
                Ok(_) | Err(httparse::Error::TooManyHeaders) => {
                    return Err(Unread::Refused(431, "the head of the request is too large"));
                }
                Err(_) => return Err(Unread::Refused(400, "expected a request of HTTP/1.1")),
            }
            if self.buffer.is_empty() {
                self.read(deadline)?;
                deadline = self.begun(deadline);
            } else {
                self.read(deadline)?;
            }
        }
    }

    /// The body that belongs to `head`, whose length its reader has found to be bearable.
    pub(super) fn body(&mut self, head: &Head) -> Result<Vec<u8>, Unread> {
        let length = usize::try_from(head.length).map_err(|_| Unread::Ended)?;
        if head.expects && self.buffer.is_empty() {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let deadline = Instant::now() + BODY_TIME;
        while self.buffer.len() < length {
            self.read(deadline)?;
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    /// Sends a whole answer.
    pub(super) fn answer(&mut self, answer: &Answer, keep: bool) -> io::Result<()> {
        let Answer { status, content_type, field, body } = answer;
        let mut head = head(*status, content_type, keep);
        if let Some((name, value)) = field {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        self.write(&[head.as_bytes(), body].concat())
    }

    /// Begins an answer in pieces.
    pub(super) fn begin(&mut self, content_type: &str, keep: bool) -> io::Result<()> {
        let head = head(200, content_type, keep) + "Transfer-Encoding: chunked\r\n\r\n";
        self.write(head.as_bytes())
    }

    /// Sends a piece, which must not be empty.
    pub(super) fn piece(&mut self, piece: &[u8]) -> io::Result<()> {
        let size = format!("{:x}\r\n", piece.len());
        self.write(&[size.as_bytes(), piece, b"\r\n"].concat())
    }

    /// Ends an answer in pieces. Without it the client knows that it has not all of it.
    pub(super) fn end(&mut self) -> io::Result<()> {
        self.write(b"0\r\n\r\n")
    }

    /// Whether the client has closed the connection.
    pub(super) fn gone(&self) -> bool {
        let peek = || {
            self.stream.set_nonblocking(true)?;
            let peeked = self.stream.peek(&mut [0]);
            self.stream.set_nonblocking(false)?;
            peeked
        };
        match peek() {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Closes the connection so that what was sent last arrives: a client that is still sending would have it thrown away.
    pub(super) fn close(mut self) {
        let deadline = Instant::now() + DRAIN_TIME;
        let mut left = DRAIN;
        if self.stream.shutdown(Shutdown::Write).is_err() {
            return;
        }
        while left > 0 {
            self.buffer.clear();
            match self.read(deadline) {
                Ok(()) => left = left.saturating_sub(self.buffer.len()),
                Err(_) => return,
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let until = Instant::now() + self.patience;
        while !bytes.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.stream.set_write_timeout(Some(left))?;
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.patience = until.saturating_duration_since(Instant::now());
        Ok(())
    }

    /// Reads some more into the buffer.
    fn read(&mut self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut bytes = [0; 8 << 10];
        match self.stream.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }
}

impl Head {
    /// What HTTP leaves open is refused: there is nobody in between who could read it in another way.
    fn of(parsed: &httparse::Request<'_, '_>) -> Result<Self, Unread> {
        let refused = |status, text| Err(Unread::Refused(status, text));
        let (Some(method), Some(path), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
            return refused(400, "expected a request of HTTP/1.1");
        };
        if version != 1 {
            return refused(505, "expected HTTP/1.1");
        }
        let fields = parsed.headers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
        let mut head = Self { method: method.into(), path: path.into(), fields, length: 0, expects: false, keep: true };
        if head.all("transfer-encoding").next().is_some() {
            return refused(411, "expected Content-Length instead of Transfer-Encoding");
        }
        if head.all("content-length").next().is_some() {
            let digits = head.one("content-length").filter(|value| value.iter().all(u8::is_ascii_digit));
            let length = digits.and_then(|value| str::from_utf8(value).ok()?.parse().ok());
            let Some(length) = length else { return refused(400, "expected one Content-Length, a number") };
            head.length = length;
        }
        match head.one("expect").map(<[u8]>::to_ascii_lowercase).as_deref() {
            None if head.all("expect").next().is_none() => {}
            Some(b"100-continue") => head.expects = true,
            _ => return refused(417, "expected no expectation but 100-continue"),
        }
        let closes =
            |value: &[u8]| value.split(|byte| *byte == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(b"close"));
        let keep = !head.all("connection").any(closes);
        head.keep = keep;
        Ok(head)
    }
}

/// The beginning of an answer's head. Nothing in it lets a page of another origin read the answer (CORS).
fn head(status: u16, content_type: &str, keep: bool) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    };
    let connection = if keep { "keep-alive" } else { "close" };
    format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {content_type}\r\nCache-Control: no-store\r\n\
         X-Content-Type-Options: nosniff\r\nConnection: {connection}\r\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn who_takes_an_answer_too_slowly_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut client = Connection::new(listener.accept().unwrap().0).unwrap();
        let now = Instant::now();
        assert_eq!((client.idle(), client.begun(now), client.patience), (STRANGER_TIME, now, WRITE_TIME));
        client.trust();
        assert!(client.idle() == IDLE_TIME && client.begun(now) >= now + HEAD_TIME);
        client.patience = Duration::from_millis(300);
        // It always takes something, so that no single write takes long.
        std::thread::spawn(move || {
            while slow.read(&mut [0; 4 << 10]).is_ok_and(|read| read > 0) {
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let answer = Answer { status: 200, content_type: "", field: None, body: vec![0; 64 << 20] };
        assert!(client.answer(&answer, true).is_err());
    }
}
