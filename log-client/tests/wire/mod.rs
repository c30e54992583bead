//! Talking over the loopback interface: servers of one answer at a time, and clients that say what they want.

#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body: String,
}

/// Serves in a thread of its own until the test ends, and gives the address.
pub(crate) fn spawned(serve: impl FnOnce(TcpListener) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || serve(listener));
    format!("http://{address}")
}

/// A server that answers the bodies it gets, one after the other.
pub(crate) fn answering(mut answer: impl FnMut(String) -> Answer + Send + 'static) -> String {
    spawned(move |listener| {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") {
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0].to_ascii_lowercase());
            }
            let head = String::from_utf8(head).unwrap();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let Answer { status, content_type, body } = answer(String::from_utf8(body).unwrap());
            let head = format!(
                "HTTP/1.1 {status} x\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            let _gone = stream.write_all((head + &body).as_bytes());
        }
    })
}

/// Sends a request whose line and first headers are `head`; everything that comes back.
pub(crate) fn request(address: &str, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    stream.write_all(format!("{head}Host: localhost\r\nConnection: close\r\n\r\n{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Posts to a witness.
pub(crate) fn add_checkpoint(address: &str, body: &str) -> Answer {
    let head = format!("POST /add-checkpoint HTTP/1.1\r\nContent-Length: {}\r\n", body.len());
    let answer = request(address, &head, body);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let content_type = head.lines().find_map(|line| line.strip_prefix("Content-Type: ")).unwrap_or_default();
    Answer { status: head[9..12].parse().unwrap(), content_type: content_type.to_owned(), body: body.to_owned() }
}
