use super::*;
use crate::merkle::node_hash;
use crate::note::{SignatureType, Signer};
use crate::policy::SplitView;

/// A proof for the second of three entries, and a policy that accepts it.
fn sample() -> (Proof, Policy) {
    let log = Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap();
    let witness = Signer::new("witness.example", SignatureType::COSIGNATURE, &[2; 32]).unwrap();
    let leaves = [b"a", b"b", b"c"].map(|entry| leaf_hash(entry));
    let root = node_hash(&node_hash(&leaves[0], &leaves[1]), &leaves[2]);
    let text = format!("example.com/log\n3\n{}\n", base64(root.as_bytes()));
    let checkpoint = format!("{text}\n{}{}", log.sign(&text, 0), witness.sign(&text, 99));
    let policy = format!("log {}\nwitness w {}\nquorum w\n", log.key(), witness.key());
    let hashes = vec![leaves[0], leaves[2]];
    let proof = Proof { unverified_extra: Some(b"extra".to_vec()), index: 1, hashes, checkpoint };
    (proof, Policy::parse(policy.as_bytes(), SplitView::Refused).unwrap())
}

#[test]
fn round_trips_and_holds() {
    let (proof, policy) = sample();
    for extra in [proof.unverified_extra.clone(), Some(Vec::new()), None] {
        let proof = Proof { unverified_extra: extra, ..proof.clone() };
        assert_eq!(Proof::parse(proof.to_string().as_bytes()), Ok(proof.clone()));
        assert_eq!(proof.verify(b"b", &policy).unwrap().as_of, Some(99));
    }
    assert!(proof.to_string().starts_with("c2sp.org/tlog-proof@v1\nextra ZXh0cmE=\nindex 1\n"));
}

#[test]
fn each_part_counts() {
    let (proof, policy) = sample();
    let verify = |change: fn(&mut Proof), entry: &[u8]| {
        let mut proof = proof.clone();
        change(&mut proof);
        proof
            .verify(entry, &policy)
            .map(|_| ())
            .map_err(|error| error.to_string().split(':').next().unwrap().to_owned())
    };
    assert_eq!(verify(|_| (), b"b"), Ok(()));
    let no = |rule: &str| Err(rule.to_owned());
    assert_eq!(verify(|_| (), b"a"), no("inclusion"));
    assert_eq!(verify(|proof| proof.index = 0, b"b"), no("inclusion"));
    assert_eq!(verify(|proof| proof.index = 3, b"b"), no("inclusion"));
    assert_eq!(verify(|proof| proof.hashes.reverse(), b"b"), no("inclusion"));
    assert_eq!(verify(|proof| proof.hashes.truncate(1), b"b"), no("inclusion"));
    assert_eq!(verify(|proof| proof.checkpoint = proof.checkpoint.replace("\n3\n", "\n2\n"), b"b"), no("checkpoint"));
    assert_eq!(
        verify(|proof| proof.checkpoint = proof.checkpoint.replace("— witness", "— another"), b"b"),
        no("checkpoint")
    );
}

#[test]
fn strict() {
    let (proof, _) = sample();
    let good = proof.to_string();
    let wrong = |line, expected| Err(ProofError::Line { line, expected });
    let hash = base64(proof.hashes[0].as_bytes());
    let many = format!("index 1\n{}", format!("{hash}\n").repeat(64));
    for (from, to, error) in [
        ("@v1", "@v2", wrong(1, HEADER)),
        ("c2sp", "\u{feff}c2sp", wrong(1, HEADER)),
        ("\nindex 1", "", wrong(3, "index <number>")),
        ("index 1", "index 01", wrong(3, "index <number>")),
        ("index 1", "index 1 ", wrong(3, "index <number>")),
        ("extra Z", "extra *", wrong(2, "extra <base64>")),
        ("extra ZXh0cmE=\nindex 1", "index 1\nextra ZXh0cmE=", wrong(3, "32 bytes in base64")),
        (hash.as_str(), &hash[4..], wrong(4, "32 bytes in base64")),
        ("index 1\n", &many, Err(ProofError::TooLong)),
    ] {
        let changed = good.replacen(from, to, 1);
        assert_ne!(changed, good);
        assert_eq!(Proof::parse(changed.as_bytes()), error, "{to:?}");
    }
    assert_eq!(Proof::parse(b"c2sp.org/tlog-proof@v1\nindex 1\n"), wrong(1, "lines, an empty line and a checkpoint"));
    assert_eq!(Proof::parse(&vec![b'a'; MAX_BYTES + 1]), Err(ProofError::TooLong));
}
