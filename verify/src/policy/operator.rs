//! `[operator]`: what is demanded of who runs the machine.

use super::read::{PolicyError, Value};
use super::{OrAny, or_any};
use channel::operator::{Country, MAX_WORDS, SESSIONS, WORKERS, Words};
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// What is demanded of the operator document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OperatorPolicy {
    /// There must be none.
    Refused,
    /// Whether there is one, and what it says, does not matter.
    Any,
    /// There must be one that the hardware vouches for, and it says this.
    Is(Operators),
}

/// Which operators are accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operators {
    /// By name.
    pub names: OrAny<BTreeSet<Words>>,
    /// By country.
    pub countries: OrAny<BTreeSet<Country>>,
    /// By contact.
    pub contacts: OrAny<BTreeSet<Words>>,
    /// Most sessions at the same time.
    pub most_sessions: OrAny<u32>,
    /// Most requests that are worked on at the same time.
    pub most_workers: OrAny<u32>,
}

pub(super) fn read(value: Value<'_>) -> Result<OperatorPolicy, PolicyError> {
    if value.is("refused") {
        return Ok(OperatorPolicy::Refused);
    }
    if value.is("any") {
        return Ok(OperatorPolicy::Any);
    }
    value.table(|operator| {
        Ok(OperatorPolicy::Is(Operators {
            names: list(operator.take("names")?, "a name as in an operator document")?,
            countries: list(operator.take("countries")?, "a country")?,
            contacts: list(operator.take("contacts")?, "a contact as in an operator document")?,
            most_sessions: most(operator.take("most-sessions")?, &SESSIONS)?,
            most_workers: most(operator.take("most-workers")?, &WORKERS)?,
        }))
    })
}

/// A list of what a document could say, or `any`.
fn list<T: Ord + FromStr<Err: fmt::Display>>(
    value: Value<'_>,
    expected: &str,
) -> Result<OrAny<BTreeSet<T>>, PolicyError> {
    or_any(value, |value| value.list(|value| value.parsed(MAX_WORDS, expected, str::parse)))
}

fn most(value: Value<'_>, range: &RangeInclusive<u32>) -> Result<OrAny<u32>, PolicyError> {
    or_any(value, |value| value.number(*range.start(), *range.end()))
}
