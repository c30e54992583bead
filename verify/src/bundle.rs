//! The evidence bundle: everything a verdict needs in one file, every part exactly as it was received.
//!
//! A directory of names and sizes, an empty line, then the parts one after the other. There is one way to write a given
//! bundle and the reader accepts no other, so two people who hold the same evidence hold the same file. No part is ever
//! decoded and encoded again: signatures are checked over the bytes that are in the file.

use std::fmt::Write as _;

/// First line of a bundle.
const MAGIC: &str = "vitrine-bundle 1\n";
/// Largest bundle, in bytes: many times what certificates, collateral, release and proofs take today.
pub const MAX_BUNDLE: usize = 4 << 20;

/// One kind of part. The order here is the order in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    SnpReport,
    SnpLeaf,
    SnpAsk,
    SnpArk,
    SnpCrl,
    TdxQuote,
    TdxCollateral,
    Release,
    ReleaseProof,
}

impl Part {
    const ALL: [Self; 9] = [
        Self::SnpReport,
        Self::SnpLeaf,
        Self::SnpAsk,
        Self::SnpArk,
        Self::SnpCrl,
        Self::TdxQuote,
        Self::TdxCollateral,
        Self::Release,
        Self::ReleaseProof,
    ];

    /// Its name in the directory and its largest size in bytes.
    const fn name_and_limit(self) -> (&'static str, usize) {
        match self {
            Self::SnpReport => ("snp-report", 4 << 10),
            Self::SnpLeaf => ("snp-leaf", 8 << 10),
            Self::SnpAsk => ("snp-ask", 8 << 10),
            Self::SnpArk => ("snp-ark", 8 << 10),
            Self::SnpCrl => ("snp-crl", 256 << 10),
            Self::TdxQuote => ("tdx-quote", 64 << 10),
            Self::TdxCollateral => ("tdx-collateral", 1 << 20),
            Self::Release => ("release", 64 << 10),
            Self::ReleaseProof => ("release-proof", 256 << 10),
        }
    }

    /// Refuses a size that this part cannot have.
    fn with_size(self, found: usize) -> Result<(Self, usize), BundleError> {
        let (name, limit) = self.name_and_limit();
        if (1..=limit).contains(&found) { Ok((self, found)) } else { Err(BundleError::PartSize { name, limit, found }) }
    }
}

/// What is to be appraised, and all that is needed to do so without a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What the hardware signed.
    pub evidence: Evidence,
    /// The release's DSSE envelope.
    pub release: Option<Vec<u8>>,
    /// Its `.tlog-proof`: inclusion, checkpoint and the witnesses' cosignatures on it.
    pub release_proof: Option<Vec<u8>>,
}

/// What one kind of hardware signed, with the certificates that say whose signature it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// AMD SEV-SNP.
    Snp(SnpEvidence),
    /// Intel TDX.
    Tdx(TdxEvidence),
}

/// An attestation report and its certificates, in DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpEvidence {
    /// The report.
    pub report: Vec<u8>,
    /// The certificate of the key that signed it: VCEK or VLEK.
    pub leaf: Vec<u8>,
    /// The certificate of that one's issuer: ASK or ASVK.
    pub ask: Vec<u8>,
    /// The certificate of the product's root. What is believed is the pinned key, not this.
    pub ark: Vec<u8>,
    /// The root's list of revoked certificates.
    pub crl: Option<Vec<u8>>,
}

/// A quote and its collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxEvidence {
    /// The quote.
    pub quote: Vec<u8>,
    /// TCB information, quoting enclave identity, revocation lists and their issuers' chains, as one JSON object.
    pub collateral: Vec<u8>,
}

/// Why bytes are not a bundle, or a bundle cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// The file is too large.
    #[error("bundle: expected at most {MAX_BUNDLE} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// The first line is another one.
    #[error("bundle: expected the first line \"vitrine-bundle 1\": another kind of file, or made by a newer Vitrine")]
    Magic,
    /// A line of the directory is not `name size`, or not in its one form.
    #[error("bundle, line {line}: expected a part's name, a space and its size in decimal, found {found:?}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// Its beginning.
        found: String,
    },
    /// A part nobody knows.
    #[error("bundle, line {line}: unknown part {name:?}: made by a newer Vitrine?")]
    Unknown {
        /// The line's number, from 1.
        line: usize,
        /// The part's name.
        name: String,
    },
    /// A part out of order, or twice.
    #[error("bundle, line {line}: part {name:?} is there twice or out of order")]
    Order {
        /// The line's number, from 1.
        line: usize,
        /// The part's name.
        name: String,
    },
    /// A part of a size it cannot have.
    #[error("bundle: part {name:?}: expected 1 to {limit} bytes, found {found}")]
    PartSize {
        /// The part's name.
        name: &'static str,
        /// Most bytes it may have.
        limit: usize,
        /// Bytes found.
        found: usize,
    },
    /// The parts are shorter or longer than the directory says.
    #[error("bundle: expected {expected} bytes after the directory, found {found}: cut off, or something was added")]
    Length {
        /// Sum of the directory's sizes.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// Not one report or one quote, with what belongs to it.
    #[error(
        "bundle: expected either snp-report, snp-leaf, snp-ask, snp-ark and perhaps snp-crl, or tdx-quote and \
         tdx-collateral, and then perhaps release and release-proof; found {found}"
    )]
    Evidence {
        /// Names of the parts.
        found: String,
    },
}

impl Bundle {
    /// A bundle of nothing but evidence, as when a report and certificates are given as files of their own.
    pub fn bare(evidence: Evidence) -> Self {
        Self { evidence, release: None, release_proof: None }
    }

    /// Parses a bundle.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MAX_BUNDLE {
            return Err(BundleError::Size { found: bytes.len() });
        }
        let mut rest = bytes.strip_prefix(MAGIC.as_bytes()).ok_or(BundleError::Magic)?;
        let mut directory: Vec<(Part, usize)> = Vec::new();
        for number in 2.. {
            let (line, after) = split_line(rest).ok_or_else(|| bad_line(number, rest))?;
            rest = after;
            if line.is_empty() {
                break;
            }
            let (name, size) = parse_line(line).ok_or_else(|| bad_line(number, line))?;
            let part = Part::ALL.into_iter().find(|part| part.name_and_limit().0 == name);
            let part = part.ok_or_else(|| BundleError::Unknown { line: number, name: name.into() })?;
            if directory.last().is_some_and(|(last, _)| *last >= part) {
                return Err(BundleError::Order { line: number, name: name.into() });
            }
            directory.push(part.with_size(size)?);
        }
        let expected = directory.iter().fold(0_usize, |sum, (_, size)| sum.saturating_add(*size));
        let length = BundleError::Length { expected, found: rest.len() };
        let mut parts = Vec::new();
        for (part, size) in &directory {
            let (bytes, after) = rest.split_at_checked(*size).ok_or_else(|| length.clone())?;
            parts.push((*part, bytes));
            rest = after;
        }
        if !rest.is_empty() {
            return Err(length);
        }
        Self::from_parts(&parts)
    }

    /// The bundle as a file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BundleError> {
        let parts = self.parts();
        let mut directory = String::from(MAGIC);
        for (part, bytes) in &parts {
            let (part, size) = part.with_size(bytes.len())?;
            let _infallible = writeln!(directory, "{} {size}", part.name_and_limit().0);
        }
        directory.push('\n');
        let mut out = directory.into_bytes();
        parts.iter().for_each(|(_, bytes)| out.extend_from_slice(bytes));
        if out.len() > MAX_BUNDLE {
            return Err(BundleError::Size { found: out.len() });
        }
        Ok(out)
    }

    /// The parts there are, in order.
    fn parts(&self) -> Vec<(Part, &[u8])> {
        let evidence = match &self.evidence {
            Evidence::Snp(SnpEvidence { report, leaf, ask, ark, crl }) => vec![
                (Part::SnpReport, Some(report)),
                (Part::SnpLeaf, Some(leaf)),
                (Part::SnpAsk, Some(ask)),
                (Part::SnpArk, Some(ark)),
                (Part::SnpCrl, crl.as_ref()),
            ],
            Evidence::Tdx(TdxEvidence { quote, collateral }) => {
                vec![(Part::TdxQuote, Some(quote)), (Part::TdxCollateral, Some(collateral))]
            }
        };
        let release = [(Part::Release, self.release.as_ref()), (Part::ReleaseProof, self.release_proof.as_ref())];
        let all = evidence.into_iter().chain(release);
        all.filter_map(|(part, bytes)| bytes.map(|bytes| (part, bytes.as_slice()))).collect()
    }

    fn from_parts(parts: &[(Part, &[u8])]) -> Result<Self, BundleError> {
        let part = |wanted| parts.iter().find(|(part, _)| *part == wanted).map(|(_, bytes)| bytes.to_vec());
        let snp = || {
            let (leaf, ask, ark) = (part(Part::SnpLeaf)?, part(Part::SnpAsk)?, part(Part::SnpArk)?);
            Some(Evidence::Snp(SnpEvidence { report: part(Part::SnpReport)?, leaf, ask, ark, crl: part(Part::SnpCrl) }))
        };
        let tdx = || {
            let (quote, collateral) = (part(Part::TdxQuote)?, part(Part::TdxCollateral)?);
            Some(Evidence::Tdx(TdxEvidence { quote, collateral }))
        };
        let evidence = snp().or_else(tdx);
        let bundle = evidence.map(|evidence| Self {
            evidence,
            release: part(Part::Release),
            release_proof: part(Part::ReleaseProof),
        });
        // A part that found no place is one of the other kind of evidence.
        bundle.filter(|bundle| bundle.parts() == parts).ok_or_else(|| {
            let names: Vec<_> = parts.iter().map(|(part, _)| part.name_and_limit().0).collect();
            let found = if names.is_empty() { "nothing".into() } else { names.join(", ") };
            BundleError::Evidence { found }
        })
    }
}

/// Longest line of a directory that is read, in bytes.
const MAX_LINE: usize = 64;

/// The text up to the next newline, and what follows it.
fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n')?;
    let (line, rest) = bytes.split_at_checked(end)?;
    Some((line, rest.get(1..)?))
}

/// `name size`, the size in its one decimal form.
fn parse_line(line: &[u8]) -> Option<(&str, usize)> {
    let (name, digits) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    let size: usize = digits.parse().ok()?;
    (size.to_string() == digits).then_some((name, size))
}

fn bad_line(line: usize, bytes: &[u8]) -> BundleError {
    let found = bytes.get(..MAX_LINE).unwrap_or(bytes).escape_ascii().to_string();
    BundleError::Line { line, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snp() -> Bundle {
        let (leaf, ask, ark) = (b"leaf".to_vec(), b"ask\n\n".to_vec(), b"A".to_vec());
        let evidence = Evidence::Snp(SnpEvidence { report: b"a report".to_vec(), leaf, ask, ark, crl: None });
        Bundle { evidence, release: Some(b"{}".to_vec()), release_proof: None }
    }

    #[test]
    fn a_bundle_is_a_directory_and_its_parts() {
        let text =
            b"vitrine-bundle 1\nsnp-report 8\nsnp-leaf 4\nsnp-ask 5\nsnp-ark 1\nrelease 2\n\na reportleafask\n\nA{}";
        assert_eq!(snp().to_bytes().as_deref(), Ok(text.as_slice()));
        assert_eq!(Bundle::parse(text), Ok(snp()));

        let tdx = TdxEvidence { quote: vec![0; 64 << 10], collateral: vec![0xff; 1 << 20] };
        let bundle = Bundle::bare(Evidence::Tdx(tdx));
        assert_eq!(Bundle::parse(&bundle.to_bytes().unwrap()), Ok(bundle));
    }

    #[test]
    fn every_other_text_is_refused() {
        let refused = |text: &str, reason: &str| {
            let error = Bundle::parse(text.as_bytes()).expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        };
        refused("", "expected the first line");
        refused("vitrine-bundle 2\n\n", "made by a newer Vitrine");
        refused("vitrine-bundle 1\n", "line 2: expected a part's name");
        refused("vitrine-bundle 1\n\n", "found nothing");
        refused("vitrine-bundle 1\nsnp-report 1\nx", "line 3");
        for line in [
            "snp-report",
            "snp-report ",
            "snp-report 01",
            "snp-report +1",
            "snp-report  1",
            "snp-report 1 ",
            "\u{e9} x",
        ] {
            refused(&format!("vitrine-bundle 1\n{line}\n\nx"), "line 2: expected a part's name");
        }
        refused(&format!("vitrine-bundle 1\nsnp-report {}1\n\nx", "0".repeat(64)), "line 2: expected");
        refused("vitrine-bundle 1\nsnp-reports 1\n\nx", "unknown part \"snp-reports\"");
        refused("vitrine-bundle 1\nsnp-report 1\nsnp-report 1\n\nxx", "line 3: part \"snp-report\" is there twice");
        refused("vitrine-bundle 1\nsnp-leaf 1\nsnp-report 1\n\nxx", "out of order");
        refused("vitrine-bundle 1\nsnp-report 0\n\n", "expected 1 to 4096 bytes, found 0");
        refused("vitrine-bundle 1\nsnp-report 4097\n\n", "expected 1 to 4096 bytes, found 4097");
        refused("vitrine-bundle 1\nsnp-report 2\n\nx", "expected 2 bytes after the directory, found 1");
        refused("vitrine-bundle 1\nsnp-report 2\n\nxyz", "expected 2 bytes after the directory, found 3");
        // What belongs together is there as a whole, and nothing besides.
        let all = "snp-report snp-leaf snp-ask snp-ark";
        let others = ["", "release", "snp-crl", "tdx-quote", "tdx-collateral"];
        let with = ["tdx-quote", "tdx-collateral", "tdx-quote tdx-collateral"].map(|tdx| format!("{all} {tdx}"));
        let without = all.split(' ').map(|part| all.replace(part, ""));
        let crl = ["snp-crl tdx-quote tdx-collateral".to_owned()];
        for parts in others.map(str::to_owned).into_iter().chain(with).chain(without).chain(crl) {
            let parts: Vec<_> = parts.split_whitespace().collect();
            let directory: String = parts.iter().map(|part| format!("{part} 1\n")).collect();
            let found = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
            refused(&format!("vitrine-bundle 1\n{directory}\n{}", "x".repeat(parts.len())), &format!("found {found}"));
        }
        assert_eq!(Bundle::parse(&vec![0; MAX_BUNDLE + 1]), Err(BundleError::Size { found: MAX_BUNDLE + 1 }));
    }

    #[test]
    fn what_the_reader_would_refuse_is_not_written() {
        let mut bundle = snp();
        bundle.release = Some(vec![]);
        assert_eq!(bundle.to_bytes(), Err(BundleError::PartSize { name: "release", limit: 64 << 10, found: 0 }));
        bundle.release = Some(vec![0; (64 << 10) + 1]);
        assert!(bundle.to_bytes().is_err());
    }
}
