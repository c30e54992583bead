//! As much of an HTTP/1.1 server as static files and one POST need: a thread for each connection, bounded in number,
//! bytes and time. TLS and names are a reverse proxy's.

use anyhow::Context as _;
use std::io::{BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections at a time; further ones are closed at once.
const MAX_CONNECTIONS: usize = 64;
/// Bytes of a request's line and headers.
const MAX_HEAD: usize = 8 << 10;
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// How long a client may take for one request, and may be idle before the next.
const PATIENCE: Duration = Duration::from_secs(10);

/// A request whose line and headers were understood.
pub(crate) struct Request {
    pub(crate) method: String,
    /// The path and query as they were sent.
    pub(crate) path: String,
    pub(crate) body: Vec<u8>,
}

/// An answer. Every client may read it from any page: nothing here is secret.
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    /// `Cache-Control`.
    pub(crate) cache: &'static str,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// A line of text that is not to be kept.
    pub(crate) fn text(status: u16, text: &str) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", cache: "no-store", body: format!("{text}\n").into() }
    }
}

/// Answers requests with bodies of at most `limit` bytes until the process ends.
pub(crate) fn serve(
    listener: &TcpListener,
    limit: usize,
    answer: impl Fn(&Request) -> Response + Sync,
) -> anyhow::Result<()> {
    let open = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        loop {
            let (stream, _) = listener.accept().context("waiting for a connection")?;
            if open.fetch_add(1, Ordering::Relaxed) >= MAX_CONNECTIONS {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (answer, open) = (&answer, &open);
            scope.spawn(move || {
                // A client that goes away or is too slow concerns nobody else.
                let _gone = connection(&stream, limit, answer);
                open.fetch_sub(1, Ordering::Relaxed);
            });
        }
    })
}

fn connection(stream: &TcpStream, limit: usize, answer: &impl Fn(&Request) -> Response) -> std::io::Result<()> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let (response, more) = match request(&mut reader, stream, limit)? {
            Ok((request, more)) => (answer(&request), more),
            Err(Some(status)) => (Response::text(status, "expected another request"), false),
            Err(None) => return Ok(()),
        };
        write(stream, &response, more)?;
        if !more {
            return Ok(());
        }
    }
}

/// A request and whether the client wants to send more; the status that refuses it; `None` at the end.
type Read = Result<(Request, bool), Option<u16>>;

#[expect(clippy::arithmetic_side_effects, reason = "the clock does not end")]
fn request(reader: &mut BufReader<&TcpStream>, stream: &TcpStream, limit: usize) -> std::io::Result<Read> {
    let deadline = Instant::now() + PATIENCE;
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.set_read_timeout(Some(left(deadline)))?;
        match reader.read(&mut byte)? {
            0 => return Ok(Err(None)),
            _ if head.len() == MAX_HEAD => return Ok(Err(Some(431))),
            _ => head.extend_from_slice(&byte),
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let whole = parsed.parse(&head).is_ok_and(|status| status.is_complete());
    let (true, Some(method), Some(path), Some(version)) = (whole, parsed.method, parsed.path, parsed.version) else {
        return Ok(Err(Some(400)));
    };
    let (method, path) = (method.to_owned(), path.to_owned());
    let header = |name: &str| parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    let close = header("connection").is_some_and(|header| header.value.eq_ignore_ascii_case(b"close"));
    if header("transfer-encoding").is_some() {
        return Ok(Err(Some(411)));
    }
    let length = header("content-length").map(|header| str::from_utf8(header.value).ok()?.parse::<usize>().ok());
    let length = match length {
        None => 0,
        Some(Some(length)) if length <= limit => length,
        Some(Some(_)) => return Ok(Err(Some(413))),
        Some(None) => return Ok(Err(Some(400))),
    };
    let mut body = vec![0; length];
    let mut filled = 0;
    while let Some(rest) = body.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        stream.set_read_timeout(Some(left(deadline)))?;
        match reader.read(rest)? {
            0 => return Ok(Err(None)),
            read => filled = filled.saturating_add(read),
        }
    }
    Ok(Ok((Request { method, path, body }, version == 1 && !close)))
}

/// What is left of a client's time; not zero, which would be for ever.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn write(mut stream: &TcpStream, response: &Response, more: bool) -> std::io::Result<()> {
    let Response { status, content_type, cache, body } = response;
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nCache-Control: {cache}\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: {}\r\n\r\n",
        if *status == 200 { "OK" } else { "Refused" },
        body.len(),
        if more { "keep-alive" } else { "close" },
    );
    stream.write_all(&[head.as_bytes(), body].concat())
}
