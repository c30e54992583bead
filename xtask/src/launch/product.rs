//! What guests demand of their platform at launch, which depends on the processor.

use anyhow::Context as _;
use measure::snp::product::Product;
use measure::snp::report::GuestPolicy;

/// A processor with SEV-SNP, by the name AMD's key service gives it.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ProductFlag {
    Milan,
    Genoa,
    Turin,
}

impl From<ProductFlag> for Product {
    fn from(flag: ProductFlag) -> Self {
        match flag {
            ProductFlag::Milan => Self::Milan,
            ProductFlag::Genoa => Self::Genoa,
            ProductFlag::Turin => Self::Turin,
        }
    }
}

/// The launch policy on this product, in which policies/strict.toml finds what it asks for. The host must be set up for it:
/// no SMT, and no moving of pages; firmware and host kernel refuse to start the guest otherwise. Milan, which strict.toml
/// refuses, knows none of this.
pub(crate) const fn launch_policy(product: Product) -> GuestPolicy {
    let always = GuestPolicy::RESERVED_ONE;
    GuestPolicy(match product {
        Product::Milan => always | GuestPolicy::SMT,
        Product::Genoa => always | GuestPolicy::PAGE_SWAP_DISABLED,
        Product::Turin => always | GuestPolicy::PAGE_SWAP_DISABLED | GuestPolicy::CIPHERTEXT_HIDING,
    })
}

/// This host's processor.
pub(super) fn host() -> anyhow::Result<Product> {
    #[cfg(target_arch = "x86_64")]
    let signature = core::arch::x86_64::__cpuid(1).eax;
    #[cfg(not(target_arch = "x86_64"))]
    let signature = 0;
    of_signature(signature).context("telling this host's processor, which --product can name")
}

/// The product with this CPUID Fn0000_0001\[EAX\].
fn of_signature(eax: u32) -> anyhow::Result<Product> {
    let bits = |from: u32, mask: u32| eax >> from & mask;
    let family = u8::try_from(bits(8, 0xf) + bits(20, 0xff)).unwrap_or(u8::MAX);
    let model = u8::try_from(bits(16, 0xf) << 4 | bits(4, 0xf)).unwrap_or(u8::MAX);
    Ok(Product::of_cpuid(family, model)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use measure::snp::appraise::{BitDemand, PolicyBits, Terms};
    use verify::policy::{Policy, Section};

    /// Each bit is as the strict policy wants it.
    #[test]
    fn the_strict_policy_accepts_what_is_launched() {
        let strict = Policy::parse("strict", include_bytes!("../../../policies/strict.toml")).unwrap();
        let Section::Accepted(snp) = strict.snp else { panic!() };
        let products = snp.requirements.products;
        for (product, value, terms) in
            [(Product::Genoa, 0x202_0000, products.genoa), (Product::Turin, 0x302_0000, products.turin)]
        {
            let policy = launch_policy(product);
            assert_eq!(policy.0, value);
            let Terms::Accepted(terms) = terms else { panic!() };
            let PolicyBits { smt, migrate_ma, debug, cxl, ciphertext_hiding, page_swap_disabled, .. } = terms.policy;
            for (demand, bit) in [
                (smt, GuestPolicy::SMT),
                (migrate_ma, GuestPolicy::MIGRATE_MA),
                (debug, GuestPolicy::DEBUG),
                (cxl, GuestPolicy::CXL),
                (ciphertext_hiding, GuestPolicy::CIPHERTEXT_HIDING),
                (page_swap_disabled, GuestPolicy::PAGE_SWAP_DISABLED),
            ] {
                let set = policy.0 & bit != 0;
                assert!(demand == BitDemand::Any || (demand == BitDemand::Require) == set, "{product} {bit:#x}");
            }
        }
    }

    #[test]
    fn a_processor_is_told_by_its_signature() {
        for (eax, product) in [(0xa00f11, Product::Milan), (0xa10f11, Product::Genoa), (0xb00f21, Product::Turin)] {
            assert_eq!(of_signature(eax).unwrap(), product);
        }
        assert!(of_signature(0x800f12).is_err() && of_signature(0).is_err());
    }
}
