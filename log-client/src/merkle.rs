//! Merkle trees (RFC 6962, section 2.1) and the verification of their proofs (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

use measure::Sha256;
use sha2::Digest as _;

/// Hashes of a proof that is read: one for each level that a tree can have.
pub const MAX_PROOF: usize = 63;

/// Why a proof does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MerkleError {
    /// There is no such entry.
    #[error("expected an index below the tree's size {size}, found {index}")]
    Index {
        /// The index.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The tree got smaller.
    #[error("expected a tree of at least {old} entries, found {new}")]
    Shrunk {
        /// Entries of the older tree.
        old: u64,
        /// Entries of the newer one.
        new: u64,
    },
    /// A proof between these sizes has another number of hashes.
    #[error("the proof has too many or too few hashes")]
    Length,
    /// The proof leads to another root.
    #[error("expected the root {expected}, found {found}")]
    Root {
        /// The root that was to be proved.
        expected: Sha256,
        /// Where the proof leads.
        found: Sha256,
    },
}

/// The hash of an entry.
pub fn leaf_hash(entry: &[u8]) -> Sha256 {
    Sha256::new(sha2::Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The hash of two neighbouring subtrees.
pub fn node_hash(left: &Sha256, right: &Sha256) -> Sha256 {
    let hash = sha2::Sha256::new().chain_update([1]).chain_update(left.as_bytes());
    Sha256::new(hash.chain_update(right.as_bytes()).finalize().into())
}

/// The root of the tree without entries.
pub fn empty_root() -> Sha256 {
    Sha256::of(&[])
}

/// Checks that the entry with the hash `leaf` is at `index` of the tree with this size and root.
pub fn verify_inclusion(
    leaf: &Sha256,
    index: u64,
    size: u64,
    root: &Sha256,
    proof: &[Sha256],
) -> Result<(), MerkleError> {
    let last = size.checked_sub(1).filter(|last| index <= *last).ok_or(MerkleError::Index { index, size })?;
    let mut path = Path { node: index, last };
    let mut found = *leaf;
    for sibling in proof {
        found = match path.step()? {
            Sibling::Left => node_hash(sibling, &found),
            Sibling::Right => node_hash(&found, sibling),
        };
    }
    path.ends_at(found, root)
}

/// The root of the tree in which the entry with the hash `leaf` is at `index`, with this proof under a tree of `size`
/// entries, and the entries with the hashes `behind` follow it. No more is taken from the proof than what is to the left.
///
/// # Errors
/// When the proof is not one of that index and size.
pub fn root_with_tail(
    leaf: &Sha256,
    (index, size): (u64, u64),
    proof: &[Sha256],
    behind: impl Iterator<Item = Sha256>,
) -> Result<Sha256, MerkleError> {
    let last = size.checked_sub(1).filter(|last| index <= *last).ok_or(MerkleError::Index { index, size })?;
    let mut path = Path { node: index, last };
    // Perfect subtrees from the smallest to the largest, which together are all that is to the left of the next entry.
    let mut left = Vec::new();
    for sibling in proof {
        if matches!(path.step()?, Sibling::Left) {
            left.push(*sibling);
        }
    }
    if path.last != 0 || left.len() != index.count_ones() as usize {
        return Err(MerkleError::Length);
    }
    left.reverse();
    for (hash, at) in std::iter::once(*leaf).chain(behind).zip(index..) {
        let mut hash = hash;
        for _ in 0..at.trailing_ones() {
            hash = left.pop().map_or(hash, |left| node_hash(&left, &hash));
        }
        left.push(hash);
    }
    Ok(left.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}

/// Checks that the tree of `new.0` entries and the root `new.1` begins with all of the tree `old`.
pub fn verify_consistency(old: (u64, &Sha256), new: (u64, &Sha256), proof: &[Sha256]) -> Result<(), MerkleError> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    let same = |expected: &Sha256, found: Sha256| match *expected == found {
        true => Ok(()),
        false => Err(MerkleError::Root { expected: *expected, found }),
    };
    if old_size > new_size {
        return Err(MerkleError::Shrunk { old: old_size, new: new_size });
    }
    if old_size == 0 || old_size == new_size {
        return match proof {
            [] if old_size == new_size => same(old_root, *new_root),
            [] => same(old_root, empty_root()),
            _ => Err(MerkleError::Length),
        };
    }
    let mut path = Path { node: old_size.saturating_sub(1), last: new_size.saturating_sub(1) };
    while path.node & 1 == 1 {
        path.up();
    }
    // A tree whose size is a power of two is itself the first subtree.
    let (first, rest) = match old_size.is_power_of_two() {
        true => (old_root, proof),
        false => proof.split_first().ok_or(MerkleError::Length)?,
    };
    let (mut found_old, mut found_new) = (*first, *first);
    for sibling in rest {
        match path.step()? {
            Sibling::Left => {
                found_old = node_hash(sibling, &found_old);
                found_new = node_hash(sibling, &found_new);
            }
            Sibling::Right => found_new = node_hash(&found_new, sibling),
        }
    }
    path.ends_at(found_new, new_root)?;
    same(old_root, found_old)
}

/// On which side the next hash of a proof is.
enum Sibling {
    Left,
    Right,
}

/// The way from a node up to the root: its index on its level, and the last index of that level.
struct Path {
    node: u64,
    last: u64,
}

impl Path {
    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    /// Climbs to the next node that has a sibling, and on to their parent.
    fn step(&mut self) -> Result<Sibling, MerkleError> {
        if self.last == 0 {
            return Err(MerkleError::Length);
        }
        let sibling = if self.node & 1 == 1 || self.node == self.last { Sibling::Left } else { Sibling::Right };
        // A last node without sibling is its own parent.
        while matches!(sibling, Sibling::Left) && self.node & 1 == 0 && self.node != 0 {
            self.up();
        }
        self.up();
        Ok(sibling)
    }

    fn ends_at(&self, found: Sha256, expected: &Sha256) -> Result<(), MerkleError> {
        match self.last {
            0 if found == *expected => Ok(()),
            0 => Err(MerkleError::Root { expected: *expected, found }),
            _ => Err(MerkleError::Length),
        }
    }
}

#[cfg(test)]
mod tests;
