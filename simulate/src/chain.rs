//! The chain as AMD issues it, but for the keys and for an organisation that says it is simulated (AMD 57230 "Versioned
//! Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification").

use crate::certificate::{Certificate, Crl, Extension};
use crate::keys::{self, EcKey, RsaKey};
use crate::{Product, Tcb, der};
use sha2::Digest as _;

/// AMD's arc for what a VCEK or VLEK certifies.
pub mod oid {
    #![expect(missing_docs, reason = "the names are AMD's")]
    pub const STRUCT_VERSION: &str = "1.3.6.1.4.1.3704.1.1";
    pub const PRODUCT_NAME: &str = "1.3.6.1.4.1.3704.1.2";
    pub const BOOTLOADER: &str = "1.3.6.1.4.1.3704.1.3.1";
    pub const TEE: &str = "1.3.6.1.4.1.3704.1.3.2";
    pub const SNP: &str = "1.3.6.1.4.1.3704.1.3.3";
    pub const SPARE_4: &str = "1.3.6.1.4.1.3704.1.3.4";
    pub const SPARE_5: &str = "1.3.6.1.4.1.3704.1.3.5";
    pub const SPARE_6: &str = "1.3.6.1.4.1.3704.1.3.6";
    pub const SPARE_7: &str = "1.3.6.1.4.1.3704.1.3.7";
    pub const MICROCODE: &str = "1.3.6.1.4.1.3704.1.3.8";
    pub const FMC: &str = "1.3.6.1.4.1.3704.1.3.9";
    pub const HWID: &str = "1.3.6.1.4.1.3704.1.4";
    pub const CSP_ID: &str = "1.3.6.1.4.1.3704.1.5";
    pub const KEY_USAGE: &str = "2.5.29.15";
    pub const SUBJECT_KEY: &str = "2.5.29.14";
    pub const AUTHORITY_KEY: &str = "2.5.29.35";
    pub const BASIC_CONSTRAINTS: &str = "2.5.29.19";
    pub const CRL_DISTRIBUTION: &str = "2.5.29.31";
    pub const CRL_NUMBER: &str = "2.5.29.20";
}

/// The organisation in every name of the chain.
pub const ORGANISATION: &str = "SIMULATED by Vitrine, not AMD";

/// Which of the two kinds of key signs reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Leaf {
    /// Derived from one chip's secrets.
    Vcek,
    /// Lent to a cloud provider, the same on many chips.
    Vlek,
}

impl Leaf {
    /// The key.
    pub fn key(self) -> EcKey {
        match self {
            Self::Vcek => keys::vcek(),
            Self::Vlek => keys::vlek(),
        }
    }

    /// The key of the certificate above it.
    pub fn issuer_key(self) -> RsaKey {
        match self {
            Self::Vcek => keys::ask(),
            Self::Vlek => keys::asvk(),
        }
    }

    /// The common name of the certificate above it.
    pub fn issuer_name(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }
}

/// A name with AMD's parts in AMD's order.
pub fn name(common_name: &str) -> Vec<u8> {
    let part = |oid: &str, value: &[u8]| der::value(0x31, &[&der::sequence(&[&der::oid(oid), value])]);
    der::sequence(&[
        &part("2.5.4.11", &der::utf8("Engineering")),
        &part("2.5.4.6", &der::printable("US")),
        &part("2.5.4.7", &der::utf8("Santa Clara")),
        &part("2.5.4.8", &der::utf8("CA")),
        &part("2.5.4.10", &der::utf8(ORGANISATION)),
        &part("2.5.4.3", &der::utf8(common_name)),
    ])
}

/// RSASSA-PSS with SHA-384 and 48 bytes of salt. AMD's older certificates spell out the trailer field, which DER says
/// to leave out.
pub fn pss(spelled_out: bool) -> Vec<u8> {
    pss_with("2.16.840.1.101.3.4.2.2", 48, spelled_out)
}

/// RSASSA-PSS with another hash or salt.
pub fn pss_with(hash: &str, salt: u64, spelled_out: bool) -> Vec<u8> {
    let hash = der::sequence(&[&der::oid(hash), der::NULL]);
    let mask = der::sequence(&[&der::oid("1.2.840.113549.1.1.8"), &hash]);
    let trailer = if spelled_out { der::context(3, &[&der::integer(1)]) } else { vec![] };
    let parameters = der::sequence(&[
        &der::context(0, &[&hash]),
        &der::context(1, &[&mask]),
        &der::context(2, &[&der::integer(salt)]),
        &trailer,
    ]);
    der::sequence(&[&der::oid("1.2.840.113549.1.1.10"), &parameters])
}

/// The root of `product`, to be signed by [`keys::ark`].
pub fn ark(product: Product) -> Certificate {
    let name = name(&format!("ARK-{product}"));
    let key = keys::ark(product).public();
    Certificate {
        serial: der::integer(serial(product) << 16),
        issuer: name.clone(),
        not_before: der::utc_time("201022172305Z"),
        not_after: der::utc_time("451022172305Z"),
        subject: name,
        extensions: vec![
            critical(oid::KEY_USAGE, &[3, 2, 1, 6]),
            plain(oid::SUBJECT_KEY, der::octets(&key_id(&key))),
            critical(oid::BASIC_CONSTRAINTS, &[0x30, 3, 1, 1, 0xff]),
            crl_distribution(product),
        ],
        key,
        ..blank(true)
    }
}

/// The intermediate above leaves of this kind, to be signed by [`keys::ark`].
pub fn intermediate(product: Product, leaf: Leaf) -> Certificate {
    let key = leaf.issuer_key().public();
    let above = key_id(&keys::ark(product).public());
    Certificate {
        serial: der::integer((serial(product) << 16) + if leaf == Leaf::Vcek { 1 } else { 2 }),
        issuer: name(&format!("ARK-{product}")),
        not_before: der::utc_time("201022182420Z"),
        not_after: der::utc_time("451022182420Z"),
        subject: name(&leaf.issuer_name(product)),
        extensions: vec![
            plain(oid::SUBJECT_KEY, der::octets(&key_id(&key))),
            plain(oid::AUTHORITY_KEY, der::sequence(&[&der::value(0x80, &[&above])])),
            critical(oid::BASIC_CONSTRAINTS, &[0x30, 6, 1, 1, 0xff, 2, 1, 0]),
            critical(oid::KEY_USAGE, &[3, 2, 1, 4]),
            crl_distribution(product),
        ],
        key,
        ..blank(true)
    }
}

/// The certificate of the chip with this hardware id at this firmware, to be signed by [`keys::ask`].
pub fn vcek(product: Product, tcb: Tcb, hwid: &[u8]) -> Certificate {
    let mut extensions = vec![
        plain(oid::STRUCT_VERSION, der::integer(u64::from(product == Product::Turin))),
        plain(oid::PRODUCT_NAME, der::ia5(product.certified_name())),
    ];
    extensions.extend(certified_tcb(product, tcb));
    // These octets are the id itself: there is no DER inside.
    extensions.push(plain(oid::HWID, hwid.to_vec()));
    Certificate { extensions, ..leaf(product, Leaf::Vcek) }
}

/// The certificate lent to a cloud provider for firmware at `tcb`, to be signed by [`keys::asvk`].
pub fn vlek(product: Product, tcb: Tcb, csp: &str) -> Certificate {
    let mut extensions = vec![
        plain(oid::STRUCT_VERSION, der::integer(u64::from(product == Product::Turin))),
        plain(oid::PRODUCT_NAME, der::ia5(product.name())),
    ];
    extensions.extend(certified_tcb(product, tcb));
    extensions.push(plain(oid::CSP_ID, der::ia5(csp)));
    Certificate { extensions, ..leaf(product, Leaf::Vlek) }
}

/// A list that revokes nothing, to be signed by [`keys::ark`].
pub fn crl(product: Product) -> Crl {
    Crl {
        version: der::integer(1),
        signature: pss(true),
        issuer: name(&format!("ARK-{product}")),
        this_update: der::utc_time("260101000000Z"),
        next_update: der::utc_time("270101000000Z"),
        revoked: vec![],
        extensions: vec![plain(oid::CRL_NUMBER, der::integer(1))],
        signature_algorithm: pss(true),
    }
}

fn leaf(product: Product, leaf: Leaf) -> Certificate {
    let subject = match leaf {
        Leaf::Vcek => "SEV-VCEK",
        Leaf::Vlek => "SEV-VLEK",
    };
    Certificate {
        serial: der::integer(0),
        issuer: name(&leaf.issuer_name(product)),
        not_before: der::utc_time("260101000000Z"),
        not_after: der::utc_time("330101000000Z"),
        subject: name(subject),
        key: leaf.key().public(),
        ..blank(product != Product::Turin)
    }
}

fn certified_tcb(product: Product, tcb: Tcb) -> Vec<Extension> {
    let component = |oid, number: u8| plain(oid, der::integer(number.into()));
    let mut extensions = match product {
        Product::Turin => vec![component(oid::FMC, tcb.fmc)],
        Product::Milan | Product::Genoa => vec![component(oid::SPARE_4, 0)],
    };
    extensions.extend([
        component(oid::BOOTLOADER, tcb.bootloader),
        component(oid::TEE, tcb.tee),
        component(oid::SNP, tcb.snp),
        component(oid::SPARE_5, 0),
        component(oid::SPARE_6, 0),
        component(oid::SPARE_7, 0),
        component(oid::MICROCODE, tcb.microcode),
    ]);
    extensions
}

fn blank(trailer_spelled_out: bool) -> Certificate {
    Certificate {
        version: der::context(0, &[&der::integer(2)]),
        serial: vec![],
        signature: pss(trailer_spelled_out),
        issuer: vec![],
        not_before: vec![],
        not_after: vec![],
        subject: vec![],
        key: vec![],
        extensions: vec![],
        signature_algorithm: pss(trailer_spelled_out),
    }
}

fn serial(product: Product) -> u64 {
    product as u64 + 1
}

fn plain(oid: &'static str, value: Vec<u8>) -> Extension {
    Extension { oid, critical: false, value }
}

fn critical(oid: &'static str, value: &[u8]) -> Extension {
    Extension { oid, critical: true, value: value.to_vec() }
}

fn crl_distribution(product: Product) -> Extension {
    // `.invalid` is never resolved (RFC 6761), so nobody is sent to AMD for a list that AMD does not have.
    let url = der::value(0x86, &[format!("https://simulated.invalid/vcek/v1/{product}/crl").as_bytes()]);
    let point = der::sequence(&[&der::context(0, &[&der::context(0, &[&url])])]);
    plain(oid::CRL_DISTRIBUTION, der::sequence(&[&point]))
}

/// The first 20 bytes of a hash of the key: names it, nothing more.
fn key_id(key: &[u8]) -> Vec<u8> {
    sha2::Sha256::digest(key)[..20].to_vec()
}
