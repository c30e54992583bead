//! What users and the model say comes out nowhere but at the other end of its session.

use crate::PATIENCE;
use crate::guest::Guest;
use crate::peer::{Line, Peer, chat};
use channel::Shaping;
use openai::{Failure, Finish, Frame, Usage, read_request};
use simulate::canary::Canary;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is asked and what is answered, each without a space, so that nobody takes it apart.
const PROMPT: &str = "xylophone-4711-quince";
const ANSWER: &str = "marmalade-0815-zeppelin";

/// A worker that answers, and dies, fails or says what it may not in the middle, as it is asked to.
pub(crate) fn indiscreet(stream: &mut UnixStream) -> io::Result<()> {
    Frame::Ready.write(stream)?;
    let Ok(request) = read_request(stream) else { return Ok(()) };
    Frame::Text(ANSWER.into()).write(stream)?;
    match request.messages[0].content.split(' ').next() {
        Some("die") => Ok(()),
        Some("fail") => Frame::Failed(Failure::Engine).write(stream),
        Some("babble") => stream.write_all(ANSWER.as_bytes()),
        Some("hang") => stream.read(&mut [0]).map(drop),
        _ => Frame::Done(Finish::Stop, Usage { prompt: 100, completion: 200 }).write(stream),
    }
}

/// All that comes of one request in clear.
fn http(at: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // What is refused may end abruptly.
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn what_is_said_comes_out_nowhere_else() {
    let guest = Guest::start("indiscreet");
    let wire = Arc::new(Mutex::new(Vec::new()));
    let open = |shaping, seed| {
        let wire = Arc::clone(&wire);
        let tap = Box::new(move |_, message: Vec<u8>| {
            wire.lock().unwrap().extend_from_slice(&message);
            vec![message]
        });
        Peer::open(Line::dial(guest.session, PATIENCE, tap).unwrap(), shaping, seed).unwrap()
    };
    // Every way in which a request can end, and more sessions than metrics wait for.
    for (seed, shaping) in [Shaping::Off, Shaping::Bucket, Shaping::Paced].into_iter().cycle().take(12).enumerate() {
        let mut peer = open(shaping, seed as u64);
        let reply = peer.call(&chat(&format!("answer {PROMPT}")).to_bytes()).unwrap();
        assert!(reply.done && reply.text.as_deref() == Some(ANSWER));
    }
    for word in ["die", "fail", "babble"] {
        let reply = open(Shaping::Off, 1).call(&chat(&format!("{word} {PROMPT}")).to_bytes()).unwrap();
        assert!(!reply.done && reply.text.as_deref() == Some(ANSWER), "{word}");
    }
    let mut members = chat(PROMPT);
    members.body = String::from_utf8(members.body).unwrap().replace("\"model\"", &format!("\"{PROMPT}\"")).into_bytes();
    let refused = open(Shaping::Off, 1).call(&members.to_bytes()).unwrap().refused;
    assert!(refused.is_some_and(|reason| reason.contains(PROMPT)), "it is told to who has asked");
    // Nobody waits for the answer.
    let mut gone = open(Shaping::Off, 1);
    for message in gone.channel.request(&chat(&format!("hang {PROMPT}")).to_bytes(), Duration::ZERO).unwrap() {
        gone.line.send(message).unwrap();
    }
    drop(gone);

    let mut public = vec![wire.lock().unwrap().clone()];
    for request in ["GET /healthz", "GET /readyz", "GET /boot", "GET /session"] {
        public.push(http(guest.session, &format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n")));
    }
    // Somebody who has mistaken the one port for the other, or for an OpenAI server.
    for at in [guest.session, guest.metrics] {
        let body = format!(r#"{{"messages":[{{"role":"user","content":"{PROMPT}"}}]}}"#);
        let length = body.len();
        for request in [
            format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"),
            format!("GET /{PROMPT} HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("GET /session?{PROMPT} HTTP/1.1\r\nHost: x\r\n\r\n"),
            format!("{PROMPT}\r\n\r\n"),
        ] {
            public.push(http(at, &request));
        }
    }
    let page = || String::from_utf8(http(guest.metrics, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")).unwrap();
    // Some of what was refused nobody has even looked at.
    for line in
        ["agent_requests_total{route=\"chat\",outcome=\"complete\"} 10\n", "agent_rejected_total{input=\"http\"} 9\n"]
    {
        scene::wait_until(|| page().contains(line));
    }
    public.push(page().into_bytes());
    let log = guest.end();
    assert!(log.contains("event=serving reason=ready\n"), "expected a log, found {log}");
    public.push(log.into_bytes());

    for canary in [PROMPT, ANSWER].map(Canary::new) {
        for said in &public {
            assert_eq!(canary.find(said), None, "{} is in {}", canary.text(), String::from_utf8_lossy(said));
        }
    }
}
