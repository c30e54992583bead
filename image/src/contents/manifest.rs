//! `content/manifest.yaml`: every file, directory and link of the root filesystem, and why it is there. What it does
//! not name does not reach the image. The format is specified in docs/formats.md.

use crate::formats::listing::TreePath;
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet};

/// Longest manifest read; ours has a tenth of it.
const MAX_LEN: usize = 256 << 10;
/// Largest owner or group; 65535 means "none" to 16-bit interfaces.
const MAX_ID: u32 = 65534;
/// Every mode bit a path may have: no setuid, setgid or sticky, nothing written by group or world.
pub const MODE_MASK: u16 = 0o755;

/// The parsed manifest. Its paths are distinct and no two entries name the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What stays of the packages, sorted by package and first path.
    pub keep: Vec<Keep>,
    /// What is added to it.
    pub added: BTreeMap<TreePath, Added>,
}

/// Some paths of one package, kept for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The binary package's name.
    pub package: String,
    /// Why the image needs them.
    pub reason: String,
    /// The paths, sorted, at least one. A kept link keeps what it points to as well.
    pub paths: Vec<TreePath>,
}

/// One path that no package provides as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Added {
    /// Where its bytes come from.
    pub source: Source,
    /// Permission bits, within [`MODE_MASK`]; 0777 for links, as Linux has it.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Why the image needs it.
    pub reason: String,
}

/// Where the bytes of an added path come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file of this name under `content/rootfs/`.
    Content,
    /// A binary of the guest stage.
    Built,
    /// Nowhere: an empty directory.
    Directory,
    /// Nowhere: a symbolic link with this text.
    Link(String),
    /// The file mkosi left there although no package ships it so; its digest is pinned.
    Allowed(Sha256),
}

impl Manifest {
    /// Parses a manifest. Errors name the line and the field.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        ensure!(text.len() <= MAX_LEN, "{} bytes; expected at most {MAX_LEN}", text.len());
        let raw: Raw = serde_saphyr::from_str(text)?;
        let mut seen = BTreeSet::new();
        let mut new = |line: u64, path: &TreePath| {
            ensure!(seen.insert(path.clone()), "line {line}: {path} is named a second time; name each path once");
            Ok(())
        };

        let mut keep = Vec::<Keep>::new();
        for group in raw.keep {
            let line = line(&group);
            let group = group.value;
            let mut paths = Vec::<TreePath>::new();
            for text in group.paths {
                let path = tree_path(&text)?;
                new(self::line(&text), &path)?;
                in_order(self::line(&text), paths.last(), &path)?;
                paths.push(path);
            }
            let first = paths.first().with_context(|| format!("line {line}: paths: expected at least one"))?;
            let key = (group.package.as_str(), first);
            let last = keep.last().and_then(|last| Some((last.package.as_str(), last.paths.first()?)));
            ensure!(
                last.is_none_or(|last| last < key),
                "line {line}: {} with {first} stands after {}; sort by package, then by first path",
                group.package,
                last.map_or("", |last| last.0),
            );
            let reason = reason(line, group.reason)?;
            keep.push(Keep { package: group.package, reason, paths });
        }

        let mut added = BTreeMap::new();
        for item in raw.add {
            let path = tree_path(&item.value.path)?;
            let line = line(&item);
            new(line, &path)?;
            in_order(line, added.last_key_value().map(|(path, _)| path), &path)?;
            added.insert(path, item.value.parse(line)?);
        }
        Ok(Self { keep, added })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    #[expect(dead_code, reason = "a schema that is read at all is the right one")]
    schema: Schema,
    keep: Vec<Spanned<RawKeep>>,
    add: Vec<Spanned<RawAdded>>,
}

/// The only version of the format there is.
#[derive(Deserialize)]
#[serde(try_from = "u32")]
struct Schema;

impl TryFrom<u32> for Schema {
    type Error = String;

    fn try_from(found: u32) -> Result<Self, String> {
        if found == 1 { Ok(Self) } else { Err(format!("schema {found}; expected 1, which is what this version reads")) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeep {
    package: String,
    reason: String,
    paths: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdded {
    path: Spanned<String>,
    content: Option<String>,
    built: Option<String>,
    directory: Option<String>,
    link: Option<String>,
    allowed: Option<String>,
    sha256: Option<Sha256>,
    reason: String,
}

impl RawAdded {
    fn parse(self, line: u64) -> anyhow::Result<Added> {
        let (source, permissions) =
            match (self.content, self.built, self.directory, self.link, self.allowed, self.sha256) {
                (Some(text), None, None, None, None, None) => (Source::Content, Some(text)),
                (None, Some(text), None, None, None, None) => (Source::Built, Some(text)),
                (None, None, Some(text), None, None, None) => (Source::Directory, Some(text)),
                (None, None, None, Some(target), None, None) => (Source::Link(target), None),
                (None, None, None, None, Some(text), Some(sha256)) => (Source::Allowed(sha256), Some(text)),
                _ => bail!("line {line}: expected one of content, built, directory, link, or allowed with sha256"),
            };
        let (mode, uid, gid) = match permissions {
            Some(text) => permissions_of(&text).with_context(|| {
                format!("line {line}: {text:?}; expected MODE UID:GID such as `0644 0:0`, no bit outside {MODE_MASK:04o}, ids up to {MAX_ID}")
            })?,
            None => (0o777, 0, 0),
        };
        Ok(Added { source, mode, uid, gid, reason: reason(line, self.reason)? })
    }
}

fn line<T>(spanned: &Spanned<T>) -> u64 {
    spanned.referenced.line()
}

fn tree_path(text: &Spanned<String>) -> anyhow::Result<TreePath> {
    text.value.parse().with_context(|| format!("line {}: path", line(text)))
}

fn in_order(line: u64, last: Option<&TreePath>, path: &TreePath) -> anyhow::Result<()> {
    match last {
        Some(last) if last >= path => bail!("line {line}: {path} stands after {last}; sort by bytes"),
        _ => Ok(()),
    }
}

fn reason(line: u64, text: String) -> anyhow::Result<String> {
    ensure!(!text.trim().is_empty(), "line {line}: reason: expected a few words, found none");
    Ok(text)
}

/// Four octal digits, a space, and two decimal ids: `0644 0:0`.
fn permissions_of(text: &str) -> Option<(u16, u32, u32)> {
    let (mode, owner) = text.split_once(' ')?;
    let (uid, gid) = owner.split_once(':')?;
    let octal = mode.len() == 4 && mode.bytes().all(|byte| byte.is_ascii_digit());
    let mode = octal.then(|| u16::from_str_radix(mode, 8).ok())??;
    let id = |text: &str| text.parse().ok().filter(|id: &u32| *id <= MAX_ID && id.to_string() == text);
    (mode & !MODE_MASK == 0).then_some((mode, id(uid)?, id(gid)?))
}
