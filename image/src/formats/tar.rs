//! Tar archives: a strict, bounded reader for what packages contain and a deterministic writer for what
//! `mkfs.erofs --tar=f` reads.

mod read;

pub use read::{Member, MemberKind, Reader};

use crate::formats::filetree::{Body, Content, Tree, check_parents, pad, stored_mode};
use crate::formats::listing::TreePath;
use anyhow::Context as _;
use std::io::Write;

/// Length of a header, and what data is padded to.
const BLOCK: u64 = 512;

/// Writes `tree`: sorted by path, every time `epoch` (seconds since 1970), numeric owners only, long names as GNU
/// tar writes them. The bytes depend on nothing else.
pub fn write(tree: &Tree, epoch: u64, out: &mut impl Write) -> anyhow::Result<()> {
    check_parents(tree)?;
    for (path, node) in tree {
        let body = Body::open(path, node)?;
        let mut name = if path == &TreePath::ROOT { b".".to_vec() } else { path.as_bytes().to_vec() };
        let (kind, link) = match &node.content {
            Content::Directory => (tar::EntryType::Directory, None),
            Content::Symlink(target) => (tar::EntryType::Symlink, Some(target.as_slice())),
            Content::Copied(_) | Content::Bytes(_) => (tar::EntryType::Regular, None),
        };
        if kind == tar::EntryType::Directory {
            name.push(b'/');
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(stored_mode(node).into());
        header.set_uid(node.uid.into());
        header.set_gid(node.gid.into());
        header.set_mtime(epoch);
        header.set_size(if link.is_some() { 0 } else { body.size() });
        fill(&mut header.as_old_mut().name, &name, tar::EntryType::GNULongName, out)?;
        fill(&mut header.as_old_mut().linkname, link.unwrap_or_default(), tar::EntryType::GNULongLink, out)?;
        header.set_cksum();
        out.write_all(header.as_bytes())?;
        if link.is_none() {
            body.write(out, BLOCK).with_context(|| format!("writing {path} to the archive"))?;
        }
    }
    out.write_all(&[0; 2 * BLOCK as usize])?;
    Ok(())
}

/// Puts `text` into a header's field, or, where it does not fit, its head there and all of it into a member before.
fn fill(field: &mut [u8; 100], text: &[u8], kind: tar::EntryType, out: &mut impl Write) -> anyhow::Result<()> {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
    if text.len() <= field.len() {
        return Ok(());
    }
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_path("././@LongLink")?;
    header.set_mode(0);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let size = text.len() as u64 + 1;
    header.set_size(size);
    header.set_cksum();
    out.write_all(header.as_bytes())?;
    out.write_all(text)?;
    out.write_all(&[0])?;
    pad(out, size, BLOCK)
}
