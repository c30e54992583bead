//! What differs between processors.

use core::fmt;

/// A processor with SEV-SNP, by the name AMD's key service gives it.
///
/// This is not `measure`'s type, and the tables here are not its tables: a forger that took them from the parser would
/// make the parser's mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// Zen 3.
    Milan,
    /// Zen 4, with Bergamo and Siena.
    Genoa,
    /// Zen 5.
    Turin,
}

impl Product {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The name at the end of `ARK-`, `SEV-` and `SEV-VLEK-`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }

    /// The product extension of a VCEK. Before Turin it names a stepping too.
    pub fn certified_name(self) -> &'static str {
        match self {
            Self::Milan => "Milan-B0",
            Self::Genoa => "Genoa-B1",
            Self::Turin => "Turin",
        }
    }

    /// Family, model and stepping in reports from version 3 on.
    pub fn cpuid(self) -> [u8; 3] {
        match self {
            Self::Milan => [0x19, 0x01, 0x01],
            Self::Genoa => [0x19, 0x11, 0x01],
            Self::Turin => [0x1a, 0x02, 0x01],
        }
    }

    /// Bytes of a chip's hardware id, the rest of the report's field being zero (AMD 57230 "VCEK and KDS
    /// specification", section 3.1).
    pub fn hwid_size(self) -> usize {
        if self == Self::Turin { 8 } else { 64 }
    }

    /// Where each component is in the eight bytes of a TCB version (AMD 56860 section 2.2).
    pub fn tcb(self, tcb: Tcb) -> [u8; 8] {
        let Tcb { fmc, bootloader, tee, snp, microcode } = tcb;
        match self {
            Self::Milan | Self::Genoa => [bootloader, tee, 0, 0, 0, 0, snp, microcode],
            Self::Turin => [fmc, bootloader, tee, snp, 0, 0, 0, microcode],
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Security version numbers of a processor's firmware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcb {
    /// Firmware of the microcontroller, Turin only; zero elsewhere.
    pub fmc: u8,
    /// Boot loader.
    pub bootloader: u8,
    /// Operating system of the secure processor.
    pub tee: u8,
    /// SNP firmware.
    pub snp: u8,
    /// Microcode.
    pub microcode: u8,
}
