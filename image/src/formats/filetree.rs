//! A tree of files as it shall be in an image, before it is written as cpio or tar. Owners and modes come from here,
//! never from the files on disk that hold the content.

use crate::formats::hash;
use crate::formats::listing::{Entry, Kind, Listing, TreePath};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::PathBuf;

/// All paths of a tree, in raw byte order, so parents come before what is in them. The root is [`TreePath::ROOT`].
pub type Tree = BTreeMap<TreePath, Node>;

/// What shall stand at a path. There are no devices, pipes or hard links: none of our images needs one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub content: Content,
    /// Permission bits with setuid, setgid and sticky, at most 0o7777. Not used for symbolic links, which have 0777.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// A node's kind and where its bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A directory.
    Directory,
    /// A regular file with the bytes of this file on disk.
    Copied(PathBuf),
    /// A regular file with these bytes.
    Bytes(Vec<u8>),
    /// A symbolic link with this text.
    Symlink(Vec<u8>),
}

/// The listing that an image of `tree` shall have. Reads the contents.
pub fn listing(tree: &Tree) -> anyhow::Result<Listing> {
    let entry = |(path, node): (&TreePath, &Node)| {
        let kind = match &node.content {
            Content::Directory => Kind::Directory,
            Content::Bytes(bytes) => Kind::File { size: bytes.len() as u64, sha256: Sha256::of(bytes) },
            Content::Symlink(target) => Kind::Symlink { target: target.clone() },
            Content::Copied(from) => {
                let mut file = File::open(from).with_context(|| format!("opening {} for {path}", from.display()))?;
                let (size, sha256) = hash::copy(&mut file, &mut std::io::sink())?;
                Kind::File { size, sha256 }
            }
        };
        Ok(Entry { path: path.clone(), kind, mode: stored_mode(node), uid: node.uid, gid: node.gid })
    };
    Ok(Listing::new(tree.iter().map(entry).collect::<anyhow::Result<_>>()?)?)
}

/// A node's mode as archives store it.
pub(crate) fn stored_mode(node: &Node) -> u16 {
    if matches!(node.content, Content::Symlink(_)) { 0o777 } else { node.mode & 0o7777 }
}

/// Fails unless the root and every parent is there and a directory.
pub(crate) fn check_parents(tree: &Tree) -> anyhow::Result<()> {
    for path in tree.keys() {
        let parent = path.parent().unwrap_or(TreePath::ROOT);
        let found = tree.get(&parent).map(|node| &node.content);
        ensure!(found == Some(&Content::Directory), "{path} is in {parent}, which is not a directory of the tree");
    }
    Ok(())
}

/// A node's bytes in an archive: a file's content or a link's text.
pub(crate) enum Body {
    Bytes(Vec<u8>),
    File(File, u64),
}

impl Body {
    pub(crate) fn open(path: &TreePath, node: &Node) -> anyhow::Result<Self> {
        Ok(match &node.content {
            Content::Directory => Self::Bytes(Vec::new()),
            Content::Bytes(bytes) | Content::Symlink(bytes) => Self::Bytes(bytes.clone()),
            Content::Copied(from) => {
                let file = File::open(from).with_context(|| format!("opening {} for {path}", from.display()))?;
                let found = file.metadata()?;
                ensure!(found.is_file(), "{} for {path} is not a regular file", from.display());
                Self::File(file, found.len())
            }
        })
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// Writes exactly [`Body::size`] bytes and zeros up to a multiple of `align`.
    pub(crate) fn write(self, out: &mut impl Write, align: u64) -> anyhow::Result<()> {
        let size = self.size();
        let written = match self {
            Self::Bytes(bytes) => out.write_all(&bytes).map(|()| size)?,
            Self::File(file, size) => std::io::copy(&mut file.take(size), out)?,
        };
        ensure!(written == size, "the file shrank from {size} to {written} bytes while it was read");
        pad(out, size, align)
    }
}

/// Writes zeros after `written` bytes up to a multiple of `align`.
pub(crate) fn pad(out: &mut impl Write, written: u64, align: u64) -> anyhow::Result<()> {
    let zeros = written.next_multiple_of(align) - written;
    std::io::copy(&mut std::io::repeat(0).take(zeros), out)?;
    Ok(())
}
