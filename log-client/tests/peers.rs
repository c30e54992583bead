//! Our log, witness and proofs with those of others: litewitness, torchwood and Tessera.
//!
//! What talks to the programs is ignored unless asked for; `docs/interop.md` says where they come from. With VITRINE_RECORD
//! set, what litewitness said is written to `engines/litewitness.json`, which the other tests replay.

#![expect(clippy::disallowed_methods, reason = "starts the programs that it is told of")]

mod engines;
mod wire;

use engines::{Running, free_ports, program};
use log_client::edge::cosign;
use log_client::edge::directory::Directory;
use log_client::edge::fsck::fsck;
use log_client::edge::log::Log;
use log_client::edge::rules::{Rules, Witnesses};
use log_client::edge::witness::Witness;
use log_client::merkle::{leaf_hash, node_hash};
use log_client::note::{Note, SignatureType};
use log_client::tree::{RightEdge, Tiles};
use log_client::witness::AddCheckpoint;
use log_client::{Accepted, Checkpoint, Policy, Signer, SplitView, VerifierKey};
use measure::Sha256;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fs, thread};
use wire::{Answer, add_checkpoint, answering, spawned};

/// Of a cosignature by our witness.
const NOW: u64 = 1_800_000_000;
const NOBODY: &str = "http://127.0.0.1:9";
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/engines/litewitness.json");

fn log_signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

/// A server of our witness that knows the log.
fn our_witness(state: &Path, seed: u8) -> (VerifierKey, String) {
    let signer = Signer::new(&format!("witness{seed}.example"), SignatureType::COSIGNATURE, &[seed; 32]).unwrap();
    let witness = Witness::open(state, signer, vec![log_signer().key().clone()]).unwrap();
    (witness.key().clone(), spawned(move |listener| witness.serve(&listener, || NOW).unwrap()))
}

/// One after the other, with the status that the specification demands of a witness that knew nothing before.
fn requests() -> Vec<(&'static str, String, u16)> {
    let leaves: Vec<_> = (0..5_u8).map(|number| leaf_hash(&[number])).collect();
    let root = |size: usize| {
        let mut edge = RightEdge::empty();
        leaves[..size].iter().for_each(|leaf| edge.push(*leaf, |_, _| Ok::<_, Infallible>(())).unwrap());
        edge.root()
    };
    let proof = |old, new| Tiles::new(5, |_| Ok::<_, Infallible>(leaves.clone())).consistency(old, new).unwrap();
    let signed = |signer: &Signer, size: u64, root: Sha256| {
        let text = Checkpoint { origin: signer.key().name().to_owned(), size, root, extensions: vec![] }.to_string();
        format!("{text}\n{}", signer.sign(&text, 0))
    };
    let ask = |old, proof: &[Sha256], checkpoint: String| {
        AddCheckpoint { old, proof: proof.to_vec(), checkpoint }.to_string()
    };
    let honest = |old, new: usize| ask(old, &proof(old, new as u64), signed(&log_signer(), new as u64, root(new)));
    let with = |old, new: usize, proof: &[Sha256]| ask(old, proof, signed(&log_signer(), new as u64, root(new)));
    let key = |name, seed| Signer::new(name, SignatureType::ED25519, &[seed; 32]).unwrap();
    let by = |signer: &Signer| ask(0, &[], signed(signer, 2, root(2)));
    let broken = {
        let good = honest(0, 2);
        let (head, signature) = good.rsplit_once(' ').unwrap();
        format!("{head} {}{}", &signature[..20], signature[20..].replacen('A', "B", 1))
    };
    let unsigned = honest(0, 2).rsplit_once("— ").unwrap().0.to_owned();
    let stranger = node_hash(&leaves[0], &leaves[0]);
    vec![
        ("no request", "nonsense".to_owned(), 400),
        ("no old size", honest(0, 2).replace("old ", "new "), 400),
        ("no number", honest(0, 2).replace("old 0", "old -1"), 400),
        ("a proof that is none", honest(0, 2).replace("old 0\n", "old 0\nAAAA\n"), 400),
        ("64 hashes", with(0, 2, &[stranger; 64]), 400),
        ("another log", by(&key("example.com/other", 1)), 404),
        ("another key", by(&key("example.com/log", 2)), 403),
        ("a wrong signature", broken, 403),
        ("no signature", unsigned, 403),
        ("an old size above the new", with(3, 2, &[]), 400),
        ("an old size above the witness's", honest(2, 3), 409),
        ("the first", honest(0, 2), 200),
        ("the same again", honest(2, 2), 200),
        ("as if it were the first", honest(0, 3), 409),
        ("a wrong proof", with(2, 4, &[stranger, stranger]), 422),
        ("no proof", with(2, 4, &[]), 422),
        ("too long a proof", with(2, 4, &[&proof(2, 4)[..], &[stranger]].concat()), 422),
        ("another tree of the same size", ask(2, &[], signed(&log_signer(), 2, stranger)), 422),
        ("grown", honest(2, 4), 200),
        ("an old size below the witness's", honest(2, 5), 409),
        (
            "grown again, with another's signature besides",
            {
                let text = Checkpoint { origin: "example.com/log".into(), size: 5, root: root(5), extensions: vec![] };
                honest(4, 5) + &key("example.org/other", 3).sign(&text.to_string(), 0)
            },
            200,
        ),
    ]
}

/// What the witness with this key says to all requests is what it must be.
fn says_what_it_must(key: &VerifierKey, other: &[(&str, u16)], mut say: impl FnMut(&str, &str) -> Answer) {
    let mut size = 0;
    for (name, request, expected) in requests() {
        let answer = say(name, &request);
        let other = other.iter().find(|(other, _)| *other == name);
        assert_eq!(answer.status, other.map_or(expected, |(_, status)| *status), "{name}: {answer:?}");
        match answer.status {
            200 => {
                let request = AddCheckpoint::parse(request.as_bytes()).unwrap();
                let note = format!("{}{}", request.checkpoint, answer.body);
                let note = Note::parse(note.as_bytes()).unwrap();
                assert_eq!(note.verify([key]).unwrap().len(), 1, "{name}");
                size = note.unverified_text().parse::<Checkpoint>().unwrap().size;
            }
            409 => {
                assert_eq!((answer.content_type.as_str(), answer.body), ("text/x.tlog.size", format!("{size}\n")));
            }
            _ => {}
        }
    }
    assert_eq!(size, 5);
}

/// litewitness takes a checkpoint without any signature for an accident of its own.
const LITEWITNESS_SAYS: [(&str, u16); 1] = [("no signature", 500)];

#[test]
fn our_witness_says_what_it_must() {
    let state = tempfile::tempdir().unwrap();
    let (key, address) = our_witness(state.path(), 100);
    says_what_it_must(&key, &[], |_, request| add_checkpoint(&address, request));
}

#[test]
fn litewitness_said_what_it_must() {
    let recorded = Recorded::read();
    let mut answers = recorded.statuses.into_iter();
    says_what_it_must(&recorded.keys[2], &LITEWITNESS_SAYS, |_, request| {
        let (asked, answer) = answers.next().unwrap();
        assert_eq!(asked, request);
        answer
    });
    assert_eq!(answers.next(), None);
}

type Exchanges = Vec<(String, Answer)>;

/// What was recorded: the keys of three witnesses, what the last said to all requests, and what the others said when our
/// log was cosigned.
struct Recorded {
    keys: Vec<VerifierKey>,
    statuses: Exchanges,
    sessions: Vec<Exchanges>,
}

impl Recorded {
    fn read() -> Self {
        let json: Value = serde_json::from_str(&fs::read_to_string(RECORDED).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let exchange = |one: &Value| {
            let status = one["status"].as_u64().unwrap().try_into().unwrap();
            let answer = Answer { status, content_type: text(&one["content_type"]), body: text(&one["body"]) };
            (text(&one["request"]), answer)
        };
        let exchanges = |list: &Value| list.as_array().unwrap().iter().map(exchange).collect();
        Self {
            keys: json["keys"].as_array().unwrap().iter().map(|key| text(key).parse().unwrap()).collect(),
            statuses: exchanges(&json["statuses"]),
            sessions: json["sessions"].as_array().unwrap().iter().map(exchanges).collect(),
        }
    }

    fn write(&self) {
        let exchange = |(request, answer): &(String, Answer)| {
            let Answer { status, content_type, body } = answer;
            json!({ "request": request, "status": status, "content_type": content_type, "body": body })
        };
        let exchanges = |list: &Exchanges| list.iter().map(exchange).collect::<Value>();
        let json = json!({
            "keys": self.keys.iter().map(VerifierKey::to_string).collect::<Value>(),
            "statuses": exchanges(&self.statuses),
            "sessions": self.sessions.iter().map(exchanges).collect::<Value>(),
        });
        fs::write(RECORDED, format!("{json:#}\n")).unwrap();
    }
}

fn policy(text: &str) -> Witnesses {
    Witnesses::new(format!("log {}\n{text}", log_signer().key()), SplitView::Refused).unwrap()
}

/// The log from now on, under this policy.
fn witnessed(log: Log, witnesses: &Witnesses) -> Log {
    log.with_rules(Rules { witnesses: Some(witnesses.clone()), ..Rules::default() }).unwrap()
}

/// Has a log cosigned: at first by one witness, then by two of three, of which the second has heard nothing yet, then
/// again; and a backup of it, which must not be signed.
fn session(log: &Path, keys: &[VerifierKey], urls: &[String]) {
    let witnesses: String =
        (0..).zip(keys.iter().zip(urls)).map(|(at, (key, url))| format!("witness w{at} {key} {url}\n")).collect();
    let nobody = Signer::new("nobody.example", SignatureType::COSIGNATURE, &[9; 32]).unwrap();
    let two = format!("{witnesses}witness w2 {} {NOBODY}\ngroup g 2 w0 w1 w2\nquorum g\n", nobody.key());
    let first = policy(&format!("{}\nquorum w0\n", witnesses.lines().next().unwrap()));
    let two = policy(&two);
    let checkpoint = |log: &Path, policy: &Witnesses, entries: &[&str]| {
        let entries: Vec<_> = entries.iter().map(|entry| entry.as_bytes().to_vec()).collect();
        let log = witnessed(Log::open(log).unwrap(), policy).append(&entries).unwrap().0;
        cosign::checkpoint(log, &log_signer(), &[]).map(|(_log, accepted)| {
            let accepted = accepted.unwrap();
            (accepted.checkpoint.size, accepted.witnesses.len())
        })
    };
    drop(Log::init(log, &log_signer()).unwrap());
    assert_eq!(checkpoint(log, &first, &["a", "b", "c"]).unwrap(), (3, 1));
    assert_eq!(checkpoint(log, &two, &["d", "e"]).unwrap(), (5, 2));
    let backup = tempfile::tempdir().unwrap();
    assert!(Command::new("cp").arg("-r").arg(log).arg(backup.path().join("log")).status().unwrap().success());
    assert_eq!(checkpoint(log, &two, &["f"]).unwrap(), (6, 2));
    let Accepted { checkpoint: proved, .. } =
        Directory::new(log).prove(4, log_signer().key()).unwrap().verify(b"e", two.policy()).unwrap();
    assert_eq!(proved.size, 6);
    let error = checkpoint(&backup.path().join("log"), &two, &["g"]).unwrap_err().to_string();
    assert!(error.contains("has seen 6 entries, this directory has signed 5: it is from a backup"), "{error}");
}

#[test]
fn a_log_cosigned_by_what_litewitness_said() {
    let recorded = Recorded::read();
    let replay = |exchanges: &Exchanges| {
        let mut exchanges = exchanges.clone().into_iter();
        answering(move |request| {
            let (asked, answer) = exchanges.next().expect("nothing more was asked");
            assert_eq!(asked, request);
            answer
        })
    };
    let urls: Vec<_> = recorded.sessions.iter().map(replay).collect();
    session(tempfile::tempdir().unwrap().path(), &recorded.keys, &urls);
}

/// litewitness with a new key, which an agent of ssh holds.
struct Litewitness {
    _running: [Running; 2],
    key: VerifierKey,
    url: String,
}

impl Litewitness {
    fn start(directory: &Path, name: &str) -> Self {
        let path = |what: &str| directory.join(format!("{name}.{what}"));
        let succeed = |command: &mut Command| {
            let output = command.output().unwrap();
            assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        succeed(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path("key")));
        let agent =
            Running(Command::new("ssh-agent").arg("-Da").arg(path("sock")).stdout(Stdio::null()).spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(60);
        while !path("sock").exists() {
            assert!(Instant::now() < deadline, "ssh-agent does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        let mut add = Command::new("ssh-add");
        succeed(add.arg("-q").arg(path("key")).env("SSH_AUTH_SOCK", path("sock")));
        let print = succeed(Command::new("ssh-keygen").arg("-lf").arg(path("key.pub")));
        let log = log_signer();
        succeed(program("witnessctl").args(["add-log", "-origin", log.key().name(), "-db"]).arg(path("db")));
        let mut known = program("witnessctl");
        known.args(["add-key", "-origin", log.key().name(), "-key", &log.key().to_string(), "-db"]);
        succeed(known.arg(path("db")));
        let [port] = free_ports();
        let address = format!("127.0.0.1:{port}");
        let mut command = program("litewitness");
        command.args(["-name", name, "-listen", &address, "-key", print.split(' ').nth(1).unwrap()]);
        command.arg("-db").arg(path("db")).arg("-ssh-agent").arg(path("sock"));
        let mut witness = Running(command.stderr(Stdio::piped()).spawn().unwrap());
        let mut said = BufReader::new(witness.0.stderr.take().unwrap()).lines().map_while(Result::ok);
        let key =
            said.find_map(|line| Some(line.split_once("vkey=")?.1.to_owned())).expect("litewitness names its key");
        said.find(|line| line.contains("listening")).expect("litewitness listens");
        thread::spawn(move || said.for_each(drop));
        while std::net::TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "litewitness does not answer");
            thread::sleep(Duration::from_millis(10));
        }
        Self { _running: [witness, agent], key: key.parse().unwrap(), url: format!("http://{address}") }
    }
}

#[test]
#[ignore = "needs litewitness"]
fn litewitness_and_us() {
    let scratch = tempfile::tempdir().unwrap();
    let start = |name| Litewitness::start(scratch.path(), name);
    let (first, second, alone) = (start("one.example"), start("two.example"), start("one.example.org"));
    let mut statuses = Vec::new();
    says_what_it_must(&alone.key, &LITEWITNESS_SAYS, |_, request| {
        let answer = add_checkpoint(&alone.url, request);
        statuses.push((request.to_owned(), answer.clone()));
        answer
    });
    let sessions = [&first, &second].map(|_| Arc::new(Mutex::new(Exchanges::new())));
    let relay = |(witness, session): (&&Litewitness, &Arc<Mutex<Exchanges>>)| {
        let (url, session) = (witness.url.clone(), session.clone());
        answering(move |request| {
            let answer = add_checkpoint(&url, &request);
            session.lock().unwrap().push((request, answer.clone()));
            answer
        })
    };
    let urls: Vec<_> = [&first, &second].iter().zip(&sessions).map(relay).collect();
    let keys = vec![first.key.clone(), second.key.clone()];
    let log = scratch.path().join("log");
    session(&log, &keys, &urls);
    if std::env::var_os("VITRINE_RECORD").is_some() {
        let sessions = sessions.iter().map(|session| session.lock().unwrap().clone()).collect();
        let keys = [keys, vec![alone.key.clone()]].concat();
        Recorded { keys, statuses, sessions }.write();
    }
}

#[test]
#[ignore = "needs Tessera's example"]
fn tessera_and_us() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let (witness, url) = our_witness(&path("state"), 100);
    let signer = log_signer();
    let text = format!("log {}\nwitness w {witness} {url}\nquorum w\n", signer.key());
    fs::write(path("policy"), &text).unwrap();
    fs::write(path("key"), secret(&signer, &[1; 32])).unwrap();
    let policy = Policy::parse(text.as_bytes(), SplitView::Refused).unwrap();
    // It brings its log to our witness, from nothing and from what the witness knows.
    for (from, to) in [(0, 3), (3, 300), (300, 301)] {
        let entries = path(&format!("entries{to}"));
        fs::create_dir(&entries).unwrap();
        (from..to)
            .for_each(|number| fs::write(entries.join(format!("{number:04}")), format!("entry {number}")).unwrap());
        let mut example = program("posix-oneshot");
        example.arg("-storage_dir").arg(path("log")).arg("-entries").arg(entries.join("*"));
        let output = example
            .arg("-private_key")
            .arg(path("key"))
            .arg("-witness_policy_file")
            .arg(path("policy"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let signed = fsck(&Directory::new(path("log")), signer.key()).unwrap().unwrap();
        let accepted = policy.accept(&fs::read(path("log/checkpoint")).unwrap()).unwrap();
        assert_eq!((signed.checkpoint().size, accepted.as_of), (to, Some(NOW)));
    }
    let proof = Directory::new(path("log")).prove(299, signer.key()).unwrap();
    let entry = Directory::new(path("log")).entry(299, 301).unwrap();
    proof.verify(&entry, &policy).unwrap();
}

/// A key as Go's programs read it (`golang.org/x/mod/sumdb/note`).
fn secret(signer: &Signer, seed: &[u8; 32]) -> String {
    use base64ct::Encoding as _;
    let bytes = base64ct::Base64::encode_string(&[&[1], &seed[..]].concat());
    format!("PRIVATE+KEY+{}+{}+{bytes}", signer.key().name(), signer.key().id())
}

fn peer(arguments: [&std::ffi::OsStr; 3], proof: Option<&Path>) -> Option<String> {
    let output = program("peer").args(arguments).args(proof).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

#[test]
#[ignore = "needs torchwood and Tessera"]
fn our_log_is_whole_to_others_and_a_damaged_one_is_not() {
    let scratch = tempfile::tempdir().unwrap();
    let mut log = Log::init(scratch.path(), &log_signer()).unwrap();
    let vkey = log.key().to_string();
    let ask = |what: &str| peer([what.as_ref(), scratch.path().as_os_str(), vkey.as_ref()], None);
    for size in [1, 255, 256, 257, 70_000_u64] {
        let entries = (log.tree().size..size).map(|number| Ok(format!("entry {number}").into_bytes()));
        log = log.import(entries, |_| ()).unwrap().sign(&log_signer()).unwrap().publish(&[]).unwrap();
        assert_eq!((ask("fsck"), ask("entries")), (Some(String::new()), Some(format!("{size}\n"))), "{size}");
    }
    for name in ["checkpoint", "tile/entries/272", "tile/0/003", "tile/1/000", "tile/2/000.p/1", "tile/0/273.p/112"] {
        let path = scratch.path().join(name);
        let bytes = fs::read(&path).unwrap();
        let mut damaged = bytes.clone();
        damaged[20] ^= 1;
        fs::write(&path, damaged).unwrap();
        assert_eq!(ask("fsck"), None, "{name}");
        assert!(
            !fsck(&Directory::new(scratch.path()), log_signer().key()).is_ok_and(|checked| checked.is_ok()),
            "{name}"
        );
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(ask("fsck"), Some(String::new()));
}

#[test]
#[ignore = "needs torchwood"]
fn torchwood_accepts_our_proofs_and_refuses_what_we_refuse() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| -> PathBuf { scratch.path().join(name) };
    let witnesses = [100, 101].map(|seed| our_witness(&path(&format!("state{seed}")), seed));
    let lines: String = (0..).zip(&witnesses).map(|(at, (key, url))| format!("witness w{at} {key} {url}\n")).collect();
    let both = format!("log {}\n{lines}group g all w0 w1\nquorum g\n", log_signer().key());
    let stranger = Signer::new("nobody.example", SignatureType::COSIGNATURE, &[9; 32]).unwrap();
    let strange = both.replace("group g all", &format!("witness w2 {}\ngroup g all w2", stranger.key()));
    let entries: Vec<_> = (0..300).map(|number| format!("entry {number}").into_bytes()).collect();
    let log = Log::init(&path("log"), &log_signer()).unwrap().append(&entries).unwrap().0;
    let witnesses = Witnesses::new(both.clone(), SplitView::Refused).unwrap();
    drop(cosign::checkpoint(witnessed(log, &witnesses), &log_signer(), &[]).unwrap());
    let proof = Directory::new(path("log")).prove(258, log_signer().key()).unwrap().to_string();

    let ask = |policy: &str, proof: &str, entry: &str| {
        for (name, text) in [("policy", policy), ("proof", proof), ("entry", entry)] {
            fs::write(path(name), text).unwrap();
        }
        let theirs =
            peer(["proof".as_ref(), path("policy").as_os_str(), path("proof").as_os_str()], Some(&path("entry")));
        let ours = log_client::Proof::parse(proof.as_bytes()).ok().and_then(|proof| {
            proof.verify(entry.as_bytes(), &Policy::parse(policy.as_bytes(), SplitView::Refused).unwrap()).ok()
        });
        assert_eq!(theirs.is_some(), ours.is_some(), "{policy}{proof}{entry}");
        ours.is_some()
    };
    assert!(ask(&both, &proof, "entry 258"));
    assert!(ask(&both, &proof.replacen("\nindex", "\nextra AAAA\nindex", 1), "entry 258"));
    let line = |at: usize| proof.lines().nth(at).unwrap().to_owned() + "\n";
    let flipped = |line: &str| {
        let at = line.len() / 2;
        format!("{}{}{}", &line[..at], if &line[at..=at] == "A" { "B" } else { "A" }, &line[at + 1..])
    };
    let last = proof.lines().count() - 1;
    for (name, policy, proof, entry) in [
        ("another entry", &both, proof.clone(), "entry 257"),
        ("another index", &both, proof.replace("index 258", "index 257"), "entry 258"),
        ("another hash", &both, proof.replace(&line(2), &flipped(&line(2))), "entry 258"),
        ("a hash too few", &both, proof.replace(&line(3), ""), "entry 258"),
        ("another size", &both, proof.replace("\n300\n", "\n301\n"), "entry 258"),
        ("another log", &both, proof.replace("example.com/log\n", "example.com/fog\n"), "entry 258"),
        ("a cosignature too few", &both, proof.replace(&line(last), ""), "entry 258"),
        ("a wrong cosignature", &both, proof.replace(&line(last), &flipped(&line(last))), "entry 258"),
        ("no header", &both, proof.replace("@v1", "@v2"), "entry 258"),
        ("a witness that did not sign", &strange, proof.clone(), "entry 258"),
    ] {
        assert!(!ask(policy, &proof, entry), "{name}");
    }
}
