//! A release of the finished build, as its publisher makes it: a checkout without changes, a key, a log.

#![expect(
    clippy::disallowed_methods,
    reason = "the program under test, where its build is, and git to make a checkout"
)]

pub(crate) mod checkout;

use log_client::dsse::Envelope;
use log_client::edge::log::Log;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::{Passphrase, SecretKey};
use log_client::note::{SignatureType, Signer};
use log_client::statement::Statement;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Version 1.2.3 in `release`, and everything around it, in a directory.
pub(crate) struct Scene {
    directory: tempfile::TempDir,
    pub(crate) dist: PathBuf,
}

/// What a command answered.
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stderr: String,
    /// The JSON object.
    pub(crate) json: serde_json::Value,
}

impl Scene {
    pub(crate) fn new() -> Self {
        let dist = std::env::var_os("VITRINE_DIST").expect("VITRINE_DIST: the output of `cargo xtask build`").into();
        let scene = Self { directory: tempfile::tempdir().unwrap(), dist };
        checkout::clone(&scene.path("checkout"), &scene.dist);
        fs::write(scene.path("passphrase"), "correct horse\n").unwrap();
        for key in ["key", "a", "b"] {
            let said =
                scene.in_checkout(&["key", "new", &scene.text(key), "--passphrase-file", &scene.text("passphrase")]);
            assert_eq!(said.code, 0, "{}", said.stderr);
        }
        Log::init(&scene.path("log"), &scene.signer()).unwrap();
        let (key, passphrase, log, out) =
            (scene.text("key"), scene.text("passphrase"), scene.text("log"), scene.text("release"));
        let dist = scene.dist.to_str().unwrap();
        let said = scene.in_checkout(&[
            "release",
            "--version",
            "1.2.3",
            "--key",
            &key,
            "--passphrase-file",
            &passphrase,
            "--log",
            &log,
            "--out",
            &out,
            "--dist",
            dist,
        ]);
        assert_eq!(said.code, 0, "{}", said.stderr);
        scene.git("", &["clone", "--quiet", "--bare", &scene.text("checkout"), &scene.text("bare.git")]);
        scene
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    /// The key in that file.
    pub(crate) fn key(&self, name: &str) -> SigningKey {
        let passphrase = Passphrase::new(b"correct horse".to_vec().into()).unwrap();
        let pem = fs::read_to_string(self.path(name)).unwrap();
        let Ok(SecretKey::Ed25519(key)) = SecretKey::from_pem(&pem, &passphrase) else { panic!() };
        key
    }

    /// The log's.
    pub(crate) fn signer(&self) -> Signer {
        Signer::with_key("example.com/log", SignatureType::ED25519, self.key("key")).unwrap()
    }

    /// The statement of the release.
    pub(crate) fn statement(&self) -> Statement {
        let envelope = Envelope::parse(&fs::read(self.path("release/release.json")).unwrap()).unwrap();
        Statement::parse(envelope.unverified_payload()).unwrap()
    }

    /// Runs git in a directory of the scene.
    pub(crate) fn git(&self, directory: &str, arguments: &[&str]) -> Vec<u8> {
        checkout::git(&self.path(directory), arguments)
    }

    /// `xtask`, not yet started, in the scene's directory, which is no checkout.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.current_dir(self.directory.path()).arg("--json").args(arguments);
        command
    }

    pub(crate) fn in_checkout(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command.current_dir(self.path("checkout"));
        said(command)
    }

    /// Whom an auditor believes.
    pub(crate) fn believing(&self) -> Vec<String> {
        let key = format!("{}.pub", self.text("key"));
        ["--key", &key, "--vkey", &self.signer().key().to_string()].map(str::to_owned).to_vec()
    }
}

/// Runs a command to its end.
pub(crate) fn said(mut command: Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    let json = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
    Said { code: status.code().unwrap(), stderr, json }
}
