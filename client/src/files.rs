//! Whole files: read with a limit, replaced in one step.

use anyhow::Context as _;
use nix::fcntl::OFlag;
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// A whole regular file of at most `limit` bytes. A pipe in its place is an error, and nobody waits for its writer.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open(path)?, limit)
}

/// The regular file at `path`, or that a link there leads to.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a regular file, found a directory, pipe or device",
        )),
    }
}

/// All of a file that is open, if it is at most `limit` bytes.
pub(crate) fn read_all(from: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("expected at most {limit} bytes"))),
        false => Ok(bytes),
    }
}

/// The same; errors name the path.
pub(crate) fn read(path: &Path, limit: u64) -> anyhow::Result<Vec<u8>> {
    read_bounded(path, limit).with_context(|| format!("reading {}", path.display()))
}

/// Replaces the file at `path` by `bytes`, whole or not at all, also across a power failure.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o644)).tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(dir)?.sync_all()
    };
    written().with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::os::unix::fs::symlink;

    #[test]
    fn regular_files_only_and_so_long() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("file"), "abc").unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        // Nobody ever writes to it.
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        for (name, limit, says) in [
            ("file", 3, None),
            ("link", 3, None),
            ("file", 2, Some("expected at most 2 bytes")),
            ("device", 3, Some("expected a regular file")),
            ("pipe", 3, Some("expected a regular file")),
            (".", 3, Some("expected a regular file")),
            ("absent", 3, Some("No such file")),
        ] {
            let read = read(&at(name), limit).map_err(|error| format!("{error:#}"));
            match says {
                None => assert_eq!(read.unwrap(), b"abc"),
                Some(says) => assert!(read.unwrap_err().contains(says), "{name}"),
            }
        }
    }
}
