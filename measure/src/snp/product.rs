//! Which processor family evidence is from, and what depends on it: the layout of TCB versions.

use core::fmt;

/// A processor family whose reports are appraised, as AMD's key distribution service names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Product {
    /// EPYC 7003 (family 19h, models 00h to 0fh).
    Milan,
    /// EPYC 9004 and 8004, Bergamo and Siena included (family 19h, models 10h to 1fh and a0h to afh).
    Genoa,
    /// EPYC 9005 (family 1ah, models 00h to 11h).
    Turin,
}

/// Why a CPUID family and model is not a [`Product`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProductError {
    /// Known by name, but nothing is known of its keys yet.
    #[error("family {family:#04x} model {model:#04x} is Venice, which is not supported yet")]
    Venice {
        /// Combined family.
        family: u8,
        /// Combined model.
        model: u8,
    },
    /// Nothing that SEV-SNP is known to run on.
    #[error("expected Milan, Genoa or Turin, found family {family:#04x} model {model:#04x}")]
    Unknown {
        /// Combined family.
        family: u8,
        /// Combined model.
        model: u8,
    },
}

impl Product {
    /// Every product, oldest first.
    pub const ALL: [Self; 3] = [Self::Milan, Self::Genoa, Self::Turin];

    /// The product with this combined family and model (AMD 56860, ATTESTATION_REPORT, CPUID_FAM_ID and CPUID_MOD_ID).
    pub const fn of_cpuid(family: u8, model: u8) -> Result<Self, ProductError> {
        match (family, model) {
            (0x19, 0x00..=0x0f) => Ok(Self::Milan),
            (0x19, 0x10..=0x1f | 0xa0..=0xaf) => Ok(Self::Genoa),
            (0x1a, 0x00..=0x11) => Ok(Self::Turin),
            (0x1a, 0x50..=0x57 | 0x90..=0xaf | 0xc0..=0xc7) => Err(ProductError::Venice { family, model }),
            _ => Err(ProductError::Unknown { family, model }),
        }
    }

    /// The name in certificates and in addresses of the key distribution service.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milan => "Milan",
            Self::Genoa => "Genoa",
            Self::Turin => "Turin",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The security versions of what is trusted on a chip, by component: eight bytes in a report (AMD 56860, TCB_VERSION),
/// one extension each in a certificate. Deliberately without an order: versions are compared component by component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct TcbVersion {
    /// FMC firmware; Turin only, 0 elsewhere.
    pub fmc: u8,
    /// The secure processor's boot loader.
    pub boot_loader: u8,
    /// The secure processor's operating system.
    pub tee: u8,
    /// The SEV-SNP firmware.
    pub snp: u8,
    /// The lowest patch level of microcode.
    pub microcode: u8,
}

impl TcbVersion {
    /// The versions in the eight bytes of a report, and whether the bytes between them are zero, as they must be.
    pub const fn of_report(bytes: [u8; 8], product: Product) -> (Self, bool) {
        match product {
            Product::Milan | Product::Genoa => {
                let [boot_loader, tee, r0, r1, r2, r3, snp, microcode] = bytes;
                (Self { fmc: 0, boot_loader, tee, snp, microcode }, (r0 | r1 | r2 | r3) == 0)
            }
            Product::Turin => {
                let [fmc, boot_loader, tee, snp, r0, r1, r2, microcode] = bytes;
                (Self { fmc, boot_loader, tee, snp, microcode }, (r0 | r1 | r2) == 0)
            }
        }
    }

    /// The eight bytes of a report that say this.
    pub const fn to_report(self, product: Product) -> [u8; 8] {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        match product {
            Product::Milan | Product::Genoa => [boot_loader, tee, 0, 0, 0, 0, snp, microcode],
            Product::Turin => [fmc, boot_loader, tee, snp, 0, 0, 0, microcode],
        }
    }

    /// Names and versions of the components, in the order in which they are shown.
    pub const fn components(self) -> [(&'static str, u8); 5] {
        [
            ("fmc", self.fmc),
            ("boot-loader", self.boot_loader),
            ("tee", self.tee),
            ("snp", self.snp),
            ("microcode", self.microcode),
        ]
    }

    /// The components that are lower here than there, by name; none if this is at least `floor`.
    pub fn below(self, floor: Self) -> impl Iterator<Item = &'static str> {
        let pairs = self.components().into_iter().zip(floor.components());
        pairs.filter(|((_, here), (_, there))| here < there).map(|((name, _), _)| name)
    }
}

impl fmt::Display for TcbVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fmc, boot_loader, tee, snp, microcode } = self;
        write!(f, "fmc {fmc}, boot-loader {boot_loader}, tee {tee}, snp {snp}, microcode {microcode}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_and_models() {
        let mut counts = [0; 5];
        for family in 0..=u8::MAX {
            for model in 0..=u8::MAX {
                counts[match Product::of_cpuid(family, model) {
                    Ok(product) => product as usize,
                    Err(ProductError::Venice { .. }) => 3,
                    Err(ProductError::Unknown { .. }) => 4,
                }] += 1;
            }
        }
        assert_eq!(counts, [16, 32, 18, 48, 65536 - 114]);
        let cases = [
            (0x19, 0x0f, Ok(Product::Milan)),
            (0x19, 0x10, Ok(Product::Genoa)),
            (0x19, 0xa0, Ok(Product::Genoa)),
            (0x19, 0x20, Err(ProductError::Unknown { family: 0x19, model: 0x20 })),
            (0x1a, 0x11, Ok(Product::Turin)),
            (0x1a, 0x12, Err(ProductError::Unknown { family: 0x1a, model: 0x12 })),
            (0x1a, 0x50, Err(ProductError::Venice { family: 0x1a, model: 0x50 })),
        ];
        for (family, model, product) in cases {
            assert_eq!(Product::of_cpuid(family, model), product);
        }
    }

    #[test]
    fn layouts() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        let (old, _) = TcbVersion::of_report(bytes, Product::Genoa);
        assert_eq!(old, TcbVersion { fmc: 0, boot_loader: 1, tee: 2, snp: 7, microcode: 8 });
        let (new, _) = TcbVersion::of_report(bytes, Product::Turin);
        assert_eq!(new, TcbVersion { fmc: 1, boot_loader: 2, tee: 3, snp: 4, microcode: 8 });
        for (product, reserved) in [(Product::Milan, 2..6), (Product::Genoa, 2..6), (Product::Turin, 4..7)] {
            for at in 0..8 {
                let mut one = [0; 8];
                one[at] = 1;
                assert_eq!(TcbVersion::of_report(one, product).1, !reserved.contains(&at), "{product} {at}");
            }
        }
        for product in Product::ALL {
            let (version, _) = TcbVersion::of_report(bytes, product);
            assert_eq!(TcbVersion::of_report(version.to_report(product), product), (version, true));
        }
    }

    #[test]
    fn comparison_is_by_component() {
        let floor = TcbVersion { fmc: 1, boot_loader: 1, tee: 1, snp: 1, microcode: 1 };
        assert_eq!(floor.below(floor).count(), 0);
        let mixed = TcbVersion { snp: 0, microcode: 255, fmc: 0, ..floor };
        assert_eq!(mixed.below(floor).collect::<Vec<_>>(), ["fmc", "snp"]);
    }
}
