//! The same trees, tiles, proofs and notes as other implementations: `tlog_tiles` and `signed_note` (a port of Go's
//! checksum database) and `sigstore-merkle`; and, if asked for, the same tiles as Go's own.

mod engines;

use log_client::merkle::{leaf_hash, verify_consistency, verify_inclusion};
use log_client::note::{Note, SignatureType, Signer};
use log_client::tile::{self, Level, Tile};
use log_client::tree::{RightEdge, Tiles};
use measure::Sha256;
use sha2::Digest as _;
use signed_note::{StandardVerifier, VerifierList};
use sigstore_crypto::{CryptoProvider, HashContext, SigningScheme};
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::hash::{BuildHasher as _, RandomState};
use tlog_tiles::HashReader;

/// All hashes of a tree in the order in which Go's checksum database stores them.
struct Stored(Vec<tlog_tiles::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// A tree that both implementations grow, one entry at a time.
struct Both {
    stored: Stored,
    edge: RightEdge,
    tiles: BTreeMap<Tile, Vec<Sha256>>,
}

impl Both {
    fn new() -> Self {
        // Fails if the other test was first.
        let _installed = sigstore_crypto::install_default_provider(&Hashing);
        Self { stored: Stored(Vec::new()), edge: RightEdge::empty(), tiles: BTreeMap::new() }
    }

    fn push(&mut self) {
        let entry = format!("entry {}", self.edge.size());
        let new = tlog_tiles::stored_hashes(self.edge.size(), entry.as_bytes(), &self.stored).unwrap();
        self.stored.0.extend(new);
        let keep = |tile, hashes: &[Sha256]| {
            self.tiles.insert(tile, hashes.to_vec());
            Ok::<_, Infallible>(())
        };
        self.edge.push(leaf_hash(entry.as_bytes()), keep).unwrap();
    }

    /// Compares the root and every new tile of a tree that had `old` entries.
    fn compare_tiles(&mut self, old: u64) {
        let size = self.edge.size();
        self.tiles.extend(self.edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
        let root = tlog_tiles::tree_hash(size, &self.stored).unwrap();
        assert_eq!(self.edge.root().as_bytes(), &root.0, "root of {size}");
        let theirs: BTreeSet<_> = tlog_tiles::Tile::new_tiles(8, old, size)
            .into_iter()
            .map(|theirs| {
                let ours = Tile::in_tree(Level::Hashes(theirs.level()), theirs.level_index(), size).unwrap();
                assert_eq!(u32::from(ours.width()), theirs.width());
                // They put the height of tiles into the path.
                assert_eq!(ours.to_string().replacen("tile/", "tile/8/", 1), theirs.path());
                assert_eq!(
                    tile::bytes_of(&self.tiles[&ours]),
                    theirs.read_data(&self.stored).unwrap(),
                    "{ours} of {size}"
                );
                ours
            })
            .collect();
        assert!(
            Tile::partial(size).all(|tile| theirs.contains(&tile) || Tile::partial(old).any(|known| known == tile))
        );
    }

    /// Compares the proofs of one entry and from one older tree.
    fn compare_proofs(&self, index: u64, old: u64) {
        let (size, root) = (self.edge.size(), self.edge.root());
        let mut tiles = Tiles::new(size, |tile| self.tiles.get(&tile).cloned().ok_or(tile));
        let inclusion = tiles.inclusion(index, size).unwrap();
        let theirs = tlog_tiles::prove_record(size, index, &self.stored).unwrap();
        assert!(inclusion.iter().map(Sha256::as_bytes).eq(theirs.iter().map(|hash| &hash.0)), "{index} in {size}");
        let consistency = tiles.consistency(old, size).unwrap();
        let theirs = tlog_tiles::prove_tree(size, old, &self.stored).unwrap();
        assert!(consistency.iter().map(Sha256::as_bytes).eq(theirs.iter().map(|hash| &hash.0)), "{old} to {size}");

        let leaf = leaf_hash(format!("entry {index}").as_bytes());
        let old_root = tiles.root(old).unwrap();
        assert_eq!(old_root.as_bytes(), &tlog_tiles::tree_hash(old, &self.stored).unwrap().0);
        verify_inclusion(&leaf, index, size, &root, &inclusion).unwrap();
        verify_consistency((old, &old_root), (size, &root), &consistency).unwrap();
        sigstore_merkle::verify_inclusion_proof(
            &sigstore(&leaf),
            index,
            size,
            &sigstores(&inclusion),
            &sigstore(&root),
        )
        .unwrap();
        let (old_root, new_root) = (sigstore(&old_root), sigstore(&root));
        sigstore_merkle::verify_consistency_proof(old, size, &sigstores(&consistency), &old_root, &new_root).unwrap();
    }
}

fn sigstore(hash: &Sha256) -> sigstore_types::Sha256Hash {
    sigstore_types::Sha256Hash::new(*hash.as_bytes())
}

fn sigstores(hashes: &[Sha256]) -> Vec<sigstore_types::Sha256Hash> {
    hashes.iter().map(sigstore).collect()
}

/// The hash function that sigstore's crates leave to their user, who would otherwise compile a library in C.
#[derive(Debug)]
struct Hashing;

impl CryptoProvider for Hashing {
    fn hash(&self, _sha256: sigstore_types::HashAlgorithm) -> sigstore_crypto::Result<Box<dyn HashContext>> {
        Ok(Box::new(Context(sha2::Sha256::new())))
    }

    fn verify_raw(&self, _: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> sigstore_crypto::Result<()> {
        unreachable!("Merkle proofs hold no signature")
    }

    fn verify_prehashed(&self, _: SigningScheme, _: &[u8], _: &[u8], _: &[u8]) -> sigstore_crypto::Result<()> {
        unreachable!("Merkle proofs hold no signature")
    }
}

struct Context(sha2::Sha256);

impl HashContext for Context {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

#[test]
fn every_small_tree() {
    let mut both = Both::new();
    for size in 1..=600 {
        both.push();
        both.compare_tiles(size - 1);
        for other in [0, size / 3, size / 2, size - 1] {
            both.compare_proofs(other, other + 1);
        }
    }
}

/// Sizes are drawn by a fixed rule, around the widths of tiles and apart from them.
#[test]
fn some_large_trees() {
    let mut both = Both::new();
    let mut old = 0;
    for size in [3_911, 21_845, 65_535, 65_536, 65_793, 70_000] {
        while both.edge.size() < size {
            both.push();
        }
        both.compare_tiles(old);
        for step in 0..10_u64 {
            let index = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
            both.compare_proofs(index, index + 1);
        }
        old = size;
    }
}

/// Sizes between these, ascending, that nobody chose; the seed repeats them.
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "to repeat what was seen once")]
fn random_sizes(count: usize, within: std::ops::Range<u64>) -> Vec<u64> {
    let seed = std::env::var("VITRINE_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0));
    println!("VITRINE_SEED={seed}");
    let number = |step: u64| {
        u64::from_be_bytes(*Sha256::of(&[seed, step].map(u64::to_be_bytes).concat()).as_bytes().first_chunk().unwrap())
    };
    let sizes: BTreeSet<_> =
        (0..).map(|step| within.start + number(step) % (within.end - within.start)).take(count).collect();
    sizes.into_iter().collect()
}

fn random_trees(count: usize, within: std::ops::Range<u64>) {
    let mut both = Both::new();
    let mut old = 0;
    for size in random_sizes(count, within) {
        while both.edge.size() < size {
            both.push();
        }
        both.compare_tiles(old);
        for step in 0..10_u64 {
            let index = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) % size;
            both.compare_proofs(index, index + 1);
        }
        old = size;
    }
}

#[test]
fn random_large_trees() {
    random_trees(4, 10_000..100_000);
}

#[test]
#[ignore = "takes a while"]
fn random_trees_up_to_a_million() {
    random_trees(6, 100_000..1_000_000);
}

#[test]
#[ignore = "needs torchwood"]
fn tiles_as_go_makes_them() {
    let sizes: Vec<_> = (1..=600).chain(random_sizes(3, 10_000..100_000)).collect();
    let output = engines::program("peer").arg("tiles").args(sizes.iter().map(u64::to_string)).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let mut lines = text.lines();
    let mut both = Both::new();
    let mut compared = 0;
    for size in sizes {
        let old = both.edge.size();
        while both.edge.size() < size {
            both.push();
        }
        both.tiles.extend(both.edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
        for _ in tlog_tiles::Tile::new_tiles(8, old, size) {
            let (path, digest) = lines.next().unwrap().split_once(' ').unwrap();
            let tile: Tile = path.parse().unwrap();
            assert_eq!(Sha256::of(&tile::bytes_of(&both.tiles[&tile])).to_string(), digest, "{tile} of {size}");
            compared += 1;
        }
    }
    assert_eq!(lines.next(), None);
    assert!(compared >= 603, "{compared}");
}

#[test]
fn notes_both_ways() {
    let text = "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let ours = Signer::new("example.com/log", SignatureType::ED25519, &[9; 32]).unwrap();
    let note = format!("{text}\n{}", ours.sign(text, 0));

    let theirs = signed_note::Note::from_bytes(note.as_bytes()).unwrap();
    let verifier = StandardVerifier::new(&ours.key().to_string()).unwrap();
    let (verified, unverified) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((theirs.text(), verified.len(), unverified.len()), (text.as_bytes(), 1, 0));
    assert_eq!(Note::parse(&theirs.to_bytes()).unwrap().verify([ours.key()]).unwrap().len(), 1);
}
