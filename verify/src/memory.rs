//! What a client remembers of a log, so that nobody shows it an older world, or another one ("Memory" in
//! `docs/formats.md`). Who loses it relies on the status and the witnesses alone.

use log_client::lifecycle::Seen;
use measure::Sha256;
use serde::{Deserialize, Serialize};

/// Largest memory of a log, in bytes.
pub const MAX_MEMORY: usize = 4 << 10;

/// The newest that was ever accepted of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    schema: u32,
    /// The log's name.
    pub origin: String,
    /// Its entries.
    pub size: u64,
    /// The root of their tree.
    pub root_sha256: Sha256,
    /// The highest counter of a release.
    pub counter: u64,
    /// The highest sequence number of a status.
    pub sequence: u64,
}

/// Why bytes are not a memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// Too long.
    #[error("expected a memory of at most {MAX_MEMORY} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// Not JSON, or not a memory.
    #[error("expected what a client remembers of a log, as JSON")]
    Json(#[from] serde_json::Error),
    /// The same memory would be written otherwise, or by a newer Vitrine.
    #[error("expected a memory of schema 1 in its one form")]
    Form,
}

impl Memory {
    /// What is remembered once a checkpoint, a release and a status were accepted.
    pub fn new(origin: String, (size, root_sha256): (u64, Sha256), Seen { counter, sequence }: Seen) -> Self {
        Self { schema: 1, origin, size, root_sha256, counter, sequence }
    }

    /// Reads a memory.
    ///
    /// # Errors
    /// When the bytes are not its one form.
    pub fn parse(bytes: &[u8]) -> Result<Self, MemoryError> {
        if bytes.len() > MAX_MEMORY {
            return Err(MemoryError::Size { found: bytes.len() });
        }
        let memory: Self = serde_json::from_slice(bytes)?;
        if memory.schema == 1 && memory.to_bytes()? == bytes { Ok(memory) } else { Err(MemoryError::Form) }
    }

    /// The memory as a file.
    ///
    /// # Errors
    /// None that can happen: its members are text and numbers.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// The highest numbers.
    pub fn seen(&self) -> Seen {
        Seen { counter: self.counter, sequence: self.sequence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_per_memory() {
        let root = Sha256::of(b"");
        let memory = Memory::new("example.com/log".into(), (7, root), Seen { counter: 3, sequence: 5 });
        let text = format!(
            "{{\"schema\":1,\"origin\":\"example.com/log\",\"size\":7,\"root_sha256\":\"{root}\",\"counter\":3,\"sequence\":5}}\n"
        );
        assert_eq!(memory.to_bytes().unwrap(), text.as_bytes());
        assert_eq!(Memory::parse(text.as_bytes()).unwrap(), memory);
        for (from, to) in
            [("\"schema\":1", "\"schema\":2"), ("}\n", "}"), (":7", ": 7"), ("7", "-7"), ("}", ",\"x\":1}")]
        {
            assert!(Memory::parse(text.replacen(from, to, 1).as_bytes()).is_err(), "{to}");
        }
        assert!(matches!(Memory::parse(&[b' '; MAX_MEMORY + 1]), Err(MemoryError::Size { .. })));
    }
}
