//! What this client remembers of logs, on disk: a directory with a file for each log ("Memory" in `docs/formats.md`) and
//! `lock`, locked by the one process that uses it.

use crate::files;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use verify::memory::MAX_MEMORY;
use verify::policy::Witnesses;
use verify::{Memory, Policy, Verdict};

/// A directory of memories, in use by this process alone.
pub(crate) struct State {
    directory: PathBuf,
    _lock: File,
}

impl State {
    /// Makes the directory if it is not there, and waits until nobody else uses it.
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let opening = || format!("opening the state {}", directory.display());
        fs::create_dir_all(directory).with_context(opening)?;
        let lock = File::options().create(true).append(true).open(directory.join("lock")).with_context(opening)?;
        lock.lock().with_context(opening)?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// What is remembered of the logs that a policy names. A file that cannot be read is no reason to believe anything
    /// older: whoever wants to start anew removes it.
    pub(crate) fn memories(&self, policy: &Policy) -> anyhow::Result<Vec<Memory>> {
        let log = policy.release.is().and_then(|release| release.log.is());
        let Some(Witnesses::Of(witnesses)) = log.map(|log| &log.witnesses) else { return Ok(Vec::new()) };
        let memories = witnesses.logs().iter().map(|log| self.of(log.key.name()));
        memories.filter_map(Result::transpose).collect()
    }

    /// Remembers what a verdict was given by, once it was acted on.
    pub(crate) fn learn(&self, verdict: &Verdict) -> anyhow::Result<()> {
        match verdict.memory() {
            Some(memory) => files::replace(&self.path(&memory.origin), &memory.to_bytes()?),
            None => Ok(()),
        }
    }

    fn of(&self, origin: &str) -> anyhow::Result<Option<Memory>> {
        let path = self.path(origin);
        let reading = || format!("reading {}; without this file the client starts anew", path.display());
        match files::read_bounded(&path, MAX_MEMORY as u64) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            bytes => {
                let memory = Memory::parse(&bytes.with_context(reading)?).with_context(reading)?;
                ensure!(memory.origin == origin, "{}: expected {origin:?}, found {:?}", path.display(), memory.origin);
                Ok(Some(memory))
            }
        }
    }

    fn path(&self, origin: &str) -> PathBuf {
        self.directory.join(format!("{}.json", Sha256::of(origin.as_bytes())))
    }
}
