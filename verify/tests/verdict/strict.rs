//! `policies/strict.toml` on the evidence of simulated processors: what it has against the best of them, and against one
//! that differs in one thing.

use super::*;

#[test]
fn strict_has_nothing_against_good_hardware_but_wants_a_release() {
    for product in [Product::Genoa, Product::Turin] {
        let verdict = verdict(&bundle(&best(product)), &strict(), Origin::Hardware);
        assert_eq!(verdict.outcome(), Outcome::Rejected);
        assert_eq!(ids(&verdict, Answer::Failed), ["release.present", "status.present"].into(), "{verdict}");
        let missing: BTreeSet<_> = ids(&verdict, Answer::NotPerformed { needed: true })
            .into_iter()
            .filter(|id| ["release.", "log.", "status.", "fleet."].iter().all(|group| !id.starts_with(group)))
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
    let cases: [(Processor, &[&str]); 23] = [
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
        (platform(1 << 6), &["snp.platform.iommu-write-safe"]),
        (platform(1 << 8), &["snp.platform.unknown-bits"]),
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
    let request = Request { bundle: &good, release: None, memories: &[], report_data: &Demand::Any, now: NOW };
    let unknown = appraise(&request, &policy, &Roots::amd());
    assert_eq!(unknown.outcome(), Outcome::Rejected);
    assert!(ids(&unknown, Answer::Failed).iter().all(|id| id.starts_with("snp.chain")), "{unknown}");
}
