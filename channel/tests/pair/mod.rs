//! What the tests share: a guest, and a session with it.
#![allow(dead_code, reason = "each test file uses some of it")]

use channel::client::{Connected, Hello, Unverified, Verified};
use channel::evidence::{Attestation, Kind};
use channel::server::{self, About, Attesting, Identity, Received, Session};
use channel::{Seed, Shaping};
use core::time::Duration;
use measure::Sha256;
use measure::verity::VerityRoot;

pub(crate) const ZERO: Duration = Duration::ZERO;
pub(crate) const DOCUMENT: &[u8] = b"an operator document";

pub(crate) struct Pair {
    pub(crate) client: Verified<()>,
    pub(crate) server: Session,
}

/// A guest; the same seed, the same keys.
pub(crate) fn guest(seed: u8) -> Identity {
    let models = [VerityRoot(Sha256::of(b"model"))].into();
    let about = About { boot_id: [seed; 16], epoch: 0, models, operator: Some(Sha256::of(DOCUMENT)) };
    Identity::new(Seed::new([seed; 32]), about).unwrap()
}

/// What says nothing but that it is a report of `attesting`'s.
pub(crate) fn report(attesting: &Attesting) -> Vec<u8> {
    attesting.report_data().as_bytes().to_vec()
}

pub(crate) fn attestation(report: &[u8]) -> Attestation<'_> {
    Attestation { kind: Kind::Snp, report, path: None, operator: Some(DOCUMENT), feed: b"feed" }
}

/// A handshake up to where the server waits for its report and the client for evidence.
pub(crate) fn handshake(guest: &Identity, shaping: Shaping, seeds: [u8; 2]) -> (Connected, Attesting) {
    let (hello, m1) = Hello::new(Seed::new([seeds[0]; 32]), shaping).unwrap();
    let (answer, m2) = server::Hello::answer(guest, Seed::new([seeds[1]; 32]), &m1).unwrap();
    let (connected, m3) = hello.finish(&m2, ZERO).unwrap();
    (connected, answer.finish(&m3, ZERO).unwrap())
}

/// Trusts a report that says what it must.
pub(crate) fn judged(unverified: Unverified) -> Result<Verified<()>, ()> {
    unverified.judge(|evidence| (evidence.report == evidence.report_data.as_bytes()).then_some(()).ok_or(()))
}

pub(crate) fn established(shaping: Shaping) -> Pair {
    let (connected, attesting) = handshake(&guest(1), shaping, [2, 3]);
    let report = report(&attesting);
    let (server, message) = attesting.attest(&attestation(&report)).unwrap();
    Pair { client: judged(connected.evidence(&message).unwrap()).unwrap(), server }
}

/// Has a request made and taken: what the server makes of it.
pub(crate) fn ask(client: &mut Verified<()>, server: &mut Session, question: &[u8], now: Duration) -> Vec<u8> {
    let mut asked = None;
    for message in client.request(question, now).unwrap() {
        assert!(asked.is_none());
        match server.receive(&message, now).unwrap() {
            Received::Nothing => {}
            Received::Request(content) => asked = Some(content.to_vec()),
            Received::Cancel | Received::Over => panic!("expected a request"),
        }
    }
    asked.expect("a request")
}
