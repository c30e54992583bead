//! The rules about who signed a report, in the order of their findings.

use crate::appraise::Rule;

/// The rules that there are for each of the three certificates.
pub(super) struct Level {
    pub(super) der: Rule,
    pub(super) algorithm: Rule,
    pub(super) key: Rule,
    pub(super) signature: Rule,
    pub(super) names: Rule,
    pub(super) dates: Rule,
    pub(super) extensions: Rule,
}

const fn rule(id: &'static str, holds: &'static str) -> Rule {
    Rule { id, holds }
}

macro_rules! level {
    ($id:literal, $name:literal, $key:literal, $signer:literal, $extensions:literal) => {
        Level {
            der: rule(concat!("snp.chain.", $id, ".der"), concat!("the ", $name, " is one certificate in strict DER")),
            algorithm: rule(
                concat!("snp.chain.", $id, ".algorithm"),
                concat!(
                    "the ",
                    $name,
                    " says in both places that it is signed with RSASSA-PSS, SHA-384, 48 bytes of salt"
                ),
            ),
            key: rule(concat!("snp.chain.", $id, ".key"), concat!("the ", $name, "'s key is ", $key)),
            signature: rule(
                concat!("snp.chain.", $id, ".signature"),
                concat!("the ", $name, " is signed by ", $signer),
            ),
            names: rule(
                concat!("snp.chain.", $id, ".names"),
                concat!("subject and issuer of the ", $name, " are the names under its root"),
            ),
            dates: rule(concat!("snp.chain.", $id, ".dates"), concat!("the ", $name, " is valid now")),
            extensions: rule(
                concat!("snp.chain.", $id, ".extensions"),
                concat!("the ", $name, "'s extensions are ", $extensions),
            ),
        }
    };
}

pub(super) const ARK: Level = level!("ark", "ARK", "RSA, 4096 bits, exponent 65537", "itself", "those of a root");
pub(super) const ASK: Level =
    level!("ask", "ASK", "RSA, 4096 bits, exponent 65537", "the ARK", "those of an authority over leaves only");
pub(super) const LEAF: Level =
    level!("leaf", "leaf", "a point of P-384", "the ASK", "known if critical, and AMD's decode to the last bit");

pub(super) const PINNED: Rule = rule("snp.chain.ark.pinned", "the ARK's key is a pinned root");

pub(super) const KIND: Rule = rule("snp.chain.leaf.kind", "the leaf is of the kind that the report says signed it");
pub(super) const PRODUCT: Rule = rule("snp.chain.leaf.product", "root, leaf and report are of one product");
pub(super) const TCB: Rule = rule("snp.chain.leaf.tcb", "the leaf is for the reported TCB, component by component");
pub(super) const CHIP: Rule = rule("snp.chain.leaf.chip", "the leaf is for the report's chip");
pub(super) const CSP: Rule = rule("snp.chain.leaf.csp", "the leaf names a cloud provider if and only if it is a VLEK");

pub(super) const CRL_DER: Rule = rule("snp.chain.crl.der", "there is one revocation list in strict DER");
pub(super) const CRL_ALGORITHM: Rule = rule(
    "snp.chain.crl.algorithm",
    "the revocation list says in both places that it is signed with RSASSA-PSS, SHA-384, 48 bytes of salt",
);
pub(super) const CRL_SIGNATURE: Rule = rule("snp.chain.crl.signature", "the revocation list is signed by the ARK");
pub(super) const CRL_ISSUER: Rule = rule("snp.chain.crl.issuer", "the revocation list names the ARK as its issuer");
pub(super) const CRL_DATES: Rule = rule("snp.chain.crl.dates", "the revocation list is in force now");
pub(super) const CRL_AGE: Rule = rule("snp.chain.crl.age", "the revocation list is not too old");
pub(super) const CRL_EXTENSIONS: Rule =
    rule("snp.chain.crl.extensions", "no extension narrows what the revocation list says");
pub(super) const CRL_ASK: Rule = rule("snp.chain.crl.ask", "the ASK is not revoked");
pub(super) const CRL_LEAF: Rule = rule("snp.chain.crl.leaf", "the leaf is not revoked");

pub(super) const RANGE: Rule = rule("snp.signature.range", "R and S are from 1 to the curve's order less 1");
pub(super) const PADDING: Rule = rule("snp.signature.padding", "the bytes after the signature are zero");
pub(super) const SIGNATURE: Rule = rule("snp.signature", "the leaf's key signed the report as received");

/// Rules over the report itself that rules here wait for.
pub(super) const REPORT_PRODUCT: Rule = rule("snp.report.product", "the processor is a known one");
pub(super) const REPORT_SIGNING_KEY: Rule =
    rule("snp.report.signing-key", "the report says that a VCEK or VLEK signed it");
pub(super) const REPORT_CHIP_MASKED: Rule = rule("snp.identity.chip-masked", "the report says which chip it is from");

/// Every rule of [`super::examine`], in the order of its findings.
pub const RULES: [Rule; 39] = [
    ARK.der,
    ARK.algorithm,
    ARK.key,
    ARK.signature,
    ARK.names,
    ARK.dates,
    ARK.extensions,
    PINNED,
    ASK.der,
    ASK.algorithm,
    ASK.key,
    ASK.signature,
    ASK.names,
    ASK.dates,
    ASK.extensions,
    LEAF.der,
    LEAF.algorithm,
    LEAF.key,
    LEAF.signature,
    LEAF.names,
    LEAF.dates,
    LEAF.extensions,
    KIND,
    PRODUCT,
    TCB,
    CHIP,
    CSP,
    CRL_DER,
    CRL_ALGORITHM,
    CRL_SIGNATURE,
    CRL_ISSUER,
    CRL_DATES,
    CRL_AGE,
    CRL_EXTENSIONS,
    CRL_ASK,
    CRL_LEAF,
    RANGE,
    PADDING,
    SIGNATURE,
];
