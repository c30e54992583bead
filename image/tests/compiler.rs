//! What is compiled into the guest's programs is a list that a reviewer sees change.

#![expect(clippy::disallowed_methods, reason = "asks cargo what it would compile")]

use image::inputs::crates;
use image::tools::compiler::{GUEST, INFER, Workspace};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_list_of_dependencies_is_current() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--edges", "no-dev", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(GUEST.packages.iter().flat_map(|package| ["--package", package.name]))
        .current_dir(checkout)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let used: BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| format!("{name} {}", rest.split(' ').next().unwrap()))
        .collect();
    let locked = crates::parse(&fs::read_to_string(checkout.join("Cargo.lock")).unwrap()).unwrap();
    let mut expected = String::from(
        "# The crates compiled into the guest's programs, or that generate code for them, each with its SHA-256.\n\
         # A test in image/ compares this with Cargo.lock: every line is trusted computing base.\n",
    );
    for found in locked {
        if used.contains(&format!("{} {}", found.name, found.version)) {
            expected += &format!("{} {} {}\n", found.name, found.version, found.sha256);
        }
    }
    let path = checkout.join("enclave-agent/dependencies.txt");
    let listed = fs::read_to_string(&path).unwrap();
    assert!(listed == expected, "{} is not current; it should be:\n{expected}", path.display());
}

/// cargo is not asked: nobody but the image's build needs these crates on this machine.
#[test]
fn the_list_of_the_workers_dependencies_is_current() {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut expected = String::from(
        "# The crates that the worker is made of, those included that only generate code for it or that cargo only looks\n\
         # at, each with its SHA-256; llama-cpp-sys-2 holds llama.cpp. A test in image/ compares this with Cargo.lock.\n",
    );
    for found in Workspace::read(checkout, &INFER).unwrap().crates() {
        expected += &format!("{} {} {}\n", found.name, found.version, found.sha256);
    }
    let path = checkout.join("enclave-agent/infer/dependencies.txt");
    let listed = fs::read_to_string(&path).unwrap();
    assert!(listed == expected, "{} is not current; it should be:\n{expected}", path.display());
}
