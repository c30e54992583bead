//! Whose word this program takes for what hardware is.

use measure::snp::chain::Roots;

/// The roots of this program: the vendors'.
#[cfg(not(feature = "simulated-hardware"))]
pub(crate) fn believed() -> Roots {
    Roots::amd()
}

/// The roots of this program: the vendors', and one whose key everybody has.
#[cfg(feature = "simulated-hardware")]
pub(crate) fn believed() -> Roots {
    simulated()
}

/// The vendors' and the simulated one.
#[cfg(any(test, feature = "simulated-hardware"))]
pub(crate) fn simulated() -> Roots {
    use measure::Sha384;
    use measure::snp::chain::{Origin, Root};
    use measure::snp::product::Product;

    Roots::amd().with(Product::ALL.into_iter().zip(simulate::Product::ALL).map(|(product, simulated)| Root {
        product,
        origin: Origin::Simulated,
        key: Sha384::of(&simulate::root(simulated)),
        organisation: simulate::chain::ORGANISATION,
    }))
}
