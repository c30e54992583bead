//! The part of CBOR (RFC 8949) that statements are written in, in its core deterministic form only (section 4.2.1):
//! unsigned numbers, byte strings, text, arrays, maps and null; shortest lengths, none indefinite.

use crate::Error;

const UINT: u8 = 0;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const NULL: u8 = 0xf6;

/// Bytes in the one form there is.
pub(crate) struct Writer(Vec<u8>);

impl Writer {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn head(mut self, major: u8, value: u64) -> Self {
        let major = major << 5;
        let bytes = value.to_be_bytes();
        let (additional, length) = match value {
            0..24 => (bytes[7], 0),
            24..0x100 => (24, 1),
            0x100..0x1_0000 => (25, 2),
            0x1_0000..0x1_0000_0000 => (26, 4),
            _ => (27, 8),
        };
        self.0.push(major | additional);
        self.0.extend(bytes.iter().skip(8_usize.saturating_sub(length)));
        self
    }

    pub(crate) fn uint(self, value: u64) -> Self {
        self.head(UINT, value)
    }

    pub(crate) fn bytes(self, bytes: &[u8]) -> Self {
        let mut writer = self.head(BYTES, bytes.len() as u64);
        writer.0.extend_from_slice(bytes);
        writer
    }

    pub(crate) fn text(self, text: &str) -> Self {
        let mut writer = self.head(TEXT, text.len() as u64);
        writer.0.extend_from_slice(text.as_bytes());
        writer
    }

    pub(crate) fn array(self, length: usize) -> Self {
        self.head(ARRAY, length as u64)
    }

    /// A map of `length` pairs; the caller writes them in the order of their keys' encodings.
    pub(crate) fn map(self, length: usize) -> Self {
        self.head(MAP, length as u64)
    }

    pub(crate) fn null(mut self) -> Self {
        self.0.push(NULL);
        self
    }
}

/// Reads bytes in the one form there is; anything else is [`Error::Broken`].
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// That nothing is left.
    pub(crate) fn end(self) -> Result<(), Error> {
        self.0.is_empty().then_some(()).ok_or(Error::Broken)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Error> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Error::Broken)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number<const N: usize>(&mut self, at_least: u64) -> Result<u64, Error> {
        let bytes = self.take(N)?;
        let value = bytes.iter().fold(0, |value: u64, byte| (value << 8) | u64::from(*byte));
        (value >= at_least).then_some(value).ok_or(Error::Broken)
    }

    fn head(&mut self, major: u8) -> Result<u64, Error> {
        let first = self.number::<1>(0)?;
        if first >> 5 != u64::from(major) {
            return Err(Error::Broken);
        }
        match first & 31 {
            small @ 0..24 => Ok(small),
            24 => self.number::<1>(24),
            25 => self.number::<2>(0x100),
            26 => self.number::<4>(0x1_0000),
            27 => self.number::<8>(0x1_0000_0000),
            _ => Err(Error::Broken),
        }
    }

    /// A length of at most `limit`.
    fn length(&mut self, major: u8, limit: usize) -> Result<usize, Error> {
        let length = usize::try_from(self.head(major)?).map_err(|_| Error::Broken)?;
        (length <= limit).then_some(length).ok_or(Error::Broken)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Error> {
        self.head(UINT)
    }

    pub(crate) fn bytes(&mut self, limit: usize) -> Result<&'a [u8], Error> {
        let length = self.length(BYTES, limit)?;
        self.take(length)
    }

    /// A byte string of exactly `N` bytes.
    pub(crate) fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.bytes(N)?.try_into().map_err(|_| Error::Broken)
    }

    pub(crate) fn text(&mut self, limit: usize) -> Result<&'a str, Error> {
        let length = self.length(TEXT, limit)?;
        core::str::from_utf8(self.take(length)?).map_err(|_| Error::Broken)
    }

    pub(crate) fn array(&mut self, limit: usize) -> Result<usize, Error> {
        self.length(ARRAY, limit)
    }

    pub(crate) fn map(&mut self, limit: usize) -> Result<usize, Error> {
        self.length(MAP, limit)
    }

    /// The key of a pair in a map that has all of its keys: exactly this number.
    pub(crate) fn key(&mut self, expected: u64) -> Result<&mut Self, Error> {
        (self.uint()? == expected).then_some(self).ok_or(Error::Broken)
    }

    /// Null, or what `read` reads.
    pub(crate) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<Option<T>, Error> {
        match self.0.split_first() {
            Some((&NULL, rest)) => {
                self.0 = rest;
                Ok(None)
            }
            _ => read(self).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8949, appendix A, and what it has to say of one longer head each.
    #[test]
    fn numbers_are_as_short_as_they_can_be() {
        for (value, encoded, longer) in [
            (0, &[0x00][..], &[0x18, 0x00][..]),
            (23, &[0x17], &[0x18, 0x17]),
            (24, &[0x18, 0x18], &[0x19, 0x00, 0x18]),
            (255, &[0x18, 0xff], &[0x19, 0x00, 0xff]),
            (1000, &[0x19, 0x03, 0xe8], &[0x1a, 0, 0, 0x03, 0xe8]),
            (65_535, &[0x19, 0xff, 0xff], &[0x1a, 0, 0, 0xff, 0xff]),
            (1_000_000, &[0x1a, 0x00, 0x0f, 0x42, 0x40], &[0x1b, 0, 0, 0, 0, 0x00, 0x0f, 0x42, 0x40]),
            (u64::MAX, &[0x1b, 255, 255, 255, 255, 255, 255, 255, 255], &[0x1c]),
        ] {
            assert_eq!(Writer::new().uint(value).finish(), encoded);
            let mut reader = Reader::new(encoded);
            assert_eq!(reader.uint(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
            assert_eq!(Reader::new(longer).uint(), Err(Error::Broken));
            let short = encoded.get(..encoded.len() - 1).unwrap();
            assert_eq!(Reader::new(short).uint(), Err(Error::Broken));
        }
    }

    #[test]
    fn the_other_kinds() {
        let encoded = Writer::new().map(1).uint(1).array(3).bytes(&[1, 2]).text("a").null().finish();
        assert_eq!(encoded, [0xa1, 0x01, 0x83, 0x42, 1, 2, 0x61, b'a', 0xf6]);
        let mut reader = Reader::new(&encoded);
        assert_eq!(reader.map(1), Ok(1));
        assert_eq!(reader.key(1).and_then(|reader| reader.array(3)), Ok(3));
        assert_eq!(reader.optional(|reader| reader.fixed::<2>()), Ok(Some([1, 2])));
        assert_eq!(reader.text(1), Ok("a"));
        assert_eq!(reader.optional(|reader| reader.fixed::<2>()), Ok(None));
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn what_is_refused() {
        // Indefinite lengths, lengths beyond the limit, other kinds, other keys, text that is none, and a rest.
        for refused in [&[0x5f, 0x41, 1, 0xff][..], &[0x43, 1, 2, 3], &[0x41], &[0x61, b'a'], &[0xf6], &[0xf7], &[]] {
            assert_eq!(Reader::new(refused).bytes(2), Err(Error::Broken), "{refused:?}");
        }
        assert_eq!(Reader::new(&[0x41, 1]).fixed::<2>(), Err(Error::Broken));
        assert_eq!(Reader::new(&[0x61, 0xff]).text(1), Err(Error::Broken));
        assert!(Reader::new(&[2]).key(1).is_err());
        assert_eq!(Reader::new(&[0x9f, 0xff]).array(9), Err(Error::Broken));
        assert_eq!(Reader::new(&[0]).end(), Err(Error::Broken));
    }
}
