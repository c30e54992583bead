//! `policies/strict.toml` on the evidence of simulated processors: what it has against the best of them, and against one
//! that differs in one thing.

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
    toml::from_str(include_str!("../../policies/strict.toml")).expect("TOML")
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

#[test]
fn strict_has_nothing_against_good_hardware_but_wants_a_release() {
    for product in [Product::Genoa, Product::Turin] {
        let verdict = verdict(&bundle(&best(product)), &strict(), Origin::Hardware);
        assert_eq!(verdict.outcome(), Outcome::Rejected);
        assert_eq!(ids(&verdict, Answer::Failed), ["release.present"].into(), "{verdict}");
        let missing: BTreeSet<_> = ids(&verdict, Answer::NotPerformed { needed: true })
            .into_iter()
            .filter(|id| !id.starts_with("release.") && !id.starts_with("log."))
            .collect();
        assert_eq!(missing, ["snp.identity.measurement", "snp.policy.launch"].into(), "{verdict}");
    }
}

#[test]
fn simulated_hardware_is_never_accepted() {
    let bundle = bundle(&best(Product::Genoa));
    let accepted = verdict(&bundle, &hardware_only(), Origin::Hardware);
    assert_eq!(accepted.outcome(), Outcome::Accepted, "{accepted}");
    let simulated = verdict(&bundle, &hardware_only(), Origin::Simulated);
    let refused: BTreeSet<_> = ["evidence.hardware"].into();
    if cfg!(feature = "simulated-hardware") {
        assert_eq!(simulated.outcome(), Outcome::Simulated, "{simulated}");
    } else {
        assert_eq!(simulated.outcome(), Outcome::Rejected);
        assert_eq!(ids(&simulated, Answer::Failed), refused, "{simulated}");
    }
    let mut policy = hardware_only();
    policy["simulated"] = Value::String("refused".into());
    let simulated = verdict(&bundle, &policy, Origin::Simulated);
    assert_eq!((simulated.outcome(), ids(&simulated, Answer::Failed)), (Outcome::Rejected, refused), "{simulated}");
}

#[test]
fn each_weakness_is_refused_by_its_rule() {
    let (genoa, turin) = (best(Product::Genoa), best(Product::Turin));
    let policy = |bits: u64| Processor { policy: genoa.policy ^ bits, ..genoa.clone() };
    let platform = |bits: u64| Processor { platform_info: genoa.platform_info ^ bits, ..genoa.clone() };
    let tcb = |tcb: Tcb| Processor { tcb, ..genoa.clone() };
    let floors = ["snp.tcb.reported-floor", "snp.tcb.launch-floor"];
    let mitigations = ["snp.tcb.launch-mitigations", "snp.tcb.current-mitigations"];
    let cases: [(Processor, &[&str]); 22] = [
        (best(Product::Milan), &["snp.report.product-accepted"]),
        (
            Processor { leaf: Leaf::Vlek, ..genoa.clone() },
            &["snp.report.signing-key-accepted", "snp.identity.chip-masked"],
        ),
        (policy(1 << 16), &["snp.policy.smt"]),
        (policy(1 << 18), &["snp.policy.migrate-ma"]),
        (policy(1 << 19), &["snp.policy.debug"]),
        (policy(1 << 21), &["snp.policy.cxl"]),
        (policy(1 << 25), &["snp.policy.page-swap-disabled"]),
        (platform(1 << 0), &["snp.platform.smt"]),
        (platform(1 << 2), &["snp.platform.ecc"]),
        (platform(1 << 5), &["snp.platform.alias-check"]),
        (platform(1 << 6), &["snp.platform.unknown-bits"]),
        (platform(1 << 7), &["snp.platform.tio"]),
        (tcb(Tcb { bootloader: 11, ..genoa.tcb }), &floors),
        (tcb(Tcb { snp: 27, ..genoa.tcb }), &floors),
        (tcb(Tcb { microcode: 85, ..genoa.tcb }), &floors),
        (Processor { firmware: [40, 55, 1], ..genoa.clone() }, &["snp.tcb.firmware-floor"]),
        (Processor { mitigations: 0b00_0111, ..genoa.clone() }, &mitigations),
        (Processor { host_data: [1; 32], ..genoa.clone() }, &["snp.identity.host-data"]),
        (Processor { policy: turin.policy ^ 1 << 24, ..turin.clone() }, &["snp.policy.ciphertext-hiding"]),
        (
            Processor { platform_info: turin.platform_info ^ 1 << 4, ..turin.clone() },
            &["snp.platform.ciphertext-hiding"],
        ),
        (Processor { tcb: Tcb { microcode: 89, ..turin.tcb }, ..turin.clone() }, &floors),
        (Processor { tcb: Tcb { tee: 0, ..turin.tcb }, ..turin.clone() }, &floors),
    ];
    for (processor, rules) in cases {
        let verdict = verdict(&bundle(&processor), &hardware_only(), Origin::Hardware);
        assert_eq!(verdict.outcome(), Outcome::Rejected);
        assert_eq!(ids(&verdict, Answer::Failed), rules.iter().copied().collect(), "{processor:?}\n{verdict}");
    }
    // A report that cannot list mitigations has none that count.
    let old = verdict(&bundle(&Processor { report_version: 4, ..genoa.clone() }), &hardware_only(), Origin::Hardware);
    assert!(!old.findings().iter().filter(|found| mitigations.contains(&found.rule.id)).any(Finding::permits));
}

#[test]
fn evidence_without_a_list_of_revoked_certificates_or_by_a_stranger_is_refused() {
    let good = bundle(&best(Product::Genoa));
    let Evidence::Snp(evidence) = good.evidence.clone() else { panic!("not SNP") };
    let unlisted = Bundle::bare(Evidence::Snp(SnpEvidence { crl: None, ..evidence }));
    assert_eq!(verdict(&unlisted, &hardware_only(), Origin::Hardware).outcome(), Outcome::Rejected);
    let policy = Policy::parse("p.toml", hardware_only().to_string().as_bytes()).expect("a policy");
    let request = Request { bundle: &good, release: None, report_data: &Demand::Any, now: NOW };
    let unknown = appraise(&request, &policy, &Roots::amd());
    assert_eq!(unknown.outcome(), Outcome::Rejected);
    assert!(ids(&unknown, Answer::Failed).iter().all(|id| id.starts_with("snp.chain")), "{unknown}");
}
