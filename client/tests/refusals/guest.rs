//! A guest with all that it shows, which a test changes before it is asked, and what it says to whom.

use super::server::Peer;
use channel::evidence::{Attestation, Kind};
use channel::server::{About, Attesting, Hello, Identity, Received, Session};
use channel::{Outcome, Seed, Shaping, client};
use log_client::statement::LaunchPolicy;
use measure::Sha256;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{ChipId, GuestPolicy};
use openai::{Call, Finish, Piece, Usage};
use simulate::log::World;
use simulate::{Certificates, Processor};
use std::time::Duration;

/// What `policies/strict.toml` asks of a launch policy.
const POLICY: u64 = 1 << 25 | 1 << 17;
/// Who runs the machine.
pub(crate) const OPERATOR: &str =
    "vitrine-operator 1\nname Example Hosting\ncountry IS\ncontact mail@example.org\nsessions 200\nworkers 4\n";

/// A guest, its processor and its release.
#[derive(Clone)]
pub(crate) struct Guest {
    pub(crate) processor: Processor,
    pub(crate) world: World,
    pub(crate) about: About,
    pub(crate) operator: Vec<u8>,
    /// What its static keys are made from.
    pub(crate) keys: u8,
}

impl Guest {
    /// Everything is in order.
    pub(crate) fn good(now: Time) -> Self {
        let host_data = *Sha256::of(OPERATOR.as_bytes()).as_bytes();
        let guest = simulate::Guest { policy: POLICY, measurement: [0; 48], host_data };
        let mut processor = Processor::patched(simulate::Product::Genoa, guest);
        let tcb = TcbVersion { fmc: 0, boot_loader: 12, tee: 0, snp: 28, microcode: 86 };
        let chip = ChipId(measure::Digest::new(processor.chip_id));
        let mut world = World::good(now, Tee::Simulated, (Product::Genoa, tcb, chip));
        world.release.launch_policies = vec![LaunchPolicy { product: Product::Genoa, policy: GuestPolicy(POLICY) }];
        processor.measurement = *world.release.shapes().unwrap().rows()[1].launch_digest.0.as_bytes();
        let operator = OPERATOR.as_bytes().to_vec();
        let about = About {
            boot_id: [1; 16],
            epoch: 0,
            models: [world.release.model_sha256].into(),
            operator: Some(Sha256::of(&operator)),
        };
        Self { processor, world, about, operator, keys: 1 }
    }

    /// Another one that is just as good.
    pub(crate) fn second(&self) -> Self {
        Self { about: About { boot_id: [2; 16], ..self.about.clone() }, keys: 2, ..self.clone() }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::new(Seed::new([self.keys; 32]), self.about.clone()).unwrap()
    }

    /// Shakes hands under this name.
    pub(crate) fn meet(identity: &Identity, peer: &mut Peer) -> Option<Attesting> {
        let (hello, m2) = Hello::answer(identity, Seed::new([4; 32]), &peer.receive()?).ok()?;
        peer.send(m2)?;
        hello.finish(&peer.receive()?, Duration::ZERO).ok()
    }

    /// The report of this session.
    pub(crate) fn report(&self, attesting: &Attesting) -> Vec<u8> {
        self.processor.report(*attesting.report_data().as_bytes())
    }

    /// The session and its evidence, of which this is the report.
    pub(crate) fn attest(&self, attesting: Attesting, report: &[u8]) -> (Session, Vec<u8>) {
        let Certificates { ark, intermediate, leaf, crl } = self.processor.certificates();
        let feed = self.world.feed().to_bytes().unwrap();
        let parts = [("feed", feed), ("snp-ark", ark), ("snp-ask", intermediate), ("snp-crl", crl), ("snp-leaf", leaf)];
        let feed = channel::feed::encode(&parts.map(|(name, part)| (name.to_owned(), part)).into()).unwrap();
        let (operator, feed) = (Some(self.operator.as_slice()), feed.as_slice());
        attesting.attest(&Attestation { kind: Kind::Snp, report, path: None, operator, feed }).unwrap()
    }

    /// What somebody else gets who has a session with it: the report, and the evidence as it was sent.
    pub(crate) fn elsewhere(&self) -> (Vec<u8>, Vec<u8>) {
        let identity = self.identity();
        let (hello, m1) = client::Hello::new(Seed::new([5; 32]), Shaping::Off).unwrap();
        let (server, m2) = Hello::answer(&identity, Seed::new([6; 32]), &m1).unwrap();
        let (_connected, m3) = hello.finish(&m2, Duration::ZERO).unwrap();
        let attesting = server.finish(&m3, Duration::ZERO).unwrap();
        let report = self.report(&attesting);
        let (_session, evidence) = self.attest(attesting, &report);
        (report, evidence)
    }

    /// Serves one client as a guest does.
    pub(crate) fn serve(&self, peer: &mut Peer) -> Option<()> {
        let attesting = Self::meet(&self.identity(), peer)?;
        let report = self.report(&attesting);
        let (session, evidence) = self.attest(attesting, &report);
        peer.send(evidence)?;
        converse(session, peer)
    }
}

/// What the model says to everything.
pub(crate) const ANSWER: &str = "I am in a display case.";

/// Answers what is asked until the client goes.
pub(crate) fn converse(mut session: Session, peer: &mut Peer) -> Option<()> {
    loop {
        let Received::Request(asked) = session.receive(&peer.receive()?, Duration::ZERO).ok()? else { continue };
        assert!(Call::parse(&asked).is_ok());
        let mut reply = Vec::new();
        Piece::Text(ANSWER.into()).write(&mut reply);
        Piece::Done(Finish::Stop, Usage { prompt: 1, completion: 6 }).write(&mut reply);
        session.write(&reply, Duration::ZERO).unwrap();
        session.finish(Outcome::Complete, Duration::ZERO).unwrap();
        while let Some(message) = session.poll(Duration::ZERO).unwrap() {
            peer.send(message)?;
        }
    }
}
