//! What a log's owner should know.

use super::Watch;
use crate::statement::Version;
use measure::Sha256;
use serde::{Deserialize, Serialize};

/// Longest reason, in characters: some of it is from whoever wrote the entry.
const MAX_REASON: usize = 512;

/// One thing to know, once it is known for sure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alarm {
    /// The same for the same thing, whenever it is seen: `KIND/WHAT`.
    pub id: String,
    /// What kind of thing.
    pub kind: Kind,
    /// The log's name.
    pub log: String,
    /// The entry's index, if it is about one.
    pub index: Option<u64>,
    /// The release's version, if it is about one.
    pub version: Option<Version>,
    /// When it was seen, in seconds since 1970.
    pub seen_at: u64,
    /// What was expected and found, for people.
    pub reason: String,
    /// Names of files with the checkpoints that prove it: the accepted one first.
    pub evidence: Vec<String>,
    /// Those files. Write them before the state.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// Kinds of alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// The log has signed two trees, neither of which begins with the other.
    Fork,
    /// The log shows an older checkpoint than before.
    Rollback,
    /// The checkpoint is none that the policy accepts.
    Refused,
    /// Files are not those of the tree that was signed.
    Damage,
    /// Nobody has vouched for too long that the checkpoint is the newest.
    Stalled,
    /// The newest status does not hold any more.
    StatusExpired,
    /// An entry is no statement.
    Unparsable,
    /// An entry is not signed by those who may.
    UnknownSigner,
    /// The watcher did not cut this release.
    UnknownRelease,
    /// A version is there with two manifests.
    VersionReused,
    /// A release has a smaller version than one before.
    VersionRegression,
    /// A release has a counter that is not greater than that of the one before.
    CounterRegression,
    /// A release's counter is more than one greater than that of the one before.
    CounterGap,
    /// An entry contradicts the entries before it in another way.
    Contradiction,
    /// A release that the watcher did not cut launches with other digests than the one before.
    MeasurementChanged,
    /// The same inputs as the release before, and other launch digests.
    MeasurementUnexplained,
    /// A key was added.
    KeyAdded,
    /// A key was revoked.
    KeyRevoked,
    /// A release was withdrawn.
    Withdrawn,
}

impl Kind {
    /// Its name in JSON.
    fn name(self) -> String {
        let json = serde_json::to_value(self).ok();
        json.and_then(|json| json.as_str().map(str::to_owned)).unwrap_or_else(|| format!("{self:?}"))
    }
}

impl Alarm {
    /// About the log as a whole. `what` tells it from others of its kind.
    pub(super) fn of_log(kind: Kind, what: Option<String>, reason: &str, watch: &Watch<'_>) -> Self {
        let log = watch.policy.logs().first().map_or_else(String::new, |log| log.key.name().to_owned());
        Self {
            id: what.map_or_else(|| kind.name(), |what| format!("{}/{what}", kind.name())),
            kind,
            log,
            index: None,
            version: None,
            seen_at: watch.now.0,
            reason: reason.chars().take(MAX_REASON).collect(),
            evidence: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// About an entry.
    pub(super) fn of_entry(kind: Kind, index: u64, entry: &[u8], reason: &str, watch: &Watch<'_>) -> Self {
        let what = format!("{index}/{}", Sha256::of(entry));
        Self { index: Some(index), ..Self::of_log(kind, Some(what), reason, watch) }
    }

    /// Adds the notes that prove it.
    pub(super) fn keep(&mut self, notes: Vec<String>) {
        self.evidence = notes.iter().map(|note| format!("evidence/{}", Sha256::of(note.as_bytes()))).collect();
        self.notes = notes;
    }
}
