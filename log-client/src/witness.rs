//! What logs and witnesses say to each other (C2SP tlog-witness), as bytes; and what a witness must answer.

use crate::checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
use crate::encoding::{base64, decimal, digest};
use crate::merkle::{MAX_PROOF, MerkleError, verify_consistency};
use crate::note::{MAX_NOTE, Note, VerifierKey};
use core::fmt;
use measure::Sha256;

/// Bytes of a request that is read: a checkpoint and 63 hashes.
pub const MAX_REQUEST: usize = MAX_NOTE + (8 << 10);

/// The body of `POST <prefix>/add-checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Entries of the newest tree that the log believes the witness to know.
    pub old: u64,
    /// That the new tree begins with the old one.
    pub proof: Vec<Sha256>,
    /// The new checkpoint, signed by the log.
    pub checkpoint: String,
}

/// Why bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected `old <size>`, at most {MAX_PROOF} hashes in base64, an empty line and a checkpoint")]
pub struct RequestError;

impl AddCheckpoint {
    /// Reads a request.
    pub fn parse(body: &[u8]) -> Result<Self, RequestError> {
        parse(body).ok_or(RequestError)
    }

    /// The origin of the checkpoint, which anybody may have written.
    pub fn unverified_origin(&self) -> Result<String, CheckpointError> {
        // One that nobody signed has an origin as well, and is refused for that alone.
        let text = match self.checkpoint.strip_suffix('\n').filter(|text| text.ends_with('\n')) {
            Some(unsigned) => unsigned,
            None => Note::parse(self.checkpoint.as_bytes())?.unverified_text(),
        };
        Ok(text.parse::<Checkpoint>()?.origin)
    }

    /// What a witness must answer that trusts `logs` and has last cosigned `latest` of this log.
    pub fn answer(&self, logs: &[VerifierKey], latest: Option<&Checkpoint>) -> Answer {
        let origin = match self.unverified_origin() {
            Ok(origin) => origin,
            Err(error) => return Answer::Malformed(error.to_string()),
        };
        let mut signed = logs
            .iter()
            .filter(|log| log.name() == origin)
            .map(|log| SignedCheckpoint::verify(self.checkpoint.as_bytes(), log))
            .peekable();
        if signed.peek().is_none() {
            return Answer::UnknownLog;
        }
        let Some(new) = signed.find_map(Result::ok) else { return Answer::NotSigned };
        let (size, root) = (new.checkpoint().size, new.checkpoint().root);
        let empty = crate::merkle::empty_root();
        let (latest_size, latest_root) = latest.map_or((0, &empty), |latest| (latest.size, &latest.root));
        if self.old > size {
            return Answer::Malformed(format!("old size {} is above the checkpoint's {size}", self.old));
        }
        if self.old != latest_size {
            return Answer::OtherSize(latest_size);
        }
        match verify_consistency((latest_size, latest_root), (size, &root), &self.proof) {
            Ok(()) => Answer::Cosign(Box::new(new)),
            Err(error) => Answer::Inconsistent { error, evidence: Box::new(new) },
        }
    }
}

fn parse(body: &[u8]) -> Option<AddCheckpoint> {
    let text = str::from_utf8(body).ok().filter(|text| text.len() <= MAX_REQUEST)?;
    let (head, checkpoint) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    let old = decimal(lines.next()?.strip_prefix("old ")?)?;
    let proof: Vec<_> = lines.map(digest).collect::<Option<_>>()?;
    (proof.len() <= MAX_PROOF).then(|| AddCheckpoint { old, proof, checkpoint: checkpoint.to_owned() })
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{}", base64(hash.as_bytes())))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// A witness's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Store this checkpoint, then cosign it.
    Cosign(Box<SignedCheckpoint>),
    /// Not a request or a checkpoint.
    Malformed(String),
    /// None of the witness's logs.
    UnknownLog,
    /// The log did not sign it.
    NotSigned,
    /// The witness's newest tree has this many entries.
    OtherSize(u64),
    /// The tree does not begin with the one that the witness knows.
    Inconsistent {
        /// Why.
        error: MerkleError,
        /// What the log signed: with the witness's own copy, the proof of a fork.
        evidence: Box<SignedCheckpoint>,
    },
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosign(_) => 200,
            Self::Malformed(_) => 400,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
            Self::OtherSize(_) => 409,
            Self::Inconsistent { .. } => 422,
        }
    }
}

/// The size in the body of an answer 409.
pub fn parse_size(body: &[u8]) -> Option<u64> {
    decimal(str::from_utf8(body).ok()?.strip_suffix('\n')?)
}

#[cfg(test)]
mod tests;
