//! Rules over the body of a quote: the TDX module, the guest's attributes and what was measured into it.

use super::requirements::{Requirements, Services};
use super::rules::{
    ATTRIBUTES, DEBUG, DEVICES, MIGRATABLE, MODULE, MODULE_ATTRIBUTES, MODULE_SIGNER, MRCONFIGID, MROWNER,
    MROWNERCONFIG, MRTD, REPORT_DATA, RESERVED, RTMR0, RTMR1, RTMR2, RTMR3, SEPT_VE, SERVICES, VM, XFAM,
};
use super::{always, demanded};
use crate::appraise::{Finding, Permit, one_of};
use crate::digest::{Digest, Sha384};
use crate::tdx::quote::{Body, Td15, Td15Extended, TdAttributes};
use std::collections::BTreeSet;

/// Attributes that have no meaning yet and must be 0 (Intel 348551-008, table 3.23): bits 8 to 15, 23 to 26, 32 to 61.
/// Bits 0 to 7 have a rule of their own, whether they have a meaning or not.
pub(super) const RESERVED_ATTRIBUTES: TdAttributes = TdAttributes(0x3fff_ffff_0780_ff00);
/// Processor features that every guest has: x87 and SSE.
const XFAM_ALWAYS: u64 = 0x3;
/// Processor features that a guest can have (Intel 344425, XFAM): x87, SSE, AVX, AVX-512, PT, PK, CET, ULI, LBR, AMX.
const XFAM_KNOWN: u64 = 0x6_dbe7;
const ZERO: Sha384 = Sha384::new([0; 48]);

/// One finding for each rule over the body.
pub(super) fn findings(body: &Body, requirements: &Requirements) -> Vec<Finding> {
    let identity = &requirements.identity;
    let member = |rule, found: Sha384, demand| {
        demanded(
            rule,
            found.to_string(),
            demand,
            |set| one_of(set),
            |wanted: &BTreeSet<Sha384>| wanted.contains(&found),
        )
    };
    let mut findings = vec![
        member(MODULE, body.mrseam, &requirements.modules),
        always(MODULE_SIGNER, body.mrsignerseam.to_string(), "all zero", body.mrsignerseam == ZERO),
        always(MODULE_ATTRIBUTES, format!("{:#x}", body.seam_attributes), "0", body.seam_attributes == 0),
    ];
    findings.extend(attributes(body.attributes, requirements.attributes));
    let features = format!("{:#x}", body.xfam);
    let known = body.xfam & XFAM_ALWAYS == XFAM_ALWAYS && body.xfam & !XFAM_KNOWN == 0;
    let extended = body.td15.as_ref().and_then(|td15| td15.extended.as_ref());
    findings.extend([
        always(XFAM, features, "0x3 and no bits outside 0x6dbe7", known),
        services(body, &requirements.services),
        devices(extended, requirements.devices),
        vm(extended),
        member(MRTD, body.mrtd, &identity.mrtd),
    ]);
    let rtmrs = [RTMR0, RTMR1, RTMR2, RTMR3].into_iter().zip(body.rtmr).zip(&identity.rtmr);
    findings.extend(rtmrs.map(|((rule, found), demand)| member(rule, found, demand)));
    findings.extend([
        member(MRCONFIGID, body.mrconfigid, &identity.mrconfigid),
        member(MROWNER, body.mrowner, &identity.mrowner),
        member(MROWNERCONFIG, body.mrownerconfig, &identity.mrownerconfig),
        demanded(REPORT_DATA, body.report_data.to_string(), &identity.report_data, Digest::to_string, |wanted| {
            *wanted == body.report_data
        }),
    ]);
    findings
}

fn attributes(found: TdAttributes, accepted: TdAttributes) -> [Finding; 5] {
    let none = TdAttributes(0);
    let shown = found.to_string();
    let absent = |rule, bits: TdAttributes, required| {
        let set = found.and(bits);
        always(rule, set.to_string(), required, set == none)
    };
    // Bits that have rules of their own here, or that `services` looks at.
    let elsewhere = [
        TdAttributes::UNDER_DEBUG,
        RESERVED_ATTRIBUTES,
        TdAttributes::SEPT_VE_DISABLE,
        TdAttributes::MIGRATABLE,
        TdAttributes::SERVTD_EXT,
    ];
    let others = elsewhere.into_iter().fold(found, TdAttributes::without);
    let refused = others.without(accepted);
    let (others, required) = (others.to_string(), accepted.to_string());
    let others = Finding::of(ATTRIBUTES, refused == none, others, required, format!("{refused} is not accepted"));
    [
        absent(DEBUG, TdAttributes::UNDER_DEBUG, "bits 0 to 7 are 0"),
        absent(RESERVED, RESERVED_ATTRIBUTES, "reserved bits are 0"),
        always(SEPT_VE, shown, "SEPT_VE_DISABLE", found.and(TdAttributes::SEPT_VE_DISABLE) != none),
        absent(MIGRATABLE, TdAttributes::MIGRATABLE, "bit 29 is 0"),
        others,
    ]
}

/// Service guests show in MRSERVICETD and, with SERVTD_EXT, in fields that only the extended body has. A body of TDX 1.0
/// is never made for a guest with service guests.
fn services(body: &Body, accepted: &Services) -> Finding {
    let marked = body.attributes.and(TdAttributes::SERVTD_EXT) != TdAttributes(0);
    let none = Td15 { tee_tcb_svn2: Digest::new([0; 16]), mrservicetd: ZERO, extended: None };
    let td15 = body.td15.unwrap_or(none);
    let initial = td15.mrservicetd;
    let current = td15.extended.map(|extended| extended.current_services);
    let details = td15
        .extended
        .is_some_and(|extended| extended.initial != Digest::new([0; 100]) || extended.current_attributes != 0);
    let observed = match current {
        Some(current) if current != initial => format!("{initial}, now {current}"),
        _ => initial.to_string(),
    };
    match accepted {
        Services::Any => Finding::not_asked(SERVICES, observed, "the policy accepts any service guests"),
        Services::None => {
            let absent = !marked && !details && initial == ZERO && current.is_none_or(|current| current == ZERO);
            always(SERVICES, observed, "all zero, and SERVTD_EXT is 0", absent)
        }
        Services::OneOf(wanted) => {
            // With SERVTD_EXT, others may be bound now than at launch.
            let now = if marked { current } else { Some(initial) };
            let holds = [Some(initial), now].iter().flatten().all(|found| wanted.contains(found));
            if holds && now.is_none() {
                let reason = "this quote cannot say which are bound now: only the extended body of TDX 1.5 can";
                return Finding::missing(SERVICES, observed, one_of(wanted), reason);
            }
            Finding::of(SERVICES, holds, observed, one_of(wanted), "not what the policy requires")
        }
    }
}

fn devices(extended: Option<&Td15Extended>, permit: Permit) -> Finding {
    match (extended, permit) {
        (None, Permit::Refused) => {
            Finding::missing(DEVICES, "", "all zero", "this quote cannot say: only the extended body of TDX 1.5 can")
        }
        (body, Permit::Accepted) => {
            let found = body.map_or_else(String::new, |body| body.dev_info.to_string());
            Finding::not_asked(DEVICES, found, "the policy accepts devices")
        }
        (Some(body), Permit::Refused) => always(DEVICES, body.dev_info.to_string(), "all zero", body.dev_info == ZERO),
    }
}

fn vm(extended: Option<&Td15Extended>) -> Finding {
    match extended {
        None => Finding::not_asked(VM, "", "this quote cannot say: only the extended body of TDX 1.5 can"),
        Some(body) => always(VM, body.vmid.to_string(), "0", body.vmid == 0),
    }
}
