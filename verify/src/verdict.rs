//! The verdict: every rule with its answer, and what follows from all of them.

use measure::Sha256;
use measure::appraise::{Finding, Outcome as Answer, Rule, Time};
use measure::snp::chain::Origin;
use serde::ser::{Serialize, SerializeStruct as _, Serializer};
use std::fmt;

/// Version of the JSON form.
const SCHEMA: u32 = 1;

/// What follows from all findings together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing failed, and nothing that the policy asks for was left unchecked.
    Accepted,
    /// Something failed, or something that is needed could not be checked.
    Rejected,
    /// As [`Outcome::Accepted`], but signed under the simulated root: it proves nothing about hardware.
    Simulated,
}

/// What a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What the evidence is, in words, such as `SEV-SNP report version 5, Turin`.
    pub evidence: String,
    /// SHA-256 of the received report or quote.
    pub evidence_sha256: Sha256,
    /// What the measurement matched: the name that the policy gives it, or the release's shape; `None` if nothing.
    pub matched: Option<String>,
    /// The policy's name.
    pub policy: String,
    /// SHA-256 of the policy file.
    pub policy_sha256: Sha256,
    /// The time at which everything was judged. It came from the caller.
    pub as_of: Time,
}

/// A verdict on evidence. It can only be made from the whole list of rules, each with exactly one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    outcome: Outcome,
    subject: Subject,
    findings: Vec<Finding>,
}

impl Verdict {
    /// The verdict that follows from `findings`, which are put in the order of `rules`. A rule without a finding, or
    /// with two, was not performed and is needed; so is a rule that is not in the list. `origin` is whose root vouches
    /// for the evidence, if any does.
    pub(crate) fn new(rules: &[Rule], mut findings: Vec<Finding>, subject: Subject, origin: Option<Origin>) -> Self {
        let mut ordered = Vec::with_capacity(rules.len());
        for rule in rules {
            let (mut of_rule, others): (Vec<_>, Vec<_>) = findings.into_iter().partition(|found| found.rule == *rule);
            findings = others;
            ordered.push(match (of_rule.pop(), of_rule.is_empty()) {
                (Some(finding), true) => finding,
                (None, _) => undecided(*rule, "nothing looked at it: a fault in the verifier"),
                (Some(_), false) => undecided(*rule, "it was answered more than once: a fault in the verifier"),
            });
        }
        let unlisted =
            |found: Finding| undecided(found.rule, "it is not in the list of rules: a fault in the verifier");
        ordered.extend(findings.into_iter().map(unlisted));
        let outcome = match origin {
            Some(Origin::Hardware) if ordered.iter().all(Finding::permits) => Outcome::Accepted,
            Some(Origin::Simulated) if ordered.iter().all(Finding::permits) => Outcome::Simulated,
            _ => Outcome::Rejected,
        };
        Self { outcome, subject, findings: ordered }
    }

    /// What follows from all findings.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// What the verdict is about.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// One finding for each rule, in the rules' order.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

/// Not performed although it is needed.
pub(crate) fn undecided(rule: Rule, reason: &str) -> Finding {
    let outcome = Answer::NotPerformed { needed: true };
    Finding { rule, outcome, observed: String::new(), required: String::new(), reason: reason.into() }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Simulated => "simulated",
        })
    }
}

/// The answer as a person reads it: what was not needed is told apart from what is missing.
fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Passed => "passed",
        Answer::Failed => "FAILED",
        Answer::NotPerformed { needed: true } => "NOT PERFORMED",
        Answer::NotPerformed { needed: false } => "not asked for",
    }
}

/// For people: what was judged, then every rule, those that stand in the way first.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { evidence, evidence_sha256, matched, policy, policy_sha256, as_of } = &self.subject;
        writeln!(f, "{}, as of {as_of}", self.outcome)?;
        writeln!(f, "  evidence  {evidence} (sha256 {evidence_sha256:#})")?;
        writeln!(f, "  matched   {}", matched.as_deref().unwrap_or("nothing"))?;
        writeln!(f, "  policy    {policy} (sha256 {policy_sha256:#})")?;
        writeln!(f)?;
        let width = self.findings.iter().map(|found| found.rule.id.len()).max().unwrap_or(0);
        let (permitting, blocking): (Vec<&Finding>, _) = self.findings.iter().partition(|found| found.permits());
        for found in blocking.into_iter().chain(permitting) {
            write!(f, "  {:<13}  {:<width$}  {}", word(found.outcome), found.rule.id, found.rule.holds)?;
            for (label, text) in [("found", &found.observed), ("required", &found.required)] {
                if !text.is_empty() {
                    write!(f, "; {label} {text}")?;
                }
            }
            if !found.reason.is_empty() {
                write!(f, ": {}", found.reason)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The JSON form: `docs/formats.md`, Verdict.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Verdict", 9)?;
        out.serialize_field("schema", &SCHEMA)?;
        out.serialize_field("outcome", &self.outcome.to_string())?;
        out.serialize_field("evidence", &self.subject.evidence)?;
        out.serialize_field("evidence_sha256", &self.subject.evidence_sha256)?;
        out.serialize_field("matched", &self.subject.matched)?;
        out.serialize_field("policy", &self.subject.policy)?;
        out.serialize_field("policy_sha256", &self.subject.policy_sha256)?;
        out.serialize_field("as_of", &self.subject.as_of.0)?;
        let rules: Vec<_> = self.findings.iter().map(JsonFinding::from).collect();
        out.serialize_field("rules", &rules)?;
        out.end()
    }
}

#[derive(serde::Serialize)]
struct JsonFinding<'a> {
    id: &'a str,
    outcome: String,
    needed: bool,
    observed: &'a str,
    required: &'a str,
    reason: &'a str,
}

impl<'a> From<&'a Finding> for JsonFinding<'a> {
    fn from(found: &'a Finding) -> Self {
        Self {
            id: found.rule.id,
            outcome: found.outcome.to_string(),
            needed: found.outcome != Answer::NotPerformed { needed: false },
            observed: &found.observed,
            required: &found.required,
            reason: &found.reason,
        }
    }
}
