//! What the owner of a log can say next: statements that follow from all that the log says so far.

use super::{Event, EventError, Ledger};
use crate::fleet::Roster;
use crate::keys::{KeyId, PublicKey};
use crate::statement::{
    FleetPredicate, KeyAdd, KeyRevoke, MAX_KEYS, MAX_SUBJECTS, MAX_VALIDITY, Predicate, Role, Statement,
    StatementError, Status, Subject, TcbMinimum, Version,
};
use measure::Sha256;
use measure::appraise::Time;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

/// A log's [`Ledger`], and what of its entries goes into the next statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Book {
    ledger: Ledger,
    counters: BTreeMap<Version, u64>,
    /// The newest status that counts, with its index.
    status: Option<(u64, Statement)>,
    /// The newest fleet that counts: SHA-256 of the roster, and what is said of it.
    fleet: Option<(Sha256, FleetPredicate)>,
    /// What keys were called when they were added.
    names: BTreeMap<KeyId, String>,
    rebuilds: BTreeMap<Sha256, Vec<u64>>,
}

/// What changes with the next status; nothing else does.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Releases that are live no more.
    pub withdrawn: BTreeSet<Version>,
    /// The least counter that still counts, if it is to rise.
    pub minimum_counter: Option<u64>,
    /// The least firmware, if it is to change.
    pub tcb_minimums: Option<Vec<TcbMinimum>>,
}

/// Why there is no such statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BookError {
    /// The log does not give what it needs.
    #[error("{field}: expected {expected}, found {found}")]
    Wanting {
        /// What about it.
        field: &'static str,
        /// What there should be.
        expected: String,
        /// What there is.
        found: String,
    },
    /// What it would say cannot be said.
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl Book {
    /// That of an empty log.
    pub fn new(roots: Vec<PublicKey>, quorum: NonZeroUsize) -> Self {
        let (counters, names, rebuilds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { ledger: Ledger::new(roots, quorum), counters, status: None, fleet: None, names, rebuilds }
    }

    /// Takes the next entry, as [`Ledger::push`] does.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn push(&mut self, entry: &[u8]) -> Result<Event, EventError> {
        let event = self.ledger.push(entry)?;
        let statement = &event.statement;
        match &statement.predicate {
            Predicate::Release(release) => drop(self.counters.insert(release.version, release.counter)),
            Predicate::Status(_) => self.status = Some((event.index, statement.clone())),
            Predicate::Fleet(fleet) => self.fleet = statement.subjects.first().map(|it| (it.digest.sha256, *fleet)),
            Predicate::KeyAdd(_) => {
                self.names.extend(statement.subjects.iter().map(|it| (it.digest.sha256, it.name.clone())));
            }
            Predicate::KeyRevoke(_) => {}
            Predicate::Rebuild(rebuild) => {
                self.rebuilds.entry(rebuild.release_sha256).or_default().push(event.index);
            }
        }
        Ok(event)
    }

    /// What the entries say.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The newest status that counts, and its index.
    pub fn status(&self) -> Option<(u64, &Statement)> {
        self.status.as_ref().map(|(index, statement)| (*index, statement))
    }

    /// Indexes of the rebuild statements about the release with this envelope.
    pub fn rebuilds(&self, release: &Sha256) -> &[u64] {
        self.rebuilds.get(release).map_or(&[], Vec::as_slice)
    }

    /// The next status: live is what the last one calls live, and what was released since.
    ///
    /// # Errors
    /// When there is no fleet or no least firmware yet, a release that is to be withdrawn is not live, or there would be
    /// too many.
    pub fn next_status(&self, issued_at: Time, valid: u64, changes: Changes) -> Result<Statement, BookError> {
        let previous = self.ledger.status();
        let (roster, fleet) = self.fleet.ok_or_else(|| wanting("fleet", "a fleet statement in the log", "none"))?;
        let tcb_minimums = changes.tcb_minimums.or_else(|| previous.map(|status| status.tcb_minimums.clone()));
        let tcb_minimums =
            tcb_minimums.ok_or_else(|| wanting("tcb_minimums", "least firmware for the first status", "none"))?;
        let least = previous.map_or(0, |status| status.minimum_counter);
        let minimum_counter = changes.minimum_counter.unwrap_or(least);
        if minimum_counter < least {
            let (expected, found) = (format!("at least {least}, as now"), minimum_counter.to_string());
            return Err(wanting("minimum_counter", &expected, &found));
        }

        let mut live = self.live();
        for version in &changes.withdrawn {
            if live.remove(version).is_none() {
                let listed: Vec<_> = live.keys().map(ToString::to_string).collect();
                return Err(wanting("withdrawn", &format!("one of {}", listed.join(", ")), &version.to_string()));
            }
        }
        live.retain(|version, _| self.counters.get(version).is_some_and(|counter| *counter >= minimum_counter));
        if live.len() >= MAX_SUBJECTS {
            let expected = format!("at most {}; raise the minimum counter", MAX_SUBJECTS.saturating_sub(1));
            return Err(wanting("live releases", &expected, &live.len().to_string()));
        }
        let releases = live.iter().map(|(version, sha256)| Subject::new(format!("release/{version}"), *sha256));
        let subjects = releases.chain([Subject::new("fleet", roster)]).collect();
        let status = Status {
            sequence: previous.map_or(1, |status| status.sequence.saturating_add(1)),
            issued_at,
            not_after: Time(issued_at.0.saturating_add(valid.min(MAX_VALIDITY))),
            minimum_counter,
            fleet_root_sha256: fleet.root_sha256,
            fleet_chips: fleet.chips,
            tcb_minimums,
            keys: self.ledger.keys().to_vec(),
        };
        Ok(Statement::new(subjects, Predicate::Status(status))?)
    }

    /// A key that counts for the entries behind this one. `name` is for people.
    ///
    /// # Errors
    /// When it was there before, or there are as many as there can be.
    pub fn key_add(&self, name: &str, role: Role, public_key: Vec<u8>) -> Result<Statement, BookError> {
        let sha256 = KeyId::of(&public_key);
        let keys = self.ledger.keys();
        if self.names.contains_key(&sha256) {
            return Err(wanting("key", "one that was not there before", &sha256.to_string()));
        }
        if role == Role::Release && keys.len() >= MAX_KEYS {
            let expected = format!("less than {MAX_KEYS} so far: a status names them all");
            return Err(wanting("keys", &expected, &keys.len().to_string()));
        }
        let subject = Subject::new(name, sha256);
        Ok(Statement::new(vec![subject], Predicate::KeyAdd(KeyAdd { role, public_key }))?)
    }

    /// A release key that does not count any more, from the next entry on, or from an earlier one.
    ///
    /// # Errors
    /// When it was not added, or has not got as far as that index.
    pub fn key_revoke(&self, key: KeyId, from: Option<u64>, reason: &str) -> Result<Statement, BookError> {
        let known = self.ledger.keys().iter().find(|known| known.public_key.id() == key);
        let (Some(_), Some(name)) = (known, self.names.get(&key)) else {
            return Err(wanting("key", "a release key that was added", &key.to_string()));
        };
        let next = self.ledger.size();
        let from_index = from.unwrap_or(next);
        if from_index > next {
            return Err(wanting("from_index", &format!("at most {next}"), &from_index.to_string()));
        }
        let revoke = KeyRevoke { from_index, reason: reason.to_owned() };
        Ok(Statement::new(vec![Subject::new(name, key)], Predicate::KeyRevoke(revoke))?)
    }

    /// The chips of the fleet.
    ///
    /// # Errors
    /// As for [`Statement::new`].
    pub fn fleet(roster: &Roster) -> Result<Statement, StatementError> {
        let subject = Subject::new("fleet", Sha256::of(roster.to_string().as_bytes()));
        let fleet = FleetPredicate { root_sha256: roster.root(), chips: roster.chips() };
        Statement::new(vec![subject], Predicate::Fleet(fleet))
    }

    /// What the last status calls live and still counts, and what was released behind it.
    fn live(&self) -> BTreeMap<Version, Sha256> {
        let status = self.status.as_ref();
        let new = |index: u64| status.is_none_or(|(at, _)| *at < index);
        let named = |sha256| status.is_some_and(|(_, status)| status.live().any(|(_, live)| live == sha256));
        let releases = self.ledger.releases().iter().filter(|(_, release)| self.ledger.counts(release));
        let live = releases.filter(|(_, release)| new(release.index) || named(release.sha256));
        live.map(|(version, release)| (*version, release.sha256)).collect()
    }
}

fn wanting(field: &'static str, expected: &str, found: &str) -> BookError {
    BookError::Wanting { field, expected: expected.to_owned(), found: found.to_owned() }
}

#[cfg(test)]
mod tests;
