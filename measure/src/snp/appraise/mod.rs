//! The verdict on a report of an SEV-SNP guest: every rule over the report itself, and those of [`chain`] over who signed
//! it, in one list.
//!
//! A rule is one entry in the table of its group: an id, what holds when it passes, and a function from the case to the
//! finding. To add one, add an entry; everything that lists rules takes them from these tables.
//!
//! A rule is *needed* unless its own description says when it is not. A rule that cannot be decided until another one
//! passes is not performed, and needed: what is wrong with evidence is said once, by the rule it breaks.

mod check;
mod form;
mod identity;
mod platform;
mod policy;
mod requirements;
mod tcb;
#[cfg(test)]
mod tests;

pub use crate::appraise::{Demand, Permit};
pub use requirements::{
    AuthorKey, BitDemand, Chips, IdBlock, Identity, PlatformBits, PolicyBits, ProductTerms, Products, Requirements,
    SigningKeys, Terms,
};

use super::chain::{self, Chain, Endorsement, Roots};
use super::product::Product;
use super::report::Report;
use crate::appraise::{Finding, Rule, Time};
use check::{Case, Check};

/// The rules over the report, group by group, as they are reported; those of [`chain`] come after the first group.
const GROUPS: [&[Check]; 5] = [form::CHECKS, policy::CHECKS, platform::CHECKS, tcb::CHECKS, identity::CHECKS];

/// What is to be judged, as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// The report.
    pub report: &'a [u8],
    /// The certificates of the key that signed it.
    pub chain: Chain<'a>,
}

/// What the rules found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appraisal<'a> {
    /// One finding for each of [`rules`], in their order.
    pub findings: Vec<Finding>,
    /// What the evidence says: true only if every finding permits it.
    pub facts: Facts<'a>,
}

/// What evidence says, for people and for what comes after the verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The report; `None` if the bytes are not one.
    pub report: Option<Report<'a>>,
    /// The product, by the report or else by the certificate.
    pub product: Option<Product>,
    /// What the launch digest is the digest of, as the requirements name it.
    pub launched: Option<String>,
    /// Who signed; `None` unless every rule about that permits it.
    pub endorsement: Option<Endorsement>,
}

/// Judges evidence at the time `now`.
pub fn appraise<'a>(evidence: &Evidence<'a>, roots: &Roots, requirements: &Requirements, now: Time) -> Appraisal<'a> {
    let parsed = Report::parse(evidence.report);
    let demands = chain::Demands {
        missing_crl: requirements.missing_crl,
        crl_max_age: requirements.crl_max_age.clone(),
        masked_chip: requirements.chips.masked,
    };
    let (signed, endorsement) = match &parsed {
        Ok(report) => chain::examine(&evidence.chain, report, roots, &demands, now),
        Err(error) => (chain::RULES.map(|rule| Finding::waits_for(rule, form::broken(*error))).into(), None),
    };
    let case = Case { bytes: evidence.report, parsed, endorsement: endorsement.as_ref(), requirements };
    let [form, rest @ ..] = GROUPS;
    let findings = form.iter().map(|check| check.find(&case)).chain(signed);
    let findings = findings.chain(rest.into_iter().flatten().map(|check| check.find(&case))).collect();
    let launched = match (&parsed, &requirements.identity.measurements) {
        (Ok(report), Demand::Is(accepted)) => accepted.get(&report.measurement()).cloned(),
        _ => None,
    };
    let product = case.product().ok();
    Appraisal { findings, facts: Facts { report: parsed.ok(), product, launched, endorsement } }
}

/// Every rule, in the order of the findings.
pub fn rules() -> impl Iterator<Item = Rule> {
    let [form, rest @ ..] = GROUPS;
    let rest = rest.into_iter().flatten().map(|check| check.rule);
    form.iter().map(|check| check.rule).chain(chain::RULES.iter().copied()).chain(rest)
}
