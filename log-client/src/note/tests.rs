use super::*;
use crate::encoding;

/// The key pair and the note of Go's golang.org/x/mod/sumdb/note documentation.
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SKEY: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const LINE: &str =
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

#[test]
fn a_published_note_and_its_key() {
    let signer = Signer::parse(SKEY).unwrap();
    assert_eq!(signer.key().to_string(), VKEY);
    assert_eq!(signer.sign(TEXT, 0), LINE);
    let note = format!("{TEXT}\n{LINE}");
    let note = Note::parse(note.as_bytes()).unwrap();
    assert_eq!(note.unverified_text(), TEXT);
    assert_eq!(note.verify([&key(VKEY)]), Ok(vec![Signed { by: &key(VKEY), time: None }]));
}

#[test]
fn keys_have_one_text() {
    let form = Err(KeyError::Form { expected: "a verifier key <name>+<id>+<base64>" });
    for (bad, error) in [
        (VKEY.replace("PeterNeumann", "Peter Neumann"), Err(KeyError::Name { found: "Peter Neumann".into() })),
        (VKEY.replace("PeterNeumann", ""), Err(KeyError::Name { found: String::new() })),
        (
            VKEY.replace("c74f20a3", "c74f20a4"),
            Err(KeyError::Id { expected: KeyId([0xc7, 0x4f, 0x20, 0xa3]), found: KeyId([0xc7, 0x4f, 0x20, 0xa4]) }),
        ),
        (VKEY.replace("c74f20a3", "C74F20A3"), form.clone()),
        (VKEY.replace("c74f20a3", "74f20a3"), form.clone()),
        (VKEY.replace("+c74f20a3", ""), form.clone()),
        (format!("{VKEY}="), form.clone()),
        ("a+00000000+".into(), form.clone()),
        (VKEY.replace("10TW", "10TWAA=="), Err(KeyError::Point)),
        ("n".repeat(MAX_VERIFIER_KEY) + VKEY, form),
    ] {
        assert_eq!(bad.parse::<VerifierKey>(), error, "{bad}");
    }
    // With a point of small order, anybody could sign.
    let weak = VerifierKey::new("n", SignatureType::ED25519, &[&[1][..], &[0; 31]].concat());
    assert_eq!(weak, Err(KeyError::Point));
    assert!(Signer::parse(&SKEY.replace("c74f20a3", "c74f20a4")).is_err());
    assert!(Signer::new("n", SignatureType::ECDSA, &[1; 32]).is_err());
}

#[test]
fn ids_by_type() {
    let public = key(VKEY).public().to_vec();
    let id = |kind| VerifierKey::new("PeterNeumann", kind, &public).unwrap().id();
    assert_eq!(id(SignatureType::ED25519), KeyId([0xc7, 0x4f, 0x20, 0xa3]));
    let [a, b, c, d, ..] = *Sha256::of(&public).as_bytes();
    assert_eq!(id(SignatureType::ECDSA), KeyId([a, b, c, d]));
    let [a, b, c, d, ..] = *Sha256::of(&[b"PeterNeumann\n\x06", &public[..]].concat()).as_bytes();
    assert_eq!(id(SignatureType::ML_DSA_44), KeyId([a, b, c, d]));
}

#[test]
fn strict_notes() {
    let good = format!("{TEXT}\n{LINE}");
    let changed = |from: &str, to: &str| good.replacen(from, to, 1).into_bytes();
    let line = |line| Err(NoteError::Line { line });
    let many = |count| format!("{TEXT}\n{}", LINE.repeat(count)).into_bytes();
    for (name, bytes, error) in [
        ("no signature", TEXT.into(), Err(NoteError::Form)),
        ("empty", vec![], Err(NoteError::Form)),
        ("no line after the empty one", format!("{TEXT}\n").into(), Err(NoteError::Form)),
        ("no newline at the end", good.trim_end().into(), Err(NoteError::Form)),
        ("carriage return", changed("problem,", "problem,\r"), Err(NoteError::Characters)),
        ("tab", changed(" ", "\t"), Err(NoteError::Characters)),
        ("not UTF-8", [&b"\xff"[..], good.as_bytes()].concat(), Err(NoteError::Characters)),
        ("a hyphen", changed("— ", "- "), line(1)),
        ("no name", changed("— PeterNeumann ", "—  "), line(1)),
        ("a plus in the name", changed("PeterNeumann", "Peter+Neumann"), line(1)),
        ("a wide space in the name", changed("PeterNeumann", "Peter\u{2003}Neumann"), line(1)),
        ("two spaces", changed("PeterNeumann ", "PeterNeumann  "), line(1)),
        ("base64 without padding", changed("JnAM=", "JnAM"), line(1)),
        ("base64 with bits left", changed("JnAM=", "JnAN="), line(1)),
        ("only an id", format!("{TEXT}\n— n AAAAAA==\n").into(), line(1)),
        ("a line that is none", format!("{good}more\n").into(), line(2)),
        ("too many", many(MAX_SIGNATURES + 1), Err(NoteError::TooLong)),
        ("too long", vec![b'a'; MAX_NOTE + 1], Err(NoteError::TooLong)),
    ] {
        assert_eq!(Note::parse(&bytes), error, "{name}");
    }
    assert_eq!(Note::parse(&many(MAX_SIGNATURES)).unwrap().unverified_lines().len(), MAX_SIGNATURES);
    // The last empty line ends the text.
    let poem = format!("one\n\ntwo\n\n{LINE}");
    assert_eq!(Note::parse(poem.as_bytes()).unwrap().unverified_text(), "one\n\ntwo\n");
}

#[test]
fn known_keys_must_verify_and_others_are_ignored() {
    let peter = Signer::parse(SKEY).unwrap();
    let other = Signer::new("other", SignatureType::ED25519, &[1; 32]).unwrap();
    let namesake = Signer::new("PeterNeumann", SignatureType::ED25519, &[2; 32]).unwrap();
    let parse_and_verify = |note: &str, keys: &[&VerifierKey]| {
        let signed = Note::parse(note.as_bytes())?.verify(keys.iter().copied())?;
        Ok::<_, NoteError>(signed.iter().map(|signed| signed.by.name().to_owned()).collect::<Vec<_>>())
    };
    let note = format!("{TEXT}\n{}{LINE}{}", namesake.sign(TEXT, 0), other.sign(TEXT, 0));
    assert_eq!(parse_and_verify(&note, &[peter.key()]), Ok(vec!["PeterNeumann".into()]));
    assert_eq!(parse_and_verify(&note, &[other.key(), peter.key()]).unwrap().len(), 2);
    assert_eq!(parse_and_verify(&note, &[]), Err(NoteError::NotSigned));

    let bad = |signer: &Signer| NoteError::Signature { name: signer.key().name().into(), id: signer.key().id() };
    let forged = note.replace("answer", "question");
    assert_eq!(parse_and_verify(&forged, &[peter.key()]), Err(bad(&peter)));
    // One bad signature of a known key spoils the good ones.
    let half = format!("{TEXT}\n{LINE}{}", other.sign("another text\n", 0));
    assert_eq!(parse_and_verify(&half, &[peter.key()]), Ok(vec!["PeterNeumann".into()]));
    assert_eq!(parse_and_verify(&half, &[peter.key(), other.key()]), Err(bad(&other)));
    let short = format!("{TEXT}\n— PeterNeumann {}\n", encoding::base64(&[0xc7, 0x4f, 0x20, 0xa3, 1]));
    assert_eq!(parse_and_verify(&short, &[peter.key()]), Err(bad(&peter)));

    let post_quantum = VerifierKey::new("pq", SignatureType::ML_DSA_44, &[7; 1312]).unwrap();
    let line = format!("— pq {}\n", encoding::base64(&[&post_quantum.id().0[..], &[0; 64]].concat()));
    let note = format!("{TEXT}\n{LINE}{line}");
    assert_eq!(parse_and_verify(&note, &[peter.key()]).unwrap().len(), 1);
    let unsupported = NoteError::Unsupported { name: "pq".into(), kind: 6 };
    assert_eq!(parse_and_verify(&note, &[peter.key(), &post_quantum]), Err(unsupported));
}

#[test]
fn cosignatures_carry_a_time_that_is_signed() {
    let witness = Signer::new("witness", SignatureType::COSIGNATURE, &[3; 32]).unwrap();
    let times = |note: String| {
        let signed = Note::parse(note.as_bytes())?.verify([witness.key()])?;
        Ok::<_, NoteError>(signed.iter().map(|signed| signed.time).collect::<Vec<_>>())
    };
    let (early, late) = (witness.sign(TEXT, 100), witness.sign(TEXT, 200));
    assert_eq!(times(format!("{TEXT}\n{early}")), Ok(vec![Some(100)]));
    assert_eq!(times(format!("{TEXT}\n{late}{early}")), Ok(vec![Some(200)]));
    assert!(times(format!("{TEXT}\n{}", witness.sign(TEXT, i64::MAX as u64))).is_ok());
    assert!(times(format!("{TEXT}\n{}", witness.sign(TEXT, 1 << 63))).is_err());

    // The time of one with the signature of the other.
    let bytes =
        |line: &str| Note::parse(format!("\n\n{line}").as_bytes()).unwrap().unverified_lines()[0].signature.clone();
    let mixed = [&witness.key().id().0[..], &bytes(&late)[..8], &bytes(&early)[8..]].concat();
    assert!(times(format!("{TEXT}\n— witness {}\n", encoding::base64(&mixed))).is_err());
    // A signature of the other type with the same key is another key's.
    let plain = Signer::new("witness", SignatureType::ED25519, &[3; 32]).unwrap();
    assert_eq!(times(format!("{TEXT}\n{}", plain.sign(TEXT, 0))), Err(NoteError::NotSigned));
}

/// The example of tlog-cosignature: litewitness's published test note.
#[test]
fn names_of_example_lines() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let lines = "— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
                 — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let note = format!("{text}\n{lines}");
    let note = Note::parse(note.as_bytes()).unwrap();
    let [log, witness] = note.unverified_lines() else { panic!("{note:?}") };
    assert_eq!((log.id, log.signature.len()), (KeyId([0x03, 0x3d, 0xe0, 0xae]), 64));
    assert_eq!(witness.name, "witness.example.com/w1");
    assert_eq!(cosignature::split(&witness.signature).unwrap().0, 1679315147);
}
