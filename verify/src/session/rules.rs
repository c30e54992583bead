//! Rules over what ties evidence to a session: the key statement, and what it says of models and operator.

use crate::Request;
use crate::policy::Policy;
use crate::release::{Claims, FORM, PRESENT, any};
use channel::Binding;
use measure::appraise::{Demand, Finding, Rule};
use measure::verity::VerityRoot;
use measure::{Digest, Sha256};
use std::collections::BTreeSet;

const STATEMENT: Rule =
    Rule { id: "session.statement", holds: "the report is over this handshake and this key statement" };
const MODELS: Rule = Rule { id: "session.models", holds: "the models that are served are the release's" };
const OPERATOR: Rule =
    Rule { id: "session.operator", holds: "the key statement has the SHA-256 of the operator document" };

/// Every rule, in the order of the findings.
pub(crate) const RULES: [Rule; 3] = [STATEMENT, MODELS, OPERATOR];

/// One finding for each rule. `reported` is what the guest put into the report, if it can be read.
pub(crate) fn examine(
    request: &Request<'_>,
    policy: &Policy,
    claims: &Claims,
    reported: Option<Digest<64>>,
) -> [Finding; RULES.len()] {
    let Some(bytes) = &request.bundle.session else {
        return RULES.map(|rule| Finding::not_asked(rule, "", "the evidence is of no session"));
    };
    let Ok(binding) = Binding::parse(bytes) else {
        let reason = "it is not a handshake hash, a key statement and a path";
        let waiting = |rule| Finding::waits_for(rule, STATEMENT);
        return [Finding::failed(STATEMENT, "", "", reason), waiting(MODELS), waiting(OPERATOR)];
    };
    [statement(&binding, request, reported), models(&binding, policy, claims), operator(&binding, request)]
}

/// Where the caller knows what the report must be over, that; else what it is over.
fn statement(binding: &Binding, request: &Request<'_>, reported: Option<Digest<64>>) -> Finding {
    let demanded = match request.report_data {
        Demand::Is(demanded) => Some(*demanded),
        Demand::Any | Demand::Missing(_) => reported,
    };
    let Some(demanded) = demanded else {
        return Finding::missing(STATEMENT, "", "", "the report cannot be read");
    };
    let observed = format!("keys {} of boot {}", binding.statement.epoch, Digest::new(binding.statement.boot_id));
    let reason = "it is over another session or other keys";
    Finding::of(STATEMENT, binding.report_data == demanded, observed, demanded.to_string(), reason)
}

/// Needed unless any release will do.
fn models(binding: &Binding, policy: &Policy, claims: &Claims) -> Finding {
    let served = &binding.statement.models;
    let observed: Vec<_> = served.iter().map(VerityRoot::to_string).collect();
    let observed = observed.join(" and ");
    let release = match claims {
        _ if policy.release.is().is_none() => return any(MODELS, observed),
        Claims::Release(release) => release,
        Claims::Unreadable(_) => return Finding::waits_for(MODELS, FORM),
        Claims::None => return Finding::waits_for(MODELS, PRESENT),
    };
    let holds = *served == BTreeSet::from([release.model_sha256]);
    Finding::of(MODELS, holds, observed, release.model_sha256.to_string(), "the release has another model")
}

fn operator(binding: &Binding, request: &Request<'_>) -> Finding {
    let [said, came] = [binding.statement.operator, request.bundle.operator.as_deref().map(Sha256::of)];
    let [observed, required] = [came, said].map(|digest| digest.map_or("none".into(), |digest| digest.to_string()));
    Finding::of(OPERATOR, said == came, observed, required, "another document came with it, or none")
}
