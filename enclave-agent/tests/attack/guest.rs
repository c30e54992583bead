//! The agent in a process of its own, and one who talks with it all the while.

use crate::peer::{Line, Peer, relay};
use crate::{PATIENCE, canary};
use channel::{MAX_REQUESTS, Shaping};
use enclave_agent::Limits;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use scene::Setup;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Says to the process which guest it is.
const KIND: &str = "VITRINE_TEST_GUEST";

/// How long a guest waits for a request that does not wait for long.
pub(crate) const IDLE_TIME: Duration = Duration::from_secs(20);

/// Open files of a process, as of `enclave-agent.service`.
const FILES: u64 = 8192;

/// An agent that serves.
pub(crate) struct Guest {
    child: Child,
    said: JoinHandle<String>,
    /// Where its sessions are.
    pub(crate) session: SocketAddr,
    /// Where its metrics are.
    pub(crate) metrics: SocketAddr,
}

impl Guest {
    /// Starts the one of this kind.
    #[expect(clippy::disallowed_methods, reason = "the agent under attack is a process of its own")]
    pub(crate) fn start(kind: &str) -> Self {
        // Very many sessions are as many files, here and there.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert!(most >= FILES, "expected at least {FILES} open files to be allowed, found {most}");
        setrlimit(Resource::RLIMIT_NOFILE, FILES, most).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "guest::serve", "--ignored", "--nocapture"]).env(KIND, kind);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let said = thread::spawn(move || {
            let mut said = Vec::new();
            stderr.read_to_end(&mut said).unwrap();
            String::from_utf8_lossy(&said).into_owned()
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut address = |name: &str| {
            let line = lines.find_map(|line| Some(line.split_once(name)?.1.to_owned()));
            line.expect("an agent that serves").parse().unwrap()
        };
        let (session, metrics) = (address("session at "), address("metrics at "));
        // Nobody must wait for the rest of what it says.
        thread::spawn(move || lines.count());
        Self { child, said, session, metrics }
    }

    /// Bytes of its memory.
    pub(crate) fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// Ends it: what it has logged, which says nothing of panics.
    pub(crate) fn end(mut self) -> String {
        assert!(self.child.try_wait().unwrap().is_none(), "the agent has ended by itself");
        drop(self.child.stdin.take());
        let status = self.child.wait().unwrap();
        let said = self.said.join().unwrap();
        assert!(status.success() && !said.contains("panicked"), "{status}\n{said}");
        said
    }
}

/// What the process does.
#[test]
#[ignore = "started by the other tests"]
#[expect(clippy::disallowed_methods, reason = "which guest is asked for is in the environment")]
#[expect(clippy::print_stdout, reason = "where the agent is, for who started it")]
fn serve() {
    let setup = Setup::default();
    let setup = match std::env::var(KIND).unwrap().as_str() {
        // Whose handshakes are not limited.
        "open" => Setup {
            // However long a busy machine takes to open thousands of sessions, whose clients read nothing meanwhile.
            limits: Limits {
                handshake_every: Duration::from_micros(1),
                handshake_burst: u32::MAX,
                silence: Duration::from_secs(60 * 60),
                ..setup.limits
            },
            ..setup
        },
        "impatient" => Setup {
            limits: Limits {
                handshake_time: Duration::from_secs(5),
                silence: Duration::from_secs(6),
                send_time: Duration::from_secs(4),
                ping_every: Duration::from_secs(1),
                message_time: Duration::from_secs(4),
                ..setup.limits
            },
            ..setup
        },
        "idle" => Setup { limits: Limits { idle_time: IDLE_TIME, ..setup.limits }, ..setup },
        // Which has room and workers for few.
        "small" => Setup {
            limits: Limits {
                held: 4 << 20,
                request_time: Duration::from_secs(5),
                message_time: Duration::from_secs(5),
                // Nobody is let go of for another reason.
                silence: Duration::from_secs(60 * 60),
                ping_every: Duration::from_secs(60 * 60),
                workers: 1,
                handshake_every: Duration::from_micros(1),
                handshake_burst: u32::MAX,
                ..setup.limits
            },
            ..setup
        },
        "indiscreet" => Setup {
            worker: Arc::new(canary::indiscreet),
            limits: Limits { metrics_every: Duration::from_millis(200), ..setup.limits },
            ..setup
        },
        other => panic!("expected a kind of guest, found {other}"),
    };
    let scene = setup.start();
    scene.wait_until_ready();
    println!("session at {}", scene.address);
    println!("metrics at {}", scene.metrics);
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

/// One who talks with the agent until it is enough, and gets every answer.
pub(crate) struct Bystander {
    enough: Arc<AtomicBool>,
    talking: JoinHandle<u32>,
}

impl Bystander {
    pub(crate) fn start(at: SocketAddr) -> Self {
        let open = move || Peer::open(Line::dial(at, PATIENCE, relay()).unwrap(), Shaping::Bucket, 0).unwrap();
        let mut peer = open();
        let enough = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&enough);
        let talking = thread::spawn(move || {
            let mut answers = 0;
            while !told.load(Ordering::Relaxed) {
                let question = format!("this is my question number {answers}");
                assert_eq!(peer.ask(&question).unwrap(), question);
                answers += 1;
                if answers % MAX_REQUESTS == 0 {
                    peer = open();
                }
                thread::sleep(Duration::from_millis(20));
            }
            answers
        });
        Self { enough, talking }
    }

    /// How many answers it got.
    pub(crate) fn end(self) -> u32 {
        self.enough.store(true, Ordering::Relaxed);
        self.talking.join().unwrap()
    }
}
