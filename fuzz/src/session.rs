//! Properties of the attested session: what either side makes of bytes that are not what the other would send.

use channel::client::{Connected, Hello};
use channel::evidence::{Evidence, MAX_BINDING, report_data};
use channel::receipt::{MAX_RECEIPT, Receipt};
use channel::record::Message;
use channel::server::{self, About, Identity};
use channel::{Binding, Error, KeyStatement, M2, M3, Operator, Seed, Shaping, feed};
use core::time::Duration;
use measure::Sha256;
use std::sync::LazyLock;

static GUEST: LazyLock<Identity> = LazyLock::new(|| {
    let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
    Identity::new(Seed::new([1; 32]), about).expect("keys")
});
static STATEMENT: LazyLock<KeyStatement> =
    LazyLock::new(|| KeyStatement::parse(GUEST.statement()).expect("a statement"));
/// What the evidence is of, where that is no message.
const HANDSHAKE: Sha256 = Sha256::new([8; 32]);

fn hello() -> (Hello, Vec<u8>) {
    Hello::new(Seed::new([2; 32]), Shaping::Paced).expect("a handshake")
}

fn answer(m1: &[u8]) -> Result<(server::Hello, Vec<u8>), Error> {
    server::Hello::answer(&GUEST, Seed::new([3; 32]), m1)
}

fn connect(m2: &[u8]) -> Result<(Connected, Vec<u8>), Error> {
    hello().0.finish(m2, Duration::ZERO)
}

#[cfg(test)]
fn attesting() -> Result<server::Attesting, Error> {
    let (hello, m2) = answer(&hello().1)?;
    hello.finish(&connect(&m2)?.1, Duration::ZERO)
}

/// A server answers with a message of one size, or not at all; nobody but the client can read the answer.
pub fn session_m1(bytes: &[u8]) -> bool {
    let Ok((_, m2)) = answer(bytes) else { return false };
    assert_eq!(m2.len(), M2);
    assert_eq!(connect(&m2).is_ok(), bytes == hello().1);
    true
}

/// A client goes on only with the answer to its own message.
pub fn session_m2(bytes: &[u8]) -> bool {
    let Ok((_, m3)) = connect(bytes) else { return false };
    assert_eq!(m3.len(), M3);
    true
}

/// A server goes on only with whoever could read its answer.
pub fn session_m3(bytes: &[u8]) -> bool {
    let (hello, _) = answer(&hello().1).expect("an answer");
    hello.finish(bytes, Duration::ZERO).is_ok()
}

/// Evidence that is accepted has the operator document that its statement names, and parts within their limits.
pub fn session_evidence(bytes: &[u8]) -> bool {
    let Ok(evidence) = Evidence::parse(bytes, &HANDSHAKE) else { return false };
    assert_eq!(evidence.statement.operator, evidence.operator.as_deref().map(Sha256::of));
    assert!(evidence.report.len() + evidence.feed.len() < bytes.len());
    true
}

/// The content of a message is in it.
pub fn session_message(bytes: &[u8]) -> bool {
    let Ok(message) = Message::parse(bytes) else { return false };
    assert!(message.content.is_empty() || bytes.starts_with(&[1]));
    assert!(message.content.len() <= bytes.len().saturating_sub(3));
    true
}

/// A key statement that is accepted is written as it was read.
pub fn session_statement(bytes: &[u8]) -> bool {
    let Ok(statement) = KeyStatement::parse(bytes) else { return false };
    assert_eq!(statement.to_bytes().as_deref(), Ok(bytes));
    true
}

/// What ties a report to a session has the statement in it, and a value that follows from all of it.
pub fn session_binding(bytes: &[u8]) -> bool {
    let Ok(binding) = Binding::parse(bytes) else { return false };
    assert!(bytes.len() <= MAX_BINDING);
    let statement = binding.statement.to_bytes().expect("what was read can be written");
    assert!(bytes.windows(statement.len()).any(|window| window == statement));
    let plain = report_data(&binding.handshake, &Sha256::of(&statement));
    assert_eq!(plain == binding.report_data, bytes.ends_with(&[0x80]) && bytes.len() < statement.len() + 64);
    true
}

/// A feed that is accepted is written as it was read.
pub fn session_feed(bytes: &[u8]) -> bool {
    let Ok(parts) = feed::decode(bytes) else { return false };
    assert_eq!(feed::encode(&parts).as_deref(), Ok(bytes));
    true
}

/// An operator document that is accepted has one text for what it says, and nothing in it that a terminal would act on.
pub fn operator_document(bytes: &[u8]) -> bool {
    let Ok(Operator { name, country, contact, sessions, workers }) = Operator::parse(bytes) else { return false };
    let text = format!(
        "vitrine-operator 1\nname {name}\ncountry {country}\ncontact {contact}\nsessions {sessions}\nworkers {workers}\n"
    );
    assert_eq!(text.as_bytes(), bytes);
    assert!(text.lines().all(|line| line.len() <= 110 && line.bytes().all(|byte| matches!(byte, b' '..=b'~'))));
    true
}

/// A receipt that is accepted is one that was signed.
pub fn session_receipt(bytes: &[u8]) -> bool {
    let Ok(receipt) = Receipt::verify(bytes, &STATEMENT) else { return false };
    assert!(bytes.len() <= MAX_RECEIPT);
    assert_eq!(receipt.sign(&GUEST).as_deref(), Ok(bytes));
    true
}

/// What the properties accept.
#[cfg(test)]
pub(crate) fn samples(name: &str) -> Vec<Vec<u8>> {
    use channel::evidence::{Attestation, Kind};
    use channel::receipt::{Sampling, answer_hash, request_hash};
    use log_client::feed::{Feed, Rebuild};
    use measure::Sha384;
    use measure::verity::VerityRoot;
    let m1 = hello().1;
    let m2 = answer(&m1).expect("an answer").1;
    let operator = b"document".as_slice();
    let models = [1, 2].map(|n| VerityRoot(Sha256::new([n; 32]))).into();
    let statement = KeyStatement { operator: Some(Sha256::of(operator)), models, ..STATEMENT.clone() };
    // Two organisations have rebuilt the release.
    let rebuilds = [1, 2].map(|n| Rebuild { envelope: vec![n; 500], proof: vec![n; 900] }).to_vec();
    let said = Feed { release: Some(b"{}".to_vec()), rebuilds, ..Feed::default() };
    let parts = [("feed", said.to_bytes().expect("a feed")), ("snp-leaf", vec![0x30; 300])];
    let feed = feed::encode(&parts.map(|(name, bytes)| (name.into(), bytes)).into()).expect("a feed");
    let passed_on = feed::decode(&feed).expect("a feed").remove("feed").expect("what the log says");
    assert_eq!(Feed::parse(&passed_on).as_ref(), Ok(&said));
    match name {
        "operator_document" => vec![
            b"vitrine-operator 1\nname Example Hosting\ncountry IS\ncontact it@example.org\nsessions 200\nworkers 4\n"
                .into(),
        ],
        "session_m1" => vec![m1],
        "session_m2" => vec![m2],
        "session_m3" => vec![connect(&m2).expect("a session").1],
        "session_evidence" => {
            let session = attesting().expect("a session").report_data();
            let (root, paths) = channel::batch::batch(&[session]).expect("a batch");
            let attest = |path| {
                let report = root.as_bytes();
                let attestation = Attestation { kind: Kind::Snp, report, path, operator: Some(operator), feed: &feed };
                attestation.plaintext(&statement.to_bytes().expect("a statement")).expect("evidence")
            };
            vec![attest(None), attest(paths.first())]
        }
        "session_binding" => {
            let session = attesting().expect("a session").report_data();
            let (_, paths) = channel::batch::batch(&[session]).expect("a batch");
            let binding = |path| {
                let attestation = Attestation { kind: Kind::Snp, report: b"report", path, operator: None, feed: b"" };
                let plaintext = attestation.plaintext(GUEST.statement()).expect("evidence");
                Evidence::parse(&plaintext, &HANDSHAKE).expect("evidence").session
            };
            vec![binding(None), binding(paths.first())]
        }
        "session_message" => {
            let end = [&[2, 0, 41, 0][..], &[7; 40]].concat();
            vec![
                [&[1, 0, 3][..], b"abc", &end, &[0; 9]].concat(),
                vec![3, 0, 0, 0],
                vec![4, 0, 0],
                vec![1, 0, 1, 2],
                vec![0; 9],
            ]
        }
        "session_statement" => vec![statement.to_bytes().expect("a statement"), GUEST.statement().to_vec()],
        "session_feed" => vec![feed, vec![0xa0]],
        "session_receipt" => {
            let receipt = Receipt {
                statement: GUEST.statement_digest(),
                measurement: Sha384::of(b"measurement"),
                model: VerityRoot(Sha256::of(b"model")),
                request: request_hash(&[4; 32], b"request"),
                answer: answer_hash(&[4; 32], b"answer"),
                sampling: Sampling { temperature: 0, top_p: 1_f32.to_bits(), seed: 42, max_tokens: 256 },
            };
            vec![receipt.sign(&GUEST).expect("a receipt")]
        }
        other => unreachable!("{other}"),
    }
}
