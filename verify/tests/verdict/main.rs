//! Verdicts on whole bundles.

mod release;
mod strict;
mod tdx;

use measure::appraise::{Finding, Outcome as Answer, Time};
use measure::snp::appraise::Demand;
use measure::snp::chain::{Origin, Root, Roots};
use measure::{Digest, Sha384};
use simulate::{Leaf, Processor, Product, Tcb};
use std::collections::BTreeSet;
use toml::{Table, Value};
use verify::bundle::{Bundle, Evidence, SnpEvidence};
use verify::verdict::{Outcome, Verdict};
use verify::{Policy, Request, appraise};

/// Inside the dates of every simulated certificate: 2026-06-01.
const NOW: Time = Time(1_780_272_000);

/// A processor that satisfies everything that strict.toml asks of hardware, but for being simulated.
fn best(product: Product) -> Processor {
    let (tcb, hiding, platform_info) = match product {
        Product::Turin => (Tcb { fmc: 1, bootloader: 1, tee: 1, snp: 4, microcode: 90 }, 1 << 24, 0b0111_0100),
        _ => (Tcb { fmc: 0, bootloader: 12, tee: 0, snp: 28, microcode: 86 }, 0, 0b0010_0100),
    };
    let (chip_id, measurement, host_data) = ([7; 64], [9; 48], [0; 32]);
    let (leaf, csp, policy) = (Leaf::Vcek, "a provider", 1 << 25 | 1 << 17 | hiding);
    let (report_version, firmware, mitigations) = (5, [0, 58, 1], 0b01_0110);
    Processor {
        product,
        leaf,
        report_version,
        chip_id,
        tcb,
        firmware,
        platform_info,
        mitigations,
        csp,
        policy,
        measurement,
        host_data,
    }
}

fn bundle(processor: &Processor) -> Bundle {
    let simulate::Certificates { ark, intermediate, leaf, crl } = processor.certificates();
    let report = processor.report([0xd4; 64]);
    Bundle::bare(Evidence::Snp(SnpEvidence { report, leaf, ask: intermediate, ark, crl: Some(crl) }))
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

fn strict() -> Table {
    toml::from_str(include_str!("../../../policies/strict.toml")).expect("TOML")
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
    let request = Request { bundle, release: None, report_data: &report_data, now: NOW };
    appraise(&request, &policy, &roots(origin))
}

/// The rules that a verdict says this of.
fn ids(verdict: &Verdict, answer: Answer) -> BTreeSet<&'static str> {
    verdict.findings().iter().filter(|found| found.outcome == answer).map(|found| found.rule.id).collect()
}
