//! A simulated secure processor, for tests and demonstrations: its certificate chain and the evidence it signs. Nothing
//! it signs is ever accepted by a released client.
//!
//! The formats and algorithms are the real ones; only the keys, which are public, and the organisation in the names are
//! not. Everything comes out the same each time: signatures take their randomness from what they sign.

pub mod canary;
pub mod certificate;
pub mod chain;
pub mod corpus;
pub mod der;
pub mod keys;
pub mod log;
mod processor;
mod product;
pub mod report;
pub mod service;
pub mod tdx;

pub use chain::Leaf;
pub use processor::{Certificates, Guest, Processor};
pub use product::{Product, Tcb};

/// The key of the simulated root, as SubjectPublicKeyInfo in DER: what a verifier has to pin instead of AMD's.
pub fn root(product: Product) -> Vec<u8> {
    keys::ark(product).public()
}
