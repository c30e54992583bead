//! Peers and people in the middle who do what they should not.

mod pair;

use channel::client::{Connected, Hello, Unverified};
use channel::evidence::Attestation;
use channel::server::{self, About, Attesting, Identity, Received};
use channel::shape::LARGEST;
use channel::{Error, M1, M2, M3, Outcome, Seed, Shaping, batch, evidence};
use pair::{Pair, ZERO, ask, attestation, established, guest, handshake, judged, report};

/// Everything that can be done to one message: a bit turned, the end missing, something added.
fn mutants(message: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let length = message.len();
    // Every byte of what is short, every 61st of the rest, and the last.
    let places = (0..length).filter(move |at| length <= 256 || at % 61 == 0 || at + 1 == length);
    let turned = places.enumerate().map(|(number, at)| {
        let mut mutant = message.to_vec();
        mutant[at] ^= 1 << (number % 8);
        mutant
    });
    let shorter = [0, 1, length / 2, length - 1].map(|length| message[..length].to_vec());
    turned.chain(shorter).chain([[message, &[0]].concat(), vec![0; length], vec![0; 1 << 17]])
}

/// One handshake, to be taken apart at any of its messages.
struct Run {
    hello: Hello,
    m1: Vec<u8>,
}

fn run(shaping: Shaping) -> Run {
    let (hello, m1) = Hello::new(Seed::new([2; 32]), shaping).unwrap();
    Run { hello, m1 }
}

fn answer(m1: &[u8]) -> Result<(server::Hello, Vec<u8>), Error> {
    server::Hello::answer(&guest(1), Seed::new([3; 32]), m1)
}

#[test]
fn no_message_of_the_handshake_can_be_changed() {
    let Run { m1, .. } = run(Shaping::Paced);
    assert_eq!(m1.len(), M1);
    for mutant in mutants(&m1) {
        let Ok((_, m2)) = answer(&mutant) else { continue };
        let Run { hello, .. } = run(Shaping::Paced);
        assert!(matches!(hello.finish(&m2, ZERO), Err(Error::Broken)));
    }
    let (_, m2) = answer(&m1).unwrap();
    assert_eq!(m2.len(), M2);
    for mutant in mutants(&m2) {
        assert!(matches!(run(Shaping::Paced).hello.finish(&mutant, ZERO), Err(Error::Broken)));
    }
    let (_, m3) = run(Shaping::Paced).hello.finish(&m2, ZERO).unwrap();
    assert_eq!(m3.len(), M3);
    for mutant in mutants(&m3) {
        assert!(matches!(answer(&m1).unwrap().0.finish(&mutant, ZERO), Err(Error::Broken)));
    }
}

#[test]
fn the_evidence_cannot_be_changed() {
    let (_, attesting) = handshake(&guest(1), Shaping::Paced, [2, 3]);
    let said = report(&attesting);
    let (_, message) = attesting.attest(&attestation(&said)).unwrap();
    assert_eq!(message.len(), evidence::MESSAGE);
    let connected = || handshake(&guest(1), Shaping::Paced, [2, 3]).0;
    assert!(connected().evidence(&message).is_ok());
    for mutant in mutants(&message).step_by(16) {
        assert!(matches!(connected().evidence(&mutant), Err(Error::Broken)));
    }
}

/// A relay that wants another shaping than the client asked for.
#[test]
fn shaping_cannot_be_downgraded() {
    for (asked, got) in [(Shaping::Paced, 2), (Shaping::Paced, 3), (Shaping::Bucket, 3), (Shaping::Off, 1)] {
        let Run { hello, mut m1 } = run(asked);
        *m1.last_mut().unwrap() = got;
        let (_, m2) = answer(&m1).unwrap();
        assert!(matches!(hello.finish(&m2, ZERO), Err(Error::Broken)));
    }
    for unknown in [0, 4, 255] {
        let Run { mut m1, .. } = run(Shaping::Paced);
        *m1.last_mut().unwrap() = unknown;
        assert!(matches!(answer(&m1), Err(Error::Broken)));
    }
}

#[test]
fn no_two_handshakes_have_anything_in_common() {
    let first = [1, 2].map(|seed| Hello::new(Seed::new([seed; 32]), Shaping::Paced).unwrap().1);
    let same = first[0].iter().zip(&first[1]).filter(|(one, other)| one == other).count();
    // One in 256 by chance, and the shaping.
    assert!(same < 30, "{same}");
}

/// What a client makes of `evidence` when it runs the verifier's rule on the report data.
fn verdict(connected: Connected, evidence: &[u8]) -> Result<bool, Error> {
    connected.evidence(evidence).map(|unverified| judged(unverified).is_ok())
}

fn attest(attesting: Attesting, report: &[u8]) -> Vec<u8> {
    attesting.attest(&attestation(report)).unwrap().1
}

/// Whoever holds a guest's static keys can talk to its clients in its name, and to the guest in theirs, but those are two
/// sessions with two hashes, and the guest has a report made over its own only.
#[test]
fn stolen_static_keys_are_not_enough() {
    let stolen = guest(1);
    let (connected, man) = handshake(&stolen, Shaping::Paced, [2, 4]);
    let (_, genuine) = handshake(&stolen, Shaping::Paced, [5, 3]);
    assert_ne!(genuine.handshake(), man.handshake());
    assert_ne!(genuine.report_data(), man.report_data());
    let genuine_report = report(&genuine);
    assert_eq!(verdict(connected, &attest(man, &genuine_report)), Ok(false));
    // The genuine session of the client's is fine.
    let (connected, genuine) = handshake(&stolen, Shaping::Paced, [2, 3]);
    let genuine_report = report(&genuine);
    assert_eq!(verdict(connected, &attest(genuine, &genuine_report)), Ok(true));
}

/// A report of one genuine guest shown in the session with another, and a key statement of another.
#[test]
fn evidence_of_another_guest_or_session_is_refused() {
    let (one, other) = (guest(1), guest(9));
    let (connected, attesting) = handshake(&one, Shaping::Paced, [2, 3]);
    let (_, elsewhere) = handshake(&other, Shaping::Paced, [2, 3]);
    assert_eq!(verdict(connected, &attest(attesting, &report(&elsewhere))), Ok(false));
    // A relay that passes the one guest's evidence message on in the other's session.
    let (connected, _) = handshake(&one, Shaping::Paced, [2, 3]);
    let (_, elsewhere) = handshake(&other, Shaping::Paced, [2, 3]);
    let said = report(&elsewhere);
    assert_eq!(verdict(connected, &attest(elsewhere, &said)), Err(Error::Broken));
    // The same guest's, of an earlier session.
    let (connected, _) = handshake(&one, Shaping::Paced, [2, 3]);
    let (_, earlier) = handshake(&one, Shaping::Paced, [7, 8]);
    let said = report(&earlier);
    assert_eq!(verdict(connected, &attest(earlier, &said)), Err(Error::Broken));
}

/// The same keys under another statement: another value to report, so a report vouches for all of the statement.
#[test]
fn the_report_vouches_for_the_statement() {
    let [one, other] = [0, 1].map(|epoch| {
        let about = About { boot_id: [1; 16], epoch, models: [].into(), operator: None };
        let guest = Identity::new(Seed::new([1; 32]), about).unwrap();
        handshake(&guest, Shaping::Paced, [2, 3]).1
    });
    assert_eq!(one.handshake(), other.handshake());
    assert_ne!(one.report_data(), other.report_data());
}

#[test]
fn a_batch_serves_its_own_sessions_only() {
    let guest = guest(1);
    let sessions: Vec<_> = (0..3).map(|seed| handshake(&guest, Shaping::Paced, [10 + seed, 20 + seed])).collect();
    let values: Vec<_> = sessions.iter().map(|(_, attesting)| attesting.report_data()).collect();
    let (root, paths) = batch::batch(&values).unwrap();
    for (number, (connected, attesting)) in sessions.into_iter().enumerate() {
        let path = &paths[if number == 2 { 0 } else { number }];
        let attested = Attestation { path: Some(path), ..attestation(root.as_bytes()) };
        let (_, message) = attesting.attest(&attested).unwrap();
        assert_eq!(verdict(connected, &message), Ok(number != 2));
    }
}

#[test]
fn a_rejected_session_is_gone() {
    let (connected, attesting) = handshake(&guest(1), Shaping::Paced, [2, 3]);
    let unverified: Unverified = connected.evidence(&attest(attesting, b"other")).unwrap();
    assert!(unverified.judge(|_| Err::<(), _>("no")).is_err_and(|reason| reason == "no"));
}

#[test]
fn records_are_not_changed_replayed_reordered_or_left_out() {
    for shaping in [Shaping::Paced, Shaping::Bucket, Shaping::Off] {
        let question = vec![7; 3 * LARGEST];
        let messages = established(shaping).client.request(&question, ZERO).unwrap();
        let [first, second, ..] = &messages[..] else { panic!("expected a long request") };
        for sequence in [[first, first], [second, first]] {
            let Pair { mut server, .. } = established(shaping);
            let broken = sequence.into_iter().map(|message| server.receive(message, ZERO)).find_map(Result::err);
            assert_eq!(broken, Some(Error::Broken));
            // And it stays so, also for what would have been right.
            assert!(matches!(server.receive(first, ZERO), Err(Error::Over)));
        }
        for mutant in mutants(first).step_by(8) {
            let Pair { mut server, .. } = established(shaping);
            assert!(matches!(server.receive(&mutant, ZERO), Err(Error::Broken)));
        }
        // The server's messages, and the client's own sent back to it.
        let Pair { mut client, mut server } = established(shaping);
        ask(&mut client, &mut server, b"question", ZERO);
        server.write(b"answer", ZERO).unwrap();
        let message = server.poll(server.due().unwrap()).unwrap().unwrap();
        for mutant in mutants(&message).chain([first.clone()]).step_by(16) {
            let Pair { mut client, mut server } = established(shaping);
            ask(&mut client, &mut server, b"question", ZERO);
            assert!(matches!(client.receive(&mutant, ZERO), Err(Error::Broken)));
            assert!(matches!(client.receive(&message, ZERO), Err(Error::Over)));
        }
        assert_eq!(client.receive(&message, ZERO).unwrap().content[..], *b"answer");
        assert!(matches!(client.receive(&message, ZERO), Err(Error::Broken)));
    }
}

/// A reply that someone cuts off has no end, and a session none that anybody can make up.
#[test]
fn what_is_cut_off_has_not_ended() {
    let Pair { mut client, mut server } = established(Shaping::Off);
    ask(&mut client, &mut server, b"question", ZERO);
    server.write(b"I would never say: ", ZERO).unwrap();
    let part = server.poll(ZERO).unwrap().unwrap();
    server.write(b"press the button", ZERO).unwrap();
    server.finish(Outcome::Complete, ZERO).unwrap();
    assert_eq!(client.receive(&part, ZERO).unwrap().end, None);
    assert!(!client.is_idle());
}

/// A client that knows the keys and breaks the rules; it is the real one, before its messages are judged by its own side.
#[test]
fn a_client_keeps_to_its_turn() {
    // A second request during the reply to the first: the messages of two clients with the same keys.
    for shaping in [Shaping::Paced, Shaping::Bucket, Shaping::Off] {
        let Pair { mut client, mut server } = established(shaping);
        let Pair { client: mut twin, server: mut other } = established(shaping);
        ask(&mut client, &mut server, b"question", ZERO);
        ask(&mut twin, &mut other, b"question", ZERO);
        other.finish(Outcome::Complete, ZERO).unwrap();
        while let Some(due) = other.due() {
            let received = twin.receive(&other.poll(due).unwrap().unwrap(), due).unwrap();
            if let Some(beat) = received.send {
                server.receive(&beat, due).unwrap();
            }
        }
        let early = twin.request(b"another", ZERO).unwrap();
        assert!(matches!(server.receive(&early[0], ZERO), Err(Error::Broken)));
    }
}

#[test]
fn a_server_speaks_when_it_is_asked() {
    for shaping in [Shaping::Paced, Shaping::Bucket, Shaping::Off] {
        let Pair { mut client, mut server } = established(shaping);
        let Pair { client: mut twin, .. } = established(shaping);
        ask(&mut client, &mut server, b"question", ZERO);
        server.finish(Outcome::Complete, ZERO).unwrap();
        let unasked = server.poll(server.due().unwrap()).unwrap().unwrap();
        assert!(matches!(twin.receive(&unasked, ZERO), Err(Error::Broken)));
    }
}

#[test]
fn a_cancel_is_heard_once() {
    let Pair { mut client, mut server } = established(Shaping::Off);
    ask(&mut client, &mut server, b"question", ZERO);
    let cancel = client.cancel(ZERO).unwrap().unwrap();
    assert!(matches!(server.receive(&cancel, ZERO), Ok(Received::Cancel)));
    assert!(matches!(server.receive(&cancel, ZERO), Err(Error::Broken)));
}
