//! One log from its first key to a key that was stolen.

use super::*;
use crate::dsse::Envelope;
use crate::keys::SigningKey;
use crate::statement::tests as statements;
use measure::snp::product::{Product, TcbVersion};

const NOW: Time = Time(1_790_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn entry(statement: &Statement, seeds: &[u8]) -> Vec<u8> {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    Envelope::sign(statement.to_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap().to_bytes()
}

fn released(version: &str, counter: u64) -> Statement {
    let Statement { subjects, predicate: Predicate::Release(release) } = statements::release() else { panic!() };
    let release = crate::statement::Release { version: version.parse().unwrap(), counter, ..*release };
    Statement::new(subjects, Predicate::Release(Box::new(release))).unwrap()
}

fn minimums() -> Vec<TcbMinimum> {
    let tcb = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };
    vec![TcbMinimum { product: Product::Genoa, tcb }]
}

fn versions(status: &Statement) -> Vec<&str> {
    status.live().map(|(version, _)| version).collect()
}

/// Root keys are 11, 12 and 13, two of them needed.
struct World(Book);

impl World {
    fn new() -> Self {
        Self(Book::new([11, 12, 13].map(|seed| key(seed).public()).to_vec(), NonZeroUsize::new(2).unwrap()))
    }

    fn push(&mut self, statement: &Statement, seeds: &[u8]) -> Event {
        self.0.push(&entry(statement, seeds)).unwrap()
    }

    fn status(&mut self, changes: Changes) -> Statement {
        let status = self.0.next_status(NOW, MAX_VALIDITY, changes).unwrap();
        self.push(&status, &[11, 13]);
        status
    }
}

fn add(book: &Book, seed: u8) -> Result<Statement, BookError> {
    book.key_add("builder", Role::Release, key(seed).public().as_bytes().to_vec())
}

#[test]
fn statements_follow_from_the_log() {
    let mut world = World::new();
    let mut refusals = vec![(world.0.next_status(NOW, 1, Changes::default()), "fleet: expected a fleet statement")];
    let roster: Roster = format!("{}\n{}\n", "1".repeat(128), "2".repeat(128)).parse().unwrap();
    world.push(&Book::fleet(&roster).unwrap(), &[11, 12]);
    refusals.push((world.0.next_status(NOW, 1, Changes::default()), "tcb_minimums: expected least firmware"));
    world.push(&add(&world.0, 1).unwrap(), &[11, 12]);
    world.push(&add(&world.0, 2).unwrap(), &[12, 13]);
    refusals.push((add(&world.0, 1), "key: expected one that was not there before"));
    world.push(&released("1.0.0", 1), &[1]);
    world.push(&released("1.1.0", 2), &[2]);

    let first = world.status(Changes { tcb_minimums: Some(minimums()), ..Changes::default() });
    let Predicate::Status(status) = &first.predicate else { panic!() };
    assert_eq!((status.sequence, status.minimum_counter, status.fleet_chips, status.keys.len()), (1, 0, 2, 2));
    assert_eq!((status.fleet_root_sha256, status.not_after), (roster.root(), Time(NOW.0 + MAX_VALIDITY)));
    assert_eq!(first.subject("fleet"), Some(Sha256::of(roster.to_string().as_bytes())));
    assert_eq!(versions(&first), ["1.0.0", "1.1.0"]);

    // Withdrawn is withdrawn, also before it was ever called live; what is new is live.
    world.push(&released("1.2.0", 3), &[2]);
    world.push(&released("1.3.0", 4), &[2]);
    let withdrawn: BTreeSet<Version> = ["1.0.0", "1.2.0"].map(|version| version.parse().unwrap()).into();
    let second = world.status(Changes { withdrawn: withdrawn.clone(), ..Changes::default() });
    assert_eq!(versions(&second), ["1.1.0", "1.3.0"]);
    assert_eq!(versions(&world.status(Changes::default())), ["1.1.0", "1.3.0"]);
    refusals.push((
        world.0.next_status(NOW, 1, Changes { withdrawn, ..Changes::default() }),
        "withdrawn: expected one of 1.1.0, 1.3.0, found 1.0.0",
    ));
    world.push(&released("1.4.0", 5), &[2]);
    let least = world.status(Changes { minimum_counter: Some(3), ..Changes::default() });
    assert_eq!(versions(&least), ["1.3.0", "1.4.0"]);
    refusals.push((
        world.0.next_status(NOW, 1, Changes { minimum_counter: Some(2), ..Changes::default() }),
        "minimum_counter: expected at least 3, as now, found 2",
    ));

    // The key was stolen before 1.4.0.
    let index = world.0.ledger().releases()[&"1.4.0".parse().unwrap()].index;
    let revoke = world.0.key_revoke(key(2).public().id(), Some(index), "stolen").unwrap();
    assert_eq!(revoke.subjects[0].name, "builder");
    world.push(&revoke, &[11, 12]);
    let last = world.status(Changes::default());
    assert_eq!(versions(&last), ["1.3.0"]);
    assert_eq!(world.0.status().unwrap().1, &last);
    let id = |seed| key(seed).public().id();
    refusals.push((world.0.key_revoke(id(3), None, "who?"), "key: expected a release key that was added"));
    refusals.push((world.0.key_revoke(id(1), Some(99), "when?"), "from_index: expected at most 14, found 99"));
    refusals.push((world.0.key_revoke(id(1), None, ""), "reason: expected 1 to 128 bytes"));
    for (refused, expected) in refusals {
        let error = refused.unwrap_err().to_string();
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
}

#[test]
fn as_many_as_a_status_can_name() {
    let mut world = World::new();
    world.push(&Book::fleet(&"".parse().unwrap()).unwrap(), &[11, 12]);
    for seed in 20..36 {
        world.push(&add(&world.0, seed).unwrap(), &[11, 12]);
    }
    let error = add(&world.0, 36).unwrap_err().to_string();
    assert_eq!(error, "keys: expected less than 16 so far: a status names them all, found 16");
    for counter in 1..=32 {
        world.push(&released(&format!("1.{counter}.0"), counter), &[20]);
    }
    let changes = |minimum_counter| Changes { tcb_minimums: Some(minimums()), minimum_counter, ..Changes::default() };
    let error = world.0.next_status(NOW, 1, changes(None)).unwrap_err().to_string();
    assert_eq!(error, "live releases: expected at most 31; raise the minimum counter, found 32");
    assert_eq!(world.0.next_status(NOW, 1, changes(Some(2))).unwrap().live().count(), 31);
}

#[test]
fn rebuilds_are_counted_by_release() {
    let mut world = World::new();
    let rebuild = statements::rebuild();
    let Predicate::Rebuild(said) = &rebuild.predicate else { panic!() };
    world.push(&rebuild, &[7]);
    world.push(&rebuild, &[8]);
    assert_eq!(world.0.rebuilds(&said.release_sha256), [0, 1]);
    assert_eq!(world.0.rebuilds(&Sha256::of(b"")), [0; 0]);
}
