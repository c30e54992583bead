//! The superblock that `veritysetup format` writes before the tree. Vitrine's images carry it for inspection only:
//! at boot the parameters come from the measured command line.

use super::{BLOCK, BLOCK_BYTES, MAX_SALT, Salt};
use crate::guid::Guid;

const MAGIC: &[u8; 8] = b"verity\0\0";
const VERSION: u32 = 1;
const HASH_TYPE: u32 = 1;
const ALGORITHM: &[u8; 32] = b"sha256\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The fields of a superblock that are not fixed. Layout: `struct verity_sb` of cryptsetup's `lib/verity/verity.c`,
/// 512 bytes, little-endian, in an otherwise zero block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Names the device; has no influence on the root.
    pub uuid: Guid,
    /// Number of data blocks.
    pub data_blocks: u64,
    /// The salt.
    pub salt: Salt,
}

/// Why bytes are not a superblock that this crate understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SuperblockError {
    /// Fewer bytes than a block.
    #[error("expected a superblock of {BLOCK} bytes, found {found}")]
    Length {
        /// Bytes found.
        found: usize,
    },
    /// No magic bytes.
    #[error("expected the magic bytes \"verity\" of a superblock")]
    Magic,
    /// Another version, hash type or block size.
    #[error("expected {expected} as the superblock's {field}, found {found}")]
    Field {
        /// Which field.
        field: &'static str,
        /// The only supported value.
        expected: u32,
        /// The value found.
        found: u32,
    },
    /// An algorithm other than SHA-256.
    #[error("expected sha256 as the superblock's algorithm, found {found:?}")]
    Algorithm {
        /// The name found, up to its first zero byte.
        found: String,
    },
    /// A salt larger than its field.
    #[error("expected a salt of at most {MAX_SALT} bytes in the superblock, found {found}")]
    SaltLength {
        /// Bytes claimed.
        found: u16,
    },
}

impl Superblock {
    /// The block.
    pub fn to_block(&self) -> [u8; BLOCK] {
        let mut salt = [0; MAX_SALT];
        for (slot, byte) in salt.iter_mut().zip(self.salt.as_bytes()) {
            *slot = *byte;
        }
        let fields: [&[u8]; 11] = [
            MAGIC,
            &VERSION.to_le_bytes(),
            &HASH_TYPE.to_le_bytes(),
            &self.uuid.to_bytes(),
            ALGORITHM,
            &(BLOCK as u32).to_le_bytes(),
            &(BLOCK as u32).to_le_bytes(),
            &self.data_blocks.to_le_bytes(),
            &(self.salt.as_bytes().len() as u16).to_le_bytes(),
            &[0; 6],
            &salt,
        ];
        let mut block = [0; BLOCK];
        for (slot, byte) in block.iter_mut().zip(fields.iter().copied().flatten()) {
            *slot = *byte;
        }
        block
    }

    /// Parses the block at the start of `bytes`. What the layout leaves zero is not looked at, as by cryptsetup.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperblockError> {
        let mut rest = bytes.get(..BLOCK).ok_or(SuperblockError::Length { found: bytes.len() })?;
        if take::<8>(&mut rest) != *MAGIC {
            return Err(SuperblockError::Magic);
        }
        constant(&mut rest, "version", VERSION)?;
        constant(&mut rest, "hash type", HASH_TYPE)?;
        let uuid = Guid::from_bytes(take(&mut rest));
        let algorithm: [u8; 32] = take(&mut rest);
        if algorithm != *ALGORITHM {
            let name = algorithm.split(|&byte| byte == 0).next().unwrap_or_default();
            return Err(SuperblockError::Algorithm { found: String::from_utf8_lossy(name).into_owned() });
        }
        constant(&mut rest, "data block size", BLOCK as u32)?;
        constant(&mut rest, "hash block size", BLOCK as u32)?;
        let data_blocks = u64::from_le_bytes(take(&mut rest));
        let length = u16::from_le_bytes(take(&mut rest));
        let _padding: [u8; 6] = take(&mut rest);
        let salt: [u8; MAX_SALT] = take(&mut rest);
        let salt = salt.get(..usize::from(length)).ok_or(SuperblockError::SaltLength { found: length })?;
        Ok(Self { uuid, data_blocks, salt: Salt(salt.to_vec()) })
    }

    /// The size of the data in bytes, if it is one that [`super::Verity::new`] could take.
    pub fn data_bytes(&self) -> Option<u64> {
        self.data_blocks.checked_mul(BLOCK_BYTES)
    }
}

fn constant(rest: &mut &[u8], field: &'static str, expected: u32) -> Result<(), SuperblockError> {
    let found = u32::from_le_bytes(take(rest));
    if found == expected { Ok(()) } else { Err(SuperblockError::Field { field, expected, found }) }
}

/// The next `N` bytes of a block that is known to be long enough for all its fields.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk() {
        Some((head, tail)) => {
            *rest = tail;
            *head
        }
        None => [0; N],
    }
}
