//! Where each leaf is, so that an entry is not added twice: `.state/leafidx/`. It is derived from the tiles, and made from
//! them again when it is missing, damaged or of another tree.
//!
//! It covers the full tiles of level 0. A *run* is a file `<from>-<to>` with a record for each leaf between these indexes:
//! the first 8 bytes of its hash and its index, big-endian, in ascending order; after every 255 records and at the end come
//! the first 16 bytes of the SHA-256 of [`LABEL`], the root of the first `to` leaves, `from`, `to`, the number of the page and
//! these records. Runs are merged as the digits of a binary counter are carried: there are as many as the logarithm of the
//! log's size, and a leaf is written again as often.

use super::directory::Directory;
use super::durable::stream;
use crate::tile::{Level, Tile, WIDTH};
use crate::tree::Tiles;
use anyhow::Context as _;
use measure::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// The directory's name.
const INDEX: &str = "leafidx";
const LABEL: &[u8] = b"vitrine/leaf-index/1\0";
const RECORD: usize = 16;
const CHECK: usize = 16;
/// Records of a page of 4096 bytes.
const PER_PAGE: u64 = 255;
const PAGE: u64 = 4096;
/// Leaves that are sorted in memory.
const SORTED: u64 = 65_536;

/// The first 8 bytes of a leaf's hash, and its index.
type Record = (u64, u64);

/// The bytes are not those that were written for this tree.
#[derive(Debug, thiserror::Error)]
#[error("the index of leaves is damaged")]
struct Damaged;

/// Looks hashes up among the first `size` leaves of a log, and says where each is first. `tail` are the leaves behind the last
/// full tile.
pub(super) fn find(
    log: &Directory,
    state: &Path,
    scratch: &Path,
    (size, tail): (u64, &[Sha256]),
    leaves: &mut BTreeMap<Sha256, Option<u64>>,
) -> anyhow::Result<()> {
    let index = Index { log, state, scratch, size };
    let found = match index.find(leaves) {
        Err(error) if error.is::<Damaged>() => {
            let path = state.join(INDEX);
            fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
            index.find(leaves)
        }
        found => found,
    };
    found.context("looking leaves up")?;
    for (hash, at) in tail.iter().zip(index.covered()..) {
        if let Some(known @ None) = leaves.get_mut(hash) {
            *known = Some(at);
        }
    }
    Ok(())
}

struct Index<'a> {
    log: &'a Directory,
    state: &'a Path,
    scratch: &'a Path,
    size: u64,
}

impl Index<'_> {
    /// Leaves in full tiles.
    fn covered(&self) -> u64 {
        (self.size / WIDTH).saturating_mul(WIDTH)
    }

    fn find(&self, leaves: &mut BTreeMap<Sha256, Option<u64>>) -> anyhow::Result<()> {
        let mut tiles = BTreeMap::new();
        for run in self.caught_up()? {
            let mut reader = Reader::open(self.state, &run)?;
            for (hash, known) in leaves.iter_mut().filter(|(_, known)| known.is_none()) {
                for at in reader.find(prefix(hash))? {
                    let tile = Tile::in_tree(Level::Hashes(0), at / WIDTH, self.size).ok_or(Damaged)?;
                    if !tiles.contains_key(&tile) {
                        // One at a time: where one leaf is found, the next is likely to be.
                        tiles = [(tile, self.log.hashes(tile)?)].into();
                    }
                    let same = tiles.get(&tile).and_then(|hashes| hashes.get((at % WIDTH) as usize)) == Some(hash);
                    if same && known.is_none() {
                        *known = Some(at);
                    }
                }
            }
        }
        Ok(())
    }

    /// The runs, from the first leaf to the last one in a full tile.
    fn caught_up(&self) -> anyhow::Result<Vec<Run>> {
        let mut tree = Tiles::new(self.size, |tile| self.log.hashes(tile));
        let mut runs = Vec::new();
        for (from, to) in self.chain()? {
            runs.push(Run { from, to, root: tree.root(to)? });
        }
        loop {
            let from = runs.last().map_or(0, |run: &Run| run.to);
            let to = from.saturating_add(SORTED).min(self.covered());
            if from == to {
                return Ok(runs);
            }
            let mut records = Vec::new();
            for index in from / WIDTH..to / WIDTH {
                let tile = Tile::in_tree(Level::Hashes(0), index, self.size).ok_or(Damaged)?;
                let hashes = self.log.hashes(tile)?;
                records.extend(hashes.iter().map(prefix).zip(index.saturating_mul(WIDTH)..));
            }
            records.sort_unstable();
            let mut records = records.into_iter();
            let mut run = Run { from, to, root: tree.root(to)? };
            self.write(&run, || Ok(records.next()))?;
            while let Some(before) = runs.pop_if(|before| before.records() <= run.records()) {
                run = self.merge(&before, &run)?;
            }
            runs.push(run);
        }
    }

    /// The runs that are there, each going on where the one before it ends. The others are what killed processes have left.
    fn chain(&self) -> anyhow::Result<Vec<(u64, u64)>> {
        let directory = self.state.join(INDEX);
        let listing = || format!("listing {}", directory.display());
        let mut runs = BTreeSet::new();
        match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            entries => {
                for entry in entries.with_context(listing)? {
                    let name = entry.with_context(listing)?.file_name();
                    let (from, to) = name.to_str().and_then(|name| name.split_once('-')).ok_or(Damaged)?;
                    runs.insert((from.parse::<u64>().map_err(|_| Damaged)?, to.parse::<u64>().map_err(|_| Damaged)?));
                }
            }
        }
        let (mut chain, mut at) = (Vec::new(), 0_u64);
        let fits =
            |at: u64, (from, to): &(u64, u64)| *from == at && (at.saturating_add(1)..=self.covered()).contains(to);
        while let Some(run) = runs.iter().rev().find(|run| fits(at, run)).copied() {
            runs.remove(&run);
            chain.push(run);
            at = run.1;
        }
        for (from, to) in runs {
            let path = directory.join(format!("{from}-{to}"));
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(chain)
    }

    /// Writes a run of the records that `next` gives.
    fn write(&self, run: &Run, mut next: impl FnMut() -> anyhow::Result<Option<Record>>) -> anyhow::Result<()> {
        stream(self.state, self.scratch, &run.name(), |file| {
            for page in 0..run.pages() {
                let mut bytes = Vec::new();
                for _ in 0..run.records_of(page) {
                    let (prefix, index) = next()?.ok_or(Damaged)?;
                    bytes.extend_from_slice(&prefix.to_be_bytes());
                    bytes.extend_from_slice(&index.to_be_bytes());
                }
                let check = run.check(page, &bytes);
                file.write_all(&bytes).and_then(|()| file.write_all(&check)).context("writing a page")?;
            }
            Ok(())
        })
    }

    /// One run in place of two that follow each other.
    fn merge(&self, left: &Run, right: &Run) -> anyhow::Result<Run> {
        let run = Run { from: left.from, to: right.to, root: right.root };
        let (mut first, mut second) = (Reader::open(self.state, left)?, Reader::open(self.state, right)?);
        let (mut one, mut other) = (first.next()?, second.next()?);
        self.write(&run, || match (one, other) {
            (Some(record), None) => {
                one = first.next()?;
                Ok(Some(record))
            }
            (Some(record), Some(larger)) if record < larger => {
                one = first.next()?;
                Ok(Some(record))
            }
            (_, record) => {
                other = second.next()?;
                Ok(record)
            }
        })?;
        for run in [left, right] {
            let path = self.state.join(run.name());
            fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
        }
        Ok(run)
    }
}

/// A file of the index.
#[derive(Debug)]
struct Run {
    from: u64,
    to: u64,
    /// Of the first `to` leaves.
    root: Sha256,
}

impl Run {
    fn name(&self) -> String {
        format!("{INDEX}/{}-{}", self.from, self.to)
    }

    fn records(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    fn pages(&self) -> u64 {
        self.records().div_ceil(PER_PAGE)
    }

    fn records_of(&self, page: u64) -> u64 {
        self.records().saturating_sub(page.saturating_mul(PER_PAGE)).min(PER_PAGE)
    }

    fn check(&self, page: u64, records: &[u8]) -> [u8; CHECK] {
        let numbers = [self.from, self.to, page].map(u64::to_be_bytes);
        let digest = Sha256::of(&[LABEL, self.root.as_bytes(), numbers.as_flattened(), records].concat());
        *digest.as_bytes().first_chunk().expect("16 are less than 32")
    }
}

/// A run that is read, one page at a time.
struct Reader<'a> {
    run: &'a Run,
    path: PathBuf,
    file: File,
    /// The page in memory, if any.
    page: Option<u64>,
    records: Vec<Record>,
    /// How many records [`Self::next`] has given.
    given: u64,
}

impl<'a> Reader<'a> {
    fn open(state: &Path, run: &'a Run) -> anyhow::Result<Self> {
        let path = state.join(run.name());
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Self { run, path, file, page: None, records: Vec::new(), given: 0 })
    }

    /// The records of a page.
    fn load(&mut self, page: u64) -> anyhow::Result<&[Record]> {
        if self.page != Some(page) {
            let records = self.run.records_of(page) as usize;
            let mut bytes = vec![0; records.saturating_mul(RECORD).saturating_add(CHECK)];
            match self.file.read_exact_at(&mut bytes, page.saturating_mul(PAGE)) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Damaged.into()),
                read => read.with_context(|| format!("reading {}", self.path.display()))?,
            }
            let (records, check) = bytes.split_last_chunk::<CHECK>().ok_or(Damaged)?;
            if self.run.check(page, records) != *check {
                return Err(Damaged.into());
            }
            let number = |bytes: &[u8; 8]| u64::from_be_bytes(*bytes);
            let numbers = records.as_chunks::<8>().0.as_chunks::<2>().0.iter();
            self.records = numbers.map(|[prefix, index]| (number(prefix), number(index))).collect();
            self.page = Some(page);
        }
        Ok(&self.records)
    }

    /// The next record, from the first on.
    fn next(&mut self) -> anyhow::Result<Option<Record>> {
        if self.given == self.run.records() {
            return Ok(None);
        }
        let (page, at) = (self.given / PER_PAGE, self.given % PER_PAGE);
        self.given = self.given.saturating_add(1);
        Ok(Some(*self.load(page)?.get(at as usize).ok_or(Damaged)?))
    }

    /// The indexes of the leaves that begin so, ascending. Hashes are evenly distributed: where one is can be guessed, and
    /// the guess is off by a page or two.
    fn find(&mut self, prefix: u64) -> anyhow::Result<Vec<u64>> {
        let pages = self.run.pages();
        let guess = (u128::from(prefix).saturating_mul(pages.into()) >> 64) as u64;
        let covers = |records: &[Record]| {
            records.first().is_some_and(|(first, _)| *first < prefix)
                && records.last().is_some_and(|(last, _)| *last > prefix)
        };
        let known = self.page.filter(|_| covers(&self.records));
        let mut page = known.unwrap_or(guess);
        // To the last page that begins before it, or the first. Many are looked up in ascending order: the page that is in
        // memory is likely to be the one, and is not left to find that out.
        if known.is_none() {
            while page.checked_add(1).is_some_and(|next| next < pages) && self.begins(page.saturating_add(1))? < prefix
            {
                page = page.saturating_add(1);
            }
            while page > 0 && self.begins(page)? >= prefix {
                page = page.saturating_sub(1);
            }
        }
        let mut found = Vec::new();
        while page < pages {
            let records = self.load(page)?;
            found.extend(records.iter().filter(|(begins, _)| *begins == prefix).map(|(_, index)| *index));
            if records.last().is_some_and(|(last, _)| *last > prefix) {
                break;
            }
            page = page.saturating_add(1);
        }
        Ok(found)
    }

    fn begins(&mut self, page: u64) -> anyhow::Result<u64> {
        Ok(self.load(page)?.first().ok_or(Damaged)?.0)
    }
}

fn prefix(hash: &Sha256) -> u64 {
    u64::from_be_bytes(*hash.as_bytes().first_chunk().expect("8 are less than 32"))
}

#[cfg(test)]
mod tests;
