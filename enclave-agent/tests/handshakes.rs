//! How handshakes end, each in one way that is counted once; and who has a turn.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use attest::{Answer, Failure, Request};
use channel::client::Hello;
use channel::{M1, Seed, Shaping};
use scene::{Client, Scene, Setup, WebSocket, dial, receive, upgrade, wait_until};
use tungstenite::Message;

/// The numbers behind `name` on the page of metrics, by label.
fn counts(scene: &Scene, name: &str) -> Vec<(String, u64)> {
    let (_, page) = scene::page(scene.metrics, "/metrics");
    let lines =
        page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix("{outcome=\"")?.split_once("\"} "));
    lines.map(|(outcome, count)| (outcome.to_owned(), count.parse().unwrap())).collect()
}

fn m1() -> Vec<u8> {
    Hello::new(Seed::new([1; 32]), Shaping::Off).unwrap().1
}

/// A connection on which the second message has come.
fn half_way(at: SocketAddr) -> WebSocket {
    let mut socket = dial(at).unwrap();
    socket.send(Message::binary(m1())).unwrap();
    receive(&mut socket).unwrap();
    socket
}

/// What is asked for reports once the guest is ready.
type Answerer = fn(&Request) -> Option<Answer>;
type Act = fn(SocketAddr);

#[test]
fn every_handshake_has_one_outcome() {
    let as_ever: Answerer = |_| None;
    let fails: Answerer = |request| (*request != Request::Feed).then_some(Answer::Failed(Failure::Provider));
    let no_feed: Answerer = |request| (*request == Request::Feed).then_some(Answer::Failed(Failure::Refused));
    let not_opened: Act = |at| assert!(Client::open(at, Shaping::Off).is_err());
    let cases: [(&str, &str, Answerer, Act); 12] = [
        ("complete", "at once", as_ever, |at| drop(Client::open(at, Shaping::Off).unwrap())),
        ("malformed", "no frame", as_ever, |at| dial(at).unwrap().get_mut().write_all(&[0xff; 20]).unwrap()),
        // A head that says so is enough.
        ("malformed", "larger than a first message", as_ever, |at| {
            let length = u16::try_from(M1 + 1).unwrap().to_be_bytes();
            dial(at).unwrap().get_mut().write_all(&[&[0x82, 0xfe][..], &length, &[0; 4]].concat()).unwrap();
        }),
        ("malformed", "no keys", as_ever, |at| {
            let mut socket = dial(at).unwrap();
            socket.send(Message::binary(vec![0xff; M1])).unwrap();
            assert_eq!(receive(&mut socket).unwrap_err().0, "1002");
        }),
        ("malformed", "no third message", as_ever, |at| {
            let mut socket = half_way(at);
            socket.send(Message::binary(vec![0; channel::M3])).unwrap();
            assert_eq!(receive(&mut socket).unwrap_err().0, "1002");
        }),
        ("late", "says nothing", as_ever, |at| assert_eq!(receive(&mut dial(at).unwrap()).unwrap_err().0, "1002")),
        ("limited", "the second", as_ever, |at| {
            let _first = half_way(at);
            let mut second = dial(at).unwrap();
            second.send(Message::binary(m1())).unwrap();
            assert_eq!(receive(&mut second).unwrap_err().0, "1013");
        }),
        ("not_attested", "no report", fails, not_opened),
        ("not_attested", "no feed", no_feed, not_opened),
        ("gone", "closes", as_ever, |at| dial(at).unwrap().close(None).unwrap()),
        ("gone", "hangs up", as_ever, |at| drop(dial(at).unwrap())),
        ("gone", "hangs up after two messages", as_ever, |at| drop(half_way(at))),
    ];
    for (outcome, how, answerer, act) in cases {
        let changed = Arc::new(AtomicBool::new(false));
        let now = Arc::clone(&changed);
        let answerer = move |request: &Request| now.load(Ordering::SeqCst).then(|| answerer(request)).flatten();
        let mut setup = Setup { answerer: Arc::new(answerer), ..Setup::default() };
        setup.limits.metrics_every = Duration::from_millis(20);
        if outcome == "late" {
            setup.limits.handshake_time = Duration::from_millis(300);
        }
        if outcome == "limited" {
            (setup.limits.handshake_burst, setup.limits.handshake_every) = (1, Duration::from_secs(3600));
        }
        let scene = setup.start();
        scene.wait_until_ready();
        changed.store(true, Ordering::SeqCst);
        act(scene.address);
        let connections = if outcome == "limited" { 2 } else { 1 };
        let all = || counts(&scene, "agent_handshakes_total");
        wait_until(|| all().iter().map(|(_, count)| count).sum::<u64>() >= connections);
        let found: Vec<_> = all().into_iter().filter(|(_, count)| *count > 0).collect();
        let mut expected = vec![(outcome.to_owned(), 1)];
        expected.extend((outcome == "limited").then(|| ("gone".to_owned(), 1)));
        assert_eq!(found, expected, "{how}");
        let failures = u64::from(outcome == "not_attested");
        let successes = u64::from(outcome == "complete");
        let attestations = [("success".to_owned(), successes), ("failure".to_owned(), failures)];
        assert_eq!(counts(&scene, "agent_attestations_total"), attestations, "{how}");
    }
}

/// Whoever waits too long for a report is late, and nothing else.
#[test]
fn a_late_report_is_no_session() {
    let (go_on, wait) = channel::<()>();
    let (wait, ready) = (Mutex::new(wait), Arc::new(AtomicBool::new(false)));
    let now = Arc::clone(&ready);
    let answerer = move |request: &Request| {
        if now.load(Ordering::SeqCst) && matches!(request, Request::Report { .. }) {
            let _ = wait.lock().unwrap().recv();
        }
        None
    };
    let mut setup = Setup { answerer: Arc::new(answerer), ..Setup::default() };
    setup.limits.metrics_every = Duration::from_millis(20);
    setup.limits.handshake_time = Duration::from_secs(2);
    let scene = setup.start();
    scene.wait_until_ready();
    ready.store(true, Ordering::SeqCst);
    assert_eq!(Client::open(scene.address, Shaping::Off).err().unwrap().0, "1002");
    drop(go_on);
    let found = || counts(&scene, "agent_handshakes_total").into_iter().filter(|(_, count)| *count > 0);
    wait_until(|| found().count() > 0);
    assert_eq!(found().collect::<Vec<_>>(), [("late".to_owned(), 1)]);
    assert!(counts(&scene, "agent_attestations_total").iter().all(|(_, count)| *count == 0));
}

/// A connection from this address of the machine's own.
fn connect_from(runtime: &tokio::runtime::Runtime, source: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((source, 0).into())?;
        socket.connect(to).await?.into_std()
    });
    let stream = stream.unwrap();
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn one_address_does_not_shut_another_out() {
    let [one, other] = [2, 3].map(|last| Ipv4Addr::new(127, 0, 0, last));
    let mut setup = Setup::default();
    (setup.limits.handshake_burst, setup.limits.handshake_every) = (1, Duration::from_secs(1));
    (setup.limits.handshake_wait, setup.limits.handshake_time) = (Duration::from_secs(8), Duration::from_secs(60));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
    let scene = setup.start();
    scene.wait_until_ready();
    // All of these want a turn, and what there is for one of them is taken when the last is told so.
    let mut greedy: Vec<_> = (0..20)
        .map(|_| {
            let mut socket = upgrade(connect_from(&runtime, one, scene.address)).unwrap();
            socket.send(Message::binary(m1())).unwrap();
            socket
        })
        .collect();
    assert_eq!(receive(greedy.last_mut().unwrap()).unwrap_err().0, "1013");
    let socket = upgrade(connect_from(&runtime, other, scene.address)).unwrap();
    assert!(Client::shake_hands(socket, Shaping::Off).is_ok());
}
