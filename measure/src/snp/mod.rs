//! The SEV-SNP launch digest of a guest that QEMU starts from an OVMF firmware, with or without a directly booted
//! kernel (AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", revision 1.57, section 8.17).
//!
//! What the digest covers, in order: the firmware's pages, the sections its SEV metadata names (among them the page
//! with the hashes of kernel, initrd and command line), one VMSA page per vCPU. It does not cover the launch policy,
//! the ID block, HOST_DATA, ACPI tables or any device.
//!
//! ```
//! use measure::snp::{KernelHashes, Launch, LaunchDigest, Ovmf, SevFeatures, Shape, VmmProfile};
//!
//! fn digest(firmware: &[u8], kernel: &[u8], initrd: &[u8]) -> Result<LaunchDigest, Box<dyn std::error::Error>> {
//!     let ovmf = Ovmf::parse(firmware)?;
//!     let hashes = KernelHashes::of(kernel, Some(initrd), b"console=ttyS0");
//!     let launch = Launch::new(&ovmf, Some(&hashes), &VmmProfile::QEMU)?;
//!     let shape = Shape { vcpus: 4.try_into()?, cpu: "Genoa".parse()?, sev_features: SevFeatures(1) };
//!     Ok(launch.before_vmsas.digest(&shape))
//! }
//! ```

mod cpu;
mod gctx;
mod launch;
mod ovmf;
mod sev_hashes;
mod shapes;
mod vmsa;

#[cfg(feature = "appraise")]
pub mod appraise;
#[cfg(feature = "appraise")]
pub mod chain;
#[cfg(feature = "report")]
pub mod product;
#[cfg(feature = "report")]
pub mod report;

pub use cpu::{CPU_TYPES, CpuSignature, MAX_VCPUS, ParseShapeError, SevFeatures, Shape, Vcpus};
pub use gctx::{Gctx, LaunchDigest, PAGE, PageType, Step};
pub use launch::{BeforeVmsas, FirmwareLaunch, Launch, LaunchError};
pub use ovmf::{HashTable, MAX_OVMF, Ovmf, OvmfError, Section, SectionType, TableEntry};
pub use sev_hashes::{HashesPage, HashesPageError, KernelHashes};
pub use shapes::{SHAPE_CPUS, SHAPE_FEATURES, SHAPE_VCPUS, ShapeRow, ShapeTable, ShapeTableError, ShapeTableSource};
pub use vmsa::VmmProfile;
