//! TDX quotes as far as bundle and policy are concerned; the rules over them are tested in `measure`.

use super::*;
use verify::bundle::TdxEvidence;

/// Collateral in form only.
const COLLATERAL: &str = r#"{"pck_crl_issuer_chain":"","root_ca_crl":"00","pck_crl":"","tcb_info_issuer_chain":"",
    "tcb_info":"{\"id\":\"TDX\"}","tcb_info_signature":"","qe_identity_issuer_chain":"","qe_identity":"",
    "qe_identity_signature":""}"#;

fn findings(collateral: &str, policy: &Table) -> Verdict {
    let evidence = TdxEvidence { quote: vec![4; 700], collateral: Some(collateral.into()) };
    verdict(&Bundle::bare(Evidence::Tdx(evidence)), policy, Origin::Hardware)
}

#[test]
fn collateral_is_one_json_object_of_known_members() {
    let failed = |collateral: &str| ids(&findings(collateral, &strict()), Answer::Failed);
    let unreadable = |collateral: &str| failed(collateral).contains("evidence.collateral");
    assert!(!unreadable(COLLATERAL));
    assert!(!unreadable(&COLLATERAL.replacen('{', r#"{"pck_certificate_chain":"","#, 1)));
    for (from, to) in [
        ("{\"pck_crl_issuer", "{\"more\":1,\"pck_crl_issuer"),
        ("{\"pck_crl_issuer", "{\"pck_crl\":\"\",\"pck_crl_issuer"),
        ("\"pck_crl\":\"\",", ""),
        ("\"00\"", "\"0\""),
        ("\"00\"", "\"0G\""),
        ("\"00\"", "0"),
        ("{", ""),
    ] {
        let changed = COLLATERAL.replacen(from, to, 1);
        assert_ne!(changed, COLLATERAL);
        assert!(unreadable(&changed), "{changed}");
    }
}

#[test]
fn a_kind_that_the_policy_refuses_is_refused_as_a_whole() {
    let mut policy = hardware_only();
    policy["tdx"] = Value::String("refused".into());
    policy["snp"] = Value::String("refused".into());
    let quote = findings(COLLATERAL, &policy);
    let report = verdict(&bundle(&best(Product::Turin)), &policy, Origin::Hardware);
    for verdict in [quote, report] {
        assert_eq!(verdict.outcome(), Outcome::Rejected);
        assert_eq!(ids(&verdict, Answer::Failed), ["evidence.kind"].into());
        let mut permitted = verdict.findings().iter().filter(|found| found.permits());
        const BESIDE: [&str; 6] = ["session.", "operator.", "release.", "log.", "status.", "fleet."];
        assert!(permitted.all(|found| BESIDE.iter().any(|group| found.rule.id.starts_with(group))));
        assert!(verdict.findings().len() > 50);
    }
}
