//! What each entry of a log of ours gives reason to say.

use super::{Alarm, Kind, Watch};
use crate::dsse::Envelope;
use crate::keys::PublicKey;
use crate::lifecycle::{EventError, Ledger};
use crate::statement::{Predicate, Release, Statement, Status};
use measure::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// What the entries said so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Statements {
    ledger: Ledger,
    /// Of the newest release that counts.
    counter: Option<u64>,
    /// What the newest status calls live.
    live: BTreeMap<String, Sha256>,
    /// The newest release that counts, by what it runs on.
    previous: BTreeMap<String, Release>,
}

impl Statements {
    pub(super) fn new(roots: Vec<PublicKey>, threshold: NonZeroUsize) -> Self {
        let ledger = Ledger::new(roots, threshold);
        Self { ledger, counter: None, live: BTreeMap::new(), previous: BTreeMap::new() }
    }

    /// Whether both judge entries by the same root keys.
    pub(super) fn is_under_the_keys_of(&self, other: &Self) -> bool {
        self.ledger.is_under_the_keys_of(&other.ledger)
    }

    /// Entries that were taken.
    pub(super) fn size(&self) -> u64 {
        self.ledger.size()
    }

    /// The newest status.
    pub(super) fn status(&self) -> Option<&Status> {
        self.ledger.status()
    }

    /// Takes the next entry, which is in the tree.
    pub(super) fn entry(&mut self, index: u64, entry: &[u8], watch: &Watch<'_>) -> Vec<Alarm> {
        let statement = Envelope::parse(entry).ok();
        let statement = statement.and_then(|envelope| Statement::parse(envelope.unverified_payload()).ok());
        let release = match statement.as_ref().map(|statement| &statement.predicate) {
            Some(Predicate::Release(release)) => Some(release.as_ref()),
            _ => None,
        };
        let (mut alarms, mut withdrawn) = (Vec::new(), Vec::new());
        let mut alarm = |kind, reason: &str| alarms.push(Alarm::of_entry(kind, index, entry, reason, watch));
        let known = watch.known.contains(&Sha256::of(entry));
        if let Some(release) = release.filter(|_| !known) {
            alarm(Kind::UnknownRelease, &format!("release {} is not among those that were cut", release.version));
        }
        let before = release.and_then(|release| self.ledger.releases().get(&release.version)).map(|one| one.sha256);
        match self.ledger.push(entry) {
            Ok(event) => match &event.statement.predicate {
                Predicate::Release(release) => {
                    let previous = self.previous.insert(release.tee.to_string(), Release::clone(release));
                    if let Some(previous) = previous {
                        measurement(&previous, release, known, &mut alarm);
                    }
                    if let Some(before) = self.counter.filter(|before| before.saturating_add(1) < release.counter) {
                        alarm(Kind::CounterGap, &format!("counter {} after {before}", release.counter));
                    }
                    self.counter = Some(release.counter);
                }
                Predicate::KeyAdd(add) => {
                    let names = subjects(&event.statement);
                    alarm(Kind::KeyAdded, &format!("{:?} key {names}", add.role));
                }
                Predicate::KeyRevoke(revoke) => {
                    let names = subjects(&event.statement);
                    alarm(Kind::KeyRevoked, &format!("{names}, from entry {}: {}", revoke.from_index, revoke.reason));
                }
                Predicate::Status(_) => {
                    let live = event.statement.live().map(|(version, sha256)| (version.to_owned(), sha256));
                    let live: BTreeMap<_, _> = live.collect();
                    for (version, _) in self.live.iter().filter(|(version, _)| !live.contains_key(*version)) {
                        let mut alarm =
                            Alarm::of_entry(Kind::Withdrawn, index, entry, "not called live any more", watch);
                        alarm.id = format!("{}/{version}", alarm.id);
                        alarm.version = version.parse().ok();
                        withdrawn.push(alarm);
                    }
                    self.live = live;
                }
                _ => {}
            },
            Err(error @ (EventError::Envelope(_) | EventError::Statement(_))) => {
                alarm(Kind::Unparsable, &chain(&error));
            }
            Err(error @ EventError::Signature(_)) => alarm(Kind::UnknownSigner, &chain(&error)),
            Err(EventError::Contradiction { field, expected, found }) => {
                let kind = match (field, before) {
                    ("version", Some(sha256)) if sha256 != Sha256::of(entry) => Kind::VersionReused,
                    ("version", None) => Kind::VersionRegression,
                    ("counter", _) => Kind::CounterRegression,
                    _ => Kind::Contradiction,
                };
                alarm(kind, &format!("{field}: expected {expected}, found {found}"));
            }
        }
        for alarm in &mut alarms {
            alarm.version = release.map(|release| release.version);
        }
        withdrawn.append(&mut alarms);
        withdrawn
    }
}

/// Compares what hardware says of two releases for the same kind of it.
fn measurement(previous: &Release, release: &Release, known: bool, alarm: &mut impl FnMut(Kind, &str)) {
    if previous.snp == release.snp {
        return;
    }
    let digests = format!(
        "launch digest before the VMSAs {} in {}, {} in {}",
        previous.snp.before_vmsas, previous.version, release.snp.before_vmsas, release.version
    );
    let inputs =
        |release: &Release| (release.commit, release.lock_sha256, release.toolchain, release.command_line.clone());
    if inputs(previous) == inputs(release) {
        alarm(Kind::MeasurementUnexplained, &digests);
    } else if !known {
        alarm(Kind::MeasurementChanged, &digests);
    }
}

fn subjects(statement: &Statement) -> String {
    let subjects = statement.subjects.iter();
    subjects.map(|subject| format!("{} {}", subject.name, subject.digest.sha256)).collect::<Vec<_>>().join(", ")
}

/// An error and what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
