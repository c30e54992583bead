//! Whole files and trees: read with a limit, replaced in one step, removed.

use anyhow::{Context as _, ensure};
use nix::fcntl::OFlag;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the programs of a run that was killed may go on writing until the kernel has ended them.
const LAST_WRITES: Duration = Duration::from_secs(5);

/// Makes sure that `path` is a regular file, which ends, and no link.
///
/// # Errors
/// When it is something else, or nothing is there.
pub fn require_regular(path: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    ensure!(metadata.is_file(), "{}: expected a regular file, found a link, directory or device", path.display());
    Ok(())
}

/// A whole regular file of at most `limit` bytes. A pipe in its place is an error, and nobody waits for its writer.
///
/// # Errors
/// When it cannot be read, is something else or is longer.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_all(open(path, OFlag::empty())?, limit)
}

/// The regular file at `path`, and no link to one: what a guest or its QEMU could have put there is not waited for.
///
/// # Errors
/// When it cannot be opened or is something else.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    open(path, OFlag::O_NOFOLLOW)
}

/// The last `limit` bytes of such a file.
///
/// # Errors
/// When it cannot be read or is something else.
pub(crate) fn read_end_of_own(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut file = open_own(path)?;
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(limit)))?;
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A new file in place of what is there, and not where a link there leads to: a guest's QEMU can have put it there.
///
/// # Errors
/// When it cannot be made, or what is there, such as a directory, cannot be removed.
pub(crate) fn create_own(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => File::create_new(path),
    }
}

/// Copies the regular file at `from`, and no link to one, which may be in a directory that a guest's QEMU can write.
///
/// # Errors
/// When it is something else, or one of the two cannot be opened, read or written.
pub fn copy_own(from: &Path, to: &Path) -> io::Result<()> {
    let mut from = open_own(from)?;
    io::copy(&mut from, &mut File::create(to)?).map(drop)
}

fn open(path: &Path, more: OFlag) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags((OFlag::O_NONBLOCK | more).bits()).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "expected a regular file")),
    }
}

/// All of what can be read once, a pipe included, if it is at most `limit` bytes.
///
/// # Errors
/// When it cannot be read or is longer.
pub fn read_all(from: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
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
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let writing = || format!("writing {}", path.display());
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o644))
        .tempfile_in(path.parent().with_context(writing)?)
        .with_context(writing)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).with_context(writing)?;
    file.persist(path).with_context(writing)?;
    Ok(())
}

/// Removes a directory tree, also one whose directories a tool left unwritable.
pub fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.with_context(|| format!("looking at {}", path.display()))?,
    };
    make_writable(path)?;
    let deadline = Instant::now() + LAST_WRITES;
    loop {
        match fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            removed => return removed.with_context(|| format!("removing {}", path.display())),
        }
    }
}

fn make_writable(dir: &Path) -> anyhow::Result<()> {
    let metadata = fs::symlink_metadata(dir).with_context(|| format!("looking at {}", dir.display()))?;
    if !metadata.is_dir() {
        return Ok(());
    }
    if metadata.permissions().mode() & 0o700 != 0o700 {
        fs::set_permissions(dir, Permissions::from_mode(0o700))
            .with_context(|| format!("making {} writable", dir.display()))?;
    }
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let entry = entry.with_context(|| format!("reading {}", dir.display()))?;
        if entry.file_type().with_context(|| format!("looking at {}", entry.path().display()))?.is_dir() {
            make_writable(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn regular_files_only() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("file"), "abc").unwrap();
        require_regular(&at("file")).unwrap();
        symlink("file", at("link")).unwrap();
        symlink("/dev/zero", at("device")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "device", "pipe", "."] {
            let error = require_regular(&at(name)).unwrap_err().to_string();
            assert!(error.contains("expected a regular file"), "{name}: {error}");
        }
        assert!(require_regular(&at("absent")).is_err());
        for (name, read) in [("file", true), ("link", true), ("device", false), ("pipe", false), (".", false)] {
            assert_eq!(read_bounded(&at(name), 3).is_ok(), read, "{name}");
        }
        assert!(read_bounded(&at("file"), 2).is_err());
        for (name, copied) in [("file", true), ("link", false), ("device", false), ("pipe", false)] {
            assert_eq!(copy_own(&at(name), &at("copy")).is_ok(), copied, "{name}");
            assert_eq!(read_end_of_own(&at(name), 2).ok().as_deref(), copied.then_some(&b"bc"[..]), "{name}");
        }
        for name in ["link", "pipe", "absent"] {
            create_own(&at(name)).unwrap().write_all(b"new").unwrap();
            assert_eq!(fs::read(at(name)).unwrap(), b"new", "{name}");
        }
        assert_eq!(fs::read(at("file")).unwrap(), b"abc");
    }
}
