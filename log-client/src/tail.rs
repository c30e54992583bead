//! What ties a checkpoint to the past and to the present: that it continues an older one, and every entry behind the
//! release ("Feed" in `docs/formats.md`).

use crate::bundle::{self, BundleError};
use crate::encoding::{base64, decimal, digest};
use crate::merkle::MAX_PROOF;
use core::fmt;
use core::str::FromStr;
use measure::Sha256;

/// First line of a consistency proof.
const CONSISTENCY: &str = "vitrine-consistency 1";
/// First line of a tail.
const TAIL: &[u8] = b"vitrine-tail 1\n";

/// That a tree begins with all of an older one (RFC 6962, section 2.1.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consistency {
    /// Entries of the older tree.
    pub old: u64,
    /// The proof.
    pub hashes: Vec<Sha256>,
}

/// The entries behind another one, up to the end of the log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// The entries, in the order of the log.
    pub entries: Vec<Vec<u8>>,
}

/// Why bytes are neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// A line of a consistency proof has another shape or is missing.
    #[error("line {line}: expected {expected}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its shape.
        expected: &'static str,
    },
    /// The first line of a tail is another one.
    #[error("expected the first line \"vitrine-tail 1\"")]
    Magic,
    /// The bytes end inside an entry.
    #[error("expected entries, each after its length in two bytes, found {found} and bytes that are none")]
    Entries {
        /// Whole entries found.
        found: usize,
    },
}

impl FromStr for Consistency {
    type Err = TailError;

    fn from_str(text: &str) -> Result<Self, TailError> {
        let wrong = |line, expected| TailError::Line { line, expected };
        let mut lines = text.split_inclusive('\n').map(|line| line.strip_suffix('\n'));
        lines.next().flatten().filter(|line| *line == CONSISTENCY).ok_or(wrong(1, CONSISTENCY))?;
        let old = lines.next().flatten().and_then(decimal).ok_or(wrong(2, "a number of entries"))?;
        let hash = |(text, line): (Option<&str>, usize)| {
            text.and_then(digest)
                .filter(|_| line < MAX_PROOF + 3)
                .ok_or(wrong(line, "at most 63 times 32 bytes in base64"))
        };
        Ok(Self { old, hashes: lines.zip(3..).map(hash).collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{CONSISTENCY}\n{}", self.old)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash.as_bytes())))
    }
}

impl Tail {
    /// Reads a tail.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, TailError> {
        let mut rest = bytes.strip_prefix(TAIL).ok_or(TailError::Magic)?;
        let mut entries = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let cut = after.split_at_checked(u16::from_be_bytes(*length).into());
            let (entry, after) = cut.ok_or(TailError::Entries { found: entries.len() })?;
            entries.push(entry.to_vec());
            rest = after;
        }
        if rest.is_empty() { Ok(Self { entries }) } else { Err(TailError::Entries { found: entries.len() }) }
    }

    /// The tail's bytes.
    ///
    /// # Errors
    /// When an entry is larger than entries are.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let mut bytes = TAIL.to_vec();
        self.entries.iter().try_for_each(|entry| bundle::push(&mut bytes, entry))?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consistency_is_strict() {
        let proof = Consistency { old: 7, hashes: vec![Sha256::of(b"a"), Sha256::of(b"b")] };
        let text = proof.to_string();
        assert_eq!(text.parse(), Ok(proof));
        let many = Consistency { old: 0, hashes: vec![Sha256::of(b"a"); MAX_PROOF] }.to_string();
        assert_eq!(many.parse::<Consistency>().unwrap().hashes.len(), MAX_PROOF);
        let last = text.lines().last().unwrap();
        for (text, line) in [
            (text.replace("y 1", "y 2"), 1),
            (text.replace("\n7\n", "\n07\n"), 2),
            (text.replace("=\n", "\n"), 3),
            (text.trim_end().to_owned(), 4),
            (format!("{text}\n"), 5),
            (format!("{many}{last}\n"), 66),
            (String::new(), 1),
        ] {
            let Err(TailError::Line { line: found, .. }) = text.parse::<Consistency>() else { panic!("{text}") };
            assert_eq!(found, line, "{text}");
        }
    }

    #[test]
    fn tails_are_strict() {
        let tail = Tail { entries: vec![b"one".to_vec(), vec![]] };
        let bytes = tail.to_bytes().unwrap();
        assert_eq!(bytes, b"vitrine-tail 1\n\0\x03one\0\0");
        assert_eq!(Tail::parse(&bytes), Ok(tail));
        assert_eq!(Tail::parse(b"vitrine-tail 1\n"), Ok(Tail::default()));
        assert_eq!(Tail::parse(b"vitrine-tail 2\n"), Err(TailError::Magic));
        for (end, found) in [(bytes.len() - 1, 1), (19, 0), (16, 0)] {
            assert_eq!(Tail::parse(&bytes[..end]), Err(TailError::Entries { found }), "{end}");
        }
        assert!(Tail { entries: vec![vec![0; 65_536]] }.to_bytes().is_err());
    }
}
