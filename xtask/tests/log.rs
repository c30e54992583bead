//! `cargo xtask log` as a script calls it: what it prints, and its exit codes.

#![expect(clippy::disallowed_methods, reason = "the program under test")]

use log_client::dsse::Envelope;
use log_client::edge::directory::Directory;
use log_client::edge::witness::Witness;
use log_client::feed::Feed;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::{Passphrase, SecretKey};
use log_client::note::SignatureType;
use log_client::statement::{Predicate, Release, Statement};
use log_client::{Policy, Signer, SplitView};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

const KEY: [&str; 4] = ["--key", "key", "--passphrase-file", "passphrase"];

/// Runs `cargo xtask` in `directory` and gives its exit code and what it answered.
fn xtask(directory: &Path, words: &str, more: &[&str]) -> (i32, String) {
    let (code, answer, _) = said(directory, words, more);
    (code, answer)
}

/// The same, and what it said besides.
fn said(directory: &Path, words: &str, more: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let Output { status, stdout, stderr } =
        command.args(words.split(' ')).args(more).current_dir(directory).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code().unwrap(), text(stdout), text(stderr))
}

#[test]
fn answers_and_exit_codes() {
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path();
    for (name, bytes) in [("passphrase", "secret"), ("a", "entry a"), ("b", "entry b"), ("lines", "1\n2\n3\n")] {
        fs::write(here.join(name), bytes).unwrap();
    }
    let run = |words: &str| xtask(here, words, &[]);
    assert_eq!(xtask(here, "key new key", &KEY[2..]).0, 0);
    let (code, vkey) = xtask(here, "log init log --origin example.com/log", &KEY);
    assert!(code == 0 && vkey.starts_with("example.com/log+"), "{vkey}");
    assert_eq!(run("log append log a b a"), (0, "0\n1\n0\n".into()));
    assert_eq!(run("log append log --lines lines").0, 0);
    // Nothing is public before it is signed.
    assert_eq!(run("log proof log --entry b"), (1, String::new()));
    let (code, checkpoint) = xtask(here, "log checkpoint log", &KEY);
    assert!(code == 0 && checkpoint.starts_with("example.com/log\n5\n"), "{checkpoint}");
    let (code, proof) = run("log proof log --entry b");
    assert!(code == 0 && proof.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n") && proof.ends_with(&checkpoint));
    assert_eq!(run("log proof log 5").0, 1);
    assert_eq!(run("log show log").1.lines().count(), 5);

    let vkey = vkey.trim_end();
    assert_eq!(xtask(here, "log fsck log --vkey", &[vkey]).0, 0);
    let (code, json) = run("--json log fsck log");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["outcome"], &json["size"]), (0, &"ok".into(), &5.into()));
    assert_eq!(run("log fsck a").0, 2);
    assert_eq!(xtask(here, "log fsck empty --vkey", &[vkey]).0, 2);
    fs::write(here.join("log/tile/0/000.p/5"), [0; 160]).unwrap();
    assert_eq!(run("log fsck log").0, 1);
    assert_eq!(run("log append log a").0, 2);
}

/// The key that a command made, and its signer for the log.
fn key(directory: &Path, name: &str) -> SigningKey {
    let passphrase = Passphrase::new(b"secret".to_vec().into()).unwrap();
    let pem = fs::read_to_string(directory.join(name)).unwrap();
    let Ok(SecretKey::Ed25519(key)) = SecretKey::from_pem(&pem, &passphrase) else { panic!() };
    key
}

/// In place of one of a build: a release of this version with the next counter.
fn release(directory: &Path, version: &str, counter: u64) -> Vec<u8> {
    let golden = include_bytes!("../../log-client/src/statement/golden/release.json").trim_ascii_end();
    let Ok(Statement { subjects, predicate: Predicate::Release(release) }) = Statement::parse(golden) else { panic!() };
    let release = Release { version: version.parse().unwrap(), counter, ..*release };
    let statement = Statement::new(subjects, Predicate::Release(Box::new(release))).unwrap();
    Envelope::sign(statement.to_bytes(), &[&key(directory, "release.key")]).unwrap().to_bytes()
}

/// A directory with what docs/log.md takes for granted: a passphrase, a roster, and a witness that answers.
fn scene() -> tempfile::TempDir {
    let scratch = tempfile::tempdir().unwrap();
    fs::write(scratch.path().join("passphrase"), "secret").unwrap();
    fs::write(scratch.path().join("roster"), format!("{}\n{}\n", "1".repeat(128), "2".repeat(128))).unwrap();
    scratch
}

/// Starts the witness of the log whose key is there, and writes the policy that asks for it.
fn witness(directory: &Path) {
    let log = Signer::with_key("example.com/log", SignatureType::ED25519, key(directory, "log.key")).unwrap();
    let signer = Signer::new("witness.example", SignatureType::COSIGNATURE, &[7; 32]).unwrap();
    let witness = Witness::open(&directory.join("witness"), signer, vec![log.key().clone()]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let policy = format!("log {}\nwitness w {} http://{address}\nquorum w\n", log.key(), witness.key());
    fs::write(directory.join("witnesses"), policy).unwrap();
    std::thread::spawn(move || witness.serve(&listener, || 1_700_000_000).unwrap());
}

/// Runs the commands of docs/log.md up to one that begins like this, and gives the rest of them.
fn follow<'a>(directory: &Path, commands: &mut impl Iterator<Item = &'a str>, until: &str) {
    for command in commands {
        let words: Vec<_> = command.split(' ').collect();
        match words[..] {
            ["cargo", "xtask", "release", ..] => {
                fs::write(directory.join("release.json"), release(directory, "1.0.0", 1)).unwrap();
                assert_eq!(xtask(directory, "log append log release.json", &[]), (0, "3\n".into()));
                assert_eq!(xtask(directory, "log checkpoint log", &log_key()).0, 0);
            }
            ["cargo", "xtask", ..] => {
                let (code, _, said) = said(directory, command.strip_prefix("cargo xtask ").unwrap(), &[]);
                assert_eq!(code, 0, "{command}: {said}");
            }
            [program, ..] => {
                let status = Command::new(program).args(&words[1..]).current_dir(directory).status().unwrap();
                assert!(status.success(), "{command}");
            }
            [] => {}
        }
        if command.contains("key new log.key") {
            witness(directory);
        }
        if command.starts_with(until) {
            return;
        }
    }
}

fn commands() -> impl Iterator<Item = &'static str> {
    let text = include_str!("../../docs/log.md");
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    blocks.flat_map(str::lines)
}

fn log_key() -> [&'static str; 4] {
    ["--key", "log.key", "--passphrase-file", "passphrase"]
}

#[test]
fn the_operators_page_is_true() {
    let scene = scene();
    let here = scene.path();
    follow(here, &mut commands(), "(to the end)");
    let show = xtask(here, "log show recovered", &[]).1;
    let lines: Vec<_> = show.lines().collect();
    let ends = [
        "urn:vitrine:key-add:1 builder ",
        "urn:vitrine:fleet:1 2 chips under ",
        "live: ; counter from 0 on; 2 chips; 1 keys",
        "urn:vitrine:release:1 1.0.0 counter 1, snp, until 2027-01-15T08:00:00Z, not rebuilt by anyone",
        "live: 1.0.0; counter from 0 on",
        "live: ; counter",
        "urn:vitrine:key-revoke:1 builder ",
        "live: ; counter",
        "urn:vitrine:status:1 5 until ",
    ];
    assert_eq!(lines.len(), ends.len(), "{show}");
    for (line, end) in lines.iter().zip(ends) {
        assert!(line.contains(end) && !line.contains("DOES NOT COUNT"), "{end}: {show}");
    }
    let policy = Policy::parse(&fs::read(here.join("witnesses")).unwrap(), SplitView::Refused).unwrap();
    let proof = Directory::new(here.join("recovered")).prove(3, &policy.logs()[0].key).unwrap();
    assert!(proof.verify(&release(here, "1.0.0", 1), &policy).is_ok());

    // A feed of what was withdrawn is written, for clients to see it, but it is not good; of our own log, or of a mirror.
    let feed = |more: &str| said(here, &format!("log feed {more} --out feed"), &[]);
    let roots = "--root-key root1.key.pub --root-key root2.key.pub --root-key root3.key.pub --root-quorum 2";
    let chip = "2".repeat(128);
    for (more, code, expected) in [
        (format!("recovered --release 1.0.0 --chip {chip} --roster roster"), 1, "does not call the release live"),
        (format!("mirror --release 3 --policy witnesses {roots}"), 1, "status 4 does not call the release live"),
        (
            format!("recovered --release 1.0.0 --chip {} --roster roster", chip.replace('2', "3")),
            2,
            "is not in the fleet",
        ),
        ("recovered --release 2".to_owned(), 2, "is no release of this log that counts"),
        ("mirror --release 3 --policy witnesses".to_owned(), 2, "--root-quorum"),
        (format!("mirror --release 3 {roots}"), 2, "--policy"),
        ("recovered --release 3 --max-age 4000000000".to_owned(), 1, "does not call the release live"),
        ("recovered --release 3 --max-age 1000".to_owned(), 2, "the checkpoint is from 2023-11-14T22:13:20Z"),
        ("mirror --release 3 --seen recovered/checkpoint --policy witnesses ".to_owned() + roots, 2, "rolled back"),
    ] {
        let (found, _, said) = feed(&more);
        assert!(found == code && said.contains(expected), "{more}: {said}");
    }
    let found = Feed::parse(&fs::read(here.join("feed")).unwrap()).unwrap();
    assert!(found.release.is_some_and(|entry| entry == release(here, "1.0.0", 1)) && found.tail.is_none());
    let found = Feed::parse(&fs::read(here.join("release.feed")).unwrap()).unwrap();
    assert!(found.tail.is_some() && found.consistency.is_some() && found.status.is_some());

    // A P-256 key is for submissions; no verdict rests on it, and there is nothing to revoke.
    let run = |words: &str| said(here, words, &[]);
    assert_eq!(run("key new sub.key --algorithm p256 --passphrase-file passphrase").0, 0);
    assert_eq!(run("log key-add recovered sub.key.pub --draft sub.json").0, 0);
    let draft = fs::read_to_string(here.join("sub.json")).unwrap();
    assert!(draft.contains("\"role\":\"submission\"") && draft.contains("\"name\":\"submission\""), "{draft}");
    let (code, _, said) = run("log key-revoke recovered sub.key.pub --reason lost --draft never.json");
    assert!(code == 2 && said.contains("expected a release key that was added") && !here.join("never.json").exists());

    // The directory that was left behind is a backup now: no command goes on from it.
    fs::write(here.join("release.json"), release(here, "1.1.0", 2)).unwrap();
    let page = "log status log --key root1.key --key root2.key --passphrase-file passphrase";
    let draft = "log yank log 1.0.0 --draft other.json";
    for (words, more) in [
        ("log append log release.json", &[][..]),
        ("log append log --lines roster", &[]),
        ("log checkpoint log", &log_key()[..]),
        (page, &[]),
        (draft, &[]),
        ("log submit log signed-1.json signed-3.json", &[]),
    ] {
        let (code, _, said) = crate::said(here, words, more);
        assert!(code == 2 && said.contains("it is from a backup"), "{words}: {said}");
    }
}

#[test]
fn what_does_not_count_is_not_added() {
    let scene = scene();
    let here = scene.path();
    follow(here, &mut commands(), "cargo xtask release ");
    let write = |name: &str, bytes: &[u8]| fs::write(here.join(name), bytes).unwrap();
    write("older", &release(here, "0.9.0", 2));
    write("counter", &release(here, "1.1.0", 1));
    write("note", b"hello");
    let stranger = SigningKey::from_seed(&[3; 32]);
    let Ok(stolen) = Envelope::parse(&release(here, "1.1.0", 2)) else { panic!() };
    let stolen = Envelope::sign(stolen.unverified_payload().to_vec(), &[&stranger]).unwrap();
    write("stranger", &stolen.to_bytes());

    let run = |words: &str| said(here, words, &[]);
    let roots = |one: &str, two: &str| format!("--key {one}.key --key {two}.key --passphrase-file passphrase");
    for draft in ["one", "other"] {
        let valid = if draft == "one" { "7" } else { "6" };
        assert_eq!(run(&format!("log status log --valid {valid} --draft {draft}.json")).0, 0);
    }
    for (draft, key, out) in [
        ("one", "root1", "one-1"),
        ("one", "root2", "one-2"),
        ("one", "release", "one-release"),
        ("other", "root2", "other-2"),
        ("one-1", "root2", "one-12"),
    ] {
        let words = format!("log sign {draft}.json --key {key}.key --passphrase-file passphrase --out {out}.json");
        let (code, _, said) = run(&words);
        assert!(code == 0 && said.contains("urn:vitrine:status:1"), "{words}: {said}");
    }
    let (third, bad) = (roots("root1", "root3"), roots("root1", "release"));
    for (words, expected) in [
        ("log append log older", "version: expected one after 1.0.0, found 0.9.0"),
        ("log append log counter", "counter: expected more than 1, found 1"),
        ("log append log note", "entry 4 would not count: not an envelope"),
        ("log append log stranger", "expected signatures by 1 of the given keys, found 0"),
        ("log append log --lines roster", "not an envelope"),
        ("log submit log one-1.json", "expected signatures by 2 of the given keys, found 1"),
        ("log submit log one-1.json other-2.json", "envelope 2 has another payload than the first"),
        ("log submit log one-1.json one-1.json", "expected one signature of each key, found two of"),
        ("log submit log one-12.json one-2.json", "expected one signature of each key, found two of"),
        ("log submit log one-1.json one-2.json one-release.json", "by the 3 given keys, found one of"),
        (&format!("log yank log 2.0.0 {third}"), "withdrawn: expected one of 1.0.0, found 2.0.0"),
        (&format!("log status log {bad}"), "expected signatures by 2 of the given keys, found 1"),
        ("log status log --key root1.key --passphrase-file passphrase", "2 of the given keys, found 1"),
        (&format!("log key-add log release.key.pub {third}"), "key: expected one that was not there before"),
        (&format!("log key-revoke log root1.key.pub --reason why {third}"), "expected a release key that was added"),
        (&format!("log key-revoke log release.key.pub --reason why --from 9 {third}"), "expected at most 4, found 9"),
        ("log status log --valid 8 --draft long.json", "8 is not in 1..=7"),
        ("log sign note --key root1.key --passphrase-file passphrase --out x", "reading note"),
        ("log sign one-1.json --key root1.key --passphrase-file passphrase --out x", "found two of"),
        ("log checkpoint log --key log.key --passphrase-file passphrase --policy other", "reading other"),
    ] {
        let (code, answer, said) = run(words);
        assert!(code == 2 && answer.is_empty() && said.contains(expected), "{words}: {said}");
    }
    assert_eq!(run("log show log").1.lines().count(), 4);
    // What is in a log whose root keys are laid down later is shown for what it is, whatever it says.
    write("odd", br#"{"\u001b[2J":1}"#);
    let init = format!("log init other --origin example.com/log {}", log_key().join(" "));
    assert_eq!(run(&init).0, 0);
    assert_eq!(run("log append other odd note stranger").1, "0\n1\n2\n");
    assert_eq!(run("log rules other --root-key root1.key.pub --root-quorum 1").0, 0);
    assert_eq!(run(&format!("log checkpoint other {}", log_key().join(" "))).0, 0);
    let show = run("log show other").1;
    assert_eq!(show.matches("DOES NOT COUNT: not ").count(), 3, "{show}");
    assert!(
        show.contains("unknown field `\\u{1b}[2J`") && show.lines().count() == 3 && !show.contains('\u{1b}'),
        "{show}"
    );
    assert_eq!(run("log submit log one-12.json"), (0, "4\n".into(), String::new()));
    // Once more is not another entry, and what was drafted before it is too late.
    assert_eq!(run("log submit log one-1.json one-2.json").1, "4\n");
    let words = "log sign other-2.json --key root1.key --passphrase-file passphrase --out late.json";
    assert_eq!(run(words).0, 0);
    let (code, _, said) = run("log submit log late.json");
    assert!(code == 2 && said.contains("sequence: expected more than 2, found 2"), "{said}");
}

#[test]
fn rules_are_kept_to() {
    let scene = scene();
    let here = scene.path();
    follow(here, &mut commands(), "cargo xtask log init ");
    let run = |words: &str| said(here, words, &[]);
    fs::rename(here.join("witnesses"), here.join("reachable")).unwrap();
    let reachable = fs::read_to_string(here.join("reachable")).unwrap();
    let log = Signer::with_key("example.com/log", SignatureType::ED25519, key(here, "log.key")).unwrap();
    fs::write(here.join("weaker"), format!("log {}\nquorum none\n", log.key())).unwrap();
    let unreachable = format!("{}http://127.0.0.1:9\nquorum w\n", reachable.split_once("http://").unwrap().0);
    fs::write(here.join("unreachable"), unreachable).unwrap();

    assert_eq!(run("log rules log").1, fs::read_to_string(here.join("log/.state/rules")).unwrap());
    let checkpoint = format!("log checkpoint log {}", log_key().join(" "));
    let draft = "log fleet log roster --draft";
    let (code, _, said) = run(&format!("{checkpoint} --policy weaker --split-view-accepted"));
    assert!(code == 2 && said.contains("is not the policy that was laid down"), "{said}");
    assert_eq!(run(&format!("{checkpoint} --policy reachable")).0, 0);
    assert_eq!(run("log rules log --policy unreachable").0, 0);
    for words in [checkpoint.as_str(), &format!("{draft} a"), "log append log roster"] {
        let (code, _, said) = run(words);
        assert!(code == 2 && said.contains("nothing was added or signed: witness w: asking"), "{words}: {said}");
    }
    assert_eq!(run("log rules log --no-policy").0, 0);
    assert_eq!(run(&format!("{draft} a")).0, 0);
    // The first policy that is given is laid down, whether or not anything came of it.
    assert_eq!(run(&format!("{checkpoint} --policy unreachable")).0, 2);
    assert_eq!(run(&checkpoint).0, 2);
    assert_eq!(run("log rules log --no-policy --mirror absent").0, 0);
    let (code, _, said) = run(&format!("{draft} b"));
    assert!(code == 2 && said.contains("absent has no checkpoint"), "{said}");
    fs::remove_file(here.join("log/.state/rules")).unwrap();
    for words in [checkpoint.as_str(), &format!("{draft} b"), "log rules log --no-policy"] {
        assert_eq!(run(words).0, 2, "{words}");
    }
}

#[test]
fn rows_of_a_roster() {
    let scene = scene();
    let (code, row) = xtask(scene.path(), "log row roster", &[&"2".repeat(128)]);
    assert!(code == 0 && row.starts_with(&format!("vitrine-fleet-row 1\n{}\n1\n", "2".repeat(128))), "{row}");
    assert_eq!(xtask(scene.path(), "log row roster", &[&"3".repeat(128)]), (1, String::new()));
}
