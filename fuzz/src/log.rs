//! Properties of what a transparency log and its witnesses send.

use log_client::bundle;
#[cfg(test)]
use log_client::edge::log::Log;
use log_client::edge::rules::Rules;
#[cfg(test)]
use log_client::edge::rules::{Roots, Witnesses};
use log_client::feed::Feed;
#[cfg(test)]
use log_client::feed::Rebuild;
use log_client::keys::SigningKey;
use log_client::merkle::{leaf_hash, node_hash};
use log_client::monitor::{State, Watch};
use log_client::note::{Note, SignatureType};
use log_client::tail::{Consistency, Tail};
use log_client::tile::{self, Level, Tile};
use log_client::witness::AddCheckpoint;
use log_client::{Checkpoint, Policy, Proof, Signer, SplitView};
use measure::appraise::Time;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
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

#[cfg(test)]
/// Good input for each property here.
pub(crate) fn samples(name: &str) -> Vec<Vec<u8>> {
    let hashes = vec![leaf_hash(b"a")];
    let checkpoint = NOTE.clone();
    let sample = match name {
        "log_feed" => return feed(),
        "log_monitor" => return vec![watched()],
        "log_rules" => rules().to_string(),
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

#[cfg(test)]
fn feed() -> Vec<Vec<u8>> {
    let consistency = Consistency { old: 1, hashes: vec![leaf_hash(b"b")] }.to_string().into_bytes();
    let tail = Tail { entries: vec![b"b".to_vec(), vec![]] }.to_bytes().expect("small entries");
    let rebuilds = vec![Rebuild { envelope: b"e".to_vec(), proof: b"p".to_vec() }];
    let part = |text: &str| Some(text.as_bytes().to_vec());
    let (release, status) = (part("release"), part("status"));
    let both = Feed { consistency: Some(consistency.clone()), tail: Some(tail.clone()), ..Feed::default() };
    let all = Feed { release, status, rebuilds, ..both };
    vec![all.to_bytes().expect("a small feed"), consistency, tail]
}

#[cfg(test)]
fn rules() -> Rules {
    let keys = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]).public()).to_vec();
    Rules {
        roots: Some(Roots::new(keys, NonZeroUsize::MIN).expect("two keys")),
        mirrors: vec!["https://example.com/log".parse().expect("an address")],
        witnesses: Some(Witnesses::new(policy(), SplitView::Refused).expect("a policy")),
    }
}

/// What a monitor knows at first.
fn unwatched() -> State {
    let roots = [1, 11].map(|seed| SigningKey::from_seed(&[seed; 32]).public());
    State::new("example.com/log", roots.to_vec(), NonZeroUsize::MIN)
}

#[cfg(test)]
/// What a monitor knows of a log of garbage, which no witness has seen.
fn watched() -> Vec<u8> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let log = Log::init(scratch.path(), &LOG).and_then(|log| log.append(&[b"a".to_vec(), b"b".to_vec()]));
    drop(log.and_then(|(log, _)| log.sign(&LOG)?.publish(&[])).expect("a log"));
    let policy = format!("log {}\nquorum none\n", LOG.key());
    let policy = Policy::parse(policy.as_bytes(), SplitView::Accepted).expect("a policy");
    let watch = Watch { policy: &policy, max_age: Some(1), known: &BTreeSet::new(), now: Time(1 << 30) };
    let mut state = unwatched();
    state.look(&watch, |name, _limit| std::fs::read(scratch.path().join(name))).expect("a look");
    assert_eq!(state.size(), 2);
    state.to_bytes()
}

/// A feed that is accepted is written as it was read; so are the parts that are in no other format.
pub fn log_feed(bytes: &[u8]) -> bool {
    let feed = Feed::parse(bytes).is_ok_and(|feed| {
        assert_eq!(feed.to_bytes().as_deref(), Ok(bytes));
        true
    });
    let tail = Tail::parse(bytes).is_ok_and(|tail| {
        assert_eq!(tail.to_bytes().as_deref(), Ok(bytes));
        true
    });
    let consistency = super::text(bytes).and_then(|text| text.parse::<Consistency>().ok()).is_some_and(|proof| {
        assert_eq!(proof.to_string().as_bytes(), bytes);
        true
    });
    feed || tail || consistency
}

/// A monitor's state that is accepted can be gone on from, written and read again.
pub fn log_monitor(bytes: &[u8]) -> bool {
    let Ok(mut state) = State::parse(bytes, &unwatched()) else { return false };
    assert_eq!(State::parse(&state.to_bytes(), &unwatched()).ok().as_ref(), Some(&state));
    let watch = Watch { policy: &POLICY, max_age: Some(1), known: &BTreeSet::new(), now: Time(u64::MAX) };
    let bundle = b"\0\x01a\0\x01b";
    let _read = state.look(&watch, |name, _limit| match name {
        "checkpoint" => Ok(NOTE.as_bytes().to_vec()),
        "tile/entries/000.p/2" => Ok(bundle.to_vec()),
        "tile/0/000.p/2" => Ok([leaf_hash(b"a"), leaf_hash(b"b")].map(|hash| *hash.as_bytes()).concat()),
        _ => Err(()),
    });
    state.delivered(usize::MAX);
    true
}

/// Rules that are accepted are written as they were read.
pub fn log_rules(bytes: &[u8]) -> bool {
    let Some(rules) = super::text(bytes).and_then(|text| text.parse::<Rules>().ok()) else { return false };
    assert_eq!(rules.to_string().as_bytes(), bytes);
    true
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
