//! dm-verity over files.

use crate::progress::{Progress, Unit};
use anyhow::Context as _;
use measure::guid::Guid;
use measure::verity::{BLOCK, Salt, Superblock, Verity, VerityRoot};
use std::fs::{File, Permissions};
use std::num::NonZeroUsize;
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::Path;

/// A tree that was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formatted {
    /// The root.
    pub root: VerityRoot,
    /// Blocks of the data.
    pub data_blocks: u64,
    /// Blocks of the tree, the superblock not counted.
    pub hash_blocks: u64,
}

/// Computes the root of the file `data`. If `tree` is given, the superblock and after it the tree go there; a file
/// that stands there is replaced once all is written.
pub fn format(
    data: &Path,
    tree: Option<&Path>,
    salt: Salt,
    uuid: Guid,
    progress: &dyn Progress,
) -> anyhow::Result<Formatted> {
    let reading = || format!("reading {}", data.display());
    let file = File::open(data).with_context(reading)?;
    let size = file.metadata().with_context(reading)?.len();
    let verity = Verity::new(size, salt).with_context(|| format!("computing dm-verity of {}", data.display()))?;
    let threads = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let bar = progress.bar("verity", size, Unit::Bytes);
    let read = |offset, buffer: &mut [u8]| {
        file.read_exact_at(buffer, offset)?;
        bar.add(buffer.len() as u64);
        Ok(())
    };
    let computing = || format!("computing dm-verity of {}", data.display());
    let root = match tree {
        None => verity.format(threads, &read, &|_, _| Ok(())).with_context(computing)?,
        Some(path) => {
            let writing = || format!("writing {}", path.display());
            let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let out = tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o666))
                .tempfile_in(directory.unwrap_or(Path::new(".")))
                .with_context(writing)?;
            let superblock = Superblock { uuid, data_blocks: verity.data_blocks(), salt: verity.salt().clone() };
            out.as_file().write_all_at(&superblock.to_block(), 0).with_context(writing)?;
            let write = |offset: u64, block: &[u8]| out.as_file().write_all_at(block, offset + BLOCK as u64);
            let root = verity.format(threads, &read, &write).with_context(computing)?;
            out.as_file().sync_all().with_context(writing)?;
            out.persist(path).with_context(writing)?;
            root
        }
    };
    Ok(Formatted { root, data_blocks: verity.data_blocks(), hash_blocks: verity.hash_blocks() })
}
