//! What an entry of a Rekor v2 log gives reason to say: only those by one key do, others' are many and concern others.

use super::{Alarm, Kind, Watch};
use crate::encoding::from_base64;
use crate::keys::SubmissionPublicKey;
use crate::rekor::Submission;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Whose entries are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Submissions {
    /// The key's SubjectPublicKeyInfo.
    spki: Vec<u8>,
}

impl Submissions {
    pub(super) fn by(key: &SubmissionPublicKey) -> Self {
        Self { spki: key.spki().to_vec() }
    }

    /// Takes an entry, which is in the tree.
    pub(super) fn entry(&self, index: u64, entry: &[u8], watch: &Watch<'_>) -> Option<Alarm> {
        let alarm = |kind, reason: &str| Some(Alarm::of_entry(kind, index, entry, reason, watch));
        let Ok(json) = serde_json::from_slice(entry) else {
            return alarm(Kind::Unparsable, "expected JSON: whose entry it is cannot be told");
        };
        if !self.is_in(&json) {
            return None;
        }
        match Submission::from_leaf(entry).filter(|submission| submission.key.spki() == self.spki) {
            None => alarm(Kind::Unparsable, "the key is in it, but not as that of a hashedrekord 0.0.2"),
            Some(submission) if watch.known.contains(&submission.digest) => None,
            Some(Submission { digest, .. }) => {
                let reason = format!("the key has signed bytes with the SHA-256 {digest}, no release that was cut");
                alarm(Kind::UnknownRelease, &reason)
            }
        }
    }

    /// Whether the key is anywhere in there: as itself, or in what a certificate or the like has around it.
    fn is_in(&self, json: &Value) -> bool {
        match json {
            Value::String(text) => from_base64(text).is_some_and(|bytes| holds(&bytes, &self.spki)),
            Value::Array(values) => values.iter().any(|value| self.is_in(value)),
            Value::Object(members) => members.values().any(|value| self.is_in(value)),
            _ => false,
        }
    }
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
