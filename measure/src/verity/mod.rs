//! dm-verity: hash type 1, SHA-256, data and hash blocks of 4096 bytes.
//!
//! Roots and trees are byte-identical to those of `veritysetup format`; see "dm-verity parameters" in
//! `docs/formats.md`. A tree lies in the hash area, root first: the one block of the highest level, then each level
//! below it. Offsets given to callbacks count from the first hash block; a superblock, if there is one, stands
//! before it and the caller adds its size.

mod hasher;
mod superblock;
mod units;

pub use superblock::{Superblock, SuperblockError};

use crate::digest::{Digest, Hex, ParseDigestError, Sha256, bytes_from_hex, digest_newtype};
use core::fmt;
use core::num::NonZeroUsize;
use core::str::FromStr;
use hasher::Hasher;
use std::io;

/// Bytes in a data block and in a hash block.
pub const BLOCK: usize = 4096;
const BLOCK_BYTES: u64 = BLOCK as u64;
/// Digests in a hash block.
const FANOUT: usize = BLOCK / 32;
const FANOUT_BLOCKS: u64 = FANOUT as u64;
/// Largest data device, in blocks: 4 TiB. Working memory is one digest per 128 data blocks, so 256 MiB there.
pub const MAX_DATA_BLOCKS: u64 = 1 << 30;
/// Largest salt, in bytes: the superblock has room for no more.
pub const MAX_SALT: usize = 256;

digest_newtype! {
    /// The digest of the topmost block, from which every byte of the data follows.
    VerityRoot(Sha256)
}

/// Bytes hashed before each block, 0 to [`MAX_SALT`] of them. Its text form is hexadecimal, `-` if it is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salt(Vec<u8>);

impl Salt {
    /// The salt with these bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, SaltError> {
        if bytes.len() > MAX_SALT {
            return Err(SaltError::Length { found: bytes.len() });
        }
        Ok(Self(bytes.to_vec()))
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Salt {
    type Err = SaltError;

    fn from_str(text: &str) -> Result<Self, SaltError> {
        match text {
            "-" => Self::new(&[]),
            // One text per salt: the empty one is written `-` only.
            "" => Err(SaltError::Empty),
            digits => Self::new(&bytes_from_hex(digits)?),
        }
    }
}

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("-") } else { fmt::Display::fmt(&Hex(&self.0), f) }
    }
}

/// Why something is not a salt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SaltError {
    /// Too long.
    #[error("expected a salt of at most {MAX_SALT} bytes, found {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// No text.
    #[error("expected hexadecimal digits or `-` for no salt, found nothing")]
    Empty,
    /// Not hexadecimal.
    #[error(transparent)]
    Hex(#[from] ParseDigestError),
}

/// Why a tree could not be computed or checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerityError {
    /// The data is not a positive whole number of blocks.
    #[error("expected data of a positive multiple of {BLOCK} bytes, found {found} bytes")]
    DataSize {
        /// Bytes found.
        found: u64,
    },
    /// The data has more than [`MAX_DATA_BLOCKS`].
    #[error("expected at most {MAX_DATA_BLOCKS} data blocks, found {found}")]
    TooManyBlocks {
        /// Blocks found.
        found: u64,
    },
    /// Reading data failed.
    #[error("reading {length} bytes of data at byte {offset}")]
    ReadData {
        /// Where, in bytes.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// Why.
        source: io::Error,
    },
    /// Reading a stored hash block failed.
    #[error("reading the hash block at byte {offset} of the tree")]
    ReadTree {
        /// Where, in bytes from the first hash block.
        offset: u64,
        /// Why.
        source: io::Error,
    },
    /// Writing a hash block failed.
    #[error("writing the hash block at byte {offset} of the tree")]
    WriteTree {
        /// Where, in bytes from the first hash block.
        offset: u64,
        /// Why.
        source: io::Error,
    },
}

/// Fills the buffer with the bytes at an offset, or fails; called from several threads at once.
pub type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> io::Result<()> + Sync + 'a;
/// Writes a hash block at an offset; called from several threads at once, each offset exactly once.
pub type WriteAt<'a> = dyn Fn(u64, &[u8]) -> io::Result<()> + Sync + 'a;

/// The first block that does not match, from the root down and then in data order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// A stored hash block is not what the block above it (or the root) says.
    Hash {
        /// Its level: 0 holds digests of data blocks.
        level: usize,
        /// Its number, from 0 at the first hash block of the tree.
        block: u64,
    },
    /// A data block is not what its hash block (or the root) says.
    Data {
        /// Its number, from 0.
        block: u64,
    },
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash { level, block } => write!(f, "hash block {block} (level {level})"),
            Self::Data { block } => write!(f, "data block {block}"),
        }
    }
}

/// What determines a tree besides the data: size and salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verity {
    data_blocks: u64,
    salt: Salt,
    /// Level 0 first.
    levels: Vec<Level>,
}

/// The hash blocks of one level, numbered from the first block of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    start: u64,
    blocks: u64,
}

impl Level {
    /// Byte offset in the tree of this level's block `index`.
    fn offset(self, index: u64) -> u64 {
        self.start.saturating_add(index).saturating_mul(BLOCK_BYTES)
    }
}

impl Verity {
    /// The tree over `data_bytes` bytes. A partial last block is an error: `veritysetup` would leave it unprotected.
    pub fn new(data_bytes: u64, salt: Salt) -> Result<Self, VerityError> {
        let data_blocks = data_bytes / BLOCK_BYTES;
        if data_blocks == 0 || !data_bytes.is_multiple_of(BLOCK_BYTES) {
            return Err(VerityError::DataSize { found: data_bytes });
        }
        if data_blocks > MAX_DATA_BLOCKS {
            return Err(VerityError::TooManyBlocks { found: data_blocks });
        }
        let mut levels = Vec::new();
        let mut blocks = data_blocks;
        while blocks > 1 {
            blocks = blocks.div_ceil(FANOUT_BLOCKS);
            levels.push(Level { start: 0, blocks });
        }
        let mut start = 0_u64;
        for level in levels.iter_mut().rev() {
            level.start = start;
            start = start.saturating_add(level.blocks);
        }
        Ok(Self { data_blocks, salt, levels })
    }

    /// Number of data blocks.
    pub fn data_blocks(&self) -> u64 {
        self.data_blocks
    }

    /// The salt.
    pub fn salt(&self) -> &Salt {
        &self.salt
    }

    /// Number of hash blocks, a superblock not counted: 0 if there is only one data block.
    pub fn hash_blocks(&self) -> u64 {
        self.levels.iter().map(|level| level.blocks).sum()
    }

    /// Computes the tree over the data that `read` gives, passes every hash block to `write`, and gives the root.
    pub fn format(
        &self,
        threads: NonZeroUsize,
        read: &ReadAt<'_>,
        write: &WriteAt<'_>,
    ) -> Result<VerityRoot, VerityError> {
        let write_block = |level: Level, index, block: &[u8; BLOCK]| {
            let offset = level.offset(index);
            write(offset, block).map_err(|source| VerityError::WriteTree { offset, source })
        };
        let hasher = Hasher::new(&self.salt);
        let Some((&bottom, upper)) = self.levels.split_first() else {
            return self.only_data_block(&hasher, read).map(VerityRoot);
        };
        // Level 0 is written as it is computed; only the digests of its blocks are kept.
        let mut digests = units::run(bottom.blocks, threads, |unit, buffer| {
            let block = pack(&self.unit_digests(unit, &hasher, read, buffer)?);
            write_block(bottom, unit, &block)?;
            Ok(hasher.digest(&block))
        })?;
        for &level in upper {
            let blocks = digests.chunks(FANOUT).map(pack);
            digests = (0..level.blocks)
                .zip(blocks)
                .map(|(index, block)| {
                    write_block(level, index, &block)?;
                    Ok(hasher.digest(&block))
                })
                .collect::<Result<_, VerityError>>()?;
        }
        let root = digests.first().expect("the highest level has exactly one block");
        Ok(VerityRoot(*root))
    }

    /// Checks a stored tree and the data against `root`, as the kernel would, block by block from the root down.
    /// `None` means that every block matches.
    pub fn verify(
        &self,
        root: VerityRoot,
        threads: NonZeroUsize,
        read: &ReadAt<'_>,
        read_tree: &ReadAt<'_>,
    ) -> Result<Option<Mismatch>, VerityError> {
        let hasher = Hasher::new(&self.salt);
        // The stored block if it has the expected digest.
        let stored = |level: Level, index, expected: &Sha256| -> Result<Option<[u8; BLOCK]>, VerityError> {
            let (offset, mut block) = (level.offset(index), [0; BLOCK]);
            read_tree(offset, &mut block).map_err(|source| VerityError::ReadTree { offset, source })?;
            Ok((hasher.digest(&block) == *expected).then_some(block))
        };
        let mut expected = vec![root.0];
        let Some((&bottom, upper)) = self.levels.split_first() else {
            let matches = self.only_data_block(&hasher, read)? == root.0;
            return Ok((!matches).then_some(Mismatch::Data { block: 0 }));
        };
        for (level, &place) in upper.iter().enumerate().rev() {
            let mut below = Vec::new();
            for (index, digest) in (0..place.blocks).zip(&expected) {
                let Some(block) = stored(place, index, digest)? else {
                    let block = place.start.saturating_add(index);
                    return Ok(Some(Mismatch::Hash { level: level.saturating_add(1), block }));
                };
                below.extend(unpack(&block));
            }
            expected = below;
        }
        let mismatches = units::run(bottom.blocks, threads, |unit, buffer| {
            let digest = usize::try_from(unit).ok().and_then(|unit| expected.get(unit));
            let block = digest.map(|digest| stored(bottom, unit, digest)).transpose()?.flatten();
            let Some(block) = block else {
                return Ok(Some(Mismatch::Hash { level: 0, block: bottom.start.saturating_add(unit) }));
            };
            let found = self.unit_digests(unit, &hasher, read, buffer)?;
            let wrong = (unit.saturating_mul(FANOUT_BLOCKS)..)
                .zip(found.iter().zip(unpack(&block)))
                .find(|(_, (found, expected))| *found != expected);
            Ok(wrong.map(|(block, _)| Mismatch::Data { block }))
        })?;
        Ok(mismatches.into_iter().flatten().next())
    }

    /// The digest of the data if it is a single block: then it is the root and there is no tree.
    fn only_data_block(&self, hasher: &Hasher, read: &ReadAt<'_>) -> Result<Sha256, VerityError> {
        let mut block = [0; BLOCK];
        read(0, &mut block).map_err(|source| VerityError::ReadData { offset: 0, length: BLOCK, source })?;
        Ok(hasher.digest(&block))
    }

    /// The digests of the data blocks that the hash block `unit` of level 0 covers.
    fn unit_digests(
        &self,
        unit: u64,
        hasher: &Hasher,
        read: &ReadAt<'_>,
        buffer: &mut [u8],
    ) -> Result<Vec<Sha256>, VerityError> {
        let mut digests = Vec::with_capacity(FANOUT);
        let mut offset = unit.saturating_mul(FANOUT_BLOCKS).saturating_mul(BLOCK_BYTES);
        let end = self.data_blocks.saturating_mul(BLOCK_BYTES);
        while digests.len() < FANOUT && offset < end {
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            let length = left.min(buffer.len());
            let chunk = buffer.get_mut(..length).unwrap_or_default();
            read(offset, chunk).map_err(|source| VerityError::ReadData { offset, length, source })?;
            digests.extend(hasher.digests(chunk));
            offset = offset.saturating_add(length as u64);
        }
        Ok(digests)
    }
}

/// The hash block with these digests, zeros after them.
fn pack(digests: &[Sha256]) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    for (slot, digest) in block.chunks_exact_mut(32).zip(digests) {
        slot.copy_from_slice(digest.as_bytes());
    }
    block
}

/// All digests in a hash block, the zeros at its end included.
fn unpack(block: &[u8; BLOCK]) -> impl Iterator<Item = Sha256> {
    block.as_chunks::<32>().0.iter().map(|bytes| Digest::new(*bytes))
}
