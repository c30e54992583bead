//! A client and a server with nothing but messages between them.

mod pair;

use channel::client::Verified;
use channel::server::{Received, Session};
use channel::shape::{INTERVAL, SIZES, rounded};
use channel::{Error, MAX_AGE, MAX_REPLY, MAX_REQUEST, MAX_REQUESTS, Outcome, Shaping};
use core::time::Duration;
use pair::{Pair, ZERO, ask, established};

const ALL: [Shaping; 3] = [Shaping::Paced, Shaping::Bucket, Shaping::Off];

/// Everything the server has to send until it has nothing to do, with its times, and what the client makes of it.
struct Heard {
    wire: Vec<(Duration, usize)>,
    content: Vec<u8>,
    end: Option<Outcome>,
    beats: usize,
}

fn listen(client: &mut Verified<()>, server: &mut Session) -> Heard {
    let mut heard = Heard { wire: vec![], content: vec![], end: None, beats: 0 };
    while let Some(due) = server.due() {
        let message = server.poll(due).unwrap().expect("what is due");
        heard.wire.push((due, message.len()));
        let received = client.receive(&message, due).unwrap();
        heard.content.extend_from_slice(&received.content);
        heard.end = heard.end.or(received.end);
        if let Some(beat) = received.send {
            heard.beats += 1;
            assert_eq!(beat.len(), 256);
            let _nothing_or_cancel = server.receive(&beat, due).unwrap();
        }
    }
    heard
}

#[test]
fn requests_and_replies_of_any_length_arrive_whole() {
    for shaping in ALL {
        let Pair { mut client, mut server } = established(shaping);
        for (asked, answered) in [(0, 0), (1, 1), (1950, 193), (1951, 194), (4000, 237), (70_000, 40_000)] {
            let (question, answer) = (vec![1; asked], vec![2; answered]);
            assert_eq!(ask(&mut client, &mut server, &question, ZERO), question);
            assert!(!client.is_idle() && !server.is_idle());
            server.write(&answer, ZERO).unwrap();
            server.finish(Outcome::Complete, ZERO).unwrap();
            let heard = listen(&mut client, &mut server);
            assert_eq!((heard.content, heard.end), (answer, Some(Outcome::Complete)), "{shaping:?}");
            assert!(client.is_idle() && server.is_idle());
        }
    }
}

#[test]
fn a_request_shows_its_bucket_only() {
    for (shaping, lengths, sizes) in [
        (Shaping::Paced, 0..=1934, vec![1024; 2]),
        (Shaping::Bucket, 1971..=1971, vec![4096]),
        (Shaping::Bucket, 4034..=8100, vec![4096; 2]),
        (Shaping::Paced, 9000..=16_000, vec![16_384]),
        (Shaping::Paced, 66_000..=130_000, vec![16_384; 8]),
    ] {
        for length in [*lengths.start(), (lengths.start() + lengths.end()) / 2, *lengths.end()] {
            let Pair { mut client, .. } = established(shaping);
            let sent = client.request(&vec![7; length], ZERO).unwrap();
            assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), sizes, "{length}");
        }
    }
    let Pair { mut client, mut server } = established(Shaping::Off);
    assert_eq!(client.request(&[7; 10], ZERO).unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [16 + 13 + 44]);
    // A request is only known when its last message is there.
    let Pair { client: mut paced, server: mut other } = established(Shaping::Paced);
    let messages = paced.request(b"short", ZERO).unwrap();
    assert!(matches!(other.receive(&messages[0], ZERO), Ok(Received::Nothing)));
    assert!(matches!(other.receive(&messages[1], ZERO), Ok(Received::Request(_))));
    assert!(server.poll(ZERO).unwrap().is_none());
}

/// Two replies of the same bucket, one that comes at once and one that trickles, look the same to the last byte's time.
#[test]
fn paced_replies_of_a_bucket_look_the_same() {
    let shape = |chunks: &[(u64, usize)], end: u64| {
        let Pair { mut client, mut server } = established(Shaping::Paced);
        let start = Duration::from_millis(12_345);
        ask(&mut client, &mut server, b"question", start);
        let mut wire = vec![];
        let mut heard = 0;
        let mut now = start;
        while !server.is_idle() {
            let at = u64::try_from((now - start).as_millis()).unwrap();
            for (_, length) in chunks.iter().filter(|(time, _)| *time == at) {
                server.write(&vec![b'x'; *length], now).unwrap();
            }
            if at == end {
                server.finish(Outcome::Complete, now).unwrap();
            }
            if let Some(message) = server.poll(now).unwrap() {
                wire.push((at, message.len()));
                let received = client.receive(&message, now).unwrap();
                heard += received.content.len();
                wire.extend(received.send.map(|beat| (at, beat.len())));
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(heard, chunks.iter().map(|(_, length)| length).sum::<usize>());
        assert!(client.is_idle());
        wire
    };
    let short = shape(&[(0, 1)], 0);
    assert_eq!(short.len(), 21, "20 messages, and the client's after the last");
    assert_eq!(short, shape(&[(3, 100), (400, 200), (949, 9)], 949));
    assert_eq!(short, shape(&[(0, 237 * 19)], 1));
    let longer = shape(&[(0, 237 * 20)], 1);
    assert_eq!(longer.len(), 26);
    assert_eq!(longer, shape(&(1..=1150).map(|at| (at, 1)).collect::<Vec<_>>(), 1200));
    assert_ne!(longer, short);
    for (at, size) in longer {
        assert_eq!((at % 50, size), (0, 256));
    }
}

#[test]
fn a_late_message_is_followed_by_none_that_is_early() {
    let Pair { mut client, mut server } = established(Shaping::Paced);
    ask(&mut client, &mut server, b"question", ZERO);
    assert_eq!(server.due(), Some(INTERVAL));
    assert!(server.poll(INTERVAL - Duration::from_nanos(1)).unwrap().is_none());
    assert!(server.poll(INTERVAL * 4 + Duration::from_millis(3)).unwrap().is_some());
    assert!(server.poll(INTERVAL * 4 + Duration::from_millis(3)).unwrap().is_none());
    assert_eq!(server.due(), Some(INTERVAL * 5));
}

#[test]
fn a_paced_cancel_comes_with_the_next_beat_and_shows_at_the_end_of_the_bucket() {
    let Pair { mut client, mut server } = established(Shaping::Paced);
    ask(&mut client, &mut server, b"question", ZERO);
    server.write(&[b'x'; 100_000], ZERO).unwrap();
    let mut now = ZERO;
    let mut slots = 0;
    let mut cancelled_at = None;
    while !server.is_idle() {
        now += INTERVAL;
        let message = server.poll(now).unwrap().unwrap();
        slots += 1;
        let received = client.receive(&message, now).unwrap();
        if slots == 27 {
            assert_eq!(client.cancel(now), Ok(None));
            assert_eq!(client.cancel(now), Ok(None));
        }
        assert_eq!(received.send.is_some(), slots % 20 == 0);
        let beat = received.send.map(|beat| server.receive(&beat, now).unwrap());
        if matches!(beat, Some(Received::Cancel)) {
            cancelled_at = cancelled_at.or(Some(slots));
            server.finish(Outcome::Cancelled, now).unwrap();
        }
        assert!(slots <= 41 || received.content.is_empty());
        assert_eq!(received.end, (slots == 41).then_some(Outcome::Cancelled));
    }
    assert_eq!((cancelled_at, slots), (Some(40), rounded(41)));
    // The session goes on.
    assert!(client.is_idle());
    assert_eq!(ask(&mut client, &mut server, b"next", now), b"next");
}

#[test]
fn other_cancels_come_at_once() {
    for shaping in [Shaping::Bucket, Shaping::Off] {
        let Pair { mut client, mut server } = established(shaping);
        assert_eq!(client.cancel(ZERO), Err(Error::Untimely));
        ask(&mut client, &mut server, b"question", ZERO);
        server.write(b"some", ZERO).unwrap();
        let cancel = client.cancel(ZERO).unwrap().unwrap();
        assert_eq!(client.cancel(ZERO), Ok(None));
        assert!(matches!(server.receive(&cancel, ZERO), Ok(Received::Cancel)));
        server.finish(Outcome::Cancelled, ZERO).unwrap();
        let heard = listen(&mut client, &mut server);
        assert_eq!((heard.content, heard.end), (vec![], Some(Outcome::Cancelled)));
        // One that crosses the end comes to nothing.
        ask(&mut client, &mut server, b"question", ZERO);
        let cancel = client.cancel(ZERO).unwrap().unwrap();
        server.finish(Outcome::Complete, ZERO).unwrap();
        assert!(matches!(server.receive(&cancel, ZERO), Ok(Received::Nothing)));
        let heard = listen(&mut client, &mut server);
        assert_eq!(heard.end, Some(Outcome::Complete));
        ask(&mut client, &mut server, b"question", ZERO);
        let cancel = client.cancel(ZERO).unwrap().unwrap();
        server.finish(Outcome::Complete, ZERO).unwrap();
        listen(&mut client, &mut server);
        assert!(matches!(server.receive(&cancel, ZERO), Ok(Received::Nothing)));
        ask(&mut client, &mut server, b"question", ZERO);
    }
}

#[test]
fn bucketed_replies_have_four_sizes() {
    let Pair { mut client, mut server } = established(Shaping::Bucket);
    ask(&mut client, &mut server, b"question", ZERO);
    let mut sizes = vec![];
    for length in [1, 237, 238, 1005, 1006, 4077, 4078, 20_000] {
        server.write(&vec![0; length], ZERO).unwrap();
        sizes.push(listen(&mut client, &mut server).wire.iter().map(|(_, size)| *size).collect::<Vec<_>>());
    }
    let [small, second, third, large] = SIZES;
    assert_eq!(sizes[..6], [[small], [small], [second], [second], [third], [third]].map(|size| size.to_vec()));
    assert_eq!(sizes[6..], [vec![large], vec![large, third]]);
}

#[test]
fn one_thing_at_a_time() {
    for shaping in ALL {
        let Pair { mut client, mut server } = established(shaping);
        assert_eq!(server.write(b"unasked", ZERO), Err(Error::Untimely));
        assert_eq!(server.finish(Outcome::Complete, ZERO), Err(Error::Untimely));
        ask(&mut client, &mut server, b"question", ZERO);
        assert_eq!(client.request(b"another", ZERO), Err(Error::Untimely));
        assert_eq!(client.close(ZERO), Err(Error::Untimely));
        assert_eq!(server.close(ZERO), Err(Error::Untimely));
        server.finish(Outcome::Failed, ZERO).unwrap();
        assert_eq!(server.write(b"late", ZERO), Err(Error::Untimely));
        assert_eq!(server.finish(Outcome::Complete, ZERO), Err(Error::Untimely));
        let heard = listen(&mut client, &mut server);
        assert_eq!((heard.content, heard.end), (vec![], Some(Outcome::Failed)));
    }
}

#[test]
fn either_side_ends_the_session() {
    for shaping in ALL {
        let Pair { mut client, mut server } = established(shaping);
        let bye = client.close(ZERO).unwrap();
        assert!(matches!(server.receive(&bye, ZERO), Ok(Received::Over)));
        assert_eq!(client.request(b"more", ZERO), Err(Error::Over));
        assert_eq!(server.poll(ZERO), Err(Error::Over));

        let Pair { mut client, mut server } = established(shaping);
        let bye = server.close(ZERO).unwrap();
        assert!(client.receive(&bye, ZERO).unwrap().over);
        assert_eq!(client.request(b"more", ZERO), Err(Error::Over));
        assert!(matches!(server.receive(&bye, ZERO), Err(Error::Over)));
    }
}

#[test]
fn a_session_has_limits() {
    let last = MAX_AGE - Duration::from_nanos(1);
    let Pair { mut client, mut server } = established(Shaping::Off);
    assert_eq!((client.expires(), server.expires()), (MAX_AGE, MAX_AGE));
    ask(&mut client, &mut server, b"question", last);
    server.write(b"part", last).unwrap();
    assert_eq!(server.poll(MAX_AGE), Err(Error::Over));
    assert_eq!(server.poll(ZERO), Err(Error::Over), "keys do not come back");
    assert!(matches!(client.receive(&[0; 256], MAX_AGE), Err(Error::Over)));

    let Pair { mut client, mut server } = established(Shaping::Off);
    let long = vec![0; MAX_REQUEST + 1];
    assert_eq!(client.request(&long, ZERO), Err(Error::TooLong { limit: MAX_REQUEST, found: MAX_REQUEST + 1 }));
    assert_eq!(ask(&mut client, &mut server, &long[1..], ZERO).len(), MAX_REQUEST);
    server.write(&vec![0; MAX_REPLY], ZERO).unwrap();
    assert_eq!(server.held(), MAX_REPLY);
    assert_eq!(server.write(&[0], ZERO), Err(Error::TooLong { limit: MAX_REPLY, found: MAX_REPLY + 1 }));
    server.finish(Outcome::Complete, ZERO).unwrap();
    assert_eq!(listen(&mut client, &mut server).content.len(), MAX_REPLY);
    assert_eq!(server.held(), 0);

    for _ in 1..MAX_REQUESTS {
        ask(&mut client, &mut server, b"", ZERO);
        server.finish(Outcome::Complete, ZERO).unwrap();
        listen(&mut client, &mut server);
    }
    assert_eq!(client.request(b"", ZERO), Err(Error::Over));
}
