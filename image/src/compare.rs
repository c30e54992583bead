//! What differs between two finished builds: where, what kind of difference it is, where the bytes are from, and why they
//! most likely differ.
//!
//! [`compare`] reads the files of both and believes neither's digests. What it takes from the builds' own records
//! (`stages.json`, `provenance.json`, `sbom.cdx.json`) only explains a difference, and never hides one.

mod artifacts;
mod build;
mod bytes;
pub mod committed;
mod explain;
mod image;
pub mod inputs;
mod measurements;
pub mod render;

pub use build::Build;
pub use measurements::{Digests, Moved, Through};

use crate::contents::provenance::Rule;
use crate::pipeline::stage::Stage;
use measure::Sha256;
use serde::Serialize;
use std::fmt;

/// What differs between two builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// What went in that is not the same.
    pub inputs: Vec<inputs::Change>,
    /// What came out that is not the same: the first is the first of the first stage that differs, and what only follows
    /// from others of its stage comes after them.
    pub differences: Vec<Difference>,
    /// The measurements that are not the same.
    pub measurements: Vec<Moved>,
    /// What a build says of itself and its files do not ([`Build::doubts`]); empty unless somebody looked.
    pub doubts: Vec<String>,
}

/// One thing that is not the same in both builds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The first stage whose output has it, as far as both builds tell.
    pub stage: Stage,
    /// The file of `dist/`, or the name of a stage whose output is not in `dist/`.
    pub artifact: String,
    /// The path inside the artifact, or the name of one of its parts. A stranger's text in printable ASCII.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// What is different about it.
    pub kind: Kind,
    /// Equal bytes before the first that differs, in the path if there is one and else in the artifact.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// What the old build has; `None` if it has nothing there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What the new build has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// Where it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// Why it most likely differs.
    pub cause: Cause,
}

/// What is different.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Only the new build has it.
    Added,
    /// Only the old build has it.
    Removed,
    /// It is a file in one and a link, say, in the other.
    Type,
    /// The content.
    Bytes,
    /// One content is the beginning of the other.
    Size,
    /// Where a link leads.
    Target,
    /// The permission bits.
    Mode,
    /// The owner and the group.
    Owner,
    /// The time.
    Time,
    /// Where it stands among the others.
    Order,
    /// What names it: a GUID or a salt.
    Identity,
    /// A token of a command line.
    Token,
    /// A stage's output, of which only the digest is at hand.
    Output,
}

impl Kind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Removed => "removed",
            Self::Type => "type",
            Self::Bytes => "bytes",
            Self::Size => "size",
            Self::Target => "target",
            Self::Mode => "mode",
            Self::Owner => "owner",
            Self::Time => "time",
            Self::Order => "order",
            Self::Identity => "identity",
            Self::Token => "token",
            Self::Output => "output",
        }
    }
}

/// What stands somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Value {
    /// Content, by its digest.
    Sha256(Sha256),
    /// Four octal digits.
    Mode(String),
    /// `user:group`, numeric.
    Owner(String),
    /// Seconds since 1970.
    Time(u64),
    /// Bytes.
    Size(u64),
    /// Anything else, in printable ASCII.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => write!(f, "sha256:{digest}"),
            Self::Time(seconds) => write!(f, "{seconds}"),
            Self::Size(bytes) => write!(f, "{bytes} bytes"),
            Self::Mode(text) | Self::Owner(text) | Self::Text(text) => f.write_str(text),
        }
    }
}

/// Where something in an image is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "class", rename_all = "lowercase")]
pub enum Provenance {
    /// A locked Debian package.
    Package {
        /// Its name.
        package: String,
        /// Its version in the old build.
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<String>,
        /// Its version in the new build.
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<String>,
        /// The source package it is built from, if the bill of materials has it.
        #[serde(skip_serializing_if = "Option::is_none")]
        source: Option<String>,
    },
    /// A file of the repository.
    File {
        /// Its path there.
        file: String,
    },
    /// Compiled by the locked toolchain from a crate of the repository.
    Built {
        /// The crate.
        #[serde(rename = "crate")]
        name: String,
    },
    /// Derived by a rule of ours.
    Generated {
        /// The rule.
        rule: Rule,
    },
    /// As a tool left it, by a listed exception.
    Allowed {
        /// The exception's reason.
        reason: String,
    },
    /// Another locked file.
    Fetched {
        /// Its name in the lock.
        name: String,
    },
}

/// Why something differs. Only the first two are explanations, which were checked; the others are guesses at what made
/// equal inputs give different bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "class", rename_all = "kebab-case")]
pub enum Cause {
    /// These inputs of it differ too.
    Input {
        /// Their names, as in [`inputs::Change`].
        inputs: Vec<String>,
    },
    /// It is computed from something that differs and is listed on its own.
    Follows {
        /// What.
        from: String,
    },
    /// It looks like the time of the build.
    Timestamp,
    /// It looks like a path of the machine that built it.
    EmbeddedPath,
    /// The same parts stand in another order.
    Order,
    /// Nothing tells.
    Unexplained,
}

impl Cause {
    /// Whether an input or another difference accounts for it.
    pub fn explains(&self) -> bool {
        matches!(self, Self::Input { .. } | Self::Follows { .. })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input { inputs } => write!(f, "different input: {}", inputs.join(", ")),
            Self::Follows { from } => write!(f, "follows from {from}"),
            Self::Timestamp => f.write_str("probably a timestamp"),
            Self::EmbeddedPath => f.write_str("probably an embedded path"),
            Self::Order => f.write_str("another order"),
            Self::Unexplained => f.write_str("unexplained"),
        }
    }
}

impl Comparison {
    /// The first difference that does not only follow from another, else the first.
    pub fn first(&self) -> Option<&Difference> {
        let own = |difference: &&Difference| !matches!(difference.cause, Cause::Follows { .. });
        self.differences.iter().find(own).or_else(|| self.differences.first())
    }

    /// What changed though no input of it did.
    pub fn unexplained(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| !difference.cause.explains())
    }
}

/// Compares every file of two builds, and what the stages left in the caches that the builds were opened with.
///
/// # Errors
/// When a file cannot be read or understood; that they differ is no error.
pub fn compare(old: &Build, new: &Build) -> anyhow::Result<Comparison> {
    let inputs = inputs::of_builds(old, new)?;
    let found = artifacts::all(old, new)?;
    let differences = explain::explain(old, new, found);
    let measurements = measurements::moved(old, new, &differences)?;
    let mut comparison = Comparison { inputs, differences, measurements, doubts: Vec::new() };
    inputs::add_tokens(&mut comparison);
    Ok(comparison)
}
