//! The agent, and whoever it talks to inside the guest.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use attest::{Answer, Kind, REQUEST, Request};
use channel::evidence::report_data;
use enclave_agent::{Config, Limits, Listeners, serve};
use measure::Sha256;
use measure::cmdline::{CommandLine, Tee, VerityDisk};
use measure::guid::Guid;
use measure::verity::VerityRoot;
use openai::call::{Call, Route};
use simulate::{Guest, Processor, Product};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// The name of the model that is served.
pub const MODEL: &str = "smollm2";
/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes a report before the helper hands it over.
pub type Report = Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>;
/// Does what a worker does with its connection.
pub type Worker = Arc<dyn Fn(&mut UnixStream) -> io::Result<()> + Send + Sync>;
/// Answers instead of the helper, where it has an answer.
pub type Answerer = Arc<dyn Fn(&Request) -> Option<Answer> + Send + Sync>;

/// What the agent will find.
#[derive(Clone)]
pub struct Setup {
    /// Its limits.
    pub limits: Limits,
    /// The operator document.
    pub operator: Option<Vec<u8>>,
    /// The feed.
    pub feed: Vec<u8>,
    /// HOST_DATA, if it is not that of the operator document.
    pub host_data: Option<[u8; 32]>,
    /// What is done to reports.
    pub report: Report,
    /// Who answers in place of the helper.
    pub answerer: Answerer,
    /// What a worker does; the fake engine's work, if nothing else.
    pub worker: Worker,
    /// Whether the process could make IP sockets.
    pub ip_socket: bool,
    /// Files below `/`, by path, that are others than they should be.
    pub files: Vec<(&'static str, String)>,
}

impl Default for Setup {
    /// Everything as it should be, without an operator document or a feed.
    fn default() -> Self {
        Self {
            limits: Limits { retry: Duration::from_millis(20), ..Limits::GUEST },
            operator: None,
            feed: Vec::new(),
            host_data: None,
            report: Arc::new(|report| report),
            answerer: Arc::new(|_| None),
            worker: Arc::new(openai::fake::serve),
            ip_socket: false,
            files: Vec::new(),
        }
    }
}

/// A running agent. It is told to stop when this is dropped, and waited for.
pub struct Scene {
    /// Where sessions begin.
    pub address: SocketAddr,
    /// Where metrics are.
    pub metrics: SocketAddr,
    /// Workers that were started.
    pub workers_started: Arc<AtomicUsize>,
    /// Workers that are running.
    pub workers_running: Arc<AtomicUsize>,
    /// Reports that were made.
    pub reports: Arc<AtomicUsize>,
    stop: Option<oneshot::Sender<()>>,
    agent: Option<JoinHandle<io::Result<()>>>,
    over: Arc<AtomicBool>,
    directory: TempDir,
}

/// The command line that the guest was started with.
fn command_line() -> CommandLine {
    let disk = |seed: u8| VerityDisk {
        data: Guid::from_bytes([seed; 16]),
        hash: Guid::from_bytes([seed + 1; 16]),
        data_blocks: std::num::NonZeroU64::MIN,
        salt: Sha256::of(&[seed]),
        root: VerityRoot(Sha256::of(&[seed + 1])),
    };
    CommandLine { tee: Tee::Simulated, root: disk(0x10), model: disk(0x20) }
}

fn write_root(root: &Path, changes: &[(&'static str, String)]) {
    let stages = ["kernel", "mounts", "modules", "disks", "verity", "read", "root"];
    let boot: String =
        stages.iter().map(|name| format!("{{\"stage\":\"{name}\",\"begin_us\":1,\"end_us\":2}}\n")).collect();
    let mounts = "22 1 253:0 / / ro,nosuid - erofs /dev/dm-0 ro\n30 22 253:1 / /model ro - erofs /dev/dm-1 ro\n";
    let files = [
        ("proc/self/mountinfo", mounts.to_owned()),
        ("proc/self/net/dev", "Inter-|\n face |bytes\n    lo:       0\n".to_owned()),
        ("proc/self/statm", "1000 500 1 1 0 1 0\n".to_owned()),
        ("sys/dev/block/253:0/dm/name", "vitrine-root\n".to_owned()),
        ("sys/dev/block/253:1/dm/name", "vitrine-model\n".to_owned()),
        ("run/vitrine/boot.jsonl", boot),
        ("run/vitrine/cmdline", command_line().to_string()),
        ("model/name", format!("{MODEL}\n")),
    ];
    for (path, text) in files.iter().chain(changes) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a path in a directory")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
}

impl Setup {
    /// Starts the agent. It may not be ready yet, and may never be.
    pub fn start(self) -> Scene {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        write_root(&path("root"), &self.files);
        let over = Arc::new(AtomicBool::new(false));
        let [workers_started, workers_running, reports] = [const { AtomicUsize::new(0) }; 3].map(Arc::new);

        let config = Config {
            root: path("root"),
            attest: path("attest.sock"),
            infer: path("infer.sock"),
            limits: self.limits,
            ip_socket: self.ip_socket,
        };
        let worker = Arc::clone(&self.worker);
        let (started, running) = (Arc::clone(&workers_started), Arc::clone(&workers_running));
        each_connection(&config.infer, &over, move |stream| {
            started.fetch_add(1, Ordering::SeqCst);
            running.fetch_add(1, Ordering::SeqCst);
            // Whoever talked to it notices what becomes of it.
            let _ = worker(stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
            running.fetch_sub(1, Ordering::SeqCst);
        });
        let made = Arc::clone(&reports);
        let helper = self;
        each_connection(&config.attest, &over, move |stream| {
            let mut request = [0; REQUEST];
            if stream.read_exact(&mut request).is_ok()
                && let Ok(request) = Request::parse(&request)
            {
                let answer = helper.answer(&request, &made).to_bytes().expect("an answer that fits");
                let _ = stream.write_all(&answer);
            }
        });

        let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let listeners = Listeners { session: bind(), metrics: bind() };
        let [address, metrics] =
            [&listeners.session, &listeners.metrics].map(|listener| listener.local_addr().expect("an address"));
        let (stop, stopped) = oneshot::channel();
        let agent = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(serve(config, listeners, async {
                let _ = stopped.await;
            }))
        });
        let (stop, agent) = (Some(stop), Some(agent));
        Scene { address, metrics, workers_started, workers_running, reports, stop, agent, over, directory }
    }

    fn answer(&self, request: &Request, reports: &AtomicUsize) -> Answer {
        if let Some(answer) = (self.answerer)(request) {
            return answer;
        }
        match request {
            Request::Report { handshake, statement } => {
                reports.fetch_add(1, Ordering::SeqCst);
                let bytes = self.processor().report(*report_data(handshake, statement).as_bytes());
                Answer::Report { kind: Kind::Snp, bytes: (self.report)(bytes) }
            }
            Request::Operator => Answer::Operator(self.operator.clone()),
            Request::Feed => Answer::Feed(self.feed.clone()),
        }
    }

    /// The processor that makes the reports.
    pub fn processor(&self) -> Processor {
        let operator = self.operator.as_deref().map_or([0; 32], |document| *Sha256::of(document).as_bytes());
        let host_data = self.host_data.unwrap_or(operator);
        Processor::patched(Product::Genoa, Guest { policy: 0x3_0000, measurement: [9; 48], host_data })
    }

    /// The root of the model that is served.
    pub fn model_root(&self) -> VerityRoot {
        command_line().model.root
    }
}

/// Has each connection to `socket` served by a thread of its own, until it is all over.
fn each_connection(socket: &Path, over: &Arc<AtomicBool>, serve: impl Fn(&mut UnixStream) + Send + Sync + 'static) {
    let listener = UnixListener::bind(socket).expect("a socket");
    let (over, serve) = (Arc::clone(over), Arc::new(serve));
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            if over.load(Ordering::SeqCst) {
                return;
            }
            let serve = Arc::clone(&serve);
            thread::spawn(move || serve(&mut stream));
        }
    });
}

impl Scene {
    /// Waits until the agent says that it is ready.
    ///
    /// # Panics
    /// When that takes a minute.
    pub fn wait_until_ready(&self) {
        self.wait_for("ready");
    }

    /// Waits until the agent gives this reason for whether it is ready.
    ///
    /// # Panics
    /// When that takes a minute.
    pub fn wait_for(&self, reason: &str) {
        let expected = format!("\"reason\":\"{reason}\"");
        wait_until(|| self.page("/readyz").1.contains(&expected));
    }

    /// The status and the content of a page.
    ///
    /// # Panics
    /// When there is no answer.
    pub fn page(&self, path: &str) -> (u16, String) {
        page(self.address, path)
    }

    /// Tells the agent to stop, without waiting for it.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until the agent has ended; to be called after [`Self::stop`].
    ///
    /// # Panics
    /// When it failed.
    pub fn wait_for_end(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.join().expect("no panic").expect("no failure");
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        self.stop();
        if let Some(agent) = self.agent.take() {
            let _ = agent.join();
        }
        for socket in ["attest.sock", "infer.sock"] {
            let _ = UnixStream::connect(self.directory.path().join(socket));
        }
    }
}

/// Waits until this holds.
///
/// # Panics
/// When it does not within a minute.
pub fn wait_until(mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "it did not come to be");
        sleep(Duration::from_millis(10));
    }
}

/// The status and the content of the page that is there.
///
/// # Panics
/// When there is no answer.
pub fn page(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: guest\r\n\r\n").expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

/// A call of [`MODEL`] with one message, and further members of the request as JSON.
pub fn chat(content: &str, members: &str) -> Call {
    let content = content.replace('\\', "\\\\").replace('"', "\\\"");
    let body = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"{content}"}}]{members}}}"#);
    Call { route: Route::Chat, salt: None, body: body.into_bytes() }
}

/// Changes `bytes` at `at`.
pub fn with_byte(bytes: Vec<u8>, at: usize, value: u8) -> Vec<u8> {
    let mut bytes = bytes;
    bytes[at] = value;
    bytes
}
