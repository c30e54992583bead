//! The verdict: every rule with its answer, and what follows from all of them.

use crate::memory::Memory;
use log_client::statement::TokenAccess;
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
    /// What the release says its host sees of tokens; `None` if there is no release that can be read.
    pub token_access: Option<TokenAccess>,
    /// What the operator document says, in words, if the hardware vouches for it.
    pub operator: Option<String>,
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
    memory: Option<Memory>,
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
        Self { outcome, subject, findings: ordered, memory: None }
    }

    /// The verdict, with what there is to remember of a log if it is positive.
    pub(crate) fn with_memory(self, memory: Option<Memory>) -> Self {
        Self { memory: memory.filter(|_| self.outcome != Outcome::Rejected), ..self }
    }

    /// What a client that acts on this verdict remembers of the log from now on; nothing of evidence that was rejected.
    pub fn memory(&self) -> Option<&Memory> {
        self.memory.as_ref()
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

fn undecided(rule: Rule, reason: &str) -> Finding {
    Finding::missing(rule, "", "", reason)
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

/// What evidence says must not look like the verdict's own: no new lines, no terminal's escape sequences, no other
/// direction of writing.
fn one_line(text: &str) -> String {
    let hidden =
        |char| matches!(char, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|char| if char.is_control() || hidden(char) { '�' } else { char }).collect()
}

/// What the host sees of tokens, by the release's word.
fn seen(access: Option<TokenAccess>) -> &'static str {
    match access {
        Some(TokenAccess::Indexed) => {
            "the host can trace which ones are used: tables are read at places that depend on them"
        }
        Some(TokenAccess::Oblivious) => "no place that is read depends on one",
        None => "no release says what the host sees of them",
    }
}

/// Longest value of a passed rule that people are shown, in characters. The JSON form has all of it.
const SHOWN: usize = 64;

/// For people: what was judged, then every rule, those that stand in the way first and in full.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subject { evidence, evidence_sha256, matched, token_access, operator, policy, policy_sha256, as_of } =
            &self.subject;
        let (permitting, blocking): (Vec<&Finding>, Vec<_>) = self.findings.iter().partition(|found| found.permits());
        let failed = blocking.iter().filter(|found| found.outcome == Answer::Failed).count();
        let missing = blocking.len().saturating_sub(failed);
        writeln!(f, "{} as of {as_of}", self.outcome.to_string().to_uppercase())?;
        writeln!(f, "  evidence  {} (sha256 {evidence_sha256:#})", one_line(evidence))?;
        writeln!(f, "  matched   {}", one_line(matched.as_deref().unwrap_or("nothing that has a name")))?;
        writeln!(f, "  tokens    {}", seen(*token_access))?;
        writeln!(f, "  operator  {}", one_line(operator.as_deref().unwrap_or("nobody says who")))?;
        writeln!(f, "  policy    {} (sha256 {policy_sha256:#})", one_line(policy))?;
        writeln!(
            f,
            "  rules     {failed} failed, {missing} needed but not performed, {} in order\n",
            permitting.len()
        )?;
        for found in blocking {
            writeln!(f, "  {:<13}  {}", word(found.outcome), found.rule.id)?;
            let details = [
                ("must hold", found.rule.holds),
                ("found", &found.observed),
                ("required", &found.required),
                ("because", &found.reason),
            ];
            for (label, text) in details.iter().filter(|(_, text)| !text.is_empty()) {
                writeln!(f, "      {label:<9}  {}", one_line(text))?;
            }
        }
        let width = permitting.iter().map(|found| found.rule.id.len()).max().unwrap_or(0);
        for found in permitting {
            write!(f, "  {:<13}  {:<width$}  {}", word(found.outcome), found.rule.id, found.rule.holds)?;
            if !found.observed.is_empty() {
                let shown: String = found.observed.chars().take(SHOWN).collect();
                write!(f, ": {}{}", one_line(&shown), if shown == found.observed { "" } else { "…" })?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// The JSON form: `docs/formats.md`, Verdict.
impl Serialize for Verdict {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Verdict", 11)?;
        out.serialize_field("schema", &SCHEMA)?;
        out.serialize_field("outcome", &self.outcome.to_string())?;
        out.serialize_field("evidence", &self.subject.evidence)?;
        out.serialize_field("evidence_sha256", &self.subject.evidence_sha256)?;
        out.serialize_field("matched", &self.subject.matched)?;
        out.serialize_field("token_access", &self.subject.token_access)?;
        out.serialize_field("operator", &self.subject.operator)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 3] = [
        Rule { id: "a.first", holds: "the first holds" },
        Rule { id: "a.second-one", holds: "the second holds" },
        Rule { id: "b", holds: "the third holds" },
    ];
    const NOT_NEEDED: Answer = Answer::NotPerformed { needed: false };
    const NEEDED: Answer = Answer::NotPerformed { needed: true };

    fn finding(rule: Rule, outcome: Answer) -> Finding {
        let reason = if outcome == Answer::Passed { String::new() } else { "a reason".into() };
        Finding { rule, outcome, observed: "x".repeat(70), required: "y".into(), reason }
    }

    fn verdict(findings: &[(Rule, Answer)], origin: Option<Origin>) -> Verdict {
        let subject = Subject {
            evidence: "a report".into(),
            evidence_sha256: Sha256::of(b"report"),
            matched: Some("a shape".into()),
            token_access: Some(TokenAccess::Indexed),
            operator: Some("Example Hosting (IS)".into()),
            policy: "p".into(),
            policy_sha256: Sha256::of(b"policy"),
            as_of: Time(1_780_272_000),
        };
        Verdict::new(&RULES, findings.iter().map(|(rule, answer)| finding(*rule, *answer)).collect(), subject, origin)
    }

    #[test]
    fn only_a_whole_list_that_permits_is_accepted() {
        let [first, second, third] = RULES;
        let stranger = Rule { id: "c", holds: "" };
        let good = [(third, Answer::Passed), (first, Answer::Passed), (second, NOT_NEEDED)];
        let with = |more: (Rule, Answer)| [good.as_slice(), &[more]].concat();
        let but = |answer| [good.get(..2).unwrap(), &[(second, answer)]].concat();
        let hardware = Some(Origin::Hardware);
        for (findings, origin, outcome) in [
            (good.to_vec(), hardware, Outcome::Accepted),
            (good.to_vec(), Some(Origin::Simulated), Outcome::Simulated),
            (good.to_vec(), None, Outcome::Rejected),
            (good.get(..2).unwrap().to_vec(), hardware, Outcome::Rejected),
            (vec![], hardware, Outcome::Rejected),
            (but(Answer::Failed), hardware, Outcome::Rejected),
            (but(NEEDED), hardware, Outcome::Rejected),
            (but(NEEDED), Some(Origin::Simulated), Outcome::Rejected),
            (with((first, Answer::Passed)), hardware, Outcome::Rejected),
            (with((stranger, Answer::Passed)), hardware, Outcome::Rejected),
        ] {
            let verdict = verdict(&findings, origin);
            assert_eq!(verdict.outcome(), outcome, "{findings:?} {origin:?}");
            let ids: Vec<_> = verdict.findings().iter().map(|found| found.rule.id).take(3).collect();
            assert_eq!(ids, RULES.map(|rule| rule.id));
        }
    }

    const TEXT: &str = "\
REJECTED as of 2026-06-01T00:00:00Z
  evidence  a report (sha256 845e9183…)
  matched   a shape
  tokens    the host can trace which ones are used: tables are read at places that depend on them
  operator  Example Hosting (IS)
  policy    p (sha256 823412d1…)
  rules     1 failed, 0 needed but not performed, 2 in order

  FAILED         b
      must hold  the third holds
      found      xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
      required   y
      because    a reason
  passed         a.first       the first holds: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
  not asked for  a.second-one  the second holds: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
";
    const JSON: &str = r#"{
  "schema": 1,
  "outcome": "rejected",
  "evidence": "a report",
  "evidence_sha256": "845e91831319e89c4d656bdb80c278ac09a7230d61e5dfd2e1b1fbb436ac8917",
  "matched": "a shape",
  "token_access": "indexed",
  "operator": "Example Hosting (IS)",
  "policy": "p",
  "policy_sha256": "823412d1eacb67956220e532959f0104603057c88704863ca38e7cd188fda812",
  "as_of": 1780272000,
  "rules": [
    {
      "id": "a.first",
      "outcome": "passed",
      "needed": true,
      "observed": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "required": "y",
      "reason": ""
    },
    {
      "id": "a.second-one",
      "outcome": "not performed",
      "needed": false,
      "observed": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "required": "y",
      "reason": "a reason"
    },
    {
      "id": "b",
      "outcome": "failed",
      "needed": true,
      "observed": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "required": "y",
      "reason": "a reason"
    }
  ]
}"#;

    #[test]
    fn for_people_and_for_programs() {
        let [first, second, third] = RULES;
        let verdict = verdict(&[(third, Answer::Failed), (first, Answer::Passed), (second, NOT_NEEDED)], None);
        assert_eq!(verdict.to_string(), TEXT);
        assert_eq!(serde_json::to_string_pretty(&verdict).unwrap(), JSON);
    }

    #[test]
    fn evidence_cannot_add_lines_to_its_verdict() {
        let mut verdict = verdict(&RULES.map(|rule| (rule, Answer::Failed)), None);
        let lines = verdict.to_string().lines().count();
        let forged = "\n  passed         a.first  \r\u{1b}[2K\u{2028}\u{202e}\u{200f}\u{61c}";
        verdict.subject.evidence += forged;
        verdict.subject.matched = Some(forged.into());
        verdict.subject.operator = Some(forged.into());
        for found in &mut verdict.findings {
            found.observed = forged.into();
            found.reason = forged.into();
        }
        assert_eq!(verdict.to_string().lines().count(), lines);
        assert!(!verdict.to_string().contains(['\r', '\u{1b}', '\u{2028}', '\u{202e}', '\u{200f}', '\u{61c}']));
    }
}
