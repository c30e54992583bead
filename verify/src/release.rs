//! Rules over the release and its life since, and what the release says must have been launched.

use crate::appraise::Request;
use crate::bundle::Bundle;
use crate::log::{self, Log};
use crate::memory::Memory;
use crate::policy::{Ed25519Key, Need, Policy, ReleasePolicy};
use log_client::dsse::Envelope;
use log_client::lifecycle::{self, Demands, Entry, Evidence, Seen, Unproved};
use log_client::statement::{Predicate, Release, Statement, TokenAccess, shape_name};
use measure::Sha256;
use measure::appraise::{Finding, Rule};
use measure::cmdline::Tee;
use measure::snp::appraise::{Demand, Requirements, Terms};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::ChipId;
use std::collections::BTreeMap;

const COPY: Rule = Rule { id: "release.copy", holds: "the release given is the bundle's, byte for byte" };
pub(crate) const PRESENT: Rule = Rule { id: "release.present", holds: "a release came with the evidence" };
pub(crate) const FORM: Rule = Rule { id: "release.form", holds: "it is an envelope around a release statement" };
const TEE: Rule = Rule { id: "release.tee", holds: "it was made for hardware of this kind" };
const HOST_RESISTANT: Rule = Rule { id: "release.host-resistant", holds: "it says that it withstands its host" };
const COUNTER: Rule = Rule { id: "release.counter", holds: "it is not older than the policy allows" };
const EXPIRY: Rule = Rule { id: "release.expiry", holds: "it has not expired" };

/// A rule and the function that decides it.
type Check = (Rule, fn(&Case<'_>, &ReleasePolicy) -> Finding);

/// The rules that a policy without a release does not ask, with the functions that decide them, in the order of findings.
/// Those of the log follow, and then those over the release's life.
const CHECKS: [Check; 6] = [
    (PRESENT, present),
    (FORM, form),
    (TEE, tee),
    (HOST_RESISTANT, host_resistant),
    (COUNTER, counter),
    (EXPIRY, expiry),
];

/// What rules look at.
struct Case<'a> {
    request: &'a Request<'a>,
    claims: &'a Claims,
    tee: Option<Tee>,
}

/// What the hardware says that evidence is of, if somebody vouches for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Platform {
    /// Where the guest runs.
    pub(crate) tee: Tee,
    /// The chip and its TCB; `None` if the evidence is not of SEV-SNP.
    pub(crate) snp: Option<(Product, TcbVersion, ChipId)>,
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
    /// What the release says of what its host sees of tokens.
    pub(crate) fn token_access(&self) -> Option<TokenAccess> {
        match self {
            Self::Release(release) => Some(release.token_access),
            Self::None | Self::Unreadable(_) => None,
        }
    }

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
    let checks = CHECKS.iter().map(|(rule, _)| *rule);
    [COPY].into_iter().chain(checks).chain(log::rules()).chain(lifecycle::RULES)
}

/// What was found.
pub(crate) struct Examined {
    /// One finding for each rule.
    pub(crate) findings: Vec<Finding>,
    /// What there is to remember of the log if the verdict is positive.
    pub(crate) memory: Option<Memory>,
}

/// Looks at the release and what a log says of it. `platform` is what the evidence is of.
pub(crate) fn examine(request: &Request<'_>, policy: &Policy, claims: &Claims, platform: Option<Platform>) -> Examined {
    let mut findings = vec![copy(request)];
    let Some(policy) = policy.release.is() else {
        findings.extend(rules().skip(1).map(|rule| any(rule, "")));
        return Examined { findings, memory: None };
    };
    let case = Case { request, claims, tee: platform.map(|platform| platform.tee) };
    findings.extend(CHECKS.iter().map(|(_, decide)| decide(&case, policy)));
    let log = policy.log.is().map(|asked| Log::new(request, asked));
    match &log {
        Some(log) => findings.extend(log.findings()),
        None => findings.extend(log::not_asked()),
    }
    findings.extend(life(request, policy, log.as_ref(), platform));
    let memory = log.as_ref().and_then(|log| remembered(request, claims, log));
    Examined { findings, memory }
}

/// The rules over the release's life.
fn life(
    request: &Request<'_>,
    policy: &ReleasePolicy,
    log: Option<&Log<'_>>,
    platform: Option<Platform>,
) -> Vec<Finding> {
    let feed = &request.bundle.feed;
    let entry = |bytes, index| Entry { bytes, index };
    let proved = |bytes: &[u8], proof: Option<&[u8]>| match log {
        Some(log) => log.index_of(bytes, proof),
        None => Err(Unproved::NotAsked),
    };
    let release = feed.release.as_deref();
    let row = feed.fleet_row.as_deref().ok_or_else(|| "the evidence came without the chip's row".to_owned());
    let row = row.and_then(|bytes| str::from_utf8(bytes).map_err(|error| error.to_string()));
    let rebuilds = feed.rebuilds.iter();
    let evidence = Evidence {
        release: release.map(|bytes| entry(bytes, log.map_or(Err(Unproved::NotAsked), Log::index))),
        status: feed.status.as_deref().map(|bytes| entry(bytes, proved(bytes, feed.status_proof.as_deref()))),
        rebuilds: rebuilds.map(|it| entry(&it.envelope, proved(&it.envelope, Some(&it.proof)))).collect(),
        tail: log.map_or(Err(Unproved::NotAsked), Log::tail),
        platform: platform.and_then(|platform| platform.snp),
        row: row.and_then(|text| text.parse().map_err(|error: log_client::fleet::FleetError| error.to_string())),
        seen: log.map_or_else(Seen::default, Log::seen),
    };
    let roots: Vec<_> = policy.root_keys.iter().map(|Ed25519Key(key)| *key).collect();
    let rebuilders = policy.rebuilders.iter().map(|(name, Ed25519Key(key))| (name.clone(), *key)).collect();
    let demands = Demands {
        roots: &roots,
        threshold: policy.root_quorum,
        status_max_age: policy.status_max_age.is().copied(),
        fleet: policy.fleet == Need::Required,
        rebuilders: &rebuilders,
        rebuilder_quorum: policy.rebuilder_quorum,
        newest: policy.log.is().is_some_and(|log| log.tail == Need::Required),
    };
    lifecycle::appraise(&evidence, &demands, request.now)
}

/// The newest of what was remembered and what is there now.
fn remembered(request: &Request<'_>, claims: &Claims, log: &Log<'_>) -> Option<Memory> {
    let (checkpoint, Claims::Release(release)) = (&log.accepted()?.checkpoint, claims) else { return None };
    let status = Envelope::parse(request.bundle.feed.status.as_deref()?).ok()?;
    let Ok(Statement { predicate: Predicate::Status(status), .. }) = Statement::parse(status.unverified_payload())
    else {
        return None;
    };
    let seen = log.seen();
    let seen = Seen { counter: seen.counter.max(release.counter), sequence: seen.sequence.max(status.sequence) };
    Some(Memory::new(checkpoint.origin.clone(), (checkpoint.size, checkpoint.root), seen))
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

impl Case<'_> {
    /// What `judge` says of the release, if there is one that can be read.
    fn judge(&self, rule: Rule, judge: impl FnOnce(&Release) -> Finding) -> Finding {
        match self.claims {
            Claims::Release(release) => judge(release),
            Claims::Unreadable(_) => Finding::waits_for(rule, FORM),
            Claims::None => Finding::waits_for(rule, PRESENT),
        }
    }
}

/// What files are called in findings.
fn name(bytes: &[u8]) -> String {
    format!("sha256 {}", Sha256::of(bytes))
}

pub(crate) fn passed(rule: Rule, observed: impl Into<String>) -> Finding {
    Finding::passed(rule, observed, "")
}

pub(crate) fn any(rule: Rule, observed: impl Into<String>) -> Finding {
    Finding::not_asked(rule, observed, "the policy accepts any")
}
