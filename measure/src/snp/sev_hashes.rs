//! The page with which QEMU tells the firmware what kernel, initrd and command line it may accept
//! (QEMU, `target/i386/sev.c`, `sev_add_kernel_loader_hashes`; edk2, `OvmfPkg/AmdSev/BlobVerifierLibSevHashes`).

use super::gctx::PAGE;
use super::ovmf::{Ovmf, SectionType};
use crate::digest::Sha256;
use crate::guid::Guid;

const TABLE: Guid = Guid::new(0x9438d606_4f22_4cc9_b479_a793d411fd21);
const CMDLINE: Guid = Guid::new(0x97d02dd8_bd20_4c94_aa78_e7714d36ab2a);
const INITRD: Guid = Guid::new(0x44baf731_3a2f_4bd7_9af1_41e29169781d);
const KERNEL: Guid = Guid::new(0x4de79437_abd2_427f_b835_d5b172d2045b);
/// Bytes of the table: a GUID and a u16 length, then three entries of a GUID, a u16 length and a digest.
const TABLE_BYTES: u16 = 168;
const ENTRY_BYTES: u16 = 50;
/// Bytes QEMU writes: the table, padded to a multiple of 16.
const PADDED_BYTES: u32 = 176;

/// The digests of what is booted directly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct KernelHashes {
    /// SHA-256 of the kernel file.
    #[cfg_attr(feature = "serde", serde(rename = "kernel_sha256"))]
    pub kernel: Sha256,
    /// SHA-256 of the initrd file; of nothing if there is none.
    #[cfg_attr(feature = "serde", serde(rename = "initrd_sha256"))]
    pub initrd: Sha256,
    /// SHA-256 of the command line and a zero byte.
    #[cfg_attr(feature = "serde", serde(rename = "cmdline_sha256"))]
    pub cmdline: Sha256,
}

/// A page in guest memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashesPage {
    /// Guest physical address of its first byte.
    pub gpa: u64,
    /// Its bytes.
    pub bytes: [u8; PAGE],
}

/// Why a firmware cannot be given kernel hashes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HashesPageError {
    /// The firmware would boot any kernel.
    #[error("the firmware does not check kernel hashes (no {missing}), so a kernel given to it is not measured")]
    Unsupported {
        /// What it lacks.
        missing: &'static str,
    },
    /// The table is not where it is measured.
    #[error(
        "expected {PADDED_BYTES} bytes for kernel hashes inside the page at {page:#x}, found {size} bytes at {gpa:#x}"
    )]
    Place {
        /// Address of the KERNEL_HASHES section.
        page: u32,
        /// Address of the table.
        gpa: u32,
        /// Its size in bytes.
        size: u32,
    },
}

impl KernelHashes {
    /// The hashes of these files and command line, exactly as given: nothing is trimmed.
    pub fn of(kernel: &[u8], initrd: Option<&[u8]>, cmdline: &[u8]) -> Self {
        Self {
            kernel: Sha256::of(kernel),
            initrd: Sha256::of(initrd.unwrap_or_default()),
            cmdline: Self::cmdline_digest(cmdline),
        }
    }

    /// The digest of a command line, which includes the zero byte that QEMU appends.
    pub fn cmdline_digest(cmdline: &[u8]) -> Sha256 {
        Sha256::of(&[cmdline, &[0]].concat())
    }

    /// The page for a firmware, and where it goes.
    pub fn page(&self, ovmf: &Ovmf<'_>) -> Result<HashesPage, HashesPageError> {
        let table = ovmf.hash_table().ok_or(HashesPageError::Unsupported { missing: "SEV_HASH_TABLE_RV entry" })?;
        let sections = ovmf.sections().unwrap_or_default();
        let section = sections
            .iter()
            .find(|section| section.section_type == SectionType::KernelHashes)
            .ok_or(HashesPageError::Unsupported { missing: "KERNEL_HASHES section" })?;
        let (page, offset) = (section.gpa, table.gpa.checked_sub(section.gpa));
        let fits = |&offset: &u32| {
            let end = offset.saturating_add(PADDED_BYTES);
            table.size >= PADDED_BYTES && end <= section.size
        };
        let error = HashesPageError::Place { page, gpa: table.gpa, size: table.size };
        let offset = offset.filter(fits).ok_or(error)?;

        let mut bytes = [0; PAGE];
        let content = self.table();
        for (slot, byte) in bytes.iter_mut().skip(offset as usize).zip(content) {
            *slot = byte;
        }
        Ok(HashesPage { gpa: u64::from(page), bytes })
    }

    /// The table without its padding, which is zero as the rest of the page.
    fn table(&self) -> Vec<u8> {
        let mut table = [TABLE.to_mixed_endian().as_slice(), &TABLE_BYTES.to_le_bytes()].concat();
        for (guid, digest) in [(CMDLINE, self.cmdline), (INITRD, self.initrd), (KERNEL, self.kernel)] {
            table.extend(guid.to_mixed_endian());
            table.extend(ENTRY_BYTES.to_le_bytes());
            table.extend(digest.as_bytes());
        }
        table
    }
}
