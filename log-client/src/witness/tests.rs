use super::*;
use crate::merkle::{empty_root, leaf_hash, node_hash};
use crate::note::{SignatureType, Signer};

fn log() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

/// The roots of the trees of no entry, of a and of a and b.
fn roots() -> [Sha256; 3] {
    let (a, b) = (leaf_hash(b"a"), leaf_hash(b"b"));
    [empty_root(), a, node_hash(&a, &b)]
}

fn checkpoint(size: u64, root: Sha256) -> Checkpoint {
    Checkpoint { origin: "example.com/log".into(), size, root, extensions: vec![] }
}

fn request(old: u64, size: u64, root: Sha256, proof: &[Sha256]) -> AddCheckpoint {
    let text = checkpoint(size, root).to_string();
    let checkpoint = format!("{text}\n{}", log().sign(&text, 0));
    AddCheckpoint { old, proof: proof.to_vec(), checkpoint }
}

#[test]
fn the_specifications_answers() {
    let [zero, one, two] = roots();
    let b = leaf_hash(b"b");
    let at = |size: usize| Some(checkpoint(size as u64, roots()[size]));
    let unsigned = AddCheckpoint {
        checkpoint: request(0, 1, one, &[]).checkpoint.replace("\n1\n", "\n2\n"),
        ..request(0, 1, one, &[])
    };
    let bare = AddCheckpoint { checkpoint: format!("{}\n", checkpoint(1, one)), ..unsigned.clone() };
    let unknown = AddCheckpoint {
        checkpoint: unsigned.checkpoint.replace("example.com/log", "example.com/b"),
        ..unsigned.clone()
    };
    let nonsense = AddCheckpoint { checkpoint: "nonsense".into(), ..unsigned.clone() };
    for (name, request, latest, status) in [
        ("first", request(0, 2, two, &[]), None, 200),
        ("grown", request(1, 2, two, &[b]), at(1), 200),
        ("repeated", request(2, 2, two, &[]), at(2), 200),
        ("first and empty", request(0, 0, zero, &[]), None, 200),
        ("not a note", nonsense, None, 400),
        ("old above new", request(2, 1, one, &[]), at(2), 400),
        ("not signed", unsigned, None, 403),
        ("without signatures", bare, None, 403),
        ("unknown", unknown, None, 404),
        ("stale", request(0, 2, two, &[]), at(1), 409),
        ("ahead of the witness", request(1, 2, two, &[b]), None, 409),
        ("shrunk", request(1, 1, one, &[]), at(2), 409),
        ("wrong proof", request(1, 2, two, &[one]), at(1), 422),
        ("no proof", request(1, 2, two, &[]), at(1), 422),
        ("proof from nothing", request(0, 2, two, &[b]), None, 422),
        ("two roots for one size", request(2, 2, one, &[]), at(2), 422),
        ("wrong empty root", request(0, 0, one, &[]), None, 422),
    ] {
        let answer = request.answer(&[log().key().clone()], latest.as_ref());
        assert_eq!(answer.status(), status, "{name}: {answer:?}");
    }
    let stale = request(0, 2, two, &[]).answer(&[log().key().clone()], at(1).as_ref());
    assert_eq!(stale, Answer::OtherSize(1));
}

#[test]
fn strict_and_round_trips() {
    let [_, one, two] = roots();
    let good = request(1, 2, two, &[one]);
    let text = good.to_string();
    assert_eq!(AddCheckpoint::parse(text.as_bytes()), Ok(good));
    let hash = base64(one.as_bytes());
    let many = format!("old 1\n{}", format!("{hash}\n").repeat(63));
    for (from, to) in [
        ("old 1", "old 01"),
        ("old 1", "size 1"),
        ("old 1\n", ""),
        (hash.as_str(), "AAAA"),
        ("old 1\n", &many),
        ("\n\n", "\n"),
    ] {
        let changed = text.replace(from, to);
        let parsed = AddCheckpoint::parse(changed.as_bytes());
        assert_eq!(parsed, Err(RequestError), "{to:?}");
    }
    assert_eq!(AddCheckpoint::parse(&vec![b'a'; MAX_REQUEST + 1]), Err(RequestError));
    assert_eq!(parse_size(b"12\n"), Some(12));
    for bad in [&b"12"[..], b"12\n\n", b"012\n", b"", b"\n", b"-1\n"] {
        assert_eq!(parse_size(bad), None);
    }
}
