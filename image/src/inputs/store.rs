//! The content store: every input byte under its SHA-256, shared by all checkouts of a user.

use crate::files::read_bounded;
use crate::formats::hash;
use anyhow::Context as _;
use measure::Sha256;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The store's directory in Vitrine's cache.
pub const STORE: &str = "store";

/// Files by content, below `<cache>/store`. A file is hashed on its way in, renamed into place once it is complete
/// and on disk, and never changed afterwards.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// The store below `cache`, made if it is not there.
    pub fn open(cache: &Path) -> anyhow::Result<Self> {
        Self::at(cache.join(STORE))
    }

    /// The store at `root`, made if it is not there.
    pub(crate) fn at(root: PathBuf) -> anyhow::Result<Self> {
        for dir in [root.join("sha256"), root.join("part")] {
            fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        }
        Ok(Self { root })
    }

    /// Where the file with this content is, or would be.
    pub fn path(&self, sha256: &Sha256) -> PathBuf {
        self.root.join(place(sha256))
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
                let hashed = opened.and_then(|mut file| hash::copy(&mut file, &mut io::sink()));
                let (_length, found) = hashed.with_context(|| format!("reading {}", path.display()))?;
                Ok(found == *sha256)
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

    /// Takes the file that a directory has under this digest; `false` if it has none.
    ///
    /// # Errors
    /// When the file has another content, or something cannot be read or written.
    pub(crate) fn copy(&self, from: &Path, sha256: &Sha256) -> anyhow::Result<bool> {
        let mut file = match fs::File::open(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened.with_context(|| format!("opening {}", from.display()))?,
        };
        let part = self.root.join("part");
        let copying = || format!("copying {} to {}", from.display(), part.display());
        let mut copy = tempfile::NamedTempFile::new_in(&part).with_context(copying)?;
        let (_length, found) = hash::copy(&mut file, &mut copy).with_context(copying)?;
        anyhow::ensure!(found == *sha256, "{}: expected SHA-256 {sha256}, found {found}", from.display());
        copy.as_file().sync_all().with_context(copying)?;
        self.enter(copy.path(), sha256)?;
        Ok(true)
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

/// Where a file with this content is in a store, or at a mirror that serves one.
pub(crate) fn place(sha256: &Sha256) -> String {
    let digits = sha256.to_string();
    format!("sha256/{}/{digits}", digits.get(..2).unwrap_or_default())
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
