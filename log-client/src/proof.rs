//! Proofs that travel with what they prove (C2SP tlog-proof): an index, the hashes up to the root and a checkpoint.

use crate::encoding::{base64, decimal, digest, from_base64};
use crate::merkle::{MAX_PROOF, MerkleError, leaf_hash, verify_inclusion};
use crate::note::MAX_NOTE;
use crate::policy::{Accepted, Policy, Refusal};
use core::fmt;
use measure::Sha256;

/// Bytes of a proof that is read: a checkpoint, 63 hashes and what else there may be.
pub const MAX_BYTES: usize = MAX_NOTE + (64 << 10);

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof as it was received, or as it is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Bytes that nobody signed.
    pub unverified_extra: Option<Vec<u8>>,
    /// The entry's index.
    pub index: u64,
    /// The hashes from the entry's sibling up.
    pub hashes: Vec<Sha256>,
    /// The checkpoint with its signatures.
    pub checkpoint: String,
}

/// Why bytes are not a proof, or do not prove it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// More bytes than [`MAX_BYTES`] or more hashes than [`MAX_PROOF`].
    #[error("expected a proof of at most {MAX_BYTES} bytes and {MAX_PROOF} hashes, found more")]
    TooLong,
    /// A line has another shape.
    #[error("proof line {line}: expected {expected}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its shape.
        expected: &'static str,
    },
    /// The policy refuses the checkpoint.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] Refusal),
    /// The entry is not at this index of the tree.
    #[error("inclusion: {0}")]
    Inclusion(#[from] MerkleError),
}

impl Proof {
    /// Reads a proof.
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_BYTES {
            return Err(ProofError::TooLong);
        }
        let wrong = |line, expected| ProofError::Line { line, expected };
        let text = str::from_utf8(bytes).map_err(|_invalid| wrong(1, "UTF-8"))?;
        let (head, checkpoint) = text.split_once("\n\n").ok_or(wrong(1, "lines, an empty line and a checkpoint"))?;
        let mut lines = head.split('\n').zip(1..).peekable();
        if lines.next() != Some((HEADER, 1)) {
            return Err(wrong(1, HEADER));
        }
        let extra = lines.next_if(|(line, _)| line.starts_with("extra "));
        let unverified_extra = extra
            .map(|(line, _)| from_base64(&line["extra ".len()..]).ok_or(wrong(2, "extra <base64>")))
            .transpose()?;
        let (index, _) = lines
            .next()
            .and_then(|(line, number)| Some((decimal(line.strip_prefix("index ")?)?, number)))
            .ok_or(wrong(if unverified_extra.is_some() { 3 } else { 2 }, "index <number>"))?;
        let hashes = lines.map(|(line, number)| digest(line).ok_or(wrong(number, "32 bytes in base64")));
        let hashes: Vec<_> = hashes.collect::<Result<_, _>>()?;
        if hashes.len() > MAX_PROOF {
            return Err(ProofError::TooLong);
        }
        Ok(Self { unverified_extra, index, hashes, checkpoint: checkpoint.to_owned() })
    }

    /// Checks that `policy` accepts the checkpoint and that `entry` is in its tree.
    pub fn verify(&self, entry: &[u8], policy: &Policy) -> Result<Accepted, ProofError> {
        let accepted = policy.accept(self.checkpoint.as_bytes())?;
        let Accepted { checkpoint, .. } = &accepted;
        verify_inclusion(&leaf_hash(entry), self.index, checkpoint.size, &checkpoint.root, &self.hashes)?;
        Ok(accepted)
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.unverified_extra {
            writeln!(f, "extra {}", base64(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.hashes.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash.as_bytes())))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

#[cfg(test)]
mod tests;
