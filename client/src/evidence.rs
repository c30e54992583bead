//! Files into evidence: certificates sorted, in PEM or DER.

use crate::files;
use anyhow::{Context as _, anyhow, bail, ensure};
use std::path::{Path, PathBuf};
use verify::bundle::{SnpEvidence, TdxEvidence};

/// Largest report, certificate file or list that is read, in bytes; quotes and collateral have limits of their own.
const MAX_FILE: u64 = 1 << 20;
/// Largest quote.
const MAX_QUOTE: u64 = 64 << 10;
/// Largest collateral.
const MAX_COLLATERAL: u64 = 1 << 20;

/// What PEM calls a certificate and a revocation list (RFC 7468).
const TAGS: [&str; 2] = ["CERTIFICATE", "X509 CRL"];

/// The certificates of a report, as far as there are any, DER.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Certificates {
    /// VCEK or VLEK.
    pub(crate) leaf: Option<Vec<u8>>,
    /// ASK or ASVK.
    pub(crate) ask: Option<Vec<u8>>,
    /// ARK.
    pub(crate) ark: Option<Vec<u8>>,
}

impl Certificates {
    /// Those in these files, in any order.
    pub(crate) fn read(paths: &[PathBuf]) -> anyhow::Result<Self> {
        let mut certificates = Self::default();
        for path in paths {
            certificates.enter_all(&files::read(path, MAX_FILE)?).with_context(|| path.display().to_string())?;
        }
        Ok(certificates)
    }

    /// Puts what a file holds where it belongs.
    pub(crate) fn enter_all(&mut self, file: &[u8]) -> anyhow::Result<()> {
        ders(file)?.into_iter().try_for_each(|der| self.enter(der))
    }

    /// Puts a certificate where it belongs, which is only a guess: the rules look at all that it says.
    fn enter(&mut self, der: Vec<u8>) -> anyhow::Result<()> {
        // In a root the subject is the issuer, so its name is there twice.
        let (name, place) = match (count(&der, SECURITY_VERSIONS), count(&der, b"ARK-")) {
            (1.., _) => ("VCEK or VLEK", &mut self.leaf),
            (0, 2..) => ("ARK", &mut self.ark),
            (0, 1) => ("ASK or ASVK", &mut self.ask),
            (0, 0) => bail!("expected a VCEK, VLEK, ASK, ASVK or ARK, found another certificate"),
        };
        ensure!(place.as_ref().is_none_or(|there| *there == der), "a second certificate that looks like the {name}");
        *place = Some(der);
        Ok(())
    }

    /// Evidence, if all of them are there.
    pub(crate) fn of_report(self, report: Vec<u8>, crl: Option<Vec<u8>>) -> anyhow::Result<SnpEvidence> {
        let leaf = self.leaf.context("the certificate of the key that signed the report (VCEK or VLEK) is missing")?;
        let ask = self.ask.context("the certificate of that key's issuer (ASK or ASVK) is missing")?;
        let ark = self.ark.context("the certificate of the root (ARK) is missing")?;
        Ok(SnpEvidence { report, leaf: Some(leaf), ask: Some(ask), ark: Some(ark), crl })
    }
}

/// A report's bytes.
pub(crate) fn report(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read(path, MAX_FILE)
}

/// A revocation list.
pub(crate) fn crl(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut lists = ders(&files::read(path, MAX_FILE)?).with_context(|| path.display().to_string())?;
    match (lists.pop(), lists.len()) {
        (Some(list), 0) => Ok(list),
        _ => bail!("{}: expected one revocation list, found another number of them", path.display()),
    }
}

/// A quote and its collateral, a JSON object as Intel's quote verification library takes it.
pub(crate) fn tdx(quote: &Path, collateral: &Path) -> anyhow::Result<TdxEvidence> {
    Ok(TdxEvidence { quote: self::quote(quote)?, collateral: Some(files::read(collateral, MAX_COLLATERAL)?) })
}

/// A quote's bytes.
pub(crate) fn quote(path: &Path) -> anyhow::Result<Vec<u8>> {
    files::read(path, MAX_QUOTE)
}

/// The object identifier above a VCEK's or VLEK's security versions, 1.3.6.1.4.1.3704.1.3, in DER without its length.
const SECURITY_VERSIONS: &[u8] = &[0x2b, 6, 1, 4, 1, 0x9c, 0x78, 1, 3];

/// How often `part` is in `whole`.
fn count(whole: &[u8], part: &[u8]) -> usize {
    whole.windows(part.len()).filter(|window| *window == part).count()
}

/// What a file holds: everything that is between PEM's lines, or one thing in DER.
pub(crate) fn ders(bytes: &[u8]) -> anyhow::Result<Vec<Vec<u8>>> {
    // The first octet of everything here in DER is that of a sequence.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![bytes.to_vec()]);
    }
    let blocks = pem::parse_many(bytes).map_err(|error| anyhow!("PEM: {error}"))?;
    ensure!(!blocks.is_empty(), "expected a certificate or revocation list in PEM or DER");
    let der = |block: pem::Pem| {
        ensure!(TAGS.contains(&block.tag()), "PEM: expected one of {TAGS:?}, found {:?}", block.tag());
        Ok(block.into_contents())
    };
    blocks.into_iter().map(der).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END CERTIFICATE-----\n";

    #[test]
    fn pem_and_der() {
        let der = vec![0x30, 3, 2, 1, 5];
        let crl = CERTIFICATE.replace("CERTIFICATE", "X509 CRL");
        for (text, expected) in [
            (CERTIFICATE.to_owned(), 1),
            (CERTIFICATE.replace('\n', "\r\n"), 1),
            (CERTIFICATE.trim_end().to_owned(), 1),
            (format!("Subject: x\n{CERTIFICATE}\n# other\n{crl}text"), 2),
            (CERTIFICATE.repeat(3), 3),
        ] {
            assert_eq!(ders(text.as_bytes()).unwrap(), vec![der.clone(); expected], "{text}");
        }
        assert_eq!(ders(&der).unwrap(), [der]);
    }

    #[test]
    fn what_is_neither() {
        for (bytes, expected) in [
            ("", "expected a certificate or revocation list"),
            ("text", "expected a certificate or revocation list"),
            ("-----BEGIN CERTIFICATE-----\nMAMCAQU=\n", "expected a certificate or revocation list"),
            ("-----BEGIN CERTIFICATE-----\nMAMCAQU\n-----END CERTIFICATE-----\n", "PEM: "),
            ("-----BEGIN CERTIFICATE-----\nMAMCAQU=\n-----END X509 CRL-----\n", "PEM: "),
            ("-----BEGIN PRIVATE KEY-----\nMAMCAQU=\n-----END PRIVATE KEY-----\n", "found \"PRIVATE KEY\""),
        ] {
            let error = ders(bytes.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{bytes:?}: {error}");
        }
        assert!(ders(b"\xff\xfe").is_err());
    }

    #[test]
    fn certificates_find_their_places() {
        let mut certificates = Certificates::default();
        let (ark, ask) = (b"ARK-x ARK-x".to_vec(), b"ARK-x SEV-x".to_vec());
        let leaf = [b"SEV-x", SECURITY_VERSIONS].concat();
        for der in [&ask, &leaf, &ark, &leaf] {
            certificates.enter(der.clone()).unwrap();
        }
        assert!(certificates.enter(b"ARK-y ARK-y".to_vec()).unwrap_err().to_string().contains("second"));
        assert!(certificates.enter(b"CN=example".to_vec()).unwrap_err().to_string().contains("another"));
        assert_eq!(certificates, Certificates { leaf: Some(leaf), ask: Some(ask), ark: Some(ark) });
        for missing in ["VCEK", "ASK", "ARK"] {
            let mut incomplete = certificates.clone();
            match missing {
                "VCEK" => incomplete.leaf = None,
                "ASK" => incomplete.ask = None,
                _ => incomplete.ark = None,
            }
            assert!(incomplete.of_report(vec![], None).unwrap_err().to_string().contains(missing));
        }
    }
}
