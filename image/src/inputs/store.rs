//! The content store: every input byte under its SHA-256, shared by all checkouts of a user.

use anyhow::Context as _;
use measure::Sha256;
use sha2::Digest as _;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Files by content, below `<cache>/store`. A file is hashed on its way in, renamed into place once it is complete
/// and on disk, and never changed afterwards.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store below `cache`, made if it is not there.
    pub fn open(cache: &Path) -> anyhow::Result<Self> {
        let root = cache.join("store");
        for dir in [root.join("sha256"), root.join("part")] {
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        Ok(Self { root })
    }

    /// Where the file with this content is, or would be.
    pub fn path(&self, sha256: &Sha256) -> PathBuf {
        let hash = sha256.to_string();
        let shard = hash.get(..2).unwrap_or_default();
        self.root.join("sha256").join(shard).join(&hash)
    }

    /// Whether the file is there, with this size if one is known.
    ///
    /// Content was hashed when it entered; [`Store::verify`] hashes it again.
    pub fn holds(&self, sha256: &Sha256, size: Option<u64>) -> bool {
        fs::metadata(self.path(sha256))
            .is_ok_and(|found| found.is_file() && size.is_none_or(|size| size == found.len()))
    }

    /// The whole file, hashed again; `None` if it is not there. Refuses more than `limit` bytes.
    pub fn read(&self, sha256: &Sha256, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let path = self.path(sha256);
        let bytes = match read_bounded(&path, limit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result.with_context(|| format!("reading {}", path.display()))?,
        };
        let found = Sha256::of(&bytes);
        anyhow::ensure!(
            found == *sha256,
            "{} has changed: its SHA-256 is {found}; run `cargo xtask fetch --verify`, which fetches it again",
            path.display()
        );
        Ok(Some(bytes))
    }

    /// Hashes the stored file again; `false` if it is absent or another.
    pub fn verify(&self, sha256: &Sha256) -> anyhow::Result<bool> {
        let path = self.path(sha256);
        match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            opened => {
                let mut hash = sha2::Sha256::new();
                opened
                    .and_then(|mut file| hash_into(&mut file, &mut hash))
                    .with_context(|| format!("reading {}", path.display()))?;
                Ok(Sha256::new(hash.finalize().into()) == *sha256)
            }
        }
    }

    /// Where the file with this content is, hashed again: for what goes on to read it by its path.
    ///
    /// # Errors
    /// When it is absent or has changed.
    pub fn checked_path(&self, sha256: &Sha256) -> anyhow::Result<PathBuf> {
        let path = self.path(sha256);
        anyhow::ensure!(
            self.verify(sha256)?,
            "{} is absent or has changed; run `cargo xtask fetch --verify`, which fetches it again",
            path.display()
        );
        Ok(path)
    }

    /// Forgets a file whose content has changed.
    pub(crate) fn remove(&self, sha256: &Sha256) -> anyhow::Result<()> {
        let path = self.path(sha256);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))
    }

    /// Keeps `bytes`.
    pub fn put(&self, bytes: &[u8]) -> anyhow::Result<Sha256> {
        let sha256 = Sha256::of(bytes);
        if !self.holds(&sha256, Some(bytes.len() as u64)) {
            let part = self.root.join("part");
            let mut file = tempfile::NamedTempFile::new_in(&part)
                .with_context(|| format!("creating a file in {}", part.display()))?;
            file.write_all(bytes)
                .and_then(|()| file.as_file().sync_all())
                .with_context(|| format!("writing {}", file.path().display()))?;
            self.enter(file.path(), &sha256)?;
        }
        Ok(sha256)
    }

    /// Where the incomplete download of a file is kept.
    pub(crate) fn part(&self, sha256: &Sha256) -> PathBuf {
        self.root.join("part").join(sha256.to_string())
    }

    /// Renames a complete, hashed and synced file into place.
    pub(crate) fn enter(&self, part: &Path, sha256: &Sha256) -> anyhow::Result<()> {
        let path = self.path(sha256);
        let dir = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(dir)
            .and_then(|()| fs::set_permissions(part, std::os::unix::fs::PermissionsExt::from_mode(0o444)))
            .and_then(|()| fs::rename(part, &path))
            .and_then(|()| fs::File::open(dir)?.sync_all())
            .with_context(|| format!("moving {} to {}", part.display(), path.display()))
    }
}

/// Feeds everything from the file's position on to `hash`.
pub(crate) fn hash_into<D: sha2::digest::Update>(file: &mut fs::File, hash: &mut D) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => hash.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// A whole file of at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// A whole UTF-8 file of at most `limit` bytes.
pub(crate) fn read_text(path: &Path, limit: u64) -> anyhow::Result<String> {
    let bytes = read_bounded(path, limit).with_context(|| format!("reading {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("reading {}: expected UTF-8", path.display()))
}

/// Replaces the file at `path` by `bytes`, whole or not at all.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
        .tempfile_in(path.parent().with_context(writing)?)
        .with_context(writing)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_noticed_when_it_is_used() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let sha256 = store.put(b"package").unwrap();
        let path = store.checked_path(&sha256).unwrap();
        assert_eq!(path, store.path(&sha256));

        fs::remove_file(&path).unwrap();
        fs::write(&path, b"another").unwrap();
        assert!(store.holds(&sha256, Some(7)), "by its size it is the file");
        for error in [store.checked_path(&sha256).unwrap_err(), store.read(&sha256, 9).unwrap_err()] {
            let error = error.to_string();
            assert!(error.contains(&path.display().to_string()) && error.contains("fetch --verify"), "{error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(store.checked_path(&sha256).is_err());
    }
}
