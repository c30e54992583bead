//! Intel's provisioning certification service, or a cache of it that a cloud provider runs (PCCS): what Intel says of the
//! processor that signed a TDX quote ("Intel SGX and Intel TDX Provisioning Certification Service", API version 4).

use super::http::{Answer, Client};
use super::{FRESH, Sources};
use crate::report;
use anyhow::{Context as _, bail, ensure};
use measure::appraise::{Outcome, Time};
use measure::digest::{Hex, bytes_from_hex};
use measure::snp::appraise::{Demand, Permit};
use measure::tdx::appraise::{
    Advisories, Evidence, Identity, Platforms, Requirements, Services, Tcb, TcbStatus, appraise,
};
use measure::tdx::collateral::{Collateral, MAX_CHAIN, MAX_CRL, MAX_JSON, Root};
use measure::tdx::quote::{Quote, TdAttributes};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use verify::bundle::TdxEvidence;

/// Where Intel runs it.
pub(super) const INTEL: &str = "https://api.trustedservices.intel.com";
/// Where Intel has the list that a cache has among the others.
const INTEL_ROOT_CRL: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Largest collateral, in bytes.
const MAX_COLLATERAL: u64 = 1 << 20;

/// The quote with what Intel says of the processor that signed it, vouched for by `root` at `now`.
pub(super) fn fill(
    quote: Vec<u8>,
    base: &str,
    sources: &Sources<'_>,
    root: Root<'_>,
    now: Time,
) -> anyhow::Result<TdxEvidence> {
    let service = Service::of(base, Quote::parse(&quote).context("the quote")?.pck_chain)?;
    let attempt = |kept| {
        let fetch = |http: &Client<'_>| service.collateral(http);
        let collateral = sources.answer(&service.name(), MAX_COLLATERAL, kept, Some(FRESH), fetch)?;
        anyhow::Ok(vouched_for(&quote, &collateral, root, now).map(|()| collateral))
    };
    let collateral = match (attempt(true)?, sources.http.is_some()) {
        (Err(error), true) if sources.restart() => {
            report::progress(&format!("what was kept will not do any more ({error:#})"));
            attempt(false)?
        }
        (collateral, _) => collateral,
    }?;
    Ok(TdxEvidence { quote, collateral: Some(collateral) })
}

/// Whom to ask, and about which processors.
struct Service<'a> {
    base: &'a str,
    /// The family of processors, in hexadecimal.
    fmspc: String,
    /// Which of Intel's two authorities certified the platform's key.
    ca: &'static str,
}

/// The object identifier of FMSPC, 1.2.840.113741.1.13.1.4, in DER, and the tag and length of what follows it.
const FMSPC: &[u8] = &[6, 10, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 1, 13, 1, 4, 4, 6];

impl<'a> Service<'a> {
    /// What to ask about the platform whose certificate is first in this chain. A wrong guess gets statements about
    /// other processors, which are then refused.
    fn of(base: &'a str, pck_chain: &[u8]) -> anyhow::Result<Self> {
        let end = pck_chain.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let certificates = crate::evidence::ders(&pck_chain[..end]).context("the quote's PCK certificates")?;
        let pck = certificates.first().context("the quote has no PCK certificate")?;
        let position = |part: &[u8]| pck.windows(part.len()).position(|window| window == part);
        let fmspc = position(FMSPC).and_then(|at| pck.get(at + FMSPC.len()..at + FMSPC.len() + 6));
        let fmspc = Hex(fmspc.context("the quote's PCK certificate names no FMSPC")?).to_string();
        let ca = if position(b"PCK Platform CA").is_some() { "platform" } else { "processor" };
        Ok(Self { base: base.trim_end_matches('/'), fmspc, ca })
    }

    /// What the cache calls its answers, which are kept as one.
    fn name(&self) -> String {
        format!("{}/tdx/certification/v4 fmspc={} ca={}", self.base, self.fmspc, self.ca)
    }

    /// Everything that it says, as one JSON object with the members that Intel's quote verification library has.
    fn collateral(&self, http: &Client<'_>) -> anyhow::Result<Vec<u8>> {
        let Self { base, fmspc, ca } = self;
        let root_crl = match *base {
            INTEL => INTEL_ROOT_CRL.to_owned(),
            _ => format!("{base}/sgx/certification/v4/rootcacrl"),
        };
        let root_crl = http.get(&root_crl, MAX_CRL as u64)?.body;
        let pck_crl = format!("{base}/sgx/certification/v4/pckcrl?ca={ca}&encoding=der");
        let pck_crl = http.get(&pck_crl, MAX_CRL as u64)?;
        let tcb_url = format!("{base}/tdx/certification/v4/tcb?fmspc={fmspc}");
        let tcb = http.get(&tcb_url, MAX_JSON as u64)?;
        let qe_url = format!("{base}/tdx/certification/v4/qe/identity");
        let qe = http.get(&qe_url, MAX_JSON as u64)?;
        let (tcb_info, tcb_info_signature) = signed(&tcb, "tcbInfo").context(tcb_url)?;
        let (qe_identity, qe_identity_signature) = signed(&qe, "enclaveIdentity").context(qe_url)?;
        let members = BTreeMap::from([
            ("root_ca_crl", hex(root_crl)),
            ("pck_crl_issuer_chain", chain(&pck_crl, "SGX-PCK-CRL-Issuer-Chain")?),
            ("pck_crl", hex(pck_crl.body)),
            ("tcb_info", tcb_info),
            ("tcb_info_signature", tcb_info_signature),
            ("tcb_info_issuer_chain", chain(&tcb, "TCB-Info-Issuer-Chain")?),
            ("qe_identity", qe_identity),
            ("qe_identity_signature", qe_identity_signature),
            ("qe_identity_issuer_chain", chain(&qe, "SGX-Enclave-Identity-Issuer-Chain")?),
        ]);
        serde_json::to_vec(&members).context("writing collateral")
    }
}

/// The member of this name, byte for byte as it was signed, and the signature.
fn signed(answer: &Answer, member: &str) -> anyhow::Result<(String, String)> {
    let members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(&answer.body).context("expected a JSON object")?;
    let found = |name: &str| members.get(name).with_context(|| format!("expected a member {name}"));
    let signature = serde_json::from_str(found("signature")?.get()).context("signature")?;
    Ok((found(member)?.get().to_owned(), signature))
}

/// The list in hexadecimal. A cache sends it so, Intel sends DER.
fn hex(list: Vec<u8>) -> String {
    match String::from_utf8(list) {
        Ok(text) if bytes_from_hex(&text.to_ascii_lowercase()).is_ok() => text.to_ascii_lowercase(),
        Ok(text) => Hex(text.as_bytes()).to_string(),
        Err(error) => Hex(error.as_bytes()).to_string(),
    }
}

/// The certificates in a header, where they are percent-encoded (RFC 3986 section 2.1).
fn chain(answer: &Answer, header: &str) -> anyhow::Result<String> {
    let value = answer.headers.get(header).with_context(|| format!("expected a header {header}"))?.as_bytes();
    ensure!(value.len() <= MAX_CHAIN, "{header}: expected at most {MAX_CHAIN} bytes, found {}", value.len());
    let mut parts = value.split(|byte| *byte == b'%');
    let mut decoded = parts.next().unwrap_or_default().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2).with_context(|| format!("{header}: a % without two digits"))?;
        let digits = String::from_utf8_lossy(digits).to_ascii_lowercase();
        decoded.extend(bytes_from_hex(&digits).with_context(|| header.to_owned())?);
        decoded.extend(rest);
    }
    String::from_utf8(decoded).with_context(|| format!("{header}: expected text"))
}

/// Whether the collateral leads from the root to the quote. What it says of the platform is for `verify` to judge.
fn vouched_for(quote: &[u8], collateral: &[u8], root: Root<'_>, now: Time) -> anyhow::Result<()> {
    const LEADING: [&str; 3] = ["tdx.collateral.", "tdx.chain", "tdx.tcb.level"];
    let members: BTreeMap<String, String> = serde_json::from_slice(collateral).context("reading collateral")?;
    let text = |name: &str| members.get(name).with_context(|| format!("collateral has no {name}"));
    let bytes = |name: &str| bytes_from_hex(text(name)?).with_context(|| name.to_owned());
    let [root_ca_crl, pck_crl] = [bytes("root_ca_crl")?, bytes("pck_crl")?];
    let [tcb_info_signature, qe_identity_signature] = [bytes("tcb_info_signature")?, bytes("qe_identity_signature")?];
    let collateral = Collateral {
        root_ca_crl: &root_ca_crl,
        pck_crl: &pck_crl,
        pck_crl_issuer_chain: text("pck_crl_issuer_chain")?,
        tcb_info: text("tcb_info")?,
        tcb_info_signature: &tcb_info_signature,
        tcb_info_issuer_chain: text("tcb_info_issuer_chain")?,
        qe_identity: text("qe_identity")?,
        qe_identity_signature: &qe_identity_signature,
        qe_identity_issuer_chain: text("qe_identity_issuer_chain")?,
    };
    let findings = appraise(&Evidence { quote, collateral: Some(collateral) }, root, &nothing(), now);
    let mut leading = findings.iter().filter(|found| LEADING.iter().any(|rule| found.rule.id.starts_with(rule)));
    match leading.find(|found| found.outcome == Outcome::Failed) {
        Some(found) => bail!("collateral that does not lead to Intel's root: {}: {}", found.rule.id, found.reason),
        None => Ok(()),
    }
}

/// Nothing that is the policy's to ask for.
fn nothing() -> Requirements {
    let any = || Demand::Any;
    Requirements {
        tcb: Tcb { statuses: TcbStatus::ALL.into(), advisories: Advisories::Any, evaluation_floor: Demand::Any },
        platforms: Platforms {
            families: Demand::Any,
            denied_families: [].into(),
            machines: Demand::Any,
            denied_machines: [].into(),
            smt: Permit::Accepted,
            dynamic: Permit::Accepted,
            cached_keys: Permit::Accepted,
        },
        modules: Demand::Any,
        attributes: TdAttributes(u64::MAX),
        services: Services::Any,
        devices: Permit::Accepted,
        identity: Identity {
            mrtd: any(),
            rtmr: [any(), any(), any(), any()],
            mrconfigid: any(),
            mrowner: any(),
            mrownerconfig: any(),
            report_data: Demand::Any,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ureq::http::{HeaderMap, HeaderValue};

    fn answer(header: &str, body: &str) -> Answer {
        let headers = HeaderMap::from_iter([(ureq::http::header::VIA, HeaderValue::from_str(header).unwrap())]);
        Answer { headers, body: body.into() }
    }

    #[test]
    fn what_to_ask_is_in_the_platforms_certificate() {
        let certificate = |name: &str, fmspc: &[u8]| {
            let der = [&[0x30], name.as_bytes(), fmspc].concat();
            [pem::encode(&pem::Pem::new("CERTIFICATE", der)).as_bytes(), b"\0"].concat()
        };
        let fmspc = [FMSPC, &[0x50, 0x80, 0x6f, 0, 0, 0, 1]].concat();
        for (name, ca) in [("Intel SGX PCK Platform CA", "platform"), ("Intel SGX PCK Processor CA", "processor")] {
            let chain = certificate(name, &fmspc);
            let service = Service::of("https://pccs.example/", &chain).unwrap();
            assert_eq!(
                (service.base, service.fmspc.as_str(), service.ca),
                ("https://pccs.example", "50806f000000", ca)
            );
        }
        for chain in [certificate("", b""), certificate("", &fmspc[..fmspc.len() - 2]), b"\0".to_vec(), vec![]] {
            assert!(Service::of(INTEL, &chain).is_err(), "{chain:?}");
        }
    }

    #[test]
    fn what_was_signed_is_kept_byte_for_byte() {
        let found = |body| signed(&answer("", body), "tcbInfo").map_err(|error| format!("{error:#}"));
        let body = r#"{ "signature":"ab" , "tcbInfo" : {"b" : 1.0,  "a":[ ]} }"#;
        assert_eq!(found(body), Ok((r#"{"b" : 1.0,  "a":[ ]}"#.into(), "ab".into())));
        for (body, reason) in [
            ("[]", "expected a JSON object"),
            (r#"{"tcbInfo":{}}"#, "expected a member signature"),
            (r#"{"signature":"ab"}"#, "expected a member tcbInfo"),
            (r#"{"signature":1,"tcbInfo":{}}"#, "signature: "),
            (r#"{"signature":"ab","tcbInfo":{}"#, "expected a JSON object"),
        ] {
            assert!(found(body).unwrap_err().contains(reason), "{body}");
        }
    }

    #[test]
    fn headers_and_lists_in_both_forms() {
        let found = |header| chain(&answer(header, ""), "via").map_err(|error| format!("{error:#}"));
        assert_eq!(found("-----BEGIN%20X-----%0Aa+b%3d%3D"), Ok("-----BEGIN X-----\na+b==".into()));
        for header in ["%", "a%2", "%zz", "%ff", &"a".repeat(MAX_CHAIN + 1)] {
            assert!(found(header).is_err(), "{header}");
        }
        assert!(chain(&answer("", ""), "TCB-Info-Issuer-Chain").unwrap_err().to_string().contains("TCB-Info"));
        for (list, expected) in [(&b"300A"[..], "300a"), (b"\x30\xff", "30ff"), (b"0z", "307a")] {
            assert_eq!(hex(list.to_vec()), expected);
        }
    }
}
