//! What is asked of a report. There are no defaults, and "any" is a value that a reviewer can see.

use crate::appraise::{Demand, Permit};
use crate::digest::Digest;
use crate::snp::LaunchDigest;
use crate::snp::product::{Product, TcbVersion};
use crate::snp::report::{AbiVersion, ChipId, FirmwareVersion, GuestPolicy};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that is asked of a report and of the key that signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirements {
    /// Which products are accepted, each with what is asked of it.
    pub products: Products,
    /// Whether a chain without the root's list of revoked certificates is accepted. A list that is there always counts.
    pub missing_crl: Permit,
    /// How long ago that list may be from, in seconds; until when it is in force it says itself.
    pub crl_max_age: Demand<u64>,
    /// Which kind of key may sign.
    pub signing_key: SigningKeys,
    /// Which chips.
    pub chips: Chips,
    /// Whether the firmware may be newer than what is committed, so that it can still be rolled back.
    pub provisional_firmware: Permit,
    /// Who the guest is and what it says.
    pub identity: Identity,
}

/// What is asked of one bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BitDemand {
    /// It is 1.
    Require,
    /// It is 0.
    Forbid,
    /// Either.
    Any,
}

/// For each product whether it is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Products {
    /// The keys of Milan chips can be extracted by software (arXiv 2605.12990).
    pub milan: Terms,
    /// Genoa, Bergamo and Siena.
    pub genoa: Terms,
    /// Turin.
    pub turin: Terms,
}

/// Whether a product is accepted, and on which terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terms {
    /// Its reports are refused.
    Refused,
    /// Its reports are accepted on these terms.
    Accepted(Box<ProductTerms>),
}

/// What is asked of reports of one product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProductTerms {
    /// The guest's launch policy as a whole.
    pub launch_policy: Demand<GuestPolicy>,
    /// The lowest firmware interface that the launch policy must ask for.
    pub abi_floor: AbiVersion,
    /// Bits of the launch policy.
    pub policy: PolicyBits,
    /// Bits of what the platform says of itself.
    pub platform: PlatformBits,
    /// The reported TCB is at least this in each component; it is what the signing key vouches for.
    pub reported_tcb_floor: TcbVersion,
    /// The TCB at launch is at least this in each component.
    pub launch_tcb_floor: TcbVersion,
    /// Current and committed firmware are at least this.
    pub firmware_floor: FirmwareVersion,
    /// These bits are among the mitigations in place at launch. Reports before version 5 cannot say.
    pub launch_mitigations: Demand<u64>,
    /// These bits are among the mitigations in place now. Reports before version 5 cannot say.
    pub current_mitigations: Demand<u64>,
}

/// Bits 16 and 18 to 25 of the launch policy; see [`GuestPolicy`] for their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyBits {
    /// Bit 16: simultaneous multithreading is allowed.
    pub smt: BitDemand,
    /// Bit 18: a migration agent is allowed.
    pub migrate_ma: BitDemand,
    /// Bit 19: debugging is allowed.
    pub debug: BitDemand,
    /// Bit 20: one socket only.
    pub single_socket: BitDemand,
    /// Bit 21: CXL is allowed.
    pub cxl: BitDemand,
    /// Bit 22: AES-256-XTS is demanded.
    pub aes_256_xts: BitDemand,
    /// Bit 23: RAPL must be disabled.
    pub rapl_disabled: BitDemand,
    /// Bit 24: ciphertext hiding is demanded.
    pub ciphertext_hiding: BitDemand,
    /// Bit 25: page swapping and moving must be disabled.
    pub page_swap_disabled: BitDemand,
}

/// Bits of PLATFORM_INFO; see [`crate::snp::report::PlatformInfo`] for their meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlatformBits {
    /// Bit 0: simultaneous multithreading is on.
    pub smt: BitDemand,
    /// Bit 1: transparent memory encryption is on.
    pub tsme: BitDemand,
    /// Bit 2: error correction.
    pub ecc: BitDemand,
    /// Bit 3: RAPL is disabled.
    pub rapl_disabled: BitDemand,
    /// Bit 4: ciphertext hiding is on.
    pub ciphertext_hiding: BitDemand,
    /// Bit 5: memory was checked for aliases. Reports of version 2 cannot say.
    pub alias_check_complete: BitDemand,
    /// Bit 6: writes of the IOMMU are safe, by the name that other verifiers have for it.
    pub iommu_write_safe: BitDemand,
    /// Bit 7: trusted input and output is on.
    pub tio: BitDemand,
    /// Bits without a known meaning.
    pub unknown: Permit,
}

/// Which kind of key may sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningKeys {
    /// Only the chip's own.
    VcekOnly,
    /// Also a cloud provider's.
    VcekOrVlek {
        /// The providers, as CSP_ID in the key's certificate names them.
        csp_ids: Demand<BTreeSet<String>>,
    },
}

/// Which chips.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chips {
    /// Whether the host may hide which chip it is. Nothing then says whose machine it is.
    pub masked: Permit,
    /// The chips that are accepted.
    pub allowed: Demand<BTreeSet<ChipId>>,
    /// The chips that are refused; none if it is empty.
    pub denied: BTreeSet<ChipId>,
}

/// Who the guest is and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The launch digests that are accepted, each with what it is the digest of, such as the release and the shape.
    pub measurements: Demand<BTreeMap<LaunchDigest, String>>,
    /// What the guest put into the report, all 64 bytes.
    pub report_data: Demand<Digest<64>>,
    /// What the host put into the report at launch.
    pub host_data: Demand<Digest<32>>,
    /// The privilege level that asked for the report, 0 to 3; the host's own requests are never accepted.
    pub vmpl: Demand<u32>,
    /// The ID block, which the host chose unless its key is pinned.
    pub id_block: IdBlock,
    /// Whether the guest may have a migration agent.
    pub migration_agent: Permit,
}

/// What is asked of what the ID block put into the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdBlock {
    /// Nothing: whoever launched the guest chose the key, so its statements are nobody's.
    Unpinned,
    /// It was signed by one of these keys and says this.
    Pinned {
        /// SHA-384 of the ID keys that are accepted.
        id_keys: BTreeSet<Digest<48>>,
        /// The keys that sign ID keys.
        author_key: AuthorKey,
        /// The family.
        family_id: Demand<Digest<16>>,
        /// The image.
        image_id: Demand<Digest<16>>,
        /// The lowest security version of the guest.
        guest_svn_floor: u32,
    },
}

/// Whether the ID key must itself be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthorKey {
    /// Whether and by whom does not matter.
    Unpinned,
    /// By one of the keys of which these are the SHA-384.
    Pinned(BTreeSet<Digest<48>>),
}

impl Products {
    /// What is asked of `product`.
    pub const fn terms(&self, product: Product) -> &Terms {
        match product {
            Product::Milan => &self.milan,
            Product::Genoa => &self.genoa,
            Product::Turin => &self.turin,
        }
    }
}
