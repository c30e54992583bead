//! Checkpoints (C2SP tlog-checkpoint): a log's name, its number of entries and the root of their tree.

use crate::encoding::{base64, decimal, digest};
use crate::note::{Line, Note, NoteError, VerifierKey};
use core::fmt;
use core::str::FromStr;
use measure::Sha256;

/// What a log says of itself. Read from text it is a claim; see [`SignedCheckpoint`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Entries in the tree, at most 2^63 - 1.
    pub size: u64,
    /// The tree's root (RFC 6962, section 2.1).
    pub root: Sha256,
    /// Further lines, which mean nothing here. Ours have none.
    pub extensions: Vec<String>,
}

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// A line has another shape or is missing.
    #[error("checkpoint line {line}: expected {expected}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Its shape.
        expected: &'static str,
    },
    /// The log's name is not the key's.
    #[error("expected a checkpoint of {expected}, found one of {found:?}")]
    Origin {
        /// The key's name.
        expected: String,
        /// The name found.
        found: String,
    },
    /// The note around it.
    #[error(transparent)]
    Note(#[from] NoteError),
}

impl fmt::Display for Checkpoint {
    /// Writes the text that is signed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, base64(self.root.as_bytes()))?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let wrong = |line, expected| CheckpointError::Line { line, expected };
        let mut lines = text.split_inclusive('\n').zip(1..).map(|(line, number)| {
            let line = line.strip_suffix('\n').filter(|line| !line.is_empty());
            line.ok_or(wrong(number, "a line that is not empty and ends with a newline"))
        });
        let mut next = |line, expected| lines.next().unwrap_or(Err(wrong(line, expected)));
        let origin = next(1, "an origin")?.to_owned();
        let size = next(2, "a number of entries").map(decimal)?.ok_or(wrong(2, "a number of entries"))?;
        let root = next(3, "a root hash").map(digest)?.ok_or(wrong(3, "32 bytes in base64"))?;
        let extensions = lines.map(|line| line.map(str::to_owned)).collect::<Result<_, _>>()?;
        Ok(Self { origin, size, root, extensions })
    }
}

/// A checkpoint that its log signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: String,
}

impl SignedCheckpoint {
    /// Reads a note that the log with this key signed. Other signatures are kept and not looked at.
    pub fn verify(note: &[u8], log: &VerifierKey) -> Result<Self, CheckpointError> {
        let parsed = Note::parse(note)?;
        parsed.verify([log])?;
        let checkpoint: Checkpoint = parsed.unverified_text().parse()?;
        if checkpoint.origin != log.name() {
            let (expected, found) = (log.name().to_owned(), checkpoint.origin);
            return Err(CheckpointError::Origin { expected, found });
        }
        Ok(Self { checkpoint, note: String::from_utf8_lossy(note).into_owned() })
    }

    /// What the log signed.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note with the signature lines of these keys only, in the order received.
    pub fn note_by(&self, keys: &[VerifierKey]) -> Result<String, NoteError> {
        let note = Note::parse(self.note.as_bytes())?;
        let by = |line: &&Line<'_>| keys.iter().any(|key| key.name() == line.name && key.id() == line.id);
        let lines: String = note.unverified_lines().iter().filter(by).map(|line| line.text).collect();
        Ok(format!("{}\n{lines}", self.checkpoint))
    }

    /// The note as it was received.
    pub fn note(&self) -> &str {
        &self.note
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::note::{SignatureType, Signer};

    const TEXT: &str = "example.com/log\n7\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";

    #[test]
    fn strict_and_round_trips() {
        for good in [TEXT.to_owned(), format!("{TEXT}more\nand more\n")] {
            assert_eq!(good.parse::<Checkpoint>().unwrap().to_string(), good);
        }
        let wrong = |line, expected| Err(CheckpointError::Line { line, expected });
        for (text, error) in [
            (String::new(), wrong(1, "an origin")),
            (TEXT.replace("example.com/log", ""), wrong(1, "a line that is not empty and ends with a newline")),
            (TEXT.replace("\n7\n", "\n07\n"), wrong(2, "a number of entries")),
            (TEXT.replace("\n7\n", "\n\n"), wrong(2, "a line that is not empty and ends with a newline")),
            (TEXT.replace("Cs", "C"), wrong(3, "32 bytes in base64")),
            (TEXT.replace("q2I=", "q2J="), wrong(3, "32 bytes in base64")),
            (TEXT.trim_end().to_owned(), wrong(3, "a line that is not empty and ends with a newline")),
            ("a\n1\n".to_owned(), wrong(3, "a root hash")),
            (format!("{TEXT}\n"), wrong(4, "a line that is not empty and ends with a newline")),
        ] {
            assert_eq!(text.parse::<Checkpoint>(), error, "{text:?}");
        }
    }

    #[test]
    fn only_its_own_log_signs_it() {
        let signer = |name| Signer::new(name, SignatureType::ED25519, &[7; 32]).unwrap();
        let (own, other) = (signer("example.com/log"), signer("example.com/other"));
        let note = format!("{TEXT}\n{}", own.sign(TEXT, 0));
        assert_eq!(SignedCheckpoint::verify(note.as_bytes(), own.key()).unwrap().checkpoint().size, 7);
        let stolen = format!("{TEXT}\n{}", other.sign(TEXT, 0));
        let refused = SignedCheckpoint::verify(stolen.as_bytes(), other.key());
        assert!(matches!(refused, Err(CheckpointError::Origin { .. })), "{refused:?}");
    }
}
