//! `measure` as scripts call it: what is on stdout, the exit code, and what is left behind.

#[path = "../../measure/tests/snp/firmware.rs"]
mod firmware;

use firmware::Firmware;
use std::fs;
use std::process::{Command, Output};

const LAUNCH_DIGEST: &str =
    "a53271112091f538dda1a6843778e73093369fb2b7e1bd37565090f07b9c84c82d60bbb3567a50847b906b92f022b62c";

#[expect(clippy::disallowed_methods, reason = "the program under test")]
fn measure(dir: &std::path::Path, line: &str) -> Output {
    let arguments = line.split(' ');
    Command::new(env!("CARGO_BIN_EXE_xtask")).arg("measure").args(arguments).current_dir(dir).output().unwrap()
}

#[test]
fn answers_are_exact() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ovmf"), Firmware::amd_sev().bytes()).unwrap();
    fs::write(dir.path().join("data"), [7; 3 * 4096]).unwrap();
    let line = "snp --ovmf ovmf --vcpus 1 --vcpu-type EPYC-v4";
    for flags in ["", " --trace", " --vmm qemu --guest-features 0x1"] {
        let output = measure(dir.path(), &format!("{line}{flags}"));
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{LAUNCH_DIGEST}\n"), "{flags}");
        // 12 pages of firmware, 31 of sections, one VMSA.
        let lines = String::from_utf8_lossy(&output.stderr).lines().count();
        assert_eq!((lines, output.status.code()), (if flags == " --trace" { 44 } else { 0 }, Some(0)), "{flags}");
    }
    let same = measure(dir.path(), "snp --ovmf ovmf --vcpus 1 --vcpu-sig 0x800f12 --json --trace");
    let json: serde_json::Value = serde_json::from_slice(&same.stdout).unwrap();
    assert_eq!((&json["launch_digest_sha384"], &json["outcome"]), (&LAUNCH_DIGEST.into(), &"ok".into()));
    assert_eq!(json["trace"].as_array().map(Vec::len), Some(44));
    assert_eq!(json["trace"][43]["launch_digest_sha384"], LAUNCH_DIGEST);

    let output = measure(dir.path(), "verity --data data --hash-tree tree");
    assert_eq!((output.stdout.len(), output.status.code()), (65, Some(0)));
    assert_eq!(fs::read(dir.path().join("tree")).unwrap().len(), 2 * 4096);
}

#[test]
fn errors_are_2_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("general"), Firmware::general().bytes()).unwrap();
    fs::write(dir.path().join("short"), &Firmware::amd_sev().bytes()[4096 + 1..]).unwrap();
    fs::write(dir.path().join("partial"), [7; 5000]).unwrap();
    fs::write(dir.path().join("data"), [7; 4096]).unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    let shape = "--vcpus 1 --vcpu-type Milan";
    let cases = [
        (format!("snp --ovmf absent {shape}"), "reading the firmware absent: No such file"),
        (format!("snp --ovmf short {shape}"), "reading the firmware short: expected a firmware of a positive multiple"),
        (format!("snp --ovmf general --kernel data {shape}"), "does not check kernel hashes"),
        (format!("snp --ovmf general --initrd data {shape}"), "--kernel"),
        (format!("snp --ovmf general --append quiet {shape}"), "--kernel"),
        ("snp --ovmf general --vcpus 0 --vcpu-type Milan".to_owned(), "expected 1 to 4096 vCPUs, found 0"),
        ("snp --ovmf general --vcpus 1".to_owned(), "--vcpu-type"),
        ("snp --ovmf general --vcpus 1 --vcpu-sig 800f12".to_owned(), "expected a CPU signature like 0xa00f11"),
        (format!("snp --ovmf general --guest-features 1 {shape}"), "expected SEV features like 0x1"),
        (format!("snp --ovmf general --vmm ec2 {shape}"), "expected one of qemu"),
        ("verity --data absent".to_owned(), "reading absent: No such file"),
        ("verity --data partial --hash-tree tree".to_owned(), "positive multiple of 4096 bytes, found 5000 bytes"),
        ("verity --data data --hash-tree no/tree".to_owned(), "writing no/tree"),
        ("verity --data data --salt abc".to_owned(), "hexadecimal digits"),
        ("verity --data data --hash-tree tree --uuid 1".to_owned(), "expected a lowercase GUID"),
    ];
    for (line, expected) in cases {
        let output = measure(dir.path(), &line);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.contains(expected), "{line}: {error}");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{line}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
}
