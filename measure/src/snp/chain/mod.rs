//! Who signed a report: the certificates from AMD's root to the key of one chip or one cloud provider, the list of
//! revoked ones, and the signature itself (AMD 57230 "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface
//! Specification", revision 1.00; AMD 56860 section 7.3).

mod certified;
mod keys;
mod leaf;
mod link;
mod revocation;
mod roots;
mod rules;
#[cfg(test)]
mod tests;
mod x509;

pub use roots::{Origin, Root, Roots};
pub use rules::RULES;
pub use x509::{MAX_CERTIFICATE, MAX_CRL};

use crate::appraise::{Demand, Finding, Outcome, Permit, Time};
use crate::digest::Sha384;
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::{ChipId, Report};
use certified::Certified;
use keys::{EcKey, ReportSignature, RsaKey};
use leaf::Leaf;
use link::{Link, when};
use rules::{ARK, ASK, LEAF, PADDING, PINNED, RANGE, SIGNATURE};

/// Certificates and revocation list, DER, as they were received; `None` for what did not come.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The root, signed by itself.
    pub ark: Option<&'a [u8]>,
    /// What the root signed: the ASK above a VCEK, the ASVK above a VLEK.
    pub ask: Option<&'a [u8]>,
    /// What that signed: the VCEK or VLEK.
    pub leaf: Option<&'a [u8]>,
    /// The root's list of revoked certificates.
    pub crl: Option<&'a [u8]>,
}

/// What the policy has to say of chains. There is no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demands {
    /// Whether a chain without a revocation list is accepted. One that is there counts in any case.
    pub missing_crl: Permit,
    /// How long ago the list may be from, in seconds.
    pub crl_max_age: Demand<u64>,
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
    /// The chip; none under a VLEK, or where the host hides it and the policy accepts that.
    pub chip: Option<ChipId>,
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
    let (ark, ask, leaf) = (Link::read(&ARK, chain.ark), Link::read(&ASK, chain.ask), Link::read(&LEAF, chain.leaf));
    let [ark_key, ask_key] = [&ark, &ask].map(|link| link.public_key(RsaKey::read));
    let leaf_key = leaf.public_key(EcKey::read);
    let root = ark.certificate().and_then(|ark| roots.find(&Sha384::of(ark.key)).ok_or(PINNED));

    let ark_name = |root: &Root| format!("ARK-{}", root.product);
    let leaf_names =
        leaf.names(root, |root| LeafKind::ALL.map(|kind| [kind.issuer(root.product), kind.subject()]).to_vec());
    let kind = match leaf_names.outcome {
        Outcome::Failed => Err(LEAF.names),
        _ => leaf.certificate().and_then(|leaf| LeafKind::of_name(leaf.subject, root?).ok_or(LEAF.names)),
    };
    let kinds = kind.map_or(LeafKind::ALL.to_vec(), |kind| vec![kind]);
    let certified = leaf.certificate().and_then(|leaf| Certified::read(&leaf.extensions).map_err(|_| LEAF.extensions));
    let said = Leaf { report, root, kind, certified };
    let signature = ReportSignature::read(report.signature()).ok_or(RANGE);

    let mut findings = vec![
        ark.der(),
        ark.algorithm(),
        ark.key(&ark_key),
        ark.signature(&ark_key),
        ark.names(root, |root| vec![[ark_name(root), ark_name(root)]]),
        ark.dates(now),
        ark.extensions(certified::root),
        ark.pinned(&ark_key, root),
        ask.der(),
        ask.algorithm(),
        ask.key(&ask_key),
        ask.signature(&ark_key),
        ask.names(root, |root| kinds.iter().map(|kind| [ark_name(root), kind.issuer(root.product)]).collect()),
        ask.dates(now),
        ask.extensions(certified::intermediate),
        leaf.der(),
        leaf.algorithm(),
        leaf.key(&leaf_key),
        leaf.signature(&ask_key),
        leaf_names,
        leaf.dates(now),
        leaf.extensions(certified::leaf),
        said.kind(),
        said.product(),
        said.tcb(),
        said.chip(demands.masked_chip),
        said.csp(),
    ];
    findings.extend(revocation::examine(chain.crl, root, &ark_key, [&ask, &leaf], demands, now));
    findings.extend([
        Finding::of(RANGE, signature.is_ok(), "", "", "R or S is zero or too large"),
        Finding::of(
            PADDING,
            keys::after_signature(report.signature()).iter().all(|byte| *byte == 0),
            "",
            "",
            "some of them are not",
        ),
        when(SIGNATURE, leaf_key.and_then(|key| Ok((key, signature?))), |(key, signature)| {
            let holds = key.verifies(report.signed(), &signature);
            Finding::of(SIGNATURE, holds, "", "", "the signature is another key's or over other bytes")
        }),
    ]);
    let endorsement = findings.iter().all(Finding::permits).then(|| said.endorsement()).flatten();
    (findings, endorsement)
}

impl LeafKind {
    /// Both.
    const ALL: [Self; 2] = [Self::Vcek, Self::Vlek];

    /// The kind in the subject of a leaf under this root.
    fn of_name(name: &[u8], root: &Root) -> Option<Self> {
        let found = x509::common_name(name, root.organisation)?;
        Self::ALL.into_iter().find(|kind| kind.subject() == found)
    }

    /// Common name of its certificate.
    fn subject(self) -> String {
        match self {
            Self::Vcek => "SEV-VCEK".to_owned(),
            Self::Vlek => "SEV-VLEK".to_owned(),
        }
    }

    /// Common name of the certificate above.
    fn issuer(self, product: Product) -> String {
        match self {
            Self::Vcek => format!("SEV-{product}"),
            Self::Vlek => format!("SEV-VLEK-{product}"),
        }
    }
}
