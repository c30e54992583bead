//! A log in memory that does what it is told, also what no log should do.

use super::*;
use crate::bundle;
use crate::dsse::{Envelope, Signature};
use crate::encoding;
use crate::keys::{SigningKey, SubmissionKey};
use crate::note::{SignatureType, Signer};
use crate::policy::SplitView;
use crate::rekor::Submission;
use crate::statement::{
    InForce, KeyAdd, KeyRevoke, Predicate, Release, Role, Statement, Status, Subject, tests as statements,
};
use crate::tile;
use measure::Digest;
use measure::snp::LaunchDigest;
use std::collections::BTreeMap;
use std::convert::Infallible;

const NOW: u64 = 1_790_000_100;
const MAX_AGE: u64 = 1000;

type Files = BTreeMap<String, Vec<u8>>;

fn log(origin: &str) -> Signer {
    Signer::new(origin, SignatureType::ED25519, &[1; 32]).unwrap()
}

fn witness() -> Signer {
    Signer::new("witness.example", SignatureType::COSIGNATURE, &[2; 32]).unwrap()
}

fn policy() -> Policy {
    let text = format!("log {}\nwitness w {}\nquorum w\n", log("example.com/log").key(), witness().key());
    Policy::parse(text.as_bytes(), SplitView::Refused).unwrap()
}

/// The files of a log of these entries, signed and cosigned.
fn files(entries: &[Vec<u8>]) -> Files {
    let mut files = Files::new();
    let mut edge = RightEdge::empty();
    for entry in entries {
        let keep = |tile: Tile, hashes: &[Sha256]| {
            files.insert(tile.to_string(), tile::bytes_of(hashes));
            Ok::<_, Infallible>(())
        };
        edge.push(leaf_hash(entry), keep).unwrap();
    }
    files.extend(edge.partial().map(|(tile, hashes)| (tile.to_string(), tile::bytes_of(hashes))));
    for (index, chunk) in (0..).zip(entries.chunks(WIDTH as usize)) {
        let mut bytes = Vec::new();
        chunk.iter().for_each(|entry| bundle::push(&mut bytes, entry).unwrap());
        let tile = Tile::in_tree(Level::Entries, index, entries.len() as u64).unwrap();
        files.insert(tile.to_string(), bytes);
    }
    let checkpoint = checkpoint(edge.size(), edge.root());
    files.insert("checkpoint".to_owned(), note(&checkpoint, &log("example.com/log"), true, NOW).into_bytes());
    files
}

fn checkpoint(size: u64, root: Sha256) -> Checkpoint {
    Checkpoint { origin: "example.com/log".to_owned(), size, root, extensions: Vec::new() }
}

fn note(checkpoint: &Checkpoint, log: &Signer, witnessed: bool, time: u64) -> String {
    let text = checkpoint.to_string();
    let cosignature = if witnessed { witness().sign(&text, time) } else { String::new() };
    format!("{text}\n{}{cosignature}", log.sign(&text, 0))
}

fn new_state() -> State {
    let roots = [11, 12, 13].map(|seed| key(seed).public());
    State::new("example.com/log", roots.into(), NonZeroUsize::new(2).unwrap())
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn sign(statement: &Statement, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    Envelope::sign(statement.to_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes()
}

/// Entries that give no reason for an alarm.
fn quiet(numbers: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    let entry = |number| {
        let Predicate::Rebuild(mut rebuild) = statements::rebuild().predicate else { panic!() };
        rebuild.built_at = Time(number);
        let statement = Statement::new(statements::rebuild().subjects, Predicate::Rebuild(rebuild)).unwrap();
        let nobody = Signature { keyid: Sha256::of(b"nobody"), sig: [0; 64] };
        Envelope::new(statement.to_bytes(), vec![nobody]).unwrap().to_bytes()
    };
    numbers.map(entry).collect()
}

/// Looks until there is no more; the new alarms.
fn look(state: &mut State, files: &Files, known: &BTreeSet<Sha256>, now: u64) -> Result<Vec<Alarm>, String> {
    let policy = policy();
    let watch = Watch { policy: &policy, max_age: Some(MAX_AGE), known, now: Time(now) };
    let get = |name: &str, limit: u64| {
        let file = files.get(name).ok_or_else(|| format!("no {name}"))?;
        assert!(file.len() as u64 <= limit, "{name}: {limit}");
        Ok(file.clone())
    };
    let looked = std::iter::from_fn(|| Some(state.look(&watch, get))).find(|more| *more != Ok(true));
    let alarms = state.pending().to_vec();
    state.delivered(alarms.len());
    looked.unwrap().map(|_| alarms)
}

fn kinds(alarms: &[Alarm]) -> Vec<Kind> {
    alarms.iter().map(|alarm| alarm.kind).collect()
}

fn released(change: impl FnOnce(&mut Release)) -> Statement {
    let Predicate::Release(mut release) = statements::release().predicate else { panic!() };
    change(&mut release);
    Statement::new(statements::release().subjects, Predicate::Release(release)).unwrap()
}

fn status(sequence: u64, live: &[(&str, &[u8])]) -> Vec<u8> {
    let Predicate::Status(status) = statements::status().predicate else { panic!() };
    let keys = vec![InForce { public_key: key(1).public(), added_at: 0, revoked_from: None }];
    let live = live.iter().map(|(version, entry)| Subject::new(format!("release/{version}"), Sha256::of(entry)));
    let subjects = live.chain([Subject::new("fleet", Sha256::of(b"a roster"))]).collect();
    sign(&Statement::new(subjects, Predicate::Status(Status { sequence, keys, ..status })).unwrap(), &[11, 12])
}

#[test]
fn every_entry_says_what_it_gives_reason_to() {
    use Kind::*;
    let first = sign(&statements::release(), &[1]);
    let next = |change: fn(&mut Release)| {
        released(|release| {
            (release.version, release.counter) = ("1.2.4".parse().unwrap(), 5);
            change(release);
        })
    };
    let other = |release: &mut Release| release.snp.before_vmsas = LaunchDigest(Digest::new([8; 48]));
    let add = |seed| {
        let add = KeyAdd { role: Role::Release, public_key: key(seed).public().as_bytes().to_vec() };
        Statement::new(vec![Subject::new("builder", key(seed).public().id())], Predicate::KeyAdd(add)).unwrap()
    };
    let revoke = KeyRevoke { from_index: 2, reason: "lost".to_owned() };
    let revoke = Statement::new(vec![Subject::new("builder", key(1).public().id())], Predicate::KeyRevoke(revoke));
    let one = |entry: Vec<u8>| vec![entry];
    let payload = Envelope::sign(b"no statement".to_vec(), &[&key(1)]).unwrap().to_bytes();
    for (name, entries, known, expected) in [
        ("the next release", one(sign(&next(|_| ()), &[1])), true, &[][..]),
        ("one that nobody cut", one(sign(&next(|_| ()), &[1])), false, &[UnknownRelease]),
        ("another's key", one(sign(&next(|_| ()), &[2])), true, &[UnknownSigner]),
        ("neither", one(sign(&next(|_| ()), &[2])), false, &[UnknownRelease, UnknownSigner]),
        (
            "the version again",
            one(sign(&released(|release| release.commit = Digest::new([1; 20])), &[1])),
            true,
            &[VersionReused],
        ),
        ("the same again", one(first.clone()), true, &[Contradiction]),
        (
            "an older version",
            one(sign(&next(|release| release.version = "1.2.2".parse().unwrap()), &[1])),
            true,
            &[VersionRegression],
        ),
        ("the counter again", one(sign(&next(|release| release.counter = 4), &[1])), true, &[CounterRegression]),
        ("a gap", one(sign(&next(|release| release.counter = 6), &[1])), true, &[CounterGap]),
        ("digests without a cause", one(sign(&next(other), &[1])), true, &[MeasurementUnexplained]),
        (
            "other digests",
            one(sign(
                &next(|release| {
                    release.snp.before_vmsas = LaunchDigest(Digest::new([8; 48]));
                    release.commit = Digest::new([1; 20]);
                }),
                &[1],
            )),
            false,
            &[UnknownRelease, MeasurementChanged],
        ),
        (
            "other digests of ours",
            one(sign(
                &next(|release| {
                    release.snp.before_vmsas = LaunchDigest(Digest::new([8; 48]));
                    release.commit = Digest::new([1; 20]);
                }),
                &[1],
            )),
            true,
            &[],
        ),
        ("nothing", one(Vec::new()), false, &[Unparsable]),
        ("garbage", one(b"\xff{\n".repeat(20_000)), false, &[Unparsable]),
        ("no statement", one(payload), false, &[Unparsable]),
        ("a key", one(sign(&add(2), &[11, 13])), false, &[KeyAdded]),
        ("a key of one root's", one(sign(&add(2), &[11])), false, &[UnknownSigner]),
        ("a key again", one(sign(&add(1), &[11, 13])), false, &[Contradiction]),
        ("a revocation", one(sign(&revoke.unwrap(), &[11, 13])), false, &[KeyRevoked]),
        ("a status", one(status(1, &[("1.2.3", &first)])), false, &[]),
        ("a withdrawal", vec![status(1, &[("1.2.3", &first)]), status(2, &[])], false, &[Withdrawn]),
        ("a status again", vec![status(1, &[]), status(1, &[("1.2.3", &first)])], false, &[Contradiction]),
        ("a rebuild", quiet(0..1), false, &[]),
    ] {
        let mut all = vec![sign(&add(1), &[11, 12]), first.clone()];
        let mut known_to_be_cut = BTreeSet::from([Sha256::of(&first)]);
        let mut state = new_state();
        assert_eq!(kinds(&look(&mut state, &files(&all), &known_to_be_cut, NOW).unwrap()), [KeyAdded], "{name}");
        if known {
            known_to_be_cut.extend(entries.iter().map(|entry| Sha256::of(entry)));
        }
        all.extend(entries);
        let before = state.clone();
        let alarms = look(&mut state, &files(&all), &known_to_be_cut, NOW).unwrap();
        assert_eq!(kinds(&alarms), expected, "{name}: {alarms:?}");
        let ids: BTreeSet<_> = alarms.iter().map(|alarm| alarm.id.clone()).collect();
        assert_eq!(ids.len(), alarms.len(), "{name}");
        // The same at another time: who was interrupted says it again under the same name.
        let mut again = State::parse(&before.to_bytes(), &new_state()).unwrap();
        let again = look(&mut again, &files(&all), &known_to_be_cut, NOW + 7).unwrap();
        assert_eq!(again.into_iter().map(|alarm| alarm.id).collect::<BTreeSet<_>>(), ids, "{name}");
        assert_eq!(look(&mut state, &files(&all), &known_to_be_cut, NOW).unwrap(), [], "{name}");
    }
}

#[test]
fn what_a_log_must_not_do() {
    use Kind::*;
    let honest = quiet(0..300);
    let longer = quiet(0..600);
    let mut other = honest.clone();
    other[7] = b"another".to_vec();
    let mut longer_other = longer.clone();
    longer_other[7] = b"another".to_vec();
    let signed = |size: usize, origin: &str, witnessed| {
        let root = Tiles::new(size as u64, |tile: Tile| tile.hashes(&files(&longer[..size])[&tile.to_string()]));
        let claimed =
            Checkpoint { origin: origin.to_owned(), ..checkpoint(size as u64, { root }.root(size as u64).unwrap()) };
        note(&claimed, &log(origin), witnessed, NOW).into_bytes()
    };
    let with = |entries: &[Vec<u8>], name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files(entries);
        change(files.get_mut(name).unwrap());
        files
    };
    let without = |name: &str| {
        let mut files = files(&longer);
        files.remove(name).unwrap();
        files
    };
    let replaced = |bytes: Vec<u8>| move |checkpoint: &mut Vec<u8>| *checkpoint = bytes.clone();
    let unwitnessed_fork = {
        let fork = files(&other);
        let text = String::from_utf8(fork["checkpoint"].clone()).unwrap();
        let lines: Vec<_> = text.split_inclusive('\n').collect();
        Files::from([("checkpoint".to_owned(), lines[..lines.len() - 1].concat().into_bytes())])
    };
    let full = "tile/entries/001";
    for (name, files, expected) in [
        ("nothing", files(&honest), Ok(&[][..])),
        ("equivocation", files(&other), Ok(&[Fork][..])),
        ("equivocation that no witness saw", unwitnessed_fork, Ok(&[Fork])),
        ("another tree that is larger", files(&longer_other), Ok(&[Fork])),
        ("a smaller tree", files(&honest[..200]), Ok(&[Rollback])),
        ("no tree", files(&[]), Ok(&[Rollback])),
        ("another log", with(&longer, "checkpoint", &replaced(signed(600, "example.com/other", true))), Ok(&[Refused])),
        ("no witness", with(&longer, "checkpoint", &replaced(signed(600, "example.com/log", false))), Ok(&[Refused])),
        ("no checkpoint but a page", with(&longer, "checkpoint", &replaced(b"<html>".to_vec())), Ok(&[Refused])),
        (
            "a broken signature",
            with(&longer, "checkpoint", &|note| *note.last_chunk_mut::<9>().unwrap() = *b"AAAAAAA=\n"),
            Ok(&[Refused]),
        ),
        ("a wrong tile of hashes", with(&longer, "tile/1/000.p/2", &|bytes| bytes[4] ^= 1), Ok(&[Damage])),
        ("a short tile of hashes", with(&longer, "tile/0/002.p/88", &|bytes| bytes.truncate(33)), Ok(&[Damage])),
        ("a wrong entry", with(&longer, full, &|bytes| *bytes.last_mut().unwrap() ^= 1), Ok(&[Damage])),
        ("an entry too few", with(&longer, full, &|bytes| bytes.truncate(300)), Ok(&[Damage])),
        ("bytes too many", with(&longer, "tile/entries/002.p/88", &|bytes| bytes.push(0)), Ok(&[Damage])),
        ("no bundle", without(full), Err("no tile/entries/001")),
        ("no checkpoint", without("checkpoint"), Err("no checkpoint")),
    ] {
        let nothing = BTreeSet::new();
        let mut state = new_state();
        assert_eq!(look(&mut state, &self::files(&honest), &nothing, NOW), Ok(vec![]), "{name}");
        let found = look(&mut state, &files, &nothing, NOW);
        let told = found.as_deref().map(kinds).map_err(String::as_str);
        assert_eq!(told, expected.map(<[_]>::to_vec), "{name}: {found:?}");
        assert_eq!(state.size(), 300, "{name}");
        // Nothing is said twice, and a log that is itself again goes on; but for a fork, there is no way back from that.
        let standing = kinds(state.standing());
        if found.is_ok() {
            assert_eq!(look(&mut state, &files, &nothing, NOW), Ok(vec![]), "{name}");
            assert_eq!(kinds(state.standing()), standing, "{name}");
        }
        for alarm in found.iter().flatten() {
            let notes = match alarm.kind {
                Fork | Rollback => 2,
                Damage => 1,
                _ => 0,
            };
            assert_eq!((alarm.notes.len(), alarm.evidence.len()), (notes, notes), "{name}");
        }
        assert_eq!(look(&mut state, &self::files(&longer), &nothing, NOW), Ok(vec![]), "{name}");
        assert_eq!(state.size(), 600, "{name}");
        assert_eq!(kinds(state.standing()), if standing == [Fork] { vec![Fork] } else { vec![] }, "{name}");
    }
}

#[test]
fn in_a_log_of_everybodys_only_our_key_gives_reason() {
    use Kind::*;
    let key = |scalar| SubmissionKey::from_scalar(&[scalar; 32]).unwrap();
    let entry = |release: &str, scalar| Submission::sign(release.as_bytes(), &key(scalar)).leaf();
    let (ours, foreign) = (entry("ours", 5), entry("anything", 6));
    let spki = encoding::base64(key(5).public().spki());
    let around = encoding::base64(&[b"x509", key(5).public().spki(), b"!"].concat());
    assert!(ours.contains(&spki));
    for (name, leaf, expected) in [
        ("a release", ours.clone(), &[][..]),
        ("another's", foreign.clone(), &[]),
        ("another's of a kind that nobody knows", r#"{"kind":"new","spec":[1,null,"text"]}"#.to_owned(), &[]),
        ("one that nobody cut", entry("forged", 5), &[UnknownRelease]),
        ("another form of the same", ours.replace(",\"spec\"", ", \"spec\""), &[Unparsable]),
        ("another version", ours.replace("0.0.2", "0.0.3"), &[Unparsable]),
        ("another hash", ours.replace("SHA2_256", "SHA2_512"), &[Unparsable]),
        ("a member more", ours.replace("{\"data\"", "{\"more\":1,\"data\""), &[Unparsable]),
        ("in a certificate", foreign.replace(&encoding::base64(key(6).public().spki()), &around), &[Unparsable]),
        ("in another kind of entry", format!(r#"{{"kind":"new","spec":[{{"x":"{spki}"}}]}}"#), &[Unparsable]),
        ("no JSON", "anything".to_owned(), &[Unparsable]),
    ] {
        let known = BTreeSet::from([Sha256::of(b"ours")]);
        let new = || State::of_rekor("example.com/log", &key(5).public());
        let first = [foreign.clone().into_bytes()];
        let mut state = new();
        assert_eq!(look(&mut state, &files(&first), &known, NOW), Ok(vec![]), "{name}");
        let mut state = State::parse(&state.to_bytes(), &new()).unwrap();
        let alarms = look(&mut state, &files(&[&first[..], &[leaf.into_bytes()]].concat()), &known, NOW).unwrap();
        assert_eq!(kinds(&alarms), expected, "{name}: {alarms:?}");
        assert!(alarms.iter().all(|alarm| alarm.index == Some(1)), "{name}");
        // Of the log itself, the same as in one of ours.
        let shrunk = look(&mut state, &files(&first), &known, NOW).unwrap();
        assert_eq!(kinds(&shrunk), [Rollback], "{name}");
        let forked = look(&mut state, &files(&[b"{}".to_vec(), b"{}".to_vec()]), &known, NOW + 2 * MAX_AGE).unwrap();
        assert_eq!(kinds(&forked), [Stalled, Fork], "{name}");
    }
    let state = State::of_rekor("example.com/log", &key(5).public());
    for other in [State::of_rekor("example.com/log", &key(6).public()), new_state()] {
        for (state, new) in [(&state, &other), (&other, &state)] {
            let error = State::parse(&state.to_bytes(), new).unwrap_err().to_string();
            assert!(error.contains("the state's list of keys is not"), "{error}");
        }
    }
}

#[test]
fn silence_is_told_once_for_as_long_as_it_lasts() {
    let (honest, nothing) = (files(&quiet(0..3)), BTreeSet::new());
    let mut state = new_state();
    assert_eq!(look(&mut state, &honest, &nothing, NOW + MAX_AGE), Ok(vec![]));
    let silent = look(&mut state, &honest, &nothing, NOW + MAX_AGE + 1).unwrap();
    assert_eq!(kinds(&silent), [Kind::Stalled]);
    // A log that does not answer at all takes nothing back, and is silent as well.
    assert!(look(&mut state, &Files::new(), &nothing, NOW + MAX_AGE + 9).is_err());
    assert_eq!(kinds(state.standing()), [Kind::Stalled]);
    // A witness that lives in the future does not help.
    let mut later = honest.clone();
    let Newest { size, root, .. } = state.accepted.clone().unwrap();
    let signed = note(&checkpoint(size, root), &log("example.com/log"), true, u64::MAX >> 2);
    later.insert("checkpoint".to_owned(), signed.into_bytes());
    assert_eq!(look(&mut state, &later, &nothing, NOW + MAX_AGE + 9), Ok(vec![]));
    assert_eq!(state.standing(), []);
    assert_eq!(kinds(&look(&mut state, &honest, &nothing, NOW + 3 * MAX_AGE).unwrap()), [Kind::Stalled]);
}

#[test]
fn a_status_ends() {
    let add = KeyAdd { role: Role::Release, public_key: key(1).public().as_bytes().to_vec() };
    let add = Statement::new(vec![Subject::new("builder", key(1).public().id())], Predicate::KeyAdd(add)).unwrap();
    let entries = files(&[sign(&add, &[11, 12]), status(1, &[])]);
    let (mut state, nothing) = (new_state(), BTreeSet::new());
    assert_eq!(kinds(&look(&mut state, &entries, &nothing, NOW).unwrap()), [Kind::KeyAdded]);
    let later = look(&mut state, &entries, &nothing, NOW + crate::statement::MAX_VALIDITY).unwrap();
    assert_eq!(kinds(&later), [Kind::Stalled, Kind::StatusExpired]);
}

#[test]
fn from_any_size_to_any_other() {
    let (entries, nothing) = (quiet(0..4100), BTreeSet::new());
    let whole = files(&entries);
    for size in [0, 1, 255, 256, 257, 4096, 4097] {
        let mut state = new_state();
        assert_eq!(look(&mut state, &files(&entries[..size]), &nothing, NOW), Ok(vec![]), "{size}");
        assert_eq!(state.size(), size as u64);
        assert_eq!(look(&mut state, &whole, &nothing, NOW), Ok(vec![]), "{size}");
        assert_eq!((state.size(), state.root()), (4100, state.accepted.as_ref().unwrap().root), "{size}");
    }
}

#[test]
fn a_state_is_of_one_log_and_its_root_keys() {
    let mut state = new_state();
    look(&mut state, &files(&[b"garbage".to_vec()]), &BTreeSet::new(), NOW).unwrap();
    let bytes = state.to_bytes();
    assert_eq!(State::parse(&bytes, &new_state()).unwrap(), state);
    let roots = |seeds: [u8; 2]| seeds.map(|seed| key(seed).public()).to_vec();
    let two = NonZeroUsize::new(2).unwrap();
    for (new, expected) in [
        (State::new("example.com/other", roots([11, 12]), two), "the state's log is not"),
        (State::new("example.com/log", roots([11, 12]), two), "the state's list of keys is not"),
    ] {
        let error = State::parse(&bytes, &new).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let text = String::from_utf8(bytes).unwrap();
    for damaged in [
        text.replace("},\"size\":1", "},\"size\":2"),
        text.replace("\"schema\":2", "\"schema\":1"),
        text[1..].to_owned(),
    ] {
        assert_ne!(damaged, text);
        assert!(State::parse(damaged.as_bytes(), &new_state()).is_err(), "{damaged}");
    }
}
