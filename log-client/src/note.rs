//! Signed notes (C2SP signed-note): a text, and keys that signed it.

use crate::cosignature;
use crate::encoding::{base64, from_base64};
use crate::keys::{PublicKey, SigningKey};
use core::fmt;
use core::str::FromStr;
use measure::Sha256;
use measure::digest::Hex;

/// Bytes of a note that is read: room for 16 post-quantum signatures and a text.
pub const MAX_NOTE: usize = 128 << 10;
/// Signature lines of a note that is read; the specification asks for at least 16.
pub const MAX_SIGNATURES: usize = 64;
/// Bytes of a verifier key's text that is read: an ML-DSA-44 key and a name.
pub const MAX_VERIFIER_KEY: usize = 4096;

/// Starts a signature line: U+2014 and a space.
const DASH: &str = "— ";
/// Starts the text of a secret key.
const SECRET: &str = "PRIVATE+KEY+";

/// What is signed and how: the byte that goes into a key id (signed-note, "Signature types").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignatureType(pub u8);

impl SignatureType {
    /// Ed25519 over the note's text.
    pub const ED25519: Self = Self(0x01);
    /// ECDSA; the key's id is that of its SubjectPublicKeyInfo alone.
    pub const ECDSA: Self = Self(0x02);
    /// A witness's Ed25519 signature with a time (tlog-cosignature).
    pub const COSIGNATURE: Self = Self(0x04);
    /// A `TreeHeadSignature` of RFC 6962 (static-ct-api).
    pub const TREE_HEAD: Self = Self(0x05);
    /// A cosignature with ML-DSA-44.
    pub const ML_DSA_44: Self = Self(0x06);
    /// Anything without a byte of its own.
    pub const OTHER: Self = Self(0xff);
}

/// Tells keys of the same name apart; too short to vouch for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Hex(&self.0), f)
    }
}

/// Why a text is not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The text has another shape.
    #[error("expected {expected}, found something else")]
    Form {
        /// The shape.
        expected: &'static str,
    },
    /// The name cannot stand in a signature line.
    #[error("expected a name without spaces, control characters and +, found {found:?}")]
    Name {
        /// The name found.
        found: String,
    },
    /// The id is that of another key.
    #[error("expected the key id {expected}, found {found}")]
    Id {
        /// The id of the key in the text.
        expected: KeyId,
        /// The id in the text.
        found: KeyId,
    },
    /// The bytes are no key of their type, or one with which anybody could sign.
    #[error("expected an Ed25519 public key, found bytes that are none")]
    Point,
}

/// A public key with its name: who a signature is from.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: KeyId,
    kind: SignatureType,
    public: Public,
}

#[derive(Clone, PartialEq, Eq)]
enum Public {
    Ed25519(PublicKey),
    /// Of a type whose signatures are not verified here.
    Other(Vec<u8>),
}

impl VerifierKey {
    /// The key of this name, type and encoding.
    pub fn new(name: &str, kind: SignatureType, public: &[u8]) -> Result<Self, KeyError> {
        if !is_name(name) {
            return Err(KeyError::Name { found: name.to_owned() });
        }
        let id = match kind {
            SignatureType::ECDSA => Sha256::of(public),
            SignatureType(byte) => Sha256::of(&[name.as_bytes(), b"\n", &[byte], public].concat()),
        };
        let [a, b, c, d, ..] = *id.as_bytes();
        let public = match kind {
            SignatureType::ED25519 | SignatureType::COSIGNATURE => {
                let key = public.try_into().ok().and_then(|bytes| PublicKey::new(bytes).ok());
                Public::Ed25519(key.ok_or(KeyError::Point)?)
            }
            _ => Public::Other(public.to_vec()),
        };
        Ok(Self { name: name.to_owned(), id: KeyId([a, b, c, d]), kind, public })
    }

    /// The name in signature lines; a log's is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id in signature lines.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// What the key signs.
    pub fn kind(&self) -> SignatureType {
        self.kind
    }

    /// The key's encoding, by which duplicates are found.
    pub fn public(&self) -> &[u8] {
        match &self.public {
            Public::Ed25519(key) => key.as_bytes(),
            Public::Other(bytes) => bytes,
        }
    }

    /// The same key for signatures of another type.
    pub fn with_kind(&self, kind: SignatureType) -> Result<Self, KeyError> {
        Self::new(&self.name, kind, self.public())
    }

    /// The time of a cosignature, `None` for a signature without one.
    fn verify(&self, text: &str, signature: &[u8]) -> Result<Option<u64>, NoteError> {
        let refused = || NoteError::Signature { name: self.name.clone(), id: self.id };
        let Public::Ed25519(key) = &self.public else {
            return Err(NoteError::Unsupported { name: self.name.clone(), kind: self.kind.0 });
        };
        let (time, message, signature) = match self.kind {
            SignatureType::COSIGNATURE => {
                let (time, signature) = cosignature::split(signature).ok_or_else(refused)?;
                (Some(time), cosignature::message(time, text), signature)
            }
            _ => (None, text.to_owned(), signature),
        };
        let signature = signature.try_into().map_err(|_length| refused())?;
        if key.verifies(message.as_bytes(), signature) { Ok(time) } else { Err(refused()) }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let encoded = [&[self.kind.0], self.public()].concat();
        write!(f, "{}+{}+{}", self.name, self.id, base64(&encoded))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    /// Reads `<name>+<id>+<base64>`.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = KeyError::Form { expected: "a verifier key <name>+<id>+<base64>" };
        if text.len() > MAX_VERIFIER_KEY {
            return Err(form);
        }
        let (name, found, encoded) = split_key(text).ok_or(form.clone())?;
        let (kind, public) = encoded.split_first().ok_or(form)?;
        let key = Self::new(name, SignatureType(*kind), public)?;
        if key.id != found {
            return Err(KeyError::Id { expected: key.id, found });
        }
        Ok(key)
    }
}

/// The secret half of an Ed25519 key with its name.
pub struct Signer {
    key: VerifierKey,
    secret: SigningKey,
}

impl Signer {
    /// The signer of this name and seed, for notes or for cosignatures.
    pub fn new(name: &str, kind: SignatureType, seed: &[u8; 32]) -> Result<Self, KeyError> {
        Self::with_key(name, kind, SigningKey::from_seed(seed))
    }

    /// The signer of this name and key, for notes or for cosignatures.
    pub fn with_key(name: &str, kind: SignatureType, secret: SigningKey) -> Result<Self, KeyError> {
        if ![SignatureType::ED25519, SignatureType::COSIGNATURE].contains(&kind) {
            return Err(KeyError::Form { expected: "a secret key of type 01 or 04" });
        }
        Ok(Self { key: VerifierKey::new(name, kind, secret.public().as_bytes())?, secret })
    }

    /// Reads `PRIVATE+KEY+<name>+<id>+<base64>`, the form of Go's note package: the id is the public key's, the base64
    /// holds the type and the seed.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let form = KeyError::Form { expected: "a secret key PRIVATE+KEY+<name>+<id>+<base64>" };
        let (name, found, encoded) = text.strip_prefix(SECRET).and_then(split_key).ok_or(form.clone())?;
        let (kind, seed) = encoded.split_first().ok_or(form.clone())?;
        let signer = Self::new(name, SignatureType(*kind), seed.try_into().map_err(|_length| form)?)?;
        match signer.key.id == found {
            true => Ok(signer),
            false => Err(KeyError::Id { expected: signer.key.id, found }),
        }
    }

    /// The public half.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// A signature line, with its newline, over `text`. `time`, in seconds since 1970, is that of a cosignature and
    /// part of no other signature.
    pub fn sign(&self, text: &str, time: u64) -> String {
        let signature = match self.key.kind {
            SignatureType::COSIGNATURE => {
                let signature = self.secret.sign(cosignature::message(time, text).as_bytes());
                [&time.to_be_bytes()[..], &signature].concat()
            }
            _ => self.secret.sign(text.as_bytes()).to_vec(),
        };
        format!("{DASH}{} {}\n", self.key.name, base64(&[&self.key.id.0[..], &signature].concat()))
    }
}

/// Why bytes are not a note, or not one that the keys signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// More bytes than [`MAX_NOTE`] or more lines than [`MAX_SIGNATURES`].
    #[error("expected a note of at most {MAX_NOTE} bytes and {MAX_SIGNATURES} signatures, found more")]
    TooLong,
    /// Not UTF-8, or with a control character.
    #[error("expected UTF-8 without control characters other than newlines")]
    Characters,
    /// There is no text, empty line and signature.
    #[error("expected a text, an empty line and signature lines")]
    Form,
    /// A signature line has another shape.
    #[error("signature line {line}: expected `— <name> <base64>`")]
    Line {
        /// The line, from 1 after the empty one.
        line: usize,
    },
    /// A signature by a known key does not verify.
    #[error("the signature of {name} ({id}) does not verify")]
    Signature {
        /// The key's name.
        name: String,
        /// The key's id.
        id: KeyId,
    },
    /// A signature by a known key of a type that is not verified here.
    #[error("the key of {name} has the type {kind:#04x}, whose signatures are not verified here")]
    Unsupported {
        /// The key's name.
        name: String,
        /// The type's byte.
        kind: u8,
    },
    /// No known key signed.
    #[error("none of the known keys signed the note")]
    NotSigned,
}

/// A note as it was received. Nothing in it is to be believed before [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note<'a> {
    text: &'a str,
    signatures: Vec<Line<'a>>,
}

/// A signature line of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// Who claims to have signed.
    pub name: &'a str,
    /// Which of their keys.
    pub id: KeyId,
    /// The signature, without the id.
    pub signature: Vec<u8>,
    /// The line as it was received, with its newline.
    pub text: &'a str,
}

/// That a key signed the note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed<'k> {
    /// The key.
    pub by: &'k VerifierKey,
    /// When it says it did, in seconds since 1970, if its type has a time; the newest if it signed more than once.
    pub time: Option<u64>,
}

impl<'a> Note<'a> {
    /// Splits a note at its last empty line.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE {
            return Err(NoteError::TooLong);
        }
        let note = str::from_utf8(bytes).map_err(|_invalid| NoteError::Characters)?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Characters);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let text = note.get(..text.len().saturating_add(1)).ok_or(NoteError::Form)?;
        if !signatures.ends_with('\n') {
            return Err(NoteError::Form);
        }
        Ok(Self { text, signatures: parse_lines(signatures)? })
    }

    /// The text, which anybody may have written.
    pub fn unverified_text(&self) -> &'a str {
        self.text
    }

    /// The signature lines, which anybody may have written.
    pub fn unverified_lines(&self) -> &[Line<'a>] {
        &self.signatures
    }

    /// Which of `keys` signed, in the order of `keys`: at least one did. Lines of other keys are ignored; a line of one
    /// of them that does not verify refuses the note.
    pub fn verify<'k>(&self, keys: impl IntoIterator<Item = &'k VerifierKey>) -> Result<Vec<Signed<'k>>, NoteError> {
        let mut signed = Vec::new();
        for by in keys {
            let times = self
                .signatures
                .iter()
                .filter(|line| line.name == by.name && line.id == by.id)
                .map(|line| by.verify(self.text, &line.signature))
                .collect::<Result<Vec<_>, _>>()?;
            signed.extend(times.into_iter().max().map(|time| Signed { by, time }));
        }
        if signed.is_empty() { Err(NoteError::NotSigned) } else { Ok(signed) }
    }
}

/// Reads signature lines as they end a note, or as a witness answers.
pub fn parse_lines(text: &str) -> Result<Vec<Line<'_>>, NoteError> {
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    if lines.len() > MAX_SIGNATURES {
        return Err(NoteError::TooLong);
    }
    let parsed = lines.into_iter().zip(1..).map(|(text, line)| parse_line(text).ok_or(NoteError::Line { line }));
    parsed.collect()
}

fn parse_line(text: &str) -> Option<Line<'_>> {
    let (name, encoded) = text.strip_suffix('\n')?.strip_prefix(DASH)?.split_once(' ')?;
    let decoded = from_base64(encoded)?;
    let (id, signature) = decoded.split_first_chunk::<4>()?;
    let usable = is_name(name) && !signature.is_empty();
    usable.then(|| Line { name, id: KeyId(*id), signature: signature.to_vec(), text })
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| !c.is_whitespace() && !c.is_control() && c != '+')
}

/// The name, id and decoded remainder of a key's text. Base64 may contain a `+`, names do not.
fn split_key(text: &str) -> Option<(&str, KeyId, Vec<u8>)> {
    let (name, rest) = text.split_once('+')?;
    let (id, encoded) = rest.split_once('+')?;
    let id = measure::digest::bytes_from_hex(id).ok()?;
    Some((name, KeyId(id.try_into().ok()?), from_base64(encoded)?))
}

#[cfg(test)]
mod tests;
