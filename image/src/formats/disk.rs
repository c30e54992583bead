//! Disks with a GUID partition table (UEFI 2.10, chapter 5), 512-byte sectors: a deterministic writer for ours and a
//! reader that recomputes every checksum. The layout of ours is specified in docs/formats.md.

mod read;

pub use read::{Disk, Partition, read};

use crate::formats::filetree::pad;
use anyhow::{Context as _, ensure};
use measure::guid::Guid;
use std::fs::File;
use std::io::{BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use uuid::Uuid;

/// Bytes in a sector.
pub const SECTOR: u64 = 512;
/// Every partition starts, and the disk ends, at a multiple of this many bytes.
const ALIGN: u64 = 1 << 20;
/// Data is padded with zeros to a multiple of this many bytes, a block of erofs and dm-verity.
const BLOCK: u64 = 4096;
/// Entries of the partition table and bytes of each, the numbers every tool expects.
const ENTRIES: u64 = 128;
const ENTRY: u64 = 128;
const TABLE_SECTORS: u64 = ENTRIES * ENTRY / SECTOR;
const SIGNATURE: &[u8; 8] = b"EFI PART";
const REVISION: u32 = 0x0001_0000;
const HEADER: u32 = 92;
/// Longest partition name, in UTF-16 units.
const NAME: usize = 36;
/// "Linux filesystem data". Deliberately not one of the types that systemd mounts on its own.
const LINUX_DATA: Guid = Guid::new(0x0fc63daf_8483_4772_8e79_3d69d8477de4);

/// The GUID that `label` names, for a disk or a partition: its version 5 UUID under `seed`.
pub fn guid(seed: Uuid, label: &str) -> Guid {
    Guid::from_bytes(Uuid::new_v5(&seed, label.as_bytes()).into_bytes())
}

/// Writes a disk to `out`, an empty file: the partitions `parts` (label and data) in order, each aligned to 1 MiB, and
/// nothing that does not follow from these arguments. The disk's own GUID is that of `label`, a partition's that of its
/// own label.
pub fn write(out: &File, seed: Uuid, label: &str, parts: &[(&str, &Path)]) -> anyhow::Result<()> {
    ensure!(parts.len() as u64 <= ENTRIES, "{} partitions, at most {ENTRIES} fit", parts.len());
    let mut at = ALIGN;
    let mut table = Vec::new();
    for (name, data) in parts {
        let from = File::open(data).with_context(|| format!("opening {} for partition {name}", data.display()))?;
        let mut to = out;
        to.seek(SeekFrom::Start(at))?;
        // Only as much as the length says, so that a file that grows meanwhile cannot run into the next partition.
        let length = from.metadata()?.len();
        ensure!(length > 0, "{} for partition {name} is empty", data.display());
        let copied = std::io::copy(&mut (&from).take(length), &mut to)
            .with_context(|| format!("copying {} into partition {name}", data.display()))?;
        ensure!(copied == length, "{} shrank while it was copied", data.display());
        pad(&mut to, length, BLOCK)?;
        let end = at + length.next_multiple_of(BLOCK);
        table.extend(LINUX_DATA.to_mixed_endian());
        table.extend(guid(seed, name).to_mixed_endian());
        for number in [at / SECTOR, end / SECTOR - 1, 0] {
            table.extend(number.to_le_bytes());
        }
        let units: Vec<u16> = name.encode_utf16().collect();
        ensure!(units.len() <= NAME, "partition name {name} is longer than {NAME} UTF-16 units");
        table.extend(units.into_iter().chain(std::iter::repeat(0)).take(NAME).flat_map(u16::to_le_bytes));
        at = end.next_multiple_of(ALIGN);
    }
    table.resize((ENTRIES * ENTRY) as usize, 0);

    let size = at + ALIGN;
    out.set_len(size)?;
    let last = size / SECTOR - 1;
    let mut to = BufWriter::new(out);
    to.seek(SeekFrom::Start(0))?;
    to.write_all(&protective_mbr(last))?;
    to.write_all(&header(seed, label, &table, 1, last, 2, last))?;
    to.write_all(&table)?;
    to.seek(SeekFrom::Start((last - TABLE_SECTORS) * SECTOR))?;
    to.write_all(&table)?;
    to.write_all(&header(seed, label, &table, last, 1, last - TABLE_SECTORS, last))?;
    to.flush()?;
    Ok(())
}

fn header(seed: Uuid, label: &str, table: &[u8], own: u64, other: u64, entries: u64, last: u64) -> [u8; 512] {
    let first_usable = 2 + TABLE_SECTORS;
    let last_usable = last - TABLE_SECTORS - 1;
    let fields = |checksum: u32| {
        let fields: [&[u8]; 14] = [
            SIGNATURE,
            &REVISION.to_le_bytes(),
            &HEADER.to_le_bytes(),
            &checksum.to_le_bytes(),
            &[0; 4],
            &own.to_le_bytes(),
            &other.to_le_bytes(),
            &first_usable.to_le_bytes(),
            &last_usable.to_le_bytes(),
            &guid(seed, label).to_mixed_endian(),
            &entries.to_le_bytes(),
            &(ENTRIES as u32).to_le_bytes(),
            &(ENTRY as u32).to_le_bytes(),
            &crc32fast::hash(table).to_le_bytes(),
        ];
        fields.concat()
    };
    sector(&fields(crc32fast::hash(&fields(0))))
}

/// One partition of type 0xee over the whole disk, so that tools that know no GPT keep off. Disk signature 0.
fn protective_mbr(last: u64) -> [u8; 512] {
    let sectors = u32::try_from(last).unwrap_or(u32::MAX);
    let start = [0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0];
    sector(&[[0; 446].as_slice(), &start, &sectors.to_le_bytes(), &[0; 48], &[0x55, 0xaa]].concat())
}

fn sector(bytes: &[u8]) -> [u8; 512] {
    let mut sector = [0; 512];
    for (to, from) in sector.iter_mut().zip(bytes) {
        *to = *from;
    }
    sector
}
