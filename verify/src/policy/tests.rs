//! Policies as text: `policies/strict.toml`, and what becomes of it when one thing is changed.

use super::*;
use measure::snp::appraise::Terms;
use toml::{Table, Value};

const STRICT: &str = include_str!("../../../policies/strict.toml");

fn parse(text: &str) -> Result<Policy, String> {
    Policy::parse("p.toml", text.as_bytes()).map_err(|error| error.to_string())
}

/// The path of every key in `table`, tables included.
fn paths(table: &Table, above: &[String], all: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        let path = [above, std::slice::from_ref(key)].concat();
        all.push(path.clone());
        if let Value::Table(table) = value {
            paths(table, &path, all);
        }
    }
}

/// The table that `path` leads to.
fn at<'a>(table: &'a mut Table, path: &[String]) -> &'a mut Table {
    path.iter().fold(table, |table, key| table[key].as_table_mut().expect("a table"))
}

#[test]
fn strict_is_a_policy_and_strict() {
    let policy = parse(STRICT).unwrap();
    assert_eq!((policy.name.as_str(), policy.simulated), ("strict", Permit::Refused));
    let Section::Accepted(SnpPolicy { requirements }) = policy.snp else { panic!("SNP is refused") };
    assert_eq!(requirements.products.milan, Terms::Refused);
}

#[test]
fn every_key_is_required_and_no_other_is_known() {
    let strict: Table = toml::from_str(STRICT).unwrap();
    let mut all = Vec::new();
    paths(&strict, &[], &mut all);
    assert!(all.len() > 90, "{}", all.len());
    for path in &all {
        let (last, table) = path.split_last().unwrap();
        let mut without = strict.clone();
        at(&mut without, table).remove(last);
        let error = parse(&without.to_string()).expect_err("a key is missing");
        assert!(error.contains(&format!(": {}: expected a value", path.join("."))), "{path:?}: {error}");
    }
    // Tables whose keys are the file's own.
    let free = ["release.rebuilders"];
    for path in all.iter().chain([&vec![]]).filter(|path| !free.contains(&path.join(".").as_str())) {
        let mut with = strict.clone();
        if path.iter().try_fold(&strict, |table, key| table[key].as_table()).is_none() {
            continue;
        }
        at(&mut with, path).insert("unknown-key".into(), Value::Integer(1));
        let error = parse(&with.to_string()).expect_err("a key is unknown");
        let name = path.iter().map(String::as_str).chain(["unknown-key"]).collect::<Vec<_>>().join(".");
        assert!(error.contains(&format!(": {name}: expected only the keys ")), "{path:?}: {error}");
    }
}
