//! The words of a report that are made of bits and small numbers.

use core::fmt;

/// POLICY: what the guest's launch demanded of the platform (AMD 56860, "Guest Policy Structure").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuestPolicy(pub u64);

/// PLATFORM_INFO: what the platform says of itself (AMD 56860, ATTESTATION_REPORT).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlatformInfo(pub u64);

/// The flags at offset 48h about keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyInfo(pub u32);

/// SIGNING_KEY: which key signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SigningKey {
    /// The chip's own.
    Vcek,
    /// One that AMD gave to a cloud provider; it does not name the chip.
    Vlek,
    /// The report is not signed.
    None,
    /// A value without meaning, 2 to 6.
    Reserved(u8),
}

/// The version of the firmware's interface that a guest policy asks for; major decides before minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AbiVersion {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
}

/// The version of the SEV-SNP firmware; major decides before minor before build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirmwareVersion {
    /// Major version.
    pub major: u8,
    /// Minor version.
    pub minor: u8,
    /// Build number.
    pub build: u8,
}

impl GuestPolicy {
    /// The guest may run with simultaneous multithreading on.
    pub const SMT: u64 = 1 << 16;
    /// Must be 1.
    pub const RESERVED_ONE: u64 = 1 << 17;
    /// The guest may have a migration agent.
    pub const MIGRATE_MA: u64 = 1 << 18;
    /// The host may read and write the guest's memory.
    pub const DEBUG: u64 = 1 << 19;
    /// The guest runs on one socket only.
    pub const SINGLE_SOCKET: u64 = 1 << 20;
    /// CXL devices may be present.
    pub const CXL: u64 = 1 << 21;
    /// Memory must be encrypted with AES-256-XTS.
    pub const AES_256_XTS: u64 = 1 << 22;
    /// Running average power limit must be disabled.
    pub const RAPL_DISABLED: u64 = 1 << 23;
    /// Ciphertext of DRAM must be hidden from the host.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 24;
    /// The host's commands that move or swap pages must be disabled.
    pub const PAGE_SWAP_DISABLED: u64 = 1 << 25;
    /// Bits that have a meaning.
    pub const KNOWN: u64 = (1 << 26) - 1;

    /// The lowest interface version that the guest accepts (bits 15:0).
    pub const fn abi(self) -> AbiVersion {
        let [minor, major, ..] = self.0.to_le_bytes();
        AbiVersion { major, minor }
    }
}

impl PlatformInfo {
    /// Simultaneous multithreading is on.
    pub const SMT: u64 = 1 << 0;
    /// Transparent memory encryption is on.
    pub const TSME: u64 = 1 << 1;
    /// Memory has error correction.
    pub const ECC: u64 = 1 << 2;
    /// Running average power limit is disabled.
    pub const RAPL_DISABLED: u64 = 1 << 3;
    /// Ciphertext of DRAM is hidden from the host.
    pub const CIPHERTEXT_HIDING: u64 = 1 << 4;
    /// Since the last reset the firmware looked for aliased memory and found none.
    pub const ALIAS_CHECK_COMPLETE: u64 = 1 << 5;
    /// The IOMMU's writes cannot get behind the protection of memory (AMD-SB-3016). The bit is reserved in revision 1.58 and
    /// set by real Turin processors; other verifiers call it IOMMU_WRITE_SAFE, and that is all we know of it.
    pub const IOMMU_WRITE_SAFE: u64 = 1 << 6;
    /// Trusted input and output is on.
    pub const TIO: u64 = 1 << 7;
    /// Bits that have a meaning.
    pub const KNOWN: u64 = 0xff;
}

impl KeyInfo {
    /// Whether AUTHOR_KEY_DIGEST is that of a key.
    pub const fn author_key_enabled(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether the host keeps the firmware from using the chip's own key.
    pub const fn chip_key_masked(self) -> bool {
        self.0 & 2 != 0
    }

    /// Which key signed.
    pub const fn signing_key(self) -> SigningKey {
        match (self.0 >> 2 & 7) as u8 {
            0 => SigningKey::Vcek,
            1 => SigningKey::Vlek,
            7 => SigningKey::None,
            reserved => SigningKey::Reserved(reserved),
        }
    }

    /// Bits without a meaning.
    pub const fn reserved(self) -> u32 {
        self.0 & !0x1f
    }
}

impl FirmwareVersion {
    /// The version in the three bytes of a report.
    pub const fn of_report([build, minor, major]: [u8; 3]) -> Self {
        Self { major, minor, build }
    }
}

impl fmt::Display for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vcek => f.write_str("VCEK"),
            Self::Vlek => f.write_str("VLEK"),
            Self::None => f.write_str("none"),
            Self::Reserved(value) => write!(f, "reserved value {value}"),
        }
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for FirmwareVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} build {}", self.major, self.minor, self.build)
    }
}

/// Words of bits are shown in hexadecimal.
macro_rules! shown_as_hex {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
shown_as_hex!(GuestPolicy, PlatformInfo, KeyInfo);
