//! `snp.platform.*`: what the platform says of itself. A rule over a bit is needed unless the terms of the product say
//! `Any`.

use super::check::{Answer, Case, Check, Undecided, bits, cannot_say};
use super::requirements::{BitDemand, Permit, PlatformBits};
use crate::appraise::Rule;
use crate::snp::report::{PlatformInfo, ReportVersion};

pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: Rule { id: "snp.platform.smt", holds: "simultaneous multithreading is on or off, as demanded" },
        decide: |case| bit(case, PlatformInfo::SMT, |bits| bits.smt),
    },
    Check {
        rule: Rule { id: "snp.platform.tsme", holds: "transparent memory encryption is on or off, as demanded" },
        decide: |case| bit(case, PlatformInfo::TSME, |bits| bits.tsme),
    },
    Check {
        rule: Rule { id: "snp.platform.ecc", holds: "memory has error correction or not, as demanded" },
        decide: |case| bit(case, PlatformInfo::ECC, |bits| bits.ecc),
    },
    Check {
        rule: Rule { id: "snp.platform.rapl-disabled", holds: "RAPL is off or on, as demanded" },
        decide: |case| bit(case, PlatformInfo::RAPL_DISABLED, |bits| bits.rapl_disabled),
    },
    Check {
        rule: Rule { id: "snp.platform.ciphertext-hiding", holds: "ciphertext hiding is on or off, as demanded" },
        decide: |case| bit(case, PlatformInfo::CIPHERTEXT_HIDING, |bits| bits.ciphertext_hiding),
    },
    Check {
        rule: Rule { id: "snp.platform.alias-check", holds: "memory was checked for aliases or not, as demanded" },
        decide: alias_check,
    },
    Check {
        rule: Rule { id: "snp.platform.tio", holds: "trusted input and output is on or off, as demanded" },
        decide: |case| bit(case, PlatformInfo::TIO, |bits| bits.tio),
    },
    Check {
        rule: Rule { id: "snp.platform.unknown-bits", holds: "every bit of PLATFORM_INFO has a known meaning" },
        decide: unknown_bits,
    },
];

fn bit(case: &Case<'_>, mask: u64, demand: fn(&PlatformBits) -> BitDemand) -> Result<Answer, Undecided> {
    Ok(Answer::bit(demand(&case.terms()?.platform), case.report()?.platform_info().0, mask))
}

/// Version 2 has no such bit, so a demand about it is not met by its being 0.
fn alias_check(case: &Case<'_>) -> Result<Answer, Undecided> {
    let version = case.report()?.version();
    match case.terms()?.platform.alias_check_complete {
        BitDemand::Require | BitDemand::Forbid if version < ReportVersion::V3 => {
            Ok(Answer::unavailable("", "", cannot_say(version)))
        }
        BitDemand::Require | BitDemand::Forbid | BitDemand::Any => {
            bit(case, PlatformInfo::ALIAS_CHECK_COMPLETE, |bits| bits.alias_check_complete)
        }
    }
}

/// Needed if unknown bits are refused. If they are accepted, bits that are set are named and nobody judges them.
fn unknown_bits(case: &Case<'_>) -> Result<Answer, Undecided> {
    let unknown = case.report()?.platform_info().0 & !PlatformInfo::KNOWN;
    let reason = format!("the meaning of bits {} is unknown", bits(unknown));
    let observed = format_args!("{unknown:#x}");
    Ok(match case.terms()?.platform.unknown {
        Permit::Accepted if unknown != 0 => {
            Answer::not_needed(observed, format_args!("{reason}; the policy accepts it"))
        }
        Permit::Accepted | Permit::Refused => Answer::of(unknown == 0, observed, "0x0", reason),
    })
}
