//! What the handshake computes with: clatter's names for it, and the same crates as the rest of the workspace behind
//! them. Two checks are stricter than Noise asks for: a Diffie-Hellman result of zero, which a peer can only get by
//! sending a point of small order, and an ML-KEM key with coefficients that are not reduced (FIPS 203, section 7.2),
//! end the handshake.

use super::random::Stream;
use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _};
use clatter::KeyPair;
use clatter::bytearray::{ByteArray as _, SensitiveByteArray};
use clatter::error::{CipherError, CipherResult, DhError, DhResult, KemError, KemResult};
use clatter::traits::{Cipher, CryptoComponent, Dh, Hash, Kem, Rng};
use ml_kem::{B32, Decapsulate as _, KeyExport as _, ml_kem_768};
use sha2::Digest as _;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Bytes of an X25519 key.
pub(crate) const DH_KEY: usize = 32;
/// Bytes of an ML-KEM-768 encapsulation key.
pub(crate) const KEM_KEY: usize = 1184;
/// Bytes of an ML-KEM-768 ciphertext.
pub(crate) const KEM_CIPHERTEXT: usize = 1088;
/// Bytes that encryption adds.
pub(crate) const TAG: usize = 16;

pub(crate) type DhKeys = KeyPair<[u8; DH_KEY], SensitiveByteArray<[u8; 32]>>;
/// The secret is the seed of FIPS 203, `d || z`.
pub(crate) type KemKeys = KeyPair<[u8; KEM_KEY], SensitiveByteArray<[u8; 64]>>;

/// X25519 (RFC 7748).
#[derive(Clone)]
pub(crate) struct X25519;

/// ML-KEM-768 (FIPS 203).
#[derive(Clone)]
pub(crate) struct MlKem768;

/// ChaCha20-Poly1305 (RFC 8439).
#[derive(Clone)]
pub(crate) struct ChaChaPoly;

/// SHA-256 (FIPS 180-4).
#[derive(Clone, Default)]
pub(crate) struct Sha256(sha2::Sha256);

impl CryptoComponent for X25519 {
    fn name() -> &'static str {
        "25519"
    }
}

impl CryptoComponent for MlKem768 {
    fn name() -> &'static str {
        "MLKEM768"
    }
}

impl CryptoComponent for ChaChaPoly {
    fn name() -> &'static str {
        "ChaChaPoly"
    }
}

impl CryptoComponent for Sha256 {
    fn name() -> &'static str {
        "SHA256"
    }
}

/// The next `N` bytes of a handshake's generator.
fn random<R: Rng, const N: usize>(generator: &mut R) -> Option<Zeroizing<[u8; N]>> {
    let mut bytes = Zeroizing::new([0; N]);
    generator.try_fill_bytes(bytes.as_mut_slice()).ok()?;
    Some(bytes)
}

impl Dh for X25519 {
    type PrivateKey = SensitiveByteArray<[u8; 32]>;
    type PubKey = [u8; DH_KEY];
    type Output = SensitiveByteArray<[u8; 32]>;

    fn genkey_rng<R: Rng>(generator: &mut R) -> DhResult<DhKeys> {
        let secret = random::<R, 32>(generator).ok_or(DhError::KeyGeneration)?;
        let secret = SensitiveByteArray::new(*secret);
        Ok(KeyPair::new(Self::pubkey(&secret), secret))
    }

    fn pubkey(secret: &Self::PrivateKey) -> Self::PubKey {
        PublicKey::from(&StaticSecret::from(**secret)).to_bytes()
    }

    fn dh(secret: &Self::PrivateKey, public: &Self::PubKey) -> DhResult<Self::Output> {
        let shared = StaticSecret::from(**secret).diffie_hellman(&PublicKey::from(*public));
        match shared.was_contributory() {
            true => Ok(SensitiveByteArray::new(shared.to_bytes())),
            // clatter has no other error here.
            false => Err(DhError::KeyGeneration),
        }
    }
}

impl Kem for MlKem768 {
    type SecretKey = SensitiveByteArray<[u8; 64]>;
    type PubKey = [u8; KEM_KEY];
    type Ct = [u8; KEM_CIPHERTEXT];
    type Ss = SensitiveByteArray<[u8; 32]>;

    fn genkey_rng<R: Rng>(generator: &mut R) -> KemResult<KemKeys> {
        let seed = random::<R, 64>(generator).ok_or(KemError::KeyGeneration)?;
        let key = ml_kem_768::DecapsulationKey::from_seed((*seed).into());
        Ok(KeyPair::new(key.encapsulation_key().to_bytes().into(), SensitiveByteArray::new(*seed)))
    }

    fn encapsulate<R: Rng>(public: &[u8], generator: &mut R) -> KemResult<(Self::Ct, Self::Ss)> {
        let public = public.try_into().map_err(|_| KemError::Input)?;
        let key = ml_kem_768::EncapsulationKey::new(public).map_err(|_| KemError::Input)?;
        let message = random::<R, 32>(generator).ok_or(KemError::Encapsulation)?;
        let message = Zeroizing::new(B32::from(*message));
        let (ciphertext, shared) = key.encapsulate_deterministic(&message);
        let shared = Zeroizing::new(shared);
        Ok((ciphertext.into(), SensitiveByteArray::from_slice(&shared)))
    }

    fn decapsulate(ciphertext: &[u8], secret: &[u8]) -> KemResult<Self::Ss> {
        let seed = Zeroizing::new(<[u8; 64]>::try_from(secret).map_err(|_| KemError::Input)?);
        let ciphertext = ciphertext.try_into().map_err(|_| KemError::Input)?;
        let key = ml_kem_768::DecapsulationKey::from_seed((*seed).into());
        let shared = Zeroizing::new(key.decapsulate(ciphertext));
        Ok(SensitiveByteArray::from_slice(&shared))
    }
}

/// Noise's nonce for this cipher: 32 zero bits, then the counter, little-endian (Noise revision 34, section 12.3).
fn nonce(counter: u64) -> chacha20poly1305::Nonce {
    (u128::from(counter) << 32).to_le_bytes().first_chunk::<12>().map_or([0; 12], |bytes| *bytes).into()
}

impl Cipher for ChaChaPoly {
    type Key = SensitiveByteArray<[u8; 32]>;

    fn tag_len() -> usize {
        TAG
    }

    fn encrypt(key: &Self::Key, counter: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> CipherResult<()> {
        out.get_mut(..plaintext.len()).ok_or(CipherError::Encrypt)?.copy_from_slice(plaintext);
        Self::encrypt_in_place(key, counter, ad, out, plaintext.len()).map(|_length| ())
    }

    fn encrypt_in_place(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> CipherResult<usize> {
        let (text, rest) = in_out.split_at_mut_checked(length).ok_or(CipherError::Encrypt)?;
        let out = rest.first_chunk_mut::<TAG>().ok_or(CipherError::Encrypt)?;
        let cipher = ChaCha20Poly1305::new((&**key).into());
        let tag = cipher.encrypt_inout_detached(&nonce(counter), ad, text.into());
        *out = tag.map_err(|_| CipherError::Encrypt)?.into();
        Ok(length.saturating_add(TAG))
    }

    fn decrypt(key: &Self::Key, counter: u64, ad: &[u8], ciphertext: &[u8], out: &mut [u8]) -> CipherResult<()> {
        let (text, tag) = ciphertext.split_last_chunk::<TAG>().ok_or(CipherError::Decrypt)?;
        if text.len() != out.len() {
            return Err(CipherError::Decrypt);
        }
        out.copy_from_slice(text);
        let cipher = ChaCha20Poly1305::new((&**key).into());
        let opened = cipher.decrypt_inout_detached(&nonce(counter), ad, out.into(), tag.into());
        opened.map_err(|_| CipherError::Decrypt)
    }

    fn decrypt_in_place(
        key: &Self::Key,
        counter: u64,
        ad: &[u8],
        in_out: &mut [u8],
        length: usize,
    ) -> CipherResult<usize> {
        let message = in_out.get_mut(..length).ok_or(CipherError::Decrypt)?;
        let (text, tag) = message.split_last_chunk_mut::<TAG>().ok_or(CipherError::Decrypt)?;
        let cipher = ChaCha20Poly1305::new((&**key).into());
        let opened = cipher.decrypt_inout_detached(&nonce(counter), ad, (&mut *text).into(), (&*tag).into());
        opened.map_err(|_| CipherError::Decrypt)?;
        Ok(text.len())
    }
}

impl Hash for Sha256 {
    type Block = SensitiveByteArray<[u8; 64]>;
    type Output = SensitiveByteArray<[u8; 32]>;

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(self) -> Self::Output {
        SensitiveByteArray::new(self.0.finalize().into())
    }
}

/// Keys that outlive a session: both static pairs.
pub(crate) fn static_keys(stream: &mut Stream) -> Option<(DhKeys, KemKeys)> {
    Some((X25519::genkey_rng(stream).ok()?, MlKem768::genkey_rng(stream).ok()?))
}
