//! `vitrine chat` and servers that are not what they say: it refuses, says by which rule, and they have learnt nothing.

#![expect(clippy::disallowed_methods, reason = "starts the program, which reads the clock itself")]

mod guest;
mod server;

use channel::evidence::report_data;
use channel::server::Attesting;
use guest::{Guest, converse};
use measure::Sha256;
use measure::appraise::Time;
use measure::verity::VerityRoot;
use server::{Peer, Server};
use std::collections::BTreeSet;
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};
use toml::{Table, Value};

const DAY: u64 = 24 * 60 * 60;

/// What a client demands, and whom it meets.
struct Scene {
    guest: Guest,
    policy: Table,
    serve: Serve,
}

/// What a server does, of which this guest is at hand, until the client is gone.
type Serve = fn(&Guest, &mut Peer) -> Option<()>;

/// What has come of it.
struct Ran {
    code: Option<i32>,
    answer: serde_json::Value,
    stderr: String,
    received: Vec<Vec<u8>>,
}

impl Scene {
    /// Everything is in order.
    fn good() -> Self {
        let now = Time(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs());
        let mut policy: Table = include_str!("../../../policies/strict.toml").parse().unwrap();
        policy["simulated"] = "accepted".into();
        policy["snp"]["crl-max-age"] = "any".into();
        policy["release"] = simulate::log::policy().into();
        policy["snp"]["host-data"] = "operator".into();
        policy["operator"] = operator();
        Self { guest: Guest::good(now), policy, serve: Guest::serve }
    }

    /// Asks with these flags besides.
    fn ask(&self, flags: &[&str]) -> Ran {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy.toml");
        std::fs::write(&policy, self.policy.to_string()).unwrap();
        let (guest, serve) = (self.guest.clone(), self.serve);
        let server = Server::start(move |peer| serve(&guest, peer));
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitrine"));
        command.args(["--json", "chat", &server.url(), "--shaping", "off", "--model", "smollm2", "--policy"]);
        command.arg(&policy).args(flags).arg("What am I thinking of?").env_clear().stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        let answer = serde_json::from_slice(&stdout).unwrap_or_else(|error| panic!("{error}: {stderr}"));
        Ran { code: status.code(), answer, stderr, received: server.received() }
    }
}

/// Whom the policy wants to have the machine.
fn operator() -> Value {
    let any = || Value::from("any");
    let names = Value::from(vec!["Example Hosting"]);
    let table = [
        ("names", names),
        ("countries", any()),
        ("contacts", any()),
        ("most-sessions", any()),
        ("most-workers", any()),
    ];
    Table::from_iter(table.map(|(key, value)| (key.to_owned(), value))).into()
}

impl Ran {
    /// The rules that failed.
    fn failed(&self) -> BTreeSet<&str> {
        let rules = self.answer["verdict"]["rules"].as_array().map_or(&[][..], Vec::as_slice);
        let failed = rules.iter().filter(|rule| rule["outcome"] == "failed");
        failed.map(|rule| rule["id"].as_str().unwrap()).collect()
    }

    /// The server has got what it gets from everybody, and nothing of this user's.
    fn has_said_nothing(&self) -> bool {
        self.received.iter().map(Vec::len).eq([channel::M1, channel::M3])
    }
}

const ACCEPT: &[&str] = &["--dangerously-accept-simulated-hardware"];

/// Without this all others mean nothing.
#[test]
#[cfg_attr(not(feature = "simulated-hardware"), ignore = "for a client that may know simulated hardware")]
fn a_good_guest_is_asked_and_answers() {
    for policy in [Scene::good(), Scene { guest: Scene::good().guest.second(), ..Scene::good() }] {
        let ran = policy.ask(ACCEPT);
        assert_eq!((ran.code, &ran.answer["answer"]), (Some(0), &guest::ANSWER.into()), "{}", ran.stderr);
        assert!(ran.received.len() > 2);
    }
}

#[test]
fn simulated_hardware_is_refused_unless_both_program_and_user_say_otherwise() {
    let ran = Scene::good().ask(&[]);
    assert!(ran.has_said_nothing() && ran.code == Some(1), "{}", ran.stderr);
    if cfg!(feature = "simulated-hardware") {
        assert_eq!((ran.failed(), &ran.answer["verdict"]["outcome"]), ([].into(), &"simulated".into()));
    } else {
        assert_eq!(ran.failed(), ["snp.chain.ark.pinned"].into());
    }
}

/// Shows the guest's evidence with this report, and waits for what the client has to say to that.
fn show(guest: &Guest, attesting: Attesting, report: &[u8], peer: &mut Peer) -> Option<()> {
    let (session, evidence) = guest.attest(attesting, report);
    peer.send(evidence)?;
    converse(session, peer)
}

/// Somebody else says to run the machine.
fn other_operator(guest: &mut Guest) {
    guest.operator = guest::OPERATOR.replace("Example", "Another").into();
    guest.about.operator = Some(Sha256::of(&guest.operator));
}

/// What is wrong, the rules that fail then, and how it comes about.
type Wrong = (&'static str, &'static [&'static str], fn(&mut Scene));

/// One thing each.
const WRONG: [Wrong; 11] = [
    ("other measurement", &["snp.identity.measurement"], |scene| scene.guest.processor.measurement[0] ^= 1),
    ("debug policy", &["snp.policy.debug", "snp.policy.launch"], |scene| scene.guest.processor.policy |= 1 << 19),
    ("stale status", &["status.age", "status.validity"], |scene| {
        let status = &mut scene.guest.world.status;
        (status.issued_at.0, status.not_after.0) = (status.issued_at.0 - 7 * DAY, status.not_after.0 - 7 * DAY);
    }),
    ("yanked release", &["release.live"], |scene| scene.guest.world.withdrawn = true),
    ("unknown chip", &["fleet.row"], |scene| scene.guest.processor.chip_id = [8; 64]),
    ("wrong model root", &["session.models"], |scene| {
        scene.guest.about.models = [VerityRoot(Sha256::of(b"another model"))].into();
    }),
    ("other operator document", &["operator.name"], |scene| {
        other_operator(&mut scene.guest);
        scene.guest.processor.host_data = *Sha256::of(&scene.guest.operator).as_bytes();
    }),
    ("operator document of which the hardware knows nothing", &["snp.identity.host-data"], |scene| {
        other_operator(&mut scene.guest);
    }),
    ("replayed session report", &["snp.identity.report-data"], |scene| {
        scene.serve = |guest, peer| {
            let (earlier, _) = guest.elsewhere();
            let attesting = Guest::meet(&guest.identity(), peer)?;
            show(guest, attesting, &earlier, peer)
        };
    }),
    ("other key statement", &["snp.identity.report-data"], |scene| {
        scene.serve = |guest, peer| {
            // The hardware vouches for this session, but for the keys of another guest.
            let attesting = Guest::meet(&guest.identity(), peer)?;
            let other = guest.second().identity().statement_digest();
            let report_data = report_data(&attesting.handshake(), &other);
            show(guest, attesting, &guest.processor.report(*report_data.as_bytes()), peer)
        };
    }),
    ("man in the middle with the static keys", &["snp.identity.report-data"], |scene| {
        scene.serve = |genuine, peer| {
            let attesting = Guest::meet(&genuine.identity(), peer)?;
            // All that the genuine guest has signed for him is his own session with it.
            let (report, _) = genuine.elsewhere();
            show(genuine, attesting, &report, peer)
        };
    }),
];

#[test]
#[cfg_attr(not(feature = "simulated-hardware"), ignore = "for a client that may know simulated hardware")]
fn with_one_thing_wrong_nothing_is_sent() {
    for (what, rules, change) in WRONG {
        let mut scene = Scene::good();
        change(&mut scene);
        let ran = scene.ask(ACCEPT);
        assert_eq!((ran.code, ran.failed()), (Some(1), rules.iter().copied().collect()), "{what}: {}", ran.stderr);
        assert!(ran.has_said_nothing(), "{what}: {:?}", ran.received.iter().map(Vec::len).collect::<Vec<_>>());
    }
}

/// Evidence that is not of the keys that somebody has shaken hands with is not even judged.
#[test]
#[cfg_attr(not(feature = "simulated-hardware"), ignore = "for a client that may know simulated hardware")]
fn evidence_of_another_session_is_none() {
    let behaviours: [(&str, Serve); 2] = [
        ("relay between two guests: the handshake is the first one's, the evidence the second one's", |first, peer| {
            let _session = Guest::meet(&first.identity(), peer)?;
            peer.send(first.second().elsewhere().1)
        }),
        ("evidence as it was sent in another session with the same guest", |guest, peer| {
            let _session = Guest::meet(&guest.identity(), peer)?;
            peer.send(guest.elsewhere().1)
        }),
    ];
    for (what, serve) in behaviours {
        let ran = Scene { serve, ..Scene::good() }.ask(ACCEPT);
        assert_eq!(ran.code, Some(2), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains("the session is broken"), "{what}: {}", ran.stderr);
        assert!(ran.has_said_nothing(), "{what}");
    }
}
