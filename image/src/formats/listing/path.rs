//! A path inside a tree.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest path, as Linux's `PATH_MAX` without its terminating zero.
pub const MAX_PATH: usize = 4095;
/// Longest component, as Linux's `NAME_MAX`.
pub const MAX_NAME: usize = 255;

/// A path relative to a tree's root that cannot leave it: no leading slash, no empty, `.` or `..` component, no
/// zero byte. The root itself is the empty path, shown as `.`. Ordered by raw bytes, so a directory comes
/// before what is in it. (`std::path::Path` orders by component, which differs: `a-b` and `a/b`.)
///
/// As text, every byte outside `!`..`~` and the backslash is written `\xNN`, so a path is one word.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TreePath(Vec<u8>);

/// Why bytes are not a path inside a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// The path starts at the host's root.
    #[error("absolute path {0}; expected one relative to the tree's root")]
    Absolute(String),
    /// The path has a `..` component.
    #[error("path {0} contains `..`; expected one that stays inside the tree")]
    Parent(String),
    /// The path has an empty or `.` component or a zero byte.
    #[error("path {0} has an empty component, a `.` component or a zero byte")]
    Component(String),
    /// The path or one of its components is too long for Linux.
    #[error("path of {length} bytes; expected at most {MAX_PATH}, and {MAX_NAME} per component")]
    TooLong {
        /// Length in bytes of what was found.
        length: usize,
    },
    /// The text form is not the one this type writes.
    #[error("path {0:?} is not escaped as a listing escapes it (`\\xNN` for bytes outside `!`..`~` and for `\\`)")]
    Escape(String),
}

impl TreePath {
    /// The tree's root.
    pub const ROOT: Self = Self(Vec::new());

    /// A path in the strict form described above.
    pub fn new(bytes: &[u8]) -> Result<Self, PathError> {
        if bytes.is_empty() {
            return Ok(Self::ROOT);
        }
        let shown = || escape(bytes.get(..bytes.len().min(MAX_NAME)).unwrap_or(bytes));
        if bytes.starts_with(b"/") {
            return Err(PathError::Absolute(shown()));
        }
        if bytes.len() > MAX_PATH || bytes.split(|&byte| byte == b'/').any(|name| name.len() > MAX_NAME) {
            return Err(PathError::TooLong { length: bytes.len() });
        }
        for name in bytes.split(|&byte| byte == b'/') {
            match name {
                b".." => return Err(PathError::Parent(shown())),
                b"" | b"." => return Err(PathError::Component(shown())),
                _ if name.contains(&0) => return Err(PathError::Component(shown())),
                _ => {}
            }
        }
        Ok(Self(bytes.to_vec()))
    }

    /// A path as archives write it: `./usr/bin/`, `usr/bin` and `.` are accepted, nothing looser.
    pub fn from_member(name: &[u8]) -> Result<Self, PathError> {
        let name = match name {
            b"." | b"./" => return Ok(Self::ROOT),
            b"" => return Err(PathError::Component(String::new())),
            name => name.strip_prefix(b"./").unwrap_or(name),
        };
        Self::new(name.strip_suffix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(name))
    }

    /// Its bytes, empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its components, none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    /// The directory it is in; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let slash = self.0.iter().rposition(|&byte| byte == b'/');
        (!self.0.is_empty()).then(|| Self(self.0.get(..slash.unwrap_or(0)).unwrap_or_default().to_vec()))
    }

    /// Its last component; `None` for the root.
    pub fn file_name(&self) -> Option<&[u8]> {
        self.0.rsplit(|&byte| byte == b'/').next().filter(|name| !name.is_empty())
    }

    /// The path of `name` inside this directory.
    pub fn join(&self, name: &[u8]) -> Result<Self, PathError> {
        Self::new(&if self.0.is_empty() { name.to_vec() } else { [&self.0, b"/".as_slice(), name].concat() })
    }

    /// The place of this path when the tree's root is `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        if self.0.is_empty() { root.to_path_buf() } else { root.join(OsStr::from_bytes(&self.0)) }
    }
}

/// Writes bytes as one word of printable ASCII.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'\\' => text.push_str("\\x5c"),
            b'!'..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

/// The inverse of [`escape`]; `None` unless `escape` writes exactly this text.
pub(super) fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('\\');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits = part.strip_prefix('x')?.get(..2)?;
        bytes.extend(measure::digest::bytes_from_hex(digits).ok()?);
        bytes.extend_from_slice(part.get(3..)?.as_bytes());
    }
    (escape(&bytes) == text).then_some(bytes)
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&if self.0.is_empty() { ".".to_owned() } else { escape(&self.0) })
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TreePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text == "." {
            return Ok(Self::ROOT);
        }
        let bytes = unescape(text).filter(|bytes| !bytes.is_empty());
        Self::new(&bytes.ok_or_else(|| PathError::Escape(text.chars().take(MAX_NAME).collect()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_inside_the_tree() {
        for (name, expected) in [
            (b"./usr/bin/".as_slice(), Some("usr/bin")),
            (b"usr/bin", Some("usr/bin")),
            (b".", Some(".")),
            (b"./", Some(".")),
            (b"./a b\\c\xff", Some("a\\x20b\\x5cc\\xff")),
            (b"a/.../b", Some("a/.../b")),
            (b"", None),
            (b"/etc/passwd", None),
            (b".//etc/passwd", None),
            (b"./../x", None),
            (b"a/../../x", None),
            (b"a/./x", None),
            (b"a//x", None),
            (b"a\0x", None),
            (b"..", None),
            (&[b'x'; 256], None),
        ] {
            let path = TreePath::from_member(name).ok().map(|path| path.to_string());
            assert_eq!(path.as_deref(), expected, "{}", escape(name));
        }
        assert!(TreePath::new([b"d/".as_slice(); 2048].concat().as_slice()).is_err());
    }

    #[test]
    fn text_form_is_the_only_one() -> Result<(), PathError> {
        let path = TreePath::new(b"a b/\\x41")?;
        assert_eq!(path.to_string().parse(), Ok(path));
        for other in ["", "a b", "\\x41", "\\xFF", "\\", "\\x", "\\x2", "é", "/a", "\\x2f", "a/"] {
            assert!(other.parse::<TreePath>().is_err(), "{other}");
        }
        Ok(())
    }

    #[test]
    fn order_is_by_bytes() -> Result<(), PathError> {
        let mut paths = [TreePath::new(b"a/b")?, TreePath::new(b"a-b")?, TreePath::new(b"a")?, TreePath::ROOT];
        paths.sort();
        assert_eq!(paths.map(|path| path.to_string()), [".", "a", "a-b", "a/b"]);
        Ok(())
    }

    #[test]
    fn parents_and_names() -> Result<(), PathError> {
        let path = TreePath::new(b"a/b")?;
        assert_eq!(path.parent(), Some(TreePath::new(b"a")?));
        assert_eq!(TreePath::new(b"a")?.parent(), Some(TreePath::ROOT));
        assert_eq!(TreePath::ROOT.parent(), None);
        assert_eq!(path.file_name(), Some(b"b".as_slice()));
        assert_eq!(TreePath::ROOT.join(b"a")?.join(b"b")?, path);
        assert!(path.join(b"..").is_err());
        Ok(())
    }
}
