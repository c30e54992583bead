//! The rules, in the order of their findings.

use crate::appraise::Rule;

/// Declares the rules and [`RULES`], the list of all of them.
macro_rules! rules {
    ($($name:ident = $id:literal, $holds:literal;)*) => {
        $(pub(super) const $name: Rule = Rule { id: $id, holds: $holds };)*
        /// Every rule over a quote, in the order of the findings.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    VERSION = "tdx.quote.version", "the quote is of version 4 or 5";
    KEY_TYPE = "tdx.quote.key-type", "it is signed with ECDSA on P-256";
    TEE_TYPE = "tdx.quote.tee-type", "it is about a TDX guest";
    VENDOR = "tdx.quote.vendor", "Intel's quoting enclave made it";
    BODY = "tdx.quote.body", "its body has a known type and that type's size";
    SIZE = "tdx.quote.size", "its parts fill it exactly, and only zeros follow it";
    COLLATERAL = "tdx.collateral.size", "collateral came with the quote, no part of it longer than allowed";
    QE_REPORT = "tdx.signature.qe-report", "the platform's key signed the report of the quoting enclave";
    KEY = "tdx.signature.key", "that report is about the key that signed the quote";
    SIGNATURE = "tdx.signature.quote", "that key signed header and body as they were received";
    TCB_INFO = "tdx.collateral.tcb-info", "the certificate beside it signed the TCB info";
    QE_IDENTITY = "tdx.collateral.qe-identity", "the certificate beside it signed the QE identity";
    CHAIN = "tdx.chain", "all certificates lead to the pinned root and none is revoked";
    QE = "tdx.qe", "the quoting enclave is the one of the QE identity";
    LEVEL = "tdx.tcb.level", "the TCB info is about this processor and TDX module and knows their security versions";
    DATES = "tdx.collateral.dates", "certificates, revocation lists, TCB info and QE identity are valid now";
    STATUS = "tdx.tcb.status", "the status of the platform's TCB is an accepted one";
    ADVISORIES = "tdx.tcb.advisories", "no refused advisory applies to the platform";
    EVALUATION = "tdx.tcb.evaluation", "TCB info and QE identity are no older than the floor";
    FAMILY_ALLOWED = "tdx.platform.fmspc-allowed", "the processor's family is an accepted one";
    FAMILY_DENIED = "tdx.platform.fmspc-denied", "the processor's family is not a refused one";
    MACHINE_ALLOWED = "tdx.platform.ppid-allowed", "the machine is an accepted one";
    MACHINE_DENIED = "tdx.platform.ppid-denied", "the machine is not a refused one";
    SMT = "tdx.platform.smt", "simultaneous multithreading is off";
    DYNAMIC = "tdx.platform.dynamic", "no package can be added to the platform";
    CACHED_KEYS = "tdx.platform.cached-keys", "nobody but the platform holds its root keys";
    MODULE = "tdx.module.mrseam", "the TDX module is an accepted one";
    MODULE_SIGNER = "tdx.module.signer", "Intel signed the TDX module";
    MODULE_ATTRIBUTES = "tdx.module.attributes", "the TDX module has no attributes, as production modules have";
    DEBUG = "tdx.attributes.debug", "the guest is neither debugged nor profiled";
    RESERVED = "tdx.attributes.reserved", "no attribute is set that the specification reserves";
    SEPT_VE = "tdx.attributes.sept-ve-disable", "taking away a page of the guest's stops it";
    MIGRATABLE = "tdx.attributes.migratable", "the guest cannot be migrated";
    ATTRIBUTES = "tdx.attributes.others", "it has no other attributes than the accepted ones";
    XFAM = "tdx.xfam", "the guest has the processor features that every guest has and none that is unknown";
    SERVICES = "tdx.services", "the guest's service guests are accepted ones";
    DEVICES = "tdx.devices", "no device is part of the guest";
    VM = "tdx.vm", "the report is about the guest itself and not about one inside it";
    MRTD = "tdx.mrtd", "the guest as it was built is an accepted one";
    RTMR0 = "tdx.rtmr0", "what RTMR0 measured is accepted";
    RTMR1 = "tdx.rtmr1", "what RTMR1 measured is accepted";
    RTMR2 = "tdx.rtmr2", "what RTMR2 measured is accepted";
    RTMR3 = "tdx.rtmr3", "what RTMR3 measured is accepted";
    MRCONFIGID = "tdx.mrconfigid", "the host's configuration identifier is accepted";
    MROWNER = "tdx.mrowner", "the host's owner identifier is accepted";
    MROWNERCONFIG = "tdx.mrownerconfig", "the host's owner configuration is accepted";
    REPORT_DATA = "tdx.report-data", "the guest reported what was asked of it";
}
