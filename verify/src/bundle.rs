//! The evidence bundle: everything a verdict needs in one file, every part exactly as it was received.
//!
//! A directory of names and sizes, an empty line, then the parts one after the other. There is one way to write a given
//! bundle and the reader accepts no other, so two people who hold the same evidence hold the same file. No part is ever
//! decoded and encoded again: signatures are checked over the bytes that are in the file.

use channel::evidence::{MAX_BINDING, MAX_OPERATOR};
use log_client::Feed;
use log_client::feed;
use log_client::parts::{self, Form, Kind, Part, PartsError};

/// Largest bundle, in bytes: many times what certificates, collateral, release and proofs take today.
pub const MAX_BUNDLE: usize = 4 << 20;

/// The kinds of parts that evidence is made of, in the order of the file. The feed's follow, and then the session's.
const KINDS: &[Kind] = &[
    Kind { name: "snp-report", limit: 4 << 10, most: 1 },
    Kind { name: "snp-leaf", limit: 8 << 10, most: 1 },
    Kind { name: "snp-ask", limit: 8 << 10, most: 1 },
    Kind { name: "snp-ark", limit: 8 << 10, most: 1 },
    Kind { name: "snp-crl", limit: 256 << 10, most: 1 },
    Kind { name: "tdx-quote", limit: 64 << 10, most: 1 },
    Kind { name: "tdx-collateral", limit: 1 << 20, most: 1 },
];

/// The kinds of parts that say which session the evidence is of.
const SESSION: &[Kind] =
    &[Kind { name: "session", limit: MAX_BINDING, most: 1 }, Kind { name: "operator", limit: MAX_OPERATOR, most: 1 }];

const FORM: Form = Form { name: "bundle", limit: MAX_BUNDLE, kinds: &[KINDS, feed::KINDS, SESSION] };

/// What is to be appraised, and all that is needed to do so without a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What the hardware signed.
    pub evidence: Evidence,
    /// The release, and what a log says of it.
    pub feed: Feed,
    /// What ties the evidence to a session, as [`channel::Binding`] reads it; `None` if it is of none.
    pub session: Option<Vec<u8>>,
    /// The operator document, if there is one.
    pub operator: Option<Vec<u8>>,
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
    pub leaf: Option<Vec<u8>>,
    /// The certificate of that one's issuer: ASK or ASVK.
    pub ask: Option<Vec<u8>>,
    /// The certificate of the product's root. What is believed is the pinned key, not this.
    pub ark: Option<Vec<u8>>,
    /// The root's list of revoked certificates.
    pub crl: Option<Vec<u8>>,
}

/// A quote and its collateral.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxEvidence {
    /// The quote.
    pub quote: Vec<u8>,
    /// TCB information, quoting enclave identity, revocation lists and their issuers' chains, as one JSON object.
    pub collateral: Option<Vec<u8>>,
}

/// What belongs together.
const WHOLE: &str = "either snp-report and parts of its chain, or tdx-quote and perhaps tdx-collateral, and then perhaps \
                     the parts of a feed, with as many rebuild-proof as rebuild, and of a session";

impl Bundle {
    /// A bundle of nothing but evidence, as when a report and certificates are given as files of their own.
    pub fn bare(evidence: Evidence) -> Self {
        Self { evidence, feed: Feed::default(), session: None, operator: None }
    }

    /// Parses a bundle.
    ///
    /// # Errors
    /// When it is not in its one form, or exceeds a limit.
    pub fn parse(bytes: &[u8]) -> Result<Self, PartsError> {
        let parts = FORM.parse(bytes)?;
        let bundle = evidence(&parts).map(|evidence| Self {
            evidence,
            feed: Feed::from_parts(&parts),
            session: parts::only(&parts, "session"),
            operator: parts::only(&parts, "operator"),
        });
        // A part that found no place is one of the other kind of evidence, or a rebuild without a proof.
        let bundle = bundle.filter(|bundle| bundle.parts() == parts).ok_or_else(|| FORM.refuse(WHOLE, &parts))?;
        bundle.feed.to_bytes().map(|_small_enough| bundle)
    }

    /// The bundle as a file.
    ///
    /// # Errors
    /// When a part or all of them together are too large, or a part is empty.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PartsError> {
        let _small_enough = self.feed.to_bytes()?;
        FORM.to_bytes(&self.parts())
    }

    /// The parts there are, in order.
    fn parts(&self) -> Vec<Part<'_>> {
        let evidence = match &self.evidence {
            Evidence::Snp(SnpEvidence { report, leaf, ask, ark, crl }) => vec![
                ("snp-report", Some(report)),
                ("snp-leaf", leaf.as_ref()),
                ("snp-ask", ask.as_ref()),
                ("snp-ark", ark.as_ref()),
                ("snp-crl", crl.as_ref()),
            ],
            Evidence::Tdx(TdxEvidence { quote, collateral }) => {
                vec![("tdx-quote", Some(quote)), ("tdx-collateral", collateral.as_ref())]
            }
        };
        let session = [("session", self.session.as_ref()), ("operator", self.operator.as_ref())];
        there(evidence).chain(self.feed.parts()).chain(there(session)).collect()
    }
}

fn there<'a>(parts: impl IntoIterator<Item = (&'static str, Option<&'a Vec<u8>>)>) -> impl Iterator<Item = Part<'a>> {
    parts.into_iter().filter_map(|(name, bytes)| bytes.map(|bytes| (name, bytes.as_slice())))
}

fn evidence(parts: &[Part<'_>]) -> Option<Evidence> {
    let part = |name| parts::only(parts, name);
    let snp = || {
        let (leaf, ask, ark) = (part("snp-leaf"), part("snp-ask"), part("snp-ark"));
        Some(Evidence::Snp(SnpEvidence { report: part("snp-report")?, leaf, ask, ark, crl: part("snp-crl") }))
    };
    let tdx = || Some(Evidence::Tdx(TdxEvidence { quote: part("tdx-quote")?, collateral: part("tdx-collateral") }));
    snp().or_else(tdx)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snp() -> Bundle {
        let (leaf, ask, ark) = (Some(b"leaf".to_vec()), Some(b"ask\n\n".to_vec()), Some(b"A".to_vec()));
        let evidence = Evidence::Snp(SnpEvidence { report: b"a report".to_vec(), leaf, ask, ark, crl: None });
        Bundle { feed: Feed { release: Some(b"{}".to_vec()), ..Feed::default() }, ..Bundle::bare(evidence) }
    }

    #[test]
    fn a_bundle_is_a_directory_and_its_parts() {
        let text =
            b"vitrine-bundle 1\nsnp-report 8\nsnp-leaf 4\nsnp-ask 5\nsnp-ark 1\nrelease 2\n\na reportleafask\n\nA{}";
        assert_eq!(snp().to_bytes().as_deref(), Ok(text.as_slice()));
        assert_eq!(Bundle::parse(text), Ok(snp()));

        let tdx = |collateral| Evidence::Tdx(TdxEvidence { quote: vec![0; 64 << 10], collateral });
        let bare = SnpEvidence { report: vec![0; 1184], leaf: None, ask: None, ark: None, crl: None };
        let of_session = Bundle { session: Some(b"session".to_vec()), operator: Some(b"who".to_vec()), ..snp() };
        for (bundle, last) in [
            (Bundle::bare(tdx(Some(vec![0xff; 1 << 20]))), "tdx-quote 65536\ntdx-collateral 1048576\n\n"),
            (Bundle::bare(tdx(None)), "tdx-quote 65536\n\n"),
            (Bundle::bare(Evidence::Snp(bare)), "snp-report 1184\n\n"),
            (Bundle { operator: None, ..of_session.clone() }, "release 2\nsession 7\n\n"),
            (of_session, "release 2\nsession 7\noperator 3\n\n"),
        ] {
            let bytes = bundle.to_bytes().unwrap();
            assert!(bytes.windows(last.len()).any(|window| window == last.as_bytes()), "{last}");
            assert_eq!(Bundle::parse(&bytes), Ok(bundle));
        }
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
        refused(
            "vitrine-bundle 1\nsnp-report 1\nsnp-report 1\n\nxx",
            "\"snp-report\" is there more often than 1 times",
        );
        refused("vitrine-bundle 1\nsnp-leaf 1\nsnp-report 1\n\nxx", "out of order");
        refused("vitrine-bundle 1\nsnp-report 0\n\n", "expected 1 to 4096 bytes, found 0");
        refused("vitrine-bundle 1\nsnp-report 4097\n\n", "expected 1 to 4096 bytes, found 4097");
        refused("vitrine-bundle 1\nsnp-report 2\n\nx", "expected 2 bytes after the directory, found 1");
        refused("vitrine-bundle 1\nsnp-report 2\n\nxyz", "expected 2 bytes after the directory, found 3");
        // What belongs together is there as a whole, and nothing besides.
        let all = "snp-report snp-leaf snp-ask snp-ark";
        let others = ["", "release", "snp-leaf", "snp-crl", "tdx-collateral", "session operator"];
        let with = ["tdx-quote", "tdx-collateral", "tdx-quote tdx-collateral"].map(|tdx| format!("{all} {tdx}"));
        let without = [all.replace("snp-report", "")];
        let crl = ["snp-crl tdx-quote tdx-collateral".to_owned()];
        for parts in others.map(str::to_owned).into_iter().chain(with).chain(without).chain(crl) {
            let parts: Vec<_> = parts.split_whitespace().collect();
            let directory: String = parts.iter().map(|part| format!("{part} 1\n")).collect();
            let found = if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") };
            refused(&format!("vitrine-bundle 1\n{directory}\n{}", "x".repeat(parts.len())), &format!("found {found}"));
        }
        assert_eq!(
            Bundle::parse(&vec![0; MAX_BUNDLE + 1]),
            Err(PartsError::Size { file: "bundle", limit: MAX_BUNDLE, found: MAX_BUNDLE + 1 })
        );
    }

    #[test]
    fn what_the_reader_would_refuse_is_not_written() {
        let mut bundle = snp();
        bundle.feed.release = Some(vec![]);
        let found = bundle.to_bytes().unwrap_err().to_string();
        assert!(found.contains("\"release\": expected 1 to 8192 bytes, found 0"), "{found}");
        let proof = Some(vec![0; 192 << 10]);
        bundle.feed = Feed { release_proof: proof.clone(), status_proof: proof, ..Feed::default() };
        assert!(bundle.to_bytes().unwrap_err().to_string().contains("feed: expected at most"));
    }
}
