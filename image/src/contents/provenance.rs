//! Where each path of an image comes from: one [`Origin`] per path, and `provenance.json`, which lists them
//! (docs/formats.md).

use crate::formats::filetree::{Content, Node, Tree};
use crate::formats::listing::{Entry, Kind};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// One path of an image, where its bytes are and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// The path as it will be in the image.
    pub entry: Entry,
    /// The file on this host that holds the bytes; `None` for directories and links.
    pub file: Option<PathBuf>,
    /// Why it may be there.
    pub origin: Origin,
}

/// What to write: the tree as an archive takes it.
pub fn tree(paths: &[Traced]) -> Tree {
    let node = |Traced { entry, file, .. }: &Traced| {
        let content = match (file, &entry.kind) {
            (Some(file), _) => Content::Copied(file.clone()),
            (None, Kind::Symlink { target }) => Content::Symlink(target.clone()),
            (None, _) => Content::Directory,
        };
        (entry.path.clone(), Node { content, mode: entry.mode, uid: entry.uid, gid: entry.gid })
    };
    paths.iter().map(node).collect()
}

/// Fails unless `found`, the paths read back from the finished image called `image`, are exactly `paths`: the first
/// that has no origin, differs from what was traced or did not arrive is named.
pub fn check(image: &str, found: &[Entry], paths: &[Traced]) -> anyhow::Result<()> {
    let traced: BTreeMap<_, _> = paths.iter().map(|traced| (&traced.entry.path, traced)).collect();
    for entry in found {
        let path = &entry.path;
        match traced.get(path) {
            Some(traced) if traced.entry == *entry => {}
            Some(traced) => bail!(
                "{path} of the {image} is not what it was traced to ({:?}): expected {:?}, found {entry:?}",
                traced.origin,
                traced.entry,
            ),
            None => bail!("{path} of the {image} has no provenance; {}", hint(entry, paths)),
        }
    }
    let found: BTreeSet<_> = found.iter().map(|entry| &entry.path).collect();
    let lost = traced.keys().find(|path| !found.contains(*path));
    ensure!(lost.is_none(), "{} is not in the finished {image}", lost.map(ToString::to_string).unwrap_or_default());
    Ok(())
}

/// What a path without origin most likely is: a copy of another, else a neighbour of the one before it.
fn hint(entry: &Entry, paths: &[Traced]) -> String {
    let is_copy = |traced: &&Traced| matches!(entry.kind, Kind::File { .. }) && traced.entry.kind == entry.kind;
    match paths.iter().find(is_copy) {
        Some(copy) => format!("it has the content of {} ({:?})", copy.entry.path, copy.origin),
        None => match paths.iter().rfind(|traced| traced.entry.path < entry.path) {
            Some(before) => format!("it stands after {} ({:?})", before.entry.path, before.origin),
            None => "nothing was traced".to_owned(),
        },
    }
}

/// Why a path is in an image. Nothing is in an image without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "class", rename_all = "lowercase")]
pub enum Origin {
    /// Unmodified member of a locked package: content or target, mode and owner are the package's.
    Deb {
        /// Binary package.
        package: String,
        /// Its version.
        version: String,
    },
    /// Committed text.
    Content {
        /// The file, relative to the checkout.
        file: String,
    },
    /// Compiled from source in the toolchain tree.
    Built {
        /// The crate it is compiled from.
        #[serde(rename = "crate")]
        name: String,
    },
    /// Follows from the other paths.
    Generated {
        /// How.
        rule: Rule,
    },
    /// As mkosi left it, by exception.
    Allowed {
        /// The exception's reason.
        reason: String,
    },
}

/// A rule that generates paths. Each is code of ours, so the path is derived, not taken from anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A directory that no package ships, needed because something is in it: 0755, owner 0:0.
    ParentDirectory,
}

/// Renders `provenance.json`: for each image, by name, its paths in the order given.
pub fn render(images: &BTreeMap<&str, &[Traced]>) -> anyhow::Result<String> {
    let images =
        images.iter().map(|(name, paths)| ((*name).to_owned(), paths.iter().map(Line::new).collect())).collect();
    Document { schema: SCHEMA, images }.render()
}

/// One `provenance.json` of several, no two of which are about the same image.
pub fn merge(parts: &[Vec<u8>]) -> anyhow::Result<String> {
    let mut images = BTreeMap::new();
    for part in parts {
        for (name, lines) in Document::parse(part)?.images {
            let twice = images.insert(name.clone(), lines).is_some();
            ensure!(!twice, "two provenance files are about the image {name}");
        }
    }
    Document { schema: SCHEMA, images }.render()
}

/// The packages that a file or link comes from, by the `provenance.json` given. A directory alone does not count.
pub fn packages(provenance: &[u8]) -> anyhow::Result<BTreeSet<String>> {
    let lines = Document::parse(provenance)?.images.into_values().flatten();
    let package = |line: Line| match line.origin {
        Origin::Deb { package, .. } if line.sha256.is_some() || line.target.is_some() => Some(package),
        _ => None,
    };
    Ok(lines.filter_map(package).collect())
}

/// Reads `provenance.json`: for each image, by name, its paths in the order of the file.
pub fn parse(provenance: &[u8]) -> anyhow::Result<BTreeMap<String, Vec<Line>>> {
    Ok(Document::parse(provenance)?.images)
}

const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    schema: u32,
    images: BTreeMap<String, Vec<Line>>,
}

impl Document {
    fn parse(bytes: &[u8]) -> anyhow::Result<Self> {
        let document: Self = serde_json::from_slice(bytes).context("parsing provenance.json")?;
        ensure!(document.schema == SCHEMA, "provenance.json: expected schema {SCHEMA}, found {}", document.schema);
        Ok(document)
    }

    fn render(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}

/// A path of an image as `provenance.json` lists it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Line {
    /// As in a listing.
    pub path: String,
    /// Octal.
    pub mode: String,
    /// `uid:gid`.
    pub owner: String,
    /// Of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Sha256>,
    /// Of a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where it is from.
    #[serde(flatten)]
    pub origin: Origin,
}

impl Line {
    fn new(traced: &Traced) -> Self {
        let Entry { path, kind, mode, uid, gid } = &traced.entry;
        let (sha256, target) = match kind {
            Kind::File { sha256, .. } => (Some(*sha256), None),
            Kind::Symlink { target } => (None, Some(String::from_utf8_lossy(target).into_owned())),
            _ => (None, None),
        };
        Self {
            path: path.to_string(),
            mode: format!("{mode:04o}"),
            owner: format!("{uid}:{gid}"),
            sha256,
            target,
            origin: traced.origin.clone(),
        }
    }
}
