//! A directory for the temporary files of one run, which the next run removes if this one cannot.

use crate::files::remove_tree;
use anyhow::Context as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A directory that is locked as long as its run lives.
///
/// It is removed by [`Scratch::remove`] and not on drop: after a failure it holds the log that the message names, until
/// the next run.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// A new directory in `dir`, after removal of those that dead runs left there.
    ///
    /// # Errors
    /// When `dir` cannot be written.
    pub fn new(dir: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        // Held until our own directory is locked, so that no other run takes it for a dead one's.
        let all = open(dir)?;
        all.lock().with_context(|| format!("locking {}", dir.display()))?;
        for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
            if open(&path)?.try_lock().is_ok() {
                remove_tree(&path)?;
            }
        }
        let path = tempfile::tempdir_in(dir).with_context(|| format!("creating a directory in {}", dir.display()))?;
        let path = path.keep();
        let lock = open(&path)?;
        lock.try_lock().with_context(|| format!("locking {}", path.display()))?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and everything in it, also what a tool made unwritable.
    ///
    /// # Errors
    /// When something in it cannot be removed.
    pub fn remove(self) -> anyhow::Result<()> {
        remove_tree(&self.path)
    }
}

fn open(path: &Path) -> anyhow::Result<File> {
    File::open(path).with_context(|| format!("opening {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_runs_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let live = Scratch::new(dir.path()).unwrap();
        let failed = Scratch::new(dir.path()).unwrap();
        let left = failed.path().to_path_buf();
        fs::write(left.join("log"), "").unwrap();
        drop(failed);
        assert!(left.join("log").exists(), "somebody wants to read it");
        let next = Scratch::new(dir.path()).unwrap();
        assert!(live.path().exists() && !left.exists());
        live.remove().unwrap();
        next.remove().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
