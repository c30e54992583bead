//! Runs one program with an unpacked tree as its whole world: nothing of the host is visible but the kernel and the
//! directories named in [`Sandbox::binds`].
//!
//! It is made of processes, because a process with threads cannot enter a user namespace and `unsafe` would be
//! needed to fork: the caller starts its own executable again twice. The first copy enters new namespaces, the second
//! is process 1 in them, builds the file system and starts the program. A pipe from the caller to both is never
//! written to; when it closes, because the caller dropped it or was killed, process 1 exits and the kernel kills
//! everything in its process namespace.
//!
//! The same path is taken by root and by other users: exactly one user id exists inside, and file owners in what
//! a program writes are the caller's.

mod inside;

use crate::files::{create_own, read_end_of_own};
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

pub use inside::entry;

/// The name the machine has inside, whatever the host is called.
pub const HOSTNAME: &str = "vitrine";

/// First arguments by which the executable knows itself as part of a sandbox.
const UNSHARE: &str = "__sandbox-unshare";
const INIT: &str = "__sandbox-init";

/// Longest serialised [`Sandbox`]; Linux takes at most 131,072 bytes in one argument.
const MAX_SPEC: usize = 120_000;

/// Longest answer of the sandbox about how the program ended, in bytes.
const MAX_OUTCOME: u64 = 64 * 1024;

/// Longest line of a program's output that is handed on whole, in bytes.
const MAX_LINE: u64 = 64 * 1024;

/// How many of the last lines of its output an error quotes.
const TAIL: usize = 30;

/// Most bytes of a log that are looked at for them, from its end.
const MAX_TAIL: u64 = 256 * 1024;

/// What to run, and everything it can see. All paths must be absolute and UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The unpacked tree that becomes `/`, read-only. `/dev`, `/proc`, `/run`, `/sys`, `/tmp` and `/var/tmp` are never
    /// taken from it.
    pub root: PathBuf,
    /// Host files and directories to show inside, mounted in this order.
    pub binds: Vec<Bind>,
    /// The program, by its absolute path inside, and its arguments.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// The working directory inside.
    pub cwd: PathBuf,
    /// Which network the program sees.
    pub network: Network,
    /// The one user and group id that exists inside.
    pub uid: u32,
    /// Host file that gets the program's output.
    pub log: PathBuf,
}

/// A host file or directory, and where it appears.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub host: PathBuf,
    /// Inside. Made when it is in the root directory or on a private file system; elsewhere the tree must have it.
    pub guest: PathBuf,
    /// Whether the program may write there.
    pub writable: bool,
}

/// Which network the program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// None at all: an empty namespace whose loopback interface is down.
    None,
    /// The host's, for an emulator that forwards ports.
    Host,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By itself, with this status.
    Exited(i32),
    /// By the signal with this number.
    Signaled(i32),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {
            Self::Exited(status) => write!(f, "exited with status {status}"),
            Self::Signaled(number) => match nix::sys::signal::Signal::try_from(number) {
                Ok(signal) => write!(f, "was killed by {signal}"),
                Err(_unnamed) => write!(f, "was killed by signal {number}"),
            },
        }
    }
}

/// A program did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{program} {ending}; the last lines of {}:\n{}", log.display(), tail.join("\n"))]
pub struct Failed {
    /// The program's path inside.
    pub program: String,
    /// How it ended.
    pub ending: Ending,
    /// The whole output.
    pub log: PathBuf,
    /// The last lines of the output.
    pub tail: Vec<String>,
}

/// What process 1 has to say at the end, as one JSON text on its standard output.
#[derive(Debug, Serialize, Deserialize)]
enum Outcome {
    Ended(Ending),
    NeverStarted(String),
}

/// A program under way. Dropping it kills the program and all its children, and waits until they are gone.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// The pipe that keeps the sandbox alive.
    lifeline: Option<ChildStdin>,
}

impl Sandbox {
    /// Runs the program to its end, passing each line of its output to `note` as well as to the log.
    ///
    /// # Errors
    /// [`Failed`] unless the program exits with status 0; else what kept it from running.
    pub fn run(&self, note: &mut dyn FnMut(&str)) -> anyhow::Result<()> {
        let mut log = self.create_log()?;
        let mut running = self.start(Stdio::piped())?;
        let output = running.child.stderr.take().context("the sandbox has no output pipe")?;
        let tail = copy_lines(output, &mut log, note).with_context(|| format!("writing {}", self.log.display()))?;
        match running.wait().with_context(|| format!("running {}", self.program()))? {
            Ending::Exited(0) => Ok(()),
            ending => Err(Failed { program: self.program().to_owned(), ending, log: self.log.clone(), tail }.into()),
        }
    }

    /// Starts the program and returns; its output goes to the log only.
    ///
    /// # Errors
    /// When the log cannot be made or the sandbox not be started. That the program itself could not be started is
    /// the error of [`Running::wait`].
    pub fn spawn(&self) -> anyhow::Result<Running> {
        let log = self.create_log()?;
        self.start(log.into())
    }

    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    fn create_log(&self) -> anyhow::Result<File> {
        create_own(&self.log).with_context(|| format!("creating the log {}", self.log.display()))
    }

    /// The same without symbolic links in host paths: inside, the host is no longer at `/`, where absolute ones lead.
    fn resolved(&self) -> anyhow::Result<Self> {
        let resolve = |path: &Path| path.canonicalize().with_context(|| format!("looking for {}", path.display()));
        let mut resolved = Self { root: resolve(&self.root)?, ..self.clone() };
        for bind in &mut resolved.binds {
            bind.host = resolve(&bind.host)?;
        }
        Ok(resolved)
    }

    fn start(&self, output: Stdio) -> anyhow::Result<Running> {
        ensure!(Path::new(self.program()).is_absolute(), "the program {:?} is not an absolute path", self.program());
        // The working directory of whoever calls must not matter.
        let absolute = [&self.root, &self.cwd].into_iter().chain(self.binds.iter().flat_map(|b| [&b.host, &b.guest]));
        for path in absolute {
            ensure!(path.is_absolute(), "{} is not an absolute path", path.display());
        }
        let spec = serde_json::to_string(&self.resolved()?).context("describing the sandbox")?;
        ensure!(spec.len() <= MAX_SPEC, "the sandbox's description has {} bytes, at most {MAX_SPEC} fit", spec.len());
        let mut child = again(UNSHARE, &spec)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(output)
            .spawn()
            .context("starting this executable again as a sandbox")?;
        let lifeline = child.stdin.take();
        Ok(Running { child, lifeline })
    }
}

impl Running {
    /// Waits for the end.
    ///
    /// # Errors
    /// When the program was never started or nobody knows how it ended.
    pub fn wait(mut self) -> anyhow::Result<Ending> {
        let mut answer = Vec::new();
        let stdout = self.child.stdout.as_mut().context("the sandbox has no answer pipe")?;
        stdout.take(MAX_OUTCOME).read_to_end(&mut answer).context("reading the sandbox's answer")?;
        let status = self.child.wait().context("waiting for the sandbox")?;
        if answer.is_empty() {
            match status.signal() {
                Some(number) => bail!("the sandbox itself {}", Ending::Signaled(number)),
                None => bail!(
                    "the sandbox ended without an answer ({status}): was it killed, or does this executable's \
                     main not begin with image::tools::sandbox::entry()?"
                ),
            }
        }
        match serde_json::from_slice(&answer) {
            Ok(Outcome::Ended(ending)) => Ok(ending),
            Ok(Outcome::NeverStarted(reason)) => bail!(reason),
            Err(error) => Err(error).context("reading the sandbox's answer"),
        }
    }

    /// Whether the program is still running.
    ///
    /// # Errors
    /// When the operating system does not know the process.
    pub fn is_running(&mut self) -> anyhow::Result<bool> {
        Ok(self.child.try_wait().context("asking for the sandbox")?.is_none())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.lifeline.take());
        // Nothing can be done about a failure here, and after `wait` there is nothing left to do.
        let _gone = self.child.wait();
    }
}

/// The last lines of a log, as many as an error quotes.
///
/// # Errors
/// When the log cannot be read, or something else is in its place, where a program could put it.
pub fn tail(log: &Path) -> anyhow::Result<Vec<String>> {
    let read = || copy_lines(&*read_end_of_own(log, MAX_TAIL)?, &mut std::io::sink(), &mut |_line| ());
    read().with_context(|| format!("reading {}", log.display()))
}

/// Copies `output` to `log`, hands each line to `note` and returns the last lines.
fn copy_lines(
    output: impl std::io::Read,
    log: &mut dyn std::io::Write,
    note: &mut dyn FnMut(&str),
) -> std::io::Result<Vec<String>> {
    let mut output = BufReader::new(output);
    let mut tail = VecDeque::with_capacity(TAIL + 1);
    let mut line = Vec::new();
    loop {
        line.clear();
        output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(tail.into());
        }
        log.write_all(&line)?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        note(&text);
        tail.push_back(text);
        if tail.len() > TAIL {
            tail.pop_front();
        }
    }
}

/// This executable, again, as another part of the sandbox.
#[expect(clippy::disallowed_methods, reason = "the one place that starts programs in sandboxes")]
fn again(stage: &str, spec: &str) -> Command {
    // Through /proc even a binary that cargo has replaced in the meantime is the one that is running.
    let mut command = Command::new("/proc/self/exe");
    command.args([stage, spec]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_log_is_a_file_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("other"), "as it was").unwrap();
        symlink("other", at("qemu.log")).unwrap();
        tail(&at("qemu.log")).unwrap_err();
        let sandbox = Sandbox {
            root: PathBuf::new(),
            binds: Vec::new(),
            argv: Vec::new(),
            env: BTreeMap::new(),
            cwd: PathBuf::new(),
            network: Network::None,
            uid: 0,
            log: at("qemu.log"),
        };
        drop(sandbox.create_log().unwrap());
        assert_eq!(fs::read_to_string(at("other")).unwrap(), "as it was");

        fs::write(&sandbox.log, "line\n".repeat(100_000)).unwrap();
        assert_eq!(tail(&sandbox.log).unwrap(), ["line"; TAIL]);
        fs::remove_file(&sandbox.log).unwrap();
        nix::unistd::mkfifo(&sandbox.log, nix::sys::stat::Mode::S_IRWXU).unwrap();
        tail(&sandbox.log).unwrap_err();
    }

    #[test]
    fn output_is_logged_whole_and_quoted_in_part() {
        let lines: Vec<String> = (0..40).map(|n| format!("line {n}")).collect();
        let output = format!("{}\nunfinished", lines.join("\n"));
        let (mut log, mut seen) = (Vec::new(), 0);
        let tail = copy_lines(output.as_bytes(), &mut log, &mut |_line| seen += 1).unwrap();
        assert_eq!(log, output.as_bytes());
        assert_eq!((seen, tail.len()), (41, TAIL));
        assert_eq!((tail[0].as_str(), tail[TAIL - 1].as_str()), ("line 11", "unfinished"));
    }
}
