//! The initial state of a vCPU as the VMM and KVM set it up, page by page the same for all but the first vCPU.

use super::cpu::{CpuSignature, SevFeatures};
use super::gctx::PAGE;

/// What one VMM, on the host kernels named, puts into VMSA pages. Adding a VMM is adding one of these.
#[derive(Debug, PartialEq, Eq)]
pub struct VmmProfile {
    /// The profile's name in statements and on the command line.
    pub name: &'static str,
    /// The versions it was established for.
    pub applies_to: &'static str,
    /// Attributes of the code segment.
    pub cs_attributes: u16,
    /// Attributes of the stack segment.
    pub ss_attributes: u16,
    /// Attributes of the task register.
    pub tr_attributes: u16,
    /// The page attribute table (APM volume 2, section 7.8).
    pub g_pat: u64,
    /// SSE control and status.
    pub mxcsr: u32,
    /// x87 control word.
    pub x87_fcw: u16,
    /// Guest physical address at which VMSA pages are measured.
    pub vmsa_gpa: u64,
}

impl VmmProfile {
    /// QEMU with KVM.
    pub const QEMU: Self = Self {
        name: "qemu",
        applies_to: "QEMU 9.1 or later, host Linux 6.11 or later",
        cs_attributes: 0x9b,
        ss_attributes: 0x93,
        tr_attributes: 0x8b,
        g_pat: 0x0007_0406_0007_0406,
        mxcsr: 0x1f80,
        x87_fcw: 0x37f,
        vmsa_gpa: 0xffff_ffff_f000,
    };

    /// All profiles.
    pub const ALL: &'static [Self] = &[Self::QEMU];

    /// The profile of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::ALL.iter().find(|profile| profile.name == name)
    }

    /// The VMSA page of a vCPU that starts at `eip`. Offsets: AMD 24593 (APM volume 2), table B-4. Values are those
    /// after a processor reset (APM volume 2, table 14-1) with what KVM turns on: EFER.SVME and CR4.MCE.
    pub fn vmsa_page(&self, eip: u32, cpu: CpuSignature, sev_features: SevFeatures) -> [u8; PAGE] {
        let mut page = [0; PAGE];
        let mut put = |offset: usize, bytes: &[u8]| {
            for (slot, byte) in page.iter_mut().skip(offset).zip(bytes) {
                *slot = *byte;
            }
        };
        let code = Segment { selector: 0xf000, attributes: self.cs_attributes, base: u64::from(eip & 0xffff_0000) };
        let segments = [
            (0x00, Segment::plain(0x93)), // ES
            (0x10, code),
            (0x20, Segment::plain(self.ss_attributes)),
            (0x30, Segment::plain(0x93)), // DS
            (0x40, Segment::plain(0x93)), // FS
            (0x50, Segment::plain(0x93)), // GS
            (0x60, Segment::plain(0)),    // GDTR
            (0x70, Segment::plain(0x82)), // LDTR
            (0x80, Segment::plain(0)),    // IDTR
            (0x90, Segment::plain(self.tr_attributes)),
        ];
        for (offset, segment) in segments {
            put(offset, &segment.bytes());
        }
        let registers: [(usize, u64); 11] = [
            (0x0d0, 0x1000), // EFER
            (0x148, 0x40),   // CR4
            (0x158, 0x10),   // CR0
            (0x160, 0x400),  // DR7
            (0x168, 0xffff_0ff0),
            (0x170, 0x2), // RFLAGS
            (0x178, u64::from(eip & 0xffff)),
            (0x268, self.g_pat),
            (0x310, u64::from(cpu.0)), // RDX
            (0x3b0, sev_features.0),
            (0x3e8, 0x1), // XCR0
        ];
        for (offset, value) in registers {
            put(offset, &value.to_le_bytes());
        }
        put(0x408, &self.mxcsr.to_le_bytes());
        put(0x410, &self.x87_fcw.to_le_bytes());
        page
    }
}

/// A segment register: 16 bytes; every limit is 0xffff.
struct Segment {
    selector: u16,
    attributes: u16,
    base: u64,
}

impl Segment {
    const fn plain(attributes: u16) -> Self {
        Self { selector: 0, attributes, base: 0 }
    }

    fn bytes(&self) -> [u8; 16] {
        let low = u64::from(self.selector) | u64::from(self.attributes) << 16 | 0xffff << 32;
        (u128::from(low) | u128::from(self.base) << 64).to_le_bytes()
    }
}
