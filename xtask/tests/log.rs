//! `cargo xtask log` as a script calls it: what it prints, and its exit codes.

#![expect(clippy::disallowed_methods, reason = "the program under test")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const KEY: [&str; 4] = ["--key", "key", "--passphrase-file", "passphrase"];

/// Runs `cargo xtask` in `directory` and gives its exit code and what it answered.
fn xtask(directory: &Path, words: &str, more: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    let Output { status, stdout, .. } =
        command.args(words.split(' ')).args(more).current_dir(directory).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stdout).unwrap())
}

#[test]
fn answers_and_exit_codes() {
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path();
    for (name, bytes) in [("passphrase", "secret"), ("a", "entry a"), ("b", "entry b"), ("lines", "1\n2\n3\n")] {
        fs::write(here.join(name), bytes).unwrap();
    }
    let run = |words: &str| xtask(here, words, &[]);
    assert_eq!(xtask(here, "key new key", &KEY[2..]).0, 0);
    let (code, vkey) = xtask(here, "log init log --origin example.com/log", &KEY);
    assert!(code == 0 && vkey.starts_with("example.com/log+"), "{vkey}");
    assert_eq!(run("log append log a b a"), (0, "0\n1\n0\n".into()));
    assert_eq!(run("log append log --lines lines").0, 0);
    // Nothing is public before it is signed.
    assert_eq!(run("log proof log --entry b"), (1, String::new()));
    let (code, checkpoint) = xtask(here, "log checkpoint log", &KEY);
    assert!(code == 0 && checkpoint.starts_with("example.com/log\n5\n"), "{checkpoint}");
    let (code, proof) = run("log proof log --entry b");
    assert!(code == 0 && proof.starts_with("c2sp.org/tlog-proof@v1\nindex 1\n") && proof.ends_with(&checkpoint));
    assert_eq!(run("log proof log 5").0, 1);
    assert_eq!(run("log show log").1.lines().count(), 5);

    let vkey = vkey.trim_end();
    assert_eq!(xtask(here, "log fsck log --vkey", &[vkey]).0, 0);
    let (code, json) = run("--json log fsck log");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((code, &json["outcome"], &json["size"]), (0, &"ok".into(), &5.into()));
    assert_eq!(run("log fsck a").0, 2);
    assert_eq!(xtask(here, "log fsck empty --vkey", &[vkey]).0, 2);
    fs::write(here.join("log/tile/0/000.p/5"), [0; 160]).unwrap();
    assert_eq!(run("log fsck log").0, 1);
    assert_eq!(run("log append log a").0, 2);
}
