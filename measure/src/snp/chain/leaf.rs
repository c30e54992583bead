//! The rules that compare what a leaf certifies with what the report says.

use super::certified::Certified;
use super::link::{Known, when};
use super::rules::{CHIP, CSP, KIND, PRODUCT, REPORT_CHIP_MASKED, REPORT_PRODUCT, REPORT_SIGNING_KEY, TCB};
use super::{Endorsement, LeafKind, Root};
use crate::appraise::{Finding, Permit};
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::{ChipId, Report, SigningKey};

/// What a leaf says, and the report to compare it with.
pub(super) struct Leaf<'a> {
    pub(super) report: &'a Report<'a>,
    pub(super) root: Known<&'a Root>,
    pub(super) kind: Known<LeafKind>,
    pub(super) certified: Known<Certified<'a>>,
}

impl Leaf<'_> {
    fn certified(&self) -> Known<&Certified<'_>> {
        self.certified.as_ref().map_err(|first| *first)
    }

    /// What all of it establishes, if every rule permits it.
    pub(super) fn endorsement(&self) -> Option<Endorsement> {
        Some(Endorsement {
            origin: self.root.ok()?.origin,
            product: self.known_product().ok()?,
            kind: self.kind.ok()?,
            tcb: self.known_tcb().ok()?,
            chip: self.known_chip(),
            csp: self.certified().ok()?.csp.map(str::to_owned),
        })
    }

    pub(super) fn kind(&self) -> Finding {
        when(KIND, self.kind, |kind| {
            let signer = self.report.key_info().signing_key();
            let holds = match signer {
                SigningKey::Vcek => kind == LeafKind::Vcek,
                SigningKey::Vlek => kind == LeafKind::Vlek,
                SigningKey::None | SigningKey::Reserved(_) => return Finding::waits_for(KIND, REPORT_SIGNING_KEY),
            };
            let reason = "the certificate is for the other kind of key";
            Finding::of(KIND, holds, kind.subject(), format!("SEV-{signer}"), reason)
        })
    }

    /// The one product of root, leaf and report; a report of version 2 and a root that is not pinned have no say.
    fn known_product(&self) -> Known<Product> {
        let named = self.certified()?.product().ok_or(PRODUCT)?;
        let processor = self.report.product().transpose().map_err(|_| REPORT_PRODUCT)?;
        let root = self.root.ok().map(|root| root.product);
        if processor.into_iter().chain(root).all(|product| product == named) { Ok(named) } else { Err(PRODUCT) }
    }

    pub(super) fn product(&self) -> Finding {
        let known = self.known_product();
        let undecided = known.err().filter(|first| *first != PRODUCT);
        when(PRODUCT, undecided.map_or_else(|| self.certified(), Err), |certified| {
            let observed = certified.product_name.unwrap_or("no product");
            let root =
                self.root.map_or_else(|_| "no pinned root".to_owned(), |root| format!("{} by root", root.product));
            let required = match self.report.product() {
                Some(Ok(product)) => format!("{product} by report, {root}"),
                _ => root,
            };
            Finding::of(PRODUCT, known.is_ok(), observed, required, "the leaf is of another product")
        })
    }

    fn known_tcb(&self) -> Known<TcbVersion> {
        let product = self.known_product()?;
        self.certified()?.tcb(product).map_err(|_| TCB)
    }

    pub(super) fn tcb(&self) -> Finding {
        when(TCB, self.known_product().and_then(|product| Ok((product, self.certified()?))), |(product, certified)| {
            // What lies between the components has a rule of its own.
            let (reported, _) = TcbVersion::of_report(self.report.reported_tcb(), product);
            let required = reported.to_string();
            match certified.tcb(product) {
                Ok(tcb) => {
                    let pairs = tcb.components().into_iter().zip(reported.components());
                    let other: Vec<_> =
                        pairs.filter(|(here, there)| here != there).map(|((name, _), _)| name).collect();
                    let reason = format!("the leaf is for another version of {}", other.join(", "));
                    Finding::of(TCB, other.is_empty(), tcb.to_string(), required, reason)
                }
                Err(reason) => Finding::failed(TCB, "", required, reason),
            }
        })
    }

    /// The chip that leaf and report agree on.
    fn known_chip(&self) -> Option<ChipId> {
        let (chip, product) = (self.report.chip_id(), self.known_product().ok()?);
        let (id, zeros) = chip.0.as_bytes().split_at_checked(hwid_bytes(product))?;
        let same = self.certified().ok()?.hwid == Some(id) && zeros.iter().all(|byte| *byte == 0);
        (same && !self.report.chip_id_masked()).then_some(chip)
    }

    pub(super) fn chip(&self, masked: Permit) -> Finding {
        let known = self.certified().and_then(|certified| Ok((self.known_product()?, self.kind?, certified)));
        when(CHIP, known, |(product, kind, certified)| match (kind, certified.hwid) {
            (LeafKind::Vlek, None) => Finding::not_asked(CHIP, "", "a VLEK is not a chip's"),
            (LeafKind::Vlek, Some(_)) => Finding::failed(CHIP, "an id", "none", "a VLEK is not a chip's"),
            (LeafKind::Vcek, None) => Finding::failed(CHIP, "no id", "", "a VCEK is a chip's"),
            (LeafKind::Vcek, Some(hwid)) if hwid.len() != hwid_bytes(product) => {
                let (observed, required) = (hwid.len(), hwid_bytes(product));
                let reason = format!("chips of {product} have longer or shorter ids");
                Finding::failed(CHIP, format!("{observed} bytes"), format!("{required} bytes"), reason)
            }
            (LeafKind::Vcek, Some(_)) if self.report.chip_id_masked() => match masked {
                Permit::Accepted => Finding::not_asked(CHIP, "masked", "the policy accepts a masked chip"),
                Permit::Refused => Finding::waits_for(CHIP, REPORT_CHIP_MASKED),
            },
            (LeafKind::Vcek, Some(_)) => {
                let (holds, chip) = (self.known_chip().is_some(), self.report.chip_id());
                let observed = if holds { chip.to_string() } else { "another chip's".to_owned() };
                Finding::of(CHIP, holds, observed, chip.to_string(), "the leaf is another chip's")
            }
        })
    }

    pub(super) fn csp(&self) -> Finding {
        when(CSP, self.certified().and_then(|certified| Ok((self.kind?, certified))), |(kind, certified)| {
            match (kind, certified.csp) {
                (LeafKind::Vlek, Some(csp)) => Finding::passed(CSP, csp, ""),
                (LeafKind::Vlek, None) => Finding::failed(CSP, "none", "", "a VLEK is a provider's"),
                (LeafKind::Vcek, Some(csp)) => Finding::failed(CSP, csp, "none", "a VCEK is no provider's"),
                (LeafKind::Vcek, None) => Finding::not_asked(CSP, "", "a VCEK is no provider's"),
            }
        })
    }
}

/// Bytes in a chip's id; the rest of the report's field is zero.
const fn hwid_bytes(product: Product) -> usize {
    match product {
        Product::Milan | Product::Genoa => 64,
        Product::Turin => 8,
    }
}
