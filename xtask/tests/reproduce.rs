//! `reproduce` and `archive` with a release of the finished build (`$VITRINE_DIST`): what is followed, what is refused, and what
//! is taken up again. No test here builds the image from nothing; `varied` does. Run by `cargo xtask ci`.

#![expect(
    clippy::disallowed_methods,
    reason = "which cache to test with is in the environment; unshare makes a full disk"
)]

mod scene;

use log_client::Signer;
use log_client::dsse::Envelope;
use log_client::edge::log::Log;
use log_client::note::SignatureType;
use log_client::statement::{Predicate, Statement};
use measure::Sha256;
use scene::{Said, Scene, said};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Vitrine's cache, which has the stages of the build under test.
fn real() -> PathBuf {
    std::env::var_os("VITRINE_CACHE").expect("VITRINE_CACHE is not set; run by cargo xtask ci").into()
}

impl Scene {
    /// Runs it.
    fn xtask(&self, arguments: &[&str]) -> Said {
        said(self.command(arguments))
    }

    /// Another release in a directory of this name, signed and logged: the files of the first, with the changed statement.
    fn release(&self, name: &str, change: impl FnOnce(&mut Statement)) {
        let mut statement = self.statement();
        change(&mut statement);
        let Predicate::Release(_) = &statement.predicate else { panic!() };
        let entry = Envelope::sign(statement.to_bytes(), &[&self.key("key")]).unwrap().to_bytes();
        let proof = self.log(&entry);
        let dir = self.path(name);
        fs::create_dir_all(&dir).unwrap();
        for file in fs::read_dir(self.path("release")).unwrap().map(Result::unwrap) {
            if !dir.join(file.file_name()).exists() {
                fs::copy(file.path(), dir.join(file.file_name())).unwrap();
            }
        }
        fs::write(dir.join("release.json"), &entry).unwrap();
        fs::write(dir.join("release.json.tlog-proof"), proof).unwrap();
    }

    /// Adds an entry to the log and publishes it: its proof.
    fn log(&self, entry: &[u8]) -> String {
        let (log, indexes) = Log::open(&self.path("log")).unwrap().append(&[entry.to_vec()]).unwrap();
        let log = log.sign(&self.signer()).unwrap().publish(&[]).unwrap();
        log.directory().prove(indexes[0], log.key()).unwrap().to_string()
    }

    /// Follows the release in a directory, or of that index or version.
    fn reproduce(&self, release: &str, more: &[&str]) -> Said {
        let believing = self.believing();
        let believing: Vec<_> = believing.iter().map(String::as_str).collect();
        self.xtask(&[&["reproduce", release], &believing[..], more].concat())
    }
}

/// Asserts the exit code and what is said.
#[track_caller]
fn says(said: &Said, code: i32, texts: &[&str]) {
    assert_eq!(said.code, code, "{}", said.stderr);
    for text in texts {
        assert!(said.stderr.contains(text) || said.json.to_string().contains(text), "no {text:?} in {}", said.stderr);
    }
}

#[test]
#[ignore = "needs a finished build"]
fn the_hashes_from_source_to_release_are_followed() {
    let scene = Scene::new();
    let inputs = ["--inputs", "--source", "bare.git"];
    let ok = |said: Said| says(&said, 0, &["entry 0 of example.com/log", "nothing was built"]);
    ok(scene.reproduce("release", &inputs));
    ok(scene.reproduce("release/release.json", &inputs));
    for name in ["0", "1.2.3"] {
        ok(scene.reproduce(name, &["--inputs", "--source", "bare.git", "--log", "log"]));
    }
    // Archives as forges make them, with and without a directory around.
    scene.git("checkout", &["archive", "--output", "../whole.tar.gz", "--prefix=vitrine-1.2.3/", "HEAD"]);
    scene.git("checkout", &["archive", "--output", "../plain.tar", "HEAD"]);
    let unchecked = scene.reproduce("release", &["--inputs", "--source", "whole.tar.gz"]);
    says(&unchecked, 0, &["not checked against", "stages.json"]);
    let mut checked = scene.command(&["reproduce", "../release", "--inputs", "--source", "../plain.tar"]);
    checked.args(scene.believing()).current_dir(scene.path("checkout"));
    says(&said(checked), 0, &["plain.tar: the files of commit"]);

    // Whom nobody believes.
    let key = format!("{}.pub", scene.text("a"));
    let vkey = scene.signer().key().to_string();
    let stranger =
        scene.xtask(&["reproduce", "release", "--key", &key, "--vkey", &vkey, "--inputs", "--source", "bare.git"]);
    says(&stranger, 1, &["is not believed", "none of the keys that you believe signed it"]);
    let nobody = scene.xtask(&["reproduce", "release", "--key", &key, "--inputs"]);
    says(&nobody, 2, &["--policy"]);

    // Forged: another byte in the statement, another place in the log, another file beside it.
    let entry = fs::read_to_string(scene.path("release/release.json")).unwrap();
    scene.release("forged", |_| ());
    let payload = entry.find("\"payload\":\"").unwrap() + 100;
    let other = if &entry[payload..=payload] == "A" { "B" } else { "A" };
    fs::write(scene.path("forged/release.json"), format!("{}{other}{}", &entry[..payload], &entry[payload + 1..]))
        .unwrap();
    says(&scene.reproduce("forged", &inputs), 1, &["forged is not believed"]);
    scene.release("unlogged", |statement| {
        let Predicate::Release(release) = &mut statement.predicate else { panic!() };
        release.counter += 1;
    });
    fs::copy(scene.path("release/release.json.tlog-proof"), scene.path("unlogged/release.json.tlog-proof")).unwrap();
    says(&scene.reproduce("unlogged", &inputs), 1, &["its place in the log: inclusion"]);
    fs::write(scene.path("forged/release.json"), &entry).unwrap();
    fs::write(scene.path("forged/cmdline"), "quiet").unwrap();
    says(&scene.reproduce("forged", &inputs), 1, &["forged/cmdline: signed was sha256"]);
    says(&scene.reproduce("9.9.9", &["--inputs", "--log", "log"]), 1, &["none of the", "is a release 9.9.9"]);
}

#[test]
#[ignore = "needs a finished build"]
fn a_release_of_another_commit_is_found_out() {
    let scene = Scene::new();
    let other = |name: &str, commit: &str| {
        let commit = commit.trim().parse().unwrap();
        scene.release(name, |statement| {
            let Predicate::Release(release) = &mut statement.predicate else { panic!() };
            release.commit = commit;
        });
    };
    let head = || String::from_utf8(scene.git("checkout", &["rev-parse", "HEAD"])).unwrap();
    let edit = |file: &str, from: &str, to: &str| {
        let path = scene.path("checkout").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        scene::checkout::commit(&scene.path("checkout"), file);
    };
    let unit = "content/rootfs/usr/lib/os-release";
    let unit = if scene.path("checkout").join(unit).exists() { unit } else { "content/manifest.yaml" };
    edit(unit, "\n", "\n# another\n");
    other("content", &head());
    edit("image.lock", "source-date-epoch = 1", "source-date-epoch = 2");
    other("lock", &head());
    other("missing", &"1".repeat(40));
    let with = ["--inputs", "--source", "checkout"];
    says(&scene.reproduce("content", &with), 1, &["the source does not give the inputs of the release: stage", unit]);
    says(&scene.reproduce("lock", &with), 1, &["image.lock of commit"]);
    says(&scene.reproduce("missing", &with), 2, &["has no commit 1111"]);
    says(&scene.reproduce("release", &["--inputs", "--source", "nowhere"]), 2, &["nowhere"]);
    // The archive of one commit is not the source of another.
    scene.git("checkout", &["archive", "--output", "../other.tar", "HEAD"]);
    let mut tar = scene.command(&["reproduce", "../content", "--inputs", "--source", "../other.tar"]);
    tar.args(scene.believing()).current_dir(scene.path("checkout"));
    says(&said(tar), 2, &["its files are not those of commit"]);
}

/// A cache without downloads that shares these stages with the real one.
fn cache(dir: &Path, stages: &[&str]) -> PathBuf {
    let cache = dir.join("cache");
    fs::create_dir_all(cache.join("stages")).unwrap();
    for stage in stages {
        symlink(real().join("stages").join(stage), cache.join("stages").join(stage)).unwrap();
    }
    cache
}

/// Has the place of a reproduction say that an earlier run of it has built all stages but the last.
fn resume(place: &Path) {
    for stage in fs::read_dir(real().join("stages")).unwrap().map(Result::unwrap) {
        let here = place.join("stages").join(stage.file_name());
        fs::create_dir_all(&here).unwrap();
        for built in fs::read_dir(stage.path()).unwrap().map(Result::unwrap) {
            let target = here.join(built.file_name());
            if stage.file_name() != "measure" && built.path().join("output").exists() && !target.exists() {
                symlink(built.path(), target).unwrap();
            }
        }
    }
}

const BEFORE_MODEL: [&str; 10] =
    ["tools", "toolchain", "guest", "llama", "infer", "client", "kernel", "initrd", "packages", "rootfs"];

#[test]
#[ignore = "needs a finished build"]
fn from_an_archive_when_nobody_else_has_anything() {
    let scene = Scene::new();
    let believing = scene.believing();
    let believing: Vec<_> = believing.iter().map(String::as_str).collect();
    let archive =
        || scene.xtask(&[&["archive", "release", "--out", "archive", "--source", "bare.git"], &believing[..]].concat());
    says(&archive(), 0, &["has release 1.2.3 and everything it is made of"]);
    says(&archive(), 0, &["has release 1.2.3 and everything it is made of"]);
    // Nothing but the archive: no repository, an empty store, and mirrors that nobody answers at.
    fs::remove_dir_all(scene.path("bare.git")).unwrap();
    fs::remove_dir_all(scene.path("checkout")).unwrap();
    let run = |name: &str, more: &[&str]| {
        let cache = cache(&scene.path(name), &BEFORE_MODEL);
        let mut command = scene.command(&["reproduce", "archive", "--from", "model", "--mirror", "http://127.0.0.1:1"]);
        command.args(&believing).args(more).env("VITRINE_CACHE", cache);
        said(command)
    };
    let whole = run("one", &[]);
    says(
        &whole,
        0,
        &["rootfs  sha256:", "as released, not built: from an earlier build", "packages, rootfs, not built again"],
    );
    assert_eq!((&whole.json["full"], &whole.json["reproduced"]), (&false.into(), &true.into()));

    // A package and the model, wrong and then missing.
    let inputs = files(&scene.path("archive/sha256"));
    let (small, large) = (inputs.first().unwrap(), inputs.last().unwrap());
    for path in [small, large] {
        let name = path.strip_prefix(scene.path("")).unwrap().to_str().unwrap();
        let good = fs::read(path).unwrap();
        let mut bad = good.clone();
        bad[0] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bad).unwrap();
        says(&run("wrong", &[]), 2, &[name, "expected SHA-256"]);
        fs::remove_file(path).unwrap();
        says(&run("missing", &[]), 2, &[name, "there is no such file", "the archive is not whole"]);
        fs::write(path, good).unwrap();
        fs::remove_dir_all(scene.path("wrong")).unwrap();
        fs::remove_dir_all(scene.path("missing")).unwrap();
    }
    let bundle = scene.path("archive/source.bundle");
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    says(&run("bundle", &[]), 2, &["source.bundle"]);
}

/// Every file below `dir`, by size.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for below in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        found.extend(fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()));
    }
    found.sort_by_key(|path| (fs::metadata(path).unwrap().len(), path.clone()));
    found
}

#[test]
#[ignore = "needs a finished build"]
fn what_differs_is_named() {
    let scene = Scene::new();
    // A release of which one byte of the initrd is another than its source gives.
    fs::create_dir(scene.path("planted")).unwrap();
    let mut initrd = fs::read(scene.path("release/initrd")).unwrap();
    let at = initrd.len() / 2;
    initrd[at] ^= 1;
    fs::write(scene.path("planted/initrd"), &initrd).unwrap();
    scene.release("planted", |statement| {
        let subject = statement.subjects.iter_mut().find(|subject| subject.name == "initrd").unwrap();
        subject.digest.sha256 = Sha256::of(&initrd);
    });
    let differs = scene.reproduce("planted", &["--source", "bare.git", "--from", "measure"]);
    says(&differs, 1, &["initrd", "bytes", "as released"]);
    let first = &differs.json["first"];
    assert_eq!(
        (&first["artifact"], &first["kind"], &first["stage"]),
        (&"initrd".into(), &"bytes".into(), &"initrd".into())
    );
    let kept = Path::new(differs.json["dist"].as_str().unwrap());
    assert!(kept.join("initrd").exists(), "what differs is kept");
    fs::remove_dir_all(kept.parent().unwrap()).unwrap();
    // One whose files are honest, and that says what is not so of them.
    scene.release("lie", |statement| {
        let Predicate::Release(release) = &mut statement.predicate else { panic!() };
        release.host_resistant = true;
    });
    let lie = scene.reproduce("lie", &["--source", "bare.git", "--from", "measure"]);
    says(&lie, 1, &["predicate.host_resistant: released true, rebuilt false"]);
    assert_eq!((&lie.json["reproduced"], lie.json["said_otherwise"].as_array().unwrap().len()), (&false.into(), 1));
    fs::remove_dir_all(Path::new(lie.json["dist"].as_str().unwrap()).parent().unwrap()).unwrap();
}

#[test]
#[ignore = "needs a finished build"]
fn interrupted_and_out_of_room_it_goes_on() {
    let scene = Scene::new();
    let cache = cache(&scene.path("own"), &["tools", "toolchain", "guest", "llama", "infer", "client"]);
    symlink(real().join("store"), cache.join("store")).unwrap();
    let command = || {
        let mut command = scene.command(&["reproduce", "release", "--source", "bare.git", "--from", "kernel"]);
        command.args(scene.believing()).env("VITRINE_CACHE", &cache);
        command
    };
    // A user namespace, so that this needs no root; the file system with 20 MiB is gone with it.
    let script = r#"mkdir -p "$VITRINE_CACHE/reproduce" && mount -t tmpfs -o size=20m none "$VITRINE_CACHE/reproduce" && exec "$0" "$@""#;
    let mut full = Command::new("unshare");
    full.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]).arg(command().get_program());
    full.args(command().get_args()).current_dir(scene.path("")).env("VITRINE_CACHE", &cache);
    says(&said(full), 2, &["No space left on device"]);

    let mut child = command().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    let stages =
        cache.join("reproduce").join(Sha256::of(&fs::read(scene.path("release/release.json")).unwrap()).to_string());
    let kernel = || {
        let entries = fs::read_dir(stages.join("stages/kernel")).into_iter().flatten();
        entries.map(Result::unwrap).any(|entry| entry.path().join("output").exists())
    };
    let deadline = Instant::now() + Duration::from_secs(300);
    while !kernel() {
        assert!(Instant::now() < deadline, "no kernel after 300 s");
        std::thread::sleep(Duration::from_millis(50));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let done = said(command());
    says(&done, 0, &["kernel  sha256:", "built before this run was resumed"]);
    assert_eq!(done.json["resumed"], serde_json::json!(["kernel"]));
    assert!(!stages.exists(), "what was reproduced is removed");
    let envelope = Envelope::parse(&fs::read(scene.path("release/release.json")).unwrap()).unwrap();
    assert_eq!(done.json["release_sha256"], envelope.sha256().to_string());
}

#[test]
#[ignore = "needs a finished build"]
fn a_watched_log_is_reproduced_release_by_release() {
    let scene = Scene::new();
    let cache = cache(&scene.path("own"), &[]);
    symlink(real().join("store"), cache.join("store")).unwrap();
    let watch = || {
        // Runs that were interrupted had built every stage but the last: nothing less than all is built for a watched log.
        for release in ["release", "next"].map(|name| scene.path(name).join("release.json")) {
            let Ok(entry) = fs::read(release) else { continue };
            resume(&cache.join("reproduce").join(Sha256::of(&entry).to_string()));
        }
        let mut command = scene.command(&["reproduce", "--watch", "state", "--log", "log", "--source", "bare.git"]);
        command.args(scene.believing()).env("VITRINE_CACHE", &cache);
        command
    };
    // Killed at some moment, it begins where it was.
    let mut child = watch().stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    child.kill().unwrap();
    child.wait().unwrap();
    says(&said(watch()), 0, &["1 releases of 1 entries, 1 of them new: every one was reproduced"]);
    says(&said(watch()), 0, &["1 releases of 1 entries, 0 of them new"]);
    // What cannot be built today stands in nobody's way, and is tried again; what is not by those believed is nothing.
    scene.release("missing", |statement| {
        let Predicate::Release(release) = &mut statement.predicate else { panic!() };
        (release.version, release.commit) = ("1.2.4".parse().unwrap(), measure::Digest::new([1; 20]));
    });
    scene.release("next", |statement| {
        let Predicate::Release(release) = &mut statement.predicate else { panic!() };
        release.version = "1.2.5".parse().unwrap();
    });
    scene.log(b"anything");
    says(
        &said(watch()),
        2,
        &["1 releases were reproduced or not, 1 could not be: release 1.2.4", "has no commit 0101"],
    );
    let done: serde_json::Value = serde_json::from_slice(&fs::read(scene.path("state/done.json")).unwrap()).unwrap();
    assert_eq!(done.as_object().unwrap().len(), 2);
    // A log that forgets is no log.
    fs::remove_dir_all(scene.path("log")).unwrap();
    Log::init(&scene.path("log"), &scene.signer()).unwrap();
    says(&said(watch()), 2, &["the log had 4 entries and now has 0"]);
}

/// Each command of docs/reproduce.md, in its order, in a checkout of the released commit. What builds begins late, and what would
/// build twice, or for ever, is only parsed.
#[test]
#[ignore = "needs a finished build"]
fn the_auditors_page_is_true() {
    let scene = Scene::new();
    let here = scene.path("checkout");
    for name in ["release", "log"] {
        symlink(scene.path(name), here.join(name)).unwrap();
    }
    fs::copy(scene.path("key.pub"), here.join("release.pub")).unwrap();
    fs::copy(scene.path("passphrase"), here.join("passphrase")).unwrap();
    let witness = Signer::new("witness.example", SignatureType::COSIGNATURE, &[7; 32]).unwrap();
    let policy = format!("log {}\nwitness w {}\nquorum w\n", scene.signer().key(), witness.key());
    fs::write(here.join("log.policy"), policy).unwrap();
    // The release's proof gets the witness's signature.
    let proof = scene.path("release/release.json.tlog-proof");
    let text = fs::read_to_string(&proof).unwrap();
    let (_, checkpoint) = text.split_once("\n\n").unwrap();
    let signed = checkpoint.split_once("\n\n").unwrap().0;
    let line = witness.sign(&format!("{signed}\n"), 1_800_000_000);
    fs::write(&proof, format!("{text}{line}")).unwrap();

    let page = include_str!("../../docs/reproduce.md");
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split_once("```").unwrap().0);
    let mut ran = 0;
    for line in blocks.flat_map(str::lines) {
        let mut words: Vec<_> = line.strip_prefix("cargo xtask ").expect(line).split(' ').collect();
        let only_parsed = ["--vary", "--attest", "--watch"].iter().any(|flag| words.contains(flag));
        if only_parsed {
            let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(&words).arg("--help").output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            continue;
        }
        if words[0] == "reproduce" && !words.contains(&"--inputs") {
            words.extend(["--from", "measure"]);
        }
        says(&scene.in_checkout(&words), 0, &[]);
        ran += 1;
    }
    assert_eq!(ran, 5);
}
