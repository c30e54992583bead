//! `forge write DIRECTORY` makes the forged-evidence corpus. `forge try DIRECTORY PROGRAM [ARGUMENT...]` asks another
//! verifier about every case of it: the program gets a directory with the case as its last argument, and prints
//! `accept` or `reject`. `docs/formats.md`, "Forged evidence", has the details.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is the only place that prints")]

use anyhow::{Context as _, bail};
use simulate::corpus::{self, Case, Corpus, Refusal};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        ["write", directory] => write(Path::new(directory)).map(|()| true),
        ["try", directory, program @ ..] if !program.is_empty() => try_out(Path::new(directory), program),
        _ => Err(anyhow::anyhow!("usage: forge write DIRECTORY | forge try DIRECTORY PROGRAM [ARGUMENT...]")),
    };
    match answer {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn write(directory: &Path) -> anyhow::Result<()> {
    let corpus = corpus::forge();
    corpus.write(directory).context("writing the corpus")?;
    println!("{}: {} cases", directory.display(), corpus.cases.len());
    Ok(())
}

/// Whether the program accepts every good case and rejects every bad one.
fn try_out(directory: &Path, program: &[&str]) -> anyhow::Result<bool> {
    let corpus = Corpus::read(directory).context("reading the corpus")?;
    // By rule, or for good cases by that they are good: how many were accepted, of how many.
    let mut counts: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    let mut right = true;
    for case in &corpus.cases {
        let accepted = ask(case, &corpus.policy, program)?;
        let rule = match &case.rule {
            None => "(good cases)",
            Some(Refusal::Fails(rule) | Refusal::Undecided(rule)) => rule,
        };
        let (of_rule, all) = counts.entry(rule).or_default();
        *of_rule += u32::from(accepted);
        *all += 1;
        if accepted != case.rule.is_none() {
            right = false;
            println!("{} {}: {}", if accepted { "accepts" } else { "rejects" }, case.name, case.says);
        }
    }
    for (rule, (accepted, all)) in counts {
        println!("{accepted:>5} of {all:>3} accepted  {rule}");
    }
    Ok(right)
}

#[expect(clippy::disallowed_methods, reason = "this command is for running other people's verifiers")]
fn ask(case: &Case, policy: &str, program: &[&str]) -> anyhow::Result<bool> {
    let directory = tempfile::tempdir().context("making a directory for a case")?;
    case.write(policy, directory.path()).with_context(|| format!("writing case {}", case.name))?;
    let [name, arguments @ ..] = program else { bail!("no program") };
    let output = Command::new(name).args(arguments).arg(directory.path()).output();
    let output = output.with_context(|| format!("starting {name}"))?;
    match String::from_utf8_lossy(&output.stdout).split_whitespace().next() {
        Some("accept") => Ok(true),
        Some("reject") => Ok(false),
        found => bail!("{name} on {}: expected accept or reject, found {found:?} ({})", case.name, output.status),
    }
}
