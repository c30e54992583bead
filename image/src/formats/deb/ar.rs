//! The outer archive of a package (ar(5) with three members).

use crate::formats::compression::Compression;
use anyhow::{Context as _, bail, ensure};
use std::io::{Read, Seek, SeekFrom};

const MAGIC: &[u8; 8] = b"!<arch>\n";

/// Where a compressed tar archive lies in the package.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) compression: Compression,
    /// Of its first byte, from the file's start.
    pub(super) offset: u64,
    /// Its length in bytes.
    pub(super) size: u64,
}

/// Finds control.tar and data.tar.
pub(super) fn members(file: &mut (impl Read + Seek)) -> anyhow::Result<(Member, Member)> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(0))?;
    let mut magic = [0; 8];
    file.read_exact(&mut magic).context("reading the ar magic")?;
    ensure!(&magic == MAGIC, "not a Debian package: expected it to start with `!<arch>`");

    let (version, mut at) = header(file, MAGIC.len() as u64, length, "debian-binary")?;
    ensure!(version.size == 4, "debian-binary has {} bytes, expected 4", version.size);
    let mut text = [0; 4];
    file.read_exact(&mut text)?;
    ensure!(&text == b"2.0\n", "debian-binary is {:?}, expected \"2.0\\n\"", String::from_utf8_lossy(&text));

    let (control, data);
    (control, at) = header(file, at, length, "control.tar")?;
    (data, at) = header(file, at, length, "data.tar")?;
    ensure!(at == length, "{} bytes after data.tar; expected the package to end there", length.saturating_sub(at));
    Ok((control, data))
}

/// Reads the header at `at`, which must be called `name` (with a compression's suffix), and gives the next one's place.
fn header(file: &mut (impl Read + Seek), at: u64, length: u64, name: &str) -> anyhow::Result<(Member, u64)> {
    file.seek(SeekFrom::Start(at))?;
    let mut header = [0; 60];
    file.read_exact(&mut header).with_context(|| format!("reading the ar header of {name}"))?;
    let field = |from: usize, to: usize| header.get(from..to).unwrap_or_default().trim_ascii_end();
    let found = field(0, 16);
    let found = found.strip_suffix(b"/").unwrap_or(found);
    let compression = match found.strip_prefix(name.as_bytes()) {
        Some(b"") => Compression::None,
        Some(b".gz") => Compression::Gzip,
        Some(b".xz") => Compression::Xz,
        Some(b".zst") => Compression::Zstd,
        _ => bail!("ar member {:?}, expected {name}", String::from_utf8_lossy(found)),
    };
    ensure!(header.ends_with(b"`\n"), "the ar header of {name} does not end in \"`\\n\"");
    let size: u64 = str::from_utf8(field(48, 58))
        .ok()
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .with_context(|| format!("the ar header of {name} has no decimal size"))?;
    let offset = at + header.len() as u64;
    let end = offset.saturating_add(size);
    ensure!(end <= length, "{name} needs {end} bytes, the package has {length}: it is truncated");
    Ok((Member { compression, offset, size }, (end + end % 2).min(length)))
}
