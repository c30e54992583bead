//! `diff`: what changed from one build, release or commit to another.

use crate::release::{RELEASE, unverified};
use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::compare::committed::{Committed, FILES, LOCKS};
use image::compare::inputs::{Change, Class};
use image::compare::{Build, Comparison, Value, compare, render};
use image::files::require_regular;
use image::pipeline::dist;
use image::pipeline::measured::Artifact;
use image::pipeline::stage::Cache;
use log_client::statement::Release;
use measure::Sha256;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Largest committed file that is read, in bytes.
const MAX_COMMITTED: usize = 8 << 20;

/// Shows what changed: inputs, files with where they are from, and which measurement moves through what.
///
/// The answer is no (exit 1) if a measurement differs, or if bytes differ though no input of theirs does. A release's
/// signature is not checked here, only that its files are those it names; `vitrine verify` checks signatures.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A build's output directory, a release (its directory or its release.json), or a commit.
    old: String,

    /// What to compare it with. Of two commits only what is committed is compared, without building.
    new: String,

    /// Write Markdown for a comment on a pull request.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
}

/// Runs `diff`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let Flags { old, new, markdown } = flags;
    let comparison = match (Path::new(old).exists(), Path::new(new).exists()) {
        (true, true) => builds(Path::new(old), Path::new(new))?,
        (false, false) => committed(old)?.compare(&committed(new)?),
        (is_old, _) => {
            let (build, other) = if is_old { (old, new) } else { (new, old) };
            bail!("{build} is a build and {other} is no file; expected two builds or releases, or two commits")
        }
    };
    let render = if *markdown { render::markdown } else { render::text };
    Ok(Answer {
        yes: comparison.is_clean(),
        reason: comparison.summary(),
        text: render(&comparison, old, new),
        payload: serde_json::to_value(&comparison)?,
    })
}

fn builds(old: &Path, new: &Path) -> anyhow::Result<Comparison> {
    let stages = Cache::new(&workspace::cache()?);
    let open = |path: &Path| {
        let (directory, release) = opened(path)?;
        anyhow::Ok((Build::open(&directory, Some(&stages))?, release))
    };
    let ((before, was), (after, is)) = (open(old)?, open(new)?);
    let mut comparison = compare(&before, &after)?;
    let progress = Terminal::new();
    for (build, path) in [(&before, old), (&after, new)] {
        let doubts = build.doubts(&progress).into_iter().map(|doubt| format!("{}: {doubt}", path.display()));
        comparison.doubts.extend(doubts);
    }
    if let (Some(was), Some(is)) = (was, is) {
        comparison.inputs.extend(statements(&was, &is));
    }
    Ok(comparison)
}

/// The directory of a build, and what is stated if it is a release.
fn opened(path: &Path) -> anyhow::Result<(PathBuf, Option<Release>)> {
    let directory = match path.is_dir() {
        true => path.to_path_buf(),
        false => {
            let is_release = path.file_name().is_some_and(|name| name == RELEASE);
            ensure!(is_release, "{}: expected a directory or a {RELEASE}", path.display());
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_path_buf()
        }
    };
    // Before anything in it is read: a pipe in somebody's directory never ends.
    for name in dist::FILES.into_iter().map(|(name, _)| name).chain([dist::MANIFEST, dist::STAGES, RELEASE]) {
        let path = directory.join(name);
        if path.exists() {
            require_regular(&path)?;
        }
    }
    let Some((statement, release)) = unverified(&directory.join(RELEASE))? else { return Ok((directory, None)) };
    for name in dist::FILES.into_iter().map(|(name, _)| name).chain([dist::MANIFEST, dist::STAGES]) {
        let (path, stated) = (directory.join(name), statement.subject(name));
        // Earlier releases have fewer files.
        let found = if path.exists() { Some(Artifact::of(&path)?.sha256) } else { None };
        let shown = |digest: Option<Sha256>| digest.map_or("nothing".to_owned(), |digest| digest.to_string());
        let (at, expected, was) = (path.display(), shown(stated), shown(found));
        ensure!(found == stated, "{at}: the release names a file with sha256 {expected}, found {was}");
    }
    Ok((directory, Some(release)))
}

/// What two releases state of their inputs and no file of theirs has.
fn statements(old: &Release, new: &Release) -> Vec<Change> {
    let facts = |release: &Release| {
        let text = |text: &dyn ToString| Value::Text(text.to_string());
        [
            (Class::Compiler, "rust-toolchain.toml", text(&release.toolchain)),
            (Class::Setting, "commit", text(&release.commit)),
            (Class::File, "image.lock", Value::Sha256(release.lock_sha256)),
        ]
    };
    let changed = facts(old).into_iter().zip(facts(new)).filter(|(old, new)| old != new);
    let change = |((class, name, old), (_, _, new)): ((Class, &str, Value), (Class, &str, Value))| Change {
        class,
        name: name.to_owned(),
        old: Some(old),
        new: Some(new),
        source: None,
        stages: Vec::new(),
    };
    changed.map(change).collect()
}

/// The inputs that a commit of this repository has.
fn committed(revision: &str) -> anyhow::Result<Committed> {
    let root = workspace::root()?;
    let commit = git(&root, &["rev-parse", "--verify", "--end-of-options", &format!("{revision}^{{commit}}")]);
    let commit = commit.with_context(|| format!("{revision} is neither a file nor a commit"))?;
    let commit = String::from_utf8(commit).context("reading what git says")?;
    let commit = commit.trim_end();
    let listed = git(&root, &[&["ls-tree", "-r", "-z", "--name-only", commit, "--"], &LOCKS[..], &FILES[..]].concat())?;
    let listed = String::from_utf8(listed).context("a committed file's name is not UTF-8")?;
    let mut files = BTreeMap::new();
    for name in listed.split_terminator('\0') {
        let bytes = git(&root, &["cat-file", "blob", &format!("{commit}:{name}")])?;
        let length = bytes.len();
        ensure!(
            length <= MAX_COMMITTED,
            "{name} at {revision}: expected at most {MAX_COMMITTED} bytes, found {length}"
        );
        files.insert(name.to_owned(), bytes);
    }
    Committed::parse(&files).with_context(|| format!("reading the commit {revision}"))
}

#[expect(clippy::disallowed_methods, reason = "only git knows what is committed")]
fn git(root: &Path, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), message.trim_end());
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_directory_in_which_something_never_ends() {
        for name in [dist::MODEL, dist::MANIFEST, RELEASE] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(dist::KERNEL), "").unwrap();
            assert!(opened(dir.path()).unwrap().1.is_none());
            symlink("/dev/zero", dir.path().join(name)).unwrap();
            let error = opened(dir.path()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("expected a regular file"), "{error}");
        }
    }
}
