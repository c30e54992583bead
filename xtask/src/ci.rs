//! `cargo xtask ci`: everything that must hold before a change lands, section by section, with the time of each.

use anyhow::{Context as _, bail, ensure};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::report::Answer;
use crate::workspace;

/// The README's command that runs this; the others in its `sh` blocks are run here.
const TEST_COMMAND: &str = "cargo xtask ci";

/// Runs every section; the first failure ends the run.
pub(crate) fn run(full: bool) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let cache = workspace::cache()?;
    let warmth = if cache.join("stages").exists() { "warm" } else { "cold" };
    say(&format!("cache {} is {warmth}", cache.display()));
    let mut sections = Sections { times: Vec::new() };

    sections.run("style", || {
        cargo(&root, ["fmt", "--all", "--check"])?;
        cargo(&root, ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    })?;
    sections.run("tests", || cargo(&root, ["test", "--workspace", "--locked"]))?;
    sections.run("fuzz properties", || cargo(&root, ["test", "--manifest-path", "fuzz/Cargo.toml", "--locked"]))?;

    let stale = sections.run("fetch", || fetch(&root))?;
    let (checkout, undecided) = match stale {
        None => (root.clone(), None),
        Some(names) => (sections.run("lock update in a copy", || updated_copy(&root))?, Some(names)),
    };
    for command in readme_commands(&root.join("README.md"))? {
        let measures = command.starts_with("cargo xtask measure --check");
        sections.run(&command, || {
            let status = shell_words(&checkout, &command)?.status().with_context(|| format!("starting {command}"))?;
            // With inputs that only exist on the mirrors today, the committed measurements cannot be met.
            ensure!(status.success() || (measures && undecided.is_some()), "{command}: {status}");
            Ok(())
        })?;
    }
    let oracles = |name: &str| ignored_tests(&checkout, &cache, name);
    sections.run("oracles", || oracles("oracles"))?;
    sections.run("boots", || oracles("boot"))?;
    sections.run("varied build", || oracles("varied"))?;
    if full {
        sections.run("full", || ignored_tests(&checkout, &cache, "full"))?;
    }
    sections.run("clean tree", || unchanged(&root))?;

    let total: Duration = sections.times.iter().map(|(_, took)| *took).sum();
    let mut text = String::new();
    for (name, took) in &sections.times {
        text += &format!("{:>8.1}s  {name}\n", took.as_secs_f64());
    }
    text += &format!("{:>8.1}s  in all, cache {warmth} at the start\n", total.as_secs_f64());
    if let Some(names) = &undecided {
        text += &format!("measurements: undecided (lock stale: {names})\n");
    }
    let payload = serde_json::json!({
        "cache": warmth,
        "seconds": total.as_secs_f64(),
        "sections": sections.times.iter()
            .map(|(name, took)| serde_json::json!({ "name": name, "seconds": took.as_secs_f64() }))
            .collect::<Vec<_>>(),
        "lock_stale": undecided,
    });
    Ok(Answer { yes: true, reason: "every section passed".into(), text, payload })
}

struct Sections {
    times: Vec<(String, Duration)>,
}

impl Sections {
    fn run<T>(&mut self, name: &str, section: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        say(&format!("== {name}"));
        let started = Instant::now();
        let result = section().with_context(|| format!("section {name:?}"))?;
        self.times.push((name.to_owned(), started.elapsed()));
        Ok(result)
    }
}

/// Progress of `ci` itself, on stderr; stdout has the tests' own lines and the table at the end.
#[expect(clippy::print_stderr, reason = "the sections' headings come between the output of the programs they run")]
fn say(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "ci runs the commands a developer would type")]
fn program(name: impl AsRef<OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(directory);
    command
}

fn succeed(mut command: Command) -> anyhow::Result<()> {
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
fn shell_words(directory: &Path, line: &str) -> anyhow::Result<Command> {
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
