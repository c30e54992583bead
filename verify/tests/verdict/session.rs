//! Sessions, from the handshake to the verdict and to the bundle that somebody else judges.

use super::*;
use channel::evidence::{Attestation, Kind};
use channel::feed::{Parts, encode};
use channel::server::{About, Identity};
use channel::{Seed, Shaping, client, server};
use measure::Sha256;
use std::time::Duration;
use verify::session::{self, Live};

/// A guest on good hardware, and what its host passes on.
struct World {
    release: super::release::World,
    document: Option<Vec<u8>>,
    feed: Parts,
}

const DOCUMENT: &[u8] =
    b"vitrine-operator 1\nname Example Hosting\ncountry IS\ncontact it@example.org\nsessions 200\nworkers 4\n";

/// Everything is in order, with a document or without one.
fn good(document: Option<&[u8]>) -> World {
    let mut release = super::release::good();
    let simulate::Certificates { ark, intermediate, leaf, crl } = release.processor.certificates();
    let log = release.log.feed().to_bytes().expect("a feed");
    let parts = [("feed", log), ("snp-leaf", leaf), ("snp-ask", intermediate), ("snp-ark", ark), ("snp-crl", crl)];
    if let Some(document) = document {
        release.processor.host_data = *Sha256::of(document).as_bytes();
        release.policy["snp"]["host-data"] = "operator".into();
        let asked =
            "names = ['Example Hosting']\ncountries = 'any'\ncontacts = 'any'\nmost-sessions = 200\nmost-workers = 4";
        release.policy["operator"] = Value::Table(asked.parse().expect("TOML"));
    }
    World {
        release,
        document: document.map(<[u8]>::to_vec),
        feed: parts.map(|(name, part)| (name.into(), part)).into(),
    }
}

impl World {
    /// What a client gets that draws its keys from this seed.
    fn evidence(&self, seed: u8, feed: &[u8]) -> channel::Evidence {
        let models = [self.release.log.release.model_sha256].into();
        let about = About { boot_id: [1; 16], epoch: 0, models, operator: self.document.as_deref().map(Sha256::of) };
        let guest = Identity::new(Seed::new([1; 32]), about).expect("keys");
        let (hello, m1) = client::Hello::new(Seed::new([seed; 32]), Shaping::Off).expect("a message");
        let (server, m2) = server::Hello::answer(&guest, Seed::new([3; 32]), &m1).expect("an answer");
        let (connected, m3) = hello.finish(&m2, Duration::ZERO).expect("a handshake");
        let attesting = server.finish(&m3, Duration::ZERO).expect("a handshake");
        let report = self.release.processor.report(*attesting.report_data().as_bytes());
        let operator = self.document.as_deref();
        let attestation = Attestation { kind: Kind::Snp, report: &report, path: None, operator, feed };
        let (_, message) = attesting.attest(&attestation).expect("a message");
        let unverified = connected.evidence(&message).expect("evidence");
        *unverified.judge(|evidence| Err::<(), _>(Box::new(evidence.clone()))).err().expect("no session")
    }

    fn good_evidence(&self) -> channel::Evidence {
        self.evidence(2, &encode(&self.feed).expect("a feed"))
    }

    fn policy(&self) -> Policy {
        Policy::parse("p.toml", self.release.policy.to_string().as_bytes()).expect("a policy")
    }

    fn live(&self, evidence: &channel::Evidence) -> Verdict {
        let live = Live { evidence, release: None, memories: &[], now: NOW };
        session::appraise(&live, &self.policy(), &roots(Origin::Hardware))
    }

    fn offline(&self, bundle: &Bundle) -> Verdict {
        let request = Request { bundle, release: None, memories: &[], report_data: &Demand::Any, now: NOW };
        appraise(&request, &self.policy(), &roots(Origin::Hardware))
    }
}

#[test]
fn a_session_is_accepted_and_its_bundle_gets_the_same_verdict() {
    for (document, operator) in
        [(None, None), (Some(DOCUMENT), Some("Example Hosting (IS), it@example.org, 200 sessions, 4 workers"))]
    {
        let world = good(document);
        let evidence = world.good_evidence();
        let live = world.live(&evidence);
        assert_eq!(live.outcome(), Outcome::Accepted, "{live}");
        assert_eq!(live.subject().operator.as_deref(), operator);
        assert!(live.to_string().contains("tokens    the host can trace which ones are used"), "{live}");
        let bytes = session::bundle(&evidence).unwrap().to_bytes().unwrap();
        let bundle = Bundle::parse(&bytes).unwrap();
        assert_eq!(bundle, session::bundle(&evidence).unwrap());
        let offline = world.offline(&bundle);
        assert_eq!(offline.outcome(), Outcome::Accepted, "{offline}");
        // Whose session it was is all that a file cannot say.
        let differing = live
            .findings()
            .iter()
            .zip(offline.findings())
            .filter(|(live, offline)| (live.rule, live.outcome) != (offline.rule, offline.outcome));
        let differing: Vec<_> = differing.map(|(live, _)| live.rule.id).collect();
        assert_eq!(differing, ["snp.identity.report-data"]);
    }
}

#[test]
fn evidence_of_another_session_is_refused() {
    let world = good(None);
    let [ours, others] = [2, 4].map(|seed| world.evidence(seed, &encode(&world.feed).unwrap()));
    // A genuine report of another session, and what ties it to that one.
    let replayed = channel::Evidence { report: others.report.clone(), ..ours.clone() };
    let verdict = world.live(&replayed);
    assert_eq!(ids(&verdict, Answer::Failed), ["snp.identity.report-data"].into(), "{verdict}");
    let retold = channel::Evidence { session: others.session.clone(), ..replayed };
    let verdict = world.live(&retold);
    assert_eq!(ids(&verdict, Answer::Failed), ["session.statement", "snp.identity.report-data"].into(), "{verdict}");
    // In a file it is evidence of a session of somebody's, as long as all of it is of the same.
    let mixed = session::bundle(&channel::Evidence { session: others.session, ..ours }).unwrap();
    assert_eq!(ids(&world.offline(&mixed), Answer::Failed), ["session.statement"].into());
}

/// What fails where nothing came from a log.
const NOTHING: [&str; 2] = ["release.present", "status.present"];

#[test]
fn what_the_host_passes_on_or_does_not_is_for_the_rules() {
    let world = good(None);
    for feed in [&b""[..], b"\xa1\x64feed\x41x", b"\xa1\x64Feed\x40", &[0xff; 99]] {
        let evidence = world.evidence(2, feed);
        assert!(session::bundle(&evidence).is_err(), "{feed:?}");
        let verdict = world.live(&evidence);
        assert_eq!(
            ids(&verdict, Answer::Failed),
            [NOTHING.as_slice(), &["session.feed"]].concat().into_iter().collect()
        );
    }
    for part in ["snp-leaf", "snp-ask", "snp-ark", "snp-crl", "feed"] {
        for replaced in [None, Some(vec![])] {
            let mut without = world.feed.clone();
            without.remove(part);
            without.extend(replaced.map(|bytes| (part.to_owned(), bytes)));
            let evidence = world.evidence(2, &encode(&without).unwrap());
            let bundle = session::bundle(&evidence).unwrap();
            assert_eq!(Bundle::parse(&bundle.to_bytes().unwrap()), Ok(bundle.clone()), "{part}");
            let (failed, missing) = match part {
                "snp-leaf" => (&[][..], "snp.chain.leaf.der"),
                "snp-ask" => (&[][..], "snp.chain.ask.der"),
                "snp-ark" => (&[][..], "snp.chain.ark.der"),
                "snp-crl" => (&[][..], "snp.chain.crl.der"),
                _ => (&NOTHING[..], "session.models"),
            };
            for verdict in [world.live(&evidence), world.offline(&bundle)] {
                assert_eq!(ids(&verdict, Answer::Failed), failed.iter().copied().collect(), "{part}: {verdict}");
                assert!(ids(&verdict, Answer::NotPerformed { needed: true }).contains(missing), "{part}: {verdict}");
            }
        }
    }
}

/// Of a machine of which nobody knows a session nothing is asked about one.
#[test]
fn bare_evidence_is_of_no_session() {
    let verdict = verdict(&bundle(&best(Product::Genoa)), &hardware_only(), Origin::Hardware);
    assert_eq!(verdict.outcome(), Outcome::Accepted, "{verdict}");
    let of_session = verdict.findings().iter().filter(|found| found.rule.id.starts_with("session."));
    assert!(of_session.clone().count() == 4 && of_session.into_iter().all(|found| !found.reason.is_empty()));
    assert_eq!((verdict.subject().token_access, verdict.subject().operator.as_deref()), (None, None));
}
