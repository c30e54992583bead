//! `snp.platform.*`: what the platform says of itself. A rule over a bit is needed unless the terms of the product say
//! `Any`.

use super::check::{self, Case, Check, Known, bits, cannot_say, check};
use super::requirements::{BitDemand, PlatformBits};
use crate::appraise::{Finding, Permit, Rule};
use crate::snp::report::{PlatformInfo, ReportVersion};

pub(super) const CHECKS: &[Check] = &[
    check("snp.platform.smt", "simultaneous multithreading is on or off, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::SMT, |bits| bits.smt)
    }),
    check("snp.platform.tsme", "transparent memory encryption is on or off, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::TSME, |bits| bits.tsme)
    }),
    check("snp.platform.ecc", "memory has error correction or not, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::ECC, |bits| bits.ecc)
    }),
    check("snp.platform.rapl-disabled", "RAPL is off or on, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::RAPL_DISABLED, |bits| bits.rapl_disabled)
    }),
    check("snp.platform.ciphertext-hiding", "ciphertext hiding is on or off, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::CIPHERTEXT_HIDING, |bits| bits.ciphertext_hiding)
    }),
    check("snp.platform.alias-check", "memory was checked for aliases or not, as demanded", alias_check),
    check("snp.platform.iommu-write-safe", "bit 6, that the IOMMU's writes are safe, is as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::IOMMU_WRITE_SAFE, |bits| bits.iommu_write_safe)
    }),
    check("snp.platform.tio", "trusted input and output is on or off, as demanded", |rule, case| {
        bit(rule, case, PlatformInfo::TIO, |bits| bits.tio)
    }),
    check("snp.platform.unknown-bits", "every bit of PLATFORM_INFO has a known meaning", unknown_bits),
];

fn bit(rule: Rule, case: &Case<'_>, mask: u64, demand: fn(&PlatformBits) -> BitDemand) -> Known<Finding> {
    Ok(check::bit(rule, demand(&case.terms()?.platform), case.report()?.platform_info().0, mask))
}

/// Version 2 has no such bit, so a demand about it is not met by its being 0.
fn alias_check(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let version = case.report()?.version();
    if version < ReportVersion::V3 && case.terms()?.platform.alias_check_complete != BitDemand::Any {
        return Ok(Finding::missing(rule, "", "", cannot_say(version)));
    }
    bit(rule, case, PlatformInfo::ALIAS_CHECK_COMPLETE, |bits| bits.alias_check_complete)
}

/// Needed if unknown bits are refused. If they are accepted, bits that are set are named and nobody judges them.
fn unknown_bits(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let unknown = case.report()?.platform_info().0 & !PlatformInfo::KNOWN;
    let (observed, reason) = (format!("{unknown:#x}"), format!("the meaning of bits {} is unknown", bits(unknown)));
    Ok(match case.terms()?.platform.unknown {
        Permit::Accepted if unknown != 0 => {
            Finding::not_asked(rule, observed, format!("{reason}; the policy accepts it"))
        }
        Permit::Accepted | Permit::Refused => Finding::of(rule, unknown == 0, observed, "0x0", reason),
    })
}
