//! What an OVMF firmware file says about itself: the GUID table at its end and the SEV metadata it points to
//! (edk2, `OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm` and `OvmfPkg/ResetVector/X64/OvmfSevMetadata.asm`).

use super::gctx::PAGE;
use crate::guid::Guid;

/// Largest firmware, in bytes: QEMU's limit (`max-fw-size`).
pub const MAX_OVMF: usize = 16 << 20;
/// Most sections in the SEV metadata; OVMF has 7.
const MAX_SECTIONS: u32 = 64;
/// Most memory, in bytes, that all sections cover together; OVMF has 240 KiB. Each page costs a hash.
const MAX_SECTION_BYTES: u64 = 64 << 20;
/// The table ends this many bytes before the end of the file, where the reset vector starts.
const RESET_VECTOR: usize = 32;
/// Bytes of an entry that are not its data: a u16 with the entry's whole length, and its GUID.
const ENTRY_TAIL: usize = 18;
const PAGE_BYTES: u32 = PAGE as u32;

const FOOTER: Guid = Guid::new(0x96b582de_1fb2_45f7_baea_a366c55a082d);
const HASH_TABLE: Guid = Guid::new(0x7255371f_3a3b_4b04_927b_1da6efa8d454);
const SEV_SECRET: Guid = Guid::new(0x4c2eb361_7d9b_4cc3_8081_127c90d3d294);
const RESET_BLOCK: Guid = Guid::new(0x00f771de_1a7e_4fcb_890e_68c77e2fb44e);
const SEV_METADATA: Guid = Guid::new(0xdc886566_984a_4798_a75e_5585a7bf67cc);
const TDX_METADATA: Guid = Guid::new(0xe47a6535_984a_4798_865e_4685a7bf8ec2);
const SVSM_INFO: Guid = Guid::new(0xa789a612_0597_4c4b_a49f_cbb1fe9d1ddd);

/// A parsed firmware. What the file does not have is `None`; what it has is well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ovmf<'a> {
    image: &'a [u8],
    entries: Vec<TableEntry<'a>>,
    ap_reset: Option<u32>,
    hash_table: Option<HashTable>,
    sections: Option<Vec<Section>>,
}

/// An entry of the GUID table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableEntry<'a> {
    /// What it is.
    pub guid: Guid,
    /// Its data.
    pub data: &'a [u8],
}

impl TableEntry<'_> {
    /// The name of its GUID in edk2, if known.
    pub fn name(&self) -> Option<&'static str> {
        match self.guid {
            HASH_TABLE => Some("SEV_HASH_TABLE_RV"),
            SEV_SECRET => Some("SEV_SECRET"),
            RESET_BLOCK => Some("SEV_ES_RESET_BLOCK"),
            SEV_METADATA => Some("SEV_METADATA"),
            TDX_METADATA => Some("TDX_METADATA"),
            SVSM_INFO => Some("SVSM_INFO"),
            _ => None,
        }
    }
}

/// Where the guest expects the hashes of kernel, initrd and command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashTable {
    /// Guest physical address.
    pub gpa: u32,
    /// Bytes.
    pub size: u32,
}

/// Memory that the VMM adds to the launch, from the SEV metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// Guest physical address, a multiple of a page.
    pub gpa: u32,
    /// Bytes, a positive multiple of a page.
    pub size: u32,
    /// What for.
    pub section_type: SectionType,
}

/// What a section is for, with the value in the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
pub enum SectionType {
    /// Memory the firmware uses before it can validate pages: 1.
    SecMem,
    /// The secrets page: 2.
    Secrets,
    /// The CPUID page: 3.
    Cpuid,
    /// The calling area of an SVSM: 4.
    SvsmCaa,
    /// The page with the kernel hashes: 0x10.
    KernelHashes,
}

/// Why a file is not an OVMF firmware that can be measured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OvmfError {
    /// The size is none that a firmware can have.
    #[error("expected a firmware of a positive multiple of {PAGE} bytes, at most {MAX_OVMF}, found {found} bytes")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// There is no GUID table.
    #[error("expected the table footer GUID {FOOTER} {} bytes before the end, found {found}", RESET_VECTOR + 16)]
    NoTable {
        /// The GUID found in its place.
        found: Guid,
    },
    /// A length in the table does not fit.
    #[error("expected the table entry {guid} to have {ENTRY_TAIL} to {available} bytes, found {found}")]
    EntryLength {
        /// The entry; the footer's length is that of the whole table.
        guid: Guid,
        /// Bytes left for it.
        available: usize,
        /// Its length.
        found: u16,
    },
    /// Bytes before the first entry that cannot be one.
    #[error("expected nothing before the first table entry, found {found} bytes")]
    Leftover {
        /// Bytes left.
        found: usize,
    },
    /// Which of two entries counts is not defined.
    #[error("expected one table entry {guid}, found two")]
    Duplicate {
        /// The GUID.
        guid: Guid,
    },
    /// An entry's data has another size.
    #[error("expected {expected} bytes in the table entry {guid}, found {found}")]
    EntryData {
        /// The entry.
        guid: Guid,
        /// Bytes its kind has.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// The metadata is not inside the file.
    #[error("expected the SEV metadata inside the file, found {length} bytes at {offset} bytes before the end")]
    MetadataRange {
        /// Where, in bytes before the end of the file.
        offset: u32,
        /// Bytes needed there.
        length: u32,
    },
    /// The metadata does not begin as it should.
    #[error("expected the SEV metadata to begin with `ASEV`, found {found:02x?}")]
    MetadataSignature {
        /// Its first bytes.
        found: [u8; 4],
    },
    /// The metadata has another version.
    #[error("expected version 1 of the SEV metadata, found {found}")]
    MetadataVersion {
        /// The version.
        found: u32,
    },
    /// The metadata's length does not fit its number of sections, or there are too many.
    #[error(
        "expected at most {MAX_SECTIONS} sections in an SEV metadata of 16 + 12 each, found {count} in {length} bytes"
    )]
    MetadataLength {
        /// Number of sections.
        count: u32,
        /// Length of the metadata in bytes.
        length: u32,
    },
    /// A section of a type that is not known: nobody can say how it is measured.
    #[error("unknown type {value:#x} of the SEV metadata section at {gpa:#x}")]
    SectionType {
        /// The type.
        value: u32,
        /// Where the section is.
        gpa: u32,
    },
    /// A section that is not whole pages below 4 GiB, or has more than the one page of its type.
    #[error("expected {} below 4 GiB for the {section_type:?} section, found {size:#x} bytes at {gpa:#x}",
        if section_type.is_one_page() { "exactly one page" } else { "whole pages" })]
    SectionRange {
        /// What for.
        section_type: SectionType,
        /// Guest physical address.
        gpa: u32,
        /// Bytes.
        size: u32,
    },
    /// The sections cover too much memory.
    #[error("expected at most {MAX_SECTION_BYTES} bytes in all SEV metadata sections, found more")]
    SectionsTooLarge,
}

impl SectionType {
    fn from_value(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::SecMem),
            2 => Some(Self::Secrets),
            3 => Some(Self::Cpuid),
            4 => Some(Self::SvsmCaa),
            0x10 => Some(Self::KernelHashes),
            _ => None,
        }
    }

    fn is_one_page(self) -> bool {
        matches!(self, Self::Secrets | Self::Cpuid | Self::KernelHashes)
    }
}

impl<'a> Ovmf<'a> {
    /// Parses a whole firmware file.
    pub fn parse(image: &'a [u8]) -> Result<Self, OvmfError> {
        if image.is_empty() || image.len() > MAX_OVMF || !image.len().is_multiple_of(PAGE) {
            return Err(OvmfError::Size { found: image.len() });
        }
        let entries = table_entries(image)?;
        let entry = |guid| entries.iter().find(|entry: &&TableEntry<'_>| entry.guid == guid);
        let ap_reset = entry(RESET_BLOCK).map(words::<1>).transpose()?.map(|[address]| address);
        let hash_table = entry(HASH_TABLE).map(words::<2>).transpose()?;
        let metadata = entry(SEV_METADATA).map(words::<1>).transpose()?;
        let sections = metadata.map(|[offset]| sections(image, offset)).transpose()?;
        Ok(Self {
            image,
            // Address 0 is how a firmware says that it has none.
            ap_reset: ap_reset.filter(|&address| address != 0),
            hash_table: hash_table.map(|[gpa, size]| HashTable { gpa, size }).filter(|table| table.gpa != 0),
            sections,
            entries,
        })
    }

    /// The file.
    pub fn image(&self) -> &'a [u8] {
        self.image
    }

    /// Guest physical address of the file's first byte: the file ends at 4 GiB.
    pub fn gpa(&self) -> u64 {
        (1_u64 << 32).saturating_sub(self.image.len() as u64)
    }

    /// The GUID table, from its last entry to its first, as it is walked.
    pub fn entries(&self) -> &[TableEntry<'a>] {
        &self.entries
    }

    /// Where vCPUs other than the first begin to run.
    pub fn ap_reset(&self) -> Option<u32> {
        self.ap_reset
    }

    /// Where the guest expects kernel hashes; `None` if it does not support them.
    pub fn hash_table(&self) -> Option<HashTable> {
        self.hash_table
    }

    /// The sections of the SEV metadata in table order, which is the order they are measured in.
    pub fn sections(&self) -> Option<&[Section]> {
        self.sections.as_deref()
    }
}

/// Walks the GUID table backwards: each entry is its data, then [`ENTRY_TAIL`].
fn table_entries(image: &[u8]) -> Result<Vec<TableEntry<'_>>, OvmfError> {
    let end = image.len().saturating_sub(RESET_VECTOR);
    let below_reset_vector = image.get(..end).unwrap_or_default();
    let footer = Tail::split(below_reset_vector).filter(|tail| tail.guid == FOOTER);
    let Some(footer) = footer else {
        let found = Tail::split(below_reset_vector).map_or(Guid::NIL, |tail| tail.guid);
        return Err(OvmfError::NoTable { found });
    };
    // The footer's length is that of the whole table.
    let mut rest = footer.data()?;
    let mut entries: Vec<TableEntry<'_>> = Vec::new();
    while let Some(tail) = Tail::split(rest) {
        let data = tail.data()?;
        if entries.iter().any(|entry| entry.guid == tail.guid) {
            return Err(OvmfError::Duplicate { guid: tail.guid });
        }
        entries.push(TableEntry { guid: tail.guid, data });
        rest = tail.before.get(..tail.before.len().saturating_sub(data.len())).unwrap_or_default();
    }
    if rest.is_empty() { Ok(entries) } else { Err(OvmfError::Leftover { found: rest.len() }) }
}

/// The last [`ENTRY_TAIL`] bytes of a table, and what stands before them.
struct Tail<'a> {
    before: &'a [u8],
    length: u16,
    guid: Guid,
}

impl<'a> Tail<'a> {
    fn split(bytes: &'a [u8]) -> Option<Self> {
        let (bytes, guid) = bytes.split_last_chunk::<16>()?;
        let (before, length) = bytes.split_last_chunk::<2>()?;
        Some(Self { before, length: u16::from_le_bytes(*length), guid: Guid::from_mixed_endian(*guid) })
    }

    /// The data that the length says stands before the tail.
    fn data(&self) -> Result<&'a [u8], OvmfError> {
        let start =
            usize::from(self.length).checked_sub(ENTRY_TAIL).and_then(|length| self.before.len().checked_sub(length));
        start.and_then(|start| self.before.get(start..)).ok_or(OvmfError::EntryLength {
            guid: self.guid,
            available: self.before.len().saturating_add(ENTRY_TAIL),
            found: self.length,
        })
    }
}

/// The data of an entry that consists of `N` little-endian u32.
fn words<const N: usize>(entry: &TableEntry<'_>) -> Result<[u32; N], OvmfError> {
    let (chunks, rest) = entry.data.as_chunks::<4>();
    let error = || OvmfError::EntryData { guid: entry.guid, expected: N.saturating_mul(4), found: entry.data.len() };
    if !rest.is_empty() {
        return Err(error());
    }
    <[[u8; 4]; N]>::try_from(chunks).map(|words| words.map(u32::from_le_bytes)).map_err(|_length| error())
}

/// Parses the SEV metadata that begins `offset` bytes before the end of the file: `ASEV`, u32 length, u32 version,
/// u32 number of sections, and for each u32 address, u32 size, u32 type.
fn sections(image: &[u8], offset: u32) -> Result<Vec<Section>, OvmfError> {
    const HEADER: u32 = 16;
    const SECTION: u32 = 12;
    let range = |length: u32| {
        let start = image.len().checked_sub(offset as usize);
        let bytes = start.and_then(|start| image.get(start..)).and_then(|bytes| bytes.get(..length as usize));
        bytes.ok_or(OvmfError::MetadataRange { offset, length })
    };
    let header = range(HEADER)?.as_chunks::<4>().0;
    let &[signature, length, version, count] = header else {
        return Err(OvmfError::MetadataRange { offset, length: HEADER });
    };
    let [length, version, count] = [length, version, count].map(u32::from_le_bytes);
    if signature != *b"ASEV" {
        return Err(OvmfError::MetadataSignature { found: signature });
    }
    if version != 1 {
        return Err(OvmfError::MetadataVersion { found: version });
    }
    if count > MAX_SECTIONS || HEADER.saturating_add(SECTION.saturating_mul(count)) != length {
        return Err(OvmfError::MetadataLength { count, length });
    }
    let words = range(length)?.as_chunks::<4>().0.iter().copied().map(u32::from_le_bytes);
    let words: Vec<u32> = words.skip(HEADER as usize / 4).collect();
    let sections: Vec<_> = words.as_chunks::<3>().0.iter().map(|&words| section(words)).collect::<Result<_, _>>()?;
    if sections.iter().map(|section| u64::from(section.size)).sum::<u64>() > MAX_SECTION_BYTES {
        return Err(OvmfError::SectionsTooLarge);
    }
    Ok(sections)
}

fn section([gpa, size, value]: [u32; 3]) -> Result<Section, OvmfError> {
    let section_type = SectionType::from_value(value).ok_or(OvmfError::SectionType { value, gpa })?;
    let whole_pages = gpa.is_multiple_of(PAGE_BYTES) && size.is_multiple_of(PAGE_BYTES) && size != 0;
    let fits = gpa.checked_add(size).is_some() && (size == PAGE_BYTES || !section_type.is_one_page());
    if whole_pages && fits {
        Ok(Section { gpa, size, section_type })
    } else {
        Err(OvmfError::SectionRange { section_type, gpa, size })
    }
}
