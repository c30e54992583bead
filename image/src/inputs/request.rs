//! What the image asks for, before it is resolved to bytes: `image/request.toml` and the root image's package list.

use crate::files;
use crate::inputs::lock::{File, Member, Set, is_name, is_relative, is_url};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::collections::BTreeMap;
use std::path::Path;
use uuid::Uuid;

/// Where the request is in a checkout.
pub const REQUEST: &str = "image/request.toml";
/// Where the packages of the set `rootfs` are listed.
pub const ROOTFS: &str = "mkosi.images/rootfs/mkosi.conf";
/// Where the archives' keyrings are.
pub const KEYRINGS: &str = "image/keyrings";
/// Largest request or package list that is read.
const MAX_TEXT: u64 = 1 << 20;

/// A request: which archives, which packages and files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Every identifier that must be fixed but need not mean anything is a UUIDv5 of this and a label.
    pub seed: Uuid,
    /// Base URL of snapshot.debian.org, below which are `archive/` and `file/`.
    pub snapshot: String,
    /// The archives, by name.
    pub archives: BTreeMap<String, Archive>,
    /// The requested packages of each set, with the reason for each.
    pub packages: BTreeMap<Set, BTreeMap<String, String>>,
    /// The requested files, sorted by name.
    pub files: Vec<File>,
}

/// A Debian suite and where it is served.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Archive {
    /// For instance `trixie`.
    pub suite: String,
    /// For instance `main`.
    pub component: String,
    /// Base URLs (below which are `dists/` and `pool/`), asked in this order.
    pub mirrors: Vec<String>,
    /// What snapshot.debian.org calls it: `debian`, `debian-security`.
    pub snapshot: String,
    /// File in [`KEYRINGS`] with the keys that may sign it.
    pub keyring: String,
    /// The only binary packages that may be taken from it; all if absent.
    pub only: Option<Vec<String>>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    schema: u32,
    seed: Uuid,
    snapshot: String,
    archive: BTreeMap<String, Archive>,
    set: BTreeMap<String, BTreeMap<String, String>>,
    file: BTreeMap<String, RawFile>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    set: Vec<String>,
    reason: String,
    url: String,
    size: u64,
    sha256: Sha256,
    member: Option<RawMember>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMember {
    path: String,
    size: u64,
    sha256: Sha256,
}

impl Request {
    /// Reads the request of the checkout at `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let (request, rootfs) = (root.join(REQUEST), root.join(ROOTFS));
        let mut parsed = Self::parse(&files::read_text(&request, MAX_TEXT)?)
            .with_context(|| format!("reading {}", request.display()))?;
        let packages = mkosi_packages(&files::read_text(&rootfs, MAX_TEXT)?)
            .with_context(|| format!("reading {}", rootfs.display()))?;
        parsed.packages.insert(Set::Rootfs, packages);
        Ok(parsed)
    }

    /// Parses `request.toml`. The set `rootfs` is not in it: see [`Request::read`].
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let raw: RawRequest = toml::from_str(text)?;
        ensure!(raw.schema == 1, "expected schema = 1, found {}: made by a newer Vitrine?", raw.schema);
        bad([&raw.snapshot], is_url).context("snapshot")?;
        for (name, archive) in &raw.archive {
            let Archive { suite, component, mirrors, snapshot, keyring, only } = archive;
            let is_pattern = |only: &str| is_name(only.strip_suffix('*').unwrap_or(only));
            bad([suite, component, snapshot, keyring], is_name)
                .and_then(|()| bad([name], |name| is_name(name) && !name.contains('.')))
                .and_then(|()| bad(only.iter().flatten(), is_pattern))
                .with_context(|| format!("archive.{name}"))?;
            bad(mirrors, is_url).with_context(|| format!("archive.{name}"))?;
            ensure!(!mirrors.is_empty(), "archive.{name}.mirrors: expected at least one");
        }
        let mut packages = BTreeMap::new();
        for (set, requested) in raw.set {
            let known = Set::from_name(&set).filter(|set| *set != Set::Rootfs);
            let known = known.with_context(|| format!("set.{set}: not a set (rootfs is listed in {ROOTFS})"))?;
            for (name, reason) in &requested {
                bad([name], is_name).with_context(|| format!("set.{set}"))?;
                ensure!(!reason.is_empty(), "set.{set}.{name}: expected the reason for this package");
            }
            packages.insert(known, requested);
        }
        let mut files = Vec::new();
        for (name, raw) in raw.file {
            let RawFile { set, reason, url, size, sha256, member } = raw;
            ensure!(!reason.is_empty(), "file.{name}: expected the reason for this file");
            bad([&name], is_name).and_then(|()| bad([&url], is_url)).with_context(|| format!("file.{name}"))?;
            let sets: Option<Vec<Set>> = set.iter().map(|set| Set::from_name(set)).collect();
            let sets = sets.filter(|sets| !sets.is_empty() && sets.is_sorted_by(|a, b| a < b));
            let sets = sets.with_context(|| format!("file.{name}.set: expected a sorted list of sets"))?;
            if let Some(member) = &member {
                bad([&member.path], is_relative).with_context(|| format!("file.{name}.member"))?;
            }
            let member = member.map(|RawMember { path, size, sha256 }| Member { path, size, sha256 });
            files.push(File { sets, name, url, size, sha256, member });
        }
        Ok(Self { seed: raw.seed, snapshot: raw.snapshot, archives: raw.archive, packages, files })
    }

    /// Digest of everything that decides what a lock holds. Comments, reasons and mirrors are not in it, nor is the
    /// seed: none of them changes what is locked.
    pub fn digest(&self) -> Sha256 {
        let mut out = String::from("vitrine/request/1\0");
        for (name, archive) in &self.archives {
            let Archive { suite, component, keyring, only, .. } = archive;
            let only = only.as_ref().map_or("*".to_owned(), |only| only.join(" "));
            out.push_str(&format!("archive {name} {suite} {component} {keyring} {only}\n"));
        }
        for (set, packages) in &self.packages {
            for name in packages.keys() {
                out.push_str(&format!("package {set} {name}\n"));
            }
        }
        for File { sets, name, url, size, sha256, member } in &self.files {
            let sets: Vec<&str> = sets.iter().map(|set| set.name()).collect();
            let member = member.as_ref().map(|Member { path, size, sha256 }| format!(" {path} {size} {sha256}"));
            out.push_str(&format!("file {} {name} {url} {size} {sha256}", sets.join(",")));
            out.push_str(&format!("{}\n", member.unwrap_or_default()));
        }
        Sha256::of(out.as_bytes())
    }
}

fn bad<'a>(texts: impl IntoIterator<Item = &'a String>, is_valid: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    match texts.into_iter().find(|text| !is_valid(text)) {
        None => Ok(()),
        Some(text) => Err(anyhow::anyhow!("{text:?} is not valid here")),
    }
}

/// The packages that an mkosi.conf installs, each with the comment above it as the reason.
///
/// Only one form of `Packages=` is taken, so that no two readers can differ: the key alone on its line, then one
/// package a line, indented, after at least one line of comment.
pub fn mkosi_packages(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut packages = BTreeMap::new();
    let (mut inside, mut reason) = (false, String::new());
    for (at, line) in text.lines().enumerate() {
        let (at, content) = (at + 1, line.trim());
        if let Some(comment) = content.strip_prefix('#') {
            reason.push_str(comment.trim());
        } else if line.starts_with("Packages") {
            ensure!(content == "Packages=", "line {at}: expected \"Packages=\" alone on its line, found {content:?}");
            ensure!(!inside && packages.is_empty(), "line {at}: expected one \"Packages=\", found a second");
            (inside, reason) = (true, String::new());
        } else if content.is_empty() || !line.starts_with([' ', '\t']) {
            (inside, reason) = (inside && content.is_empty(), String::new());
        } else if inside {
            ensure!(is_name(content), "line {at}: expected one package name, found {content:?}");
            ensure!(!reason.is_empty(), "line {at}: expected a comment above {content:?} with its reason");
            let twice = packages.insert(content.to_owned(), std::mem::take(&mut reason));
            ensure!(twice.is_none(), "line {at}: {content:?} is there twice");
        }
    }
    ensure!(!packages.is_empty(), "expected \"Packages=\" and a list, found none");
    Ok(packages)
}

#[cfg(test)]
mod tests;
