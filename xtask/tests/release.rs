//! A release of the finished build: made, entered in a log, verified offline; and what is not released.

#![expect(clippy::disallowed_methods, reason = "the program under test, and git to make a checkout")]

#[path = "scene/checkout.rs"]
mod checkout;

use log_client::dsse::Envelope;
use log_client::edge::log::Log;
use log_client::keys::at_rest::{AnyPublicKey, Passphrase, SecretKey};
use log_client::note::{SignatureType, Signer};
use log_client::statement::{Predicate, Statement};
use log_client::{Policy, Proof, SplitView};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A checkout with nothing uncommitted, a key and a log.
struct Scene {
    directory: tempfile::TempDir,
    dist: PathBuf,
}

impl Scene {
    fn new() -> Self {
        let dist = std::env::var_os("VITRINE_DIST").expect("VITRINE_DIST: the output of `cargo xtask build`").into();
        let scene = Self { directory: tempfile::tempdir().unwrap(), dist };
        checkout::clone(&scene.checkout(), &scene.dist);
        fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
        assert_eq!(
            scene.xtask(&["key", "new", &scene.text("key"), "--passphrase-file", &scene.text("passphrase")]).0,
            0
        );
        Log::init(&scene.path("log"), &scene.signer()).unwrap();
        scene
    }

    fn checkout(&self) -> PathBuf {
        self.path("checkout")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn signer(&self) -> Signer {
        let passphrase = Passphrase::new(b"correct horse".to_vec().into()).unwrap();
        let pem = fs::read_to_string(self.path("key")).unwrap();
        let Ok(SecretKey::Ed25519(key)) = SecretKey::from_pem(&pem, &passphrase) else { panic!() };
        Signer::with_key("example.com/log", SignatureType::ED25519, key).unwrap()
    }

    fn xtask(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        let Output { status, stderr, .. } = command.current_dir(self.checkout()).args(arguments).output().unwrap();
        (status.code().unwrap(), String::from_utf8(stderr).unwrap())
    }

    fn release(&self, version: &str, out: &str, dist: &Path) -> (i32, String) {
        self.release_with(version, out, dist, &[])
    }

    /// With a policy whose only witness nobody reaches.
    fn release_unwitnessed(&self, version: &str, out: &str) -> (i32, String) {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let witness = Signer::new("witness", SignatureType::COSIGNATURE, &[9; 32]).unwrap();
        let (log, witness) = (self.signer(), witness.key().clone());
        let policy = format!("log {}\nwitness w {witness} http://127.0.0.1:{port}/\nquorum w\n", log.key());
        fs::write(self.path("policy"), policy).unwrap();
        self.release_with(version, out, &self.dist, &["--policy", &self.text("policy")])
    }

    fn release_with(&self, version: &str, out: &str, dist: &Path, more: &[&str]) -> (i32, String) {
        let [key, passphrase, log, out] = ["key", "passphrase", "log", out].map(|name| self.text(name));
        let dist = dist.to_str().unwrap();
        let arguments = ["--key", &key, "--passphrase-file", &passphrase, "--log", &log, "--out", &out, "--dist", dist];
        self.xtask(&[&["release", "--version", version], &arguments[..], more].concat())
    }
}

#[test]
#[ignore = "needs a finished build"]
fn released_and_verified_offline() {
    let scene = Scene::new();
    // What no witness has seen is not released, and not lost.
    let refused = "nothing was added or signed: witness w: asking";
    let (code, said) = scene.release_unwitnessed("1.2.3", "one");
    assert!(code == 2 && said.contains(refused), "{said}");
    // The witnesses of the first attempt are asked for from then on, until the owner says otherwise.
    let (code, said) = scene.release("1.2.3", "one", &scene.dist);
    assert!(code == 2 && said.contains(refused) && !scene.path("one").exists(), "{said}");
    assert_eq!(scene.xtask(&["log", "rules", &scene.text("log"), "--no-policy"]).0, 0);
    let (code, said) = scene.release("1.2.3", "one", &scene.dist);
    assert_eq!(code, 0, "{said}");

    let pem = fs::read_to_string(scene.path("key.pub")).unwrap();
    let Ok(AnyPublicKey::Ed25519(key)) = AnyPublicKey::from_pem(&pem) else { panic!() };
    let entry = fs::read(scene.path("one/release.json")).unwrap();
    let envelope = Envelope::parse(&entry).unwrap();
    envelope.verify(&[key], NonZeroUsize::MIN).unwrap();
    let policy = format!("log {}\nquorum none\n", scene.signer().key());
    let policy = Policy::parse(policy.as_bytes(), SplitView::Accepted).unwrap();
    let proof = Proof::parse(&fs::read(scene.path("one/release.json.tlog-proof")).unwrap()).unwrap();
    proof.verify(&entry, &policy).unwrap();

    let statement = Statement::parse(envelope.unverified_payload()).unwrap();
    for subject in &statement.subjects {
        let file = fs::read(scene.path("one").join(&subject.name)).unwrap();
        assert_eq!(measure::Sha256::of(&file), subject.digest.sha256, "{}", subject.name);
    }
    let Predicate::Release(release) = &statement.predicate else { panic!() };
    assert_eq!((release.version.to_string().as_str(), release.counter), ("1.2.3", 1));
    assert_eq!(release.shapes().unwrap().rows().len(), 512);
    assert!(entry.len() < 7000, "{} bytes", entry.len());

    // The client in the release finds itself there.
    let asked = Command::new(scene.path("one/vitrine")).args(["--version", "--json"]).output().unwrap();
    let said: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    assert_eq!((&said["release"], &said["outcome"]), (&"1.2.3".into(), &"ok".into()), "{said}");
    assert_eq!(said["commit"], release.commit.to_string());

    // A run that stopped after the entry was logged goes on from there; a release is not made twice, nor over.
    let (code, said) = scene.release("1.2.3", "again", &scene.dist);
    assert_eq!(code, 0, "{said}");
    assert_eq!(fs::read(scene.path("again/release.json")).unwrap(), entry);
    assert_eq!(scene.release("1.2.3", "one", &scene.dist).0, 2);
    let (code, said) = scene.release("1.2.2", "older", &scene.dist);
    assert!(code == 1 && said.contains("a release must be newer"), "{said}");
    let (code, said) = scene.release("1.3.0", "two", &scene.dist);
    assert_eq!(code, 0, "{said}");
    let two = Envelope::parse(&fs::read(scene.path("two/release.json")).unwrap()).unwrap();
    let Ok(Statement { predicate: Predicate::Release(two), .. }) = Statement::parse(two.unverified_payload()) else {
        panic!()
    };
    assert_eq!(two.counter, 2);

    // Releases are compared like builds, but for a file that is not the released one.
    let (one, two) = (scene.text("one"), scene.text("two/release.json"));
    let (code, said) = scene.xtask(&["diff", &one, &two]);
    assert_eq!(code, 0, "{said}");
    fs::write(scene.path("two/cmdline"), "tampered").unwrap();
    let (code, said) = scene.xtask(&["diff", &one, &two]);
    assert!(code == 2 && said.contains("two/cmdline: the release names a file with sha256"), "{said}");

    // Under root keys, a release that no key in force has signed is refused before it is in the log.
    let size = Log::open(&scene.path("log")).unwrap().tree().size;
    let rules = ["log", "rules", &scene.text("log"), "--root-key", &scene.text("key.pub"), "--root-quorum", "1"];
    assert_eq!(scene.xtask(&rules).0, 0);
    let (code, said) = scene.release("1.4.0", "three", &scene.dist);
    assert!(code == 2 && said.contains("entry 2 would not count: not signed by those who may"), "{said}");
    assert_eq!(Log::open(&scene.path("log")).unwrap().tree().size, size);
    let [key, passphrase, log] = ["key", "passphrase", "log"].map(|name| scene.text(name));
    let add = ["log", "key-add", &log, &format!("{key}.pub"), "--key", &key, "--passphrase-file", &passphrase];
    assert_eq!(scene.xtask(&add).0, 0);
    let (code, said) = scene.release("1.4.0", "three", &scene.dist);
    assert_eq!(code, 0, "{said}");

    // What is made to try things takes no release's place, but its own again.
    let dist = scene.dist.to_str().unwrap();
    let simulate = |out: &str| scene.xtask(&["release", "--simulate", "--dist", dist, "--out", &scene.text(out)]);
    let (code, said) = simulate("one");
    assert!(code == 2 && said.contains("one exists and is not of `release --simulate`"), "{said}");
    for _ in 0..2 {
        let (code, said) = simulate("simulated");
        assert_eq!(code, 0, "{said}");
    }

    // Another build than the measured one, and a checkout that nobody can get.
    let other = scene.path("dist");
    fs::create_dir(&other).unwrap();
    for file in fs::read_dir(&scene.dist).unwrap().map(|file| file.unwrap()) {
        fs::copy(file.path(), other.join(file.file_name())).unwrap();
    }
    let sbom = other.join("sbom.cdx.json");
    fs::write(&sbom, fs::read_to_string(&sbom).unwrap() + " ").unwrap();
    let (code, said) = scene.release("2.0.0", "other", &other);
    assert!(code == 1 && said.contains("measurements.lock"), "{said}");
    fs::write(scene.checkout().join("note"), "").unwrap();
    let (code, said) = scene.release("2.0.0", "other", &scene.dist);
    assert!(code == 2 && said.contains("not committed, such as: ?? note"), "{said}");
    assert!(!scene.path("other").exists());
}
