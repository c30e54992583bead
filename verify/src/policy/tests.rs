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

/// What strict.toml says of operators.
const NOBODY: &str = "operator = \"refused\"";

fn operators(names: &str, sessions: &str) -> String {
    let rest = "countries = \"any\", contacts = [], most-workers = 64";
    format!("operator = {{ names = {names}, {rest}, most-sessions = {sessions} }}")
}

#[test]
fn what_a_value_can_be() {
    let zero = "0".repeat(64);
    let chip = "ab".repeat(64);
    let cases = [
        ("schema = 1", "schema = 2", "schema: expected a number from 1 to 1, found 2"),
        ("schema = 1", "schema = \"1\"", "schema: expected a number from 1 to 1, found \"1\""),
        (
            "name = \"strict\"",
            "name = \"\"",
            "name: expected a string of 1 to 64 bytes without control characters, found \"\"",
        ),
        ("name = \"strict\"", "name = \"a\\nb\"", "name: expected a string"),
        (
            "simulated = \"refused\"",
            "simulated = false",
            "simulated: expected \"refused\" or \"accepted\", found false",
        ),
        (
            "simulated = \"refused\"",
            "simulated = \"any\"",
            "simulated: expected \"refused\" or \"accepted\", found \"any\"",
        ),
        (
            "measurements = \"release\"",
            "measurements = \"releases\"",
            "snp.measurements: expected a table, found \"releases\"",
        ),
        (
            "measurements = \"release\"",
            "measurements = { ab = \"x\" }",
            "snp.measurements.ab: expected 96 lowercase hexadecimal digits as the key",
        ),
        (&zero, "00", "snp.host-data: expected 64 lowercase hexadecimal digits, found \"00\""),
        (&format!("\"{zero}\""), "\"operator\"", ""),
        (NOBODY, "operator = \"accepted\"", "operator: expected a table, found \"accepted\""),
        (NOBODY, "operator = { names = [] }", "operator.countries: expected a value"),
        (
            NOBODY,
            "operator = { names = [\"a  b\"] }",
            "operator.names: expected a name as in an operator document, found",
        ),
        (NOBODY, "operator = { names = [], countries = [\"is\"] }", "operator.countries: expected a country, found"),
        (NOBODY, &operators("[]", "10_000"), ""),
        (
            NOBODY,
            &operators("\"any\"", "10_001"),
            "operator.most-sessions: expected a number from 1 to 10000, found 10001",
        ),
        (
            NOBODY,
            &operators("\"any\"", "\"any\", x = 1"),
            "operator.x: expected only the keys contacts, countries, most-",
        ),
        ("vmpl = 0", "vmpl = 4", "snp.vmpl: expected a number from 0 to 3, found 4"),
        ("vmpl = 0", "vmpl = -1", "snp.vmpl: expected a number from 0 to 3, found -1"),
        ("vmpl = 0", "vmpl = 0.0", "snp.vmpl: expected a number from 0 to 3, found 0.0"),
        ("id-block = \"any\"", "id-block = \"refused\"", "snp.id-block: expected a table"),
        ("id-block = \"any\"", "id-block = { id-keys = [] }", "snp.id-block.author-keys: expected a value"),
        ("denied-chips = []", "denied-chips = \"any\"", "snp.denied-chips: expected a list, found \"any\""),
        (
            "denied-chips = []",
            &format!("denied-chips = [\"{chip}\", \"{chip}\"]"),
            "snp.denied-chips: expected each value once, found one twice",
        ),
        (
            "denied-chips = []",
            &format!("denied-chips = [\"{}\"]", chip.to_uppercase()),
            "snp.denied-chips: expected 128 lowercase hexadecimal digits, found a string of 128 bytes",
        ),
        (
            "vlek-providers = \"refused\"",
            "vlek-providers = [1]",
            "snp.vlek-providers: expected a string of 1 to 128 bytes",
        ),
        ("\nmilan = \"refused\"", "\nmilan = \"any\"", "snp.milan: expected a table, found \"any\""),
        ("fmc = 1, ", "", "snp.turin.reported-tcb-floor.fmc: expected a value"),
        (
            "{ boot-loader = 12",
            "{ fmc = 0, boot-loader = 12",
            "snp.genoa.reported-tcb-floor.fmc: expected only the keys boot-loader, microcode, snp, tee, found an unknown key",
        ),
        (
            "microcode = 86",
            "microcode = 256",
            "snp.genoa.reported-tcb-floor.microcode: expected a number from 0 to 255, found 256",
        ),
        (
            "debug = \"forbidden\"",
            "debug = \"refused\"",
            "snp.genoa.policy.debug: expected \"required\", \"forbidden\" or \"any\", found \"refused\"",
        ),
        ("statuses = [\"UpToDate\"]", "statuses = [\"Revoked\"]", "tdx.statuses: expected \"UpToDate\", "),
        ("rtmr0 = \"release\"", "rtmr0 = []", ""),
        ("attributes = []", "attributes = [\"perfmon\"]", "tdx.attributes: expected \"DEBUG\", "),
        ("root-quorum = 2", "root-quorum = 0", "release.root-quorum: expected a number from 1 to 64, found 0"),
        (
            "witnesses = \"none\"",
            "witnesses = \"\"",
            "release.log.witnesses: expected \"none\" or a tlog-policy, found expected a line `quorum <name>`",
        ),
        (
            "witnesses = \"none\"",
            "witnesses = \"log example.com/log+fd6c8b93+ATZFHhKxqJcfGEEmfUFtnlPzTCPpOY8Q3OnHqWmG9Ly0\\nquorum none\"",
            "release.log.witnesses: expected \"none\" or a tlog-policy, found line 1",
        ),
        (
            "minimum-age = 86_400",
            "minimum-age = \"any\"",
            "release.log.minimum-age: expected a number from 0 to 3162240000, found \"any\"",
        ),
        ("root-keys = []", "root-keys = [\"00\"]", "release.root-keys: expected an Ed25519 public key in 64"),
        (
            "rebuilders = {}",
            &format!("rebuilders = {{ somebody = \"{zero}\" }}"),
            "release.rebuilders.somebody: expected an Ed25519 public key in 64 lowercase hexadecimal digits, found expected an",
        ),
        (
            "rebuilders = {}",
            "rebuilders = { a = \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\", b = \
             \"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a\" }",
            "release.rebuilders.b: expected an Ed25519 public key in 64 lowercase hexadecimal digits, found the key of another",
        ),
        ("schema = 1", "schema = 1\n\"a\\nb\\u001b\" = 1", "a\\nb\\u{1b}: expected only the keys"),
        ("vmpl = 0", "vmpl = 0\nvmpl = 0", "expected TOML: duplicate key"),
        ("vmpl = 0", "vmpl = ", "expected TOML: "),
        ("[snp]", "[[snp]]", "expected"),
    ];
    for (from, to, expected) in cases {
        let changed = STRICT.replacen(from, to, 1);
        assert_ne!(changed, STRICT, "{from}");
        match parse(&changed) {
            Ok(_) => assert_eq!(expected, "", "{to}"),
            Err(error) => {
                assert!(!expected.is_empty() && error.contains(expected), "{to}: {error}");
                let before = STRICT.split_once(from).unwrap().0;
                let lines = [0, 1, 2].map(|more| format!("p.toml:{}: ", before.lines().count() + more));
                assert!(lines.iter().any(|line| error.starts_with(line)), "{to}: {lines:?}: {error}");
            }
        }
    }
    let text = |bytes: &[u8]| Policy::parse("p.toml", bytes).unwrap_err().to_string();
    assert_eq!(text(b"name = \"\xff\""), "p.toml: expected UTF-8, found something else from byte 8 on");
    assert_eq!(text(&vec![b'\n'; MAX_POLICY + 1]), "p.toml: expected at most 262144 bytes, found 262145");
    assert!(text(&[b"name = ".as_slice(), &[b'['; 100_000]].concat()).contains("expected TOML"));
}

#[test]
fn every_section_can_be_refused_or_left_open() {
    let mut all: Table = toml::from_str(STRICT).unwrap();
    for (section, word) in [("snp", "refused"), ("tdx", "refused"), ("release", "any")] {
        all[section] = Value::String(word.into());
    }
    let policy = parse(&all.to_string()).unwrap();
    assert_eq!((policy.snp, policy.tdx, policy.release), (Section::Refused, Section::Refused, OrAny::Any));
}

/// Every value that some key can have is tried on every key: those that are accepted each make another policy, so no key
/// is read and then forgotten, and no two of them are one.
#[test]
fn every_key_means_something_of_its_own() {
    let mut strict: Table = toml::from_str(STRICT).unwrap();
    // Where none is accepted, none need be denied.
    strict["tdx"]["advisories"] = "any".into();
    let meaning = |table: &Table| {
        let parsed = Policy::parse("p.toml", table.to_string().as_bytes()).ok()?;
        Some(format!("{:?}", Policy { sha256: Sha256::of(b""), ..parsed }))
    };
    let words = ["any", "refused", "accepted", "required", "forbidden", "release", "another name"];
    let hex = [12, 32, 64, 96, 128].map(|digits| Value::Array(vec!["a".repeat(digits).into()]));
    let lists = [Value::Array(vec![]), Value::Array(vec!["OutOfDate".into()]), Value::Array(vec!["PKS".into()])];
    let block = "id-keys = []\nauthor-keys = \"any\"\nfamily-id = \"any\"\nimage-id = \"any\"\nguest-svn-floor = 0\n";
    let block = Value::Table(toml::from_str(block).unwrap());
    let values: Vec<Value> = words
        .map(Value::from)
        .into_iter()
        .chain([2.into(), 3.into()])
        .chain(hex)
        .chain(lists)
        .chain([block, strict["snp"]["genoa"].clone()])
        .collect();
    let mut all = Vec::new();
    paths(&strict, &[], &mut all);
    let mut meanings = std::collections::BTreeMap::from([(meaning(&strict).unwrap(), String::from("as it is"))]);
    // The last says something of log policies, and strict.toml has none.
    for path in all.iter().filter(|path| path.last().unwrap() != "split-view") {
        let (last, above) = path.split_last().unwrap();
        let mut tried = 0;
        for value in &values {
            let mut changed = strict.clone();
            let table = at(&mut changed, above);
            if table.get(last) == Some(value) {
                continue;
            }
            table.insert(last.clone(), value.clone());
            let Some(meaning) = meaning(&changed) else { continue };
            tried += 1;
            let what = format!("{} = {value}", path.join("."));
            if let Some(other) = meanings.insert(meaning, what.clone()) {
                panic!("{what} is the same as {other}");
            }
        }
        let table = at(&mut strict.clone(), above)[last].is_table();
        assert!(tried > 0 || table || last == "schema" || last == "root-keys" || last == "witnesses", "{path:?}");
    }
    assert!(meanings.len() > 200, "{}", meanings.len());
}
