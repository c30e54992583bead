//! Lists every path of an uncompressed image.

use super::Superblock;
use crate::formats::bytes::{At as _, Corrupt, ReadAt, Unsupported};
use crate::formats::hash;
use crate::formats::listing::{Entry, Kind, Listing, MAX_PATH, Pieces, Place, TreePath};
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};

/// Most paths listed.
const MAX_PATHS: usize = 1_000_000;
/// Largest directory, in bytes.
const MAX_DIRECTORY: u64 = 64 << 20;
/// Bytes of a directory entry before its name.
const DIRENT: usize = 12;
/// Bytes between two inode numbers.
const SLOT: u64 = 32;
/// A chunk of a file that has no block: a hole.
const HOLE: u32 = u32::MAX;
/// Incompatible features that change nothing for what can be read here: zero padding of compressed data, chunk-based
/// files, prefixes of extended attributes.
const KNOWN: u32 = 0x1 | 0x4 | 0x40;
/// The other incompatible features and what they are.
const UNSUPPORTED: [(u32, &str); 6] = [
    (0x2, "compression settings or big clusters"),
    (0x8, "several devices"),
    (0x10, "compressed tails"),
    (0x20, "fragments or deduplication"),
    (0x80, "48-bit block numbers"),
    (0x100, "a separate metadata area"),
];

/// Reads the whole image: every path with its content's digest. What is not uncompressed is refused by name.
///
/// The work is bounded by the image's length: each inode's content is read once, and all contents together may not
/// claim more than the image holds.
pub fn list(image: &ReadAt<'_>, superblock: &Superblock) -> anyhow::Result<Listing> {
    let entries = superblock.paths(image)?.into_iter().map(|(entry, _place)| entry).collect();
    Ok(Listing::new(entries)?)
}

impl Superblock {
    /// Every path of the image as [`list`] reads it, and what a listing leaves out. In no order.
    ///
    /// # Errors
    /// When the image cannot be read or is not uncompressed.
    pub fn paths(&self, image: &ReadAt<'_>) -> anyhow::Result<Vec<(Entry, Place)>> {
        let features = self.incompatible & !KNOWN;
        if let Some((_, what)) = UNSUPPORTED.iter().find(|(bit, _)| features & bit != 0) {
            bail!(Unsupported(format!("the image uses {what}")));
        }
        ensure!(features == 0, Unsupported(format!("the image uses the unknown features {features:#x}")));
        let length = self.block * u64::from(self.blocks);
        let mut reader = Reader {
            image,
            superblock: self,
            length,
            budget: length,
            directories: BTreeSet::new(),
            files: BTreeMap::new(),
        };
        let mut entries = Vec::new();
        let mut todo = vec![(TreePath::ROOT, self.root, None)];
        while let Some((path, number, parent)) = todo.pop() {
            ensure!(entries.len() + todo.len() < MAX_PATHS, "more than {MAX_PATHS} paths");
            let inode = reader.inode(number).with_context(|| format!("inode {number} of {path}"))?;
            let (kind, pieces) = reader.kind(&inode).with_context(|| format!("reading {path} (inode {number})"))?;
            ensure!(path != TreePath::ROOT || kind == Kind::Directory, "the root is not a directory");
            if kind == Kind::Directory {
                let children = reader.directory(&inode, parent.unwrap_or(number));
                for (name, child) in children.with_context(|| format!("reading directory {path}"))? {
                    todo.push((path.join(&name)?, child, Some(number)));
                }
            }
            let place = Place { number, time: inode.time, pieces };
            entries.push((Entry { path, kind, mode: inode.mode & 0o7777, uid: inode.uid, gid: inode.gid }, place));
        }
        Ok(entries)
    }
}

struct Reader<'a> {
    image: &'a ReadAt<'a>,
    superblock: &'a Superblock,
    length: u64,
    /// Bytes of content that may still be read.
    budget: u64,
    directories: BTreeSet<u64>,
    /// Files by inode number, so that a hard link costs nothing.
    files: BTreeMap<u64, (Kind, Pieces)>,
}

struct Inode {
    number: u64,
    mode: u16,
    uid: u32,
    gid: u32,
    size: u64,
    /// Seconds since 1970.
    time: u64,
    layout: u16,
    /// First block, device number or chunk format.
    start: u32,
    /// Where what follows the inode and its extended attributes is: a tail or chunk table.
    tail: u64,
}

impl Reader<'_> {
    fn bytes(&self, at: u64, length: usize) -> anyhow::Result<Vec<u8>> {
        let end = at.checked_add(length as u64).filter(|end| *end <= self.length);
        ensure!(end.is_some(), "bytes {at} and {length} more are not in the image of {} bytes", self.length);
        let mut bytes = vec![0; length];
        (self.image)(at, &mut bytes).with_context(|| format!("reading {length} bytes at {at}"))?;
        Ok(bytes)
    }

    fn inode(&self, number: u64) -> anyhow::Result<Inode> {
        let at = number.checked_mul(SLOT).and_then(|at| at.checked_add(self.superblock.inode_area));
        let at = at.context("the inode number is out of range")?;
        let head = self.bytes(at, 32)?;
        let format = head.u16(0)?;
        let extended = format & 1 == 1;
        ensure!(format >> 4 == 0, "unknown inode format {format:#x}");
        let attributes = match u64::from(head.u16(2)?) {
            0 => 0,
            count => 12 + (count - 1) * 4,
        };
        let (size, uid, gid, time) = if extended {
            let rest = self.bytes(at, 64)?;
            (rest.u64(8)?, rest.u32(24)?, rest.u32(28)?, rest.u64(32)?)
        } else {
            (head.u32(8)?.into(), head.u16(24)?.into(), head.u16(26)?.into(), self.superblock.time)
        };
        let tail = at + if extended { 64 } else { 32 } + attributes;
        Ok(Inode { number, mode: head.u16(4)?, uid, gid, size, time, layout: format >> 1, start: head.u32(16)?, tail })
    }

    /// What the inode is, and where a file's bytes are.
    fn kind(&mut self, inode: &Inode) -> anyhow::Result<(Kind, Pieces)> {
        // Linux's new_decode_dev.
        let (major, minor) = (inode.start >> 8 & 0xfff, inode.start & 0xff | inode.start >> 12 & 0xfff00);
        let kind = match inode.mode >> 12 {
            0o10 => {
                if let Some(known) = self.files.get(&inode.number) {
                    return Ok(known.clone());
                }
                let mut content = self.content(inode)?;
                let pieces = content.pieces.iter().rev().copied().collect();
                let (size, sha256) = hash::copy(&mut content, &mut io::sink())?;
                let found = (Kind::File { size, sha256 }, pieces);
                self.files.insert(inode.number, found.clone());
                return Ok(found);
            }
            0o04 => Kind::Directory,
            0o12 => {
                ensure!((1..=MAX_PATH as u64).contains(&inode.size), "a link of {} bytes", inode.size);
                let mut target = Vec::new();
                self.content(inode)?.read_to_end(&mut target)?;
                Kind::Symlink { target }
            }
            0o02 => Kind::CharacterDevice { major, minor },
            0o06 => Kind::BlockDevice { major, minor },
            0o01 => Kind::Fifo,
            0o14 => Kind::Socket,
            other => bail!("unknown file type {other:o}"),
        };
        Ok((kind, Vec::new()))
    }

    /// Names and inode numbers of a directory's entries, `.` and `..` checked and left out.
    fn directory(&mut self, inode: &Inode, parent: u64) -> anyhow::Result<Vec<(Vec<u8>, u64)>> {
        if !self.directories.insert(inode.number) {
            return Err(Corrupt::new("the directory is in two places").into());
        }
        ensure!(inode.size <= MAX_DIRECTORY, "a directory of {} bytes, at most {MAX_DIRECTORY} are read", inode.size);
        let mut bytes = Vec::new();
        self.content(inode)?.read_to_end(&mut bytes)?;
        let mut children = Vec::new();
        for block in bytes.chunks(usize::try_from(self.superblock.block)?) {
            // The first name starts where the table of entries ends.
            let table = usize::from(block.u16(8)?);
            ensure!(
                table >= DIRENT && table.is_multiple_of(DIRENT),
                "a table of {table} bytes, expected a multiple of {DIRENT}"
            );
            let table = block.get(..table).context("the table exceeds its block")?;
            let mut entries = table.chunks(DIRENT).peekable();
            while let Some(entry) = entries.next() {
                let start = usize::from(entry.u16(8)?);
                let end = entries.peek().map_or(Ok(block.len()), |next| next.u16(8).map(usize::from))?;
                let name = block.get(start..end).context("a name outside its block")?;
                // Only the last name of a block is followed by zeros.
                let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
                let number = entry.u64(0)?;
                match name {
                    b"." => Corrupt::unless_equal("the inode of `.`", number, inode.number)?,
                    b".." => Corrupt::unless_equal("the inode of `..`", number, parent)?,
                    name => children.push((name.to_vec(), number)),
                }
            }
        }
        Ok(children)
    }

    /// The bytes of a file, link or directory.
    fn content(&mut self, inode: &Inode) -> anyhow::Result<Content<'_>> {
        let block = self.superblock.block;
        let in_blocks = inode.size.div_ceil(block);
        // Pieces of the image, `None` for a hole, and their lengths.
        let mut pieces = Vec::new();
        match inode.layout {
            0 => pieces.push((Some(u64::from(inode.start) * block), inode.size)),
            2 => {
                let whole = in_blocks.saturating_sub(1) * block;
                let tail = inode.size - whole;
                ensure!(inode.tail % block + tail <= block, "the tail crosses the end of a block");
                pieces.push((Some(u64::from(inode.start) * block), whole));
                pieces.push((Some(inode.tail), tail));
            }
            4 => {
                let (bits, indexed) = (inode.start & 0x1f, inode.start & 0x20 != 0);
                ensure!(inode.start & !0x3f == 0, "unknown chunk format {:#x}", inode.start);
                let chunk = block << bits;
                let (entry, field) = if indexed { (8, 4) } else { (4, 0) };
                let count = usize::try_from(inode.size.div_ceil(chunk))?;
                ensure!(count as u64 * entry <= self.length, "a table of {count} chunks is larger than the image");
                // Entries are aligned to their size.
                let table = self.bytes(inode.tail.next_multiple_of(entry), count * entry as usize)?;
                let mut left = inode.size;
                for chunk_entry in table.chunks(entry as usize) {
                    let start = chunk_entry.u32(field)?;
                    let length = left.min(chunk);
                    pieces.push(((start != HOLE).then_some(u64::from(start) * block), length));
                    left -= length;
                }
            }
            1 | 3 => bail!(Unsupported("it is compressed".to_owned())),
            other => bail!("unknown data layout {other}"),
        }
        pieces.retain(|(_, length)| *length > 0);
        for (at, length) in &pieces {
            let end = at.map_or(Some(0), |at| at.checked_add(*length));
            let inside = end.is_some_and(|end| end <= self.length);
            ensure!(inside, "its {length} bytes at {} are not in the image of {} bytes", at.unwrap_or(0), self.length);
            // Holes count as well: hashing zeros is work too.
            self.budget =
                self.budget.checked_sub(*length).ok_or_else(|| Unsupported("files that share data".to_owned()))?;
        }
        pieces.reverse();
        Ok(Content { image: self.image, pieces })
    }
}

/// Reads pieces of an image, the last one first.
struct Content<'a> {
    image: &'a ReadAt<'a>,
    pieces: Pieces,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((at, left)) = self.pieces.last_mut() else { return Ok(0) };
        let length = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        match at {
            Some(at) => {
                (self.image)(*at, buffer)?;
                *at += length as u64;
            }
            None => buffer.fill(0),
        }
        *left -= length as u64;
        if *left == 0 {
            self.pieces.pop();
        }
        Ok(length)
    }
}
