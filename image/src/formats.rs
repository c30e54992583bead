//! File formats, each with a strict reader, a deterministic writer, or both.

pub mod bytes;
pub mod compression;
pub mod cpio;
pub mod deb;
pub mod disk;
pub mod erofs;
pub mod filetree;
pub mod hash;
pub mod listing;
pub mod tar;
pub mod verity;
pub mod wheel;
