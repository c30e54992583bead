//! Rules over the operator document: who runs the machine, by their own account, for which the hardware vouches only that
//! it was theirs at launch.

use crate::policy::{OperatorPolicy, Operators, OrAny};
use crate::release::{any, passed};
use channel::Operator;
use measure::appraise::{Finding, Rule};
use measure::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Display;

const DOCUMENT: Rule =
    Rule { id: "operator.document", holds: "there is an operator document if the policy asks for one" };
const HOST_DATA: Rule =
    Rule { id: "operator.host-data", holds: "the hardware has its SHA-256 as what the host set at launch" };

/// A rule and the function that decides it.
type Check = (Rule, fn(Rule, &Operator, &Operators) -> Finding);

/// The rules over what the document says, one for each field.
const CHECKS: [Check; 5] = [
    (Rule { id: "operator.name", holds: "the operator's name is one of the policy" }, |rule, found, asked| {
        listed(rule, &asked.names, &found.name)
    }),
    (Rule { id: "operator.country", holds: "the operator's country is one of the policy" }, |rule, found, asked| {
        listed(rule, &asked.countries, &found.country)
    }),
    (Rule { id: "operator.contact", holds: "the operator's contact is one of the policy" }, |rule, found, asked| {
        listed(rule, &asked.contacts, &found.contact)
    }),
    (Rule { id: "operator.sessions", holds: "not too many sessions share the machine" }, |rule, found, asked| {
        at_most(rule, &asked.most_sessions, found.sessions)
    }),
    (Rule { id: "operator.workers", holds: "not too many requests share the machine" }, |rule, found, asked| {
        at_most(rule, &asked.most_workers, found.workers)
    }),
];

/// What the host set at launch, and what the rule over the report or quote found of it.
pub(crate) struct Configured<'a> {
    /// HOST_DATA with zeros behind it, or MRCONFIGID.
    pub(crate) value: Digest<48>,
    /// The rule's finding.
    pub(crate) finding: &'a Finding,
}

/// The SHA-256 that the host has to set for this document: zero if there is none.
pub(crate) fn host_data(document: Option<&[u8]>) -> Sha256 {
    document.map_or(Digest::new([0; 32]), Sha256::of)
}

/// Every rule, in the order of the findings.
pub(crate) fn rules() -> impl Iterator<Item = Rule> {
    [DOCUMENT, HOST_DATA].into_iter().chain(CHECKS.iter().map(|(rule, _)| *rule))
}

/// One finding for each rule, and the document in words if the hardware vouches for it.
pub(crate) fn examine(
    document: Option<&[u8]>,
    configured: Option<&Configured<'_>>,
    policy: &OperatorPolicy,
) -> (Vec<Finding>, Option<String>) {
    let parsed = document.map(|document| Operator::parse(document).map_err(|error| error.to_string()));
    let mut expected = [0; 48];
    expected[..32].copy_from_slice(host_data(document).as_bytes());
    let vouched = configured.is_some_and(|configured| configured.value == Digest::new(expected));
    let shown = match &parsed {
        Some(Ok(operator)) if vouched => Some(in_words(operator)),
        _ => None,
    };
    let asked = match policy {
        OperatorPolicy::Is(asked) => asked,
        OperatorPolicy::Any => return (rules().map(|rule| any(rule, "")).collect(), shown),
        OperatorPolicy::Refused => {
            let observed = document.map_or("none".to_owned(), |_| "a document".to_owned());
            let none = Finding::of(DOCUMENT, document.is_none(), observed, "none", "the policy accepts no operator's");
            let others = rules().skip(1).map(|rule| Finding::not_asked(rule, "", "there must be no document"));
            return ([none].into_iter().chain(others).collect(), shown);
        }
    };
    let form = match &parsed {
        None => Finding::failed(DOCUMENT, "none", "", "the evidence came without one"),
        Some(Err(reason)) => Finding::failed(DOCUMENT, "", "", reason.as_str()),
        Some(Ok(operator)) => passed(DOCUMENT, in_words(operator)),
    };
    let bound = match (&parsed, configured) {
        (None | Some(Err(_)), _) => Finding::waits_for(HOST_DATA, DOCUMENT),
        (Some(Ok(_)), None) => Finding::missing(HOST_DATA, "", "", "the report cannot be read"),
        (Some(Ok(_)), Some(configured)) if !configured.finding.permits() => {
            Finding::waits_for(HOST_DATA, configured.finding.rule)
        }
        (Some(Ok(_)), Some(configured)) => {
            let (observed, required) = (configured.value.to_string(), Digest::new(expected).to_string());
            Finding::of(HOST_DATA, vouched, observed, required, "the host gave the document to the guest only")
        }
    };
    let known = match &parsed {
        Some(Ok(operator)) if bound.permits() => Some(operator),
        _ => None,
    };
    let fields = CHECKS.iter().map(|(rule, decide)| match known {
        Some(operator) => decide(*rule, operator, asked),
        None => Finding::waits_for(*rule, HOST_DATA),
    });
    ([form, bound].into_iter().chain(fields).collect(), shown)
}

fn in_words(Operator { name, country, contact, sessions, workers }: &Operator) -> String {
    format!("{name} ({country}), {contact}, {sessions} sessions, {workers} workers")
}

fn listed<T: Ord + Display>(rule: Rule, asked: &OrAny<BTreeSet<T>>, found: &T) -> Finding {
    let observed = found.to_string();
    let OrAny::Is(accepted) = asked else { return any(rule, observed) };
    let required: Vec<_> = accepted.iter().map(ToString::to_string).collect();
    Finding::of(rule, accepted.contains(found), observed, required.join(" or "), "the policy does not name it")
}

fn at_most(rule: Rule, asked: &OrAny<u32>, found: u32) -> Finding {
    let OrAny::Is(most) = asked else { return any(rule, found.to_string()) };
    Finding::of(
        rule,
        found <= *most,
        found.to_string(),
        format!("at most {most}"),
        "it is more than the policy accepts",
    )
}
