//! Sessions with an agent that runs here: what is asked, what is answered, and how a session ends.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use channel::evidence::report_data;
use channel::receipt::{Receipt, Sampling};
use channel::shape::{SLOT, rounded};
use channel::{Outcome, Shaping};
use enclave_agent::Limits;
use measure::Sha384;
use openai::call::{Call, Piece, Route};
use openai::{Failure, Finish, Frame, Usage, read_request};
use scene::{Client, MODEL, Scene, Setup, chat, text, wait_until};
use tungstenite::Message;

fn ready(setup: Setup) -> Scene {
    let scene = setup.start();
    scene.wait_until_ready();
    scene
}

/// Limits of a guest with a change, as little as a test waits for.
fn limits(change: impl FnOnce(&mut Limits)) -> Setup {
    let mut setup = Setup::default();
    change(&mut setup.limits);
    setup
}

#[test]
fn calls_are_answered_in_every_shape() {
    let scene = ready(Setup::default());
    for shaping in [Shaping::Off, Shaping::Bucket, Shaping::Paced] {
        let mut client = Client::open(scene.address, shaping).unwrap();
        let (pieces, outcome) = client.ask(&chat("one two three", ""));
        assert_eq!((text(&pieces).as_str(), outcome), ("one two three", Outcome::Complete));
        let usage = Usage { prompt: 3, completion: 3 };
        assert!(pieces.last() == Some(&Piece::Done(Finish::Stop, usage)));
        // One session, several requests.
        let (pieces, _) = client.ask(&Call { route: Route::Models, salt: None, body: vec![] });
        assert!(pieces == [Piece::Models(openai::models(MODEL))]);
        client.close().unwrap();
    }
}

#[test]
fn what_is_wrong_with_a_request_is_said_by_its_name() {
    let scene = ready(Setup::default());
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    for (members, says) in [
        (r#","tools":[]"#, "unknown field `tools`"),
        (r#","grammar":"x""#, "unknown field `grammar`"),
        (r#","temperature":9"#, "temperature: expected"),
        (r#","max_tokens":0"#, "max_tokens: expected"),
    ] {
        let (pieces, outcome) = client.ask(&chat("x", members));
        let [Piece::Refused(json)] = &pieces[..] else { panic!("expected a refusal") };
        assert!(String::from_utf8_lossy(json).contains(says) && outcome == Outcome::Complete, "{says}");
    }
    let other = br#"{"model":"gpt","messages":[{"role":"user","content":"x"}]}"#.to_vec();
    let (pieces, _) = client.ask(&Call { route: Route::Chat, salt: None, body: other });
    let [Piece::Refused(json)] = &pieces[..] else { panic!("expected a refusal") };
    assert!(String::from_utf8_lossy(json).contains("model_not_found"));
    // What is no call at all has failed, and the session goes on.
    client.send_content(b"\x09nonsense").unwrap();
    assert!(matches!(client.rest(), Ok((pieces, Outcome::Failed)) if pieces.is_empty()));
    assert_eq!(text(&client.ask(&chat("on", "")).0), "on");
    wait_until(|| scene.workers_started.load(Ordering::SeqCst) == 2);
    assert_eq!(scene.workers_started.load(Ordering::SeqCst), 2, "a refused request takes no worker");
}

#[test]
fn evidence_is_of_this_guest_and_session() {
    let operator = b"vitrine-operator 1\nname A\ncountry IS\ncontact b\nsessions 5\nworkers 1\n".to_vec();
    let setup = Setup { operator: Some(operator.clone()), feed: b"a feed".to_vec(), ..Setup::default() };
    let (root, processor) = (setup.model_root(), setup.processor());
    let scene = ready(setup);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let client = Client::open(scene.address, Shaping::Off).unwrap();
        let evidence = client.evidence();
        assert!(evidence.report == processor.report(*evidence.report_data.as_bytes()));
        assert_eq!(evidence.statement.models, [root].into());
        assert_eq!((evidence.operator.as_deref(), evidence.feed.as_slice()), (Some(&operator[..]), &b"a feed"[..]));
        seen.push((evidence.report_data, evidence.statement.clone()));
    }
    let [(first, statement), (second, other)] = &seen[..] else { panic!() };
    assert!(first != second && statement == other && statement.epoch == 0);
    assert_ne!(*first, report_data(&measure::Sha256::of(b""), &measure::Sha256::of(b"")));
}

#[test]
fn receipts_verify_and_say_how_it_was_sampled() {
    let setup = Setup::default();
    let root = setup.model_root();
    let scene = ready(setup);
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    let greedy = Sampling { temperature: 0, top_p: 1_f32.to_bits(), seed: 0, max_tokens: 4096 };
    let seeded = Sampling { temperature: 0.5_f32.to_bits(), top_p: 0.25_f32.to_bits(), seed: 7, max_tokens: 9 };
    for (members, sampling) in [
        (r#","temperature":0"#, Some(greedy)),
        (r#","temperature":0.5,"top_p":0.25,"seed":7,"max_tokens":9"#, Some(seeded)),
        ("", None),
    ] {
        let call = Call { salt: Some([3; 32]), ..chat("one two", members) };
        let (pieces, _) = client.ask(&call);
        let Some(Piece::Receipt(receipt)) = pieces.last() else { panic!("expected a receipt") };
        let receipt = Receipt::verify(receipt, &client.evidence().statement).unwrap();
        assert!(receipt.is_about(&[3; 32], &call.body, b"one two"));
        assert_eq!((receipt.measurement, receipt.model), (Sha384::new([9; 48]), root));
        assert!(sampling.is_none_or(|sampling| receipt.sampling == sampling), "{:?}", receipt.sampling);
        assert!(sampling.is_some() || receipt.sampling.seed != 0, "a seed was drawn");
    }
    let (pieces, _) = client.ask(&chat("one two", ""));
    assert!(matches!(pieces.last(), Some(Piece::Done(..))), "no receipt unless one is wanted");
}

/// A worker that says one word and then nothing, until the agent closes the connection.
fn hesitant() -> Setup {
    let worker = |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            Frame::Text("so".into()).write(stream)?;
            let _ = std::io::Read::read(stream, &mut [0]);
        }
        Ok(())
    };
    Setup { worker: Arc::new(worker), ..Setup::default() }
}

/// A client that has received the first word of an answer.
fn asking(scene: &Scene) -> Client {
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    client.send(&chat("x", "")).unwrap();
    let (pieces, end) = client.receive().unwrap();
    assert!(pieces == [Piece::Text("so".into())] && end.is_none());
    client
}

#[test]
fn whoever_has_enough_frees_the_worker() {
    let scene = ready(hesitant());
    for how in ["cancel", "close", "vanish"] {
        let mut client = asking(&scene);
        // One at work, one spare.
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 2);
        match how {
            "cancel" => {
                client.cancel().unwrap();
                assert!(client.rest().unwrap().1 == Outcome::Cancelled);
                client.close().unwrap();
            }
            "close" => client.socket.close(None).unwrap(),
            _ => drop(client),
        }
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    }
}

#[test]
fn no_two_requests_share_a_worker() {
    let scene = ready(hesitant());
    let clients: Vec<_> = (0..3).map(|_| asking(&scene)).collect();
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 4);
    assert_eq!(scene.workers_started.load(Ordering::SeqCst), 4, "one each and one spare");
    drop(clients);
}

#[test]
fn the_next_worker_is_started_at_the_first_word_or_when_it_is_wanted() {
    let started = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (count, (tell, told)) = (Arc::clone(&started), channel());
    let worker = move |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        let mine = count.fetch_add(1, Ordering::SeqCst);
        if read_request(stream).is_ok() {
            // Long enough for another to be started, if it were.
            std::thread::sleep(Duration::from_millis(300));
            let _ = tell.send((mine, count.load(Ordering::SeqCst)));
            // The second one says nothing until there is a third, which only somebody who waits can have wanted.
            while mine == 1 && count.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            Frame::Text("so".into()).write(stream)?;
            let _ = std::io::Read::read(stream, &mut [0]);
        }
        Ok(())
    };
    let scene = ready(Setup { worker: Arc::new(worker), ..Setup::default() });
    let first = asking(&scene);
    assert_eq!(told.recv().unwrap(), (0, 1));
    wait_until(|| started.load(Ordering::SeqCst) == 2);
    let mut second = Client::open(scene.address, Shaping::Off).unwrap();
    second.send(&chat("x", "")).unwrap();
    assert_eq!(told.recv().unwrap(), (1, 2));
    let third = asking(&scene);
    assert!(second.receive().unwrap().0 == [Piece::Text("so".into())]);
    drop((first, third));
}

#[test]
fn a_lost_worker_is_said_and_the_next_one_answers() {
    for (name, end) in
        [("gone", None), ("nonsense", Some(&b"\x09\0\0\0\0"[..])), ("ready twice", Some(b"\x01\0\0\0\0"))]
    {
        let (first, once) = (Arc::new(std::sync::atomic::AtomicBool::new(true)), end);
        let worker = move |stream: &mut std::os::unix::net::UnixStream| {
            if !first.swap(false, Ordering::SeqCst) {
                return openai::fake::serve(stream);
            }
            Frame::Ready.write(stream)?;
            let _ = read_request(stream);
            Frame::Text("so".into()).write(stream)?;
            stream.write_all(once.unwrap_or_default())
        };
        let scene = ready(Setup { worker: Arc::new(worker), ..Setup::default() });
        let mut client = Client::open(scene.address, Shaping::Off).unwrap();
        let (pieces, outcome) = client.ask(&chat("x", ""));
        assert!(pieces == [Piece::Text("so".into()), Piece::Failed(Failure::Engine)], "{name}");
        assert_eq!(outcome, Outcome::Complete);
        assert_eq!(text(&client.ask(&chat("again", "")).0), "again", "{name}");
    }
}

#[test]
fn a_spare_that_died_is_not_used_and_a_silent_worker_is_given_up() {
    // The second worker ends once it is ready; the third takes its place.
    let count = std::sync::atomic::AtomicUsize::new(0);
    let worker = move |stream: &mut std::os::unix::net::UnixStream| match count.fetch_add(1, Ordering::SeqCst) {
        1 => Frame::Ready.write(stream),
        3 => {
            Frame::Ready.write(stream)?;
            let _ = read_request(stream);
            let _ = std::io::Read::read(stream, &mut [0]);
            Ok(())
        }
        _ => openai::fake::serve(stream),
    };
    let mut setup = limits(|limits| limits.worker_silence = Duration::from_secs(2));
    setup.worker = Arc::new(worker);
    let scene = ready(setup);
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    for (expected, started, running) in [("first", 2, 0), ("second", 4, 1)] {
        assert_eq!(text(&client.ask(&chat(expected, "")).0), expected);
        wait_until(|| scene.workers_started.load(Ordering::SeqCst) == started);
        wait_until(|| scene.workers_running.load(Ordering::SeqCst) == running);
    }
    let (pieces, _) = client.ask(&chat("third", ""));
    assert!(pieces == [Piece::Failed(Failure::Engine)]);
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
}

#[test]
fn whoever_comes_when_all_workers_are_busy_is_told() {
    let mut setup = hesitant();
    (setup.limits.workers, setup.limits.worker_wait) = (1, Duration::from_secs(2));
    let scene = ready(setup);
    let first = asking(&scene);
    let mut second = Client::open(scene.address, Shaping::Off).unwrap();
    assert!(second.ask(&chat("x", "")).0 == [Piece::Busy]);
    drop(first);
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    second.send(&chat("x", "")).unwrap();
    assert!(second.receive().unwrap().0 == [Piece::Text("so".into())]);
}

#[test]
fn a_slot_is_free_when_its_worker_has_gone() {
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let worker = move |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            Frame::Text("so".into()).write(stream)?;
            // It does not look whether somebody listens.
            let _ = wait.lock().unwrap().recv();
        }
        Ok(())
    };
    let mut setup = Setup { worker: Arc::new(worker), ..Setup::default() };
    (setup.limits.workers, setup.limits.worker_wait) = (1, Duration::from_millis(200));
    let scene = ready(setup);
    let mut first = asking(&scene);
    first.cancel().unwrap();
    assert!(first.rest().unwrap().1 == Outcome::Cancelled);
    assert!(first.ask(&chat("x", "")).0 == [Piece::Busy]);
    go_on.send(()).unwrap();
    wait_until(|| scene.workers_running.load(Ordering::SeqCst) == 1);
    drop(first);
    drop(go_on);
    wait_until(|| Client::open(scene.address, Shaping::Off).unwrap().ask(&chat("x", "")).0 != [Piece::Busy]);
}

#[test]
fn whoever_reads_slowly_holds_no_worker() {
    let worker = |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            for _ in 0..200 {
                Frame::Text("x".repeat(10_000)).write(stream)?;
            }
            Frame::Done(Finish::Stop, Usage { prompt: 1, completion: 200 }).write(stream)?;
        }
        Ok(())
    };
    let mut setup = Setup { worker: Arc::new(worker), ..Setup::default() };
    setup.limits.workers = 1;
    let scene = ready(setup);
    // Two hundred pieces take twenty seconds to be sent in this shape.
    let mut slow = Client::open(scene.address, Shaping::Paced).unwrap();
    slow.send(&chat("x", "")).unwrap();
    // More than the connection holds, of which nothing is read.
    let mut still = Client::open(scene.address, Shaping::Off).unwrap();
    still.send(&chat("x", "")).unwrap();
    let mut other = Client::open(scene.address, Shaping::Off).unwrap();
    assert_eq!(text(&other.ask(&chat("x", "")).0).len(), 2_000_000);
    drop((slow, still));
}

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

#[test]
fn keys_are_replaced_and_old_sessions_keep_theirs() {
    let scene = ready(limits(|limits| limits.identity_sessions = 1));
    let open = || Client::open(scene.address, Shaping::Off).unwrap();
    let (mut first, second) = (open(), open());
    let (old, new) = (first.evidence().statement.clone(), second.evidence().statement.clone());
    assert_eq!((old.epoch, new.epoch, old.boot_id), (0, 1, new.boot_id));
    assert!(old.x25519 != new.x25519 && old.ml_kem != new.ml_kem && old.receipts != new.receipts);
    let (pieces, _) = first.ask(&Call { salt: Some([1; 32]), ..chat("x", "") });
    let Some(Piece::Receipt(receipt)) = pieces.last() else { panic!("expected a receipt") };
    assert!(Receipt::verify(receipt, &old).is_ok() && Receipt::verify(receipt, &new).is_err());
}

#[test]
fn slow_handshakes_and_idle_sessions_are_ended() {
    let scene = ready(limits(|limits| {
        (limits.handshake_time, limits.idle_time) = (Duration::from_secs(3), Duration::from_secs(1));
    }));
    let mut slow = scene::dial(scene.address).unwrap();
    assert_eq!(scene::receive(&mut slow).unwrap_err().0, "1002");
    let mut idle = Client::open(scene.address, Shaping::Off).unwrap();
    assert_eq!(idle.receive().err().unwrap().0, "over");
    assert_eq!(scene::receive(&mut idle.socket).unwrap_err().0, "1000");
}

#[test]
fn a_client_that_gives_no_sign_of_life_is_gone() {
    let scene = ready(limits(|limits| {
        (limits.ping_every, limits.silence) = (Duration::from_millis(200), Duration::from_secs(4));
        limits.sessions = 1;
    }));
    let mut alive = Client::open(scene.address, Shaping::Off).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        // Reading answers pings.
        alive.socket.read().unwrap();
    }
    alive.ask_anything().unwrap();
    drop(alive);
    let open = || Client::open(scene.address, Shaping::Off);
    wait_until(|| open().is_ok());
    let mut silent = None;
    wait_until(|| {
        silent = open().ok();
        silent.is_some()
    });
    wait_until(|| open().is_ok());
    drop(silent);
}

#[test]
fn what_breaks_the_protocol_ends_the_session_and_no_other() {
    let scene = ready(Setup::default());
    let mut other = Client::open(scene.address, Shaping::Off).unwrap();
    for (message, code) in [
        (Message::binary(vec![0; 40]), "1002"),
        (Message::text("hello"), "1002"),
        (Message::binary(vec![0; 20_000]), "1002"),
    ] {
        let mut client = Client::open(scene.address, Shaping::Off).unwrap();
        client.socket.send(message).unwrap();
        let mut end = scene::receive(&mut client.socket);
        if end.is_ok() {
            // The session's own end comes first where its keys are not gone.
            end = scene::receive(&mut client.socket);
        }
        assert_eq!(end.unwrap_err().0, code);
        assert_eq!(text(&other.ask(&chat("on", "")).0), "on");
    }
    let mut early = scene::dial(scene.address).unwrap();
    early.send(Message::binary(vec![0; channel::M1 - 1])).unwrap();
    assert_eq!(scene::receive(&mut early).unwrap_err().0, "1002");
}

#[test]
fn a_draining_agent_lets_replies_end() {
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let worker = move |stream: &mut std::os::unix::net::UnixStream| {
        Frame::Ready.write(stream)?;
        if read_request(stream).is_ok() {
            Frame::Text("so".into()).write(stream)?;
            let _ = wait.lock().unwrap().recv();
            Frame::Text(" long".into()).write(stream)?;
            Frame::Done(Finish::Stop, Usage { prompt: 1, completion: 2 }).write(stream)?;
        }
        Ok(())
    };
    // One of which nobody would get a session any more.
    let wrong = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let now = Arc::clone(&wrong);
    let report = move |report| if now.load(Ordering::SeqCst) { scene::with_byte(report, 0x30, 1) } else { report };
    let mut scene = ready(Setup { worker: Arc::new(worker), report: Arc::new(report), ..Setup::default() });
    let mut idle = Client::open(scene.address, Shaping::Off).unwrap();
    let mut client = asking(&scene);
    wrong.store(true, Ordering::SeqCst);
    assert!(Client::open(scene.address, Shaping::Off).is_err());
    scene.wait_for("report_not_vmpl0");
    scene.stop();
    assert_eq!(idle.receive().err().unwrap().0, "over");
    assert_eq!(scene::receive(&mut idle.socket).unwrap_err().0, "1001");
    wait_until(|| std::net::TcpStream::connect(scene.address).is_err());
    go_on.send(()).unwrap();
    let (pieces, outcome) = client.rest().unwrap();
    assert_eq!((text(&pieces).as_str(), outcome), (" long", Outcome::Complete));
    assert_eq!(client.receive().err().unwrap().0, "over");
    scene.wait_for_end();
}

#[test]
fn draining_has_an_end() {
    let mut setup = hesitant();
    setup.limits.drain = Duration::from_millis(300);
    let mut scene = ready(setup);
    let client = asking(&scene);
    scene.stop();
    scene.wait_for_end();
    drop(client);
}

#[test]
fn paced_replies_are_of_one_size_in_a_series() {
    let scene = ready(Setup::default());
    for answer in ["a", "a few more words"] {
        let mut client = Client::open(scene.address, Shaping::Paced).unwrap();
        client.send(&chat(answer, "")).unwrap();
        let (begin, mut slots, mut ended) = (Instant::now(), 0, None);
        while slots < rounded(1) {
            let (_, end) = client.receive().unwrap();
            slots += 1;
            ended = ended.or(end);
        }
        assert_eq!(ended, Some(Outcome::Complete));
        assert!(
            begin.elapsed() >= channel::shape::INTERVAL * (rounded(1) - 1),
            "{SLOT} bytes each interval, no faster"
        );
        client.close().unwrap();
    }
}
