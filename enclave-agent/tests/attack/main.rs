//! People who do to the agent what they should not, beside one who does what everybody does and must not notice.
//!
//! The agent is a process of its own, started from this same program, so that its memory and what it says can be seen.

mod canary;
mod guest;
mod malformed;
mod man;
mod peer;

use channel::client::Hello;
use channel::{Shaping, shape};
use guest::{Bystander, Guest};
use man::{ACTS, Act, man};
use peer::{Line, Peer, Way, channel_seed, chat, relay};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// For what must happen, on however busy a machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whatever is done to whichever message, the client gets the right answer or none, and the agent goes on.
#[test]
fn a_man_in_the_middle_can_only_end_a_session() {
    let guest = Guest::start("open");
    let bystander = Bystander::start(guest.session);
    // Two messages, and in the answer, which is the same text, at least one.
    let question = "word ".repeat(5000);
    let mut attempts = 0;
    for way in [Way::Up, Way::Down] {
        for number in 0..4 {
            for act in ACTS {
                let done = Arc::new(AtomicBool::new(false));
                // Long enough for an answer; who was robbed of one waits for it in vain.
                let patience = Duration::from_secs(if matches!(act, Act::Withhold | Act::Reorder) { 1 } else { 10 });
                let answer = Line::dial(guest.session, patience, man(way, number, act, &done))
                    .and_then(|line| Peer::open(line, Shaping::Off, 1))
                    .and_then(|mut peer| peer.ask(&question));
                let what = format!("{act:?} of message {number} {way:?}");
                if done.load(Ordering::Relaxed) {
                    assert!(answer.is_err(), "{what}");
                    attempts += 1;
                } else {
                    // There was no such message.
                    assert!(answer.is_ok_and(|answer| answer == question) || act == Act::Reorder, "{what}");
                }
            }
        }
    }
    // All four of the client's, and of the agent's at least the handshake, the evidence and one of the answer.
    assert!(attempts >= 50, "{attempts}");
    assert!(bystander.end() > 0);
    guest.end();
}

/// A part of an answer that is cut off is never taken for all of it.
#[test]
fn what_is_cut_off_is_no_answer() {
    let guest = Guest::start("open");
    for shaping in [Shaping::Paced, Shaping::Bucket] {
        for kept in [1, 10] {
            let mut down = 0;
            // The evidence and the handshake come first.
            let cut = Box::new(move |way, message| {
                down += usize::from(way == Way::Down);
                if way == Way::Down && down > 2 + kept { Vec::new() } else { vec![message] }
            });
            let line = Line::dial(guest.session, Duration::from_secs(3), cut).unwrap();
            let mut peer = Peer::open(line, shaping, 1).unwrap();
            assert!(peer.ask(&"word ".repeat(2000)).is_err(), "{shaping:?} {kept}");
        }
    }
    guest.end();
}

/// How many of [`malformed`] there are.
const MALFORMED: u64 = 10_000;
/// How many at once.
const AT_ONCE: u64 = 8;
/// What all of them together may leave behind, in bytes.
const LEFT_BEHIND: u64 = 24 << 20;

#[test]
#[expect(clippy::print_stdout, reason = "the figure in docs/benchmarks.md")]
fn malformed_input_ends_its_own_connection_and_nothing_else() {
    let guest = Guest::start("open");
    let bystander = Bystander::start(guest.session);
    // What is needed once is there after some of them.
    send_malformed(guest.session, MALFORMED, MALFORMED + 200);
    let before = guest.memory();
    send_malformed(guest.session, 0, MALFORMED);
    let after = guest.memory();
    println!("{} KiB of memory more after {MALFORMED} of them", after.saturating_sub(before) >> 10);
    assert!(bystander.end() > 0);
    assert!(after < before + LEFT_BEHIND, "{before} bytes before, {after} after");
    // Nor does it hold anything of them.
    let mut peer = Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), Shaping::Bucket, 1).unwrap();
    assert_eq!(peer.ask("still there?").unwrap(), "still there?");
    guest.end();
}

fn send_malformed(at: SocketAddr, from: u64, to: u64) {
    let (next, failed) = (AtomicU64::new(from), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        return;
                    }
                    if let Err(error) = malformed::send(at, number) {
                        failed.lock().unwrap().push(format!("{number}: {error:#}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{} failed: {:#?}", failed.len(), &failed[..failed.len().min(10)]);
}

/// Sends that are never answered, one after the other, without waiting for anything.
#[test]
fn a_flood_of_handshakes_is_limited_and_passes() {
    let guest = Guest::start("impatient");
    let bystander = Bystander::start(guest.session);
    let (_, m1) = Hello::new(channel_seed(1), Shaping::Paced).unwrap();
    let begin = Instant::now();
    let mut lines = Vec::new();
    while begin.elapsed() < Duration::from_secs(3) {
        // The agent may have no place for one more.
        if let Ok(mut line) = Line::dial(guest.session, PATIENCE, relay()) {
            let _ = line.send(m1.clone());
            lines.push(line);
        }
        lines.truncate(1000);
    }
    drop(lines);
    // The limit is on what is begun each second, so whoever comes then has a turn.
    let comes_later = || {
        let mut peer = Peer::open(Line::dial(guest.session, PATIENCE, relay())?, Shaping::Bucket, 1)?;
        peer.ask("my turn?")
    };
    let end = Instant::now() + PATIENCE;
    while comes_later().is_err() {
        assert!(Instant::now() < end, "nobody has a turn after the flood");
        thread::sleep(Duration::from_millis(100));
    }
    assert!(bystander.end() > 0);
    guest.end();
}

/// Clients who take all the time there is, each at another point; the agent is told to have little.
#[test]
fn slow_clients_are_let_go_of() {
    let guest = Guest::start("impatient");
    let bystander = Bystander::start(guest.session);
    let at = guest.session;
    let upgraded = |at| Line::dial(at, PATIENCE, relay()).unwrap();
    let slow: [(&str, &(dyn Fn() -> TcpStream + Sync)); 7] = [
        ("says nothing", &|| TcpStream::connect(at).unwrap()),
        ("says half a request", &|| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(b"GET /session HTTP/1.1\r\nHost:").unwrap();
            stream
        }),
        ("upgrades and says nothing", &|| upgraded(at).stream().try_clone().unwrap()),
        ("sends half a first message", &|| {
            let mut line = upgraded(at);
            line.stream().write_all(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 4, 0xc1, 0, 0, 0, 0, 1, 2, 3]).unwrap();
            line.stream().try_clone().unwrap()
        }),
        ("does not finish the handshake", &|| {
            let mut line = upgraded(at);
            line.send(Hello::new(channel_seed(1), Shaping::Paced).unwrap().1).unwrap();
            line.receive().unwrap();
            line.stream().try_clone().unwrap()
        }),
        ("asks and does not listen", &|| {
            let mut peer = Peer::open(upgraded(at), Shaping::Off, 1).unwrap();
            for message in peer.channel.request(&chat("hello").to_bytes(), Duration::ZERO).unwrap() {
                peer.line.send(message).unwrap();
            }
            peer.line.stream().try_clone().unwrap()
        }),
        ("wants more signs of life than it takes", &|| {
            let mut peer = Peer::open(upgraded(at), Shaping::Off, 1).unwrap();
            let pings = [&[0x89, 0xfd, 0, 0, 0, 0][..], &[0; 125]].concat().repeat(1000);
            // Until the agent has had enough.
            while peer.line.stream().write_all(&pings).is_ok() {}
            peer.line.stream().try_clone().unwrap()
        }),
    ];
    thread::scope(|scope| {
        for (name, begin) in slow {
            scope.spawn(move || {
                let mut stream = begin();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // Whatever it still says, in the end it closes the connection.
                let ended = stream.read_to_end(&mut Vec::new());
                assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "{name}");
            });
        }
    });
    assert!(bystander.end() > 0);
    guest.end();
}

/// How many sessions do nothing, and what each may take of the agent's memory, in bytes.
const IDLE: u64 = 2000;
const IDLE_BYTES: u64 = 32 << 10;

#[test]
#[expect(clippy::print_stdout, reason = "the figure in docs/benchmarks.md")]
fn idle_sessions_are_small_and_disturb_nobody() {
    let guest = Guest::start("open");
    let bystander = Bystander::start(guest.session);
    let open = |seed| Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), Shaping::Paced, seed).unwrap();
    // What is needed once is there then.
    drop((0..50).map(open).collect::<Vec<_>>());
    let before = guest.memory();
    let mut idle: Vec<_> = (0..IDLE).map(open).collect();
    let each = guest.memory().saturating_sub(before) / IDLE;
    assert!(bystander.end() > 0);
    assert!(each <= IDLE_BYTES, "{each} bytes for each idle session");
    // They are all there.
    for peer in idle.iter_mut().step_by(400) {
        assert_eq!(peer.ask("still there?").unwrap(), "still there?");
    }
    println!("{each} bytes of memory for each of {IDLE} idle sessions");
    guest.end();
}

/// What goes over the wire for two questions of one bucket and their answers of one bucket: the same messages in the same
/// order. That each goes out at its point of the 50 ms grid and not before it is seen here, too; that it is not later is
/// shown in the channel's tests, which have a clock that nothing delays.
#[test]
fn two_answers_of_a_bucket_look_the_same() {
    let guest = Guest::start("open");
    let [one, other, longer] = ["yes", "a longer answer of several words", &"words ".repeat(1000)].map(|question| {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let seeing = Arc::clone(&seen);
        let line = Line::dial(
            guest.session,
            PATIENCE,
            Box::new(move |way, message| {
                seeing.lock().unwrap().push((way, message.len(), Instant::now()));
                vec![message]
            }),
        );
        let mut peer = Peer::open(line.unwrap(), Shaping::Paced, 1).unwrap();
        let begin = seen.lock().unwrap().len();
        assert_eq!(peer.ask(question).unwrap(), question);
        let seen = seen.lock().unwrap();
        let asked = seen[begin].2;
        let down = seen[begin..].iter().filter(|(way, ..)| *way == Way::Down);
        for ((.., at), slot) in down.zip(1..) {
            assert!(*at >= asked + slot * shape::INTERVAL, "message {slot} of the answer came too early");
        }
        seen.iter().map(|(way, size, _)| (*way, *size)).collect::<Vec<_>>()
    });
    assert_eq!(one, other);
    assert!(longer.len() > one.len());
    guest.end();
}
