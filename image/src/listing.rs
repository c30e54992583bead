//! What is in a tree of files: one [`Entry`] per path, in raw byte order, and a text form whose digest
//! names the whole tree. The text is specified in docs/formats.md.

mod path;

pub use path::{MAX_NAME, MAX_PATH, PathError, TreePath};

use measure::Sha256;

/// One path of a tree with all that is kept of it. Times, inode numbers, link counts and extended attributes are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is, relative to the tree's root.
    pub path: TreePath,
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky, at most 0o7777.
    pub mode: u16,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
}

/// What stands at a path. A hard link is listed as the file it links to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Digest of the content.
        sha256: Sha256,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Its text as stored; absolute ones are relative to the tree's root when the tree is a guest's.
        target: Vec<u8>,
    },
    /// A character device.
    CharacterDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}
