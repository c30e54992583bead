//! An auditor's run: a bare clone and a release of `$VITRINE_DIST` are enough to build the image again, under other
//! circumstances (see `image::result::vary`); the same comes out, tells nothing about them, and the auditor says so in the log.
//! Run by `cargo xtask ci`; there llama.cpp is as the first build left it, and what the auditor would have said is made here.
//! With `--full` it is compiled again.

#![expect(clippy::disallowed_methods, reason = "which cache to use is in the environment, and the released program")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

mod scene;

use anyhow::{Context as _, bail, ensure};
use image::result::launch::{Dist, tools};
use image::result::{traces, vary};
use image::tools::sandbox::{Bind, Network, Sandbox};
use log_client::dsse::Envelope;
use log_client::edge::directory::Directory;
use log_client::edge::log::Log;
use log_client::feed::{Feed, Rebuild};
use log_client::statement::{Predicate, Rebuild as Rebuilding, RebuildHost, Rebuilt, Statement};
use measure::Sha256;
use measure::appraise::Time;
use scene::{Said, Scene, said};
use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use verify::Bundle;

fn main() -> anyhow::Result<()> {
    image::tools::sandbox::entry();
    let is_given = |wanted| std::env::args().any(|argument| argument == wanted);
    if !is_given("--ignored") && !is_given("--include-ignored") {
        println!("ignored: builds the image a second time; run by cargo xtask ci");
        return Ok(());
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let home = || Some(set("HOME")?.join(".cache/vitrine"));
    let cache = set("VITRINE_CACHE").or_else(home).context("VITRINE_CACHE is not set")?;
    let scene = Scene::new();
    let (key, passphrase) = (scene.text("a"), scene.text("passphrase"));
    let attest = ["--log", "log", "--attest", &key, "--passphrase-file", &passphrase, "--statement", "a.json"];
    let mut command = scene.command(&["reproduce", "release", "--source", "bare.git", "--vary", "--keep"]);
    command.args(scene.believing());
    let full = is_given("--full");
    if full {
        command.args(attest)
    } else {
        command.args(["--take", "llama"])
    };
    let Said { code, stderr, json } = said(command);
    println!("{stderr}{} s, {} s of them the build", json["seconds"], json["build_seconds"]);
    let taken = if full { serde_json::json!([]) } else { serde_json::json!(["llama"]) };
    ensure!(code == 0 && json["reproduced"] == true && json["full"] == full && json["from_cache"] == taken, "{json}");
    println!("test an_auditor_reproduces_the_release_under_other_circumstances ... ok");

    let entry = if full { logged(&scene, &json)? } else { by_hand(&scene)? };

    // The bytes are the release's, so what told of the control's circumstances would have differed.
    let control = PathBuf::from(json["dist"].as_str().context("no dist")?);
    let forbidden: Vec<String> = serde_json::from_value(json["must_leave_no_trace"].clone())?;
    ensure!(!forbidden.is_empty(), "nothing to look for");
    let root = scene.path("root");
    extract(&Dist::open(&control)?, &cache, &root)?;
    let mut found = traces::in_tree(&root, &forbidden)?;
    found.extend(traces::in_tree(&control, &forbidden)?);
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    ensure!(lines.is_empty(), "the image tells where it was built:\n{}", lines.join("\n"));

    fs::write(root.join("planted"), format!("made on {}", vary::HOSTNAME))?;
    ensure!(!traces::in_tree(&root, &forbidden)?.is_empty(), "a planted trace was not found");
    println!("test no_trace_of_the_build ... ok");

    quorum(&scene, entry)?;
    println!("test two_rebuilds_satisfy_two_of_two_and_one_does_not ... ok");
    println!("{} passed, 0 failed", if full { 4 } else { 3 });
    fs::remove_dir_all(control.parent().context("a kept dist/ has a place")?)?;
    Ok(())
}

/// What the auditor's run, which answered `json`, has put into the log.
fn logged(scene: &Scene, json: &serde_json::Value) -> anyhow::Result<Vec<u8>> {
    let entry = Directory::new(scene.path("log")).entry(1, 2)?;
    let envelope = Envelope::parse(&entry)?;
    envelope.verify(&[scene.key("a").public()], NonZeroUsize::MIN)?;
    let statement = Statement::parse(envelope.unverified_payload())?;
    let Predicate::Rebuild(rebuild) = &statement.predicate else { bail!("{statement:?}") };
    ensure!(entry == fs::read(scene.path("a.json"))?, "what was logged is not what was written");
    ensure!(rebuild.outcome == Rebuilt::Reproduced && statement.subjects == scene.statement().subjects, "{rebuild:?}");
    ensure!(json["varied"] == serde_json::json!(rebuild.variations) && rebuild.seconds > 0, "{rebuild:?}");
    println!("test it_says_so_in_the_log ... ok");
    Ok(entry)
}

/// The same as far as clients look at it, put into the log from here.
fn by_hand(scene: &Scene) -> anyhow::Result<Vec<u8>> {
    let Statement { subjects, predicate, .. } = scene.statement();
    let Predicate::Release(release) = predicate else { bail!("{predicate:?}") };
    let said = || "not said".to_owned();
    let rebuild = Rebuilding {
        version: release.version,
        release_sha256: Sha256::of(&fs::read(scene.path("release/release.json"))?),
        commit: release.commit,
        lock_sha256: release.lock_sha256,
        built_at: Time(1_795_300_000),
        seconds: 1,
        host: RebuildHost { distribution: said(), kernel: said(), cpu: said() },
        variations: Vec::new(),
        outcome: Rebuilt::Reproduced,
    };
    let payload = Statement::new(subjects, Predicate::Rebuild(rebuild))?.to_bytes();
    let entry = Envelope::sign(payload, &[&scene.key("a")])?.to_bytes();
    Log::open(&scene.path("log"))?.append(std::slice::from_ref(&entry))?;
    Ok(entry)
}

/// Unpacks the root file system with the tools it was made with.
fn extract(dist: &Dist, cache: &Path, into: &Path) -> anyhow::Result<()> {
    fs::create_dir(into)?;
    let bind = |host: PathBuf, guest: &str, writable| Bind { host, guest: guest.into(), writable };
    let argv = ["/usr/bin/fsck.erofs", "--extract=/run/root", "--overwrite", "--no-preserve", "/run/rootfs.erofs"];
    let sandbox = Sandbox {
        root: tools(dist, cache)?,
        binds: vec![
            bind(into.to_path_buf(), "/run/root", true),
            bind(dist.path("rootfs.erofs").into(), "/run/rootfs.erofs", false),
        ],
        argv: argv.map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        network: Network::None,
        uid: 0,
        log: into.with_extension("log"),
    };
    sandbox.run(&mut |_line| ())
}

/// What the released `vitrine verify` says of one and of two of the auditors whom a policy lists, both of whom it asks for. `first`
/// is the first one's statement; the second says the same.
fn quorum(scene: &Scene, first: Vec<u8>) -> anyhow::Result<()> {
    let payload = Envelope::parse(&first)?.unverified_payload().to_vec();
    let second = Envelope::sign(payload, &[&scene.key("b")])?.to_bytes();
    let (log, _) = Log::open(&scene.path("log"))?.append(std::slice::from_ref(&second))?;
    let log = log.sign(&scene.signer())?.publish(&[])?;
    let prove = |index| anyhow::Ok(log.directory().prove(index, log.key())?.to_string().into_bytes());
    let rebuilds = [Rebuild { envelope: first, proof: prove(1)? }, Rebuild { envelope: second, proof: prove(2)? }];
    let key = |name| Sha256::new(*scene.key(name).public().as_bytes());
    let mut policy = include_str!("../../policies/strict.toml").to_owned();
    for (from, to) in [
        ("root-keys = []", format!("root-keys = [\"{}\", \"{}\"]", key("a"), key("b"))),
        ("rebuilders = {}", format!("rebuilders = {{ a = \"{}\", b = \"{}\" }}", key("a"), key("b"))),
        ("rebuilder-quorum = 1", "rebuilder-quorum = 2".to_owned()),
        ("witnesses = \"none\"", format!("witnesses = \"\"\"log {}\nquorum none\n\"\"\"", log.key())),
        ("split-view = \"refused\"", "split-view = \"accepted\"".to_owned()),
    ] {
        ensure!(policy.contains(from), "policies/strict.toml has no {from}");
        policy = policy.replace(from, &to);
    }
    fs::write(scene.path("policy.toml"), policy)?;
    let mut bundle = Bundle::parse(include_bytes!("../../docs/demo/evidence.vitrine-bundle"))?;
    for (rebuilds, expected) in [(&rebuilds[..1], "failed"), (&rebuilds[..], "passed")] {
        bundle.feed = Feed {
            release: Some(fs::read(scene.path("release/release.json"))?),
            release_proof: Some(prove(0)?),
            rebuilds: rebuilds.to_vec(),
            ..Feed::default()
        };
        fs::write(scene.path("bundle"), bundle.to_bytes()?)?;
        let mut command = Command::new(scene.dist.join("vitrine"));
        command.current_dir(scene.path(""));
        command.args(["verify", "bundle", "--policy", "policy.toml", "--now", "1795392000", "--json"]);
        let Said { stderr, json, .. } = said(command);
        let rules = json["verdict"]["rules"].as_array().with_context(|| stderr.clone())?;
        let rule = rules.iter().find(|rule| rule["id"] == "release.rebuilders").context("no release.rebuilders")?;
        ensure!(rule["outcome"] == expected, "{} rebuilds: {rule}", rebuilds.len());
    }
    Ok(())
}
