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
use measure::appraise::{Finding, Outcome, Rule, Time};
use measure::cmdline::Tee;
use measure::snp::appraise::{Demand, Requirements, Terms};
use measure::snp::product::Product;
use std::collections::BTreeMap;
use std::fmt::Display;

/// A rule and the function that decides it, for a policy that wants a release.
type Check = (Rule, fn(&Case<'_>, &ReleasePolicy) -> Answer);

/// What rules look at.
struct Case<'a> {
    request: &'a Request<'a>,
    claims: &'a Claims,
    /// What the evidence is of; `None` if nobody vouches for it.
    tee: Option<Tee>,
}

/// Outcome, what was observed, what is required, and why it did not pass.
type Answer = (Outcome, String, String, String);

const COPY: Rule = Rule { id: "release.copy", holds: "the release given is the bundle's, byte for byte" };

/// Every rule but [`COPY`], which does not ask the policy. The order is that of the findings.
const CHECKS: [Check; 15] = [
    (Rule { id: "release.present", holds: "a release came with the evidence" }, |case, _| {
        match &case.request.bundle.release {
            Some(bytes) => passed(name(bytes)),
            None => (Outcome::Failed, "none".into(), String::new(), "the evidence came without one".into()),
        }
    }),
    (Rule { id: "release.form", holds: "it is an envelope around a release statement" }, |case, _| match case.claims {
        Claims::None => undecided("release.present did not pass"),
        Claims::Unreadable(reason) => (Outcome::Failed, String::new(), String::new(), reason.clone()),
        Claims::Release(release) => passed(release.version),
    }),
    (Rule { id: "release.signature", holds: "it is signed by a key in force" }, |_, policy| {
        pending(Some(format!("a key that {} of {} root keys vouch for", policy.root_quorum, policy.root_keys.len())))
    }),
    (Rule { id: "release.tee", holds: "it was made for hardware of this kind" }, |case, _| {
        case.judge(|release| match case.tee {
            Some(tee) => of(release.tee == tee, release.tee, tee, "it was made for another"),
            None => undecided("who signed the evidence is not known"),
        })
    }),
    (Rule { id: "release.host-resistant", holds: "it says that it withstands its host" }, |case, policy| {
        case.judge(|release| match policy.host_resistant {
            Need::Any => any(release.host_resistant),
            Need::Required => of(release.host_resistant, release.host_resistant, true, "its host can get in"),
        })
    }),
    (Rule { id: "release.counter", holds: "it is not older than the policy allows" }, |case, policy| {
        case.judge(|release| {
            let least = policy.minimum_counter;
            of(release.counter >= least, release.counter, format_args!("at least {least}"), "it is an older release")
        })
    }),
    (Rule { id: "release.expiry", holds: "it has not expired" }, |case, _| {
        case.judge(|release| {
            let (now, until) = (case.request.now, release.not_after);
            of(now <= until, format_args!("until {until}"), format_args!("at least {now}"), "it has expired")
        })
    }),
    (Rule { id: "release.status", holds: "a fresh status says that it is live" }, |_, policy| {
        pending(oldest(&policy.status_max_age))
    }),
    (Rule { id: "release.fleet", holds: "the chip is in the fleet that the status names" }, |_, policy| {
        pending((policy.fleet == Need::Required).then(|| "a row of the roster".into()))
    }),
    (Rule { id: "release.rebuilders", holds: "enough organisations have rebuilt it" }, |_, policy| {
        let (quorum, all) = (policy.rebuilder_quorum, policy.rebuilders.len());
        pending((quorum > 0).then(|| format!("{quorum} of {all}")))
    }),
    (Rule { id: "log.proof", holds: "a proof of its place in a log came with it" }, |case, policy| {
        case.log(policy, |_| match case.proof() {
            Ok(proof) => passed(format_args!("index {}", proof.index)),
            Err(answer) => answer,
        })
    }),
    (
        Rule { id: "log.witnesses", holds: "the log and enough of its witnesses signed the checkpoint" },
        |case, policy| {
            case.log(policy, |log| match case.checkpoint(log) {
                Ok((_, accepted)) => passed(shown(&accepted)),
                Err(answer) => answer,
            })
        },
    ),
    (Rule { id: "log.inclusion", holds: "it is in the log" }, |case, policy| {
        case.log(policy, |log| {
            let Some(entry) = &case.request.bundle.release else { return undecided("release.present did not pass") };
            let Ok((proof, accepted)) = case.checkpoint(log) else { return undecided("log.witnesses did not pass") };
            let (size, root) = (accepted.checkpoint.size, &accepted.checkpoint.root);
            match verify_inclusion(&leaf_hash(entry), proof.index, size, root, &proof.hashes) {
                Ok(()) => passed(format_args!("index {} of {size}", proof.index)),
                Err(error) => (Outcome::Failed, String::new(), String::new(), error.to_string()),
            }
        })
    }),
    (Rule { id: "log.checkpoint-age", holds: "what the log says of it is recent" }, |_, policy| {
        pending(policy.log.is().and_then(|log| oldest(&log.checkpoint_max_age)))
    }),
    (Rule { id: "log.minimum-age", holds: "it has been in the log for long enough" }, |case, policy| {
        case.log(policy, |log| match case.checkpoint(log) {
            _ if log.minimum_age == 0 => any(""),
            Err(_) => undecided("log.witnesses did not pass"),
            Ok((_, Accepted { as_of: None, .. })) => undecided("no witness says when"),
            Ok((_, Accepted { as_of: Some(then), .. })) => {
                let latest = Time(case.request.now.0.saturating_sub(log.minimum_age));
                let required = format_args!("at most {latest}").to_string();
                of(Time(then) <= latest, Time(then), required, "others had too little time to notice it")
            }
        })
    }),
];

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
    let Some(bytes) = &bundle.release else { return Claims::None };
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
    /// Puts in what the policy leaves to the release.
    pub(crate) fn complete(&self, requirements: &mut Requirements) {
        let release = match self {
            Self::Release(release) => Ok(release.as_ref()),
            Self::None => Err("the evidence came without a release"),
            Self::Unreadable(_) => Err("release.form did not pass"),
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
    [COPY].into_iter().chain(CHECKS.iter().map(|(rule, _)| *rule))
}

/// One finding for each rule. `tee` is what the evidence is of; `None` if nobody vouches for it.
pub(crate) fn examine(request: &Request<'_>, policy: &Policy, claims: &Claims, tee: Option<Tee>) -> Vec<Finding> {
    let case = Case { request, claims, tee };
    let others = CHECKS.iter().map(|(rule, decide)| match &policy.release {
        OrAny::Any => (*rule, any("")),
        OrAny::Is(policy) => (*rule, decide(&case, policy)),
    });
    let all = [(COPY, copy(request))].into_iter().chain(others);
    all.map(|(rule, (outcome, observed, required, reason))| Finding { rule, outcome, observed, required, reason })
        .collect()
}

impl Case<'_> {
    /// What `judge` says of the release, if there is one that can be read.
    fn judge(&self, judge: impl FnOnce(&Release) -> Answer) -> Answer {
        match self.claims {
            Claims::Release(release) => judge(release),
            Claims::Unreadable(_) => undecided("release.form did not pass"),
            Claims::None => undecided("release.present did not pass"),
        }
    }

    /// What `judge` says, if the policy asks for a log.
    fn log(&self, policy: &ReleasePolicy, judge: impl FnOnce(&LogPolicy) -> Answer) -> Answer {
        policy.log.is().map_or_else(|| any(""), judge)
    }

    /// The proof that came with the release, or what the rule about it finds.
    fn proof(&self) -> Result<Proof, Answer> {
        let failed = |reason: String| (Outcome::Failed, String::new(), String::new(), reason);
        if self.request.bundle.release.is_none() {
            return Err(undecided("release.present did not pass"));
        }
        let bytes = self.request.bundle.release_proof.as_ref();
        let bytes = bytes.ok_or_else(|| failed("the evidence came without one".into()))?;
        Proof::parse(bytes).map_err(|error| failed(error.to_string()))
    }

    /// The proof and its checkpoint, which log and witnesses have signed, or what the rule about that finds.
    fn checkpoint(&self, log: &LogPolicy) -> Result<(Proof, Accepted), Answer> {
        let Witnesses::Of(policy) = &log.witnesses else { return Err(undecided("the policy names no log")) };
        let proof = self.proof().map_err(|_| undecided("log.proof did not pass"))?;
        match policy.accept(proof.checkpoint.as_bytes()) {
            Ok(accepted) => Ok((proof, accepted)),
            Err(refusal) => Err((Outcome::Failed, String::new(), String::new(), refusal.to_string())),
        }
    }
}

/// A checkpoint in words.
fn shown(accepted: &Accepted) -> String {
    let Accepted { checkpoint, as_of, witnesses } = accepted;
    let names: Vec<_> = witnesses.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    let then = as_of.map_or_else(String::new, |then| format!(" as of {}", Time(then)));
    format!("{}, {} entries{then}, cosigned by {}", checkpoint.origin, checkpoint.size, names.join(", "))
}

fn copy(request: &Request<'_>) -> Answer {
    let bundled = request.bundle.release.as_deref();
    let observed = bundled.map_or_else(|| "none".into(), name);
    match request.release {
        None => (Outcome::NotPerformed { needed: false }, observed, String::new(), "none was given to compare".into()),
        Some(given) => of(bundled == Some(given), observed, name(given), "the bundle has another or none"),
    }
}

/// What files are called in findings.
fn name(bytes: &[u8]) -> String {
    format!("sha256 {}", Sha256::of(bytes))
}

fn of(holds: bool, observed: impl Display, required: impl Display, reason: &str) -> Answer {
    let (outcome, reason) = if holds { (Outcome::Passed, "") } else { (Outcome::Failed, reason) };
    (outcome, observed.to_string(), required.to_string(), reason.into())
}

fn passed(observed: impl Display) -> Answer {
    (Outcome::Passed, observed.to_string(), String::new(), String::new())
}

fn any(observed: impl Display) -> Answer {
    let outcome = Outcome::NotPerformed { needed: false };
    (outcome, observed.to_string(), String::new(), "the policy accepts any".into())
}

fn undecided(reason: &str) -> Answer {
    (Outcome::NotPerformed { needed: true }, String::new(), String::new(), reason.into())
}

/// The answer of a rule that nothing here can decide yet.
fn pending(required: Option<String>) -> Answer {
    let Some(required) = required else { return any("") };
    let reason = "bundles do not carry what it takes yet: statuses, fleets and keys";
    (Outcome::NotPerformed { needed: true }, String::new(), required, reason.into())
}

/// The oldest that something may be.
fn oldest(age: &OrAny<u64>) -> Option<String> {
    age.is().map(|seconds| format!("at most {seconds} s old"))
}
