//! `.ci/gate` in a scratch clone: what passes, and for every step something planted that does not. The stages are those of the
//! cache, but for the few that a planted change makes anew. Run by `cargo xtask ci`.

#![expect(clippy::disallowed_methods, reason = "the script under test, and git to make a checkout")]

use log_client::dsse::Envelope;
use log_client::edge::log::Log;
use log_client::keys::at_rest::{Passphrase, SecretKey};
use log_client::note::{SignatureType, Signer};
use log_client::statement::Statement;
use measure::Sha256;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A file of the root, and a comment in it.
const CONTENT: &str = "content/rootfs/etc/systemd/network/ethernet.network";
const COMMENT: &str = "# Planted.\n";

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A clone in which everything is committed and measured.
struct Scene {
    directory: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { directory: tempfile::tempdir().unwrap() };
        let mut clone = Command::new("git");
        clone.args(["clone", "--quiet", "--no-hardlinks"]).arg(here()).arg(scene.path(""));
        assert!(clone.status().unwrap().success());
        // The lock may be of today's packages, if locked ones are gone.
        fs::copy(here().join("image.lock"), scene.path("image.lock")).unwrap();
        assert_eq!(scene.gate(&["build"]).0, 0);
        scene.measured();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join("checkout").join(name)
    }

    fn run(&self, mut command: Command) -> (i32, String, String) {
        command.current_dir(self.path("")).env("XTASK", env!("CARGO_BIN_EXE_xtask"));
        let Output { status, stdout, stderr } = command.output().unwrap();
        let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (status.code().unwrap(), stdout, stderr)
    }

    /// A step: its exit code, and what it prints.
    fn gate(&self, step: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(self.path(".ci/gate"));
        command.args(step);
        self.run(command)
    }

    #[track_caller]
    fn passes(&self, step: &[&str]) -> String {
        let (code, printed, said) = self.gate(step);
        assert_eq!(code, 0, "{step:?}: {said}");
        printed
    }

    #[track_caller]
    fn refuses(&self, step: &[&str], because: &str) {
        let (code, printed, said) = self.gate(step);
        assert!(
            code == 1 && (said.contains(because) || printed.contains(because)),
            "{step:?}: {code}: {said}{printed}"
        );
    }

    fn git(&self, arguments: &[&str]) -> String {
        let mut git = Command::new("git");
        git.args(["-c", "user.name=me", "-c", "user.email=me@example.com"]).args(arguments);
        let (code, printed, said) = self.run(git);
        assert_eq!(code, 0, "{arguments:?}: {said}");
        printed.trim_end().to_owned()
    }

    fn commit(&self) -> String {
        self.git(&["commit", "--quiet", "--all", "--allow-empty", "--message", "a change"]);
        self.git(&["rev-parse", "HEAD"])
    }

    /// Writes and commits measurements.lock: the commit.
    fn measured(&self) -> String {
        let mut update = Command::new(env!("CARGO_BIN_EXE_xtask"));
        update.args(["measure", "--update"]);
        assert_eq!(self.run(update).0, 0);
        self.commit()
    }

    fn append(&self, file: &str, text: &str) {
        File::options().append(true).open(self.path(file)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// The line of a release that says something else of one file, signed and logged with the key of the gate.
    fn forged(&self) -> String {
        let gate = |name: &str| self.path("target/gate").join(name);
        let passphrase = Passphrase::new(b"thrown away".to_vec().into()).unwrap();
        let pem = fs::read_to_string(gate("key")).unwrap();
        let Ok(SecretKey::Ed25519(key)) = SecretKey::from_pem(&pem, &passphrase) else { panic!() };
        let envelope = Envelope::parse(&fs::read(gate("release/release.json")).unwrap()).unwrap();
        let mut statement = Statement::parse(envelope.unverified_payload()).unwrap();
        let subject = statement.subjects.iter_mut().find(|subject| subject.name == "vitrine").unwrap();
        subject.digest.sha256 = Sha256::of(b"another program");
        let entry = Envelope::sign(statement.to_bytes(), &[&key]).unwrap().to_bytes();
        let (log, indexes) = Log::open(&gate("log")).unwrap().append(std::slice::from_ref(&entry)).unwrap();
        let signer = Signer::with_key("gate.invalid/log", SignatureType::ED25519, key).unwrap();
        let log = log.sign(&signer).unwrap().publish(&[]).unwrap();
        fs::write(
            gate("release/release.json.tlog-proof"),
            log.directory().prove(indexes[0], log.key()).unwrap().to_string(),
        )
        .unwrap();
        fs::write(gate("release/release.json"), entry).unwrap();
        let mut pack = Command::new("sh");
        let files = "key.pub vkey release/release.json release/release.json.tlog-proof";
        pack.args(["-c", &format!("cd target/gate && tar -cf - {files} | gzip | base64 -w0")]);
        self.run(pack).1
    }
}

#[test]
#[ignore = "needs a finished build"]
fn every_step_lets_pass_and_refuses() {
    let scene = Scene::new();
    let base = scene.git(&["rev-parse", "HEAD"]);

    // What moves nothing passes, and another machine can have it again.
    scene.append("README.md", "\nA word more.\n");
    scene.commit();
    for step in [&["build"][..], &["measure"], &["diff", &base]] {
        scene.passes(step);
    }
    let line = scene.passes(&["release"]);
    let line = line.lines().last().unwrap();
    scene.passes(&["reproduce", line, "--from", "measure"]);

    // Others' bytes under the same commit are not reproduced.
    scene.refuses(&["reproduce", &scene.forged(), "--from", "measure"], "vitrine");
    let (code, _, said) = scene.gate(&["reproduce", "bm90aGluZwo="]);
    assert_eq!(code, 2, "{said}");

    // A lock that says something else.
    let lock = fs::read_to_string(scene.path("measurements.lock")).unwrap();
    let root = lock.lines().find(|line| line.starts_with("root-sha256")).unwrap();
    fs::write(scene.path("measurements.lock"), lock.replace(root, &format!("root-sha256 = \"{}\"", "0".repeat(64))))
        .unwrap();
    scene.commit();
    scene.refuses(&["measure"], "root volume");
    let (before, after) = lock.split_once("[[stage]]\nname = \"client\"").unwrap();
    let after = after.split_once("[[stage]]").unwrap().1;
    fs::write(scene.path("measurements.lock"), format!("{before}[[stage]]{after}")).unwrap();
    scene.refuses(&["measure"], "stage client");
    fs::write(scene.path("measurements.lock"), lock).unwrap();
    scene.commit();

    // A change that moves a measurement, first without the lock, then with it.
    scene.append(CONTENT, COMMENT);
    scene.commit();
    scene.passes(&["build"]);
    scene.refuses(&["measure"], "root volume");
    scene.refuses(&["diff", &base], "measurements.lock does not");
    let markdown = fs::read_to_string(scene.path("target/gate/diff.md")).unwrap();
    assert!(markdown.contains("etc/systemd/network/ethernet.network"), "{markdown}");
    scene.measured();
    scene.passes(&["measure"]);
    scene.passes(&["diff", &base]);

    // What cannot be built is not passed by.
    scene.append("image.lock", "rubbish\n");
    scene.commit();
    assert_eq!(scene.gate(&["build"]).0, 2);
    assert_eq!(scene.gate(&["diff", "no-such-commit"]).0, 2);
    assert_eq!(scene.gate(&["biuld"]).0, 2);
}

#[test]
fn the_workflow_calls_the_script_and_nothing_that_is_not_pinned() {
    let workflow = fs::read_to_string(here().join(".github/workflows/gate.yml")).unwrap();
    let script = fs::read_to_string(here().join(".ci/gate")).unwrap();
    let values = |key: &str| -> Vec<String> {
        let value = |line: &str| Some(line.trim_start().trim_start_matches("- ").strip_prefix(key)?.trim().to_owned());
        workflow.lines().filter_map(value).collect()
    };
    for action in values("uses:") {
        let commit = action.split(' ').next().unwrap().split('@').nth(1).unwrap_or_default();
        assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{action} is not pinned");
    }
    let (steps, others): (Vec<_>, Vec<_>) = values("run:").into_iter().partition(|run| run.starts_with(".ci/gate "));
    let called: BTreeSet<_> = steps.iter().filter_map(|step| step.split(' ').nth(1)).collect();
    assert_eq!(called, BTreeSet::from(["build", "diff", "measure", "release", "report", "reproduce"]));
    for step in called {
        assert!(script.contains(&format!("\nstep_{step}() {{")), "{step}");
    }
    // Namespaces and the comment are GitHub's, not ours; a job that may write checks nothing out.
    assert!(
        others.len() == 2 && others[0].starts_with("sudo sysctl ") && others[1].contains("gh pr comment"),
        "{others:?}"
    );
    let writing = workflow.split("\n  comment:").nth(1).unwrap();
    assert!(!writing.contains("checkout") && workflow.matches(": write").count() == 1, "{writing}");
}
