//! Randomness as an argument: one seed for each handshake, and a stream made from it.

use clatter::rand_core::{CryptoRng, Error, RngCore};
use core::cell::RefCell;
use core::num::NonZeroU32;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// What a stream's blocks are hashed under.
const LABEL: &[u8] = b"vitrine/random/1\0";

/// 32 bytes of the system's generator, for one handshake or one set of keys. It is used up by its use.
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// A seed of these bytes, which nobody may know and nothing else may use.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn into_stream(self) -> Stream {
        Stream { seed: Some(self.0), blocks: 0 }
    }
}

thread_local! {
    /// The seed of the handshake that is being made: clatter makes its generator with `Default`, so this is the only
    /// way to it.
    static NEXT: RefCell<Option<Seed>> = const { RefCell::new(None) };
}

/// Runs `make`, in which the first generator made by `Default` has this seed.
pub(super) fn with_seed<T>(seed: Seed, make: impl FnOnce() -> T) -> T {
    NEXT.set(Some(seed));
    let made = make();
    // Should nobody have taken it, the next handshake must not.
    NEXT.take();
    made
}

/// The generator: block n is SHA-256(label || seed || n), n as eight bytes, big-endian.
#[derive(Clone)]
pub(crate) struct Stream {
    seed: Option<Zeroizing<[u8; 32]>>,
    blocks: u64,
}

impl Default for Stream {
    fn default() -> Self {
        Self { seed: NEXT.take().map(|seed| seed.0), blocks: 0 }
    }
}

impl Stream {
    /// The next `N` bytes of the stream.
    ///
    /// # Errors
    /// When it has no seed.
    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<Zeroizing<[u8; N]>, Error> {
        let mut bytes = Zeroizing::new([0; N]);
        self.try_fill_bytes(bytes.as_mut_slice())?;
        Ok(bytes)
    }
}

impl RngCore for Stream {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        let Some(seed) = &self.seed else { return Err(NonZeroU32::MIN.into()) };
        for chunk in out.chunks_mut(32) {
            let hash = Sha256::new().chain_update(LABEL).chain_update(seed.as_slice());
            let block = Zeroizing::new(<[u8; 32]>::from(hash.chain_update(self.blocks.to_be_bytes()).finalize()));
            self.blocks = self.blocks.wrapping_add(1);
            chunk.iter_mut().zip(block.iter()).for_each(|(out, byte)| *out = *byte);
        }
        Ok(())
    }

    // Nothing calls the other three: clatter hands the generator on to `suite`, which asks for bytes. They could not
    // say that there is no seed.

    #[expect(clippy::expect_used, reason = "nothing calls it, and bytes that are not random must not be returned")]
    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.try_fill_bytes(out).expect("a generator with a seed");
    }

    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_be_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

impl CryptoRng for Stream {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_taken_once() {
        let (first, second) = with_seed(Seed::new([1; 32]), || (Stream::default(), Stream::default()));
        assert!(first.clone().bytes::<1>().is_ok());
        assert!(second.clone().bytes::<1>().is_err());
        with_seed(Seed::new([1; 32]), || ());
        assert!(Stream::default().bytes::<1>().is_err());
    }

    #[test]
    fn the_stream_does_not_depend_on_how_it_is_read() {
        let block = |n: u64| Sha256::new().chain_update(LABEL).chain_update([7; 32]).chain_update(n.to_be_bytes());
        let mut stream = Seed::new([7; 32]).into_stream();
        let (first, second) = (stream.bytes::<64>().unwrap(), stream.bytes::<16>().unwrap());
        assert_eq!(first[..], [block(0).finalize(), block(1).finalize()].concat());
        assert_eq!(second[..], block(2).finalize()[..16]);
    }
}
