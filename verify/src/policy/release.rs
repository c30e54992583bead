//! `[release]`: what is demanded of the release, and of what a log says of it.

use super::read::{PolicyError, Value};
use super::{OrAny, or_any, permit};
use log_client::SplitView;
use log_client::keys::PublicKey;
use log_client::policy::MAX_POLICY as MAX_LOG_POLICY;
use measure::digest::{Digest, ParseDigestError};
use measure::snp::appraise::Permit;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

/// Most of anything that is counted: keys that must sign, rebuilders that must agree.
const MAX_QUORUM: u32 = 64;
/// Longest age, in seconds: a hundred years.
pub(super) const MAX_AGE: u64 = 100 * 366 * 86_400;

/// What a key looks like.
const KEY: &str = "an Ed25519 public key in 64 lowercase hexadecimal digits";

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
    pub root_quorum: NonZeroUsize,
    /// Oldest status statement, which says what is live and what was withdrawn, in seconds.
    pub status_max_age: OrAny<u64>,
    /// Whether the chip must be in the fleet that the status names.
    pub fleet: Need,
    /// The raw Ed25519 key of each organisation that is believed when it says to have rebuilt a release.
    pub rebuilders: BTreeMap<String, Ed25519Key>,
    /// How many of them must say so; 0 if nobody has to.
    pub rebuilder_quorum: usize,
    /// What is demanded of the log.
    pub log: OrAny<LogPolicy>,
}

/// An Ed25519 public key, in the order of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ed25519Key(pub PublicKey);

impl Ord for Ed25519Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_bytes().cmp(other.0.as_bytes())
    }
}

impl PartialOrd for Ed25519Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

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
    /// The log, its witnesses and how many of them must have seen a checkpoint. Whether two halves of the witnesses may
    /// both be enough was decided when this was read.
    pub witnesses: Witnesses,
    /// Oldest checkpoint, in seconds.
    pub checkpoint_max_age: OrAny<u64>,
    /// How long the release must have been in the log, in seconds, so that others had time to notice it.
    pub minimum_age: u64,
    /// Whether it must be proved that the log continues what this client has seen of it.
    pub consistency: Need,
    /// Whether all entries behind the release must be there, so that nothing newer can be.
    pub tail: Need,
}

/// Which log is believed, and whom about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Witnesses {
    /// None: what depends on a log stays unperformed.
    None,
    /// Those of a C2SP tlog-policy.
    Of(log_client::Policy),
}

pub(super) fn read(value: Value<'_>) -> Result<ReleasePolicy, PolicyError> {
    // One key under two names would be counted twice.
    let named = RefCell::new(BTreeSet::new());
    let rebuilder = |text: &str| {
        let key = ed25519(text)?;
        let is_new = named.borrow_mut().insert(key);
        is_new.then_some(key).ok_or_else(|| "the key of another name".to_owned())
    };
    value.table(|release| {
        Ok(ReleasePolicy {
            host_resistant: need(release.take("host-resistant")?)?,
            minimum_counter: release.take("minimum-counter")?.number(0, i64::MAX.unsigned_abs())?,
            root_keys: release.take("root-keys")?.list(key)?,
            root_quorum: at_least_one(release.take("root-quorum")?.number(1, MAX_QUORUM)?),
            status_max_age: age(release.take("status-max-age")?)?,
            fleet: need(release.take("fleet")?)?,
            rebuilders: release
                .take("rebuilders")?
                .map("an organisation's name", |value| value.parsed(64, KEY, rebuilder))?,
            rebuilder_quorum: release.take("rebuilder-quorum")?.number(0, MAX_QUORUM)? as usize,
            log: or_any(release.take("log")?, log)?,
        })
    })
}

fn at_least_one(number: u32) -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(number.saturating_sub(1) as usize)
}

fn key(value: Value<'_>) -> Result<Ed25519Key, PolicyError> {
    value.parsed(64, KEY, ed25519)
}

fn ed25519(text: &str) -> Result<Ed25519Key, String> {
    let bytes: Digest<32> = text.parse().map_err(|error: ParseDigestError| error.to_string())?;
    PublicKey::new(bytes.as_bytes()).map(Ed25519Key).map_err(|error| error.to_string())
}

fn log(value: Value<'_>) -> Result<LogPolicy, PolicyError> {
    value.table(|log| {
        let split_view = match permit(log.take("split-view")?)? {
            Permit::Refused => SplitView::Refused,
            Permit::Accepted => SplitView::Accepted,
        };
        Ok(LogPolicy {
            witnesses: witnesses(log.take("witnesses")?, split_view)?,
            checkpoint_max_age: age(log.take("checkpoint-max-age")?)?,
            minimum_age: log.take("minimum-age")?.number(0, MAX_AGE)?,
            consistency: need(log.take("consistency")?)?,
            tail: need(log.take("tail")?)?,
        })
    })
}

/// A tlog-policy, or `none`.
fn witnesses(value: Value<'_>, split_view: SplitView) -> Result<Witnesses, PolicyError> {
    if value.is("none") {
        return Ok(Witnesses::None);
    }
    let parse = |text: &str| log_client::Policy::parse(text.as_bytes(), split_view);
    value.parsed(MAX_LOG_POLICY, "\"none\" or a tlog-policy", parse).map(Witnesses::Of)
}

fn need(value: Value<'_>) -> Result<Need, PolicyError> {
    value.word(&[("required", Need::Required), ("any", Need::Any)])
}

/// Seconds, or `any`.
fn age(value: Value<'_>) -> Result<OrAny<u64>, PolicyError> {
    or_any(value, |value| value.number(0, MAX_AGE))
}
