//! A world in which every rule passes, and one change each.

use super::*;
use crate::fleet::Roster;
use crate::keys::SigningKey;
use crate::statement::{FleetPredicate, KeyAdd, KeyRevoke, Rebuild, Role, Subject, tests as statements};
use measure::appraise::Outcome;
use measure::{Digest, Sha256};

const NOW: Time = Time(1_790_000_000);
const TCB: TcbVersion = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn sign(statement: &Statement, seeds: &[u8]) -> Envelope {
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    Envelope::sign(statement.to_bytes(), &keys.iter().collect::<Vec<_>>()).unwrap()
}

fn chip(number: u8) -> ChipId {
    ChipId(Digest::new([number; 64]))
}

fn roster() -> Roster {
    [1, 2, 3].map(|number| format!("{}\n", chip(number))).concat().parse().unwrap()
}

fn released(change: impl FnOnce(&mut Release)) -> Statement {
    let statement = statements::release();
    let Predicate::Release(mut release) = statement.predicate else { panic!() };
    change(&mut release);
    Statement::new(statement.subjects, Predicate::Release(release)).unwrap()
}

fn rebuilt(release: &Envelope) -> Statement {
    let Predicate::Rebuild(rebuild) = statements::rebuild().predicate else { panic!() };
    let rebuild = Rebuild { release_sha256: release.sha256(), ..rebuild };
    Statement::new(statements::rebuild().subjects, Predicate::Rebuild(rebuild)).unwrap()
}

/// Root keys are 11, 12 and 13, two of them needed; key 1 signs releases; 21 and 22 rebuild.
struct World {
    release: Option<Envelope>,
    release_index: Result<u64, Unproved>,
    status: Status,
    live: Vec<Subject>,
    status_signers: Vec<u8>,
    /// Instead of the status.
    other_status: Option<Option<Envelope>>,
    status_index: Result<u64, Unproved>,
    rebuilds: Vec<(Envelope, Result<u64, Unproved>)>,
    /// The entries behind the release: the status is the second of them.
    tail: Result<Vec<Vec<u8>>, Unproved>,
    newest: bool,
    platform: Option<(Product, TcbVersion, ChipId)>,
    row: Result<Row, String>,
    seen: Seen,
    max_age: Option<u64>,
    fleet: bool,
    rebuilders: BTreeMap<String, PublicKey>,
    rebuilder_quorum: usize,
    now: Time,
}

impl World {
    fn new() -> Self {
        let release = sign(&statements::release(), &[1]);
        let Predicate::Status(status) = statements::status().predicate else { panic!() };
        let status = Status {
            sequence: 5,
            fleet_root_sha256: roster().root(),
            fleet_chips: 3,
            keys: vec![InForce { public_key: key(1).public(), added_at: 0, revoked_from: Some(9) }],
            ..status
        };
        Self {
            live: vec![Subject::new("release/1.2.3", release.sha256()), Subject::new("fleet", Sha256::of(b""))],
            rebuilds: vec![(sign(&rebuilt(&release), &[21]), Ok(4)), (sign(&rebuilt(&release), &[22]), Ok(5))],
            release: Some(release),
            release_index: Ok(1),
            status,
            status_signers: vec![11, 13],
            other_status: None,
            status_index: Ok(3),
            tail: Ok(vec![b"junk".to_vec(), b"the status".to_vec()]),
            newest: true,
            platform: Some((Product::Genoa, TCB, chip(2))),
            row: roster().row(&chip(2)).ok_or_else(String::new),
            seen: Seen { counter: 4, sequence: 5 },
            max_age: Some(60),
            fleet: true,
            rebuilders: BTreeMap::from([21, 22].map(|seed| (format!("organisation {seed}"), key(seed).public()))),
            rebuilder_quorum: 2,
            now: Time(NOW.0 + 60),
        }
    }

    fn appraise(&self) -> Vec<Finding> {
        let statement = || Statement::new(self.live.clone(), Predicate::Status(self.status.clone())).unwrap();
        let status = match &self.other_status {
            Some(other) => other.clone(),
            None => Some(sign(&statement(), &self.status_signers)),
        };
        let bytes = |envelope: &Option<Envelope>| envelope.as_ref().map(Envelope::to_bytes);
        let (release, status) = (bytes(&self.release), bytes(&status));
        let rebuilds: Vec<_> = self.rebuilds.iter().map(|(envelope, index)| (envelope.to_bytes(), index)).collect();
        let entry = |bytes, index: &Result<u64, Unproved>| Entry { bytes, index: index.clone() };
        let roots = [11, 12, 13].map(|seed| key(seed).public());
        let evidence = Evidence {
            release: release.as_deref().map(|bytes| entry(bytes, &self.release_index)),
            status: status.as_deref().map(|bytes| entry(bytes, &self.status_index)),
            rebuilds: rebuilds.iter().map(|(bytes, index)| entry(bytes, index)).collect(),
            tail: self.tail.as_deref().map_err(Clone::clone),
            platform: self.platform,
            row: self.row.clone(),
            seen: self.seen,
        };
        let demands = Demands {
            roots: &roots,
            threshold: NonZeroUsize::new(2).unwrap(),
            status_max_age: self.max_age,
            fleet: self.fleet,
            rebuilders: &self.rebuilders,
            rebuilder_quorum: self.rebuilder_quorum,
            newest: self.newest,
        };
        appraise(&evidence, &demands, self.now)
    }
}

impl World {
    /// One more entry.
    fn log(&mut self, statement: &Statement, seeds: &[u8]) {
        self.tail.as_mut().unwrap().push(sign(statement, seeds).to_bytes());
    }
}

fn wrong() -> Unproved {
    Unproved::Wrong("no proof".into())
}

fn numbered_status(sequence: u64) -> Statement {
    status(sequence, vec![], &[])
}

type Change = fn(&mut World);

#[test]
fn every_rule_passes_and_every_change_fails_exactly_one() {
    let cases: [(&str, Change, &str, &str); 42] = [
        ("no status", |world| world.other_status = Some(None), "status.present", "without one"),
        (
            "another statement",
            |world| world.other_status = Some(Some(sign(&statements::fleet(), &[11, 13]))),
            "status.form",
            "urn:vitrine:fleet:1",
        ),
        (
            "no statement",
            |world| {
                let keys = [&key(11), &key(13)];
                world.other_status = Some(Some(Envelope::sign(b"{}".to_vec(), &keys).unwrap()));
            },
            "status.form",
            "in-toto",
        ),
        ("one root key", |world| world.status_signers = vec![11], "status.signature", "found 1"),
        ("a release key", |world| world.status_signers = vec![1, 11], "status.signature", "found 1"),
        (
            "a forged root key",
            |world| {
                let good = sign(&statements::status(), &[11, 12, 13]);
                let mut signatures = good.unverified_signatures().to_vec();
                signatures[0].sig[7] ^= 1;
                let forged = Envelope::new(statements::status().to_bytes(), signatures).unwrap();
                world.other_status = Some(Some(forged));
            },
            "status.signature",
            "does not verify",
        ),
        ("not logged", |world| world.status_index = Err(wrong()), "status.inclusion", "no proof"),
        (
            "expired",
            |world| {
                world.now = Time(world.status.not_after.0 + 1);
                world.max_age = None;
            },
            "status.validity",
            "expired",
        ),
        ("from the future", |world| world.now = Time(NOW.0 - CLOCK_SKEW - 1), "status.validity", "future"),
        ("too old", |world| world.now = Time(NOW.0 + 61), "status.age", "too old"),
        ("an older world", |world| world.seen.sequence = 6, "status.rollback", "newer status"),
        (
            "old firmware",
            |world| world.platform = Some((Product::Genoa, TcbVersion { snp: 20, ..TCB }, chip(2))),
            "status.tcb",
            "too old: snp",
        ),
        (
            "another product",
            |world| world.platform = Some((Product::Milan, TCB, chip(2))),
            "status.tcb",
            "no such product",
        ),
        (
            "a key nobody added",
            |world| world.release = Some(sign(&statements::release(), &[2])),
            "release.signature",
            "found 0",
        ),
        ("before the key", |world| world.release_index = Ok(0), "release.signature", "not in force there"),
        (
            "after its end",
            |world| (world.release_index, world.status_index) = (Ok(9), Ok(11)),
            "release.signature",
            "not in force there",
        ),
        (
            "revoked from before",
            |world| world.status.keys[0].revoked_from = Some(1),
            "release.signature",
            "not in force there",
        ),
        ("no key at all", |world| world.status.keys.clear(), "release.signature", "found 0"),
        ("withdrawn", |world| drop(world.live.remove(0)), "release.live", "withdrawn"),
        (
            "another of this version",
            |world| world.live[0] = Subject::new("release/1.2.3", Sha256::of(b"another")),
            "release.live",
            "another release of this version",
        ),
        ("another version", |world| world.live[0].name = "release/1.2.2".into(), "release.live", "withdrawn"),
        ("superseded", |world| world.status.minimum_counter = 5, "release.superseded", "does not accept it"),
        ("an older release", |world| world.seen.counter = 5, "release.rollback", "newer release"),
        ("one rebuild", |world| drop(world.rebuilds.pop()), "release.rebuilders", "too few"),
        ("an unlogged rebuild", |world| world.rebuilds[0].1 = Err(wrong()), "release.rebuilders", "too few"),
        (
            "a rebuild that differs",
            |world| {
                let statement = rebuilt(world.release.as_ref().unwrap());
                let Predicate::Rebuild(mut rebuild) = statement.predicate else { panic!() };
                rebuild.outcome = Rebuilt::Differs;
                let differs = Statement::new(statement.subjects, Predicate::Rebuild(rebuild)).unwrap();
                world.rebuilds[0].0 = sign(&differs, &[21]);
            },
            "release.rebuilders",
            "too few",
        ),
        (
            "a rebuild of another release",
            |world| world.rebuilds[0].0 = sign(&rebuilt(&sign(&statements::release(), &[2])), &[21]),
            "release.rebuilders",
            "too few",
        ),
        (
            "one organisation with two names",
            |world| *world.rebuilders.get_mut("organisation 22").unwrap() = key(21).public(),
            "release.rebuilders",
            "too few",
        ),
        (
            "a forged rebuild",
            |world| {
                let mut signatures = world.rebuilds[0].0.unverified_signatures().to_vec();
                signatures[0].sig[7] ^= 1;
                let payload = world.rebuilds[0].0.unverified_payload().to_vec();
                world.rebuilds[0].0 = Envelope::new(payload, signatures).unwrap();
            },
            "release.rebuilders",
            "too few",
        ),
        (
            "the same organisation twice",
            |world| world.rebuilds[0].0 = sign(&rebuilt(world.release.as_ref().unwrap()), &[22]),
            "release.rebuilders",
            "too few",
        ),
        (
            "somebody nobody knows",
            |world| world.rebuilds[0].0 = sign(&rebuilt(world.release.as_ref().unwrap()), &[23]),
            "release.rebuilders",
            "too few",
        ),
        ("no row", |world| world.row = Err("no row".into()), "fleet.row", "no row"),
        (
            "another chip's row",
            |world| world.row = Ok(roster().row(&chip(3)).unwrap()),
            "fleet.row",
            "the row is that of chip",
        ),
        ("a newer status", |world| world.log(&numbered_status(6), &[11, 12]), "status.newest", "entry 4 is status 6"),
        ("a revocation since", |world| world.log(&revoke(1, 1), &[11, 12]), "status.newest", "entry 4 revokes key"),
        ("a newer release", |world| world.log(&numbered("1.2.4", 5), &[1]), "release.newest", "is release 1.2.4"),
        (
            "a newer release by a newer key",
            |world| {
                world.log(&add(3), &[11, 12]);
                world.log(&numbered("1.2.4", 5), &[3]);
            },
            "release.newest",
            "entry 5 is release 1.2.4",
        ),
        (
            "a newer release before the status",
            |world| world.tail.as_mut().unwrap()[0] = sign(&numbered("1.2.4", 5), &[1]).to_bytes(),
            "release.newest",
            "entry 2 is release 1.2.4",
        ),
        (
            "logged again behind its status",
            |world| (world.release_index, world.tail) = (Ok(3), Ok(vec![])),
            "status.newest",
            "the status is entry 3, before the release's place 3",
        ),
        (
            "a newer one is live",
            |world| world.live.push(Subject::new("release/1.2.4", Sha256::of(b"newer"))),
            "release.newest",
            "the status calls release 1.2.4 live",
        ),
        (
            "of three rebuilds two that count",
            |world| {
                world.rebuilds.push((sign(&rebuilt(world.release.as_ref().unwrap()), &[23]), Ok(6)));
                world.rebuilder_quorum = 3;
            },
            "release.rebuilders",
            "too few",
        ),
        (
            "a removed chip",
            |world| {
                let rest: Roster = format!("{}\n{}\n", chip(1), chip(3)).parse().unwrap();
                (world.status.fleet_root_sha256, world.status.fleet_chips) = (rest.root(), 2);
            },
            "fleet.row",
            "hashes",
        ),
    ];
    let all = World::new().appraise();
    assert!(all.iter().all(|finding| finding.outcome == Outcome::Passed), "{all:?}");
    let mut failing = BTreeSet::new();
    for (name, change, rule, reason) in cases {
        let mut world = World::new();
        change(&mut world);
        // What hangs on the release's bytes follows, as for someone who publishes another.
        if name == "a key nobody added" {
            let sha256 = world.release.as_ref().unwrap().sha256();
            world.live[0] = Subject::new("release/1.2.3", sha256);
            world.rebuilds =
                [21, 22].map(|seed| (sign(&rebuilt(world.release.as_ref().unwrap()), &[seed]), Ok(4))).into();
        }
        let findings = world.appraise();
        assert!(findings.iter().map(|finding| finding.rule).eq(RULES), "{name}");
        let failed: Vec<_> = findings.iter().filter(|finding| finding.outcome == Outcome::Failed).collect();
        let [only] = failed[..] else { panic!("{name}: {failed:?}") };
        assert_eq!(only.rule.id, rule, "{name}");
        assert!(only.reason.contains(reason), "{name}: {}", only.reason);
        failing.insert(rule);
    }
    assert_eq!(failing.len(), RULES.len(), "a rule without a case");
}

/// Without a status nothing that hangs on it passes, nor is it left out.
#[test]
fn without_a_status_rules_are_not_performed() {
    let world = World { other_status: Some(None), ..World::new() };
    for finding in world.appraise() {
        let own = ["status.present", "release.rollback", "release.rebuilders"];
        if !own.contains(&finding.rule.id) {
            assert_eq!(finding.outcome, Outcome::NotPerformed { needed: true }, "{}", finding.rule.id);
            assert_eq!(finding.reason, "undecided until status.present passes");
        }
    }
    let world = World { release: None, ..World::new() };
    let waiting: Vec<_> = world.appraise().into_iter().filter(|finding| !finding.permits()).collect();
    assert_eq!(waiting.len(), 7);
    assert!(waiting.iter().all(|finding| finding.reason == "undecided until release.present passes"), "{waiting:?}");
    let world = World { release_index: Err(wrong()), ..World::new() };
    let waiting: Vec<_> = world.appraise().into_iter().filter(|finding| !finding.permits()).collect();
    assert_eq!(
        waiting.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(),
        ["release.signature", "status.newest", "release.newest"]
    );
    assert!(waiting.iter().all(|finding| finding.reason == "undecided until log.inclusion passes"), "{waiting:?}");
}

#[test]
fn what_is_not_asked_for_is_not_needed() {
    let world = World {
        max_age: None,
        fleet: false,
        rebuilder_quorum: 0,
        row: Err(String::new()),
        rebuilds: vec![],
        newest: false,
        tail: Err(Unproved::NotAsked),
        ..World::new()
    };
    let not_asked: Vec<_> = world
        .appraise()
        .into_iter()
        .filter(|finding| finding.outcome == Outcome::NotPerformed { needed: false })
        .map(|finding| finding.rule.id)
        .collect();
    let expected = ["status.age", "release.rebuilders", "fleet.row", "status.newest", "release.newest"];
    assert_eq!(not_asked, expected);
    assert!(world.appraise().iter().all(Finding::permits));
    // What the hardware says is needed, and not known.
    let world = World { platform: None, ..World::new() };
    let missing: Vec<_> = world.appraise().into_iter().filter(|finding| !finding.permits()).collect();
    assert_eq!(missing.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), ["status.tcb", "fleet.row"]);
    assert!(missing.iter().all(|finding| finding.outcome == Outcome::NotPerformed { needed: true }));
}

/// A status that is old, expired, or older than one seen says nothing about now.
#[test]
fn without_a_fresh_status_rules_are_not_performed() {
    let stale: [(Change, &str); 4] = [
        (|world| world.now = Time(NOW.0 + 61), "status.age"),
        (|world| world.seen.sequence = 6, "status.rollback"),
        (|world| world.status_index = Err(wrong()), "status.inclusion"),
        (|world| world.status_index = Err(Unproved::Waits(RELEASE_FORM)), "status.inclusion"),
    ];
    for (change, rule) in stale {
        let mut world = World::new();
        change(&mut world);
        let about_now = [
            "status.tcb",
            "release.signature",
            "release.live",
            "release.superseded",
            "fleet.row",
            "status.newest",
            "release.newest",
        ];
        for finding in world.appraise().iter().filter(|finding| about_now.contains(&finding.rule.id)) {
            assert_eq!(finding.outcome, Outcome::NotPerformed { needed: true }, "{}", finding.rule.id);
            assert_eq!(finding.reason, format!("undecided until {rule} passes"));
        }
    }
}

/// What was logged without counting for anything stands in nobody's way.
#[test]
fn entries_behind_the_release_that_say_nothing() {
    let harmless: [Change; 6] = [
        |world| world.log(&numbered_status(5), &[11, 12]),
        |world| world.log(&numbered_status(6), &[11]),
        |world| world.log(&revoke(1, 2), &[11, 12]),
        |world| world.log(&revoke(2, 0), &[11, 12]),
        |world| world.log(&numbered("1.2.4", 5), &[2]),
        |world| world.log(&numbered("1.2.4", 4), &[1]),
    ];
    for change in harmless {
        let mut world = World::new();
        change(&mut world);
        assert!(world.appraise().iter().all(Finding::permits), "{:?}", world.appraise());
    }
    // Before the status, which knows of it.
    let mut world = World::new();
    world.tail.as_mut().unwrap()[0] = sign(&revoke(1, 1), &[11, 12]).to_bytes();
    assert!(world.appraise().iter().all(Finding::permits));
}

/// The index that the proof names decides, of however many that have the same bytes: which keys are in force there, and
/// what is behind it.
#[test]
fn an_envelope_logged_twice_is_judged_where_it_is_shown() {
    let shown_at = |release: u64, status: u64| {
        let mut world = World { release_index: Ok(release), status_index: Ok(status), ..World::new() };
        let again = world.release.as_ref().unwrap().to_bytes();
        world.tail.as_mut().unwrap()[0] = again;
        world
            .appraise()
            .into_iter()
            .filter(|finding| !finding.permits())
            .map(|finding| finding.rule.id)
            .collect::<Vec<_>>()
    };
    let none: [&str; 0] = [];
    // The first of two, and the second.
    assert_eq!(shown_at(1, 3), none);
    assert_eq!(shown_at(8, 10), none);
    // The key's end, and the status, are between them.
    assert_eq!(shown_at(9, 11), ["release.signature"]);
    assert_eq!(shown_at(8, 3), ["status.newest", "release.newest"]);
}

fn add(seed: u8) -> Statement {
    let public = key(seed).public();
    let predicate = KeyAdd { role: Role::Release, public_key: public.as_bytes().to_vec() };
    Statement::new(vec![Subject::new("builder", public.id())], Predicate::KeyAdd(predicate)).unwrap()
}

fn revoke(seed: u8, from_index: u64) -> Statement {
    let predicate = KeyRevoke { from_index, reason: "lost".to_owned() };
    let subject = Subject::new("builder", key(seed).public().id());
    Statement::new(vec![subject], Predicate::KeyRevoke(predicate)).unwrap()
}

fn numbered(version: &str, counter: u64) -> Statement {
    released(|release| (release.version, release.counter) = (version.parse().unwrap(), counter))
}

fn status(sequence: u64, keys: Vec<InForce>, live: &[(&str, &Envelope)]) -> Statement {
    let Predicate::Status(status) = statements::status().predicate else { panic!() };
    let live = live.iter().map(|(version, release)| Subject::new(format!("release/{version}"), release.sha256()));
    let subjects = live.chain([Subject::new("fleet", Sha256::of(b""))]).collect();
    Statement::new(subjects, Predicate::Status(Status { sequence, keys, ..status })).unwrap()
}

#[test]
fn a_log_from_its_first_entry() {
    let roots = [11, 12, 13].map(|seed| key(seed).public());
    let mut ledger = Ledger::new(roots.to_vec(), NonZeroUsize::new(2).unwrap());
    let (one, stolen) = (sign(&numbered("1.0.0", 1), &[1]), sign(&numbered("1.1.0", 2), &[1]));
    let in_force = |seed, added_at, revoked_from| InForce { public_key: key(seed).public(), added_at, revoked_from };
    let unit = FleetPredicate { root_sha256: roster().root(), chips: 3 };
    let fleet = Statement::new(vec![Subject::new("fleet", Sha256::of(b""))], Predicate::Fleet(unit)).unwrap();
    let entries: Vec<(Envelope, &str)> = vec![
        (one.clone(), "not signed by those who may"),
        (sign(&add(1), &[11]), "not signed by those who may"),
        (sign(&add(1), &[11, 12]), ""),
        (sign(&add(1), &[12, 13]), "key: expected one that was not there before"),
        (one.clone(), ""),
        (sign(&numbered("1.0.0", 2), &[1]), "version: expected one after 1.0.0, found 1.0.0"),
        (sign(&numbered("1.0.1", 1), &[1]), "counter: expected more than 1, found 1"),
        (sign(&fleet, &[11, 12]), ""),
        (sign(&status(1, vec![], &[]), &[11, 12]), "keys: expected"),
        (sign(&status(1, vec![in_force(1, 2, None)], &[("1.0.0", &one)]), &[11, 12]), ""),
        (sign(&status(1, vec![in_force(1, 2, None)], &[]), &[11, 12]), "sequence: expected more than 1, found 1"),
        (sign(&status(2, vec![in_force(1, 2, None)], &[("1.1.0", &stolen)]), &[11, 12]), "live release: expected"),
        (stolen.clone(), ""),
        (sign(&revoke(2, 12), &[11, 12]), "key: expected one that was added"),
        (sign(&revoke(1, 15), &[11, 12]), "from_index: expected at most its own index 14"),
        (sign(&revoke(1, 12), &[11, 12]), ""),
        (sign(&numbered("1.2.0", 3), &[1]), "not signed by those who may"),
        (sign(&status(2, vec![in_force(1, 2, Some(12))], &[("1.1.0", &stolen)]), &[11, 12]), "live release: expected"),
        (sign(&status(2, vec![in_force(1, 2, Some(12))], &[("1.0.0", &one)]), &[11, 12]), ""),
        (sign(&revoke(1, 18), &[11, 12]), ""),
        (sign(&add(1), &[11, 12]), "key: expected one that was not there before"),
        (sign(&add(2), &[11, 12]), ""),
        (sign(&numbered("1.2.0", 3), &[2]), ""),
        (sign(&rebuilt(&one), &[21]), ""),
    ];
    for (index, (entry, reason)) in entries.iter().enumerate() {
        let pushed = ledger.push(&entry.to_bytes());
        match (&pushed, *reason) {
            (Ok(event), "") => assert_eq!(event.index, index as u64),
            (Err(error), reason) if !reason.is_empty() => {
                assert!(error.to_string().starts_with(reason), "entry {index}: {error}");
            }
            _ => panic!("entry {index}: {pushed:?}"),
        }
    }
    assert!(matches!(ledger.push(b"{}"), Err(EventError::Envelope(_))));
    assert!(matches!(ledger.push(&sign_raw(b"{}")), Err(EventError::Statement(_))));
    assert_eq!(ledger.size(), entries.len() as u64 + 2);
    // The second revocation could not give back what the first one took.
    assert_eq!(ledger.keys(), [in_force(1, 2, Some(12)), in_force(2, 21, None)]);
    assert_eq!(ledger.status().unwrap().sequence, 2);
    let counts: Vec<_> = ledger.releases().values().map(|release| ledger.counts(release)).collect();
    assert_eq!(counts, [true, false, true]);
}

fn sign_raw(payload: &[u8]) -> Vec<u8> {
    Envelope::sign(payload.to_vec(), &[&key(11)]).unwrap().to_bytes()
}
