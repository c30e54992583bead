//! A verdict in a few words.

use super::{Session, Target};
use log_client::dsse::Envelope;
use log_client::statement::{Predicate, Release, Statement, TokenAccess};
use measure::appraise::{Finding, Outcome};
use verify::{Verdict, verdict};

impl Session {
    /// Whom this session is with, in a few lines.
    pub(crate) fn summary(&self) -> String {
        let verdict = self.verdict();
        let observed = |rule: &str| {
            let found = verdict.findings().iter().find(|found| found.rule.id == rule && found.permits());
            found.map(|found| found.observed.as_str()).filter(|observed| !observed.is_empty())
        };
        let or = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.to_owned());
        let subject = verdict.subject();
        let tcb = observed("snp.tcb.reported").map(|tcb| format!("; {tcb}"));
        let release = release(&self.bundle().feed.release);
        let since = observed("log.minimum-age").map(|since| format!("; in it since {since}"));
        let log = observed("log.witnesses").map(|log| format!("{log}{}", since.unwrap_or_default()));
        let tokens = match subject.token_access {
            Some(TokenAccess::Indexed) => "indexed: the host may see which are used",
            Some(TokenAccess::Oblivious) => "oblivious: the host does not see which are used",
            None => "nobody says whether the host sees which are used",
        };
        let version = release.map(|release| format!("{}, commit {}", release.version, release.commit));
        let lines = [
            ("hardware", format!("{}{}", subject.evidence, tcb.unwrap_or_default())),
            ("release", or(version, "none: nobody says who made it")),
            ("log", or(log, "none was asked for")),
            ("operator", or(subject.operator.clone(), "nobody says who")),
            ("tokens", tokens.to_owned()),
            ("policy", format!("{} (sha256 {:#})", subject.policy, subject.policy_sha256)),
        ];
        let outcome = verdict.outcome().to_string().to_uppercase();
        let lines = lines.map(|(label, text)| format!("\n  {label:<9} {}", text.replace('\n', " ")));
        format!("{outcome} as of {}{}", subject.as_of, lines.concat())
    }
}

/// What the bundle's release says; a verdict was given on it.
fn release(envelope: &Option<Vec<u8>>) -> Option<Box<Release>> {
    let envelope = Envelope::parse(envelope.as_deref()?).ok()?;
    match Statement::parse(envelope.unverified_payload()).ok()?.predicate {
        Predicate::Release(release) => Some(release),
        _ => None,
    }
}

impl Target {
    /// Why there is no session, in one line.
    pub(crate) fn reason(&self, verdict: &Verdict) -> String {
        let blocking: Vec<_> = verdict.findings().iter().filter(|found| !found.permits()).collect();
        let failed = blocking.iter().find(|found| found.outcome == Outcome::Failed).or(blocking.first());
        let why = match failed {
            _ if verdict.outcome() == verdict::Outcome::Simulated => {
                "the hardware is a program: everybody can read along".to_owned()
            }
            None => "nobody vouches for the hardware".to_owned(),
            Some(Finding { rule, observed, required, reason, .. }) => {
                let of = |label, text: &str| if text.is_empty() { String::new() } else { format!("; {label}{text}") };
                let (found, required) = (of("found ", observed), of("required: ", required));
                let more = match blocking.len() - 1 {
                    0 => String::new(),
                    more => format!(" (and {more} more)"),
                };
                format!("it must hold that {}{}{found}{required} [{}]{more}", rule.holds, of("", reason), rule.id)
            }
        };
        let hint = match self.policy_is_ours {
            true => {
                "; the policy in this program names no log and nobody's keys, and so accepts nobody: `vitrine policy \
                 > policy.toml`, fill in whom you believe, and give it with --policy"
            }
            false => "",
        };
        format!("refused, and nothing was sent: {why}{hint}")
    }
}
