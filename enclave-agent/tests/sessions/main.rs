//! Sessions with an agent that runs here: what is asked, what is answered, and how a session ends.

mod limits;
mod workers;

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
use workers::{asking, hesitant};

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
