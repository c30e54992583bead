//! A release that comes with the evidence, and its place in a log.

use super::*;
use log_client::Feed;
use log_client::statement::LaunchPolicy;
use measure::cmdline::Tee;
use measure::snp::product::{Product as Measured, TcbVersion};
use measure::snp::report::{ChipId, GuestPolicy};
use simulate::log::{self, WITNESSES};
use verify::Memory;

/// What a bundle says of its release, and what is true. The policy is strict.toml, with somebody to believe.
pub(super) struct World {
    pub(super) processor: Processor,
    pub(super) log: log::World,
    /// What the client remembers.
    memory: Option<Memory>,
    pub(super) policy: Table,
}

/// Everything is in order.
pub(super) fn good() -> World {
    let mut processor = best(Product::Genoa);
    let tcb = TcbVersion { fmc: 0, boot_loader: 12, tee: 0, snp: 28, microcode: 86 };
    let chip = ChipId(Digest::new(processor.chip_id));
    let mut log = log::World::good(NOW, Tee::Snp, (Measured::Genoa, tcb, chip));
    processor.measurement = *log.release.shapes().unwrap().rows()[3].launch_digest.0.as_bytes();
    log.release.launch_policies =
        vec![LaunchPolicy { product: Measured::Genoa, policy: GuestPolicy(processor.policy) }];
    let mut policy = strict();
    for key in ["root-keys", "rebuilders"] {
        policy["release"][key] = log::policy()[key].clone();
    }
    policy["release"]["log"]["witnesses"] = Value::String(log::witnesses("2"));
    World { processor, log, memory: None, policy }
}

impl World {
    fn bundle(&self) -> Bundle {
        Bundle { feed: self.log.feed(), ..bundle(&self.processor) }
    }

    fn verdict(&self, bundle: &Bundle) -> Verdict {
        let policy = Policy::parse("p.toml", self.policy.to_string().as_bytes()).expect("a policy");
        let memories: Vec<_> = self.memory.clone().into_iter().collect();
        let (report_data, memories) = (Demand::Is(Digest::new([0xd4; 64])), memories.as_slice());
        let request = Request { bundle, release: None, memories, report_data: &report_data, now: NOW };
        appraise(&request, &policy, &roots(Origin::Hardware))
    }
}

#[test]
fn a_release_that_strict_accepts_is_remembered() {
    let mut world = good();
    let verdict = world.verdict(&world.bundle());
    assert_eq!(verdict.outcome(), Outcome::Accepted, "{verdict}");
    let matched = verdict.subject().matched.as_deref();
    assert_eq!(matched, Some("release 1.2.3, 4 vCPUs of 0x800f12 (EPYC), SEV_FEATURES 0x1"));
    let memory = verdict.memory().unwrap().clone();
    assert_eq!((memory.origin.as_str(), memory.size, memory.counter, memory.sequence), (log::ORIGIN, 7, 4, 5));
    assert_eq!(memory.root_sha256, log::tree_root(&world.log.entries()));

    // The same world again, and one that has grown.
    world.memory = Some(memory.clone());
    assert_eq!(world.verdict(&world.bundle()).memory(), Some(&memory));
    world.log.behind.push(b"more".to_vec());
    world.log.seen = 7;
    let grown = world.verdict(&world.bundle());
    assert_eq!(grown.outcome(), Outcome::Accepted, "{grown}");
    assert_eq!(grown.memory().unwrap().size, 8);
    // What was seen by a client who was elsewhere is of no use to this one, and of no harm.
    world.memory.as_mut().unwrap().origin = "another.invalid/log".into();
    world.memory.as_mut().unwrap().counter = 99;
    assert_eq!(world.verdict(&world.bundle()).outcome(), Outcome::Accepted);

    // Another log of the policy is another matter: counters and sequences are the root keys', not a log's. They stay in
    // what is remembered.
    let key = log::signer("another.invalid/log", log_client::note::SignatureType::ED25519).key().to_string();
    world.policy["release"]["log"]["witnesses"] = Value::String(format!("log {key}\n{}", log::witnesses("2")));
    let verdict = world.verdict(&world.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), ["release.rollback"].into(), "{verdict}");
    world.memory.as_mut().unwrap().counter = 3;
    world.memory.as_mut().unwrap().sequence = 6;
    let verdict = world.verdict(&world.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), ["status.rollback"].into(), "{verdict}");
    world.memory.as_mut().unwrap().sequence = 1;
    let learnt = world.verdict(&world.bundle()).memory().unwrap().clone();
    assert_eq!((learnt.origin.as_str(), learnt.counter, learnt.sequence), (log::ORIGIN, 4, 5));

    // An older world is refused, and nothing is learnt from it.
    let mut older = good();
    older.memory = Some(memory);
    older.memory.as_mut().unwrap().counter = 5;
    let verdict = older.verdict(&older.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), ["release.rollback"].into(), "{verdict}");
    assert_eq!(verdict.memory(), None);
}

/// Without a fresh status nobody says whether the release was withdrawn, is too old, or runs on a chip of the fleet.
#[test]
fn without_a_fresh_status_those_rules_are_not_performed() {
    type Change = fn(&mut World);
    let stale: [(Change, &str); 3] = [
        (|world| world.log.status.not_after = Time(NOW.0 - 1), "status.validity"),
        (|world| world.log.status_keys = vec![11], "status.signature"),
        (|world| world.policy["release"]["status-max-age"] = Value::Integer(60), "status.age"),
    ];
    for (change, rule) in stale {
        let mut world = good();
        change(&mut world);
        let verdict = world.verdict(&world.bundle());
        assert_eq!(ids(&verdict, Answer::Failed), [rule].into(), "{verdict}");
        let missing = ids(&verdict, Answer::NotPerformed { needed: true });
        for rule in ["release.live", "release.superseded", "fleet.row", "release.signature"] {
            assert!(missing.contains(rule), "{rule}: {verdict}");
        }
    }
}

/// A log of which nobody asks anything says nothing, so no key is in force at the release's index.
#[test]
fn without_a_log_no_release_is_accepted() {
    let mut world = good();
    world.policy["release"]["log"] = Value::String("any".into());
    let verdict = world.verdict(&world.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), BTreeSet::new(), "{verdict}");
    let missing = ids(&verdict, Answer::NotPerformed { needed: true });
    assert_eq!(missing, ["release.signature"].into(), "{verdict}");
}

#[test]
fn each_untruth_is_refused_by_its_rule() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 13] = [
        ("snp.identity.measurement", |world| world.processor.measurement = [1; 48]),
        ("snp.policy.launch", |world| world.processor.policy |= 1 << 20),
        ("release.tee", |world| {
            world.log.release.tee = Tee::Simulated;
            world.log.release.command_line = world.log.release.command_line.replace("=snp", "=simulated");
        }),
        ("release.host-resistant", |world| world.log.release.host_resistant = false),
        ("release.counter", |world| world.policy["release"]["minimum-counter"] = Value::Integer(5)),
        ("release.expiry", |world| world.log.release.not_after = Time(NOW.0 - 1)),
        ("log.minimum-age", |world| {
            world.log.cosigned_earlier.iter_mut().for_each(|(_, time)| *time = NOW.0 - 86_400 + 1);
        }),
        // One witness of the two lies about the day.
        ("log.minimum-age", |world| world.log.cosigned_earlier[1].1 = NOW.0 - 3600),
        ("log.checkpoint-age", |world| {
            let frozen = NOW.0 - 259_200 - 1;
            world.log.cosigned = vec![(WITNESSES[0], frozen), (WITNESSES[1], NOW.0), (WITNESSES[2], frozen)];
        }),
        ("log.witnesses", |world| {
            world.policy["release"]["log"]["witnesses"] = Value::String(log::witnesses("3"));
        }),
        ("log.witnesses", |world| {
            let policy = log::witnesses("2");
            let stranger = log::signer("stranger.example/log", log_client::note::SignatureType::ED25519);
            let policy = policy.replace("log ", &format!("log {}\n# ", stranger.key()));
            world.policy["release"]["log"]["witnesses"] = Value::String(policy);
        }),
        ("snp.identity.host-data", |world| world.processor.host_data = [1; 32]),
        ("snp.policy.debug", |world| {
            world.processor.policy |= 1 << 19;
            world.log.release.launch_policies[0].policy = GuestPolicy(world.processor.policy);
        }),
    ];
    for (rule, change) in cases {
        let mut world = good();
        change(&mut world);
        let verdict = world.verdict(&world.bundle());
        assert_eq!(ids(&verdict, Answer::Failed), [rule].into(), "{verdict}");
    }
}

#[test]
fn parts_that_are_missing_or_others() {
    let world = good();
    let failed = |bundle: Bundle| ids(&world.verdict(&bundle), Answer::Failed);
    let good = world.bundle();
    let with = |change: &dyn Fn(&mut Feed)| {
        let mut bundle = good.clone();
        change(&mut bundle.feed);
        failed(bundle)
    };
    assert_eq!(with(&|feed| feed.release = None), ["release.present"].into());
    assert_eq!(with(&|feed| feed.release_proof = None), ["log.proof"].into());
    assert_eq!(with(&|feed| feed.release_proof = Some(b"x".to_vec())), ["log.proof"].into());
    // Still a release, but not the one in the log.
    let mut other = super::release::good();
    other.log.release.counter += 1;
    let other = other.bundle();
    let another = with(&|feed| feed.release = other.feed.release.clone());
    assert_eq!(another, ["log.inclusion", "release.live", "release.rebuilders"].into());

    // One witness that lies about the day is not enough without an earlier proof either.
    let mut backdated = super::release::good();
    backdated.log.cosigned = vec![(WITNESSES[0], NOW.0 - 3 * 86_400), (WITNESSES[1], NOW.0)];
    let mut bundle = backdated.bundle();
    bundle.feed.earlier_proof = None;
    assert_eq!(failed(bundle), ["log.minimum-age"].into());

    let policy = Policy::parse("p.toml", world.policy.to_string().as_bytes()).unwrap();
    let with = |release: &[u8]| {
        let (report_data, release) = (Demand::Any, Some(release));
        let request = Request { bundle: &good, release, memories: &[], report_data: &report_data, now: NOW };
        ids(&appraise(&request, &policy, &roots(Origin::Hardware)), Answer::Failed)
    };
    assert_eq!(with(good.feed.release.as_ref().unwrap()), BTreeSet::new());
    assert_eq!(with(other.feed.release.as_ref().unwrap()), ["release.copy"].into());
}

#[test]
fn a_release_that_nobody_vouches_for_says_nothing() {
    let mut world = good();
    world.policy["release"] = Value::String("any".into());
    // Anybody can write an envelope that names the launch digest at hand.
    let bundle = world.bundle();
    let verdict = world.verdict(&bundle);
    assert_eq!(verdict.outcome(), Outcome::Rejected, "{verdict}");
    let undecided = ["snp.identity.measurement", "snp.policy.launch"].into();
    assert_eq!(ids(&verdict, Answer::NotPerformed { needed: true }), undecided, "{verdict}");
    assert_eq!(verdict.subject().matched, None);

    // The caller vouches for the release that it brings.
    let policy = Policy::parse("p.toml", world.policy.to_string().as_bytes()).unwrap();
    let request = Request {
        bundle: &bundle,
        release: bundle.feed.release.as_deref(),
        memories: &[],
        report_data: &Demand::Any,
        now: NOW,
    };
    let verdict = appraise(&request, &policy, &roots(Origin::Hardware));
    assert_eq!(verdict.outcome(), Outcome::Accepted, "{verdict}");
}

#[test]
fn a_quorum_that_allows_a_split_view_must_be_wanted() {
    for (quorum, splits) in [("1", true), ("any", true), ("2", false), ("all", false)] {
        let mut world = good();
        world.policy["release"]["log"]["witnesses"] = Value::String(log::witnesses(quorum));
        let parse =
            |policy: &Table| Policy::parse("p.toml", policy.to_string().as_bytes()).map_err(|error| error.to_string());
        let refused = parse(&world.policy).err();
        assert_eq!(refused.is_some(), splits, "{quorum}: {refused:?}");
        assert!(refused.is_none_or(|error| error.contains("release.log.witnesses: ") && error.contains("two quorums")));
        world.policy["release"]["log"]["split-view"] = Value::String("accepted".into());
        parse(&world.policy).unwrap();
    }
    let mut world = good();
    let nobody = log::witnesses("2").replace("quorum enough", "quorum none");
    world.policy["release"]["log"]["witnesses"] = Value::String(nobody);
    world.policy["release"]["log"]["split-view"] = Value::String("accepted".into());
    let verdict = world.verdict(&world.bundle());
    let undecided = ["log.checkpoint-age", "log.minimum-age"].into();
    assert_eq!(ids(&verdict, Answer::NotPerformed { needed: true }), undecided, "no witness says when: {verdict}");
}

/// Worlds that were true once, or are true for somebody else: each is refused by the rule that is there for it.
#[test]
fn frozen_and_forked_worlds() {
    type Change = fn(&mut World);
    let days = |days: u64| Time(NOW.0 - days * 86_400);
    let frozen = |then: Time| {
        let mut world = good();
        let (product, tcb) = (Measured::Genoa, world.log.status.tcb_minimums[0].tcb);
        let release = world.log.release.clone();
        world.log = log::World::good(then, Tee::Snp, (product, tcb, world.log.chip));
        world.log.release = release;
        world
    };
    // Everything of ten days ago, to a client without state: dates are all that it has.
    let world = frozen(days(10));
    let verdict = world.verdict(&world.bundle());
    assert_eq!(
        ids(&verdict, Answer::Failed),
        ["log.checkpoint-age", "status.age", "status.validity"].into(),
        "{verdict}"
    );
    // Everything of yesterday is as good as today's for that client, and not for one that has seen today's.
    let mut world = frozen(days(1));
    let verdict = world.verdict(&world.bundle());
    assert_eq!(verdict.outcome(), Outcome::Accepted, "{verdict}");
    let mut today = verdict.memory().unwrap().clone();
    (today.size, today.sequence) = (8, 6);
    world.memory = Some(today);
    let verdict = world.verdict(&world.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), ["log.rollback", "status.rollback"].into(), "{verdict}");

    let cases: [(&str, Change, &str); 7] = [
        ("old release", |world| world.log.status.minimum_counter = 5, "release.superseded"),
        ("withdrawn release", |world| world.log.withdrawn = true, "release.live"),
        ("stale status", |world| world.policy["release"]["status-max-age"] = Value::Integer(60), "status.age"),
        ("one witness", |world| world.log.cosigned.truncate(1), "log.witnesses"),
        ("a removed chip", |world| world.policy["release"]["fleet"] = Value::String("required".into()), "fleet.row"),
        (
            "k-1 rebuilders",
            |world| world.policy["release"]["rebuilder-quorum"] = Value::Integer(3),
            "release.rebuilders",
        ),
        (
            "a forked log",
            |world| {
                let root_sha256 = measure::Sha256::of(b"another tree");
                world.memory = Some(Memory::new(log::ORIGIN.into(), (7, root_sha256), Default::default()));
            },
            "log.consistency",
        ),
    ];
    for (name, change, rule) in cases {
        let mut world = good();
        change(&mut world);
        let mut bundle = world.bundle();
        if name == "a removed chip" {
            let row = bundle.feed.fleet_row.take();
            world.log.fleet.retain(|chip| *chip != world.log.chip);
            bundle = world.bundle();
            bundle.feed.fleet_row = row;
        }
        let verdict = world.verdict(&bundle);
        assert_eq!(ids(&verdict, Answer::Failed), [rule].into(), "{name}: {verdict}");
    }
    // Two halves of the witnesses, each with a tree of its own: nobody has enough of them for either.
    for witness in [0, 1] {
        let mut world = good();
        world.log.behind.push(vec![witness]);
        let witness = usize::from(witness);
        world.log.cosigned = vec![world.log.cosigned[witness]];
        assert_eq!(ids(&world.verdict(&world.bundle()), Answer::Failed), ["log.witnesses"].into());
    }
}

/// Whatever is changed anywhere in what came from the log, no verdict is positive any more.
#[test]
fn no_bit_of_a_feed_can_be_changed() {
    let mut world = good();
    world.policy["release"]["log"]["tail"] = Value::String("required".into());
    world.policy["release"]["rebuilder-quorum"] = Value::Integer(2);
    let good = world.bundle();
    let parts =
        |feed: &Feed| -> Vec<_> { feed.parts().into_iter().map(|(name, part)| (name, part.to_vec())).collect() };
    let (mut tried, all) = (0, parts(&good.feed));
    for (at, (name, part)) in all.iter().enumerate().filter(|(_, (name, _))| *name != "consistency") {
        for byte in (0..part.len()).step_by(part.len() / 19) {
            let mut changed = all.clone();
            changed[at].1[byte] ^= 1 << (byte % 7);
            let changed: Vec<_> = changed.iter().map(|(name, part)| (*name, part.as_slice())).collect();
            let bundle = Bundle { feed: Feed::from_parts(&changed), ..good.clone() };
            assert_eq!(world.verdict(&bundle).outcome(), Outcome::Rejected, "{name}, byte {byte}");
            tried += 1;
        }
    }
    assert_eq!(world.verdict(&good).outcome(), Outcome::Accepted);
    assert!(tried > 200, "{tried}");
}
