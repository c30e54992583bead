//! Evidence that passes, and what tests do to it.

use super::*;

pub(super) const TCB: TcbVersion = TcbVersion { fmc: 1, boot_loader: 2, tee: 3, snp: 4, microcode: 80 };
pub(super) const ID_KEY: [u8; 48] = [0x1d; 48];
pub(super) const AUTHOR_KEY: [u8; 48] = [0xa0; 48];
pub(super) const CHIP: [u8; 8] = [0xc1; 8];

/// A report, who signed it, and what is asked.
pub(super) struct World {
    pub(super) report: Vec<u8>,
    pub(super) endorsement: Option<Endorsement>,
    pub(super) requirements: Requirements,
}

impl World {
    /// A report of version 5 from a Turin, and requirements that it meets and that leave nothing open but the provider,
    /// which a VCEK does not name.
    pub(super) fn strict() -> Self {
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
    pub(super) fn vlek() -> Self {
        let mut world = Self::strict();
        world.put(0x48, &[0b101]);
        let endorsement = world.endorsement.as_mut().expect("strict() has one");
        *endorsement =
            Endorsement { kind: LeafKind::Vlek, chip: None, csp: Some("cloud".into()), ..endorsement.clone() };
        let csp_ids = Demand::Is(BTreeSet::from(["cloud".to_owned()]));
        world.requirements.signing_key = SigningKeys::VcekOrVlek { csp_ids };
        world
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.report[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn terms(&mut self) -> &mut ProductTerms {
        match &mut self.requirements.products.turin {
            Terms::Accepted(terms) => terms,
            Terms::Refused => panic!("strict() accepts Turin"),
        }
    }

    /// Version 2 reports have neither CPUID nor mitigation vectors.
    pub(super) fn version_2(&mut self) {
        self.put(0x00, &[2]);
        self.put(0x188, &[0; 3]);
        self.put(0x1f8, &[0; 16]);
        self.terms().launch_mitigations = Demand::Any;
        self.terms().current_mitigations = Demand::Any;
        self.terms().platform.alias_check_complete = BitDemand::Any;
    }

    /// The findings of all rules but those about who signed.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let case = Case {
            bytes: &self.report,
            parsed: Report::parse(&self.report),
            endorsement: self.endorsement.as_ref(),
            requirements: &self.requirements,
        };
        GROUPS.iter().copied().flatten().map(|check| check.find(&case)).collect()
    }

    pub(super) fn finding(&self, id: &str) -> Finding {
        self.findings().into_iter().find(|finding| finding.rule.id == id).expect("a rule with this id")
    }
}

pub(super) fn requirements() -> Requirements {
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
            iommu_write_safe: Forbid,
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
        crl_max_age: Demand::Is(0),
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

pub(super) fn chip_id(head: [u8; 8]) -> ChipId {
    let mut bytes = [0; 64];
    bytes[..8].copy_from_slice(&head);
    ChipId(Digest::new(bytes))
}

/// Sets or clears a bit of the launch policy, as expected of the launch.
pub(super) fn expected_policy(world: &mut World, flip: u64) {
    let policy = 0x03b2_0137 ^ flip;
    world.put(0x08, &policy.to_le_bytes());
    world.terms().launch_policy = Demand::Is(GuestPolicy(policy));
}

pub(super) fn flip(world: &mut World, at: usize, mask: u8) {
    world.report[at] ^= mask;
}

pub(super) fn set_tcb(world: &mut World, at: usize, tcb: TcbVersion) {
    world.put(at, &tcb.to_report(Product::Turin));
}

pub(super) fn ids(findings: &[Finding], which: impl Fn(&Outcome) -> bool) -> Vec<&'static str> {
    findings.iter().filter(|finding| which(&finding.outcome)).map(|finding| finding.rule.id).collect()
}

pub(super) type Change = fn(&mut World);
