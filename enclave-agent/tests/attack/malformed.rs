//! What no client sends.

use crate::peer::{Line, Peer, channel_seed, chat, relay};
use anyhow::{Context as _, ensure};
use channel::client::Hello;
use channel::shape::{SIZES, SLOT};
use channel::{M1, M3, PATH, SUBPROTOCOL, Shaping};
use fastrand::Rng;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

/// For whatever the agent does about it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends number `number` of them and waits until the agent has let go of the connection.
pub(crate) fn send(at: SocketAddr, number: u64) -> anyhow::Result<()> {
    let mut rng = Rng::with_seed(number);
    match number % 10 {
        0 => not_http(at, &mut rng),
        1 => not_an_upgrade(at, &mut rng),
        2 | 3 => not_a_frame(at, &mut rng),
        4 => not_a_first_message(at, &mut rng),
        5 => changed_first_message(at, &mut rng),
        6 | 7 => not_a_third_message(at, &mut rng),
        8 => not_a_record(at, &mut rng),
        _ => not_a_call(at, &mut rng),
    }
}

fn up_to(rng: &mut Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(..most);
    bytes(rng, length)
}

fn bytes(rng: &mut Rng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes);
    bytes
}

/// One bit turned, the end missing or something added.
fn changed(rng: &mut Rng, message: &[u8]) -> Vec<u8> {
    let mut changed = message.to_vec();
    match rng.u8(..4) {
        0 => changed.truncate(rng.usize(..message.len())),
        1 => changed.extend(bytes(rng, 1 + message.len() % 97)),
        _ => changed[rng.usize(..message.len())] ^= 1 << rng.u8(..8),
    }
    changed
}

fn connect(at: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// What the agent still says until it has ended the connection.
fn last_words(stream: &mut TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => Err(error).context("waiting for the end"),
        _ => Ok(said),
    }
}

fn not_http(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut stream = connect(at)?;
    // The agent may close the connection before it has read all of this.
    let _ = stream.write_all(&up_to(rng, 20_000));
    let _ = stream.shutdown(Shutdown::Write);
    let answer = last_words(&mut stream)?;
    ensure!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "expected a refusal");
    Ok(())
}

fn upgrade() -> [String; 7] {
    [
        format!("GET {PATH} HTTP/1.1"),
        "Host: x".to_owned(),
        "Upgrade: websocket".to_owned(),
        "Connection: Upgrade".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
        format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}"),
    ]
}

fn head(lines: &[String]) -> Vec<u8> {
    [lines.join("\r\n"), "\r\n\r\n".to_owned()].concat().into_bytes()
}

/// An upgrade with one line missing, or with another value.
fn not_an_upgrade(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut lines = upgrade().to_vec();
    // Without Host it is no less of an upgrade.
    let line = [0, 2, 3, 4, 5, 6][rng.usize(..6)];
    match rng.u8(..3) {
        0 if line != 0 => drop(lines.remove(line)),
        1 => lines[line].push_str("x1"),
        _ => lines[line] = lines[line].replace(['e', '3'], "0"),
    }
    let mut stream = connect(at)?;
    stream.write_all(&head(&lines))?;
    let answer = last_words(&mut stream)?;
    ensure!(
        answer.starts_with(b"HTTP/1.1 4"),
        "expected a refusal of {lines:?}, found {}",
        String::from_utf8_lossy(&answer)
    );
    Ok(())
}

/// A WebSocket on which something else than a frame of a client comes.
fn not_a_frame(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut stream = connect(at)?;
    stream.write_all(&head(&upgrade()))?;
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer)?;
    ensure!(answer == b"HTTP/1.1 101", "expected a WebSocket");
    let payload = bytes(rng, 125);
    let frame = |first: u8, second: u8| [&[first, second, 1, 2, 3, 4][..], &payload].concat();
    let sent = match rng.u8(..10) {
        0 => bytes(rng, 3000),
        // Text, a part of a message, the rest of none, a reserved bit, an unknown kind.
        1 => frame(0x81, 0x80 | 125),
        2 => frame(0x02, 0x80 | 125),
        3 => frame(0x80, 0x80 | 125),
        4 => frame(0x82 | 0x10 << rng.u8(..3), 0x80 | 125),
        5 => frame(0x83 + rng.u8(..5), 0x80 | 125),
        // Without a mask; longer than anything that is needed; longer than can be; a ping that is too long.
        6 => frame(0x82, 125),
        7 => [&[0x82, 0x80 | 127][..], &rng.u64(1 << 20..1 << 63).to_be_bytes(), &payload].concat(),
        8 => [&[0x82, 0xff][..], &[0xff; 8], &payload].concat(),
        _ => [&[0x89, 0x80 | 126, 1, 0][..], &bytes(rng, 260)].concat(),
    };
    let _ = stream.write_all(&sent);
    let _ = stream.shutdown(Shutdown::Write);
    last_words(&mut stream).map(drop)
}

/// Says no more, and waits until the agent has ended the connection.
fn ended(line: &mut Line) -> anyhow::Result<()> {
    let stream = line.stream();
    let _ = stream.shutdown(Shutdown::Write);
    last_words(stream).map(drop)
}

fn line(at: SocketAddr) -> anyhow::Result<Line> {
    Line::dial(at, PATIENCE, relay())
}

fn not_a_first_message(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut line = line(at)?;
    // Whatever has the right length and shaping may be two keys.
    let _ = line.send(if rng.bool() { bytes(rng, M1) } else { up_to(rng, 70_000) });
    ended(&mut line)
}

fn changed_first_message(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut line = line(at)?;
    let (hello, m1) = Hello::new(channel_seed(rng.u64(..)), Shaping::Paced)?;
    let mutant = changed(rng, &m1);
    let _ = line.send(mutant);
    if let Ok(m2) = line.receive() {
        ensure!(hello.finish(&m2, Duration::ZERO).is_err(), "expected no session");
    }
    ended(&mut line)
}

fn not_a_third_message(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut line = line(at)?;
    let (hello, m1) = Hello::new(channel_seed(rng.u64(..)), Shaping::Bucket)?;
    line.send(m1.clone())?;
    let (_, m3) = hello.finish(&line.receive()?, Duration::ZERO)?;
    let message = match rng.u8(..4) {
        0 => bytes(rng, M3),
        1 => m1,
        _ => changed(rng, &m3),
    };
    line.send(message)?;
    ensure!(line.receive().is_err(), "expected no evidence");
    ended(&mut line)
}

fn not_a_record(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let shaping = [Shaping::Paced, Shaping::Bucket, Shaping::Off][rng.usize(..3)];
    let mut peer = Peer::open(line(at)?, shaping, rng.u64(..))?;
    let genuine = peer.channel.request(&chat("hello").to_bytes(), Duration::ZERO)?;
    let message = match rng.u8(..3) {
        0 => vec![0x5a; SIZES[rng.usize(..SIZES.len())]],
        1 => up_to(rng, 40_000),
        _ => changed(rng, &genuine[0]),
    };
    peer.line.send(message)?;
    if let Ok(bye) = peer.line.receive() {
        ensure!(bye.len() <= SLOT, "expected no answer");
    }
    ended(&mut peer.line)
}

/// What the channel takes and the agent must not.
fn not_a_call(at: SocketAddr, rng: &mut Rng) -> anyhow::Result<()> {
    let mut peer = Peer::open(line(at)?, Shaping::Off, rng.u64(..))?;
    let right = chat("hello").to_bytes();
    let content = match rng.u8(..4) {
        0 => up_to(rng, 5000),
        1 => right[..rng.usize(..right.len())].to_vec(),
        2 => [&right[..], b"x"].concat(),
        _ => {
            let mut content = right.clone();
            content[rng.usize(..2)] = rng.u8(3..);
            content
        }
    };
    if let Ok(reply) = peer.call(&content) {
        ensure!(reply.text.is_none() && !reply.done, "expected a refusal");
    }
    ended(&mut peer.line)
}
