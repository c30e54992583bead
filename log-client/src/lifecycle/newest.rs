//! What the entries behind a release say of it. Those that do not count say nothing.

use super::{Demands, Evidence, Known, RELEASE_INCLUSION, Unproved, read, signed_by};
use crate::statement::{InForce, Predicate, Release, Role, Status, Version};
use crate::{dsse::Envelope, keys::PublicKey};
use measure::appraise::{Finding, Rule};
use std::num::NonZeroUsize;

pub(super) const STATUS: Rule =
    Rule { id: "status.newest", holds: "the log has no newer one, and revokes no key since" };
pub(super) const RELEASE: Rule = Rule { id: "release.newest", holds: "the log has no newer release" };

/// What decides both rules.
struct Behind<'a> {
    release: &'a Release,
    envelope: &'a Envelope,
    index: u64,
    status: &'a Status,
    /// The newest release that the status calls live.
    live: Option<Version>,
    status_index: u64,
    entries: &'a [Vec<u8>],
}

/// A finding for each of the two rules.
pub(super) fn find(
    release: &Known<Release>,
    status: &Known<Status>,
    evidence: &Evidence<'_>,
    demands: &Demands<'_>,
) -> [Finding; 2] {
    let behind = behind(release, status, evidence);
    let or_why_not = |rule, judge: &dyn Fn(&Behind<'_>) -> Finding| match &behind {
        Ok(behind) => judge(behind),
        Err(Unproved::Waits(first)) => Finding::waits_for(rule, *first),
        Err(Unproved::Wrong(_)) if rule != STATUS => Finding::waits_for(rule, STATUS),
        Err(Unproved::Wrong(reason)) => Finding::failed(rule, "", "", reason.as_str()),
        Err(Unproved::NotAsked) => Finding::not_asked(rule, "", "the entries behind the release did not come"),
    };
    [
        or_why_not(STATUS, &|behind| behind.status(demands)),
        match demands.newest {
            true => or_why_not(RELEASE, &|behind| behind.release(demands)),
            false => Finding::not_asked(RELEASE, "", "the policy accepts any"),
        },
    ]
}

fn behind<'a>(
    release: &'a Known<Release>,
    status: &'a Known<Status>,
    evidence: &Evidence<'a>,
) -> Result<Behind<'a>, Unproved> {
    let entries = evidence.tail.clone()?;
    let (release, status) = match (release.said(), status.current()) {
        (Ok(release), Ok(status)) => (release, status),
        (Err(rule), _) | (_, Err(rule)) => return Err(Unproved::Waits(rule)),
    };
    let waits = |_: &Unproved| Unproved::Waits(RELEASE_INCLUSION);
    let (index, status_index) = (*release.index.as_ref().map_err(waits)?, *status.index.as_ref().map_err(waits)?);
    // A status that calls the release live is behind it. Whoever logs the release's bytes once more, behind what was said of
    // it since, and shows it there with the status of before, would hide all of that: the entries behind begin there.
    if status_index <= index {
        let reason = format!("the status is entry {status_index}, before the release's place {index}");
        return Err(Unproved::Wrong(reason));
    }
    let live = status.statement.live().filter_map(|(version, _)| version.parse().ok()).max();
    let (status, envelope) = (&status.predicate, &release.envelope);
    Ok(Behind { release: &release.predicate, envelope, index, status, live, status_index, entries })
}

impl Behind<'_> {
    /// The statements behind the release, each with its envelope and its index.
    fn statements(&self) -> impl Iterator<Item = (u64, Envelope, crate::statement::Statement)> {
        let indexes = (0..).map(|at: u64| self.index.saturating_add(1).saturating_add(at));
        let read = |(index, entry): (u64, &Vec<u8>)| read(entry).ok().map(|(envelope, said)| (index, envelope, said));
        indexes.zip(self.entries).filter_map(read)
    }

    fn status(&self, demands: &Demands<'_>) -> Finding {
        let (found, observed) = (self.status.sequence, format!("status {}", self.status.sequence));
        for (index, envelope, said) in self.statements().filter(|(index, ..)| *index > self.status_index) {
            if envelope.verify(demands.roots, demands.threshold).is_err() {
                continue;
            }
            let reason = match &said.predicate {
                Predicate::Status(newer) if newer.sequence > found => {
                    format!("entry {index} is status {}", newer.sequence)
                }
                Predicate::KeyRevoke(revoke) if revoke.from_index <= self.index => {
                    let key = said.subjects.first().map(|subject| subject.digest.sha256);
                    let Some(key) = key.filter(|key| signed_by(self.envelope, key)) else { continue };
                    format!("entry {index} revokes key {key}, which signed the release")
                }
                _ => continue,
            };
            return Finding::failed(STATUS, observed, "the newest", reason);
        }
        Finding::passed(STATUS, observed, "the newest")
    }

    fn release(&self, demands: &Demands<'_>) -> Finding {
        let observed = self.release.version.to_string();
        // It may be before the release, if that was logged once more.
        if let Some(newer) = self.live.filter(|live| *live > self.release.version) {
            return Finding::failed(RELEASE, observed, "the newest", format!("the status calls release {newer} live"));
        }
        let mut keys = self.status.keys.clone();
        for (index, envelope, said) in self.statements() {
            match &said.predicate {
                Predicate::KeyAdd(add) if add.role == Role::Release => {
                    let key = <[u8; 32]>::try_from(&add.public_key[..]).ok().and_then(|key| PublicKey::new(&key).ok());
                    // A key that was revoked does not come back.
                    let new = key.filter(|key| keys.iter().all(|known| known.public_key != *key));
                    let new = new.filter(|_| envelope.verify(demands.roots, demands.threshold).is_ok());
                    keys.extend(new.map(|public_key| InForce { public_key, added_at: index, revoked_from: None }));
                }
                Predicate::Release(newer) if newer.counter > self.release.counter => {
                    let in_force = keys.iter().filter(|key| key.covers(index)).map(|key| key.public_key);
                    if envelope.verify(&in_force.collect::<Vec<_>>(), NonZeroUsize::MIN).is_ok() {
                        let reason = format!("entry {index} is release {}", newer.version);
                        return Finding::failed(RELEASE, observed, "the newest", reason);
                    }
                }
                _ => {}
            }
        }
        Finding::passed(RELEASE, observed, "the newest")
    }
}
