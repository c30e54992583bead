//! The text form of a listing: written one way, and read only if it was written that way.

use super::path::{escape, unescape};
use super::{Entry, Kind, Listing, PathError, TreePath};
use measure::ParseDigestError;
use std::fmt;
use std::str::FromStr;

/// Why a text is not a listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListingError {
    /// The path stands in the listing twice.
    #[error("path {0} appears twice")]
    Duplicate(TreePath),
    /// A line is not in order, or a path appears twice.
    #[error("line {line}: expected a path after the one before it in byte order")]
    Order {
        /// Its number, from 1.
        line: usize,
    },
    /// A line has another shape.
    #[error("line {line}: expected `path type mode uid gid size digest-or-target`")]
    Shape {
        /// Its number, from 1.
        line: usize,
    },
    /// A field is not written as a listing writes it.
    #[error("line {line}: field {field} is not in its only form")]
    Field {
        /// The line's number, from 1.
        line: usize,
        /// The field's name.
        field: &'static str,
    },
    /// A path is not one inside a tree.
    #[error("line {line}: {source}")]
    Path {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        source: PathError,
    },
    /// A digest is malformed.
    #[error("line {line}: {source}")]
    Digest {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        source: ParseDigestError,
    },
    /// The text does not end in a newline.
    #[error("expected a newline at the listing's end")]
    End,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, kind, mode, uid, gid } = self;
        let (letter, size, last) = match kind {
            Kind::File { size, sha256 } => ('f', size.to_string(), sha256.to_string()),
            Kind::Directory => ('d', "-".to_owned(), "-".to_owned()),
            Kind::Symlink { target } => ('l', "-".to_owned(), escape(target)),
            Kind::CharacterDevice { major, minor } => ('c', "-".to_owned(), format!("{major}:{minor}")),
            Kind::BlockDevice { major, minor } => ('b', "-".to_owned(), format!("{major}:{minor}")),
            Kind::Fifo => ('p', "-".to_owned(), "-".to_owned()),
            Kind::Socket => ('s', "-".to_owned(), "-".to_owned()),
        };
        write!(f, "{path} {letter} {mode:04o} {uid} {gid} {size} {last}")
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

impl FromStr for Listing {
    type Err = ListingError;

    fn from_str(text: &str) -> Result<Self, ListingError> {
        let mut entries = Vec::<Entry>::new();
        if !text.is_empty() && !text.ends_with('\n') {
            return Err(ListingError::End);
        }
        for (line, text) in (1..).zip(text.split_terminator('\n')) {
            let entry = parse(text, line)?;
            if entries.last().is_some_and(|last| last.path >= entry.path) {
                return Err(ListingError::Order { line });
            }
            entries.push(entry);
        }
        Ok(Self(entries))
    }
}

fn parse(text: &str, line: usize) -> Result<Entry, ListingError> {
    let fields: Vec<&str> = text.split(' ').collect();
    let [path, letter, mode, uid, gid, size, last] = *fields.as_slice() else {
        return Err(ListingError::Shape { line });
    };
    let field = |field| ListingError::Field { line, field };
    let device = || {
        let (major, minor) = last.split_once(':').ok_or(field("device"))?;
        Ok::<_, ListingError>((number(major).ok_or(field("device"))?, number(minor).ok_or(field("device"))?))
    };
    let nothing = |what: Kind| if last == "-" { Ok(what) } else { Err(field("digest")) };
    let kind = match letter {
        "f" => Kind::File {
            size: number(size).ok_or(field("size"))?,
            sha256: last.parse().map_err(|source| ListingError::Digest { line, source })?,
        },
        "d" => nothing(Kind::Directory)?,
        "l" => Kind::Symlink { target: unescape(last).filter(|target| !target.is_empty()).ok_or(field("target"))? },
        "c" => device().map(|(major, minor)| Kind::CharacterDevice { major, minor })?,
        "b" => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        "p" => nothing(Kind::Fifo)?,
        "s" => nothing(Kind::Socket)?,
        _ => return Err(field("type")),
    };
    if letter != "f" && size != "-" {
        return Err(field("size"));
    }
    let bits = u16::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777 && format!("{bits:04o}") == mode);
    Ok(Entry {
        path: path.parse().map_err(|source| ListingError::Path { line, source })?,
        kind,
        mode: bits.ok_or(field("mode"))?,
        uid: number(uid).ok_or(field("uid"))?,
        gid: number(gid).ok_or(field("gid"))?,
    })
}

/// A decimal number in its only form: no sign, no leading zero.
fn number<N: FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
. d 0755 0 0 - -
bin l 0777 0 0 - usr/b\\x20in
dev/console c 0600 0 5 - 5:1
run/p p 0600 0 0 - -
usr/bin/su f 4755 0 42 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad
";

    #[test]
    fn round_trips() -> Result<(), ListingError> {
        let listing: Listing = TEXT.parse()?;
        assert_eq!(listing.to_string(), TEXT);
        assert_eq!(Listing::new(listing.entries().iter().rev().cloned().collect())?, listing);
        assert_eq!(listing.digest().0, measure::Sha256::of(TEXT.as_bytes()));
        Ok(())
    }

    #[test]
    fn refuses_what_it_would_not_write() {
        for (from, to) in [
            (". d", "usr/zz d"),
            ("- -\n", "- -"),
            ("run/p p 0600 0 0 - -\n", "run/p p 0600 0 0 - -"),
            (" 0755 ", " 755 "),
            (" 0755 ", " 10000 "),
            (" 0 0 ", " 00 0 "),
            (" 0 0 ", " +0 0 "),
            (" 5:1", " 5:01"),
            (" 5:1", " 5"),
            (" d ", " x "),
            (" 42 3 ", " 42 - "),
            (" - usr/b", " 4 usr/b"),
            ("\\x20", "\\x41"),
            (" - usr/b\\x20in", " - "),
            ("ba78", "BA78"),
            ("bin l", "/bin l"),
            ("bin l", "../bin l"),
            ("bin l", "bin  l"),
            ("\n", "\r\n"),
            (". d 0755 0 0 - -\n", ". d 0755 0 0 - -\n. d 0755 0 0 - -\n"),
        ] {
            let text = TEXT.replacen(from, to, 1);
            assert_ne!(text, TEXT, "{from:?} changes nothing");
            // Removing the separator between two lines must be noticed whichever line it was.
            assert!(text.parse::<Listing>().is_err(), "{from:?} -> {to:?} was accepted");
        }
        assert_eq!(TEXT.trim_end().parse::<Listing>(), Err(ListingError::End));
    }
}
