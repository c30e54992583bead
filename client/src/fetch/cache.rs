//! What was fetched and found good before, so that it need not be fetched again.

use crate::files;
use anyhow::Context as _;
use measure::Sha256;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A directory of answers, each named by the SHA-256 of what was asked for. What is in it is trusted no more than what
/// a server answers.
pub(crate) struct Cache {
    dir: PathBuf,
}

/// Something kept.
pub(crate) struct Kept {
    /// The bytes.
    pub(crate) bytes: Vec<u8>,
    /// How long ago they were kept, by the clock of the file system. What was kept in the future is as old as can be,
    /// so that it is asked for again.
    pub(crate) age: Duration,
}

impl Cache {
    /// The cache in `dir`, which need not exist.
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// What was kept for `asked`, if it is at most `limit` bytes.
    pub(crate) fn kept(&self, asked: &str, limit: u64, now: std::time::SystemTime) -> anyhow::Result<Option<Kept>> {
        let path = self.path(asked);
        let bytes = match files::read_bounded(&path, limit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.with_context(|| format!("reading {}", path.display()))?,
        };
        let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
        let written = written.with_context(|| format!("looking at {}", path.display()))?;
        Ok(Some(Kept { bytes, age: now.duration_since(written).unwrap_or(Duration::MAX) }))
    }

    /// Keeps `bytes` for `asked`.
    pub(crate) fn keep(&self, asked: &str, bytes: &[u8]) -> anyhow::Result<()> {
        fs::create_dir_all(&self.dir).with_context(|| format!("creating {}", self.dir.display()))?;
        files::replace(&self.path(asked), bytes)
    }

    fn path(&self, asked: &str) -> PathBuf {
        self.dir.join(Sha256::of(asked.as_bytes()).to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_is_kept_is_found_by_what_was_asked() -> anyhow::Result<()> {
        let dir = tempfile::tempdir()?;
        let cache = Cache::new(dir.path().join("new/collateral"));
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        assert!(cache.kept("a", 10, at(0))?.is_none());
        cache.keep("a", b"old")?;
        cache.keep("a", b"bytes")?;
        fs::File::open(cache.path("a"))?.set_modified(at(100))?;
        for (now, age) in [(160, Duration::from_secs(60)), (40, Duration::MAX)] {
            let kept = cache.kept("a", 5, at(now))?.context("nothing kept")?;
            assert_eq!((kept.bytes.as_slice(), kept.age), (&b"bytes"[..], age));
        }
        assert!(cache.kept("b", 5, at(0))?.is_none());
        assert!(cache.kept("a", 4, at(0)).is_err());
        Ok(())
    }
}
