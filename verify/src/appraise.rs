//! From evidence and policy to the verdict.

use crate::bundle::{Bundle, Evidence, SnpEvidence, TdxEvidence};
use crate::collateral::Parts;
use crate::memory::Memory;
use crate::operator::{self, Configured};
use crate::policy::{Policy, Section};
use crate::release::{self, Claims, Examined, Platform};
use crate::session::{self, FeedError};
use crate::verdict::{Subject, Verdict};
use measure::appraise::{Finding, Rule, Time};
use measure::cmdline::Tee;
use measure::snp::appraise::{Demand, Permit};
use measure::snp::chain::{Chain, Origin, Roots};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::ChipId;
use measure::tdx::collateral::Root;
use measure::tdx::quote::Quote;
use measure::{Digest, Sha256, snp, tdx};

const KIND: Rule = Rule { id: "evidence.kind", holds: "the policy accepts evidence of this kind" };
const HARDWARE: Rule = Rule { id: "evidence.hardware", holds: "the hardware is real" };
const COLLATERAL: Rule = Rule { id: "evidence.collateral", holds: "the collateral is a JSON object of all its parts" };

/// What is to be judged, and what only the caller knows.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The evidence and what came with it.
    pub bundle: &'a Bundle,
    /// The release that the caller has from elsewhere, if any; it must be the bundle's, byte for byte.
    pub release: Option<&'a [u8]>,
    /// What this client remembers of logs, at most one of each, of all that the policy names. Of others nothing is used.
    pub memories: &'a [Memory],
    /// What the guest must have put into the evidence: [`Demand::Any`] for evidence that is not of a session of ours.
    pub report_data: &'a Demand<Digest<64>>,
    /// The only clock.
    pub now: Time,
}

/// Everything that the rules found of one kind of evidence.
struct Found {
    /// What the guest and the host put into it, if it can be read, and the rule over the host's.
    said: Option<Said>,
    rules: Vec<Rule>,
    findings: Vec<Finding>,
    evidence: String,
    sha256: Sha256,
    matched: Option<String>,
    origin: Option<Origin>,
    /// The chip and its TCB, if somebody vouches for them and the evidence is of SEV-SNP.
    chip: Option<(Product, TcbVersion, ChipId)>,
}

/// What a report or quote says that rules beyond it compare.
#[derive(Debug, Clone, Copy)]
struct Said {
    /// REPORT_DATA or REPORTDATA.
    report_data: Digest<64>,
    /// HOST_DATA with zeros behind it, or MRCONFIGID.
    configured: Digest<48>,
}

/// The rules over what the host set at launch.
const CONFIGURED: [&str; 2] = ["snp.identity.host-data", "tdx.mrconfigid"];

/// Judges evidence. `roots` are AMD's unless the program is one that may know simulated hardware.
pub fn appraise(request: &Request<'_>, policy: &Policy, roots: &Roots) -> Verdict {
    judge(request, None, policy, roots)
}

/// The same; `live` is whether what came with a session of ours could be read, if it is one.
pub(crate) fn judge(
    request: &Request<'_>,
    live: Option<Result<(), FeedError>>,
    policy: &Policy,
    roots: &Roots,
) -> Verdict {
    let claims = release::claims(request.bundle);
    let mut found = match &request.bundle.evidence {
        Evidence::Snp(evidence) => snp_report(evidence, request, policy, &claims, roots),
        Evidence::Tdx(evidence) => tdx_quote(evidence, request, policy),
    };
    let configured = found.findings.iter().find(|finding| CONFIGURED.contains(&finding.rule.id));
    let configured = found.said.zip(configured).map(|(said, finding)| Configured { value: said.configured, finding });
    let document = request.bundle.operator.as_deref();
    let (of_operator, operator) = operator::examine(document, configured.as_ref(), &policy.operator);
    let reported = found.said.map(|said| said.report_data);
    found.findings.push(session::feed(request, live));
    found.findings.extend(session::rules::examine(request, policy, &claims, reported));
    found.findings.extend(of_operator);
    found.rules.push(session::FEED);
    found.rules.extend(session::rules::RULES);
    found.rules.extend(operator::rules());
    found.rules.extend(release::rules());
    let tee = |origin| match (origin, &request.bundle.evidence) {
        (Origin::Simulated, _) => Tee::Simulated,
        (Origin::Hardware, Evidence::Snp(_)) => Tee::Snp,
        (Origin::Hardware, Evidence::Tdx(_)) => Tee::Tdx,
    };
    let platform = found.origin.map(|origin| Platform { tee: tee(origin), snp: found.chip });
    let Examined { findings, memory } = release::examine(request, policy, &claims, platform);
    found.findings.extend(findings);
    let subject = Subject {
        evidence: found.evidence,
        evidence_sha256: found.sha256,
        matched: found.matched,
        token_access: claims.token_access(),
        operator,
        policy: policy.name.clone(),
        policy_sha256: policy.sha256,
        as_of: request.now,
    };
    Verdict::new(&found.rules, found.findings, subject, found.origin).with_memory(memory)
}

fn snp_report(
    SnpEvidence { report, leaf, ask, ark, crl }: &SnpEvidence,
    request: &Request<'_>,
    policy: &Policy,
    claims: &Claims,
    roots: &Roots,
) -> Found {
    let rules: Vec<_> = [KIND, HARDWARE].into_iter().chain(snp::appraise::rules()).collect();
    let sha256 = Sha256::of(report);
    let Section::Accepted(terms) = &policy.snp else {
        let findings = refused(&rules, "SEV-SNP");
        let evidence = "SEV-SNP report".into();
        return Found { said: None, rules, findings, evidence, sha256, matched: None, origin: None, chip: None };
    };
    let mut requirements = terms.requirements.clone();
    requirements.identity.report_data = request.report_data.clone();
    claims.complete(request, policy, &mut requirements);
    if let Demand::Missing(_) = requirements.identity.host_data {
        requirements.identity.host_data = Demand::Is(operator::host_data(request.bundle.operator.as_deref()));
    }
    let [ark, ask, leaf, crl] = [ark, ask, leaf, crl].map(Option::as_deref);
    let evidence = snp::appraise::Evidence { report, chain: Chain { ark, ask, leaf, crl } };
    let appraisal = snp::appraise::appraise(&evidence, roots, &requirements, request.now);
    let facts = appraisal.facts;
    let origin = facts.endorsement.map(|endorsement| endorsement.origin);
    let mut findings = vec![Finding::passed(KIND, "SEV-SNP", ""), hardware(origin, policy.simulated)];
    findings.extend(appraisal.findings);
    let evidence = match (facts.report, facts.product) {
        (Some(report), Some(product)) => {
            format!("SEV-SNP report, version {}, {product}, chip {:#}", report.version().number(), report.chip_id())
        }
        _ => "SEV-SNP report that cannot be read".into(),
    };
    let chip = match (origin, facts.report, facts.product) {
        (Some(_), Some(report), Some(product)) => {
            let (tcb, _reserved) = TcbVersion::of_report(report.reported_tcb(), product);
            Some((product, tcb, report.chip_id()))
        }
        _ => None,
    };
    let said = facts.report.map(|report| {
        let mut configured = [0; 48];
        configured[..32].copy_from_slice(report.host_data().as_bytes());
        Said { report_data: report.report_data(), configured: Digest::new(configured) }
    });
    Found { said, rules, findings, evidence, sha256, matched: facts.launched, origin, chip }
}

fn tdx_quote(TdxEvidence { quote, collateral }: &TdxEvidence, request: &Request<'_>, policy: &Policy) -> Found {
    let rules: Vec<_> = [KIND, HARDWARE, COLLATERAL].iter().chain(tdx::appraise::RULES).copied().collect();
    let sha256 = Sha256::of(quote);
    let parsed = Quote::parse(quote).ok();
    let evidence = match &parsed {
        Some(quote) => format!("TDX quote, version {}, {}", quote.version, quote.kind),
        None => "TDX quote that cannot be read".into(),
    };
    let said = parsed.map(|Quote { body, .. }| Said { report_data: body.report_data, configured: body.mrconfigid });
    let Section::Accepted(terms) = &policy.tdx else {
        let findings = refused(&rules, "TDX");
        return Found { said, rules, findings, evidence, sha256, matched: None, origin: None, chip: None };
    };
    let mut requirements = terms.requirements.clone();
    requirements.identity.report_data = request.report_data.clone();
    let parts = collateral.as_deref().map(Parts::parse);
    let collateral = parts.as_ref().and_then(|parts| parts.as_ref().ok()).map(Parts::collateral);
    let given = tdx::appraise::Evidence { quote, collateral };
    let found = tdx::appraise::appraise(&given, Root::Intel, &requirements, request.now);
    // The rules by which the quote leads to Intel's root.
    const LEADING: [&str; 5] = ["tdx.quote.", "tdx.collateral.", "tdx.signature.", "tdx.chain", "tdx.qe"];
    let leads = |found: &Finding| LEADING.iter().any(|rule| found.rule.id.starts_with(rule));
    let genuine = found.iter().filter(|found| leads(found)).all(Finding::permits);
    let origin = genuine.then_some(Origin::Hardware);
    let mut findings = vec![Finding::passed(KIND, "TDX", ""), hardware(origin, policy.simulated)];
    findings.push(match parts {
        Some(Ok(_)) => Finding::passed(COLLATERAL, "", ""),
        Some(Err(reason)) => Finding::failed(COLLATERAL, "", "", reason),
        None => Finding::missing(COLLATERAL, "", "", "it did not come with the evidence"),
    });
    findings.extend(found);
    Found { said, rules, findings, evidence, sha256, matched: None, origin, chip: None }
}

/// What there is to say of evidence that the policy does not want at all.
fn refused(rules: &[Rule], kind: &str) -> Vec<Finding> {
    let find = |rule: &Rule| match *rule {
        KIND => Finding::failed(KIND, kind, "", "the policy refuses evidence of this kind"),
        other => Finding::waits_for(other, KIND),
    };
    rules.iter().map(find).collect()
}

/// Simulated hardware gets past only where program and policy both know it, and the verdict then says so.
fn hardware(origin: Option<Origin>, simulated: Permit) -> Finding {
    let refused = |reason| Finding::failed(HARDWARE, "simulated", "hardware", reason);
    match (origin, simulated) {
        (None, _) => Finding::missing(HARDWARE, "", "hardware", "nobody vouches for the evidence"),
        (Some(Origin::Hardware), _) => Finding::passed(HARDWARE, "hardware", ""),
        (Some(Origin::Simulated), _) if cfg!(not(feature = "simulated-hardware")) => {
            refused("this program is not one that may know simulated hardware")
        }
        (Some(Origin::Simulated), Permit::Refused) => refused("the policy refuses simulated hardware"),
        (Some(Origin::Simulated), Permit::Accepted) => {
            Finding::not_asked(HARDWARE, "simulated", "the policy accepts simulated hardware")
        }
    }
}
