//! SHA-256 of a stream.

use measure::Sha256;
use sha2::Digest as _;
use std::io::{Read, Write};

/// Copies all of `from` to `to` (`std::io::sink()` when only the digest is wanted) and gives its length in bytes and
/// its digest.
pub fn copy(from: &mut (impl Read + ?Sized), to: &mut (impl Write + ?Sized)) -> std::io::Result<(u64, Sha256)> {
    let mut hash = sha2::Sha256::new();
    let mut length = 0;
    let mut buffer = [0; 1 << 16];
    loop {
        let read = from.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            return Ok((length, Sha256::new(hash.finalize().into())));
        };
        hash.update(bytes);
        to.write_all(bytes)?;
        length += read as u64;
    }
}
