//! What the guest holds, and where each path of it comes from.

pub mod initrd;
pub mod kernel;
pub mod manifest;
pub mod provenance;
pub mod rootfs;
pub mod sbom;
