//! `cargo xtask ci --full`: whether the forged-evidence suite notices each place in the rules that decides. Each is made
//! to pass whatever it found, in a copy, one after the other, and the suite has to turn red.

use crate::ci::{program, succeed};
use crate::report;
use anyhow::{Context as _, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where the rules over evidence and over the log are: directories, and files.
const RULES: [&str; 8] = [
    "measure/src/snp/appraise",
    "measure/src/snp/chain",
    "measure/src/tdx/appraise",
    "log-client/src/lifecycle",
    "log-client/src/lifecycle.rs",
    "verify/src/log.rs",
    "verify/src/operator.rs",
    "verify/src/session/rules.rs",
];

/// The two ways in which a rule can fail, and what makes it pass when it stands after the first argument, the rule.
const DECISIONS: [(&str, &str); 2] = [("Finding::of(", " true ||"), ("Finding::failed(", " true,")];

/// Runs the suite once for every decision, in a copy of the committed files below `target`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let copy = root.join("target/ci/mutated");
    if copy.exists() {
        fs::remove_dir_all(&copy).with_context(|| format!("removing {}", copy.display()))?;
    }
    let mut clone = program("git", root);
    clone.args(["clone", "--quiet", "--no-hardlinks", "."]).arg(&copy);
    succeed(clone)?;
    ensure!(noticed(root, &copy, "nothing")?.is_none(), "the suite is red before anything was changed");

    let (mut places, mut survivors) = (0, Vec::new());
    for file in files(&copy)? {
        let shown = file.strip_prefix(&copy).unwrap_or(&file).display().to_string();
        let source = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
        for (line, mutated) in mutations(&source) {
            let place = format!("{shown}:{line}");
            fs::write(&file, mutated).with_context(|| format!("writing {}", file.display()))?;
            places += 1;
            let words = noticed(root, &copy, &place)?;
            report::explain(&format!("{place}: {}\n", words.as_deref().unwrap_or("NOT NOTICED")));
            if words.is_none() {
                survivors.push(place);
            }
        }
        fs::write(&file, source).with_context(|| format!("writing {}", file.display()))?;
    }
    ensure!(places >= 50, "found only {places} places that decide in {}", RULES.join(", "));
    ensure!(survivors.is_empty(), "no case notices that these decide nothing any more: {}", survivors.join(", "));
    Ok(())
}

/// The first line of what the suite says if it is red.
fn noticed(root: &Path, copy: &Path, place: &str) -> anyhow::Result<Option<String>> {
    let suite = || -> Command {
        let mut suite = program("cargo", copy);
        suite.args(["test", "--quiet", "--locked", "--package", "verify", "--test", "corpus", "--target-dir"]);
        // One of its own: cargo would take what it compiled here for what it compiles in the checkout.
        suite.arg(root.join("target/ci/mutated-target")).env("RUST_BACKTRACE", "0").stderr(Stdio::inherit());
        suite
    };
    let mut build = suite();
    build.arg("--no-run");
    succeed(build).with_context(|| format!("compiling with {place} changed"))?;
    let output = suite().output().with_context(|| format!("running the suite with {place} changed"))?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.lines().find(|line| line.contains(" cases:") || line.contains("no case depends")) {
        Some(line) => Ok(Some(line.to_owned())),
        None => bail!("with {place} changed the suite failed for another reason:\n{said}"),
    }
}

/// The rules' source files, without their tests.
fn files(copy: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for directory in RULES {
        let directory = copy.join(directory);
        if directory.is_file() {
            files.push(directory);
            continue;
        }
        for entry in fs::read_dir(&directory).with_context(|| format!("listing {}", directory.display()))? {
            let path = entry.with_context(|| format!("listing {}", directory.display()))?.path();
            if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The source with one decision made to pass, for each of them, and its line.
fn mutations(source: &str) -> Vec<(usize, String)> {
    let mut mutations = Vec::new();
    for (words, passes) in DECISIONS {
        for (at, _) in source.match_indices(words) {
            let (before, call) = source.split_at(at);
            if let Some((rule, rest)) = call[words.len()..].split_once(',') {
                let line = before.matches('\n').count() + 1;
                mutations.push((line, format!("{before}Finding::of({rule},{passes}{rest}")));
            }
        }
    }
    mutations.sort();
    mutations
}

#[cfg(test)]
mod tests {
    #[test]
    #[ignore = "takes an hour; `cargo xtask ci --full` does the same"]
    fn every_decision_is_noticed() {
        super::run(&crate::workspace::root().unwrap()).unwrap();
    }

    #[test]
    fn one_decision_at_a_time() {
        let source = "fn rule() {\n    Finding::of(RULE, a && b, x);\n    Finding::failed(self.rule, x, y)\n}\n";
        let mutated = [
            (2, "fn rule() {\n    Finding::of(RULE, true || a && b, x);\n    Finding::failed(self.rule, x, y)\n}\n"),
            (3, "fn rule() {\n    Finding::of(RULE, a && b, x);\n    Finding::of(self.rule, true, x, y)\n}\n"),
        ];
        assert_eq!(super::mutations(source), mutated.map(|(line, text)| (line, text.to_owned())));
    }
}
