//! The key statement: what the guest says of itself, and its report vouches for.

use crate::Error;
use crate::cbor::{Reader, Writer};
use crate::noise::{DH_KEY, KEM_KEY};
use measure::Sha256;
use measure::verity::VerityRoot;
use std::collections::BTreeSet;

/// Bytes of a key statement.
pub const MAX_STATEMENT: usize = 2048;
/// Models that a guest can serve.
pub const MAX_MODELS: usize = 16;

/// Version of the format, which is the first thing in it.
const VERSION: u64 = 1;

/// Whose keys these are and what is behind them. `docs/formats.md`, "Key statement".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatement {
    /// The static X25519 key.
    pub x25519: [u8; DH_KEY],
    /// The static ML-KEM-768 encapsulation key (FIPS 203).
    pub ml_kem: [u8; KEM_KEY],
    /// The Ed25519 key that signs receipts and nothing else.
    pub receipts: [u8; 32],
    /// Drawn at each boot.
    pub boot_id: [u8; 16],
    /// Counts the sets of keys since boot, from 0.
    pub epoch: u64,
    /// The verity roots of the models that are served, at most [`MAX_MODELS`].
    pub models: BTreeSet<VerityRoot>,
    /// SHA-256 of the operator document, if there is one.
    pub operator: Option<Sha256>,
}

impl KeyStatement {
    /// The statement's bytes. What it is known by is their SHA-256.
    ///
    /// # Errors
    /// When there are too many models.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        if self.models.len() > MAX_MODELS {
            return Err(Error::TooLong { limit: MAX_MODELS, found: self.models.len() });
        }
        let writer = Writer::new().map(8).uint(1).uint(VERSION).uint(2).bytes(&self.x25519);
        let writer = writer.uint(3).bytes(&self.ml_kem).uint(4).bytes(&self.receipts);
        let writer = writer.uint(5).bytes(&self.boot_id).uint(6).uint(self.epoch);
        let writer = writer.uint(7).array(self.models.len());
        let writer = self.models.iter().fold(writer, |writer, root| writer.bytes(root.0.as_bytes())).uint(8);
        let writer = match self.operator {
            Some(digest) => writer.bytes(digest.as_bytes()),
            None => writer.null(),
        };
        Ok(writer.finish())
    }

    /// Reads a statement in its one form.
    ///
    /// # Errors
    /// [`Error::Broken`] for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        if reader.map(8)? != 8 || reader.key(1)?.uint()? != VERSION {
            return Err(Error::Broken);
        }
        let x25519 = reader.key(2)?.fixed()?;
        let ml_kem = reader.key(3)?.fixed()?;
        let receipts = reader.key(4)?.fixed()?;
        let boot_id = reader.key(5)?.fixed()?;
        let epoch = reader.key(6)?.uint()?;
        let count = reader.key(7)?.array(MAX_MODELS)?;
        let mut models = BTreeSet::new();
        for _ in 0..count {
            let root = VerityRoot(Sha256::new(reader.fixed()?));
            if models.last().is_some_and(|last| *last >= root) {
                return Err(Error::Broken);
            }
            models.insert(root);
        }
        let operator = reader.key(8)?.optional(|reader| Ok(Sha256::new(reader.fixed()?)))?;
        reader.end()?;
        Ok(Self { x25519, ml_kem, receipts, boot_id, epoch, models, operator })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn roots(all: impl IntoIterator<Item = u8>) -> BTreeSet<VerityRoot> {
        all.into_iter().map(|n| VerityRoot(Sha256::new([n; 32]))).collect()
    }

    pub(crate) fn statement() -> KeyStatement {
        KeyStatement {
            x25519: [1; 32],
            ml_kem: [2; KEM_KEY],
            receipts: [3; 32],
            boot_id: [4; 16],
            epoch: 300,
            models: roots([6, 5]),
            operator: Some(Sha256::new([7; 32])),
        }
    }

    #[test]
    fn there_is_one_form() {
        let bare = KeyStatement { models: roots([]), operator: None, ..statement() };
        for statement in [statement(), bare, KeyStatement { models: roots(0..16), epoch: u64::MAX, ..statement() }] {
            let bytes = statement.to_bytes().unwrap();
            assert!(bytes.len() <= MAX_STATEMENT);
            assert_eq!(KeyStatement::parse(&bytes), Ok(statement));
            assert_eq!(KeyStatement::parse(&[&bytes[..], &[0]].concat()), Err(Error::Broken));
            for at in 0..bytes.len() {
                assert_eq!(KeyStatement::parse(&bytes[..at]), Err(Error::Broken));
                let mut other = bytes.clone();
                other[at] ^= 1;
                // Another byte is another statement, if it is one.
                let parsed = KeyStatement::parse(&other);
                assert!(parsed.is_err() || parsed.is_ok_and(|parsed| parsed.to_bytes().unwrap() == other), "{at}");
            }
        }
    }

    #[test]
    fn models_are_sorted_and_few() {
        let sorted = statement().to_bytes().unwrap();
        let at = sorted.windows(32).position(|window| window == [6; 32]).unwrap();
        for root in [4, 5] {
            let mut unsorted = sorted.clone();
            unsorted[at..at + 32].fill(root);
            assert_eq!(KeyStatement::parse(&unsorted), Err(Error::Broken));
        }
        let many = KeyStatement { models: roots(0..17), ..statement() };
        assert_eq!(many.to_bytes(), Err(Error::TooLong { limit: 16, found: 17 }));
    }
}
