//! Rules over the release and what a log says of it, and what the release says must have been launched.
//!
//! Which keys are in force follows from the log's other entries, which bundles do not carry yet: the rules that say
//! [`pending`] are not performed and, if the policy asks for what they would find, needed. No release leads to a positive
//! verdict until then.

use crate::appraise::Request;
use crate::bundle::Bundle;
use crate::policy::{LogPolicy, Need, OrAny, Policy, ReleasePolicy, Witnesses};
use log_client::dsse::Envelope;
use log_client::merkle::{leaf_hash, verify_inclusion};
use log_client::statement::{Predicate, Release, Statement, shape_name};
use log_client::{Accepted, Proof};
use measure::Sha256;
use measure::appraise::{Finding, Rule, Time};
use measure::cmdline::Tee;
use measure::snp::appraise::{Demand, Requirements, Terms};
use measure::snp::product::Product;
use std::collections::BTreeMap;

const COPY: Rule = Rule { id: "release.copy", holds: "the release given is the bundle's, byte for byte" };
const PRESENT: Rule = Rule { id: "release.present", holds: "a release came with the evidence" };
const FORM: Rule = Rule { id: "release.form", holds: "it is an envelope around a release statement" };
const SIGNATURE: Rule = Rule { id: "release.signature", holds: "it is signed by a key in force" };
const TEE: Rule = Rule { id: "release.tee", holds: "it was made for hardware of this kind" };
const HOST_RESISTANT: Rule = Rule { id: "release.host-resistant", holds: "it says that it withstands its host" };
const COUNTER: Rule = Rule { id: "release.counter", holds: "it is not older than the policy allows" };
const EXPIRY: Rule = Rule { id: "release.expiry", holds: "it has not expired" };
const STATUS: Rule = Rule { id: "release.status", holds: "a fresh status says that it is live" };
const FLEET: Rule = Rule { id: "release.fleet", holds: "the chip is in the fleet that the status names" };
const REBUILDERS: Rule = Rule { id: "release.rebuilders", holds: "enough organisations have rebuilt it" };
const PROOF: Rule = Rule { id: "log.proof", holds: "a proof of its place in a log came with it" };
const WITNESSES: Rule =
    Rule { id: "log.witnesses", holds: "the log and enough of its witnesses signed the checkpoint" };
const INCLUSION: Rule = Rule { id: "log.inclusion", holds: "it is in the log" };
const CHECKPOINT_AGE: Rule = Rule { id: "log.checkpoint-age", holds: "what the log says of it is recent" };
const MINIMUM_AGE: Rule = Rule { id: "log.minimum-age", holds: "it has been in the log for long enough" };

/// A rule and the function that decides it for a part of the policy.
type Check<P> = (Rule, fn(&Case<'_>, &P) -> Finding);

/// The rules that a policy without a release does not ask, with the functions that decide them, in the order of findings.
const CHECKS: [Check<ReleasePolicy>; 10] = [
    (PRESENT, present),
    (FORM, form),
    (SIGNATURE, |_, policy| {
        let (quorum, all) = (policy.root_quorum, policy.root_keys.len());
        pending(SIGNATURE, Some(format!("a key that {quorum} of {all} root keys vouch for")))
    }),
    (TEE, tee),
    (HOST_RESISTANT, host_resistant),
    (COUNTER, counter),
    (EXPIRY, expiry),
    (STATUS, |_, policy| pending(STATUS, oldest(&policy.status_max_age))),
    (FLEET, |_, policy| pending(FLEET, (policy.fleet == Need::Required).then(|| "a row of the roster".into()))),
    (REBUILDERS, |_, policy| {
        let (quorum, all) = (policy.rebuilder_quorum, policy.rebuilders.len());
        pending(REBUILDERS, (quorum > 0).then(|| format!("{quorum} of {all}")))
    }),
];

/// Likewise the rules that a policy without a log does not ask. They follow the others.
const LOG_CHECKS: [Check<LogPolicy>; 5] = [
    (PROOF, |case, _| case.proof().map_or_else(|found| found, |proof| passed(PROOF, format!("index {}", proof.index)))),
    (WITNESSES, |case, log| {
        case.checkpoint(log).map_or_else(|found| found, |(_, seen)| passed(WITNESSES, shown(&seen)))
    }),
    (INCLUSION, inclusion),
    (CHECKPOINT_AGE, |_, log| pending(CHECKPOINT_AGE, oldest(&log.checkpoint_max_age))),
    (MINIMUM_AGE, minimum_age),
];

/// What rules look at.
struct Case<'a> {
    request: &'a Request<'a>,
    claims: &'a Claims,
    /// What the evidence is of; `None` if nobody vouches for it.
    tee: Option<Tee>,
}

/// What the bundle's release says, whoever wrote it.
pub(crate) enum Claims {
    /// There is none.
    None,
    /// There is one, but not in its form, for this reason.
    Unreadable(String),
    /// It says this.
    Release(Box<Release>),
}

/// Reads the bundle's release.
pub(crate) fn claims(bundle: &Bundle) -> Claims {
    let Some(bytes) = &bundle.feed.release else { return Claims::None };
    let parsed = Envelope::parse(bytes)
        .map_err(|error| error.to_string())
        .and_then(|envelope| Statement::parse(envelope.unverified_payload()).map_err(|error| error.to_string()));
    match parsed {
        Ok(Statement { predicate: Predicate::Release(release), .. }) => Claims::Release(release),
        Ok(statement) => Claims::Unreadable(format!("it is a {}", statement.predicate.predicate_type())),
        Err(reason) => Claims::Unreadable(reason),
    }
}

impl Claims {
    /// Puts in what the policy leaves to the release, if somebody has to vouch for it: a policy that asks nothing of
    /// releases leaves that to the caller, who has one of its own.
    pub(crate) fn complete(&self, request: &Request<'_>, policy: &Policy, requirements: &mut Requirements) {
        let vouched = policy.release.is().is_some() || request.release.is_some();
        let release = match self {
            Self::Release(_) if !vouched => Err("nobody vouches for the release: the policy asks nothing of it"),
            Self::Release(release) => Ok(release.as_ref()),
            Self::None => Err("the evidence came without a release"),
            Self::Unreadable(_) => Err("undecided until release.form passes"),
        };
        if let Demand::Missing(missing) = &mut requirements.identity.measurements {
            match release.map_err(str::to_owned).and_then(launched) {
                Ok(digests) => requirements.identity.measurements = Demand::Is(digests),
                Err(reason) => *missing = reason,
            }
        }
        let products = &mut requirements.products;
        for (product, terms) in [
            (Product::Milan, &mut products.milan),
            (Product::Genoa, &mut products.genoa),
            (Product::Turin, &mut products.turin),
        ] {
            let Terms::Accepted(terms) = terms else { continue };
            if let Demand::Missing(missing) = &mut terms.launch_policy {
                let of_product = |release: &Release| {
                    let policies = release.launch_policies.iter();
                    policies.clone().find(|policy| policy.product == product).map(|policy| policy.policy)
                };
                match release.map(of_product) {
                    Ok(Some(policy)) => terms.launch_policy = Demand::Is(policy),
                    Ok(None) => *missing = format!("the release has no launch policy for {product}"),
                    Err(reason) => *missing = reason.into(),
                }
            }
        }
    }
}

/// Every launch digest of the release, with its shape.
fn launched(release: &Release) -> Result<BTreeMap<measure::snp::LaunchDigest, String>, String> {
    let table = release.shapes().map_err(|error| error.to_string())?;
    let named = |row| format!("release {}, {}", release.version, shape_name(row));
    Ok(table.rows().iter().map(|row| (row.launch_digest, named(row))).collect())
}

/// Every rule, in the order of the findings.
pub(crate) fn rules() -> impl Iterator<Item = Rule> {
    let (checks, log_checks) = (CHECKS.iter().map(|(rule, _)| *rule), LOG_CHECKS.iter().map(|(rule, _)| *rule));
    [COPY].into_iter().chain(checks).chain(log_checks)
}

/// One finding for each rule. `tee` is what the evidence is of; `None` if nobody vouches for it.
pub(crate) fn examine(request: &Request<'_>, policy: &Policy, claims: &Claims, tee: Option<Tee>) -> Vec<Finding> {
    let case = Case { request, claims, tee };
    let log = policy.release.is().and_then(|release| release.log.is());
    let checks = CHECKS.iter().map(|(rule, decide)| match policy.release.is() {
        Some(release) => decide(&case, release),
        None => any(*rule, ""),
    });
    let log_checks = LOG_CHECKS.iter().map(|(rule, decide)| match log {
        Some(log) => decide(&case, log),
        None => any(*rule, ""),
    });
    [copy(request)].into_iter().chain(checks).chain(log_checks).collect()
}

fn copy(request: &Request<'_>) -> Finding {
    let bundled = request.bundle.feed.release.as_deref();
    let observed = bundled.map_or_else(|| "none".into(), name);
    match request.release {
        None => Finding::not_asked(COPY, observed, "none was given to compare"),
        Some(given) => {
            Finding::of(COPY, bundled == Some(given), observed, name(given), "the bundle has another or none")
        }
    }
}

fn present(case: &Case<'_>, _: &ReleasePolicy) -> Finding {
    match &case.request.bundle.feed.release {
        Some(bytes) => passed(PRESENT, name(bytes)),
        None => Finding::failed(PRESENT, "none", "", "the evidence came without one"),
    }
}

fn form(case: &Case<'_>, _: &ReleasePolicy) -> Finding {
    match case.claims {
        Claims::Release(release) => passed(FORM, release.version.to_string()),
        Claims::Unreadable(reason) => Finding::failed(FORM, "", "", reason),
        Claims::None => Finding::waits_for(FORM, PRESENT),
    }
}

fn tee(case: &Case<'_>, _: &ReleasePolicy) -> Finding {
    case.judge(TEE, |release| match case.tee {
        Some(tee) => {
            let (made_for, is) = (release.tee.to_string(), tee.to_string());
            Finding::of(TEE, release.tee == tee, made_for, is, "it was made for another")
        }
        None => Finding::missing(TEE, release.tee.to_string(), "", "nobody vouches for the evidence"),
    })
}

fn host_resistant(case: &Case<'_>, policy: &ReleasePolicy) -> Finding {
    case.judge(HOST_RESISTANT, |release| {
        let (resists, observed) = (release.host_resistant, release.host_resistant.to_string());
        match policy.host_resistant {
            Need::Any => any(HOST_RESISTANT, observed),
            Need::Required => Finding::of(HOST_RESISTANT, resists, observed, "true", "its host can get into it"),
        }
    })
}

fn counter(case: &Case<'_>, policy: &ReleasePolicy) -> Finding {
    case.judge(COUNTER, |Release { counter, .. }| {
        let least = policy.minimum_counter;
        let required = format!("at least {least}");
        Finding::of(COUNTER, *counter >= least, counter.to_string(), required, "it is an older release")
    })
}

fn expiry(case: &Case<'_>, _: &ReleasePolicy) -> Finding {
    case.judge(EXPIRY, |Release { not_after, .. }| {
        let now = case.request.now;
        let (observed, required) = (format!("until {not_after}"), format!("at least {now}"));
        Finding::of(EXPIRY, now <= *not_after, observed, required, "it has expired")
    })
}

fn inclusion(case: &Case<'_>, log: &LogPolicy) -> Finding {
    let Some(entry) = &case.request.bundle.feed.release else { return Finding::waits_for(INCLUSION, PRESENT) };
    let Ok((proof, seen)) = case.checkpoint(log) else { return Finding::waits_for(INCLUSION, WITNESSES) };
    let (index, size) = (proof.index, seen.checkpoint.size);
    match verify_inclusion(&leaf_hash(entry), index, size, &seen.checkpoint.root, &proof.hashes) {
        Ok(()) => passed(INCLUSION, format!("index {index} of {size}")),
        Err(error) => Finding::failed(INCLUSION, format!("index {index} of {size}"), "", error.to_string()),
    }
}

fn minimum_age(case: &Case<'_>, log: &LogPolicy) -> Finding {
    if log.minimum_age == 0 {
        return any(MINIMUM_AGE, "");
    }
    let latest = Time(case.request.now.0.saturating_sub(log.minimum_age));
    let required = format!("at most {latest}");
    match case.checkpoint(log) {
        Err(_) => Finding::waits_for(MINIMUM_AGE, WITNESSES),
        Ok((_, Accepted { as_of: None, .. })) => Finding::missing(MINIMUM_AGE, "", required, "no witness says when"),
        Ok((_, Accepted { as_of: Some(then), .. })) => {
            let holds = Time(then) <= latest;
            let observed = Time(then).to_string();
            Finding::of(MINIMUM_AGE, holds, observed, required, "others had too little time to notice it")
        }
    }
}

impl Case<'_> {
    /// What `judge` says of the release, if there is one that can be read.
    fn judge(&self, rule: Rule, judge: impl FnOnce(&Release) -> Finding) -> Finding {
        match self.claims {
            Claims::Release(release) => judge(release),
            Claims::Unreadable(_) => Finding::waits_for(rule, FORM),
            Claims::None => Finding::waits_for(rule, PRESENT),
        }
    }

    /// The proof that came with the release, or what [`PROOF`] finds.
    fn proof(&self) -> Result<Proof, Finding> {
        if self.request.bundle.feed.release.is_none() {
            return Err(Finding::waits_for(PROOF, PRESENT));
        }
        let bytes = self.request.bundle.feed.release_proof.as_ref();
        let bytes = bytes.ok_or_else(|| Finding::failed(PROOF, "none", "", "the release came without one"))?;
        Proof::parse(bytes).map_err(|error| Finding::failed(PROOF, "", "", error.to_string()))
    }

    /// The proof and its checkpoint, which log and witnesses have signed, or what [`WITNESSES`] finds.
    fn checkpoint(&self, log: &LogPolicy) -> Result<(Proof, Accepted), Finding> {
        let Witnesses::Of(policy) = &log.witnesses else {
            return Err(Finding::missing(WITNESSES, "", "", "the policy names no log"));
        };
        let proof = self.proof().map_err(|_| Finding::waits_for(WITNESSES, PROOF))?;
        match policy.accept(proof.checkpoint.as_bytes()) {
            Ok(seen) => Ok((proof, seen)),
            Err(refusal) => Err(Finding::failed(WITNESSES, "", "", refusal.to_string())),
        }
    }
}

/// A checkpoint in words.
fn shown(Accepted { checkpoint, as_of, witnesses }: &Accepted) -> String {
    let names: Vec<_> = witnesses.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    let then = as_of.map_or_else(String::new, |then| format!(" as of {}", Time(then)));
    format!("{}, {} entries{then}, cosigned by {}", checkpoint.origin, checkpoint.size, names.join(", "))
}

/// What files are called in findings.
fn name(bytes: &[u8]) -> String {
    format!("sha256 {}", Sha256::of(bytes))
}

fn passed(rule: Rule, observed: impl Into<String>) -> Finding {
    Finding::passed(rule, observed, "")
}

fn any(rule: Rule, observed: impl Into<String>) -> Finding {
    Finding::not_asked(rule, observed, "the policy accepts any")
}

/// What a rule finds that nothing here can decide yet.
fn pending(rule: Rule, required: Option<String>) -> Finding {
    let reason = "bundles do not carry what it takes yet: statuses, fleets and keys";
    required.map_or_else(|| any(rule, ""), |required| Finding::missing(rule, "", required, reason))
}

/// The oldest that something may be.
fn oldest(age: &OrAny<u64>) -> Option<String> {
    age.is().map(|seconds| format!("at most {seconds} s old"))
}
