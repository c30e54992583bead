//! AMD's key distribution service: the certificates and the revocation list of an SEV-SNP report (AMD 57230 "Versioned
//! Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", chapter 4).

use super::{FRESH, Sources};
use crate::evidence::Certificates;
use crate::report;
use anyhow::{Context as _, bail};
use measure::appraise::{Outcome, Time};
use measure::digest::Hex;
use measure::snp::appraise::{Demand, Permit};
use measure::snp::chain::{Chain, Demands, Roots, examine};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{Report, SigningKey};
use verify::bundle::SnpEvidence;

/// Where AMD runs it.
pub(super) const AMD: &str = "https://kdsintf.amd.com";

/// Largest answer, in bytes: ten times that of today.
const MAX_CERTIFICATES: u64 = 64 << 10;
const MAX_CRL: u64 = 256 << 10;

/// The product of this name.
pub(super) fn product(name: &str) -> Result<Product, String> {
    let found = Product::ALL.into_iter().find(|product| product.name().eq_ignore_ascii_case(name));
    found.ok_or_else(|| format!("expected one of {:?}", Product::ALL))
}

/// The evidence of a report: what is given, and for the rest what leads from a known root to the key that signed, at
/// `now`.
pub(super) fn fill(
    report: Vec<u8>,
    given: &Certificates,
    product: Option<Product>,
    base: &str,
    sources: &Sources<'_>,
    roots: &Roots,
    now: Time,
) -> anyhow::Result<SnpEvidence> {
    let view = Report::parse(&report).context("the report")?;
    let product = match view.product() {
        Some(product) => product.context("the report")?,
        None => product.context("a report of version 2 does not say which processor it is from: pass --product")?,
    };
    let urls = Urls::new(base, &view, product)?;
    let attempt = |kept| {
        let answers = urls.answers(given, sources, kept)?;
        let filled = answers.join(given.clone(), report.clone());
        anyhow::Ok(filled.and_then(|filled| vouched_for(&filled, &view, roots, now).map(|()| filled)))
    };
    match (attempt(true)?, sources.http.is_some()) {
        (Err(error), true) if sources.restart() => {
            report::progress(&format!("what was kept will not do any more ({error:#})"));
            attempt(false)?
        }
        (filled, _) => filled,
    }
}

/// What to ask for.
struct Urls {
    /// The certificate of the chip's key; none for a key that is the cloud provider's.
    leaf: Option<String>,
    /// Those of intermediate and root, in PEM.
    chain: String,
    /// The revocation list, in DER.
    crl: String,
}

impl Urls {
    fn new(base: &str, report: &Report<'_>, product: Product) -> anyhow::Result<Self> {
        let key = match report.key_info().signing_key() {
            SigningKey::Vcek => "vcek",
            SigningKey::Vlek => "vlek",
            key => bail!("the report: expected a VCEK or VLEK to have signed it, found {key}"),
        };
        let base = format!("{}/{key}/v1/{product}", base.trim_end_matches('/'));
        let leaf = (key == "vcek" && !report.chip_id_masked()).then(|| {
            let chip_id = report.chip_id();
            let (TcbVersion { fmc, boot_loader, tee, snp, microcode }, _) =
                TcbVersion::of_report(report.reported_tcb(), product);
            let (hwid, fmc) = match product {
                Product::Milan | Product::Genoa => (&chip_id.0.as_bytes()[..], String::new()),
                Product::Turin => (&chip_id.0.as_bytes()[..8], format!("fmcSPL={fmc:02}&")),
            };
            let firmware = format!("blSPL={boot_loader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
            format!("{base}/{}?{fmc}{firmware}", Hex(hwid))
        });
        Ok(Self { leaf, chain: format!("{base}/cert_chain"), crl: format!("{base}/crl") })
    }

    /// What is not given; from the cache too, if `kept`.
    fn answers(&self, given: &Certificates, sources: &Sources<'_>, kept: bool) -> anyhow::Result<Answers> {
        let leaf = match (&given.leaf, &self.leaf) {
            (Some(_), _) => None,
            (None, Some(url)) => Some(sources.url(url, MAX_CERTIFICATES, kept, None)?),
            (None, None) => bail!(
                "AMD does not give out the certificate of this report's key, which is a cloud provider's or of a chip \
                 that the host hides: ask the host for it and pass it with --cert"
            ),
        };
        let chain = (given.ask.is_none() || given.ark.is_none())
            .then(|| sources.url(&self.chain, MAX_CERTIFICATES, kept, None))
            .transpose()?;
        Ok(Answers { leaf, chain, crl: sources.url(&self.crl, MAX_CRL, kept, Some(FRESH))? })
    }
}

/// What came back.
struct Answers {
    leaf: Option<Vec<u8>>,
    chain: Option<Vec<u8>>,
    crl: Vec<u8>,
}

impl Answers {
    fn join(self, given: Certificates, report: Vec<u8>) -> anyhow::Result<SnpEvidence> {
        let mut chain = Certificates::default();
        self.chain.map_or(Ok(()), |file| chain.enter_all(&file)).context("cert_chain")?;
        let Certificates { leaf, ask, ark } = given;
        let all = Certificates { leaf: leaf.or(self.leaf), ask: ask.or(chain.ask), ark: ark.or(chain.ark) };
        all.of_report(report, Some(self.crl))
    }
}

/// Whether the certificates lead from a known root to a key that can have signed the report. Whether it did is for
/// `verify` to say.
fn vouched_for(evidence: &SnpEvidence, report: &Report<'_>, roots: &Roots, now: Time) -> anyhow::Result<()> {
    let SnpEvidence { leaf, ask, ark, crl, .. } = evidence;
    let chain = Chain { ark: ark.as_deref(), ask: ask.as_deref(), leaf: leaf.as_deref(), crl: crl.as_deref() };
    let demands = Demands { missing_crl: Permit::Refused, crl_max_age: Demand::Any, masked_chip: Permit::Accepted };
    let (findings, _) = examine(&chain, report, roots, &demands, now);
    let failed = findings.iter().find(|found| found.outcome == Outcome::Failed && found.rule.id != "snp.signature");
    match failed {
        Some(found) => bail!("certificates that do not lead to AMD's root: {}: {}", found.rule.id, found.reason),
        None => Ok(()),
    }
}
