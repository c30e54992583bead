//! The root filesystem: what `content/manifest.yaml` names, taken from mkosi's tree, `content/rootfs/` and the guest's
//! binaries.
//!
//! Content comes from the disk, but owner and mode never do: a tree that an unprivileged user made has one owner
//! throughout, and a checkout has whatever modes the umask left. They are the package's or the manifest's.

mod elf;
mod gates;
mod tree;

use crate::contents::manifest::{Manifest, Source};
use crate::contents::provenance::{Origin, Rule, Traced};
use crate::formats::listing::{Entry, Kind, TreePath};
use crate::inputs::lock::Package;
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use tree::Tree;

/// Where the files of an added `content` path are, relative to the checkout.
const CONTENT: &str = "content/rootfs";

/// What the root filesystem is composed from.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// The directory mkosi left.
    pub tree: &'a Path,
    /// The checkout, or a copy of its committed inputs.
    pub checkout: &'a Path,
    /// The guest stage's binaries by their path in the image.
    pub built: &'a BTreeMap<TreePath, Binary>,
    /// The packages mkosi installed.
    pub packages: &'a [Installed<'a>],
}

/// A binary of the guest stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binary {
    /// The file on this host.
    pub file: PathBuf,
    /// The crate it is compiled from.
    pub name: String,
}

/// A locked package with [`crate::formats::deb::Deb::entries`].
#[derive(Debug, Clone)]
pub struct Installed<'a> {
    /// Its lock entry.
    pub package: &'a Package,
    /// Its paths.
    pub entries: Vec<Entry>,
}

/// Composes the root filesystem: every path with its bytes and its origin, sorted by path, all gates passed.
///
/// Fails, naming the path, where the manifest and the sources disagree: a kept path that its package does not ship or
/// that mkosi's tree holds differently, a content file or binary that is missing or that no line names, a path that
/// might escalate privileges or start an interpreter, a library, program or link target that was not kept.
pub fn compose(manifest: &Manifest, from: &Sources<'_>) -> anyhow::Result<Vec<Traced>> {
    let mut paths = kept(manifest, from)?;
    paths.extend(added(manifest, from)?);
    nothing_unnamed(manifest, from)?;
    add_parents(&mut paths, manifest, from)?;
    let tree = Tree(paths);
    gates::check(&tree)?;
    Ok(tree.0.into_values().collect())
}

type Paths = BTreeMap<TreePath, Traced>;

fn kept(manifest: &Manifest, from: &Sources<'_>) -> anyhow::Result<Paths> {
    let mut paths = Paths::new();
    for keep in &manifest.keep {
        let installed = from.packages.iter().find(|installed| installed.package.name == keep.package);
        let installed = installed.with_context(|| {
            format!(
                "content/manifest.yaml keeps paths of {}, which is not among the locked rootfs packages",
                keep.package
            )
        })?;
        let mut wanted: Vec<_> = keep.paths.iter().rev().cloned().collect();
        while let Some(path) = wanted.pop() {
            let entry = installed.entries.iter().find(|entry| entry.path == path);
            let entry = entry.with_context(|| not_shipped(&path, &keep.package, from))?;
            if let Kind::Symlink { target } = &entry.kind
                && let Some(target) = tree::target(&path, target)
                && installed.entries.iter().any(|entry| entry.path == target)
                && !paths.contains_key(&target)
            {
                wanted.push(target);
            }
            paths.insert(path, unmodified(entry, installed.package, from.tree)?);
        }
    }
    Ok(paths)
}

fn not_shipped(path: &TreePath, package: &str, from: &Sources<'_>) -> String {
    let ships = |installed: &&Installed<'_>| installed.entries.iter().any(|entry| entry.path == *path);
    let hint = match from.packages.iter().find(ships) {
        Some(other) => format!("{} ships it", other.package.name),
        None => "no locked rootfs package ships it".to_owned(),
    };
    format!("content/manifest.yaml keeps {path} of {package}, which does not ship it; {hint}")
}

/// The member of a package, if mkosi's tree holds it as shipped.
fn unmodified(entry: &Entry, package: &Package, tree: &Path) -> anyhow::Result<Traced> {
    let found = on_disk(tree, &entry.path)?;
    let Package { name, version, .. } = package;
    ensure!(
        found.as_ref() == Some(&entry.kind),
        "{} in mkosi's tree is not the member of {name} {version}: expected {:?}, found {found:?}; if that is meant, \
         replace the kept path by an `allowed` one with its reason",
        entry.path,
        entry.kind,
    );
    let file = matches!(entry.kind, Kind::File { .. }).then(|| entry.path.under(tree));
    let origin = Origin::Deb { package: name.clone(), version: version.clone() };
    Ok(Traced { entry: entry.clone(), file, origin })
}

/// What stands at `path` of the tree at `root`, where no ancestor may be a link; `None` if nothing does.
fn on_disk(root: &Path, path: &TreePath) -> anyhow::Result<Option<Kind>> {
    let mut above = path.parent();
    while let Some(parent) = above.filter(|parent| *parent != TreePath::ROOT) {
        let place = parent.under(root);
        ensure!(!place.is_symlink(), "{} is a link; expected a directory on the way to {path}", place.display());
        above = parent.parent();
    }
    let place = path.under(root);
    let reading = || format!("reading {}", place.display());
    let metadata = match fs::symlink_metadata(&place) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        other => other.with_context(reading)?,
    };
    Ok(Some(if metadata.is_symlink() {
        Kind::Symlink { target: fs::read_link(&place).with_context(reading)?.into_os_string().into_vec() }
    } else if metadata.is_dir() {
        Kind::Directory
    } else if metadata.is_file() {
        let bytes = fs::read(&place).with_context(reading)?;
        Kind::File { size: bytes.len() as u64, sha256: Sha256::of(&bytes) }
    } else {
        bail!("{} is neither file, directory nor link", place.display());
    }))
}

fn added(manifest: &Manifest, from: &Sources<'_>) -> anyhow::Result<Paths> {
    let mut paths = Paths::new();
    for (path, added) in &manifest.added {
        let wrong = |what: &str| format!("content/manifest.yaml names {path}, but {what}");
        let manifest_line = || Origin::Content { file: "content/manifest.yaml".to_owned() };
        let (kind, file, origin) = match &added.source {
            Source::Directory => (Kind::Directory, None, manifest_line()),
            Source::Link(target) => (Kind::Symlink { target: target.clone().into_bytes() }, None, manifest_line()),
            Source::Content => {
                let root = from.checkout.join(CONTENT);
                let kind = on_disk(&root, path)?.with_context(|| wrong("content/rootfs has no such file"))?;
                let file = format!("{CONTENT}/{path}");
                (kind, Some(path.under(&root)), Origin::Content { file })
            }
            Source::Built => {
                let binary = from.built.get(path).with_context(|| wrong("the guest stage builds no such binary"))?;
                let bytes = fs::read(&binary.file).with_context(|| format!("reading {}", binary.file.display()))?;
                let kind = Kind::File { size: bytes.len() as u64, sha256: Sha256::of(&bytes) };
                (kind, Some(binary.file.clone()), Origin::Built { name: binary.name.clone() })
            }
            Source::Allowed(expected) => {
                let kind = on_disk(from.tree, path)?.with_context(|| wrong("mkosi's tree has no such file"))?;
                if let Kind::File { sha256, .. } = &kind {
                    ensure!(sha256 == expected, wrong(&format!("its sha256 is {sha256}; expected {expected}")));
                }
                (kind, Some(path.under(from.tree)), Origin::Allowed { reason: added.reason.clone() })
            }
        };
        let is_right = matches!(kind, Kind::File { .. }) == file.is_some();
        ensure!(is_right, wrong("what stands there is not a regular file; declare directories and links here instead"));
        let entry = Entry { path: path.clone(), kind, mode: added.mode, uid: added.uid, gid: added.gid };
        paths.insert(path.clone(), Traced { entry, file, origin });
    }
    Ok(paths)
}

/// Refuses content files and binaries that no line of the manifest takes: they would be silently left out.
fn nothing_unnamed(manifest: &Manifest, from: &Sources<'_>) -> anyhow::Result<()> {
    let named =
        |path: &TreePath, source: &Source| manifest.added.get(path).is_some_and(|added| added.source == *source);
    for path in from.built.keys() {
        ensure!(
            named(path, &Source::Built),
            "binary {path} is built, but content/manifest.yaml has no `built` line for it"
        );
    }
    let root = from.checkout.join(CONTENT);
    let mut directories = vec![TreePath::ROOT];
    while let Some(directory) = directories.pop() {
        let place = directory.under(&root);
        let reading = || format!("reading {}", place.display());
        for child in fs::read_dir(&place).with_context(reading)? {
            let child = child.with_context(reading)?;
            let path = directory.join(&child.file_name().into_vec()).with_context(reading)?;
            if child.file_type().with_context(reading)?.is_dir() {
                directories.push(path);
            } else {
                let line = "but content/manifest.yaml has no `content` line for it";
                ensure!(named(&path, &Source::Content), "{CONTENT}/{path} is there, {line}");
            }
        }
    }
    Ok(())
}

/// Adds the directories everything is in: as the packages of the manifest ship them, else by [`Rule::ParentDirectory`].
fn add_parents(paths: &mut Paths, manifest: &Manifest, from: &Sources<'_>) -> anyhow::Result<()> {
    let packages: BTreeSet<_> = manifest.keep.iter().map(|keep| keep.package.as_str()).collect();
    let mut wanted: Vec<_> = paths.keys().filter_map(TreePath::parent).collect();
    while let Some(path) = wanted.pop() {
        if let Some(present) = paths.get(&path) {
            ensure!(
                present.entry.kind == Kind::Directory,
                "{path} has paths below it, but it is {:?}",
                present.entry.kind
            );
            continue;
        }
        let mut shipped = None::<(&Entry, &Package)>;
        for installed in from.packages.iter().filter(|installed| packages.contains(installed.package.name.as_str())) {
            let Some(entry) = installed.entries.iter().find(|entry| entry.path == path) else { continue };
            let (first, package) = *shipped.get_or_insert((entry, installed.package));
            ensure!(
                entry == first,
                "{path} differs between packages {} and {}; add it to content/manifest.yaml as it should be",
                package.name,
                installed.package.name,
            );
        }
        let traced = match shipped {
            Some((entry, package)) => unmodified(entry, package, from.tree)?,
            None => Traced {
                entry: Entry { path: path.clone(), kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 },
                file: None,
                origin: Origin::Generated { rule: Rule::ParentDirectory },
            },
        };
        wanted.extend(path.parent());
        paths.insert(path, traced);
    }
    Ok(())
}
