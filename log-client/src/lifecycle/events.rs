//! The whole log, entry by entry: which keys are in force, and what contradicts what.

use crate::dsse::{DsseError, Envelope};
use crate::keys::{KeyId, PublicKey};
use crate::statement::{InForce, Predicate, Role, Statement, StatementError, Status, Version};
use measure::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// What the entries so far say. Entries are judged at their own index, in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    roots: Vec<PublicKey>,
    threshold: NonZeroUsize,
    size: u64,
    keys: Vec<InForce>,
    releases: BTreeMap<Version, Logged>,
    counter: u64,
    status: Option<Status>,
}

/// A release that counted when it was logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logged {
    /// SHA-256 of its envelope.
    pub sha256: Sha256,
    /// Its index.
    pub index: u64,
    /// The keys that signed it.
    pub signers: Vec<KeyId>,
}

/// An entry that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its index.
    pub index: u64,
    /// What it says.
    pub statement: Statement,
    /// Who signed it, of those whose signature counts. Nobody for a rebuild: clients choose whom they believe.
    pub signers: Vec<KeyId>,
}

/// Why an entry does not count.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// Not an envelope.
    #[error("not an envelope")]
    Envelope(#[source] DsseError),
    /// Not a statement.
    #[error("not a statement")]
    Statement(#[from] StatementError),
    /// The keys that count did not sign it.
    #[error("not signed by those who may")]
    Signature(#[source] DsseError),
    /// It contradicts what was there before.
    #[error("{field}: expected {expected}, found {found}")]
    Contradiction {
        /// What about it.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

impl Ledger {
    /// The empty log.
    pub fn new(roots: Vec<PublicKey>, threshold: NonZeroUsize) -> Self {
        let (keys, releases) = (Vec::new(), BTreeMap::new());
        Self { roots, threshold, size: 0, keys, releases, counter: 0, status: None }
    }

    /// Takes the next entry. One that does not count takes its index all the same.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn push(&mut self, entry: &[u8]) -> Result<Event, EventError> {
        let index = self.size;
        self.size = self.size.saturating_add(1);
        let envelope = Envelope::parse(entry).map_err(EventError::Envelope)?;
        let statement = Statement::parse(envelope.unverified_payload())?;
        let signers = match &statement.predicate {
            Predicate::Release(_) => {
                let keys = self.keys.iter().filter(|key| key.covers(index)).map(|key| key.public_key);
                envelope.verify(&keys.collect::<Vec<_>>(), NonZeroUsize::MIN).map_err(EventError::Signature)?
            }
            Predicate::Rebuild(_) => Vec::new(),
            _ => envelope.verify(&self.roots, self.threshold).map_err(EventError::Signature)?,
        };
        match &statement.predicate {
            Predicate::Release(release) => {
                let newest = self.releases.last_key_value().map(|(version, _)| *version);
                require("version", newest.is_none_or(|newest| newest < release.version), || {
                    (
                        newest.map_or_else(String::new, |newest| format!("one after {newest}")),
                        release.version.to_string(),
                    )
                })?;
                grows("counter", Some(self.counter), release.counter)?;
                self.counter = release.counter;
                let logged = Logged { sha256: envelope.sha256(), index, signers: signers.clone() };
                self.releases.insert(release.version, logged);
            }
            Predicate::Status(status) => {
                grows("sequence", self.status.as_ref().map(|status| status.sequence), status.sequence)?;
                require("keys", status.keys == self.keys, || {
                    (format!("{:?}", self.keys), format!("{:?}", status.keys))
                })?;
                for (version, sha256) in statement.live() {
                    let known = version.parse().ok().and_then(|version| self.releases.get(&version));
                    let counts = known.is_some_and(|known| known.sha256 == sha256 && self.counts(known));
                    require("live release", counts, || {
                        (
                            "a release of this log whose key is in force".to_owned(),
                            format!("{version}, sha256 {sha256}"),
                        )
                    })?;
                }
                self.status = Some(status.clone());
            }
            Predicate::KeyAdd(add) if add.role == Role::Release => {
                let key = <[u8; 32]>::try_from(&add.public_key[..]).ok().and_then(|key| PublicKey::new(&key).ok());
                // A key that was revoked does not come back: its earlier entries would count again.
                let new = key.filter(|key| self.keys.iter().all(|known| known.public_key != *key));
                let Some(public_key) = new else {
                    let found = KeyId::of(&add.public_key).to_string();
                    return Err(contradiction("key", "one that was not there before", found));
                };
                self.keys.push(InForce { public_key, added_at: index, revoked_from: None });
            }
            Predicate::KeyRevoke(revoke) => {
                let subject = statement.subjects.first().map(|subject| subject.digest.sha256);
                let known = self.keys.iter_mut().find(|key| Some(key.public_key.id()) == subject);
                let Some(known) = known else {
                    let found = subject.map_or_else(String::new, |subject| subject.to_string());
                    return Err(contradiction("key", "one that was added", found));
                };
                require("from_index", revoke.from_index <= index, || {
                    (format!("at most its own index {index}"), revoke.from_index.to_string())
                })?;
                // A second revocation may only reach further back.
                let from = known.revoked_from.map_or(revoke.from_index, |from| from.min(revoke.from_index));
                known.revoked_from = Some(from);
            }
            _ => {}
        }
        Ok(Event { index, statement, signers })
    }

    /// Whether both judge by the same root keys.
    pub fn is_under_the_keys_of(&self, other: &Self) -> bool {
        self.roots == other.roots && self.threshold == other.threshold
    }

    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The release keys there ever were, as a status lists them.
    pub fn keys(&self) -> &[InForce] {
        &self.keys
    }

    /// The newest status.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The releases, by version.
    pub fn releases(&self) -> &BTreeMap<Version, Logged> {
        &self.releases
    }

    /// Whether a release still counts: a key may have been revoked from before it was used.
    pub fn counts(&self, release: &Logged) -> bool {
        let in_force = |id: &KeyId| self.keys.iter().any(|key| key.public_key.id() == *id && key.covers(release.index));
        release.signers.iter().any(in_force)
    }
}

fn grows(field: &'static str, before: Option<u64>, found: u64) -> Result<(), EventError> {
    require(field, before.is_none_or(|before| before < found), || {
        (before.map_or_else(String::new, |before| format!("more than {before}")), found.to_string())
    })
}

fn require(field: &'static str, holds: bool, message: impl FnOnce() -> (String, String)) -> Result<(), EventError> {
    if holds {
        return Ok(());
    }
    let (expected, found) = message();
    Err(EventError::Contradiction { field, expected, found })
}

fn contradiction(field: &'static str, expected: &str, found: String) -> EventError {
    EventError::Contradiction { field, expected: expected.to_owned(), found }
}
