//! Compressed streams as packages and initrds carry them, recognised by their first bytes.

use anyhow::Context as _;
use std::fmt;
use std::io::{BufRead, Read};

/// Most memory a decoder may use for its window, in KiB. `xz -9` needs 65 MiB, `zstd --ultra -22` 128 MiB.
const MAX_WINDOW_KIB: u32 = 192 * 1024;

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// RFC 1952, one or more members.
    Gzip,
    /// The .xz format, one or more streams.
    Xz,
    /// RFC 8878, one frame.
    Zstd,
}

impl Compression {
    /// What a stream that starts with `head` is compressed with; `None` for anything unknown.
    pub fn recognise(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            _ => Self::None,
        }
    }

    /// Decompresses `from`, with bounded memory. What it yields is unbounded: the caller caps it.
    pub fn reader<'a>(self, from: impl BufRead + 'a) -> anyhow::Result<Box<dyn Read + 'a>> {
        Ok(match self {
            Self::None => Box::new(from),
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(from)),
            Self::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(from, true, MAX_WINDOW_KIB)),
            Self::Zstd => Box::new(
                ruzstd::decoding::StreamingDecoder::new_with_max_window_size(from, u64::from(MAX_WINDOW_KIB) * 1024)
                    .context("reading the zstd frame header")?,
            ),
        })
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// Yields what `from` yields and fails, rather than ends, once that is more than a limit.
#[derive(Debug)]
pub struct Capped<R> {
    from: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Capped<R> {
    /// Accepts at most `limit` bytes of `from`.
    pub fn new(from: R, limit: u64) -> Self {
        Self { from, limit, left: limit }
    }
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            std::io::Error::other(format!("unpacks to more than {} bytes, which is more than is accepted", self.limit))
        })?;
        Ok(read)
    }
}
