//! `[release]`: what is demanded of the release, and of what a log says of it.

use super::read::{PolicyError, Value};
use super::{OrAny, or_any, permit};
use measure::snp::appraise::Permit;
use std::collections::{BTreeMap, BTreeSet};

/// Longest log policy, in bytes.
const MAX_LOG_POLICY: usize = 16 << 10;
/// Most of anything that is counted: keys that must sign, rebuilders that must agree.
const MAX_QUORUM: u32 = 64;
/// Longest age, in seconds: a hundred years.
const MAX_AGE: u64 = 100 * 366 * 86_400;

/// What is demanded of the release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleasePolicy {
    /// Whether it must say that it withstands its host.
    pub host_resistant: Need,
    /// The lowest counter.
    pub minimum_counter: u64,
    /// The raw Ed25519 keys that sign status, fleet and key statements.
    pub root_keys: BTreeSet<Ed25519Key>,
    /// How many of them must have signed such a statement.
    pub root_quorum: u32,
    /// Oldest status statement, which says what is live and what was withdrawn, in seconds.
    pub status_max_age: OrAny<u64>,
    /// Whether the chip must be in the fleet that the status names.
    pub fleet: Need,
    /// The raw Ed25519 key of each organisation that is believed when it says to have rebuilt a release.
    pub rebuilders: BTreeMap<String, Ed25519Key>,
    /// How many of them must say so; 0 if nobody has to.
    pub rebuilder_quorum: u32,
    /// What is demanded of the log.
    pub log: OrAny<LogPolicy>,
}

/// The 32 bytes of an Ed25519 public key (RFC 8032). Only the size is checked here.
pub type Ed25519Key = measure::Digest<32>;

/// Whether something must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It must.
    Required,
    /// It need not.
    Any,
}

/// What is demanded of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPolicy {
    /// The log, its witnesses and how many of them must have seen a checkpoint.
    pub witnesses: Witnesses,
    /// Oldest checkpoint, in seconds.
    pub checkpoint_max_age: OrAny<u64>,
    /// How long the release must have been in the log, in seconds, so that others had time to notice it.
    pub minimum_age: u64,
    /// Whether a quorum is accepted that two halves of the witnesses can reach at the same time.
    pub split_view: Permit,
}

/// Which log is believed, and whom about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnesses {
    /// None: what depends on a log stays unperformed.
    None,
    /// A C2SP tlog-policy, unparsed.
    TlogPolicy(String),
}

pub(super) fn read(value: Value<'_>) -> Result<ReleasePolicy, PolicyError> {
    value.table(|release| {
        Ok(ReleasePolicy {
            host_resistant: need(release.take("host-resistant")?)?,
            minimum_counter: release.take("minimum-counter")?.number(0, i64::MAX.unsigned_abs())?,
            root_keys: release.take("root-keys")?.list(Value::digest)?,
            root_quorum: release.take("root-quorum")?.number(1, MAX_QUORUM)?,
            status_max_age: age(release.take("status-max-age")?)?,
            fleet: need(release.take("fleet")?)?,
            rebuilders: release.take("rebuilders")?.map("an organisation's name", Value::digest)?,
            rebuilder_quorum: release.take("rebuilder-quorum")?.number(0, MAX_QUORUM)?,
            log: or_any(release.take("log")?, log)?,
        })
    })
}

fn log(value: Value<'_>) -> Result<LogPolicy, PolicyError> {
    value.table(|log| {
        Ok(LogPolicy {
            witnesses: witnesses(log.take("witnesses")?)?,
            checkpoint_max_age: age(log.take("checkpoint-max-age")?)?,
            minimum_age: log.take("minimum-age")?.number(0, MAX_AGE)?,
            split_view: permit(log.take("split-view")?)?,
        })
    })
}

fn witnesses(value: Value<'_>) -> Result<Witnesses, PolicyError> {
    if value.is("none") { Ok(Witnesses::None) } else { value.lines(MAX_LOG_POLICY).map(Witnesses::TlogPolicy) }
}

fn need(value: Value<'_>) -> Result<Need, PolicyError> {
    value.word(&[("required", Need::Required), ("any", Need::Any)])
}

/// Seconds, or `any`.
fn age(value: Value<'_>) -> Result<OrAny<u64>, PolicyError> {
    or_any(value, |value| value.number(0, MAX_AGE))
}
