//! The model's disk, broken while the model speaks; and what a guest shows to everybody.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// Bytes of a block of dm-verity.
const BLOCK: u64 = 4096;

/// Changes a byte of every block of a disk that is in use, in place.
pub(crate) fn every_block(disk: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(disk).unwrap();
    for block in 0..file.metadata().unwrap().len() / BLOCK {
        let (at, mut byte) = (block * BLOCK + 100, [0]);
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
    }
}

/// Writes into `file` what the guest answers to anybody: its pages, and what it says to who asks for something else.
pub(crate) fn pages(sessions: &str, metrics: u16, secret: &str, file: &Path) {
    let sessions = sessions.strip_prefix("http://").unwrap().to_owned();
    let metrics = format!("127.0.0.1:{metrics}");
    let mut said = String::new();
    for (at, request) in [
        (&sessions, "GET /healthz"),
        (&sessions, "GET /readyz"),
        (&sessions, "GET /boot"),
        (&sessions, "GET /session"),
        (&sessions, &format!("GET /{secret}")),
        (&sessions, &format!("POST /v1/chat/completions?{secret}")),
        (&metrics, "GET /metrics"),
        (&metrics, &format!("GET /{secret}")),
    ] {
        let mut stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "{request} HTTP/1.1\r\nHost: guest\r\nX-Prompt: {secret}\r\n\r\n").unwrap();
        let read = stream.read_to_string(&mut said).unwrap();
        assert!(read > 0, "no answer to {request}");
    }
    assert!(said.contains("agent_handshakes_total"), "metrics are among what the guest says:\n{said}");
    fs::write(file, said).unwrap();
}
