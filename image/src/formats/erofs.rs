//! The root file system's format, uncompressed erofs (Linux's fs/erofs/erofs_fs.h): how `mkfs.erofs` from the locked
//! tools is called, and a bounded reader.

mod read;
mod superblock;

pub use read::list;
pub use superblock::Superblock;

use measure::guid::Guid;

/// The arguments that make the image `out` from the archive `tar` (of [`crate::formats::tar::write`]), both as the program sees
/// them. `mkfs.erofs` 1.8.6 then writes the same bytes whoever runs it and wherever.
pub fn mkfs(epoch: u64, uuid: Guid, out: &str, tar: &str) -> Vec<String> {
    let epoch = format!("-T{epoch}");
    let uuid = format!("-U{uuid}");
    [
        "mkfs.erofs",
        "--quiet",
        "--tar=f",
        // The default is the host's page size.
        "-b4096",
        // No extended attributes.
        "-x-1",
        &epoch,
        "--all-time",
        &uuid,
        // More workers only matter for compression; the bytes are the same, but one is easier to believe.
        "--workers=1",
        out,
        tar,
    ]
    .map(str::to_owned)
    .to_vec()
}
