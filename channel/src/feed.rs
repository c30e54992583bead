//! The feed: what clients need beside the report and the guest does not read: what a log says of the release, and
//! certificates. The guest passes its bytes on; nobody believes them before the client has verified them.
//!
//! What the log says is one part, `feed`, a whole `.vitrine-feed`: that has parts of which there are several, such as
//! rebuilds, and these here have names of their own.

use crate::Error;
use crate::cbor::{Reader, Writer};
use std::collections::BTreeMap;

/// Bytes of a feed: what the evidence message has room for.
pub const MAX_FEED: usize = 48 << 10;
/// The names that parts can have: a `.vitrine-feed`, and of a `.vitrine-bundle` what is neither in that nor the report.
pub const NAMES: [&str; 6] = ["feed", "snp-leaf", "snp-ask", "snp-ark", "snp-crl", "tdx-collateral"];
/// Bytes of the longest name.
const MAX_NAME: usize = 14;

/// Parts by name, which is one of [`NAMES`].
pub type Parts = BTreeMap<String, Vec<u8>>;

/// The feed of these parts.
///
/// # Errors
/// When they are too long, or a name is not one of [`NAMES`].
pub fn encode(parts: &Parts) -> Result<Vec<u8>, Error> {
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|(name, _)| order(name));
    let mut writer = Writer::new().map(sorted.len());
    for (name, bytes) in sorted {
        if !NAMES.contains(&name.as_str()) {
            return Err(Error::Broken);
        }
        writer = writer.text(name).bytes(bytes);
    }
    let feed = writer.finish();
    if feed.len() > MAX_FEED {
        return Err(Error::TooLong { limit: MAX_FEED, found: feed.len() });
    }
    Ok(feed)
}

/// Reads a feed.
///
/// # Errors
/// [`Error::Broken`] for anything that [`encode`] does not write.
pub fn decode(feed: &[u8]) -> Result<Parts, Error> {
    let mut reader = Reader::new(feed);
    let mut parts = Parts::new();
    let mut last: Option<&str> = None;
    for _ in 0..reader.map(NAMES.len())? {
        let name = reader.text(MAX_NAME)?;
        if !NAMES.contains(&name) || last.is_some_and(|last| order(last) >= order(name)) {
            return Err(Error::Broken);
        }
        last = Some(name);
        parts.insert(name.to_owned(), reader.bytes(MAX_FEED)?.to_vec());
    }
    reader.end()?;
    (feed.len() <= MAX_FEED).then_some(parts).ok_or(Error::Broken)
}

/// Sorts as the encodings of names sort.
fn order(name: &str) -> (usize, &str) {
    (name.len(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &[u8])]) -> Parts {
        all.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
    }

    #[test]
    fn parts_keep_their_bytes_and_there_is_one_order() {
        let all = parts(&[("snp-leaf", b""), ("feed", b"vitrine-feed 1\n\n"), ("snp-ark", &[0xff; 300])]);
        let feed = encode(&all).unwrap();
        assert_eq!(feed.get(..6), Some(&b"\xa3\x64feed"[..]));
        assert_eq!(decode(&feed), Ok(all));
        assert_eq!(decode(&encode(&Parts::new()).unwrap()), Ok(Parts::new()));
        let every: Vec<_> = NAMES.iter().map(|name| (*name, &b"x"[..])).collect();
        assert_eq!(decode(&encode(&parts(&every)).unwrap()), Ok(parts(&every)));
        for refused in [
            &b"\xa2\x67snp-ark\x40\x64feed\x40"[..],
            b"\xa2\x67snp-ask\x40\x67snp-ark\x40",
            b"\xa2\x64feed\x40\x64feed\x40",
            b"\xa1\x60\x40",
            b"\xa1\x64Feed\x40",
            b"\xa1\x67rebuild\x40",
            b"\xa0\x00",
            b"\xa7",
            b"",
        ] {
            assert_eq!(decode(refused), Err(Error::Broken), "{refused:?}");
        }
    }

    #[test]
    fn what_the_reader_would_refuse_is_not_written() {
        // The parts of a log's feed are in one, because a map has each name once.
        for name in ["", "Feed", "feed ", "release", "rebuild", "rebuild-proof", "snp-report", "tdx-quote"] {
            assert_eq!(encode(&parts(&[(name, b"")])), Err(Error::Broken), "{name:?}");
        }
        let full = vec![0; MAX_FEED - 9];
        assert_eq!(encode(&parts(&[("feed", &full)])).map(|feed| feed.len()), Ok(MAX_FEED));
        let long = vec![0; MAX_FEED - 8];
        assert_eq!(encode(&parts(&[("feed", &long)])), Err(Error::TooLong { limit: MAX_FEED, found: MAX_FEED + 1 }));
        let mut by_hand = b"\xa1\x64feed\x59".to_vec();
        by_hand.extend((MAX_FEED as u16 - 8).to_be_bytes());
        by_hand.resize(MAX_FEED + 1, 0);
        assert_eq!(decode(&by_hand), Err(Error::Broken));
    }
}
