//! `snp.policy.*`: what the guest's launch demanded of the platform. A rule over a bit is needed unless the terms of the
//! product say `Any`; the others are needed, but for the policy as a whole, which follows its demand.
//!
//! The rules over bits and the rule over the whole are independent: a policy can be the expected one and still be
//! refused for a bit.

use super::check::{self, Case, Check, Known, bits, check};
use super::requirements::{BitDemand, PolicyBits};
use crate::appraise::{Finding, Rule};
use crate::snp::report::GuestPolicy;

pub(super) const CHECKS: &[Check] = &[
    check("snp.policy.launch", "the launch policy is exactly the expected one", launch),
    check("snp.policy.abi", "the launch policy asks for a new enough firmware interface", abi),
    check("snp.policy.smt", "simultaneous multithreading is allowed or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::SMT, |bits| bits.smt)
    }),
    check("snp.policy.reserved-one", "bit 17 of the launch policy is 1", |rule, case| {
        let policy = case.report()?.policy().0;
        Ok(check::bit(rule, BitDemand::Require, policy, GuestPolicy::RESERVED_ONE))
    }),
    check("snp.policy.migrate-ma", "a migration agent is allowed or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::MIGRATE_MA, |bits| bits.migrate_ma)
    }),
    check("snp.policy.debug", "debugging by the host is allowed or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::DEBUG, |bits| bits.debug)
    }),
    check("snp.policy.single-socket", "the guest is kept to one socket or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::SINGLE_SOCKET, |bits| bits.single_socket)
    }),
    check("snp.policy.cxl", "CXL is allowed or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::CXL, |bits| bits.cxl)
    }),
    check("snp.policy.aes-256-xts", "AES-256-XTS is made a condition or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::AES_256_XTS, |bits| bits.aes_256_xts)
    }),
    check("snp.policy.rapl-disabled", "RAPL off is made a condition or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::RAPL_DISABLED, |bits| bits.rapl_disabled)
    }),
    check("snp.policy.ciphertext-hiding", "ciphertext hiding is made a condition or not, as demanded", |rule, case| {
        bit(rule, case, GuestPolicy::CIPHERTEXT_HIDING, |bits| bits.ciphertext_hiding)
    }),
    check(
        "snp.policy.page-swap-disabled",
        "page swapping off is made a condition or not, as demanded",
        |rule, case| bit(rule, case, GuestPolicy::PAGE_SWAP_DISABLED, |bits| bits.page_swap_disabled),
    ),
    check("snp.policy.unknown-bits", "every bit of the launch policy has a known meaning", |rule, case| {
        let unknown = case.report()?.policy().0 & !GuestPolicy::KNOWN;
        let reason = format!("the meaning of bits {} is unknown", bits(unknown));
        Ok(Finding::of(rule, unknown == 0, format!("{unknown:#x}"), "0x0", reason))
    }),
];

fn bit(rule: Rule, case: &Case<'_>, mask: u64, demand: fn(&PolicyBits) -> BitDemand) -> Known<Finding> {
    Ok(check::bit(rule, demand(&case.terms()?.policy), case.report()?.policy().0, mask))
}

fn launch(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let found = case.report()?.policy();
    Ok(case.terms()?.launch_policy.finding(rule, found.to_string(), |wanted, observed| {
        let reason = format!("bits {} differ", bits(found.0 ^ wanted.0));
        Finding::of(rule, found == *wanted, observed, wanted.to_string(), reason)
    }))
}

fn abi(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (found, floor) = (case.report()?.policy().abi(), case.terms()?.abi_floor);
    let required = format!("at least {floor}");
    Ok(Finding::of(rule, found >= floor, found.to_string(), required, "it accepts older firmware"))
}
