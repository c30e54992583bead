//! What happens to releases, keys and the fleet after they exist.

use super::number::{integer, integer_or_null, time};
use super::release::MAX_PRODUCTS;
use super::{MAX_TEXT, StatementError, Subject, Version, require, require_one_subject};
use crate::base64;
use crate::keys::{KeyId, PublicKey};
use measure::appraise::Time;
use measure::snp::product::{Product, TcbVersion};
use measure::{Sha1, Sha256};
use serde::{Deserialize, Serialize};

/// Longest time that a status is valid for, in seconds: 7 days.
pub const MAX_VALIDITY: u64 = 7 * 24 * 60 * 60;
/// Most variations of a rebuild.
pub const MAX_VARIATIONS: usize = 16;
/// Most keys in force.
pub const MAX_KEYS: usize = 16;
/// Longest public key other than Ed25519, in bytes: a P-256 SubjectPublicKeyInfo has 91.
const MAX_SPKI: usize = 128;
/// What the roster is called among the subjects.
pub(crate) const FLEET: &str = "fleet";
/// What the names of live releases begin with.
pub(crate) const RELEASE: &str = "release/";

/// What holds for now. Root keys sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// Grows by at least one with each status.
    #[serde(deserialize_with = "integer")]
    pub sequence: u64,
    /// When it was made.
    #[serde(with = "time")]
    pub issued_at: Time,
    /// It says nothing after this time, at most [`MAX_VALIDITY`] later.
    #[serde(with = "time")]
    pub not_after: Time,
    /// Releases with a smaller counter do not count any more.
    #[serde(deserialize_with = "integer")]
    pub minimum_counter: u64,
    /// Root of the fleet's Merkle tree.
    pub fleet_root_sha256: Sha256,
    /// Number of its chips.
    #[serde(deserialize_with = "integer")]
    pub fleet_chips: u64,
    /// The least trusted computing base of each product, sorted by product.
    pub tcb_minimums: Vec<TcbMinimum>,
    /// The keys that count, sorted by the index from which they do.
    pub keys: Vec<InForce>,
}

/// The least security version of each part of a product's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbMinimum {
    /// The product.
    pub product: Product,
    /// No component may be less.
    pub tcb: TcbVersion,
}

/// A key that signs releases, and which ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InForce {
    /// The key.
    pub public_key: PublicKey,
    /// It counts for entries behind the one at this index of the log, which adds it.
    #[serde(deserialize_with = "integer")]
    pub added_at: u64,
    /// If it was revoked: it does not count from this index on.
    #[serde(deserialize_with = "integer_or_null")]
    pub revoked_from: Option<u64>,
}

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It signs releases: an Ed25519 key, 32 bytes.
    Release,
    /// It submits to public logs, and no verdict rests on it: a P-256 key as SubjectPublicKeyInfo.
    Submission,
}

/// A key counts for the entries behind this one. Root keys sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAdd {
    /// What for.
    pub role: Role,
    /// The key; its SHA-256 is the subject's.
    #[serde(with = "base64")]
    pub public_key: Vec<u8>,
}

/// A key does not count any more. Root keys sign it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevoke {
    /// From this index of the log on: its own, or an earlier one if the key was stolen before it was missed.
    #[serde(deserialize_with = "integer")]
    pub from_index: u64,
    /// Why, for people.
    pub reason: String,
}

/// The chips that the operator owns. Root keys sign it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetPredicate {
    /// Root of the Merkle tree over the roster's rows.
    pub root_sha256: Sha256,
    /// Number of rows.
    #[serde(deserialize_with = "integer")]
    pub chips: u64,
}

/// What somebody who built a release again found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rebuild {
    /// The release's version.
    pub version: Version,
    /// SHA-256 of the release's envelope.
    pub release_sha256: Sha256,
    /// The commit that was built.
    pub commit: Sha1,
    /// SHA-256 of `image.lock` in that commit.
    pub lock_sha256: Sha256,
    /// When it ended.
    #[serde(with = "time")]
    pub built_at: Time,
    /// How long it took, in seconds.
    #[serde(deserialize_with = "integer")]
    pub seconds: u64,
    /// Where.
    pub host: RebuildHost,
    /// What was made different on purpose, at most [`MAX_VARIATIONS`]; of a plain build nothing.
    pub variations: Vec<String>,
    /// Whether what came out is the release.
    pub outcome: Rebuilt,
}

/// The machine of a rebuild, as it calls itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RebuildHost {
    /// `PRETTY_NAME` of os-release(5).
    pub distribution: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The model of its first processor.
    pub cpu: String,
}

/// Whether a rebuild gave the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rebuilt {
    /// Every byte.
    Reproduced,
    /// Not every byte.
    Differs,
}

impl Status {
    pub(super) fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        let known = |name: &str| {
            name == FLEET || name.strip_prefix(RELEASE).is_some_and(|version| version.parse::<Version>().is_ok())
        };
        let roster = subjects.iter().any(|subject| subject.name == FLEET);
        require("subject", roster && subjects.iter().all(|subject| known(&subject.name)), || {
            let names: Vec<_> = subjects.iter().map(|subject| subject.name.as_str()).collect();
            ("fleet and release/VERSION".to_owned(), names.join(" "))
        })?;
        let validity = self.not_after.0.checked_sub(self.issued_at.0);
        require("not_after", validity.is_some_and(|validity| validity <= MAX_VALIDITY), || {
            (format!("at most {MAX_VALIDITY} s after issued_at {}", self.issued_at.0), self.not_after.0.to_string())
        })?;
        let minimums = &self.tcb_minimums;
        let ascending = minimums.is_sorted_by(|left, right| left.product < right.product);
        require("tcb_minimums", ascending && (1..=MAX_PRODUCTS).contains(&minimums.len()), || {
            ("at least one, in ascending order of distinct products".to_owned(), format!("{minimums:?}"))
        })?;
        let keys = &self.keys;
        let ascending = keys.is_sorted_by(|left, right| left.added_at < right.added_at);
        require("keys", ascending && keys.len() <= MAX_KEYS, || {
            (format!("at most {MAX_KEYS} in ascending order of added_at"), format!("{keys:?}"))
        })
    }
}

impl InForce {
    /// Whether an entry at `index` may be signed with it.
    pub fn covers(&self, index: u64) -> bool {
        self.added_at < index && self.revoked_from.is_none_or(|from| index < from)
    }
}

impl KeyAdd {
    pub(super) fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        let subject = require_one_subject(subjects)?;
        let usable = match self.role {
            Role::Release => <&[u8; 32]>::try_from(&self.public_key[..]).is_ok_and(|key| PublicKey::new(key).is_ok()),
            Role::Submission => self.public_key.len() <= MAX_SPKI,
        };
        require("public_key", usable, || {
            (
                "an Ed25519 key, or a SubjectPublicKeyInfo for submission".to_owned(),
                format!("{} bytes", self.public_key.len()),
            )
        })?;
        let (expected, found) = (KeyId::of(&self.public_key), subject.digest.sha256);
        require("subject", expected == found, || (format!("the key's sha256 {expected}"), found.to_string()))
    }
}

impl KeyRevoke {
    pub(super) fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        require_one_subject(subjects)?;
        require("reason", (1..=MAX_TEXT).contains(&self.reason.len()), || {
            (format!("1 to {MAX_TEXT} bytes"), self.reason.len().to_string())
        })
    }
}

impl FleetPredicate {
    pub(super) fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
        let subject = require_one_subject(subjects)?;
        require("subject", subject.name == FLEET, || (FLEET.to_owned(), subject.name.clone()))
    }
}

impl Rebuild {
    pub(super) fn check(&self, _subjects: &[Subject]) -> Result<(), StatementError> {
        let RebuildHost { distribution, kernel, cpu } = &self.host;
        require("variations", self.variations.len() <= MAX_VARIATIONS, || {
            (format!("at most {MAX_VARIATIONS}"), self.variations.len().to_string())
        })?;
        let named = [("distribution", distribution), ("kernel", kernel), ("cpu", cpu)];
        let texts = named.into_iter().chain(self.variations.iter().map(|text| ("variations", text)));
        texts.into_iter().try_for_each(|(field, text)| {
            require(field, (1..=MAX_TEXT).contains(&text.len()), || {
                (format!("1 to {MAX_TEXT} bytes"), text.len().to_string())
            })
        })
    }
}
