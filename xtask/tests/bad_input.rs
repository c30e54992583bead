//! What a user who is unlucky or means harm is told: file, line or field, what was expected and found, and the way
//! out. Nothing may appear or change in the checkout.

#![expect(clippy::disallowed_methods, reason = "the program under test, and git to know what is committed")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A committed file; what is replaced in it, once, or nothing to replace it all; by what; the command; its exit code;
/// what the message must contain.
type Case = (&'static str, &'static str, &'static str, &'static str, i32, &'static [&'static str]);

const LOCK: &str = "image.lock";
const REQUEST: &str = "image/request.toml";
const ROOTFS: &str = "mkosi.images/rootfs/mkosi.conf";
const CONTENT: &str = "content/manifest.yaml";
const UPDATE: &str = "`cargo xtask lock --update`";

const CASES: [Case; 27] = [
    (LOCK, "", "", "build", 2, &["image.lock", "line 1", UPDATE]),
    (LOCK, "", "\u{0}\u{1}", "fetch", 2, &["image.lock", "line 1"]),
    (LOCK, "schema = 1", "schema = 2", "build", 2, &["line 2", "expected schema 1, found 2"]),
    (LOCK, "source-date", "colour = 1\nsource-date", "lock --check", 2, &["line 3", "source-date-epoch", "colour"]),
    (LOCK, "source-date-epoch = ", "source-date-epoch = -", "lock", 2, &["line 3", "expected a number"]),
    (LOCK, "\nsha256 = \"", "\nsha256 = \"x", "fetch", 2, &["image.lock", "sha256"]),
    (LOCK, "\nsize = ", "\nsize = 99999999999999", "build", 2, &["image.lock", "size"]),
    (LOCK, "[[package]]\n", "[[package]]\ncolour = 1\n", "build", 2, &["expected the field \"set\"", "colour"]),
    (LOCK, "name = \"apt\"", "name = \"aaa\"", "build", 2, &["\"aaa\" is not sorted: it follows \"adduser\""]),
    (LOCK, "name = \"apt\"", "name = \"adduser\"", "build", 2, &["\"adduser\" is there twice"]),
    (LOCK, "pool = \"pool/", "pool = \"../", "build", 2, &["image.lock", "pool"]),
    (LOCK, "pool = \"pool/", "pool = \"/pool/", "build", 2, &["image.lock", "pool"]),
    (LOCK, "schema = 1\n", "schema = 1\r\n", "build", 2, &["image.lock", "line "]),
    (LOCK, "request-sha256 = \"", "request-sha256 = \"0", "build", 2, &["line 4", "request-sha256"]),
    (REQUEST, "schema = 1", "schema = 2", "build", 2, &["image/request.toml", "expected schema = 1, found 2"]),
    (REQUEST, "schema = 1", "schema = 1\ncolour = 1", "lock", 2, &["image/request.toml", "colour"]),
    (REQUEST, "only = [\"cargo\"", "only = [\"dash\"", "build", 2, &["image.lock", "request-sha256", UPDATE]),
    (REQUEST, "only = [\"cargo\"", "only = [\"dash\"", "lock --check", 1, &["the request has changed", UPDATE]),
    (ROOTFS, "Packages=", "Packages=\n    zsh", "build", 2, &["mkosi.images/rootfs/mkosi.conf", "line ", "zsh"]),
    (CONTENT, "schema: 1", "schema: 2", "build", 2, &["content/manifest.yaml", "schema"]),
    (CONTENT, "schema: 1", "schema: 1\ncolour: red", "build", 2, &["content/manifest.yaml", "colour"]),
    (CONTENT, "      - dev\n", "      - dev\n      - dev\n", "build", 2, &["content/manifest.yaml", "line ", "dev"]),
    (CONTENT, "      - dev\n", "      - ../dev\n", "build", 2, &["content/manifest.yaml", "line "]),
    ("Cargo.lock", "version = 4", "version = 9", "fetch", 2, &["Cargo.lock", "version 3 or 4, found 9"]),
    ("Cargo.lock", "checksum = \"", "checksum = \"x", "fetch", 2, &["Cargo.lock"]),
    (LOCK, "schema = 1", "schema = 1", "build --out content", 2, &["content", "was not made by a build", "--out"]),
    (LOCK, "schema = 1", "schema = 1", "fetch --mirror debian=ftp://x", 2, &["--mirror", "expected http"]),
];

#[test]
fn every_message_helps_and_nothing_is_left() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let committed = copy(checkout, dir.path());
    let mut wrong = Vec::new();
    for (file, from, to, line, code, texts) in CASES {
        let path = dir.path().join(file);
        let good = fs::read(&path).unwrap();
        let text = String::from_utf8(good.clone()).unwrap();
        assert!(text.contains(from), "{file} has no {from:?}");
        let bad = if from.is_empty() { to.to_owned() } else { text.replacen(from, to, 1) };
        fs::write(&path, &bad).unwrap();
        let output = run(dir.path(), cache.path(), &format!("{line} --json"));
        let error = String::from_utf8_lossy(&output.stderr);
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let outcome = if code == 1 { "no" } else { "undecided" };
        let right = output.status.code() == Some(code) && object["outcome"] == outcome && object["schema"] == 1;
        if !right || !texts.iter().all(|text| error.contains(text)) {
            wrong.push(format!("{file}, {from:?} -> {to:?}, {line}: {:?}, {error}", output.status.code()));
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), bad, "{file} was changed by {line}");
        fs::write(&path, good).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files(dir.path()) == committed, "files appeared or changed");
}

#[test]
fn what_is_no_whole_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("directory")).unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let mut erofs = vec![0; 1500];
    erofs[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
    let mut gpt = vec![0; 700];
    gpt[510..520].copy_from_slice(b"\x55\xaaEFI PART");
    let deb = b"!<arch>\ndebian-binary".to_vec();
    for (name, bytes) in [("deb", deb), ("erofs", erofs), ("gpt", gpt), ("empty", vec![]), ("cpio", b"070701".to_vec())]
    {
        fs::write(at(name), bytes).unwrap();
    }
    for name in ["directory", "pipe", "absent", "empty", "deb", "erofs", "gpt", "cpio"] {
        let output = run(dir.path(), dir.path(), &format!("inspect {name}"));
        let error = String::from_utf8_lossy(&output.stderr);
        // What is wrong with a file of a known format is a no.
        assert!(matches!(output.status.code(), Some(1 | 2)), "{name}: {error}");
        assert!(error.contains(name) && !error.contains("panicked"), "{name}: {error}");
    }
}

#[test]
fn usage_errors_are_one_object_too() {
    for (line, text) in [("", "subcommand"), ("biuld", "biuld"), ("build --nope", "--nope"), ("inspect", "FILE")] {
        let output = run(Path::new("/"), Path::new("/"), &format!("--json {line}"));
        let object: serde_json::Value = serde_json::from_slice(&output.stdout).expect(line);
        assert_eq!((output.status.code(), &object["outcome"]), (Some(2), &"undecided".into()), "{line}");
        assert!(object["reason"].as_str().is_some_and(|reason| reason.contains(text)), "{line}: {object}");
    }
}

/// Runs xtask; what takes so long that it must have been taken for good is killed.
fn run(checkout: &Path, cache: &Path, line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(line.split_whitespace()).current_dir(checkout).env("VITRINE_CACHE", cache);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    // An error if it has ended, as it should have.
    let _ended = child.kill();
    child.wait_with_output().unwrap()
}

/// Copies the committed files, and says what it copied.
fn copy(from: &Path, to: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(from).output().unwrap();
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = Path::new(OsStr::from_bytes(name));
        fs::create_dir_all(to.join(name).parent().unwrap()).unwrap();
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
    files(to)
}

/// Every file below `dir` with its content.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path(), fs::read(entry.path()).unwrap())),
        }
    }
    found
}
