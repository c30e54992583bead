//! `vitrine monitor` as cron starts it.

use super::{committed, run, vitrine};
use log_client::Signer;
use log_client::edge::log::Log;
use log_client::edge::serve;
use log_client::keys::SubmissionKey;
use log_client::keys::at_rest::AnyPublicKey;
use log_client::note::SignatureType;
use log_client::rekor::Submission;
use measure::Sha256;
use std::fs;
use std::net::TcpListener;

#[test]
fn alarms_are_lines_and_exit_codes() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let signer = Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap();
    let strict = fs::read_to_string(committed("policies/strict.toml")).unwrap();
    let policy = strict
        .replace("witnesses = \"none\"", &format!("witnesses = '''\nlog {}\nquorum none\n'''", signer.key()))
        .replace("split-view = \"refused\"", "split-view = \"accepted\"");
    fs::write(path("policy.toml"), policy).unwrap();
    let watch = |log: &str, extra: &[&str]| {
        let mut command = vitrine(["monitor", "--once", "--now", "1800000000", "--policy"]);
        command.arg(path("policy.toml")).arg("--state").arg(path("state")).args(["--log", log]);
        run(command.env("PATH", std::env::var_os("PATH").unwrap()).args(extra))
    };
    let directory = path("log");
    let monitor = |extra: &[&str]| watch(directory.to_str().unwrap(), extra);

    let undecided = monitor(&[]);
    assert_eq!((undecided.code, undecided.stdout.as_str()), (Some(2), ""), "{}", undecided.stderr);

    let log = Log::init(&path("log"), &signer).unwrap();
    let quiet = monitor(&["--json"]);
    assert_eq!(quiet.code, Some(0), "{}", quiet.stderr);
    let answer: serde_json::Value = serde_json::from_str(&quiet.stdout).unwrap();
    assert_eq!((&answer["outcome"], &answer["size"]), (&"ok".into(), &0.into()));

    let log = log.append(&["\u{202e}; rm -rf \u{1b}[2J".as_bytes().to_vec()]).unwrap().0;
    drop(log.sign(&signer).unwrap().publish(&[]).unwrap());
    // Nobody took it, so that it is said again.
    let failed = monitor(&["--exec", "false"]);
    assert_eq!(failed.code, Some(1), "{}", failed.stderr);
    assert!(failed.stderr.contains("false ended with exit status: 1"), "{}", failed.stderr);
    let alarmed = monitor(&["--exec", "cat"]);
    assert_eq!(alarmed.code, Some(1), "{}", alarmed.stderr);
    assert_eq!(alarmed.stdout, failed.stdout);
    // What the program was given, it printed; a client that knows simulated hardware says so before.
    assert!(alarmed.stderr.contains(&alarmed.stdout), "{}", alarmed.stderr);
    let alarm: serde_json::Value = serde_json::from_str(&alarmed.stdout).unwrap();
    assert_eq!(
        (&alarm["kind"], &alarm["index"], &alarm["log"]),
        (&"unparsable".into(), &0.into(), &"example.com/log".into())
    );

    let again = monitor(&["--exec", "false"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(0), ""), "{}", again.stderr);

    // The same over HTTP, from the start.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let served = path("log");
    std::thread::spawn(move || serve::log(&served, &listener));
    fs::remove_dir_all(path("state")).unwrap();
    let fetched = watch(&url, &[]);
    assert_eq!((fetched.code, fetched.stdout), (Some(1), alarmed.stdout), "{}", fetched.stderr);
}

#[test]
fn a_rekor_log_is_watched_for_one_key() {
    let scratch = tempfile::tempdir().unwrap();
    let path = |name: &str| scratch.path().join(name);
    let key = SubmissionKey::from_scalar(&[5; 32]).unwrap();
    fs::write(path("key.pub"), AnyPublicKey::P256(key.public()).to_pem()).unwrap();
    fs::write(path("known"), format!("{}  release.json\n", Sha256::of(b"a release"))).unwrap();
    let root = committed("log-client/src/rekor/recorded/trusted_root.json");
    let watch = |log: &str| {
        let mut command = vitrine(["monitor", "--now", "1800000000", "--max-age", "60", "--log", log, "--rekor-key"]);
        command.arg(path("key.pub")).arg("--trusted-root").arg(&root).arg("--state").arg(path("state"));
        run(command.arg("--known").arg(path("known")))
    };
    let directory = path("log");
    let monitor = || watch(directory.to_str().unwrap());

    let signer = Signer::new("log.example", SignatureType::ED25519, &[7; 32]).unwrap();
    let leaf = |release: &[u8]| Submission::sign(release, &key).leaf().into_bytes();
    let log = Log::init(&directory, &signer).unwrap().append(&[b"{}".to_vec(), leaf(b"a release")]).unwrap().0;
    let log = log.sign(&signer).unwrap().publish(&[]).unwrap();
    let quiet = monitor();
    assert_eq!((quiet.code, quiet.stdout.as_str()), (Some(0), ""), "{}", quiet.stderr);
    drop(log.append(&[leaf(b"forged")]).unwrap().0.sign(&signer).unwrap().publish(&[]).unwrap());
    let alarmed = monitor();
    assert_eq!(alarmed.code, Some(1), "{}", alarmed.stderr);
    let alarm: serde_json::Value = serde_json::from_str(&alarmed.stdout).unwrap();
    assert_eq!((&alarm["kind"], &alarm["index"]), (&"unknown-release".into(), &2.into()));
    let elsewhere = watch("http://127.0.0.1:9");
    assert_eq!(elsewhere.code, Some(2));
    assert!(elsewhere.stderr.contains("no log at http://127.0.0.1:9"), "{}", elsewhere.stderr);
}
