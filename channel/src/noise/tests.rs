//! The handshake beside two others: snow's, for the classical pattern, and one from the specification's words.

use super::*;
use clatter::NqHandshakeCore;
use clatter::bytearray::ByteArray as _;
use clatter::handshakepattern::noise_nx;
use clatter::traits::Dh as _;
use ml_kem::{Decapsulate as _, KeyExport as _, ml_kem_768};
use sha2::Digest as _;

fn keys(seed: u8) -> (DhKeys, KemKeys) {
    static_keys(&mut Seed::new([seed; 32]).into_stream()).unwrap()
}

fn pair(secret: u8) -> DhKeys {
    let secret = SensitiveByteArray::new([secret; 32]);
    KeyPair::new(X25519::pubkey(&secret), secret)
}

#[test]
fn the_classical_transcript_is_snows() {
    const E: u8 = 0x11;
    const SERVER_E: u8 = 0x22;
    const S: u8 = 0x33;
    let params = || "Noise_NX_25519_ChaChaPoly_SHA256".parse().unwrap();
    let builder = || snow::Builder::new(params()).prologue(PROLOGUE).unwrap();
    let mut theirs = builder().fixed_ephemeral_key_for_testing_only(&[E; 32]).build_initiator().unwrap();
    let server = builder().local_private_key(&[S; 32]).unwrap();
    let mut their_server = server.fixed_ephemeral_key_for_testing_only(&[SERVER_E; 32]).build_responder().unwrap();

    type Classical = NqHandshakeCore<X25519, ChaChaPoly, suite::Sha256, Stream>;
    let new = |initiator, s, e| Classical::new(noise_nx(), PROLOGUE, initiator, s, Some(pair(e)), None, None).unwrap();
    let (mut ours, mut our_server) = (new(true, None, E), new(false, Some(pair(S)), SERVER_E));

    let (mut wire, mut their_wire, mut payload) = ([0; 256], [0; 256], [0; 256]);
    for (number, said) in [(1, &b"one byte"[..]), (2, b"another")] {
        let (from, to) = if number == 1 { (&mut ours, &mut our_server) } else { (&mut our_server, &mut ours) };
        let (their_from, their_to) =
            if number == 1 { (&mut theirs, &mut their_server) } else { (&mut their_server, &mut theirs) };
        let length = from.write_message(said, &mut wire).unwrap();
        let their_length = their_from.write_message(said, &mut their_wire).unwrap();
        assert_eq!(wire[..length], their_wire[..their_length], "message {number}");
        // Each reads the other's.
        let read = to.read_message(&their_wire[..length], &mut payload).unwrap();
        assert_eq!(&payload[..read], said);
        let read = their_to.read_message(&wire[..length], &mut payload).unwrap();
        assert_eq!(&payload[..read], said);
    }
    assert_eq!(ours.get_remote_static(), Some(pair(S).public));
    let (mut ours, mut our_server) = (ours.finalize().unwrap(), our_server.finalize().unwrap());
    assert_eq!(ours.get_handshake_hash().as_slice(), theirs.get_handshake_hash());
    let (mut client, mut server) = (theirs.into_transport_mode().unwrap(), their_server.into_transport_mode().unwrap());
    for _ in 0..3 {
        let length = ours.send(b"question", &mut wire).unwrap();
        let their_length = client.write_message(b"question", &mut their_wire).unwrap();
        assert_eq!(wire[..length], their_wire[..their_length]);
        let read = server.read_message(&wire[..length], &mut payload).unwrap();
        assert_eq!(&payload[..read], b"question");
        let length = our_server.send(b"answer", &mut wire).unwrap();
        let their_length = server.write_message(b"answer", &mut their_wire).unwrap();
        assert_eq!(wire[..length], their_wire[..their_length]);
        let read = client.read_message(&wire[..length], &mut payload).unwrap();
        assert_eq!(&payload[..read], b"answer");
    }
}

/// The symmetric state of the specification, section 5.2, as short as it can be said.
struct Symmetric {
    h: [u8; 32],
    ck: [u8; 32],
    key: Option<([u8; 32], u64)>,
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    sha2::Sha256::digest(parts.concat()).into()
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    hash(&[&block.map(|byte| byte ^ 0x5c), &hash(&[&block.map(|byte| byte ^ 0x36), data])])
}

impl Symmetric {
    fn new() -> Self {
        let h = hash(&[b"Noise_hybridNX_25519+MLKEM768_ChaChaPoly_SHA256"]);
        let mut symmetric = Self { h, ck: h, key: None };
        symmetric.mix_hash(PROLOGUE);
        symmetric
    }

    fn mix_hash(&mut self, data: &[u8]) {
        self.h = hash(&[&self.h, data]);
    }

    fn hkdf(&self, material: &[u8]) -> [[u8; 32]; 3] {
        let key = hmac(&self.ck, material);
        let first = hmac(&key, &[1]);
        let second = hmac(&key, &[&first[..], &[2]].concat());
        [first, second, hmac(&key, &[&second[..], &[3]].concat())]
    }

    fn mix_key(&mut self, material: &[u8]) {
        let [ck, key, _] = self.hkdf(material);
        (self.ck, self.key) = (ck, Some((key, 0)));
    }

    fn mix_key_and_hash(&mut self, material: &[u8]) {
        let [ck, h, key] = self.hkdf(material);
        self.ck = ck;
        self.mix_hash(&h);
        self.key = Some((key, 0));
    }

    fn encrypt_and_hash(&mut self, plaintext: &[u8]) -> Vec<u8> {
        let mut out = plaintext.to_vec();
        if let Some((key, counter)) = &mut self.key {
            out = seal(key, *counter, &self.h, plaintext);
            *counter += 1;
        }
        self.mix_hash(&out);
        out
    }
}

fn seal(key: &[u8; 32], counter: u64, ad: &[u8], plaintext: &[u8]) -> Vec<u8> {
    use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
    let nonce: [u8; 12] = [&[0; 4][..], &counter.to_le_bytes()].concat().try_into().unwrap();
    let mut out = plaintext.to_vec();
    let tag = ChaCha20Poly1305::new(key.into()).encrypt_inout_detached(&nonce.into(), ad, out.as_mut_slice().into());
    [out, tag.unwrap().to_vec()].concat()
}

#[test]
fn the_hybrid_transcript_is_the_specifications() {
    // Ours.
    let (dh, kem) = keys(1);
    let (client, m1) = Initiator::start(Seed::new([2; 32]), 3).unwrap();
    let (server, byte, m2) = Responder::answer(&dh, &kem, Seed::new([3; 32]), &m1).unwrap();
    let (mut client, statics, m3) = client.finish(&m2).unwrap();
    let mut server = server.finish(&m3).unwrap();
    assert_eq!(byte, 3);
    assert_eq!((m1.len(), m2.len(), m3.len()), (1217, 3568, 1120));
    assert_eq!((statics.dh, statics.kem), (dh.public, kem.public));

    // By hand, both sides at once.
    let block = |seed: u8, n: u64| hash(&[b"vitrine/random/1\0", &[seed; 32], &n.to_be_bytes()]);
    let blocks = |seed, n| <[u8; 64]>::try_from([block(seed, n), block(seed, n + 1)].concat()).unwrap();
    let decapsulation = |seed: [u8; 64]| ml_kem_768::DecapsulationKey::from_seed(seed.into());
    let public = |secret: [u8; 32]| x25519_dalek::x25519(secret, x25519_dalek::X25519_BASEPOINT_BYTES);
    let (s, s_kem) = (block(1, 0), decapsulation(blocks(1, 1)));
    let (e, e_kem) = (block(2, 0), decapsulation(blocks(2, 1)));
    let key = |kem: &ml_kem_768::DecapsulationKey| kem.encapsulation_key().to_bytes().to_vec();
    assert_eq!(statics.dh, public(s));
    assert_eq!(statics.kem[..], key(&s_kem));

    let mut noise = Symmetric::new();
    let first = [&public(e)[..], &key(&e_kem)].concat();
    noise.mix_hash(&first[..32]);
    noise.mix_hash(&first[32..]);
    assert_eq!(m1, [first, noise.encrypt_and_hash(&[3])].concat());

    // The server draws for the ciphertext first, and then its X25519 key.
    let (ciphertext, secret) = e_kem.encapsulation_key().encapsulate_deterministic(&block(3, 0).into());
    let server_e = block(3, 1);
    let mut second = ciphertext.to_vec();
    noise.mix_hash(&ciphertext);
    noise.mix_key(&e_kem.decapsulate(&ciphertext));
    assert_eq!(e_kem.decapsulate(&ciphertext), secret);
    for key in [&public(server_e)[..], &[0; 1184]] {
        noise.mix_hash(key);
        second.extend_from_slice(key);
    }
    noise.mix_key(&x25519_dalek::x25519(e, public(server_e)));
    second.extend(noise.encrypt_and_hash(&public(s)));
    second.extend(noise.encrypt_and_hash(&key(&s_kem)));
    noise.mix_key(&x25519_dalek::x25519(s, public(e)));
    second.extend(noise.encrypt_and_hash(&[]));
    assert_eq!(m2, second);

    // The client's third draw, after 32 and 64 bytes.
    let (ciphertext, secret) = s_kem.encapsulation_key().encapsulate_deterministic(&block(2, 3).into());
    let mut third = noise.encrypt_and_hash(&ciphertext);
    noise.mix_key_and_hash(&secret);
    third.extend(noise.encrypt_and_hash(&[]));
    assert_eq!(m3, third);

    assert_eq!(client.hash(), Sha256::new(noise.h));
    assert_eq!(server.hash(), Sha256::new(noise.h));
    let [to_server, to_client, _] = noise.hkdf(&[]);
    for counter in 0..3 {
        let content = || {
            let mut content = Content::with_capacity(8 + TAG);
            content.append(b"question");
            content
        };
        let sealed = client.seal(content()).unwrap();
        assert_eq!(sealed, seal(&to_server, counter, &[], b"question"));
        assert_eq!(server.open(&sealed).unwrap()[..], *b"question");
        let sealed = server.seal(content()).unwrap();
        assert_eq!(sealed, seal(&to_client, counter, &[], b"question"));
        assert_eq!(client.open(&sealed).unwrap()[..], *b"question");
    }
}

#[test]
fn keys_that_prove_nothing_end_the_handshake() {
    let (dh, kem) = keys(1);
    let answer = |m1: &[u8]| Responder::answer(&dh, &kem, Seed::new([3; 32]), m1).map(|_| ());
    let (_, m1) = Initiator::start(Seed::new([2; 32]), 3).unwrap();
    assert_eq!(answer(&m1), Ok(()));
    // Points of order 1, 2, 4 and 8 (RFC 7748, section 6.1), and ML-KEM coefficients of at least 3329.
    let mut order_eight = [0; 32];
    let digits = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    order_eight.copy_from_slice(&measure::digest::bytes_from_hex(digits).unwrap());
    let one = core::array::from_fn(|at| u8::from(at == 0));
    for point in [[0; 32], one, order_eight] {
        let mut low = m1.clone();
        low[..32].copy_from_slice(&point);
        assert_eq!(answer(&low), Err(Error::Broken));
    }
    let mut unreduced = m1.clone();
    unreduced[32..35].fill(0xff);
    assert_eq!(answer(&unreduced), Err(Error::Broken));
}

/// What a client makes of a server that sends something else than zeros for the key that is not used.
#[test]
fn the_unused_key_is_zero() {
    let (dh, kem) = keys(1);
    let (client, m1) = Initiator::start(Seed::new([2; 32]), 3).unwrap();
    let params = Params::new(noise_hybrid_nx(), false).with_s(dh).with_s_kem(kem);
    let mut server = state(params, Seed::new([3; 32])).unwrap();
    read::<M1>(&mut server, &m1, &mut [0]).unwrap();
    let m2 = write::<M2>(&mut server, &[]).unwrap();
    assert_ne!(m2[1088 + 32..][..1184], UNUSED);
    assert!(matches!(client.finish(&m2), Err(Error::Broken)));
}
