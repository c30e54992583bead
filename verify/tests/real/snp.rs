//! SEV-SNP: the Milan report of the crate `sev` and that of go-sev-guest, with their chains, and certificates of every
//! product. Nobody shipped a revocation list with them. Reports of version 2 do not say which processor they are from.

use crate::{bits, refusing, unasked, vectors};
use measure::appraise::{Finding, Outcome, Time};
use measure::digest::bytes_from_hex;
use measure::snp::appraise::{
    BitDemand, Chips, Demand, Evidence, IdBlock, Identity, Permit, PlatformBits, PolicyBits, ProductTerms, Products,
    Requirements, SigningKeys, Terms, appraise, rules,
};
use measure::snp::chain::{Chain, Roots};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{AbiVersion, FirmwareVersion, Report};
use std::collections::BTreeMap;

const GO: &str = "golang-github-google-go-sev-guest-dev";

/// A report with the certificates of its key, and a time at which they were valid.
struct Sample {
    report: Vec<u8>,
    ark: Vec<u8>,
    ask: Vec<u8>,
    leaf: Vec<u8>,
    now: Time,
}

impl Sample {
    fn new(report: Vec<u8>, authorities: &[u8], leaf: Vec<u8>) -> Self {
        let [ask, ark] = vectors::certificates(authorities).try_into().expect("two certificates");
        Self { report, ark, ask, leaf, now: "2026-11-23T00:00:00Z".parse().expect("a time") }
    }

    fn judged(&self, report: &[u8], requirements: &Requirements) -> Vec<Finding> {
        let chain = Chain { ark: Some(&self.ark), ask: Some(&self.ask), leaf: Some(&self.leaf), crl: None };
        let findings = appraise(&Evidence { report, chain }, &Roots::amd(), requirements, self.now).findings;
        assert!(findings.iter().map(|finding| finding.rule).eq(rules()));
        findings
    }
}

fn of_sev() -> Sample {
    let file = |name: &str| vectors::of_crate("sev", &format!("tests/certs_data/{name}"));
    let hex = String::from_utf8(file("report_milan.hex")).expect("text");
    let report = bytes_from_hex(&hex.trim().to_lowercase()).expect("hexadecimal");
    Sample::new(report, &file("cert_chain_milan"), file("vcek_milan.der"))
}

fn of_go() -> Sample {
    let file = |name: &str| vectors::of_go(GO, &format!("verify/testdata/{name}"));
    Sample::new(file("attestation.bin"), &file("milan.testcer"), file("vcek.testcer"))
}

/// What `report` says of itself is required of it, and Milan is named. There is no revocation list to require.
fn milan(report: &[u8]) -> Requirements {
    let report = Report::parse(report).expect("a report");
    let bit = |set| if set { BitDemand::Require } else { BitDemand::Forbid };
    let (policy, platform) = (report.policy(), report.platform_info());
    let low = TcbVersion { fmc: 0, boot_loader: 2, tee: 0, snp: 5, microcode: 0x44 };
    let terms = ProductTerms {
        launch_policy: Demand::Is(policy),
        abi_floor: AbiVersion { major: 0, minor: 0 },
        policy: PolicyBits {
            smt: bit(policy.0 >> 16 & 1 == 1),
            migrate_ma: BitDemand::Forbid,
            debug: BitDemand::Forbid,
            single_socket: BitDemand::Any,
            cxl: BitDemand::Forbid,
            aes_256_xts: BitDemand::Any,
            rapl_disabled: BitDemand::Any,
            ciphertext_hiding: BitDemand::Any,
            page_swap_disabled: BitDemand::Any,
        },
        platform: PlatformBits {
            smt: bit(platform.0 & 1 == 1),
            tsme: BitDemand::Any,
            ecc: BitDemand::Any,
            rapl_disabled: BitDemand::Any,
            ciphertext_hiding: BitDemand::Any,
            // Reports of version 2 cannot say.
            alias_check_complete: BitDemand::Any,
            iommu_write_safe: BitDemand::Any,
            tio: BitDemand::Any,
            unknown: Permit::Refused,
        },
        reported_tcb_floor: low,
        launch_tcb_floor: low,
        firmware_floor: FirmwareVersion { major: 1, minor: 49, build: 0 },
        launch_mitigations: Demand::Any,
        current_mitigations: Demand::Any,
    };
    Requirements {
        products: Products { milan: Terms::Accepted(Box::new(terms)), genoa: Terms::Refused, turin: Terms::Refused },
        missing_crl: Permit::Accepted,
        crl_max_age: Demand::Any,
        signing_key: SigningKeys::VcekOnly,
        chips: Chips { masked: Permit::Refused, allowed: Demand::Is([report.chip_id()].into()), denied: [].into() },
        provisional_firmware: Permit::Accepted,
        identity: Identity {
            measurements: Demand::Is(BTreeMap::from([(report.measurement(), "the guest of the sample".into())])),
            report_data: Demand::Is(report.report_data()),
            host_data: Demand::Is(report.host_data()),
            vmpl: Demand::Is(report.vmpl()),
            id_block: IdBlock::Unpinned,
            migration_agent: Permit::Refused,
        },
    }
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_milan_report_is_accepted_if_milan_is_named() {
    let mut sample = of_sev();
    let asked = milan(&sample.report);
    let findings = sample.judged(&sample.report, &asked);
    assert_eq!(refusing(&findings), []);
    // There is no list of revoked certificates, version 2 cannot say whether memory was checked for aliases, and no ID
    // key is pinned.
    let unasked = unasked(&findings);
    for (prefix, count) in [
        ("snp.chain.crl.", 9),
        ("snp.policy.", 5),
        ("snp.platform.", 7),
        ("snp.tcb.", 2),
        ("snp.identity.", 8),
        ("snp.chain.leaf.csp", 1),
        ("", 32),
    ] {
        let of_group: Vec<_> = unasked.iter().filter(|id| id.starts_with(prefix)).collect();
        assert_eq!(of_group.len(), count, "{prefix}: {of_group:?}");
    }
    assert!(unasked.contains(&"snp.platform.alias-check"));

    let refused =
        Requirements { products: Products { milan: Terms::Refused, ..asked.products.clone() }, ..asked.clone() };
    let findings = sample.judged(&sample.report, &refused);
    assert_eq!(refusing(&findings)[0], ("snp.report.product-accepted", Outcome::Failed.to_string()));
    sample.now = Time(0);
    let dates = ["ark", "ask", "leaf"].map(|level| format!("snp.chain.{level}.dates"));
    let findings = sample.judged(&sample.report, &asked);
    let failed = findings.iter().filter(|finding| finding.outcome == Outcome::Failed);
    assert_eq!(failed.map(|finding| finding.rule.id).collect::<Vec<_>>(), dates);
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_guest_that_may_be_debugged_is_refused() {
    let sample = of_go();
    let asked = milan(&sample.report);
    assert_eq!(refusing(&sample.judged(&sample.report, &asked)), [("snp.policy.debug", Outcome::Failed.to_string())]);
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn certificates_of_every_product_lead_to_the_pinned_roots() {
    let milan = of_sev();
    for product in [Product::Milan, Product::Genoa, Product::Turin] {
        let file = |name: &str| {
            let path = format!("src/certs/snp/builtin/{}/{name}.pem", product.to_string().to_lowercase());
            vectors::certificates(&vectors::of_crate("sev", &path)).remove(0)
        };
        let leaf = match product {
            Product::Turin => vectors::of_crate("sev", "tests/certs_data/vcek_turin.der"),
            _ => milan.leaf.clone(),
        };
        let chain = Sample { report: milan.report.clone(), ark: file("ark"), ask: file("ask"), leaf, now: milan.now };
        let findings = chain.judged(&chain.report, &self::milan(&chain.report));
        let of = |level: &str| {
            let prefix = format!("snp.chain.{level}.");
            let level = findings.iter().filter(move |finding| finding.rule.id.starts_with(&prefix));
            level.map(|finding| (finding.rule.id, finding.outcome)).collect::<Vec<_>>()
        };
        for (rule, outcome) in of("ark").into_iter().chain(of("ask")) {
            assert_eq!(outcome, Outcome::Passed, "{product}: {rule}");
        }
        // The report is Milan's: of Turin's leaf, only what it says of chip and firmware does not fit.
        let failed: Vec<_> = of("leaf").into_iter().filter(|(_, outcome)| *outcome == Outcome::Failed).collect();
        let failed: Vec<_> = failed.iter().map(|(rule, _)| *rule).collect();
        match product {
            Product::Milan => assert_eq!(failed, [""; 0]),
            Product::Genoa => assert!(failed.contains(&"snp.chain.leaf.signature"), "{failed:?}"),
            Product::Turin => assert_eq!(failed, ["snp.chain.leaf.tcb", "snp.chain.leaf.chip"]),
        }
    }
}

/// The two sources agree on Milan's root, and so do the chains of both kinds of leaf.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn both_sources_have_the_same_root_of_milan() {
    let authorities = |name: &str| vectors::certificates(&vectors::of_go(GO, &format!("verify/testdata/{name}")));
    let [vcek, vlek] = ["milan.testcer", "milanvlek.testcer"].map(|name| authorities(name).remove(1));
    assert!(vcek == of_sev().ark && vlek == vcek);
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn no_changed_bit_is_accepted() {
    let sample = of_sev();
    let asked = milan(&sample.report);
    for (at, bit) in bits(sample.report.len(), 300) {
        let mut changed = sample.report.clone();
        changed[at] ^= bit;
        let findings = sample.judged(&changed, &asked);
        assert!(findings.iter().any(|finding| finding.outcome == Outcome::Failed), "byte {at}, bit {bit}");
    }
}
