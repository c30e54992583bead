//! What every rule is made of: a case to look at, and an answer.

use super::requirements::{BitDemand, Demand, ProductTerms, Requirements, Terms};
use crate::appraise::{Finding, Outcome, Rule};
use crate::snp::chain::Endorsement;
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::{Report, ReportError, ReportVersion};
use core::fmt::Display;

/// A rule and the function that decides it.
pub(super) struct Check {
    pub(super) rule: Rule,
    pub(super) decide: fn(&Case<'_>) -> Result<Answer, Undecided>,
}

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

/// A decided rule.
pub(super) struct Answer {
    outcome: Outcome,
    observed: String,
    required: String,
    reason: String,
}

/// Why a rule cannot be decided: usually because another one did not pass.
pub(super) struct Undecided(String);

impl Check {
    pub(super) fn find(&self, case: &Case<'_>) -> Finding {
        let answer = (self.decide)(case).unwrap_or_else(|Undecided(reason)| Answer {
            outcome: Outcome::NotPerformed { needed: true },
            observed: String::new(),
            required: String::new(),
            reason,
        });
        let Answer { outcome, observed, required, reason } = answer;
        Finding { rule: self.rule, outcome, observed, required, reason }
    }
}

impl<'a> Case<'a> {
    /// The report, or which rule it breaks.
    pub(super) fn report(&self) -> Result<Report<'a>, Undecided> {
        self.parsed.map_err(|error| match error {
            ReportError::Length { .. } => Undecided::by("snp.report.length"),
            ReportError::Version { .. } => Undecided::by("snp.report.version"),
        })
    }

    /// The product that the report names or, in version 2, that the certificate names.
    pub(super) fn product(&self) -> Result<Product, Undecided> {
        match (self.report()?.product(), self.endorsement) {
            (Some(Ok(product)), _) => Ok(product),
            (None, Some(endorsement)) => Ok(endorsement.product),
            (Some(Err(_)), _) | (None, None) => Err(Undecided::by("snp.report.product")),
        }
    }

    /// What is asked of reports of this product.
    pub(super) fn terms(&self) -> Result<&'a ProductTerms, Undecided> {
        match self.requirements.products.terms(self.product()?) {
            Terms::Accepted(terms) => Ok(terms),
            Terms::Refused => Err(Undecided::by("snp.report.product-accepted")),
        }
    }

    /// A TCB version of the report, in the product's layout.
    pub(super) fn tcb(&self, word: fn(&Report<'a>) -> [u8; 8]) -> Result<TcbVersion, Undecided> {
        Ok(TcbVersion::of_report(word(&self.report()?), self.product()?).0)
    }
}

impl Answer {
    /// Passed if it holds; else failed, with the reason.
    pub(super) fn of(holds: bool, observed: impl Display, required: impl Display, reason: impl Display) -> Self {
        let (outcome, reason) =
            if holds { (Outcome::Passed, String::new()) } else { (Outcome::Failed, reason.to_string()) };
        Self { outcome, observed: observed.to_string(), required: required.to_string(), reason }
    }

    /// Not performed, and not needed.
    pub(super) fn not_needed(observed: impl Display, reason: impl Display) -> Self {
        let outcome = Outcome::NotPerformed { needed: false };
        Self { outcome, observed: observed.to_string(), required: String::new(), reason: reason.to_string() }
    }

    /// Not performed although it is needed.
    pub(super) fn unavailable(observed: impl Display, required: impl Display, reason: impl Display) -> Self {
        let outcome = Outcome::NotPerformed { needed: true };
        let (observed, required) = (observed.to_string(), required.to_string());
        Self { outcome, observed, required, reason: reason.to_string() }
    }

    /// What a demand makes of a value: not needed if any will do, unavailable if what would say it is missing, else as
    /// judged.
    pub(super) fn to<T>(demand: &Demand<T>, observed: impl Display, judge: impl FnOnce(&T, String) -> Self) -> Self {
        let observed = observed.to_string();
        match demand {
            Demand::Any => Self::not_needed(observed, ANY),
            Demand::Missing(reason) => Self::unavailable(observed, "", reason),
            Demand::Is(wanted) => judge(wanted, observed),
        }
    }

    /// Equality with a demanded value.
    pub(super) fn equal<T: PartialEq + Display>(demand: &Demand<T>, found: &T) -> Self {
        Self::to(demand, found, |wanted, observed| Self::of(found == wanted, observed, wanted, "it is another value"))
    }

    /// A bit of a word, as demanded.
    pub(super) fn bit(demand: BitDemand, word: u64, mask: u64) -> Self {
        let set = word & mask != 0;
        let (observed, bit) = (u8::from(set), mask.trailing_zeros());
        match demand {
            BitDemand::Any => Self::not_needed(observed, ANY),
            BitDemand::Require => Self::of(set, observed, 1, format_args!("bit {bit} is 0")),
            BitDemand::Forbid => Self::of(!set, observed, 0, format_args!("bit {bit} is 1")),
        }
    }
}

/// Why a rule was not performed when its demand is "any".
const ANY: &str = "the policy accepts any value";

impl Undecided {
    /// Because this rule did not pass.
    pub(super) fn by(rule: &str) -> Self {
        Self(format!("{rule} did not pass"))
    }

    /// For another reason.
    pub(super) fn because(reason: &str) -> Self {
        Self(reason.to_owned())
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

/// What a set asks for: its value if it has one, else how many.
pub(super) fn one_of<T: Display>(mut set: impl ExactSizeIterator<Item = T>) -> String {
    match (set.len(), set.next()) {
        (1, Some(only)) => only.to_string(),
        (count, _) => format!("one of {count}"),
    }
}
