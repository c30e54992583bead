//! A release that comes with the evidence, and its place in a log.

use super::*;
use log_client::dsse::Envelope;
use log_client::keys::SigningKey;
use log_client::merkle::{leaf_hash, node_hash};
use log_client::note::{SignatureType, Signer};
use log_client::statement::{LaunchPolicy, Predicate, Release, Statement, Subject, TokenAccess};
use log_client::{Checkpoint, Feed, Proof};
use measure::Sha256;
use measure::cmdline::Tee;
use measure::snp::product::Product as Measured;
use measure::snp::report::GuestPolicy;
use measure::snp::{BeforeVmsas, LaunchDigest, ShapeTable, VmmProfile};
use measure::verity::VerityRoot;

/// What a bundle says of its release, and what is true.
struct World {
    processor: Processor,
    release: Release,
    /// When the witness cosigned the checkpoint.
    cosigned: u64,
    /// The policy.
    policy: Table,
}

/// Everything is in order.
fn good() -> World {
    let vmm = &VmmProfile::QEMU;
    let before = BeforeVmsas { launch_digest: LaunchDigest(Digest::new([7; 48])), ap_reset: 0x80_b004, vmm };
    let table = ShapeTable::new(&before);
    let mut processor = best(Product::Genoa);
    processor.measurement = *table.rows()[3].launch_digest.0.as_bytes();
    let (root, model) = (VerityRoot(Sha256::of(b"root")), VerityRoot(Sha256::of(b"model")));
    let release = Release {
        version: "1.2.3".parse().unwrap(),
        counter: 4,
        not_after: Time(NOW.0 + 1),
        commit: Digest::new([0xc0; 20]),
        lock_sha256: Sha256::of(b"lock"),
        toolchain: "1.95.0".parse().unwrap(),
        tee: Tee::Snp,
        host_resistant: true,
        token_access: TokenAccess::Indexed,
        command_line: format!("vitrine.tee=snp vitrine.root.digest={root} vitrine.model.digest={model}"),
        root_sha256: root,
        model_sha256: model,
        snp: table.source().clone(),
        launch_policies: vec![LaunchPolicy { product: Measured::Genoa, policy: GuestPolicy(processor.policy) }],
    };
    let mut policy = strict();
    policy["release"]["log"]["witnesses"] = Value::String(witnesses("w"));
    World { processor, release, cosigned: NOW.0 - 86_400, policy }
}

fn signer(name: &str) -> Signer {
    let kind = if name.ends_with("/log") { SignatureType::ED25519 } else { SignatureType::COSIGNATURE };
    Signer::new(name, kind, Sha256::of(name.as_bytes()).as_bytes()).unwrap()
}

fn witnesses(quorum: &str) -> String {
    let (log, witness) = (signer("example.com/log"), signer("witness.example"));
    format!("log {}\nwitness w {}\nquorum {quorum}\n", log.key(), witness.key())
}

impl World {
    /// The bundle of this world: its release is the second of two entries.
    fn bundle(&self) -> Bundle {
        let subjects = vec![Subject::new("vmlinuz", Sha256::of(b"kernel"))];
        let statement = Statement::new(subjects, Predicate::Release(Box::new(self.release.clone()))).unwrap();
        let envelope = Envelope::sign(statement.to_bytes(), &[&SigningKey::from_seed(&[1; 32])]).unwrap().to_bytes();
        let sibling = leaf_hash(b"another entry");
        let root = node_hash(&sibling, &leaf_hash(&envelope));
        let text = Checkpoint { origin: "example.com/log".into(), size: 2, root, extensions: vec![] }.to_string();
        let (log, witness) = (signer("example.com/log"), signer("witness.example"));
        let checkpoint = format!("{text}\n{}{}", log.sign(&text, 0), witness.sign(&text, self.cosigned));
        let proof = Proof { unverified_extra: None, index: 1, hashes: vec![sibling], checkpoint };
        let (release, release_proof) = (Some(envelope), Some(proof.to_string().into_bytes()));
        Bundle { feed: Feed { release, release_proof, ..Feed::default() }, ..bundle(&self.processor) }
    }

    fn verdict(&self, bundle: &Bundle) -> Verdict {
        verdict(bundle, &self.policy, Origin::Hardware)
    }
}

/// The rules that need what bundles do not carry yet.
const PENDING: [&str; 5] =
    ["release.signature", "release.status", "release.fleet", "release.rebuilders", "log.checkpoint-age"];

#[test]
fn what_the_release_says_must_have_been_launched() {
    let world = good();
    let verdict = world.verdict(&world.bundle());
    assert_eq!(ids(&verdict, Answer::Failed), BTreeSet::new(), "{verdict}");
    assert_eq!(ids(&verdict, Answer::NotPerformed { needed: true }), PENDING.into(), "{verdict}");
    assert_eq!(verdict.outcome(), Outcome::Rejected);
    let matched = verdict.subject().matched.as_deref();
    assert_eq!(matched, Some("release 1.2.3, 4 vCPUs of 0x800f12 (EPYC), SEV_FEATURES 0x1"));
}

#[test]
fn each_untruth_is_refused_by_its_rule() {
    type Change = fn(&mut World);
    let cases: [(&str, Change); 11] = [
        ("snp.identity.measurement", |world| world.processor.measurement = [1; 48]),
        ("snp.policy.launch", |world| world.processor.policy |= 1 << 20),
        ("release.tee", |world| {
            world.release.tee = Tee::Simulated;
            world.release.command_line = world.release.command_line.replace("=snp", "=simulated");
        }),
        ("release.host-resistant", |world| world.release.host_resistant = false),
        ("release.counter", |world| world.policy["release"]["minimum-counter"] = Value::Integer(5)),
        ("release.expiry", |world| world.release.not_after = Time(NOW.0 - 1)),
        ("log.minimum-age", |world| world.cosigned += 1),
        ("log.witnesses", |world| {
            let stranger = signer("stranger.example");
            let policy = witnesses("x").replace("quorum", &format!("witness x {}\nquorum", stranger.key()));
            world.policy["release"]["log"]["witnesses"] = Value::String(policy);
        }),
        ("log.witnesses", |world| {
            let policy = witnesses("w").replace("log ", &format!("log {}\n# ", signer("stranger.example/log").key()));
            world.policy["release"]["log"]["witnesses"] = Value::String(policy);
        }),
        ("snp.identity.host-data", |world| world.processor.host_data = [1; 32]),
        ("snp.policy.debug", |world| {
            world.processor.policy |= 1 << 19;
            world.release.launch_policies[0].policy = GuestPolicy(world.processor.policy);
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
    other.release.counter += 1;
    let other = other.bundle();
    assert_eq!(with(&|feed| feed.release = other.feed.release.clone()), ["log.inclusion"].into());
    // Not a release, though it is in the log.
    let envelope = |payload: &[u8]| Envelope::sign(payload.to_vec(), &[&SigningKey::from_seed(&[1; 32])]).unwrap();
    let junk = Some(envelope(b"{}").to_bytes());
    assert_eq!(with(&|feed| feed.release = junk.clone()), ["log.inclusion", "release.form"].into());

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
    let mut world = good();
    world.policy["release"]["log"]["witnesses"] = Value::String(witnesses("none"));
    let parse =
        |policy: &Table| Policy::parse("p.toml", policy.to_string().as_bytes()).map_err(|error| error.to_string());
    let error = parse(&world.policy).unwrap_err();
    assert!(error.contains("release.log.witnesses: ") && error.contains("two quorums"), "{error}");
    world.policy["release"]["log"]["split-view"] = Value::String("accepted".into());
    parse(&world.policy).unwrap();
    let verdict = world.verdict(&world.bundle());
    let undecided: BTreeSet<_> = PENDING.into_iter().chain(["log.minimum-age"]).collect();
    assert_eq!(ids(&verdict, Answer::NotPerformed { needed: true }), undecided, "no witness says when: {verdict}");
}
