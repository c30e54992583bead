//! `cargo xtask bench`: the figures of docs/benchmarks.md, measured on this machine.

mod boots;
mod builds;
mod logs;
mod programs;
mod sessions;
mod sizes;
mod times;

use anyhow::{Context as _, ensure};
use image::files;
use image::inputs::lock::Set;
use image::inputs::store::{STORE, Store};
use image::pipeline::build::Checkout;
use image::pipeline::scratch::Scratch;
use image::pipeline::stage::{STAGES, Stage};
use image::progress::Progress as _;
use image::result::launch::{Dist, tools};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::report::{Answer, Terminal};
use crate::workspace;

/// The document, and the lines between which it has what this command writes.
const DOCUMENT: &str = "docs/benchmarks.md";
const BEGIN: &str = "<!-- written by `cargo xtask bench --write` -->\n";
const BEGIN_LOGS: &str = "<!-- written by `cargo xtask bench --logs --write` -->\n";
const BEGIN_SESSIONS: &str = "<!-- written by `cargo xtask bench --sessions --write` -->\n";
const END: &str = "<!-- end -->\n";

/// The build that is measured, in the working directory; not at its top, which is locked and so is what holds `dist/`.
const DIST: &str = "built/dist";

/// What `bench` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Put the figures into docs/benchmarks.md.
    #[arg(long)]
    write: bool,
    /// Only the figures of the transparency log, which need no build but the programs of docs/interop.md.
    #[arg(long)]
    logs: bool,
    /// Only the figures of sessions and answers, which need no build but compile llama.cpp: with g++, cmake and libclang.
    #[arg(long, conflicts_with = "logs")]
    sessions: bool,
}

/// One figure: what was seen, what it is compared with, and what is expected.
#[derive(Debug, serde::Serialize)]
struct Row {
    what: &'static str,
    seen: String,
    against: String,
    figure: String,
    target: String,
    /// Nothing if no target is set.
    met: Option<bool>,
}

/// What every figure needs.
struct Bench {
    checkout: Checkout,
    cache: PathBuf,
    store: Store,
    /// This program.
    xtask: PathBuf,
    /// The build of the checkout.
    dist: Dist,
    /// The tools it was built with.
    tools: PathBuf,
    /// On the cache's file system, for anything.
    work: Scratch,
}

/// Measures everything.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    ensure!(!cfg!(debug_assertions), "a debug build measures nothing of interest; run `cargo xtask bench`");
    let machine = machine()?;
    if flags.logs || flags.sessions {
        let (root, cache) = (workspace::root()?, workspace::cache()?);
        let (begin, rows) = match flags.logs {
            true => (BEGIN_LOGS, logs::rows(&cache)?),
            false => (BEGIN_SESSIONS, sessions::rows(&root, &cache)?),
        };
        let text = format!("\n{machine}\n\n{}\n", table(&rows));
        write(flags, &root, begin, &text)?;
        let payload = serde_json::json!({ "machine": machine, "figures": rows });
        return Ok(Answer { yes: true, reason: "measured".into(), text, payload });
    }
    let bench = Bench::new()?;
    let terminal = Terminal::new();
    let mut rows = Vec::new();
    for (name, figures) in [
        ("programs", programs::rows as fn(&Bench) -> anyhow::Result<Vec<Row>>),
        ("builds", builds::rows),
        ("boots", boots::rows),
    ] {
        let started = Instant::now();
        rows.extend(figures(&bench).with_context(|| format!("measuring {name}"))?);
        terminal.done("measured", name, started.elapsed());
    }
    let sizes = sizes::rows(&bench)?;
    let Bench { checkout, work, .. } = bench;
    work.remove()?;
    let text = format!("\n{machine}\n\n{}\n{}\n", table(&rows), sizes::table(&sizes));
    write(flags, &checkout.root, BEGIN, &text)?;
    Ok(Answer {
        yes: true,
        reason: "measured".into(),
        text,
        payload: serde_json::json!({ "machine": machine, "figures": rows, "sizes": sizes }),
    })
}

/// Puts the figures into the document, if that was asked for.
fn write(flags: &Flags, root: &Path, begin: &str, text: &str) -> anyhow::Result<()> {
    if !flags.write {
        return Ok(());
    }
    let path = root.join(DOCUMENT);
    let document = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let document = replaced(&document, begin, text).with_context(|| path.display().to_string())?;
    files::replace(&path, document.as_bytes())
}

/// `document` with `text` between the two marker lines.
fn replaced(document: &str, begin: &str, text: &str) -> anyhow::Result<String> {
    let (before, rest) = document.split_once(begin).with_context(|| format!("expected the line {begin:?}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("expected the line {END:?} after {begin:?}"))?;
    Ok([before, begin, text, END, after].concat())
}

fn table(rows: &[Row]) -> String {
    let mut text = "| figure | seen | against | ratio | target | met |\n|---|---|---|---|---|---|\n".to_owned();
    for Row { what, seen, against, figure, target, met } in rows {
        let met = met.map_or("", |met| if met { "yes" } else { "**no**" });
        text += &format!("| {what} | {seen} | {against} | {figure} | {target} | {met} |\n");
    }
    text
}

/// Processor, system and how busy it is (proc(5)).
fn machine() -> anyhow::Result<String> {
    let read = |path: &str| fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let (cpu, release, load) = (read("/proc/cpuinfo")?, read("/proc/sys/kernel/osrelease")?, read("/proc/loadavg")?);
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().context("asking for the number of cores")?;
    // What follows the version names who built the kernel.
    let version = release.trim_end().split('-').next().unwrap_or(&release);
    let load = load.split(' ').next().unwrap_or(&load);
    Ok(format!("{model}, {cores} cores, Linux {version}; load average {load} before the first figure."))
}

impl Bench {
    /// Builds the checkout, so that everything is fetched, built and in the page cache.
    fn new() -> anyhow::Result<Self> {
        let (root, cache) = (workspace::root()?, workspace::cache()?);
        let xtask = std::env::current_exe().context("finding this program")?;
        let work = Scratch::new(&cache.join("work"))?;
        let dist = work.path().join(DIST);
        let mut build = program(&xtask);
        build.args(["build", "--out"]).arg(&dist).current_dir(&root).stderr(Stdio::inherit());
        timed(&mut build)?;
        let dist = Dist::open(&dist)?;
        let tools = tools(&dist, &cache)?;
        let store = Store::open(&cache)?;
        Ok(Self { checkout: Checkout::read(&root)?, store, xtask, tools, dist, cache, work })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn xtask<const N: usize>(&self, arguments: [&str; N]) -> Command {
        let mut command = program(&self.xtask);
        command.args(arguments).current_dir(&self.checkout.root);
        command
    }

    /// cargo, in the checkout.
    fn cargo(&self) -> Command {
        let mut command = program(Path::new("cargo"));
        command.current_dir(&self.checkout.root).stderr(Stdio::inherit());
        command
    }

    /// `build` of the checkout in `root` into `out`, with `cache`.
    fn build(&self, root: &Path, cache: &Path, out: &Path) -> Command {
        let mut command = self.xtask(["build", "--out"]);
        command.arg(out).current_dir(root).env("VITRINE_CACHE", cache);
        command
    }

    /// A cache with all downloads, in which only these stages have been run.
    fn cache_with(&self, stages: &[Stage]) -> anyhow::Result<TempDir> {
        let linked = || -> std::io::Result<TempDir> {
            let cache = tempfile::tempdir_in(self.work.path())?;
            fs::create_dir(cache.path().join(STAGES))?;
            symlink(self.cache.join(STORE), cache.path().join(STORE))?;
            for stage in stages {
                let name = Path::new(STAGES).join(stage.name());
                symlink(self.cache.join(&name), cache.path().join(name))?;
            }
            Ok(cache)
        };
        linked().with_context(|| format!("making a cache in {}", self.work.path().display()))
    }

    /// A program of the tools tree, run by the tree's own loader.
    fn tool(&self, name: &str) -> Command {
        let mut command = program(&self.tools.join("lib64/ld-linux-x86-64.so.2"));
        let libraries = self.tools.join("usr/lib/x86_64-linux-gnu");
        command.env_clear().arg("--library-path").arg(libraries).arg(self.tools.join(name));
        command
    }

    /// The packages of a set and their files.
    fn packages(&self, set: Set) -> Vec<(&image::inputs::lock::Package, PathBuf)> {
        self.checkout.lock.packages(set).map(|package| (package, self.store.path(&package.sha256))).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "a figure compares whole programs")]
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What the program says on stdout; an error unless it succeeds.
fn says(command: &mut Command) -> anyhow::Result<String> {
    let output = command.spawn().and_then(std::process::Child::wait_with_output);
    let output = output.with_context(|| format!("running {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{command:?}: expected UTF-8"))
}

/// From the program's start to its end.
fn timed(command: &mut Command) -> anyhow::Result<Duration> {
    let started = Instant::now();
    says(command)?;
    Ok(started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() -> anyhow::Result<()> {
        let document = |text: &str| format!("before\n{BEGIN}{text}{END}after\n");
        assert_eq!(replaced(&document("old\n"), BEGIN, "new\n")?, document("new\n"));
        assert!(replaced("no markers", BEGIN, "new").is_err());
        assert!(replaced(&format!("{END}{BEGIN}"), BEGIN, "new").is_err());
        Ok(())
    }

    #[test]
    fn the_document_has_the_markers() {
        for begin in [BEGIN, BEGIN_LOGS, BEGIN_SESSIONS] {
            assert!(replaced(include_str!("../../docs/benchmarks.md"), begin, "").is_ok());
        }
    }
}
