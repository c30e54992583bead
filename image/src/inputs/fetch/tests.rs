//! Fetching from servers that fail in every way we could think of.

use super::server::{Reply, Server};
use super::*;
use crate::inputs::lock::{Archive, Set};
use crate::progress::{Bar, Silent};
use measure::Sha1;
use std::fs;
use std::sync::atomic::AtomicU64;

const POOL: &str = "/debian/pool/a%2b1.deb";
const BY_STAMP: &str = "/snapshot/archive/snapdebian/20260912T075541Z/pool/a%2b1.deb";
const BY_SHA1: &str = "/snapshot/file/0707070707070707070707070707070707070707";

fn content() -> Vec<u8> {
    (0..200_000_u32).map(|n| (n % 251) as u8).collect()
}

/// A lock of one package with this content.
fn lock(content: &[u8]) -> Lock {
    Lock {
        source_date_epoch: 1,
        request_sha256: Sha256::new([1; 32]),
        archives: vec![Archive {
            name: "debian".to_owned(),
            suite: "trixie".to_owned(),
            component: "main".to_owned(),
            snapshot: "20260912T075541Z".to_owned(),
            inrelease_sha256: Sha256::new([2; 32]),
            packages_sha256: Sha256::new([3; 32]),
        }],
        packages: vec![Package {
            sets: vec![Set::Tools],
            name: "a".to_owned(),
            version: "1".to_owned(),
            arch: "all".to_owned(),
            archive: "debian".to_owned(),
            pool: "pool/a+1.deb".to_owned(),
            size: content.len() as u64,
            sha256: Sha256::of(content),
            sha1: Sha1::new([7; 20]),
            source: "a".to_owned(),
            source_version: "1".to_owned(),
        }],
        files: Vec::new(),
    }
}

fn mirrors(url: &str) -> Mirrors {
    Mirrors {
        content: Vec::new(),
        directories: Vec::new(),
        offline: false,
        archives: BTreeMap::from([("debian".to_owned(), vec![format!("{url}/debian")])]),
        snapshots: BTreeMap::from([("debian".to_owned(), "snapdebian".to_owned())]),
        snapshot: format!("{url}/snapshot"),
        crates: format!("{url}/crates"),
        patience: Patience {
            connect: Duration::from_secs(2),
            stall: Duration::from_secs(2),
            attempts: 3,
            pause: Duration::from_millis(5),
        },
    }
}

/// Fetches one package from a server with `replies`: the requests, and the store's content or the error.
fn run(replies: impl IntoIterator<Item = (&'static str, Reply)>) -> (Vec<String>, Result<Vec<u8>, String>) {
    let (dir, server) = (tempfile::tempdir().unwrap(), Server::new(replies));
    let (store, lock) = (Store::open(dir.path()).unwrap(), lock(&content()));
    let outcome = fetch(&lock, &[], &store, &mirrors(&server.url), &Silent);
    let stored = fs::read(store.path(&lock.packages[0].sha256));
    assert_eq!(outcome.is_ok(), stored.is_ok(), "what is in the store must be what was fetched: {outcome:?}");
    (server.seen(), outcome.map(|_fetched| stored.unwrap()).map_err(|error| format!("{error:#}")))
}

#[track_caller]
fn arrives(replies: impl IntoIterator<Item = (&'static str, Reply)>, requests: &[&str]) {
    let (seen, outcome) = run(replies);
    assert_eq!(outcome.map(|bytes| bytes == content()), Ok(true));
    assert_eq!(seen, requests);
}

#[test]
fn from_the_pool_at_once() {
    arrives([(POOL, Reply::File(content()))], &[&format!("GET {POOL}")]);
    arrives([(POOL, Reply::Unmeasured(content()))], &[&format!("GET {POOL}")]);
}

#[test]
fn what_the_mirrors_dropped_comes_from_snapshot() {
    let (pool, stamp, sha1) = (format!("GET {POOL}"), format!("GET {BY_STAMP}"), format!("GET {BY_SHA1}"));
    arrives([(BY_STAMP, Reply::File(content()))], &[&pool, &stamp]);
    arrives([(BY_SHA1, Reply::File(content()))], &[&pool, &stamp, &sha1]);
    arrives([(POOL, Reply::Status(403)), (BY_SHA1, Reply::File(content()))], &[&pool, &stamp, &sha1]);
}

#[test]
fn a_truncated_or_stalled_download_resumes() {
    let (whole, rest) = (format!("GET {POOL}"), format!("GET {POOL} 1000-"));
    let then = || Box::new(Reply::File(content()));
    for first in [
        Reply::Truncated(content(), 1000),
        Reply::Stalled(content(), 1000),
        Reply::Unmeasured(content()[..1000].to_vec()),
    ] {
        arrives([(POOL, Reply::First(Box::new(first), then()))], &[&whole, &rest]);
    }
    // A server that knows no ranges starts again.
    let whole_file = Reply::WholeFile(content());
    let first = Reply::First(Box::new(Reply::Truncated(content(), 1000)), Box::new(whole_file));
    arrives([(POOL, first)], &[&whole, &rest]);
    // Trouble that passes.
    arrives([(POOL, Reply::First(Box::new(Reply::Status(503)), then()))], &[&whole, &whole]);
    // It never gets further: the next source resumes what is there.
    let never = Reply::First(Box::new(Reply::Truncated(content(), 1000)), Box::new(Reply::Status(500)));
    let stamp = format!("GET {BY_STAMP} 1000-");
    arrives([(POOL, never), (BY_STAMP, Reply::File(content()))], &[&whole, &rest, &rest, &stamp]);
}

#[test]
fn lies_do_not_enter_and_do_not_poison() {
    let (pool, stamp) = (format!("GET {POOL}"), format!("GET {BY_STAMP}"));
    let mut wrong = content();
    wrong[5] ^= 1;
    let longer = [content(), vec![0]].concat();
    let shorter = content()[1..].to_vec();
    for lie in [
        Reply::File(wrong.clone()),
        Reply::File(longer.clone()),
        Reply::File(shorter.clone()),
        Reply::Unmeasured(longer),
    ] {
        arrives([(POOL, lie), (BY_STAMP, Reply::File(content()))], &[&pool, &stamp]);
    }
    let (_, outcome) = run([(POOL, Reply::Unmeasured([content(), vec![0; 1 << 20]].concat()))]);
    assert!(outcome.unwrap_err().contains("expected 200000 bytes, found more"));
    // A lie of which only the beginning arrived is found out at the end, and the honest server asked again.
    let half = Reply::First(Box::new(Reply::Truncated(wrong, 1000)), Box::new(Reply::Status(404)));
    let (rest, from_there) = (format!("GET {POOL} 1000-"), format!("GET {BY_STAMP} 1000-"));
    arrives([(POOL, half), (BY_STAMP, Reply::File(content()))], &[&pool, &rest, &from_there, &stamp]);
}

#[test]
fn redirects_are_followed_but_not_for_ever() {
    let (pool, stamp) = (format!("GET {POOL}"), format!("GET {BY_STAMP}"));
    let there = [(POOL, Reply::Redirect("/there".to_owned())), ("/there", Reply::File(content()))];
    arrives(there, &[&pool, "GET /there"]);
    let (seen, outcome) = run([(POOL, Reply::Redirect(POOL.to_owned())), (BY_STAMP, Reply::File(content()))]);
    assert_eq!(outcome.map(|bytes| bytes == content()), Ok(true));
    assert_eq!(seen.iter().filter(|request| **request == pool).count(), 18, "three attempts of five redirects each");
    assert_eq!(seen.last(), Some(&stamp));
}

#[test]
fn what_nobody_has_is_named() {
    let (_, outcome) = run([]);
    let error = outcome.unwrap_err();
    assert!(error.contains("a 1 (dropped by every mirror)"), "{error}");
    assert!(error.contains("404") && error.contains("lock --update"), "{error}");

    let (_, outcome) = run([(POOL, Reply::Status(500))]);
    let error = outcome.unwrap_err();
    assert!(!error.contains("dropped") && error.contains("500") && error.contains("again"), "{error}");
}

#[test]
fn a_content_addressed_mirror_is_asked_first_and_crates_come_too() {
    let bytes = content();
    let sha256 = Sha256::of(&bytes);
    let path: &'static str = format!("/archive/sha256/{}/{sha256}", &sha256.to_string()[..2]).leak();
    let server =
        Server::new([(path, Reply::File(bytes.clone())), ("/crates/x/x-1.0.0%2b2.crate", Reply::File(vec![9; 100]))]);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut mirrors = mirrors(&server.url);
    mirrors.add(&format!("{}/archive/", server.url)).unwrap();
    let crates = [Crate { name: "x".to_owned(), version: "1.0.0+2".to_owned(), sha256: Sha256::of(&[9; 100]) }];
    let again = || fetch(&lock(&bytes), &crates, &store, &mirrors, &Silent).unwrap();
    assert_eq!(again(), Fetched { present: 0, fetched: 2 });
    assert_eq!(server.seen().iter().filter(|request| request.contains(path)).count(), 1);
    // Nothing is asked for what is there; what was spoilt is found and fetched again.
    assert_eq!(again(), Fetched { present: 2, fetched: 0 });
    assert_eq!(server.seen(), Vec::<String>::new());
    let spoil = store.path(&sha256);
    fs::remove_file(&spoil).unwrap();
    fs::write(&spoil, "of another size").unwrap();
    assert_eq!(again(), Fetched { present: 1, fetched: 1 });
    fs::remove_file(&spoil).unwrap();
    fs::write(&spoil, vec![0; bytes.len()]).unwrap();
    assert_eq!(verify(&lock(&bytes), &crates, &store, &Silent).unwrap(), ["a"]);
    assert_eq!(again(), Fetched { present: 1, fetched: 1 });

    assert!(mirrors.add("debian=http://other/debian").is_ok());
    assert_eq!(mirrors.pool("debian", "x"), ["http://other/debian/x"]);
    for bad in ["ftp://x", "other=http://x", "/a/path", "http://a\"b"] {
        assert!(mirrors.add(bad).is_err(), "{bad}");
    }
}

#[test]
fn two_runs_at_once_fetch_once() {
    let slowly = Reply::First(Box::new(Reply::Stalled(content(), 1000)), Box::new(Reply::File(content())));
    let server = Server::new([(POOL, slowly)]);
    let dir = tempfile::tempdir().unwrap();
    let run = || {
        let store = Store::open(dir.path()).unwrap();
        fetch(&lock(&content()), &[], &store, &mirrors(&server.url), &Silent).unwrap();
        assert!(store.verify(&Sha256::of(&content())).unwrap());
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(run))));
    assert_eq!(server.seen(), [format!("GET {POOL}"), format!("GET {POOL} 1000-")]);
}

#[test]
fn a_part_that_is_too_long_is_begun_again() {
    let server = Server::new([(POOL, Reply::File(content()))]);
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = (Store::open(dir.path()).unwrap(), lock(&content()));
    fs::write(store.part(&lock.packages[0].sha256), vec![0; 200_001]).unwrap();
    fetch(&lock, &[], &store, &mirrors(&server.url), &Silent).unwrap();
    assert_eq!(server.seen(), [format!("GET {POOL}")]);
}

#[test]
fn a_disk_that_takes_nothing_is_reported_with_the_path() {
    let server = Server::new([(POOL, Reply::File(content()))]);
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = (Store::open(dir.path()).unwrap(), lock(&content()));
    let part = store.part(&lock.packages[0].sha256);
    std::os::unix::fs::symlink("/dev/full", &part).unwrap();
    let error = format!("{:#}", fetch(&lock, &[], &store, &mirrors(&server.url), &Silent).unwrap_err());
    assert!(error.contains(&part.display().to_string()) && error.contains("resume"), "{error}");
    assert!(!store.holds(&lock.packages[0].sha256, None));
}

#[test]
fn the_bar_counts_every_byte_once() {
    struct Counting(std::sync::Arc<AtomicU64>);
    impl Progress for Counting {
        fn done(&self, _verb: &str, _object: &str, _took: Duration) {}
        fn bar(&self, _verb: &str, total: u64, _unit: Unit) -> Box<dyn Bar> {
            assert_eq!(total, 200_000);
            Box::new(Counting(self.0.clone()))
        }
    }
    impl Bar for Counting {
        fn add(&self, amount: u64) {
            self.0.fetch_add(amount, Ordering::Relaxed);
        }
        fn note(&self, _text: &str) {}
    }
    let first = Reply::First(Box::new(Reply::Truncated(content(), 1000)), Box::new(Reply::WholeFile(content())));
    let (server, dir) = (Server::new([(POOL, first)]), tempfile::tempdir().unwrap());
    let counting = Counting(Default::default());
    fetch(&lock(&content()), &[], &Store::open(dir.path()).unwrap(), &mirrors(&server.url), &counting).unwrap();
    assert_eq!(counting.0.load(Ordering::Relaxed), 200_000);
}
