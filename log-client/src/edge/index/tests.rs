use super::*;
use crate::edge::log::{Log, STATE};
use crate::merkle::leaf_hash;
use crate::note::{SignatureType, Signer};
use std::ops::Range;
use tempfile::TempDir;

fn entries(range: Range<u64>) -> Vec<Vec<u8>> {
    range.map(|index| format!("entry {index}").into_bytes()).collect()
}

/// A log of `size` entries, added so many at a time.
fn log(size: u64, step: u64) -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let signer = Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap();
    let mut log = Log::init(scratch.path(), &signer).unwrap();
    for from in (0..size).step_by(step as usize) {
        (log, _) = log.append(&entries(from..size.min(from + step))).unwrap();
    }
    scratch
}

/// Where the log says that these entries are, none of which is new.
fn found(root: &Path, range: Range<u64>) -> Vec<u64> {
    let log = Log::open(root).unwrap();
    let size = log.tree().size;
    let (log, indexes) = log.append(&entries(range)).unwrap();
    assert_eq!(log.tree().size, size);
    indexes
}

fn runs(root: &Path) -> Vec<String> {
    let files = fs::read_dir(root.join(STATE).join(INDEX)).unwrap();
    let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_entry_is_found_and_runs_are_few() {
    for (size, step, expected) in [
        (255, 100, &[][..]),
        (256, 100, &["0-256"]),
        (1300, 256, &["0-1024", "1024-1280"]),
        (1300, 700, &["0-1280"]),
        (1300, 1000, &["0-768", "768-1280"]),
        (2900, 2900, &["0-2816"]),
    ] {
        let scratch = log(size, step);
        assert_eq!(found(scratch.path(), 0..size), (0..size).collect::<Vec<_>>());
        for index in (0..size).step_by(97) {
            assert_eq!(found(scratch.path(), index..index + 1), [index]);
        }
        let names = if size < WIDTH { Vec::new() } else { runs(scratch.path()) };
        assert_eq!(names, expected, "{size} by {step}");
    }
}

#[test]
fn what_is_damaged_or_missing_is_made_again() {
    let scratch = log(1300, 256);
    let root = scratch.path();
    found(root, 0..1);
    let directory = root.join(STATE).join(INDEX);
    let good: BTreeMap<_, _> =
        runs(root).into_iter().map(|name| (name.clone(), fs::read(directory.join(name)).unwrap())).collect();
    let whole: Vec<_> = (0..1300).collect();
    for (name, bytes) in &good {
        let flipped = (0..bytes.len()).step_by(1511).map(|at| {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            Some(changed)
        });
        let cut = [0, PAGE as usize - 1, bytes.len() - 1].map(|length| bytes.get(..length).map(<[u8]>::to_vec));
        for change in flipped.chain(cut) {
            fs::remove_dir_all(&directory).unwrap();
            fs::create_dir(&directory).unwrap();
            for (name, bytes) in &good {
                fs::write(directory.join(name), bytes).unwrap();
            }
            match change {
                Some(bytes) => fs::write(directory.join(name), bytes).unwrap(),
                None => fs::remove_file(directory.join(name)).unwrap(),
            }
            assert_eq!(found(root, 0..1300), whole, "{name}");
        }
    }
    fs::remove_dir_all(&directory).unwrap();
    assert_eq!(found(root, 1299..1300), [1299]);
    assert_eq!(runs(root), ["0-1280"]);

    // That of another log, and what a killed process leaves: a merged run beside its parts, or one beyond the tree.
    let other = tempfile::tempdir().unwrap();
    let signer = Signer::new("example.com/other", SignatureType::ED25519, &[1; 32]).unwrap();
    let (other_log, _) = Log::init(other.path(), &signer).unwrap().append(&entries(7..1307)).unwrap();
    drop(other_log.append(&entries(7..8)).unwrap());
    fs::copy(other.path().join(STATE).join(INDEX).join("0-1280"), directory.join("0-1280")).unwrap();
    assert_eq!(found(root, 0..1300), whole);
    for name in ["0-256", "256-512", "1280-1536", "512-1024"] {
        fs::write(directory.join(name), b"").unwrap();
    }
    assert_eq!(found(root, 0..1300), whole);
    assert_eq!(runs(root), ["0-1280"]);
    fs::write(directory.join("what is this"), b"").unwrap();
    assert_eq!(found(root, 0..1300), whole);
    assert_eq!(runs(root), ["0-1280"]);
}

/// Leaves whose hashes begin alike, also across pages, and the least and the greatest.
#[test]
fn alike_and_at_the_ends() {
    let scratch = tempfile::tempdir().unwrap();
    let run = Run { from: 0, to: 1000, root: leaf_hash(b"") };
    let log = Directory::new(scratch.path());
    let index = Index { log: &log, state: scratch.path(), scratch: scratch.path(), size: 1000 };
    let begins = |at: u64| match at {
        0 => 0,
        1..600 => 77 << 50,
        600..998 => (at << 54) | 1,
        _ => u64::MAX,
    };
    let mut records: Vec<_> = (0..1000).map(|at| (begins(at), at)).collect();
    records.sort_unstable();
    let mut written = records.iter().copied();
    index.write(&run, || Ok(written.next())).unwrap();
    let mut reader = Reader::open(scratch.path(), &run).unwrap();
    for prefix in [0, 1, 77 << 50, (77 << 50) + 1, (601 << 54) | 1, (997 << 54) | 1, u64::MAX - 1, u64::MAX] {
        let expected: Vec<_> = records.iter().filter(|(begins, _)| *begins == prefix).map(|(_, at)| *at).collect();
        assert_eq!(reader.find(prefix).unwrap(), expected, "{prefix}");
        assert_eq!(Reader::open(scratch.path(), &run).unwrap().find(prefix).unwrap(), expected, "{prefix}");
    }
}
