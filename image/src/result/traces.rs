//! Looks for what a build must not leave in an image: texts that tell where and by whom it was made.

use crate::formats::compression::Compression;
use anyhow::Context as _;
use std::fmt;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Most bytes of one compressed stream that are looked at.
const MAX_STREAM: u64 = 512 << 20;

/// The first bytes of a compressed stream, with more of them than [`Compression::recognise`] needs where those are few.
const MAGICS: [&[u8]; 3] = [&[0x1f, 0x8b, 8], &[0xfd, b'7', b'z', b'X', b'Z', 0], &[0x28, 0xb5, 0x2f, 0xfd]];

/// A text that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The file, and the compressed stream in it.
    pub place: String,
    /// The text.
    pub text: String,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.place, self.text)
    }
}

/// Every one of `texts` in the names, link targets and contents below `dir`.
///
/// # Errors
/// When something cannot be read.
pub fn in_tree(dir: &Path, texts: &[String]) -> anyhow::Result<Vec<Trace>> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    for entry in entries.with_context(|| format!("listing {}", dir.display()))? {
        let path = entry.path();
        let place = path.display().to_string();
        found.extend(plain(&format!("the name of {place}"), entry.file_name().as_bytes(), texts));
        let reading = || format!("reading {place}");
        let kind = entry.file_type().with_context(reading)?;
        if kind.is_dir() {
            found.extend(in_tree(&path, texts)?);
        } else if kind.is_symlink() {
            found.extend(plain(&place, fs::read_link(&path).with_context(reading)?.as_os_str().as_bytes(), texts));
        } else if kind.is_file() {
            found.extend(in_bytes(&place, &fs::read(&path).with_context(reading)?, texts));
        }
    }
    Ok(found)
}

/// Every one of `texts` in `bytes`, and in what any compressed stream that begins anywhere in them unpacks to: the
/// modules of an initrd, the payload of a kernel.
pub fn in_bytes(place: &str, bytes: &[u8], texts: &[String]) -> Vec<Trace> {
    let mut found = plain(place, bytes, texts);
    let is_start = |&at: &usize| MAGICS.iter().any(|magic| bytes[at..].starts_with(magic));
    for at in (0..bytes.len()).filter(is_start) {
        let stream = &bytes[at..];
        let Ok(reader) = Compression::recognise(stream).reader(stream) else { continue };
        let mut unpacked = Vec::new();
        // What looks like a stream often is none, and what follows one always is none: what came out counts.
        let _not_a_stream = reader.take(MAX_STREAM).read_to_end(&mut unpacked);
        found.extend(plain(&format!("{place}, unpacked from byte {at}"), &unpacked, texts));
    }
    found
}

fn plain(place: &str, bytes: &[u8], texts: &[String]) -> Vec<Trace> {
    let holds = |text: &&String| bytes.windows(text.len().max(1)).any(|window| window == text.as_bytes());
    texts.iter().filter(holds).map(|text| Trace { place: place.to_owned(), text: text.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn planted_traces_are_found() {
        let gzip = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let packed = [b"\x1f\x8b\x08 no stream".as_slice(), &gzip("in /home/me/module"), b"rest"].concat();
        let dir = tempfile::tempdir().unwrap();
        let texts = ["/home/me", "myhost"].map(str::to_owned);
        let in_dir = dir.path().join("d");
        fs::create_dir(&in_dir).unwrap();
        let found = || {
            let mut found: Vec<_> = in_tree(dir.path(), &texts).unwrap().iter().map(Trace::to_string).collect();
            found.sort();
            found
        };
        let at = in_dir.display().to_string();
        fs::write(in_dir.join("clean"), gzip("nothing of /home/you")).unwrap();
        assert_eq!(found(), [""; 0]);
        fs::write(in_dir.join("packed"), packed).unwrap();
        fs::write(in_dir.join("plain"), "at\0/home/me\0").unwrap();
        fs::write(in_dir.join("on-myhost"), "").unwrap();
        std::os::unix::fs::symlink("/home/me/x", in_dir.join("link")).unwrap();
        assert_eq!(
            found(),
            [
                format!("{at}/link: \"/home/me\""),
                format!("{at}/packed, unpacked from byte 13: \"/home/me\""),
                format!("{at}/plain: \"/home/me\""),
                format!("the name of {at}/on-myhost: \"myhost\""),
            ]
        );
    }
}
