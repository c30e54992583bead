//! Debian binary packages (deb(5)), read and unpacked as hostile input: no maintainer script is run, nothing is
//! written outside the tree, and what a package may cost is bounded.

mod ar;
mod tree;

use crate::formats::bytes::Corrupt;
use crate::formats::compression::{Capped, Compression};
use crate::formats::hash;
use crate::formats::listing::{Entry, Kind, TreePath};
use crate::formats::tar::{MemberKind, Reader};
use anyhow::{Context as _, bail, ensure};
use md5::Digest as _;
use measure::Digest;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use tree::Tree;

/// Most that control.tar may unpack to, and the largest single control file.
const MAX_CONTROL: u64 = 16 << 20;
/// Most that data.tar may unpack to, whatever its compressed size. (Debian's largest linked here: 200 MB.)
const MAX_DATA: u64 = 4 << 30;
/// Most that a small data.tar may unpack to; larger ones may grow by [`MAX_RATIO`].
const FREE_DATA: u64 = 64 << 20;
/// Most that data.tar may grow. Debian's packages stay below 30.
const MAX_RATIO: u64 = 64;
/// Most members of data.tar. (linux-source has 80,000.)
const MAX_MEMBERS: usize = 250_000;

/// An opened package, its outer structure checked.
#[derive(Debug)]
pub struct Deb {
    path: PathBuf,
    control: ar::Member,
    data: ar::Member,
}

impl Deb {
    /// Opens the package at `path` and checks its ar members: `debian-binary` 2.0, `control.tar`, `data.tar`,
    /// in this order, filling the file exactly.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let reading = || format!("reading package {}", path.display());
        let mut file = File::open(path).with_context(reading)?;
        let (control, data) = ar::members(&mut file).with_context(reading)?;
        Ok(Self { path: path.to_path_buf(), control, data })
    }

    /// How control.tar and data.tar are compressed.
    pub fn compression(&self) -> (Compression, Compression) {
        (self.control.compression, self.data.compression)
    }

    /// The fields of the control file, keys as spelled there (`Package`, `Version`, `Depends` ...).
    pub fn control(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let text =
            self.control_file("control")?.with_context(|| format!("{} has no control file", self.path.display()))?;
        let text = String::from_utf8(text).with_context(|| format!("the control file of {}", self.path.display()))?;
        fields(&text).with_context(|| format!("reading the control file of {}", self.path.display()))
    }

    /// The content of one file of control.tar (`control`, `md5sums` ...), if it is there.
    pub fn control_file(&self, name: &str) -> anyhow::Result<Option<Vec<u8>>> {
        let mut found = None;
        self.read(&self.control, MAX_CONTROL, |tar| {
            let mut count = 0;
            while let Some(member) = tar.next_member()? {
                count += 1;
                ensure!(count <= MAX_MEMBERS, "more than {MAX_MEMBERS} members");
                if member.path.as_bytes() == name.as_bytes() {
                    ensure!(found.is_none(), "duplicate member {}", member.path);
                    let mut content = Vec::new();
                    tar.read_to_end(&mut content).with_context(|| format!("reading {}", member.path))?;
                    found = Some(content);
                }
            }
            Ok(())
        })
        .with_context(|| format!("reading control.tar of {}", self.path.display()))?;
        Ok(found)
    }

    /// Every path of the package as the package declares it, sorted; hard links appear as the file they link to.
    pub fn entries(&self) -> anyhow::Result<Vec<Entry>> {
        self.walk(None).with_context(|| format!("reading data.tar of {}", self.path.display()))
    }

    /// Unpacks the package's files into the existing directory `into` and returns [`Deb::entries`].
    ///
    /// The tree is fit to be used and removed by whoever unpacks it, so it differs from what the entries declare:
    /// everything belongs to the caller, directories have mode 0755, files keep their permission bits without setuid,
    /// setgid and sticky and with owner read and write added. Files get the package's time, the rest has the current one.
    ///
    /// A symbolic link to a directory on the way to a member is followed inside the tree, as if `into` were the root
    /// (a member `lib/x` lands in `usr/lib/x` where base-files made `lib` a link; unpack base-files first). Several
    /// packages may be unpacked into one tree at once. A path that already exists, unless both are directories, is an
    /// error; on any error `into` is left as it is and not fit for use.
    pub fn unpack(&self, into: &Path) -> anyhow::Result<Vec<Entry>> {
        self.walk(Some(Tree::new(into)))
            .with_context(|| format!("unpacking {} into {}", self.path.display(), into.display()))
    }

    /// Recomputes the MD5 of every file that the package's `md5sums` names and gives their number; `None` if there is no
    /// such file. What differs or is not there is [`Corrupt`].
    pub fn check_md5sums(&self) -> anyhow::Result<Option<usize>> {
        let Some(text) = self.control_file("md5sums")? else { return Ok(None) };
        let mut sums = BTreeMap::<TreePath, Digest<16>>::new();
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')).filter(|(_, line)| !line.is_empty()) {
            let parse = || {
                let (sum, path) = line.split_at_checked(34)?;
                let sum = str::from_utf8(sum).ok()?.strip_suffix("  ")?.parse().ok()?;
                Some((TreePath::from_member(path).ok()?, sum))
            };
            let (path, sum) =
                parse().with_context(|| format!("line {number} of md5sums of {}", self.path.display()))?;
            sums.insert(path, sum);
        }
        let count = sums.len();
        self.read(&self.data, MAX_DATA, |tar| {
            while let Some(member) = tar.next_member()? {
                let Some(stored) = sums.remove(&member.path).filter(|_| matches!(member.kind, MemberKind::File(_)))
                else {
                    continue;
                };
                let mut hash = md5::Md5::new();
                std::io::copy(tar, &mut hash)?;
                let computed = Digest::<16>::new(hash.finalize().into());
                Corrupt::unless_equal(&format!("MD5 of {}", member.path), stored, computed)?;
            }
            Ok(())
        })
        .with_context(|| format!("checking md5sums of {}", self.path.display()))?;
        match sums.keys().next() {
            Some(path) => {
                Err(Corrupt::new(&format!("md5sums names {path}, which is not a file of the package")).into())
            }
            None => Ok(Some(count)),
        }
    }

    fn walk(&self, mut tree: Option<Tree<'_>>) -> anyhow::Result<Vec<Entry>> {
        let cap = self.data.size.saturating_mul(MAX_RATIO).clamp(FREE_DATA, MAX_DATA);
        let mut entries = BTreeMap::new();
        self.read(&self.data, cap, |tar| {
            while let Some(member) = tar.next_member()? {
                ensure!(!entries.contains_key(&member.path), "duplicate member {}", member.path);
                ensure!(entries.len() < MAX_MEMBERS, "more than {MAX_MEMBERS} members");
                let path = member.path.clone();
                let entry = entry(tar, member, &entries, tree.as_mut()).with_context(|| format!("member {path}"))?;
                entries.insert(path, entry);
            }
            Ok(())
        })?;
        Ok(entries.into_values().collect())
    }

    /// Gives `with` the decompressed archive and checks that it and the compressed stream end where they should.
    fn read(
        &self,
        member: &ar::Member,
        cap: u64,
        with: impl FnOnce(&mut Reader<&mut dyn Read>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(member.offset))?;
        let mut compressed = BufReader::with_capacity(1 << 16, file.take(member.size));
        let mut stream = Capped::new(member.compression.reader(&mut compressed)?, cap);
        let mut tar = Reader::new(&mut stream as &mut dyn Read);
        with(&mut tar)?;
        tar.finish()?;
        drop(stream);
        ensure!(compressed.fill_buf()?.is_empty(), "data after the end of the compressed stream");
        Ok(())
    }
}

/// Reads one member, writing it into `tree` if there is one.
fn entry(
    tar: &mut Reader<&mut dyn Read>,
    member: crate::formats::tar::Member,
    seen: &BTreeMap<TreePath, Entry>,
    tree: Option<&mut Tree<'_>>,
) -> anyhow::Result<Entry> {
    let kind = match member.kind {
        MemberKind::File(size) => {
            let sha256 = if let Some(tree) = tree {
                let mut file = tree.create(&member.path)?;
                let (_, sha256) = hash::copy(tar, &mut file).context("writing its content")?;
                tree::finish(&file, member.mode, member.mtime)?;
                sha256
            } else {
                hash::copy(tar, &mut std::io::sink()).context("reading its content")?.1
            };
            Kind::File { size, sha256 }
        }
        MemberKind::Directory => {
            tree.map(|tree| tree.directory(&member.path)).transpose()?;
            Kind::Directory
        }
        MemberKind::Symlink(target) => {
            tree::check_target(&member.path, &target)?;
            tree.map(|tree| tree.symlink(&member.path, &target)).transpose()?;
            Kind::Symlink { target }
        }
        MemberKind::HardLink(target) => {
            let Some(Entry { kind: kind @ Kind::File { .. }, .. }) = seen.get(&target) else {
                bail!("hard link to {target}, which is not an earlier file of the package");
            };
            tree.map(|tree| tree.hard_link(&target, &member.path)).transpose()?;
            kind.clone()
        }
        MemberKind::Other(what) => bail!("it is {what}; expected files, directories and links"),
    };
    Ok(Entry { path: member.path, kind, mode: member.mode, uid: member.uid, gid: member.gid })
}

/// Parses one stanza of `Key: value` lines with continuation lines.
pub(crate) fn fields(text: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut fields = BTreeMap::<String, String>::new();
    let mut last = None;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with([' ', '\t']) {
            let last = last.as_ref().and_then(|key| fields.get_mut(key));
            let value = last.with_context(|| format!("line {number} continues nothing"))?;
            value.push('\n');
            value.push_str(line);
        } else {
            let (key, value) = line
                .split_once(':')
                .filter(|(key, _)| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()))
                .with_context(|| format!("line {number} is {line:?}; expected `Key: value`"))?;
            let old = fields.insert(key.to_owned(), value.trim().to_owned());
            ensure!(old.is_none(), "line {number}: duplicate field {key}");
            last = Some(key.to_owned());
        }
    }
    Ok(fields)
}
