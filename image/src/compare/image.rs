//! A tree of files in an image, and how two of them differ.

use super::bytes::{self, Content};
use super::{Cause, Kind, Value};
use crate::files;
use crate::formats::listing::{self, Entry, Place, TreePath};
use crate::formats::{cpio, erofs};
use crate::pipeline::measured::MAX_BOOT_FILE;
use anyhow::Context as _;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes of a header of a newc archive, and of one of its numbers.
const CPIO_HEADER: usize = 110;
const CPIO_FIELD: usize = 8;

/// The paths of an image.
pub(super) struct Image {
    file: File,
    /// Where it starts in the file.
    base: u64,
    paths: BTreeMap<TreePath, (Entry, Place)>,
    /// Whether paths may stand in any order. Otherwise an order follows from the paths and their sizes.
    any_order: bool,
}

/// A difference inside an artifact, before anything is known about where it is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: Option<String>,
    pub(super) kind: Kind,
    pub(super) offset: Option<u64>,
    pub(super) old: Option<Value>,
    pub(super) new: Option<Value>,
    /// What is known or guessed from the bytes alone.
    pub(super) cause: Cause,
}

impl Found {
    /// A value that is not the same.
    pub(super) fn value(path: impl Into<Option<String>>, kind: Kind, old: Value, new: Value) -> Self {
        let cause = if kind == Kind::Order { Cause::Order } else { Cause::Unexplained };
        Self { path: path.into(), kind, offset: None, old: Some(old), new: Some(new), cause }
    }

    /// Bytes that are not the same, with the first that differs.
    pub(super) fn bytes(path: Option<String>, old: &Content<'_>, new: &Content<'_>) -> anyhow::Result<Option<Self>> {
        let Some(offset) = bytes::first(old, new)? else { return Ok(None) };
        let is_end = offset == old.size() || offset == new.size();
        let (kind, cause) = match is_end {
            true => (Kind::Size, Cause::Unexplained),
            false => (Kind::Bytes, bytes::guess(old, new, offset)?),
        };
        let digest = |content: &Content<'_>| Ok::<_, std::io::Error>(Some(Value::Sha256(content.sha256()?)));
        let (old, new) = (digest(old)?, digest(new)?);
        Ok(Some(Self { path, kind, offset: Some(offset), old, new, cause }))
    }
}

impl Image {
    /// The one cpio archive of the initrd at `path`; what follows its end is not read.
    pub(super) fn initrd(path: &Path) -> anyhow::Result<Self> {
        let reading = || format!("reading {}", path.display());
        let archive = files::read_bounded(path, MAX_BOOT_FILE).with_context(reading)?;
        let entries = cpio::read(&mut archive.as_slice()).with_context(reading)?;
        let mut places = BTreeMap::new();
        let mut at = 0;
        // The reader above has checked every header, so that the walk ends at the trailer at the latest.
        while places.len() < entries.len() {
            let header = archive.get(at..).and_then(|rest| rest.get(..CPIO_HEADER)).with_context(reading)?;
            let field = |number: usize| {
                let digits = header.get(6 + number * CPIO_FIELD..)?.get(..CPIO_FIELD)?;
                usize::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
            };
            let all = (field(5), field(6), field(11));
            let (Some(time), Some(size), Some(length)) = all else { anyhow::bail!("{}: a header", path.display()) };
            let name = archive.get(at + CPIO_HEADER..).and_then(|rest| rest.get(..length.saturating_sub(1)));
            let name = TreePath::from_member(name.with_context(reading)?)?;
            let data = (at + CPIO_HEADER + length).next_multiple_of(4);
            let pieces = vec![(Some(data as u64), size as u64)];
            places.insert(name, Place { number: places.len() as u64, time: time as u64, pieces });
            at = (data + size).next_multiple_of(4);
        }
        let place = |entry: Entry| {
            let place = places.remove(&entry.path).with_context(|| format!("{}: {}", path.display(), entry.path))?;
            Ok((entry.path.clone(), (entry, place)))
        };
        let paths = entries.into_iter().map(place).collect::<anyhow::Result<_>>()?;
        Ok(Self { file: File::open(path).with_context(reading)?, base: 0, paths, any_order: true })
    }

    /// The erofs image that takes `length` bytes of `file` from `base` on.
    pub(super) fn erofs(file: File, base: u64, length: u64) -> anyhow::Result<(Self, erofs::Superblock)> {
        let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, base + at);
        let superblock = erofs::Superblock::read(&read, length)?;
        let paths = superblock.paths(&read)?.into_iter().map(|(entry, place)| (entry.path.clone(), (entry, place)));
        let paths = paths.collect();
        Ok((Self { file, base, paths, any_order: false }, superblock))
    }

    fn content(&self, place: &Place) -> Content<'_> {
        Content::new(&self.file, self.base, place.pieces.clone())
    }
}

/// What differs between two images, path by path.
pub(super) fn differences(old: &Image, new: &Image) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    let names: BTreeSet<_> = old.paths.keys().chain(new.paths.keys()).collect();
    let mut times = BTreeMap::<(u64, u64), Vec<String>>::new();
    for name in names {
        let shown = name.to_string();
        match (old.paths.get(name), new.paths.get(name)) {
            (Some((before, was)), Some((after, is))) => {
                found.extend(entry(before, after));
                if are_files(before, after) && before.kind != after.kind {
                    found.extend(Found::bytes(Some(shown.clone()), &old.content(was), &new.content(is))?);
                }
                if was.time != is.time {
                    times.entry((was.time, is.time)).or_default().push(shown);
                }
            }
            (before, after) => found.extend(alone(before.map(|it| &it.0), after.map(|it| &it.0))),
        }
    }
    let common = old.paths.keys().filter(|path| new.paths.contains_key(*path)).count();
    for ((before, after), paths) in times {
        // Another clock is one difference, whatever it was read for.
        let paths = if paths.len() == common { vec![None] } else { paths.into_iter().map(Some).collect() };
        for path in paths {
            let difference = Found::value(path, Kind::Time, Value::Time(before), Value::Time(after));
            found.push(Found { cause: Cause::Timestamp, ..difference });
        }
    }
    if old.any_order || found.is_empty() {
        found.extend(order(old, new));
    }
    Ok(found)
}

/// The first path that stands elsewhere among those that both have.
fn order(old: &Image, new: &Image) -> Option<Found> {
    let stored = |image: &Image, other: &Image| {
        let common = image.paths.iter().filter(|(path, _)| other.paths.contains_key(*path));
        let mut paths: Vec<_> = common.map(|(path, (_, place))| (place.number, path.to_string())).collect();
        paths.sort();
        paths
    };
    let (before, after) = (stored(old, new), stored(new, old));
    let first = before.into_iter().zip(after).find(|((_, before), (_, after))| before != after);
    first.map(|((_, before), (_, after))| {
        Found::value(before.clone(), Kind::Order, Value::Text(before), Value::Text(after))
    })
}

/// What differs about one path but for its bytes.
pub(super) fn entry(old: &Entry, new: &Entry) -> Vec<Found> {
    let mut found = Vec::new();
    let mut differ = |kind, before: Value, after: Value| {
        if before != after {
            found.push(Found::value(old.path.to_string(), kind, before, after));
        }
    };
    let text = |bytes: &[u8]| Value::Text(escaped(bytes));
    match (&old.kind, &new.kind) {
        (listing::Kind::Symlink { target: before }, listing::Kind::Symlink { target: after }) => {
            differ(Kind::Target, text(before), text(after));
        }
        (listing::Kind::File { .. }, listing::Kind::File { .. }) => {}
        (before, after) => differ(Kind::Type, Value::Text(kind(before)), Value::Text(kind(after))),
    }
    let mode = |entry: &Entry| Value::Mode(format!("{:04o}", entry.mode));
    differ(Kind::Mode, mode(old), mode(new));
    let owner = |entry: &Entry| Value::Owner(format!("{}:{}", entry.uid, entry.gid));
    differ(Kind::Owner, owner(old), owner(new));
    found
}

/// Whether both are regular files.
pub(super) fn are_files(old: &Entry, new: &Entry) -> bool {
    [old, new].iter().all(|entry| matches!(entry.kind, listing::Kind::File { .. }))
}

/// A path that only one of two trees has.
pub(super) fn alone(old: Option<&Entry>, new: Option<&Entry>) -> Option<Found> {
    let value = |entry: &Entry| match &entry.kind {
        listing::Kind::File { sha256, .. } => Value::Sha256(*sha256),
        other => Value::Text(kind(other)),
    };
    let (path, kind) = match (old, new) {
        (Some(entry), None) => (&entry.path, Kind::Removed),
        (None, Some(entry)) => (&entry.path, Kind::Added),
        _ => return None,
    };
    let (old, new) = (old.map(value), new.map(value));
    Some(Found { path: Some(path.to_string()), kind, offset: None, old, new, cause: Cause::Unexplained })
}

fn kind(kind: &listing::Kind) -> String {
    match kind {
        listing::Kind::File { .. } => "file".to_owned(),
        listing::Kind::Directory => "directory".to_owned(),
        listing::Kind::Symlink { target } => format!("link to {}", escaped(target)),
        listing::Kind::CharacterDevice { major, minor } => format!("character device {major}:{minor}"),
        listing::Kind::BlockDevice { major, minor } => format!("block device {major}:{minor}"),
        listing::Kind::Fifo => "pipe".to_owned(),
        listing::Kind::Socket => "socket".to_owned(),
    }
}

/// A stranger's bytes as printable ASCII.
pub(super) fn escaped(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What a superblock says of the image as a whole.
pub(super) fn superblocks(old: &erofs::Superblock, new: &erofs::Superblock) -> Vec<Found> {
    let mut found = Vec::new();
    if old.uuid != new.uuid {
        let text = |superblock: &erofs::Superblock| Value::Text(superblock.uuid.to_string());
        found.push(Found::value("superblock uuid".to_owned(), Kind::Identity, text(old), text(new)));
    }
    if old.time != new.time {
        let time = |superblock: &erofs::Superblock| Value::Time(superblock.time);
        let difference = Found::value("superblock time".to_owned(), Kind::Time, time(old), time(new));
        found.push(Found { cause: Cause::Timestamp, ..difference });
    }
    found
}
