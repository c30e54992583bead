mod form;
mod identity;
mod platform;
mod policy;
mod tcb;
mod world;

use super::requirements::*;
use super::*;
use crate::appraise::Outcome;
use crate::digest::Digest;
use crate::snp::LaunchDigest;
use crate::snp::chain::{LeafKind, Origin};
use crate::snp::product::TcbVersion;
use crate::snp::report::{AbiVersion, ChipId, FirmwareVersion, GuestPolicy, REPORT_BYTES, ReportError};
use std::collections::BTreeSet;
use world::*;

/// One change each to evidence that passes, and the one rule that it breaks, group by group.
const BROKEN: [&[(&str, Change)]; 5] = [form::BROKEN, policy::BROKEN, platform::BROKEN, tcb::BROKEN, identity::BROKEN];

#[test]
fn every_rule_passes_what_it_should() {
    let passed = |outcome: &Outcome| *outcome != Outcome::Passed;
    assert_eq!(ids(&World::strict().findings(), passed), ["snp.identity.csp-id"]);
    assert_eq!(ids(&World::vlek().findings(), passed), [""; 0]);
}

#[test]
fn weaker_demands_pass_stronger_evidence() {
    let passed = |change: Change, ids: &[&str]| {
        let mut world = World::strict();
        change(&mut world);
        ids.iter().for_each(|id| assert_eq!(world.finding(id).outcome, Outcome::Passed, "{id}"));
    };
    passed(
        |world| {
            world.requirements.provisional_firmware = Permit::Accepted;
            world.requirements.identity.migration_agent = Permit::Accepted;
            world.requirements.chips.masked = Permit::Accepted;
            world.terms().platform.unknown = Permit::Accepted;
            let csp_ids = Demand::Any;
            world.requirements.signing_key = SigningKeys::VcekOrVlek { csp_ids };
        },
        &[
            "snp.tcb.provisional",
            "snp.tcb.firmware-committed",
            "snp.identity.migration-agent",
            "snp.identity.chip-masked",
            "snp.platform.unknown-bits",
            "snp.report.signing-key-accepted",
        ],
    );
    let old: Change = |world| {
        world.put(0x00, &[3]);
        world.put(0x1f8, &[0; 16]);
    };
    passed(old, &["snp.report.reserved", "snp.platform.alias-check"]);
    passed(|world| *world = World::vlek(), &["snp.identity.csp-id"]);
    let masked_key: Change = |world| {
        *world = World::vlek();
        world.put(0x48, &[0b111]);
    };
    passed(masked_key, &["snp.report.chip-key"]);
}

#[test]
fn every_rule_alone_refuses_what_it_should() {
    let mut broken = BTreeSet::new();
    for (at, (id, change)) in BROKEN.iter().copied().flatten().enumerate() {
        let mut world = World::strict();
        change(&mut world);
        let findings = world.findings();
        assert_eq!(ids(&findings, |outcome| *outcome == Outcome::Failed), [*id], "case {at}");
        for finding in &findings {
            assert_eq!(finding.reason.is_empty(), finding.outcome == Outcome::Passed, "case {at}: {finding:?}");
            if let Some(other) =
                finding.reason.strip_prefix("undecided until ").and_then(|rest| rest.strip_suffix(" passes"))
            {
                let outcome = world.finding(other).outcome;
                assert!(!matches!(outcome, Outcome::Passed | Outcome::NotPerformed { needed: false }), "{finding:?}");
            }
        }
        broken.insert(*id);
    }
    let all = GROUPS.iter().copied().flatten().map(|check| check.rule.id).collect();
    assert_eq!(broken, all);
}

#[test]
fn what_is_not_performed_says_whether_it_is_needed() {
    let any: Change = |world| {
        let requirements = &mut world.requirements;
        requirements.chips.denied.clear();
        requirements.chips.allowed = Demand::Any;
        requirements.identity.id_block = IdBlock::Unpinned;
        requirements.identity.measurements = Demand::Any;
        requirements.identity.report_data = Demand::Any;
        requirements.identity.host_data = Demand::Any;
        requirements.identity.vmpl = Demand::Any;
        let terms = world.terms();
        terms.launch_policy = Demand::Any;
        terms.policy.smt = BitDemand::Any;
        terms.platform.alias_check_complete = BitDemand::Any;
        terms.launch_mitigations = Demand::Any;
        terms.current_mitigations = Demand::Any;
    };
    let cases: &[(bool, &[&str], Change)] = &[
        (
            false,
            &[
                "snp.policy.launch",
                "snp.policy.smt",
                "snp.platform.alias-check",
                "snp.tcb.launch-mitigations",
                "snp.tcb.current-mitigations",
                "snp.identity.measurement",
                "snp.identity.report-data",
                "snp.identity.host-data",
                "snp.identity.vmpl",
                "snp.identity.id-key",
                "snp.identity.author-key-enabled",
                "snp.identity.author-key",
                "snp.identity.family-id",
                "snp.identity.image-id",
                "snp.identity.guest-svn",
                "snp.identity.chip-allowed",
                "snp.identity.chip-denied",
            ],
            any,
        ),
        (false, &["snp.platform.unknown-bits"], |world| {
            world.terms().platform.unknown = Permit::Accepted;
            flip(world, 0x41, 1 << 0);
        }),
        (false, &["snp.tcb.provisional", "snp.tcb.firmware-committed"], |world| {
            world.requirements.provisional_firmware = Permit::Accepted;
            set_tcb(world, 0x38, TcbVersion { microcode: 81, ..TCB });
            world.put(0x1e8, &[41]);
        }),
        (false, &["snp.identity.migration-agent"], |world| {
            world.requirements.identity.migration_agent = Permit::Accepted;
            world.put(0x160, &[0; 32]);
        }),
        (false, &["snp.identity.chip-masked", "snp.identity.chip-allowed", "snp.identity.chip-denied"], |world| {
            world.put(0x1a0, &[0; 8]);
            world.requirements.chips =
                Chips { masked: Permit::Accepted, allowed: Demand::Any, denied: BTreeSet::new() };
        }),
        (false, &["snp.identity.author-key-enabled", "snp.identity.author-key"], |world| {
            let IdBlock::Pinned { author_key, .. } = &mut world.requirements.identity.id_block else { panic!() };
            *author_key = AuthorKey::Unpinned;
        }),
        (true, &["snp.identity.measurement"], |world| {
            world.requirements.identity.measurements = Demand::Missing("there is no release".into());
        }),
        (true, &["snp.identity.chip-allowed", "snp.identity.chip-denied"], |world| {
            world.put(0x1a0, &[0; 8]);
            world.requirements.chips.masked = Permit::Accepted;
        }),
        (true, &["snp.platform.alias-check", "snp.tcb.launch-mitigations", "snp.tcb.current-mitigations"], |world| {
            world.version_2();
            let (asked, terms) = (requirements(), world.terms());
            let Terms::Accepted(asked) = asked.products.turin else { panic!() };
            *terms = *asked;
        }),
        (true, &["snp.tcb.launch-mitigations", "snp.tcb.current-mitigations"], |world| {
            world.put(0x00, &[4]);
            world.put(0x1f8, &[0; 16]);
        }),
        (true, &["snp.platform.alias-check"], |world| {
            world.version_2();
            world.terms().platform.alias_check_complete = BitDemand::Forbid;
        }),
    ];
    for (at, (needed, expected, change)) in cases.iter().enumerate() {
        let mut world = World::strict();
        change(&mut world);
        let findings = world.findings();
        let not_performed = ids(&findings, |outcome| *outcome == Outcome::NotPerformed { needed: *needed });
        let not_performed: Vec<_> = not_performed.into_iter().filter(|id| *id != "snp.identity.csp-id").collect();
        assert_eq!(not_performed, *expected, "case {at}");
        assert_eq!(ids(&findings, |outcome| *outcome == Outcome::Failed), [""; 0], "case {at}");
    }
}

#[test]
fn without_a_known_product_nothing_that_depends_on_it_is_decided() {
    let mut world = World::strict();
    world.version_2();
    assert!(world.findings().iter().all(Finding::permits));
    assert_eq!(world.finding("snp.report.product").observed, "Turin, by the certificate alone");

    world.endorsement = None;
    let needed = ids(&world.findings(), |outcome| *outcome == Outcome::NotPerformed { needed: true });
    assert!(needed.iter().all(|id| !id.starts_with("snp.identity.")), "{needed:?}");
    for id in ["snp.report.product", "snp.report.product-accepted", "snp.policy.debug", "snp.tcb.reported-floor"] {
        assert!(needed.contains(&id), "{id}");
    }
    world = World::vlek();
    world.endorsement = None;
    let needed = ids(&world.findings(), |outcome| *outcome == Outcome::NotPerformed { needed: true });
    assert_eq!(needed, ["snp.identity.csp-id"]);
}

#[test]
fn findings_say_what_a_reader_has_to_know() {
    let cases: &[(&str, Change, [&str; 3])] = &[
        ("snp.policy.launch", |world| world.put(0x0a, &[0xba]), ["0x3ba0137", "0x3b20137", "bits 19 differ"]),
        (
            "snp.platform.unknown-bits",
            |world| {
                world.terms().platform.unknown = Permit::Accepted;
                flip(world, 0x41, 1 << 0);
            },
            ["0x100", "", "the meaning of bits 8 is unknown; the policy accepts it"],
        ),
        (
            "snp.report.product",
            |world| world.put(0x188, &[0x1a, 0x50]),
            [
                "another processor",
                "Milan, Genoa or Turin",
                "family 0x1a model 0x50 is Venice, which is not supported yet",
            ],
        ),
        (
            "snp.tcb.reported-floor",
            |world| set_tcb(world, 0x180, TcbVersion { snp: 3, microcode: 79, ..TCB }),
            [
                "fmc 1, boot-loader 2, tee 3, snp 3, microcode 79",
                "at least fmc 1, boot-loader 2, tee 3, snp 4, microcode 80",
                "too low: snp, microcode",
            ],
        ),
        ("snp.tcb.launch-mitigations", |world| world.put(0x1f8, &[0b1000]), ["0x8", "0x6", "bits 1, 2 are 0"]),
        (
            "snp.tcb.firmware-committed",
            |world| world.put(0x1ec, &[41]),
            ["1.57 build 40", "1.57 build 41, which is committed", "it is below what is committed"],
        ),
        (
            "snp.identity.vmpl",
            |world| world.put(0x30, &[0xff; 4]),
            ["0xffffffff", "0 to 3", "the host asked for the report"],
        ),
        (
            "snp.identity.chip-allowed",
            |world| world.requirements.identity.vmpl = Demand::Any,
            [&format!("{}", chip_id(CHIP)), &format!("{}", chip_id(CHIP)), ""],
        ),
    ];
    for (id, change, expected) in cases {
        let mut world = World::strict();
        change(&mut world);
        let finding = world.finding(id);
        assert_eq!([&*finding.observed, &finding.required, &finding.reason], *expected, "{id}");
    }
    assert!(World::strict().finding("snp.identity.measurement").observed.ends_with("3e (1.2.3, 4 vCPUs)"));
}

/// Certificates are nobody's here: what is asked is that every rule is answered, in order, whatever the bytes.
fn appraised<'a>(report: &'a [u8], requirements: &Requirements) -> Appraisal<'a> {
    let evidence = Evidence { report, chain: Chain { ark: None, ask: None, leaf: None, crl: None } };
    let appraisal = appraise(&evidence, &Roots::amd(), requirements, Time(0));
    assert!(appraisal.findings.iter().map(|finding| finding.rule).eq(rules()));
    appraisal
}

#[test]
fn every_length_is_answered_by_every_rule() {
    let World { mut report, requirements, .. } = World::strict();
    report.push(0);
    for length in 0..=report.len() {
        let appraisal = appraised(&report[..length], &requirements);
        assert_eq!(appraisal.facts.report.is_some(), length == REPORT_BYTES);
        if length != REPORT_BYTES {
            assert_eq!(ids(&appraisal.findings, |outcome| *outcome == Outcome::Failed), ["snp.report.length"]);
            let needed = ids(&appraisal.findings, |outcome| *outcome == Outcome::NotPerformed { needed: true });
            assert_eq!(needed.len() + 1, rules().count());
            assert_eq!(Report::parse(&report[..length]), Err(ReportError::Length { found: length }));
        }
    }
}

#[test]
fn arbitrary_bytes_are_answered_by_every_rule() {
    let World { report, requirements, .. } = World::strict();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for version in [2, 3, 4, 5, 6, 255] {
        for _ in 0..50 {
            let noise = std::iter::repeat_with(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            });
            let mut bytes: Vec<u8> = noise.take(REPORT_BYTES).collect();
            bytes[..4].copy_from_slice(&u32::to_le_bytes(version));
            // Half of them from a known processor, so that rules get past that.
            if bytes[4] & 1 == 0 {
                bytes[0x188..0x18a].copy_from_slice(&report[0x188..0x18a]);
            }
            assert!(!appraised(&bytes, &requirements).findings.iter().all(Finding::permits));
        }
    }
}

#[test]
fn ids_are_unique_and_well_formed() {
    let ids: Vec<_> = rules().map(|rule| rule.id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    for id in ids {
        assert!(
            id.starts_with("snp.") && id.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        );
    }
}

#[test]
fn the_documented_rules_are_these() {
    let text = include_str!("../../../../docs/formats.md");
    let (_, section) = text.split_once("\n## SEV-SNP reports").expect("the section");
    let section = section.split("\n## ").next().expect("a section");
    let documented = section.lines().filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0));
    let these = GROUPS.iter().copied().flatten().map(|check| check.rule.id);
    assert_eq!(documented.collect::<Vec<_>>(), these.collect::<Vec<_>>());
}
