//! The tree in its tiles: growing it at its right edge, and finding roots and proofs in it.
//!
//! Tiles come from a function of the caller, who decides what an absent or wrong one means.

use crate::merkle::{empty_root, node_hash};
use crate::tile::{HEIGHT, Level, Tile, WIDTH};
use measure::Sha256;
use std::collections::BTreeMap;

/// The hashes that a tree needs to grow: those of its tiles that are not full. Less than 8 KiB for each level of tiles,
/// of which a tree of a million entries has three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RightEdge {
    size: u64,
    /// Level by level, fewer than 256 hashes each.
    levels: Vec<Vec<Sha256>>,
}

impl RightEdge {
    /// The tree without entries.
    pub fn empty() -> Self {
        Self { size: 0, levels: Vec::new() }
    }

    /// The edge of a tree of `size` entries, at most 2^63 - 1.
    pub fn read<E>(size: u64, mut read: impl FnMut(Tile) -> Result<Vec<Sha256>, E>) -> Result<Self, E> {
        let mut levels = Vec::new();
        let partial: BTreeMap<_, _> = Tile::partial(size).map(|tile| (tile.level(), tile)).collect();
        for level in (0..).take_while(|level| size.checked_shr(u32::from(*level) * HEIGHT).is_some_and(|left| left > 0))
        {
            levels.push(match partial.get(&Level::Hashes(level)) {
                Some(tile) => read(*tile)?,
                None => Vec::new(),
            });
        }
        Ok(Self { size, levels })
    }

    /// Entries in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Adds an entry by its hash. `full` is called for each tile that this completes, from level 0 upwards.
    pub fn push<E>(&mut self, leaf: Sha256, mut full: impl FnMut(Tile, &[Sha256]) -> Result<(), E>) -> Result<(), E> {
        self.size = self.size.saturating_add(1);
        let mut carry = Some(leaf);
        for level in 0.. {
            let Some(hash) = carry.take() else { break };
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::new());
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else { break };
            hashes.push(hash);
            if hashes.len() as u64 == WIDTH {
                let last = (self.size >> (u32::from(level) * HEIGHT)).saturating_sub(1) / WIDTH;
                if let Some(tile) = Tile::in_tree(Level::Hashes(level), last, self.size) {
                    full(tile, hashes)?;
                }
                carry = Some(perfect(hashes));
                hashes.clear();
            }
        }
        Ok(())
    }

    /// The tiles that are not full, with their hashes.
    pub fn partial(&self) -> impl Iterator<Item = (Tile, &[Sha256])> {
        Tile::partial(self.size).zip(self.levels.iter().filter(|hashes| !hashes.is_empty()).map(Vec::as_slice))
    }

    /// The root of the tree.
    #[expect(clippy::arithmetic_side_effects, reason = "the lowest bit of a number is not above it")]
    pub fn root(&self) -> Sha256 {
        let mut root = None;
        for hashes in &self.levels {
            let mut rest = hashes.as_slice();
            while !rest.is_empty() {
                // The smallest of the perfect trees that are left is the last.
                let (left, last) = rest.split_at(rest.len() - (1 << rest.len().trailing_zeros()));
                let last = perfect(last);
                root = Some(root.map_or(last, |right| node_hash(&last, &right)));
                rest = left;
            }
        }
        root.unwrap_or_else(empty_root)
    }
}

/// The root of a tree whose number of leaves is a power of two.
fn perfect(hashes: &[Sha256]) -> Sha256 {
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// A tree of `size` entries whose tiles `read` gives. Each tile is asked for once.
pub struct Tiles<R> {
    size: u64,
    read: R,
    seen: BTreeMap<Tile, Vec<Sha256>>,
}

#[expect(clippy::arithmetic_side_effects, reason = "every sum is at most the tree's size")]
impl<E, R: FnMut(Tile) -> Result<Vec<Sha256>, E>> Tiles<R> {
    /// A tree of `size` entries, at most 2^63 - 1. `read` gives as many hashes as the tile is wide.
    pub fn new(size: u64, read: R) -> Self {
        Self { size: size.min(i64::MAX as u64), read, seen: BTreeMap::new() }
    }

    /// The root of the tree's first `size` entries, at most as many as it has.
    pub fn root(&mut self, size: u64) -> Result<Sha256, E> {
        self.hash(0, size.min(self.size))
    }

    /// The hashes that prove that an entry, with an index below `size`, is in the tree of the first `size`
    /// (RFC 6962, section 2.1.1).
    pub fn inclusion(&mut self, index: u64, size: u64) -> Result<Vec<Sha256>, E> {
        let (mut from, mut to) = (0, size.min(self.size));
        let mut proof = Vec::new();
        while to.saturating_sub(from) > 1 {
            let middle = from + split(to - from);
            if index < middle {
                proof.push(self.hash(middle, to)?);
                to = middle;
            } else {
                proof.push(self.hash(from, middle)?);
                from = middle;
            }
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hashes that prove that the tree of the first `new` entries begins with that of the first `old`, at most
    /// `new` (RFC 6962, section 2.1.2).
    pub fn consistency(&mut self, old: u64, new: u64) -> Result<Vec<Sha256>, E> {
        let (mut from, mut to) = (0, new.min(self.size));
        let mut proof = Vec::new();
        if old == 0 || old >= to {
            return Ok(proof);
        }
        while old < to {
            let middle = from + split(to - from);
            if old <= middle {
                proof.push(self.hash(middle, to)?);
                to = middle;
            } else {
                proof.push(self.hash(from, middle)?);
                from = middle;
            }
        }
        // The old tree is the whole left side: the verifier has its root.
        if from > 0 {
            proof.push(self.hash(from, to)?);
        }
        proof.reverse();
        Ok(proof)
    }

    /// The hash of the entries `from..to`, a subtree as RFC 6962 splits them.
    fn hash(&mut self, from: u64, to: u64) -> Result<Sha256, E> {
        let mut subtrees = Vec::new();
        let mut at = from;
        while at < to {
            let height = (to - at).ilog2();
            subtrees.push(self.perfect(height, at >> height)?);
            at += 1 << height;
        }
        Ok(subtrees.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
    }

    /// The hash of the `index`-th subtree of 2^`height` entries.
    fn perfect(&mut self, height: u32, index: u64) -> Result<Sha256, E> {
        let (level, rows) = (height / HEIGHT, height % HEIGHT);
        let first = index << rows;
        let Some(tile) = Tile::in_tree(Level::Hashes(level as u8), first / WIDTH, self.size) else {
            return Ok(empty_root());
        };
        let hashes = match self.seen.entry(tile) {
            std::collections::btree_map::Entry::Occupied(seen) => seen.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert((self.read)(tile)?),
        };
        let from = (first % WIDTH) as usize;
        Ok(hashes.get(from..from + (1 << rows)).map_or_else(empty_root, perfect))
    }
}

/// The largest power of two below `size`, which is at least 2: entries of a tree's left side.
#[expect(clippy::arithmetic_side_effects, reason = "the size is at least 2")]
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

#[cfg(test)]
mod tests;
