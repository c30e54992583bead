//! Every file of two builds against each other, each opened as what it is.

use super::Build;
use super::bytes::{self, Content};
use super::image::{self, Found, Image, escaped};
use super::{Cause, Kind, Value};
use crate::files;
use crate::formats::disk::{self, Disk};
use crate::formats::erofs;
use crate::formats::listing::Listing;
use crate::pipeline::dist;
use crate::pipeline::stage::Stage;
use anyhow::Context as _;
use measure::verity;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Largest command line that is read, in bytes.
const MAX_COMMAND_LINE: u64 = 1 << 16;
/// The root file system, on its own and as the partition of this name.
const ROOTFS: &str = "rootfs.erofs";
/// Its hash tree.
const ROOTFS_TREE: &str = "rootfs.verity";
const TREE: &str = "-verity";
/// The stages of whose output `dist/` has nothing, or not all that matters.
const HIDDEN: [Stage; 7] =
    [Stage::Tools, Stage::Toolchain, Stage::Guest, Stage::Llama, Stage::Infer, Stage::Kernel, Stage::Packages];

/// A difference and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located {
    /// The stage that leaves the artifact.
    pub(super) stage: Stage,
    pub(super) artifact: String,
    pub(super) found: Found,
}

/// Every difference, artifact by artifact in the order of the stages.
pub(super) fn all(old: &Build, new: &Build) -> anyhow::Result<Vec<Located>> {
    let mut all = Vec::new();
    let mut put = |stage, artifact: &str, found: Vec<Found>| {
        all.extend(found.into_iter().map(|found| Located { stage, artifact: artifact.to_owned(), found }));
    };
    for stage in Stage::ALL {
        if old.output_differs(new, stage) {
            put(stage, stage.name(), trees(old, new, stage)?);
        }
    }
    let others = old.manifest.artifacts.keys().chain(new.manifest.artifacts.keys());
    let others = others.filter(|name| !dist::FILES.iter().any(|(known, _)| known == name));
    let known = dist::FILES.iter().map(|(name, stage)| (*name, *stage));
    let others: BTreeSet<_> = others.map(|name| (name.as_str(), Stage::Measure)).collect();
    for (name, stage) in known.chain(others) {
        let (before, after) = (old.dir.join(name), new.dir.join(name));
        put(stage, name, artifact(old, new, name, &before, &after).with_context(|| format!("comparing {name}"))?);
    }
    let (before, after) = (&old.manifest, &new.manifest);
    let mut claims = Vec::new();
    if before.source_date_epoch != after.source_date_epoch {
        let time = |epoch| Value::Time(epoch);
        let (before, after) = (time(before.source_date_epoch), time(after.source_date_epoch));
        claims.push(Found::value("source_date_epoch".to_owned(), Kind::Time, before, after));
    }
    if before.host_resistant != after.host_resistant {
        let text = |it: bool| Value::Text(it.to_string());
        let (before, after) = (text(before.host_resistant), text(after.host_resistant));
        claims.push(Found::value("host_resistant".to_owned(), Kind::Bytes, before, after));
    }
    put(Stage::Measure, dist::MANIFEST, claims);
    Ok(all)
}

/// What a stage left and is not in `dist/`: path by path if both outputs are at hand, and else as a whole.
fn trees(old: &Build, new: &Build, stage: Stage) -> anyhow::Result<Vec<Found>> {
    let digest = |build: &Build| build.records.get(&stage).map(|record| Value::Sha256(record.output));
    let (was, is) = (digest(old), digest(new));
    let output = Found { path: None, kind: Kind::Output, offset: None, old: was, new: is, cause: Cause::Unexplained };
    let (true, Some(before), Some(after)) = (HIDDEN.contains(&stage), old.trees.get(&stage), new.trees.get(&stage))
    else {
        return Ok(vec![output]);
    };
    let (before, after) = (before.tree()?, after.tree()?);
    let list = |root: &Path| Listing::of_directory(root, Some((0, 0)));
    let (left, right) = (list(before)?, list(after)?);
    let paths: BTreeSet<_> = left.entries().iter().chain(right.entries()).map(|entry| &entry.path).collect();
    let mut found = Vec::new();
    let in_dist = |path: &str| dist::FILES.contains(&(path, stage));
    for path in paths.into_iter().filter(|path| !in_dist(&path.to_string())) {
        match (left.find(path), right.find(path)) {
            (Some(is), Some(will)) if is == will => {}
            (Some(is), Some(will)) => {
                found.extend(image::entry(is, will));
                if image::are_files(is, will) && is.kind != will.kind {
                    found.extend(whole(Some(path.to_string()), &path.under(before), &path.under(after))?);
                }
            }
            (is, will) => found.extend(image::alone(is, will)),
        }
    }
    Ok(found)
}

fn artifact(old: &Build, new: &Build, name: &str, before: &Path, after: &Path) -> anyhow::Result<Vec<Found>> {
    match (before.exists(), after.exists()) {
        (true, true) => {}
        (false, false) => return Ok(Vec::new()),
        (is, _) => {
            let kind = if is { Kind::Removed } else { Kind::Added };
            let cause = Cause::Unexplained;
            return Ok(vec![Found { path: None, kind, offset: None, old: None, new: None, cause }]);
        }
    }
    if bytes::equal(before, after)? {
        return Ok(Vec::new());
    }
    let mut found = match name {
        dist::INITRD => image::differences(&Image::initrd(before)?, &Image::initrd(after)?)?,
        dist::COMMAND_LINE => tokens(&text(before)?, &text(after)?),
        dist::DISK | dist::MODEL => disks(old, new, before, after)?,
        ROOTFS => {
            let (left, right) = (open(before)?, open(after)?);
            let whole = |opened: &Opened| Ok::<_, anyhow::Error>((opened.file.try_clone()?, 0, opened.length));
            file_systems(whole(&left)?, whole(&right)?)?
        }
        ROOTFS_TREE => {
            let (left, right) = (open(before)?, open(after)?);
            let same = bytes::equal(&old.dir.join(ROOTFS), &new.dir.join(ROOTFS))?;
            hash_trees((&left.file, 0, left.length), (&right.file, 0, right.length), !same, ROOTFS)?
        }
        _ => Vec::new(),
    };
    if found.is_empty() {
        found.extend(whole(None, before, after)?);
    }
    Ok(found)
}

/// The first differing byte of two files.
fn whole(path: Option<String>, before: &Path, after: &Path) -> anyhow::Result<Option<Found>> {
    let (left, right) = (open(before)?, open(after)?);
    Found::bytes(path, &Content::part(&left.file, 0, left.length), &Content::part(&right.file, 0, right.length))
}

struct Opened {
    file: File,
    length: u64,
}

fn open(path: &Path) -> anyhow::Result<Opened> {
    let open = || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok::<_, std::io::Error>(Opened { file, length })
    };
    open().with_context(|| format!("reading {}", path.display()))
}

fn text(path: &Path) -> anyhow::Result<String> {
    let bytes = files::read_bounded(path, MAX_COMMAND_LINE).with_context(|| format!("reading {}", path.display()))?;
    Ok(escaped(&bytes))
}

/// Token by token: `key=value` by its key.
fn tokens(old: &str, new: &str) -> Vec<Found> {
    let key = |token: &str| token.split_once('=').map_or(token, |(key, _)| key).to_owned();
    let map = |line: &str| -> BTreeMap<String, String> {
        line.split(' ').map(|token| (key(token), token.to_owned())).collect()
    };
    let (before, after) = (map(old), map(new));
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let value = |tokens: &BTreeMap<String, String>, name| tokens.get(name).cloned().map(Value::Text);
    let found = changed.map(|name| Found {
        path: Some(name.clone()),
        kind: Kind::Token,
        offset: None,
        old: value(&before, name),
        new: value(&after, name),
        cause: Cause::Unexplained,
    });
    let mut found: Vec<_> = found.collect();
    if found.is_empty() && before.len() == old.split(' ').count() && after.len() == new.split(' ').count() {
        let moved = old.split(' ').zip(new.split(' ')).find(|(old, new)| old != new);
        found.extend(moved.map(|(old, new)| {
            Found::value(key(old), Kind::Order, Value::Text(old.to_owned()), Value::Text(new.to_owned()))
        }));
    }
    found
}

/// A part of a file: the file, where it starts and how long it is.
type Part<'a> = (&'a File, u64, u64);

fn content((file, base, length): Part<'_>) -> Content<'_> {
    Content::part(file, base, length)
}

fn file_systems(old: (File, u64, u64), new: (File, u64, u64)) -> anyhow::Result<Vec<Found>> {
    let ((left, before), (right, after)) = (Image::erofs(old.0, old.1, old.2)?, Image::erofs(new.0, new.1, new.2)?);
    let mut found = image::differences(&left, &right)?;
    found.extend(image::superblocks(&before, &after));
    Ok(found)
}

/// `follows` says whether the data differs, which is called `data`.
fn hash_trees(old: Part<'_>, new: Part<'_>, follows: bool, data: &str) -> anyhow::Result<Vec<Found>> {
    let superblock = |(file, base, length): Part<'_>| {
        let head = Content::part(file, base, length).read(0, verity::BLOCK)?;
        verity::Superblock::parse(&head).context("reading the superblock of a hash tree")
    };
    let (before, after) = (superblock(old)?, superblock(new)?);
    let mut found = Vec::new();
    let identities = [
        ("superblock uuid", before.uuid.to_string(), after.uuid.to_string()),
        ("superblock salt", before.salt.to_string(), after.salt.to_string()),
    ];
    for (path, before, after) in identities {
        if before != after {
            let difference = Found::value(path.to_owned(), Kind::Identity, Value::Text(before), Value::Text(after));
            found.push(difference);
        }
    }
    if found.is_empty() {
        let (left, right) = (content(old), content(new));
        let from = data.to_owned();
        found.extend(Found::bytes(None, &left, &right)?.map(|found| match follows {
            true => Found { cause: Cause::Follows { from }, ..found },
            false => Found { cause: Cause::Unexplained, ..found },
        }));
    }
    Ok(found)
}

fn disks(old: &Build, new: &Build, before: &Path, after: &Path) -> anyhow::Result<Vec<Found>> {
    let (left, right) = (open(before)?, open(after)?);
    let read = |opened: &Opened| {
        disk::read(&|at, buffer: &mut [u8]| opened.file.read_exact_at(buffer, at), opened.length)
            .context("reading the partition table")
    };
    let (was, is) = (read(&left)?, read(&right)?);
    let mut found = tables(&was, &is);
    let data_differs = |name: &str| -> anyhow::Result<bool> {
        let find = |disk: &Disk| disk.partitions.iter().find(|partition| partition.name == name).cloned();
        let (Some(was), Some(is)) = (find(&was), find(&is)) else { return Ok(true) };
        let (left, right) = ((&left.file, was.offset, was.length), (&right.file, is.offset, is.length));
        Ok(bytes::first(&content(left), &content(right))?.is_some())
    };
    for (was, is) in was.partitions.iter().zip(&is.partitions) {
        let name = format!("partition {}", escaped(was.name.as_bytes()));
        if !data_differs(&was.name)? {
            continue;
        }
        let (old_part, new_part) = ((&left.file, was.offset, was.length), (&right.file, is.offset, is.length));
        let copied = if was.name.ends_with(TREE) { ROOTFS_TREE } else { ROOTFS };
        if is_copy(old, copied, old_part)? && is_copy(new, copied, new_part)? {
            let difference = Found::bytes(Some(name), &content(old_part), &content(new_part))?;
            let cause = Cause::Follows { from: copied.to_owned() };
            found.extend(difference.map(|found| Found { cause, ..found }));
            continue;
        }
        let inside = match was.name.strip_suffix(TREE) {
            Some(data) => hash_trees(old_part, new_part, data_differs(data)?, &format!("partition {data}"))?,
            None => match (is_erofs(old_part)?, is_erofs(new_part)?) {
                (true, true) => {
                    let own =
                        |(file, base, length): Part<'_>| Ok::<_, std::io::Error>((file.try_clone()?, base, length));
                    file_systems(own(old_part)?, own(new_part)?)?
                }
                _ => Vec::new(),
            },
        };
        let inside = match inside.is_empty() {
            false => inside,
            true => Found::bytes(None, &content(old_part), &content(new_part))?.into_iter().collect(),
        };
        // A path of the file system is a path; anything else is a part of the partition.
        let located = inside.into_iter().map(|found| match &found.path {
            Some(path) if !path.starts_with("superblock ") => found,
            Some(part) => Found { path: Some(format!("{name}, {part}")), ..found },
            None => Found { path: Some(name.clone()), ..found },
        });
        found.extend(located);
    }
    Ok(found)
}

fn is_erofs((file, base, length): Part<'_>) -> anyhow::Result<bool> {
    Ok(erofs::Superblock::recognise(&Content::part(file, base, length).read(0, 2048)?))
}

/// Whether the part is the build's file of this name, perhaps followed by zeros.
fn is_copy(build: &Build, name: &str, (file, base, length): Part<'_>) -> anyhow::Result<bool> {
    let path = build.dir.join(name);
    if !path.exists() {
        return Ok(false);
    }
    let copied = open(&path)?;
    let padding = length.saturating_sub(copied.length);
    let padded = Content::new(&copied.file, 0, vec![(Some(0), copied.length), (None, padding)]);
    Ok(copied.length <= length && bytes::first(&padded, &Content::part(file, base, length))?.is_none())
}

/// What the partition tables say.
fn tables(old: &Disk, new: &Disk) -> Vec<Found> {
    let mut found = Vec::new();
    let mut differ = |path: String, kind, before: Value, after: Value| {
        if before != after {
            found.push(Found::value(path, kind, before, after));
        }
    };
    let text = |text: &dyn ToString| Value::Text(escaped(text.to_string().as_bytes()));
    differ("table, disk GUID".to_owned(), Kind::Identity, text(&old.guid), text(&new.guid));
    for (was, is) in old.partitions.iter().zip(&new.partitions) {
        let name = |what: &str| format!("table, partition {}, {what}", escaped(was.name.as_bytes()));
        differ(name("GUID"), Kind::Identity, text(&was.guid), text(&is.guid));
        differ(name("type"), Kind::Type, text(&was.type_guid), text(&is.type_guid));
        differ(name("name"), Kind::Bytes, text(&was.name), text(&is.name));
    }
    let count = |disk: &Disk| Value::Text(format!("{} partitions", disk.partitions.len()));
    differ("table".to_owned(), Kind::Size, count(old), count(new));
    found
}
