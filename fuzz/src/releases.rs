//! Properties of what is signed, logged and published.

use crate::text;
use log_client::dsse::{Envelope, MAX_ENVELOPE};
use log_client::fleet::{MAX_ROW, Roster, Row};
use log_client::keys::at_rest::AnyPublicKey;
use log_client::keys::{PublicKey, SigningKey, SubmissionKey};
use log_client::lifecycle::{Book, Changes};
use log_client::rekor::{LogEntry, SigningConfig, Submission, TrustedRoot};
use log_client::sigstore::Bundle;
use log_client::statement::{Predicate, Statement, TcbMinimum};
use measure::appraise::Time;
use measure::snp::product::{Product, TcbVersion};
use std::num::NonZeroUsize;
use std::sync::LazyLock;

/// Whose log entries were recorded.
const TRUSTED_ROOT: &[u8] = include_bytes!("../../log-client/src/rekor/recorded/trusted_root.json");
static ROOT: LazyLock<TrustedRoot> = LazyLock::new(|| TrustedRoot::parse(TRUSTED_ROOT).expect("a trusted root"));

/// What was recorded.
static SUBMISSION: LazyLock<Submission> = LazyLock::new(|| {
    let key = SubmissionKey::from_scalar(&[5; 32]).expect("a scalar");
    Submission::sign(b"release 1", &key)
});
static KEYS: LazyLock<[PublicKey; 2]> =
    LazyLock::new(|| [1, 11].map(|seed| SigningKey::from_seed(&[seed; 32]).public()));

/// An envelope that is accepted is written as it was read, and verified without harm; an entry of a log takes one index
/// whatever it is.
pub fn dsse(bytes: &[u8]) -> bool {
    let mut book = Book::new(KEYS.to_vec(), NonZeroUsize::MIN);
    let _counts = book.push(bytes);
    assert_eq!(book.ledger().size(), 1);
    // Whatever is in the log, the next status is one that would count.
    let tcb = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };
    let tcb_minimums = Some(vec![TcbMinimum { product: Product::Genoa, tcb }]);
    if let Ok(status) = book.next_status(Time(1), 1, Changes { tcb_minimums, ..Changes::default() }) {
        let key = SigningKey::from_seed(&[1; 32]);
        let envelope = Envelope::sign(status.to_bytes(), &[&key]).expect("a small status");
        book.push(&envelope.to_bytes()).expect("a status that counts");
    }
    let Ok(envelope) = Envelope::parse(bytes) else { return false };
    assert_eq!(envelope.to_bytes(), bytes);
    assert!(bytes.len() <= MAX_ENVELOPE);
    if let Ok(signers) = envelope.verify(&*KEYS, NonZeroUsize::MIN) {
        assert!((1..=2).contains(&signers.len()));
    }
    true
}

/// A row or roster that is accepted is written as it was read.
pub fn fleet(bytes: &[u8]) -> bool {
    let Some(text) = text(bytes) else { return false };
    let row = text.parse::<Row>().is_ok_and(|row| {
        assert_eq!(row.to_string(), text);
        assert!(text.len() <= MAX_ROW);
        let _ = row.verify(row.index.saturating_add(1), &measure::Sha256::of(b""));
        true
    });
    let roster = text.parse::<Roster>().is_ok_and(|roster| {
        assert_eq!(roster.to_string(), text);
        roster.chips() > 0
    });
    row || roster
}

/// A public key that is accepted can be written and read again.
pub fn key_file(bytes: &[u8]) -> bool {
    let Some(key) = text(bytes).and_then(|text| AnyPublicKey::from_pem(text).ok()) else { return false };
    assert_eq!(AnyPublicKey::from_pem(&key.to_pem()).ok(), Some(key));
    true
}

/// A log's answer that proves an entry proves it to be in a tree; an entry that is read is written as it was read.
pub fn rekor_answer(bytes: &[u8]) -> bool {
    if let Some(submission) = Submission::from_leaf(bytes) {
        assert_eq!(submission.leaf().as_bytes(), bytes);
        return true;
    }
    let Ok(entry) = LogEntry::parse(bytes) else { return false };
    if let Ok(signed) = entry.verify(&SUBMISSION, &ROOT) {
        assert!(entry.index < signed.checkpoint().size);
    }
    true
}

/// Trusted roots and signing configs are accepted or refused.
pub fn rekor_config(bytes: &[u8]) -> bool {
    let config = SigningConfig::parse(bytes);
    if let Ok(service) = config.as_ref().map_err(drop).and_then(|config| config.rekor_v2(Time(1 << 31)).map_err(drop)) {
        assert_eq!(service.major_api_version, 2);
    }
    config.is_ok() || TrustedRoot::parse(bytes).is_ok()
}

/// A bundle that verifies is for these bytes and this key.
pub fn sigstore_bundle(bytes: &[u8]) -> bool {
    let Ok(bundle) = Bundle::parse(bytes) else { return false };
    assert!(bundle.verify(b"release 2", &SUBMISSION.key, &ROOT).is_err());
    let _verified = bundle.verify(b"release 1", &SUBMISSION.key, &ROOT);
    true
}

/// A statement that is accepted is written as it was read; a release allows a bounded number of launch digests.
pub fn statement(bytes: &[u8]) -> bool {
    let Ok(statement) = Statement::parse(bytes) else { return false };
    assert_eq!(statement.to_bytes(), bytes);
    if let Predicate::Release(release) = &statement.predicate
        && let Ok(shapes) = release.shapes()
    {
        assert!(shapes.rows().len() <= 16 * 16 * 64);
    }
    true
}

/// What is accepted, for the property of that name.
#[cfg(test)]
pub(crate) fn samples(name: &str) -> Vec<Vec<u8>> {
    let read = |path: &str| {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../log-client/src").join(path);
        std::fs::read(path).expect("a sample")
    };
    let golden = |kind: &str| read(&format!("statement/golden/{kind}.json")).trim_ascii_end().to_vec();
    let kinds = ["release", "status", "key-add", "key-revoke", "fleet", "rebuild"];
    let recorded = |name: &str| read(&format!("rekor/recorded/{name}"));
    match name {
        "dsse" => {
            let key = SigningKey::from_seed(&[11; 32]);
            let signed = |kind| Envelope::sign(golden(kind), &[&key]).expect("a small statement").to_bytes();
            ["status", "key-add", "fleet"].map(signed).into()
        }
        "fleet" => {
            let chips: String = ["1", "2", "3"].map(|digit| digit.repeat(128) + "\n").concat();
            let roster: Roster = chips.parse().expect("a roster");
            let row = roster.row(&"2".repeat(128).parse().expect("a chip")).expect("a row");
            vec![chips.into_bytes(), row.to_string().into_bytes()]
        }
        "key_file" => ["ed25519", "p256"].map(|name| read(&format!("keys/testdata/{name}.pub"))).into(),
        "rekor_answer" => vec![answer(), SUBMISSION.leaf().into_bytes()],
        "rekor_config" => ["trusted_root.json", "signing_config.json"].map(recorded).into(),
        "sigstore_bundle" => vec![recorded("bundle.json")],
        "statement" => kinds.map(golden).into(),
        name => panic!("no samples for {name}"),
    }
}

/// The entry of the recorded bundle, which is what a log answers.
#[cfg(test)]
fn answer() -> Vec<u8> {
    let bundle = include_str!("../../log-client/src/rekor/recorded/bundle.json");
    let (_, entry) = bundle.split_once("\"tlogEntries\":[").expect("an entry");
    let (entry, _) = entry.split_once("]},\"messageSignature\"").expect("an entry");
    entry.as_bytes().to_vec()
}
