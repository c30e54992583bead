//! `vitrine --version`, and what comes with the program: completions.

use super::{committed, run, vitrine};
use log_client::dsse::Envelope;
use log_client::keys::SigningKey;
use log_client::statement::{Statement, Subject};
use measure::Sha256;
use serde_json::Value;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program in a directory of its own; a release that lists the bytes given is written beside it.
fn version(directory: &Path, listed: Option<&[u8]>, arguments: &[&str]) -> (Option<i32>, Value) {
    let program = directory.join("vitrine");
    if !program.exists() {
        // A copy could not be started while another test, in starting something, still has it open for writing.
        fs::hard_link(env!("CARGO_BIN_EXE_vitrine"), &program).unwrap();
    }
    if let Some(listed) = listed {
        let golden = fs::read(committed("log-client/src/statement/golden/release.json")).unwrap();
        let release = Statement::parse(golden.trim_ascii_end()).unwrap();
        let subjects = vec![Subject::new("vitrine", Sha256::of(listed)), Subject::new("initrd", Sha256::of(b""))];
        let statement = Statement::new(subjects, release.predicate).unwrap();
        let envelope = Envelope::sign(statement.to_bytes(), &[&SigningKey::from_seed(&[1; 32])]).unwrap();
        fs::write(directory.join("release.json"), envelope.to_bytes()).unwrap();
    }
    let ran = run(Command::new(&program).env_clear().args(["--version", "--json"]).args(arguments));
    (ran.code, serde_json::from_str(&ran.stdout).unwrap())
}

#[test]
fn the_program_is_found_in_the_release_beside_it() {
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let own = fs::read(env!("CARGO_BIN_EXE_vitrine")).unwrap();
    let answer = |listed, arguments: &[&str]| version(directory.path(), listed, arguments);

    let (code, alone) = answer(None, &[]);
    assert_eq!((code, &alone["outcome"], &alone["commit"]), (Some(0), &"ok".into(), &Value::Null));
    assert_eq!(alone["program_sha256"], Sha256::of(&own).to_string());
    assert_eq!(alone["simulated_hardware"], cfg!(feature = "simulated-hardware"));

    let (code, other) = answer(Some(b"another program"), &[]);
    assert_eq!((code, &other["outcome"], &other["commit"]), (Some(1), &"no".into(), &Value::Null));

    let (code, released) = answer(Some(&own), &[]);
    assert_eq!((code, &released["release"]), (Some(0), &"1.2.3".into()), "{released}");
    assert_eq!(released["commit"], "c0".repeat(20));

    fs::rename(directory.path().join("release.json"), directory.path().join("elsewhere")).unwrap();
    let named = directory.path().join("elsewhere");
    let (code, elsewhere) = answer(None, &["--release", named.to_str().unwrap()]);
    assert_eq!((code, &elsewhere["release"]), (Some(0), &"1.2.3".into()));
    fs::write(&named, "no envelope").unwrap();
    assert_eq!(answer(None, &["--release", named.to_str().unwrap()]).0, Some(2));
}

#[test]
fn bash_completes() {
    let script = run(&mut vitrine(["completions", "bash"])).stdout;
    for (words, current, expected) in [
        ("vitrine fetch", 1, "fetch-collateral"),
        ("vitrine verify --pol", 2, "--policy"),
        ("vitrine completions zs", 2, "zsh"),
    ] {
        let mut bash = Command::new("bash");
        bash.args(["--norc", "--noprofile"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut bash = bash.spawn().unwrap();
        let (before, typed) = words.rsplit_once(' ').unwrap();
        let previous = before.rsplit(' ').next().unwrap();
        let asked = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={current}; _vitrine vitrine {typed} {previous}; echo ${{COMPREPLY[*]}}\n"
        );
        bash.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
        let output = bash.wait_with_output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), expected, "{words}");
    }
}
