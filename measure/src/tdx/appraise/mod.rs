//! The rules over a quote.

mod guest;
mod platform;
mod requirements;
mod rules;
#[cfg(test)]
mod tests;
mod trust;

pub use requirements::{Advisories, Identity, ParseTcbStatusError, Platforms, Requirements, Services, Tcb, TcbStatus};
pub use rules::RULES;

use super::collateral::{Collateral, Root};
use super::quote::{Quote, QuoteError};
use crate::appraise::{Demand, Finding, Outcome, Rule, Time};
use rules::{BODY, COLLATERAL, KEY_TYPE, SIZE, TEE_TYPE, VENDOR, VERSION};

/// A quote and what came with it, as they were received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// The quote.
    pub quote: &'a [u8],
    /// What it takes to judge it.
    pub collateral: Option<Collateral<'a>>,
}

/// Asks every rule. There is one finding for each, in the order of [`RULES`], whatever the bytes are. What passes under a
/// [`Root::Simulated`] says nothing about hardware.
pub fn appraise(evidence: &Evidence<'_>, root: Root<'_>, requirements: &Requirements, now: Time) -> Vec<Finding> {
    let parsed = Quote::parse(evidence.quote);
    let mut findings = quote(&parsed);
    let after = findings.len();
    let Ok(quote) = parsed else {
        // The last of them is the one that failed or waits for it.
        let first = findings.iter().find(|finding| finding.outcome == Outcome::Failed).map_or(SIZE, |found| found.rule);
        findings.extend(RULES.iter().skip(after).map(|rule| Finding::waits_for(*rule, first)));
        return findings;
    };
    let collateral = collateral(evidence.collateral.as_ref());
    let trust = match &evidence.collateral {
        Some(found) if collateral.outcome == Outcome::Passed => {
            trust::Trust::of(evidence.quote, &quote, found, root, &requirements.services, now)
        }
        _ => trust::Trust::waiting_for(COLLATERAL),
    };
    findings.push(collateral);
    findings.extend(trust.findings(now));
    findings.extend(platform::findings(&trust, requirements));
    findings.extend(guest::findings(&quote.body, requirements));
    findings
}

/// What [`Quote::parse`] looked at, in its order.
fn quote(parsed: &Result<Quote<'_>, QuoteError>) -> Vec<Finding> {
    let rules = [VERSION, KEY_TYPE, TEE_TYPE, VENDOR, BODY, SIZE];
    let quote = match parsed {
        Ok(quote) => quote,
        Err(error) => {
            let (broken, observed) = match error {
                QuoteError::Version { found } => (VERSION, found.to_string()),
                QuoteError::KeyType { found } => (KEY_TYPE, found.to_string()),
                QuoteError::TeeType { found } => (TEE_TYPE, format!("{found:#x}")),
                QuoteError::Vendor { found } => (VENDOR, found.to_string()),
                QuoteError::Body { kind, size } => (BODY, format!("type {kind}, {size} bytes")),
                _ => (SIZE, String::new()),
            };
            // Without a header none of the others could be read, and it is the size that says so.
            let undecided =
                matches!(error, QuoteError::TooLong { .. } | QuoteError::TooShort { part: "the header", .. });
            let mut failed = false;
            return rules
                .map(|rule| {
                    failed |= rule == broken;
                    match rule == broken {
                        true => Finding::failed(rule, observed.clone(), "", error.to_string()),
                        false if failed || undecided => Finding::waits_for(rule, broken),
                        false => Finding::passed(rule, "", ""),
                    }
                })
                .into();
        }
    };
    let seen = [
        quote.version.to_string(),
        "2".into(),
        "0x81".into(),
        super::quote::VENDOR.to_string(),
        quote.kind.to_string(),
        format!("{} bytes signed", quote.signed.len()),
    ];
    rules.into_iter().zip(seen).map(|(rule, seen)| Finding::passed(rule, seen, "")).collect()
}

fn collateral(found: Option<&Collateral<'_>>) -> Finding {
    match found.map(Collateral::too_long) {
        None => Finding::missing(COLLATERAL, "", "", "the evidence has no TDX collateral"),
        Some(None) => Finding::passed(COLLATERAL, "", ""),
        Some(Some((part, length, limit))) => {
            let (observed, required) = (format!("{part}: {length} bytes"), format!("at most {limit}"));
            Finding::failed(COLLATERAL, observed, required, format!("{part} is longer than allowed"))
        }
    }
}

/// Whether something holds that is not the policy's to choose.
fn always(rule: Rule, observed: impl Into<String>, required: &str, holds: bool) -> Finding {
    Finding::of(rule, holds, observed, required, format!("expected {required}"))
}

/// Whether what was observed satisfies the policy.
fn demanded<T>(
    rule: Rule,
    observed: impl Into<String>,
    demand: &Demand<T>,
    required: impl Fn(&T) -> String,
    holds: impl Fn(&T) -> bool,
) -> Finding {
    demand.finding(rule, observed, |wanted, observed| {
        Finding::of(rule, holds(wanted), observed, required(wanted), "not what the policy requires")
    })
}
