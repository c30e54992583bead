//! An attestation report, as the secure processor wrote it (AMD 56860 "SEV Secure Nested Paging Firmware ABI
//! Specification", ATTESTATION_REPORT): a view of the bytes received. Nothing is decoded ahead of time and nothing is
//! ever written back, so what rules read is what the signature covers.

mod fields;

pub use fields::{AbiVersion, FirmwareVersion, GuestPolicy, KeyInfo, PlatformInfo, SigningKey};

use super::LaunchDigest;
use super::product::{Product, ProductError};
use crate::digest::{Digest, digest_newtype};

/// Bytes in a report, signature included.
pub const REPORT_BYTES: usize = 0x4a0;
/// Bytes of a report that are signed: all before the signature.
pub const SIGNED_BYTES: usize = 0x2a0;

digest_newtype! {
    /// CHIP_ID: which chip signed, all zero if the host masks it. Before Turin 64 bytes, there 8 and then zeros.
    ChipId(Digest<64>)
}

/// A report of a known version and of the right length; everything else about it is unexamined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report<'a> {
    bytes: &'a [u8; REPORT_BYTES],
    version: ReportVersion,
}

/// The version of the report's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReportVersion {
    /// Does not say which processor it is from.
    V2 = 2,
    /// Adds CPUID and the alias check.
    V3 = 3,
    /// Laid out as version 3.
    V4 = 4,
    /// Adds mitigation vectors.
    V5 = 5,
}

/// Why bytes are not a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Too short or too long.
    #[error("expected {REPORT_BYTES} bytes, found {found}")]
    Length {
        /// How many there are.
        found: usize,
    },
    /// A format that nothing here knows.
    #[error("expected report version 2 to 5, found {found}")]
    Version {
        /// The version in the report.
        found: u32,
    },
}

impl ReportVersion {
    /// The number in the report.
    pub const fn number(self) -> u32 {
        self as u32
    }

    const fn of_number(number: u32) -> Option<Self> {
        match number {
            2 => Some(Self::V2),
            3 => Some(Self::V3),
            4 => Some(Self::V4),
            5 => Some(Self::V5),
            _ => None,
        }
    }
}

impl<'a> Report<'a> {
    /// The report in these bytes, which are all of it and nothing else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReportError> {
        let found = bytes.len();
        let bytes: &[u8; REPORT_BYTES] = bytes.try_into().map_err(|_| ReportError::Length { found })?;
        let [a, b, c, d, ..] = *bytes;
        let found = u32::from_le_bytes([a, b, c, d]);
        let version = ReportVersion::of_number(found).ok_or(ReportError::Version { found })?;
        Ok(Self { bytes, version })
    }

    /// The field of `N` bytes at offset `AT`.
    fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= REPORT_BYTES) };
        let field = self.bytes.get(AT..).and_then(|tail| tail.first_chunk());
        *field.expect("inside the report, as checked when this was compiled")
    }

    fn u64<const AT: usize>(&self) -> u64 {
        u64::from_le_bytes(self.field::<AT, 8>())
    }

    /// All bytes.
    pub const fn bytes(&self) -> &'a [u8; REPORT_BYTES] {
        self.bytes
    }

    /// The bytes that the signature is over.
    pub fn signed(&self) -> &'a [u8; SIGNED_BYTES] {
        self.bytes.first_chunk().expect("the signed part is smaller than the report")
    }

    /// SIGNATURE (offset 2A0h): R and S, 72 bytes each, little-endian, and 368 bytes that nothing covers.
    pub fn signature(&self) -> &'a [u8; REPORT_BYTES - SIGNED_BYTES] {
        self.bytes.last_chunk().expect("the signature is smaller than the report")
    }

    /// VERSION (offset 00h).
    pub const fn version(&self) -> ReportVersion {
        self.version
    }

    /// GUEST_SVN (04h), from the ID block.
    pub fn guest_svn(&self) -> u32 {
        u32::from_le_bytes(self.field::<0x04, 4>())
    }

    /// POLICY (08h), as given at launch.
    pub fn policy(&self) -> GuestPolicy {
        GuestPolicy(self.u64::<0x08>())
    }

    /// FAMILY_ID (10h), from the ID block.
    pub fn family_id(&self) -> Digest<16> {
        Digest::new(self.field::<0x10, 16>())
    }

    /// IMAGE_ID (20h), from the ID block.
    pub fn image_id(&self) -> Digest<16> {
        Digest::new(self.field::<0x20, 16>())
    }

    /// VMPL (30h) of the guest that asked; 0xffffffff if the host asked.
    pub fn vmpl(&self) -> u32 {
        u32::from_le_bytes(self.field::<0x30, 4>())
    }

    /// SIGNATURE_ALGO (34h); 1 is ECDSA P-384 with SHA-384.
    pub fn signature_algorithm(&self) -> u32 {
        u32::from_le_bytes(self.field::<0x34, 4>())
    }

    /// CURRENT_TCB (38h), to be read with the product's layout.
    pub fn current_tcb(&self) -> [u8; 8] {
        self.field::<0x38, 8>()
    }

    /// PLATFORM_INFO (40h).
    pub fn platform_info(&self) -> PlatformInfo {
        PlatformInfo(self.u64::<0x40>())
    }

    /// The flags at 48h: author key, masked chip key, signing key.
    pub fn key_info(&self) -> KeyInfo {
        KeyInfo(u32::from_le_bytes(self.field::<0x48, 4>()))
    }

    /// REPORT_DATA (50h), from the guest.
    pub fn report_data(&self) -> Digest<64> {
        Digest::new(self.field::<0x50, 64>())
    }

    /// MEASUREMENT (90h).
    pub fn measurement(&self) -> LaunchDigest {
        LaunchDigest(Digest::new(self.field::<0x90, 48>()))
    }

    /// HOST_DATA (c0h), from the host at launch.
    pub fn host_data(&self) -> Digest<32> {
        Digest::new(self.field::<0xc0, 32>())
    }

    /// ID_KEY_DIGEST (e0h): SHA-384 of the public key that signed the ID block.
    pub fn id_key_digest(&self) -> Digest<48> {
        Digest::new(self.field::<0xe0, 48>())
    }

    /// AUTHOR_KEY_DIGEST (110h): SHA-384 of the public key that signed the ID key.
    pub fn author_key_digest(&self) -> Digest<48> {
        Digest::new(self.field::<0x110, 48>())
    }

    /// REPORT_ID (140h) of this guest.
    pub fn report_id(&self) -> Digest<32> {
        Digest::new(self.field::<0x140, 32>())
    }

    /// REPORT_ID_MA (160h) of the guest's migration agent.
    pub fn report_id_ma(&self) -> Digest<32> {
        Digest::new(self.field::<0x160, 32>())
    }

    /// REPORTED_TCB (180h), which the signing key is derived from.
    pub fn reported_tcb(&self) -> [u8; 8] {
        self.field::<0x180, 8>()
    }

    /// The product by CPUID_FAM_ID and CPUID_MOD_ID (188h, 189h); `None` in version 2, which does not say.
    pub fn product(&self) -> Option<Result<Product, ProductError>> {
        let [family, model] = self.field::<0x188, 2>();
        (self.version >= ReportVersion::V3).then_some(Product::of_cpuid(family, model))
    }

    /// CHIP_ID (1a0h).
    pub fn chip_id(&self) -> ChipId {
        ChipId(Digest::new(self.field::<0x1a0, 64>()))
    }

    /// Whether the host hides which chip this is.
    pub fn chip_id_masked(&self) -> bool {
        self.field::<0x1a0, 64>() == [0; 64]
    }

    /// COMMITTED_TCB (1e0h), below which the firmware cannot be rolled back.
    pub fn committed_tcb(&self) -> [u8; 8] {
        self.field::<0x1e0, 8>()
    }

    /// CURRENT_BUILD, CURRENT_MINOR, CURRENT_MAJOR (1e8h) of the SEV-SNP firmware.
    pub fn current_firmware(&self) -> FirmwareVersion {
        FirmwareVersion::of_report(self.field::<0x1e8, 3>())
    }

    /// COMMITTED_BUILD, COMMITTED_MINOR, COMMITTED_MAJOR (1ech).
    pub fn committed_firmware(&self) -> FirmwareVersion {
        FirmwareVersion::of_report(self.field::<0x1ec, 3>())
    }

    /// LAUNCH_TCB (1f0h): the current TCB when the guest was launched or imported.
    pub fn launch_tcb(&self) -> [u8; 8] {
        self.field::<0x1f0, 8>()
    }

    /// LAUNCH_MIT_VECTOR (1f8h), a bit for each mitigation in place at launch; `None` before version 5.
    pub fn launch_mitigations(&self) -> Option<u64> {
        (self.version >= ReportVersion::V5).then(|| self.u64::<0x1f8>())
    }

    /// CURRENT_MIT_VECTOR (200h), likewise now; `None` before version 5.
    pub fn current_mitigations(&self) -> Option<u64> {
        (self.version >= ReportVersion::V5).then(|| self.u64::<0x200>())
    }

    /// Offsets of signed bytes that this version reserves and that are not zero. The words of bits (policy, platform,
    /// TCB versions) have rules of their own; of the key flags the reserved bits count.
    pub fn reserved_in_use(&self) -> Vec<usize> {
        let cpuid = if self.version >= ReportVersion::V3 { 0x18b } else { 0x188 };
        let tail = if self.version >= ReportVersion::V5 { 0x208 } else { 0x1f8 };
        let ranges = [0x49..0x50, cpuid..0x1a0, 0x1eb..0x1ec, 0x1ef..0x1f0, tail..SIGNED_BYTES];
        let flags = (self.key_info().reserved() != 0).then_some(0x48);
        let bytes = ranges.into_iter().flatten().filter(|at| self.bytes.get(*at).is_some_and(|byte| *byte != 0));
        flags.into_iter().chain(bytes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ops::Range;

    /// Every byte, and what reads it, typed in once more. CPUID_STEP (18ah) decides nothing.
    const LAYOUT: &[(Range<usize>, &str)] = &[
        (0x004..0x008, "guest_svn"),
        (0x008..0x010, "policy"),
        (0x010..0x020, "family_id"),
        (0x020..0x030, "image_id"),
        (0x030..0x034, "vmpl"),
        (0x034..0x038, "signature_algorithm"),
        (0x038..0x040, "current_tcb"),
        (0x040..0x048, "platform_info"),
        (0x048..0x04c, "key_info"),
        (0x04c..0x050, "reserved_in_use"),
        (0x050..0x090, "report_data"),
        (0x090..0x0c0, "measurement"),
        (0x0c0..0x0e0, "host_data"),
        (0x0e0..0x110, "id_key_digest"),
        (0x110..0x140, "author_key_digest"),
        (0x140..0x160, "report_id"),
        (0x160..0x180, "report_id_ma"),
        (0x180..0x188, "reported_tcb"),
        (0x188..0x18a, "product"),
        (0x18a..0x18b, ""),
        (0x18b..0x1a0, "reserved_in_use"),
        (0x1a0..0x1e0, "chip_id"),
        (0x1e0..0x1e8, "committed_tcb"),
        (0x1e8..0x1eb, "current_firmware"),
        (0x1eb..0x1ec, "reserved_in_use"),
        (0x1ec..0x1ef, "committed_firmware"),
        (0x1ef..0x1f0, "reserved_in_use"),
        (0x1f0..0x1f8, "launch_tcb"),
        (0x1f8..0x200, "launch_mitigations"),
        (0x200..0x208, "current_mitigations"),
        (0x208..0x2a0, "reserved_in_use"),
        (0x2a0..0x4a0, "signature"),
    ];

    fn fields(report: &Report<'_>) -> Vec<(&'static str, String)> {
        vec![
            ("guest_svn", report.guest_svn().to_string()),
            ("policy", report.policy().to_string()),
            ("family_id", report.family_id().to_string()),
            ("image_id", report.image_id().to_string()),
            ("vmpl", report.vmpl().to_string()),
            ("signature_algorithm", report.signature_algorithm().to_string()),
            ("current_tcb", format!("{:?}", report.current_tcb())),
            ("platform_info", report.platform_info().to_string()),
            ("key_info", report.key_info().to_string()),
            ("report_data", report.report_data().to_string()),
            ("measurement", report.measurement().to_string()),
            ("host_data", report.host_data().to_string()),
            ("id_key_digest", report.id_key_digest().to_string()),
            ("author_key_digest", report.author_key_digest().to_string()),
            ("report_id", report.report_id().to_string()),
            ("report_id_ma", report.report_id_ma().to_string()),
            ("reported_tcb", format!("{:?}", report.reported_tcb())),
            ("product", format!("{:?}", report.product())),
            ("chip_id", report.chip_id().to_string()),
            ("committed_tcb", format!("{:?}", report.committed_tcb())),
            ("current_firmware", report.current_firmware().to_string()),
            ("committed_firmware", report.committed_firmware().to_string()),
            ("launch_tcb", format!("{:?}", report.launch_tcb())),
            ("launch_mitigations", format!("{:?}", report.launch_mitigations())),
            ("current_mitigations", format!("{:?}", report.current_mitigations())),
            ("reserved_in_use", format!("{:?}", report.reserved_in_use())),
            ("signature", format!("{:?}", report.signature())),
        ]
    }

    /// Which fields change when a byte does; the key flags' reserved bits belong to two.
    fn read_by(version: u8, at: usize) -> Vec<&'static str> {
        let mut bytes = [0; REPORT_BYTES];
        bytes[0] = version;
        let before = fields(&Report::parse(&bytes).expect("a known version"));
        bytes[at] = 1;
        let after = fields(&Report::parse(&bytes).expect("the version did not change"));
        before.into_iter().zip(after).filter(|(before, after)| before != after).map(|(before, _)| before.0).collect()
    }

    #[test]
    fn every_byte_is_read_by_one_field() {
        let mut next = 4;
        for (range, name) in LAYOUT {
            assert_eq!(range.start, next, "{name}");
            next = range.end;
            for at in range.clone() {
                let read: Vec<_> =
                    read_by(5, at).into_iter().filter(|field| *name != "key_info" || field == name).collect();
                assert_eq!(read.concat(), *name, "at {at:#x}");
            }
        }
        assert_eq!(next, REPORT_BYTES);
    }

    #[test]
    fn older_versions_reserve_what_newer_ones_use() {
        for (version, at, name) in [
            (2, 0x188, "reserved_in_use"),
            (2, 0x18a, "reserved_in_use"),
            (3, 0x188, "product"),
            (3, 0x1f8, "reserved_in_use"),
            (4, 0x189, "product"),
            (4, 0x207, "reserved_in_use"),
        ] {
            assert_eq!(read_by(version, at), [name], "version {version} at {at:#x}");
        }
    }

    #[test]
    fn signed_part_and_signature_are_the_whole() {
        let mut bytes: [u8; REPORT_BYTES] = core::array::from_fn(|at| at as u8);
        bytes[..4].copy_from_slice(&[3, 0, 0, 0]);
        let report = Report::parse(&bytes).expect("version 3");
        assert_eq!([report.signed().as_slice(), report.signature()].concat(), bytes);
        assert_eq!(report.current_firmware(), FirmwareVersion { major: 0xea, minor: 0xe9, build: 0xe8 });
        assert_eq!(report.policy().0, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(report.policy().abi(), AbiVersion { major: 9, minor: 8 });
    }

    #[test]
    fn key_flags() {
        for (flags, author, masked, key, reserved) in [
            (0b0_0001, true, false, SigningKey::Vcek, 0),
            (0b0_0110, false, true, SigningKey::Vlek, 0),
            (0b1_1100, false, false, SigningKey::None, 0),
            (0b1_1000, false, false, SigningKey::Reserved(6), 0),
            (0x8000_0020, false, false, SigningKey::Vcek, 0x8000_0020),
        ] {
            let info = KeyInfo(flags);
            let found = (info.author_key_enabled(), info.chip_key_masked(), info.signing_key(), info.reserved());
            assert_eq!(found, (author, masked, key, reserved), "{info}");
        }
    }
}
