//! Logs, witnesses and what is between them, over HTTP on the loopback interface.

mod wire;

use log_client::edge::cosign::{self, Mirror};
use log_client::edge::directory::Directory;
use log_client::edge::log::Log;
use log_client::edge::rules::{Rules, Witnesses};
use log_client::edge::{serve, witness::Witness};
use log_client::merkle::leaf_hash;
use log_client::note::SignatureType;
use log_client::{Checkpoint, Signer, SplitView};
use measure::Sha256;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use tempfile::TempDir;
use wire::{Answer, add_checkpoint, answering, request, spawned};

const NOW: u64 = 1_800_000_000;

fn log_signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

fn witness_signer(number: u8) -> Signer {
    Signer::new(&format!("witness{number}.example"), SignatureType::COSIGNATURE, &[100 + number; 32]).unwrap()
}

fn witness(state: &Path, number: u8) -> String {
    let witness = Witness::open(state, witness_signer(number), vec![log_signer().key().clone()]).unwrap();
    spawned(move |listener| witness.serve(&listener, || NOW + u64::from(number)).unwrap())
}

/// A server that answers every request alike.
fn parrot(body: String) -> String {
    answering(move |_| Answer { status: 200, content_type: "text/plain".into(), body: body.clone() })
}

/// Two of three witnesses at these addresses, and the log.
fn policy(urls: [&str; 3]) -> Witnesses {
    let mut text = format!("log {}\n", log_signer().key());
    for (number, url) in (0..).zip(urls) {
        text += &format!("witness w{number} {} {url}\n", witness_signer(number).key());
    }
    text += "group g 2 w0 w1 w2\nquorum g\n";
    Witnesses::new(text, SplitView::Refused).unwrap()
}

/// The log in this directory, under this policy from now on.
fn witnessed(root: &Path, witnesses: &Witnesses) -> Log {
    let log = Log::open(root).unwrap();
    log.with_rules(Rules { witnesses: Some(witnesses.clone()), ..Rules::default() }).unwrap()
}

fn begun(entries: &[&str]) -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    drop(appended(Log::init(scratch.path(), &log_signer()).unwrap(), entries));
    scratch
}

fn appended(log: Log, entries: &[&str]) -> Log {
    log.append(&entries.iter().map(|entry| entry.as_bytes().to_vec()).collect::<Vec<_>>()).unwrap().0
}

const NOBODY: &str = "http://127.0.0.1:9";

#[test]
fn a_quorum_cosigns_and_a_silent_witness_does_not_matter() {
    let (log, states) = (begun(&["a", "b", "c"]), tempfile::tempdir().unwrap());
    let [one, two] = [0, 1].map(|number| witness(&states.path().join(number.to_string()), number));
    let policy = policy([&one, &two, NOBODY]);
    for (more, size) in [(&["d", "e"][..], 5), (&["f"], 6), (&[], 6)] {
        let opened = appended(witnessed(log.path(), &policy), more);
        let (_, accepted) = cosign::checkpoint(opened, &log_signer(), &[]).unwrap();
        let accepted = accepted.unwrap();
        assert_eq!((accepted.checkpoint.size, accepted.as_of), (size, Some(NOW)));
        let proof = Directory::new(log.path()).prove(1, log_signer().key()).unwrap();
        assert_eq!(proof.verify(b"b", policy.policy()).unwrap(), accepted);
    }
    let origin = Sha256::of(b"example.com/log");
    let shown = get(&one, &format!("/{origin}/checkpoint"));
    assert!(shown.starts_with("HTTP/1.1 200 ") && shown.contains("\r\n\r\nexample.com/log\n6\n"), "{shown}");
}

#[test]
fn without_a_quorum_nothing_is_signed_or_published() {
    let (log, states) = (begun(&["a"]), tempfile::tempdir().unwrap());
    let one = witness(states.path(), 0);
    let honest_line = |text: &str| witness_signer(1).sign(text, NOW);
    let none_text = "example.com/log\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let (garbage, stale) = (parrot("nonsense\n".into()), parrot(honest_line(none_text)));
    let stranger = parrot(witness_signer(7).sign(none_text, NOW));
    for (second, signs, why) in [
        (NOBODY, false, "nothing was added or signed: witness w1: asking"),
        (&garbage, true, "witness w1: signature line 1"),
        (&stale, true, "witness w1: the signature of witness1.example"),
        (&stranger, true, "witness w1: none of the known keys"),
    ] {
        let before = Log::open(log.path()).unwrap().signed().checkpoint().size;
        let opened = witnessed(log.path(), &policy([&one, second, NOBODY]));
        let error = format!("{:#}", cosign::checkpoint(opened, &log_signer(), &[]).unwrap_err());
        assert!(error.contains(why), "{why}: {error}");
        let after = Log::open(log.path()).unwrap().signed().checkpoint().size;
        assert_eq!(after, if signs { 1 } else { before }, "{why}");
        assert_eq!(Directory::new(log.path()).checkpoint(log_signer().key()).unwrap().checkpoint().size, 0);
    }
}

#[test]
fn a_witness_or_a_mirror_that_is_ahead_stops_a_backup() {
    let (log, states) = (begun(&["a"]), tempfile::tempdir().unwrap());
    let [one, two] = [0, 1].map(|number| witness(&states.path().join(number.to_string()), number));
    let policy = policy([&one, &two, NOBODY]);
    let ahead = begun(&["a", "b"]);
    drop(cosign::checkpoint(witnessed(ahead.path(), &policy), &log_signer(), &[]).unwrap());

    let (root, listener) = (ahead.path().to_owned(), TcpListener::bind("127.0.0.1:0").unwrap());
    let served = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || serve::log(&root, &listener).unwrap());
    let mirrors = [Mirror::Directory(ahead.path().into()), served.parse().unwrap()];
    let rules = |witnesses: Option<&Witnesses>, mirrors: &[Mirror]| Rules {
        witnesses: witnesses.cloned(),
        mirrors: mirrors.to_vec(),
        ..Rules::default()
    };
    for (rules, mirrors) in [
        (rules(Some(&policy), &[]), &[][..]),
        (rules(None, &mirrors[..1]), &[]),
        (rules(None, &mirrors[1..]), &[]),
        (rules(None, &[]), &mirrors[..1]),
        (rules(None, &[]), &mirrors[1..]),
    ] {
        let opened = Log::open(log.path()).unwrap().with_rules(rules).unwrap();
        let stale = "has seen 2 entries, this directory has signed 0: it is from a backup";
        let error = cosign::is_newest(&opened, mirrors).unwrap_err().to_string();
        assert!(error.contains(stale), "{error}");
        let error = cosign::checkpoint(appended(opened, &["c", "d", "e"]), &log_signer(), mirrors).unwrap_err();
        assert!(error.to_string().contains(stale), "{error}");
        assert_eq!(Log::open(log.path()).unwrap().signed().checkpoint().size, 0);
    }
    // Who cannot be asked does not say yes.
    let absent = [Mirror::Directory(states.path().join("absent")), NOBODY.parse().unwrap()];
    for mirror in absent {
        let opened = Log::open(log.path()).unwrap().with_rules(Rules::default()).unwrap();
        assert!(cosign::is_newest(&opened, &[mirror]).is_err());
    }
}

#[test]
fn a_policy_of_another_log_is_no_policy() {
    let log = begun(&["a"]);
    let other = Signer::new("example.com/log", SignatureType::ED25519, &[2; 32]).unwrap();
    let policy = format!("log {}\nquorum none\n", other.key());
    let witnesses = Some(Witnesses::new(policy, SplitView::Accepted).unwrap());
    let error = Log::open(log.path()).unwrap().with_rules(Rules { witnesses, ..Rules::default() }).unwrap_err();
    assert!(error.to_string().starts_with("the policy has no line"), "{error}");
}

#[test]
fn one_of_many_at_once_is_cosigned() {
    let states = tempfile::tempdir().unwrap();
    let address = witness(states.path(), 0);
    let status = |size: u64| {
        let root = leaf_hash(&size.to_be_bytes());
        let text = Checkpoint { origin: "example.com/log".into(), size, root, extensions: vec![] }.to_string();
        let body = format!("old 0\n\n{text}\n{}", log_signer().sign(&text, 0));
        add_checkpoint(&address, &body).status
    };
    let mut statuses: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (1..=16).map(|size| scope.spawn(move || status(size))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    statuses.sort();
    assert_eq!(statuses[0], 200);
    assert!(statuses[1..].iter().all(|status| *status == 409), "{statuses:?}");
}

#[test]
fn a_fork_is_kept_as_evidence_and_one_state_has_one_witness() {
    let states = tempfile::tempdir().unwrap();
    let address = witness(states.path(), 0);
    let text = |entry: &[u8]| Checkpoint {
        origin: "example.com/log".into(),
        size: 1,
        root: leaf_hash(entry),
        extensions: vec![],
    };
    let submit = |old: u64, root: &[u8]| {
        let text = text(root);
        let body = format!("old {old}\n\n{text}\n{}", log_signer().sign(&text.to_string(), 0));
        add_checkpoint(&address, &body)
    };
    assert_eq!(submit(0, b"a").status, 200);
    assert_eq!(submit(1, b"b").status, 422);
    assert_eq!(submit(1, b"c").status, 422);
    assert_eq!(submit(0, b"b").content_type, "text/x.tlog.size");
    let kept = states.path().join(Sha256::of(b"example.com/log").to_string());
    let [stored, fork] = ["checkpoint", "fork"].map(|name| fs::read_to_string(kept.join(name)).unwrap());
    assert!(stored.contains("— example.com/log ") && stored.contains("— witness0.example "));
    assert_eq!(fork, format!("{}\n{}", text(b"b"), log_signer().sign(&text(b"b").to_string(), 0)));
    let second = Witness::open(states.path(), witness_signer(0), vec![]).map(|_| ()).unwrap_err();
    assert!(second.to_string().contains("is another witness running there?"));
}

#[test]
fn only_public_files_are_served_and_bad_requests_are_refused() {
    let log = begun(&["a", "b"]);
    drop(cosign::checkpoint(Log::open(log.path()).unwrap(), &log_signer(), &[]).unwrap());
    let root = log.path().to_owned();
    let address = spawned(move |listener| serve::log(&root, &listener).unwrap());
    let status = |path: &str| get(&address, path)[9..12].to_owned();
    for path in ["/checkpoint", "/tile/0/000.p/2", "/tile/entries/000.p/2"] {
        assert_eq!(status(path), "200", "{path}");
    }
    for path in
        ["/", "/.state/signed", "/tile/0/../../.state/signed", "/tile/0/000.p/1", "//checkpoint", "/checkpoint?a"]
    {
        let partial = path == "/tile/0/000.p/1" && log.path().join(&path[1..]).exists();
        assert_eq!(status(path), if partial { "200" } else { "404" }, "{path}");
    }
    for (head, expected) in [
        ("POST /checkpoint HTTP/1.1\r\nContent-Length: 0\r\n", "405"),
        ("POST /checkpoint HTTP/1.1\r\nContent-Length: 1\r\n", "413"),
        ("POST /checkpoint HTTP/1.1\r\nContent-Length: x\r\n", "400"),
        ("POST /checkpoint HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", "411"),
        ("nonsense\r\n", "400"),
    ] {
        assert_eq!(&request(&address, head, "")[9..12], expected, "{head}");
    }
    let long = format!("GET /checkpoint HTTP/1.1\r\nX: {}\r\n", "x".repeat(9000));
    let mut stream = TcpStream::connect(address.trim_start_matches("http://")).unwrap();
    let _refused_meanwhile = stream.write_all(long.as_bytes());
    let mut answer = [0; 12];
    assert!(stream.read_exact(&mut answer).is_err() || answer.ends_with(b"431"));
}

fn get(address: &str, path: &str) -> String {
    request(address, &format!("GET {path} HTTP/1.1\r\n"), "")
}
