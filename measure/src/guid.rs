//! GUIDs (RFC 9562): names of firmware table entries, and the UUID of a dm-verity superblock.

use crate::digest::{Hex, bytes_from_hex};
use core::fmt;
use core::str::FromStr;

/// A GUID. Its text form is the lowercase 8-4-4-4-12 one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Guid(u128);

/// Hexadecimal digits in each group of the text form.
const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];

impl Guid {
    /// All zeros.
    pub const NIL: Self = Self(0);

    /// The GUID whose text form is `digits` written in hexadecimal.
    pub const fn new(digits: u128) -> Self {
        Self(digits)
    }

    /// The GUID with these bytes in network order (RFC 9562), as dm-verity's superblock has them.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }

    /// Its bytes in network order.
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The GUID with these bytes in the order of UEFI and GPT: the first three groups little-endian.
    pub const fn from_mixed_endian(bytes: [u8; 16]) -> Self {
        Self::from_bytes(swap_groups(bytes))
    }

    /// Its bytes in the order of UEFI and GPT.
    pub const fn to_mixed_endian(self) -> [u8; 16] {
        swap_groups(self.to_bytes())
    }
}

/// Reverses the bytes of each of the first three groups.
const fn swap_groups([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]: [u8; 16]) -> [u8; 16] {
    [d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p]
}

/// The text is not a GUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a lowercase GUID like 01234567-89ab-cdef-0123-456789abcdef, found {found:?}")]
pub struct ParseGuidError {
    /// The text.
    pub found: String,
}

impl FromStr for Guid {
    type Err = ParseGuidError;

    fn from_str(text: &str) -> Result<Self, ParseGuidError> {
        let error = || ParseGuidError { found: text.to_owned() };
        if !text.split('-').map(str::len).eq(GROUPS) {
            return Err(error());
        }
        let bytes = bytes_from_hex(&text.replace('-', "")).map_err(|_hex| error())?;
        Ok(Self::from_bytes(bytes.try_into().map_err(|_length| error())?))
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g, h, i, j, k, tail @ ..] = self.to_bytes();
        let (a, b, c, d) = ([a, b, c, d], [e, g], [h, i], [j, k]);
        write!(f, "{}-{}-{}-{}-{}", Hex(&a), Hex(&b), Hex(&c), Hex(&d), Hex(&tail))
    }
}

impl fmt::Debug for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Guid {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Guid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_both_byte_orders() {
        let guid = Guid::new(0x01234567_89ab_cdef_0123_456789abcdef);
        let text = "01234567-89ab-cdef-0123-456789abcdef";
        assert_eq!(guid.to_string(), text);
        assert_eq!(text.parse(), Ok(guid));
        assert_eq!(guid.to_bytes()[..8], [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef]);
        assert_eq!(guid.to_mixed_endian()[..8], [0x67, 0x45, 0x23, 0x01, 0xab, 0x89, 0xef, 0xcd]);
        assert_eq!(guid.to_mixed_endian()[8..], guid.to_bytes()[8..]);
        assert_eq!(Guid::from_mixed_endian(guid.to_mixed_endian()), guid);

        for wrong in ["", &text[1..], &text.to_uppercase(), &text.replace('-', ""), &text.replace('7', "g")] {
            assert!(wrong.parse::<Guid>().is_err(), "{wrong:?}");
        }
    }
}
