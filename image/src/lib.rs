//! From `image.lock` to a measured image that boots.
//!
//! Each stage is a function from one type to the next; none reads the environment or the clock, and only
//! [`fetch`] and [`resolve`] touch the network.

pub mod archive;
pub mod build;
pub mod bytes;
pub mod compression;
pub mod cpio;
pub mod crates;
pub mod deb;
pub mod disk;
pub mod dist;
pub mod erofs;
pub mod fetch;
pub mod filetree;
pub mod guest;
pub mod hash;
pub mod initrd;
pub mod inspect;
pub mod kernel;
pub mod launch;
pub mod listing;
pub mod lock;
pub mod manifest;
pub mod measured;
pub mod mkosi;
pub mod progress;
pub mod provenance;
pub mod request;
pub mod resolve;
pub mod rootfs;
pub mod sandbox;
pub mod sbom;
pub mod scratch;
pub mod stage;
pub mod store;
pub mod tar;
pub mod traces;
pub mod tree;
pub mod vary;
pub mod verity;
pub mod volume;
pub mod wheel;
