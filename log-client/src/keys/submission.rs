//! The P-256 key with which releases are submitted to public logs, because their stock verifiers take no Ed25519. No
//! verdict of ours rests on it.

use measure::Sha256;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{DerSignature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};

/// A public key for ECDSA with P-256 and SHA-256.
#[derive(Clone, PartialEq, Eq)]
pub struct SubmissionPublicKey {
    key: VerifyingKey,
    spki: Vec<u8>,
}

/// Bytes that are no SubjectPublicKeyInfo of P-256 in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the SubjectPublicKeyInfo of a P-256 key in DER")]
pub struct SpkiError;

impl SubmissionPublicKey {
    /// The key in this SubjectPublicKeyInfo (RFC 5480).
    ///
    /// # Errors
    /// When it is another kind of key, or not its one form in DER.
    pub fn from_spki(spki: &[u8]) -> Result<Self, SpkiError> {
        let key = Self::new(VerifyingKey::from_public_key_der(spki).map_err(|_malformed| SpkiError)?);
        if key.spki == spki { Ok(key) } else { Err(SpkiError) }
    }

    fn new(key: VerifyingKey) -> Self {
        let spki = key.to_public_key_der().expect("a point is always encoded in 91 bytes").into_vec();
        Self { key, spki }
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// SHA-256 of [`Self::spki`]: what logs call the key.
    pub fn id(&self) -> Sha256 {
        Sha256::of(&self.spki)
    }

    /// Whether `signature` (an ECDSA-Sig-Value in DER) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        DerSignature::from_bytes(signature).is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

impl std::fmt::Debug for SubmissionPublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.id().fmt(f)
    }
}

/// A private key. It is wiped from memory when dropped and shows itself nowhere.
pub struct SubmissionKey(SigningKey);

impl SubmissionKey {
    /// The key with this scalar, big-endian; `None` if it is zero or not less than the group's order.
    pub fn from_scalar(scalar: &[u8; 32]) -> Option<Self> {
        SigningKey::from_bytes(scalar.into()).ok().map(Self)
    }

    /// The public half.
    pub fn public(&self) -> SubmissionPublicKey {
        SubmissionPublicKey::new(*self.0.verifying_key())
    }

    /// Signs `message`, deterministically (RFC 6979); an ECDSA-Sig-Value in DER.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.0.sign(message);
        signature.as_bytes().to_vec()
    }

    #[cfg(feature = "edges")]
    pub(super) fn secret(&self) -> p256::SecretKey {
        p256::SecretKey::from(self.0.as_nonzero_scalar())
    }

    #[cfg(feature = "edges")]
    pub(super) fn from_secret(secret: &p256::SecretKey) -> Self {
        Self(secret.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::digest::{Hex, bytes_from_hex};

    /// RFC 6979, appendix A.2.5, SHA-256, "sample".
    #[test]
    fn as_in_the_rfc() {
        let hex = |text| bytes_from_hex(text).unwrap();
        let scalar = hex("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").try_into().unwrap();
        let key = SubmissionKey::from_scalar(&scalar).unwrap();
        let signature = key.sign(b"sample");
        let expected = concat!(
            "3046022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716",
            "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8"
        );
        assert_eq!(Hex(&signature).to_string(), expected);
        let public = SubmissionPublicKey::from_spki(key.public().spki()).unwrap();
        assert!(public.verifies(b"sample", &signature));
        assert!(!public.verifies(b"Sample", &signature));
        assert!(!public.verifies(b"sample", &signature[1..]));
        assert!(SubmissionKey::from_scalar(&[0; 32]).is_none());
        assert!(SubmissionKey::from_scalar(&[0xff; 32]).is_none());
    }

    #[test]
    fn other_keys_are_refused() {
        let spki = SubmissionKey::from_scalar(&[1; 32]).unwrap().public().spki().to_vec();
        assert_eq!(spki.len(), 91);
        for at in 0..spki.len() {
            let mut other = spki.clone();
            other[at] ^= 1;
            assert_eq!(SubmissionPublicKey::from_spki(&other), Err(SpkiError), "byte {at}");
        }
        assert_eq!(SubmissionPublicKey::from_spki(&[&spki[..], &[0]].concat()), Err(SpkiError));
        assert_eq!(SubmissionPublicKey::from_spki(&[]), Err(SpkiError));
    }
}
