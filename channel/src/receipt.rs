//! Receipts: on request, the guest signs what it was asked and what it answered, with a key that its key statement
//! names. The hashes are salted by the client, who alone can show what they are of.

use crate::cbor::{Reader, Writer};
use crate::server::Identity;
use crate::{Error, KeyStatement};
use ed25519_dalek::{Signature, Signer as _, VerifyingKey};
use measure::verity::VerityRoot;
use measure::{Sha256, Sha384};
use sha2::Digest as _;
use subtle::ConstantTimeEq as _;

/// Bytes of a receipt.
pub const MAX_RECEIPT: usize = 512;

const LABEL: &[u8] = b"vitrine/receipt/1\0";
const REQUEST: &[u8] = b"vitrine/receipt-request/1\0";
const ANSWER: &[u8] = b"vitrine/receipt-answer/1\0";
const VERSION: u64 = 1;

/// What a receipt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// SHA-256 of the key statement that names the signing key.
    pub statement: Sha256,
    /// The guest's measurement, as its report says it.
    pub measurement: Sha384,
    /// The verity root of the model that answered.
    pub model: VerityRoot,
    /// The [salted hash](request_hash) of the request.
    pub request: Sha256,
    /// The [salted hash](answer_hash) of the answer.
    pub answer: Sha256,
    /// How the answer was sampled.
    pub sampling: Sampling,
}

/// Sampling parameters as the engine was given them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// The bits of the 32-bit floating-point temperature; 0 is greedy.
    pub temperature: u32,
    /// The bits of the 32-bit floating-point top-p.
    pub top_p: u32,
    /// The seed.
    pub seed: u64,
    /// Limit of tokens in the answer.
    pub max_tokens: u64,
}

/// The hash of a request under the client's salt.
pub fn request_hash(salt: &[u8; 32], request: &[u8]) -> Sha256 {
    salted(REQUEST, salt, request)
}

/// The hash of an answer under the client's salt.
pub fn answer_hash(salt: &[u8; 32], answer: &[u8]) -> Sha256 {
    salted(ANSWER, salt, answer)
}

fn salted(label: &[u8], salt: &[u8; 32], content: &[u8]) -> Sha256 {
    Sha256::new(sha2::Sha256::new().chain_update(label).chain_update(salt).chain_update(content).finalize().into())
}

impl Receipt {
    /// Whether it is about this request and answer, under the salt that the client chose.
    pub fn is_about(&self, salt: &[u8; 32], request: &[u8], answer: &[u8]) -> bool {
        let same = |found: Sha256, said: Sha256| found.as_bytes().ct_eq(said.as_bytes());
        (same(request_hash(salt, request), self.request) & same(answer_hash(salt, answer), self.answer)).into()
    }

    /// Signs it with the keys of `identity`, which [`Receipt::statement`] must name.
    ///
    /// # Errors
    /// [`Error::Untimely`] when it names another.
    pub fn sign(&self, identity: &Identity) -> Result<Vec<u8>, Error> {
        if self.statement != identity.statement_digest() {
            return Err(Error::Untimely);
        }
        let said = self.to_bytes();
        let signature = identity.receipts().sign(&[LABEL, &said].concat());
        Ok(Writer::new().array(2).bytes(&said).bytes(&signature.to_bytes()).finish())
    }

    /// Reads a receipt that a guest with this key statement has signed.
    ///
    /// # Errors
    /// [`Error::Broken`] for anything else.
    pub fn verify(receipt: &[u8], statement: &KeyStatement) -> Result<Self, Error> {
        let mut reader = Reader::new(receipt);
        if reader.array(2)? != 2 {
            return Err(Error::Broken);
        }
        let said = reader.bytes(MAX_RECEIPT)?;
        let signature = Signature::from_bytes(&reader.fixed()?);
        reader.end()?;
        let key = VerifyingKey::from_bytes(&statement.receipts).map_err(|_| Error::Broken)?;
        key.verify_strict(&[LABEL, said].concat(), &signature).map_err(|_| Error::Broken)?;
        let receipt = Self::parse(said)?;
        (receipt.statement == Sha256::of(&statement.to_bytes()?)).then_some(receipt).ok_or(Error::Broken)
    }

    fn to_bytes(self) -> Vec<u8> {
        let Sampling { temperature, top_p, seed, max_tokens } = self.sampling;
        let writer = Writer::new().map(7).uint(1).uint(VERSION).uint(2).bytes(self.statement.as_bytes());
        let writer = writer.uint(3).bytes(self.measurement.as_bytes()).uint(4).bytes(self.model.0.as_bytes());
        let writer = writer.uint(5).bytes(self.request.as_bytes()).uint(6).bytes(self.answer.as_bytes());
        let writer = writer.uint(7).array(4).uint(temperature.into()).uint(top_p.into());
        writer.uint(seed).uint(max_tokens).finish()
    }

    fn parse(said: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(said);
        if reader.map(7)? != 7 || reader.key(1)?.uint()? != VERSION {
            return Err(Error::Broken);
        }
        let statement = Sha256::new(reader.key(2)?.fixed()?);
        let measurement = Sha384::new(reader.key(3)?.fixed()?);
        let model = VerityRoot(Sha256::new(reader.key(4)?.fixed()?));
        let request = Sha256::new(reader.key(5)?.fixed()?);
        let answer = Sha256::new(reader.key(6)?.fixed()?);
        if reader.key(7)?.array(4)? != 4 {
            return Err(Error::Broken);
        }
        let mut bits = || u32::try_from(reader.uint()?).map_err(|_| Error::Broken);
        let (temperature, top_p) = (bits()?, bits()?);
        let sampling = Sampling { temperature, top_p, seed: reader.uint()?, max_tokens: reader.uint()? };
        reader.end()?;
        Ok(Self { statement, measurement, model, request, answer, sampling })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seed;
    use crate::server::About;

    fn identity(seed: u8) -> (Identity, KeyStatement) {
        let about = About { boot_id: [1; 16], epoch: 0, models: [].into(), operator: None };
        let identity = Identity::new(Seed::new([seed; 32]), about).unwrap();
        let statement = KeyStatement::parse(identity.statement()).unwrap();
        (identity, statement)
    }

    fn receipt(identity: &Identity) -> Receipt {
        Receipt {
            statement: identity.statement_digest(),
            measurement: Sha384::of(b"measurement"),
            model: VerityRoot(Sha256::of(b"model")),
            request: request_hash(&[9; 32], b"request"),
            answer: answer_hash(&[9; 32], b"answer"),
            sampling: Sampling { temperature: 0.7_f32.to_bits(), top_p: 1_f32.to_bits(), seed: 42, max_tokens: 256 },
        }
    }

    #[test]
    fn a_receipt_is_the_guests_and_about_what_was_said() {
        let (identity, statement) = identity(1);
        let receipt = receipt(&identity);
        let signed = receipt.sign(&identity).unwrap();
        assert!(signed.len() <= MAX_RECEIPT);
        assert_eq!(Receipt::verify(&signed, &statement), Ok(receipt));
        assert!(receipt.is_about(&[9; 32], b"request", b"answer"));
        for (salt, request, answer) in [([8; 32], "request", "answer"), ([9; 32], "Request", "answer")]
            .into_iter()
            .chain([([9; 32], "request", "Answer"), ([9; 32], "answer", "request")])
        {
            assert!(!receipt.is_about(&salt, request.as_bytes(), answer.as_bytes()));
        }
    }

    #[test]
    fn every_other_receipt_is_refused() {
        let ((first, statement), (second, other)) = (identity(1), identity(2));
        assert_eq!(receipt(&first).sign(&second), Err(Error::Untimely));
        let signed = receipt(&first).sign(&first).unwrap();
        assert_eq!(Receipt::verify(&signed, &other), Err(Error::Broken));
        // The same key in another statement.
        let moved = KeyStatement { epoch: 1, ..statement.clone() };
        assert_eq!(Receipt::verify(&signed, &moved), Err(Error::Broken));
        for at in 0..signed.len() {
            let mut changed = signed.clone();
            changed[at] ^= 1;
            assert_eq!(Receipt::verify(&changed, &statement), Err(Error::Broken), "{at}");
            assert_eq!(Receipt::verify(&signed[..at], &statement), Err(Error::Broken));
        }
        // What the key signs under no label, or another one, is no receipt.
        let said = receipt(&first).to_bytes();
        for label in [&b""[..], b"vitrine/session/1\0"] {
            let signature = first.receipts().sign(&[label, &said].concat());
            let unlabelled = Writer::new().array(2).bytes(&said).bytes(&signature.to_bytes()).finish();
            assert_eq!(Receipt::verify(&unlabelled, &statement), Err(Error::Broken));
        }
    }

    #[test]
    fn what_is_said_has_one_form() {
        let (identity, _) = identity(1);
        let said = receipt(&identity).to_bytes();
        assert_eq!(Receipt::parse(&said), Ok(receipt(&identity)));
        assert_eq!(Receipt::parse(&[&said[..], &[0]].concat()), Err(Error::Broken));
        for at in 0..said.len() {
            assert_eq!(Receipt::parse(&said[..at]), Err(Error::Broken));
        }
        let float = said.windows(5).position(|window| window[0] == 0x1a).unwrap();
        let wide = [&said[..float], &[0x1b, 0, 0, 0, 1], &said[float + 1..]].concat();
        assert_eq!(Receipt::parse(&wide), Err(Error::Broken));
    }
}
