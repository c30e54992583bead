//! The two kinds of key in a chain, and what they sign. Keys and algorithms are recognised by the one or two encodings
//! that AMD uses, so that nothing in them is interpreted.

use crate::digest::Sha384;
use crate::snp::report::{REPORT_BYTES, SIGNED_BYTES};
use p384::ecdsa::signature::hazmat::PrehashVerifier as _;
use p384::ecdsa::{Signature, VerifyingKey};
use rsa::pss::Pss;
use rsa::{BoxedUint, RsaPublicKey};

/// SubjectPublicKeyInfo of RSA (1.2.840.113549.1.1.1, parameters NULL), up to the 512 bytes of a modulus of 4096 bits.
const RSA_BEFORE: [u8; 33] = [
    0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    0x03, 0x82, 0x02, 0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
];
/// The rest of it: the exponent 65537.
const RSA_AFTER: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
/// Bytes of a modulus.
const MODULUS: usize = 512;
/// Bytes of salt in a signature.
const SALT: usize = 48;

/// SubjectPublicKeyInfo of an elliptic curve (1.2.840.10045.2.1), P-384 (1.3.132.0.34), up to an uncompressed point.
const P384_BEFORE: [u8; 23] = [
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x22, 0x03, 0x62, 0x00,
];

/// AlgorithmIdentifier of RSASSA-PSS with SHA-384, MGF1 with SHA-384 and 48 bytes of salt (RFC 4055).
pub(super) const PSS: [u8; 67] = [
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30,
];
/// The same with the trailer field spelled out, which DER forbids and AMD's older certificates do.
pub(super) const PSS_SPELLED_OUT: [u8; 72] = [
    0x30, 0x46, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f, 0x30, 0x0d,
    0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09,
    0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03,
    0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
];

/// Bytes of the SIGNATURE field of a report.
const SIGNATURE: usize = REPORT_BYTES - SIGNED_BYTES;
/// Bytes of each of the two numbers in a report's signature.
const NUMBER: usize = 72;
/// Bytes of such a number that can be other than zero: the size of the curve's order.
const SCALAR: usize = 48;

/// Whether this AlgorithmIdentifier is the one that everything in a chain is signed with.
pub(super) fn is_pss(algorithm: &[u8]) -> bool {
    algorithm == PSS || algorithm == PSS_SPELLED_OUT
}

/// A key that signs certificates: RSA with 4096 bits and the exponent 65537.
#[derive(Debug)]
pub(super) struct RsaKey(RsaPublicKey);

impl RsaKey {
    /// The key in this SubjectPublicKeyInfo.
    pub(super) fn read(spki: &[u8]) -> Option<Self> {
        let modulus = spki.strip_prefix(&RSA_BEFORE)?.strip_suffix(&RSA_AFTER)?;
        let full = modulus.len() == MODULUS && modulus.first().is_some_and(|byte| byte & 0x80 != 0);
        let modulus = BoxedUint::from_be_slice_vartime(modulus);
        // An even modulus is refused here.
        full.then(|| RsaPublicKey::new(modulus, BoxedUint::from(65_537_u64)).ok()).flatten().map(Self)
    }

    /// Whether it signed `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let scheme = Pss::<sha2::Sha384>::new_with_salt(SALT);
        self.0.verify(scheme, Sha384::of(message).as_bytes(), signature).is_ok()
    }
}

/// A key that signs reports: a point of P-384 other than zero.
#[derive(Debug)]
pub(super) struct EcKey(VerifyingKey);

impl EcKey {
    /// The key in this SubjectPublicKeyInfo.
    pub(super) fn read(spki: &[u8]) -> Option<Self> {
        let point = spki.strip_prefix(&P384_BEFORE)?;
        let uncompressed = point.first() == Some(&4);
        uncompressed.then(|| VerifyingKey::from_sec1_bytes(point).ok()).flatten().map(Self)
    }

    /// Whether it signed `message`.
    pub(super) fn verifies(&self, message: &[u8], signature: &ReportSignature) -> bool {
        self.0.verify_prehash(Sha384::of(message).as_bytes(), &signature.0).is_ok()
    }
}

/// The two numbers of a report's signature, both from 1 to the curve's order less 1.
#[derive(Debug)]
pub(super) struct ReportSignature(Signature);

impl ReportSignature {
    /// R and S in the SIGNATURE field of a report (AMD 56860, ATTESTATION_REPORT, "Signature").
    pub(super) fn read(field: &[u8; SIGNATURE]) -> Option<Self> {
        let (r, more) = field.split_first_chunk()?;
        let (s, _) = more.split_first_chunk()?;
        Signature::from_scalars(big_endian(r)?, big_endian(s)?).ok().map(Self)
    }
}

/// The bytes of the SIGNATURE field after the signature, which nothing covers.
pub(super) fn after_signature(field: &[u8; SIGNATURE]) -> &[u8] {
    field.split_at(2 * NUMBER).1
}

/// A little-endian number whose upper bytes are zero, turned around.
fn big_endian(number: &[u8; NUMBER]) -> Option<[u8; SCALAR]> {
    let (low, high) = number.split_first_chunk::<SCALAR>()?;
    let mut scalar = *low;
    scalar.reverse();
    high.iter().all(|byte| *byte == 0).then_some(scalar)
}
