//! Ed25519 keys: releases, statuses and the log itself are signed with them.

#[cfg(feature = "edges")]
pub mod at_rest;
mod submission;

pub use submission::{SpkiError, SubmissionKey, SubmissionPublicKey};

use crate::base64;
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use measure::Sha256;
use serde::{Deserialize, Serialize};

/// The SHA-256 of the 32 bytes of an Ed25519 public key: its `keyid` in DSSE envelopes.
pub type KeyId = Sha256;

/// Bytes of an Ed25519 signature (RFC 8032).
pub const SIGNATURE: usize = 64;

/// An Ed25519 public key. Text form in JSON: base64 of its 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Encoded", try_from = "Encoded")]
pub struct PublicKey(VerifyingKey);

/// Why bytes are no usable public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not the encoding of a point.
    #[error("expected the encoding of a point of Ed25519")]
    Point,
    /// A point of small order: almost anything is its signature.
    #[error("expected an Ed25519 key, found a point of small order")]
    Weak,
}

impl PublicKey {
    /// The key with this encoding.
    ///
    /// # Errors
    /// When it is no point, or one of small order.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_not_a_point| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(Self(key)) }
    }

    /// The key's encoding.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// What DSSE calls it.
    pub fn id(&self) -> KeyId {
        KeyId::of(self.as_bytes())
    }

    /// Whether `signature` is this key's over `message`, by RFC 8032 without its cofactored leniency.
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        measure::digest::Digest::new(*self.as_bytes()).fmt(f)
    }
}

/// A private key. It is wiped from memory when dropped and shows itself nowhere.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key that RFC 8032 derives from this seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE] {
        self.0.sign(message).to_bytes()
    }
}

/// A public key as JSON has it.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Encoded(#[serde(with = "base64")] [u8; 32]);

impl From<PublicKey> for Encoded {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl TryFrom<Encoded> for PublicKey {
    type Error = KeyError;

    fn try_from(encoded: Encoded) -> Result<Self, KeyError> {
        Self::new(&encoded.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::digest::bytes_from_hex;

    /// RFC 8032, section 7.1, TEST 3.
    #[test]
    fn as_in_the_rfc() {
        let hex = |text| bytes_from_hex(text).unwrap();
        let seed = hex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7").try_into().unwrap();
        let public = hex("fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025").try_into().unwrap();
        let signature = hex(concat!(
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ))
        .try_into()
        .unwrap();
        let key = SigningKey::from_seed(&seed);
        assert_eq!(key.public(), PublicKey::new(&public).unwrap());
        assert_eq!(key.sign(&[0xaf, 0x82]), signature);
        assert!(key.public().verifies(&[0xaf, 0x82], &signature));
        assert!(!key.public().verifies(&[0xaf, 0x83], &signature));
    }

    #[test]
    fn weak_and_malformed_keys() {
        let identity = {
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        };
        assert_eq!(PublicKey::new(&identity), Err(KeyError::Weak));
        let mut no_point = [0; 32];
        no_point[0] = 2;
        assert_eq!(PublicKey::new(&no_point), Err(KeyError::Point));
        let json = |text: &str| serde_json::from_str::<PublicKey>(text).map_err(|error| error.to_string());
        assert!(json("\"AAAA\"").unwrap_err().contains("another length than 3 bytes"));
        assert!(json("\"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"").unwrap_err().contains("small order"));
        assert!(json("\"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\"").unwrap_err().contains("base64"));
    }
}
