//! Releases on Rekor v2 logs (sigstore/rekor-tiles): entries `hashedrekord` 0.0.2 signed with the submission key.
//!
//! That a log answered proves nothing: the leaf is computed here from the digest, the signature and the key that were
//! submitted, and must be in the tree of a checkpoint that a known log signed. What the answer says of itself besides
//! is ignored. No verdict of ours rests on any of it: it is there so that tools which know Sigstore can find a release.

#[cfg(feature = "edges")]
pub mod http;
pub mod publish;
mod trust;

pub use trust::{MAX_CONFIG, Service, SigningConfig, TransparencyLog, TrustError, TrustedRoot};

use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::keys::{SubmissionKey, SubmissionPublicKey};
use crate::merkle::{self, MAX_PROOF, MerkleError};
use crate::{base64, encoding};
use measure::Sha256;
use serde::{Deserialize, Serialize};

/// Longest answer of a log, in bytes.
pub const MAX_ANSWER: usize = 64 << 10;

/// What is asked of a log: to record that a key signed bytes with this digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// SHA-256 of the bytes.
    pub digest: Sha256,
    /// The signature over the bytes, an ECDSA-Sig-Value in DER.
    pub signature: Vec<u8>,
    /// The key.
    pub key: SubmissionPublicKey,
}

impl Submission {
    /// Signs `artifact`.
    pub fn sign(artifact: &[u8], key: &SubmissionKey) -> Self {
        Self { digest: Sha256::of(artifact), signature: key.sign(artifact), key: key.public() }
    }

    /// The body of the request to `/api/v2/log/entries`.
    pub fn request(&self) -> String {
        let Texts { digest, signature, key } = self.texts();
        format!(
            concat!(
                r#"{{"hashedRekordRequestV002":{{"digest":"{}","signature":{{"content":"{}","verifier":{{"#,
                r#""publicKey":{{"rawBytes":"{}"}},"keyDetails":"PKIX_ECDSA_P256_SHA_256"}}}}}}}}"#
            ),
            digest, signature, key
        )
    }

    /// The entry as the log records it: JSON in its canonical form (RFC 8785).
    pub fn leaf(&self) -> String {
        let Texts { digest, signature, key } = self.texts();
        format!(
            concat!(
                r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":{{"#,
                r#""algorithm":"SHA2_256","digest":"{}"}},"signature":{{"content":"{}","verifier":{{"#,
                r#""keyDetails":"PKIX_ECDSA_P256_SHA_256","publicKey":{{"rawBytes":"{}"}}}}}}}}}}}}"#
            ),
            digest, signature, key
        )
    }

    /// Reads an entry; `None` unless it is what [`Self::leaf`] makes of a submission, to the byte.
    pub fn from_leaf(leaf: &[u8]) -> Option<Self> {
        let LeafJson { spec: SpecJson { record } } = serde_json::from_slice(leaf).ok()?;
        let SignatureJson { content, verifier } = record.signature;
        let key = SubmissionPublicKey::from_spki(&verifier.public_key.raw_bytes).ok()?;
        let submission = Self { digest: Sha256::new(record.data.digest), signature: content, key };
        (submission.leaf().as_bytes() == leaf).then_some(submission)
    }

    fn texts(&self) -> Texts {
        Texts {
            digest: encoding::base64(self.digest.as_bytes()),
            signature: encoding::base64(&self.signature),
            key: encoding::base64(self.key.spki()),
        }
    }
}

/// A submission's parts in base64.
struct Texts {
    digest: String,
    signature: String,
    key: String,
}

/// An entry's members that differ; the others are compared with the text that is made from these.
#[derive(Deserialize)]
struct LeafJson {
    spec: SpecJson,
}

#[derive(Deserialize)]
struct SpecJson {
    #[serde(rename = "hashedRekordV002")]
    record: RecordJson,
}

#[derive(Deserialize)]
struct RecordJson {
    data: DataJson,
    signature: SignatureJson,
}

#[derive(Deserialize)]
struct DataJson {
    #[serde(with = "base64")]
    digest: [u8; 32],
}

#[derive(Deserialize)]
struct SignatureJson {
    #[serde(with = "base64")]
    content: Vec<u8>,
    verifier: VerifierJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct VerifierJson {
    public_key: PublicKeyJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublicKeyJson {
    #[serde(with = "base64")]
    raw_bytes: Vec<u8>,
}

/// Where a log says an entry is, and its proof, neither of which has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The entry's index.
    pub index: u64,
    /// The log's key: SHA-256 as C2SP's key ids, in full.
    pub log: Sha256,
    /// The hashes from the leaf to the root.
    pub hashes: Vec<Sha256>,
    /// The signed checkpoint.
    pub checkpoint: String,
}

/// Why an answer is not what was asked for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RekorError {
    /// Too long.
    #[error("expected an answer of at most {MAX_ANSWER} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// Not JSON, or not an entry.
    #[error("expected a transparency log entry of kind hashedrekord 0.0.2")]
    Json(#[source] serde_json::Error),
    /// A member is not what it must be.
    #[error("{field}: expected {expected}")]
    Field {
        /// The member.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// No known log has that key.
    #[error("the trusted root has no log with the key {log}")]
    UnknownLog {
        /// The key's SHA-256.
        log: Sha256,
    },
    /// The checkpoint is not the log's.
    #[error("the log's checkpoint")]
    Checkpoint(#[from] CheckpointError),
    /// The entry is not in the tree.
    #[error("the proof that the log has the entry")]
    Inclusion(#[from] MerkleError),
}

impl LogEntry {
    /// Reads a log's answer to a submission.
    ///
    /// # Errors
    /// When it is not an entry of that kind within the limits.
    pub fn parse(answer: &[u8]) -> Result<Self, RekorError> {
        if answer.len() > MAX_ANSWER {
            return Err(RekorError::Size { found: answer.len() });
        }
        let entry: EntryJson = serde_json::from_slice(answer).map_err(RekorError::Json)?;
        entry.try_into().map(|(entry, _body)| entry)
    }

    /// Checks that a log of `root` has recorded exactly `submission`; its checkpoint.
    ///
    /// # Errors
    /// When the log is unknown, its checkpoint is not signed, or the entry is not in its tree.
    pub fn verify(&self, submission: &Submission, root: &TrustedRoot) -> Result<SignedCheckpoint, RekorError> {
        let log = root.log(&self.log).ok_or(RekorError::UnknownLog { log: self.log })?;
        let signed = SignedCheckpoint::verify(self.checkpoint.as_bytes(), &log.key)?;
        let (leaf, tree) = (merkle::leaf_hash(submission.leaf().as_bytes()), signed.checkpoint());
        merkle::verify_inclusion(&leaf, self.index, tree.size, &tree.root, &self.hashes)?;
        Ok(signed)
    }
}

/// `TransparencyLogEntry` of Sigstore's protocol buffers, as JSON: integers of 64 bits are text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct EntryJson {
    log_index: String,
    log_id: LogIdJson,
    kind_version: KindVersionJson,
    /// Rekor v2 has no time of its own: absent or 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    integrated_time: Option<String>,
    /// Of Rekor v1 alone: absent or null.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "read so that null is accepted and nothing else")]
    inclusion_promise: Option<Never>,
    inclusion_proof: InclusionProofJson,
    #[serde(with = "base64")]
    canonicalized_body: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
enum Never {}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct LogIdJson {
    #[serde(with = "base64")]
    key_id: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KindVersionJson {
    kind: String,
    version: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InclusionProofJson {
    log_index: String,
    #[serde(with = "base64")]
    root_hash: [u8; 32],
    tree_size: String,
    hashes: Vec<HashJson>,
    checkpoint: CheckpointJson,
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct HashJson(#[serde(with = "base64")] [u8; 32]);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointJson {
    envelope: String,
}

impl EntryJson {
    /// `entry`, which `submission` and `checkpoint` have been found to agree with.
    pub(crate) fn new(entry: &LogEntry, submission: &Submission, checkpoint: &SignedCheckpoint) -> Self {
        let tree = checkpoint.checkpoint();
        Self {
            log_index: entry.index.to_string(),
            log_id: LogIdJson { key_id: *entry.log.as_bytes() },
            kind_version: KindVersionJson { kind: "hashedrekord".to_owned(), version: "0.0.2".to_owned() },
            integrated_time: None,
            inclusion_promise: None,
            inclusion_proof: InclusionProofJson {
                log_index: entry.index.to_string(),
                root_hash: *tree.root.as_bytes(),
                tree_size: tree.size.to_string(),
                hashes: entry.hashes.iter().map(|hash| HashJson(*hash.as_bytes())).collect(),
                checkpoint: CheckpointJson { envelope: entry.checkpoint.clone() },
            },
            canonicalized_body: submission.leaf().into_bytes(),
        }
    }
}

impl TryFrom<EntryJson> for (LogEntry, Vec<u8>) {
    type Error = RekorError;

    /// The entry, and the body that it claims to have.
    fn try_from(json: EntryJson) -> Result<Self, RekorError> {
        let require = |holds, field, expected| if holds { Ok(()) } else { Err(RekorError::Field { field, expected }) };
        let KindVersionJson { kind, version } = &json.kind_version;
        require(kind == "hashedrekord" && version == "0.0.2", "kindVersion", "hashedrekord 0.0.2")?;
        require(json.integrated_time.is_none_or(|time| time == "0"), "integratedTime", "0, as Rekor v2 has none")?;
        let InclusionProofJson { hashes, checkpoint, .. } = json.inclusion_proof;
        require(hashes.len() <= MAX_PROOF, "hashes", "at most 63")?;
        let expected = "a number below 2^63 as text";
        let index = encoding::decimal(&json.log_index).ok_or(RekorError::Field { field: "logIndex", expected })?;
        let entry = LogEntry {
            index,
            log: Sha256::new(json.log_id.key_id),
            hashes: hashes.into_iter().map(|HashJson(hash)| Sha256::new(hash)).collect(),
            checkpoint: checkpoint.envelope,
        };
        Ok((entry, json.canonicalized_body))
    }
}

#[cfg(test)]
mod tests;
