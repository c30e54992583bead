//! What must hold of the repository as a whole, and no compiler checks.

#![expect(clippy::disallowed_methods, reason = "asks git what is committed and cargo what is linked")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &str) -> String {
    fs::read_to_string(checkout().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn toml(path: &str) -> toml::Table {
    toml::from_str(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(checkout()).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The committed files that are text, with it.
fn texts() -> Vec<(String, String)> {
    let names = output("git", &["ls-files", "-z"]);
    let bytes = |name: &str| fs::read(checkout().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let text = |name: &str| Some((name.to_owned(), String::from_utf8(bytes(name)).ok()?));
    let texts: Vec<_> = names.split_terminator('\0').filter_map(text).collect();
    assert!(texts.len() > 100, "found only {} texts", texts.len());
    texts
}

/// Whether a licence expression allows a choice of `allowed` ones only. `OR` (or `/`, as crates once wrote it) binds
/// less than `AND`; parentheses are only ever around what is one side of an `AND`.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.replace('/', " OR ");
    match expression.split_once(") AND ") {
        Some((left, right)) => is_allowed(left.trim_start_matches('('), allowed) && is_allowed(right, allowed),
        None => expression.split(" OR ").any(|choice| choice.split(" AND ").all(|one| allowed.contains(one.trim()))),
    }
}

#[test]
fn licences_and_bans() {
    let deny = toml("deny.toml");
    let strings = |list: &toml::Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
    };
    let allowed = strings(&deny["licenses"]["allow"]);
    for (expression, expected) in [
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0-only", false),
        ("GPL-3.0-only", false),
        ("MIT AND GPL-3.0-only", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }

    let arguments = ["metadata", "--offline", "--locked", "--format-version", "1"];
    let linked = [&arguments[..], &["--filter-platform", "x86_64-unknown-linux-gnu"]].concat();
    let metadata: serde_json::Value = serde_json::from_str(&output("cargo", &linked)).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "cargo names only {} packages", packages.len());
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or(""));
        assert!(is_allowed(licence, &allowed), "{name}: {licence:?} is not in deny.toml");
    }
    for lock in ["Cargo.lock", "enclave-agent/infer/Cargo.lock", "fuzz/Cargo.lock"] {
        for banned in deny["bans"]["deny"].as_array().unwrap() {
            let name = banned["name"].as_str().unwrap();
            assert!(!read(lock).contains(&format!("name = \"{name}\"\n")), "{lock}: {name} is banned by deny.toml");
        }
    }
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let here = checkout().display().to_string();
    for (name, text) in texts().into_iter().filter(|(name, _)| name != "xtask/tests/tidy.rs") {
        for (at, line) in text.lines().enumerate() {
            // Examples' users are called me and you.
            let home = line
                .match_indices("/home/")
                .any(|(at, _)| !["me", "you"].iter().any(|user| line[at + 6..].starts_with(user)));
            let found = home || line.contains("/root/") || line.contains(&here);
            assert!(!found, "{name}:{}: {line}", at + 1);
        }
    }
}

#[test]
fn every_source_file_says_what_it_is() {
    for (name, text) in texts() {
        let first = text.lines().next().unwrap_or("");
        // A fuzz target is one line; tests are described by the module they test.
        let exempt = name.contains("fuzz_targets/") || name.ends_with("/tests.rs");
        assert!(!name.ends_with(".rs") || exempt || first.starts_with("//! "), "{name}: no module documentation");
    }
}

#[test]
fn every_label_is_documented() {
    let formats = read("docs/formats.md");
    let mut labels = BTreeSet::new();
    for (name, text) in texts().iter().filter(|(name, _)| name.ends_with(".rs") && !name.contains("tests")) {
        // Unit tests have labels that nobody else has.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (at, _) in text.match_indices("vitrine/") {
            let label: String =
                text[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || "/-".contains(*c)).collect();
            if label.split('/').count() == 3 && label.ends_with(|c: char| c.is_ascii_digit()) {
                assert!(formats.contains(&label), "{name}: {label} is not in docs/formats.md");
                labels.insert(label);
            }
        }
    }
    assert!(labels.len() >= 5, "{labels:?}");
}

#[test]
fn links_lead_somewhere() {
    let mut links = 0;
    for (name, text) in texts().iter().filter(|(name, _)| name.ends_with(".md")) {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.contains("://") {
                let path = checkout().join(name).parent().unwrap().join(target);
                assert!(path.exists(), "{name}: {target} does not exist");
                links += 1;
            }
        }
    }
    assert!(links >= 5, "found {links} links");
}

/// A member cannot inherit the workspace's lints and differ in one, so `init` repeats them.
#[test]
fn members_have_the_workspaces_lints() {
    let workspace = toml("Cargo.toml")["workspace"].as_table().unwrap().clone();
    for member in workspace["members"].as_array().unwrap() {
        let member = member.as_str().unwrap();
        let mut lints = toml(&format!("{member}/Cargo.toml"))["lints"].clone();
        if member == "enclave-agent/init" {
            let rust = lints["rust"].as_table_mut().unwrap();
            assert_eq!(rust.insert("unsafe_code".to_owned(), "forbid".into()), Some("deny".into()));
            assert_eq!(lints, workspace["lints"], "{member}");
        } else {
            assert_eq!(lints, toml::Value::Table(toml::from_str("workspace = true").unwrap()), "{member}");
        }
    }
}
