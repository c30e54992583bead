//! The forged-evidence suite: every good case passes, and every bad one is refused by the one rule it names and by no
//! other. Each rule has a bad case, so a rule that is taken out turns something red.

use log_client::Feed;
use log_client::feed::KINDS;
use measure::appraise::{Finding, Outcome, Rule, Time};
use measure::snp::appraise::Demand;
use measure::snp::chain::{Origin, Root, Roots};
use measure::tdx::collateral::Collateral;
use measure::{Digest, Sha384, snp, tdx};
use simulate::corpus::{Case, Corpus, Refusal};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use verify::bundle::{Bundle, Evidence, SnpEvidence};
use verify::policy::Section;
use verify::{Memory, Policy, Request};

/// The one rule that depends on how this crate was built, and the suite on simulated hardware.
const HARDWARE: &str = "evidence.hardware";

fn corpus() -> Corpus {
    Corpus::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).expect("the committed corpus")
}

/// What the verifier finds, but for the rule about hardware.
fn findings(case: &Case, policy: &str) -> Vec<Finding> {
    let policy = case.policy(policy).expect("the case names keys of the policy");
    let policy = Policy::parse(&case.name, policy.as_bytes()).expect("a policy");
    let piece = |name: &str| case.evidence.get(name).cloned();
    if let Some(quote) = piece("tdx-quote") {
        return tdx_findings(case, &policy, &quote, piece("tdx-collateral"));
    }
    let required = |name: &str| piece(name).unwrap_or_else(|| panic!("{}: no {name}", case.name));
    let evidence = Evidence::Snp(SnpEvidence {
        report: required("snp-report"),
        leaf: piece("snp-leaf"),
        ask: piece("snp-ask"),
        ark: piece("snp-ark"),
        crl: piece("snp-crl"),
    });
    let parts = KINDS.iter().flat_map(|kind| match kind.most {
        1 => Vec::from_iter(piece(kind.name).map(|bytes| (kind.name, bytes))),
        _ => (1..).map_while(|at| Some((kind.name, piece(&format!("{}-{at}", kind.name))?))).collect(),
    });
    let parts: Vec<_> = parts.collect();
    let parts: Vec<_> = parts.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let (session, operator) = (piece("session"), piece("operator"));
    let bundle = Bundle { evidence, feed: Feed::from_parts(&parts), session, operator };
    let memory =
        piece("memory").map(|bytes| Memory::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name)));
    let memories: Vec<_> = memory.into_iter().collect();
    let request = Request {
        bundle: &bundle,
        release: None,
        memories: &memories,
        report_data: &Demand::Is(Digest::new(case.report_data)),
        now: Time(case.now),
    };
    verify::appraise(&request, &policy, &roots()).findings().to_vec()
}

/// The rules of `measure` alone: a verdict on a quote leads to Intel's root or to none.
fn tdx_findings(case: &Case, policy: &Policy, quote: &[u8], collateral: Option<Vec<u8>>) -> Vec<Finding> {
    let Section::Accepted(terms) = &policy.tdx else { panic!("{}: the policy refuses quotes", case.name) };
    let mut requirements = terms.requirements.clone();
    requirements.identity.report_data = Demand::Is(Digest::new(case.report_data));
    let members: Option<serde_json::Value> = collateral.map(|json| serde_json::from_slice(&json).expect("JSON"));
    let text = |name: &str| members.as_ref().map_or("", |members| members[name].as_str().expect("text")).to_owned();
    let bytes = |name: &str| measure::digest::bytes_from_hex(&text(name)).expect("hexadecimal");
    let (root_ca_crl, pck_crl) = (bytes("root_ca_crl"), bytes("pck_crl"));
    let (tcb_info_signature, qe_identity_signature) = (bytes("tcb_info_signature"), bytes("qe_identity_signature"));
    let (pck_crl_issuer_chain, tcb_info) = (text("pck_crl_issuer_chain"), text("tcb_info"));
    let (tcb_info_issuer_chain, qe_identity) = (text("tcb_info_issuer_chain"), text("qe_identity"));
    let qe_identity_issuer_chain = text("qe_identity_issuer_chain");
    let collateral = Collateral {
        root_ca_crl: &root_ca_crl,
        pck_crl: &pck_crl,
        pck_crl_issuer_chain: &pck_crl_issuer_chain,
        tcb_info: &tcb_info,
        tcb_info_signature: &tcb_info_signature,
        tcb_info_issuer_chain: &tcb_info_issuer_chain,
        qe_identity: &qe_identity,
        qe_identity_signature: &qe_identity_signature,
        qe_identity_issuer_chain: &qe_identity_issuer_chain,
    };
    let evidence = tdx::appraise::Evidence { quote, collateral: members.is_some().then_some(collateral) };
    tdx::appraise::appraise(
        &evidence,
        tdx::collateral::Root::Simulated(&simulate::tdx::root()),
        &requirements,
        Time(case.now),
    )
}

fn roots() -> Roots {
    use measure::snp::product::Product as Measured;
    let pairs = [
        (simulate::Product::Milan, Measured::Milan),
        (simulate::Product::Genoa, Measured::Genoa),
        (simulate::Product::Turin, Measured::Turin),
    ];
    Roots::amd().with(pairs.map(|(simulated, product)| Root {
        product,
        origin: Origin::Simulated,
        key: Sha384::of(&simulate::root(simulated)),
        organisation: simulate::chain::ORGANISATION,
    }))
}

fn ids(findings: &[Finding], wanted: impl Fn(Outcome) -> bool) -> BTreeSet<&str> {
    findings
        .iter()
        .filter(|found| wanted(found.outcome) && found.rule.id != HARDWARE)
        .map(|found| found.rule.id)
        .collect()
}

/// What is wrong with the verifier's answer to `case`, if anything.
fn wrong(case: &Case, findings: &[Finding]) -> Option<String> {
    let failed = ids(findings, |outcome| outcome == Outcome::Failed);
    let undecided = ids(findings, |outcome| outcome == Outcome::NotPerformed { needed: true });
    let right = match &case.rule {
        None => failed.is_empty() && undecided.is_empty(),
        Some(Refusal::Fails(rule)) => failed == BTreeSet::from([rule.as_str()]),
        Some(Refusal::Undecided(rule)) => failed.is_empty() && undecided.contains(rule.as_str()),
    };
    let reasons = || {
        let of = |found: &&Finding| !found.permits() && found.rule.id != HARDWARE && found.outcome == Outcome::Failed;
        let all = findings.iter().filter(of).map(|f| format!("    {}: {} ({})", f.rule.id, f.reason, f.observed));
        all.collect::<Vec<_>>().join("\n")
    };
    (!right).then(|| {
        let (name, says) = (&case.name, &case.says);
        format!("{name} ({says}): expected {:?}; failed {failed:?}, undecided {undecided:?}\n{}", case.rule, reasons())
    })
}

/// Every case with what the verifier finds.
fn answers() -> &'static [(Case, Vec<Finding>)] {
    static ANSWERS: LazyLock<Vec<(Case, Vec<Finding>)>> = LazyLock::new(|| {
        let Corpus { policy, cases } = corpus();
        let answer = |case: Case| {
            let findings = findings(&case, &policy);
            (case, findings)
        };
        cases.into_iter().map(answer).collect()
    });
    &ANSWERS
}

fn rules_of(case: &Case) -> Vec<Rule> {
    let quote = case.evidence.contains_key("tdx-quote");
    if quote { tdx::appraise::RULES.to_vec() } else { snp::appraise::rules().collect() }
}

#[test]
fn each_bad_case_is_refused_by_its_rule_alone() {
    let wrong: Vec<String> = answers().iter().filter_map(|(case, findings)| wrong(case, findings)).collect();
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), answers().len(), wrong.join("\n"));
    assert!(answers().iter().filter(|(case, _)| case.rule.is_some()).count() >= 200);
}

#[test]
fn a_rule_that_always_passes_is_noticed() {
    let asks = |(case, _): &&(Case, Vec<Finding>)| case.name == "log";
    let (_, of_log) = answers().iter().find(asks).expect("a good case of a release");
    // What a caller brings, or a session that is not in a file yet, is in the tests of verdicts.
    let others = ["evidence.", "snp.", "release.copy", "session.feed"];
    let of_log = of_log.iter().map(|found| found.rule).filter(|rule| others.iter().all(|id| !rule.id.starts_with(id)));
    for rule in snp::appraise::rules().chain(tdx::appraise::RULES.iter().copied()).chain(of_log) {
        let noticed = answers().iter().any(|(case, findings)| {
            let mut findings = findings.clone();
            let finding = findings.iter_mut().find(|found| found.rule == rule);
            let forced = finding.map(|finding| finding.outcome = Outcome::Passed);
            forced.is_some() && wrong(case, &findings).is_some()
        });
        assert!(noticed, "{}: no case depends on it", rule.id);
    }
}

#[test]
fn every_rule_answers_every_case_once() {
    for (case, findings) in answers() {
        let ids: BTreeSet<_> = findings.iter().map(|found| found.rule.id).collect();
        assert_eq!(ids.len(), findings.len(), "{}", case.name);
        for rule in rules_of(case) {
            assert!(ids.contains(rule.id), "{}: {}", case.name, rule.id);
        }
    }
}

/// Without the feature nothing that a simulated root vouches for gets past; with it, this rule does not stand in the way
/// of good cases.
#[test]
fn only_a_build_for_it_knows_simulated_hardware() {
    for (case, findings) in answers().iter().filter(|(case, _)| case.rule.is_none()) {
        let Some(hardware) = findings.iter().find(|found| found.rule.id == HARDWARE) else {
            assert!(case.evidence.contains_key("tdx-quote"), "{}: no rule about hardware", case.name);
            continue;
        };
        assert_eq!(hardware.permits(), cfg!(feature = "simulated-hardware"), "{}", case.name);
        assert_ne!(hardware.outcome, Outcome::Passed, "{}", case.name);
    }
}
