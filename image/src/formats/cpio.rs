//! The initrd's archive format, newc (Linux's Documentation/driver-api/early-userspace/buffer-format.rst): a
//! deterministic writer and a strict, bounded reader.

use crate::formats::filetree::{Body, Content, Tree, check_parents, pad, stored_mode};
use crate::formats::hash;
use crate::formats::listing::{Entry, Kind, TreePath};
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::io::{Read, Write};

const MAGIC: &[u8; 6] = b"070701";
const HEADER: u64 = 110;
const TRAILER: &[u8] = b"TRAILER!!!";
/// Most members read from one archive.
const MAX_MEMBERS: usize = 250_000;
/// Longest name accepted, with its terminating zero.
const MAX_NAME: u32 = 4096;
/// Longest symbolic link accepted.
const MAX_LINK: u64 = 4095;

const TYPE: u32 = 0o170_000;
const FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER: u32 = 0o020_000;
const BLOCK: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;

/// Writes `tree`: sorted by path, inode numbers from 1, every time `epoch` (seconds since 1970), devices 0, one
/// link each. The bytes depend on nothing else.
pub fn write(tree: &Tree, epoch: u32, out: &mut impl Write) -> anyhow::Result<()> {
    check_parents(tree)?;
    for (ino, (path, node)) in (1..).zip(tree) {
        let kind = match node.content {
            Content::Directory => DIRECTORY,
            Content::Symlink(_) => SYMLINK,
            Content::Copied(_) | Content::Bytes(_) => FILE,
        };
        let body = Body::open(path, node)?;
        let size = u32::try_from(body.size()).with_context(|| format!("{path} is too large for a cpio archive"))?;
        let name: &[u8] = if path == &TreePath::ROOT { b"." } else { path.as_bytes() };
        ensure!(name != TRAILER, "{path} is the name that ends a cpio archive");
        header(out, name, [ino, kind | u32::from(stored_mode(node)), node.uid, node.gid, 1, epoch, size])?;
        body.write(out, 4).with_context(|| format!("writing {path} to the archive"))?;
    }
    header(out, TRAILER, [0, 0, 0, 0, 1, 0, 0])
}

/// The fields are inode, mode, owner, group, links, time, size.
fn header(out: &mut impl Write, name: &[u8], fields: [u32; 7]) -> anyhow::Result<()> {
    let length = u32::try_from(name.len())? + 1;
    out.write_all(MAGIC)?;
    // After the size: major and minor of the file system and of the device, the name's length, a checksum.
    for field in fields.into_iter().chain([0, 0, 0, 0, length, 0]) {
        write!(out, "{field:08x}")?;
    }
    out.write_all(name)?;
    out.write_all(&[0])?;
    pad(out, HEADER + u64::from(length), 4)
}

/// Reads one archive up to and with its trailer and gives its entries, sorted. `from` is left behind the trailer, where
/// an initrd may go on with zeros and another, perhaps compressed archive.
///
/// Hard links appear as files of their own. Names must stay inside the tree and be unique.
pub fn read(from: &mut impl Read) -> anyhow::Result<Vec<Entry>> {
    let mut entries = BTreeMap::new();
    // GNU cpio stores the content of a file with several names with the last of them.
    let mut links = BTreeMap::<[u32; 3], Vec<TreePath>>::new();
    for number in 1.. {
        let member = (|| {
            let header = Header::read(from)?;
            let member = header.member(from).with_context(|| format!("named {:?}", header.shown_name()))?;
            Ok::<_, anyhow::Error>((header, member))
        })();
        let (header, member) = member.with_context(|| format!("cpio member {number}"))?;
        let Some(entry) = member else { break };
        ensure!(number <= MAX_MEMBERS, "more than {MAX_MEMBERS} cpio members");
        let path = entry.path.clone();
        if let (Kind::File { .. }, true) = (&entry.kind, header.links > 1) {
            links.entry(header.file).or_default().push(path.clone());
        }
        ensure!(
            entries.insert(path, entry).is_none(),
            "cpio member {number}: duplicate name {:?}",
            header.shown_name()
        );
    }
    for names in links.values() {
        let full = names.iter().filter_map(|name| entries.get(name)).map(|entry| entry.kind.clone());
        let full = full.max_by_key(|kind| if let Kind::File { size, .. } = kind { *size } else { 0 });
        for name in names {
            if let (Some(entry), Some(full)) = (entries.get_mut(name), &full) {
                entry.kind = full.clone();
            }
        }
    }
    Ok(entries.into_values().collect())
}

struct Header {
    name: Vec<u8>,
    mode: u32,
    uid: u32,
    gid: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
    /// Which file it is a name of: inode and the file system's device number.
    file: [u32; 3],
}

impl Header {
    fn read(from: &mut impl Read) -> anyhow::Result<Self> {
        let mut bytes = [0; HEADER as usize];
        from.read_exact(&mut bytes).context("reading the header")?;
        let (magic, rest) = bytes.split_at(MAGIC.len());
        ensure!(magic == MAGIC, "magic {:?}, expected \"070701\"", String::from_utf8_lossy(magic));
        let mut fields = [0; 13];
        for (field, digits) in fields.iter_mut().zip(rest.chunks(8)) {
            let text = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let text =
                text.with_context(|| format!("field {:?} is not hexadecimal", String::from_utf8_lossy(digits)))?;
            *field = u32::from_str_radix(text, 16)?;
        }
        let [ino, mode, uid, gid, links, _time, size, fs_major, fs_minor, major, minor, length, sum] = fields;
        ensure!(sum == 0, "checksum field {sum:08x}, expected 0");
        ensure!((2..=MAX_NAME).contains(&length), "name of {length} bytes, expected 2 to {MAX_NAME}");
        let mut name = vec![0; length as usize];
        from.read_exact(&mut name).context("reading the name")?;
        ensure!(name.pop() == Some(0), "the name is not ended by a zero byte");
        skip_padding(from, HEADER + u64::from(length))?;
        Ok(Self { name, mode, uid, gid, links, size, device: (major, minor), file: [ino, fs_major, fs_minor] })
    }

    fn shown_name(&self) -> String {
        String::from_utf8_lossy(&self.name).into_owned()
    }

    /// Reads what follows the header; `None` for the trailer.
    fn member(&self, from: &mut impl Read) -> anyhow::Result<Option<Entry>> {
        if self.name == TRAILER {
            ensure!(self.size == 0, "the trailer has {} bytes of data", self.size);
            return Ok(None);
        }
        let path = TreePath::from_member(&self.name)?;
        let (size, (major, minor)) = (u64::from(self.size), self.device);
        let kind = match self.mode & TYPE {
            FILE => {
                let (copied, sha256) = hash::copy(&mut from.by_ref().take(size), &mut std::io::sink())?;
                ensure!(copied == size, "the archive ends {} bytes before the end of its data", size - copied);
                Kind::File { size, sha256 }
            }
            SYMLINK => {
                ensure!((1..=MAX_LINK).contains(&size), "a link of {size} bytes, expected 1 to {MAX_LINK}");
                let mut target = vec![0; usize::try_from(size)?];
                from.read_exact(&mut target).context("reading the link's text")?;
                Kind::Symlink { target }
            }
            _ if size != 0 => bail!("neither a file nor a link but has {size} bytes of data"),
            DIRECTORY => Kind::Directory,
            CHARACTER => Kind::CharacterDevice { major, minor },
            BLOCK => Kind::BlockDevice { major, minor },
            FIFO => Kind::Fifo,
            SOCKET => Kind::Socket,
            other => bail!("unknown file type {other:o}"),
        };
        skip_padding(from, size)?;
        let mode = u16::try_from(self.mode & 0o7777)?;
        Ok(Some(Entry { path, kind, mode, uid: self.uid, gid: self.gid }))
    }
}

fn skip_padding(from: &mut impl Read, read: u64) -> anyhow::Result<()> {
    let mut zeros = [0; 3];
    let zeros = zeros.get_mut(..(read.next_multiple_of(4) - read) as usize).context("padding")?;
    from.read_exact(zeros).context("reading padding")?;
    ensure!(zeros.iter().all(|&byte| byte == 0), "padding that is not zero");
    Ok(())
}
