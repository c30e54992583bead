//! The operator document: who runs the machine, and how much of it. Its SHA-256 is in HOST_DATA, so clients know who says
//! so; what it says is the operator's word alone. `docs/formats.md`, "Operator document", has the form.
//!
//! It is closed: there is no secret in it and nothing that changes what may leave the guest.
//!
//! ```
//! let document = b"vitrine-operator 1
//! name Example Hosting
//! country IS
//! contact https://example.org/contact
//! sessions 200
//! workers 4
//! ";
//! let operator = channel::operator::Operator::parse(document)?;
//! assert_eq!((operator.name.as_str(), operator.workers), ("Example Hosting", 4));
//! # Ok::<(), channel::operator::OperatorError>(())
//! ```

use crate::evidence::MAX_OPERATOR;
use core::fmt;
use core::ops::RangeInclusive;
use core::str::FromStr;

/// Longest name or contact, in characters.
pub const MAX_WORDS: usize = 100;
/// Sessions that a guest can be told to hold open at the same time. An agent has limits of its own, today 4096, and keeps to the
/// smaller number.
pub const SESSIONS: RangeInclusive<u32> = 1..=10_000;
/// Requests that a guest can be told to work on at the same time, each in a process of its own; an agent has a limit here,
/// too, today 8.
pub const WORKERS: RangeInclusive<u32> = 1..=64;

/// The first line: what the file is, and the version of its form.
const FIRST: &str = "vitrine-operator 1";
/// How much of a wrong line an error shows, in bytes.
const SHOWN: usize = 40;

/// Who runs the machine, and the limits that they set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// What they call themselves; shown to users.
    pub name: Words,
    /// The country whose law they name.
    pub country: Country,
    /// Where to reach them; shown to users and never followed.
    pub contact: Words,
    /// Sessions that are open at the same time at most, one of [`SESSIONS`].
    pub sessions: u32,
    /// Requests that are worked on at the same time at most, one of [`WORKERS`].
    pub workers: u32,
}

/// A line of text of 1 to [`MAX_WORDS`] characters of printable ASCII, with single spaces and only between words: what
/// looks the same is the same, and nothing in it does anything to a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Words(String);

/// Two capital letters, as ISO 3166-1 gives them to countries. Which are in use changes; whoever asks for some names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Country([u8; 2]);

/// Why bytes are not an operator document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// It is too large.
    #[error("operator document: expected at most {MAX_OPERATOR} bytes, found {found}")]
    Size {
        /// Its bytes.
        found: usize,
    },
    /// A line is not the one that has to be there. Unknown, repeated and misplaced fields are that, too.
    #[error("operator document, line {line}: expected {expected}, found {found}")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What has to be there.
        expected: String,
        /// The beginning of what is there.
        found: String,
    },
}

/// That text is not what it should be; in words, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct NotThat {
    expected: String,
}

impl Operator {
    /// Reads a document. There is one text for what it says.
    ///
    /// # Errors
    /// [`OperatorError`], which names the line.
    pub fn parse(document: &[u8]) -> Result<Self, OperatorError> {
        if document.len() > MAX_OPERATOR {
            return Err(OperatorError::Size { found: document.len() });
        }
        let mut lines = Lines { rest: document, next: 1 };
        lines.first()?;
        let operator = Self {
            name: lines.field("name", str::parse)?,
            country: lines.field("country", str::parse)?,
            contact: lines.field("contact", str::parse)?,
            sessions: lines.field("sessions", |text| number(text, &SESSIONS))?,
            workers: lines.field("workers", |text| number(text, &WORKERS))?,
        };
        lines.end()?;
        Ok(operator)
    }
}

/// The lines that were not read yet. Each ends with a line feed, the last one too.
struct Lines<'a> {
    rest: &'a [u8],
    next: usize,
}

impl<'a> Lines<'a> {
    fn first(&mut self) -> Result<(), OperatorError> {
        let text = self.take().filter(|text| *text == FIRST);
        text.map(drop).ok_or_else(|| self.expected(format!("{FIRST:?}")))?;
        self.advance();
        Ok(())
    }

    /// The value of the next line, which must be that of `name`.
    fn field<T>(&mut self, name: &str, read: impl Fn(&str) -> Result<T, NotThat>) -> Result<T, OperatorError> {
        let value = self.take().and_then(|text| text.strip_prefix(name)?.strip_prefix(' '));
        // No reader takes nothing, and each says in its own words what it takes.
        let value = read(value.unwrap_or(""))
            .map_err(|NotThat { expected }| self.expected(format!("{name:?}, a space and {expected}")))?;
        self.advance();
        Ok(value)
    }

    fn end(&self) -> Result<(), OperatorError> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.expected("the end of the document".into())) }
    }

    /// The next line, if it is text with an end.
    fn take(&self) -> Option<&'a str> {
        let end = self.rest.iter().position(|byte| *byte == b'\n')?;
        core::str::from_utf8(self.rest.get(..end)?).ok()
    }

    /// Goes on to the line after the next.
    fn advance(&mut self) {
        let after = self.rest.iter().position(|byte| *byte == b'\n').map_or(usize::MAX, |end| end.saturating_add(1));
        self.rest = self.rest.get(after..).unwrap_or_default();
        self.next = self.next.saturating_add(1);
    }

    fn expected(&self, expected: String) -> OperatorError {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let found = match line.strip_suffix(b"\n") {
            _ if line.is_empty() => "the end of the document".to_owned(),
            Some(text) => format!("\"{}\"", text.get(..SHOWN).unwrap_or(text).escape_ascii()),
            None => format!("\"{}\" without a line's end", line.get(..SHOWN).unwrap_or(line).escape_ascii()),
        };
        OperatorError::Line { line: self.next, expected, found }
    }
}

/// A decimal number in its shortest form.
fn number(text: &str, range: &RangeInclusive<u32>) -> Result<u32, NotThat> {
    let parsed = text.parse().ok().filter(|number: &u32| range.contains(number) && number.to_string() == text);
    parsed.ok_or_else(|| NotThat { expected: format!("a number from {} to {}", range.start(), range.end()) })
}

impl Words {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Words {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
        match text.len() <= MAX_WORDS && text.split(' ').all(word) {
            true => Ok(Self(text.to_owned())),
            false => Err(NotThat {
                expected: format!("1 to {MAX_WORDS} characters of printable ASCII with single spaces between words"),
            }),
        }
    }
}

impl FromStr for Country {
    type Err = NotThat;

    fn from_str(text: &str) -> Result<Self, NotThat> {
        let letters = text.as_bytes().try_into().ok();
        let letters = letters.filter(|letters: &[u8; 2]| letters.iter().all(u8::is_ascii_uppercase));
        letters.map(Self).ok_or_else(|| NotThat { expected: "two capital letters (ISO 3166-1)".into() })
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "vitrine-operator 1\nname Example Hosting (Reykjavik)\ncountry IS\n\
                            contact https://example.org/contact\nsessions 200\nworkers 4\n";

    #[test]
    fn a_document_is_read() {
        let operator = Operator::parse(DOCUMENT.as_bytes()).unwrap();
        assert_eq!(operator.name.to_string(), "Example Hosting (Reykjavik)");
        assert_eq!(operator.country.to_string(), "IS");
        assert_eq!(operator.contact.as_str(), "https://example.org/contact");
        assert_eq!((operator.sessions, operator.workers), (200, 4));
        let longest = DOCUMENT.replace("Example Hosting", &"x".repeat(MAX_WORDS - " (Reykjavik)".len()));
        assert_eq!(Operator::parse(longest.as_bytes()).map(|operator| operator.name.as_str().len()), Ok(MAX_WORDS));
        let most = DOCUMENT.replace("200", "10000").replace(" 4", " 64");
        assert_eq!(Operator::parse(most.as_bytes()).map(|it| (it.sessions, it.workers)), Ok((10_000, 64)));
    }

    #[test]
    fn every_other_text_is_refused_with_its_line() {
        let long = format!("name {}\n", "x".repeat(MAX_WORDS + 1));
        for (from, to, expected) in [
            ("operator 1", "operator 2", "line 1: expected \"vitrine-operator 1\", found \"vitrine-operator 2\""),
            ("vitrine", "\u{feff}vitrine", r#"line 1: expected "vitrine-operator 1", found "\xef\xbb\xbfvitrine"#),
            ("\n", "\r\n", r#"line 1: expected "vitrine-operator 1", found "vitrine-operator 1\r""#),
            // Missing, repeated, unknown, misplaced.
            ("name Example Hosting (Reykjavik)\n", "", "line 2: expected \"name\", a space and 1 to 100"),
            ("country IS\n", "country IS\ncountry IS\n", "line 4: expected \"contact\""),
            ("sessions", "egress any\nsessions", "line 5: expected \"sessions\""),
            ("workers 4\n", "workers 4\nsecret x\n", "line 7: expected the end of the document, found \"secret x\""),
            ("workers 4\n", "workers 4\n\n", "line 7: expected the end of the document, found \"\""),
            ("workers 4\n", "", "line 6: expected \"workers\", a space and a number from 1 to 64, found the end"),
            ("workers 4\n", "workers 4", "found \"workers 4\" without a line's end"),
            // Names are one way to write them.
            ("Example Hosting", "Example  Hosting", "line 2"),
            ("Example Hosting", " Example Hosting", "line 2"),
            (" (Reykjavik)", " ", "line 2"),
            ("Example Hosting (Reykjavik)", "", "line 2"),
            ("Reykjavik", "Reykjav\u{ed}k", "line 2"),
            ("Example Hosting", "Example\tHosting", "line 2"),
            ("Example Hosting", "\u{1b}[2J", "line 2"),
            ("name Example Hosting (Reykjavik)\n", &long, "line 2"),
            ("country IS", "country is", "line 3: expected \"country\", a space and two capital letters"),
            ("country IS", "country ISL", "line 3"),
            ("country IS", "country", "line 3"),
            ("sessions 200", "sessions 0", "line 5: expected \"sessions\", a space and a number from 1 to 10000"),
            ("sessions 200", "sessions 10001", "line 5"),
            ("sessions 200", "sessions 0200", "line 5"),
            ("sessions 200", "sessions +200", "line 5"),
            ("sessions 200", "sessions 200 ", "line 5"),
            ("workers 4", "workers 65", "line 6"),
            ("workers 4", "workers 4294967297", "line 6"),
        ] {
            let other = DOCUMENT.replacen(from, to, 1);
            assert_ne!(other, DOCUMENT, "{from:?}");
            let error = Operator::parse(other.as_bytes()).expect_err(to).to_string();
            assert!(error.contains(expected), "{to:?}: {error}");
            assert!(error.is_ascii() && error.len() < 400, "{error}");
        }
        assert_eq!(Operator::parse(&[0; MAX_OPERATOR + 1]), Err(OperatorError::Size { found: MAX_OPERATOR + 1 }));
        assert!(Operator::parse(&[0xff; MAX_OPERATOR]).is_err());
        assert!(Operator::parse(b"").is_err());
    }
}
