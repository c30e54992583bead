//! The handshake, `Noise_hybridNX_25519+MLKEM768_ChaChaPoly_SHA256`, and what it leaves: two keys and a hash.

mod random;
mod suite;
#[cfg(test)]
mod tests;

pub use random::Seed;
pub(crate) use suite::{DH_KEY, DhKeys, KEM_KEY, KemKeys, TAG, static_keys};

use crate::{Content, Error};
use clatter::bytearray::SensitiveByteArray;
use clatter::handshakepattern::noise_hybrid_nx;
use clatter::transportstate::TransportState;
use clatter::{Handshaker as _, HybridHandshakeCore, HybridHandshakeParams, KeyPair};
use measure::Sha256;
use random::Stream;
use suite::{ChaChaPoly, KEM_CIPHERTEXT, MlKem768, X25519};

const PROLOGUE: &[u8] = b"vitrine/noise/1\0";

/// Bytes of the first message: the client's ephemeral keys and its one byte in clear.
pub const M1: usize = DH_KEY + KEM_KEY + 1;
/// Bytes of the second message: the server's ephemeral and static keys.
pub const M2: usize = KEM_CIPHERTEXT + DH_KEY + KEM_KEY + DH_KEY + TAG + KEM_KEY + TAG + TAG;
/// Bytes of the third message: what only the holder of the static ML-KEM key can open.
pub const M3: usize = KEM_CIPHERTEXT + TAG + TAG;

type State = HybridHandshakeCore<X25519, MlKem768, MlKem768, ChaChaPoly, suite::Sha256, Stream>;
type Params<'a> = HybridHandshakeParams<'a, X25519, MlKem768, MlKem768>;

fn state(params: Params<'_>, seed: Seed) -> Result<State, Error> {
    random::with_seed(seed, || State::new(params.with_prologue(PROLOGUE))).map_err(|_| Error::Broken)
}

fn write<const N: usize>(state: &mut State, payload: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; N];
    match state.write_message(payload, &mut out) {
        Ok(length) if length == N => Ok(out),
        _ => Err(Error::Broken),
    }
}

/// Reads a message of `N` bytes of which `payload` takes the payload.
fn read<const N: usize>(state: &mut State, message: &[u8], payload: &mut [u8]) -> Result<(), Error> {
    if message.len() != N {
        return Err(Error::Broken);
    }
    state.read_message(message, payload).map(|_length| ()).map_err(|_| Error::Broken)
}

/// The client's side.
pub(crate) struct Initiator(State);

/// The keys that the server has shown to own.
pub(crate) struct Statics {
    pub(crate) dh: [u8; DH_KEY],
    pub(crate) kem: [u8; KEM_KEY],
}

impl Initiator {
    /// The first message, which carries one byte in clear.
    pub(crate) fn start(seed: Seed, byte: u8) -> Result<(Self, Vec<u8>), Error> {
        let mut state = state(Params::new(noise_hybrid_nx(), true), seed)?;
        let m1 = write::<M1>(&mut state, &[byte])?;
        Ok((Self(state), m1))
    }

    /// Takes the second message; gives the third.
    pub(crate) fn finish(mut self, m2: &[u8]) -> Result<(Transport, Statics, Vec<u8>), Error> {
        read::<M2>(&mut self.0, m2, &mut [])?;
        if self.0.get_remote_ephemeral().is_none_or(|keys| *keys.kem() != UNUSED) {
            return Err(Error::Broken);
        }
        let keys = self.0.get_remote_static().ok_or(Error::Broken)?;
        let statics = Statics { dh: *keys.dh(), kem: *keys.kem() };
        let m3 = write::<M3>(&mut self.0, &[])?;
        Ok((Transport::new(self.0)?, statics, m3))
    }
}

/// The pattern has the server send an ephemeral ML-KEM key that nothing is ever encapsulated to. To make one would be a
/// fifth of the server's work.
const UNUSED: [u8; KEM_KEY] = [0; KEM_KEY];

/// The server's side.
pub(crate) struct Responder(State);

impl Responder {
    /// Takes the first message, of which it returns the byte in clear; gives the second.
    pub(crate) fn answer(dh: &DhKeys, kem: &KemKeys, seed: Seed, m1: &[u8]) -> Result<(Self, u8, Vec<u8>), Error> {
        let unused = KeyPair::new(UNUSED, SensitiveByteArray::new([0; 64]));
        let params = Params::new(noise_hybrid_nx(), false).with_e_kem(unused);
        let mut state = state(params.with_s(dh.clone()).with_s_kem(kem.clone()), seed)?;
        let mut byte = [0];
        read::<M1>(&mut state, m1, &mut byte)?;
        let m2 = write::<M2>(&mut state, &[])?;
        Ok((Self(state), byte[0], m2))
    }

    /// Takes the third message.
    pub(crate) fn finish(mut self, m3: &[u8]) -> Result<Transport, Error> {
        read::<M3>(&mut self.0, m3, &mut [])?;
        Transport::new(self.0)
    }
}

/// What comes after the handshake: messages that are sealed, numbered and opened in order.
pub(crate) struct Transport {
    state: TransportState<ChaChaPoly, suite::Sha256>,
}

impl Transport {
    fn new(state: State) -> Result<Self, Error> {
        Ok(Self { state: state.finalize().map_err(|_| Error::Broken)? })
    }

    /// The hash over everything that both sides have said, their keys and the prologue: it names the session.
    pub(crate) fn hash(&self) -> Sha256 {
        Sha256::new(*self.state.get_handshake_hash())
    }

    /// Seals `plaintext`, of at most 65,519 bytes, in its place.
    pub(crate) fn seal(&mut self, mut plaintext: Content) -> Result<Vec<u8>, Error> {
        let length = plaintext.len();
        plaintext.append(&[0; TAG]);
        if plaintext.len() > clatter::constants::MAX_MESSAGE_LEN {
            return Err(Error::Broken);
        }
        self.state.send_in_place(&mut plaintext, length).map_err(|_| Error::Broken)?;
        Ok(core::mem::take(&mut plaintext.0))
    }

    /// Opens the message that comes next, if that is what it is.
    pub(crate) fn open(&mut self, message: &[u8]) -> Result<Content, Error> {
        let length = message.len().checked_sub(TAG).ok_or(Error::Broken)?;
        if message.len() > clatter::constants::MAX_MESSAGE_LEN {
            return Err(Error::Broken);
        }
        let mut content = Content::zeroed(length);
        self.state.receive(message, &mut content).map_err(|_| Error::Broken)?;
        Ok(content)
    }
}
