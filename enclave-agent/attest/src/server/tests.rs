use super::*;
use crate::tsm::tests::{Kernel, kernel};
use crate::{AskError, client};
use measure::Sha256;
use measure::cmdline::VerityDisk;
use simulate::{Processor as Simulated, Product, service};
use std::fs;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{self, Receiver, Sender};
use tempfile::TempDir;

const HANDSHAKE: Sha256 = Sha256::new([1; 32]);
const STATEMENT: Sha256 = Sha256::new([2; 32]);

/// A system below a directory, its ports sockets.
struct System(TempDir);

impl System {
    fn new(tee: Tee) -> Self {
        let system = Self(tempfile::tempdir().unwrap());
        let guid = "01234567-89ab-4def-8123-456789abcdef".parse().unwrap();
        let root = "cd".repeat(32).parse().unwrap();
        let disk = VerityDisk { data: guid, hash: guid, data_blocks: 1.try_into().unwrap(), salt: STATEMENT, root };
        let line = CommandLine { tee, root: disk.clone(), model: disk };
        system.file("proc/cmdline", &format!("initrd=initrd {line}\n"));
        system
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A port; what is at its other end gets each connection that the guest makes.
    fn port(&self, number: u32, name: &str, other_end: impl Fn(UnixStream) + Send + 'static) {
        let listener = self.listener(number, name);
        thread::spawn(move || listener.incoming().for_each(|stream| other_end(stream.unwrap())));
    }

    fn listener(&self, number: u32, name: &str) -> UnixListener {
        self.file(&format!("sys/class/virtio-ports/vport0p{number}/name"), &format!("{name}\n"));
        fs::create_dir_all(self.0.path().join("dev")).unwrap();
        UnixListener::bind(self.0.path().join(format!("dev/vport0p{number}"))).unwrap()
    }

    /// A simulated processor's port that must not be opened.
    fn forbidden(&self) -> Forbidden {
        Forbidden(self.listener(1, "vitrine.sim"))
    }

    fn processor(&self) {
        self.port(1, "vitrine.sim", |mut stream| {
            let _ended = service::serve(&mut stream, &processor());
        });
    }

    fn machine(&self) -> Machine {
        let open = |path: &Path| Ok(File::from(OwnedFd::from(UnixStream::connect(path)?)));
        Machine { root: self.0.path().to_owned(), open, isolated: false }
    }

    /// The helper's socket.
    fn start(&self) -> PathBuf {
        self.start_on(self.machine())
    }

    fn start_on(&self, machine: Machine) -> PathBuf {
        let socket = self.0.path().join("attest.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || run(machine, &listener));
        socket
    }
}

struct Forbidden(UnixListener);

impl Drop for Forbidden {
    fn drop(&mut self) {
        self.0.set_nonblocking(true).unwrap();
        assert!(thread::panicking() || self.0.accept().is_err(), "the simulator was opened");
    }
}

fn processor() -> Simulated {
    Simulated::patched(Product::Genoa, simulate::Guest { policy: 0x3_0000, measurement: [9; 48], host_data: [0; 32] })
}

fn failure<T: std::fmt::Debug>(answer: Result<T, AskError>) -> Failure {
    match answer {
        Err(AskError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

/// Where REPORT_DATA of a report is.
fn data_of(report: &[u8]) -> &[u8] {
    &report[0x50..0x90]
}

#[test]
fn a_report_is_of_the_session_and_from_whom_the_command_line_says() {
    let data = report_data(&HANDSHAKE, &STATEMENT);
    let simulated = System::new(Tee::Simulated);
    simulated.processor();
    let socket = simulated.start();
    let made = client::report(&socket, HANDSHAKE, STATEMENT).unwrap();
    assert_eq!(made, client::Report { kind: Kind::Snp, bytes: processor().report(*data.as_bytes()) });

    for (tee, provider, kind, size) in
        [(Tee::Snp, "sev_guest\n", Kind::Snp, 0x4a0), (Tee::Tdx, "tdx_guest\n", Kind::Tdx, 5000)]
    {
        let system = System::new(tee);
        // It is there and is not asked.
        let _unopened = system.forbidden();
        kernel(system.0.path(), provider, Kernel::Makes(size), 1);
        let made = client::report(&system.start(), HANDSHAKE, STATEMENT).unwrap();
        assert_eq!((made.kind, made.bytes.len()), (kind, size));
        assert!(made.bytes.starts_with(data.as_bytes()));
    }
}

#[test]
fn a_failing_provider_is_never_replaced() {
    let ask = |socket: &Path| failure(client::report(socket, HANDSHAKE, STATEMENT));
    for tee in [Tee::Snp, Tee::Tdx] {
        let system = System::new(tee);
        let _unopened = system.forbidden();
        assert_eq!(ask(&system.start()), Failure::Provider, "{tee}");
    }
    let system = System::new(Tee::Snp);
    let _unopened = system.forbidden();
    kernel(system.0.path(), "sev_guest\n", Kernel::Makes(16), 1);
    assert_eq!(ask(&system.start()), Failure::Report);

    // A simulation on a machine that is none.
    type Change = fn(&System, &mut Machine);
    let changes: [(&str, Change); 4] = [
        ("the CPU", |_, machine| machine.isolated = true),
        ("SEV's device", |system, _| system.file("dev/sev-guest", "")),
        ("TDX's device", |system, _| system.file("dev/tdx_guest", "")),
        ("a provider", |system, _| system.file("sys/kernel/config/tsm/report/other/provider", "")),
    ];
    for (name, change) in changes {
        let system = System::new(Tee::Simulated);
        let _unopened = system.forbidden();
        let mut machine = system.machine();
        change(&system, &mut machine);
        assert_eq!(ask(&system.start_on(machine)), Failure::Machine, "{name}");
    }
    let system = System::new(Tee::Simulated);
    assert_eq!(ask(&system.start()), Failure::Provider, "no port");

    for text in ["", "vitrine.tee=simulated", &"x".repeat(5000)] {
        let system = System::new(Tee::Simulated);
        let _unopened = system.forbidden();
        system.file("proc/cmdline", text);
        assert_eq!(ask(&system.start()), Failure::Machine, "{text}");
    }
}

#[test]
fn answers_to_somebody_else_are_passed_over_and_lost_connections_made_again() {
    let system = System::new(Tee::Simulated);
    system.port(1, "vitrine.sim", |mut stream| {
        // What somebody before us has asked for, then one of our own, then the end.
        let other = processor().report([3; 64]).try_into().unwrap();
        stream.write_all(&simulate_port::Answer::Report(other).to_bytes()).unwrap();
        let mut message = [0; simulate_port::REQUEST];
        stream.read_exact(&mut message).unwrap();
        let asked = simulate_port::Request::parse(&message).unwrap();
        let made = processor().report(asked.report_data).try_into().unwrap();
        stream.write_all(&simulate_port::Answer::Report(made).to_bytes()).unwrap();
    });
    let socket = system.start();
    for fill in [4, 5, 6] {
        let handshake = Sha256::new([fill; 32]);
        let made = client::report(&socket, handshake, STATEMENT).unwrap();
        assert_eq!(data_of(&made.bytes), report_data(&handshake, &STATEMENT).as_bytes());
    }

    for (name, other_end) in [
        ("refused", (|stream| answer(stream, simulate_port::Answer::Refused.to_bytes().to_vec())) as fn(UnixStream)),
        ("other bytes", |stream| answer(stream, vec![7; 2 * simulate_port::ANSWER])),
        ("torn", |stream| answer(stream, vec![7; simulate_port::ANSWER - 1])),
        ("stale without end", |mut stream| {
            let other = processor().report([3; 64]).try_into().unwrap();
            while stream.write_all(&simulate_port::Answer::Report(other).to_bytes()).is_ok() {}
        }),
    ] {
        let system = System::new(Tee::Simulated);
        system.port(1, "vitrine.sim", other_end);
        assert_eq!(failure(client::report(&system.start(), HANDSHAKE, STATEMENT)), Failure::Report, "{name}");
    }
}

/// Reads one request and sends these bytes.
fn answer(mut stream: UnixStream, bytes: Vec<u8>) {
    let mut message = [0; simulate_port::REQUEST];
    stream.read_exact(&mut message).unwrap();
    stream.write_all(&bytes).unwrap();
}

#[test]
fn requests_that_come_together_are_answered_each_with_its_own() {
    let system = System::new(Tee::Simulated);
    system.processor();
    let socket = &system.start();
    thread::scope(|scope| {
        for fill in 0..8 {
            scope.spawn(move || {
                let handshake = Sha256::new([fill; 32]);
                let made = client::report(socket, handshake, STATEMENT).unwrap();
                assert_eq!(data_of(&made.bytes), report_data(&handshake, &STATEMENT).as_bytes());
            });
        }
    });
}

#[test]
fn what_is_no_request_is_refused_and_harms_nobody() {
    let system = System::new(Tee::Simulated);
    let socket = system.start();
    let good = Request::Feed.to_bytes();
    let mut other = good;
    other[0] ^= 1;
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(&other).unwrap();
    let mut message = Vec::new();
    stream.read_to_end(&mut message).unwrap();
    assert_eq!(Answer::parse(&message), Ok(Answer::Failed(Failure::Refused)));
    // One that ends early, and one of which nobody hears the answer.
    UnixStream::connect(&socket).unwrap().write_all(&good[..5]).unwrap();
    UnixStream::connect(&socket).unwrap().write_all(&good).unwrap();
    assert_eq!(client::feed(&socket).unwrap(), b"");
    assert_eq!(client::operator(&socket).unwrap(), None);
}

#[test]
fn the_operator_document_comes_from_its_port_whole() {
    let framed = |document: &[u8]| frame::OPERATOR.frame(document).unwrap();
    let full = vec![5; frame::OPERATOR.limit];
    let long = [&b"vitrine/operator/1\0"[..], &(frame::OPERATOR.limit as u32 + 1).to_be_bytes(), &full, b"x"].concat();
    for (name, sent, expected) in [
        ("good", framed(&full), Ok(Some(full.clone()))),
        ("empty", framed(b""), Ok(Some(Vec::new()))),
        ("from the middle of one on", [&framed(b"ab")[3..], &framed(b"ab")].concat(), Ok(Some(b"ab".to_vec()))),
        ("too long", long.clone(), Err(Failure::Operator)),
        ("too long, then good", [long, framed(b"ab")].concat(), Ok(Some(b"ab".to_vec()))),
        ("torn", framed(b"ab")[..22].to_vec(), Err(Failure::Operator)),
        ("a feed", frame::FEED.frame(b"ab").unwrap(), Err(Failure::Operator)),
        ("nothing", Vec::new(), Err(Failure::Operator)),
    ] {
        let system = System::new(Tee::Simulated);
        // Each connection gets the same and ends.
        system.port(2, "vitrine.operator", move |mut stream| stream.write_all(&sent).unwrap());
        let socket = system.start();
        for _ in 0..2 {
            match &expected {
                Ok(document) => assert_eq!(client::operator(&socket).unwrap(), *document, "{name}"),
                Err(expected) => assert_eq!(failure(client::operator(&socket)), *expected, "{name}"),
            }
        }
    }
}

#[test]
fn the_newest_whole_feed_counts() {
    let system = System::new(Tee::Simulated);
    let (connected, connections): (Sender<UnixStream>, Receiver<UnixStream>) = mpsc::channel();
    system.port(3, "vitrine.feed", move |stream| connected.send(stream).unwrap());
    let socket = system.start();
    assert_eq!(client::feed(&socket).unwrap(), b"");
    let until = |expected: &[u8]| while client::feed(&socket).unwrap() != expected {};
    let framed = |feed: &[u8]| frame::FEED.frame(feed).unwrap();

    let mut host = connections.recv().unwrap();
    let full = vec![6; frame::FEED.limit];
    host.write_all(&framed(&full)).unwrap();
    until(&full);
    // Bad frames leave the last good one, which is not taken for what is new.
    let long = [&b"vitrine/feed/1\0"[..], &u32::MAX.to_be_bytes()].concat();
    host.write_all(&[&long[..], b"noise", &framed(b"new")].concat()).unwrap();
    until(b"new");
    // A frame that is not whole, and the end.
    host.write_all(&framed(b"torn")[..20]).unwrap();
    drop(host);
    let mut host = connections.recv().unwrap();
    assert_eq!(client::feed(&socket).unwrap(), b"new");
    host.write_all(&[framed(b"newer"), framed(b"newest")].concat()).unwrap();
    until(b"newest");
    // Bytes without end are no feed, and others are answered meanwhile.
    for _ in 0..64 {
        host.write_all(&[b'v'; CHUNK]).unwrap();
        assert_eq!(client::feed(&socket).unwrap(), b"newest");
    }
}

#[test]
fn reports_are_limited() {
    let system = System::new(Tee::Simulated);
    let mut server = Server {
        tee: Ok(Tee::Simulated),
        machine: system.machine(),
        processor: Processor::default(),
        operator: None,
        feed: Arc::default(),
        rate: Rate::new(EACH, AT_ONCE),
    };
    let request = Request::Report { handshake: HANDSHAKE, statement: STATEMENT };
    // Whether there is a report or not, fifty are tried at once and then one each 20 ms.
    let mut tried = |now| {
        let answers = (0..200).map(|_| server.answer(request, Duration::from_millis(now)));
        answers.filter(|answer| *answer == Err(Failure::Provider)).count()
    };
    assert_eq!([5000, 5019, 5100, 60_000].map(&mut tried), [50, 0, 5, 50]);
    let now = Duration::from_secs(60);
    assert_eq!(server.answer(request, now), Err(Failure::Busy));
    assert_eq!(server.answer(Request::Feed, now), Ok(Answer::Feed(Vec::new())));
}

#[test]
fn whoever_is_gone_has_no_report_made() {
    let (system, made) = (System::new(Tee::Simulated), Arc::new(Mutex::new(0)));
    let count = Arc::clone(&made);
    system.port(1, "vitrine.sim", move |stream| {
        let mut request = simulate_port::Request { report_data: [0; 64] }.to_bytes();
        while (&stream).read_exact(&mut request).is_ok() {
            *count.lock().unwrap() += 1;
        }
    });
    let socket = system.0.path().join("attest.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    for _ in 0..5 {
        let request = Request::Report { handshake: HANDSHAKE, statement: STATEMENT };
        UnixStream::connect(&socket).unwrap().write_all(&request.to_bytes()).unwrap();
    }
    let machine = system.machine();
    thread::spawn(move || run(machine, &listener));
    // One after the other: this is answered when those are over.
    assert!(client::feed(&socket).unwrap().is_empty());
    assert_eq!(*made.lock().unwrap(), 0);
}
