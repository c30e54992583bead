//! Opens a file of any format that the image is made of, ours or a stranger's, and recomputes every digest in it.

mod disk;
mod initrd;
mod text;

use crate::formats::bytes::{Corrupt, ReadAt, Unsupported};
use crate::formats::compression::Compression;
use crate::formats::deb::Deb;
use crate::formats::erofs::{self, Superblock};
use crate::formats::hash;
use crate::formats::listing::{Listing, TreeDigest};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use measure::snp::{MAX_OVMF, Ovmf, SectionType};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::Path;

/// What a file is and what is wrong with it. Its `Display` is for people, its `Serialize` for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// The file's length in bytes.
    pub size: u64,
    /// The file's digest.
    pub sha256: Sha256,
    /// What is in it.
    #[serde(flatten)]
    pub found: Found,
    /// What does not agree with what was recomputed, first thing first; empty if all does.
    pub wrong: Vec<String>,
}

/// A file's format and structure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "format", rename_all = "kebab-case")]
pub enum Found {
    /// A disk with a GUID partition table; the table itself unless it is wrong.
    Disk {
        /// What the table says.
        table: Option<disk::Table>,
    },
    /// One or more cpio archives, possibly compressed.
    Initrd {
        /// In the order the kernel unpacks them.
        archives: Vec<initrd::Archive>,
    },
    /// An erofs image.
    Erofs(FileSystem),
    /// A Debian package.
    Deb(Package),
    /// A firmware for a confidential guest.
    Ovmf(Firmware),
}

/// An erofs image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSystem {
    /// Absent if its checksum is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    superblock: Option<SuperblockShown>,
    #[serde(flatten)]
    tree: Option<Tree>,
    /// Why there is no tree although nothing is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    unsupported: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct SuperblockShown {
    uuid: String,
    time: u64,
    block_size: u64,
    blocks: u32,
    inodes: u64,
    crc32c: Option<String>,
}

/// A tree of files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Tree {
    tree_sha256: TreeDigest,
    /// The lines of its listing.
    entries: Vec<String>,
}

/// A Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Package {
    control: BTreeMap<String, String>,
    control_compression: String,
    data_compression: String,
    /// Files whose MD5 in the package's `md5sums` was recomputed.
    md5sums: Option<usize>,
    #[serde(flatten)]
    tree: Option<Tree>,
}

/// A firmware's GUID table and SEV metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firmware {
    gpa: u64,
    ap_reset: Option<u32>,
    kernel_hashes: bool,
    table: Vec<TableEntry>,
    sections: Option<Vec<Section>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TableEntry {
    guid: String,
    name: Option<&'static str>,
    size: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Section {
    gpa: u32,
    size: u32,
    section_type: SectionType,
}

/// Inspects the file at `path`. An error means that nothing can be said: it is of no known format, truncated, or cannot
/// be read. What is wrong with a file of a known format is part of the answer.
pub fn inspect(path: &Path) -> anyhow::Result<Inspection> {
    let opening = || format!("reading {}", path.display());
    // Asked by name first: opening a pipe would wait for somebody to write.
    let kind = std::fs::metadata(path).with_context(opening)?.file_type();
    ensure!(kind.is_file() || kind.is_block_device(), "{}: expected a file or a disk", path.display());
    let mut file = File::open(path).with_context(opening)?;
    let (size, sha256) = hash::copy(&mut file, &mut io::sink()).with_context(opening)?;
    let mut wrong = Vec::new();
    let found = find(path, &file, size, &mut wrong).with_context(|| format!("inspecting {}", path.display()))?;
    Ok(Inspection { size, sha256, found, wrong })
}

fn find(path: &Path, file: &File, size: u64, wrong: &mut Vec<String>) -> anyhow::Result<Found> {
    let mut head = vec![0; usize::try_from(size.min(2048))?];
    file.read_exact_at(&mut head, 0)?;
    let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let is_gpt = head.get(512..520) == Some(b"EFI PART") || head.get(450) == Some(&0xee);
    Ok(if head.starts_with(b"!<arch>\n") {
        Found::Deb(package(&Deb::open(path)?, wrong)?)
    } else if Superblock::recognise(&head) {
        Found::Erofs(file_system(&read, size, "", wrong)?)
    } else if is_gpt && head.get(510..512) == Some(&[0x55, 0xaa]) || head.get(512..520) == Some(b"EFI PART") {
        Found::Disk { table: disk::table(&read, size, wrong)? }
    } else if head.starts_with(b"0707") || Compression::recognise(&head) != Compression::None {
        Found::Initrd { archives: initrd::archives(file, wrong)? }
    } else if head.starts_with(b"verity\0\0") {
        bail!("a dm-verity hash area; expected the disk that holds it and its data (or use `measure verity --data`)")
    } else if let Some(firmware) = firmware(file, size)? {
        Found::Ovmf(firmware)
    } else {
        bail!(
            "expected a disk with a GPT, an initrd (cpio), an erofs image, a .deb or an OVMF firmware; found none of these"
        )
    })
}

/// What an erofs image of `length` bytes holds; `whose` is put before what is wrong.
fn file_system(image: &ReadAt<'_>, length: u64, whose: &str, wrong: &mut Vec<String>) -> anyhow::Result<FileSystem> {
    let Some(superblock) = settle(Superblock::read(image, length), whose, wrong)? else {
        return Ok(FileSystem { superblock: None, tree: None, unsupported: None });
    };
    let (mut tree, mut unsupported) = (None, None);
    match erofs::list(image, &superblock) {
        Ok(listing) => tree = Some(Tree::of(&listing)),
        Err(error) if error.chain().any(|cause| cause.is::<Unsupported>()) => unsupported = Some(format!("{error:#}")),
        Err(error) => wrong.push(format!("{whose}{:#}", content(error)?)),
    }
    let shown = SuperblockShown {
        uuid: superblock.uuid.to_string(),
        time: superblock.time,
        block_size: superblock.block,
        blocks: superblock.blocks,
        inodes: superblock.inodes,
        crc32c: superblock.checksum.map(|sum| format!("{sum:08x}")),
    };
    Ok(FileSystem { superblock: Some(shown), tree, unsupported })
}

fn package(deb: &Deb, wrong: &mut Vec<String>) -> anyhow::Result<Package> {
    let (control, data) = deb.compression();
    let mut package = Package {
        control: BTreeMap::new(),
        control_compression: control.to_string(),
        data_compression: data.to_string(),
        md5sums: None,
        tree: None,
    };
    match deb.control() {
        Ok(fields) => package.control = fields,
        Err(error) => wrong.push(format!("{:#}", content(error)?)),
    }
    match deb.entries().and_then(|entries| Ok(Listing::new(entries)?)) {
        Ok(listing) => package.tree = Some(Tree::of(&listing)),
        Err(error) => wrong.push(format!("{:#}", content(error)?)),
    }
    if wrong.is_empty() {
        match deb.check_md5sums() {
            Ok(checked) => package.md5sums = checked,
            Err(error) => wrong.push(format!("{:#}", content(error)?)),
        }
    }
    Ok(package)
}

/// `None` if the file does not end like a firmware for confidential guests.
fn firmware(file: &File, size: u64) -> anyhow::Result<Option<Firmware>> {
    let Some(length) = usize::try_from(size).ok().filter(|size| *size <= MAX_OVMF) else { return Ok(None) };
    let mut image = vec![0; length];
    file.read_exact_at(&mut image, 0)?;
    let ovmf = match Ovmf::parse(&image) {
        Ok(ovmf) => ovmf,
        Err(measure::snp::OvmfError::Size { .. } | measure::snp::OvmfError::NoTable { .. }) => return Ok(None),
        Err(error) => return Err(error).context("reading it as OVMF firmware"),
    };
    let table = ovmf.entries().iter().map(|entry| TableEntry {
        guid: entry.guid.to_string(),
        name: entry.name(),
        size: entry.data.len(),
    });
    let section = |section: &measure::snp::Section| Section {
        gpa: section.gpa,
        size: section.size,
        section_type: section.section_type,
    };
    Ok(Some(Firmware {
        gpa: ovmf.gpa(),
        ap_reset: ovmf.ap_reset(),
        kernel_hashes: ovmf.hash_table().is_some(),
        table: table.collect(),
        sections: ovmf.sections().map(|sections| sections.iter().map(section).collect()),
    }))
}

impl Tree {
    fn of(listing: &Listing) -> Self {
        let entries = listing.entries().iter().map(ToString::to_string);
        Self { tree_sha256: listing.digest(), entries: entries.collect() }
    }
}

/// The value, or `None` after noting what is [`Corrupt`].
fn settle<T>(result: anyhow::Result<T>, whose: &str, wrong: &mut Vec<String>) -> anyhow::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.chain().any(|cause| cause.is::<Corrupt>()) => {
            wrong.push(format!("{whose}{error:#}"));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// An error in the content of something whose frame is whole is a finding, unless the machine failed.
fn content(error: anyhow::Error) -> anyhow::Result<anyhow::Error> {
    let failed = |cause: &io::Error| cause.raw_os_error().is_some();
    if error.chain().filter_map(|cause| cause.downcast_ref()).any(failed) { Err(error) } else { Ok(error) }
}
