//! `snp.policy.*`: what the guest's launch demanded of the platform. A rule over a bit is needed unless the terms of the
//! product say `Any`; the others are needed, but for the policy as a whole, which follows its demand.
//!
//! The rules over bits and the rule over the whole are independent: a policy can be the expected one and still be
//! refused for a bit.

use super::check::{Answer, Case, Check, Undecided, bits};
use super::requirements::{BitDemand, PolicyBits};
use crate::appraise::Rule;
use crate::snp::report::GuestPolicy;

pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: Rule { id: "snp.policy.launch", holds: "the launch policy is exactly the expected one" },
        decide: launch,
    },
    Check {
        rule: Rule { id: "snp.policy.abi", holds: "the launch policy asks for a new enough firmware interface" },
        decide: |case| {
            let (found, floor) = (case.report()?.policy().abi(), case.terms()?.abi_floor);
            Ok(Answer::of(found >= floor, found, format_args!("at least {floor}"), "it accepts older firmware"))
        },
    },
    Check {
        rule: Rule { id: "snp.policy.smt", holds: "simultaneous multithreading is allowed or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::SMT, |bits| bits.smt),
    },
    Check {
        rule: Rule { id: "snp.policy.reserved-one", holds: "bit 17 of the launch policy is 1" },
        decide: |case| Ok(Answer::bit(BitDemand::Require, case.report()?.policy().0, GuestPolicy::RESERVED_ONE)),
    },
    Check {
        rule: Rule { id: "snp.policy.migrate-ma", holds: "a migration agent is allowed or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::MIGRATE_MA, |bits| bits.migrate_ma),
    },
    Check {
        rule: Rule { id: "snp.policy.debug", holds: "debugging by the host is allowed or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::DEBUG, |bits| bits.debug),
    },
    Check {
        rule: Rule { id: "snp.policy.single-socket", holds: "the guest is kept to one socket or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::SINGLE_SOCKET, |bits| bits.single_socket),
    },
    Check {
        rule: Rule { id: "snp.policy.cxl", holds: "CXL is allowed or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::CXL, |bits| bits.cxl),
    },
    Check {
        rule: Rule { id: "snp.policy.aes-256-xts", holds: "AES-256-XTS is made a condition or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::AES_256_XTS, |bits| bits.aes_256_xts),
    },
    Check {
        rule: Rule { id: "snp.policy.rapl-disabled", holds: "RAPL off is made a condition or not, as demanded" },
        decide: |case| bit(case, GuestPolicy::RAPL_DISABLED, |bits| bits.rapl_disabled),
    },
    Check {
        rule: Rule {
            id: "snp.policy.ciphertext-hiding",
            holds: "ciphertext hiding is made a condition or not, as demanded",
        },
        decide: |case| bit(case, GuestPolicy::CIPHERTEXT_HIDING, |bits| bits.ciphertext_hiding),
    },
    Check {
        rule: Rule {
            id: "snp.policy.page-swap-disabled",
            holds: "page swapping off is made a condition or not, as demanded",
        },
        decide: |case| bit(case, GuestPolicy::PAGE_SWAP_DISABLED, |bits| bits.page_swap_disabled),
    },
    Check {
        rule: Rule { id: "snp.policy.unknown-bits", holds: "every bit of the launch policy has a known meaning" },
        decide: |case| {
            let unknown = case.report()?.policy().0 & !GuestPolicy::KNOWN;
            let reason = format_args!("the meaning of bits {} is unknown", bits(unknown));
            Ok(Answer::of(unknown == 0, format_args!("{unknown:#x}"), "0x0", reason))
        },
    },
];

fn bit(case: &Case<'_>, mask: u64, demand: fn(&PolicyBits) -> BitDemand) -> Result<Answer, Undecided> {
    Ok(Answer::bit(demand(&case.terms()?.policy), case.report()?.policy().0, mask))
}

fn launch(case: &Case<'_>) -> Result<Answer, Undecided> {
    let found = case.report()?.policy();
    Ok(Answer::to(&case.terms()?.launch_policy, found, |wanted, observed| {
        let reason = format_args!("bits {} differ", bits(found.0 ^ wanted.0));
        Answer::of(found == *wanted, observed, wanted, reason)
    }))
}
