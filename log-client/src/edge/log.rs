//! Our own log in a directory.
//!
//! `tile/` and `checkpoint` are public and static; `.state/` is not:
//!
//! | file | is |
//! |---|---|
//! | `vkey` | the log's key |
//! | `rules` | what the owner has laid down ([`super::rules`]) |
//! | `tree` | the text of a checkpoint over all entries there are: what may be signed next |
//! | `signed` | the last checkpoint that was signed, with the log's signature only |
//! | `lock` | locked by whoever writes |
//! | `leafidx/` | where each entry is: derived from the tiles (`super::index`) |
//! | `tmp/` | files that are not finished |
//!
//! Entries are on the disk before `tree` names them, `tree` before a signature is made, the signature before anybody
//! sees it, and `checkpoint` is replaced last. So sizes never decrease in the order `checkpoint`, `signed`, `tree`,
//! whatever the moment at which the machine stops, and what the files hold beyond `tree` is waste that is overwritten.
//! Opening a log checks this, and that all three are states of one tree: a log that signs two roots for one size is
//! worthless from then on.

use super::directory::{CHECKPOINT, Directory, read};
use super::durable::{Batch, flush, replace};
use super::fsck::rehash;
use super::index;
use super::rules::{MAX_RULES, Rules};
use crate::bundle;
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::dsse::Envelope;
use crate::lifecycle::Book;
use crate::merkle::{empty_root, leaf_hash};
use crate::note::{MAX_NOTE, MAX_VERIFIER_KEY, SignatureType, Signer, VerifierKey};
use crate::statement::Predicate;
use crate::tile::{self, Level, Tile, WIDTH};
use crate::tree::{RightEdge, Tiles};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use nix::fcntl::{Flock, FlockArg};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

/// The directory that is not public.
pub const STATE: &str = ".state";
const VKEY: &str = "vkey";
const RULES: &str = "rules";
const TREE: &str = "tree";
const SIGNED: &str = "signed";
const LOCK: &str = "lock";
const SCRATCH: &str = "tmp";

/// Entries that are added in one step, and their bytes: bounds the memory that an import takes.
pub const BATCH: usize = 65_536;
/// Bytes of entries that are added in one step.
pub const BATCH_BYTES: usize = 32 << 20;

/// A log that this process alone writes to. Every operation takes it and gives it back: what failed half-way is opened
/// anew, and checked.
#[derive(Debug)]
pub struct Log {
    directory: Directory,
    state: PathBuf,
    key: VerifierKey,
    rules: Rules,
    edge: RightEdge,
    signed: SignedCheckpoint,
    _lock: Flock<File>,
}

impl Log {
    /// Begins a log: the name in the signer's key is its origin. The empty tree is signed and published. A directory
    /// that holds a log without `.state`, such as a mirror, is checked from its entries up and taken over.
    /// It has no rules yet.
    pub fn init(root: &Path, signer: &Signer) -> anyhow::Result<Self> {
        Self::init_with(root, signer, Rules::default())
    }

    /// The same, with rules from the beginning.
    pub fn init_with(root: &Path, signer: &Signer, rules: Rules) -> anyhow::Result<Self> {
        let key = signer.key();
        ensure!(key.kind() == SignatureType::ED25519, "expected a log's key (type 01), found type {:02}", key.kind().0);
        let (directory, state) = (Directory::new(root), root.join(STATE));
        let creating = || format!("creating {}", state.display());
        ensure!(!state.join(TREE).exists(), "{} is a log already", root.display());
        fs::create_dir_all(state.join(SCRATCH)).with_context(creating)?;
        flush(root)?;
        let lock = lock(&state)?;
        ensure!(!state.join(TREE).exists(), "{} is a log already", root.display());

        let empty = Checkpoint { origin: key.name().to_owned(), size: 0, root: empty_root(), extensions: Vec::new() };
        let signed = match root.join(CHECKPOINT).exists() {
            true => sign(signer, directory.checkpoint(key)?.checkpoint())?,
            false => sign(signer, &empty)?,
        };
        rehash(&directory, signed.checkpoint())?;
        let edge = RightEdge::read(signed.checkpoint().size, |tile| directory.hashes(tile))?;
        let log = Self { directory, state, key: key.clone(), rules: Rules::default(), edge, signed, _lock: lock };
        let log = log.with_rules(rules)?;
        log.replace_state(VKEY, &format!("{key}\n"))?;
        log.replace_state(SIGNED, log.signed.note())?;
        if log.signed.checkpoint().size == 0 {
            log.replace(CHECKPOINT, log.signed.note())?;
        }
        log.replace_state(TREE, &log.tree().to_string())?;
        Ok(log)
    }

    /// Opens a log, waiting for others to close it, and checks that its states are of one tree.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        let (directory, state) = (Directory::new(root), root.join(STATE));
        ensure!(state.join(TREE).exists(), "{} is no log of ours; begin one with `log init`", root.display());
        let lock = lock(&state)?;
        let key = vkey(root)?;
        let tree: Checkpoint =
            text(&state.join(TREE), MAX_NOTE as u64)?.parse().with_context(|| format!("{STATE}/{TREE}"))?;
        let signed = SignedCheckpoint::verify(text(&state.join(SIGNED), MAX_NOTE as u64)?.as_bytes(), &key)
            .with_context(|| format!("{STATE}/{SIGNED}"))?;
        let published = directory.checkpoint(&key)?;
        ensure!(tree.origin == key.name(), "{STATE}/{TREE}: expected the log {}, found {}", key.name(), tree.origin);

        let edge = RightEdge::read(tree.size, |tile| directory.hashes(tile))?;
        let rules = rules(root)?;
        let log = Self { directory, state, key, rules, edge, signed, _lock: lock };
        let found = log.edge.root();
        ensure!(
            found == tree.root,
            "the tiles of {} hash to {found}, not to the root {} in {STATE}/{TREE}; see `log fsck`",
            root.display(),
            tree.root
        );
        let last = log.signed.checkpoint();
        ensure!(
            last.size <= tree.size,
            "{STATE}/{TREE} is older than {STATE}/{SIGNED}: it is from a backup; {RECOVERY}"
        );
        log.agrees_with(last, &format!("{STATE}/{SIGNED}"))?;
        log.agrees_with(published.checkpoint(), CHECKPOINT)?;
        // What was read may have been written by a run that was killed before it was flushed, and is relied on now.
        flush(&log.state)?;
        // What such a run has left.
        let scratch = log.state.join(SCRATCH);
        fs::remove_dir_all(&scratch).or_else(absent).with_context(|| format!("removing {}", scratch.display()))?;
        fs::create_dir(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
        Ok(log)
    }

    /// The log's key.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// What its owner has laid down.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Lays down other rules. They are on the disk when this returns.
    pub fn with_rules(mut self, rules: Rules) -> anyhow::Result<Self> {
        if let Some(witnesses) = &rules.witnesses {
            ensure!(
                witnesses.policy().logs().iter().any(|known| known.key == self.key),
                "the policy has no line `log {}`: it would accept nothing of this log",
                self.key
            );
        }
        let text = rules.to_string();
        let again = text.parse().is_ok_and(|again: Rules| again == rules);
        ensure!(again && text.len() as u64 <= MAX_RULES, "the rules are too long, or name a place with a line break");
        self.replace_state(RULES, &text)?;
        self.rules = rules;
        Ok(self)
    }

    /// The files that are public.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// All entries there are, signed or not.
    pub fn tree(&self) -> Checkpoint {
        let (size, root) = (self.edge.size(), self.edge.root());
        Checkpoint { origin: self.key.name().to_owned(), size, root, extensions: Vec::new() }
    }

    /// The last checkpoint that was signed, with the log's signature only.
    pub fn signed(&self) -> &SignedCheckpoint {
        &self.signed
    }

    /// Refuses to go on if `other`, which this log's key signed according to `whose`, is not a checkpoint that this
    /// directory can have signed: it is of more entries, so that this directory is from a backup, or of another tree.
    pub fn agrees_with(&self, other: &Checkpoint, whose: &str) -> anyhow::Result<()> {
        self.is_not_behind(other.size, whose)?;
        let root = Tiles::new(self.edge.size(), |tile| self.directory.hashes(tile)).root(other.size)?;
        ensure!(
            root == other.root,
            "{whose} has the root {} for {} entries, this log has {root}: the log was forked. Keep both as evidence; \
             do not sign anything more with this key",
            other.root,
            other.size
        );
        Ok(())
    }

    /// Refuses to go on if somebody has seen more entries than this directory has signed.
    pub fn is_not_behind(&self, size: u64, whose: &str) -> anyhow::Result<()> {
        let signed = self.signed.checkpoint().size;
        ensure!(
            size <= signed,
            "{whose} has seen {size} entries, this directory has signed {signed}: it is from a backup; {RECOVERY}"
        );
        Ok(())
    }

    /// What all entries there are say, by the root keys of the log's rules.
    ///
    /// # Errors
    /// When there are no such keys, or an entry cannot be read.
    pub fn book(&self) -> anyhow::Result<Book> {
        let roots = self.rules.roots.as_ref();
        let roots = roots.with_context(|| format!("{STATE}/{RULES} names no root keys; see `log rules`"))?;
        let mut book = Book::new(roots.keys().to_vec(), roots.quorum());
        for entry in self.directory.entries_of(self.edge.size()) {
            // What does not count takes its index all the same.
            let _counts = book.push(&entry?);
        }
        Ok(book)
    }

    /// Refuses entries that would not count.
    fn judge<'a>(&self, new: impl IntoIterator<Item = &'a [u8]>) -> anyhow::Result<()> {
        let Some(roots) = &self.rules.roots else { return Ok(()) };
        let mut book = self.book()?;
        for entry in new {
            let index = book.ledger().size();
            let event = book.push(entry).with_context(|| format!("entry {index} would not count"))?;
            let by_roots = !matches!(event.statement.predicate, Predicate::Release(_) | Predicate::Rebuild(_));
            if by_roots {
                let signed = Envelope::parse(entry)?.verify_only(roots.keys(), roots.quorum());
                signed.with_context(|| format!("entry {index} would count, but a stranger has signed it, too"))?;
            }
        }
        Ok(())
    }

    /// Adds entries, at most [`BATCH`] of together [`BATCH_BYTES`], and returns the index of each, once they are on the
    /// disk. An entry that the log has already keeps the index it has. If the log's rules name root keys, every new entry
    /// must count at its index ([`Book::push`]).
    pub fn append(mut self, entries: &[Vec<u8>]) -> anyhow::Result<(Self, Vec<u64>)> {
        let bytes: usize = entries.iter().map(Vec::len).sum();
        let few = entries.len() <= BATCH && bytes <= BATCH_BYTES;
        ensure!(
            few,
            "expected at most {BATCH} entries of together {BATCH_BYTES} bytes, found {}, {bytes}",
            entries.len()
        );
        let old = self.edge.size();
        let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let mut known: BTreeMap<Sha256, Option<u64>> = leaves.iter().map(|leaf| (*leaf, None)).collect();
        self.find(&mut known)?;
        let unknown = |leaf: &Sha256| known.get(leaf).is_none_or(Option::is_none);
        let mut once = BTreeSet::new();
        let new = entries.iter().zip(&leaves).filter(|(_, leaf)| unknown(leaf) && once.insert(**leaf));
        self.judge(new.map(|(entry, _)| entry.as_slice()))?;

        let scratch = self.state.join(SCRATCH);
        let mut batch = Batch::new(self.directory.root(), &scratch);
        let mut bundle = self.last_bundle()?;
        let mut indexes = Vec::with_capacity(entries.len());
        for (entry, leaf) in entries.iter().zip(leaves) {
            let size = self.edge.size();
            let index = *known.entry(leaf).or_default().get_or_insert(size);
            indexes.push(index);
            if index < size {
                continue;
            }
            bundle::push(&mut bundle, entry).with_context(|| format!("adding entry {index}"))?;
            let mut full = Vec::new();
            self.edge.push(leaf, |tile, hashes| {
                full.push((tile, tile::bytes_of(hashes)));
                Ok::<_, anyhow::Error>(())
            })?;
            // Bundles before the tiles that promise them, lower tiles before upper ones.
            if let Some((lowest, _)) = full.first() {
                batch.write(&lowest.at(Level::Entries).to_string(), &bundle)?;
                bundle.clear();
            }
            full.iter().try_for_each(|(tile, bytes)| batch.write(&tile.to_string(), bytes))?;
        }
        if self.edge.size() > old {
            let size = self.edge.size();
            if let Some(partial) = Tile::in_tree(Level::Entries, size / WIDTH, size) {
                batch.write(&partial.to_string(), &bundle)?;
            }
            let unknown = |tile: &Tile| !Tile::partial(old).any(|known| known == *tile);
            for (tile, hashes) in self.edge.partial().filter(|(tile, _)| unknown(tile)) {
                batch.write(&tile.to_string(), &tile::bytes_of(hashes))?;
            }
            batch.finish()?;
            self.replace_state(TREE, &self.tree().to_string())?;
        }
        Ok((self, indexes))
    }

    /// Adds any number of entries, batch by batch, and tells `progress` how many. What is added stays added when a later
    /// one cannot be.
    pub fn import(
        mut self,
        entries: impl IntoIterator<Item = anyhow::Result<Vec<u8>>>,
        mut progress: impl FnMut(usize),
    ) -> anyhow::Result<Self> {
        let mut batch: Vec<Vec<u8>> = Vec::new();
        let mut bytes: usize = 0;
        for entry in entries {
            let entry = entry?;
            if batch.len() == BATCH || bytes.saturating_add(entry.len()) > BATCH_BYTES {
                (self, _) = self.append(&batch)?;
                progress(batch.len());
                batch.clear();
                bytes = 0;
            }
            bytes = bytes.saturating_add(entry.len());
            batch.push(entry);
        }
        (self, _) = self.append(&batch)?;
        progress(batch.len());
        Ok(self)
    }

    /// Signs all entries there are. The signature is on the disk when this returns.
    pub fn sign(mut self, signer: &Signer) -> anyhow::Result<Self> {
        ensure!(*signer.key() == self.key, "the key is {}, this log's is {}", signer.key(), self.key);
        let tree = self.tree();
        let last = self.signed.checkpoint();
        if *last == tree {
            return Ok(self);
        }
        ensure!(last.size < tree.size, "will not sign a second root for {} entries", tree.size);
        self.signed = sign(signer, &tree)?;
        self.replace_state(SIGNED, self.signed.note())?;
        Ok(self)
    }

    /// Makes the last signed checkpoint public, with these lines of witnesses after the log's.
    pub fn publish(self, cosignatures: &[String]) -> anyhow::Result<Self> {
        let old = self.directory.checkpoint(&self.key)?;
        let note = cosignatures.iter().fold(self.signed.note().to_owned(), |note, line| note + line);
        let new = SignedCheckpoint::verify(note.as_bytes(), &self.key).context("putting the checkpoint together")?;
        self.replace(CHECKPOINT, new.note())?;
        self.prune(old.checkpoint().size, new.checkpoint().size)?;
        Ok(self)
    }

    /// Removes tiles whose place full ones have taken since the tree had `old` entries; the specification allows it.
    fn prune(&self, old: u64, new: u64) -> anyhow::Result<()> {
        let hashes = (0..8).map(|level| (Level::Hashes(level), old >> (8 * u32::from(level))));
        for (level, nodes) in hashes.chain([(Level::Entries, old)]) {
            let tiles = (nodes / WIDTH..).map_while(|index| Tile::in_tree(level, index, new).filter(Tile::is_full));
            for tile in tiles {
                let path = self.directory.root().join(format!("{tile}.p"));
                fs::remove_dir_all(&path).or_else(absent).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Looks the hashes up in the log.
    fn find(&self, leaves: &mut BTreeMap<Sha256, Option<u64>>) -> anyhow::Result<()> {
        let tail = self.edge.partial().find(|(tile, _)| tile.level() == Level::Hashes(0)).map(|(_, hashes)| hashes);
        let tail = (self.edge.size(), tail.unwrap_or_default());
        index::find(&self.directory, &self.state, &self.state.join(SCRATCH), tail, leaves)
    }

    /// The bytes of the bundle that is not full.
    fn last_bundle(&self) -> anyhow::Result<Vec<u8>> {
        let size = self.edge.size();
        let mut bytes = Vec::new();
        if let Some(tile) = Tile::in_tree(Level::Entries, size / WIDTH, size) {
            let entries = self.directory.entries(tile)?;
            let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
            let hashes = self.edge.partial().find(|(edge, _)| edge.level() == Level::Hashes(0));
            let same = hashes.is_some_and(|(_, hashes)| hashes == leaves);
            ensure!(same, "{tile}: the entries are not those of the tile of their hashes; see `log fsck`");
            entries.iter().try_for_each(|entry| bundle::push(&mut bytes, entry))?;
        }
        Ok(bytes)
    }

    fn replace(&self, name: &str, text: &str) -> anyhow::Result<()> {
        replace(self.directory.root(), &self.state.join(SCRATCH), name, text.as_bytes())
    }

    fn replace_state(&self, name: &str, text: &str) -> anyhow::Result<()> {
        replace(&self.state, &self.state.join(SCRATCH), name, text.as_bytes())
    }
}

/// What to do about a directory from a backup.
const RECOVERY: &str = "copy `checkpoint` and `tile/` of the newest mirror into an empty directory and take it over \
                        with `log init`; entries that are only here must be added there again";

/// The key of one of our logs.
pub fn vkey(root: &Path) -> anyhow::Result<VerifierKey> {
    let path = root.join(STATE).join(VKEY);
    text(&path, (MAX_VERIFIER_KEY as u64).saturating_add(1))?
        .trim_end()
        .parse()
        .with_context(|| format!("reading {}", path.display()))
}

/// What the owner of one of our logs has laid down.
pub fn rules(root: &Path) -> anyhow::Result<Rules> {
    let path = root.join(STATE).join(RULES);
    let wrong = || format!("without its rules nobody knows who must agree: {}; {RECOVERY}", path.display());
    text(&path, MAX_RULES).and_then(|text| text.parse()).with_context(wrong)
}

/// The lines of a text, each an entry, without their newlines. A line too long for an entry is an error.
pub fn lines(mut text: impl BufRead) -> impl Iterator<Item = anyhow::Result<Vec<u8>>> {
    const LIMIT: u64 = bundle::MAX_ENTRY as u64 + 1;
    let mut line = move |number: u64| {
        let mut entry = Vec::new();
        text.by_ref().take(LIMIT).read_until(b'\n', &mut entry).with_context(|| format!("reading line {number}"))?;
        let ended = entry.pop_if(|last| *last == b'\n').is_some();
        ensure!(ended || (entry.len() as u64) < LIMIT, "line {number} is longer than {} bytes", bundle::MAX_ENTRY);
        Ok((ended || !entry.is_empty()).then_some(entry))
    };
    (1..).map_while(move |number| line(number).transpose())
}

fn sign(signer: &Signer, checkpoint: &Checkpoint) -> anyhow::Result<SignedCheckpoint> {
    let text = checkpoint.to_string();
    let note = format!("{text}\n{}", signer.sign(&text, 0));
    Ok(SignedCheckpoint::verify(note.as_bytes(), signer.key())?)
}

fn lock(state: &Path) -> anyhow::Result<Flock<File>> {
    let path = state.join(LOCK);
    let locking = || format!("locking {}", path.display());
    let file = File::options().create(true).append(true).open(&path).with_context(locking)?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error).with_context(locking)
}

fn text(path: &Path, limit: u64) -> anyhow::Result<String> {
    let reading = || format!("reading {}", path.display());
    let bytes = read(path, limit).with_context(reading)?;
    String::from_utf8(bytes).with_context(reading)
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests;
