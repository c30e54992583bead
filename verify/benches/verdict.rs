//! One verdict on an SEV-SNP report, and what `sev` has for it, in turn: a line of two times in nanoseconds for each
//! round. `cargo xtask bench` makes figures of them.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use measure::Sha384;
use measure::appraise::Time;
use measure::snp::appraise::Demand;
use measure::snp::chain::{Origin, Root, Roots};
use measure::snp::product::Product;
use sev::certs::snp::{Certificate, Chain, Verifiable as _, ca};
use sev::firmware::guest::AttestationReport;
use sev::parser::ByteParser as _;
use std::hint::black_box;
use std::time::Instant;
use verify::bundle::{Evidence, SnpEvidence};
use verify::verdict::Outcome;
use verify::{Bundle, Policy, Request};

/// After these first rounds everything is in the caches.
const WARM_UP: usize = 20;
const ROUNDS: usize = 200;

const BUNDLE: &[u8] = include_bytes!("../../docs/demo/evidence.vitrine-bundle");
const POLICY: &[u8] = include_bytes!("../../docs/demo/policy.toml");
/// 2026-11-23, as in the demonstration.
const NOW: Time = Time(1_795_392_000);

fn main() {
    // Whoever tests all targets runs this too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let policy = Policy::parse("policy.toml", POLICY).expect("the policy of the demonstration");
    let roots = Roots::amd().with([Root {
        product: Product::Turin,
        origin: Origin::Simulated,
        key: Sha384::of(&simulate::root(simulate::Product::Turin)),
        organisation: simulate::chain::ORGANISATION,
    }]);
    for round in 0..WARM_UP + ROUNDS {
        let started = Instant::now();
        ours(black_box(BUNDLE), &policy, &roots);
        let ours = started.elapsed().as_nanos();
        let started = Instant::now();
        theirs(black_box(BUNDLE));
        let theirs = started.elapsed().as_nanos();
        if round >= WARM_UP {
            println!("{ours} {theirs}");
        }
    }
}

/// From the bundle's bytes to the verdict: all rules, three RSA-PSS signatures (root, intermediate and leaf), that of the
/// revocation list, and the report's.
fn ours(bundle: &[u8], policy: &Policy, roots: &Roots) {
    let bundle = Bundle::parse(bundle).expect("the bundle of the demonstration");
    let request = Request { bundle: &bundle, release: None, memories: &[], report_data: &Demand::Any, now: NOW };
    let verdict = verify::appraise(&request, policy, roots);
    // Without the feature, that it is simulated is the one rule that fails.
    let refused = verdict.findings().iter().filter(|found| !found.permits()).count();
    assert!(verdict.outcome() == Outcome::Simulated || refused == 1, "{verdict}");
    black_box(serde_json::to_string(&verdict).expect("a verdict"));
}

/// From the same bytes to `sev`'s yes: the three signatures of the chain, the report's, and its extensions compared. It
/// has no revocation list, no dates and no policy.
fn theirs(bundle: &[u8]) {
    let Bundle { evidence: Evidence::Snp(SnpEvidence { report, leaf, ask, ark, .. }), .. } =
        Bundle::parse(bundle).expect("the bundle of the demonstration")
    else {
        panic!("another kind of evidence")
    };
    let parse =
        |der: &Option<Vec<u8>>| Certificate::from_der(der.as_ref().expect("all of them")).expect("a certificate");
    let chain = Chain { ca: ca::Chain { ark: parse(&ark), ask: parse(&ask) }, vek: parse(&leaf) };
    let report = AttestationReport::from_bytes(&report).expect("a report");
    (&chain, &report).verify().expect("a genuine report");
}
