//! Signed statements: DSSE envelopes (secure-systems-lab/dsse, v1) with Ed25519 signatures over an in-toto payload.
//!
//! An envelope is a leaf of the log, so there is one text for one content: compact JSON, members in the specification's
//! order, signatures sorted by key. A reader refuses any other, and so no two leaves say the same.

use crate::base64;
use crate::keys::{KeyId, PublicKey, SIGNATURE, SigningKey};
use measure::Sha256;
use serde::{Deserialize, Serialize};
use std::num::NonZeroUsize;

/// Largest envelope, in bytes.
pub const MAX_ENVELOPE: usize = 8192;
/// Most signatures of an envelope.
pub const MAX_SIGNATURES: usize = 8;
/// The only payload type.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A payload and signatures over it, none of which has been verified yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    #[serde(with = "base64")]
    payload: Vec<u8>,
    #[serde(rename = "payloadType")]
    payload_type: String,
    signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Who is said to have signed.
    pub keyid: KeyId,
    /// The signature over [`pae`].
    #[serde(with = "base64")]
    pub sig: [u8; SIGNATURE],
}

/// Why bytes are no envelope, or nobody who counts has signed it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DsseError {
    /// Too long.
    #[error("expected an envelope of at most {MAX_ENVELOPE} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// Not JSON, or not an envelope.
    #[error("expected a DSSE envelope")]
    Json(#[source] serde_json::Error),
    /// The same envelope would be written otherwise.
    #[error("expected the envelope's one form, which differs from byte {at} on")]
    Form {
        /// The first byte that differs, from 0.
        at: usize,
    },
    /// Another payload.
    #[error("expected payload type {PAYLOAD_TYPE}, found {found:?}")]
    PayloadType {
        /// The type found.
        found: String,
    },
    /// None, too many, two of one key, or not sorted.
    #[error("expected 1 to {MAX_SIGNATURES} signatures in ascending order of distinct key ids, found {found}")]
    Signatures {
        /// How many there are.
        found: usize,
    },
    /// A key that counts did not make the signature said to be its own.
    #[error("the signature of key {key} does not verify")]
    Forged {
        /// The key.
        key: KeyId,
    },
    /// Envelopes that are to be joined say different things.
    #[error("envelope {part} has another payload than the first, from byte {at} on")]
    OtherPayload {
        /// Which of them, from 1.
        part: usize,
        /// The first byte that differs, from 0.
        at: usize,
    },
    /// A key has signed twice among the envelopes that are to be joined.
    #[error("expected one signature of each key, found two of {key}")]
    Twice {
        /// The key.
        key: KeyId,
    },
    /// A key whose signature does not count is among those that are to be joined.
    #[error("expected signatures by the {given} given keys, found one of {key}")]
    Unlisted {
        /// The key.
        key: KeyId,
        /// How many keys count.
        given: usize,
    },
    /// Too few signatures by keys that count.
    #[error("expected signatures by {expected} of the given keys, found {found}")]
    TooFew {
        /// How many are needed.
        expected: NonZeroUsize,
        /// How many there are.
        found: usize,
    },
}

/// DSSE's pre-authentication encoding: what is signed.
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// `payload`, signed with every one of `keys`.
    ///
    /// # Errors
    /// When there is no key, a key is given twice, or the envelope gets too long.
    pub fn sign(payload: Vec<u8>, keys: &[&SigningKey]) -> Result<Self, DsseError> {
        let message = pae(PAYLOAD_TYPE, &payload);
        let sign = |key: &&SigningKey| Signature { keyid: key.public().id(), sig: key.sign(&message) };
        Self::new(payload, keys.iter().map(sign).collect())
    }

    /// The envelope with these signatures, made in different places perhaps, and whether or not they verify.
    ///
    /// # Errors
    /// As for [`Self::sign`].
    pub fn new(payload: Vec<u8>, mut signatures: Vec<Signature>) -> Result<Self, DsseError> {
        signatures.sort_by_key(|signature| signature.keyid);
        let envelope = Self { payload, payload_type: PAYLOAD_TYPE.to_owned(), signatures };
        envelope.check()?;
        match envelope.to_bytes().len() {
            found if found > MAX_ENVELOPE => Err(DsseError::Size { found }),
            _ => Ok(envelope),
        }
    }

    /// This envelope, signed with one more key.
    ///
    /// # Errors
    /// When the key has signed it, or the envelope gets too long.
    pub fn sign_also(self, key: &SigningKey) -> Result<Self, DsseError> {
        let also = Self::sign(self.payload.clone(), &[key])?;
        Self::joined(&[self, also])
    }

    /// One envelope with the signatures of all of `parts`, which were made in different places over one payload.
    ///
    /// # Errors
    /// When there is none, their payloads differ, or a key has signed twice.
    pub fn joined(parts: &[Self]) -> Result<Self, DsseError> {
        let Some(first) = parts.first() else { return Err(DsseError::Signatures { found: 0 }) };
        for (envelope, part) in parts.iter().zip(1..) {
            if let Some(at) = first_difference(&first.payload, &envelope.payload) {
                return Err(DsseError::OtherPayload { part, at });
            }
        }
        let mut signatures: Vec<_> = parts.iter().flat_map(|part| part.signatures.iter().cloned()).collect();
        signatures.sort_by_key(|signature| signature.keyid);
        match signatures.windows(2).find(|pair| matches!(pair, [left, right] if left.keyid == right.keyid)) {
            Some([left, _]) => Err(DsseError::Twice { key: left.keyid }),
            _ => Self::new(first.payload.clone(), signatures),
        }
    }

    /// Reads an envelope.
    ///
    /// # Errors
    /// When the bytes are not the one form of an envelope within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Self, DsseError> {
        if bytes.len() > MAX_ENVELOPE {
            return Err(DsseError::Size { found: bytes.len() });
        }
        let envelope: Self = serde_json::from_slice(bytes).map_err(DsseError::Json)?;
        envelope.check()?;
        match first_difference(bytes, &envelope.to_bytes()) {
            Some(at) => Err(DsseError::Form { at }),
            None => Ok(envelope),
        }
    }

    fn check(&self) -> Result<(), DsseError> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(DsseError::PayloadType { found: self.payload_type.clone() });
        }
        let found = self.signatures.len();
        let ascending = self.signatures.is_sorted_by(|left, right| left.keyid < right.keyid);
        if ascending && (1..=MAX_SIGNATURES).contains(&found) { Ok(()) } else { Err(DsseError::Signatures { found }) }
    }

    /// The envelope's bytes: those that were parsed, because there is only one form.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and arrays are always JSON")
    }

    /// SHA-256 of [`Self::to_bytes`]: what other statements call this one.
    pub fn sha256(&self) -> Sha256 {
        Sha256::of(&self.to_bytes())
    }

    /// The payload, whoever wrote it.
    pub fn unverified_payload(&self) -> &[u8] {
        &self.payload
    }

    /// The signatures, whoever made them.
    pub fn unverified_signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Checks that nobody but `keys` has signed, and enough of them.
    ///
    /// # Errors
    /// As for [`Self::verify`], or when somebody else has signed, too.
    pub fn verify_only(&self, keys: &[PublicKey], threshold: NonZeroUsize) -> Result<Vec<KeyId>, DsseError> {
        let listed = |signature: &&Signature| keys.iter().any(|key| key.id() == signature.keyid);
        match self.signatures.iter().find(|signature| !listed(signature)) {
            Some(Signature { keyid, .. }) => Err(DsseError::Unlisted { key: *keyid, given: keys.len() }),
            None => self.verify(keys, threshold),
        }
    }

    /// Those of `keys` that have signed the payload: at least `threshold`. Signatures of other keys say nothing.
    ///
    /// # Errors
    /// When too few have signed, or a signature that names one of them is not its own.
    pub fn verify(&self, keys: &[PublicKey], threshold: NonZeroUsize) -> Result<Vec<KeyId>, DsseError> {
        let message = pae(&self.payload_type, &self.payload);
        let mut signers = Vec::new();
        for Signature { keyid, sig } in &self.signatures {
            match keys.iter().find(|key| key.id() == *keyid) {
                Some(key) if key.verifies(&message, sig) => signers.push(*keyid),
                Some(_) => return Err(DsseError::Forged { key: *keyid }),
                None => {}
            }
        }
        match signers.len() {
            found if found < threshold.get() => Err(DsseError::TooFew { expected: threshold, found }),
            _ => Ok(signers),
        }
    }
}

/// Where two texts begin to differ.
pub(crate) fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    let same = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    (same < left.len().max(right.len())).then_some(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: NonZeroUsize = NonZeroUsize::MIN;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn envelope() -> Envelope {
        Envelope::sign(b"{}".to_vec(), &[&key(1), &key(2)]).unwrap()
    }

    /// The example of the specification's "protocol" page.
    #[test]
    fn pae_as_specified() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn signed_and_verified() {
        let envelope = envelope();
        let parsed = Envelope::parse(&envelope.to_bytes()).unwrap();
        assert_eq!(parsed, envelope);
        assert_eq!(parsed.unverified_payload(), b"{}");
        let [one, two, three] = [1, 2, 3].map(|seed| key(seed).public());
        let mut both = vec![one.id(), two.id()];
        both.sort();
        assert_eq!(parsed.verify(&[one, two], NonZeroUsize::new(2).unwrap()).unwrap(), both);
        assert_eq!(parsed.verify(&[one, three], ONE).unwrap(), [one.id()]);
        // One key given twice is still one.
        let error = parsed.verify(&[one, one], NonZeroUsize::new(2).unwrap()).unwrap_err();
        assert!(matches!(error, DsseError::TooFew { found: 1, .. }), "{error}");
        let error = parsed.verify(&[three], ONE).unwrap_err();
        assert!(matches!(error, DsseError::TooFew { found: 0, .. }), "{error}");
        let error = parsed.verify(&[], ONE).unwrap_err();
        assert!(matches!(error, DsseError::TooFew { found: 0, .. }), "{error}");
    }

    #[test]
    fn a_forged_signature_of_a_known_key_is_not_ignored() {
        let signed = envelope();
        let mut signatures = signed.unverified_signatures().to_vec();
        signatures[0].sig[40] ^= 1;
        let forged = Envelope::new(b"{}".to_vec(), signatures.clone()).unwrap();
        let keys = [key(1).public(), key(2).public()];
        assert!(matches!(forged.verify(&keys, ONE), Err(DsseError::Forged { key }) if key == signatures[0].keyid));
        let other = Envelope::new(b"{ }".to_vec(), signed.unverified_signatures().to_vec()).unwrap();
        assert!(matches!(other.verify(&keys, ONE), Err(DsseError::Forged { .. })));
    }

    #[test]
    fn only_one_form() {
        let envelope = envelope();
        let text = String::from_utf8(envelope.to_bytes()).unwrap();
        let [first, second] = envelope.unverified_signatures() else { panic!() };
        let json = |signature: &Signature| serde_json::to_string(signature).unwrap();
        let (first, second) = (json(first), json(second));
        for (from, to, reason) in [
            ("{\"payload\"", "{ \"payload\"", "differs from byte 1 on"),
            ("\"e30=\"", "\"e31=\"", "a DSSE envelope"),
            ("\"e30=\"", "\"e30\"", "a DSSE envelope"),
            ("\"e30=\"", "\"\\u006530=\"", "differs from byte 12 on"),
            ("\"payloadType\"", "\"payload\":\"e30=\",\"payloadType\"", "a DSSE envelope"),
            ("\"signatures\"", "\"more\":1,\"signatures\"", "a DSSE envelope"),
            ("in-toto", "in_toto", "payload type"),
            (&format!("{first},{second}"), &format!("{second},{first}"), "ascending"),
            (&format!("{first},{second}"), &format!("{first},{first}"), "ascending"),
            (&format!("{first},{second}"), "", "found 0"),
            ("]}", "]}\n", "differs"),
            ("]}", "]}x", "a DSSE envelope"),
        ] {
            assert_eq!(text.matches(from).count(), 1, "{from}");
            let error = Envelope::parse(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(reason), "{to}: {error}");
        }
    }

    #[test]
    fn signatures_from_different_places_are_joined() {
        let part = |payload: &str, seed| Envelope::sign(payload.as_bytes().to_vec(), &[&key(seed)]).unwrap();
        let [one, two, three] = [1, 2, 3].map(|seed| part("{}", seed));
        let joined = Envelope::joined(&[two.clone(), one.clone()]).unwrap();
        assert_eq!(joined, envelope());
        assert_eq!(one.clone().sign_also(&key(2)).unwrap(), joined);
        let keys = [1, 2, 4].map(|seed| key(seed).public());
        let both = NonZeroUsize::new(2).unwrap();
        assert_eq!(joined.verify_only(&keys, both).unwrap().len(), 2);
        let said = |result: Result<Envelope, DsseError>| result.unwrap_err().to_string();
        let verified = |envelope: &Envelope| envelope.verify_only(&keys, both).unwrap_err().to_string();
        let id = |seed| key(seed).public().id();
        for (found, expected) in [
            (said(Envelope::joined(&[])), "expected 1 to 8 signatures in ascending".to_owned()),
            (said(Envelope::joined(&[one.clone(), part("{ }", 2)])), "envelope 2 has another payload".to_owned()),
            (said(Envelope::joined(&[joined.clone(), one.clone()])), format!("found two of {}", id(1))),
            (said(joined.sign_also(&key(2))), format!("found two of {}", id(2))),
            (
                verified(&Envelope::joined(&[one.clone(), three]).unwrap()),
                format!("by the 3 given keys, found one of {}", id(3)),
            ),
            (verified(&one), "expected signatures by 2 of the given keys, found 1".to_owned()),
        ] {
            assert!(found.contains(&expected), "{expected}: {found}");
        }
    }

    #[test]
    fn limits() {
        let keys: Vec<_> = (0..9).map(key).collect();
        let all: Vec<_> = keys.iter().collect();
        assert!(matches!(Envelope::sign(vec![], &all), Err(DsseError::Signatures { found: 9 })));
        assert!(matches!(Envelope::sign(vec![], &[]), Err(DsseError::Signatures { found: 0 })));
        assert!(matches!(Envelope::sign(vec![0; 6144], &all[..1]), Err(DsseError::Size { .. })));
        let long = [&envelope().to_bytes()[..], &[b' '; MAX_ENVELOPE]].concat();
        assert!(matches!(Envelope::parse(&long), Err(DsseError::Size { .. })));
    }
}
