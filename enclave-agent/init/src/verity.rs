//! The verity target, from the measured command line alone: the superblock on the disk is the host's and is not read.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use measure::cmdline::VerityDisk;

use crate::disks::{Partition, SECTOR, Volume};
use crate::dm::Control;
use crate::{Doing as _, Failure};

/// Bytes of a data block and of a hash block.
const BLOCK: u64 = 4096;
/// SHA-256 digests in one hash block.
const FAN_OUT: u64 = 128;
/// Where the tree begins in the hash partition: block 0 is the superblock.
const TREE_START: u64 = 1;
/// Bytes of one read in [`read_all`].
const CHUNK: u64 = 1 << 20;
/// Threads of [`read_all`]: dm-verity hashes in the reader's context or a worker, so a few keep every CPU busy.
const READERS: usize = 4;

/// Opens `disk`, found at `volume`, as the read-only device `name`; its path in /dev.
pub(crate) fn open(mapper: &Control, name: &str, disk: &VerityDisk, volume: &Volume) -> Result<PathBuf, Failure> {
    let needed = needed_sectors(disk.data_blocks)
        .ok_or_else(|| format!("{name}: {} blocks are more than a disk can have", disk.data_blocks))?;
    for (what, partition, needed) in [("data", &volume.data, needed.data), ("hash", &volume.hash, needed.hash)] {
        if partition.sectors < needed {
            let found = partition.sectors;
            return Err(format!("{name}: {what} partition: expected at least {needed} sectors, found {found}"));
        }
    }
    mapper.create(name, "verity", needed.data, &table(disk, &volume.data, &volume.hash))
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

struct Needed {
    data: u64,
    hash: u64,
}

/// Sectors that the data and hash partitions must have at least; `None` beyond 64 bits.
fn needed_sectors(blocks: NonZeroU64) -> Option<Needed> {
    let (mut level, mut tree) = (blocks.get(), TREE_START);
    while level > 1 {
        level = level.div_ceil(FAN_OUT);
        tree = tree.checked_add(level)?;
    }
    Some(Needed { data: blocks.get().checked_mul(BLOCK)? / SECTOR, hash: tree.checked_mul(BLOCK)? / SECTOR })
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
    use measure::cmdline::PartUuid;

    use super::*;

    #[test]
    fn sizes_follow_the_tree() {
        for (blocks, data, hash) in [(1, 8, 8), (2, 16, 16), (128, 1024, 16), (129, 1032, 32), (16385, 131_080, 1064)] {
            let needed = needed_sectors(NonZeroU64::new(blocks).unwrap()).unwrap();
            assert_eq!((needed.data, needed.hash), (data, hash), "{blocks} blocks");
        }
        assert!(needed_sectors(NonZeroU64::MAX).is_none());
    }

    #[test]
    fn the_table_holds_measured_values_only() {
        let [salt, root] = [Sha256::new([1; 32]), Sha256::new([2; 32])];
        let uuid = PartUuid([0; 16]);
        let disk = VerityDisk { data: uuid, hash: uuid, data_blocks: NonZeroU64::new(9).unwrap(), salt, root };
        let [data, hash] = ["254:1", "254:2"].map(|device| Partition { device: device.into(), sectors: 72 });
        let expected =
            format!("1 254:1 254:2 4096 4096 9 1 sha256 {} {} 1 panic_on_corruption", "02".repeat(32), "01".repeat(32));
        assert_eq!(table(&disk, &data, &hash), expected);
    }
}
