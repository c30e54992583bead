//! SHA-256 over the salt and then a block, for many blocks.
//!
//! SHA-256 is one chain of steps that wait for each other, and a processor with instructions for it has room for a
//! second chain meanwhile. Two messages are therefore hashed alternately, 64 bytes at a time.

use super::{BLOCK, Salt};
use crate::digest::{Digest, Sha256};
use core::slice;
use sha2::block_api::compress256;

/// The state before the first 64 bytes (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Hashes blocks after one salt.
pub(super) struct Hasher {
    /// A whole message as SHA-256 takes it: the salt, zeros where the block goes, the padding.
    message: Vec<[u8; 64]>,
    /// Bytes of the salt.
    salt: usize,
}

impl Hasher {
    pub(super) fn new(salt: &Salt) -> Self {
        let mut bytes = salt.as_bytes().to_vec();
        bytes.extend([0; BLOCK]);
        let bits = (bytes.len() as u64).saturating_mul(8);
        // A one bit, zeros, and the number of bits in the last eight bytes (FIPS 180-4, 5.1.1).
        bytes.push(0x80);
        while bytes.len() % 64 != 56 {
            bytes.push(0);
        }
        bytes.extend(bits.to_be_bytes());
        Self { message: bytes.as_chunks().0.to_vec(), salt: salt.as_bytes().len() }
    }

    /// The digests of the blocks in `blocks`, in order.
    pub(super) fn digests(&self, blocks: &[u8]) -> Vec<Sha256> {
        let mut digests = Vec::with_capacity(blocks.len() / BLOCK);
        let (mut first, mut second) = (self.message.clone(), self.message.clone());
        for pair in blocks.as_chunks::<BLOCK>().0.chunks(2) {
            for (message, block) in [&mut first, &mut second].into_iter().zip(pair) {
                let after_salt = message.as_flattened_mut().split_at_mut(self.salt).1;
                let place = after_salt.first_chunk_mut().expect("a message has room for a block");
                *place = *block;
            }
            // After an odd last block the second message is an old one, whose digest nobody takes.
            let (mut state, mut other) = (INITIAL, INITIAL);
            for (part, other_part) in first.iter().zip(&second) {
                compress256(&mut state, slice::from_ref(part));
                compress256(&mut other, slice::from_ref(other_part));
            }
            digests.extend([state, other].iter().take(pair.len()).map(digest));
        }
        digests
    }

    /// The digest of one block.
    pub(super) fn digest(&self, block: &[u8; BLOCK]) -> Sha256 {
        *self.digests(block).first().expect("one block has one digest")
    }
}

fn digest(state: &[u32; 8]) -> Sha256 {
    let mut bytes = [0; 32];
    for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(state) {
        *to = word.to_be_bytes();
    }
    Digest::new(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sha2::Digest as _;

    #[test]
    fn equals_plain_sha256() {
        let bytes: Vec<u8> = (0..3 * BLOCK as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for length in [0, 1, 32, 54, 55, 56, 57, 63, 64, 65, 256] {
            let salt = Salt::new(&bytes[7..7 + length]).unwrap();
            let plain = |block| {
                Digest::new(sha2::Sha256::new().chain_update(salt.as_bytes()).chain_update(block).finalize().into())
            };
            for blocks in 0..=3 {
                let blocks = &bytes[..blocks * BLOCK];
                let expected: Vec<Sha256> = blocks.chunks(BLOCK).map(plain).collect();
                assert_eq!(Hasher::new(&salt).digests(blocks), expected, "{length} bytes of salt");
            }
        }
    }
}
