//! The strict reader of `image.lock`, one line at a time.

use super::{Archive, File, HEADER, Lock, Member, Package, Set};
use measure::Digest;
use std::iter::Peekable;
use std::str::{FromStr, Lines};

/// Most entries of each kind; ours has some 500 packages.
const MAX_ENTRIES: usize = 10_000;
/// Largest size of one locked file, in bytes. Larger models will need a larger number here.
pub(crate) const MAX_SIZE: u64 = 64 << 30;
/// 9999-12-31, the last date of four-digit years.
const MAX_EPOCH: u64 = 253_402_300_799;

/// Why a text is not an `image.lock`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}; restore the committed file, or run `cargo xtask lock --update`")]
pub struct ParseError {
    /// The line, from 1.
    pub line: usize,
    /// What was expected and what was found.
    pub reason: String,
}

type Result<T> = std::result::Result<T, ParseError>;

/// Parses `input`, which must be in canonical form.
pub(super) fn lock(input: &str) -> Result<Lock> {
    let mut lines = Cursor { lines: input.lines().peekable(), line: 0 };
    lines.exactly(HEADER.trim_end())?;
    let schema = lines.number("schema", u64::MAX)?;
    if schema != 1 {
        return Err(lines.error(format!("expected schema 1, found {schema}: made by a newer Vitrine?")));
    }
    let mut lock = Lock {
        source_date_epoch: lines.number("source-date-epoch", MAX_EPOCH)?,
        request_sha256: lines.digest("request-sha256")?,
        archives: Vec::new(),
        packages: Vec::new(),
        files: Vec::new(),
    };
    while lines.table("[[archive]]")? {
        let archive = archive(&mut lines)?;
        lines.push(&mut lock.archives, archive, |archive| &archive.name)?;
    }
    while lines.table("[[package]]")? {
        let package = package(&mut lines, &lock.archives)?;
        lines.push(&mut lock.packages, package, |package| &package.name)?;
    }
    while lines.table("[[file]]")? {
        let file = file(&mut lines)?;
        lines.push(&mut lock.files, file, |file| &file.name)?;
    }
    if let Some(found) = lines.next() {
        return Err(lines.error(format!("expected [[archive]], [[package]], [[file]] in that order, found {found:?}")));
    }
    // What is left to differ is white space: carriage returns, no final newline.
    if lock.render() != input {
        return Err(lines.error("the file is not in canonical form (line ends, or no newline at the end)".to_owned()));
    }
    Ok(lock)
}

fn archive(lines: &mut Cursor<'_>) -> Result<Archive> {
    Ok(Archive {
        name: lines.text("name", is_name)?,
        suite: lines.text("suite", is_name)?,
        component: lines.text("component", is_name)?,
        snapshot: lines.text("snapshot", is_stamp)?,
        inrelease_sha256: lines.digest("inrelease-sha256")?,
        packages_sha256: lines.digest("packages-sha256")?,
    })
}

fn package(lines: &mut Cursor<'_>, archives: &[Archive]) -> Result<Package> {
    let sets = lines.sets()?;
    let name = lines.text("name", is_name)?;
    let version = lines.text("version", is_version)?;
    let arch = lines.text("arch", |arch| matches!(arch, "amd64" | "all"))?;
    let archive = lines.text("archive", |name| archives.iter().any(|archive| archive.name == name))?;
    let pool = lines.text("pool", is_relative)?;
    let size = lines.number("size", MAX_SIZE)?;
    let sha256 = lines.digest("sha256")?;
    let sha1 = lines.digest("sha1")?;
    let source = lines.text("source", |source| {
        source.split_once(' ').is_some_and(|(name, version)| is_name(name) && is_version(version))
    })?;
    let (source, source_version) = source.split_once(' ').unwrap_or((&source, ""));
    let (source, source_version) = (source.to_owned(), source_version.to_owned());
    Ok(Package { sets, name, version, arch, archive, pool, size, sha256, sha1, source, source_version })
}

fn file(lines: &mut Cursor<'_>) -> Result<File> {
    Ok(File {
        sets: lines.sets()?,
        name: lines.text("name", is_name)?,
        url: lines.text("url", is_url)?,
        size: lines.number("size", MAX_SIZE)?,
        sha256: lines.digest("sha256")?,
        member: match lines.has("member") {
            false => None,
            true => Some(Member {
                path: lines.text("member", is_relative)?,
                size: lines.number("member-size", MAX_SIZE)?,
                sha256: lines.digest("member-sha256")?,
            }),
        },
    })
}

/// A name in Debian's sense, and of ours: no separators, no quotes, not hidden.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-._".contains(&b))
        && text.len() <= 200
}

/// A version as in Debian policy 5.6.12.
pub(crate) fn is_version(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".+-~:".contains(&b))
        && text.len() <= 200
}

/// A path that stays below what it is joined to.
pub(crate) fn is_relative(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/.+-~:_%".contains(&b))
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
        && text.len() <= 1000
}

/// An absolute http(s) URL without quotes or white space.
pub(crate) fn is_url(text: &str) -> bool {
    (text.starts_with("https://") || text.starts_with("http://"))
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"\\#".contains(&b))
        && text.len() <= 1000
}

/// `YYYYMMDDTHHMMSSZ`.
fn is_stamp(text: &str) -> bool {
    text.len() == 16
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 => b == b'T',
            15 => b == b'Z',
            _ => b.is_ascii_digit(),
        })
}

struct Cursor<'a> {
    lines: Peekable<Lines<'a>>,
    line: usize,
}

impl<'a> Cursor<'a> {
    fn next(&mut self) -> Option<&'a str> {
        self.line += 1;
        self.lines.next()
    }

    fn error(&self, reason: String) -> ParseError {
        ParseError { line: self.line, reason }
    }

    fn exactly(&mut self, expected: &str) -> Result<()> {
        match self.next() {
            Some(found) if found == expected => Ok(()),
            found => Err(self.error(format!("expected {expected:?}, found {:?}", found.unwrap_or("the end")))),
        }
    }

    /// Whether the next entry is one of `header`'s; consumes the empty line and the header if so.
    fn table(&mut self, header: &str) -> Result<bool> {
        let mut ahead = self.lines.clone();
        match (ahead.next(), ahead.next()) {
            (Some(""), Some(found)) if found == header => {
                self.next();
                self.next();
                Ok(true)
            }
            (None, _) | (Some(""), Some("[[archive]]" | "[[package]]" | "[[file]]")) => Ok(false),
            (Some(""), found) => {
                self.next();
                self.next();
                Err(self.error(format!("expected a known table, found {:?}", found.unwrap_or("the end"))))
            }
            (Some(found), _) => {
                self.next();
                Err(self.error(format!("expected an empty line and a table, found {found:?} (an unknown field?)")))
            }
        }
    }

    fn has(&mut self, key: &str) -> bool {
        self.lines.peek().and_then(|line| line.split_once(" = ")).is_some_and(|(found, _)| found == key)
    }

    fn value(&mut self, key: &str) -> Result<&'a str> {
        let line = self.next();
        match line.and_then(|line| line.split_once(" = ")) {
            Some((found, value)) if found == key => Ok(value),
            _ => Err(self.error(format!("expected the field {key:?}, found {:?}", line.unwrap_or("the end")))),
        }
    }

    fn number(&mut self, key: &str, max: u64) -> Result<u64> {
        let value = self.value(key)?;
        match value.parse::<u64>() {
            // The comparison refuses a plus sign and leading zeros.
            Ok(number) if number <= max && number.to_string() == value => Ok(number),
            _ => Err(self.error(format!("{key}: expected a number up to {max}, found {value:?}"))),
        }
    }

    fn text(&mut self, key: &str, is_valid: impl Fn(&str) -> bool) -> Result<String> {
        let value = self.value(key)?;
        match unquote(value).filter(|text| is_valid(text)) {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.error(format!("{key}: {value} is not a valid {key}"))),
        }
    }

    fn digest<const N: usize>(&mut self, key: &str) -> Result<Digest<N>> {
        let value = self.value(key)?;
        let text =
            unquote(value).ok_or_else(|| self.error(format!("{key}: expected a quoted digest, found {value}")))?;
        Digest::from_str(text).map_err(|error| self.error(format!("{key}: {error}")))
    }

    fn sets(&mut self) -> Result<Vec<Set>> {
        let value = self.value("set")?;
        let inner = value.strip_prefix('[').and_then(|value| value.strip_suffix(']'));
        let sets: Option<Vec<Set>> =
            inner.and_then(|inner| inner.split(", ").map(|name| unquote(name).and_then(Set::from_name)).collect());
        match sets {
            Some(sets) if sets.is_sorted_by(|a, b| a < b) => Ok(sets),
            _ => {
                let known = Set::ALL.map(Set::name).join(" ");
                Err(self.error(format!("set: expected a sorted list of distinct names of {known}, found {value}")))
            }
        }
    }

    /// Appends, if the order stays strict.
    fn push<T>(&self, list: &mut Vec<T>, item: T, name: impl Fn(&T) -> &str) -> Result<()> {
        let last = list.last().map_or("", &name);
        let name = name(&item);
        if name == last {
            return Err(self.error(format!("{name:?} is there twice")));
        }
        if name < last {
            return Err(self.error(format!("{name:?} is not sorted: it follows {last:?}")));
        }
        if list.len() == MAX_ENTRIES {
            return Err(self.error(format!("more than {MAX_ENTRIES} entries")));
        }
        list.push(item);
        Ok(())
    }
}

fn unquote(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))
}
