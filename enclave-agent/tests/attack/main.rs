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
                let answer = Line::dial(guest.session, PATIENCE, man(way, number, act, &done))
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

/// A part of an answer that is cut off is never taken for all of it, and one of which nothing is, is.
#[test]
fn what_is_cut_off_is_no_answer() {
    let guest = Guest::start("open");
    let question = "word ".repeat(2000);
    for shaping in [Shaping::Paced, Shaping::Bucket] {
        for kept in [1, 10, usize::MAX] {
            let (mut down, cut) = (0_usize, Arc::new(AtomicBool::new(false)));
            let cutting = Arc::clone(&cut);
            // The evidence and the handshake come first.
            let scissors = Box::new(move |way, message| {
                down += usize::from(way == Way::Down);
                if way == Way::Up || down.saturating_sub(2) <= kept {
                    return vec![message];
                }
                cutting.store(true, Ordering::Relaxed);
                Vec::new()
            });
            let line = Line::dial(guest.session, PATIENCE, scissors).unwrap();
            let answer = Peer::open(line, shaping, 1).unwrap().ask(&question);
            let whole = kept == usize::MAX;
            assert_eq!(cut.load(Ordering::Relaxed), !whole, "{shaping:?} {kept}");
            assert_eq!(answer.ok().as_ref(), whole.then_some(&question), "{shaping:?} {kept}");
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
#[expect(clippy::print_stdout, reason = "how far from its limit it is, for whoever runs this by hand")]
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

/// A client that was left alone ends the session, whatever it sends that is empty.
#[test]
fn empty_messages_keep_no_session_open() {
    let guest = Guest::start("idle");
    let mut peer = Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), Shaping::Paced, 1).unwrap();
    // A client sends one after each second of an answer. Here they are kept until it is over.
    for message in peer.request(&chat(&"word ".repeat(5500)).to_bytes()).unwrap() {
        peer.line.send(message).unwrap();
    }
    let mut beats = Vec::new();
    while !peer.channel.is_idle() {
        let message = peer.line.receive().unwrap();
        beats.extend(peer.take(&message).unwrap().send);
    }
    assert!(beats.len() >= 5, "{}", beats.len());
    let apart = guest::IDLE_TIME * 3 / 5 / u32::try_from(beats.len()).unwrap();
    let mut last = Instant::now();
    for beat in beats {
        thread::sleep(apart);
        peer.line.send(beat).unwrap();
        last = Instant::now();
    }
    let bye = peer.line.receive().unwrap();
    assert!(peer.take(&bye).unwrap().over);
    assert!(last.elapsed() < guest::IDLE_TIME, "the last of them had the session begin to wait anew");
    guest.end();
}

/// Those who let the agent wait for the end of what they ask have no more of its memory than there is for that, and not for
/// long.
#[test]
fn half_a_request_takes_nothing_from_others() {
    let guest = Guest::start("small");
    let bystander = Bystander::start(guest.session);
    let open =
        |shaping, seed| Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), shaping, seed).unwrap();
    // An answer that is under way, and takes some seconds.
    let question = "word ".repeat(8000);
    let mut slow = open(Shaping::Paced, 1);
    for message in slow.request(&chat(&question).to_bytes()).unwrap() {
        slow.line.send(message).unwrap();
    }
    let mut other = open(Shaping::Off, 2);
    let mut halves = Vec::new();
    // Until there is no room for the smallest.
    for (seed, size) in (3..).zip([[200_000; 20], [20_000; 20], [0; 20]].as_flattened()) {
        let mut peer = open(Shaping::Off, seed);
        let mut messages = peer.request(&vec![0; *size]).unwrap();
        messages.pop();
        // The agent may have had enough of this.
        let _ = messages.into_iter().try_for_each(|message| peer.line.send(message));
        if *size == 0 {
            let half = [&[0x82, 0xfe][..], &16_000_u16.to_be_bytes(), &[0; 15_000]].concat();
            let _ = peer.line.stream().write_all(&half);
        }
        halves.push(peer);
    }
    let ordinary = format!("{} ", "w".repeat(999)).repeat(5);
    for _ in 0..20 {
        assert_eq!(other.ask(&ordinary).unwrap(), ordinary);
    }
    assert_eq!(slow.reply().unwrap().text.as_ref(), Some(&question));
    for peer in &mut halves {
        let ended = peer.line.stream().read_to_end(&mut Vec::new());
        assert!(!ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock), "it is still waited for");
    }
    // What was held for them is there for others.
    assert_eq!(other.ask(&question).unwrap(), question);
    assert!(bystander.end() > 0);
    guest.end();
}

/// Those who take their answers slowly, or not at all, have no worker wait for them.
#[test]
fn slow_readers_hold_no_worker() {
    let guest = Guest::start("small");
    let bystander = Bystander::start(guest.session);
    // A minute of messages each 50 ms, and more than a connection holds of which nothing is read.
    let slow = [Shaping::Paced, Shaping::Off].into_iter().cycle().zip(1..).take(6).map(|(shaping, seed)| {
        let mut peer = Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), shaping, seed).unwrap();
        let text = format!("{} ", "w".repeat(999)).repeat(120);
        for message in peer.request(&chat(&text).to_bytes()).unwrap() {
            peer.line.send(message).unwrap();
        }
        peer
    });
    let slow: Vec<_> = slow.collect();
    let mut other = Peer::open(Line::dial(guest.session, PATIENCE, relay()).unwrap(), Shaping::Off, 7).unwrap();
    for _ in 0..20 {
        assert_eq!(other.ask("my turn?").unwrap(), "my turn?");
    }
    drop(slow);
    assert!(bystander.end() > 0);
    guest.end();
}

/// How many sessions do nothing, and what each may take of the agent's memory, in bytes.
const IDLE: u64 = 2000;
const IDLE_BYTES: u64 = 32 << 10;

#[test]
#[expect(clippy::print_stdout, reason = "how far from its limit it is; docs/benchmarks.md has what `xtask bench` sees")]
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
