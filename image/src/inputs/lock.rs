//! `image.lock`: every input byte of the image, by hash.
//!
//! The file is TOML in one canonical form (docs/formats.md): [`Lock::parse`] accepts exactly what [`Lock::render`]
//! writes, so a reviewer's diff shows every change and nothing else can hide in the file.

mod parse;
#[cfg(test)]
pub(crate) mod tests;

use anyhow::Context as _;
use measure::{Sha1, Sha256};
use std::fmt::{self, Write as _};
use std::path::Path;

pub use parse::ParseError;
pub(crate) use parse::{MAX_SIZE, is_name, is_relative, is_url, is_version};

/// The lock, at the top of a checkout.
pub const LOCK: &str = "image.lock";
/// Largest `image.lock` that is read; ours has some 150 KB.
const MAX_LOCK: u64 = 4 << 20;

/// Every input of the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lock {
    /// The only clock of the build, in seconds since 1970: the newest `Date` of the locked InRelease files.
    pub source_date_epoch: u64,
    /// [`crate::inputs::request::Request::digest`] of the request this lock answers.
    pub request_sha256: Sha256,
    /// The archives the packages are from, sorted by name.
    pub archives: Vec<Archive>,
    /// The packages, sorted by name, no name twice.
    pub packages: Vec<Package>,
    /// The other fetched files, sorted by name.
    pub files: Vec<File>,
}

/// One state of one Debian suite.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Our name for it, as in `request.toml`.
    pub name: String,
    /// For instance `trixie-security`.
    pub suite: String,
    /// For instance `main`.
    pub component: String,
    /// Time of the lock's update as `YYYYMMDDTHHMMSSZ`: snapshot.debian.org serves the newest state up to then.
    pub snapshot: String,
    /// The signed file everything of this archive was verified from.
    pub inrelease_sha256: Sha256,
    /// The package index (`Packages.xz`) it names.
    pub packages_sha256: Sha256,
}

impl Archive {
    /// What `request.toml` calls it.
    pub fn request(&self) -> &str {
        request_name(&self.name)
    }
}

/// What `request.toml` calls the archive that the lock calls `name`: a lock may hold a second, older state of an
/// archive, named `debian.20260912T075541Z`.
pub(crate) fn request_name(name: &str) -> &str {
    name.split_once('.').map_or(name, |(name, _stamp)| name)
}

/// One `.deb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// What it is for; sorted, never empty.
    pub sets: Vec<Set>,
    /// Debian's package name.
    pub name: String,
    /// Debian's version, with epoch.
    pub version: String,
    /// `amd64` or `all`.
    pub arch: String,
    /// The [`Archive`] it is from.
    pub archive: String,
    /// Its path below the archive's base URL: relative, without `..`.
    pub pool: String,
    /// Size in bytes.
    pub size: u64,
    /// What it is trusted by.
    pub sha256: Sha256,
    /// What snapshot.debian.org names it by; not trusted.
    pub sha1: Sha1,
    /// Name of the source package it was built from.
    pub source: String,
    /// Version of that source package.
    pub source_version: String,
}

/// A fetched file that is no `.deb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// What it is for; sorted, never empty.
    pub sets: Vec<Set>,
    /// Our name for it.
    pub name: String,
    /// Where it was published.
    pub url: String,
    /// Size in bytes.
    pub size: u64,
    /// What it is trusted by.
    pub sha256: Sha256,
    /// The one file inside it (a zip archive) that is used; the whole file if absent.
    pub member: Option<Member>,
}

/// A file inside a zip archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its path in the archive.
    pub path: String,
    /// Size in bytes, unpacked.
    pub size: u64,
    /// SHA-256 of the unpacked bytes.
    pub sha256: Sha256,
}

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// The firmware that is measured, and the one that is not.
    Firmware,
    /// What the initrd's modules are taken from.
    Initrd,
    /// What the kernel is taken from.
    Kernel,
    /// Model weights.
    Model,
    /// What is installed in the image.
    Rootfs,
    /// What compiles the guest's programs.
    Toolchain,
    /// What builds and inspects the image.
    Tools,
    /// What only tests read.
    Vectors,
}

impl Set {
    /// Every set, in the order of their names.
    pub const ALL: [Self; 8] = [
        Self::Firmware,
        Self::Initrd,
        Self::Kernel,
        Self::Model,
        Self::Rootfs,
        Self::Toolchain,
        Self::Tools,
        Self::Vectors,
    ];

    /// Its name in `image.lock`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Firmware => "firmware",
            Self::Initrd => "initrd",
            Self::Kernel => "kernel",
            Self::Model => "model",
            Self::Rootfs => "rootfs",
            Self::Toolchain => "toolchain",
            Self::Tools => "tools",
            Self::Vectors => "vectors",
        }
    }

    /// The set of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether the set holds Debian's essential packages and everything its packages depend on. The other sets are
    /// data: exactly the named packages, which need not even be installable together.
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Rootfs | Self::Toolchain | Self::Tools)
    }
}

impl fmt::Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Lock {
    /// Reads and parses the lock at `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = crate::files::read_text(path, MAX_LOCK)?;
        Self::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    /// Writes the lock to `path`, whole or not at all.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        crate::files::replace(path, self.render().as_bytes())
    }

    /// Parses the canonical form, and nothing else.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        parse::lock(text)
    }

    /// The canonical form.
    pub fn render(&self) -> String {
        let mut out = String::from(HEADER);
        out.push_str("schema = 1\n");
        number(&mut out, "source-date-epoch", self.source_date_epoch);
        text(&mut out, "request-sha256", self.request_sha256);
        for archive in &self.archives {
            out.push_str("\n[[archive]]\n");
            text(&mut out, "name", &archive.name);
            text(&mut out, "suite", &archive.suite);
            text(&mut out, "component", &archive.component);
            text(&mut out, "snapshot", &archive.snapshot);
            text(&mut out, "inrelease-sha256", archive.inrelease_sha256);
            text(&mut out, "packages-sha256", archive.packages_sha256);
        }
        for package in &self.packages {
            out.push_str("\n[[package]]\n");
            sets(&mut out, &package.sets);
            text(&mut out, "name", &package.name);
            text(&mut out, "version", &package.version);
            text(&mut out, "arch", &package.arch);
            text(&mut out, "archive", &package.archive);
            text(&mut out, "pool", &package.pool);
            number(&mut out, "size", package.size);
            text(&mut out, "sha256", package.sha256);
            text(&mut out, "sha1", package.sha1);
            text(&mut out, "source", format_args!("{} {}", package.source, package.source_version));
        }
        for file in &self.files {
            out.push_str("\n[[file]]\n");
            sets(&mut out, &file.sets);
            text(&mut out, "name", &file.name);
            text(&mut out, "url", &file.url);
            number(&mut out, "size", file.size);
            text(&mut out, "sha256", file.sha256);
            if let Some(member) = &file.member {
                text(&mut out, "member", &member.path);
                number(&mut out, "member-size", member.size);
                text(&mut out, "member-sha256", member.sha256);
            }
        }
        out
    }

    /// The packages of `set`, sorted by name.
    pub fn packages(&self, set: Set) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(move |package| package.sets.contains(&set))
    }

    /// The package of this name, whatever its sets.
    pub fn package(&self, name: &str) -> Option<&Package> {
        let at = self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).ok()?;
        self.packages.get(at)
    }

    /// The file of this name.
    pub fn file(&self, name: &str) -> Option<&File> {
        self.files.iter().find(|file| file.name == name)
    }

    /// The archive of this name.
    pub fn archive(&self, name: &str) -> Option<&Archive> {
        self.archives.iter().find(|archive| archive.name == name)
    }

    /// Digest of what `set` holds: names, versions and content, but not where it is fetched from, so that a package
    /// that moves from one archive to another does not rebuild anything.
    pub fn set_digest(&self, set: Set) -> Sha256 {
        let mut out = format!("vitrine/set/1\0{set}\n");
        for Package { name, version, arch, sha256, .. } in self.packages(set) {
            out.push_str(&format!("package {name} {version} {arch} {sha256}\n"));
        }
        for File { name, sha256, member, .. } in self.files.iter().filter(|file| file.sets.contains(&set)) {
            let member = member.as_ref().map(|member| format!(" {} {}", member.path, member.sha256));
            out.push_str(&format!("file {name} {sha256}{}\n", member.as_deref().unwrap_or("")));
        }
        Sha256::of(out.as_bytes())
    }
}

/// The first line of every lock.
const HEADER: &str = "# Generated by `cargo xtask lock --update`. Do not edit: change image/request.toml instead.\n";

// Writing to a String cannot fail.
fn text(out: &mut String, key: &str, value: impl fmt::Display) {
    let _infallible = writeln!(out, "{key} = \"{value}\"");
}

fn number(out: &mut String, key: &str, value: u64) {
    let _infallible = writeln!(out, "{key} = {value}");
}

fn sets(out: &mut String, sets: &[Set]) {
    let names: Vec<String> = sets.iter().map(|set| format!("\"{set}\"")).collect();
    let _infallible = writeln!(out, "set = [{}]", names.join(", "));
}
