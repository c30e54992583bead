//! What there is only so much of: turns, sessions, memory, time to say something.

use super::*;

/// There is one thread for all sessions.
#[test]
fn whoever_sends_without_a_pause_keeps_nobody_waiting() {
    let scene = ready(Setup::default());
    let mut other = Client::open(scene.address, Shaping::Off).unwrap();
    let loud = Client::open(scene.address, Shaping::Off).unwrap();
    let mut stream = loud.socket.get_ref().try_clone().unwrap();
    // Signs of life are not answered.
    let pongs = [0x8a, 0x80, 0, 0, 0, 0].repeat(10_000);
    let sending = std::thread::spawn(move || while stream.write_all(&pongs).is_ok() {});
    for _ in 0..20 {
        assert_eq!(text(&other.ask(&chat("on", "")).0), "on");
    }
    assert!(!sending.is_finished());
    loud.socket.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
    sending.join().unwrap();
}

#[test]
fn handshakes_are_limited_before_any_work() {
    let scene = ready(limits(|limits| {
        (limits.handshake_every, limits.handshake_burst) = (Duration::from_secs(3600), 2);
    }));
    let before = scene.reports.load(Ordering::SeqCst);
    let sessions: Vec<_> = (0..2).map(|_| Client::open(scene.address, Shaping::Off).unwrap()).collect();
    let refused = Client::open(scene.address, Shaping::Off).err().unwrap();
    assert_eq!(refused.0, "1013");
    assert_eq!(scene.reports.load(Ordering::SeqCst) - before, 2);
    drop(sessions);
}

#[test]
fn sessions_are_limited_by_the_guest_and_by_its_operator() {
    let operator = b"vitrine-operator 1\nname A\ncountry IS\ncontact b\nsessions 1\nworkers 1\n".to_vec();
    let guest = limits(|limits| limits.sessions = 1);
    for setup in [guest, Setup { operator: Some(operator), ..Setup::default() }] {
        let scene = ready(setup);
        let first = Client::open(scene.address, Shaping::Off).unwrap();
        let refused = Client::open(scene.address, Shaping::Off).err().unwrap();
        assert!(refused.0.contains("503"), "{refused:?}");
        drop(first);
        wait_until(|| Client::open(scene.address, Shaping::Off).is_ok());
    }
}

#[test]
fn what_all_sessions_hold_is_limited() {
    let scene = ready(limits(|limits| limits.held = 400_000));
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    assert!(client.send_content(&[0; 90_000]).and_then(|()| client.rest()).is_ok());
    let lost = client.send_content(&[0; 240_000]).and_then(|()| client.rest());
    assert!(lost.is_err());
    assert_eq!(text(&Client::open(scene.address, Shaping::Off).unwrap().ask(&chat("x", "")).0), "x");
}

/// A session in which one request was made, of which something was answered.
fn holding(scene: &Scene, call: &Call, answer: usize) -> Result<Client, scene::Broken> {
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    client.send(call)?;
    let mut said = 0;
    while said < answer {
        said += text(&client.receive()?.0).len();
    }
    Ok(client)
}

/// How many sessions fit into what all may hold, if the worker says so much and then nothing.
#[test]
fn requests_and_answers_count_while_they_are_held() {
    let long = "x".repeat(100_000);
    for (question, salt, answer, held, fit) in [
        // The call twice; the beginning of the next one in memory that grows by doubling.
        (&long[..], None, 2, 1_200_000, 3),
        // The answer once, or twice if it is kept for a receipt.
        ("x", None, 100_000, 300_000, 4),
        ("x", Some([1; 32]), 100_000, 300_000, 1),
    ] {
        let worker = move |stream: &mut std::os::unix::net::UnixStream| {
            Frame::Ready.write(stream)?;
            if read_request(stream).is_ok() {
                for begin in (0..answer).step_by(10_000) {
                    Frame::Text("y".repeat(10_000.min(answer - begin))).write(stream)?;
                }
                let _ = std::io::Read::read(stream, &mut [0]);
            }
            Ok(())
        };
        let scene = ready(Setup { worker: Arc::new(worker), ..limits(|limits| limits.held = held) });
        let call = Call { salt, ..chat(question, "") };
        let fitting: Vec<_> = (0..8).map_while(|_| holding(&scene, &call, answer).ok()).collect();
        assert_eq!(fitting.len(), fit, "{} bytes asked, {answer} answered", question.len());
    }
}

/// The head of a frame and a part of what it says will come.
fn half_a_message(first: u8, length: u16, part: usize) -> Vec<u8> {
    [&[first, 0xfe][..], &length.to_be_bytes(), &[0; 4], &vec![0; part]].concat()
}

#[test]
fn messages_count_while_they_come() {
    let scene = ready(limits(|limits| limits.held = 340_000));
    let alone = |client: &mut Client| client.send_content(&[0; 40_000]).and_then(|()| client.rest());
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    assert!(alone(&mut client).is_ok());
    let half: Vec<_> = (0..10)
        .map(|_| {
            let mut client = Client::open(scene.address, Shaping::Off).unwrap();
            // What it may always hold is more than a message.
            client.send_but_the_end(&[0; 20_000]).unwrap();
            client.socket.get_mut().write_all(&half_a_message(0x82, 16_000, 15_000)).unwrap();
            client
        })
        .collect();
    assert!(alone(&mut Client::open(scene.address, Shaping::Off).unwrap()).is_err());
    drop(half);
    wait_until(|| alone(&mut Client::open(scene.address, Shaping::Off).unwrap()).is_ok());
}

#[test]
fn a_message_that_never_ends_is_not_waited_for() {
    let scene = ready(limits(|limits| limits.message_time = Duration::from_millis(300)));
    let ping = [&[0x89, 0x80][..], &[0; 4]].concat();
    for (name, part) in [
        ("a head", vec![0x82]),
        ("half of it", half_a_message(0x82, 200, 100)),
        ("the first frame", half_a_message(0x02, 200, 200)),
        ("nothing of several frames, and a sign of life", [vec![0x02, 0x80, 0, 0, 0, 0], ping].concat()),
    ] {
        let mut client = Client::open(scene.address, Shaping::Off).unwrap();
        client.socket.get_mut().write_all(&part).unwrap();
        assert_eq!(client.receive().err().unwrap().0, "over", "{name}");
        assert_eq!(scene::receive(&mut client.socket).unwrap_err().0, "1002", "{name}");
    }
}

#[test]
fn a_request_that_never_ends_is_not_waited_for() {
    let scene = ready(limits(|limits| limits.request_time = Duration::from_millis(300)));
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    client.send_but_the_end(&vec![0; 100_000]).unwrap();
    assert_eq!(scene::receive(&mut client.socket).unwrap_err().0, "1002");
    // And one that is no call, because it is too large, at once.
    let scene = ready(Setup::default());
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    let begin = Instant::now();
    let ended = client.send_but_the_end(&vec![0; 400_000]).and_then(|()| scene::receive(&mut client.socket));
    assert!(ended.is_err() && begin.elapsed() < Limits::GUEST.request_time);
    assert_eq!(text(&Client::open(scene.address, Shaping::Off).unwrap().ask(&chat("x", "")).0), "x");
}
