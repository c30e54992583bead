//! The superblock, at byte 1024.

use crate::formats::bytes::{At as _, Corrupt, ReadAt};
use anyhow::{Context as _, ensure};
use measure::guid::Guid;

/// Where it is.
const OFFSET: u64 = 1024;
const MAGIC: u32 = 0xe0f5_e1e2;
/// Compatible feature: the checksum is there.
const CHECKSUM: u32 = 1;

/// What the superblock says, checksum verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Bytes in a block, 512 to 64 KiB.
    pub block: u64,
    /// Number of blocks of the image.
    pub blocks: u32,
    /// Number of inodes.
    pub inodes: u64,
    /// Names the file system.
    pub uuid: Guid,
    /// When it was built, in seconds since 1970: the time of every compact inode.
    pub time: u64,
    /// The verified CRC-32C, if the image has one.
    pub checksum: Option<u32>,
    /// Features a reader must know (`EROFS_FEATURE_INCOMPAT_*`).
    pub incompatible: u32,
    pub(super) root: u64,
    pub(super) inode_area: u64,
}

impl Superblock {
    /// Whether `head`, the first bytes of something, looks like the start of an erofs image.
    pub fn recognise(head: &[u8]) -> bool {
        usize::try_from(OFFSET).is_ok_and(|at| head.get(at..).is_some_and(|rest| rest.u32(0).is_ok_and(|m| m == MAGIC)))
    }

    /// Reads it and recomputes its checksum; an image shorter than it says is an error, a wrong checksum is [`Corrupt`].
    pub fn read(image: &ReadAt<'_>, length: u64) -> anyhow::Result<Self> {
        let mut head = [0; 128];
        ensure!(length >= OFFSET + 128, "an image of {length} bytes has no room for an erofs superblock");
        image(OFFSET, &mut head).context("reading the superblock")?;
        ensure!(head.u32(0)? == MAGIC, "magic {:08x}, expected {MAGIC:08x} of erofs", head.u32(0)?);
        let [bits] = head.array(12)?;
        ensure!((9..=16).contains(&bits), "block size 2^{bits}, expected 2^9 to 2^16");
        let block = 1_u64 << bits;
        let blocks = head.u32(36)?;
        let size = u64::from(blocks) * block;
        ensure!(size <= length, "the image has {length} bytes, its superblock says {size}: it is truncated");

        let stored = head.u32(4)?;
        let checksum = (head.u32(8)? & CHECKSUM != 0).then_some(stored);
        if checksum.is_some() {
            // To the end of the superblock's block, where small blocks leave room for it in a block of its own.
            let covered = if block > OFFSET { block - OFFSET } else { block };
            let mut bytes = vec![0; usize::try_from(covered)?];
            image(OFFSET, &mut bytes).context("reading the superblock's block")?;
            bytes.iter_mut().skip(4).take(4).for_each(|byte| *byte = 0);
            let computed = crc32c(&bytes);
            Corrupt::unless_equal("superblock CRC-32C", format!("{stored:08x}"), format!("{computed:08x}"))?;
        }
        Ok(Self {
            block,
            blocks,
            inodes: head.u64(16)?,
            uuid: Guid::from_bytes(head.array(48)?),
            time: head.u64(24)?,
            checksum,
            incompatible: head.u32(80)?,
            root: head.u16(14)?.into(),
            inode_area: u64::from(head.u32(40)?) * block,
        })
    }
}

/// CRC-32C (Castagnoli) as Linux's crc32c(~0, ...): started with ones and not inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn crc32c_of_rfc_3720() {
        assert_eq!(!super::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(!super::crc32c(b"123456789"), 0xe306_9283);
    }
}
