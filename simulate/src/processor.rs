//! The processor: what a guest would get reports from.

use crate::certificate::Crl;
use crate::chain::{self, Leaf};
use crate::report::{self, Report};
use crate::{Product, Tcb};
use crate::{der, keys};

/// A simulated processor with one guest on it.
#[derive(Debug, Clone)]
pub struct Processor {
    /// What it pretends to be.
    pub product: Product,
    /// Which key signs.
    pub leaf: Leaf,
    /// 2 to 5: the version of the reports its firmware writes.
    pub report_version: u32,
    /// The chip; on Turin only the first 8 bytes count.
    pub chip_id: [u8; 64],
    /// Its firmware: current, committed, reported, and at the guest's launch.
    pub tcb: Tcb,
    /// Build, minor, major of its SNP firmware.
    pub firmware: [u8; 3],
    /// PLATFORM_INFO.
    pub platform_info: u64,
    /// The mitigations it has, from report version 5 on.
    pub mitigations: u64,
    /// The cloud provider that a VLEK is lent to.
    pub csp: &'static str,
    /// POLICY of the guest.
    pub policy: u64,
    /// Launch digest of the guest.
    pub measurement: [u8; 48],
    /// HOST_DATA of the guest.
    pub host_data: [u8; 32],
}

/// What a processor knows of its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    /// POLICY.
    pub policy: u64,
    /// Launch digest.
    pub measurement: [u8; 48],
    /// HOST_DATA.
    pub host_data: [u8; 32],
}

/// The certificates and the list that go with a report, DER.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificates {
    /// The root.
    pub ark: Vec<u8>,
    /// ASK or ASVK.
    pub intermediate: Vec<u8>,
    /// VCEK or VLEK.
    pub leaf: Vec<u8>,
    /// What the root has revoked.
    pub crl: Vec<u8>,
}

impl Processor {
    /// A processor with `guest` on it that policies/strict.toml has nothing against, but that it is simulated (and what
    /// the guest's own policy allows): firmware of 2026, no SMT, the checks done at boot.
    pub fn patched(product: Product, guest: Guest) -> Self {
        let (tcb, platform_info) = match product {
            Product::Turin => (Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 90 }, 0b0111_0100),
            _ => (Tcb { fmc: 0, bootloader: 12, tee: 0, snp: 28, microcode: 86 }, 0b0010_0100),
        };
        let Guest { policy, measurement, host_data } = guest;
        Self {
            product,
            leaf: Leaf::Vcek,
            report_version: 5,
            chip_id: [7; 64],
            tcb,
            firmware: [0, 58, 1],
            platform_info,
            mitigations: 0b01_0110,
            csp: "a provider",
            policy,
            measurement,
            host_data,
        }
    }

    /// A report for a guest at VMPL 0 that asked for one with this data, signed.
    pub fn report(&self, report_data: [u8; 64]) -> Vec<u8> {
        let mut bytes = self.unsigned(report_data).bytes();
        report::sign(&mut bytes, &self.leaf.key());
        bytes
    }

    /// The same report before it is laid out and signed.
    pub fn unsigned(&self, report_data: [u8; 64]) -> Report {
        let tcb = self.product.tcb(self.tcb);
        let mut chip_id = [0; 64];
        if self.leaf == Leaf::Vcek {
            chip_id[..self.product.hwid_size()].copy_from_slice(self.hwid());
        }
        Report {
            version: self.report_version,
            guest_svn: 0,
            policy: self.policy,
            family_id: [0; 16],
            image_id: [0; 16],
            vmpl: 0,
            signature_algo: 1,
            current_tcb: tcb,
            platform_info: self.platform_info,
            flags: match self.leaf {
                Leaf::Vcek => 0,
                // SIGNING_KEY 1. A provider that lends its key out also masks the chip.
                Leaf::Vlek => 1 << 2 | 1 << 1,
            },
            report_data,
            measurement: self.measurement,
            host_data: self.host_data,
            id_key_digest: [0; 48],
            author_key_digest: [0; 48],
            report_id: [0x5a; 32],
            // Without a migration agent this is all ones.
            report_id_ma: [0xff; 32],
            reported_tcb: tcb,
            cpuid: self.product.cpuid(),
            chip_id,
            committed_tcb: tcb,
            current_version: self.firmware,
            committed_version: self.firmware,
            launch_tcb: tcb,
            launch_mit_vector: self.mitigations,
            current_mit_vector: self.mitigations,
        }
    }

    /// What AMD's key service would send for this processor.
    pub fn certificates(&self) -> Certificates {
        let ark = keys::ark(self.product);
        let leaf = match self.leaf {
            Leaf::Vcek => chain::vcek(self.product, self.tcb, self.hwid()),
            Leaf::Vlek => chain::vlek(self.product, self.tcb, self.csp),
        };
        Certificates {
            ark: chain::ark(self.product).sign(&ark),
            intermediate: chain::intermediate(self.product, self.leaf).sign(&ark),
            leaf: leaf.sign(&self.leaf.issuer_key()),
            // In date as long as the leaf, for demonstrations on any day.
            crl: Crl { next_update: der::utc_time("330101000000Z"), ..chain::crl(self.product) }.sign(&ark),
        }
    }

    /// The chip's id as its certificate has it.
    pub fn hwid(&self) -> &[u8] {
        &self.chip_id[..self.product.hwid_size()]
    }
}
