//! `cargo xtask ci`: everything that must hold before a change lands, section by section, with the time of each.

use crate::mutate;
use crate::report::{self, Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::inputs::fetch::{self, Mirrors, Missing};
use image::inputs::lock::{LOCK, Lock};
use image::inputs::store::{STORE, Store};
use image::pipeline::build::Checkout;
use image::pipeline::dist::OVMF;
use image::pipeline::stage::STAGES;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The README's command that runs this; the others in its `sh` blocks are run here.
const TEST_COMMAND: &str = "cargo xtask ci";

/// What README's other commands begin with that are not for the checkout as it is: xtask/tests/chat.rs runs them.
const CONVERSATION: [&str; 3] =
    ["cargo xtask release --simulate", "cargo xtask launch --simulate releases/", "cargo vitrine-simulated chat "];

/// Tests that need a finished build or what was fetched, by package, in the order they run.
const IMAGE_TESTS: [(&str, &str); 13] = [
    ("verify", "real"),
    ("image", "oracles"),
    ("xtask", "oracles"),
    ("xtask", "why"),
    ("xtask", "vitrine"),
    ("xtask", "boot"),
    ("xtask", "release"),
    ("xtask", "chat"),
    ("xtask", "planted"),
    ("xtask", "interrupted"),
    ("xtask", "reproduce"),
    ("xtask", "gate"),
    ("xtask", "varied"),
];

/// What makes the programs of others that our logs, witnesses and bundles are tried with, and where in the cache they are.
const GET_ENGINES: &str = "log-client/tests/engines/get.sh";
const ENGINES: &str = "engines";
/// Tests with them.
const ENGINE_TESTS: [&str; 3] = ["oracles", "peers", "rekor"];

/// What gets OpenAI's Python package and finds out whether the host has what it is used with; where in the cache that is;
/// and how long its use may take, in seconds.
const GET_OPENAI: &str = "client/tests/openai/get.sh";
const OPENAI: &str = "openai";
const OPENAI_TIME: &str = "600";

/// What runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Also what takes too long to run each time: every decision in the rules over evidence taken out in turn, which the
    /// forged-evidence suite has to notice; every fault in the log; and other implementations (docs/interop.md).
    #[arg(long)]
    full: bool,
}

/// Runs every section; the first failure ends the run.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let cache = workspace::cache()?;
    let warmth = |part: &str| if cache.join(part).exists() { "warm" } else { "cold" };
    let caches = format!("downloads {}, stages {}", warmth(STORE), warmth(STAGES));
    report::explain(&format!("cache {}: {caches}\n", cache.display()));
    let mut sections = Sections { times: Vec::new() };
    // What is missing is better said now than after hours.
    let engines = flags.full.then(|| engines(&cache)).transpose()?;
    let openai = sections.run("openai, fetch", || openai(&root, &cache))?;

    sections.run("format", || {
        cargo(&root, ["fmt", "--all", "--check"])?;
        // The rest of its checks takes llama.cpp (enclave-agent/infer/README.md).
        cargo(&root, ["fmt", "--manifest-path", "enclave-agent/infer/Cargo.toml", "--check"])
    })?;
    sections.run("clippy", || {
        cargo(&root, ["clippy", "--quiet", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    })?;
    sections.run("docs", || {
        let mut doc = program("cargo", &root);
        doc.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items", "--locked"]);
        // They are read with private items, to which links may lead.
        doc.env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links");
        succeed(doc)
    })?;
    sections.run("tests", || cargo(&root, ["test", "--quiet", "--workspace", "--locked"]))?;
    sections.run("tests with simulated hardware", || {
        let [flag, feature] = ["--features", "simulated-hardware"];
        cargo(&root, ["test", "--quiet", "--locked", "--package", "client", flag, feature])?;
        cargo(&root, ["test", "--quiet", "--locked", "--package", "verify", "--test", "corpus", flag, feature])
    })?;
    sections.run("openai", || {
        cargo(&root, ["build", "--quiet", "--locked", "--package", "scene", "--example", "guest"])?;
        // Ends what hangs.
        let mut command = program("timeout", &root);
        command.args(["--verbose", OPENAI_TIME, "cargo", "test", "--quiet", "--locked", "--package", "client"]);
        command.args(["--features", "simulated-hardware", "--test", "cli", "--", "--ignored", "other_clients"]);
        command.env("VITRINE_OPENAI", &openai).env("VITRINE_GUEST", root.join("target/debug/examples/guest"));
        succeed(command)
    })?;
    sections.run("fuzz properties", || {
        let manifest = ["--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target"];
        let [flag, path, target_flag, target] = manifest;
        cargo(&root, ["test", "--quiet", "--locked", flag, path, target_flag, target])
    })?;

    let stale = sections.run("fetch", || fetch(&root, &cache))?;
    let checkout = match &stale {
        None => root.clone(),
        Some(names) => sections.run(&format!("lock update in a copy, for {names}"), || updated_copy(&root))?,
    };
    sections.run("lock", || cargo(&checkout, ["xtask", "lock", "--check"]))?;
    for command in readme_commands(&root.join("README.md"))? {
        let measures = command.starts_with("cargo xtask measure --check");
        sections.run(&command, || {
            let status = plain_words(&checkout, &command)?.status().with_context(|| format!("starting {command}"))?;
            // What the mirrors have today is not what was measured.
            ensure!(status.success() || (measures && stale.is_some()), "{command}: {status}");
            Ok(())
        })?;
    }
    for (package, test) in IMAGE_TESTS {
        // Without, the auditor takes llama.cpp as it is, which compiles for minutes on its one processor.
        let all: &[&str] = if flags.full && test == "varied" { &["--full"] } else { &[] };
        sections.run(&format!("{package} {test}"), || image_test(&checkout, &cache, package, test, all))?;
    }
    if flags.full {
        sections.run("mutations of the rules", || mutate::run(&root))?;
        sections.run("planted, compiled", || image_test(&checkout, &cache, "xtask", "planted", &["--full"]))?;
        sections.run("every fault in the log", || {
            let crash = ["test", "--quiet", "--locked", "--package", "log-client", "--test", "crash"];
            let mut command = program("cargo", &root);
            command.args(crash).args(["--", "--include-ignored"]);
            succeed(command)
        })?;
    }
    sections.run("clean tree", || unchanged(&root))?;
    if let Some(engines) = engines {
        sections.run("other implementations", || other_implementations(&root, &engines))?;
    }

    let total: Duration = sections.times.iter().map(|(_, took)| *took).sum();
    let mut text = String::new();
    for (name, took) in &sections.times {
        text += &format!("{:>8.1}s  {name}\n", took.as_secs_f64());
    }
    text += &format!("{:>8.1}s  in all; {caches} at the start\n", total.as_secs_f64());
    if let Some(names) = &stale {
        text += &format!("measurements: undecided (lock stale: {names})\n");
    }
    let times = sections.times.iter().map(|(name, took)| (name.clone(), took.as_secs_f64().into())).collect();
    let payload = serde_json::json!({
        "caches": caches,
        "seconds": total.as_secs_f64(),
        "sections": serde_json::Value::Object(times),
        "lock_stale": stale,
    });
    Ok(Answer { yes: true, reason: "every section passed".into(), text, payload })
}

/// Fetches what is locked. `Some` names the files that no mirror has any more.
fn fetch(root: &Path, cache: &Path) -> anyhow::Result<Option<String>> {
    let checkout = Checkout::read(root)?;
    let store = Store::open(cache)?;
    let mirrors = Mirrors::new(&checkout.request);
    match fetch::fetch(&checkout.lock, &checkout.crates(), &store, &mirrors, &Terminal::new()) {
        Ok(_fetched) => Ok(None),
        Err(error) => match error.downcast_ref::<Missing>() {
            Some(missing) if missing.files.iter().all(|file| file.gone) => {
                let names: Vec<_> = missing.files.iter().map(|file| file.name.as_str()).collect();
                Ok(Some(names.join(", ")))
            }
            _ => Err(error),
        },
    }
}

/// A copy of the committed files with a lock of what the mirrors have today.
fn updated_copy(root: &Path) -> anyhow::Result<PathBuf> {
    let copy = root.join("target/ci/updated");
    if copy.exists() {
        std::fs::remove_dir_all(&copy).with_context(|| format!("removing {}", copy.display()))?;
    }
    let mut clone = program("git", root);
    clone.args(["clone", "--quiet", "--no-hardlinks", "."]).arg(&copy);
    succeed(clone)?;
    cargo(&copy, ["xtask", "lock", "--update"])?;
    Ok(copy)
}

/// Runs a test that is ignored unless it is told of a finished build.
fn image_test(checkout: &Path, cache: &Path, package: &str, test: &str, flags: &[&str]) -> anyhow::Result<()> {
    let dist = checkout.join("dist");
    let wheel = Lock::read(&checkout.join(LOCK))?;
    let wheel = wheel.file("sev-snp-measure").context("image.lock: expected a file sev-snp-measure")?.sha256;
    let mut command = program("cargo", checkout);
    command
        .args(["test", "--quiet", "--locked", "--package", package, "--test", test, "--", "--include-ignored"])
        .args(flags)
        .env("VITRINE_DIST", &dist)
        .env("VITRINE_CACHE", cache)
        .env("VITRINE_TOOLS_TREE", image::result::launch::tools(&image::result::launch::Dist::open(&dist)?, cache)?)
        .env("VITRINE_OVMF_AMDSEV", dist.join(OVMF))
        .env("VITRINE_SEV_SNP_MEASURE", Store::open(cache)?.path(&wheel));
    succeed(command)
}

/// Where the programs of others are. Without them there is no answer.
pub(crate) fn engines(cache: &Path) -> anyhow::Result<PathBuf> {
    let engines = cache.join(ENGINES);
    let missing = "the programs of others are missing; get them by";
    ensure!(engines.exists(), "{missing} `{GET_ENGINES} {}`", engines.display());
    Ok(engines)
}

/// Where OpenAI's Python package is, which is fetched if it is not there.
fn openai(root: &Path, cache: &Path) -> anyhow::Result<PathBuf> {
    let mut get = program(root.join(GET_OPENAI), root);
    let got = get.arg(cache.join(OPENAI)).stderr(Stdio::inherit()).output();
    let got = got.with_context(|| format!("starting {GET_OPENAI}"))?;
    ensure!(got.status.success(), "{GET_OPENAI}: {}", got.status);
    let path = String::from_utf8(got.stdout).with_context(|| format!("{GET_OPENAI}: expected a path"))?;
    Ok(path.trim_end().into())
}

/// Runs the tests that are ignored unless there are programs of others to talk to.
fn other_implementations(root: &Path, engines: &Path) -> anyhow::Result<()> {
    let mut command = program("cargo", root);
    command.args(["test", "--quiet", "--locked", "--package", "log-client"]);
    command.args(ENGINE_TESTS.iter().flat_map(|test| ["--test", test]));
    command.args(["--", "--include-ignored"]).env("VITRINE_ENGINES", engines);
    succeed(command)
}

struct Sections {
    times: Vec<(String, Duration)>,
}

impl Sections {
    fn run<T>(&mut self, name: &str, section: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        report::explain(&format!("== {name}\n"));
        let started = Instant::now();
        let result = section().with_context(|| format!("section {name:?}"))?;
        self.times.push((name.to_owned(), started.elapsed()));
        Ok(result)
    }
}

#[expect(clippy::disallowed_methods, reason = "ci runs the commands a developer would type")]
pub(crate) fn program(name: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(directory);
    command
}

pub(crate) fn succeed(mut command: Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn cargo<const N: usize>(directory: &Path, arguments: [&str; N]) -> anyhow::Result<()> {
    let mut command = program("cargo", directory);
    command.args(arguments);
    succeed(command)
}

/// The commands in README's `sh` blocks that a user of a checkout types, in order.
fn readme_commands(readme: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(readme).with_context(|| format!("reading {}", readme.display()))?;
    let mut inside = false;
    let mut commands = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            command if inside && CONVERSATION.iter().any(|begin| command.starts_with(begin)) => {}
            command if inside && command.starts_with("cargo ") => commands.push(command.to_owned()),
            command if inside && command.starts_with("sudo apt-get install ") => {}
            command if inside => bail!("{}: do not know how to run {command:?}", readme.display()),
            _ => {}
        }
    }
    let tested = commands.iter().position(|command| command == TEST_COMMAND);
    let tested = tested.with_context(|| format!("{}: {TEST_COMMAND:?} is missing", readme.display()))?;
    commands.remove(tested);
    ensure!(!commands.is_empty(), "{}: no command to run", readme.display());
    Ok(commands)
}

/// A command line of plain words, without a shell.
fn plain_words(directory: &Path, line: &str) -> anyhow::Result<Command> {
    let plain = |c: char| c.is_ascii_alphanumeric() || " -_./=".contains(c);
    ensure!(line.chars().all(plain), "{line:?} needs a shell; README's commands are plain words");
    let mut words = line.split_whitespace();
    let mut command = program(words.next().context("an empty command")?, directory);
    command.args(words);
    Ok(command)
}

fn unchanged(root: &Path) -> anyhow::Result<()> {
    let mut command = program("git", root);
    command.args(["diff", "--exit-code", "--stat"]);
    succeed(command).context("the run changed committed files")
}
