use super::*;
use crate::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use std::convert::Infallible;

/// The tree of the entries 0, 1, 2... as text at these sizes, in order: its tiles and its roots by size.
fn grown(sizes: &[u64]) -> (BTreeMap<Tile, Vec<Sha256>>, BTreeMap<u64, Sha256>) {
    let (mut tiles, mut roots) = (BTreeMap::new(), BTreeMap::new());
    let mut edge = RightEdge::empty();
    for size in sizes {
        for entry in edge.size()..*size {
            let keep = |tile: Tile, hashes: &[Sha256]| {
                assert!(tiles.insert(tile, hashes.to_vec()).is_none(), "{tile} twice");
                Ok::<_, Infallible>(())
            };
            edge.push(leaf_hash(entry.to_string().as_bytes()), keep).unwrap();
        }
        roots.insert(*size, edge.root());
        tiles.extend(edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
    }
    (tiles, roots)
}

#[test]
fn an_edge_that_is_read_is_the_one_that_was_grown() {
    let (tiles, roots) = grown(&Vec::from_iter(0..700));
    for (size, root) in roots {
        let edge = RightEdge::read(size, |tile| tiles.get(&tile).cloned().ok_or(tile)).unwrap();
        assert_eq!((edge.size(), edge.root()), (size, root));
    }
    assert_eq!(RightEdge::read(5, |_| Err::<_, &str>("absent")), Err("absent"));
}

#[test]
fn proofs_from_tiles_hold() {
    let sizes = [1, 2, 3, 128, 255, 256, 257, 511, 512, 513, 65_535, 65_536, 65_537, 66_000];
    let (tiles, roots) = grown(&sizes);
    let mut asked = 0;
    for size in sizes {
        let mut tree = Tiles::new(size, |tile| {
            asked += 1;
            tiles.get(&tile).cloned().ok_or(tile)
        });
        let root = roots[&size];
        assert_eq!(tree.root(size), Ok(root));
        for index in [0, 1, 200, 255, 256, 300, 65_535, 65_536, size - 1].into_iter().filter(|index| *index < size) {
            let proof = tree.inclusion(index, size).unwrap();
            let leaf = leaf_hash(index.to_string().as_bytes());
            assert_eq!(verify_inclusion(&leaf, index, size, &root, &proof), Ok(()), "{index} of {size}");
        }
        for old in sizes.into_iter().filter(|old| *old <= size) {
            let proof = tree.consistency(old, size).unwrap();
            let known = (old, &roots[&old]);
            assert_eq!(verify_consistency(known, (size, &root), &proof), Ok(()), "{old} to {size}");
            assert_eq!(tree.root(old), Ok(roots[&old]));
        }
    }
    assert!(asked < 14 * 12, "{asked} tiles read");
}
