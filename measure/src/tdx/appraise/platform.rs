//! Rules over what Intel says of the platform.

use super::demanded;
use super::requirements::{Advisories, Platforms, Requirements, TcbStatus};
use super::rules::{
    ADVISORIES, CACHED_KEYS, DYNAMIC, EVALUATION, FAMILY_ALLOWED, FAMILY_DENIED, MACHINE_ALLOWED, MACHINE_DENIED, SMT,
    STATUS,
};
use super::trust::{Trust, Vouched};
use crate::appraise::{Finding, Permit, Rule, one_of};
use std::collections::BTreeSet;

const RULES: [Rule; 10] = [
    STATUS,
    ADVISORIES,
    EVALUATION,
    FAMILY_ALLOWED,
    FAMILY_DENIED,
    MACHINE_ALLOWED,
    MACHINE_DENIED,
    SMT,
    DYNAMIC,
    CACHED_KEYS,
];

/// One finding for each of [`RULES`].
pub(super) fn findings(trust: &Trust, requirements: &Requirements) -> Vec<Finding> {
    let vouched = match trust.vouched() {
        Ok(vouched) => vouched,
        Err(broken) => return RULES.map(|rule| broken.finding(rule)).into(),
    };
    let (tcb, platforms) = (&requirements.tcb, &requirements.platforms);
    let evaluation = vouched.evaluation;
    let mut findings = vec![
        status(&vouched.status, &tcb.statuses),
        advisories(&vouched.advisories, &tcb.advisories),
        demanded(
            EVALUATION,
            evaluation.to_string(),
            &tcb.evaluation_floor,
            |floor| format!("at least {floor}"),
            |floor| evaluation >= *floor,
        ),
    ];
    findings.extend(places(vouched, platforms));
    findings.extend([
        flag(SMT, vouched.smt, platforms.smt),
        flag(DYNAMIC, vouched.dynamic, platforms.dynamic),
        flag(CACHED_KEYS, vouched.cached_keys, platforms.cached_keys),
    ]);
    findings
}

/// `found` is Intel's word, so that one that is not known here is refused and shown.
pub(super) fn status(found: &str, accepted: &BTreeSet<TcbStatus>) -> Finding {
    let known = found.parse().is_ok_and(|status: TcbStatus| accepted.contains(&status));
    Finding::of(STATUS, known, found, one_of(accepted), "the policy does not accept this status")
}

pub(super) fn advisories(found: &BTreeSet<String>, accepted: &Advisories) -> Finding {
    let words = |ids: &BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>().join(" ");
    // Intel writes them in capitals; a policy that does not must not let one pass.
    let among = |ids: &BTreeSet<String>, id: &str| ids.iter().any(|other| other.eq_ignore_ascii_case(id));
    let observed = if found.is_empty() { "none".into() } else { words(found) };
    let (required, refused): (_, BTreeSet<String>) = match accepted {
        Advisories::Any => return Finding::not_asked(ADVISORIES, observed, "the policy accepts any advisory"),
        Advisories::AllBut(ids) => {
            (format!("none of: {}", words(ids)), found.iter().filter(|id| among(ids, id)).cloned().collect())
        }
        Advisories::NoneBut(ids) => {
            (format!("none but: {}", words(ids)), found.iter().filter(|id| !among(ids, id)).cloned().collect())
        }
    };
    Finding::of(ADVISORIES, refused.is_empty(), observed, required, format!("refused: {}", words(&refused)))
}

fn places(vouched: &Vouched, platforms: &Platforms) -> [Finding; 4] {
    fn denied<T: Ord + std::fmt::Display>(rule: Rule, found: &T, denied: &BTreeSet<T>) -> Finding {
        let required = format!("not {}", one_of(denied));
        match (denied.is_empty(), denied.contains(found)) {
            (true, _) => Finding::not_asked(rule, found.to_string(), "the policy refuses none"),
            (false, false) => Finding::passed(rule, found.to_string(), required),
            (false, true) => Finding::failed(rule, found.to_string(), required, "the policy refuses it"),
        }
    }
    let (family, machine) = (vouched.fmspc, vouched.ppid);
    let contains_family = |wanted: &BTreeSet<_>| wanted.contains(&family);
    let contains_machine = |wanted: &BTreeSet<_>| wanted.contains(&machine);
    [
        demanded(FAMILY_ALLOWED, family.to_string(), &platforms.families, |set| one_of(set), contains_family),
        denied(FAMILY_DENIED, &family, &platforms.denied_families),
        demanded(MACHINE_ALLOWED, machine.to_string(), &platforms.machines, |set| one_of(set), contains_machine),
        denied(MACHINE_DENIED, &machine, &platforms.denied_machines),
    ]
}

/// What the PCK certificate says of the platform. Those from Intel's "Processor CA" say nothing.
fn flag(rule: Rule, found: Option<bool>, permit: Permit) -> Finding {
    let observed = match found {
        Some(true) => "yes",
        Some(false) => "no",
        None => "",
    };
    match (permit, found) {
        (Permit::Accepted, _) => Finding::not_asked(rule, observed, "the policy accepts either"),
        (Permit::Refused, None) => Finding::missing(rule, "", "", "the platform's certificate does not say"),
        (Permit::Refused, Some(false)) => Finding::passed(rule, observed, "no"),
        (Permit::Refused, Some(true)) => Finding::failed(rule, observed, "no", "the policy refuses it"),
    }
}
