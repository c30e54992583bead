//! `snp.identity.*`: who the guest is, what it says, and on which chip it runs.

use super::check::{Answer, Case, Check, Undecided, one_of};
use super::form::signing_key;
use super::requirements::{AuthorKey, Demand, IdBlock, Permit, SigningKeys};
use crate::appraise::Rule;
use crate::digest::Digest;
use crate::snp::report::SigningKey;

pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: Rule { id: "snp.identity.measurement", holds: "what was launched is one of what the policy accepts" },
        decide: measurement,
    },
    Check {
        rule: Rule { id: "snp.identity.report-data", holds: "the guest put into the report what was expected" },
        decide: |case| Ok(Answer::equal(&case.requirements.identity.report_data, &case.report()?.report_data())),
    },
    Check {
        rule: Rule { id: "snp.identity.host-data", holds: "the host put into the report what was expected" },
        decide: |case| Ok(Answer::equal(&case.requirements.identity.host_data, &case.report()?.host_data())),
    },
    Check {
        rule: Rule { id: "snp.identity.vmpl", holds: "the report was asked for by the guest, at the level expected" },
        decide: vmpl,
    },
    Check {
        rule: Rule { id: "snp.identity.id-key", holds: "the ID block was signed by a key of the policy" },
        decide: id_key,
    },
    Check {
        rule: Rule { id: "snp.identity.author-key-enabled", holds: "the ID key was signed by an author key" },
        decide: author_key_enabled,
    },
    Check {
        rule: Rule { id: "snp.identity.author-key", holds: "the author key is one of the policy" },
        decide: author_key,
    },
    Check {
        rule: Rule { id: "snp.identity.family-id", holds: "the family is the expected one" },
        decide: |case| {
            let family = case.report()?.family_id();
            from_id_block(case, family, |block| Answer::equal(block.family_id, &family))
        },
    },
    Check {
        rule: Rule { id: "snp.identity.image-id", holds: "the image is the expected one" },
        decide: |case| {
            let image = case.report()?.image_id();
            from_id_block(case, image, |block| Answer::equal(block.image_id, &image))
        },
    },
    Check {
        rule: Rule { id: "snp.identity.guest-svn", holds: "the guest's security version is at least the policy's" },
        decide: |case| {
            let svn = case.report()?.guest_svn();
            from_id_block(case, svn, |block| {
                let floor = block.guest_svn_floor;
                Answer::of(svn >= floor, svn, format_args!("at least {floor}"), "it is too low")
            })
        },
    },
    Check {
        rule: Rule { id: "snp.identity.migration-agent", holds: "there is no migration agent" },
        decide: migration_agent,
    },
    Check {
        rule: Rule { id: "snp.identity.chip-masked", holds: "the report says which chip it is from" },
        decide: chip_masked,
    },
    Check {
        rule: Rule { id: "snp.identity.chip-allowed", holds: "the chip is on the list of those allowed" },
        decide: chip_allowed,
    },
    Check {
        rule: Rule { id: "snp.identity.chip-denied", holds: "the chip is not on the list of those denied" },
        decide: chip_denied,
    },
    Check {
        rule: Rule { id: "snp.identity.csp-id", holds: "the provider whose key signed is on the list" },
        decide: csp_id,
    },
];

/// What a matching launch digest is the digest of is part of what was observed. Needed unless any will do.
fn measurement(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.measurement();
    Ok(Answer::to(&case.requirements.identity.measurements, found, |accepted, observed| {
        let required = one_of(accepted.iter().map(|(digest, name)| format!("{digest} ({name})")));
        match accepted.get(&found) {
            Some(name) => Answer::of(true, format_args!("{observed} ({name})"), required, ""),
            None => Answer::of(false, observed, required, "nothing that is accepted has this launch digest"),
        }
    }))
}

/// Only levels 0 to 3 are a guest's: others fail even where any will do. Else needed unless any will do.
fn vmpl(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.vmpl();
    Ok(match (found, &case.requirements.identity.vmpl) {
        (u32::MAX, _) => Answer::of(false, format_args!("{found:#x}"), "0 to 3", "the host asked for the report"),
        (4.., _) => Answer::of(false, found, "0 to 3", "there is no such level"),
        (0..=3, demand) => Answer::equal(demand, &found),
    })
}

/// Needed if the ID key is pinned; else whoever launched the guest chose it.
fn id_key(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.id_key_digest();
    Ok(match &case.requirements.identity.id_block {
        IdBlock::Unpinned => Answer::not_needed(found, UNPINNED),
        IdBlock::Pinned { id_keys, .. } => {
            Answer::of(id_keys.contains(&found), found, one_of(id_keys.iter()), "the policy does not name this key")
        }
    })
}

const UNPINNED: &str = "the policy pins no ID key, so nobody vouches for the ID block";

/// Needed if an author key is pinned.
fn author_key_enabled(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.key_info().author_key_enabled();
    Ok(match author_keys(case) {
        None => Answer::not_needed(u8::from(found), NO_AUTHOR),
        Some(_) => Answer::of(found, u8::from(found), 1, "AUTHOR_KEY_EN is 0"),
    })
}

/// Needed if an author key is pinned.
fn author_key(case: &Case<'_>) -> Result<Answer, Undecided> {
    let (report, found) = (case.report()?, case.report()?.author_key_digest());
    match author_keys(case) {
        None => Ok(Answer::not_needed(found, NO_AUTHOR)),
        Some(_) if !report.key_info().author_key_enabled() => Err(Undecided::by("snp.identity.author-key-enabled")),
        Some(keys) => {
            Ok(Answer::of(keys.contains(&found), found, one_of(keys.iter()), "the policy does not name this key"))
        }
    }
}

const NO_AUTHOR: &str = "the policy pins no author key";

/// The author keys that are accepted, if it matters.
fn author_keys<'a>(case: &Case<'a>) -> Option<&'a std::collections::BTreeSet<Digest<48>>> {
    match &case.requirements.identity.id_block {
        IdBlock::Pinned { author_key: AuthorKey::Pinned(keys), .. } => Some(keys),
        IdBlock::Pinned { author_key: AuthorKey::Unpinned, .. } | IdBlock::Unpinned => None,
    }
}

/// What is asked of what the ID block says.
struct BlockDemands<'a> {
    family_id: &'a Demand<Digest<16>>,
    image_id: &'a Demand<Digest<16>>,
    guest_svn_floor: u32,
}

/// A value from the ID block: it counts only if the block's key is pinned and the right one.
fn from_id_block(
    case: &Case<'_>,
    found: impl core::fmt::Display,
    judge: impl FnOnce(BlockDemands<'_>) -> Answer,
) -> Result<Answer, Undecided> {
    match &case.requirements.identity.id_block {
        IdBlock::Unpinned => Ok(Answer::not_needed(found, UNPINNED)),
        IdBlock::Pinned { id_keys, .. } if !id_keys.contains(&case.report()?.id_key_digest()) => {
            Err(Undecided::by("snp.identity.id-key"))
        }
        IdBlock::Pinned { family_id, image_id, guest_svn_floor, .. } => {
            Ok(judge(BlockDemands { family_id, image_id, guest_svn_floor: *guest_svn_floor }))
        }
    }
}

/// Without an agent REPORT_ID_MA is all ones. Needed unless an agent is accepted.
fn migration_agent(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.report_id_ma();
    let none = Digest::new([0xff; 32]);
    Ok(match case.requirements.identity.migration_agent {
        Permit::Accepted if found != none => Answer::not_needed(found, "the policy accepts a migration agent"),
        Permit::Accepted | Permit::Refused => Answer::of(found == none, found, none, "the guest has a migration agent"),
    })
}

/// Needed unless a masked chip is accepted.
fn chip_masked(case: &Case<'_>) -> Result<Answer, Undecided> {
    let report = case.report()?;
    Ok(match (report.chip_id_masked(), case.requirements.chips.masked) {
        (false, _) => Answer::of(true, report.chip_id(), "not zero", ""),
        (true, Permit::Refused) => Answer::of(false, "masked", "not zero", "the host hides which chip this is"),
        (true, Permit::Accepted) => Answer::not_needed("masked", "the policy accepts a masked chip"),
    })
}

/// Needed unless any chip will do. A chip that is masked is on no list, whether or not masking is accepted.
fn chip_allowed(case: &Case<'_>) -> Result<Answer, Undecided> {
    let report = case.report()?;
    let chip = report.chip_id();
    Ok(Answer::to(&case.requirements.chips.allowed, chip, |allowed, observed| match report.chip_id_masked() {
        true => Answer::unavailable("masked", one_of(allowed.iter()), MASKED),
        false => {
            Answer::of(allowed.contains(&chip), observed, one_of(allowed.iter()), "the policy does not name this chip")
        }
    }))
}

/// Needed unless the list is empty. Masking does not get a chip past it.
fn chip_denied(case: &Case<'_>) -> Result<Answer, Undecided> {
    let (report, denied) = (case.report()?, &case.requirements.chips.denied);
    let chip = report.chip_id();
    let required = format_args!("none of {}", denied.len());
    Ok(match (denied.is_empty(), report.chip_id_masked()) {
        (true, _) => Answer::not_needed(chip, "the policy denies no chip"),
        (false, true) => Answer::unavailable("masked", required, MASKED),
        (false, false) => Answer::of(!denied.contains(&chip), chip, required, "the policy denies this chip"),
    })
}

const MASKED: &str = "the host hides which chip this is, so no list can be consulted";

/// Needed if a VLEK signed and the list is not any; a VCEK names no provider.
fn csp_id(case: &Case<'_>) -> Result<Answer, Undecided> {
    match (signing_key(case)?, &case.requirements.signing_key) {
        (SigningKey::Vlek, SigningKeys::VcekOnly) => Err(Undecided::by("snp.report.signing-key-accepted")),
        (SigningKey::Vlek, SigningKeys::VcekOrVlek { csp_ids }) => {
            let Some(csp_id) = case.endorsement.and_then(|endorsement| endorsement.csp.as_ref()) else {
                return Err(Undecided::because("no certificate that passed names a provider"));
            };
            Ok(Answer::to(csp_ids, csp_id, |accepted, observed| {
                let required = one_of(accepted.iter());
                Answer::of(accepted.contains(csp_id), observed, required, "the policy does not name this provider")
            }))
        }
        _ => Ok(Answer::not_needed("", "a VCEK names no provider")),
    }
}
