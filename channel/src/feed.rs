//! The feed: what clients need beside the report and the guest does not read, such as the release, its proof and
//! certificates. The guest passes its bytes on; nobody believes them before the client has verified them.

use crate::Error;
use crate::cbor::{Reader, Writer};
use std::collections::BTreeMap;

/// Bytes of a feed: what the evidence message has room for.
pub const MAX_FEED: usize = 48 << 10;
/// Parts of a feed.
pub const MAX_PARTS: usize = 16;
/// Bytes of a part's name.
const MAX_NAME: usize = 32;

/// Parts by name. The names are those of a `.vitrine-bundle`.
pub type Parts = BTreeMap<String, Vec<u8>>;

/// The feed of these parts.
///
/// # Errors
/// When there are too many or they are too long, or a name is not one: 1 to 32 of `a` to `z`, `0` to `9` and `-`.
pub fn encode(parts: &Parts) -> Result<Vec<u8>, Error> {
    if parts.len() > MAX_PARTS {
        return Err(Error::TooLong { limit: MAX_PARTS, found: parts.len() });
    }
    let mut sorted: Vec<_> = parts.iter().collect();
    sorted.sort_by_key(|(name, _)| order(name));
    let mut writer = Writer::new().map(sorted.len());
    for (name, bytes) in sorted {
        if !is_name(name) {
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
    for _ in 0..reader.map(MAX_PARTS)? {
        let name = reader.text(MAX_NAME)?;
        if !is_name(name) || last.is_some_and(|last| order(last) >= order(name)) {
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

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(all: &[(&str, &[u8])]) -> Parts {
        all.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
    }

    #[test]
    fn parts_keep_their_bytes_and_there_is_one_order() {
        let all = parts(&[("release", b"{}"), ("snp-leaf", b""), ("a", &[0xff; 300])]);
        let feed = encode(&all).unwrap();
        assert_eq!(feed.get(..3), Some(&[0xa3, 0x61, b'a'][..]));
        assert_eq!(decode(&feed), Ok(all));
        assert_eq!(decode(&encode(&Parts::new()).unwrap()), Ok(Parts::new()));
        for refused in [
            &[0xa2, 0x61, b'b', 0x40, 0x61, b'a', 0x40][..],
            &[0xa2, 0x61, b'a', 0x40, 0x61, b'a', 0x40],
            &[0xa1, 0x60, 0x40],
            &[0xa1, 0x61, b'A', 0x40],
            &[0xa0, 0x00],
            &[0xb1],
            &[],
        ] {
            assert_eq!(decode(refused), Err(Error::Broken), "{refused:?}");
        }
    }

    #[test]
    fn what_the_reader_would_refuse_is_not_written() {
        let many: Vec<_> = (0..17).map(|n| format!("p{n}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), &b""[..])).collect();
        assert_eq!(encode(&parts(&many)), Err(Error::TooLong { limit: 16, found: 17 }));
        for name in ["", "A", "a.b", "é", &"a".repeat(33)] {
            assert_eq!(encode(&parts(&[(name, b"")])), Err(Error::Broken), "{name:?}");
        }
        let full = vec![0; MAX_FEED - 6];
        assert_eq!(encode(&parts(&[("a", &full)])).map(|feed| feed.len()), Ok(MAX_FEED));
        let long = vec![0; MAX_FEED - 5];
        assert_eq!(encode(&parts(&[("a", &long)])), Err(Error::TooLong { limit: MAX_FEED, found: MAX_FEED + 1 }));
        let mut by_hand = vec![0xa1, 0x61, b'a', 0x59];
        by_hand.extend((MAX_FEED as u16 - 5).to_be_bytes());
        by_hand.resize(MAX_FEED + 1, 0);
        assert_eq!(decode(&by_hand), Err(Error::Broken));
    }
}
