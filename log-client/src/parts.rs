//! Files of named parts, every part exactly as it was received: a directory of names and sizes, an empty line, then the
//! parts one after the other. There is one way to write given parts and the reader accepts no other. No part is ever
//! decoded and encoded again: signatures are checked over the bytes that are in the file.

use std::fmt::Write as _;

/// A part: its name and its bytes.
pub type Part<'a> = (&'static str, &'a [u8]);

/// A kind of file.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// What it is called; its first line is `vitrine-NAME 1`.
    pub name: &'static str,
    /// Its largest size, in bytes.
    pub limit: usize,
    /// Its kinds of parts, in the order of the file.
    pub kinds: &'static [&'static [Kind]],
}

/// A kind of part.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name in the directory.
    pub name: &'static str,
    /// Its largest size, in bytes. None is empty.
    pub limit: usize,
    /// How many of them a file may have.
    pub most: usize,
}

/// Why bytes are not such a file, or cannot be written as one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// The file is too large.
    #[error("{file}: expected at most {limit} bytes, found {found}")]
    Size {
        /// The kind of file.
        file: &'static str,
        /// Most bytes it may have.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The first line is another one.
    #[error("{file}: expected the first line \"vitrine-{file} 1\": another kind of file, or made by a newer Vitrine")]
    Magic {
        /// The kind of file.
        file: &'static str,
    },
    /// A line of the directory is not `name size`, or not in its one form.
    #[error("{file}, line {line}: expected a part's name, a space and its size in decimal, found {found:?}")]
    Line {
        /// The kind of file.
        file: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// Its beginning.
        found: String,
    },
    /// A part nobody knows.
    #[error("{file}, line {line}: unknown part {name:?}: made by a newer Vitrine?")]
    Unknown {
        /// The kind of file.
        file: &'static str,
        /// The line's number, from 1.
        line: usize,
        /// The part's name.
        name: String,
    },
    /// A part out of order, or too often.
    #[error("{file}: part {name:?} is there more often than {most} times or out of order")]
    Order {
        /// The kind of file.
        file: &'static str,
        /// The part's name.
        name: &'static str,
        /// How many of them there may be.
        most: usize,
    },
    /// A part of a size it cannot have.
    #[error("{file}: part {name:?}: expected 1 to {limit} bytes, found {found}")]
    PartSize {
        /// The kind of file.
        file: &'static str,
        /// The part's name.
        name: &'static str,
        /// Most bytes it may have.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The parts are shorter or longer than the directory says.
    #[error("{file}: expected {expected} bytes after the directory, found {found}: cut off, or something was added")]
    Length {
        /// The kind of file.
        file: &'static str,
        /// Sum of the directory's sizes.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Parts that do not belong together.
    #[error("{file}: expected {expected}; found {found}")]
    Set {
        /// The kind of file.
        file: &'static str,
        /// What belongs together.
        expected: &'static str,
        /// Names of the parts.
        found: String,
    },
}

impl Form {
    /// The parts of a file.
    ///
    /// # Errors
    /// When it is not in its one form, or exceeds a limit.
    pub fn parse<'a>(&self, bytes: &'a [u8]) -> Result<Vec<Part<'a>>, PartsError> {
        let file = self.name;
        self.within(bytes.len())?;
        let magic = self.magic();
        let mut rest = bytes.strip_prefix(magic.as_bytes()).ok_or(PartsError::Magic { file })?;
        let mut directory: Vec<(&'static str, usize)> = Vec::new();
        for line in 2.. {
            let wrong = |bytes: &[u8]| {
                let found = bytes.get(..MAX_LINE).unwrap_or(bytes).escape_ascii().to_string();
                PartsError::Line { file, line, found }
            };
            let (text, after) = split_line(rest).ok_or_else(|| wrong(rest))?;
            rest = after;
            if text.is_empty() {
                break;
            }
            let (name, size) = parse_line(text).ok_or_else(|| wrong(text))?;
            let kind = self.all().find(|kind| kind.name == name);
            let kind = kind.ok_or_else(|| PartsError::Unknown { file, line, name: name.into() })?;
            directory.push((kind.name, size));
            self.check(&directory)?;
        }
        let expected = directory.iter().fold(0_usize, |sum, (_, size)| sum.saturating_add(*size));
        let length = PartsError::Length { file, expected, found: rest.len() };
        let mut parts = Vec::new();
        for (name, size) in directory {
            let (bytes, after) = rest.split_at_checked(size).ok_or_else(|| length.clone())?;
            parts.push((name, bytes));
            rest = after;
        }
        if rest.is_empty() { Ok(parts) } else { Err(length) }
    }

    /// The file of these parts.
    ///
    /// # Errors
    /// When the reader would refuse it.
    pub fn to_bytes(&self, parts: &[Part<'_>]) -> Result<Vec<u8>, PartsError> {
        let mut text = self.magic();
        let mut directory = Vec::new();
        for (name, bytes) in parts {
            directory.push((*name, bytes.len()));
            self.check(&directory)?;
            let _infallible = writeln!(text, "{name} {}", bytes.len());
        }
        text.push('\n');
        let mut out = text.into_bytes();
        parts.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
        self.within(out.len())?;
        Ok(out)
    }

    /// The error for parts that do not belong together.
    pub fn refuse(&self, expected: &'static str, parts: &[Part<'_>]) -> PartsError {
        let names: Vec<_> = parts.iter().map(|(name, _)| *name).collect();
        let found = if names.is_empty() { "nothing".into() } else { names.join(", ") };
        PartsError::Set { file: self.name, expected, found }
    }

    fn magic(&self) -> String {
        format!("vitrine-{} 1\n", self.name)
    }

    fn all(&self) -> impl Iterator<Item = &'static Kind> {
        self.kinds.iter().copied().flatten()
    }

    fn within(&self, found: usize) -> Result<(), PartsError> {
        let (file, limit) = (self.name, self.limit);
        if found <= limit { Ok(()) } else { Err(PartsError::Size { file, limit, found }) }
    }

    /// Refuses a last entry of a directory that cannot be there.
    fn check(&self, directory: &[(&'static str, usize)]) -> Result<(), PartsError> {
        let file = self.name;
        let [before @ .., (name, found)] = directory else { return Ok(()) };
        let place = |name: &str| self.all().position(|kind| kind.name == name);
        let Some(kind) = self.all().find(|kind| kind.name == *name) else { return Ok(()) };
        let same = before.iter().filter(|(before, _)| before == name).count();
        let in_order = before.last().is_none_or(|(last, _)| place(last) <= place(name));
        if same >= kind.most || !in_order {
            return Err(PartsError::Order { file, name, most: kind.most });
        }
        let (limit, found) = (kind.limit, *found);
        if (1..=limit).contains(&found) { Ok(()) } else { Err(PartsError::PartSize { file, name, limit, found }) }
    }
}

/// The bytes of the only part called `name`, if it is there.
pub fn only(parts: &[Part<'_>], name: &str) -> Option<Vec<u8>> {
    all(parts, name).next()
}

/// The bytes of every part called `name`.
pub fn all<'a>(parts: &'a [Part<'_>], name: &'a str) -> impl Iterator<Item = Vec<u8>> + 'a {
    parts.iter().filter(move |(found, _)| *found == name).map(|(_, bytes)| bytes.to_vec())
}

/// Longest line of a directory that is read, in bytes.
const MAX_LINE: usize = 64;

/// The text up to the next newline, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
}

/// `name size`, the size in its one decimal form.
fn parse_line(line: &[u8]) -> Option<(&str, usize)> {
    let (name, digits) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let size: usize = digits.parse().ok()?;
    (size.to_string() == digits).then_some((name, size))
}
