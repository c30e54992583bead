//! `snp.tcb.*`: versions of what is trusted. All are needed, but for firmware that may be provisional and for mitigations
//! that may be any.

use super::check::{Answer, Case, Check, Undecided, bits, cannot_say};
use super::requirements::{Demand, Permit};
use crate::appraise::Rule;
use crate::snp::product::TcbVersion;
use crate::snp::report::Report;

pub(super) const CHECKS: &[Check] = &[
    Check {
        rule: Rule { id: "snp.tcb.reserved", holds: "what the product reserves in TCB versions is zero" },
        decide: reserved,
    },
    Check {
        rule: Rule { id: "snp.tcb.committed", holds: "the committed TCB is at most the current one" },
        decide: |case| ordered(case.tcb(Report::committed_tcb)?, case.tcb(Report::current_tcb)?, "current"),
    },
    Check {
        rule: Rule { id: "snp.tcb.provisional", holds: "the current TCB cannot be rolled back" },
        decide: provisional,
    },
    Check {
        rule: Rule { id: "snp.tcb.reported", holds: "the reported TCB is at most the committed one" },
        decide: |case| ordered(case.tcb(Report::reported_tcb)?, case.tcb(Report::committed_tcb)?, "committed"),
    },
    Check {
        rule: Rule { id: "snp.tcb.reported-floor", holds: "the reported TCB is at least the policy's" },
        decide: |case| Ok(at_least(case.tcb(Report::reported_tcb)?, case.terms()?.reported_tcb_floor)),
    },
    Check {
        rule: Rule { id: "snp.tcb.launch-floor", holds: "the TCB at launch is at least the policy's" },
        decide: |case| Ok(at_least(case.tcb(Report::launch_tcb)?, case.terms()?.launch_tcb_floor)),
    },
    Check {
        rule: Rule { id: "snp.tcb.firmware-floor", holds: "current and committed firmware are at least the policy's" },
        decide: firmware_floor,
    },
    Check {
        rule: Rule { id: "snp.tcb.firmware-committed", holds: "the current firmware cannot be rolled back" },
        decide: firmware_committed,
    },
    Check {
        rule: Rule { id: "snp.tcb.launch-mitigations", holds: "the policy's mitigations were in place at launch" },
        decide: |case| mitigations(case, case.report()?.launch_mitigations(), &case.terms()?.launch_mitigations),
    },
    Check {
        rule: Rule { id: "snp.tcb.current-mitigations", holds: "the policy's mitigations are in place" },
        decide: |case| mitigations(case, case.report()?.current_mitigations(), &case.terms()?.current_mitigations),
    },
];

fn reserved(case: &Case<'_>) -> Result<Answer, Undecided> {
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
    Ok(Answer::of(names.is_empty(), observed, "zero", format_args!("{product} has no such components")))
}

fn ordered(found: TcbVersion, ceiling: TcbVersion, name: &str) -> Result<Answer, Undecided> {
    let above: Vec<_> = ceiling.below(found).collect();
    let reason = format_args!("above the {name} one: {}", above.join(", "));
    Ok(Answer::of(above.is_empty(), found, format_args!("at most {ceiling}"), reason))
}

fn at_least(found: TcbVersion, floor: TcbVersion) -> Answer {
    let below: Vec<_> = found.below(floor).collect();
    let reason = format_args!("too low: {}", below.join(", "));
    Answer::of(below.is_empty(), found, format_args!("at least {floor}"), reason)
}

/// Needed unless provisional firmware is accepted.
fn provisional(case: &Case<'_>) -> Result<Answer, Undecided> {
    let (current, committed) = (case.tcb(Report::current_tcb)?, case.tcb(Report::committed_tcb)?);
    if current.below(committed).next().is_some() {
        return Err(Undecided::by("snp.tcb.committed"));
    }
    Ok(match case.requirements.provisional_firmware {
        Permit::Accepted if current != committed => Answer::not_needed(
            current,
            format_args!("committed is {committed}; the policy accepts provisional firmware"),
        ),
        Permit::Accepted | Permit::Refused => {
            let required = format_args!("{committed}, which is committed");
            Answer::of(current == committed, current, required, "the host can still roll it back")
        }
    })
}

fn firmware_floor(case: &Case<'_>) -> Result<Answer, Undecided> {
    let (report, floor) = (case.report()?, case.terms()?.firmware_floor);
    let (current, committed) = (report.current_firmware(), report.committed_firmware());
    let observed = format_args!("current {current}, committed {committed}");
    Ok(Answer::of(
        current.min(committed) >= floor,
        observed,
        format_args!("at least {floor}"),
        "the firmware is too old",
    ))
}

/// Equal; if provisional firmware is accepted, not above.
fn firmware_committed(case: &Case<'_>) -> Result<Answer, Undecided> {
    let report = case.report()?;
    let (current, committed) = (report.current_firmware(), report.committed_firmware());
    Ok(match case.requirements.provisional_firmware {
        Permit::Accepted if current > committed => Answer::not_needed(
            current,
            format_args!("committed is {committed}; the policy accepts provisional firmware"),
        ),
        Permit::Accepted | Permit::Refused => {
            let required = format_args!("{committed}, which is committed");
            let reason =
                if current < committed { "it is below what is committed" } else { "the host can still roll it back" };
            Answer::of(current == committed, current, required, reason)
        }
    })
}

/// Bits are a set: those demanded must be among those there. Needed unless the terms of the product say `Any`.
fn mitigations(case: &Case<'_>, found: Option<u64>, demand: &Demand<u64>) -> Result<Answer, Undecided> {
    let version = case.report()?.version();
    let observed = found.map_or_else(String::new, |found| format!("{found:#x}"));
    Ok(Answer::to(demand, observed, |wanted, observed| {
        let required = format_args!("{wanted:#x}");
        match found {
            None => Answer::unavailable(observed, required, cannot_say(version)),
            Some(found) => {
                let reason = format_args!("bits {} are 0", bits(wanted & !found));
                Answer::of(found & wanted == *wanted, observed, required, reason)
            }
        }
    }))
}
