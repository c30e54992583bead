//! A web server for tests that does what it is told, also what no server should do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How a path is answered.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With the bytes, or the part of them that was asked for.
    File(Vec<u8>),
    /// With all the bytes, whatever range was asked for.
    WholeFile(Vec<u8>),
    /// With a length of all bytes, or the part asked for, but at most so many of them; then the connection ends.
    Truncated(Vec<u8>, usize),
    /// The same, but then nothing happens for a while.
    Stalled(Vec<u8>, usize),
    /// With bytes and no length.
    Unmeasured(Vec<u8>),
    /// With a status and nothing else.
    Status(u16),
    /// With a redirection.
    Redirect(String),
    /// Once with the first, then with the second.
    First(Box<Reply>, Box<Reply>),
}

/// A running server, and what it was asked for: `GET /path 5-`.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn new(replies: impl IntoIterator<Item = (&'static str, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies: BTreeMap<String, Reply> =
            replies.into_iter().map(|(path, reply)| (path.to_owned(), reply)).collect();
        let (replies, seen) = (Arc::new(Mutex::new(replies)), Arc::new(Mutex::new(Vec::new())));
        let seen_here = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (replies, seen) = (Arc::clone(&replies), Arc::clone(&seen_here));
                // A client that hangs up is no failure of the server's.
                std::thread::spawn(move || serve(stream?, &replies, &seen));
            }
        });
        Self { url, seen }
    }

    /// The requests so far, forgotten afterwards.
    pub(crate) fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().unwrap())
    }
}

fn serve(
    mut stream: TcpStream,
    replies: &Mutex<BTreeMap<String, Reply>>,
    seen: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let (mut head, mut range) = (String::new(), None);
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut head)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("range: bytes=") {
            range = value.trim().strip_suffix('-').and_then(|from| from.parse::<usize>().ok());
        }
    }
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let shown = range.map(|from| format!(" {from}-")).unwrap_or_default();
    seen.lock().unwrap().push(format!("{method} {path}{shown}"));
    let reply = {
        let mut replies = replies.lock().unwrap();
        match replies.get(path).cloned() {
            Some(Reply::First(first, then)) => {
                replies.insert(path.to_owned(), *then);
                *first
            }
            reply => reply.unwrap_or(Reply::Status(404)),
        }
    };
    let (bytes, most, stall) = match reply {
        Reply::Status(status) => {
            return write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        Reply::Redirect(to) => {
            return write!(
                stream,
                "HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        Reply::Unmeasured(bytes) => {
            write!(stream, "HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")?;
            return stream.write_all(&bytes);
        }
        Reply::WholeFile(bytes) => {
            range = None;
            (bytes, usize::MAX, false)
        }
        Reply::File(bytes) => (bytes, usize::MAX, false),
        Reply::Truncated(bytes, most) => (bytes, most, false),
        Reply::Stalled(bytes, most) => (bytes, most, true),
        Reply::First(..) => unreachable!("a reply comes first only once"),
    };
    let from = range.unwrap_or(0).min(bytes.len());
    let part = &bytes[from..];
    let length = part.len();
    match range {
        Some(_) if from == bytes.len() => {
            write!(stream, "HTTP/1.1 416 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?
        }
        Some(_) => write!(
            stream,
            "HTTP/1.1 206 x\r\nContent-Range: bytes {from}-{}/{}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
            bytes.len() - 1,
            bytes.len()
        )?,
        None => write!(stream, "HTTP/1.1 200 x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?,
    }
    if method != "HEAD" {
        stream.write_all(&part[..most.min(length)])?;
    }
    stream.flush()?;
    if stall {
        // Until the client has had enough: one that waits for ever fails its test by never ending.
        stream.read_to_end(&mut Vec::new())?;
    }
    Ok(())
}
