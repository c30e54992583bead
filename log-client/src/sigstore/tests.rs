//! A bundle that cosign accepts (`tests/rekor.rs` recorded it), and one change each.

use super::*;
use crate::keys::SubmissionKey;

const BUNDLE: &str = include_str!("../rekor/recorded/bundle.json");
const ARTIFACT: &[u8] = b"release 1";

fn root() -> TrustedRoot {
    TrustedRoot::parse(include_bytes!("../rekor/recorded/trusted_root.json")).unwrap()
}

fn key(scalar: u8) -> SubmissionPublicKey {
    SubmissionKey::from_scalar(&[scalar; 32]).unwrap().public()
}

fn verify(bundle: &str) -> Result<SignedCheckpoint, BundleError> {
    Bundle::parse(bundle.as_bytes())?.verify(ARTIFACT, &key(5), &root())
}

#[test]
fn accepted_and_written_again() {
    let bundle = Bundle::parse(BUNDLE.as_bytes()).unwrap();
    let checkpoint = bundle.verify(ARTIFACT, &key(5), &root()).unwrap();
    assert_eq!((checkpoint.checkpoint().size, bundle.entry.index), (3, 1));
    let submission = Submission::sign(ARTIFACT, &SubmissionKey::from_scalar(&[5; 32]).unwrap());
    let written = write(&submission, &Published { entry: bundle.entry, checkpoint });
    assert_eq!(String::from_utf8(written).unwrap(), BUNDLE);
}

#[test]
fn bound_to_bytes_key_and_log() {
    let bundle = Bundle::parse(BUNDLE.as_bytes()).unwrap();
    assert!(matches!(bundle.verify(b"release 2", &key(5), &root()), Err(BundleError::Digest { .. })));
    assert!(matches!(bundle.verify(ARTIFACT, &key(6), &root()), Err(BundleError::Signature { .. })));
    let other = include_str!("../rekor/recorded/trusted_root.json").replace("log.example", "log.exampel");
    let other = TrustedRoot::parse(other.as_bytes()).unwrap();
    assert!(matches!(bundle.verify(ARTIFACT, &key(5), &other), Err(BundleError::Entry(RekorError::UnknownLog { .. }))));
}

/// Another signature of the same key over the same bytes is not what the log recorded.
#[test]
fn the_entry_must_record_this_very_signature() {
    let json: serde_json::Value = serde_json::from_str(BUNDLE).unwrap();
    let signature = json["messageSignature"]["signature"].as_str().unwrap();
    // OpenSSL made this one with a random nonce.
    let other = encoding::base64(include_bytes!("other-signature.der"));
    assert!(key(5).verifies(ARTIFACT, include_bytes!("other-signature.der")));
    let bundle = BUNDLE.replacen(signature, &other, 1);
    assert!(matches!(verify(&bundle), Err(BundleError::Body)));
    // Even if the body is made to say so.
    let submission = Submission {
        signature: include_bytes!("other-signature.der").to_vec(),
        ..Submission::sign(ARTIFACT, &SubmissionKey::from_scalar(&[5; 32]).unwrap())
    };
    let body = json["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"].as_str().unwrap();
    let bundle = bundle.replacen(body, &encoding::base64(submission.leaf().as_bytes()), 1);
    assert!(matches!(verify(&bundle), Err(BundleError::Entry(RekorError::Inclusion(_)))));
}

#[test]
fn one_change_each() {
    for (from, to, expected) in [
        ("bundle.v0.3+json", "bundle.v0.1+json", "mediaType"),
        ("\"publicKey\":", "\"certificate\":{},\"publicKey\":", "Sigstore bundle"),
        ("SHA2_256", "SHA2_512", "algorithm"),
        ("\"tlogEntries\":[", "\"tlogEntries\":[],\"x\":[", "Sigstore bundle"),
        ("\"messageSignature\"", "\"dsseEnvelope\"", "Sigstore bundle"),
        ("\"treeSize\":\"3\"", "\"treeSize\":3", "Sigstore bundle"),
        ("{\"logIndex\":\"1\",\"logId\"", "{\"logIndex\":\"2\",\"logId\"", "the log entry"),
        ("log.example\\n3", "log.example\\n4", "the log entry"),
    ] {
        assert_eq!(BUNDLE.matches(from).count(), 1, "{from}");
        let error = verify(&BUNDLE.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let long = format!("{BUNDLE}{}", " ".repeat(MAX_BUNDLE));
    assert!(matches!(Bundle::parse(long.as_bytes()), Err(BundleError::Size { .. })));
}
