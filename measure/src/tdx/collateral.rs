//! What else it takes to judge a quote: Intel's statements about processors, and the root they lead to.

use crate::digest::Sha384;

/// The longest certificate chain, in bytes of PEM. Real ones have 2 KB.
pub const MAX_CHAIN: usize = 32 << 10;
/// The longest TCB info or QE identity, in bytes of JSON. Real ones have 6 KB and 0.5 KB.
pub const MAX_JSON: usize = 256 << 10;
/// The longest revocation list, in bytes of DER. Real ones have 3 KB.
pub const MAX_CRL: usize = 256 << 10;

/// Intel's statements, as its provisioning certification service (PCS, version 4 of the API) gives them. Nobody needs
/// to believe who brought them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Collateral<'a> {
    /// The root's revocation list, DER.
    pub root_ca_crl: &'a [u8],
    /// The revocation list of the issuer of PCK certificates, DER.
    pub pck_crl: &'a [u8],
    /// The certificates that signed `pck_crl`, PEM.
    pub pck_crl_issuer_chain: &'a str,
    /// The member `tcbInfo` of the response, byte for byte.
    pub tcb_info: &'a str,
    /// ECDSA P-256 over `tcb_info`: r and s, 32 bytes each.
    pub tcb_info_signature: &'a [u8],
    /// The certificates that signed `tcb_info`, PEM.
    pub tcb_info_issuer_chain: &'a str,
    /// The member `enclaveIdentity` of the response, byte for byte.
    pub qe_identity: &'a str,
    /// ECDSA P-256 over `qe_identity`: r and s, 32 bytes each.
    pub qe_identity_signature: &'a [u8],
    /// The certificates that signed `qe_identity`, PEM.
    pub qe_identity_issuer_chain: &'a str,
}

impl Collateral<'_> {
    /// The first part that is longer than any real one, with its length and limit.
    pub(super) fn too_long(&self) -> Option<(&'static str, usize, usize)> {
        let parts = [
            ("root_ca_crl", self.root_ca_crl.len(), MAX_CRL),
            ("pck_crl", self.pck_crl.len(), MAX_CRL),
            ("pck_crl_issuer_chain", self.pck_crl_issuer_chain.len(), MAX_CHAIN),
            ("tcb_info", self.tcb_info.len(), MAX_JSON),
            ("tcb_info_signature", self.tcb_info_signature.len(), 64),
            ("tcb_info_issuer_chain", self.tcb_info_issuer_chain.len(), MAX_CHAIN),
            ("qe_identity", self.qe_identity.len(), MAX_JSON),
            ("qe_identity_signature", self.qe_identity_signature.len(), 64),
            ("qe_identity_issuer_chain", self.qe_identity_issuer_chain.len(), MAX_CHAIN),
        ];
        parts.into_iter().find(|(_, length, limit)| length > limit)
    }
}

/// What evidence must lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root<'a> {
    /// "Intel SGX Root CA": all Intel processors. Its key is pinned as [`INTEL_ROOT_KEY`].
    Intel,
    /// Another certificate (DER), self-signed or not, which takes the place of Intel's altogether. It proves nothing
    /// about hardware: this is for a simulated platform, whose root only `simulate` has, and a caller who passes it must
    /// not call what comes out accepted.
    Simulated(&'a [u8]),
}

/// SHA-384 of the public key of "Intel SGX Root CA", as bytes of the uncompressed point: 0x04, x, y.
pub const INTEL_ROOT_KEY: Sha384 = Sha384::new([
    0x46, 0xe4, 0x03, 0xbd, 0x34, 0xf0, 0x5a, 0x3f, 0x28, 0x17, 0xab, 0x9b, 0xad, 0xca, 0xac, 0xc7, 0xff, 0xc9, 0x8e,
    0x0f, 0x26, 0x10, 0x08, 0xcd, 0x30, 0xda, 0xe9, 0x36, 0xca, 0xce, 0x18, 0xd5, 0xdc, 0xf5, 0x8e, 0xef, 0x31, 0x46,
    0x36, 0x13, 0xde, 0x15, 0x70, 0xd5, 0x16, 0x20, 0x09, 0x93,
]);
