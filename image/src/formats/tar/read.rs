//! A streaming reader with limits; the `tar` crate parses the header's fields.

use super::BLOCK;
use crate::formats::listing::TreePath;
use anyhow::{Context as _, ensure};
use std::io::Read;

/// Longest long name, long link or pax record set. Linux's paths end at 4 KiB.
const MAX_EXTENSION: u64 = 16 * 1024;

/// Reads the members of a tar archive in order: ustar, GNU long names, and pax `path` and `linkpath`.
/// Sparse files and other pax keys that change a member are refused.
pub struct Reader<R> {
    from: R,
    /// Bytes of the current member's data not read yet.
    left: u64,
    /// Bytes of zeros after that data.
    padding: u64,
}

/// One member's header. Its data is read from the [`Reader`] before the next call.
#[derive(Debug)]
pub struct Member {
    /// Where it goes.
    pub path: TreePath,
    /// What it is.
    pub kind: MemberKind,
    /// Permission bits, at most 0o7777.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
}

/// What a member is.
#[derive(Debug, PartialEq, Eq)]
pub enum MemberKind {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
    /// Another name of an earlier member.
    HardLink(TreePath),
    /// Anything else, named for an error.
    Other(&'static str),
}

impl<R: Read> Reader<R> {
    /// Reads the archive that `from` yields.
    pub fn new(from: R) -> Self {
        Self { from, left: 0, padding: 0 }
    }

    /// The next member, or `None` after the last. Skips what is left of the previous member's data.
    pub fn next_member(&mut self) -> anyhow::Result<Option<Member>> {
        let (mut name, mut link) = (None, None);
        loop {
            self.skip()?;
            let Some(header) = self.header()? else {
                ensure!(name.is_none() && link.is_none(), "the archive ends after a long name");
                return Ok(None);
            };
            let size = header.entry_size().context("reading a member's size")?;
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK;
            match header.entry_type() {
                tar::EntryType::GNULongName => name = Some(self.long_name(size)?),
                tar::EntryType::GNULongLink => link = Some(self.long_name(size)?),
                tar::EntryType::XHeader => {
                    let records = self.extension(size)?;
                    for record in tar::PaxExtensions::new(&records) {
                        let record = record.context("reading pax records")?;
                        match record.key_bytes() {
                            b"path" => name = Some(record.value_bytes().to_vec()),
                            b"linkpath" => link = Some(record.value_bytes().to_vec()),
                            b"mtime" | b"atime" | b"ctime" => {}
                            key => anyhow::bail!("unsupported pax record {:?}", String::from_utf8_lossy(key)),
                        }
                    }
                }
                tar::EntryType::XGlobalHeader => anyhow::bail!("unsupported pax global header"),
                _ => {
                    let member = member(&header, name, link, size)?;
                    if !matches!(member.kind, MemberKind::File(_)) {
                        ensure!(size == 0, "{} is not a file but has {size} bytes of data", member.path);
                    }
                    return Ok(Some(member));
                }
            }
        }
    }

    /// Ends reading: whatever follows the archive's end must be zeros.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.from.read(&mut buffer).context("reading the archive's end")? {
                0 => return Ok(()),
                read => ensure!(buffer.iter().take(read).all(|&byte| byte == 0), "data after the archive's end"),
            }
        }
    }

    fn header(&mut self) -> anyhow::Result<Option<tar::Header>> {
        let mut header = tar::Header::new_old();
        let block = header.as_mut_bytes();
        self.from.read_exact(block).context("reading a tar header")?;
        if block.iter().all(|&byte| byte == 0) {
            self.from.read_exact(block).context("reading the archive's end")?;
            ensure!(block.iter().all(|&byte| byte == 0), "one zero block inside the archive; expected two at its end");
            return Ok(None);
        }
        let sum: u32 =
            block.iter().enumerate().map(|(at, &b)| if (148..156).contains(&at) { 32 } else { b.into() }).sum();
        let stored = header.cksum().context("reading a tar header's checksum")?;
        ensure!(sum == stored, "tar header checksum {stored}, computed {sum}");
        Ok(Some(header))
    }

    fn skip(&mut self) -> anyhow::Result<()> {
        let rest = self.left.checked_add(self.padding).context("a member's size exceeds 64 bits")?;
        let skipped = std::io::copy(&mut self.from.by_ref().take(rest), &mut std::io::sink())?;
        ensure!(skipped == rest, "the archive ends {} bytes early", rest - skipped);
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    fn extension(&mut self, size: u64) -> anyhow::Result<Vec<u8>> {
        ensure!(size <= MAX_EXTENSION, "an extended header of {size} bytes; at most {MAX_EXTENSION} are accepted");
        let mut bytes = Vec::new();
        self.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn long_name(&mut self, size: u64) -> anyhow::Result<Vec<u8>> {
        let mut bytes = self.extension(size)?;
        ensure!(bytes.pop() == Some(0), "a long name is not ended by a zero byte");
        Ok(bytes)
    }
}

/// The data of the current member.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.from.by_ref().take(self.left).read(buffer)?;
        if read == 0 && !buffer.is_empty() && self.left > 0 {
            return Err(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                format!("the archive ends {} bytes before the end of a member", self.left),
            ));
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn member(header: &tar::Header, name: Option<Vec<u8>>, link: Option<Vec<u8>>, size: u64) -> anyhow::Result<Member> {
    let path = name.unwrap_or_else(|| header.path_bytes().into_owned());
    let path = TreePath::from_member(&path).context("reading a member's name")?;
    let target = || {
        let target = link.or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        target.with_context(|| format!("{path} is a link to nothing"))
    };
    let kind = match header.entry_type() {
        tar::EntryType::Regular => MemberKind::File(size),
        tar::EntryType::Directory => MemberKind::Directory,
        tar::EntryType::Symlink => MemberKind::Symlink(target()?),
        tar::EntryType::Link => {
            let target = TreePath::from_member(&target()?);
            MemberKind::HardLink(target.with_context(|| format!("reading the target of hard link {path}"))?)
        }
        tar::EntryType::Char => MemberKind::Other("a character device"),
        tar::EntryType::Block => MemberKind::Other("a block device"),
        tar::EntryType::Fifo => MemberKind::Other("a named pipe"),
        tar::EntryType::GNUSparse => MemberKind::Other("a sparse file"),
        _ => MemberKind::Other("of an unknown type"),
    };
    let field = |what: &str, value: std::io::Result<u64>| -> anyhow::Result<u32> {
        let value = value.with_context(|| format!("reading the {what} of {path}"))?;
        u32::try_from(value).with_context(|| format!("the {what} {value} of {path} exceeds 32 bits"))
    };
    let mode = header.mode().with_context(|| format!("reading the mode of {path}"))? & 0o7777;
    Ok(Member {
        kind,
        mode: u16::try_from(mode)?,
        uid: field("owner", header.uid())?,
        gid: field("group", header.gid())?,
        mtime: header.mtime().with_context(|| format!("reading the time of {path}"))?,
        path,
    })
}
