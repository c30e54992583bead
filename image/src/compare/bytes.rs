//! The first byte that differs, and what it looks like.

use super::Cause;
use crate::formats::hash;
use crate::formats::listing::Pieces;
use anyhow::Context as _;
use measure::Sha256;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;

/// Bytes compared at a time.
const CHUNK: usize = 1 << 16;
/// Bytes around the first difference that are looked at.
const AROUND: u64 = 96;
/// Largest content whose lines are sorted to see whether only their order differs, in bytes.
const MAX_SORTED: u64 = 16 << 20;
/// Numbers that are taken for times of a build: from 2017 to 2033, in seconds since 1970.
const TIMES: std::ops::Range<u32> = 1_500_000_000..2_000_000_000;

/// Bytes of a file, in pieces.
pub(super) struct Content<'a> {
    file: &'a File,
    /// Where the pieces count from.
    base: u64,
    pieces: Pieces,
}

impl<'a> Content<'a> {
    /// Pieces of an image that starts at `base` of the file.
    pub(super) fn new(file: &'a File, base: u64, pieces: Pieces) -> Self {
        Self { file, base, pieces }
    }

    /// The part of the file that starts at `base`.
    pub(super) fn part(file: &'a File, base: u64, length: u64) -> Self {
        Self { file, base, pieces: vec![(Some(0), length)] }
    }

    pub(super) fn size(&self) -> u64 {
        self.pieces.iter().map(|(_, length)| length).sum()
    }

    pub(super) fn sha256(&self) -> io::Result<Sha256> {
        Ok(hash::copy(&mut Stream { content: self, at: 0 }, &mut io::sink())?.1)
    }

    /// Up to `length` bytes from `at` on.
    pub(super) fn read(&self, at: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut skip = at;
        for (start, size) in &self.pieces {
            let left = (length - bytes.len()) as u64;
            if skip >= *size {
                skip -= size;
                continue;
            }
            let mut piece = vec![0; (size - skip).min(left) as usize];
            if let Some(start) = start {
                self.file.read_exact_at(&mut piece, self.base + start + skip)?;
            }
            bytes.extend(piece);
            skip = 0;
        }
        Ok(bytes)
    }
}

/// Reads from a place on.
struct Stream<'a> {
    content: &'a Content<'a>,
    at: u64,
}

impl io::Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.content.read(self.at, buffer.len())?;
        buffer.iter_mut().zip(&bytes).for_each(|(to, from)| *to = *from);
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

/// The first byte that is not in both; `None` if they are equal.
pub(super) fn first(old: &Content<'_>, new: &Content<'_>) -> io::Result<Option<u64>> {
    let mut at = 0;
    loop {
        let (left, right) = (old.read(at, CHUNK)?, new.read(at, CHUNK)?);
        if left != right {
            let same = left.iter().zip(&right).take_while(|(left, right)| left == right).count();
            return Ok(Some(at + same as u64));
        }
        if left.is_empty() {
            return Ok(None);
        }
        at += left.len() as u64;
    }
}

/// Whether two files are one, or have the same bytes.
pub(super) fn equal(old: &Path, new: &Path) -> anyhow::Result<bool> {
    let open = |path: &Path| {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        Ok::<_, io::Error>((file, metadata))
    };
    let (left, right) = (open(old), open(new));
    let (left, before) = left.with_context(|| format!("reading {}", old.display()))?;
    let (right, after) = right.with_context(|| format!("reading {}", new.display()))?;
    if (before.dev(), before.ino()) == (after.dev(), after.ino()) {
        return Ok(true);
    }
    let (left, right) = (Content::part(&left, 0, before.len()), Content::part(&right, 0, after.len()));
    let same = before.len() == after.len() && first(&left, &right).map(|first| first.is_none())?;
    Ok(same)
}

/// What the difference at `offset` looks like.
pub(super) fn guess(old: &Content<'_>, new: &Content<'_>, offset: u64) -> io::Result<Cause> {
    let from = offset.saturating_sub(AROUND);
    let window = |content: &Content<'_>| content.read(from, 2 * AROUND as usize);
    let (left, right) = (window(old)?, window(new)?);
    let at = (offset - from) as usize;
    let both = [&left, &right];
    if both.iter().any(|bytes| is_in_path(bytes, at)) {
        return Ok(Cause::EmbeddedPath);
    }
    if both.iter().all(|bytes| is_in_date(bytes, at)) || is_binary_time(&left, &right, offset, from) {
        return Ok(Cause::Timestamp);
    }
    if old.size() == new.size() && old.size() <= MAX_SORTED {
        let sorted = |content: &Content<'_>| {
            let bytes = content.read(0, MAX_SORTED as usize)?;
            let mut lines: Vec<_> = bytes.split(|&byte| byte == b'\n' || byte == 0).map(<[u8]>::to_vec).collect();
            lines.sort();
            Ok::<_, io::Error>(lines)
        };
        if sorted(old)? == sorted(new)? {
            return Ok(Cause::Order);
        }
    }
    Ok(Cause::Unexplained)
}

/// The bytes around `at` for which `is` holds, and where they start.
fn run(bytes: &[u8], at: usize, is: impl Fn(u8) -> bool) -> (usize, &[u8]) {
    let before = bytes.get(..at).unwrap_or_default();
    let after = bytes.get(at..).unwrap_or_default();
    let start = at - before.iter().rev().take_while(|&&byte| is(byte)).count();
    let end = at + after.iter().take_while(|&&byte| is(byte)).count();
    (start, bytes.get(start..end).unwrap_or_default())
}

/// Whether `at` is in a word that is an absolute path of at least two names.
fn is_in_path(bytes: &[u8], at: usize) -> bool {
    let (_, word) = run(bytes, at, |byte| byte.is_ascii_graphic() && !b"\"'`:;,=<>()[]{}|".contains(&byte));
    let names = word.strip_prefix(b"/").map(|rest| rest.split(|&byte| byte == b'/').filter(|name| !name.is_empty()));
    names.is_some_and(|names| names.count() >= 2)
}

/// Whether `at` is in a text like `2026-11-23`, `10:04:30`, `Nov 23 2026` or `1795428270`.
fn is_in_date(bytes: &[u8], at: usize) -> bool {
    let (start, digits) = run(bytes, at, |byte| byte.is_ascii_digit());
    let number = str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    if digits.len() == 10 && number.is_some_and(|number| TIMES.contains(&number)) {
        return true;
    }
    // Each letter and digit stands for its class, and the rest for itself.
    let from = start.saturating_sub(16);
    let around = bytes.get(from..(at + 16).min(bytes.len())).unwrap_or_default();
    let class = |byte: &u8| match byte {
        b'0'..=b'9' => b'0',
        byte if byte.is_ascii_alphabetic() => b'a',
        byte => *byte,
    };
    let shape: Vec<u8> = around.iter().map(class).collect();
    const SHAPES: [&[u8]; 4] = [b"0000-00-00", b"00:00:00", b"aaa 00 0000", b"aaa  0 0000"];
    let holds = |shape_of: &&[u8]| {
        let found = shape.windows(shape_of.len()).enumerate().filter(|(_, window)| window == shape_of);
        found.into_iter().any(|(start, window)| (start..start + window.len()).contains(&(at - from)))
    };
    SHAPES.iter().any(holds)
}

/// Whether the aligned 32-bit number around `offset` is a plausible time in both.
fn is_binary_time(old: &[u8], new: &[u8], offset: u64, from: u64) -> bool {
    let Some(start) = (offset & !3).checked_sub(from) else { return false };
    let number = |bytes: &[u8]| bytes.get(start as usize..)?.first_chunk().copied();
    let (Some(old), Some(new)) = (number(old), number(new)) else { return false };
    // Four letters are a number in that range more often than not.
    let is_text = |bytes: [u8; 4]| bytes.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    if is_text(old) && is_text(new) {
        return false;
    }
    let is = |decode: fn([u8; 4]) -> u32| TIMES.contains(&decode(old)) && TIMES.contains(&decode(new));
    is(u32::from_le_bytes) || is(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn the_first_byte_and_what_it_looks_like() {
        let long = |last: &[u8]| [vec![b'x'; CHUNK + 7], last.to_vec()].concat();
        let binary = |time: u32| [b"\x7fELF".as_slice(), &time.to_le_bytes(), b"tail"].concat();
        let cases: [(Vec<u8>, Vec<u8>, u64, Cause); 11] = [
            (b"abc".into(), b"abd".into(), 2, Cause::Unexplained),
            (b"abc".into(), b"ab".into(), 2, Cause::Unexplained),
            (long(b"1"), long(b"2"), CHUNK as u64 + 7, Cause::Unexplained),
            (b"in /srv/ann/src here".into(), b"in /srv/bob/src here".into(), 8, Cause::EmbeddedPath),
            (b"a/b".into(), b"a/c".into(), 2, Cause::Unexplained),
            (b"built 2026-11-23.".into(), b"built 2026-11-24.".into(), 15, Cause::Timestamp),
            (b"built Nov 23 2026 10:04:30".into(), b"built Nov 23 2026 10:05:30".into(), 22, Cause::Timestamp),
            (b"t=1795428270;".into(), b"t=1795428999;".into(), 9, Cause::Timestamp),
            (binary(1_795_428_270), binary(1_795_000_000), 4, Cause::Timestamp),
            (b"one\ntwo\nsix\n".into(), b"two\none\nsix\n".into(), 0, Cause::Order),
            (b"version 1.2.3".into(), b"version 1.2.4".into(), 12, Cause::Unexplained),
        ];
        for (old, new, offset, cause) in cases {
            let (left, right) = (file(&old), file(&new));
            let content = |file, bytes: &[u8]| Content::part(file, 0, bytes.len() as u64);
            let (left, right) = (content(&left, &old), content(&right, &new));
            let shown = String::from_utf8_lossy(&new);
            assert_eq!(first(&left, &right).unwrap(), Some(offset), "{shown}");
            assert_eq!(guess(&left, &right, offset).unwrap(), cause, "{shown}");
            assert_eq!(first(&left, &left).unwrap(), None);
        }
    }

    #[test]
    fn pieces_and_holes() {
        let image = file(b"..cdab..");
        let whole = file(b"ab\0\0\0cd");
        let content = Content::new(&image, 2, vec![(Some(2), 2), (None, 3), (Some(0), 2)]);
        assert_eq!((content.size(), content.read(1, 5).unwrap()), (7, b"b\0\0\0c".to_vec()));
        assert_eq!(first(&content, &Content::part(&whole, 0, 7)).unwrap(), None);
    }
}
