//! The only digest types and the only hexadecimal in the workspace.

use core::fmt;
use core::str::FromStr;

/// A digest of `N` bytes. Its text form is exactly `2 * N` lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest<const N: usize>([u8; N]);

/// SHA-1, kept only because snapshot.debian.org names files by it. Never trusted.
pub type Sha1 = Digest<20>;
/// SHA-256 (FIPS 180-4).
pub type Sha256 = Digest<32>;
/// SHA-384 (FIPS 180-4), the size of an SEV-SNP launch digest.
pub type Sha384 = Digest<48>;

impl<const N: usize> Digest<N> {
    /// The digest with these bytes.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl Digest<32> {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl Digest<48> {
    /// SHA-384 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self(sha2::Sha384::digest(bytes).into())
    }
}

/// Declares a digest that means one particular thing; its text form is the digest's.
macro_rules! digest_newtype {
    ($(#[$doc:meta])* $name:ident($digest:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
        pub struct $name(pub $digest);

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                core::fmt::Display::fmt(&self.0, f)
            }
        }

        impl core::str::FromStr for $name {
            type Err = $crate::digest::ParseDigestError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}
pub(crate) use digest_newtype;

/// Why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDigestError {
    /// The text has another length.
    #[error("expected {expected} hexadecimal digits, found {found} bytes")]
    Length {
        /// Digits a digest of this size has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// A byte that is not one of `0-9a-f`.
    #[error("expected lowercase hexadecimal digits, found {found:?} at position {at}")]
    Character {
        /// The character found.
        found: char,
        /// Its position, from 0.
        at: usize,
    },
}

impl<const N: usize> FromStr for Digest<N> {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, ParseDigestError> {
        let expected = N.saturating_mul(2);
        if text.len() != expected {
            return Err(ParseDigestError::Length { expected, found: text.len() });
        }
        let mut bytes = [0; N];
        parse_hex(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

/// Fills `out` from `text`; the caller has checked that the lengths match.
fn parse_hex(text: &str, out: &mut [u8]) -> Result<(), ParseDigestError> {
    for (at, found) in text.char_indices() {
        let digit = match found {
            '0'..='9' | 'a'..='f' => found.to_digit(16),
            _ => None,
        };
        let digit = digit.ok_or(ParseDigestError::Character { found, at })?;
        if let Some(byte) = out.get_mut(at / 2) {
            *byte = *byte << 4 | digit as u8;
        }
    }
    Ok(())
}

/// Bytes of any length from lowercase hexadecimal: a salt on a command line, a raw signature.
pub fn bytes_from_hex(text: &str) -> Result<Vec<u8>, ParseDigestError> {
    if !text.len().is_multiple_of(2) {
        return Err(ParseDigestError::Length { expected: text.len().saturating_add(1), found: text.len() });
    }
    let mut bytes = vec![0; text.len() / 2];
    parse_hex(text, &mut bytes)?;
    Ok(bytes)
}

/// Shows bytes as lowercase hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() {
            // The short form for progress lines: enough to tell two apart, too little to copy as an answer.
            let head = self.0.get(..4).unwrap_or(&self.0);
            return write!(f, "{}…", Hex(head));
        }
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

impl<const N: usize> fmt::Debug for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

#[cfg(feature = "serde")]
impl<const N: usize> serde::Serialize for Digest<N> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de, const N: usize> serde::Deserialize<'de> for Digest<N> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_is_strict_and_round_trips() {
        let digest = Sha256::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse(), Ok(digest));
        assert_eq!(format!("{digest:#}"), "ba7816bf…");

        let short = &text[1..];
        assert_eq!(short.parse::<Sha256>(), Err(ParseDigestError::Length { expected: 64, found: 63 }));
        let upper = text.to_uppercase();
        assert_eq!(upper.parse::<Sha256>(), Err(ParseDigestError::Character { found: 'B', at: 0 }));
        let multibyte = format!("{}é", &text[2..]);
        assert_eq!(multibyte.parse::<Sha256>(), Err(ParseDigestError::Character { found: 'é', at: 62 }));
    }

    #[test]
    fn hex_of_any_length() {
        assert_eq!(bytes_from_hex("00ff10"), Ok(vec![0, 255, 16]));
        assert_eq!(bytes_from_hex(""), Ok(vec![]));
        assert!(bytes_from_hex("0").is_err());
        assert!(bytes_from_hex("0g").is_err());
        assert!(bytes_from_hex("éé").is_err());
    }
}
