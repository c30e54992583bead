//! TDX collateral as a file: one JSON object with the members that Intel's quote verification library has
//! (`QuoteCollateralV3` in `dcap-qvl`), so that what other tools fetched can be used.

use measure::digest::bytes_from_hex;
use measure::tdx::collateral::Collateral;

/// The parts, as strings: text is text, other bytes are hexadecimal. What Intel signed is in strings of its own, so it is
/// the text that came out of the string that is verified, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    pck_crl_issuer_chain: String,
    root_ca_crl: String,
    pck_crl: String,
    tcb_info_issuer_chain: String,
    tcb_info: String,
    tcb_info_signature: String,
    qe_identity_issuer_chain: String,
    qe_identity: String,
    qe_identity_signature: String,
    /// The certificates that are in the quote as well, where they are believed.
    #[serde(default, rename = "pck_certificate_chain")]
    _pck_certificate_chain: Option<String>,
}

/// Collateral whose hexadecimal is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parts {
    members: Members,
    root_ca_crl: Vec<u8>,
    pck_crl: Vec<u8>,
    tcb_info_signature: Vec<u8>,
    qe_identity_signature: Vec<u8>,
}

impl Parts {
    /// Reads a file, or says in words why it is not collateral.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let members: Members = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let decode = |name: &str, text: &str| bytes_from_hex(text).map_err(|error| format!("{name}: {error}"));
        Ok(Self {
            root_ca_crl: decode("root_ca_crl", &members.root_ca_crl)?,
            pck_crl: decode("pck_crl", &members.pck_crl)?,
            tcb_info_signature: decode("tcb_info_signature", &members.tcb_info_signature)?,
            qe_identity_signature: decode("qe_identity_signature", &members.qe_identity_signature)?,
            members,
        })
    }

    /// The parts, as the rules take them.
    pub(crate) fn collateral(&self) -> Collateral<'_> {
        Collateral {
            root_ca_crl: &self.root_ca_crl,
            pck_crl: &self.pck_crl,
            pck_crl_issuer_chain: &self.members.pck_crl_issuer_chain,
            tcb_info: &self.members.tcb_info,
            tcb_info_signature: &self.tcb_info_signature,
            tcb_info_issuer_chain: &self.members.tcb_info_issuer_chain,
            qe_identity: &self.members.qe_identity,
            qe_identity_signature: &self.qe_identity_signature,
            qe_identity_issuer_chain: &self.members.qe_identity_issuer_chain,
        }
    }
}
