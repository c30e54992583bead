//! A disk's partitions, and whether each dm-verity tree fits its data.

use super::{FileSystem, file_system, settle};
use crate::formats::bytes::ReadAt;
use crate::formats::disk::{self, Partition};
use crate::formats::erofs::Superblock;
use anyhow::Context as _;
use measure::Sha256;
use measure::verity::{self, BLOCK, Verity, VerityRoot};
use serde::Serialize;
use std::io;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

/// What a partition table says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    pub(super) guid: String,
    pub(super) sectors: u64,
    pub(super) partitions: Vec<Shown>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Shown {
    pub(super) name: String,
    pub(super) guid: String,
    pub(super) type_guid: String,
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "content", rename_all = "kebab-case")]
pub(super) enum Content {
    Erofs(FileSystem),
    Verity(Tree),
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Tree {
    pub(super) uuid: String,
    pub(super) salt: String,
    pub(super) data_blocks: u64,
    /// The partition it covers.
    pub(super) data: Option<String>,
    /// Recomputed from that partition's data.
    pub(super) root_sha256: Option<VerityRoot>,
}

/// The table of a disk of `length` bytes and what its partitions hold; `None` if the table is wrong.
pub(super) fn table(disk: &ReadAt<'_>, length: u64, wrong: &mut Vec<String>) -> anyhow::Result<Option<Table>> {
    let Some(found) = settle(disk::read(disk, length), "", wrong)? else { return Ok(None) };
    let mut partitions = Vec::new();
    for partition in &found.partitions {
        let content = content(disk, partition, &found.partitions, wrong);
        partitions.push(Shown {
            name: partition.name.clone(),
            guid: partition.guid.to_string(),
            type_guid: partition.type_guid.to_string(),
            offset: partition.offset,
            length: partition.length,
            content: content.with_context(|| format!("partition {:?}", partition.name))?,
        });
    }
    Ok(Some(Table { guid: found.guid.to_string(), sectors: found.sectors, partitions }))
}

fn content(
    disk: &ReadAt<'_>,
    partition: &Partition,
    all: &[Partition],
    wrong: &mut Vec<String>,
) -> anyhow::Result<Content> {
    let whose = format!("partition {:?}: ", partition.name);
    let bytes = within(disk, partition);
    let mut head = vec![0; usize::try_from(partition.length.min(BLOCK as u64))?];
    bytes(0, &mut head)?;
    if Superblock::recognise(&head) {
        return file_system(&bytes, partition.length, &whose, wrong).map(Content::Erofs);
    }
    if !head.starts_with(b"verity\0\0") {
        return Ok(Content::Unknown);
    }
    let superblock = match verity::Superblock::parse(&head) {
        Ok(superblock) => superblock,
        Err(error) => {
            wrong.push(format!("{whose}{error}"));
            return Ok(Content::Unknown);
        }
    };
    // The name says which data it belongs to; nothing in the superblock does.
    let data = partition.name.strip_suffix("-verity").and_then(|name| all.iter().find(|other| other.name == name));
    let mut tree = Tree {
        uuid: superblock.uuid.to_string(),
        salt: superblock.salt.to_string(),
        data_blocks: superblock.data_blocks,
        data: data.map(|data| data.name.clone()),
        root_sha256: None,
    };
    if let Some(data) = data {
        match root(disk, partition, data, &superblock)? {
            Ok(root) => tree.root_sha256 = Some(root),
            Err(what) => wrong.push(format!("{whose}{what}")),
        }
    }
    Ok(Content::Verity(tree))
}

/// The root of the data, computed from it, or why the stored tree is not the data's.
fn root(
    disk: &ReadAt<'_>,
    partition: &Partition,
    data: &Partition,
    superblock: &verity::Superblock,
) -> anyhow::Result<Result<VerityRoot, String>> {
    let fits = superblock.data_bytes().filter(|bytes| *bytes <= data.length);
    let Some(bytes) = fits else {
        let found = superblock.data_blocks;
        return Ok(Err(format!("it covers {found} blocks, but {:?} has {} bytes", data.name, data.length)));
    };
    let verity = match Verity::new(bytes, superblock.salt.clone()) {
        Ok(verity) => verity,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let needed = (verity.hash_blocks() + 1) * BLOCK as u64;
    if needed > partition.length {
        return Ok(Err(format!("the tree needs {needed} bytes, the partition has {}", partition.length)));
    }
    let (read_data, hash_area) = (within(disk, data), within(disk, partition));
    let read_tree = |at: u64, buffer: &mut [u8]| hash_area(at.saturating_add(BLOCK as u64), buffer);
    let differing = Mutex::new(Vec::new());
    let compare = |at: u64, computed: &[u8]| {
        let mut stored = [0; BLOCK];
        read_tree(at, &mut stored)?;
        if stored != computed {
            differing.lock().unwrap_or_else(PoisonError::into_inner).push(at / BLOCK as u64);
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let root = verity.format(threads, &read_data, &compare).context("computing the dm-verity tree")?;
    let differing = differing.into_inner().unwrap_or_else(PoisonError::into_inner);
    let not_that = |what: String| Ok(Err(format!("the tree is not that of {:?}: {what}", data.name)));
    match differing.as_slice() {
        [] => return Ok(Ok(root)),
        // Changed data changes a block on every level, so what differs alone has itself been changed.
        [block] if verity.hash_blocks() > 1 => return not_that(format!("hash block {block} differs (root {root})")),
        _ => {}
    }
    // Name the block, taking the tree's own top at its word.
    let mut top = [0; BLOCK];
    read_tree(0, &mut top)?;
    let claimed = VerityRoot(Sha256::of(&[superblock.salt.as_bytes(), &top].concat()));
    let first = verity.verify(claimed, threads, &read_data, &read_tree).context("checking the dm-verity tree")?;
    let first = first.map_or("blocks that nothing refers to".to_owned(), |mismatch| mismatch.to_string());
    not_that(format!("{first} differs (root stored {claimed}, computed {root})"))
}

/// The bytes of a partition, and no others.
fn within<'a>(disk: &'a ReadAt<'a>, partition: &Partition) -> impl Fn(u64, &mut [u8]) -> io::Result<()> + Sync + 'a {
    let (offset, length) = (partition.offset, partition.length);
    move |at, buffer| {
        let end = at.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > length) {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "beyond the partition's end"));
        }
        disk(offset + at, buffer)
    }
}
