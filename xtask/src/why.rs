//! `why`: from a file of the image to package, source and commit and up to the launch digest, or from a digest to what has it.

use crate::report::Answer;
use crate::{release, workspace};
use anyhow::{Context as _, ensure};
use image::compare::render::clean;
use image::pipeline::build::Checkout;
use image::result::why::{Found, Graph, Kind, Node};
use serde_json::json;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Most names of one kind that are printed.
const SHOWN: usize = 6;

/// Says where something of a build is from, and what a change of it can move.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// A path of the image, a package, a crate, a committed file, a file of dist/ or a stage by its name; or a digest of
    /// anything, the verity roots and every launch digest included, or its first 8 digits or more.
    #[arg(value_name = "PATH|DIGEST|PACKAGE")]
    what: String,

    /// The output directory of `build`, or a release; the checkout's `dist/` by default.
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,
}

/// Exit 1 if nothing is called so.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let dist = workspace::built(flags.dist.as_deref())?;
    let graph = Graph::open(&dist, &Checkout::read(&root)?)?;
    let found = graph.find(&flags.what)?;
    let release = released(&dist)?;
    let mut text = String::new();
    let mut payload = Vec::new();
    for found in &found {
        let commit = last_commit(&root, found)?;
        text += &describe(found, commit.as_deref());
        let mut object = serde_json::to_value(found)?;
        object["commit"] = commit.into();
        payload.push(object);
    }
    if let (Some((version, commit)), false) = (&release, found.is_empty()) {
        text += &format!("release {version}, commit {commit}, by {} (not verified here)\n", release::RELEASE);
    }
    for line in graph.stale.iter().filter(|_line| !found.is_empty()) {
        text += &format!("the checkout is not what the build was made of: {}\n", clean(line));
    }
    let reason = match found.len() {
        0 => format!("nothing in {} is called {}, and no digest begins so", dist.display(), flags.what),
        1 => format!("{} is one thing", flags.what),
        many => format!("{} is {many} things", flags.what),
    };
    let release = release.map(|(version, commit)| json!({ "version": version, "commit": commit }));
    let payload = json!({ "found": payload, "release": release, "stale": graph.stale });
    Ok(Answer { yes: !found.is_empty(), reason, text, payload })
}

fn describe(found: &Found<'_>, commit: Option<&str>) -> String {
    let Node { kind, name, note, digests } = found.node;
    let mut text = format!("{} {}\n", kind.name(), clean(name));
    for (name, digest) in digests {
        text += &format!("  {} {digest}\n", clean(name));
    }
    if let Some(row) = found.shape {
        let shape = log_client::statement::shape_name(row);
        text += &format!("  launch_digest_sha384 {}\n  of {shape}\n", row.launch_digest);
    }
    for line in note.iter() {
        text += &format!("  {}\n", clean(line));
    }
    if let Some(commit) = commit {
        text += &format!("  last change of a committed file of it: commit {commit}\n");
    }
    for (title, nodes) in [("from", &found.from), ("moves", &found.moves)] {
        let kinds: BTreeSet<Kind> = nodes.iter().map(|node| node.kind).collect();
        for kind in kinds {
            let all: Vec<_> = nodes.iter().filter(|node| node.kind == kind).collect();
            let _infallible = writeln!(text, "  {title} {}{}", kind.name(), if all.len() == 1 { "" } else { "s" });
            for node in all.iter().take(SHOWN) {
                // The one that a person knows, where there are several.
                let known = node.digests.get_key_value("one_vcpu_sha384");
                let digest = known.or_else(|| node.digests.iter().next_back());
                let digest = digest.map(|(name, digest)| format!("  {name} {digest}")).unwrap_or_default();
                let _infallible = writeln!(text, "    {}{digest}", clean(&node.name));
            }
            if all.len() > SHOWN {
                let _infallible = writeln!(text, "    and {} more", all.len() - SHOWN);
            }
        }
    }
    text
}

/// Version and commit of the release in `dist`, if it is one.
fn released(dist: &Path) -> anyhow::Result<Option<(String, String)>> {
    let release = release::unverified(&dist.join(release::RELEASE))?;
    Ok(release.map(|(_, release)| (release.version.to_string(), release.commit.to_string())))
}

/// The last commit that changed a committed file which `found` is made from, or is. `None` where git knows of none.
#[expect(clippy::disallowed_methods, reason = "asks git what is committed")]
fn last_commit(root: &Path, found: &Found<'_>) -> anyhow::Result<Option<String>> {
    let committed = [found.node].into_iter().chain(found.from.iter().copied());
    let files: Vec<_> = committed.filter(|node| node.kind == Kind::Committed).map(|node| node.name.as_str()).collect();
    if files.is_empty() {
        return Ok(None);
    }
    let mut git = Command::new("git");
    git.current_dir(root).args(["log", "-1", "--format=%H", "--"]).args(files);
    let output = git.output().context("starting git")?;
    // An exported checkout has no history.
    if !output.status.success() {
        return Ok(None);
    }
    let commit = String::from_utf8(output.stdout).context("reading what git says")?;
    ensure!(commit.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "expected a commit, found {commit:?}");
    Ok(Some(commit.trim().to_owned()).filter(|commit| !commit.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_named_stays_on_its_line() {
        let bad = |word: &str| format!("{word}\u{1b}[1A\u{202e}\nrelease 1.0.0");
        let node = |name: &str| Node {
            kind: Kind::Package,
            name: bad(name),
            note: Some(bad("note")),
            digests: std::collections::BTreeMap::new(),
        };
        let (node, from) = (node("name"), node("from"));
        let text = describe(&Found { node: &node, shape: None, from: vec![&from], moves: vec![] }, None);
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{text}");
    }
}
