//! The handshake and the sealing of a message, beside snow's classical pattern, in turn: a line of times in nanoseconds for
//! each round, in the order of the first line.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use channel::client::{Hello, Verified};
use channel::evidence::{Attestation, Kind};
use channel::server::{self, About, Identity, Session};
use channel::shape::LARGEST;
use channel::{Outcome, Seed, Shaping};
use core::time::Duration;
use std::hint::black_box;
use std::time::Instant;

/// After these first rounds everything is in the caches.
const WARM_UP: usize = 20;
const ROUNDS: usize = 200;
/// Messages of whose time one is the mean.
const MESSAGES: u32 = 200;
const EMPTY: Attestation<'_> =
    Attestation { kind: Kind::Snp, report: &[0; 1184], path: None, operator: None, feed: &[0; 16 << 10] };

fn main() {
    // Whoever tests all targets runs this too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
    let guest = Identity::new(Seed::new([1; 32]), about).expect("keys");
    println!("server client seal-256 evidence seal-16384 snow-server snow-client snow-seal-256 snow-seal-16384");
    let mut bulk = established(&guest);
    for round in 0..WARM_UP + ROUNDS {
        let times = ours(&guest).into_iter().chain([large(&mut bulk)]).chain(snows());
        let line: Vec<_> = times.map(|time| time.as_nanos().to_string()).collect();
        if round >= WARM_UP {
            println!("{}", line.join(" "));
        }
    }
}

/// What `run` returns, and how much longer `total` is.
fn timed<T>(total: &mut Duration, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = black_box(run());
    *total += start.elapsed();
    value
}

/// Both sides' time for a handshake; for a paced message; and the server's for the evidence message.
fn ours(guest: &Identity) -> [Duration; 4] {
    let [mut server, mut client, mut seal, mut evidence] = [Duration::ZERO; 4];
    let (hello, m1) = timed(&mut client, || Hello::new(Seed::new([2; 32]), Shaping::Paced).expect("a handshake"));
    let (answer, m2) = timed(&mut server, || server::Hello::answer(guest, Seed::new([3; 32]), &m1).expect("m1"));
    let (connected, m3) = timed(&mut client, || hello.finish(&m2, Duration::ZERO).expect("m2"));
    let attesting = timed(&mut server, || answer.finish(&m3, Duration::ZERO).expect("m3"));
    let (mut session, message) = timed(&mut evidence, || attesting.attest(&EMPTY).expect("evidence"));
    let unverified = connected.evidence(&message).expect("evidence");
    let mut verified = unverified.judge(|_| Ok::<(), ()>(())).expect("a verdict");
    for message in verified.request(b"request", Duration::ZERO).expect("a request") {
        session.receive(&message, Duration::ZERO).expect("a request");
    }
    let text = [b'x'; 237];
    for slot in 1..=MESSAGES {
        let now = channel::shape::INTERVAL * slot;
        timed(&mut seal, || {
            session.write(&text, now).expect("a reply");
            session.poll(now).expect("a message")
        });
    }
    [server, client, seal / MESSAGES, evidence]
}

/// A session without shaping.
fn established(guest: &Identity) -> (Verified<()>, Session) {
    let (hello, m1) = Hello::new(Seed::new([2; 32]), Shaping::Off).expect("a handshake");
    let (answer, m2) = server::Hello::answer(guest, Seed::new([3; 32]), &m1).expect("m1");
    let (connected, m3) = hello.finish(&m2, Duration::ZERO).expect("m2");
    let attesting = answer.finish(&m3, Duration::ZERO).expect("m3");
    let (session, message) = attesting.attest(&EMPTY).expect("evidence");
    let unverified = connected.evidence(&message).expect("evidence");
    (unverified.judge(|_| Ok::<(), ()>(())).expect("a verdict"), session)
}

/// The server's time for one of the largest messages.
fn large((client, server): &mut (Verified<()>, Session)) -> Duration {
    let mut seal = Duration::ZERO;
    for message in client.request(b"request", Duration::ZERO).expect("a request") {
        server.receive(&message, Duration::ZERO).expect("a request");
    }
    let text = [b'x'; LARGEST - 19];
    for _ in 0..MESSAGES {
        let message = timed(&mut seal, || {
            server.write(&text, Duration::ZERO).expect("a reply");
            server.poll(Duration::ZERO).expect("a message").expect("a message")
        });
        assert_eq!(message.len(), LARGEST);
        client.receive(&message, Duration::ZERO).expect("a reply");
    }
    server.finish(Outcome::Complete, Duration::ZERO).expect("a reply");
    let end = server.poll(Duration::ZERO).expect("an end").expect("an end");
    client.receive(&end, Duration::ZERO).expect("an end");
    seal / MESSAGES
}

/// The same for `Noise_NX_25519_ChaChaPoly_SHA256`.
fn snows() -> [Duration; 4] {
    let [mut server, mut client, mut seal, mut large] = [Duration::ZERO; 4];
    let builder = || snow::Builder::new("Noise_NX_25519_ChaChaPoly_SHA256".parse().expect("a pattern"));
    let (mut wire, mut payload) = ([0; 512], [0; 512]);
    let mut initiator = timed(&mut client, || builder().build_initiator().expect("a handshake"));
    let mut responder = timed(&mut server, || {
        builder().local_private_key(&[1; 32]).and_then(snow::Builder::build_responder).expect("a handshake")
    });
    let length = timed(&mut client, || initiator.write_message(&[], &mut wire).expect("m1"));
    let length = timed(&mut server, || {
        responder.read_message(&wire[..length], &mut payload).expect("m1");
        responder.write_message(&[], &mut wire).expect("m2")
    });
    timed(&mut client, || initiator.read_message(&wire[..length], &mut payload).expect("m2"));
    let mut responder = timed(&mut server, || responder.into_transport_mode().expect("a session"));
    timed(&mut client, || initiator.into_transport_mode().expect("a session"));
    for _ in 0..MESSAGES {
        timed(&mut seal, || responder.write_message(&[b'x'; 240], &mut wire).expect("a message"));
    }
    let mut wire = [0; LARGEST];
    for _ in 0..MESSAGES {
        timed(&mut large, || responder.write_message(&[b'x'; LARGEST - 16], &mut wire).expect("a message"));
    }
    [server, client, seal / MESSAGES, large / MESSAGES]
}
