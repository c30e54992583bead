//! A web server for tests that does what it is told, also what no server should do.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How a path, query included, is answered. Headers are whole lines with their ends.
#[derive(Clone)]
pub(crate) enum Reply {
    /// With the bytes and these headers.
    File(Vec<u8>, String),
    /// With a length of all bytes, but only so many of them; then the connection ends.
    Truncated(Vec<u8>, usize),
    /// The same, but then nothing happens until the client hangs up.
    Stalled(Vec<u8>, usize),
    /// With bytes and no length.
    Unmeasured(Vec<u8>),
    /// With a status and these headers.
    Status(u16, String),
    /// With a redirection.
    Redirect(String),
    /// Not at all.
    Silent,
    /// With what is not HTTP.
    Garbage,
    /// Once with the first, then with the second.
    First(Box<Reply>, Box<Reply>),
}

/// A running server, and the paths it was asked for.
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn new(replies: impl IntoIterator<Item = (impl Into<String>, Reply)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let replies: BTreeMap<String, Reply> = replies.into_iter().map(|(path, reply)| (path.into(), reply)).collect();
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
    let mut head = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut head)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 && line != "\r\n" {
        line.clear();
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    seen.lock().unwrap().push(path.clone());
    let reply = {
        let mut replies = replies.lock().unwrap();
        match replies.get(&path).cloned() {
            Some(Reply::First(first, then)) => {
                replies.insert(path, *then);
                *first
            }
            reply => reply.unwrap_or(Reply::Status(404, String::new())),
        }
    };
    let end = "Connection: close\r\n\r\n";
    let whole = |bytes: &[u8]| format!("HTTP/1.1 200 x\r\nContent-Length: {}\r\n{end}", bytes.len());
    match reply {
        Reply::File(bytes, headers) => {
            write!(stream, "HTTP/1.1 200 x\r\n{headers}Content-Length: {}\r\n{end}", bytes.len())?;
            stream.write_all(&bytes)
        }
        Reply::Truncated(bytes, most) => {
            stream.write_all(&[whole(&bytes).as_bytes(), bytes.get(..most).unwrap_or(&bytes)].concat())
        }
        Reply::Stalled(bytes, most) => {
            stream.write_all(&[whole(&bytes).as_bytes(), bytes.get(..most).unwrap_or(&bytes)].concat())?;
            reader.read_line(&mut line).map(drop)
        }
        Reply::Unmeasured(bytes) => {
            write!(stream, "HTTP/1.1 200 x\r\n{end}")?;
            stream.write_all(&bytes)
        }
        Reply::Status(status, headers) => {
            write!(stream, "HTTP/1.1 {status} x\r\n{headers}Content-Length: 0\r\n{end}")
        }
        Reply::Redirect(to) => write!(stream, "HTTP/1.1 302 x\r\nLocation: {to}\r\nContent-Length: 0\r\n{end}"),
        Reply::Silent => Ok(()),
        Reply::Garbage => stream.write_all(b"\0\0\0 what?\r\n\r\n"),
        Reply::First(..) => unreachable!("a reply comes first only once"),
    }
}
