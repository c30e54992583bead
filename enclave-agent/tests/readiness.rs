//! An agent that is not ready says why, and nobody gets a session from it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use attest::{Answer, Failure, Kind, Request};
use channel::Shaping;
use openai::Frame;
use scene::{Client, Scene, Setup, chat, text, with_byte};

fn refuses(scene: &Scene, reason: &str) {
    scene.wait_for(reason);
    let refused = Client::open(scene.address, Shaping::Off).err().expect("no session");
    assert!(refused.0.contains("503"), "{reason}: {refused:?}");
    assert_eq!(scene.page("/readyz"), (503, format!(r#"{{"ready":false,"reason":"{reason}","schema":1}}"#)));
    assert_eq!(scene.page("/healthz").0, 200);
}

/// The report with a byte that is another.
fn report_with(at: usize, value: u8) -> Setup {
    Setup { report: Arc::new(move |report| with_byte(report, at, value)), ..Setup::default() }
}

fn file(path: &'static str, text: &str) -> Setup {
    Setup { files: vec![(path, text.to_owned())], ..Setup::default() }
}

#[test]
fn each_reason_has_its_cause() {
    let operator = b"vitrine-operator 1\nname A\ncountry IS\ncontact b\nsessions 5\nworkers 1\n".to_vec();
    let silent = |stream: &mut UnixStream| stream.read(&mut [0]).map(drop);
    let failing = |stream: &mut UnixStream| Frame::Failed(openai::Failure::Model).write(stream);
    let no_report =
        |request: &Request| matches!(request, Request::Report { .. }).then_some(Answer::Failed(Failure::Provider));
    let quote = |request: &Request| {
        matches!(request, Request::Report { .. }).then(|| Answer::Report { kind: Kind::Tdx, bytes: vec![1; 632] })
    };
    let no_document =
        |request: &Request| matches!(request, Request::Operator).then_some(Answer::Failed(Failure::Operator));
    for (reason, setup) in [
        ("boot_incomplete", file("run/vitrine/boot.jsonl", "")),
        ("root_not_verity", file("sys/dev/block/253:0/dm/name", "other\n")),
        ("model_not_verity", file("sys/dev/block/253:1/dm/name", "other\n")),
        ("egress_open", file("proc/self/net/dev", "a\nb\n    lo: 0\n  eth0: 0\n")),
        ("egress_open", Setup { ip_socket: true, ..Setup::default() }),
        ("model_unknown", file("run/vitrine/cmdline", "quiet")),
        ("model_unknown", file("model/name", "\n")),
        ("model_unknown", file("model/name", "a name\n")),
        ("operator_document", Setup { operator: Some(b"name A\n".to_vec()), ..Setup::default() }),
        ("operator_document", Setup { answerer: Arc::new(no_document), ..Setup::default() }),
        ("no_report", Setup { answerer: Arc::new(no_report), ..Setup::default() }),
        ("no_report", Setup { answerer: Arc::new(quote), ..Setup::default() }),
        ("no_report", report_with(0, 9)),
        (
            "report_of_other",
            Setup {
                report: Arc::new(|report| {
                    let other = !report[0x50];
                    with_byte(report, 0x50, other)
                }),
                ..Setup::default()
            },
        ),
        ("report_not_vmpl0", report_with(0x30, 1)),
        ("report_debug", report_with(0x0a, 0x0b)),
        ("report_other_operator", Setup { host_data: Some([1; 32]), ..Setup::default() }),
        ("report_other_operator", Setup { host_data: Some([0; 32]), operator: Some(operator), ..Setup::default() }),
        ("no_worker", Setup { worker: Arc::new(silent), ..Setup::default() }),
        ("no_worker", Setup { worker: Arc::new(failing), ..Setup::default() }),
    ] {
        refuses(&setup.start(), reason);
    }
}

#[test]
fn what_was_wrong_can_become_right() {
    let wrong = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&wrong);
    let report = move |report| if now.load(Ordering::SeqCst) { with_byte(report, 0x30, 1) } else { report };
    let scene = Setup { report: Arc::new(report), ..Setup::default() }.start();
    refuses(&scene, "report_not_vmpl0");
    wrong.store(false, Ordering::SeqCst);
    scene.wait_until_ready();
    assert!(Client::open(scene.address, Shaping::Off).is_ok());
}

/// Each session has a report of its own, which is looked at; one that is wrong ends being ready, until one is right.
#[test]
fn no_session_begins_with_a_wrong_report() {
    for (at, value) in [(0x50, 0), (0x30, 1), (0x0a, 0x0b), (0xc0, 1), (0x00, 9)] {
        let wrong = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&wrong);
        let report = move |report: Vec<u8>| {
            // The byte may be that by chance where it is of a hash.
            let other = if at == 0x50 { !report[at] } else { value };
            if now.load(Ordering::SeqCst) { with_byte(report, at, other) } else { report }
        };
        let scene = Setup { report: Arc::new(report), ..Setup::default() }.start();
        scene.wait_until_ready();
        assert!(Client::open(scene.address, Shaping::Off).is_ok());
        wrong.store(true, Ordering::SeqCst);
        assert_eq!(Client::open(scene.address, Shaping::Off).err().map(|refused| refused.0), Some("1013".into()));
        // What is no report at all may be so for a moment.
        if at != 0 {
            scene::wait_until(|| scene.page("/readyz").0 == 503);
        }
        wrong.store(false, Ordering::SeqCst);
        scene.wait_until_ready();
        assert!(Client::open(scene.address, Shaping::Off).is_ok());
    }
}

/// A guest whose next worker cannot start takes no more sessions; those that there are go on when one can.
#[test]
fn without_another_worker_it_is_not_ready() {
    let broken = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&broken);
    let worker =
        move |stream: &mut UnixStream| if now.load(Ordering::SeqCst) { Ok(()) } else { openai::fake::serve(stream) };
    let scene = Setup { worker: Arc::new(worker), ..Setup::default() }.start();
    scene.wait_until_ready();
    let mut client = Client::open(scene.address, Shaping::Off).unwrap();
    broken.store(true, Ordering::SeqCst);
    // The spare that there was.
    assert_eq!(text(&client.ask(&chat("one", "")).0), "one");
    refuses(&scene, "no_worker");
    broken.store(false, Ordering::SeqCst);
    scene.wait_until_ready();
    assert_eq!(text(&client.ask(&chat("two", "")).0), "two");
    assert!(Client::open(scene.address, Shaping::Off).is_ok());
}

#[test]
fn where_sessions_begin_there_is_nothing_else() {
    let scene = Setup::default().start();
    scene.wait_until_ready();
    assert_eq!(scene.page("/session"), (400, "a WebSocket with vitrine.v1 only\n".into()));
    for (request, status) in [
        ("POST /session HTTP/1.1", "405"),
        ("GET http://guest/session HTTP/1.1", "400"),
        ("GET /session HTTP/1.1\r\nContent-Length: 1", "413"),
    ] {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.write_all(format!("{request}\r\nHost: guest\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
    }
    assert_eq!(scene.page("/session?x").0, 404);
    assert_eq!(scene.page("/session/").0, 404);
    assert_eq!(scene.page("/readyz").0, 200);
}
