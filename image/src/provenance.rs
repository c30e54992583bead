//! Where each path of an image comes from: one [`Origin`] per path, and `provenance.json`, which lists them
//! (docs/formats.md).

use crate::filetree::{Content, Node, Tree};
use crate::listing::{Entry, Kind};
use measure::Sha256;
use serde::Serialize;
use std::collections::BTreeMap;
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

/// Why a path is in an image. Nothing is in an image without one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A directory that no package ships, needed because something is in it: 0755, owner 0:0.
    ParentDirectory,
}

/// Renders `provenance.json`: for each image, by name, its paths in the order given.
pub fn render(images: &BTreeMap<&str, &[Traced]>) -> anyhow::Result<String> {
    let images = images.iter().map(|(name, paths)| (*name, paths.iter().map(Line::new).collect())).collect();
    let mut text = serde_json::to_string_pretty(&Document { schema: 1, images })?;
    text.push('\n');
    Ok(text)
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    images: BTreeMap<&'a str, Vec<Line<'a>>>,
}

#[derive(Serialize)]
struct Line<'a> {
    path: String,
    mode: String,
    owner: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Sha256>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<String>,
    #[serde(flatten)]
    origin: &'a Origin,
}

impl<'a> Line<'a> {
    fn new(traced: &'a Traced) -> Self {
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
            origin: &traced.origin,
        }
    }
}
