//! The directory of a monitor's state: `state.json`, `evidence/`, and `lock`, locked by the one process that uses it.

use crate::files;
use anyhow::Context as _;
use log_client::monitor::State;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The state's name.
pub(super) const STATE: &str = "state.json";
const EVIDENCE: &str = "evidence";
/// Bytes of a state: of 4096 new alarms, and of very many releases.
const MAX_STATE: u64 = 256 << 20;

/// A state's directory, in use by this process alone.
pub(super) struct Store {
    directory: PathBuf,
    _lock: File,
}

impl Store {
    /// Makes the directory if it is not there.
    pub(super) fn open(directory: &Path) -> anyhow::Result<Self> {
        let opening = || format!("opening the state {}", directory.display());
        fs::create_dir_all(directory.join(EVIDENCE)).with_context(opening)?;
        let lock = File::options().create(true).append(true).open(directory.join("lock")).with_context(opening)?;
        lock.try_lock().context("another monitor uses it").with_context(opening)?;
        Ok(Self { directory: directory.to_owned(), _lock: lock })
    }

    /// The state, or `new` if there is none.
    pub(super) fn read(&self, new: State) -> anyhow::Result<State> {
        let path = self.directory.join(STATE);
        match files::read_bounded(&path, MAX_STATE) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(new),
            bytes => {
                let reading = || format!("reading {}", path.display());
                State::parse(&bytes.with_context(reading)?, &new).with_context(reading)
            }
        }
    }

    /// Replaces a file; it is on the disk when this returns.
    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        files::replace(&self.directory.join(name), bytes)
    }
}
