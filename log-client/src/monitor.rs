//! Watching a log: reading what it has grown by, verified, and saying what its owner should know.
//!
//! [`State::look`] asks for files and changes the state; it neither writes nor tells anybody. Whoever calls it stores the
//! state, with the alarms in it, before delivering them: so none is lost, and one may come twice, with the same id.
//!
//! The log is one of ours, every entry of which is looked at (`entries`), or a Rekor v2 log, in which only the entries
//! by one key are (`rekor`).

mod alarm;
mod entries;
mod rekor;

pub use alarm::{Alarm, Kind};

use crate::bundle::{self, MAX_BUNDLE};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::keys::{PublicKey, SubmissionPublicKey};
use crate::merkle::{MerkleError, empty_root, leaf_hash, verify_consistency};
use crate::note::{MAX_NOTE, Note};
use crate::policy::Policy;
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::{RightEdge, Tiles};
use entries::Statements;
use measure::Sha256;
use measure::appraise::Time;
use rekor::Submissions;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

/// Version of the state's form.
const SCHEMA: u32 = 2;
/// Bundles that are read in one look.
const LOOK: u64 = 16;
/// After so many bytes of entries a look ends with the bundle.
const LOOK_BYTES: usize = 32 << 20;
/// Bytes of a full tile of hashes.
const MAX_TILE: u64 = 32 * WIDTH;

/// What the watcher knows and demands.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    /// The log and its witnesses; all its logs have one origin.
    pub policy: &'a Policy,
    /// For how long nobody need vouch that the checkpoint is the newest, in seconds; `None` for any time.
    pub max_age: Option<u64>,
    /// SHA-256 of the releases' envelopes that the watcher knows to have been cut.
    pub known: &'a BTreeSet<Sha256>,
    /// The time.
    pub now: Time,
}

/// What has been read so far, and what is still to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    schema: u32,
    origin: String,
    accepted: Option<Newest>,
    /// The tree of the entries that were read, which may still be fewer than were accepted.
    size: u64,
    root: Sha256,
    entries: Entries,
    standing: Vec<Alarm>,
    pending: Vec<Alarm>,
}

/// What the entries are, and what was learnt from those that were read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Entries {
    Statements(Box<Statements>),
    Rekor(Submissions),
}

/// The newest checkpoint that was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Newest {
    size: u64,
    root: Sha256,
    /// As it was received.
    note: String,
    /// When the log was last known to be alive: what the witnesses say, or when the tree was first seen.
    alive: u64,
}

/// Why a state cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not a state, or a damaged one.
    #[error("expected the state of a monitor; to read the whole log anew, begin another state")]
    Json(#[source] serde_json::Error),
    /// Of another log, or under other keys.
    #[error("the state's {field} is not the policy's; begin another state")]
    Other {
        /// What differs.
        field: &'static str,
    },
}

/// Why a look ended early.
enum Trouble<E> {
    Get(E),
    Alarm(Box<Alarm>),
}

impl State {
    /// Nothing has been read of a log of ours.
    pub fn new(origin: &str, roots: Vec<PublicKey>, threshold: NonZeroUsize) -> Self {
        Self::of(origin, Entries::Statements(Box::new(Statements::new(roots, threshold))))
    }

    /// Nothing has been read of a Rekor v2 log, in which the entries by `key` are watched.
    pub fn of_rekor(origin: &str, key: &SubmissionPublicKey) -> Self {
        Self::of(origin, Entries::Rekor(Submissions::by(key)))
    }

    fn of(origin: &str, entries: Entries) -> Self {
        Self {
            schema: SCHEMA,
            origin: origin.to_owned(),
            accepted: None,
            size: 0,
            root: empty_root(),
            entries,
            standing: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Reads a state that this program has written, of the log that `new` is of.
    ///
    /// # Errors
    /// When it is none, or was made under other keys: entries were judged by them.
    pub fn parse(bytes: &[u8], new: &Self) -> Result<Self, StateError> {
        let state: Self = serde_json::from_slice(bytes).map_err(StateError::Json)?;
        let (keys, size) = match (&state.entries, &new.entries) {
            (Entries::Statements(old), Entries::Statements(new)) => (old.is_under_the_keys_of(new), old.size()),
            (Entries::Rekor(old), Entries::Rekor(new)) => (old == new, state.size),
            _ => (false, state.size),
        };
        for (field, same) in [
            ("schema", state.schema == SCHEMA),
            ("log", state.origin == new.origin),
            ("list of keys", keys),
            ("number of entries", state.size == size),
        ] {
            if !same {
                return Err(StateError::Other { field });
            }
        }
        Ok(state)
    }

    /// The state's text.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers, arrays and maps by text are always JSON")
    }

    /// Entries that were read.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root of their tree.
    pub fn root(&self) -> Sha256 {
        self.root
    }

    /// What is still to be told, the oldest first.
    pub fn pending(&self) -> &[Alarm] {
        &self.pending
    }

    /// What is wrong with the log itself, as long as it is; a fork is for ever. Each has been pending once.
    pub fn standing(&self) -> &[Alarm] {
        &self.standing
    }

    /// Forgets the first `count` that are pending: they have been told.
    pub fn delivered(&mut self, count: usize) {
        self.pending.drain(..count.min(self.pending.len()));
    }

    /// Reads the newest checkpoint and some of the entries that are new, and says whether there are more. `get` gives a
    /// file of the log of at most so many bytes.
    ///
    /// # Errors
    /// Those of `get`. Nothing has been read then; but an alarm may be new, that the log has been silent for too long.
    pub fn look<E>(
        &mut self,
        watch: &Watch<'_>,
        mut get: impl FnMut(&str, u64) -> Result<Vec<u8>, E>,
    ) -> Result<bool, E> {
        let looked = self.advance(watch, &mut get);
        let mut standing = self.overdue(watch);
        let answer = match looked {
            Ok(more) => Ok(more),
            Err(Trouble::Alarm(alarm)) => {
                standing.push(*alarm);
                Ok(false)
            }
            // Who does not answer takes nothing back.
            Err(Trouble::Get(error)) => {
                let of_the_clock = |alarm: &&Alarm| matches!(alarm.kind, Kind::Stalled | Kind::StatusExpired);
                standing.extend(self.standing.iter().filter(|alarm| !of_the_clock(alarm)).cloned());
                Err(error)
            }
        };
        self.stand(standing);
        answer
    }

    fn advance<E>(
        &mut self,
        watch: &Watch<'_>,
        get: &mut impl FnMut(&str, u64) -> Result<Vec<u8>, E>,
    ) -> Result<bool, Trouble<E>> {
        let note = get("checkpoint", MAX_NOTE as u64).map_err(Trouble::Get)?;
        let (newest, as_of) = self.accept(&note, watch)?;
        let mut tiles = Tiles::new(newest.size, |tile| hashes(tile, &newest, get, watch));
        if let Some(old) = self.accepted.as_ref().filter(|old| old.size < newest.size) {
            let proof = tiles.consistency(old.size, newest.size)?;
            match verify_consistency((old.size, &old.root), (newest.size, &newest.root), &proof) {
                Ok(()) => {}
                // The new root was found, and another old one in it.
                Err(MerkleError::Root { expected, .. }) if expected == old.root => {
                    let reason =
                        format!("the tree of {} entries does not begin with that of {}", newest.size, old.size);
                    return Err(self.against(Kind::Fork, &newest, reason, watch));
                }
                Err(error) => return Err(damage(&newest, &format!("hashes: {error}"), watch)),
            }
        }
        drop(tiles);
        let old = self.accepted.as_ref();
        // A note without a time says nothing new about a tree that was seen before; no older answer makes it older.
        let same_tree = old.filter(|old| old.size == newest.size).map(|old| old.alive);
        let alive = as_of.map_or(same_tree.unwrap_or(watch.now.0), |as_of| as_of.min(watch.now.0));
        let alive = alive.max(old.map_or(0, |old| old.alive));
        self.accepted = Some(Newest { alive, ..newest.clone() });
        self.read(&newest, watch, get)
    }

    /// The checkpoint in a note, if it may be believed and is not smaller or of another tree than the last; and as of
    /// when.
    fn accept<E>(&self, note: &[u8], watch: &Watch<'_>) -> Result<(Newest, Option<u64>), Trouble<E>> {
        let refused = |reason: String| Trouble::Alarm(Box::new(Alarm::of_log(Kind::Refused, None, &reason, watch)));
        let text = Note::parse(note).map_err(|error| refused(error.to_string()))?.unverified_text();
        let claimed: Checkpoint = text.parse().map_err(|error| refused(format!("{error}")))?;
        let newest = |checkpoint: &Checkpoint| Newest {
            size: checkpoint.size,
            root: checkpoint.root,
            note: String::from_utf8_lossy(note).into_owned(),
            alive: 0,
        };
        // Two roots for one size convict the log whether or not witnesses have seen the second.
        let mut logs = watch.policy.logs().iter().map(|log| &log.key);
        let signed = logs.find_map(|key| SignedCheckpoint::verify(note, key).ok());
        let signed = signed.filter(|signed| signed.checkpoint().origin == self.origin);
        if let (Some(signed), Some(old)) = (&signed, &self.accepted) {
            let other = signed.checkpoint();
            if other.size == old.size && other.root != old.root {
                let reason = format!("two trees of {} entries", old.size);
                return Err(self.against(Kind::Fork, &newest(other), reason, watch));
            }
        }
        let accepted = watch.policy.accept(note).map_err(|error| refused(error.to_string()))?;
        if claimed.origin != self.origin {
            return Err(refused(format!("expected a checkpoint of {}, found one of {}", self.origin, claimed.origin)));
        }
        let newest = newest(&accepted.checkpoint);
        match self.accepted.as_ref().filter(|old| newest.size < old.size) {
            Some(old) => {
                let reason = format!("a checkpoint of {} entries after one of {}", newest.size, old.size);
                Err(self.against(Kind::Rollback, &newest, reason, watch))
            }
            None => Ok((newest, accepted.as_of)),
        }
    }

    /// Reads entries behind those that were read. They are looked at once they are known to be in the tree.
    fn read<E>(
        &mut self,
        newest: &Newest,
        watch: &Watch<'_>,
        get: &mut impl FnMut(&str, u64) -> Result<Vec<u8>, E>,
    ) -> Result<bool, Trouble<E>> {
        if self.size == newest.size {
            return Ok(false);
        }
        let mut edge = RightEdge::read(self.size, |tile| hashes(tile, newest, get, watch))?;
        if edge.root() != self.root {
            return Err(damage(newest, "hashes of the entries that were read before", watch));
        }
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        let first = self.size / WIDTH;
        for index in first..first.saturating_add(LOOK) {
            let Some(tile) = Tile::in_tree(Level::Entries, index, newest.size) else { break };
            let (found, bundle) = file(tile, MAX_BUNDLE, get).map_err(Trouble::Get)?;
            bytes = bytes.saturating_add(bundle.len());
            let found = bundle::entries(found, &bundle).map_err(|error| damage(newest, &error.to_string(), watch))?;
            let before = edge.size().saturating_sub(index.saturating_mul(WIDTH)) as usize;
            for entry in found.into_iter().take(tile.width().into()).skip(before) {
                let Ok(()) = edge.push(leaf_hash(entry), |_full, _hashes| Ok::<_, std::convert::Infallible>(()));
                entries.push(entry.to_vec());
            }
            if bytes > LOOK_BYTES {
                break;
            }
        }
        let mut tiles = Tiles::new(newest.size, |tile| hashes(tile, newest, get, watch));
        let proof = tiles.consistency(edge.size(), newest.size)?;
        verify_consistency((edge.size(), &edge.root()), (newest.size, &newest.root), &proof)
            .map_err(|error| damage(newest, &format!("entries {}..{}: {error}", self.size, edge.size()), watch))?;
        for (index, entry) in (self.size..).zip(&entries) {
            let mut alarms = match &mut self.entries {
                Entries::Statements(statements) => statements.entry(index, entry, watch),
                Entries::Rekor(submissions) => submissions.entry(index, entry, watch).into_iter().collect(),
            };
            self.pending.append(&mut alarms);
        }
        (self.size, self.root) = (edge.size(), edge.root());
        Ok(self.size < newest.size)
    }

    /// What time alone brings about.
    fn overdue(&self, watch: &Watch<'_>) -> Vec<Alarm> {
        let mut overdue = Vec::new();
        let now = watch.now.0;
        if let (Some(newest), Some(max_age)) = (&self.accepted, watch.max_age)
            && now.saturating_sub(newest.alive) > max_age
        {
            let reason = format!("nothing new since {}, more than {max_age} s ago", newest.alive);
            overdue.push(Alarm::of_log(Kind::Stalled, Some(newest.alive.to_string()), &reason, watch));
        }
        let status = match &self.entries {
            Entries::Statements(statements) => statements.status(),
            Entries::Rekor(_) => None,
        };
        if let Some(status) = status.filter(|status| status.not_after.0 < now) {
            let reason = format!("status {} said nothing after {}", status.sequence, status.not_after.0);
            overdue.push(Alarm::of_log(Kind::StatusExpired, Some(status.sequence.to_string()), &reason, watch));
        }
        overdue
    }

    /// Replaces what stands, but for forks; what is new is to be told.
    fn stand(&mut self, now: Vec<Alarm>) {
        let old = std::mem::take(&mut self.standing);
        let is_new = |alarm: &&Alarm| old.iter().all(|old| old.id != alarm.id);
        self.pending.extend(now.iter().filter(is_new).cloned());
        let gone = |alarm: &Alarm| now.iter().all(|now| now.id != alarm.id);
        self.standing = old.iter().filter(|old| old.kind == Kind::Fork && gone(old)).cloned().collect();
        self.standing.extend(now);
    }

    /// An alarm about a checkpoint that cannot be true as well as the accepted one.
    fn against<E>(&self, kind: Kind, newest: &Newest, reason: String, watch: &Watch<'_>) -> Trouble<E> {
        let mut alarm = Alarm::of_log(kind, Some(format!("{}/{}", newest.size, newest.root)), &reason, watch);
        let old = self.accepted.iter().map(|old| old.note.clone());
        alarm.keep(old.chain([newest.note.clone()]).collect());
        Trouble::Alarm(Box::new(alarm))
    }
}

/// An alarm about files that are not those of the tree which the log has signed.
fn damage<E>(newest: &Newest, what: &str, watch: &Watch<'_>) -> Trouble<E> {
    let mut alarm = Alarm::of_log(Kind::Damage, Some(format!("{}/{}", newest.size, newest.root)), what, watch);
    alarm.keep(vec![newest.note.clone()]);
    Trouble::Alarm(Box::new(alarm))
}

/// The hashes of a tile of a tree that may have grown since.
fn hashes<E>(
    tile: Tile,
    newest: &Newest,
    get: &mut impl FnMut(&str, u64) -> Result<Vec<u8>, E>,
    watch: &Watch<'_>,
) -> Result<Vec<Sha256>, Trouble<E>> {
    let now = Tile::in_tree(tile.level(), tile.index(), newest.size).unwrap_or(tile);
    let (found, bytes) = file(now, MAX_TILE, get).map_err(Trouble::Get)?;
    let mut hashes = found.hashes(&bytes).map_err(|error| damage(newest, &error.to_string(), watch))?;
    hashes.truncate(tile.width().into());
    Ok(hashes)
}

/// A tile's bytes, or those of the full tile that it is the beginning of.
fn file<E>(
    tile: Tile,
    limit: u64,
    get: &mut impl FnMut(&str, u64) -> Result<Vec<u8>, E>,
) -> Result<(Tile, Vec<u8>), E> {
    match get(&tile.to_string(), limit) {
        Err(error) if !tile.is_full() => {
            get(&tile.full().to_string(), limit).map(|bytes| (tile.full(), bytes)).map_err(|_neither| error)
        }
        got => got.map(|bytes| (tile, bytes)),
    }
}

#[cfg(test)]
mod tests;
