//! What `cargo xtask launch` says without starting anything.

#![expect(clippy::disallowed_methods, reason = "runs the command")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn launch(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("launch").args(arguments).current_dir(dir).env("VITRINE_CACHE", dir.join("cache"));
    command.output().unwrap()
}

/// A directory with the names of a build and a command line.
fn dist(dir: &Path) -> String {
    let guid = "01234567-89ab-4def-8123-456789abcdef".parse().unwrap();
    let (data_blocks, salt) = (1.try_into().unwrap(), measure::Sha256::of(b"salt"));
    let root = "cd".repeat(32).parse().unwrap();
    let disk = measure::cmdline::VerityDisk { data: guid, hash: guid, data_blocks, salt, root };
    let tee = measure::cmdline::Tee::Snp;
    let line = measure::cmdline::CommandLine { tee, root: disk.clone(), model: disk }.to_string();
    fs::create_dir(dir.join("dist")).unwrap();
    for name in ["vmlinuz", "initrd", "disk.raw", "model.raw", "ovmf.fd"] {
        fs::write(dir.join("dist").join(name), "").unwrap();
    }
    fs::write(dir.join("dist/cmdline"), &line).unwrap();
    line
}

#[test]
fn print_shows_the_command_for_hardware_and_for_a_simulation() {
    let dir = tempfile::tempdir().unwrap();
    let line = dist(dir.path());
    let simulated = line.replace("vitrine.tee=snp console=null", "vitrine.tee=simulated console=ttyS0");
    for (arguments, yes, no) in [
        (&["--print", "dist"][..], format!("  -append '{line}' \\\n"), "tcg"),
        (
            &["--print", "--simulate", "--firmware", "seabios", "dist"],
            format!("  -append '{simulated}' \\\n"),
            "sev-snp-guest",
        ),
    ] {
        let output = launch(dir.path(), arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.starts_with("qemu-system-x86_64 \\\n  -no-user-config \\\n"), "{text}");
        assert!(text.contains(&yes) && !text.contains(no), "{text}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let undecided = |arguments: &[&str]| {
        let output = launch(dir.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(
        undecided(&["--simulate", "nowhere"]).contains("nowhere is not a build's output, missing: vmlinuz, initrd,")
    );
    let line = dist(dir.path());
    assert!(undecided(&["--simulate", "dist"]).contains("ovmf.fd"), "an empty firmware has no place for hashes");
    if !Path::new("/dev/sev").exists() {
        assert!(undecided(&["dist"]).contains("missing: ") && undecided(&["dist"]).contains("/dev/sev"));
    }
    fs::write(dir.path().join("dist/cmdline"), line + " quiet").unwrap();
    let told = undecided(&["--print", "dist"]);
    assert!(told.contains("dist/cmdline") && told.contains("duplicate token \"quiet\""), "{told}");
    fs::remove_file(dir.path().join("dist/initrd")).unwrap();
    assert!(undecided(&["dist"]).contains("missing: initrd;"));
}
