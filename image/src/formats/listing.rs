//! What is in a tree of files: one [`Entry`] per path, in raw byte order, and a text form whose digest
//! names the whole tree. The text is specified in docs/formats.md.

mod directory;
mod path;
mod text;

pub use path::{MAX_NAME, MAX_PATH, PathError, TreePath};
pub use text::ListingError;

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

/// What an image keeps of a path besides its [`Entry`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Its inode number there.
    pub number: u64,
    /// Its time, in seconds since 1970.
    pub time: u64,
    /// Where a file's bytes are.
    pub pieces: Pieces,
}

/// Parts of a file in order: where each starts in the image, `None` for zeros that are not stored, and its length in
/// bytes.
pub type Pieces = Vec<(Option<u64>, u64)>;

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

/// The entries of a whole tree, sorted by path, each path once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing(Vec<Entry>);

/// SHA-256 of a listing's text: names a tree's content, owners and modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct TreeDigest(pub Sha256);

impl Listing {
    /// Sorts `entries`; an error if a path appears twice.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ListingError> {
        entries.sort_by(|left, right| left.path.cmp(&right.path));
        for pair in entries.windows(2) {
            if let [left, right] = pair
                && left.path == right.path
            {
                return Err(ListingError::Duplicate(left.path.clone()));
            }
        }
        Ok(Self(entries))
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// What stands at `path`.
    pub fn find(&self, path: &TreePath) -> Option<&Entry> {
        let at = self.0.binary_search_by(|entry| entry.path.cmp(path)).ok()?;
        self.0.get(at)
    }

    /// The digest of the text form.
    pub fn digest(&self) -> TreeDigest {
        TreeDigest(Sha256::of(self.to_string().as_bytes()))
    }
}

impl std::fmt::Display for TreeDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}
