//! The verity target, from the measured command line alone: the superblock on the disk is the host's and is not read.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use measure::cmdline::VerityDisk;
use measure::verity::{self, Salt, Verity};

use crate::disks::{Partition, SECTOR, Volume};
use crate::dm::Control;
use crate::{Doing as _, Failure};

/// Bytes of a data block and of a hash block.
const BLOCK: u64 = verity::BLOCK as u64;
/// Where the tree begins in the hash partition: block 0 is the superblock.
const TREE_START: u64 = 1;
/// Bytes of one read in [`read_all`].
const CHUNK: u64 = 1 << 20;
/// Threads of [`read_all`]: dm-verity hashes in the reader's context or a worker, so a few keep every CPU busy.
const READERS: usize = 4;

/// Opens `disk`, found at `volume`, as the read-only device `name`; its path in /dev.
pub(crate) fn open(mapper: &Control, name: &str, disk: &VerityDisk, volume: &Volume) -> Result<PathBuf, Failure> {
    let [data_sectors, hash_sectors] = needed_sectors(disk).doing(name)?;
    for (what, partition, needed) in [("data", &volume.data, data_sectors), ("hash", &volume.hash, hash_sectors)] {
        if partition.sectors < needed {
            let found = partition.sectors;
            return Err(format!("{name}: {what} partition: expected at least {needed} sectors, found {found}"));
        }
    }
    mapper.create(name, "verity", data_sectors, &table(disk, &volume.data, &volume.hash))
}

/// Reads every data block once, so that a wrong one ends the machine now (`panic_on_corruption`) and not later.
pub(crate) fn read_all(device: &Path, blocks: NonZeroU64) -> Result<(), Failure> {
    let reading = format!("reading {}", device.display());
    let bytes = blocks.get() * BLOCK;
    let file = File::open(device).doing(&reading)?;
    let next = AtomicU64::new(0);
    let read_some = || {
        let mut buffer = vec![0; CHUNK as usize];
        loop {
            let at = next.fetch_add(CHUNK, Ordering::Relaxed);
            if at >= bytes {
                return Ok(());
            }
            let len = CHUNK.min(bytes - at) as usize;
            file.read_exact_at(&mut buffer[..len], at)?;
        }
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS).map(|_| scope.spawn(read_some)).collect();
        // A panic in a thread has already ended the machine.
        readers.into_iter().flat_map(|reader| reader.join()).collect::<Result<(), std::io::Error>>()
    })
    .doing(&reading)
}

/// Sectors that the data and the hash partition must have at least.
fn needed_sectors(disk: &VerityDisk) -> Result<[u64; 2], Failure> {
    let salt = Salt::new(disk.salt.as_bytes()).doing("salt")?;
    // Too many blocks for 64 bits become a size that is refused.
    let verity = Verity::new(disk.data_blocks.get().saturating_mul(BLOCK), salt).doing("data blocks")?;
    Ok([verity.data_blocks(), TREE_START + verity.hash_blocks()].map(|blocks| blocks * (BLOCK / SECTOR)))
}

/// Parameters of the target (Documentation/admin-guide/device-mapper/verity.rst).
fn table(disk: &VerityDisk, data: &Partition, hash: &Partition) -> String {
    format!(
        "1 {} {} {BLOCK} {BLOCK} {} {TREE_START} sha256 {} {} 1 panic_on_corruption",
        data.device, hash.device, disk.data_blocks, disk.root, disk.salt
    )
}

#[cfg(test)]
mod tests {
    use measure::Sha256;
    use measure::guid::Guid;
    use measure::verity::VerityRoot;

    use super::*;

    fn disk(blocks: u64) -> VerityDisk {
        VerityDisk {
            data: Guid::NIL,
            hash: Guid::NIL,
            data_blocks: NonZeroU64::new(blocks).unwrap(),
            salt: Sha256::new([1; 32]),
            root: VerityRoot(Sha256::new([2; 32])),
        }
    }

    #[test]
    fn sizes_follow_the_tree() {
        for (blocks, sectors) in
            [(1, [8, 8]), (2, [16, 16]), (128, [1024, 16]), (129, [1032, 32]), (16385, [131_080, 1064])]
        {
            assert_eq!(needed_sectors(&disk(blocks)), Ok(sectors), "{blocks} blocks");
        }
        assert!(needed_sectors(&disk(u64::MAX)).is_err());
    }

    #[test]
    fn the_table_holds_measured_values_only() {
        let [data, hash] = ["254:1", "254:2"].map(|device| Partition { device: device.into(), sectors: 72 });
        let [salt, root] = ["01".repeat(32), "02".repeat(32)];
        let expected = format!("1 254:1 254:2 4096 4096 9 1 sha256 {root} {salt} 1 panic_on_corruption");
        assert_eq!(table(&disk(9), &data, &hash), expected);
    }
}
