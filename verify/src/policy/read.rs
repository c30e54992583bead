//! Strict reading of TOML: every key asked for must be there, every key there must be asked for, and an error names the
//! file, the line, the key, what was expected and what was found.

use measure::Digest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use toml::de::{DeTable, DeValue};

/// Largest policy, in bytes: room for a thousand chips. A table takes two bytes of text and a kilobyte of memory.
pub const MAX_POLICY: usize = 256 << 10;

/// Why a text is not a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file is too large.
    #[error("{file}: expected at most {MAX_POLICY} bytes, found {found}")]
    Size {
        /// The file's name, as the caller gave it.
        file: String,
        /// Bytes found.
        found: usize,
    },
    /// The file is not text.
    #[error("{file}: expected UTF-8, found something else from byte {at} on")]
    Encoding {
        /// The file's name, as the caller gave it.
        file: String,
        /// Offset of the first byte that is not.
        at: usize,
    },
    /// The file is not TOML; a key that is there twice is that, too.
    #[error("{file}:{line}: expected TOML: {reason}")]
    Syntax {
        /// The file's name, as the caller gave it.
        file: String,
        /// Line, from 1.
        line: usize,
        /// What the parser says.
        reason: String,
    },
    /// A key is missing, unknown, or has a value it cannot have.
    #[error("{file}:{line}: {key}: expected {expected}, found {found}")]
    Value {
        /// The file's name, as the caller gave it.
        file: String,
        /// Line of the value or, for a missing key, of its table; from 1.
        line: usize,
        /// The whole key, such as `snp.genoa.tcb-floor`.
        key: String,
        /// What could stand there.
        expected: String,
        /// What stands there.
        found: String,
    },
}

/// A key of a file, and where its value is.
#[derive(Clone)]
struct Place<'a> {
    file: &'a str,
    text: &'a str,
    key: String,
    at: usize,
}

/// A value, and where it is.
pub(super) struct Value<'a> {
    place: Place<'a>,
    value: DeValue<'a>,
}

/// A table that is being read. It remembers which keys were asked for.
pub(super) struct Table<'a> {
    place: Place<'a>,
    entries: DeTable<'a>,
    known: BTreeSet<&'static str>,
}

impl Place<'_> {
    fn line(&self) -> usize {
        let before = self.text.bytes().take(self.at);
        before.filter(|byte| *byte == b'\n').count().saturating_add(1)
    }

    /// The place of `name` below this one. A quoted name can hold anything, and an error is one line.
    fn below(&self, name: &str, at: usize) -> Self {
        let dot = if self.key.is_empty() { "" } else { "." };
        let key = format!("{}{dot}{}", self.key, name.escape_debug());
        Self { key, at, ..*self }
    }

    fn error(&self, expected: impl fmt::Display, found: impl fmt::Display) -> PolicyError {
        let (file, line, key) = (self.file.into(), self.line(), self.key.clone());
        PolicyError::Value { file, line, key, expected: expected.to_string(), found: found.to_string() }
    }
}

/// Reads the top table of a file, called `file` in errors.
pub(super) fn document<T>(
    file: &str,
    bytes: &[u8],
    read: impl FnOnce(&mut Table<'_>) -> Result<T, PolicyError>,
) -> Result<T, PolicyError> {
    if bytes.len() > MAX_POLICY {
        return Err(PolicyError::Size { file: file.into(), found: bytes.len() });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| PolicyError::Encoding { file: file.into(), at: error.valid_up_to() })?;
    let place = Place { file, text, key: String::new(), at: 0 };
    let top = DeTable::parse(text).map_err(|error| {
        let place = Place { at: error.span().map_or(0, |span| span.start), ..place.clone() };
        let reason = error.message().replace('\n', ", ");
        PolicyError::Syntax { file: file.into(), line: place.line(), reason }
    })?;
    Value { place, value: DeValue::Table(top.into_inner()) }.table(read)
}

impl<'a> Table<'a> {
    /// The value of `key`, which must be there.
    pub(super) fn take(&mut self, key: &'static str) -> Result<Value<'a>, PolicyError> {
        self.known.insert(key);
        match self.entries.remove(key) {
            Some(value) => Ok(Value { place: self.place.below(key, value.span().start), value: value.into_inner() }),
            None => Err(self.place.below(key, self.place.at).error("a value, as every key is required", "none")),
        }
    }
}

impl<'a> Value<'a> {
    /// That this is not what was expected.
    fn refuse<T>(self, expected: impl fmt::Display) -> Result<T, PolicyError> {
        Err(self.place.error(expected, shown(&self.value)))
    }

    /// A table, all of whose keys `read` takes.
    pub(super) fn table<T>(
        self,
        read: impl FnOnce(&mut Table<'a>) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        let Self { place, value } = self;
        let DeValue::Table(entries) = value else { return Self { place, value }.refuse("a table") };
        let mut table = Table { place, entries, known: BTreeSet::new() };
        let read = read(&mut table)?;
        let Table { place, entries, known } = table;
        match entries.iter().next() {
            None => Ok(read),
            Some((key, _)) => {
                let known: Vec<_> = known.into_iter().collect();
                let place = place.below(key.get_ref(), key.span().start);
                Err(place.error(format_args!("only the keys {}", known.join(", ")), "an unknown key"))
            }
        }
    }

    /// A list, each of whose values `read` reads, and none of them twice.
    pub(super) fn list<T: Ord>(
        self,
        read: impl Fn(Value<'a>) -> Result<T, PolicyError>,
    ) -> Result<BTreeSet<T>, PolicyError> {
        let Self { place, value } = self;
        let DeValue::Array(values) = value else { return Self { place, value }.refuse("a list") };
        let mut all = BTreeSet::new();
        for value in values {
            let place = Place { at: value.span().start, ..place.clone() };
            if !all.insert(read(Value { place: place.clone(), value: value.into_inner() })?) {
                return Err(place.error("each value once", "one twice"));
            }
        }
        Ok(all)
    }

    /// A table with keys of the file's choosing, each `expected`.
    pub(super) fn map<K: Ord + FromStr, T>(
        self,
        expected: &str,
        read: impl Fn(Value<'a>) -> Result<T, PolicyError>,
    ) -> Result<BTreeMap<K, T>, PolicyError> {
        let Self { place, value } = self;
        let DeValue::Table(entries) = value else { return Self { place, value }.refuse("a table") };
        let mut all = BTreeMap::new();
        for (key, value) in entries {
            let name = key.get_ref();
            let parsed = name.parse().map_err(|_unparsed| {
                place.below(name, key.span().start).error(format_args!("{expected} as the key"), "another key")
            })?;
            let place = place.below(name, value.span().start);
            all.insert(parsed, read(Value { place, value: value.into_inner() })?);
        }
        Ok(all)
    }

    /// One of a few words, each with what it stands for.
    pub(super) fn word<T: Clone>(self, words: &[(&str, T)]) -> Result<T, PolicyError> {
        let meant = words.iter().find(|(word, _)| self.is(word)).map(|(_, meaning)| meaning.clone());
        meant.map_or_else(|| self.refuse(one_of(words.iter().map(|(word, _)| *word))), Ok)
    }

    /// Whether this is the string `word`.
    pub(super) fn is(&self, word: &str) -> bool {
        matches!(&self.value, DeValue::String(text) if text == word)
    }

    /// A number from `least` to `most`.
    pub(super) fn number<T: Copy + TryFrom<u64> + Into<u64>>(self, least: T, most: T) -> Result<T, PolicyError> {
        let number = match &self.value {
            DeValue::Integer(digits) => u64::from_str_radix(digits.as_str(), digits.radix()).ok(),
            _ => None,
        };
        let inside = number.filter(|number| (least.into()..=most.into()).contains(number));
        match inside.and_then(|number| T::try_from(number).ok()) {
            Some(number) => Ok(number),
            None => self.refuse(format_args!("a number from {} to {}", least.into(), most.into())),
        }
    }

    /// One line of 1 to `most` bytes.
    pub(super) fn text(self, most: usize) -> Result<String, PolicyError> {
        match &self.value {
            DeValue::String(text) if (1..=most).contains(&text.len()) && !text.contains(char::is_control) => {
                Ok(text.to_string())
            }
            _ => self.refuse(format_args!("a string of 1 to {most} bytes without control characters")),
        }
    }

    /// What `parse` makes of text of up to `most` bytes, which is `expected`.
    pub(super) fn parsed<T, E: fmt::Display>(
        self,
        most: usize,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, PolicyError> {
        let text = match &self.value {
            DeValue::String(text) if text.len() <= most => text,
            _ => return self.refuse(format_args!("{expected} of at most {most} bytes")),
        };
        match parse(text) {
            Ok(parsed) => Ok(parsed),
            Err(error) => Err(self.place.error(expected, error)),
        }
    }

    /// `N` bytes in hexadecimal.
    pub(super) fn digest<const N: usize>(self) -> Result<Digest<N>, PolicyError> {
        let parsed = match &self.value {
            DeValue::String(text) => text.parse().ok(),
            _ => None,
        };
        let digits = N.saturating_mul(2);
        parsed.map_or_else(|| self.refuse(format_args!("{digits} lowercase hexadecimal digits")), Ok)
    }
}

/// A list of words for people: `"a", "b" or "c"`.
fn one_of<'a>(words: impl Iterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.map(|word| format!("{word:?}")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

/// What stands there, in a few words.
fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.chars().count() <= 40 => format!("{text:?}"),
        DeValue::String(text) => format!("a string of {} bytes", text.len()),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(when) => when.to_string(),
        DeValue::Array(_) => "a list".into(),
        DeValue::Table(_) => "a table".into(),
    }
}
