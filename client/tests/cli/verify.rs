//! `vitrine verify`.

use super::demo::{self, NOW};
use super::{Ran, committed, run, vitrine};
use std::fs::{self, File};
use std::process::{Command, Stdio};
use verify::bundle::SnpEvidence;

/// `verify` of the demonstration's bundle by its policy, at its time.
fn demonstration(more: &[&str]) -> Command {
    let mut command = vitrine(["verify", "--now", &NOW.0.to_string()]);
    command.arg(committed("docs/demo/evidence.vitrine-bundle"));
    command.arg("--policy").arg(committed("docs/demo/policy.toml")).args(more);
    command
}

fn json(ran: &Ran) -> serde_json::Value {
    let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stdout));
    assert_eq!((&value["schema"], &value["command"]), (&1.into(), &"verify".into()));
    value
}

/// The ids of the rules that stand in the way.
fn blocking(value: &serde_json::Value) -> Vec<&str> {
    let rules = value["verdict"]["rules"].as_array().unwrap();
    let blocks = |rule: &&serde_json::Value| rule["outcome"] != "passed" && rule["needed"] == true;
    rules.iter().filter(blocks).map(|rule| rule["id"].as_str().unwrap()).collect()
}

/// A released program knows no simulated hardware, whatever the policy says.
#[cfg(not(feature = "simulated-hardware"))]
#[test]
fn simulated_evidence_is_rejected() {
    let ran = run(&mut demonstration(&[]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.starts_with("REJECTED as of 2026-11-23T00:00:00Z\n"), "{}", ran.stdout);
    assert!(ran.stderr.starts_with("no: rejected: snp.chain.ark.pinned failed (and "), "{}", ran.stderr);
    let ran = run(&mut demonstration(&["--json"]));
    let value = json(&ran);
    assert_eq!(
        (ran.code, &value["outcome"], &value["verdict"]["outcome"]),
        (Some(1), &"no".into(), &"rejected".into())
    );
    assert!(blocking(&value).contains(&"snp.chain.ark.pinned"), "{value}");
    let ran = run(&mut demonstration(&["--dangerously-accept-simulated-hardware"]));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
}

#[cfg(feature = "simulated-hardware")]
#[test]
fn simulated_evidence_is_simulated_and_never_accepted() {
    const FLAG: &str = "--dangerously-accept-simulated-hardware";
    for (more, code, outcome) in
        [(&[][..], 1, "no"), (&[FLAG], 0, "ok"), (&[FLAG, "--report-data", &"00".repeat(64)], 1, "no")]
    {
        let ran = run(&mut demonstration(&[more, &["--json"]].concat()));
        let value = json(&ran);
        assert_eq!((ran.code, &value["outcome"]), (Some(code), &outcome.into()), "{value}");
        let (verdict, rules): (_, &[_]) = match more {
            [_, _, _] => ("rejected", &["snp.identity.report-data"]),
            _ => ("simulated", &[]),
        };
        assert_eq!((&value["verdict"]["outcome"], blocking(&value).as_slice()), (&verdict.into(), rules));
        assert!(ran.stderr.starts_with("SIMULATED HARDWARE"), "{}", ran.stderr);
    }
}

/// `UPDATE_DEMO=1` writes them anew.
#[cfg(feature = "simulated-hardware")]
#[test]
fn the_committed_verdicts_are_what_is_printed() {
    for (name, more) in [("verdict.txt", &[][..]), ("verdict.json", &["--json"])] {
        let path = committed("docs/demo").join(name);
        let Ran { stdout, .. } = run(&mut demonstration(more));
        if std::env::var_os("UPDATE_DEMO").is_some() {
            fs::write(&path, &stdout).unwrap();
        }
        assert_eq!(stdout, fs::read_to_string(&path).unwrap(), "{}; UPDATE_DEMO=1 writes it anew", path.display());
    }
}

#[test]
fn files_in_any_order_and_form_get_the_bundles_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let pem = |tag: &str, der: &[u8]| pem::encode(&pem::Pem::new(tag, der));
    let SnpEvidence { report, leaf, ask, ark, crl } = demo::evidence();
    let [leaf, ask, ark, crl] = [leaf, ask, ark, crl].map(Option::unwrap);
    write("report", &report);
    write("leaf", &leaf);
    write("chain", [ark, ask].map(|der| pem("CERTIFICATE", &der)).concat().as_bytes());
    write("crl", pem("X509 CRL", &crl).as_bytes());
    let policy = committed("docs/demo/policy.toml");
    let expected = run(&mut demonstration(&["--json"]));
    for certificates in [["chain", "leaf"], ["leaf", "chain"]] {
        let mut command =
            vitrine(["--json", "verify", "--now", "2026-11-23T01:00:00+01:00", "--report", "report", "--cert"]);
        command.args(certificates).args(["--crl", "crl", "--policy"]).arg(&policy).current_dir(dir.path());
        let ran = run(&mut command);
        assert_eq!((ran.code, &ran.stdout), (expected.code, &expected.stdout), "{}", ran.stderr);
    }
    for (without, reason) in [("leaf", "(ASK or ASVK) is missing"), ("chain", "(VCEK or VLEK) is missing")] {
        let mut command = vitrine(["verify", "--report", "report", "--cert", without, "--policy"]);
        let ran = run(command.arg(&policy).current_dir(dir.path()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_read_is_undecided_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
    let bundle = fs::read(committed("docs/demo/evidence.vitrine-bundle")).unwrap();
    let policy = fs::read(committed("docs/demo/policy.toml")).unwrap();
    write("bundle", &bundle);
    write("short", &bundle[..bundle.len() - 1]);
    write("garbage", &(0..=255).cycle().take(5000).collect::<Vec<u8>>());
    write("empty", b"");
    write("policy", &policy);
    write("unknown", &[&b"new = 1\n"[..], &policy].concat());
    File::create(dir.path().join("huge")).unwrap().set_len(1 << 40).unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    for (arguments, reason) in [
        ("missing --policy policy", "reading missing: No such file"),
        ("directory --policy policy", "reading directory: expected a regular file"),
        ("huge --policy policy", "reading huge: expected at most"),
        ("/dev/zero --policy policy", "reading /dev/zero: expected a regular file"),
        ("garbage --policy policy", "garbage: bundle: expected the first line"),
        ("empty --policy policy", "empty: bundle: expected the first line"),
        ("short --policy policy", "short: bundle: expected"),
        ("bundle --policy missing", "reading missing: No such file"),
        ("bundle --policy directory", "reading directory: expected a regular file"),
        ("bundle --policy huge", "reading huge: expected at most"),
        ("bundle --policy garbage", "garbage"),
        ("bundle --policy empty", "empty"),
        ("bundle --policy unknown", "unknown"),
        ("bundle --policy policy --release missing", "reading missing: No such file"),
        ("bundle --policy policy --now yesterday", "expected a time such as"),
        ("bundle --policy policy --report-data 00", "expected 128 hexadecimal digits"),
        ("bundle", "--policy"),
        ("--policy policy", "BUNDLE"),
        ("bundle --report garbage --policy policy", "cannot be used with"),
        ("bundle --crl garbage --policy policy", "cannot be used with"),
        ("--report garbage --cert directory --policy policy", "reading directory: expected a regular file"),
        ("--report garbage --cert garbage --policy policy", "garbage: expected a certificate or revocation list"),
        ("--report garbage --crl empty --policy policy", "empty: expected a certificate or revocation list"),
        ("--quote garbage --policy policy", "--collateral"),
    ] {
        let ran = run(vitrine(["verify"]).args(arguments.split(' ')).current_dir(dir.path()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{arguments}: {}", ran.stderr);

        let ran = run(vitrine(["verify", "--json"]).args(arguments.split(' ')).current_dir(dir.path()));
        let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stdout));
        assert_eq!((ran.code, &value["outcome"]), (Some(2), &"undecided".into()), "{arguments}: {value}");
        assert!(value["reason"].as_str().unwrap().contains(reason), "{arguments}: {value}");
    }
}

#[test]
fn nobody_reading_changes_no_answer_but_a_full_disk_is_told() {
    let expected = run(&mut demonstration(&[])).code;
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = run_with(demonstration(&[]), writer.into());
    assert_eq!(ran.code, expected, "{}", ran.stderr);
    let ran = run_with(demonstration(&[]), File::options().write(true).open("/dev/full").unwrap().into());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("writing the answer to stdout"), "{}", ran.stderr);
}

fn run_with(mut command: Command, stdout: Stdio) -> Ran {
    let output = command.stdout(stdout).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
    Ran { code: output.status.code(), stdout: String::new(), stderr: String::from_utf8(output.stderr).unwrap() }
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    let bundle = File::open(committed("docs/demo/evidence.vitrine-bundle")).unwrap();
    let mut command = vitrine(["verify", "/dev/stdin", "--now", &NOW.0.to_string(), "--policy"]);
    let ran = run(command.arg(committed("docs/demo/policy.toml")).stdin(bundle));
    assert_eq!(ran.stdout, run(&mut demonstration(&[])).stdout, "{}", ran.stderr);
}

#[test]
fn for_programs_too_nothing_reaches_a_terminal_but_text() {
    let policy = committed("docs/demo/policy.toml");
    let arguments = ["--json", "verify", "no\u{9b}such\u{202e}file\u{7f}", "--policy", policy.to_str().unwrap()];
    let ran = run(&mut vitrine(arguments));
    assert_eq!(ran.code, Some(2));
    assert!(ran.stdout.trim_end().chars().all(|c| (' '..='~').contains(&c)), "{:?}", ran.stdout);
    let answer: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(answer["reason"].as_str().unwrap().contains("such\u{202e}file\u{7f}"), "{answer}");
}
