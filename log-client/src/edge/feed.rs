//! Making a feed: everything a client needs of one release, from a log that is read as a whole and believed in nothing.
//!
//! All entries are read and must hash to a checkpoint that the policy accepts. So the log can neither leave one out nor make
//! one up, and which release and status count follows from the entries alone.

use super::directory::CHECKPOINT;
use super::rules::Roots;
use super::source::{Mirror, Source};
use crate::bundle::{self, MAX_BUNDLE};
use crate::checkpoint::Checkpoint;
use crate::dsse::Envelope;
use crate::feed::{Feed, MAX_REBUILDS, MAX_TAIL, Rebuild};
use crate::fleet::Roster;
use crate::keys::{KeyId, PublicKey};
use crate::lifecycle::Book;
use crate::merkle::leaf_hash;
use crate::note::MAX_NOTE;
use crate::policy::{Accepted, Policy};
use crate::proof::Proof;
use crate::statement::{Status, Version};
use crate::tail::{Consistency, Tail};
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::{RightEdge, Tiles};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use measure::snp::report::ChipId;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::slice;
use std::time::Duration;

/// Most entries of a log that is read.
pub const MAX_ENTRIES: u64 = 1 << 20;
/// Most bytes of entries that are read.
pub const MAX_BYTES: usize = 256 << 20;

/// Whose log it is, and for how long it may be read.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The log and its witnesses.
    pub policy: &'a Policy,
    /// The root keys.
    pub roots: &'a Roots,
    /// A checkpoint of the same log that was seen before, which it must continue.
    pub seen: Option<&'a Checkpoint>,
    /// How long reading may take in all.
    pub patience: Duration,
}

/// A log as one accepted checkpoint shows it.
#[derive(Debug)]
pub struct Snapshot {
    note: String,
    accepted: Accepted,
    tiles: BTreeMap<Tile, Vec<Sha256>>,
    entries: Vec<Vec<u8>>,
    book: Book,
    seen: Option<Checkpoint>,
}

/// Which release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one with this index.
    Index(u64),
    /// The one of this version.
    Version(Version),
}

/// What a feed has besides release, status and rebuilds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Besides<'a> {
    /// The row of this chip, of this roster.
    pub chip: Option<(&'a Roster, ChipId)>,
    /// Who is believed about rebuilds. `None`: whoever is named, unverified, so that a stranger's rebuild can take the place
    /// of another's.
    pub rebuilders: Option<&'a [PublicKey]>,
    /// The release's proof of the day it was published.
    pub earlier_proof: Option<&'a Proof>,
    /// Whether every entry behind the release is in it.
    pub tail: bool,
}

impl std::str::FromStr for Which {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        match crate::encoding::decimal(text) {
            Some(index) => Ok(Self::Index(index)),
            None => Ok(Self::Version(text.parse().context("expected an index or a version")?)),
        }
    }
}

impl Snapshot {
    /// Reads a log.
    ///
    /// # Errors
    /// When its checkpoint is not acceptable, does not continue the one that was seen, or is not of the entries there; or
    /// when the log is too large or too slow.
    pub fn read(log: &Mirror, trust: &Trust<'_>) -> anyhow::Result<Self> {
        let source = Source::new(log, trust.patience);
        let note = source.get(CHECKPOINT, MAX_NOTE as u64)?.with_context(|| format!("{log} has no {CHECKPOINT}"))?;
        let accepted = trust.policy.accept(&note).with_context(|| format!("the checkpoint of {log}"))?;
        let Checkpoint { size, root, .. } = accepted.checkpoint;
        ensure!(size <= MAX_ENTRIES, "expected a log of at most {MAX_ENTRIES} entries, found {size}");
        if let Some(seen) = trust.seen {
            let origin = &accepted.checkpoint.origin;
            ensure!(seen.origin == *origin, "the checkpoint that was seen is of {}, this one of {origin}", seen.origin);
            ensure!(seen.size <= size, "the log had {} entries and now has {size}: it was rolled back", seen.size);
        }

        let (mut edge, mut tiles) = (RightEdge::empty(), BTreeMap::new());
        let (mut entries, mut bytes) = (Vec::new(), 0_usize);
        let mut book = Book::new(trust.roots.keys().to_vec(), trust.roots.quorum());
        for index in 0..size.div_ceil(WIDTH) {
            let Some(tile) = Tile::in_tree(Level::Entries, index, size) else { break };
            let (found, bundle) = source.tile(tile, MAX_BUNDLE)?;
            bytes = bytes.saturating_add(bundle.len());
            ensure!(bytes <= MAX_BYTES, "expected a log of at most {MAX_BYTES} bytes");
            for entry in bundle::entries(found, &bundle)?.into_iter().take(tile.width().into()) {
                let Ok(()) = edge.push(leaf_hash(entry), |tile, hashes| {
                    tiles.insert(tile, hashes.to_vec());
                    Ok::<_, Infallible>(())
                });
                // What does not count takes its index all the same.
                let _counts = book.push(entry);
                entries.push(entry.to_vec());
            }
        }
        ensure!(
            edge.root() == root,
            "the entries of {log} hash to {}, the checkpoint of {size} says {root}: it shows other entries than it signed",
            edge.root()
        );
        tiles.extend(edge.partial().map(|(tile, hashes)| (tile, hashes.to_vec())));
        let seen = trust.seen.cloned();
        let note = String::from_utf8(note).context("the checkpoint is not UTF-8")?;
        let snapshot = Self { note, accepted, tiles, entries, book, seen };
        if let Some(seen) = &snapshot.seen {
            let Ok(before) = snapshot.hashes().root(seen.size);
            ensure!(
                before == seen.root,
                "the log's first {} entries hash to {before}, once they were {}: the log was forked",
                seen.size,
                seen.root
            );
        }
        Ok(snapshot)
    }

    /// What the entries say.
    pub fn book(&self) -> &Book {
        &self.book
    }

    /// What was accepted.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// The newest status that counts.
    pub fn status(&self) -> Option<&Status> {
        self.book.ledger().status()
    }

    /// Everything about one release.
    ///
    /// # Errors
    /// When it does not count, the chip is not in the fleet, the earlier proof does not hold, or it is too much.
    pub fn feed(&self, which: Which, besides: &Besides<'_>, policy: &Policy) -> anyhow::Result<Feed> {
        let mut releases = self.book.ledger().releases().iter();
        let found = match which {
            Which::Index(index) => releases.find(|(_, release)| release.index == index),
            Which::Version(version) => releases.find(|(known, _)| **known == version),
        };
        let Some((_, release)) = found else { bail!("{which:?} is no release of this log that counts") };
        let (envelope, release_proof) = self.proven(release.index)?;
        if let Some(earlier) = besides.earlier_proof {
            earlier.verify(envelope, policy).context("the earlier proof")?;
        }
        let status = self.book.status();
        let (status, status_proof) = match status.map(|(index, _)| self.proven(index)).transpose()? {
            Some((status, proof)) => (Some(status.to_vec()), Some(proof)),
            None => (None, None),
        };
        let feed = Feed {
            release: Some(envelope.to_vec()),
            release_proof: Some(release_proof),
            earlier_proof: besides.earlier_proof.map(|proof| proof.to_string().into_bytes()),
            status,
            status_proof,
            fleet_row: besides.chip.map(|(roster, chip)| self.row(roster, &chip)).transpose()?,
            rebuilds: self.rebuilds(&release.sha256, besides.rebuilders)?,
            consistency: self.seen.as_ref().filter(|seen| seen.size > 0).map(|seen| {
                let Ok(hashes) = self.hashes().consistency(seen.size, self.accepted.checkpoint.size);
                Consistency { old: seen.size, hashes }.to_string().into_bytes()
            }),
            tail: besides.tail.then(|| self.tail(release.index)).transpose()?,
        };
        // What is too large for a feed is an error here, not where it is used.
        feed.to_bytes()?;
        Ok(feed)
    }

    /// The newest statement of each who has rebuilt the release, as many as fit.
    fn rebuilds(&self, release: &Sha256, by: Option<&[PublicKey]>) -> anyhow::Result<Vec<Rebuild>> {
        let mut newest = BTreeMap::new();
        for index in self.book.rebuilds(release) {
            let envelope = Envelope::parse(self.entry(*index)?)?;
            // Each key by itself, as for the verdict: beside a good signature anybody can put a bad one.
            let signed = |key: &&PublicKey| envelope.verify(slice::from_ref(*key), NonZeroUsize::MIN).is_ok();
            let signers: Vec<KeyId> = match by {
                Some(keys) => keys.iter().filter(signed).map(PublicKey::id).collect(),
                None => envelope.unverified_signatures().iter().map(|signature| signature.keyid).collect(),
            };
            newest.extend(signers.into_iter().map(|signer| (signer, *index)));
        }
        let indexes: BTreeSet<u64> = newest.into_values().collect();
        let rebuild = |index: u64| {
            let (envelope, proof) = self.proven(index)?;
            Ok(Rebuild { envelope: envelope.to_vec(), proof })
        };
        indexes.into_iter().rev().take(MAX_REBUILDS).map(rebuild).collect()
    }

    fn row(&self, roster: &Roster, chip: &ChipId) -> anyhow::Result<Vec<u8>> {
        let status = self.status().context("a row needs a status, and there is none")?;
        let (expected, found) = (status.fleet_root_sha256, roster.root());
        ensure!(
            expected == found && status.fleet_chips == roster.chips(),
            "status {} is of another roster: root {expected}, this one has {found}",
            status.sequence
        );
        let row = roster.row(chip).with_context(|| format!("the chip {chip} is not in the fleet"))?;
        Ok(row.to_string().into_bytes())
    }

    fn tail(&self, release: u64) -> anyhow::Result<Vec<u8>> {
        let behind = (release as usize).saturating_add(1);
        let bytes = Tail { entries: self.entries.get(behind..).unwrap_or_default().to_vec() }.to_bytes()?;
        ensure!(bytes.len() <= MAX_TAIL, "the tail has {} bytes, at most {MAX_TAIL} can travel", bytes.len());
        Ok(bytes)
    }

    /// An entry, and its proof under the checkpoint.
    fn proven(&self, index: u64) -> anyhow::Result<(&[u8], Vec<u8>)> {
        let Ok(hashes) = self.hashes().inclusion(index, self.accepted.checkpoint.size);
        let proof = Proof { unverified_extra: None, index, hashes, checkpoint: self.note.clone() };
        Ok((self.entry(index)?, proof.to_string().into_bytes()))
    }

    fn entry(&self, index: u64) -> anyhow::Result<&[u8]> {
        let entry = self.entries.get(usize::try_from(index)?).map(Vec::as_slice);
        entry.with_context(|| format!("no entry {index} among {}", self.entries.len()))
    }

    fn hashes(&self) -> Tiles<impl FnMut(Tile) -> Result<Vec<Sha256>, Infallible>> {
        let read = |tile: Tile| Ok(self.tiles.get(&tile).cloned().unwrap_or_else(Vec::new));
        Tiles::new(self.accepted.checkpoint.size, read)
    }
}
