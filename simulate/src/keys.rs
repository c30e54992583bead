//! The simulated private keys. They are in this repository for everyone to see: what they sign proves nothing.

use crate::{Product, der};
use core::convert::Infallible;
use measure::digest::Sha256;
use p384::ecdsa::{Signature, SigningKey, signature::hazmat::PrehashSigner as _};
use p384::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rsa::pss::SigningKey as PssKey;
use rsa::rand_core::{TryCryptoRng, TryRng};
use rsa::signature::{RandomizedSigner as _, SignatureEncoding as _};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

/// A key of the RSA-4096 part of the chain.
#[derive(Clone)]
pub struct RsaKey(Arc<Pss>);

struct Pss {
    key: PssKey<sha2::Sha384>,
    /// What was signed, by the hash of the message. Signing takes long and always comes out the same.
    made: Mutex<BTreeMap<Sha256, Vec<u8>>>,
}

/// A key of P-384: what signs reports.
#[derive(Clone)]
pub struct EcKey(SigningKey);

/// A key of this directory. Reading one with 4096 bits takes as long as signing, so it is done once.
macro_rules! committed {
    ($key:ident, $name:literal) => {{
        static KEY: LazyLock<$key> =
            LazyLock::new(|| $key::of(include_str!(concat!("../keys/SIMULATED-", $name, ".pem"))));
        KEY.clone()
    }};
}

/// What signs certificates and revocation lists.
pub trait Issuer {
    /// The signature, as it stands in a certificate.
    fn issue(&self, message: &[u8]) -> Vec<u8>;
}

/// A key of P-256: all of Intel's.
#[derive(Clone)]
pub struct P256Key(p256::ecdsa::SigningKey);

/// The ARK of `product`.
pub fn ark(product: Product) -> RsaKey {
    match product {
        Product::Milan => committed!(RsaKey, "ark-milan"),
        Product::Genoa => committed!(RsaKey, "ark-genoa"),
        Product::Turin => committed!(RsaKey, "ark-turin"),
    }
}

/// The ASK, one for all products.
pub fn ask() -> RsaKey {
    committed!(RsaKey, "ask")
}

/// The ASVK, one for all products.
pub fn asvk() -> RsaKey {
    committed!(RsaKey, "asvk")
}

/// An RSA key that belongs to nobody in the chain.
pub fn stranger() -> RsaKey {
    committed!(RsaKey, "stranger")
}

/// The VCEK.
pub fn vcek() -> EcKey {
    committed!(EcKey, "vcek")
}

/// The VLEK.
pub fn vlek() -> EcKey {
    committed!(EcKey, "vlek")
}

/// A P-384 key that no certificate names.
pub fn ec_stranger() -> EcKey {
    committed!(EcKey, "stranger-p384")
}

/// The root above TDX platforms.
pub fn intel_root() -> P256Key {
    committed!(P256Key, "intel-root")
}

/// What issues PCK certificates.
pub fn pck_ca() -> P256Key {
    committed!(P256Key, "pck-ca")
}

/// What signs TCB info and QE identity.
pub fn tcb_signing() -> P256Key {
    committed!(P256Key, "tcb-signing")
}

/// The platform's: what signs the quoting enclave's report.
pub fn pck() -> P256Key {
    committed!(P256Key, "pck")
}

/// The quoting enclave's: what signs quotes.
pub fn qe() -> P256Key {
    committed!(P256Key, "qe")
}

/// A P-256 key that belongs to nobody in the chain.
pub fn p256_stranger() -> P256Key {
    committed!(P256Key, "stranger-p256")
}

impl RsaKey {
    fn of(pem: &str) -> Self {
        let key = rsa::RsaPrivateKey::from_pkcs8_pem(pem).expect("a committed key parses");
        Self(Arc::new(Pss { key: PssKey::new(key), made: Mutex::default() }))
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public(&self) -> Vec<u8> {
        let key: &rsa::RsaPrivateKey = self.0.key.as_ref();
        key.to_public_key().to_public_key_der().expect("a public key encodes").into_vec()
    }

    /// RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt, which is a function of the message.
    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut made = self.0.made.lock().expect("nobody panics while signing");
        let sign = || self.0.key.sign_with_rng(&mut Stream::of(message), message).to_vec();
        made.entry(Sha256::of(message)).or_insert_with(sign).clone()
    }
}

impl Issuer for RsaKey {
    fn issue(&self, message: &[u8]) -> Vec<u8> {
        self.sign(message)
    }
}

impl Issuer for P256Key {
    fn issue(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.sign(message);
        let number = |half: &[u8]| {
            let first = half.iter().position(|byte| *byte != 0).unwrap_or(half.len() - 1);
            let pad: &[u8] = if half[first] & 0x80 == 0 { &[] } else { &[0] };
            der::value(0x02, &[pad, &half[first..]])
        };
        der::sequence(&[&number(&signature[..32]), &number(&signature[32..])])
    }
}

impl P256Key {
    fn of(pem: &str) -> Self {
        Self(p256::ecdsa::SigningKey::from_pkcs8_pem(pem).expect("a committed key parses"))
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public(&self) -> Vec<u8> {
        self.0.verifying_key().to_public_key_der().expect("a public key encodes").into_vec()
    }

    /// x and y.
    pub fn point(&self) -> [u8; 64] {
        let key = self.public();
        key[key.len() - 64..].try_into().expect("a public key ends in its point")
    }

    /// ECDSA over SHA-256 of `message` with RFC 6979's nonce: r and s, big-endian.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature: p256::ecdsa::Signature =
            self.0.sign_prehash(Sha256::of(message).as_bytes()).expect("32 bytes are signed");
        signature.to_bytes().into()
    }
}

impl EcKey {
    fn of(pem: &str) -> Self {
        Self(SigningKey::from_pkcs8_pem(pem).expect("a committed key parses"))
    }

    /// SubjectPublicKeyInfo, DER.
    pub fn public(&self) -> Vec<u8> {
        self.0.verifying_key().to_public_key_der().expect("a public key encodes").into_vec()
    }

    /// ECDSA over SHA-384 of `message` with RFC 6979's nonce: r and s, big-endian.
    pub fn sign(&self, message: &[u8]) -> ([u8; 48], [u8; 48]) {
        let signature: Signature = self.0.sign_prehash(&sha2::Sha384::digest(message)).expect("48 bytes are signed");
        let (r, s) = signature.split_bytes();
        (r.into(), s.into())
    }
}

/// What stands in for chance, so that the same corpus comes out again: SHA-256 of a seed and a counter.
struct Stream {
    seed: Sha256,
    counter: u64,
}

impl Stream {
    fn of(message: &[u8]) -> Self {
        Self { seed: Sha256::of(message), counter: 0 }
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.try_next_u64().map(|word| word as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(32) {
            self.counter += 1;
            let block = Sha256::of(&[&self.seed.as_bytes()[..], &self.counter.to_le_bytes()].concat());
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for Stream {}
