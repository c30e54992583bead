//! Attestation reports written byte by byte (AMD 56860 "SEV Secure Nested Paging Firmware ABI Specification", table
//! "ATTESTATION_REPORT structure"). The offsets are typed in from the specification once more, on purpose.

use crate::keys::EcKey;

/// Bytes of a report.
pub const SIZE: usize = 0x4a0;

/// Bytes that are signed; the signature follows.
pub const SIGNED: usize = 0x2a0;

/// What a report says, in the order of the structure. TCB versions are as laid out by
/// [`Product::tcb`](crate::Product::tcb).
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub struct Report {
    pub version: u32,
    pub guest_svn: u32,
    pub policy: u64,
    pub family_id: [u8; 16],
    pub image_id: [u8; 16],
    pub vmpl: u32,
    pub signature_algo: u32,
    pub current_tcb: [u8; 8],
    pub platform_info: u64,
    /// AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY.
    pub flags: u32,
    pub report_data: [u8; 64],
    pub measurement: [u8; 48],
    pub host_data: [u8; 32],
    pub id_key_digest: [u8; 48],
    pub author_key_digest: [u8; 48],
    pub report_id: [u8; 32],
    pub report_id_ma: [u8; 32],
    pub reported_tcb: [u8; 8],
    /// Family, model, stepping; from version 3 on.
    pub cpuid: [u8; 3],
    pub chip_id: [u8; 64],
    pub committed_tcb: [u8; 8],
    /// Build, minor, major.
    pub current_version: [u8; 3],
    /// Build, minor, major.
    pub committed_version: [u8; 3],
    pub launch_tcb: [u8; 8],
    /// From version 5 on.
    pub launch_mit_vector: u64,
    /// From version 5 on.
    pub current_mit_vector: u64,
}

impl Report {
    /// The structure, not signed. Fields that this version does not have are left zero.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = vec![0; SIZE];
        let mut put = |offset: usize, bytes: &[u8]| out[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(0x000, &self.version.to_le_bytes());
        put(0x004, &self.guest_svn.to_le_bytes());
        put(0x008, &self.policy.to_le_bytes());
        put(0x010, &self.family_id);
        put(0x020, &self.image_id);
        put(0x030, &self.vmpl.to_le_bytes());
        put(0x034, &self.signature_algo.to_le_bytes());
        put(0x038, &self.current_tcb);
        put(0x040, &self.platform_info.to_le_bytes());
        put(0x048, &self.flags.to_le_bytes());
        put(0x050, &self.report_data);
        put(0x090, &self.measurement);
        put(0x0c0, &self.host_data);
        put(0x0e0, &self.id_key_digest);
        put(0x110, &self.author_key_digest);
        put(0x140, &self.report_id);
        put(0x160, &self.report_id_ma);
        put(0x180, &self.reported_tcb);
        if self.version >= 3 {
            put(0x188, &self.cpuid);
        }
        put(0x1a0, &self.chip_id);
        put(0x1e0, &self.committed_tcb);
        put(0x1e8, &self.current_version);
        put(0x1ec, &self.committed_version);
        put(0x1f0, &self.launch_tcb);
        if self.version >= 5 {
            put(0x1f8, &self.launch_mit_vector.to_le_bytes());
            put(0x200, &self.current_mit_vector.to_le_bytes());
        }
        out
    }
}

/// Signs the first [`SIGNED`] bytes of `report` in place: r and s little-endian, 72 bytes each.
pub fn sign(report: &mut [u8], key: &EcKey) {
    let (mut r, mut s) = key.sign(&report[..SIGNED]);
    r.reverse();
    s.reverse();
    report[SIGNED..SIGNED + 48].copy_from_slice(&r);
    report[SIGNED + 72..SIGNED + 72 + 48].copy_from_slice(&s);
}
