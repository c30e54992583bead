//! Files that are there whole or not at all, whenever the machine stops.
//!
//! A file is written under another name, flushed, renamed, and its directory flushed. Whoever is told that it was
//! written may rely on it.

use anyhow::Context as _;
use nix::unistd::syncfs;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// Above this many files, the file system is flushed once instead of each file.
const FLUSHED_SINGLY: usize = 16;

/// Writes files below `root` that count together, or not at all: none may be relied on before [`Batch::finish`].
pub(crate) struct Batch<'a> {
    root: &'a Path,
    scratch: &'a Path,
    files: usize,
    directories: BTreeSet<PathBuf>,
}

impl<'a> Batch<'a> {
    /// A batch that writes its temporary files into `scratch`, a directory of the same file system.
    pub(crate) fn new(root: &'a Path, scratch: &'a Path) -> Self {
        Self { root, scratch, files: 0, directories: BTreeSet::new() }
    }

    /// Puts a file at `name`, in place of one that is there.
    pub(crate) fn write(&mut self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.root.join(name);
        let writing = || format!("writing {}", path.display());
        let parent = path.parent().with_context(writing)?;
        fs::create_dir_all(parent).with_context(writing)?;
        let temporary = self.scratch.join("file");
        let mut file = File::create(&temporary).with_context(writing)?;
        file.write_all(bytes).with_context(writing)?;
        // What is renamed before it is flushed may be found empty after a crash: nothing refers to it yet.
        if self.files < FLUSHED_SINGLY {
            file.sync_all().with_context(writing)?;
        }
        fs::rename(&temporary, &path).with_context(writing)?;
        // Also those that exist: a run that was killed may have made them without flushing their names.
        let below = parent.ancestors().take_while(|directory| directory.starts_with(self.root));
        self.directories.extend(below.map(Path::to_owned));
        self.files = self.files.saturating_add(1);
        Ok(())
    }

    /// Returns once everything is on the disk.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        if self.files > FLUSHED_SINGLY {
            let root = File::open(self.root).with_context(|| format!("opening {}", self.root.display()))?;
            return syncfs(&root).with_context(|| format!("flushing the file system of {}", self.root.display()));
        }
        self.directories.iter().try_for_each(|directory| flush(directory))
    }
}

/// Replaces one file; returns once it is on the disk.
pub(crate) fn replace(root: &Path, scratch: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let mut batch = Batch::new(root, scratch);
    batch.write(name, bytes)?;
    batch.finish()
}

/// Writes one file that is made piece by piece; returns once it is on the disk.
pub(crate) fn stream(
    root: &Path,
    scratch: &Path,
    name: &str,
    write: impl FnOnce(&mut BufWriter<File>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let path = root.join(name);
    let writing = || format!("writing {}", path.display());
    let parent = path.parent().with_context(writing)?;
    fs::create_dir_all(parent).with_context(writing)?;
    let temporary = scratch.join("file");
    let mut file = BufWriter::new(File::create(&temporary).with_context(writing)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(writing)?;
    file.sync_all().with_context(writing)?;
    fs::rename(&temporary, &path).with_context(writing)?;
    let mut below = parent.ancestors().take_while(|directory| directory.starts_with(root));
    below.try_for_each(flush)
}

/// Puts the names in a directory on the disk.
pub(crate) fn flush(directory: &Path) -> anyhow::Result<()> {
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.with_context(|| format!("flushing {}", directory.display()))
}
