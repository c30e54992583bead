//! Sigstore bundles (v0.3): a signature over some bytes, the public key's hint, and one Rekor v2 entry that records it.
//! `cosign verify-blob` accepts them.

use crate::base64;
use crate::checkpoint::SignedCheckpoint;
use crate::encoding;
use crate::keys::SubmissionPublicKey;
use crate::rekor::publish::Published;
use crate::rekor::{EntryJson, LogEntry, RekorError, Submission, TrustedRoot};
use measure::Sha256;
use serde::{Deserialize, Serialize};

/// Longest bundle, in bytes.
pub const MAX_BUNDLE: usize = 128 << 10;

const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A bundle of which nothing has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    digest: Sha256,
    signature: Vec<u8>,
    entry: LogEntry,
    body: Vec<u8>,
}

/// Why bytes are no bundle, or none for these bytes and this key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// Too long.
    #[error("expected a bundle of at most {MAX_BUNDLE} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// Not JSON, or not such a bundle.
    #[error("expected a Sigstore bundle with a message signature, a public key and one log entry")]
    Json(#[source] serde_json::Error),
    /// A member is not what it must be.
    #[error("{field}: expected {expected}, found {found:?}")]
    Field {
        /// The member.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// For other bytes.
    #[error("expected a bundle for bytes with sha256 {expected}, found {found}")]
    Digest {
        /// The bytes' digest.
        expected: Sha256,
        /// The bundle's.
        found: Sha256,
    },
    /// The key did not sign the bytes.
    #[error("the signature of key {key} does not verify")]
    Signature {
        /// The key.
        key: Sha256,
    },
    /// The log's entry is about something else.
    #[error("expected an entry that records exactly this digest, signature and key")]
    Body,
    /// The entry is not in the log.
    #[error("the log entry")]
    Entry(#[from] RekorError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct BundleJson {
    media_type: String,
    verification_material: MaterialJson,
    message_signature: MessageSignatureJson,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MaterialJson {
    public_key: HintJson,
    tlog_entries: [EntryJson; 1],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HintJson {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct MessageSignatureJson {
    message_digest: DigestJson,
    #[serde(with = "base64")]
    signature: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DigestJson {
    algorithm: String,
    #[serde(with = "base64")]
    digest: [u8; 32],
}

/// The bundle of a published submission.
pub fn write(submission: &Submission, published: &Published) -> Vec<u8> {
    let json = BundleJson {
        media_type: MEDIA_TYPE.to_owned(),
        verification_material: MaterialJson {
            public_key: HintJson { hint: encoding::base64(submission.key.id().as_bytes()) },
            tlog_entries: [EntryJson::new(&published.entry, submission, &published.checkpoint)],
        },
        message_signature: MessageSignatureJson {
            message_digest: DigestJson { algorithm: "SHA2_256".to_owned(), digest: *submission.digest.as_bytes() },
            signature: submission.signature.clone(),
        },
    };
    serde_json::to_vec(&json).expect("strings and arrays are always JSON")
}

impl Bundle {
    /// Reads a bundle. One with certificates, time stamps, a DSSE envelope or another number of entries is refused.
    ///
    /// # Errors
    /// When it is no such bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError::Size { found: bytes.len() });
        }
        let json: BundleJson = serde_json::from_slice(bytes).map_err(BundleError::Json)?;
        let MessageSignatureJson { message_digest, signature } = json.message_signature;
        for (field, expected, found) in
            [("mediaType", MEDIA_TYPE, json.media_type), ("algorithm", "SHA2_256", message_digest.algorithm)]
        {
            if found != expected {
                return Err(BundleError::Field { field, expected, found });
            }
        }
        let [entry] = json.verification_material.tlog_entries;
        let (entry, body) = entry.try_into()?;
        Ok(Self { digest: Sha256::new(message_digest.digest), signature, entry, body })
    }

    /// The index that the log's entry is said to have.
    pub fn index(&self) -> u64 {
        self.entry.index
    }

    /// Checks that `key` signed `artifact` and that a log of `root` has recorded exactly that; the log's checkpoint.
    ///
    /// # Errors
    /// Whatever does not hold first.
    pub fn verify(
        &self,
        artifact: &[u8],
        key: &SubmissionPublicKey,
        root: &TrustedRoot,
    ) -> Result<SignedCheckpoint, BundleError> {
        let expected = Sha256::of(artifact);
        if self.digest != expected {
            return Err(BundleError::Digest { expected, found: self.digest });
        }
        if !key.verifies(artifact, &self.signature) {
            return Err(BundleError::Signature { key: key.id() });
        }
        let submission = Submission { digest: expected, signature: self.signature.clone(), key: key.clone() };
        if self.body != submission.leaf().as_bytes() {
            return Err(BundleError::Body);
        }
        Ok(self.entry.verify(&submission, root)?)
    }
}

#[cfg(test)]
mod tests;
