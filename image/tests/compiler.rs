//! What is compiled into the guest's programs is a list that a reviewer sees change.

#![expect(clippy::disallowed_methods, reason = "asks cargo what it would compile")]

use image::inputs::crates::{self, LOCKS};
use image::tools::compiler::{GUEST, INFER, Programs};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_lists_of_dependencies_are_current() {
    let head = "# The crates compiled into the guest's programs, or that generate code for them, each with its SHA-256.\n\
                # A test in image/ compares this with Cargo.lock: every line is trusted computing base.\n";
    is_current(&GUEST, LOCKS[0], "enclave-agent/dependencies.txt", head);
    let head = "# The crates compiled into the worker, or that generate code for it, each with its SHA-256; llama-cpp-sys-2 holds\n\
                # llama.cpp. A test in image/ compares this with Cargo.lock: every line is trusted computing base.\n";
    is_current(&INFER, LOCKS[1], "enclave-agent/infer/dependencies.txt", head);
}

fn is_current(programs: &Programs, lock: &str, list: &str, head: &str) {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let lock = checkout.join(lock);
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "no-dev", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(programs.packages.iter().flat_map(|package| ["--package", package.name]))
        .current_dir(lock.parent().unwrap())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let used: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap()))
        .collect();
    let locked = crates::parse(&fs::read_to_string(lock).unwrap()).unwrap();
    let mut expected = head.to_owned();
    for found in locked {
        if used.contains(&format!("{} {}", found.name, found.version)) {
            expected += &format!("{} {} {}\n", found.name, found.version, found.sha256);
        }
    }
    let path = checkout.join(list);
    let listed = fs::read_to_string(&path).unwrap_or_default();
    assert!(listed == expected, "{} is not current; it should be:\n{expected}", path.display());
}
