//! Secret keys at rest: PKCS #8, encrypted with a passphrase, as PEM. OpenSSL reads and writes the same.

use super::{PublicKey, SigningKey, SubmissionKey, SubmissionPublicKey};
use ed25519_dalek::pkcs8::KeypairBytes;
use measure::Sha256;
use pkcs8::der::Decode as _;
use pkcs8::der::pem::PemLabel as _;
use pkcs8::pkcs5::pbes2::{self, Kdf};
use pkcs8::pkcs5::{EncryptionScheme, scrypt};
use pkcs8::{DecodePublicKey as _, Document, EncodePrivateKey as _, EncodePublicKey as _, EncryptedPrivateKeyInfoRef};
use pkcs8::{LineEnding, PrivateKeyInfoRef, SecretDocument, SubjectPublicKeyInfoRef};
use zeroize::{Zeroize as _, Zeroizing};

/// Longest file with a key, in bytes.
pub const MAX_KEY_FILE: usize = 4096;
/// Longest passphrase, in bytes.
pub const MAX_PASSPHRASE: usize = 1024;

/// The cost of guessing: scrypt with N = 2^14, r = 8, p = 5. More memory and OpenSSL would not read it.
const LOG_N: u8 = 14;
const BLOCK_SIZE: u32 = 8;
const PARALLELISM: u32 = 5;
/// Most work that reading a key may be, as a multiple of ours: somebody else may have made it.
const MAX_COST: u64 = 64;
const SALT: usize = 16;
const IV: usize = 16;

/// A secret key of either kind.
pub enum SecretKey {
    /// For statements, checkpoints and cosignatures.
    Ed25519(SigningKey),
    /// For submissions to public logs.
    P256(SubmissionKey),
}

/// The public half of a [`SecretKey`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AnyPublicKey {
    /// For statements, checkpoints and cosignatures.
    Ed25519(PublicKey),
    /// For submissions to public logs.
    P256(SubmissionPublicKey),
}

/// A secret that a key is encrypted with: 1 to [`MAX_PASSPHRASE`] bytes, wiped from memory when dropped.
#[derive(PartialEq, Eq)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtRestError {
    /// The operating system gives no random bytes.
    #[error("reading random bytes")]
    Random(#[source] getrandom::Error),
    /// The passphrase's length.
    #[error("expected a passphrase of 1 to {MAX_PASSPHRASE} bytes, found {found}")]
    Passphrase {
        /// Its length.
        found: usize,
    },
    /// Not an encrypted key, or not a public one.
    #[error("expected a public key, or an encrypted PKCS #8 key, as PEM of at most {MAX_KEY_FILE} bytes")]
    Pem,
    /// Encrypted in another way.
    #[error("expected a key encrypted with scrypt, of at most {MAX_COST} times our cost, and AES-256-CBC")]
    Scheme,
    /// The wrong passphrase, or a damaged file: they cannot be told apart.
    #[error("the passphrase is wrong or the file is damaged")]
    Decrypt,
    /// A key of another kind.
    #[error("expected an Ed25519 or P-256 key")]
    Kind,
}

impl Passphrase {
    /// The passphrase that is `bytes` without one final line break.
    ///
    /// # Errors
    /// When nothing is left, or too much.
    pub fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, AtRestError> {
        if bytes.pop_if(|last| *last == b'\n').is_some() {
            let _carriage_return = bytes.pop_if(|last| *last == b'\r');
        }
        match bytes.len() {
            1..=MAX_PASSPHRASE => Ok(Self(bytes)),
            found => Err(AtRestError::Passphrase { found }),
        }
    }
}

impl SecretKey {
    /// A new Ed25519 key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_ed25519() -> Result<Self, AtRestError> {
        Ok(Self::Ed25519(SigningKey::from_seed(&*random()?)))
    }

    /// A new P-256 key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn generate_p256() -> Result<Self, AtRestError> {
        loop {
            // One scalar in 2^32 is not below the group's order.
            if let Some(key) = SubmissionKey::from_scalar(&*random()?) {
                return Ok(Self::P256(key));
            }
        }
    }

    /// The public half.
    pub fn public(&self) -> AnyPublicKey {
        match self {
            Self::Ed25519(key) => AnyPublicKey::Ed25519(key.public()),
            Self::P256(key) => AnyPublicKey::P256(key.public()),
        }
    }

    /// The key, encrypted with a fresh salt.
    ///
    /// # Errors
    /// When there is no randomness.
    pub fn to_pem(&self, passphrase: &Passphrase) -> Result<String, AtRestError> {
        let (salt, iv) = (random::<SALT>()?, random::<IV>()?);
        let cost = scrypt::Params::new(LOG_N, BLOCK_SIZE, PARALLELISM).expect("the constants are in range");
        let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &*salt, *iv).expect("the salt is short enough");
        let plain = self.to_pkcs8();
        let info = PrivateKeyInfoRef::from_der(plain.as_bytes()).expect("it was made here");
        let encrypted = info.encrypt_with_params(scheme, &*passphrase.0).expect("a key is short enough");
        let pem = encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).expect("a key is short");
        Ok(pem.to_string())
    }

    fn to_pkcs8(&self) -> SecretDocument {
        let document = match self {
            // Without the public key, which OpenSSL does not expect there.
            Self::Ed25519(SigningKey(key)) => {
                let mut bytes = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                let document = bytes.to_pkcs8_der();
                bytes.secret_key.zeroize();
                document
            }
            Self::P256(key) => key.secret().to_pkcs8_der(),
        };
        document.expect("a key is short enough")
    }

    /// Decrypts a key.
    ///
    /// # Errors
    /// When the text is no such key, or the passphrase is another.
    pub fn from_pem(pem: &str, passphrase: &Passphrase) -> Result<Self, AtRestError> {
        if pem.len() > MAX_KEY_FILE {
            return Err(AtRestError::Pem);
        }
        let (label, document) = SecretDocument::from_pem(pem).map_err(|_malformed| AtRestError::Pem)?;
        EncryptedPrivateKeyInfoRef::validate_pem_label(label).map_err(|_other| AtRestError::Pem)?;
        let info = EncryptedPrivateKeyInfoRef::from_der(document.as_bytes()).map_err(|_malformed| AtRestError::Pem)?;
        if !acceptable(&info.encryption_algorithm) {
            return Err(AtRestError::Scheme);
        }
        let plain = info.decrypt(&*passphrase.0).map_err(|_padding| AtRestError::Decrypt)?;
        let info = PrivateKeyInfoRef::from_der(plain.as_bytes()).map_err(|_nonsense| AtRestError::Decrypt)?;
        if let Ok(mut bytes) = KeypairBytes::try_from(info.clone()) {
            let key = SigningKey::from_seed(&bytes.secret_key);
            bytes.secret_key.zeroize();
            let agrees = bytes.public_key.is_none_or(|public| public.0 == *key.public().as_bytes());
            return if agrees { Ok(Self::Ed25519(key)) } else { Err(AtRestError::Kind) };
        }
        let key = p256::SecretKey::try_from(info).map_err(|_other| AtRestError::Kind)?;
        Ok(Self::P256(SubmissionKey::from_secret(&key)))
    }
}

/// Whether a key in this encryption may be read: ours, at a bounded cost.
fn acceptable(scheme: &EncryptionScheme) -> bool {
    let Some(pbes2::Parameters { kdf: Kdf::Scrypt(kdf), encryption: pbes2::EncryptionScheme::Aes256Cbc { .. } }) =
        scheme.pbes2()
    else {
        return false;
    };
    let cost = |n: u64, r: u32, p: u32| n.saturating_mul(u64::from(r)).saturating_mul(u64::from(p));
    let ours = cost(1 << LOG_N, BLOCK_SIZE, PARALLELISM);
    cost(kdf.cost_parameter, kdf.block_size.into(), kdf.parallelization.into()) <= ours.saturating_mul(MAX_COST)
}

impl AnyPublicKey {
    /// The key in this SubjectPublicKeyInfo, as PEM.
    ///
    /// # Errors
    /// When it is another kind of key.
    pub fn from_pem(pem: &str) -> Result<Self, AtRestError> {
        if pem.len() > MAX_KEY_FILE {
            return Err(AtRestError::Pem);
        }
        let (label, document) = Document::from_pem(pem).map_err(|_malformed| AtRestError::Pem)?;
        SubjectPublicKeyInfoRef::validate_pem_label(label).map_err(|_other| AtRestError::Pem)?;
        if let Ok(key) = SubmissionPublicKey::from_spki(document.as_bytes()) {
            return Ok(Self::P256(key));
        }
        let key = ed25519_dalek::VerifyingKey::from_public_key_der(document.as_bytes());
        let key = key.ok().and_then(|key| PublicKey::new(key.as_bytes()).ok());
        key.map(Self::Ed25519).ok_or(AtRestError::Kind)
    }

    /// SHA-256 of the key: of its 32 bytes, or of its SubjectPublicKeyInfo for P-256.
    pub fn id(&self) -> Sha256 {
        match self {
            Self::Ed25519(key) => key.id(),
            Self::P256(key) => key.id(),
        }
    }

    /// The algorithm's name.
    pub fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519",
            Self::P256(_) => "p256",
        }
    }

    /// The SubjectPublicKeyInfo as PEM, as other programs read it.
    pub fn to_pem(&self) -> String {
        let spki = self.spki();
        let document = Document::try_from(spki.as_slice()).expect("it was made here");
        let pem = document.to_pem(SubjectPublicKeyInfoRef::PEM_LABEL, LineEnding::LF);
        pem.expect("a key is short enough")
    }

    /// The SubjectPublicKeyInfo in DER.
    pub fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ed25519(PublicKey(key)) => key.to_public_key_der().expect("a key is short enough").into_vec(),
            Self::P256(key) => key.spki().to_vec(),
        }
    }
}

fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, AtRestError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(AtRestError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
    }

    #[test]
    fn both_kinds_survive_and_only_the_passphrase_opens_them() {
        for key in [SecretKey::generate_ed25519().unwrap(), SecretKey::generate_p256().unwrap()] {
            let pem = key.to_pem(&passphrase("correct horse\n")).unwrap();
            assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
            assert_ne!(pem, key.to_pem(&passphrase("correct horse")).unwrap());
            let again = SecretKey::from_pem(&pem, &passphrase("correct horse\r\n")).unwrap();
            assert_eq!(again.public(), key.public());
            let error = SecretKey::from_pem(&pem, &passphrase("wrong horse")).err().unwrap();
            assert!(matches!(error, AtRestError::Decrypt), "{error}");
        }
    }

    /// Made by OpenSSL 3.0: `openssl genpkey -algorithm ed25519`, then `openssl pkcs8 -topk8 -scrypt -scrypt_p 5 -v2
    /// aes-256-cbc -passout pass:vitrine`; the public key is from `openssl pkey -pubout`. Likewise for P-256.
    #[test]
    fn openssl_writes_the_same() {
        for (secret, public, algorithm) in [
            (include_str!("testdata/ed25519.pem"), include_str!("testdata/ed25519.pub"), "ed25519"),
            (include_str!("testdata/p256.pem"), include_str!("testdata/p256.pub"), "p256"),
        ] {
            let key = SecretKey::from_pem(secret, &passphrase("vitrine")).unwrap();
            assert_eq!((key.public().algorithm(), key.public().to_pem().as_str()), (algorithm, public));
            assert_eq!(AnyPublicKey::from_pem(public).unwrap(), key.public());
            assert!(AnyPublicKey::from_pem(secret).is_err());
        }
    }

    #[test]
    fn refused() {
        let open = |pem: &str| SecretKey::from_pem(pem, &passphrase("vitrine")).map(drop).unwrap_err().to_string();
        let good = include_str!("testdata/ed25519.pem");
        for (pem, reason) in [
            ("", "encrypted PKCS #8"),
            (&good.replace("ENCRYPTED ", ""), "encrypted PKCS #8"),
            (&good.replace("\n-----END", "\nAAAA\n-----END"), "encrypted PKCS #8"),
            (&format!("{good}{}", "\n".repeat(MAX_KEY_FILE)), "encrypted PKCS #8"),
            (include_str!("testdata/pbkdf2.pem"), "with scrypt"),
            (include_str!("testdata/expensive.pem"), "with scrypt"),
            (include_str!("testdata/p384.pem"), "Ed25519 or P-256"),
        ] {
            let error = open(pem);
            assert!(error.contains(reason), "{pem}: {error}");
        }
        for length in [0, MAX_PASSPHRASE + 1] {
            let error = Passphrase::new(Zeroizing::new(vec![b'x'; length])).err().unwrap();
            assert!(matches!(error, AtRestError::Passphrase { found } if found == length), "{error}");
        }
        assert!(Passphrase::new(Zeroizing::new(b"\n".to_vec())).is_err());
    }
}
