//! Policies (C2SP tlog-policy): whose logs, and how many of which witnesses, make a checkpoint acceptable.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::note::{KeyError, Note, NoteError, SignatureType, Signed, VerifierKey};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Bytes of a policy that is read: twice what its limits of logs, witnesses and groups need.
pub const MAX_POLICY: usize = 64 << 10;
/// Logs, witnesses and groups of a policy that is read, of each; the specification asks for at least 32.
pub const MAX_DEFINED: usize = 64;

/// Whether a quorum may be such that two of them need have no witness in common. Then a log, with the help of no
/// dishonest witness, can show two groups of people two different trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SplitView {
    /// Such policies are refused: any two quorums share a witness.
    Refused,
    /// The reader has been told.
    Accepted,
}

/// Which checkpoints are acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    /// `None`: no witness is needed.
    quorum: Option<Quorum>,
}

/// A log that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// Its key; the name is the origin.
    pub key: VerifierKey,
    /// Where it is.
    pub url: Option<String>,
}

/// A witness that a policy knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// What the policy calls it: any bytes but space, tab and newline.
    pub name: Vec<u8>,
    /// Its key.
    pub key: VerifierKey,
    /// Where it takes checkpoints: the prefix of `/add-checkpoint`.
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Quorum {
    /// By its place in the list.
    Witness(usize),
    Group {
        threshold: usize,
        members: Vec<Quorum>,
    },
}

/// Why a text is not a policy. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// More than [`MAX_POLICY`] bytes or more than [`MAX_DEFINED`] of a kind.
    #[error("expected a policy of at most {MAX_POLICY} bytes and {MAX_DEFINED} logs, witnesses and groups each")]
    TooLong,
    /// A control character other than tab and newline.
    #[error("line {line}: control characters other than tab and newline are not allowed")]
    Characters {
        /// The line.
        line: usize,
    },
    /// The line is none of those that a policy has.
    #[error("line {line}: expected {expected}")]
    Line {
        /// The line.
        line: usize,
        /// What a line like it looks like.
        expected: &'static str,
    },
    /// A key that is none.
    #[error("line {line}: {error}")]
    Key {
        /// The line.
        line: usize,
        /// Why.
        error: KeyError,
    },
    /// A key of a type that cannot do this or is not verified here.
    #[error("line {line}: expected a key of type {expected:#04x}, found {found:#04x}")]
    KeyType {
        /// The line.
        line: usize,
        /// The type that is verified here.
        expected: u8,
        /// The type found.
        found: u8,
    },
    /// A name or a key is there twice.
    #[error("line {line}: {name} is there twice")]
    Twice {
        /// The second line.
        line: usize,
        /// The name, or the key's name.
        name: String,
    },
    /// A name that no line above defines, or that is in a group already.
    #[error("line {line}: {name} is not defined above, or is in a group already")]
    Name {
        /// The line.
        line: usize,
        /// The name.
        name: String,
    },
    /// A log is among its own witnesses.
    #[error("the key of {name} is that of a log and of a witness")]
    OwnWitness {
        /// The witness's key's name.
        name: String,
    },
    /// There is no quorum line.
    #[error("expected a line `quorum <name>` or `quorum none`, found none")]
    NoQuorum,
    /// Two quorums may have no witness in common.
    #[error(
        "two quorums of this policy need have no witness in common, so that a log can show two trees; \
         raise the thresholds above half of the members, or say that a split view is accepted"
    )]
    SplitView,
}

/// Why a checkpoint is not acceptable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// None of the policy's logs has this name.
    #[error("the policy has no log called {origin:?}")]
    UnknownLog {
        /// The checkpoint's origin.
        origin: String,
    },
    /// Too few witnesses signed.
    #[error("the quorum is not met; signed by {}", if signed.is_empty() { "no witness" } else { signed })]
    Quorum {
        /// Names of the witnesses that signed.
        signed: String,
    },
}

/// A checkpoint that a policy accepts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    /// What the log and the witnesses signed.
    pub checkpoint: Checkpoint,
    /// Until when the quorum vouches that this is the newest tree it has seen, in seconds since 1970: the latest time
    /// such that witnesses who signed then or later are a quorum. `None` if no witness is needed.
    pub as_of: Option<u64>,
    /// Since when a quorum says that it has seen this tree, in seconds since 1970: the earliest time such that witnesses
    /// who signed then or before are a quorum. Too few liars for a quorum cannot make it earlier. `None` as above.
    pub since: Option<u64>,
    /// Names of the witnesses that signed and when, as the policy lists them.
    pub witnesses: Vec<(Vec<u8>, u64)>,
}

impl Policy {
    /// Reads a policy.
    pub fn parse(bytes: &[u8], split_view: SplitView) -> Result<Self, PolicyError> {
        let mut parser = Parser::default();
        if bytes.len() > MAX_POLICY {
            return Err(PolicyError::TooLong);
        }
        for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
            parser.line(line, number)?;
        }
        let policy = parser.finish()?;
        let splits = policy.quorum.as_ref().is_none_or(Quorum::splits);
        if splits && split_view == SplitView::Refused { Err(PolicyError::SplitView) } else { Ok(policy) }
    }

    /// The logs, in the policy's order.
    pub fn logs(&self) -> &[Log] {
        &self.logs
    }

    /// The witnesses, in the policy's order.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    /// Whether the witnesses for whose place in [`Policy::witnesses`] `signed` answers yes would be enough.
    pub fn is_quorum(&self, signed: impl Fn(usize) -> bool) -> bool {
        let times: Vec<_> = (0..self.witnesses.len()).map(|at| signed(at).then_some(0)).collect();
        self.quorum.as_ref().is_none_or(|quorum| quorum.as_of(&times).is_some())
    }

    /// Checks a checkpoint's signatures: one of its log, and those of a quorum. A signature by a log or witness of the
    /// policy that does not verify refuses it.
    pub fn accept(&self, note: &[u8]) -> Result<Accepted, Refusal> {
        let note = Note::parse(note).map_err(CheckpointError::from)?;
        let checkpoint: Checkpoint = note.unverified_text().parse()?;
        let mut logs = self.logs.iter().map(|log| &log.key).filter(|key| key.name() == checkpoint.origin).peekable();
        if logs.peek().is_none() {
            return Err(Refusal::UnknownLog { origin: checkpoint.origin });
        }
        note.verify(logs).map_err(CheckpointError::from)?;
        let signed = match note.verify(self.witnesses.iter().map(|witness| &witness.key)) {
            Err(NoteError::NotSigned) => Vec::new(),
            other => other.map_err(CheckpointError::from)?,
        };
        let time = |witness: &Witness| {
            let by = signed.iter().find(|Signed { by, .. }| **by == witness.key)?;
            by.time
        };
        let times: Vec<_> = self.witnesses.iter().map(time).collect();
        let witnesses: Vec<_> = self
            .witnesses
            .iter()
            .zip(&times)
            .filter_map(|(witness, time)| Some((witness.name.clone(), (*time)?)))
            .collect();
        let (as_of, since) = match &self.quorum {
            None => (None, None),
            Some(quorum) => match (quorum.as_of(&times), quorum.since(&times)) {
                (None, _) | (_, None) => return Err(Refusal::Quorum { signed: listed(&witnesses) }),
                both => both,
            },
        };
        Ok(Accepted { checkpoint, as_of, since, witnesses })
    }
}

fn listed(witnesses: &[(Vec<u8>, u64)]) -> String {
    witnesses.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(", ")
}

impl Quorum {
    /// The latest time such that the witnesses who signed then or later are enough.
    fn as_of(&self, signed: &[Option<u64>]) -> Option<u64> {
        self.time(signed, |left, right| right.cmp(left))
    }

    /// The earliest time such that the witnesses who signed then or before are enough.
    fn since(&self, signed: &[Option<u64>]) -> Option<u64> {
        self.time(signed, u64::cmp)
    }

    /// The first time, in this order, by which enough have signed.
    fn time(&self, signed: &[Option<u64>], order: fn(&u64, &u64) -> Ordering) -> Option<u64> {
        match self {
            Self::Witness(at) => *signed.get(*at)?,
            Self::Group { threshold, members } => {
                let mut times: Vec<_> = members.iter().filter_map(|member| member.time(signed, order)).collect();
                times.sort_unstable_by(order);
                times.get(threshold.checked_sub(1)?).copied()
            }
        }
    }

    /// Whether two quorums need have no witness in common. Members that split can be in both; of the others each is in
    /// one of them, and two times as many as are still needed must not be more than there are.
    fn splits(&self) -> bool {
        match self {
            Self::Witness(_) => false,
            Self::Group { threshold, members } => {
                let (both, either): (Vec<_>, Vec<_>) = members.iter().partition(|member| member.splits());
                threshold.saturating_sub(both.len()).saturating_mul(2) <= either.len()
            }
        }
    }
}

const LOG: &str = "log <vkey> [<url>]";
const WITNESS: &str = "witness <name> <vkey> [<url>]";
const GROUP: &str = "group <name> all|any|<k> <member>..., 1 <= k <= number of members";
const QUORUM: &str = "quorum <name> or quorum none, once";
const ANY: &str = "a line that starts with log, witness, group, quorum or #";

#[derive(Default)]
struct Parser {
    logs: Vec<Log>,
    witnesses: Vec<Witness>,
    names: BTreeMap<Vec<u8>, Named>,
    /// `Some(None)` is `quorum none`.
    quorum: Option<Option<Quorum>>,
}

struct Named {
    quorum: Quorum,
    in_group: bool,
}

impl Parser {
    fn line(&mut self, line: &[u8], number: usize) -> Result<(), PolicyError> {
        if line.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Err(PolicyError::Characters { line: number });
        }
        let words: Vec<_> = line.split(|byte| b" \t".contains(byte)).filter(|word| !word.is_empty()).collect();
        let wrong = |expected| Err(PolicyError::Line { line: number, expected });
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key] => self.log(key, None, number),
            [b"log", key, url] => self.log(key, Some(url), number),
            [b"log", ..] => wrong(LOG),
            [b"witness", name, key] => self.witness(name, key, None, number),
            [b"witness", name, key, url] => self.witness(name, key, Some(url), number),
            [b"witness", ..] => wrong(WITNESS),
            [b"group", name, threshold, members @ ..] => self.group(name, threshold, members, number),
            [b"group", ..] => wrong(GROUP),
            [b"quorum", name] if self.quorum.is_none() => {
                let named = self.names.get(*name).map(|named| named.quorum.clone());
                self.quorum = Some(match (*name, named) {
                    (b"none", _) => None,
                    (_, Some(named)) => Some(named),
                    _ => return Err(PolicyError::Name { line: number, name: shown(name) }),
                });
                Ok(())
            }
            [b"quorum", ..] => wrong(QUORUM),
            _ => wrong(ANY),
        }
    }

    fn log(&mut self, key: &[u8], url: Option<&[u8]>, line: usize) -> Result<(), PolicyError> {
        let (key, url) = key_and_url(key, url, SignatureType::ED25519, LOG, line)?;
        let twice = self.logs.iter().any(|log| log.key.public() == key.public());
        if twice {
            return Err(PolicyError::Twice { line, name: key.name().to_owned() });
        }
        self.logs.push(Log { key, url });
        if self.logs.len() > MAX_DEFINED { Err(PolicyError::TooLong) } else { Ok(()) }
    }

    fn witness(&mut self, name: &[u8], key: &[u8], url: Option<&[u8]>, line: usize) -> Result<(), PolicyError> {
        let (key, url) = key_and_url(key, url, SignatureType::COSIGNATURE, WITNESS, line)?;
        if self.witnesses.iter().any(|witness| witness.key.public() == key.public()) {
            return Err(PolicyError::Twice { line, name: key.name().to_owned() });
        }
        self.define(name, Quorum::Witness(self.witnesses.len()), line)?;
        self.witnesses.push(Witness { name: name.to_vec(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &[u8], threshold: &[u8], members: &[&[u8]], line: usize) -> Result<(), PolicyError> {
        let threshold = match threshold {
            b"all" => members.len(),
            b"any" => 1,
            number => str::from_utf8(number).ok().and_then(crate::encoding::decimal).unwrap_or(0) as usize,
        };
        if !(1..=members.len()).contains(&threshold) {
            return Err(PolicyError::Line { line, expected: GROUP });
        }
        let member = |name: &&[u8]| {
            let free = self.names.get_mut(*name).filter(|named| !named.in_group);
            let named = free.ok_or_else(|| PolicyError::Name { line, name: shown(name) })?;
            named.in_group = true;
            Ok(named.quorum.clone())
        };
        let members = members.iter().map(member).collect::<Result<_, _>>()?;
        self.define(name, Quorum::Group { threshold, members }, line)
    }

    fn define(&mut self, name: &[u8], quorum: Quorum, line: usize) -> Result<(), PolicyError> {
        if self.names.len() >= 2 * MAX_DEFINED {
            return Err(PolicyError::TooLong);
        }
        let twice = name == b"none" || self.names.insert(name.to_vec(), Named { quorum, in_group: false }).is_some();
        if twice { Err(PolicyError::Twice { line, name: shown(name) }) } else { Ok(()) }
    }

    fn finish(self) -> Result<Policy, PolicyError> {
        let quorum = self.quorum.ok_or(PolicyError::NoQuorum)?;
        let own = self.witnesses.iter().find(|it| self.logs.iter().any(|log| log.key.public() == it.key.public()));
        match own {
            Some(own) => Err(PolicyError::OwnWitness { name: own.key.name().to_owned() }),
            None => Ok(Policy { logs: self.logs, witnesses: self.witnesses, quorum }),
        }
    }
}

fn key_and_url(
    key: &[u8],
    url: Option<&[u8]>,
    kind: SignatureType,
    form: &'static str,
    line: usize,
) -> Result<(VerifierKey, Option<String>), PolicyError> {
    let text = |bytes| str::from_utf8(bytes).map_err(|_invalid| PolicyError::Line { line, expected: form });
    let key: VerifierKey = text(key)?.parse().map_err(|error| PolicyError::Key { line, error })?;
    if key.kind() != kind {
        return Err(PolicyError::KeyType { line, expected: kind.0, found: key.kind().0 });
    }
    Ok((key, url.map(text).transpose()?.map(str::to_owned)))
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

#[cfg(test)]
mod tests;
