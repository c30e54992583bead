//! Properties of what a transparency log and its witnesses send.

use log_client::bundle;
use log_client::merkle::{leaf_hash, node_hash};
use log_client::note::{Note, SignatureType};
use log_client::tile::{self, Level, Tile};
use log_client::witness::AddCheckpoint;
use log_client::{Checkpoint, Policy, Proof, Signer, SplitView};
use std::sync::LazyLock;

static LOG: LazyLock<Signer> = LazyLock::new(|| signer("example.com/log", SignatureType::ED25519, 1));
static WITNESS: LazyLock<Signer> = LazyLock::new(|| signer("witness.example", SignatureType::COSIGNATURE, 2));
static POLICY: LazyLock<Policy> =
    LazyLock::new(|| Policy::parse(policy().as_bytes(), SplitView::Refused).expect("a policy"));
/// A checkpoint of the two entries `a` and `b`, signed and cosigned.
static NOTE: LazyLock<String> = LazyLock::new(|| {
    let root = node_hash(&leaf_hash(b"a"), &leaf_hash(b"b"));
    let text = Checkpoint { origin: "example.com/log".into(), size: 2, root, extensions: vec![] }.to_string();
    format!("{text}\n{}{}", LOG.sign(&text, 0), WITNESS.sign(&text, 99))
});

fn signer(name: &str, kind: SignatureType, seed: u8) -> Signer {
    Signer::new(name, kind, &[seed; 32]).expect("a signer")
}

fn policy() -> String {
    format!("# a comment\nlog {}\nwitness w {}\ngroup g all w\nquorum g\n", LOG.key(), WITNESS.key())
}

/// Good input for each property here.
pub(crate) fn samples(name: &str) -> Vec<Vec<u8>> {
    let hashes = vec![leaf_hash(b"a")];
    let checkpoint = NOTE.clone();
    let sample = match name {
        "log_checkpoint" => "example.com/log\n7\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nmore\n".to_owned(),
        "log_note" => checkpoint,
        "log_policy" => policy(),
        "log_proof" => Proof { unverified_extra: Some(b"extra".to_vec()), index: 1, hashes, checkpoint }.to_string(),
        "log_request" => AddCheckpoint { old: 1, proof: vec![leaf_hash(b"b")], checkpoint }.to_string(),
        "log_tile" => {
            let bundle = b"tile/entries/x001/000.p/2\n\0\x01a\0\0".to_vec();
            return vec![bundle, [b"tile/0/000.p/1\n", &leaf_hash(b"a").as_bytes()[..]].concat()];
        }
        _ => unreachable!("a property of another module"),
    };
    vec![sample.into_bytes()]
}

/// A checkpoint that is accepted is written as it was read.
pub fn log_checkpoint(bytes: &[u8]) -> bool {
    let Some(text) = super::text(bytes) else { return false };
    text.parse::<Checkpoint>().is_ok_and(|checkpoint| {
        assert_eq!(checkpoint.to_string(), text);
        true
    })
}

/// A note is its text and its lines, and verifies only if the text is the one that was signed.
pub fn log_note(bytes: &[u8]) -> bool {
    let Ok(note) = Note::parse(bytes) else { return false };
    let lines: String = note.unverified_lines().iter().map(|line| line.text).collect();
    assert_eq!(format!("{}\n{lines}", note.unverified_text()).as_bytes(), bytes);
    let verified = note.verify([LOG.key(), WITNESS.key()]).is_ok();
    assert!(!verified || NOTE.starts_with(&format!("{}\n—", note.unverified_text())));
    verified
}

/// A policy that is accepted can be asked; one whose quorums share a witness needs one.
pub fn log_policy(bytes: &[u8]) -> bool {
    let strict = Policy::parse(bytes, SplitView::Refused);
    let lenient = Policy::parse(bytes, SplitView::Accepted);
    assert!(strict.is_err() || strict == lenient);
    let accepted = |policy: &Policy| policy.accept(NOTE.as_bytes()).is_ok_and(|accepted| accepted.as_of == Some(99));
    assert!(!strict.as_ref().is_ok_and(|policy| policy.is_quorum(|_| false)));
    strict.is_ok_and(|policy| accepted(&policy))
}

/// A proof that is accepted is written as it was read, and proves only what is in the tree.
pub fn log_proof(bytes: &[u8]) -> bool {
    let Ok(proof) = Proof::parse(bytes) else { return false };
    assert_eq!(proof.to_string().as_bytes(), bytes);
    let verified = proof.verify(b"b", &POLICY).is_ok();
    assert!(!verified || (proof.index, proof.hashes) == (1, vec![leaf_hash(b"a")]));
    verified
}

/// A request that is accepted is written as it was read; a witness answers it.
pub fn log_request(bytes: &[u8]) -> bool {
    let Ok(request) = AddCheckpoint::parse(bytes) else { return false };
    assert_eq!(request.to_string().as_bytes(), bytes);
    let origin = "example.com/log".into();
    let latest = Checkpoint { origin, size: 1, root: leaf_hash(b"a"), extensions: vec![] };
    let status = request.answer(&[LOG.key().clone()], Some(&latest)).status();
    assert!(status != 200 || request.old == 1 && request.proof == [leaf_hash(b"b")]);
    status == 200
}

/// A path, a newline and the tile: it has one path, and holds exactly its width.
pub fn log_tile(bytes: &[u8]) -> bool {
    let Some(newline) = bytes.iter().position(|byte| *byte == b'\n') else { return false };
    let (path, rest) = (&bytes[..newline], &bytes[newline + 1..]);
    let Some(tile) = super::text(path).and_then(|path| path.parse::<Tile>().ok()) else { return false };
    assert_eq!(tile.to_string().as_bytes(), path);
    if tile.level() != Level::Entries {
        return tile.hashes(rest).is_ok_and(|hashes| {
            assert_eq!((hashes.len(), tile::bytes_of(&hashes)), (tile.width().into(), rest.to_vec()));
            true
        });
    }
    let Ok(entries) = bundle::entries(tile, rest) else { return false };
    let mut written = Vec::new();
    entries.iter().try_for_each(|entry| bundle::push(&mut written, entry)).expect("entries that were read");
    assert_eq!((entries.len(), written), (tile.width().into(), rest.to_vec()));
    true
}
