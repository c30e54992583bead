//! A simulated TDX platform: Intel's chain with other keys, its statements about the platform, and quotes byte by byte
//! (Intel "SGX Data Center Attestation Primitives: ECDSA Quote Library API", appendix A.3 and A.4; Intel "PCK
//! Certificate and Certificate Revocation List Profile", revision 1.5; Intel PCS API, version 4).

use crate::certificate::{Certificate, Crl, Extension};
use crate::chain::oid;
use crate::der;
use crate::keys::{self, P256Key};
use measure::digest::{Hex, Sha256};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The organisation in every name of the chain.
pub const ORGANISATION: &str = "SIMULATED by Vitrine, not Intel";

/// Which of the layouts a quote has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
    /// Version 4, a body of TDX 1.0.
    V4,
    /// Version 5, the same body.
    V5Td10,
    /// Version 5, a body of TDX 1.5.
    V5Td15,
    /// Version 5, a body of TDX 1.5 with what came later.
    V5Td15Extended,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::V4, Self::V5Td10, Self::V5Td15, Self::V5Td15Extended];
}

/// What the TDX module reports, in the order of the structure.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Body {
    pub tee_tcb_svn: [u8; 16],
    pub mrseam: [u8; 48],
    pub mrsignerseam: [u8; 48],
    pub seam_attributes: u64,
    pub td_attributes: u64,
    pub xfam: u64,
    pub mrtd: [u8; 48],
    pub mrconfigid: [u8; 48],
    pub mrowner: [u8; 48],
    pub mrownerconfig: [u8; 48],
    pub rtmr: [[u8; 48]; 4],
    pub report_data: [u8; 64],
    pub tee_tcb_svn2: [u8; 16],
    pub mrservicetd: [u8; 48],
    pub vmid: u8,
    pub td_id: [u8; 32],
    pub dev_info: [u8; 48],
    /// What the guest began with: INIT_SERVTD_HASH to INIT_TEE_FMSPC.
    pub initial: [u8; 100],
    pub current_services: [u8; 48],
    pub current_service_attributes: u64,
}

impl Body {
    fn bytes(&self, layout: Layout) -> Vec<u8> {
        let mut out = [
            &self.tee_tcb_svn[..],
            &self.mrseam,
            &self.mrsignerseam,
            &self.seam_attributes.to_le_bytes(),
            &self.td_attributes.to_le_bytes(),
            &self.xfam.to_le_bytes(),
            &self.mrtd,
            &self.mrconfigid,
            &self.mrowner,
            &self.mrownerconfig,
            self.rtmr.as_flattened(),
            &self.report_data,
        ]
        .concat();
        assert_eq!(out.len(), 584);
        if layout >= Layout::V5Td15 {
            out.extend([&self.tee_tcb_svn2[..], &self.mrservicetd].concat());
            assert_eq!(out.len(), 648);
        }
        if layout == Layout::V5Td15Extended {
            out.push(self.vmid);
            out.extend([&self.td_id[..], &self.dev_info, &self.initial, &self.current_services].concat());
            out.extend(self.current_service_attributes.to_le_bytes());
            assert_eq!(out.len(), 885);
        }
        out
    }
}

/// What the platform's certificate says of it.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the profile's")]
pub struct Pck {
    pub ppid: [u8; 16],
    pub tcb_components: [u8; 16],
    pub pce_svn: u8,
    pub fmspc: [u8; 6],
    pub dynamic_platform: bool,
    pub cached_keys: bool,
    pub smt_enabled: bool,
}

/// What the quoting enclave reports of itself.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the structure's")]
pub struct QuotingEnclave {
    pub misc_select: u32,
    pub attributes: [u8; 16],
    pub mrsigner: [u8; 32],
    pub isv_prod_id: u16,
    pub isv_svn: u16,
}

/// A platform with a guest, and everything of its chain, to be signed.
#[derive(Clone)]
#[expect(missing_docs, reason = "the names are the formats'")]
pub struct Platform {
    pub layout: Layout,
    /// 48 bytes.
    pub header: Vec<u8>,
    pub body: Body,
    pub enclave: QuotingEnclave,
    pub pck: Pck,
    pub quote_key: P256Key,
    pub pck_signer: P256Key,
    pub root: Certificate,
    pub pck_ca: Certificate,
    pub pck_certificate: Certificate,
    pub tcb_signing: Certificate,
    pub pck_ca_issuer: P256Key,
    pub pck_issuer: P256Key,
    pub tcb_signing_issuer: P256Key,
    pub root_crl: Crl,
    pub pck_crl: Crl,
    pub pck_crl_issuer: P256Key,
    pub tcb_info: Value,
    pub qe_identity: Value,
    pub tcb_signer: P256Key,
}

/// The certificate of the simulated root, DER: what a verifier has to believe instead of Intel's.
pub fn root() -> Vec<u8> {
    root_certificate().sign(&keys::intel_root())
}

impl Platform {
    /// A platform whose guest was asked for this.
    pub fn new(layout: Layout, report_data: [u8; 64]) -> Self {
        let version: u16 = if layout == Layout::V4 { 4 } else { 5 };
        let vendor = [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
        let head = [version.to_le_bytes(), 2_u16.to_le_bytes()].concat();
        let header = [&head[..], &0x81_u32.to_le_bytes(), &[0; 4], &vendor, &[0; 20]].concat();
        let tee_tcb_svn = std::array::from_fn(|at| if at == 0 { 5 } else { u8::from(at == 1) * 3 });
        let pck = Pck {
            ppid: [0x99; 16],
            tcb_components: [2; 16],
            pce_svn: 13,
            fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0],
            dynamic_platform: false,
            cached_keys: false,
            smt_enabled: false,
        };
        let (root, intermediate) = (keys::intel_root(), keys::pck_ca());
        Self {
            layout,
            header,
            body: Body {
                tee_tcb_svn,
                mrseam: [0x5e; 48],
                mrsignerseam: [0; 48],
                seam_attributes: 0,
                td_attributes: 1 << 28,
                xfam: 0x2e7,
                mrtd: [0x3d; 48],
                mrconfigid: [0xc1; 48],
                mrowner: [0xc2; 48],
                mrownerconfig: [0xc3; 48],
                rtmr: [[0xe0; 48], [0xe1; 48], [0xe2; 48], [0xe3; 48]],
                report_data,
                tee_tcb_svn2: tee_tcb_svn,
                mrservicetd: [0; 48],
                vmid: 0,
                td_id: [0x1d; 32],
                dev_info: [0; 48],
                initial: [0; 100],
                current_services: [0; 48],
                current_service_attributes: 0,
            },
            enclave: QuotingEnclave {
                misc_select: 0,
                attributes: [0x11, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0],
                mrsigner: [0xdc; 32],
                isv_prod_id: 2,
                isv_svn: 4,
            },
            quote_key: keys::qe(),
            pck_signer: keys::pck(),
            root: root_certificate(),
            pck_ca: authority("SIMULATED PCK Platform CA", &intermediate, 2, 0),
            pck_certificate: leaf(
                "SIMULATED PCK Certificate",
                "SIMULATED PCK Platform CA",
                &keys::pck(),
                3,
                &intermediate,
            ),
            tcb_signing: leaf("SIMULATED TCB Signing", ROOT_NAME, &keys::tcb_signing(), 4, &root),
            pck_ca_issuer: root.clone(),
            pck_issuer: intermediate.clone(),
            tcb_signing_issuer: root.clone(),
            root_crl: list(ROOT_NAME, &root),
            pck_crl: list("SIMULATED PCK Platform CA", &intermediate),
            pck_crl_issuer: intermediate,
            tcb_info: tcb_info(&pck, tee_tcb_svn),
            qe_identity: qe_identity(),
            tcb_signer: keys::tcb_signing(),
            pck,
        }
    }

    /// The quote.
    pub fn quote(&self) -> Vec<u8> {
        let body = self.body.bytes(self.layout);
        let kind: u16 = match self.layout {
            Layout::V4 => 0,
            Layout::V5Td10 => 2,
            Layout::V5Td15 => 3,
            Layout::V5Td15Extended => 4,
        };
        let described = [&kind.to_le_bytes()[..], &(body.len() as u32).to_le_bytes()].concat();
        let described = if self.layout == Layout::V4 { &[][..] } else { &described };
        let mut quote = [&self.header, described, &body].concat();

        let authentication: [u8; 32] = std::array::from_fn(|at| at as u8);
        let hash = Sha256::of(&[&self.quote_key.point()[..], &authentication].concat());
        let report = self.enclave_report(hash);
        let certificates = self.pck_chain();
        let qe = [
            &report[..],
            &self.pck_signer.sign(&report),
            &32_u16.to_le_bytes(),
            &authentication,
            &5_u16.to_le_bytes(),
            &(certificates.len() as u32).to_le_bytes(),
            certificates.as_bytes(),
        ]
        .concat();
        let signature = [
            &self.quote_key.sign(&quote)[..],
            &self.quote_key.point(),
            &6_u16.to_le_bytes(),
            &(qe.len() as u32).to_le_bytes(),
            &qe,
        ]
        .concat();
        quote.extend((signature.len() as u32).to_le_bytes());
        quote.extend(signature);
        quote
    }

    /// The collateral, as JSON with the members of `QuoteCollateralV3`.
    pub fn collateral(&self) -> Vec<u8> {
        let root = self.root.sign(&keys::intel_root());
        let tcb_chain = pem(&[self.tcb_signing.sign(&self.tcb_signing_issuer), root.clone()]);
        let (tcb_info, qe_identity) = (json_text(&self.tcb_info), json_text(&self.qe_identity));
        let signed = |text: &str| Hex(&self.tcb_signer.sign(text.as_bytes())).to_string();
        let collateral = json!({
            "pck_crl_issuer_chain": pem(&[self.pck_ca.sign(&self.pck_ca_issuer), root]),
            "root_ca_crl": Hex(&self.root_crl.sign(&keys::intel_root())).to_string(),
            "pck_crl": Hex(&self.pck_crl.sign(&self.pck_crl_issuer)).to_string(),
            "tcb_info_issuer_chain": tcb_chain,
            "tcb_info_signature": signed(&tcb_info),
            "tcb_info": tcb_info,
            "qe_identity_issuer_chain": tcb_chain,
            "qe_identity_signature": signed(&qe_identity),
            "qe_identity": qe_identity,
        });
        json_text(&collateral).into_bytes()
    }

    fn pck_chain(&self) -> String {
        let mut certificate = self.pck_certificate.clone();
        certificate.extensions.push(self.pck.extension());
        pem(&[
            certificate.sign(&self.pck_issuer),
            self.pck_ca.sign(&self.pck_ca_issuer),
            self.root.sign(&keys::intel_root()),
        ])
    }

    /// An SGX report (Intel SDM volume 3D, table 36-21, without the MAC) with the hash of the attestation key.
    fn enclave_report(&self, hash: Sha256) -> Vec<u8> {
        let QuotingEnclave { misc_select, attributes, mrsigner, isv_prod_id, isv_svn } = &self.enclave;
        let mut report = vec![0; 384];
        let mut put = |at: usize, bytes: &[u8]| report[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &[2; 16]);
        put(16, &misc_select.to_le_bytes());
        put(48, attributes);
        put(64, &[0xee; 32]);
        put(128, mrsigner);
        put(256, &isv_prod_id.to_le_bytes());
        put(258, &isv_svn.to_le_bytes());
        put(320, hash.as_bytes());
        report
    }
}

impl Pck {
    /// 1.2.840.113741.1.13.1, which is a list of lists.
    fn extension(&self) -> Extension {
        const BASE: &str = "1.2.840.113741.1.13.1";
        let item = |path: &str, value: Vec<u8>| der::sequence(&[&der::oid(&format!("{BASE}.{path}")), &value]);
        let flag = |set: bool| der::value(0x01, &[&[if set { 0xff } else { 0 }]]);
        let mut tcb: Vec<u8> = Vec::new();
        for (at, svn) in self.tcb_components.iter().enumerate() {
            tcb.extend(item(&format!("2.{}", at + 1), der::integer((*svn).into())));
        }
        tcb.extend(item("2.17", der::integer(self.pce_svn.into())));
        tcb.extend(item("2.18", der::octets(&self.tcb_components)));
        let configuration = [
            item("7.1", flag(self.dynamic_platform)),
            item("7.2", flag(self.cached_keys)),
            item("7.3", flag(self.smt_enabled)),
        ]
        .concat();
        let value = der::sequence(&[
            &item("1", der::octets(&self.ppid)),
            &item("2", der::sequence(&[&tcb])),
            &item("3", der::octets(&[0, 0])),
            &item("4", der::octets(&self.fmspc)),
            &item("5", der::value(0x0a, &[&[1]])),
            &item("6", der::octets(&[0x66; 16])),
            &item("7", der::sequence(&[&configuration])),
        ]);
        Extension { oid: BASE, critical: false, value }
    }
}

/// JSON with members in the order of their names, whatever order a build of `serde_json` keeps them in.
pub fn json_text(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let sorted: BTreeMap<_, _> = members.iter().collect();
            let member = |(name, value): (&String, &Value)| format!("{}:{}", json!(name), json_text(value));
            format!("{{{}}}", sorted.into_iter().map(member).collect::<Vec<_>>().join(","))
        }
        Value::Array(values) => format!("[{}]", values.iter().map(json_text).collect::<Vec<_>>().join(",")),
        scalar => scalar.to_string(),
    }
}

/// TCB info of the Intel PCS API: the first level is the platform's, the second what it had before.
fn tcb_info(pck: &Pck, tee_tcb_svn: [u8; 16]) -> Value {
    let components = |svns: &[u8]| svns.iter().map(|svn| json!({ "svn": svn })).collect::<Vec<_>>();
    let level = |svns: [u8; 16], status: &str, advisories: &[&str], date: &str| {
        json!({
            "tcb": {
                "sgxtcbcomponents": components(&svns),
                "pcesvn": pck.pce_svn,
                "tdxtcbcomponents": components(&tee_tcb_svn.map(|svn| svn.saturating_sub(u8::from(svns != pck.tcb_components)))),
            },
            "tcbDate": date,
            "tcbStatus": status,
            "advisoryIDs": advisories,
        })
    };
    let zero = "0".repeat(96);
    let module = json!({ "mrsigner": zero, "attributes": "0000000000000000", "attributesMask": "FFFFFFFFFFFFFFFF" });
    json!({
        "id": "TDX",
        "version": 3,
        "issueDate": "2026-06-20T00:00:00Z",
        "nextUpdate": "2026-07-20T00:00:00Z",
        "fmspc": "B0C06F000000",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
        "tdxModule": module,
        "tdxModuleIdentities": [{
            "id": "TDX_03",
            "mrsigner": zero,
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
            "tcbLevels": [
                { "tcb": { "isvsvn": 5 }, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate" },
                { "tcb": { "isvsvn": 4 }, "tcbDate": "2025-01-01T00:00:00Z", "tcbStatus": "OutOfDate" },
            ],
        }],
        "tcbLevels": [
            level(pck.tcb_components, "UpToDate", &[], "2026-01-01T00:00:00Z"),
            level([1; 16], "OutOfDate", &["INTEL-SA-00837"], "2025-01-01T00:00:00Z"),
        ],
    })
}

fn qe_identity() -> Value {
    json!({
        "id": "TD_QE",
        "version": 2,
        "issueDate": "2026-06-20T00:00:00Z",
        "nextUpdate": "2026-07-20T00:00:00Z",
        "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "DC".repeat(32),
        "isvprodid": 2,
        "tcbLevels": [{ "tcb": { "isvsvn": 4 }, "tcbDate": "2026-01-01T00:00:00Z", "tcbStatus": "UpToDate" }],
    })
}

const ROOT_NAME: &str = "SIMULATED SGX Root CA";

fn name(common_name: &str) -> Vec<u8> {
    let part = |oid: &str, value: &[u8]| der::value(0x31, &[&der::sequence(&[&der::oid(oid), value])]);
    der::sequence(&[
        &part("2.5.4.3", &der::utf8(common_name)),
        &part("2.5.4.10", &der::utf8(ORGANISATION)),
        &part("2.5.4.6", &der::printable("US")),
    ])
}

/// ecdsa-with-SHA256.
fn ecdsa() -> Vec<u8> {
    der::sequence(&[&der::oid("1.2.840.10045.4.3.2")])
}

fn key_id(key: &P256Key) -> Vec<u8> {
    Sha256::of(&key.public()).as_bytes()[..20].to_vec()
}

fn root_certificate() -> Certificate {
    authority(ROOT_NAME, &keys::intel_root(), 1, 1)
}

fn authority(common_name: &str, key: &P256Key, serial: u64, path_length: u8) -> Certificate {
    let constraints = [0x30, 6, 1, 1, 0xff, 2, 1, path_length].to_vec();
    let mut certificate = certificate(common_name, ROOT_NAME, key, serial, &keys::intel_root());
    certificate.extensions.extend([
        Extension { oid: oid::KEY_USAGE, critical: true, value: vec![3, 2, 1, 6] },
        Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: constraints },
    ]);
    certificate
}

fn leaf(common_name: &str, issuer: &str, key: &P256Key, serial: u64, above: &P256Key) -> Certificate {
    let mut certificate = certificate(common_name, issuer, key, serial, above);
    certificate.extensions.extend([
        Extension { oid: oid::KEY_USAGE, critical: true, value: vec![3, 2, 6, 0xc0] },
        Extension { oid: oid::BASIC_CONSTRAINTS, critical: true, value: der::sequence(&[]) },
    ]);
    certificate
}

fn certificate(common_name: &str, issuer: &str, key: &P256Key, serial: u64, above: &P256Key) -> Certificate {
    let above = der::sequence(&[&der::value(0x80, &[&key_id(above)])]);
    Certificate {
        version: der::context(0, &[&der::integer(2)]),
        serial: der::integer(serial),
        signature: ecdsa(),
        issuer: name(issuer),
        not_before: der::utc_time("250101000000Z"),
        not_after: der::utc_time("400101000000Z"),
        subject: name(common_name),
        key: key.public(),
        extensions: vec![
            Extension { oid: oid::AUTHORITY_KEY, critical: false, value: above },
            Extension { oid: oid::SUBJECT_KEY, critical: false, value: der::octets(&key_id(key)) },
        ],
        signature_algorithm: ecdsa(),
    }
}

fn list(issuer: &str, key: &P256Key) -> Crl {
    let above = der::sequence(&[&der::value(0x80, &[&key_id(key)])]);
    Crl {
        version: der::integer(1),
        signature: ecdsa(),
        issuer: name(issuer),
        this_update: der::utc_time("260601000000Z"),
        next_update: der::utc_time("270601000000Z"),
        revoked: vec![],
        extensions: vec![
            Extension { oid: oid::CRL_NUMBER, critical: false, value: der::integer(1) },
            Extension { oid: oid::AUTHORITY_KEY, critical: false, value: above },
        ],
        signature_algorithm: ecdsa(),
    }
}

/// Certificates as PEM (RFC 7468).
fn pem(certificates: &[Vec<u8>]) -> String {
    use p256::pkcs8::der::pem::{LineEnding, encode_string};
    let text = |der: &Vec<u8>| encode_string("CERTIFICATE", LineEnding::LF, der).expect("a certificate is short");
    certificates.iter().map(text).collect()
}
