//! The shape of a guest: what decides its VMSA pages besides firmware and VMM.

use core::fmt;
use core::str::FromStr;

/// Largest number of vCPUs: QEMU's limit for the q35 machine.
pub const MAX_VCPUS: u32 = 4096;

/// The CPU models of QEMU that can run SEV-SNP guests, and short names of products, with their signatures.
pub const CPU_TYPES: &[(&str, CpuSignature)] = &[
    ("EPYC", CpuSignature(0x80_0f12)),
    ("EPYC-v1", CpuSignature(0x80_0f12)),
    ("EPYC-v2", CpuSignature(0x80_0f12)),
    ("EPYC-IBPB", CpuSignature(0x80_0f12)),
    ("EPYC-v3", CpuSignature(0x80_0f12)),
    ("EPYC-v4", CpuSignature(0x80_0f12)),
    ("EPYC-Rome", CpuSignature(0x83_0f10)),
    ("EPYC-Rome-v1", CpuSignature(0x83_0f10)),
    ("EPYC-Rome-v2", CpuSignature(0x83_0f10)),
    ("EPYC-Rome-v3", CpuSignature(0x83_0f10)),
    ("EPYC-Milan", CpuSignature(0xa0_0f11)),
    ("EPYC-Milan-v1", CpuSignature(0xa0_0f11)),
    ("EPYC-Milan-v2", CpuSignature(0xa0_0f11)),
    ("EPYC-Genoa", CpuSignature(0xa1_0f10)),
    ("EPYC-Genoa-v1", CpuSignature(0xa1_0f10)),
    ("EPYC-Turin", CpuSignature(0xb0_0f00)),
    ("EPYC-Turin-v1", CpuSignature(0xb0_0f00)),
    ("EPYC-Turin-v2", CpuSignature(0xb0_0f00)),
    ("Rome", CpuSignature(0x83_0f10)),
    ("Milan", CpuSignature(0xa0_0f11)),
    ("Genoa", CpuSignature(0xa1_0f10)),
    ("Turin", CpuSignature(0xb0_0f00)),
];

/// CPUID Fn0000_0001 EAX of the guest's vCPUs: family, model, stepping. Text forms: `0x` and hexadecimal digits, and
/// when parsed also a name of [`CPU_TYPES`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuSignature(pub u32);

/// SEV_FEATURES of the VMSA (AMD 24593 "APM volume 2" table B-4, offset 0x3b0). Text form: `0x` and hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SevFeatures(pub u64);

/// A number of vCPUs, 1 to [`MAX_VCPUS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(into = "u32", try_from = "u32"))]
pub struct Vcpus(u32);

/// What decides the VMSA pages of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Number of vCPUs.
    pub vcpus: Vcpus,
    /// Their signature.
    pub cpu: CpuSignature,
    /// SEV features that the host turns on.
    pub sev_features: SevFeatures,
}

/// Why a text or number does not describe a guest's shape.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseShapeError {
    /// No vCPU, or too many.
    #[error("expected 1 to {MAX_VCPUS} vCPUs, found {found}")]
    Vcpus {
        /// The number found.
        found: u32,
    },
    /// Neither a name nor a signature.
    #[error("expected a CPU signature like 0xa00f11 or one of {}, found {found:?}", names())]
    Cpu {
        /// The text.
        found: String,
    },
    /// Not a feature mask.
    #[error("expected SEV features like 0x1, at most 16 hexadecimal digits, found {found:?}")]
    SevFeatures {
        /// The text.
        found: String,
    },
}

fn names() -> String {
    let names: Vec<_> = CPU_TYPES.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}

impl Vcpus {
    /// The number.
    pub const fn count(self) -> u32 {
        self.0
    }

    /// 1 to this number.
    pub(super) fn up_to(self) -> impl Iterator<Item = Self> {
        (1..=self.0).map(Self)
    }
}

impl TryFrom<u32> for Vcpus {
    type Error = ParseShapeError;

    fn try_from(found: u32) -> Result<Self, ParseShapeError> {
        if (1..=MAX_VCPUS).contains(&found) { Ok(Self(found)) } else { Err(ParseShapeError::Vcpus { found }) }
    }
}

impl From<Vcpus> for u32 {
    fn from(vcpus: Vcpus) -> Self {
        vcpus.0
    }
}

impl FromStr for CpuSignature {
    type Err = ParseShapeError;

    fn from_str(text: &str) -> Result<Self, ParseShapeError> {
        let named = CPU_TYPES.iter().find(|(name, _)| *name == text).map(|(_, signature)| *signature);
        let raw = || u32::try_from(prefixed_hex(text)?).ok().map(Self);
        named.or_else(raw).ok_or_else(|| ParseShapeError::Cpu { found: text.to_owned() })
    }
}

impl FromStr for SevFeatures {
    type Err = ParseShapeError;

    fn from_str(text: &str) -> Result<Self, ParseShapeError> {
        prefixed_hex(text).map(Self).ok_or_else(|| ParseShapeError::SevFeatures { found: text.to_owned() })
    }
}

/// A number written as `0x` and 1 to 16 lowercase hexadecimal digits.
fn prefixed_hex(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let strict = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    u64::from_str_radix(digits, 16).ok().filter(|_| strict)
}

impl fmt::Display for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for CpuSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SevFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl fmt::Debug for SevFeatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(feature = "serde")]
mod text_form {
    use super::{CpuSignature, SevFeatures};
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    impl Serialize for CpuSignature {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl Serialize for SevFeatures {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_str(self)
        }
    }

    impl<'de> Deserialize<'de> for CpuSignature {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }

    impl<'de> Deserialize<'de> for SevFeatures {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_signatures() {
        let cases = [
            ("EPYC-v4", Some(0x80_0f12)),
            ("Milan", Some(0xa0_0f11)),
            ("EPYC-Genoa", Some(0xa1_0f10)),
            ("Turin", Some(0xb0_0f00)),
            ("0xffffffff", Some(u32::MAX)),
            ("0x100000000", None),
            ("0x", None),
            ("0x+1", None),
            ("0xA00F11", None),
            ("a00f11", None),
            ("milan", None),
            ("", None),
        ];
        for (text, signature) in cases {
            assert_eq!(text.parse::<CpuSignature>().ok(), signature.map(CpuSignature), "{text:?}");
        }
        assert_eq!(CpuSignature(0xa0_0f11).to_string(), "0xa00f11");
        assert_eq!("0xffffffffffffffff".parse(), Ok(SevFeatures(u64::MAX)));
        assert!("0x10000000000000000".parse::<SevFeatures>().is_err());
        assert!("1".parse::<SevFeatures>().is_err());
    }

    #[test]
    fn vcpu_counts() {
        for (count, valid) in [(0, false), (1, true), (MAX_VCPUS, true), (MAX_VCPUS + 1, false), (u32::MAX, false)] {
            assert_eq!(Vcpus::try_from(count).is_ok(), valid, "{count}");
        }
    }
}
