use super::requirements::*;
use super::*;
use crate::appraise::Outcome;
use crate::digest::Digest;
use crate::snp::LaunchDigest;
use crate::snp::chain::{LeafKind, Origin};
use crate::snp::product::TcbVersion;
use crate::snp::report::{AbiVersion, ChipId, FirmwareVersion, GuestPolicy, REPORT_BYTES, ReportError};
use std::collections::BTreeSet;

const TCB: TcbVersion = TcbVersion { fmc: 1, boot_loader: 2, tee: 3, snp: 4, microcode: 80 };
const ID_KEY: [u8; 48] = [0x1d; 48];
const AUTHOR_KEY: [u8; 48] = [0xa0; 48];
const CHIP: [u8; 8] = [0xc1; 8];

/// A report, who signed it, and what is asked.
struct World {
    report: Vec<u8>,
    endorsement: Option<Endorsement>,
    requirements: Requirements,
}

impl World {
    /// A report of version 5 from a Turin, and requirements that it meets and that leave nothing open but the provider,
    /// which a VCEK does not name.
    fn strict() -> Self {
        let mut world = Self {
            report: vec![0; REPORT_BYTES],
            endorsement: Some(Endorsement {
                origin: Origin::Simulated,
                product: Product::Turin,
                kind: LeafKind::Vcek,
                tcb: TCB,
                chip: Some(chip_id(CHIP)),
                csp: None,
            }),
            requirements: requirements(),
        };
        let tcb = TCB.to_report(Product::Turin);
        world.put(0x00, &[5]);
        world.put(0x04, &[9]);
        world.put(0x08, &0x03b2_0137_u64.to_le_bytes());
        world.put(0x10, &[0xfa; 16]);
        world.put(0x20, &[0x1a; 16]);
        world.put(0x34, &[1]);
        world.put(0x40, &[0x3d]);
        world.put(0x48, &[1]);
        world.put(0x50, &[0xda; 64]);
        world.put(0x90, &[0x3e; 48]);
        world.put(0xc0, &[0x40; 32]);
        world.put(0xe0, &ID_KEY);
        world.put(0x110, &AUTHOR_KEY);
        world.put(0x140, &[0x1d; 32]);
        world.put(0x160, &[0xff; 32]);
        world.put(0x188, &[0x1a, 0x02, 0x01]);
        world.put(0x1a0, &CHIP);
        world.put(0x1e8, &[40, 57, 1, 0, 40, 57, 1, 0]);
        for at in [0x38, 0x180, 0x1e0, 0x1f0] {
            world.put(at, &tcb);
        }
        world.put(0x1f8, &[0b0111]);
        world.put(0x200, &[0b1111]);
        world
    }

    /// The same, signed by a provider's key that the requirements name.
    fn vlek() -> Self {
        let mut world = Self::strict();
        world.put(0x48, &[0b101]);
        let endorsement = world.endorsement.as_mut().expect("strict() has one");
        *endorsement =
            Endorsement { kind: LeafKind::Vlek, chip: None, csp: Some("cloud".into()), ..endorsement.clone() };
        let csp_ids = Demand::Is(BTreeSet::from(["cloud".to_owned()]));
        world.requirements.signing_key = SigningKeys::VcekOrVlek { csp_ids };
        world
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.report[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn terms(&mut self) -> &mut ProductTerms {
        match &mut self.requirements.products.turin {
            Terms::Accepted(terms) => terms,
            Terms::Refused => panic!("strict() accepts Turin"),
        }
    }

    /// Version 2 reports have neither CPUID nor mitigation vectors.
    fn version_2(&mut self) {
        self.put(0x00, &[2]);
        self.put(0x188, &[0; 3]);
        self.put(0x1f8, &[0; 16]);
        self.terms().launch_mitigations = Demand::Any;
        self.terms().current_mitigations = Demand::Any;
        self.terms().platform.alias_check_complete = BitDemand::Any;
    }

    /// The findings of all rules but those about who signed.
    fn findings(&self) -> Vec<Finding> {
        let case = Case {
            bytes: &self.report,
            parsed: Report::parse(&self.report),
            endorsement: self.endorsement.as_ref(),
            requirements: &self.requirements,
        };
        GROUPS.iter().copied().flatten().map(|check| check.find(&case)).collect()
    }

    fn finding(&self, id: &str) -> Finding {
        self.findings().into_iter().find(|finding| finding.rule.id == id).expect("a rule with this id")
    }
}

fn requirements() -> Requirements {
    use BitDemand::{Forbid, Require};
    let terms = ProductTerms {
        launch_policy: Demand::Is(GuestPolicy(0x03b2_0137)),
        abi_floor: AbiVersion { major: 1, minor: 0x37 },
        policy: PolicyBits {
            smt: Forbid,
            migrate_ma: Forbid,
            debug: Forbid,
            single_socket: Require,
            cxl: Require,
            aes_256_xts: Forbid,
            rapl_disabled: Require,
            ciphertext_hiding: Require,
            page_swap_disabled: Require,
        },
        platform: PlatformBits {
            smt: Require,
            tsme: Forbid,
            ecc: Require,
            rapl_disabled: Require,
            ciphertext_hiding: Require,
            alias_check_complete: Require,
            tio: Forbid,
            unknown: Permit::Refused,
        },
        reported_tcb_floor: TCB,
        launch_tcb_floor: TCB,
        firmware_floor: FirmwareVersion { major: 1, minor: 57, build: 40 },
        launch_mitigations: Demand::Is(0b0110),
        current_mitigations: Demand::Is(0b1010),
    };
    Requirements {
        products: Products { milan: Terms::Refused, genoa: Terms::Refused, turin: Terms::Accepted(Box::new(terms)) },
        missing_crl: Permit::Refused,
        signing_key: SigningKeys::VcekOnly,
        chips: Chips {
            masked: Permit::Refused,
            allowed: Demand::Is(BTreeSet::from([chip_id(CHIP)])),
            denied: BTreeSet::from([chip_id([0xdd; 8])]),
        },
        provisional_firmware: Permit::Refused,
        identity: Identity {
            measurements: Demand::Is([(LaunchDigest(Digest::new([0x3e; 48])), "1.2.3, 4 vCPUs".to_owned())].into()),
            report_data: Demand::Is(Digest::new([0xda; 64])),
            host_data: Demand::Is(Digest::new([0x40; 32])),
            vmpl: Demand::Is(0),
            id_block: IdBlock::Pinned {
                id_keys: BTreeSet::from([Digest::new(ID_KEY)]),
                author_key: AuthorKey::Pinned(BTreeSet::from([Digest::new(AUTHOR_KEY)])),
                family_id: Demand::Is(Digest::new([0xfa; 16])),
                image_id: Demand::Is(Digest::new([0x1a; 16])),
                guest_svn_floor: 9,
            },
            migration_agent: Permit::Refused,
        },
    }
}

fn chip_id(head: [u8; 8]) -> ChipId {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&head);
    ChipId(Digest::new(bytes))
}

/// Sets or clears a bit of the launch policy, as expected of the launch.
fn expected_policy(world: &mut World, flip: u64) {
    let policy = 0x03b2_0137 ^ flip;
    world.put(0x08, &policy.to_le_bytes());
    world.terms().launch_policy = Demand::Is(GuestPolicy(policy));
}

fn flip(world: &mut World, at: usize, mask: u8) {
    world.report[at] ^= mask;
}

fn set_tcb(world: &mut World, at: usize, tcb: TcbVersion) {
    world.put(at, &tcb.to_report(Product::Turin));
}

fn ids(findings: &[Finding], which: impl Fn(&Outcome) -> bool) -> Vec<&'static str> {
    findings.iter().filter(|finding| which(&finding.outcome)).map(|finding| finding.rule.id).collect()
}

type Change = fn(&mut World);

/// One change each to evidence that passes, and the one rule that it breaks.
const BROKEN: &[(&str, Change)] = &[
    ("snp.report.length", |world| world.report.truncate(REPORT_BYTES - 1)),
    ("snp.report.length", |world| world.report.push(0)),
    ("snp.report.version", |world| world.put(0, &[1])),
    ("snp.report.version", |world| world.put(0, &[6])),
    ("snp.report.version", |world| world.put(0, &[5, 0, 0, 1])),
    ("snp.report.reserved", |world| world.put(0x48, &[0x21])),
    ("snp.report.reserved", |world| world.put(0x4b, &[1])),
    ("snp.report.reserved", |world| world.put(0x4f, &[1])),
    ("snp.report.reserved", |world| world.put(0x18b, &[1])),
    ("snp.report.reserved", |world| world.put(0x19f, &[1])),
    ("snp.report.reserved", |world| world.put(0x1eb, &[1])),
    ("snp.report.reserved", |world| world.put(0x1ef, &[1])),
    ("snp.report.reserved", |world| world.put(0x208, &[1])),
    ("snp.report.reserved", |world| world.put(0x29f, &[1])),
    ("snp.report.reserved", |world| {
        world.version_2();
        world.put(0x188, &[0x1a]);
    }),
    ("snp.report.reserved", |world| {
        world.version_2();
        world.put(0x1f8, &[1]);
    }),
    ("snp.report.signature-algorithm", |world| world.put(0x34, &[0])),
    ("snp.report.signature-algorithm", |world| world.put(0x37, &[1])),
    ("snp.report.product", |world| world.put(0x188, &[0x1a, 0x50])),
    ("snp.report.product", |world| world.put(0x188, &[0x17, 0x31])),
    ("snp.report.product-accepted", |world| world.requirements.products.turin = Terms::Refused),
    ("snp.report.product-accepted", |world| {
        world.put(0x188, &[0x19, 0x01]);
        for at in [0x38, 0x180, 0x1e0, 0x1f0] {
            world.put(at, &TCB.to_report(Product::Milan));
        }
    }),
    ("snp.report.signing-key", |world| world.put(0x48, &[0x1d])),
    ("snp.report.signing-key", |world| world.put(0x48, &[0x09])),
    ("snp.report.signing-key-accepted", |world| world.put(0x48, &[0x05])),
    ("snp.report.chip-key", |world| world.put(0x48, &[0x03])),
    ("snp.policy.launch", |world| world.terms().launch_policy = Demand::Is(GuestPolicy(0x03b2_0037))),
    ("snp.policy.abi", |world| world.terms().abi_floor = AbiVersion { major: 1, minor: 0x38 }),
    ("snp.policy.abi", |world| world.terms().abi_floor = AbiVersion { major: 2, minor: 0 }),
    ("snp.policy.smt", |world| expected_policy(world, GuestPolicy::SMT)),
    ("snp.policy.reserved-one", |world| expected_policy(world, GuestPolicy::RESERVED_ONE)),
    ("snp.policy.migrate-ma", |world| expected_policy(world, GuestPolicy::MIGRATE_MA)),
    ("snp.policy.debug", |world| expected_policy(world, GuestPolicy::DEBUG)),
    ("snp.policy.single-socket", |world| expected_policy(world, GuestPolicy::SINGLE_SOCKET)),
    ("snp.policy.cxl", |world| expected_policy(world, GuestPolicy::CXL)),
    ("snp.policy.aes-256-xts", |world| expected_policy(world, GuestPolicy::AES_256_XTS)),
    ("snp.policy.rapl-disabled", |world| expected_policy(world, GuestPolicy::RAPL_DISABLED)),
    ("snp.policy.ciphertext-hiding", |world| expected_policy(world, GuestPolicy::CIPHERTEXT_HIDING)),
    ("snp.policy.page-swap-disabled", |world| expected_policy(world, GuestPolicy::PAGE_SWAP_DISABLED)),
    ("snp.policy.unknown-bits", |world| expected_policy(world, 1 << 26)),
    ("snp.policy.unknown-bits", |world| expected_policy(world, 1 << 63)),
    ("snp.platform.smt", |world| flip(world, 0x40, 1 << 0)),
    ("snp.platform.tsme", |world| flip(world, 0x40, 1 << 1)),
    ("snp.platform.ecc", |world| flip(world, 0x40, 1 << 2)),
    ("snp.platform.rapl-disabled", |world| flip(world, 0x40, 1 << 3)),
    ("snp.platform.ciphertext-hiding", |world| flip(world, 0x40, 1 << 4)),
    ("snp.platform.alias-check", |world| flip(world, 0x40, 1 << 5)),
    ("snp.platform.unknown-bits", |world| flip(world, 0x40, 1 << 6)),
    ("snp.platform.tio", |world| flip(world, 0x40, 1 << 7)),
    ("snp.platform.unknown-bits", |world| flip(world, 0x47, 1 << 7)),
    ("snp.tcb.reserved", |world| world.put(0x38 + 4, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x180 + 6, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x1e0 + 5, &[1])),
    ("snp.tcb.reserved", |world| world.put(0x1f0 + 4, &[1])),
    ("snp.tcb.committed", |world| set_tcb(world, 0x1e0, TcbVersion { tee: 4, ..TCB })),
    ("snp.tcb.provisional", |world| set_tcb(world, 0x38, TcbVersion { tee: 4, ..TCB })),
    ("snp.tcb.reported", |world| set_tcb(world, 0x180, TcbVersion { fmc: 2, ..TCB })),
    ("snp.tcb.reported-floor", |world| set_tcb(world, 0x180, TcbVersion { fmc: 0, ..TCB })),
    ("snp.tcb.reported-floor", |world| {
        // More of one does not make up for less of another.
        for at in [0x38, 0x180, 0x1e0] {
            set_tcb(world, at, TcbVersion { boot_loader: 255, snp: 3, ..TCB });
        }
    }),
    ("snp.tcb.launch-floor", |world| set_tcb(world, 0x1f0, TcbVersion { microcode: 79, ..TCB })),
    ("snp.tcb.firmware-floor", |world| world.terms().firmware_floor.build = 41),
    ("snp.tcb.firmware-floor", |world| {
        // The host can still go back to what is committed.
        world.requirements.provisional_firmware = Permit::Accepted;
        world.put(0x1ec, &[39]);
    }),
    ("snp.tcb.firmware-committed", |world| world.put(0x1e8, &[41])),
    ("snp.tcb.firmware-committed", |world| world.put(0x1ec, &[41])),
    ("snp.tcb.firmware-committed", |world| {
        world.requirements.provisional_firmware = Permit::Accepted;
        world.put(0x1ec, &[41]);
    }),
    ("snp.tcb.launch-mitigations", |world| world.put(0x1f8, &[0b1101])),
    ("snp.tcb.current-mitigations", |world| world.put(0x200, &[0b0111])),
    ("snp.identity.measurement", |world| flip(world, 0xbf, 1)),
    ("snp.identity.report-data", |world| flip(world, 0x8f, 1)),
    ("snp.identity.host-data", |world| flip(world, 0xdf, 1)),
    ("snp.identity.vmpl", |world| world.put(0x30, &[1])),
    ("snp.identity.vmpl", |world| {
        world.requirements.identity.vmpl = Demand::Any;
        world.put(0x30, &[0xff; 4]);
    }),
    ("snp.identity.vmpl", |world| {
        world.requirements.identity.vmpl = Demand::Any;
        world.put(0x30, &[4]);
    }),
    ("snp.identity.id-key", |world| flip(world, 0x10f, 1)),
    ("snp.identity.author-key-enabled", |world| world.put(0x48, &[0])),
    ("snp.identity.author-key", |world| flip(world, 0x13f, 1)),
    ("snp.identity.family-id", |world| flip(world, 0x1f, 1)),
    ("snp.identity.image-id", |world| flip(world, 0x2f, 1)),
    ("snp.identity.guest-svn", |world| world.put(0x04, &[8])),
    ("snp.identity.migration-agent", |world| flip(world, 0x17f, 1)),
    ("snp.identity.chip-masked", |world| world.put(0x1a0, &[0; 8])),
    ("snp.identity.chip-allowed", |world| world.put(0x1a0, &[1])),
    ("snp.identity.chip-denied", |world| world.requirements.chips.denied = BTreeSet::from([chip_id(CHIP)])),
    ("snp.identity.csp-id", |world| {
        *world = World::vlek();
        let csp_ids = Demand::Is(BTreeSet::from(["Cloud".to_owned()]));
        world.requirements.signing_key = SigningKeys::VcekOrVlek { csp_ids };
    }),
];

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
    for (at, (id, change)) in BROKEN.iter().enumerate() {
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
            flip(world, 0x40, 1 << 6);
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
                flip(world, 0x40, 1 << 6);
            },
            ["0x40", "", "the meaning of bits 6 is unknown; the policy accepts it"],
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
