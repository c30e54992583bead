//! Certificates and revocation lists whose every part can be anything (RFC 5280).

use crate::der;
use crate::keys::Issuer;

/// A certificate before it is signed. The fields are the DER of that part.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are RFC 5280's")]
pub struct Certificate {
    pub version: Vec<u8>,
    pub serial: Vec<u8>,
    /// The algorithm inside what is signed.
    pub signature: Vec<u8>,
    pub issuer: Vec<u8>,
    pub not_before: Vec<u8>,
    pub not_after: Vec<u8>,
    pub subject: Vec<u8>,
    pub key: Vec<u8>,
    pub extensions: Vec<Extension>,
    /// The algorithm beside the signature.
    pub signature_algorithm: Vec<u8>,
}

/// An extension.
#[derive(Debug, Clone)]
pub struct Extension {
    /// Its object identifier, as text.
    pub oid: &'static str,
    /// Whether a reader that does not know it must refuse the certificate.
    pub critical: bool,
    /// What is inside its OCTET STRING.
    pub value: Vec<u8>,
}

impl Extension {
    fn der(&self) -> Vec<u8> {
        let critical = if self.critical { der::TRUE } else { &[] };
        der::sequence(&[&der::oid(self.oid), critical, &der::octets(&self.value)])
    }
}

impl Certificate {
    /// The certificate, signed.
    pub fn sign(&self, key: &dyn Issuer) -> Vec<u8> {
        let extensions = extensions(&self.extensions);
        let extensions = if self.extensions.is_empty() { vec![] } else { der::context(3, &[&extensions]) };
        let validity = der::sequence(&[&self.not_before, &self.not_after]);
        let signed = der::sequence(&[
            &self.version,
            &self.serial,
            &self.signature,
            &self.issuer,
            &validity,
            &self.subject,
            &self.key,
            &extensions,
        ]);
        der::sequence(&[&signed, &self.signature_algorithm, &der::bits(&key.issue(&signed))])
    }

    /// The extension with this identifier.
    pub fn extension(&mut self, oid: &str) -> &mut Extension {
        self.extensions.iter_mut().find(|extension| extension.oid == oid).expect("the certificate has that extension")
    }
}

/// A revocation list before it is signed.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are RFC 5280's")]
pub struct Crl {
    pub version: Vec<u8>,
    /// The algorithm inside what is signed.
    pub signature: Vec<u8>,
    pub issuer: Vec<u8>,
    pub this_update: Vec<u8>,
    pub next_update: Vec<u8>,
    /// Serial numbers, DER.
    pub revoked: Vec<Vec<u8>>,
    pub extensions: Vec<Extension>,
    /// The algorithm beside the signature.
    pub signature_algorithm: Vec<u8>,
}

impl Crl {
    /// The list, signed.
    pub fn sign(&self, key: &dyn Issuer) -> Vec<u8> {
        let entry = |serial: &Vec<u8>| der::sequence(&[serial, &self.this_update]);
        let entries: Vec<u8> = self.revoked.iter().flat_map(entry).collect();
        let entries = if self.revoked.is_empty() { vec![] } else { der::sequence(&[&entries]) };
        let extensions = extensions(&self.extensions);
        let extensions = if self.extensions.is_empty() { vec![] } else { der::context(0, &[&extensions]) };
        let signed = der::sequence(&[
            &self.version,
            &self.signature,
            &self.issuer,
            &self.this_update,
            &self.next_update,
            &entries,
            &extensions,
        ]);
        der::sequence(&[&signed, &self.signature_algorithm, &der::bits(&key.issue(&signed))])
    }
}

fn extensions(list: &[Extension]) -> Vec<u8> {
    der::sequence(&[&list.iter().flat_map(Extension::der).collect::<Vec<_>>()])
}
