//! `snp.report.*`: whether the bytes are a report that these rules can judge, and which key signed. All are needed.

use super::check::{Answer, Case, Check, Undecided};
use super::requirements::{SigningKeys, Terms};
use crate::appraise::Rule;
use crate::snp::report::{REPORT_BYTES, SigningKey};

pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: Rule { id: "snp.report.length", holds: "the report is 1184 bytes long" },
        decide: |case| {
            let found = case.bytes.len();
            Ok(Answer::of(found == REPORT_BYTES, found, REPORT_BYTES, "it is not the length of a report"))
        },
    },
    Check {
        rule: Rule { id: "snp.report.version", holds: "the report's version is one of 2, 3, 4, 5" },
        decide: version,
    },
    Check {
        rule: Rule { id: "snp.report.reserved", holds: "what the report's version reserves is zero" },
        decide: reserved,
    },
    Check {
        rule: Rule { id: "snp.report.signature-algorithm", holds: "the signature is ECDSA P-384 with SHA-384" },
        decide: |case| {
            let found = case.report()?.signature_algorithm();
            Ok(Answer::of(found == 1, found, 1, "the algorithm is unknown"))
        },
    },
    Check { rule: Rule { id: "snp.report.product", holds: "the processor is a known one" }, decide: product },
    Check {
        rule: Rule { id: "snp.report.product-accepted", holds: "the policy names the product" },
        decide: product_accepted,
    },
    Check {
        rule: Rule { id: "snp.report.signing-key", holds: "the report says that a VCEK or VLEK signed it" },
        decide: |case| {
            let key = case.report()?.key_info().signing_key();
            let known = matches!(key, SigningKey::Vcek | SigningKey::Vlek);
            Ok(Answer::of(known, key, "VCEK or VLEK", "no key signed, or an unknown one"))
        },
    },
    Check {
        rule: Rule { id: "snp.report.signing-key-accepted", holds: "the policy names the kind of key" },
        decide: signing_key_accepted,
    },
    Check {
        rule: Rule { id: "snp.report.chip-key", holds: "the chip's key is not masked where it signed" },
        decide: chip_key,
    },
];

fn version(case: &Case<'_>) -> Result<Answer, Undecided> {
    use crate::snp::report::ReportError;
    match case.parsed {
        Ok(report) => Ok(Answer::of(true, report.version().number(), "2 to 5", "")),
        Err(ReportError::Version { found }) => Ok(Answer::of(false, found, "2 to 5", "the layout is unknown")),
        Err(ReportError::Length { .. }) => Err(Undecided::by("snp.report.length")),
    }
}

/// The words of bits and the TCB versions have rules of their own, and what follows the signature belongs to the
/// signature.
fn reserved(case: &Case<'_>) -> Result<Answer, Undecided> {
    let used = case.report()?.reserved_in_use();
    let first = used.first().map_or_else(|| "zero".to_owned(), |at| format!("not zero at offset {at:#x}"));
    let reason = format_args!("{} reserved bytes are in use, for what is unknown", used.len());
    Ok(Answer::of(used.is_empty(), first, "zero", reason))
}

/// By CPUID, and in version 2, which has none, by the certificate, whose chain has to have passed.
fn product(case: &Case<'_>) -> Result<Answer, Undecided> {
    let required = "Milan, Genoa or Turin";
    Ok(match (case.report()?.product(), case.endorsement) {
        (Some(Ok(product)), _) => Answer::of(true, product, required, ""),
        (Some(Err(error)), _) => Answer::of(false, "another processor", required, error),
        (None, Some(endorsement)) => {
            let observed = format_args!("{}, by the certificate alone", endorsement.product);
            Answer::of(true, observed, required, "")
        }
        (None, None) => {
            let reason = "a report of version 2 does not say, and no certificate that passed says it";
            Answer::unavailable("", required, reason)
        }
    })
}

fn product_accepted(case: &Case<'_>) -> Result<Answer, Undecided> {
    let product = case.product()?;
    let accepted = matches!(case.requirements.products.terms(product), Terms::Accepted(_));
    Ok(Answer::of(accepted, product, "a product that the policy names", format_args!("the policy refuses {product}")))
}

/// A VLEK is accepted only if the policy names it: it says which provider, not which chip.
fn signing_key_accepted(case: &Case<'_>) -> Result<Answer, Undecided> {
    let key = signing_key(case)?;
    let (accepted, required) = match case.requirements.signing_key {
        SigningKeys::VcekOnly => (key == SigningKey::Vcek, "VCEK"),
        SigningKeys::VcekOrVlek { .. } => (true, "VCEK or VLEK"),
    };
    Ok(Answer::of(accepted, key, required, format_args!("the policy refuses a {key}")))
}

/// MASK_CHIP_KEY says that the host keeps the firmware from using the VCEK, so none can have signed. A VLEK can.
fn chip_key(case: &Case<'_>) -> Result<Answer, Undecided> {
    let masked = case.report()?.key_info().chip_key_masked();
    let holds = !masked || signing_key(case)? == SigningKey::Vlek;
    let observed = if masked { "masked" } else { "not masked" };
    Ok(Answer::of(holds, observed, "not masked under a VCEK", "MASK_CHIP_KEY is 1 in a report signed by a VCEK"))
}

/// The key that signed, VCEK or VLEK.
pub(super) fn signing_key(case: &Case<'_>) -> Result<SigningKey, Undecided> {
    match case.report()?.key_info().signing_key() {
        SigningKey::None | SigningKey::Reserved(_) => Err(Undecided::by("snp.report.signing-key")),
        key => Ok(key),
    }
}
