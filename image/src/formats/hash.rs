//! Digests of streams.

use measure::Sha256;
use sha2::Digest as _;
use std::io::{ErrorKind, Read, Result, Write};

/// Copies all of `from` to `to` (`std::io::sink()` when only the digest is wanted) and gives its length in bytes and
/// its digest.
pub fn copy(from: &mut (impl Read + ?Sized), to: &mut (impl Write + ?Sized)) -> Result<(u64, Sha256)> {
    let mut hash = sha2::Sha256::new();
    let mut length = 0;
    pieces(from, |bytes| {
        hash.update(bytes);
        length += bytes.len() as u64;
        to.write_all(bytes)
    })?;
    Ok((length, Sha256::new(hash.finalize().into())))
}

/// Feeds all of `from` to `hash`.
pub(crate) fn feed(from: &mut impl Read, hash: &mut impl sha2::digest::Update) -> Result<()> {
    pieces(from, |bytes| {
        hash.update(bytes);
        Ok(())
    })
}

fn pieces(from: &mut (impl Read + ?Sized), mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = match from.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        match buffer.get(..read) {
            Some(bytes) if read > 0 => take(bytes)?,
            _ => return Ok(()),
        }
    }
}
