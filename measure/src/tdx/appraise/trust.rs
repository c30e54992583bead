//! Whether a quote leads to the root, and what Intel then says of the platform.
//!
//! `dcap-qvl` answers that: yes, or one error for everything it looked at. After a yes there is nothing to add. After an
//! error, the signatures are verified once more, here, to name the rule that is broken; and it is asked again about a
//! time at which the collateral was fresh, because evidence that is merely old is worth telling from evidence that is
//! forged. What is left is told by its words, which is why its version is pinned. Whatever the diagnosis, a quote that
//! it refuses has at least one rule that failed or could not be decided.

use super::requirements::Services;
use super::rules::{
    CHAIN, DATES, DEBUG, KEY, LEVEL, MIGRATABLE, QE, QE_IDENTITY, QE_REPORT, RESERVED, SEPT_VE, SERVICES, SIGNATURE,
    STATUS, TCB_INFO,
};
use crate::appraise::{Finding, Rule, Time};
use crate::digest::{Digest, Sha256, Sha384};
use crate::tdx::collateral::{Collateral, INTEL_ROOT_KEY, Root};
use crate::tdx::quote::{Body, Fmspc, Ppid, Quote, TdAttributes};
use dcap_qvl::verify::QuoteVerifier;
use dcap_qvl::{PckCertFlag, QeIdentity, QuoteClaims, QuoteCollateralV3, QuotePolicy, TcbInfo};
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use std::collections::BTreeSet;
use x509_cert::der::Decode as _;

/// The rules that hold of every quote that leads to the root, in the order in which they build on each other.
const STEPS: [Rule; 8] = [QE_REPORT, KEY, SIGNATURE, TCB_INFO, QE_IDENTITY, CHAIN, QE, LEVEL];

/// What `dcap-qvl` says, by a part of its words, when the evidence is broken in another way than by a signature.
const WORDS: [(Rule, &[&str]); 4] = [
    (STATUS, &["TCB status is invalid: Revoked"]),
    (
        QE,
        &[
            "QE MRSIGNER",
            "QE ISV",
            "QE MISCSELECT",
            "QE ATTRIBUTES",
            "QE report validation",
            "QE Identity id",
            "in QE Identity",
        ],
    ),
    (DATES, &["expired", "Expired", "in the future", "NotValidYet"]),
    (
        LEVEL,
        &[
            "mspc",
            "FMSPC",
            "TCB level",
            "TDX module",
            "non-TDX TCB info",
            "component count",
            "TEE_TCB_SVN2",
            "in TCB Info",
        ],
    ),
];
/// What it says of a guest whose attributes it refuses, once everything else has passed.
const ATTRIBUTE_WORDS: [&str; 7] = [
    "Debug mode is enabled",
    "TD profiling is enabled",
    "Reserved bits in TD attributes are set",
    "TD migration is enabled",
    "SERVTD_EXT is enabled",
    "SEPT_VE_DISABLE is not enabled",
    "Invalid MR service TD",
];

/// What was found out about who signed a quote.
pub(super) struct Trust {
    outcome: Result<Vouched, Broken>,
    /// Why it does not hold now, although it did when the collateral was made.
    stale: Option<String>,
}

/// What Intel says of the platform that signed.
pub(super) struct Vouched {
    /// In Intel's words.
    pub(super) status: String,
    pub(super) advisories: BTreeSet<String>,
    /// The lower of the TCB info's and the QE identity's.
    pub(super) evaluation: u32,
    pub(super) fmspc: Fmspc,
    pub(super) ppid: Ppid,
    pub(super) smt: Option<bool>,
    pub(super) dynamic: Option<bool>,
    pub(super) cached_keys: Option<bool>,
    root: Sha384,
    /// When the youngest part of certificates and collateral began to be valid, and when the first ceases to be.
    valid: [Time; 2],
}

/// The rule that is in the way of all others.
pub(super) struct Broken {
    rule: Rule,
    reason: String,
    /// How many of [`STEPS`] passed nevertheless.
    passed: usize,
}

impl Broken {
    fn step(rule: Rule, reason: impl Into<String>) -> Self {
        let passed = STEPS.iter().position(|step| *step == rule).unwrap_or(STEPS.len());
        Self { rule, reason: reason.into(), passed }
    }

    /// What is to be said of a rule that builds on the broken one, or is it.
    pub(super) fn finding(&self, rule: Rule) -> Finding {
        match rule == self.rule {
            true => Finding::failed(rule, "", "", self.reason.as_str()),
            false => Finding::waits_for(rule, self.rule),
        }
    }
}

impl Trust {
    /// Nothing can be said before `rule` passes.
    pub(super) fn waiting_for(rule: Rule) -> Self {
        Self { outcome: Err(Broken { rule, reason: String::new(), passed: 0 }), stale: None }
    }

    /// Verifies `bytes`, of which `quote` is the view.
    pub(super) fn of(
        bytes: &[u8],
        quote: &Quote<'_>,
        collateral: &Collateral<'_>,
        root: Root<'_>,
        services: &Services,
        now: Time,
    ) -> Self {
        let verify = |at: Time| verify(bytes, collateral, root, services, at);
        let refusal = match verify(now) {
            Ok(claims) => return Self { outcome: Vouched::of(&claims, root), stale: None },
            Err(refusal) => refusal,
        };
        let fresh = match signatures(quote, collateral) {
            Ok(fresh) => fresh,
            Err(broken) => return Self { outcome: Err(broken), stale: None },
        };
        match verify(fresh) {
            Ok(claims) => Self { outcome: Vouched::of(&claims, root), stale: Some(refusal) },
            Err(refusal) => Self { outcome: Err(blamed(refusal, &quote.body)), stale: None },
        }
    }

    pub(super) fn vouched(&self) -> Result<&Vouched, &Broken> {
        self.outcome.as_ref()
    }

    /// One finding for each of [`STEPS`], and one about dates.
    pub(super) fn findings(&self, now: Time) -> Vec<Finding> {
        let vouched = match &self.outcome {
            Ok(vouched) => vouched,
            Err(broken) => {
                let step = |(at, rule): (usize, &Rule)| match at < broken.passed {
                    true => Finding::passed(*rule, "", ""),
                    false => broken.finding(*rule),
                };
                return STEPS.iter().enumerate().map(step).chain([broken.finding(DATES)]).collect();
            }
        };
        let step = |rule: &Rule| {
            let observed = if *rule == CHAIN { format!("root key {}", vouched.root) } else { String::new() };
            Finding::passed(*rule, observed, "")
        };
        let [from, to] = vouched.valid;
        let (observed, required) = (format!("from {from} to {to}"), format!("valid at {now}"));
        let dates = match &self.stale {
            Some(reason) => Finding::failed(DATES, observed, required, reason.as_str()),
            None if from <= now && now <= to => Finding::passed(DATES, observed, required),
            None => Finding::failed(DATES, observed, required, "a part is not valid at that time"),
        };
        STEPS.iter().map(step).chain([dates]).collect()
    }
}

impl Vouched {
    fn of(claims: &QuoteClaims, root: Root<'_>) -> Result<Self, Broken> {
        let unreadable = |what: &str| Broken::step(CHAIN, format!("unexpected {what}"));
        let pck = &claims.platform.pck;
        let key = claims.platform.root_key_id.as_slice().try_into().map(Sha384::new);
        let key = key.map_err(|_| unreadable("length of the root's key identifier"))?;
        match root {
            Root::Intel if key != INTEL_ROOT_KEY => {
                return Err(Broken::step(CHAIN, format!("expected root key {INTEL_ROOT_KEY}, found {key}")));
            }
            Root::Intel | Root::Simulated(_) => {}
        }
        let ppid = pck.ppid.as_slice().try_into().map(|ppid| Ppid(Digest::new(ppid)));
        let levels = [Some(&claims.platform.tcb_level), claims.platform.current_tcb_level.as_ref()];
        let advisories = levels.into_iter().flatten().flat_map(|level| &level.advisory_ids);
        let flag = |flag| match flag {
            PckCertFlag::True => Some(true),
            PckCertFlag::False => Some(false),
            PckCertFlag::Undefined => None,
        };
        Ok(Self {
            status: claims.tcb.status.to_string(),
            advisories: advisories.chain(&claims.qe.tcb_level.advisory_ids).cloned().collect(),
            evaluation: claims.tcb.eval_data_number,
            fmspc: Fmspc(Digest::new(pck.fmspc)),
            ppid: ppid.map_err(|_| unreadable("length of the PPID"))?,
            smt: flag(pck.smt_enabled),
            dynamic: flag(pck.dynamic_platform),
            cached_keys: flag(pck.cached_keys),
            root: key,
            valid: [Time(claims.latest_issue_date), Time(claims.earliest_expiration_date)],
        })
    }
}

/// Everything that `dcap-qvl` looks at, or why it refuses. Intel's root is the one it brings along, which is then
/// compared with ours.
fn verify(
    bytes: &[u8],
    collateral: &Collateral<'_>,
    root: Root<'_>,
    services: &Services,
    at: Time,
) -> Result<QuoteClaims, String> {
    let verifier = match root {
        Root::Intel => QuoteVerifier::new_prod(),
        Root::Simulated(certificate) => QuoteVerifier::new(certificate.to_vec()),
    };
    let collateral = QuoteCollateralV3 {
        pck_crl_issuer_chain: collateral.pck_crl_issuer_chain.into(),
        root_ca_crl: collateral.root_ca_crl.into(),
        pck_crl: collateral.pck_crl.into(),
        tcb_info_issuer_chain: collateral.tcb_info_issuer_chain.into(),
        tcb_info: collateral.tcb_info.into(),
        tcb_info_signature: collateral.tcb_info_signature.into(),
        qe_identity_issuer_chain: collateral.qe_identity_issuer_chain.into(),
        qe_identity: collateral.qe_identity.into(),
        qe_identity_signature: collateral.qe_identity_signature.into(),
        // The quote has its own, and it is the one that the rules here are about.
        pck_certificate_chain: None,
    };
    let verified = verifier.allow_service_td(!matches!(services, Services::None)).verify_with_policy(
        bytes,
        collateral,
        at.0,
        &QuotePolicy::claims_only(at.0),
    );
    verified.map_err(|error| format!("{error:#}"))
}

/// Verifies every signature that is not on a certificate or a revocation list. Returns a time at which TCB info and QE
/// identity were valid, if ever they were both.
fn signatures(quote: &Quote<'_>, collateral: &Collateral<'_>) -> Result<Time, Broken> {
    let invalid = |rule| Broken::step(rule, "the signature does not verify");
    let pck = leaf(quote.pck_chain).ok_or_else(|| Broken::step(CHAIN, "cannot read the first PCK certificate"))?;
    if !signed(&pck, quote.qe_report, quote.qe_signature) {
        return Err(invalid(QE_REPORT));
    }
    let commitment = Sha256::of(&[quote.key.as_slice(), quote.authentication].concat());
    let reported = quote.qe_report.last_chunk::<64>().and_then(|data| data.first_chunk());
    if reported != Some(commitment.as_bytes()) {
        return Err(Broken::step(KEY, "the report of the quoting enclave has the hash of another key"));
    }
    let key = [&[4], quote.key.as_slice()].concat();
    if !VerifyingKey::from_sec1_bytes(&key).is_ok_and(|key| signed(&key, quote.signed, quote.signature)) {
        return Err(invalid(SIGNATURE));
    }
    let issued = |rule, chain: &str, text: &str, signature: &[u8], date: Option<String>| {
        let key =
            leaf(chain.as_bytes()).ok_or_else(|| Broken::step(rule, "cannot read the first certificate beside it"))?;
        match signed(&key, text.as_bytes(), signature) {
            true => date.and_then(|date| date.parse::<Time>().ok()).ok_or_else(|| Broken::step(rule, "cannot read it")),
            false => Err(invalid(rule)),
        }
    };
    let tcb_info = serde_json::from_str(collateral.tcb_info).ok().map(|info: TcbInfo| info.issue_date);
    let identity = serde_json::from_str(collateral.qe_identity).ok().map(|identity: QeIdentity| identity.issue_date);
    let c = collateral;
    let tcb_info = issued(TCB_INFO, c.tcb_info_issuer_chain, c.tcb_info, c.tcb_info_signature, tcb_info)?;
    let identity = issued(QE_IDENTITY, c.qe_identity_issuer_chain, c.qe_identity, c.qe_identity_signature, identity)?;
    Ok(tcb_info.max(identity))
}

/// The key of the first certificate.
fn leaf(chain: &[u8]) -> Option<VerifyingKey> {
    let first = pem::parse_many(chain).ok()?.into_iter().next()?;
    let certificate = x509_cert::Certificate::from_der(first.contents()).ok()?;
    let key = certificate.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    VerifyingKey::from_sec1_bytes(key).ok()
}

fn signed(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    Signature::from_slice(signature).is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// The rule that `dcap-qvl` found broken, all signatures over quote and collateral being good.
fn blamed(refusal: String, body: &Body) -> Broken {
    let said = |words: &[&str]| words.iter().any(|words| refusal.contains(words));
    let by_words = WORDS.into_iter().find(|(_, words)| said(words)).map(|(rule, _)| rule);
    let rule = match by_words {
        None if said(&ATTRIBUTE_WORDS) => refused_attribute(body),
        other => other,
    };
    match rule {
        Some(DATES) => Broken { passed: 5, ..Broken::step(DATES, refusal) },
        Some(rule) => Broken::step(rule, refusal),
        None => Broken::step(CHAIN, refusal),
    }
}

/// Which rule over the body `dcap-qvl` must have meant. That rule has its own finding.
fn refused_attribute(body: &Body) -> Option<Rule> {
    let set = |bits: TdAttributes| body.attributes.and(bits) != TdAttributes(0);
    let rules = [
        (DEBUG, set(TdAttributes::UNDER_DEBUG)),
        (RESERVED, set(super::guest::RESERVED_ATTRIBUTES)),
        (MIGRATABLE, set(TdAttributes::MIGRATABLE)),
        (SEPT_VE, !set(TdAttributes::SEPT_VE_DISABLE)),
    ];
    Some(rules.into_iter().find(|(_, broken)| *broken).map_or(SERVICES, |(rule, _)| rule))
}
