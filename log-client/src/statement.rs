//! What is signed and logged: in-toto Statements (v1), one predicate type for each kind of entry ("Statements" in
//! `docs/formats.md`).
//!
//! A payload is compact JSON of printable ASCII without `\`, with its members in the order declared here. There is one
//! text per statement and a reader refuses any other, so whoever looks at a payload by other means sees the same.

mod events;
mod number;
mod release;
mod version;

pub use events::{
    FleetPredicate, InForce, KeyAdd, KeyRevoke, MAX_KEYS, MAX_VALIDITY, MAX_VARIATIONS, Rebuild, RebuildHost, Rebuilt,
    Role, Status, TcbMinimum,
};
pub use number::MAX_INTEGER;
pub use release::{LaunchPolicy, Release, TokenAccess, shape_name};
pub use version::{ParseVersionError, Version};

use crate::dsse::{MAX_ENVELOPE, first_difference};
use events::RELEASE;
use measure::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Most subjects of a statement.
pub const MAX_SUBJECTS: usize = 32;
/// Longest name of a subject and other short text, in bytes.
pub const MAX_TEXT: usize = 128;

/// A statement about some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is about, sorted by name. What they are is up to the predicate.
    pub subjects: Vec<Subject>,
    /// What it says.
    pub predicate: Predicate,
}

/// Bytes with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// The name, 1 to [`MAX_TEXT`] characters of `0-9A-Za-z._/+-`.
    pub name: String,
    /// Their digest.
    pub digest: SubjectDigest,
}

/// The digest of a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubjectDigest {
    /// SHA-256 of the bytes.
    pub sha256: Sha256,
}

/// What a statement says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Predicate {
    /// An image that may be trusted. Subjects: the files of `dist/`.
    Release(Box<Release>),
    /// What holds for now. Subjects: the live releases' envelopes, `release/VERSION`, and the roster, `fleet`.
    Status(Status),
    /// A key counts from here on. Subject: the key's name and key id.
    KeyAdd(KeyAdd),
    /// A key does not count any more. Subject: as when it was added.
    KeyRevoke(KeyRevoke),
    /// The chips of the fleet. Subject: the roster, `fleet`.
    Fleet(FleetPredicate),
    /// Somebody built a release again. Subjects: what came out.
    Rebuild(Rebuild),
}

/// Why bytes are no statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// Too long for any envelope.
    #[error("expected a statement of less than {MAX_ENVELOPE} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// A byte that no statement has.
    #[error("expected printable ASCII without a backslash, found byte {found:#04x} at {at}")]
    Character {
        /// The byte found.
        found: u8,
        /// Its position, from 0.
        at: usize,
    },
    /// Not JSON, or not what is expected there.
    #[error("expected {expected}")]
    Json {
        /// The statement, or its predicate.
        expected: &'static str,
        /// What serde says, with the position.
        source: serde_json::Error,
    },
    /// Another kind of statement.
    #[error("expected {field} {expected}, found {found:?}")]
    Type {
        /// `_type` or `predicateType`.
        field: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// The same statement would be written otherwise.
    #[error("expected the statement's one form, which differs from byte {at} on")]
    Form {
        /// The first byte that differs, from 0.
        at: usize,
    },
    /// A member's value is out of its range, or contradicts another member.
    #[error("{field}: expected {expected}, found {found}")]
    Value {
        /// The member.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<'a> {
    _type: String,
    subject: Vec<Subject>,
    #[serde(rename = "predicateType")]
    predicate_type: String,
    #[serde(borrow)]
    predicate: &'a RawValue,
}

#[derive(Serialize)]
struct Written<'a, P> {
    _type: &'static str,
    subject: &'a [Subject],
    #[serde(rename = "predicateType")]
    predicate_type: &'static str,
    predicate: &'a P,
}

/// Everything that depends on the kind of a statement, once.
macro_rules! kinds {
    ($($variant:ident $predicate_type:literal)*) => {
        /// The predicate types there are.
        const PREDICATE_TYPES: &str = concat!("one of ", $($predicate_type, " ",)*);

        impl Predicate {
            /// `predicateType` of this kind of statement.
            pub fn predicate_type(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $predicate_type,)*
                }
            }

            fn parse(predicate_type: String, json: &str) -> Result<Self, StatementError> {
                let failed = |source| StatementError::Json { expected: "a predicate of its type", source };
                match predicate_type.as_str() {
                    $($predicate_type => serde_json::from_str(json).map(Self::$variant).map_err(failed),)*
                    _ => {
                        let (field, expected) = ("predicateType", PREDICATE_TYPES);
                        Err(StatementError::Type { field, expected, found: predicate_type })
                    }
                }
            }

            fn check(&self, subjects: &[Subject]) -> Result<(), StatementError> {
                match self {
                    $(Self::$variant(predicate) => predicate.check(subjects),)*
                }
            }
        }

        impl Statement {
            /// The statement's text.
            pub fn to_bytes(&self) -> Vec<u8> {
                match &self.predicate {
                    $(Predicate::$variant(predicate) => serde_json::to_vec(&Written {
                        _type: STATEMENT_TYPE,
                        subject: &self.subjects,
                        predicate_type: $predicate_type,
                        predicate,
                    }),)*
                }
                .expect("statements have only strings, numbers, arrays and named members")
            }
        }
    };
}

kinds! {
    Release "urn:vitrine:release:1"
    Status "urn:vitrine:status:1"
    KeyAdd "urn:vitrine:key-add:1"
    KeyRevoke "urn:vitrine:key-revoke:1"
    Fleet "urn:vitrine:fleet:1"
    Rebuild "urn:vitrine:rebuild:1"
}

impl Statement {
    /// A statement that says this.
    ///
    /// # Errors
    /// As for [`Self::parse`]: a value may be out of range, or contradict another.
    pub fn new(mut subjects: Vec<Subject>, predicate: Predicate) -> Result<Self, StatementError> {
        subjects.sort_by(|left, right| left.name.cmp(&right.name));
        let statement = Self { subjects, predicate };
        // What can be written can be read: one place decides.
        Self::parse(&statement.to_bytes())
    }

    /// Reads a statement, whoever wrote it.
    ///
    /// # Errors
    /// When the bytes are not the one form of a statement of a known kind that is consistent in itself.
    pub fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        if bytes.len() >= MAX_ENVELOPE {
            return Err(StatementError::Size { found: bytes.len() });
        }
        let odd = bytes.iter().enumerate().find(|(_, byte)| !matches!(byte, b' '..=b'[' | b']'..=b'~'));
        if let Some((at, &found)) = odd {
            return Err(StatementError::Character { found, at });
        }
        let read: Read<'_> = serde_json::from_slice(bytes)
            .map_err(|source| StatementError::Json { expected: "an in-toto statement", source })?;
        if read._type != STATEMENT_TYPE {
            return Err(StatementError::Type { field: "_type", expected: STATEMENT_TYPE, found: read._type });
        }
        check_subjects(&read.subject)?;
        let predicate = Predicate::parse(read.predicate_type, read.predicate.get())?;
        predicate.check(&read.subject)?;
        let statement = Self { subjects: read.subject, predicate };
        match first_difference(bytes, &statement.to_bytes()) {
            Some(at) => Err(StatementError::Form { at }),
            None => Ok(statement),
        }
    }

    /// The releases that a status calls live: their versions, as text, and their envelopes' SHA-256.
    pub fn live(&self) -> impl Iterator<Item = (&str, Sha256)> {
        self.subjects.iter().filter_map(|subject| Some((subject.name.strip_prefix(RELEASE)?, subject.digest.sha256)))
    }

    /// The digest of the subject with that name.
    pub fn subject(&self, name: &str) -> Option<Sha256> {
        self.subjects.iter().find(|subject| subject.name == name).map(|subject| subject.digest.sha256)
    }
}

impl Subject {
    /// The subject with that name and digest.
    pub fn new(name: impl Into<String>, sha256: Sha256) -> Self {
        Self { name: name.into(), digest: SubjectDigest { sha256 } }
    }
}

fn check_subjects(subjects: &[Subject]) -> Result<(), StatementError> {
    let named = |name: &str| {
        let character = |byte: u8| byte.is_ascii_alphanumeric() || b"._/+-".contains(&byte);
        (1..=MAX_TEXT).contains(&name.len()) && name.bytes().all(character)
    };
    if let Some(subject) = subjects.iter().find(|subject| !named(&subject.name)) {
        let expected = format!("1 to {MAX_TEXT} characters of 0-9A-Za-z._/+-");
        return Err(StatementError::Value { field: "subject name", expected, found: format!("{:?}", subject.name) });
    }
    let ascending = subjects.is_sorted_by(|left, right| left.name < right.name);
    require("subject", ascending && (1..=MAX_SUBJECTS).contains(&subjects.len()), || {
        (format!("1 to {MAX_SUBJECTS} in ascending order of distinct names"), subjects.len().to_string())
    })
}

/// An error about `field` unless `holds`; `message` says what was expected and found.
fn require(field: &'static str, holds: bool, message: impl FnOnce() -> (String, String)) -> Result<(), StatementError> {
    if holds {
        return Ok(());
    }
    let (expected, found) = message();
    Err(StatementError::Value { field, expected, found })
}

/// For statements about exactly one thing.
fn require_one_subject(subjects: &[Subject]) -> Result<&Subject, StatementError> {
    match subjects {
        [subject] => Ok(subject),
        _ => {
            let (expected, found) = ("exactly 1".to_owned(), subjects.len().to_string());
            Err(StatementError::Value { field: "subject", expected, found })
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
