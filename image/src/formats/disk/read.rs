//! Reads a partition table as a stranger made it.

use super::{HEADER, REVISION, SECTOR, SIGNATURE};
use crate::formats::bytes::{At as _, Corrupt, ReadAt};
use anyhow::{Context as _, ensure};
use measure::guid::Guid;
use std::collections::BTreeSet;

/// Largest partition table read, in bytes. 128 entries of 128 bytes are usual.
const MAX_TABLE: u64 = 1 << 20;

/// A partition table whose two copies agree and whose checksums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The disk's GUID.
    pub guid: Guid,
    /// Its size in sectors.
    pub sectors: u64,
    /// Its partitions, in table order.
    pub partitions: Vec<Partition>,
}

/// A used entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// What it holds.
    pub type_guid: Guid,
    /// Names it: its PARTUUID.
    pub guid: Guid,
    /// First byte, from the disk's start.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Its name; what is not UTF-16 is replaced.
    pub name: String,
}

/// Reads both copies of the table of a disk of `length` bytes, recomputes all checksums and checks that the partitions
/// lie inside the disk and apart from each other. What is there but wrong is [`Corrupt`].
pub fn read(disk: &ReadAt<'_>, length: u64) -> anyhow::Result<Disk> {
    ensure!(length >= 3 * SECTOR, "a disk of {length} bytes; expected at least {}", 3 * SECTOR);
    let mut mbr = [0; 512];
    disk(0, &mut mbr).context("reading the first sector")?;
    if !mbr.ends_with(&[0x55, 0xaa]) || mbr.get(450) != Some(&0xee) {
        return Err(Corrupt::new("the first sector is not a protective MBR (one partition of type 0xee)").into());
    }
    let primary = Header::read(disk, 1, length).context("the primary partition table")?;
    let last = length / SECTOR - 1;
    ensure!(
        primary.other <= last,
        "the backup partition table is in sector {}, the disk has {} sectors: it is truncated",
        primary.other,
        last + 1
    );
    let backup = Header::read(disk, primary.other, length).context("the backup partition table")?;
    for (what, left, right) in [
        ("the backup's sector", primary.other, last),
        ("the primary's sector as the backup has it", backup.other, 1),
        ("the first usable sector", primary.first_usable, backup.first_usable),
        ("the last usable sector", primary.last_usable, backup.last_usable),
    ] {
        Corrupt::unless_equal(what, left, right)?;
    }
    Corrupt::unless_equal("the disk's GUID in both tables", primary.guid, backup.guid)?;
    if primary.table != backup.table {
        return Err(Corrupt::new("the primary and the backup partition table have different entries").into());
    }
    if primary.last_usable >= last || primary.first_usable > primary.last_usable {
        let range = format!("{} to {}", primary.first_usable, primary.last_usable);
        return Err(Corrupt::new(&format!("the usable sectors are {range}, the disk's are 0 to {last}")).into());
    }

    let mut partitions = Vec::new();
    let mut taken = BTreeSet::new();
    for (number, entry) in (1..).zip(primary.table.chunks(usize::try_from(primary.entry_size)?)) {
        let type_guid = Guid::from_mixed_endian(entry.array(0)?);
        if type_guid == Guid::NIL {
            continue;
        }
        let (first, end) = (entry.u64(32)?, entry.u64(40)?);
        if first > end || first < primary.first_usable || end > primary.last_usable {
            let range = format!("{} to {}", primary.first_usable, primary.last_usable);
            let wrong = format!("partition {number} has sectors {first} to {end}, outside the usable {range}");
            return Err(Corrupt::new(&wrong).into());
        }
        let units = entry.get(56..128).context("a partition's name")?.chunks(2).map(|unit| unit.u16(0));
        let units: Vec<u16> = units.collect::<anyhow::Result<_>>()?;
        let name = units.split(|&unit| unit == 0).next().unwrap_or(&units);
        let guid = Guid::from_mixed_endian(entry.array(16)?);
        if !taken.insert(guid) {
            return Err(Corrupt::new(&format!("partition {number} has the GUID {guid} of another")).into());
        }
        let (offset, length) = (first * SECTOR, (end - first + 1) * SECTOR);
        partitions.push(Partition { type_guid, guid, offset, length, name: String::from_utf16_lossy(name) });
    }
    let mut sorted: Vec<&Partition> = partitions.iter().collect();
    sorted.sort_by_key(|partition| partition.offset);
    for pair in sorted.windows(2) {
        if let [left, right] = pair
            && left.offset + left.length > right.offset
        {
            return Err(Corrupt::new(&format!("partitions {} and {} overlap", left.guid, right.guid)).into());
        }
    }
    Ok(Disk { guid: primary.guid, sectors: last + 1, partitions })
}

struct Header {
    other: u64,
    first_usable: u64,
    last_usable: u64,
    guid: Guid,
    entry_size: u32,
    table: Vec<u8>,
}

impl Header {
    /// Reads and checks the header in sector `own` and its table.
    fn read(disk: &ReadAt<'_>, own: u64, length: u64) -> anyhow::Result<Self> {
        let mut header = [0; SECTOR as usize];
        disk(own * SECTOR, &mut header).with_context(|| format!("reading sector {own}"))?;
        if !header.starts_with(SIGNATURE) {
            return Err(Corrupt::new(&format!("sector {own} does not start with \"EFI PART\"")).into());
        }
        let size = header.u32(12)?;
        let covered = usize::try_from(size).ok().filter(|_| size >= HEADER).and_then(|size| header.get(..size));
        let mut covered =
            covered.with_context(|| format!("header of {size} bytes, expected {HEADER} to {SECTOR}"))?.to_vec();
        let stored = header.u32(16)?;
        covered.iter_mut().skip(16).take(4).for_each(|byte| *byte = 0);
        Corrupt::unless_equal("header CRC-32", format!("{stored:08x}"), format!("{:08x}", crc32fast::hash(&covered)))?;
        ensure!(header.u32(8)? == REVISION, "revision {:#x}, expected {REVISION:#x}", header.u32(8)?);
        Corrupt::unless_equal("header's own sector", header.u64(24)?, own)?;

        let (entry_size, count) = (header.u32(84)?, header.u32(80)?);
        let bytes = u64::from(entry_size) * u64::from(count);
        let fits = entry_size >= 128 && bytes <= MAX_TABLE;
        ensure!(
            fits,
            "table of {count} entries of {entry_size} bytes; expected entries of at least 128 bytes, at most {MAX_TABLE} in all"
        );
        let start = header.u64(72)?.checked_mul(SECTOR).filter(|start| *start <= length.saturating_sub(bytes));
        let start = start.with_context(|| {
            format!("the table starts in sector {} and does not fit into the disk", header.u64(72).unwrap_or(0))
        })?;
        let mut table = vec![0; usize::try_from(bytes)?];
        disk(start, &mut table).context("reading the table")?;
        Corrupt::unless_equal(
            "table CRC-32",
            format!("{:08x}", header.u32(88)?),
            format!("{:08x}", crc32fast::hash(&table)),
        )?;
        Ok(Self {
            other: header.u64(32)?,
            first_usable: header.u64(40)?,
            last_usable: header.u64(48)?,
            guid: Guid::from_mixed_endian(header.array(56)?),
            entry_size,
            table,
        })
    }
}
