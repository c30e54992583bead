//! Finding the measured partitions on the host's disks.
//!
//! A partition is named by its unique GUID. Kernel 6.12 does not show that in sysfs, so the GPT is read here; the
//! kernel has scanned the same table and made the device nodes, and both views must agree. Nothing found here is
//! believed: what a partition holds is checked by dm-verity.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use measure::cmdline::VerityDisk;
use measure::guid::Guid;

use crate::{Doing as _, Failure};

/// Bytes of a sector, the unit of sysfs and of the device-mapper, and the only sector size our disks have.
pub(crate) const SECTOR: u64 = 512;
/// Entries of a partition table, at most, and the bytes of each.
const ENTRIES: usize = 128;
const ENTRY: usize = 128;
/// Bytes before the first entry: protective MBR and header.
const HEAD: usize = 2 * SECTOR as usize;
/// How long to wait for the disks, which exist as soon as virtio_blk has loaded unless they are probed late.
const POLL: Duration = Duration::from_millis(20);
const POLLS: u32 = 250;

/// A partition as the device-mapper needs it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Partition {
    /// `major:minor`.
    pub(crate) device: String,
    /// Length in units of 512 bytes.
    pub(crate) sectors: u64,
}

/// The two partitions of a verity disk.
pub(crate) struct Volume {
    pub(crate) data: Partition,
    pub(crate) hash: Partition,
}

/// Finds both partitions of `disk`, waiting for them for a bounded time.
pub(crate) fn find(disk: &VerityDisk) -> Result<Volume, Failure> {
    let find = |guid| {
        for _ in 0..POLLS {
            if let Some(partition) = locate(Path::new("/sys"), Path::new("/dev"), guid)? {
                return Ok(partition);
            }
            sleep(POLL);
        }
        Err(format!("no virtio disk has a partition with GUID {guid}"))
    };
    Ok(Volume { data: find(disk.data)?, hash: find(disk.hash)? })
}

/// Looks once through every virtio disk.
fn locate(sys: &Path, dev: &Path, guid: Guid) -> Result<Option<Partition>, Failure> {
    let block = sys.join("block");
    let mut disks = Vec::new();
    for entry in fs::read_dir(&block).doing("listing /sys/block")? {
        let name = entry.doing("listing /sys/block")?.file_name();
        disks.extend(name.into_string().ok().filter(|name| name.starts_with("vd")));
    }
    disks.sort();
    for disk in disks {
        let mut table = [0; HEAD + ENTRIES * ENTRY];
        let read = File::open(dev.join(&disk)).and_then(|file| file.read_exact_at(&mut table, 0));
        read.doing(format!("reading the partition table of {disk}"))?;
        let Some((number, first, sectors)) = entry_of(&table, guid) else { continue };

        let node = block.join(&disk).join(format!("{disk}{number}"));
        let value = |name: &str| {
            let text = fs::read_to_string(node.join(name)).doing(format!("reading {}/{name}", node.display()))?;
            Ok::<_, Failure>(text.trim_end().to_owned())
        };
        if (value("start")?, value("size")?) != (first.to_string(), sectors.to_string()) {
            return Err(format!("{disk}{number}: the kernel and the partition table disagree about its place"));
        }
        return Ok(Some(Partition { device: value("dev")?, sectors }));
    }
    Ok(None)
}

/// Number, first sector and length of the partition `guid` in the first sectors of a disk (UEFI 2.10, 5.3.2 and
/// 5.3.3). A disk without a table, or with one of another shape than we write, has none.
fn entry_of(table: &[u8; HEAD + ENTRIES * ENTRY], guid: Guid) -> Option<(usize, u64, u64)> {
    let u64_at = |bytes: &[u8], at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let (head, entries) = table.split_at(HEAD);
    let header = head.get(SECTOR as usize..)?;
    let counts = (ENTRIES as u64) | (ENTRY as u64) << 32;
    if !header.starts_with(b"EFI PART") || u64_at(header, 72)? != 2 || u64_at(header, 80)? != counts {
        return None;
    }
    let (index, entry) = entries
        .chunks_exact(ENTRY)
        .enumerate()
        .find(|(_, entry)| entry.get(16..32) == Some(&guid.to_mixed_endian()))?;
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    Some((index + 1, first, last.checked_sub(first)?.checked_add(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUID: Guid = Guid::new(7);

    /// A table whose second entry is `GUID` at sectors 100 to 199.
    fn table() -> [u8; HEAD + ENTRIES * ENTRY] {
        let mut table = [0; HEAD + ENTRIES * ENTRY];
        table[512..520].copy_from_slice(b"EFI PART");
        for (at, value) in [(512 + 72, 2u64), (512 + 80, 128 | 128 << 32), (HEAD + 160, 100), (HEAD + 168, 199)] {
            table[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        table[HEAD + 144..HEAD + 160].copy_from_slice(&GUID.to_mixed_endian());
        table
    }

    #[test]
    fn one_guard_each() {
        assert_eq!(entry_of(&table(), GUID), Some((2, 100, 100)));
        assert_eq!(entry_of(&table(), Guid::new(8)), None);
        for (at, byte) in [(512, b'X'), (512 + 72, 3), (512 + 80, 127), (512 + 84, 127), (HEAD + 160, 200)] {
            let mut bad = table();
            bad[at] = byte;
            assert_eq!(entry_of(&bad, GUID), None, "byte {at}");
        }
        let mut endless = table();
        endless[HEAD + 160..HEAD + 176].fill(0xff);
        endless[HEAD + 160..HEAD + 168].fill(0);
        assert_eq!(entry_of(&endless, GUID), None);
    }

    #[test]
    fn both_views_must_agree() {
        let at = std::env::temp_dir().join(format!("vitrine-init-disks-{}", std::process::id()));
        let (sys, dev) = (at.join("sys"), at.join("dev"));
        let node = sys.join("block/vda/vda2");
        fs::create_dir_all(&node).unwrap();
        fs::create_dir_all(sys.join("block/loop0")).unwrap();
        fs::create_dir_all(&dev).unwrap();
        fs::write(dev.join("vda"), table()).unwrap();
        for (name, value) in [("start", "100\n"), ("size", "100\n"), ("dev", "254:2\n")] {
            fs::write(node.join(name), value).unwrap();
        }
        let found = locate(&sys, &dev, GUID);
        assert_eq!(found, Ok(Some(Partition { device: "254:2".into(), sectors: 100 })));
        assert_eq!(locate(&sys, &dev, Guid::new(8)), Ok(None));

        fs::write(node.join("start"), "101\n").unwrap();
        assert!(locate(&sys, &dev, GUID).unwrap_err().contains("disagree"));
        fs::write(dev.join("vda"), "short").unwrap();
        assert!(locate(&sys, &dev, GUID).unwrap_err().contains("partition table of vda"));
        fs::remove_dir_all(at).unwrap();
    }
}
