//! From a checkout to a conversation with the model in the image: README's four commands, and what nobody sees of it.
//!
//! Boots the build in `dist/` (or `$VITRINE_DIST`) under software emulation, twice. Run by `cargo xtask ci`, or by
//! `cargo test -p xtask --test chat -- --ignored` after `cargo xtask build`.

#![expect(clippy::disallowed_methods, reason = "the programs under test, and which build and cache they have")]

#[path = "chat/broken.rs"]
mod broken;
#[path = "chat/capture.rs"]
mod capture;
#[path = "scene/checkout.rs"]
mod checkout;
#[path = "chat/launched.rs"]
mod launched;

use image::result::launch::free_port;
use launched::Launched;
use serde_json::Value;
use simulate::canary::Canary;
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The port in README's commands, which may be anybody's.
const PORT: &str = "8080";
/// What README's third and fourth command begin with, after the build and the release.
const FOUR: [&str; 4] =
    ["cargo xtask build", "cargo xtask release ", "cargo xtask launch ", "cargo vitrine-simulated chat "];
const ACCEPT: &str = "--dangerously-accept-simulated-hardware";
/// Tokens of an answer.
const DOZEN: &str = "12";
const OPERATOR: &str =
    "vitrine-operator 1\nname Example Hosting\ncountry IS\ncontact mail@example.org\nsessions 20\nworkers 2\n";
/// Whom a client of this guest believes to have the machine.
const OPERATORS: &str =
    "names = [\"Example Hosting\"]\ncountries = \"any\"\ncontacts = \"any\"\nmost-sessions = 20\nmost-workers = 2\n";

/// A checkout, and the programs.
struct Scene {
    directory: tempfile::TempDir,
    /// The client that may know simulated hardware.
    vitrine: PathBuf,
}

/// What a program answered.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[test]
#[ignore = "needs a finished build"]
fn from_a_checkout_to_a_conversation() {
    let scene = Scene::new();
    scene.four_commands();
    scene.what_nobody_sees();
}

impl Scene {
    fn new() -> Self {
        let dist = std::env::var_os("VITRINE_DIST").expect("VITRINE_DIST: the output of `cargo xtask build`");
        let directory = tempfile::tempdir().unwrap();
        checkout::clone(&directory.path().join("checkout"), Path::new(&dist));
        // What the alias does, from the same sources.
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--locked", "--package", "client", "--features", "simulated-hardware"]);
        assert!(build.current_dir(here).status().unwrap().success());
        let vitrine = directory.path().join("vitrine");
        fs::copy(Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name("vitrine"), &vitrine).unwrap();
        Self { directory, vitrine }
    }

    fn checkout(&self) -> PathBuf {
        self.directory.path().join("checkout")
    }

    /// A command line of README's, not yet started.
    fn command(&self, line: &str) -> Command {
        let mut words = line.split(' ');
        let program = match (words.next(), words.next()) {
            (Some("cargo"), Some("xtask")) => Path::new(env!("CARGO_BIN_EXE_xtask")),
            (Some("cargo"), Some("vitrine-simulated")) => &self.vitrine,
            _ => panic!("do not know how to run {line:?}"),
        };
        let mut command = Command::new(program);
        command.args(words).current_dir(self.checkout()).stdin(Stdio::null());
        command
    }

    fn run(&self, line: &str) {
        let said = said(&mut self.command(line), "");
        assert_eq!(said.code, Some(0), "{line}: {}", said.stderr);
    }

    /// `vitrine chat` with this policy and these flags.
    fn chat(&self, url: &str, policy: &str, flags: &[&str], question: &str) -> Said {
        let mut command = self.command(&format!("cargo vitrine-simulated --json chat {url} --policy {policy}"));
        said(command.args(flags), question)
    }

    /// README's block, as it stands there.
    fn four_commands(&self) {
        let [build, release, launch, chat] = readme(&self.checkout().join("README.md"));
        let port = free_port().unwrap().to_string();
        self.run(&build);
        self.run(&release);
        let guest = Launched::start(&mut self.command(&launch.replace(PORT, &port)));
        let Said { code, stdout, stderr } = said(&mut self.command(&chat.replace(PORT, &port)), "What is a vitrine?");
        assert_eq!(code, Some(0), "{stderr}");
        assert!(stderr.contains("SIMULATED"), "{stderr}");
        assert!(!stdout.trim().is_empty(), "{stderr}");

        // The same guest is nothing to whoever does not ask for it in so many words, in a program made for it.
        let policy = "releases/simulated/policy.toml";
        let refused = self.chat(guest.url(), policy, &[], "secret");
        assert_eq!((refused.code, refused.failed()), (Some(1), vec![]), "{}", refused.stderr);
        let mut released = Command::new(self.checkout().join("releases/simulated/vitrine"));
        released.current_dir(self.checkout()).args(["--json", "chat", guest.url(), "--policy", policy]);
        let refused = said(&mut released, "secret");
        assert_eq!((refused.code, refused.failed()), (Some(1), vec!["snp.chain.ark.pinned".to_owned()]));
        guest.end();
    }

    /// With everything that a host can look into: what comes out of the guest's devices, and the network.
    fn what_nobody_sees(&self) {
        let at = |name: &str| self.directory.path().join(name);
        let (operator, record, policy) = (at("operator"), at("record"), at("policy.toml"));
        fs::write(&operator, OPERATOR).unwrap();
        let released = fs::read_to_string(self.checkout().join("releases/simulated/policy.toml")).unwrap();
        let mut believed: toml::Table = released.parse().unwrap();
        believed["snp"]["host-data"] = "operator".into();
        believed["operator"] = OPERATORS.parse::<toml::Table>().unwrap().into();
        fs::write(&policy, believed.to_string()).unwrap();

        let model = self.checkout().join("releases/simulated/model.raw");
        let metrics = free_port().unwrap();
        let mut launch =
            self.command(&format!("cargo xtask launch --simulate --metrics-port {metrics} releases/simulated"));
        let guest = Launched::start(launch.arg("--operator").arg(&operator).arg("--record").arg(&record));
        let policy = policy.to_str().unwrap();
        // Who thinks that nobody has configured the machine is told otherwise.
        let refused = self.chat(guest.url(), "releases/simulated/policy.toml", &[ACCEPT], "secret");
        let rules = ["operator.document", "snp.identity.host-data"].map(str::to_owned);
        assert_eq!((refused.code, BTreeSet::from_iter(refused.failed())), (Some(1), rules.into()));

        let word = Canary::new("xylophone-4711-quince");
        let question = format!("Spell {} backwards.", word.text());
        let greedy = |receipt: &str| {
            let flags = [ACCEPT, "--temperature", "0", "--max-tokens", DOZEN, "--receipt", receipt];
            let said = self.chat(guest.url(), policy, &flags, &question);
            assert_eq!(said.code, Some(0), "{}", said.stderr);
            let answer = said.json();
            assert_eq!(answer["usage"]["completion_tokens"].to_string(), DOZEN, "{answer}");
            answer["answer"].as_str().unwrap().to_owned()
        };
        let receipts = [at("first").display().to_string(), at("second").display().to_string()];
        let answers = receipts.each_ref().map(|receipt| greedy(receipt));
        assert_eq!(answers[0], answers[1], "the same question, and no dice");
        // The client has verified them; each is about a request with a salt of its own, and about this answer.
        let receipts = receipts.map(|file| serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap());
        assert_ne!(receipts[0]["salt"], receipts[1]["salt"]);
        assert!(receipts.iter().all(|receipt| receipt["answer"] == answers[0].as_str()));
        let longer = self.while_the_disk_breaks(guest.url(), policy, &question, &model);
        assert!(longer.starts_with(&answers[0]), "the model is in memory, and no block of the disk is read any more");
        // What anybody may ask for in the open is in the capture of it, and in nothing else.
        let asked = Canary::new("marimba-2963-persimmon");
        broken::pages(guest.url(), metrics, asked.text(), &record.join("pages"));
        guest.end();

        for canary in [word, Canary::new(&question), Canary::new(&answers[0]), Canary::new(&longer)] {
            let (files, bytes) = canary.is_not_in(&record, &[]).unwrap();
            assert!(files > 4 && bytes > 100_000, "a console, ports, a capture and QEMU's log; found {files} files");
        }
        let network = record.join("network.pcap");
        asked.is_not_in(&record, std::slice::from_ref(&network)).unwrap();
        let sent = capture::sent(&fs::read(&network).unwrap()).unwrap();
        assert_eq!(sent.unasked, Vec::<String>::new(), "the guest does not begin to talk to anybody");
        assert!(sent.dhcp > 0 && sent.accepted.contains(&8080), "the capture is of something: {sent:?}");
    }

    /// The answer to a question during which every block of the model's disk changes.
    fn while_the_disk_breaks(&self, url: &str, policy: &str, question: &str, model: &Path) -> String {
        let mut command = self.command(&format!("cargo vitrine-simulated chat {url} --policy {policy} {ACCEPT}"));
        command.args(["--shaping", "off", "--temperature", "0", "--max-tokens", "24", question]);
        let mut chat = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdout = chat.stdout.take().unwrap();
        // When the first of the answer is there, most of it is still to come.
        let mut answer = vec![0];
        stdout.read_exact(&mut answer).unwrap();
        broken::every_block(model);
        stdout.read_to_end(&mut answer).unwrap();
        assert!(chat.wait().unwrap().success());
        String::from_utf8(answer).unwrap().trim_end().to_owned()
    }
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr))
    }

    /// The rules that failed.
    fn failed(&self) -> Vec<String> {
        let answer = self.json();
        let rules = answer["verdict"]["rules"].as_array().unwrap_or_else(|| panic!("no verdict: {}", self.stderr));
        let failed = rules.iter().filter(|rule| rule["outcome"] == "failed");
        failed.map(|rule| rule["id"].as_str().unwrap().to_owned()).collect()
    }
}

fn said(command: &mut Command, stdin: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Whoever refuses does not read it.
    let _unread = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// The first four commands of README.
fn readme(path: &Path) -> [String; 4] {
    let text = fs::read_to_string(path).unwrap();
    let (_, block) = text.split_once("```sh\ncargo ").expect("a block of commands");
    let (block, _) = block.split_once("\n```").unwrap();
    let lines: Vec<_> = block.lines().map(str::to_owned).collect();
    let mut four: [String; 4] = lines.try_into().expect("four commands");
    four[0].insert_str(0, "cargo ");
    for (command, begin) in four.iter().zip(FOUR) {
        assert!(command.starts_with(begin), "expected {begin:?}, found {command:?}");
    }
    four
}
