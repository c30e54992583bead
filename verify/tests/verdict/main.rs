//! Verdicts on whole bundles.

mod release;
mod service;
mod session;
mod strict;
mod tdx;

use measure::appraise::{Finding, Outcome as Answer, Time};
use measure::snp::appraise::Demand;
use measure::snp::chain::{Origin, Root, Roots};
use measure::{Digest, Sha384};
use simulate::{Guest, Leaf, Processor, Product, Tcb};
use std::collections::BTreeSet;
use toml::{Table, Value};
use verify::bundle::{Bundle, Evidence, SnpEvidence};
use verify::verdict::{Outcome, Verdict};
use verify::{Policy, Request, appraise};

/// Inside the dates of every simulated certificate: 2026-06-01.
const NOW: Time = Time(1_780_272_000);

/// A processor that satisfies everything that strict.toml asks of hardware, but for being simulated.
fn best(product: Product) -> Processor {
    let hiding = if product == Product::Turin { 1 << 24 } else { 0 };
    let guest = Guest { policy: 1 << 25 | 1 << 17 | hiding, measurement: [9; 48], host_data: [0; 32] };
    Processor::patched(product, guest)
}

fn bundle(processor: &Processor) -> Bundle {
    of(processor, processor.report([0xd4; 64]))
}

/// `report` with the certificates of `processor`.
fn of(processor: &Processor, report: Vec<u8>) -> Bundle {
    let simulate::Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let [leaf, ask, ark, crl] = [leaf, intermediate, ark, crl].map(Some);
    Bundle::bare(Evidence::Snp(SnpEvidence { report, leaf, ask, ark, crl }))
}

/// The vendor's roots, and the simulated ones as roots of this kind.
fn roots(origin: Origin) -> Roots {
    let products = measure::snp::product::Product::ALL.into_iter().zip(Product::ALL);
    Roots::amd().with(products.map(|(product, simulated)| Root {
        product,
        origin,
        key: Sha384::of(&simulate::root(simulated)),
        organisation: simulate::chain::ORGANISATION,
    }))
}

/// strict.toml, but for the age of revocation lists: the simulated ones are from the first day of 2026.
fn strict() -> Table {
    let mut policy: Table = toml::from_str(include_str!("../../../policies/strict.toml")).expect("TOML");
    policy["snp"]["crl-max-age"] = "any".into();
    policy
}

/// What strict.toml asks of hardware, and nothing about what runs on it.
fn hardware_only() -> Table {
    let mut policy = strict();
    policy["simulated"] = Value::String("accepted".into());
    policy["release"] = Value::String("any".into());
    let snp = policy["snp"].as_table_mut().expect("a table");
    snp["measurements"] = Value::String("any".into());
    for product in ["genoa", "turin"] {
        snp[product]["launch-policy"] = Value::String("any".into());
    }
    policy
}

fn verdict(bundle: &Bundle, policy: &Table, origin: Origin) -> Verdict {
    let policy = Policy::parse("p.toml", policy.to_string().as_bytes()).expect("a policy");
    let report_data = Demand::Is(Digest::new([0xd4; 64]));
    let request = Request { bundle, release: None, memories: &[], report_data: &report_data, now: NOW };
    appraise(&request, &policy, &roots(origin))
}

/// The rules that a verdict says this of.
fn ids(verdict: &Verdict, answer: Answer) -> BTreeSet<&'static str> {
    verdict.findings().iter().filter(|found| found.outcome == answer).map(|found| found.rule.id).collect()
}
