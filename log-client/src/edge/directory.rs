//! Any tlog-tiles directory, ours or another's, as it is read.

use crate::bundle::{self, MAX_BUNDLE};
use crate::checkpoint::SignedCheckpoint;
use crate::merkle::leaf_hash;
use crate::note::{MAX_NOTE, VerifierKey};
use crate::proof::Proof;
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::Tiles;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::fs::File;
use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

/// Name of the mutable file: the newest checkpoint that is public.
pub const CHECKPOINT: &str = "checkpoint";

/// A directory with `checkpoint` and `tile/` in it.
#[derive(Debug, Clone)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The log at this path.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Its path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The newest checkpoint, if the log with this key signed it.
    pub fn checkpoint(&self, log: &VerifierKey) -> anyhow::Result<SignedCheckpoint> {
        let path = self.root.join(CHECKPOINT);
        let note = read(&path, MAX_NOTE as u64).with_context(|| format!("reading {}", path.display()))?;
        SignedCheckpoint::verify(&note, log).with_context(|| format!("verifying {}", path.display()))
    }

    /// A tile's hashes; of one that is not full, from the full one if that has taken its place.
    pub fn hashes(&self, tile: Tile) -> anyhow::Result<Vec<Sha256>> {
        let (found, bytes) = self.tile(tile)?;
        let mut hashes = found.hashes(&bytes).with_context(|| format!("reading {}", self.root.display()))?;
        hashes.truncate(tile.width().into());
        Ok(hashes)
    }

    /// A bundle's entries, likewise.
    pub fn entries(&self, bundle: Tile) -> anyhow::Result<Vec<Vec<u8>>> {
        let (found, bytes) = self.tile(bundle)?;
        let entries = bundle::entries(found, &bytes).with_context(|| format!("reading {}", self.root.display()))?;
        Ok(entries.into_iter().take(bundle.width().into()).map(<[u8]>::to_vec).collect())
    }

    /// The entry at `index` of a log of `size` entries.
    pub fn entry(&self, index: u64, size: u64) -> anyhow::Result<Vec<u8>> {
        let bundle = Tile::in_tree(Level::Entries, index / WIDTH, size);
        let bundle = bundle.filter(|_| index < size).with_context(|| format!("no entry {index} among {size}"))?;
        let entry = self.entries(bundle)?.into_iter().nth((index % WIDTH) as usize);
        entry.with_context(|| format!("no entry {index} in {bundle}"))
    }

    /// The first `size` entries, in order; one bundle of them at a time is in memory.
    pub fn entries_of(&self, size: u64) -> impl Iterator<Item = anyhow::Result<Vec<u8>>> {
        let bundles = (0..).map_while(move |index| Tile::in_tree(Level::Entries, index, size));
        bundles.flat_map(|bundle| match self.entries(bundle) {
            Ok(entries) => entries.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        })
    }

    /// The first of the first `size` entries with this hash. Looks at all of them: 32 bytes each.
    pub fn find(&self, leaf: &Sha256, size: u64) -> anyhow::Result<Option<u64>> {
        for index in 0..size.div_ceil(WIDTH) {
            let Some(tile) = Tile::in_tree(Level::Hashes(0), index, size) else { break };
            if let Some(at) = self.hashes(tile)?.iter().position(|hash| hash == leaf) {
                return Ok(Some(index.saturating_mul(WIDTH).saturating_add(at as u64)));
            }
        }
        Ok(None)
    }

    /// The proof that travels with the entry at `index`: as the log's own files give it, and holding.
    pub fn prove(&self, index: u64, log: &VerifierKey) -> anyhow::Result<Proof> {
        let signed = self.checkpoint(log)?;
        let (size, root) = (signed.checkpoint().size, signed.checkpoint().root);
        ensure!(index < size, "the newest checkpoint has {size} entries, none with index {index}; sign a newer one");
        let entry = self.entry(index, size)?;
        let hashes = Tiles::new(size, |tile| self.hashes(tile)).inclusion(index, size)?;
        crate::merkle::verify_inclusion(&leaf_hash(&entry), index, size, &root, &hashes)
            .with_context(|| format!("{}: tiles and checkpoint disagree; see `log fsck`", self.root.display()))?;
        Ok(Proof { unverified_extra: None, index, hashes, checkpoint: signed.note().to_owned() })
    }

    /// A tile's bytes, or those of the full tile that it is the beginning of.
    fn tile(&self, tile: Tile) -> anyhow::Result<(Tile, Vec<u8>)> {
        let read = |tile: Tile| read(&self.root.join(tile.to_string()), MAX_BUNDLE).map(|bytes| (tile, bytes));
        let found = match read(tile) {
            Err(error) if error.kind() == ErrorKind::NotFound && !tile.is_full() => read(tile.full()),
            found => found,
        };
        found.with_context(|| format!("reading {}/{tile}", self.root.display()))
    }
}

/// A whole file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(ErrorKind::FileTooLarge, format!("expected at most {limit} bytes"))),
        false => Ok(bytes),
    }
}
