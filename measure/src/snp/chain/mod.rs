//! Who signed a report: the certificates from AMD's root to the key of one chip or one cloud provider, the list of
//! revoked ones, and the signature itself (AMD 57230 "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface
//! Specification", revision 1.00; AMD 56860 section 7.3).

mod roots;

pub use roots::{Origin, Root, Roots};

use crate::appraise::{Finding, Time};
use crate::snp::appraise::Permit;
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::Report;

/// Certificates and revocation list, DER, as they were received.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The root, signed by itself.
    pub ark: &'a [u8],
    /// What the root signed: the ASK above a VCEK, the ASVK above a VLEK.
    pub ask: &'a [u8],
    /// What that signed: the VCEK or VLEK.
    pub leaf: &'a [u8],
    /// The root's list of revoked certificates.
    pub crl: Option<&'a [u8]>,
}

/// What the policy has to say of chains. There is no default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demands {
    /// Whether a chain without a revocation list is accepted. One that is there counts in any case.
    pub missing_crl: Permit,
    /// Whether a report whose chip id is masked is accepted under a VCEK.
    pub masked_chip: Permit,
}

/// Which kind of key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeafKind {
    /// Derived from the secrets of one chip.
    Vcek,
    /// Lent to a cloud provider for all of its chips.
    Vlek,
}

/// What a chain and a signature that passed every rule here establish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Whether silicon signed.
    pub origin: Origin,
    /// The line of processors.
    pub product: Product,
    /// The kind of key.
    pub kind: LeafKind,
    /// The firmware that the key is derived for.
    pub tcb: TcbVersion,
    /// The chip's id, 64 bytes or, on Turin, 8; none under a VLEK.
    pub hwid: Option<Vec<u8>>,
    /// The cloud provider a VLEK is lent to; none under a VCEK.
    pub csp: Option<String>,
}

/// Asks every rule about who signed a report. There is always one finding for each rule, in the order of the rules; the
/// endorsement is there only if all of them permit it.
pub fn examine(
    chain: &Chain<'_>,
    report: &Report<'_>,
    roots: &Roots,
    demands: &Demands,
    now: Time,
) -> (Vec<Finding>, Option<Endorsement>) {
    let _ = (chain, report, roots, demands, now);
    (Vec::new(), None)
}

/// Every rule that [`examine`] asks, in its order.
pub const RULES: [crate::appraise::Rule; 0] = [];
