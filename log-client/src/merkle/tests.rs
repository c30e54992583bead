use super::*;

/// Roots of the trees of 1 to 8 entries that RFC 6962's reference test uses, and proofs in them, as published with
/// certificate-transparency's Merkle tests.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn root(size: usize) -> Sha256 {
    ROOTS[size - 1].parse().unwrap()
}

/// The definitions of RFC 6962, sections 2.1 to 2.1.2, word for word: slow and obvious.
mod definition {
    use super::*;

    fn split(size: usize) -> usize {
        size.next_power_of_two() / 2
    }

    pub(crate) fn root(entries: &[&[u8]]) -> Sha256 {
        match entries {
            [] => empty_root(),
            [entry] => leaf_hash(entry),
            _ => {
                let (left, right) = entries.split_at(split(entries.len()));
                node_hash(&root(left), &root(right))
            }
        }
    }

    pub(crate) fn inclusion(index: usize, entries: &[&[u8]]) -> Vec<Sha256> {
        if entries.len() == 1 {
            return vec![];
        }
        let middle = split(entries.len());
        let (left, right) = entries.split_at(middle);
        let (mut path, sibling) = match index < middle {
            true => (inclusion(index, left), root(right)),
            false => (inclusion(index - middle, right), root(left)),
        };
        path.push(sibling);
        path
    }

    pub(crate) fn consistency(old: usize, entries: &[&[u8]], known: bool) -> Vec<Sha256> {
        if old == entries.len() {
            return if known { vec![] } else { vec![root(entries)] };
        }
        let middle = split(entries.len());
        let (left, right) = entries.split_at(middle);
        let (mut path, sibling) = match old <= middle {
            true => (consistency(old, left, known), root(right)),
            false => (consistency(old - middle, right, false), root(left)),
        };
        path.push(sibling);
        path
    }
}

#[test]
fn published_roots() {
    assert_eq!(empty_root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for size in 1..=8 {
        assert_eq!(definition::root(&ENTRIES[..size]), root(size), "{size}");
    }
}

#[test]
fn every_proof_of_small_trees_holds_and_every_change_breaks_it() {
    for size in 1..=8_usize {
        for (index, entry) in ENTRIES[..size].iter().enumerate() {
            let proof = definition::inclusion(index, &ENTRIES[..size]);
            let leaf = leaf_hash(entry);
            let verify = |index: usize, size: usize, leaf: &Sha256, root: &Sha256, proof: &[Sha256]| {
                verify_inclusion(leaf, index as u64, size as u64, root, proof)
            };
            assert_eq!(verify(index, size, &leaf, &root(size), &proof), Ok(()));
            for other in 0..10 {
                let moved = verify(other, size, &leaf, &root(size), &proof);
                assert_eq!(moved.is_ok(), other == index, "{index} as {other} of {size}");
                assert_eq!(other >= size, matches!(moved, Err(MerkleError::Index { .. })));
            }
            assert!(verify(index, size, &leaf_hash(b"else"), &root(size), &proof).is_err());
            assert!(verify(index, size, &leaf, &leaf_hash(b"else"), &proof).is_err());
            for changed in changes(&proof) {
                assert!(verify(index, size, &leaf, &root(size), &changed).is_err(), "{index} of {size}: {changed:?}");
            }
        }
        for old in 1..size {
            let proof = definition::consistency(old, &ENTRIES[..size], true);
            let verify = |proof: &[Sha256], old_root: Sha256, new_root: Sha256| {
                verify_consistency((old as u64, &old_root), (size as u64, &new_root), proof)
            };
            assert_eq!(verify(&proof, root(old), root(size)), Ok(()), "{old} to {size}");
            assert!(verify(&proof, leaf_hash(b"else"), root(size)).is_err());
            assert!(verify(&proof, root(old), leaf_hash(b"else")).is_err());
            for changed in changes(&proof) {
                assert!(verify(&changed, root(old), root(size)).is_err(), "{old} to {size}: {changed:?}");
            }
        }
    }
}

/// One hash changed, removed or added, at each place.
fn changes(proof: &[Sha256]) -> Vec<Vec<Sha256>> {
    let other = leaf_hash(b"other");
    let mut changes = Vec::new();
    for at in 0..=proof.len() {
        let (left, right) = proof.split_at(at);
        changes.push([left, &[other], right].concat());
        if let [_, rest @ ..] = right {
            changes.push([left, &[other], rest].concat());
            changes.push([left, rest].concat());
        }
    }
    changes
}

#[test]
fn ends_of_consistency() {
    let (seven, eight, empty) = (root(7), root(8), empty_root());
    let verify = |old, new, proof: &[Sha256]| verify_consistency(old, new, proof);
    assert_eq!(verify((8, &eight), (8, &eight), &[]), Ok(()));
    assert_eq!(verify((0, &empty), (0, &empty), &[]), Ok(()));
    assert_eq!(verify((0, &empty), (8, &eight), &[]), Ok(()));
    assert_eq!(verify((0, &empty), (8, &eight), &[eight]), Err(MerkleError::Length));
    assert!(matches!(verify((0, &seven), (8, &eight), &[]), Err(MerkleError::Root { .. })));
    assert!(matches!(verify((8, &seven), (8, &eight), &[]), Err(MerkleError::Root { .. })));
    assert_eq!(verify((8, &eight), (8, &eight), &[eight]), Err(MerkleError::Length));
    assert_eq!(verify((8, &eight), (7, &seven), &[]), Err(MerkleError::Shrunk { old: 8, new: 7 }));
    assert_eq!(verify((7, &seven), (8, &eight), &[]), Err(MerkleError::Length));
    let far = (u64::MAX, &eight);
    assert_eq!(verify((1, &seven), far, &[eight; 63]), Err(MerkleError::Length));
    assert_eq!(
        verify_inclusion(&seven, u64::MAX, u64::MAX, &eight, &[]),
        Err(MerkleError::Index { index: u64::MAX, size: u64::MAX })
    );
    assert_eq!(verify_inclusion(&seven, 0, 0, &empty, &[]), Err(MerkleError::Index { index: 0, size: 0 }));
}

#[test]
fn a_tail_gives_the_root_of_any_tree_that_goes_on() {
    for size in 1..=ENTRIES.len() {
        for index in 0..size {
            let (proof, at) = (definition::inclusion(index, &ENTRIES[..size]), (index as u64, size as u64));
            for end in index + 1..=ENTRIES.len() {
                let behind = ENTRIES[index + 1..end].iter().map(|entry| leaf_hash(entry));
                assert_eq!(root_with_tail(&leaf_hash(ENTRIES[index]), at, &proof, behind), Ok(root(end)));
            }
            let long = [&proof[..], &[empty_root()]].concat();
            assert_eq!(root_with_tail(&empty_root(), at, &long, [].into_iter()), Err(MerkleError::Length));
            if size > 1 {
                let short = &proof[1..];
                assert_eq!(root_with_tail(&empty_root(), at, short, [].into_iter()), Err(MerkleError::Length));
            }
            let beyond = root_with_tail(&empty_root(), (at.1, at.1), &proof, [].into_iter());
            assert_eq!(beyond, Err(MerkleError::Index { index: at.1, size: at.1 }));
        }
    }
}
