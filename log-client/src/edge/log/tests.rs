use super::*;
use crate::edge::fsck::fsck;
use tempfile::TempDir;

fn signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

fn entries(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|index| format!("entry {index}").into_bytes()).collect()
}

/// A log of `size` entries, signed and published.
fn sample(size: u64) -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    let log = Log::init(scratch.path(), &signer()).unwrap();
    let (log, _) = log.append(&entries(0..size)).unwrap();
    log.sign(&signer()).unwrap().publish(&[]).unwrap();
    scratch
}

fn checked(root: &Path) -> Result<u64, String> {
    let checked = fsck(&Directory::new(root), signer().key()).unwrap();
    checked.map(|signed| signed.checkpoint().size).map_err(|damage| damage.to_string())
}

/// Every file that is public, by name.
fn public(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, path: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, files);
            } else {
                files.insert(path.strip_prefix(root).unwrap().display().to_string(), fs::read(&path).unwrap());
            }
        }
    }
    let mut files = BTreeMap::new();
    walk(root, root, &mut files);
    files.retain(|name, _| !name.starts_with(STATE));
    files
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

#[test]
fn one_by_one_or_at_once() {
    let (single, batched) = (sample(0), sample(0));
    let mut log = Log::open(single.path()).unwrap();
    let log_of_250 = log.append(&entries(0..250)).unwrap().0;
    log = log_of_250.sign(&signer()).unwrap().publish(&[]).unwrap();
    for (size, entry) in (251..).zip(entries(250..300)) {
        let (next, index) = log.append(&[entry]).unwrap();
        assert_eq!(index, [size - 1]);
        // Some sizes are published, and what they need is kept.
        log = if size % 10 == 0 { next.sign(&signer()).unwrap().publish(&[]).unwrap() } else { next };
        if size % 10 == 0 {
            assert_eq!(checked(single.path()), Ok(size));
        }
    }
    drop(log);
    let (log, _) = Log::open(batched.path()).unwrap().append(&entries(0..300)).unwrap();
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    let (single, batched) = (public(single.path()), public(batched.path()));
    let names: Vec<_> = batched.keys().map(String::as_str).collect();
    let expected =
        ["checkpoint", "tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"];
    assert_eq!(names, expected);
    assert!(batched.iter().all(|(name, bytes)| single[name] == *bytes));
    assert!(!single.keys().any(|name| name.contains("000.p") && !name.contains("tile/1")), "{:?}", single.keys());
}

#[test]
fn an_entry_is_logged_once() {
    let scratch = sample(260);
    let log = Log::open(scratch.path()).unwrap();
    let again = [&entries(258..262)[..], &entries(3..4), &entries(261..262)].concat();
    let (log, indexes) = log.append(&again).unwrap();
    assert_eq!(indexes, [258, 259, 260, 261, 3, 261]);
    assert_eq!(log.tree().size, 262);
}

#[test]
fn entries_of_any_size_and_batches_of_any_number() {
    let scratch = sample(0);
    let all = [vec![vec![], vec![7; bundle::MAX_ENTRY]], entries(0..600)].concat();
    let mut told = Vec::new();
    let log =
        Log::open(scratch.path()).unwrap().import(all.clone().into_iter().map(Ok), |count| told.push(count)).unwrap();
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    assert_eq!((checked(scratch.path()), told), (Ok(602), vec![602]));
    let directory = Directory::new(scratch.path());
    assert!((0..602).all(|index| directory.entry(index, 602).unwrap() == all[index as usize]));
    assert!(directory.entry(602, 602).is_err());

    let log = Log::open(scratch.path()).unwrap();
    let refused = log.append(&[vec![0; bundle::MAX_ENTRY + 1]]).unwrap_err();
    assert!(format!("{refused:#}").contains("at most 65535 bytes"), "{refused:#}");
    assert_eq!(Log::open(scratch.path()).unwrap().tree().size, 602);
}

#[test]
fn proofs_hold() {
    let scratch = sample(300);
    let policy = format!("log {}\nquorum none\n", signer().key());
    let policy = crate::Policy::parse(policy.as_bytes(), crate::SplitView::Accepted).unwrap();
    let directory = Directory::new(scratch.path());
    for index in [0, 255, 256, 299] {
        let proof = directory.prove(index, signer().key()).unwrap();
        let entry = format!("entry {index}").into_bytes();
        assert_eq!(directory.find(&leaf_hash(&entry), 300).unwrap(), Some(index));
        assert!(proof.verify(&entry, &policy).is_ok());
        assert!(proof.verify(b"entry", &policy).is_err());
    }
    assert!(directory.prove(300, signer().key()).is_err());
    assert_eq!(directory.find(&leaf_hash(b"entry"), 300).unwrap(), None);
}

#[test]
fn every_changed_or_missing_file_is_found() {
    let scratch = sample(300);
    assert_eq!(checked(scratch.path()), Ok(300));
    for (name, bytes) in public(scratch.path()) {
        let path = scratch.path().join(&name);
        for at in [0, bytes.len() / 2, bytes.len() - 1] {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            fs::write(&path, changed).unwrap();
            assert!(checked(scratch.path()).is_err(), "{name}: byte {at}");
        }
        fs::write(&path, &bytes[1..]).unwrap();
        assert!(checked(scratch.path()).is_err(), "{name}: cut off");
        if name != CHECKPOINT {
            fs::remove_file(&path).unwrap();
            assert!(checked(scratch.path()).is_err(), "{name}: missing");
        }
        fs::write(&path, &bytes).unwrap();
    }
    assert_eq!(checked(scratch.path()), Ok(300));
    fs::remove_file(scratch.path().join(CHECKPOINT)).unwrap();
    assert!(fsck(&Directory::new(scratch.path()), signer().key()).is_err());
}

#[test]
fn what_is_at_the_edge_is_checked_before_it_is_built_upon() {
    for name in
        ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44", ".state/tree", ".state/signed", "checkpoint"]
    {
        let scratch = sample(300);
        let path = scratch.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.len() - 3;
        bytes[last] ^= 1;
        fs::write(&path, bytes).unwrap();
        let appended = Log::open(scratch.path()).and_then(|log| log.append(&entries(300..301)));
        assert!(appended.is_err(), "{name}");
    }
}

#[test]
fn never_two_roots_for_one_size() {
    let (ours, scratch) = (sample(20), tempfile::tempdir().unwrap());
    let backup = scratch.path().join("backup");
    copy(ours.path(), &backup);
    let (log, _) = Log::open(ours.path()).unwrap().append(&entries(20..25)).unwrap();
    let newest = log.sign(&signer()).unwrap().publish(&[]).unwrap().signed().clone();

    // The whole directory from a backup: someone else must tell.
    let (restored, _) = Log::open(&backup).unwrap().append(&entries(100..101)).unwrap();
    let ahead = restored.agrees_with(newest.checkpoint(), "the mirror").unwrap_err().to_string();
    let stale = "the mirror has seen 25 entries, this directory has signed 20: it is from a backup; copy";
    assert!(ahead.starts_with(stale), "{ahead}");
    let (restored, _) = restored.append(&entries(100..110)).unwrap();
    let restored = restored.sign(&signer()).unwrap();
    let forked = restored.agrees_with(newest.checkpoint(), "the mirror").unwrap_err().to_string();
    assert!(forked.contains("the log was forked"), "{forked}");
    drop(restored);

    // Only the state, or a part of it, from a backup: the rest tells.
    for parts in [&["tree", "signed"][..], &["tree"], &["signed"]] {
        let mixed = scratch.path().join(parts.join("-"));
        copy(ours.path(), &mixed);
        let old = sample(20);
        for part in parts {
            fs::copy(old.path().join(STATE).join(part), mixed.join(STATE).join(part)).unwrap();
        }
        let error = Log::open(&mixed).unwrap_err().to_string();
        assert!(error.contains("from a backup"), "{parts:?}: {error}");
    }
}

#[test]
fn only_its_own_key_signs_and_signatures_repeat() {
    let scratch = sample(3);
    let other = Signer::new("example.com/log", SignatureType::ED25519, &[2; 32]).unwrap();
    let log = Log::open(scratch.path()).unwrap();
    assert!(log.sign(&other).unwrap_err().to_string().starts_with("the key is"));
    let log = Log::open(scratch.path()).unwrap();
    let before = log.signed().clone();
    assert_eq!(*log.sign(&signer()).unwrap().signed(), before);
    assert!(Log::init(scratch.path(), &signer()).unwrap_err().to_string().contains("is a log already"));
    let witness = Signer::new("example.com/log", SignatureType::COSIGNATURE, &[1; 32]).unwrap();
    assert!(Log::init(tempfile::tempdir().unwrap().path(), &witness).is_err());
}

#[test]
fn a_mirror_is_taken_over_after_a_check() {
    let (ours, scratch) = (sample(300), tempfile::tempdir().unwrap());
    copy(ours.path(), scratch.path());
    fs::remove_dir_all(scratch.path().join(STATE)).unwrap();
    let bundle = scratch.path().join("tile/entries/000");
    let bytes = fs::read(&bundle).unwrap();
    fs::write(&bundle, [&bytes[..2], b"E", &bytes[3..]].concat()).unwrap();
    assert!(Log::init(scratch.path(), &signer()).is_err());
    fs::write(&bundle, bytes).unwrap();
    let (log, index) = Log::init(scratch.path(), &signer()).unwrap().append(&entries(300..301)).unwrap();
    assert_eq!(index, [300]);
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    assert_eq!(checked(scratch.path()), Ok(301));
}

#[test]
fn leftovers_of_a_run_that_was_killed_are_overwritten() {
    let scratch = sample(3);
    for name in ["tile/entries/000.p/4", "tile/0/000.p/4", ".state/tmp/file"] {
        fs::write(scratch.path().join(name), b"torn").unwrap();
    }
    let (log, index) = Log::open(scratch.path()).unwrap().append(&entries(3..4)).unwrap();
    assert_eq!(index, [3]);
    drop(log.sign(&signer()).unwrap().publish(&[]).unwrap());
    assert_eq!(checked(scratch.path()), Ok(4));
}

#[test]
fn lines_are_entries() {
    let read = |text: &[u8]| lines(text).map(|line| line.map_err(|error| error.to_string())).collect::<Vec<_>>();
    assert_eq!(read(b""), []);
    assert_eq!(read(b"a\n\nb"), [Ok(b"a".to_vec()), Ok(vec![]), Ok(b"b".to_vec())]);
    assert_eq!(read(b"a\n"), [Ok(b"a".to_vec())]);
    let longest = vec![b'a'; bundle::MAX_ENTRY];
    assert_eq!(read(&[&longest[..], b"\nb\n"].concat()), [Ok(longest.clone()), Ok(b"b".to_vec())]);
    assert_eq!(read(&[&longest[..], b"a\n"].concat())[0], Err("line 1 is longer than 65535 bytes".to_owned()));
}
