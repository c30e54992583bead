//! Whole files: read with a limit, replaced in one step.

use anyhow::Context as _;
use std::fs::{File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A whole file of at most `limit` bytes.
pub fn read_bounded(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
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
