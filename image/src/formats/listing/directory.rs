//! Lists a directory on disk.

use super::{Entry, Kind, Listing, TreePath};
use crate::formats::hash;
use anyhow::{Context as _, bail};
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Listing {
    /// Lists the directory `root`, itself included, without following links. Owners are taken from disk unless `owner`
    /// says what everything belongs to: a tree made without privileges belongs to whoever made it.
    ///
    /// Files are hashed on as many threads as there are processors. The tree must not change meanwhile.
    pub fn of_directory(root: &Path, owner: Option<(u32, u32)>) -> anyhow::Result<Self> {
        let mut found = vec![(TreePath::ROOT, fs::symlink_metadata(root).with_context(|| reading(root))?)];
        let mut next = 0;
        while let Some((directory, metadata)) = found.get(next) {
            next += 1;
            if !metadata.is_dir() {
                continue;
            }
            let directory = directory.clone();
            let place = directory.under(root);
            for child in fs::read_dir(&place).with_context(|| reading(&place))? {
                let child = child.with_context(|| reading(&place))?;
                let path = directory.join(child.file_name().as_bytes())?;
                found.push((path, child.metadata().with_context(|| reading(&child.path()))?));
            }
        }
        let next = AtomicUsize::new(0);
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let work = || {
            let mut entries = Vec::new();
            while let Some((path, metadata)) = found.get(next.fetch_add(1, Ordering::Relaxed)) {
                entries.push(entry(root, path, metadata, owner)?);
            }
            Ok::<_, anyhow::Error>(entries)
        };
        let parts: anyhow::Result<Vec<_>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("hashing panicked"))).collect()
        });
        Ok(Self::new(parts?.concat())?)
    }
}

fn entry(root: &Path, path: &TreePath, metadata: &Metadata, owner: Option<(u32, u32)>) -> anyhow::Result<Entry> {
    let place = path.under(root);
    let kind = metadata.file_type();
    // Linux's encoding of device numbers, as glibc's major() and minor() read it.
    let (device, low) = (metadata.rdev(), |bits: u64| u32::try_from(bits).context("a device number"));
    let major = low(device >> 8 & 0xfff | device >> 32 & 0xffff_f000)?;
    let minor = low(device & 0xff | device >> 12 & 0xffff_ff00)?;
    let kind = if kind.is_file() {
        let mut file = File::open(&place).with_context(|| reading(&place))?;
        let (size, sha256) = hash::copy(&mut file, &mut std::io::sink()).with_context(|| reading(&place))?;
        Kind::File { size, sha256 }
    } else if kind.is_dir() {
        Kind::Directory
    } else if kind.is_symlink() {
        let target = fs::read_link(&place).with_context(|| reading(&place))?;
        Kind::Symlink { target: target.into_os_string().into_vec() }
    } else if kind.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if kind.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    let (uid, gid) = owner.unwrap_or((metadata.uid(), metadata.gid()));
    Ok(Entry { path: path.clone(), kind, mode: (metadata.mode() & 0o7777) as u16, uid, gid })
}

fn reading(place: &Path) -> String {
    format!("reading {}", place.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn lists_what_is_on_disk() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let root = scratch.path();
        fs::set_permissions(root, Permissions::from_mode(0o755))?;
        fs::create_dir(root.join("d"))?;
        fs::write(root.join("d/f"), "abc")?;
        symlink("/nowhere", root.join("d-link"))?;
        for (name, mode) in [("d", 0o1777), ("d/f", 0o4510)] {
            fs::set_permissions(root.join(name), Permissions::from_mode(mode))?;
        }
        let expected = "\
. d 0755 1 2 - -
d d 1777 1 2 - -
d-link l 0777 1 2 - /nowhere
d/f f 4510 1 2 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
";
        assert_eq!(Listing::of_directory(root, Some((1, 2)))?.to_string(), expected);
        let owner = fs::metadata(root)?;
        let own = expected.replace(" 1 2 ", &format!(" {} {} ", owner.uid(), owner.gid()));
        assert_eq!(Listing::of_directory(root, None)?.to_string(), own);
        assert!(Listing::of_directory(&root.join("absent"), None).is_err());
        Ok(())
    }
}
