//! The committed corpus is what the forger makes, byte for byte, and what is read back from it is what was written.

#![expect(clippy::disallowed_methods, reason = "starts the program under test")]

use simulate::corpus::{self, Corpus};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

#[test]
fn the_committed_corpus_is_the_forged_one() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verify/corpus");
    let forged = corpus::forge();
    let mut committed = BTreeMap::new();
    for folder in ["", "blobs"] {
        for entry in fs::read_dir(directory.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = Path::new(folder).join(path.file_name().unwrap());
                committed.insert(name.to_str().unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    let forged_files = forged.files();
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<BTreeSet<_>>();
    let again = "run `cargo run -p simulate --bin forge -- write verify/corpus`";
    assert_eq!(names(&committed), names(&forged_files), "{again}");
    for (name, bytes) in &forged_files {
        assert!(committed[name] == *bytes, "{name} differs: {again}");
    }
    assert!(Corpus::read(&directory).unwrap() == forged, "what is read is not what was written");

    let bytes: usize = committed.values().map(Vec::len).sum();
    assert!(bytes < 2_500_000, "the corpus has {bytes} bytes");
}

#[test]
fn cases_have_names_of_their_own_and_bad_ones_differ_from_good_ones() {
    let corpus = corpus::forge();
    let names: BTreeSet<_> = corpus.cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), corpus.cases.len());
    for case in corpus.cases.iter().filter(|case| case.rule.is_some()) {
        let good = corpus.good(case).unwrap_or_else(|| panic!("{}: no good case", case.name));
        assert!(good.rule.is_none(), "{}", case.name);
        let differs = (&case.evidence, &case.policy, case.now) != (&good.evidence, &good.policy, good.now);
        assert!(differs, "{}: nothing differs", case.name);
    }
}

#[test]
fn a_blob_that_was_changed_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    corpus::forge().write(scratch.path()).unwrap();
    let blob = fs::read_dir(scratch.path().join("blobs")).unwrap().next().unwrap().unwrap().path();
    fs::write(&blob, b"other bytes").unwrap();
    let error = Corpus::read(scratch.path()).unwrap_err().to_string();
    assert!(error.contains(blob.to_str().unwrap()), "{error}");
}

#[test]
fn another_program_is_asked_about_every_case() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify/corpus");
    let forge = |program: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_forge"));
        let output = command.args(["try", directory]).args(program).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, accepting) = forge(&["echo", "accept"]);
    assert_eq!(code, Some(1));
    assert!(accepting.contains("accepts genoa-v3-vcek/short: the last byte is missing\n"), "{accepting}");
    assert!(accepting.contains("    4 of   4 accepted  snp.report.length\n"), "{accepting}");
    assert_eq!(forge(&["echo", "perhaps"]).0, Some(2));
}
