//! Everything about one case that can be changed, before it is laid out and signed.

use super::{Case, Refusal};
use crate::certificate::{Certificate, Crl};
use crate::keys::{EcKey, RsaKey};
use crate::processor::Processor;
use crate::report::{self, Report};
use crate::{Leaf, chain, keys};
use std::collections::BTreeMap;

/// Evidence in the making, and what is asked of it.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) name: String,
    pub(super) says: String,
    pub(super) processor: Processor,
    pub(super) report: Report,
    /// Bytes that replace some of the report's before it is signed, by offset.
    pub(super) patches: Vec<(usize, Vec<u8>)>,
    pub(super) report_key: EcKey,
    pub(super) ark: Certificate,
    pub(super) ark_signer: RsaKey,
    pub(super) intermediate: Certificate,
    pub(super) intermediate_signer: RsaKey,
    pub(super) leaf: Certificate,
    pub(super) leaf_signer: RsaKey,
    pub(super) crl: Crl,
    pub(super) crl_signer: RsaKey,
    /// What is done to the pieces when they are finished.
    pub(super) after: Vec<(&'static str, Change)>,
    /// Pieces that are left out.
    pub(super) without: Vec<&'static str>,
    pub(super) now: u64,
    /// What the guest was asked for; the report has its own.
    pub(super) report_data: [u8; 64],
    pub(super) policy: toml::Table,
}

/// What is done to the bytes of a finished piece.
pub(super) type Change = fn(&mut Vec<u8>);

/// One thing that is wrong with a good case.
pub(super) struct Bad {
    pub(super) name: String,
    pub(super) of: String,
    pub(super) says: String,
    pub(super) rule: Refusal,
    pub(super) change: Box<dyn Fn(&mut Scene)>,
}

impl Scene {
    /// What `processor` and its maker would hand out.
    pub(super) fn of(name: String, says: &str, processor: Processor, report_data: [u8; 64], now: u64) -> Self {
        let (product, leaf) = (processor.product, processor.leaf);
        let ark_key = keys::ark(product);
        Self {
            name,
            says: says.to_owned(),
            report: processor.unsigned(report_data),
            patches: vec![],
            report_key: leaf.key(),
            ark: chain::ark(product),
            ark_signer: ark_key.clone(),
            intermediate: chain::intermediate(product, leaf),
            intermediate_signer: ark_key.clone(),
            leaf: match leaf {
                Leaf::Vcek => chain::vcek(product, processor.tcb, processor.hwid()),
                Leaf::Vlek => chain::vlek(product, processor.tcb, processor.csp),
            },
            leaf_signer: leaf.issuer_key(),
            crl: chain::crl(product),
            crl_signer: ark_key,
            after: vec![],
            without: vec![],
            now,
            report_data,
            policy: toml::Table::new(),
            processor,
        }
    }

    /// Gives a key of the policy, such as `snp.genoa.platform.ecc`, another value, written as TOML.
    pub(super) fn demand(&mut self, path: &str, value: &str) {
        let document: toml::Table = format!("value = {value}").parse().expect("the value is TOML");
        super::demand(&mut self.policy, path, document["value"].clone());
    }

    /// Gives a key of the product's terms another value.
    pub(super) fn demand_of_product(&mut self, path: &str, value: &str) {
        self.demand(&format!("snp.{}.{path}", self.processor.product.name().to_lowercase()), value);
    }

    /// Does something to a finished piece.
    pub(super) fn finish(&mut self, piece: &'static str, change: Change) {
        self.after.push((piece, change));
    }

    /// Lays out and signs everything.
    pub(super) fn case(&self) -> Case {
        let mut report = self.report.bytes();
        for (at, bytes) in &self.patches {
            report[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        report::sign(&mut report, &self.report_key);
        let mut evidence = BTreeMap::from([
            ("snp-report".to_owned(), report),
            ("snp-leaf".to_owned(), self.leaf.sign(&self.leaf_signer)),
            ("snp-ask".to_owned(), self.intermediate.sign(&self.intermediate_signer)),
            ("snp-ark".to_owned(), self.ark.sign(&self.ark_signer)),
            ("snp-crl".to_owned(), self.crl.sign(&self.crl_signer)),
        ]);
        for (piece, change) in &self.after {
            change(evidence.get_mut(*piece).expect("a scene has every piece"));
        }
        evidence.retain(|piece, _| !self.without.contains(&piece.as_str()));
        Case {
            name: self.name.clone(),
            says: self.says.clone(),
            of: None,
            rule: None,
            now: self.now,
            report_data: self.report_data,
            evidence,
            policy: self.policy.clone(),
        }
    }
}

impl Bad {
    /// The case, which is `good` but for one thing.
    pub(super) fn case(&self, good: &Scene) -> Case {
        let mut scene = good.clone();
        (self.change)(&mut scene);
        Case {
            name: format!("{}/{}", self.of, self.name),
            says: self.says.clone(),
            of: Some(self.of.clone()),
            rule: Some(self.rule.clone()),
            ..scene.case()
        }
    }
}
