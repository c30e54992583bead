//! The simulated secure processor beside QEMU.

use super::product::launch_policy;
use measure::snp::LaunchDigest;
use measure::snp::product;
use simulate::{Guest, Processor, Product};

/// The processor under a guest that was launched like this.
pub(super) fn of(product: product::Product, launch_digest: LaunchDigest, host_data: [u8; 32]) -> Processor {
    let policy = launch_policy(product).0;
    let product = match product {
        product::Product::Milan => Product::Milan,
        product::Product::Genoa => Product::Genoa,
        product::Product::Turin => Product::Turin,
    };
    Processor::patched(product, Guest { policy, measurement: *launch_digest.0.as_bytes(), host_data })
}
