use super::requirements::*;
use super::*;
use crate::digest::{Digest, Sha384};
use crate::snp::appraise::Permit;
use crate::tdx::quote::{Body, Td15, Td15Extended, TdAttributes};
use std::collections::BTreeSet;

const ZERO: Sha384 = Sha384::new([0; 48]);

fn register(seed: u8) -> Sha384 {
    Sha384::new([seed; 48])
}

fn this(seed: u8) -> Demand<BTreeSet<Sha384>> {
    Demand::Is(BTreeSet::from([register(seed)]))
}

/// A guest with an extended body in which every field is another.
fn body() -> Body {
    Body {
        tee_tcb_svn: Digest::new([1; 16]),
        mrseam: register(2),
        mrsignerseam: ZERO,
        seam_attributes: 0,
        attributes: TdAttributes::SEPT_VE_DISABLE.or(TdAttributes::PKS),
        xfam: 0x6_02e7,
        mrtd: register(3),
        mrconfigid: register(4),
        mrowner: register(5),
        mrownerconfig: register(6),
        rtmr: [7, 8, 9, 10].map(register),
        report_data: Digest::new([11; 64]),
        td15: Some(Td15 {
            tee_tcb_svn2: Digest::new([12; 16]),
            mrservicetd: ZERO,
            extended: Some(Td15Extended {
                vmid: 0,
                td_id: Digest::new([13; 32]),
                dev_info: ZERO,
                initial: Digest::new([0; 100]),
                current_services: ZERO,
                current_attributes: 0,
            }),
        }),
    }
}

/// What [`body`] satisfies, with nothing left open that the body can answer.
fn strict() -> Requirements {
    Requirements {
        tcb: Tcb {
            statuses: BTreeSet::from([TcbStatus::UpToDate]),
            advisories: Advisories::NoneBut(BTreeSet::new()),
            evaluation_floor: Demand::Is(17),
        },
        platforms: Platforms {
            families: Demand::Any,
            denied_families: BTreeSet::new(),
            machines: Demand::Any,
            denied_machines: BTreeSet::new(),
            smt: Permit::Accepted,
            dynamic: Permit::Accepted,
            cached_keys: Permit::Accepted,
        },
        modules: this(2),
        attributes: TdAttributes::PKS,
        services: Services::None,
        devices: Permit::Refused,
        identity: Identity {
            mrtd: this(3),
            rtmr: [this(7), this(8), this(9), this(10)],
            mrconfigid: this(4),
            mrowner: this(5),
            mrownerconfig: this(6),
            report_data: Demand::Is(Digest::new([11; 64])),
        },
    }
}

/// The rules that did not pass.
fn open(body: &Body, requirements: &Requirements) -> Vec<(&'static str, Outcome)> {
    let findings = guest::findings(body, requirements);
    assert!(findings.iter().map(|finding| finding.rule).eq(RULES[26..].iter().copied()));
    let open = findings.into_iter().filter(|finding| finding.outcome != Outcome::Passed);
    open.map(|finding| (finding.rule.id, finding.outcome)).collect()
}

#[test]
fn one_change_of_the_guest_breaks_one_rule() {
    assert_eq!(open(&body(), &strict()), []);
    fn set(body: &mut Body, bit: u32) {
        body.attributes = body.attributes.or(TdAttributes(1 << bit));
    }
    fn td15(body: &mut Body) -> &mut Td15 {
        body.td15.as_mut().expect("TDX 1.5")
    }
    fn extended(body: &mut Body) -> &mut Td15Extended {
        td15(body).extended.as_mut().expect("the extended body")
    }
    type Change = fn(&mut Body);
    let changes: [(&str, Change); 36] = [
        ("tdx.module.mrseam", |body| body.mrseam = register(0)),
        ("tdx.module.signer", |body| body.mrsignerseam = register(1)),
        ("tdx.module.attributes", |body| body.seam_attributes = 1 << 63),
        ("tdx.attributes.debug", |body| set(body, 0)),
        ("tdx.attributes.debug", |body| set(body, 4)),
        ("tdx.attributes.debug", |body| set(body, 7)),
        ("tdx.attributes.reserved", |body| set(body, 8)),
        ("tdx.attributes.reserved", |body| set(body, 15)),
        ("tdx.attributes.reserved", |body| set(body, 23)),
        ("tdx.attributes.reserved", |body| set(body, 26)),
        ("tdx.attributes.reserved", |body| set(body, 32)),
        ("tdx.attributes.reserved", |body| set(body, 61)),
        ("tdx.attributes.sept-ve-disable", |body| body.attributes = TdAttributes::PKS),
        ("tdx.attributes.migratable", |body| set(body, 29)),
        ("tdx.attributes.others", |body| set(body, 16)),
        ("tdx.attributes.others", |body| set(body, 18)),
        ("tdx.attributes.others", |body| set(body, 27)),
        ("tdx.attributes.others", |body| set(body, 62)),
        ("tdx.attributes.others", |body| set(body, 63)),
        ("tdx.xfam", |body| body.xfam = 0x6_02e5),
        ("tdx.xfam", |body| body.xfam |= 1 << 10),
        ("tdx.services", |body| set(body, 17)),
        ("tdx.services", |body| td15(body).mrservicetd = register(1)),
        ("tdx.services", |body| extended(body).initial = Digest::new([1; 100])),
        ("tdx.services", |body| extended(body).current_services = register(1)),
        ("tdx.services", |body| extended(body).current_attributes = 1),
        ("tdx.devices", |body| extended(body).dev_info = register(1)),
        ("tdx.vm", |body| extended(body).vmid = 1),
        ("tdx.mrtd", |body| body.mrtd = ZERO),
        ("tdx.rtmr0", |body| body.rtmr[0] = ZERO),
        ("tdx.rtmr1", |body| body.rtmr[1] = ZERO),
        ("tdx.rtmr2", |body| body.rtmr[2] = ZERO),
        ("tdx.rtmr3", |body| body.rtmr[3] = ZERO),
        ("tdx.mrconfigid", |body| body.mrconfigid = ZERO),
        ("tdx.mrowner", |body| body.mrowner = ZERO),
        ("tdx.report-data", |body| body.report_data = Digest::new([0; 64])),
    ];
    for (nth, (rule, change)) in changes.into_iter().enumerate() {
        let mut changed = body();
        change(&mut changed);
        assert_eq!(open(&changed, &strict()), [(rule, Outcome::Failed)], "change {nth}");
    }
}

#[test]
fn what_the_policy_leaves_open_is_not_needed_and_what_is_missing_is() {
    let not_needed = Outcome::NotPerformed { needed: false };
    let mut asked = strict();
    (asked.modules, asked.services, asked.devices) = (Demand::Any, Services::Any, Permit::Accepted);
    asked.identity.mrtd = Demand::Missing("the bundle has no release".into());
    let expected = [
        ("tdx.module.mrseam", not_needed),
        ("tdx.services", not_needed),
        ("tdx.devices", not_needed),
        ("tdx.mrtd", Outcome::NotPerformed { needed: true }),
    ];
    assert_eq!(open(&body(), &asked), expected);

    // A body of TDX 1.0 has no guests inside the guest. Whether it has devices it cannot say.
    let (old, needed) = (Body { td15: None, ..body() }, Outcome::NotPerformed { needed: true });
    assert_eq!(open(&old, &strict()), [("tdx.devices", needed), ("tdx.vm", not_needed)]);
    let accepting = Requirements { devices: Permit::Accepted, ..strict() };
    assert_eq!(open(&old, &accepting), [("tdx.devices", not_needed), ("tdx.vm", not_needed)]);
}

#[test]
fn service_guests_must_be_the_wanted_ones_at_launch_and_now() {
    let bound = |initial, current| {
        let mut body = body();
        body.attributes = body.attributes.or(TdAttributes::SERVTD_EXT);
        let td15 = body.td15.as_mut().expect("TDX 1.5");
        td15.mrservicetd = register(initial);
        td15.extended.as_mut().expect("the extended body").current_services = register(current);
        body
    };
    let asked = Requirements { services: Services::OneOf(BTreeSet::from([register(1)])), ..strict() };
    assert_eq!(open(&bound(1, 1), &asked), []);
    for body in [bound(1, 2), bound(2, 1), bound(0, 0), body(), Body { td15: None, ..body() }] {
        assert!(open(&body, &asked).contains(&("tdx.services", Outcome::Failed)), "{body:?}");
    }
    // They may be others now than at launch, and this body does not say.
    let mut silent = bound(1, 1);
    silent.td15.as_mut().expect("TDX 1.5").extended = None;
    assert!(open(&silent, &asked).contains(&("tdx.services", Outcome::NotPerformed { needed: true })));
}

#[test]
fn advisories_are_refused_by_name_or_unless_named() {
    let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>();
    let [one, two] = ["INTEL-SA-00001", "INTEL-SA-00002"];
    for (accepted, passes) in [
        (Advisories::AllBut(ids(&[])), true),
        (Advisories::AllBut(ids(&[one])), false),
        (Advisories::AllBut(ids(&["intel-sa-00002"])), false),
        (Advisories::NoneBut(ids(&[one])), false),
        (Advisories::NoneBut(ids(&[one, two])), true),
    ] {
        let finding = platform::advisories(&ids(&[one, two]), &accepted);
        assert_eq!(finding.outcome == Outcome::Passed, passes, "{accepted:?}: {finding:?}");
    }
    assert!(!platform::advisories(&ids(&[one]), &Advisories::Any).outcome.eq(&Outcome::Failed));
}

#[test]
fn statuses_have_intels_names() {
    for status in TcbStatus::ALL {
        assert_eq!(status.to_string().parse(), Ok(status));
    }
    assert!("Revoked".parse::<TcbStatus>().is_err() && "uptodate".parse::<TcbStatus>().is_err());
    let accepted = BTreeSet::from(TcbStatus::ALL);
    assert_eq!(platform::status("Revoked", &accepted).outcome, Outcome::Failed);
    assert_eq!(platform::status("UpToDate", &accepted).outcome, Outcome::Passed);
}

#[test]
fn what_is_not_a_quote_fails_one_rule_and_leaves_the_rest_undecided() {
    let header = |at: usize, byte: u8| {
        let mut bytes = vec![0; 5000];
        bytes[..8].copy_from_slice(&[5, 0, 2, 0, 0x81, 0, 0, 0]);
        bytes[12..28].copy_from_slice(super::super::quote::VENDOR.as_bytes());
        bytes[48] = 3;
        bytes[50..52].copy_from_slice(&648_u16.to_le_bytes());
        bytes[at] = byte;
        bytes
    };
    for (rule, bytes) in [
        ("tdx.quote.size", vec![]),
        ("tdx.quote.size", header(0, 5)[..47].to_vec()),
        ("tdx.quote.size", vec![5; crate::tdx::quote::MAX_QUOTE + 1]),
        ("tdx.quote.version", header(0, 3)),
        ("tdx.quote.key-type", header(2, 3)),
        ("tdx.quote.tee-type", header(4, 0)),
        ("tdx.quote.vendor", header(12, 0)),
        ("tdx.quote.body", header(48, 2)),
        ("tdx.quote.size", header(0, 5)),
    ] {
        let evidence = Evidence { quote: &bytes, collateral: None };
        let findings = appraise(&evidence, Root::Intel, &strict(), Time(0));
        assert!(findings.iter().map(|finding| finding.rule).eq(RULES.iter().copied()));
        let failed: Vec<_> = findings.iter().filter(|finding| finding.outcome == Outcome::Failed).collect();
        assert_eq!(failed.iter().map(|finding| finding.rule.id).collect::<Vec<_>>(), [rule]);
        let waits = findings.iter().filter(|finding| finding.outcome == Outcome::NotPerformed { needed: true });
        assert!(waits.clone().all(|finding| finding.reason.contains(rule)), "{rule}");
        assert!(waits.count() >= RULES.len() - 6, "{rule}");
    }
}
