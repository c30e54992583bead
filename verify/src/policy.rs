//! The policy: what a client demands of evidence. One TOML file, in which every key is required, an unknown one is
//! refused, and "any" is a word that a reviewer can see. `policies/strict.toml` explains each key.

mod operator;
mod read;
mod release;
mod snp;
mod tdx;
#[cfg(test)]
mod tests;

pub use operator::{OperatorPolicy, Operators};
pub use read::{MAX_POLICY, PolicyError};
pub use release::{Ed25519Key, LogPolicy, Need, ReleasePolicy, Witnesses};
pub use snp::SnpPolicy;
pub use tdx::TdxPolicy;

use measure::Sha256;
use measure::snp::appraise::{BitDemand, Demand, Permit};
use read::{Value, document};

/// What is demanded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What it calls itself; shown in verdicts.
    pub name: String,
    /// SHA-256 of the file.
    pub sha256: Sha256,
    /// Whether evidence of simulated hardware is judged at all. Its verdict is never [`crate::verdict::Outcome::Accepted`].
    pub simulated: Permit,
    /// What is demanded of SEV-SNP reports.
    pub snp: Section<SnpPolicy>,
    /// What is demanded of TDX quotes.
    pub tdx: Section<TdxPolicy>,
    /// What is demanded of who runs the machine.
    pub operator: OperatorPolicy,
    /// What is demanded of the release, and of what a log says of it.
    pub release: OrAny<ReleasePolicy>,
}

/// A kind of evidence that is refused, or accepted on terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Section<T> {
    /// Refused.
    Refused,
    /// Accepted on these terms.
    Accepted(T),
}

/// Something that the policy asks for, or the word `any`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrAny<T> {
    /// Whatever it is.
    Any,
    /// This.
    Is(T),
}

impl<T> OrAny<T> {
    /// What is asked for, if anything.
    pub fn is(&self) -> Option<&T> {
        match self {
            Self::Any => None,
            Self::Is(asked) => Some(asked),
        }
    }
}

impl Policy {
    /// Parses a policy; `file` is what errors call it.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, PolicyError> {
        document(file, bytes, |top| {
            top.take("schema")?.number(1_u32, 1)?;
            Ok(Self {
                name: top.take("name")?.text(64)?,
                sha256: Sha256::of(bytes),
                simulated: permit(top.take("simulated")?)?,
                snp: section(top.take("snp")?, snp::read)?,
                tdx: section(top.take("tdx")?, tdx::read)?,
                operator: operator::read(top.take("operator")?)?,
                release: or_any(top.take("release")?, release::read)?,
            })
        })
    }
}

fn section<'a, T>(
    value: Value<'a>,
    read: impl FnOnce(Value<'a>) -> Result<T, PolicyError>,
) -> Result<Section<T>, PolicyError> {
    if value.is("refused") { Ok(Section::Refused) } else { read(value).map(Section::Accepted) }
}

/// The word `any`, or what `read` reads.
fn or_any<'a, T>(
    value: Value<'a>,
    read: impl FnOnce(Value<'a>) -> Result<T, PolicyError>,
) -> Result<OrAny<T>, PolicyError> {
    if value.is("any") { Ok(OrAny::Any) } else { read(value).map(OrAny::Is) }
}

/// The same of a report.
fn demand<'a, T>(
    value: Value<'a>,
    read: impl FnOnce(Value<'a>) -> Result<T, PolicyError>,
) -> Result<Demand<T>, PolicyError> {
    if value.is("any") { Ok(Demand::Any) } else { read(value).map(Demand::Is) }
}

/// As [`demand`], or the word `release`: the value is in the release statement, and missing as long as there is none.
fn demand_or_release<'a, T>(
    value: Value<'a>,
    read: impl FnOnce(Value<'a>) -> Result<T, PolicyError>,
) -> Result<Demand<T>, PolicyError> {
    if value.is("release") { Ok(Demand::Missing("a release".into())) } else { demand(value, read) }
}

fn permit(value: Value<'_>) -> Result<Permit, PolicyError> {
    value.word(&[("refused", Permit::Refused), ("accepted", Permit::Accepted)])
}

fn bit(value: Value<'_>) -> Result<BitDemand, PolicyError> {
    value.word(&[("required", BitDemand::Require), ("forbidden", BitDemand::Forbid), ("any", BitDemand::Any)])
}
