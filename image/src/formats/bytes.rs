//! Little-endian fields of on-disk structures, and what the readers of such structures share.

use anyhow::Context as _;
use std::fmt;

/// Fills the buffer with the bytes at an offset, or fails. A file, a partition of a file or a slice.
pub type ReadAt<'a> = dyn Fn(u64, &mut [u8]) -> std::io::Result<()> + Sync + 'a;

/// What was read is not what it says it is: a checksum that differs, copies that disagree. An answer ("no"), where any
/// other error means that nothing could be decided.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Corrupt(String);

impl Corrupt {
    /// With this as the finding.
    pub fn new(what: &str) -> Self {
        Self(what.to_owned())
    }

    /// `found` is stored, `computed` is what it should be.
    pub fn unless_equal<T: PartialEq + fmt::Display>(what: &str, found: T, computed: T) -> Result<(), Self> {
        if found == computed { Ok(()) } else { Err(Self(format!("{what}: found {found}, computed {computed}"))) }
    }
}

/// What was read is fine as far as it was read, but uses what is not supported here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}, which is not supported")]
pub struct Unsupported(pub String);

/// Fields at byte offsets; an error where the structure is too short.
pub(crate) trait At {
    fn array<const N: usize>(&self, at: usize) -> anyhow::Result<[u8; N]>;

    fn u16(&self, at: usize) -> anyhow::Result<u16> {
        self.array(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> anyhow::Result<u32> {
        self.array(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> anyhow::Result<u64> {
        self.array(at).map(u64::from_le_bytes)
    }
}

impl At for [u8] {
    fn array<const N: usize>(&self, at: usize) -> anyhow::Result<[u8; N]> {
        let bytes = self.get(at..).and_then(|rest| rest.first_chunk());
        bytes.copied().with_context(|| format!("{} bytes end before a field at byte {at}", self.len()))
    }
}
