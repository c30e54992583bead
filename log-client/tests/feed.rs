//! Feeds of a log that is read from a directory and over HTTP, and of logs that lie.

mod wire;

use log_client::dsse::Envelope;
use log_client::edge::cosign::Mirror;
use log_client::edge::directory::Directory;
use log_client::edge::feed::{Besides, Snapshot, Trust, Which};
use log_client::edge::log::Log;
use log_client::edge::rules::{Roots, Rules};
use log_client::edge::serve;
use log_client::feed::Feed;
use log_client::fleet::{Roster, Row};
use log_client::keys::SigningKey;
use log_client::lifecycle::{Book, Changes};
use log_client::merkle::{leaf_hash, verify_consistency};
use log_client::note::SignatureType;
use log_client::statement::{Predicate, Rebuild, Role, Statement, TcbMinimum};
use log_client::tail::{Consistency, Tail};
use log_client::{Checkpoint, Policy, Proof, SignedCheckpoint, Signer, SplitView};
use measure::Sha256;
use measure::appraise::Time;
use measure::snp::product::{Product, TcbVersion};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use wire::spawned;

const NOW: Time = Time(1_790_000_000);
const LONG: Duration = Duration::from_secs(300);

fn log_signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

fn policy() -> Policy {
    Policy::parse(format!("log {}\nquorum none\n", log_signer().key()).as_bytes(), SplitView::Accepted).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn roots() -> Roots {
    Roots::new(vec![key(11).public(), key(12).public()], NonZeroUsize::new(2).unwrap()).unwrap()
}

fn roster() -> Roster {
    ["1", "2", "3"].map(|digit| digit.repeat(128) + "\n").concat().parse().unwrap()
}

fn sign(statement: &Statement, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    Envelope::sign(statement.to_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes()
}

fn golden(kind: &str) -> Statement {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/statement/golden/{kind}.json"));
    Statement::parse(fs::read(path).unwrap().trim_ascii_end()).unwrap()
}

fn rebuilt(release: &[u8], seed: u8, time: u64) -> Vec<u8> {
    let Statement { subjects, predicate: Predicate::Rebuild(rebuild) } = golden("rebuild") else { panic!() };
    let rebuild = Rebuild { release_sha256: Sha256::of(release), built_at: Time(time), ..rebuild };
    sign(&Statement::new(subjects, Predicate::Rebuild(rebuild)).unwrap(), &[seed])
}

/// A log with a key, a fleet, a release (entry 2), three rebuilds by two keys and two statuses. `seen` is its checkpoint
/// before the last four entries.
struct World {
    scratch: TempDir,
    seen: SignedCheckpoint,
}

impl World {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("log");
        let rules = Rules { roots: Some(roots()), ..Rules::default() };
        let mut log = Log::init_with(&path, &log_signer(), rules).unwrap();
        let add = |entry: Vec<u8>, mut log: Log| {
            (log, _) = log.append(&[entry]).unwrap();
            log.sign(&log_signer()).unwrap().publish(&[]).unwrap()
        };
        let roots = &[11, 12];
        let public = key(2).public().as_bytes().to_vec();
        let key_add = log.book().unwrap().key_add("builder", Role::Release, public).unwrap();
        log = add(sign(&key_add, roots), log);
        log = add(sign(&Book::fleet(&roster()).unwrap(), roots), log);
        let release = sign(&golden("release"), &[2]);
        log = add(release.clone(), log);
        let tcb = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };
        let tcb_minimums = Some(vec![TcbMinimum { product: Product::Genoa, tcb }]);
        let changes = Changes { tcb_minimums, ..Changes::default() };
        let status = log.book().unwrap().next_status(NOW, 7000, changes).unwrap();
        log = add(sign(&status, roots), log);
        let seen = log.signed().clone();
        for (seed, time) in [(21, 1), (22, 1), (21, 2)] {
            log = add(rebuilt(&release, seed, time), log);
        }
        let status = log.book().unwrap().next_status(Time(NOW.0 + 100), 7000, Changes::default()).unwrap();
        drop(add(sign(&status, roots), log));
        Self { scratch, seen }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("log")
    }

    fn mirror(&self) -> Mirror {
        Mirror::Directory(self.path())
    }

    fn read(&self, log: &Mirror, patience: Duration) -> anyhow::Result<Snapshot> {
        let (policy, roots) = (policy(), roots());
        Snapshot::read(log, &Trust { policy: &policy, roots: &roots, seen: Some(self.seen.checkpoint()), patience })
    }
}

#[test]
fn all_of_it_under_one_checkpoint() {
    let world = World::new();
    let path = world.path();
    let served = spawned(move |listener| serve::log(&path, &listener).unwrap());
    let version = Which::Version("1.2.3".parse().unwrap());
    let roster = roster();
    let chip = "2".repeat(128).parse().unwrap();
    let earlier = Directory::new(world.path()).prove(2, log_signer().key()).unwrap();
    let besides =
        Besides { chip: Some((&roster, chip)), earlier_proof: Some(&earlier), tail: true, ..Besides::default() };
    let feed = world.read(&world.mirror(), LONG).unwrap().feed(version, &besides, &policy()).unwrap();
    let other = world.read(&served.parse().unwrap(), LONG).unwrap();
    assert_eq!(other.feed(Which::Index(2), &besides, &policy()).unwrap(), feed);
    assert_eq!(Feed::parse(&feed.to_bytes().unwrap()).as_ref(), Ok(&feed));

    let note = fs::read_to_string(world.path().join("checkpoint")).unwrap();
    let proven = |entry: &[u8], proof: &[u8]| {
        let proof = Proof::parse(proof).unwrap();
        assert_eq!(proof.checkpoint, note);
        (proof.index, proof.verify(entry, &policy()).unwrap().checkpoint)
    };
    let release = feed.release.unwrap();
    let (index, checkpoint) = proven(&release, &feed.release_proof.unwrap());
    assert_eq!((index, checkpoint.size), (2, 8));
    let status = feed.status.unwrap();
    assert_eq!(proven(&status, &feed.status_proof.unwrap()).0, 7);
    let envelope = Envelope::parse(&status).unwrap();
    let Predicate::Status(status) = Statement::parse(envelope.unverified_payload()).unwrap().predicate else {
        panic!()
    };
    let row: Row = String::from_utf8(feed.fleet_row.unwrap()).unwrap().parse().unwrap();
    row.verify(status.fleet_chips, &status.fleet_root_sha256).unwrap();
    // The newest of each key.
    let rebuilds: Vec<_> = feed.rebuilds.iter().map(|rebuild| proven(&rebuild.envelope, &rebuild.proof).0).collect();
    assert_eq!(rebuilds, [6, 5]);
    let Consistency { old, hashes } = String::from_utf8(feed.consistency.unwrap()).unwrap().parse().unwrap();
    let seen = world.seen.checkpoint();
    verify_consistency((old, &seen.root), (checkpoint.size, &checkpoint.root), &hashes).unwrap();
    let tail = Tail::parse(&feed.tail.unwrap()).unwrap();
    assert_eq!((tail.entries.len(), leaf_hash(&tail.entries[0])), (5, leaf_hash(&other_entry(&world, 3))));

    let least = world.read(&world.mirror(), LONG).unwrap().feed(version, &Besides::default(), &policy()).unwrap();
    assert!(least.fleet_row.is_none() && least.tail.is_none() && least.earlier_proof.is_none());
}

/// Whoever writes to the log cannot push out what an honest rebuilder has signed, neither under its key id nor by numbers.
#[test]
fn a_strangers_rebuilds_displace_nobodys() {
    let world = World::new();
    let release = other_entry(&world, 2);
    let [honest, other] = [21, 22].map(|seed| key(seed).public());
    let mut garbage = Envelope::parse(&rebuilt(&release, 21, 9)).unwrap().unverified_signatures().to_vec();
    garbage[0].sig = [7; 64];
    let payload = Envelope::parse(&rebuilt(&release, 21, 10)).unwrap().unverified_payload().to_vec();
    let forged = Envelope::new(payload, garbage.clone()).unwrap().to_bytes();
    // A good signature of one, and beside it a bad one of the other.
    let good = Envelope::parse(&rebuilt(&release, 22, 11)).unwrap();
    let both = [good.unverified_signatures(), &garbage].concat();
    let both = Envelope::new(good.unverified_payload().to_vec(), both).unwrap().to_bytes();
    let strangers = (100..120).map(|seed| rebuilt(&release, seed, 1));
    let entries: Vec<_> = [forged, both].into_iter().chain(strangers).collect();
    let (log, _) = Log::open(&world.path()).unwrap().append(&entries).unwrap();
    drop(log.sign(&log_signer()).unwrap().publish(&[]).unwrap());

    let snapshot = world.read(&world.mirror(), LONG).unwrap();
    let indexes = |keys: Option<&[_]>| -> Vec<u64> {
        let feed = snapshot.feed(Which::Index(2), &Besides { rebuilders: keys, ..Besides::default() }, &policy());
        feed.unwrap().rebuilds.iter().map(|rebuild| Proof::parse(&rebuild.proof).unwrap().index).collect()
    };
    assert_eq!(indexes(Some(&[honest])), [6]);
    assert_eq!(indexes(Some(&[honest, other])), [9, 6]);
    assert_eq!(indexes(Some(&[])), [0; 0]);
    assert_eq!(indexes(None).len(), 16);
}

fn other_entry(world: &World, index: u64) -> Vec<u8> {
    Directory::new(world.path()).entry(index, 8).unwrap()
}

#[test]
fn what_there_is_no_feed_of() {
    let world = World::new();
    let snapshot = world.read(&world.mirror(), LONG).unwrap();
    let directory = Directory::new(world.path());
    let other_proof = directory.prove(3, log_signer().key()).unwrap();
    let (roster, other) = (roster(), "1".repeat(128) + "\n");
    let other = other.parse().unwrap();
    let [chip, stranger] = ["2", "4"].map(|digit| digit.repeat(128).parse().unwrap());
    let with = |chip| Besides { chip: Some(chip), ..Besides::default() };
    for (which, besides, expected) in [
        ("1", Besides::default(), "Index(1) is no release of this log that counts"),
        ("8", Besides::default(), "Index(8) is no release"),
        ("1.2.4", Besides::default(), "is no release of this log that counts"),
        ("2", with((&roster, stranger)), "is not in the fleet"),
        ("2", with((&other, chip)), "status 2 is of another roster"),
        ("2", Besides { earlier_proof: Some(&other_proof), ..Besides::default() }, "the earlier proof"),
    ] {
        let error = snapshot.feed(which.parse().unwrap(), &besides, &policy()).unwrap_err().to_string();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!("1.2".parse::<Which>().is_err());
}

/// A file's bytes, or that there is none, to others.
type Change = fn(Option<Vec<u8>>) -> Option<Vec<u8>>;

/// A copy of the log's public files, one of them changed.
fn changed(world: &World, name: &str, change: Change) -> TempDir {
    let scratch = tempfile::tempdir().unwrap();
    for name in ["checkpoint", "tile/entries/000.p/8"] {
        let to = scratch.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(world.path().join(name), to).unwrap();
    }
    let path = scratch.path().join(name);
    match change(fs::read(&path).ok()) {
        Some(bytes) => fs::write(path, bytes).unwrap(),
        None => fs::remove_file(path).unwrap(),
    }
    scratch
}

fn signed(size: u64, root: Sha256) -> Option<Vec<u8>> {
    let text = Checkpoint { origin: "example.com/log".into(), size, root, extensions: vec![] }.to_string();
    Some(format!("{text}\n{}", log_signer().sign(&text, 0)).into_bytes())
}

#[test]
fn logs_that_lie() {
    let world = World::new();
    let bundle = "tile/entries/000.p/8";
    let seen = world.seen.checkpoint().clone();
    let cases: [(&str, Change, &str); 9] = [
        ("checkpoint", |_| None, "has no checkpoint"),
        ("checkpoint", |note| Some(replaced(&note?, b"8\n", b"9\n")), "the signature of example.com/log"),
        ("checkpoint", |_| signed(8, leaf_hash(b"x")), "it shows other entries than it signed"),
        ("checkpoint", |_| signed(1 << 40, leaf_hash(b"x")), "expected a log of at most 1048576 entries"),
        ("checkpoint", |_| signed(3, leaf_hash(b"x")), "had 4 entries and now has 3: it was rolled back"),
        ("checkpoint", |_| signed(300, leaf_hash(b"x")), "has no tile/entries/000"),
        (bundle, |_| None, "has no tile/entries/000.p/8"),
        (bundle, |bytes| Some(bytes?[..9000].to_vec()), "expected 8 entries, found"),
        (bundle, |bytes| Some(replaced(&bytes?, b"in-toto", b"in-tono")), "shows other entries"),
    ];
    for (name, change, expected) in cases {
        let log = changed(&world, name, change);
        let error = format!("{:#}", world.read(&Mirror::Directory(log.path().into()), LONG).unwrap_err());
        assert!(error.contains(expected), "{name}, {expected}: {error}");
    }
    // Another history of the same length: all of it signed, but not what was seen.
    let other = tempfile::tempdir().unwrap();
    let entries: Vec<_> = (0..9).map(|number| vec![number]).collect();
    let (log, _) = Log::init(other.path(), &log_signer()).unwrap().append(&entries).unwrap();
    drop(log.sign(&log_signer()).unwrap().publish(&[]).unwrap());
    let error = world.read(&Mirror::Directory(other.path().into()), LONG).unwrap_err().to_string();
    assert!(error.contains("the log's first 4 entries hash to") && error.contains("the log was forked"), "{error}");
    assert_eq!(seen.size, 4);
}

#[test]
fn servers_that_do_not_serve() {
    let world = World::new();
    let checkpoint = fs::read(world.path().join("checkpoint")).unwrap();
    for (answer, patience, expected) in [
        (&b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n"[..], LONG, "reading"),
        (b"HTTP/1.1 500 x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", LONG, "status 500"),
        (b"HTTP/1.1 302 x\r\nLocation: /other\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", LONG, "status 302"),
        (b"nonsense\r\n\r\n", LONG, "reading"),
        (b"", Duration::from_millis(200), "reading"),
        (b"HTTP/1.1 200 x\r\nContent-Length: 1000\r\n\r\nexample", Duration::from_millis(200), "reading"),
    ] {
        let (answer, checkpoint) = (answer.to_vec(), checkpoint.clone());
        // An honest checkpoint; then this.
        let huge = patience == LONG && answer.ends_with(b"close\r\n\r\n") && answer.starts_with(b"HTTP/1.1 200");
        let stays_open = patience != LONG;
        let url = spawned(move |listener: TcpListener| {
            let mut open = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let (mut head, mut byte) = (Vec::new(), [0]);
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                }
                let length = checkpoint.len();
                let first = format!("HTTP/1.1 200 x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                let _gone = match number {
                    0 => stream.write_all(&[first.as_bytes(), &checkpoint].concat()),
                    _ if huge => stream.write_all(&[&answer[..], &vec![b'x'; 18 << 20]].concat()),
                    _ => stream.write_all(&answer),
                };
                if stays_open {
                    open.push(stream);
                }
            }
        });
        let error = format!("{:#}", world.read(&url.parse().unwrap(), patience).unwrap_err());
        assert!(error.contains(expected) && error.contains("tile/entries"), "{expected}: {error}");
    }
    let error = world.read(&world.mirror(), Duration::ZERO).unwrap_err().to_string();
    assert!(error.contains("the time is over"), "{error}");
}

/// The bytes with the first occurrence of `from` replaced, which is there.
fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    [&bytes[..at], to, &bytes[at + from.len()..]].concat()
}
