//! What every rule is made of: a case to look at, and what is found.

use super::form::{self, PRODUCT, PRODUCT_ACCEPTED};
use super::requirements::{BitDemand, ProductTerms, Requirements, Terms};
use crate::appraise::{Demand, Finding, Rule};
use crate::snp::chain::Endorsement;
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::{Report, ReportError, ReportVersion};

/// A rule and the function that decides it.
pub(super) struct Check {
    pub(super) rule: Rule,
    decide: Decide,
}

pub(super) type Decide = fn(Rule, &Case<'_>) -> Known<Finding>;

/// What a rule has to know, or else the rule that has to pass first.
pub(super) type Known<T> = Result<T, Rule>;

/// What rules look at.
pub(super) struct Case<'a> {
    /// The bytes received as a report.
    pub(super) bytes: &'a [u8],
    /// What they are.
    pub(super) parsed: Result<Report<'a>, ReportError>,
    /// Who signed them, if the rules about that all permit it.
    pub(super) endorsement: Option<&'a Endorsement>,
    /// What is asked.
    pub(super) requirements: &'a Requirements,
}

/// An entry of a table.
pub(super) const fn check(id: &'static str, holds: &'static str, decide: Decide) -> Check {
    check_of(Rule { id, holds }, decide)
}

/// An entry for a rule that others wait for.
pub(super) const fn check_of(rule: Rule, decide: Decide) -> Check {
    Check { rule, decide }
}

impl Check {
    pub(super) fn find(&self, case: &Case<'_>) -> Finding {
        (self.decide)(self.rule, case).unwrap_or_else(|first| Finding::waits_for(self.rule, first))
    }
}

impl<'a> Case<'a> {
    /// The report.
    pub(super) fn report(&self) -> Known<Report<'a>> {
        self.parsed.map_err(form::broken)
    }

    /// The product that the report names or, in version 2, that the certificate names.
    pub(super) fn product(&self) -> Known<Product> {
        match (self.report()?.product(), self.endorsement) {
            (Some(Ok(product)), _) => Ok(product),
            (None, Some(endorsement)) => Ok(endorsement.product),
            (Some(Err(_)), _) | (None, None) => Err(PRODUCT),
        }
    }

    /// What is asked of reports of this product.
    pub(super) fn terms(&self) -> Known<&'a ProductTerms> {
        match self.requirements.products.terms(self.product()?) {
            Terms::Accepted(terms) => Ok(terms),
            Terms::Refused => Err(PRODUCT_ACCEPTED),
        }
    }

    /// A TCB version of the report, in the product's layout.
    pub(super) fn tcb(&self, word: fn(&Report<'a>) -> [u8; 8]) -> Known<TcbVersion> {
        Ok(TcbVersion::of_report(word(&self.report()?), self.product()?).0)
    }
}

/// Equality with a demanded value.
pub(super) fn equal<T: PartialEq + ToString>(rule: Rule, demand: &Demand<T>, found: &T) -> Finding {
    demand.finding(rule, found.to_string(), |wanted, observed| {
        Finding::of(rule, found == wanted, observed, wanted.to_string(), "it is another value")
    })
}

/// A bit of a word, as demanded.
pub(super) fn bit(rule: Rule, demand: BitDemand, word: u64, mask: u64) -> Finding {
    let set = word & mask != 0;
    let (observed, bit) = (u8::from(set).to_string(), mask.trailing_zeros());
    match demand {
        BitDemand::Any => Finding::not_asked(rule, observed, "the policy accepts either"),
        BitDemand::Require => Finding::of(rule, set, observed, "1", format!("bit {bit} is 0")),
        BitDemand::Forbid => Finding::of(rule, !set, observed, "0", format!("bit {bit} is 1")),
    }
}

/// That reports of this version cannot say what is asked for.
pub(super) fn cannot_say(version: ReportVersion) -> String {
    format!("a report of version {} cannot say", version.number())
}

/// Numbers of the bits that are 1, such as `3, 17`.
pub(super) fn bits(word: u64) -> String {
    let set = (0..u64::BITS).filter(|bit| word >> bit & 1 == 1);
    set.map(|bit| bit.to_string()).collect::<Vec<_>>().join(", ")
}
