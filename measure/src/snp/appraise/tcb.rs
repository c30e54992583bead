//! `snp.tcb.*`: versions of what is trusted. All are needed, but for firmware that may be provisional and for mitigations
//! that may be any.

use super::check::{Case, Check, Known, bits, cannot_say, check, check_of};
use crate::appraise::{Demand, Finding, Permit, Rule};
use crate::snp::product::TcbVersion;
use crate::snp::report::Report;

const COMMITTED: Rule = Rule { id: "snp.tcb.committed", holds: "the committed TCB is at most the current one" };

pub(super) const CHECKS: &[Check] = &[
    check("snp.tcb.reserved", "what the product reserves in TCB versions is zero", reserved),
    check_of(COMMITTED, |rule, case| {
        Ok(at_most(rule, case.tcb(Report::committed_tcb)?, case.tcb(Report::current_tcb)?, "current"))
    }),
    check("snp.tcb.provisional", "the current TCB cannot be rolled back", provisional),
    check("snp.tcb.reported", "the reported TCB is at most the committed one", |rule, case| {
        Ok(at_most(rule, case.tcb(Report::reported_tcb)?, case.tcb(Report::committed_tcb)?, "committed"))
    }),
    check("snp.tcb.reported-floor", "the reported TCB is at least the policy's", |rule, case| {
        Ok(at_least(rule, case.tcb(Report::reported_tcb)?, case.terms()?.reported_tcb_floor))
    }),
    check("snp.tcb.launch-floor", "the TCB at launch is at least the policy's", |rule, case| {
        Ok(at_least(rule, case.tcb(Report::launch_tcb)?, case.terms()?.launch_tcb_floor))
    }),
    check("snp.tcb.firmware-floor", "current and committed firmware are at least the policy's", firmware_floor),
    check("snp.tcb.firmware-committed", "the current firmware cannot be rolled back", firmware_committed),
    check("snp.tcb.launch-mitigations", "the policy's mitigations were in place at launch", |rule, case| {
        mitigations(rule, case, case.report()?.launch_mitigations(), &case.terms()?.launch_mitigations)
    }),
    check("snp.tcb.current-mitigations", "the policy's mitigations are in place", |rule, case| {
        mitigations(rule, case, case.report()?.current_mitigations(), &case.terms()?.current_mitigations)
    }),
];

fn reserved(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (report, product) = (case.report()?, case.product()?);
    let words = [
        ("current", report.current_tcb()),
        ("reported", report.reported_tcb()),
        ("committed", report.committed_tcb()),
        ("launch", report.launch_tcb()),
    ];
    let in_use = words.into_iter().filter(|(_, word)| !TcbVersion::of_report(*word, product).1);
    let names: Vec<_> = in_use.map(|(name, _)| name).collect();
    let observed = if names.is_empty() { "zero".to_owned() } else { format!("not zero in {}", names.join(", ")) };
    Ok(Finding::of(rule, names.is_empty(), observed, "zero", format!("{product} has no such components")))
}

fn at_most(rule: Rule, found: TcbVersion, ceiling: TcbVersion, name: &str) -> Finding {
    let above: Vec<_> = ceiling.below(found).collect();
    let reason = format!("above the {name} one: {}", above.join(", "));
    Finding::of(rule, above.is_empty(), found.to_string(), format!("at most {ceiling}"), reason)
}

fn at_least(rule: Rule, found: TcbVersion, floor: TcbVersion) -> Finding {
    let below: Vec<_> = found.below(floor).collect();
    let reason = format!("too low: {}", below.join(", "));
    Finding::of(rule, below.is_empty(), found.to_string(), format!("at least {floor}"), reason)
}

/// Needed unless provisional firmware is accepted.
fn provisional(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (current, committed) = (case.tcb(Report::current_tcb)?, case.tcb(Report::committed_tcb)?);
    if current.below(committed).next().is_some() {
        return Err(COMMITTED);
    }
    Ok(match case.requirements.provisional_firmware {
        Permit::Accepted if current != committed => {
            let reason = format!("committed is {committed}; the policy accepts provisional firmware");
            Finding::not_asked(rule, current.to_string(), reason)
        }
        Permit::Accepted | Permit::Refused => {
            let required = format!("{committed}, which is committed");
            Finding::of(rule, current == committed, current.to_string(), required, "the host can still roll it back")
        }
    })
}

fn firmware_floor(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let (report, floor) = (case.report()?, case.terms()?.firmware_floor);
    let (current, committed) = (report.current_firmware(), report.committed_firmware());
    let (observed, required) = (format!("current {current}, committed {committed}"), format!("at least {floor}"));
    Ok(Finding::of(rule, current.min(committed) >= floor, observed, required, "the firmware is too old"))
}

/// Needed unless provisional firmware is accepted; even then it is not below what is committed.
fn firmware_committed(rule: Rule, case: &Case<'_>) -> Known<Finding> {
    let report = case.report()?;
    let (current, committed) = (report.current_firmware(), report.committed_firmware());
    Ok(match case.requirements.provisional_firmware {
        Permit::Accepted if current > committed => {
            let reason = format!("committed is {committed}; the policy accepts provisional firmware");
            Finding::not_asked(rule, current.to_string(), reason)
        }
        Permit::Accepted | Permit::Refused => {
            let required = format!("{committed}, which is committed");
            let below = current < committed;
            let reason = if below { "it is below what is committed" } else { "the host can still roll it back" };
            Finding::of(rule, current == committed, current.to_string(), required, reason)
        }
    })
}

/// Bits are a set: those demanded must be among those there. Needed unless the terms of the product say `Any`.
fn mitigations(rule: Rule, case: &Case<'_>, found: Option<u64>, demand: &Demand<u64>) -> Known<Finding> {
    let version = case.report()?.version();
    let observed = found.map_or_else(String::new, |found| format!("{found:#x}"));
    Ok(demand.finding(rule, observed, |wanted, observed| {
        let required = format!("{wanted:#x}");
        match found {
            None => Finding::missing(rule, observed, required, cannot_say(version)),
            Some(found) => {
                let reason = format!("bits {} are 0", bits(wanted & !found));
                Finding::of(rule, found & wanted == *wanted, observed, required, reason)
            }
        }
    }))
}
