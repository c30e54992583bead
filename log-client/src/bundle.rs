//! Entry bundles (C2SP tlog-tiles, "Log entries"): entries one after the other, each after its length in two bytes.

use crate::tile::{Tile, WIDTH};

/// Bytes of the largest entry.
pub const MAX_ENTRY: usize = u16::MAX as usize;

/// Bytes of a full bundle of the largest entries.
pub const MAX_BUNDLE: u64 = (2 + MAX_ENTRY as u64) * WIDTH;

/// Why bytes are not a bundle, or an entry does not fit in one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// An entry is larger than [`MAX_ENTRY`].
    #[error("expected an entry of at most {MAX_ENTRY} bytes, found {found}")]
    TooLong {
        /// Its bytes.
        found: usize,
    },
    /// The bytes end inside an entry, or go on after the last.
    #[error("{tile}: expected {} entries, found {found} and bytes that are none", tile.width())]
    Entries {
        /// The bundle.
        tile: Tile,
        /// Whole entries found.
        found: usize,
    },
}

/// Appends an entry to a bundle's bytes.
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), BundleError> {
    let length = u16::try_from(entry.len()).map_err(|_large| BundleError::TooLong { found: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries in the bytes of the bundle `tile`: exactly as many as it is wide.
pub fn entries(tile: Tile, bytes: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while entries.len() < usize::from(tile.width()) {
        let cut = rest.split_first_chunk::<2>();
        let cut = cut.and_then(|(length, rest)| rest.split_at_checked(u16::from_be_bytes(*length).into()));
        let (entry, after) = cut.ok_or(BundleError::Entries { tile, found: entries.len() })?;
        entries.push(entry);
        rest = after;
    }
    if rest.is_empty() { Ok(entries) } else { Err(BundleError::Entries { tile, found: entries.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_entries_as_it_is_wide() {
        let tile: Tile = "tile/entries/000.p/2".parse().unwrap();
        let mut bytes = Vec::new();
        push(&mut bytes, b"one").unwrap();
        push(&mut bytes, &[]).unwrap();
        assert_eq!(bytes, b"\0\x03one\0\0");
        assert_eq!(entries(tile, &bytes).unwrap(), [&b"one"[..], b""]);
        for end in 0..bytes.len() {
            let found = usize::from(end >= 5);
            assert_eq!(entries(tile, &bytes[..end]), Err(BundleError::Entries { tile, found }));
        }
        push(&mut bytes, &[]).unwrap();
        assert_eq!(entries(tile, &bytes), Err(BundleError::Entries { tile, found: 2 }));
        assert_eq!(push(&mut bytes, &[0; MAX_ENTRY]), Ok(()));
        assert_eq!(push(&mut bytes, &[0; MAX_ENTRY + 1]), Err(BundleError::TooLong { found: 65_536 }));
    }
}
