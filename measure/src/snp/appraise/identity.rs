//! `snp.identity.*`: who the guest is, what it says, and on which chip it runs.

use super::check::{Case, Check, Known, check, check_of, equal};
use super::form::{SIGNING_KEY_ACCEPTED, signing_key};
use super::requirements::{AuthorKey, IdBlock, SigningKeys};
use crate::appraise::{Finding, Permit, Rule, one_of};
use crate::digest::Digest;
use crate::snp::report::SigningKey;
use std::collections::BTreeSet;

const ID_KEY: Rule = Rule { id: "snp.identity.id-key", holds: "the ID block was signed by a key of the policy" };
const AUTHOR_KEY_ENABLED: Rule =
    Rule { id: "snp.identity.author-key-enabled", holds: "the ID key was signed by an author key" };

pub(super) const CHECKS: &[Check] = &[
    check("snp.identity.measurement", "what was launched is one of what the policy accepts", measurement),
    check("snp.identity.report-data", "the guest put into the report what was expected", |rule, case| {
        Ok(equal(rule, &case.requirements.identity.report_data, &case.report()?.report_data()))
    }),
    check("snp.identity.host-data", "the host put into the report what was expected", |rule, case| {
        Ok(equal(rule, &case.requirements.identity.host_data, &case.report()?.host_data()))
    }),
    check("snp.identity.vmpl", "the report was asked for by the guest, at the level expected", vmpl),
    check_of(ID_KEY, id_key),
    check_of(AUTHOR_KEY_ENABLED, author_key_enabled),
    check("snp.identity.author-key", "the author key is one of the policy", author_key),
    check("snp.identity.family-id", "the family is the expected one", family_id),
    check("snp.identity.image-id", "the image is the expected one", image_id),
    check("snp.identity.guest-svn", "the guest's security version is at least the policy's", guest_svn),
    check("snp.identity.migration-agent", "there is no migration agent", migration_agent),
    check("snp.identity.chip-masked", "the report says which chip it is from", chip_masked),
    check("snp.identity.chip-allowed", "the chip is on the list of those allowed", chip_allowed),
    check("snp.identity.chip-denied", "the chip is not on the list of those denied", chip_denied),
    check("snp.identity.csp-id", "the provider whose key signed is on the list", csp_id),
];

/// What a matching launch digest is the digest of is part of what was observed. Needed unless any will do.
fn measurement(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.measurement();
    Ok(case.requirements.identity.measurements.finding(rule, found.to_string(), |accepted, observed| {
        let required = one_of(accepted.iter().map(|(digest, name)| format!("{digest} ({name})")));
        match accepted.get(&found) {
            Some(name) => Finding::passed(rule, format!("{observed} ({name})"), required),
            None => Finding::failed(rule, observed, required, "nothing that is accepted has this launch digest"),
        }
    }))
}

/// Only levels 0 to 3 are a guest's: others fail even where any will do. Else needed unless any will do.
fn vmpl(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.vmpl();
    Ok(match found {
        0..=3 => equal(rule, &case.requirements.identity.vmpl, &found),
        u32::MAX => Finding::failed(rule, format!("{found:#x}"), "0 to 3", "the host asked for the report"),
        _ => Finding::failed(rule, found.to_string(), "0 to 3", "there is no such level"),
    })
}

/// Needed if the ID key is pinned; else whoever launched the guest chose it.
fn id_key(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.id_key_digest();
    Ok(match &case.requirements.identity.id_block {
        IdBlock::Unpinned => Finding::not_asked(rule, found.to_string(), UNPINNED),
        IdBlock::Pinned { id_keys, .. } => named(rule, id_keys, found),
    })
}

const UNPINNED: &str = "the policy pins no ID key, so nobody vouches for the ID block";

/// Whether a key is one of those that the policy names.
fn named(rule: Rule, keys: &BTreeSet<Digest<48>>, found: Digest<48>) -> Finding {
    let reason = "the policy does not name this key";
    Finding::of(rule, keys.contains(&found), found.to_string(), one_of(keys), reason)
}

/// Needed if an author key is pinned.
fn author_key_enabled(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.key_info().author_key_enabled();
    let observed = u8::from(found).to_string();
    Ok(match author_keys(case) {
        None => Finding::not_asked(rule, observed, NO_AUTHOR),
        Some(_) => Finding::of(rule, found, observed, "1", "AUTHOR_KEY_EN is 0"),
    })
}

/// Needed if an author key is pinned.
fn author_key(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let report = case.report()?;
    let found = report.author_key_digest();
    match author_keys(case) {
        None => Ok(Finding::not_asked(rule, found.to_string(), NO_AUTHOR)),
        Some(_) if !report.key_info().author_key_enabled() => Err(AUTHOR_KEY_ENABLED),
        Some(keys) => Ok(named(rule, keys, found)),
    }
}

const NO_AUTHOR: &str = "the policy pins no author key";

/// The author keys that are accepted, if it matters.
fn author_keys<'a>(case: &Case<'a>) -> Option<&'a BTreeSet<Digest<48>>> {
    match &case.requirements.identity.id_block {
        IdBlock::Pinned { author_key: AuthorKey::Pinned(keys), .. } => Some(keys),
        IdBlock::Pinned { author_key: AuthorKey::Unpinned, .. } | IdBlock::Unpinned => None,
    }
}

/// Needed if the ID key is pinned and not any family will do.
fn family_id(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.family_id();
    Ok(match vouched(case)? {
        IdBlock::Pinned { family_id, .. } => equal(rule, family_id, &found),
        IdBlock::Unpinned => Finding::not_asked(rule, found.to_string(), UNPINNED),
    })
}

/// Needed if the ID key is pinned and not any image will do.
fn image_id(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.image_id();
    Ok(match vouched(case)? {
        IdBlock::Pinned { image_id, .. } => equal(rule, image_id, &found),
        IdBlock::Unpinned => Finding::not_asked(rule, found.to_string(), UNPINNED),
    })
}

/// Needed if the ID key is pinned.
fn guest_svn(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.guest_svn();
    Ok(match vouched(case)? {
        IdBlock::Pinned { guest_svn_floor: floor, .. } => {
            Finding::of(rule, found >= *floor, found.to_string(), format!("at least {floor}"), "it is too low")
        }
        IdBlock::Unpinned => Finding::not_asked(rule, found.to_string(), UNPINNED),
    })
}

/// What is asked of the ID block, if its key is the pinned one or none is.
fn vouched<'a>(case: &Case<'a>) -> Known<&'a IdBlock> {
    let block = &case.requirements.identity.id_block;
    match block {
        IdBlock::Pinned { id_keys, .. } if !id_keys.contains(&case.report()?.id_key_digest()) => Err(ID_KEY),
        IdBlock::Pinned { .. } | IdBlock::Unpinned => Ok(block),
    }
}

/// Without an agent REPORT_ID_MA is all ones. Needed unless an agent is accepted.
fn migration_agent(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (found, none) = (case.report()?.report_id_ma(), Digest::new([0xff; 32]));
    let observed = found.to_string();
    Ok(match case.requirements.identity.migration_agent {
        Permit::Accepted if found != none => Finding::not_asked(rule, observed, "the policy accepts a migration agent"),
        Permit::Accepted | Permit::Refused => {
            Finding::of(rule, found == none, observed, none.to_string(), "the guest has a migration agent")
        }
    })
}

/// Needed unless a masked chip is accepted.
fn chip_masked(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let report = case.report()?;
    Ok(match (report.chip_id_masked(), case.requirements.chips.masked) {
        (false, _) => Finding::passed(rule, report.chip_id().to_string(), "not zero"),
        (true, Permit::Refused) => Finding::failed(rule, "masked", "not zero", "the host hides which chip this is"),
        (true, Permit::Accepted) => Finding::not_asked(rule, "masked", "the policy accepts a masked chip"),
    })
}

/// Needed unless any chip will do. A chip that is masked is on no list, whether or not masking is accepted.
fn chip_allowed(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let report = case.report()?;
    let chip = report.chip_id();
    Ok(case.requirements.chips.allowed.finding(rule, chip.to_string(), |allowed, observed| {
        let required = one_of(allowed);
        match report.chip_id_masked() {
            true => Finding::missing(rule, "masked", required, MASKED),
            false => {
                let reason = "the policy does not name this chip";
                Finding::of(rule, allowed.contains(&chip), observed, required, reason)
            }
        }
    }))
}

/// Needed unless the list is empty. Masking does not get a chip past it.
fn chip_denied(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (report, denied) = (case.report()?, &case.requirements.chips.denied);
    let chip = report.chip_id();
    let required = format!("none of {}", denied.len());
    Ok(match (denied.is_empty(), report.chip_id_masked()) {
        (true, _) => Finding::not_asked(rule, chip.to_string(), "the policy denies no chip"),
        (false, true) => Finding::missing(rule, "masked", required, MASKED),
        (false, false) => {
            Finding::of(rule, !denied.contains(&chip), chip.to_string(), required, "the policy denies this chip")
        }
    })
}

const MASKED: &str = "the host hides which chip this is, so no list can be consulted";

/// Needed if a VLEK signed and the list is not any; a VCEK names no provider.
fn csp_id(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let csp_ids = match (signing_key(case)?, &case.requirements.signing_key) {
        (SigningKey::Vlek, SigningKeys::VcekOnly) => return Err(SIGNING_KEY_ACCEPTED),
        (SigningKey::Vlek, SigningKeys::VcekOrVlek { csp_ids }) => csp_ids,
        _ => return Ok(Finding::not_asked(rule, "", "a VCEK names no provider")),
    };
    let Some(csp_id) = case.endorsement.and_then(|endorsement| endorsement.csp.as_ref()) else {
        return Ok(Finding::missing(rule, "", "", "no certificate that passed names a provider"));
    };
    Ok(csp_ids.finding(rule, csp_id, |accepted, observed| {
        let reason = "the policy does not name this provider";
        Finding::of(rule, accepted.contains(csp_id), observed, one_of(accepted), reason)
    }))
}
