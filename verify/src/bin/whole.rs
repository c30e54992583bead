//! The whole verifier as one program that does nothing else: what its WebAssembly size is measured of, and a proof that
//! it needs neither files nor a clock.

use measure::appraise::Time;
use measure::snp::appraise::Demand;
use measure::snp::chain::Roots;
use std::hint::black_box;
use verify::{Bundle, Policy, Request};

/// From received bytes to the verdict as JSON.
fn verdict(bundle: &[u8], policy: &[u8], now: u64) -> String {
    let (bundle, policy) = match (Bundle::parse(bundle), Policy::parse("policy", policy)) {
        (Ok(bundle), Ok(policy)) => (bundle, policy),
        (Err(error), _) => return error.to_string(),
        (_, Err(error)) => return error.to_string(),
    };
    let request = Request { bundle: &bundle, release: None, memories: &[], report_data: &Demand::Any, now: Time(now) };
    serde_json::to_string(&verify::appraise(&request, &policy, &Roots::amd())).unwrap_or_else(|error| error.to_string())
}

fn main() {
    black_box(verdict(black_box(&[]), black_box(&[]), black_box(0)));
}
