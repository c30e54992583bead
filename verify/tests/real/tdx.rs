//! TDX quotes: two of dcap-qvl's with the collateral of their time, one that Intel's statements no longer cover, and one
//! of go-tdx-guest, whose collateral is not there.

use crate::{bits, refusing, vectors};
use measure::appraise::{Finding, Outcome, Time};
use measure::digest::{Digest, Sha384, bytes_from_hex};
use measure::snp::appraise::{Demand, Permit};
use measure::snp::chain::Roots;
use measure::tdx::appraise::{
    Advisories, Evidence, Identity, Platforms, RULES, Requirements, Services, Tcb, TcbStatus, appraise,
};
use measure::tdx::collateral::{Collateral, Root};
use measure::tdx::quote::{BodyKind, Quote, QuoteError, TdAttributes};
use std::collections::BTreeSet;
use verify::bundle::TdxEvidence;
use verify::{Bundle, Policy, Request};

/// A quote with its collateral, and a time at which all of it was valid.
struct Sample {
    quote: Vec<u8>,
    collateral: Owned,
    now: Time,
}

#[derive(Clone)]
struct Owned {
    texts: [String; 5],
    bytes: [Vec<u8>; 4],
}

impl Owned {
    /// From the JSON object that dcap-qvl keeps, with bytes in hexadecimal.
    fn parse(json: &[u8]) -> Self {
        let value: serde_json::Value = serde_json::from_slice(json).expect("JSON");
        let text = |key: &str| value[key].as_str().expect(key).to_owned();
        let bytes = |key| bytes_from_hex(&text(key)).expect(key);
        let keys =
            ["pck_crl_issuer_chain", "tcb_info_issuer_chain", "tcb_info", "qe_identity_issuer_chain", "qe_identity"];
        Self {
            texts: keys.map(text),
            bytes: ["root_ca_crl", "pck_crl", "tcb_info_signature", "qe_identity_signature"].map(bytes),
        }
    }

    fn borrowed(&self) -> Collateral<'_> {
        let [pck_crl_issuer_chain, tcb_info_issuer_chain, tcb_info, qe_identity_issuer_chain, qe_identity] =
            &self.texts;
        let [root_ca_crl, pck_crl, tcb_info_signature, qe_identity_signature] = &self.bytes;
        Collateral {
            root_ca_crl,
            pck_crl,
            pck_crl_issuer_chain,
            tcb_info,
            tcb_info_signature,
            tcb_info_issuer_chain,
            qe_identity,
            qe_identity_signature,
            qe_identity_issuer_chain,
        }
    }
}

fn sample(name: &str, now: &str) -> Sample {
    let file = |name: &str| vectors::of_crate("dcap-qvl", &format!("sample/{name}"));
    let collateral = Owned::parse(&file(&format!("{name}_collateral.json")));
    Sample { quote: file(name), collateral, now: now.parse().expect("a time") }
}

fn v4() -> Sample {
    sample("tdx_quote", "2025-06-27T00:00:00Z")
}

fn v5() -> Sample {
    sample("tdx_quote_td15ex", "2026-10-20T00:00:00Z")
}

impl Sample {
    fn judged(&self, quote: &[u8], requirements: &Requirements) -> Vec<Finding> {
        let evidence = Evidence { quote, collateral: Some(self.collateral.borrowed()) };
        let findings = appraise(&evidence, Root::Intel, requirements, self.now);
        assert!(findings.iter().map(|finding| finding.rule).eq(RULES.iter().copied()));
        findings
    }

    fn refusing(&self) -> Vec<(&'static str, String)> {
        refusing(&self.judged(&self.quote, &strict(&self.quote)))
    }
}

/// Everything that this very quote says is required of it; these machines allow threads, more packages and cached keys.
fn strict(quote: &[u8]) -> Requirements {
    let body = Quote::parse(quote).expect("a quote").body;
    let this = |digest| Demand::Is(BTreeSet::from([digest]));
    Requirements {
        tcb: Tcb {
            statuses: BTreeSet::from([TcbStatus::UpToDate]),
            advisories: Advisories::NoneBut(BTreeSet::new()),
            evaluation_floor: Demand::Is(17),
        },
        platforms: Platforms {
            families: Demand::Is(BTreeSet::from(["b0c06f000000".parse().expect("an FMSPC")])),
            denied_families: BTreeSet::from(["90c06f000000".parse().expect("an FMSPC")]),
            machines: Demand::Any,
            denied_machines: BTreeSet::new(),
            smt: Permit::Accepted,
            dynamic: Permit::Accepted,
            cached_keys: Permit::Accepted,
        },
        modules: this(body.mrseam),
        attributes: TdAttributes(0),
        services: Services::None,
        // Neither quote has the body that could say.
        devices: Permit::Accepted,
        identity: Identity {
            mrtd: this(body.mrtd),
            rtmr: body.rtmr.map(this),
            mrconfigid: this(body.mrconfigid),
            mrowner: this(body.mrowner),
            mrownerconfig: this(body.mrownerconfig),
            report_data: Demand::Is(body.report_data),
        },
    }
}

/// The rules that failed.
fn broken(findings: &[Finding]) -> Vec<&'static str> {
    let failed = findings.iter().filter(|finding| finding.outcome == Outcome::Failed);
    failed.map(|finding| finding.rule.id).collect()
}

fn failed(id: &'static str) -> Vec<(&'static str, String)> {
    vec![(id, Outcome::Failed.to_string())]
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn quotes_are_accepted_while_their_collateral_is_valid_and_only_then() {
    for (mut sample, kind) in [(v4(), BodyKind::Td10), (v5(), BodyKind::Td15Extended)] {
        assert_eq!(Quote::parse(&sample.quote).expect("a quote").kind, kind);
        assert_eq!(sample.refusing(), [], "{kind}");
        let dates = sample.judged(&sample.quote, &strict(&sample.quote));
        let dates = dates.iter().find(|finding| finding.rule.id == "tdx.collateral.dates").expect("a finding");
        let mut ends = dates.observed.split(' ').filter_map(|word| word.parse::<Time>().ok());
        let [Time(from), Time(to)] = [ends.next().expect("a start"), ends.next().expect("an end")];
        // A revocation list is no longer valid at its end, a statement still is.
        for (now, accepted) in
            [(from, true), (to - 1, true), (from - 1, false), (to + 1, false), (from - 604_800, false)]
        {
            sample.now = Time(now);
            assert_eq!(sample.refusing(), if accepted { vec![] } else { failed("tdx.collateral.dates") }, "{now}");
        }
        for now in [0, u64::MAX] {
            sample.now = Time(now);
            assert_eq!(sample.refusing(), failed("tdx.collateral.dates"), "{now}");
        }
    }
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_platform_that_no_tcb_level_covers_is_refused() {
    let sample = sample("tdx_quote_outdated", "2026-02-25T00:00:00Z");
    let findings = sample.judged(&sample.quote, &strict(&sample.quote));
    assert_eq!(broken(&findings), ["tdx.tcb.level"]);
    assert!(findings.iter().any(|finding| finding.reason == "No matching TCB level found"), "{findings:?}");
}

#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_quote_without_collateral_is_undecided() {
    // Its guest can be made to take an exception on a page that the host took away, and something follows the quote.
    let padded = vectors::of_go("golang-github-google-go-tdx-guest-dev", "testing/testdata/tdx_prod_quote_SPR_E4.dat");
    assert_eq!(Quote::parse(&padded), Err(QuoteError::Trailing { end: 4935 }));
    let quote = &padded[..4935];
    let asked = Requirements { attributes: TdAttributes::PKS, ..strict(quote) };
    let findings = appraise(&Evidence { quote, collateral: None }, Root::Intel, &asked, v4().now);
    assert_eq!(broken(&findings), ["tdx.attributes.sept-ve-disable"]);
    let undecided = refusing(&findings);
    assert_eq!((undecided.first().map(|(id, _)| *id), undecided.len()), (Some("tdx.collateral.size"), 21));

    // With somebody else's, it is Intel's statement about another processor; the signatures are good all the same.
    let findings = v4().judged(quote, &asked);
    assert_eq!(broken(&findings), ["tdx.tcb.level", "tdx.attributes.sept-ve-disable"]);
    let level = findings.iter().find(|finding| finding.rule.id == "tdx.tcb.level").expect("a finding");
    assert_eq!(level.reason, "Fmspc mismatch");
}

/// What is required of an accepted quote, changed in one point.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn each_requirement_refuses_alone() {
    let sample = v5();
    fn other() -> Demand<BTreeSet<Sha384>> {
        Demand::Is(BTreeSet::from([Sha384::of(b"another")]))
    }
    type Change = fn(&mut Requirements);
    let changes: [(&str, Change); 18] = [
        ("tdx.tcb.status", |asked| asked.tcb.statuses = BTreeSet::from([TcbStatus::OutOfDate])),
        ("tdx.tcb.evaluation", |asked| asked.tcb.evaluation_floor = Demand::Is(21)),
        ("tdx.platform.fmspc-allowed", |asked| asked.platforms.families = Demand::Is(BTreeSet::new())),
        ("tdx.platform.fmspc-denied", |asked| {
            asked.platforms.denied_families = BTreeSet::from(["b0c06f000000".parse().expect("an FMSPC")]);
        }),
        ("tdx.platform.ppid-allowed", |asked| asked.platforms.machines = Demand::Is(BTreeSet::new())),
        ("tdx.platform.ppid-denied", |asked| {
            let machine = "d6fbe62fefe590c45a33afa4adaad111".parse().expect("a PPID");
            asked.platforms.denied_machines = BTreeSet::from([machine]);
        }),
        ("tdx.platform.smt", |asked| asked.platforms.smt = Permit::Refused),
        ("tdx.platform.dynamic", |asked| asked.platforms.dynamic = Permit::Refused),
        ("tdx.platform.cached-keys", |asked| asked.platforms.cached_keys = Permit::Refused),
        ("tdx.module.mrseam", |asked| asked.modules = other()),
        ("tdx.services", |asked| asked.services = Services::OneOf(BTreeSet::new())),
        ("tdx.mrtd", |asked| asked.identity.mrtd = other()),
        ("tdx.rtmr0", |asked| asked.identity.rtmr[0] = other()),
        ("tdx.rtmr3", |asked| asked.identity.rtmr[3] = other()),
        ("tdx.mrconfigid", |asked| asked.identity.mrconfigid = other()),
        ("tdx.mrowner", |asked| asked.identity.mrowner = other()),
        ("tdx.mrownerconfig", |asked| asked.identity.mrownerconfig = other()),
        ("tdx.report-data", |asked| asked.identity.report_data = Demand::Is(Digest::new([0; 64]))),
    ];
    for (rule, change) in changes {
        let mut asked = strict(&sample.quote);
        change(&mut asked);
        assert_eq!(refusing(&sample.judged(&sample.quote, &asked)), failed(rule));
    }
}

/// One bit of each part of the evidence: the rule about that part fails, and no other.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_change_breaks_the_rule_about_what_was_changed() {
    let Sample { quote, collateral, now } = v5();
    let parsed = Quote::parse(&quote).expect("a quote");
    let place = |part: &[u8]| part.as_ptr().addr() - quote.as_ptr().addr();
    let (qe_report, key) = (place(parsed.qe_report), place(parsed.key));
    // Of the header, what the quoting service chose; of the body, REPORTDATA, which is then what is required.
    let in_quote = [
        ("tdx.quote.version", 1, 8),
        ("tdx.quote.key-type", 2, 1),
        ("tdx.quote.tee-type", 4, 1),
        ("tdx.quote.vendor", 12, 1),
        ("tdx.quote.body", 48, 1),
        ("tdx.quote.size", place(parsed.signature) - 4, 1),
        ("tdx.signature.quote", 28, 1),
        ("tdx.signature.quote", 54 + 520, 1),
        ("tdx.signature.quote", place(parsed.signature) + 40, 1),
        ("tdx.signature.key", key + 3, 1),
        ("tdx.signature.key", place(parsed.authentication), 1),
        ("tdx.signature.qe-report", qe_report + 64, 1),
        ("tdx.signature.qe-report", place(parsed.qe_signature), 1),
        // A bit of the first certificate's serial number.
        ("tdx.chain", place(parsed.pck_chain) + 28 + 16, 1),
    ];
    for (rule, at, bit) in in_quote {
        let mut changed = quote.clone();
        changed[at] ^= bit;
        let asked = strict(if Quote::parse(&changed).is_ok() { &changed } else { &quote });
        let sample = Sample { quote: changed, collateral: Owned::clone(&collateral), now };
        let findings = sample.judged(&sample.quote, &asked);
        assert_eq!(broken(&findings), [rule], "byte {at}");
    }
    let in_collateral = [
        ("tdx.collateral.tcb-info", "tcb_info"),
        ("tdx.collateral.tcb-info", "tcb_info_signature"),
        ("tdx.collateral.qe-identity", "qe_identity"),
        ("tdx.collateral.qe-identity", "qe_identity_signature"),
        ("tdx.chain", "root_ca_crl"),
        ("tdx.chain", "pck_crl"),
    ];
    for (rule, part) in in_collateral {
        let mut changed = collateral.clone();
        let text = |text: &mut String, from: &str, to: &str| {
            assert!(text.contains(from));
            *text = text.replacen(from, to, 1);
        };
        match part {
            "tcb_info" => text(&mut changed.texts[2], "UpToDate", "OutOfDate"),
            "qe_identity" => text(&mut changed.texts[4], "UpToDate", "OutOfDate"),
            "root_ca_crl" => *changed.bytes[0].last_mut().expect("bytes") ^= 1,
            "pck_crl" => *changed.bytes[1].last_mut().expect("bytes") ^= 1,
            "tcb_info_signature" => changed.bytes[2][40] ^= 1,
            _ => changed.bytes[3][40] ^= 1,
        }
        let sample = Sample { quote: quote.clone(), collateral: changed, now };
        let findings = sample.judged(&quote, &strict(&quote));
        assert_eq!(broken(&findings), [rule], "{part}");
    }
}

/// The root that is asked for is the one that counts, whatever the quote brings along.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn another_root_is_another_answer() {
    let sample = v5();
    let chain = vectors::certificates(Quote::parse(&sample.quote).expect("a quote").pck_chain);
    let evidence = Evidence { quote: &sample.quote, collateral: Some(sample.collateral.borrowed()) };
    let [leaf, issuer, intel] = &chain[..] else { panic!("expected three certificates") };
    for (root, expected) in [(leaf, vec!["tdx.chain"]), (issuer, vec!["tdx.chain"]), (intel, vec![])] {
        let findings = appraise(&evidence, Root::Simulated(root), &strict(&sample.quote), sample.now);
        assert_eq!(broken(&findings), expected);
    }
    let findings = appraise(&evidence, Root::Simulated(b"none"), &strict(&sample.quote), sample.now);
    assert_eq!(broken(&findings), ["tdx.chain"]);
}

/// All the way from bundle and policy to the verdict. The strict policy wants a release that names the registers.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn a_bundle_is_accepted_by_a_policy_that_accepts_what_is_in_it() {
    let file = |name: &str| vectors::of_crate("dcap-qvl", &format!("sample/{name}"));
    let evidence =
        TdxEvidence { quote: file("tdx_quote_td15ex"), collateral: Some(file("tdx_quote_td15ex_collateral.json")) };
    let bundle = Bundle::bare(verify::bundle::Evidence::Tdx(evidence)).to_bytes().expect("a small bundle");
    let bundle = Bundle::parse(&bundle).expect("a bundle");
    let mut table: toml::Table = include_str!("../../../policies/strict.toml").parse().expect("TOML");
    let verdict = |policy: &toml::Table| {
        let policy = Policy::parse("strict.toml", policy.to_string().as_bytes()).expect("a policy");
        let request =
            Request { bundle: &bundle, release: None, memories: &[], report_data: &Demand::Any, now: v5().now };
        verify::appraise(&request, &policy, &Roots::amd())
    };
    assert_ne!(verdict(&table).outcome(), verify::verdict::Outcome::Accepted);
    table["release"] = "any".into();
    let tdx = table["tdx"].as_table_mut().expect("a table");
    for key in ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid"] {
        tdx[key] = "any".into();
    }
    tdx["smt"] = "accepted".into();
    tdx["dynamic-platforms"] = "accepted".into();
    tdx["devices"] = "accepted".into();
    let verdict = verdict(&table);
    assert_eq!(verdict.outcome(), verify::verdict::Outcome::Accepted, "{:?}", refusing(verdict.findings()));
}

/// Some hundred single bits of all that counts: the quote without the last of its certificates, a copy of the root that
/// nothing reads because the root is pinned. The text of certificates has spare bits; those that do not show are skipped.
#[test]
#[ignore = "needs VITRINE_CACHE; run by cargo xtask ci"]
fn no_changed_bit_is_accepted() {
    for sample in [v4(), v5()] {
        let quote = &sample.quote;
        let text = Quote::parse(quote).expect("a quote").pck_chain;
        let binary = text.as_ptr().addr() - quote.as_ptr().addr();
        let certificates = |quote: &[u8]| pem::parse_many(&quote[binary..]).ok();
        let begins = text.windows(11).enumerate().filter(|(_, window)| window == b"-----BEGIN ");
        let root = begins.map(|(at, _)| at).nth(2).expect("three certificates");
        let (asked, mut tried) = (strict(quote), 0);
        for (at, bit) in bits(binary, 200).chain(bits(root, 60).map(|(at, bit)| (binary + at, bit))) {
            let mut changed = quote.clone();
            changed[at] ^= bit;
            if at >= binary && certificates(&changed) == certificates(quote) {
                continue;
            }
            tried += 1;
            assert_ne!(broken(&sample.judged(&changed, &asked)), [""; 0], "byte {at}, bit {bit}");
        }
        assert!(tried >= 230, "{tried}");
    }
}
