//! `snp.report.*`: whether the bytes are a report that these rules can judge, and which key signed. All are needed.

use super::check::{Case, Check, Known, check, check_of};
use super::requirements::{SigningKeys, Terms};
use crate::appraise::{Finding, Rule};
use crate::snp::report::{REPORT_BYTES, ReportError, SigningKey};

const LENGTH: Rule = Rule { id: "snp.report.length", holds: "the report is 1184 bytes long" };
const VERSION: Rule = Rule { id: "snp.report.version", holds: "the report's version is one of 2, 3, 4, 5" };
pub(super) const PRODUCT: Rule = Rule { id: "snp.report.product", holds: "the processor is a known one" };
pub(super) const PRODUCT_ACCEPTED: Rule =
    Rule { id: "snp.report.product-accepted", holds: "the policy names the product" };
const SIGNING_KEY: Rule = Rule { id: "snp.report.signing-key", holds: "the report says that a VCEK or VLEK signed it" };
pub(super) const SIGNING_KEY_ACCEPTED: Rule =
    Rule { id: "snp.report.signing-key-accepted", holds: "the policy names the kind of key" };

pub(super) const CHECKS: &[Check] = &[
    check_of(LENGTH, |rule, case| {
        let (found, wanted) = (case.bytes.len(), REPORT_BYTES);
        let reason = "it is not the length of a report";
        Ok(Finding::of(rule, found == wanted, found.to_string(), wanted.to_string(), reason))
    }),
    check_of(VERSION, version),
    check("snp.report.reserved", "what the report's version reserves is zero", reserved),
    check("snp.report.signature-algorithm", "the signature is ECDSA P-384 with SHA-384", |rule, case| {
        let found = case.report()?.signature_algorithm();
        Ok(Finding::of(rule, found == 1, found.to_string(), "1", "the algorithm is unknown"))
    }),
    check_of(PRODUCT, product),
    check_of(PRODUCT_ACCEPTED, product_accepted),
    check_of(SIGNING_KEY, |rule, case| {
        let key = case.report()?.key_info().signing_key();
        let known = matches!(key, SigningKey::Vcek | SigningKey::Vlek);
        Ok(Finding::of(rule, known, key.to_string(), "VCEK or VLEK", "no key signed, or an unknown one"))
    }),
    check_of(SIGNING_KEY_ACCEPTED, signing_key_accepted),
    check("snp.report.chip-key", "the chip's key is not masked where it signed", chip_key),
];

/// The rule that bytes break which are not a report.
pub(super) const fn broken(error: ReportError) -> Rule {
    match error {
        ReportError::Length { .. } => LENGTH,
        ReportError::Version { .. } => VERSION,
    }
}

fn version(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let required = "2 to 5";
    match case.parsed {
        Ok(report) => Ok(Finding::passed(rule, report.version().number().to_string(), required)),
        Err(ReportError::Version { found }) => {
            Ok(Finding::failed(rule, found.to_string(), required, "the layout is unknown"))
        }
        Err(ReportError::Length { .. }) => Err(LENGTH),
    }
}

/// The words of bits and the TCB versions have rules of their own, and what follows the signature belongs to the
/// signature.
fn reserved(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let used = case.report()?.reserved_in_use();
    let first = used.first().map_or_else(|| "zero".to_owned(), |at| format!("not zero at offset {at:#x}"));
    let reason = format!("{} reserved bytes are in use, for what is unknown", used.len());
    Ok(Finding::of(rule, used.is_empty(), first, "zero", reason))
}

/// By CPUID, and in version 2, which has none, by the certificate, whose chain has to have passed.
fn product(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let required = "Milan, Genoa or Turin";
    Ok(match (case.report()?.product(), case.endorsement) {
        (Some(Ok(product)), _) => Finding::passed(rule, product.name(), required),
        (Some(Err(error)), _) => Finding::failed(rule, "another processor", required, error.to_string()),
        (None, Some(endorsement)) => {
            Finding::passed(rule, format!("{}, by the certificate alone", endorsement.product), required)
        }
        (None, None) => {
            let reason = "a report of version 2 does not say, and no certificate that passed says it";
            Finding::missing(rule, "", required, reason)
        }
    })
}

fn product_accepted(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let product = case.product()?;
    let accepted = matches!(case.requirements.products.terms(product), Terms::Accepted(_));
    let reason = format!("the policy refuses {product}");
    Ok(Finding::of(rule, accepted, product.name(), "a product that the policy names", reason))
}

/// A VLEK is accepted only if the policy names it: it says which provider, not which chip.
fn signing_key_accepted(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let key = signing_key(case)?;
    let (accepted, required) = match case.requirements.signing_key {
        SigningKeys::VcekOnly => (key == SigningKey::Vcek, "VCEK"),
        SigningKeys::VcekOrVlek { .. } => (true, "VCEK or VLEK"),
    };
    Ok(Finding::of(rule, accepted, key.to_string(), required, format!("the policy refuses a {key}")))
}

/// MASK_CHIP_KEY says that the host keeps the firmware from using the VCEK, so none can have signed. A VLEK can.
fn chip_key(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let masked = case.report()?.key_info().chip_key_masked();
    let holds = !masked || signing_key(case)? == SigningKey::Vlek;
    let observed = if masked { "masked" } else { "not masked" };
    let reason = "MASK_CHIP_KEY is 1 in a report signed by a VCEK";
    Ok(Finding::of(rule, holds, observed, "not masked under a VCEK", reason))
}

/// The key that signed, VCEK or VLEK.
pub(super) fn signing_key(case: &Case<'_>) -> Known<SigningKey> {
    match case.report()?.key_info().signing_key() {
        SigningKey::None | SigningKey::Reserved(_) => Err(SIGNING_KEY),
        key => Ok(key),
    }
}
