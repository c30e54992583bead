//! A log of ours, interrupted watchers, and a server that does what it is told.

use super::*;
use crate::fetch::server::{Reply, Server};
use log_client::edge::log::Log;
use log_client::note::SignatureType;
use log_client::{Signer, SplitView};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

const NOW: Time = Time(1_800_000_000);

fn signer() -> Signer {
    Signer::new("example.com/log", SignatureType::ED25519, &[1; 32]).unwrap()
}

fn policy() -> log_client::Policy {
    let text = format!("log {}\nquorum none\n", signer().key());
    log_client::Policy::parse(text.as_bytes(), SplitView::Accepted).unwrap()
}

fn new_state() -> State {
    State::new("example.com/log", Vec::new(), NonZeroUsize::MIN)
}

/// A log with these entries, none of which is a statement: an alarm each.
fn garbage(directory: &Path, entries: &[&str]) {
    let entries: Vec<_> = entries.iter().map(|entry| entry.as_bytes().to_vec()).collect();
    let log = Log::init(directory, &signer()).unwrap().append(&entries).unwrap().0;
    log.sign(&signer()).unwrap().publish(&[]).unwrap();
}

fn watched<T>(look: impl FnOnce(&Watch<'_>) -> T) -> T {
    let (policy, known) = (policy(), BTreeSet::new());
    look(&Watch { policy: &policy, max_age: None, known: &known, now: NOW })
}

type Disk = BTreeMap<String, Vec<u8>>;

/// A watcher whose process may end before or after whatever it does to the world.
struct Watcher {
    disk: Disk,
    told: Vec<String>,
    /// So many deeds are done; of the next, whether it is.
    until: Option<(usize, bool)>,
}

impl Watcher {
    fn new() -> Self {
        Self { disk: BTreeMap::new(), told: Vec::new(), until: None }
    }

    /// One process: from the state on the disk to its end, or until it is interrupted.
    fn run(&mut self, log: &Path) -> anyhow::Result<()> {
        let mut state = match self.disk.get(store::STATE) {
            Some(bytes) => State::parse(bytes, &new_state())?,
            None => new_state(),
        };
        let world = RefCell::new((&mut self.disk, &mut self.told, &mut self.until));
        let deed = |deed: &mut dyn FnMut(&mut Disk, &mut Vec<String>)| {
            let (disk, told, until) = &mut *world.borrow_mut();
            match until {
                Some((0, done)) => {
                    if std::mem::take(done) {
                        deed(disk, told);
                    }
                    bail!("interrupted")
                }
                Some((left, _)) => *left -= 1,
                None => {}
            }
            deed(disk, told);
            Ok(())
        };
        let mut get = |name: &str, limit: u64| files::read(&log.join(name), limit);
        let mut write =
            |name: &str, bytes: &[u8]| deed(&mut |disk, _| drop(disk.insert(name.to_owned(), bytes.to_vec())));
        let mut tell = |alarm: &Alarm| {
            let evidence = || alarm.evidence.iter().all(|name| world.borrow().0.contains_key(name));
            assert!(evidence(), "{alarm:?}");
            deed(&mut |_, told| told.push(alarm.id.clone()))
        };
        watched(|watch| pass(&mut state, watch, &mut World { get: &mut get, write: &mut write, tell: &mut tell }))
    }
}

#[test]
fn no_alarm_is_lost_wherever_the_watcher_is_interrupted() {
    let (first, fork) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    garbage(first.path(), &["a", "b", "c"]);
    garbage(fork.path(), &["a", "b", "d"]);
    let mut whole = Watcher::new();
    whole.run(first.path()).unwrap();
    whole.run(fork.path()).unwrap();
    let expected: BTreeSet<_> = whole.told.iter().cloned().collect();
    assert_eq!((whole.told.len(), expected.len()), (4, 4), "{:?}", whole.told);
    assert_eq!(whole.disk.keys().filter(|name| name.starts_with("evidence/")).count(), 2);

    let mut interrupted = 0;
    for log in [first.path(), fork.path()] {
        for (deeds, done) in (0..20).flat_map(|deeds| [(deeds, false), (deeds, true)]) {
            let mut watcher = Watcher::new();
            if log == fork.path() {
                watcher.run(first.path()).unwrap();
            }
            watcher.until = Some((deeds, done));
            interrupted += usize::from(watcher.run(log).is_err());
            watcher.until = None;
            watcher.run(first.path()).unwrap();
            watcher.run(fork.path()).unwrap();
            let told: BTreeSet<_> = watcher.told.iter().cloned().collect();
            assert_eq!(told, expected, "{deeds} {done}");
            assert_eq!(watcher.disk.keys().collect::<Vec<_>>(), whole.disk.keys().collect::<Vec<_>>());
        }
    }
    // Writing the state, three alarms, writing it; two files, the state, one alarm, the state.
    assert_eq!(interrupted, 2 * 5 + 2 * 5);
}

/// The files of a log as a server has them.
fn replies(directory: &Path, names: &[&str]) -> BTreeMap<String, Reply> {
    let reply =
        |name: &&str| (format!("/{name}"), Reply::File(std::fs::read(directory.join(name)).unwrap(), String::new()));
    names.iter().map(reply).collect()
}

#[test]
fn what_a_server_must_not_do() {
    let log = tempfile::tempdir().unwrap();
    garbage(log.path(), &["a", "b", "c"]);
    let names = ["checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"];
    let file = |name: &str| std::fs::read(log.path().join(name)).unwrap();
    let huge = || vec![b'x'; 18 << 20];
    for (name, reply, expected) in [
        ("checkpoint", None, Ok(3)),
        ("checkpoint", Some(Reply::Unmeasured(huge())), Err("body")),
        ("tile/entries/000.p/3", Some(Reply::Unmeasured(huge())), Err("body")),
        ("checkpoint", Some(Reply::Stalled(file("checkpoint"), 20)), Err("attempt 2")),
        ("tile/entries/000.p/3", Some(Reply::Truncated(file("tile/entries/000.p/3"), 4)), Err("attempt 2")),
        ("tile/entries/000.p/3", Some(Reply::Status(404, String::new())), Err("404")),
        ("tile/entries/000.p/3", Some(Reply::Redirect("/elsewhere".to_owned())), Err("404")),
        (
            "tile/entries/000.p/3",
            Some(Reply::First(
                Box::new(Reply::Status(503, String::new())),
                Box::new(Reply::File(file("tile/entries/000.p/3"), String::new())),
            )),
            Ok(3),
        ),
        ("checkpoint", Some(Reply::File(b"<html>".to_vec(), String::new())), Ok(1)),
    ] {
        // Only of a server that stalls is it known that nothing more comes.
        let stalls = matches!(reply, Some(Reply::Stalled(..)));
        let stall = if stalls { Duration::from_millis(300) } else { Duration::from_secs(60) };
        let mut replies = replies(log.path(), &names);
        replies.extend(reply.map(|reply| (format!("/{name}"), reply)));
        let server = Server::new(replies);
        let (pause, seconds) = (Duration::from_millis(1), Duration::from_secs);
        let patience = Patience { attempts: 2, pause, connect: seconds(60), stall, total: seconds(120) };
        let silent = |_line: &str| ();
        let client = Client::new(patience, &silent);
        let mut get = |name: &str, limit: u64| Ok(client.get(&format!("{}/{name}", server.url), limit)?.body);
        let mut state = new_state();
        let mut told = 0;
        let mut tell = |_: &Alarm| {
            told += 1;
            Ok(())
        };
        let mut write = |_: &str, _: &[u8]| Ok(());
        let mut world = World { get: &mut get, write: &mut write, tell: &mut tell };
        let passed = watched(|watch| pass(&mut state, watch, &mut world));
        match (passed, expected) {
            (Ok(()), Ok(expected)) => assert_eq!(told, expected, "{name}"),
            (Err(error), Err(expected)) => assert!(format!("{error:#}").contains(expected), "{name}: {error:#}"),
            (passed, expected) => panic!("{name}: {passed:?} instead of {expected:?}"),
        }
    }
}

#[test]
fn one_monitor_for_one_state() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path()).unwrap();
    let error = Store::open(directory.path()).err().unwrap();
    assert!(format!("{error:#}").contains("another monitor uses it"), "{error:#}");
    assert_eq!(store.read(new_state()).unwrap(), new_state());
    store.write(store::STATE, b"{").unwrap();
    let error = store.read(new_state()).unwrap_err();
    assert!(format!("{error:#}").contains("begin another state"), "{error:#}");
}
