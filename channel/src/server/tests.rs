//! What a session does with one who may send anything.

use super::*;
use crate::noise::Initiator;
use std::vec::Vec;

/// A session and the other end's keys, in the hands of someone who may send anything.
fn session(shaping: Shaping, identity: &Identity) -> (Session, Transport) {
    let (initiator, m1) = Initiator::start(Seed::new([2; 32]), shaping.to_byte()).unwrap();
    let (hello, m2) = Hello::answer(identity, Seed::new([3; 32]), &m1).unwrap();
    let (mut transport, _, m3) = initiator.finish(&m2).unwrap();
    let attesting = hello.finish(&m3, Duration::ZERO).unwrap();
    let attestation = Attestation { kind: evidence::Kind::Snp, report: &[], path: None, operator: None, feed: &[] };
    let (session, message) = attesting.attest(&attestation).unwrap();
    transport.open(&message).unwrap();
    (session, transport)
}

fn identity() -> Identity {
    let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
    Identity::new(Seed::new([1; 32]), about).unwrap()
}

fn sealed(transport: &mut Transport, plaintext: &[u8], size: usize) -> Vec<u8> {
    let mut content = Content::with_capacity(size);
    content.append(plaintext);
    content.append_zeros(size - 16 - plaintext.len());
    transport.seal(content).unwrap()
}

fn record(kind: u8, data: &[u8]) -> Vec<u8> {
    [&[kind], &u16::try_from(data.len()).unwrap().to_be_bytes()[..], data].concat()
}

fn end(content: &[u8]) -> Vec<u8> {
    let hash = Sha256::of(content);
    record(2, &[&[0][..], &(content.len() as u64).to_be_bytes(), hash.as_bytes()].concat())
}

#[test]
fn a_session_that_waits_is_small() {
    assert!(size_of::<Session>() <= 1024, "{}", size_of::<Session>());
}

/// Requests by someone who knows how to write them, each with one thing wrong, and the right ones beside them.
#[test]
fn requests_have_one_form() {
    let identity = identity();
    let empty = Vec::new();
    let hi = record(1, b"hi");
    let right = [&hi[..], &end(b"hi")].concat();
    let failed = record(2, &[&[2][..], &end(b"hi")[4..]].concat());
    let outcome = |shaping, messages: &[(&[u8], usize)]| {
        let (mut session, mut transport) = session(shaping, &identity);
        let mut last = Ok(false);
        for (plaintext, size) in messages {
            let message = sealed(&mut transport, plaintext, *size);
            last = session.receive(&message, Duration::ZERO).map(|received| matches!(received, Received::Request(_)));
        }
        last
    };
    for shaping in [Shaping::Paced, Shaping::Bucket] {
        for (messages, expected) in [
            (&[(&right[..], 1024), (&empty[..], 1024)][..], Ok(true)),
            (&[(&right, 1024)], Ok(false)),
            (&[(&hi, 1024), (&end(b"hi"), 1024)], Ok(true)),
            // Another size, or another number, or a size that no message has.
            (&[(&right, 4096)], Err(Error::Broken)),
            (&[(&right, 256)], Err(Error::Broken)),
            (&[(&right, 1024), (&empty, 256)], Err(Error::Broken)),
            (&[(&hi, 1024), (&hi, 1024), (&end(b"hihi"), 1024)], Err(Error::Broken)),
            (&[(&right, 1000)], Err(Error::Broken)),
            // Something after the end, nothing before it, an end of something else, or as a reply ends.
            (&[(&right, 1024), (&hi, 1024)], Err(Error::Broken)),
            (&[(&empty, 1024)], Err(Error::Broken)),
            (&[(&end(b"hi"), 1024)], Err(Error::Broken)),
            (&[([&hi[..], &end(b"ho")].concat().as_slice(), 1024)], Err(Error::Broken)),
            (&[([&hi[..], &failed].concat().as_slice(), 1024)], Err(Error::Broken)),
            // A cancel or a good-bye in the middle, and after content.
            (&[(&hi, 1024), (&record(3, &[]), 1024)], Err(Error::Broken)),
            (&[(&hi, 1024), (&record(4, &[]), 1024)], Err(Error::Broken)),
            (&[([&hi[..], &record(3, &[])].concat().as_slice(), 1024)], Err(Error::Broken)),
            (&[([&hi[..], &record(4, &[])].concat().as_slice(), 1024)], Err(Error::Broken)),
        ] {
            assert_eq!(outcome(shaping, messages), expected, "{shaping:?} {messages:?}");
        }
    }
    // Only a paced client has something to say beside.
    assert_eq!(outcome(Shaping::Paced, &[(&empty, 256)]), Ok(false));
    assert_eq!(outcome(Shaping::Bucket, &[(&empty, 256)]), Err(Error::Broken));
    assert_eq!(outcome(Shaping::Off, &[(&right, 16 + right.len())]), Ok(true));
    assert_eq!(outcome(Shaping::Off, &[(&empty, 16)]), Err(Error::Broken));
    assert_eq!(outcome(Shaping::Off, &[(&hi, LARGEST + 1)]), Err(Error::Broken));
}

#[test]
fn requests_and_messages_are_limited() {
    let identity = identity();
    let (mut session, mut transport) = self::session(Shaping::Off, &identity);
    let content = vec![1; LARGEST - PER_MESSAGE];
    let mut sent = 0;
    while sent + content.len() <= MAX_REQUEST {
        let message = sealed(&mut transport, &record(1, &content), LARGEST);
        assert!(matches!(session.receive(&message, Duration::ZERO), Ok(Received::Nothing)));
        sent += content.len();
        assert_eq!(session.held(), sent);
    }
    let message = sealed(&mut transport, &record(1, &content), LARGEST);
    assert!(matches!(session.receive(&message, Duration::ZERO), Err(Error::Broken)));

    let (mut session, mut transport) = self::session(Shaping::Paced, &identity);
    session.line.received = crate::MAX_MESSAGES - 1;
    let [last, more] = [0, 1].map(|_| sealed(&mut transport, &[], SLOT));
    assert!(matches!(session.receive(&last, Duration::ZERO), Ok(Received::Nothing)));
    assert!(matches!(session.receive(&more, Duration::ZERO), Err(Error::Broken)));

    let (mut session, mut transport) = self::session(Shaping::Off, &identity);
    for number in 0..=MAX_REQUESTS {
        let plaintext = end(b"");
        let received = session.receive(&sealed(&mut transport, &plaintext, 16 + plaintext.len()), Duration::ZERO);
        assert_eq!(matches!(received, Ok(Received::Request(_))), number < MAX_REQUESTS, "{number}");
        if received.is_ok() {
            session.finish(Outcome::Complete, Duration::ZERO).unwrap();
            session.poll(Duration::ZERO).unwrap().unwrap();
        }
    }
}

/// Whatever comes from whoever has the keys: nothing is held beyond its limit, and what is broken stays so.
#[test]
fn any_sequence_of_messages_is_survived() {
    let identity = identity();
    let mut stream = Seed::new([9; 32]).into_stream();
    let (mut requests, mut ends) = (0, 0);
    for round in 0..150_usize {
        let shaping = [Shaping::Paced, Shaping::Bucket, Shaping::Off][round % 3];
        let (mut session, mut transport) = session(shaping, &identity);
        let mut now = Duration::ZERO;
        let mut said = Vec::new();
        let mut broken = false;
        for _ in 0..20 {
            let [choice, size, length, step] = *stream.bytes::<4>().unwrap();
            let content = vec![7; usize::from(length)];
            let plaintext = match choice % 8 {
                0 | 1 => record(1, &content),
                2 | 3 => [record(1, &[8]), end(&[&said[..], &[8]].concat())].concat(),
                4 => end(&said),
                5 => record(3, &[]),
                6 => vec![],
                _ => vec![choice, size, length, step],
            };
            let size = if choice < 128 { 1024 } else { SIZES[usize::from(size % 4)] };
            let size = if shaping == Shaping::Off { 16 + plaintext.len() } else { size.max(512) };
            let received = session.receive(&sealed(&mut transport, &plaintext, size), now);
            assert!(!broken || received.is_err());
            match received {
                Ok(Received::Nothing) if choice % 8 < 2 => said.extend_from_slice(&content),
                Ok(Received::Request(_)) => {
                    said.clear();
                    session.write(&content, now).unwrap();
                    if choice < 200 {
                        session.finish(Outcome::Complete, now).unwrap();
                    }
                    requests += 1;
                }
                Ok(_) => {}
                Err(_) => broken = true,
            }
            assert!(session.held() <= MAX_REPLY);
            now += Duration::from_millis(step.into());
            while session.poll(now).is_ok_and(|message| message.is_some()) {}
        }
        ends += u32::from(broken);
    }
    assert!(requests > 50 && ends > 50, "{requests} {ends}");
}
