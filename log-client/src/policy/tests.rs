use super::*;
use crate::note::Signer;

fn signer(name: &str, kind: SignatureType, seed: u8) -> Signer {
    Signer::new(name, kind, &[seed; 32]).unwrap()
}

fn witness(number: u8) -> Signer {
    signer(&format!("witness{number}.example"), SignatureType::COSIGNATURE, number)
}

fn log() -> Signer {
    signer("example.com/log", SignatureType::ED25519, 100)
}

/// A log, witnesses 1 to `witnesses`, and then `rest`.
fn text(witnesses: u8, rest: &str) -> String {
    let mut text = format!("# a comment\n\nlog {} https://example.com/log\n", log().key());
    for number in 1..=witnesses {
        text += &format!(" witness\tw{number}  {} \n", witness(number).key());
    }
    text + rest
}

fn parse(text: &str) -> Result<Policy, PolicyError> {
    Policy::parse(text.as_bytes(), SplitView::Accepted)
}

const CHECKPOINT: &str = "example.com/log\n1\nbjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0=\n";

/// A checkpoint signed by the log and by these witnesses at these times.
fn note(witnesses: &[(u8, u64)]) -> String {
    let lines: String = witnesses.iter().map(|(number, time)| witness(*number).sign(CHECKPOINT, *time)).collect();
    format!("{CHECKPOINT}\n{}{lines}", log().sign(CHECKPOINT, 0))
}

#[test]
fn a_quorum_and_its_times() {
    let three = text(3, "group g 2 w1 w2 w3\nquorum g\n");
    // The specification's example.
    let nested = text(6, "group X 2 w1 w2 w3\ngroup Y any w4 w5 w6\ngroup both all X Y\nquorum both\n");
    for (policy, signed, times) in [
        (&three, &[(1, 10), (2, 20)][..], Some(Some((10, 20)))),
        (&three, &[(1, 10), (2, 20), (3, 30)], Some(Some((20, 20)))),
        // One who says that it was long ago, and one who says that it is just now.
        (&three, &[(1, 1), (2, 20), (3, 20)], Some(Some((20, 20)))),
        (&three, &[(1, 10), (2, 10), (3, 99)], Some(Some((10, 10)))),
        (&nested, &[(1, 10), (2, 20), (3, 30), (4, 35), (5, 40)], Some(Some((20, 35)))),
        (&three, &[(3, 30)], None),
        (&three, &[], None),
        (&three, &[(7, 10), (2, 20)], None),
        (&nested, &[(1, 10), (2, 20), (4, 5), (6, 15)], Some(Some((10, 20)))),
        (&nested, &[(1, 10), (2, 20), (4, 5)], Some(Some((5, 20)))),
        (&nested, &[(1, 10), (2, 20), (3, 30)], None),
        (&nested, &[(1, 10), (4, 20), (5, 30), (6, 40)], None),
        (&text(1, "quorum w1\n"), &[(1, 10)], Some(Some((10, 10)))),
        (&text(1, "quorum w1\n"), &[], None),
        (&text(0, "quorum none\n"), &[], Some(None)),
        (&text(2, "group g all w1 w2\nquorum none"), &[], Some(None)),
    ] {
        let accepted = parse(policy).unwrap().accept(note(signed).as_bytes());
        let found = accepted.as_ref().ok().map(|accepted| accepted.as_of.zip(accepted.since));
        assert_eq!(found, times, "{signed:?} {policy}");
        assert_eq!(accepted.is_err(), matches!(accepted, Err(Refusal::Quorum { .. })));
    }
}

#[test]
fn what_a_checkpoint_is_refused_for() {
    let policy = parse(&text(2, "group g all w1 w2\nquorum g\n")).unwrap();
    let good = note(&[(1, 10), (2, 20)]);
    let accepted = policy.accept(good.as_bytes()).unwrap();
    assert_eq!(accepted.witnesses, [(b"w1".to_vec(), 10), (b"w2".to_vec(), 20)]);

    let refused = |note: &str| policy.accept(note.as_bytes()).unwrap_err().to_string();
    let unknown = good.replace("example.com/log\n1\n", "example.com/other\n1\n");
    assert_eq!(refused(&unknown), "the policy has no log called \"example.com/other\"");
    let unsigned = good.replace("— example.com/log ", "— example.com/other ");
    assert_eq!(refused(&unsigned), "none of the known keys signed the note");
    assert!(refused(&good.replace("\n1\n", "\n2\n")).contains("example.com/log"));
    // A witness's bad signature refuses the note although it is not needed.
    let spare = parse(&text(3, "group g 2 w1 w2 w3\nquorum g\n")).unwrap();
    let spoiled = format!("{good}{}", witness(3).sign("another text\n", 30));
    assert!(spare.accept(spoiled.as_bytes()).unwrap_err().to_string().contains("witness3.example"));
    assert_eq!(refused(&note(&[(1, 1)])), "the quorum is not met; signed by w1");
    assert_eq!(refused(&note(&[])), "the quorum is not met; signed by no witness");
    assert_eq!(refused("text"), "expected a text, an empty line and signature lines");
}

#[test]
fn refused_with_the_line() {
    let own = text(0, &format!("witness w {}\nquorum w\n", signer("w", SignatureType::COSIGNATURE, 100).key()));
    let name = |line, name: &str| PolicyError::Name { line, name: name.into() };
    let twice = |line, name: &str| PolicyError::Twice { line, name: name.into() };
    let wrong = |line, expected| PolicyError::Line { line, expected };
    for (policy, error) in [
        (String::new(), PolicyError::NoQuorum),
        (text(1, ""), PolicyError::NoQuorum),
        (text(1, "quorum w1\nquorum w1\n"), wrong(6, QUORUM)),
        (text(1, "quorum w2\n"), name(5, "w2")),
        (text(1, "quorum g\ngroup g all w1\n"), name(5, "g")),
        (text(1, "quorum\n"), wrong(5, QUORUM)),
        (text(2, "group g 0 w1 w2\nquorum g\n"), wrong(6, GROUP)),
        (text(2, "group g 3 w1 w2\nquorum g\n"), wrong(6, GROUP)),
        (text(2, "group g 02 w1 w2\nquorum g\n"), wrong(6, GROUP)),
        (text(2, "group g most w1 w2\nquorum g\n"), wrong(6, GROUP)),
        (text(2, "group g any\nquorum g\n"), wrong(6, GROUP)),
        (text(2, "group g any w1 w1\nquorum g\n"), name(6, "w1")),
        (text(2, "group g any w1\ngroup h any w1 w2\nquorum h\n"), name(7, "w1")),
        (text(2, "group g any w1 g\nquorum g\n"), name(6, "g")),
        (text(2, "group g any none\nquorum g\n"), name(6, "none")),
        (text(2, "group w1 any w2\nquorum w1\n"), twice(6, "w1")),
        (text(2, "group none any w2\nquorum none\n"), twice(6, "none")),
        (text(1, &format!("witness w1 {}\nquorum w1\n", witness(2).key())), twice(5, "w1")),
        (text(1, &format!("witness again {}\nquorum w1\n", witness(1).key())), twice(5, "witness1.example")),
        (text(0, &format!("log {}\nquorum none\n", log().key())), twice(4, "example.com/log")),
        (own, PolicyError::OwnWitness { name: "w".into() }),
        (text(1, &format!("witness w {}\n", log().key())), PolicyError::KeyType { line: 5, expected: 4, found: 1 }),
        (text(1, &format!("log {}\n", witness(2).key())), PolicyError::KeyType { line: 5, expected: 1, found: 4 }),
        (
            text(0, "log a+b+c\n"),
            PolicyError::Key { line: 4, error: KeyError::Form { expected: "a verifier key <name>+<id>+<base64>" } },
        ),
        (text(0, "log\n"), wrong(4, LOG)),
        (text(0, "witness a\n"), wrong(4, WITNESS)),
        (text(0, "Quorum none\n"), wrong(4, ANY)),
        (text(0, "quorum none\r\n"), PolicyError::Characters { line: 4 }),
        ("#".repeat(MAX_POLICY + 1), PolicyError::TooLong),
    ] {
        assert_eq!(parse(&policy), Err(error), "{policy}");
    }
    // Names are bytes.
    let kelvin = text(0, &format!("witness \u{212a} {}\nwitness K {}\nquorum K\n", witness(1).key(), witness(2).key()));
    assert_eq!(parse(&kelvin).unwrap().witnesses().len(), 2);
}

#[test]
fn a_split_view_is_refused_unless_accepted() {
    for (witnesses, rest, splits) in [
        (0, "quorum none\n", true),
        (1, "quorum w1\n", false),
        (2, "group g any w1 w2\nquorum g\n", true),
        (2, "group g all w1 w2\nquorum g\n", false),
        (3, "group g 2 w1 w2 w3\nquorum g\n", false),
        (4, "group g 2 w1 w2 w3 w4\nquorum g\n", true),
        (4, "group g 3 w1 w2 w3 w4\nquorum g\n", false),
        // All of a group that splits and one that does not.
        (5, "group x 2 w1 w2 w3\ngroup y any w4 w5\ngroup g all x y\nquorum g\n", false),
        (4, "group x any w1 w2\ngroup y any w3 w4\ngroup g all x y\nquorum g\n", true),
        (4, "group x all w1 w2\ngroup y all w3 w4\ngroup g any x y\nquorum g\n", true),
        // Two of three, one of which can be in both quorums.
        (4, "group x any w1 w2\ngroup g 2 x w3 w4\nquorum g\n", true),
    ] {
        let policy = text(witnesses, rest);
        let refused = Policy::parse(policy.as_bytes(), SplitView::Refused);
        assert_eq!(refused.is_err(), splits, "{policy}");
        assert_eq!(refused.is_err(), refused == Err(PolicyError::SplitView));
        assert!(parse(&policy).is_ok());
    }
}
