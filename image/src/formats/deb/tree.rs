//! The directory a package is unpacked into, seen as a root that nothing may leave.

use crate::formats::listing::TreePath;
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Most symbolic links followed on the way to one path, as in Linux.
const MAX_LINKS: usize = 40;

/// A tree being written. Members only ever add paths and never replace one, so a directory resolved once stays valid.
pub(super) struct Tree<'a> {
    root: &'a Path,
    resolved: BTreeMap<TreePath, PathBuf>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, resolved: BTreeMap::new() }
    }

    /// Creates the file at `path`, private until [`finish`] is called.
    pub(super) fn create(&mut self, path: &TreePath) -> anyhow::Result<File> {
        let place = self.place(path)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&place).with_context(|| taken("a file"))
    }

    /// Makes sure that there is a directory at `path`, or a link to one.
    pub(super) fn directory(&mut self, path: &TreePath) -> anyhow::Result<()> {
        self.resolve(path).map(|_place| ())
    }

    pub(super) fn symlink(&mut self, path: &TreePath, target: &[u8]) -> anyhow::Result<()> {
        let place = self.place(path)?;
        symlink(OsStr::from_bytes(target), &place).with_context(|| taken("a link"))
    }

    pub(super) fn hard_link(&mut self, target: &TreePath, path: &TreePath) -> anyhow::Result<()> {
        let (target, place) = (self.place(target)?, self.place(path)?);
        fs::hard_link(&target, &place).with_context(|| taken("a hard link"))
    }

    /// Where `path` really is: its directory resolved, its last component as it stands.
    fn place(&mut self, path: &TreePath) -> anyhow::Result<PathBuf> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            bail!("the tree's root can only be a directory");
        };
        Ok(self.resolve(&parent)?.join(OsStr::from_bytes(name)))
    }

    /// The real place of directory `path`, following links as if `root` were `/` and making what is missing.
    fn resolve(&mut self, path: &TreePath) -> anyhow::Result<PathBuf> {
        if let Some(place) = self.resolved.get(path) {
            return Ok(place.clone());
        }
        let mut todo: VecDeque<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        let mut place = self.root.to_path_buf();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                ensure!(place != self.root, "a link on the way to it leaves the tree");
                place.pop();
                continue;
            }
            place.push(OsStr::from_bytes(&name));
            let Some(target) = link_or_directory(&place)? else { continue };
            links += 1;
            ensure!(links <= MAX_LINKS, "more than {MAX_LINKS} links on the way to it");
            place.pop();
            if target.starts_with(b"/") {
                place = self.root.to_path_buf();
            }
            let names = target.split(|&byte| byte == b'/').filter(|name| !matches!(name, [] | [b'.']));
            for name in names.rev() {
                todo.push_front(name.to_vec());
            }
        }
        self.resolved.insert(path.clone(), place.clone());
        Ok(place)
    }
}

/// The target of the link at `place`, or `None` if a directory is there, which is made if nothing is.
fn link_or_directory(place: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    // Another thread may make the same path between the two calls; then the second look finds it.
    for _attempt in 0..2 {
        match fs::symlink_metadata(place) {
            Ok(found) if found.is_dir() => return Ok(None),
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(place).with_context(|| format!("reading link {}", place.display()))?;
                return Ok(Some(target.into_os_string().into_vec()));
            }
            Ok(_) => bail!("{} is neither a directory nor a link to one", place.display()),
            Err(error) if error.kind() == ErrorKind::NotFound => match fs::create_dir(place) {
                Ok(()) => {
                    fs::set_permissions(place, Permissions::from_mode(0o755))?;
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("making directory {}", place.display())),
            },
            Err(error) => return Err(error).with_context(|| format!("looking at {}", place.display())),
        }
    }
    bail!("{} appears and disappears", place.display())
}

/// Gives a written file its mode (see [`super::Deb::unpack`]) and time.
pub(super) fn finish(file: &File, mode: u16, mtime: u64) -> anyhow::Result<()> {
    file.set_permissions(Permissions::from_mode(u32::from(mode & 0o777 | 0o600))).context("setting its mode")?;
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(mtime)).context("its time is out of range")?;
    file.set_modified(time).context("setting its time")
}

/// Refuses a link whose text climbs above the tree's root.
pub(super) fn check_target(path: &TreePath, target: &[u8]) -> anyhow::Result<()> {
    ensure!(!target.is_empty() && !target.contains(&0), "a link to nothing");
    let mut depth = if target.starts_with(b"/") { 0 } else { path.components().count().saturating_sub(1) };
    for name in target.split(|&byte| byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." => depth = depth.checked_sub(1).context("a link that leaves the tree")?,
            _ => depth += 1,
        }
    }
    Ok(())
}

fn taken(what: &str) -> String {
    format!("making {what} there (is the path also in another package?)")
}
