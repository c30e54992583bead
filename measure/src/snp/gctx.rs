//! The guest context's launch digest and how each page extends it.

use crate::digest::{Digest, Sha384, digest_newtype};

/// Bytes in a page.
pub const PAGE: usize = 4096;

digest_newtype! {
    /// The launch digest (LD), as reports carry it in MEASUREMENT (AMD 56860 section 8.17.2).
    LaunchDigest(Sha384)
}

/// What kind of page is measured (AMD 56860 section 8.17.2, PAGE_TYPE encodings).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
#[repr(u8)]
pub enum PageType {
    /// Contents are measured.
    Normal = 1,
    /// A vCPU's initial state; contents are measured.
    Vmsa = 2,
    /// A page of zeros.
    Zero = 3,
    /// Contents are not measured, but that the page is there is.
    Unmeasured = 4,
    /// Where the secure processor puts secrets.
    Secrets = 5,
    /// Where the secure processor puts checked CPUID values.
    Cpuid = 6,
}

/// One page as it went into the digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Step {
    /// Guest physical address.
    pub gpa: u64,
    /// What kind of page.
    pub page_type: PageType,
    /// SHA-384 of the page; 48 zero bytes for types whose contents are not measured.
    #[cfg_attr(feature = "serde", serde(rename = "contents_sha384"))]
    pub contents: Sha384,
    /// The launch digest after this page.
    #[cfg_attr(feature = "serde", serde(rename = "launch_digest_sha384"))]
    pub launch_digest: LaunchDigest,
}

/// A launch in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gctx {
    /// The launch digest so far.
    pub launch_digest: LaunchDigest,
}

impl Gctx {
    /// A launch without any page.
    pub const START: Self = Self { launch_digest: LaunchDigest(Digest::new([0; 48])) };
    /// What stands for the contents of pages that are measured without them.
    pub const NO_CONTENTS: Sha384 = Digest::new([0; 48]);

    /// Extends the digest by one page: LD := SHA-384(PAGE_INFO), AMD 56860 section 8.17.2, "Layout of the PAGE_INFO
    /// structure": 0x70 bytes, little-endian.
    pub fn update(&mut self, page_type: PageType, gpa: u64, contents: Sha384) -> Step {
        use sha2::Digest as _;
        let page_info = sha2::Sha384::new()
            .chain_update(self.launch_digest.0.as_bytes())
            .chain_update(contents.as_bytes())
            .chain_update(0x70_u16.to_le_bytes())
            // PAGE_TYPE, IMI_PAGE, permissions of VMPL 3, 2 and 1, reserved.
            .chain_update([page_type as u8, 0, 0, 0, 0, 0])
            .chain_update(gpa.to_le_bytes());
        self.launch_digest = LaunchDigest(Digest::new(page_info.finalize().into()));
        Step { gpa, page_type, contents, launch_digest: self.launch_digest }
    }
}
