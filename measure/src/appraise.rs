//! What rules say of evidence, whatever the evidence is.
//!
//! A verdict is a list of findings, one per rule, in a fixed order: nothing is left out because an earlier rule failed.
//! A rule that could not be decided says so; it never passes by default.

mod time;

pub use time::ParseTimeError;

use std::fmt;

/// One question asked of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// A stable name: lower-case words joined by `-`, in groups joined by `.`, such as `snp.policy.debug`.
    pub id: &'static str,
    /// What holds when it passes, as one short clause.
    pub holds: &'static str,
}

/// The answer to a [`Rule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not hold, or the evidence for it is not what it must be.
    Failed,
    /// Nobody looked.
    NotPerformed {
        /// Whether the verdict depends on it: if so, it stands in the way like a failure. It is false only where the
        /// policy says in so many words that any value will do, or the rule has no meaning for this evidence.
        needed: bool,
    },
}

/// What a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// Its answer.
    pub outcome: Outcome,
    /// What the evidence says, in words or hexadecimal; empty if it could not be read.
    pub observed: String,
    /// What was asked for; empty where the rule itself says it.
    pub required: String,
    /// Why it failed or was not performed; empty when it passed.
    pub reason: String,
}

impl Finding {
    /// It holds of what was observed.
    pub fn passed(rule: Rule, observed: impl Into<String>, required: impl Into<String>) -> Self {
        Self::new(rule, Outcome::Passed, observed.into(), required.into(), String::new())
    }

    /// It does not hold, for this reason.
    pub fn failed(
        rule: Rule,
        observed: impl Into<String>,
        required: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::new(rule, Outcome::Failed, observed.into(), required.into(), reason.into())
    }

    /// Passed if it holds; else failed, for this reason.
    pub fn of(
        rule: Rule,
        holds: bool,
        observed: impl Into<String>,
        required: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        if holds { Self::passed(rule, observed, required) } else { Self::failed(rule, observed, required, reason) }
    }

    /// It cannot be decided before `first` passes.
    pub fn waits_for(rule: Rule, first: Rule) -> Self {
        let reason = format!("undecided until {} passes", first.id);
        Self::new(rule, Outcome::NotPerformed { needed: true }, String::new(), String::new(), reason)
    }

    /// Nobody asked, or it has no meaning for this evidence: the reason says which.
    pub fn not_asked(rule: Rule, observed: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(rule, Outcome::NotPerformed { needed: false }, observed.into(), String::new(), reason.into())
    }

    /// It is asked for, and what it takes to decide is not there: the reason says what.
    pub fn missing(
        rule: Rule,
        observed: impl Into<String>,
        required: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        let outcome = Outcome::NotPerformed { needed: true };
        Self::new(rule, outcome, observed.into(), required.into(), reason.into())
    }

    fn new(rule: Rule, outcome: Outcome, observed: String, required: String, reason: String) -> Self {
        Self { rule, outcome, observed, required, reason }
    }

    /// Whether this finding lets a verdict be positive.
    pub fn permits(&self) -> bool {
        matches!(self.outcome, Outcome::Passed | Outcome::NotPerformed { needed: false })
    }
}

/// What is asked of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Demand<T> {
    /// Whatever it is: the rule is not performed, and not needed.
    Any,
    /// This value; of values that are not compared for equality, what the field says.
    Is(T),
    /// Something particular, but what would say what is missing: the rule is not performed, and needed. The text names
    /// what is missing, such as `the bundle has no release`.
    Missing(String),
}

impl<T> Demand<T> {
    /// What this makes of what was observed; `judge` compares it with what is asked for.
    pub fn finding(
        &self,
        rule: Rule,
        observed: impl Into<String>,
        judge: impl FnOnce(&T, String) -> Finding,
    ) -> Finding {
        match self {
            Self::Any => Finding::not_asked(rule, observed, "any value is accepted"),
            Self::Missing(what) => Finding::missing(rule, observed, "", what.as_str()),
            Self::Is(wanted) => judge(wanted, observed.into()),
        }
    }
}

/// The members of a set if they are few, else how many.
pub(crate) fn one_of<I: IntoIterator<Item: ToString, IntoIter: ExactSizeIterator>>(members: I) -> String {
    let members = members.into_iter();
    match members.len() {
        0 => "none".to_owned(),
        1..=4 => members.map(|member| member.to_string()).collect::<Vec<_>>().join(" or "),
        many => format!("one of {many}"),
    }
}

/// Whether something that weakens the evidence is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// It is refused.
    Refused,
    /// It is accepted.
    Accepted,
}

/// Whole seconds since 1970, UTC. Always the caller's: nothing here reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::NotPerformed { .. } => "not performed",
        })
    }
}
