//! `vitrine fetch-collateral`.

use super::demo;
use super::{run, vitrine};
use crate::server::{Reply, Server};
use std::fs;

#[test]
fn what_it_cannot_do_is_undecided_and_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("report"), demo::evidence().report).unwrap();
    fs::write(dir.path().join("garbage"), [0x5a; 2000]).unwrap();
    let server = Server::new([("/", Reply::Status(404, String::new()))]);
    let kds = format!("--kds {}", server.url);
    for (arguments, reason) in [
        ("--report report --offline --out out", "is not in the cache; without --offline it would be fetched"),
        ("--report garbage --offline --out out", "expected 1184 bytes, found 2000"),
        ("--quote garbage --offline --out out", "the quote"),
        ("--report missing --offline --out out", "reading missing: No such file"),
        ("garbage --offline --out out", "garbage: bundle: expected the first line"),
        ("--report report --cert garbage --offline --out out", "garbage: expected a certificate"),
        ("--report report --out out --product Rome", "expected one of"),
        ("--report report --offline", "--out"),
        ("--out out", "BUNDLE"),
        ("--report report --out out KDS", "answered 404 Not Found"),
    ] {
        let arguments = arguments.replace("KDS", &kds);
        let mut command = vitrine(["fetch-collateral"]);
        let ran = run(command.args(arguments.split(' ')).env("VITRINE_CACHE", dir.path()).current_dir(dir.path()));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{arguments}: {}", ran.stderr);
        assert!(!dir.path().join("out").exists(), "{arguments}");
    }
    let mut command = vitrine(["fetch-collateral", "--report", "report", "--out", "out"]);
    let ran = run(command.current_dir(dir.path()));
    assert!(ran.stderr.contains("no cache directory: set VITRINE_CACHE"), "{}", ran.stderr);
}

/// From a report to a verdict: once over the network, then without.
#[cfg(feature = "simulated-hardware")]
#[test]
fn a_report_becomes_a_bundle_that_verifies_without_a_network() {
    use super::committed;
    let dir = tempfile::tempdir().unwrap();
    let evidence = demo::evidence();
    fs::write(dir.path().join("report"), &evidence.report).unwrap();
    fs::write(dir.path().join("release"), "{}").unwrap();
    let [leaf, ask, ark] = [&evidence.leaf, &evidence.ask, &evidence.ark].map(|der| der.clone().unwrap());
    let chain = [ask, ark].map(|der| pem::encode(&pem::Pem::new("CERTIFICATE", der)));
    let file = |bytes: &[u8]| Reply::File(bytes.to_vec(), String::new());
    let server = Server::new([
        ("/vcek/v1/Turin/c1c1c1c1c1c1c1c1?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=90", file(&leaf)),
        ("/vcek/v1/Turin/cert_chain", file(chain.concat().as_bytes())),
        ("/vcek/v1/Turin/crl", file(evidence.crl.as_ref().unwrap())),
    ]);
    let fetch = |arguments: &str| {
        let mut command =
            vitrine(["fetch-collateral", "--json", "--now", &demo::NOW.0.to_string(), "--kds", &server.url]);
        run(command.args(arguments.split(' ')).env("XDG_CACHE_HOME", dir.path()).current_dir(dir.path()))
    };
    for (arguments, requests) in [
        ("--report report --out first", 3),
        ("--report report --out again", 0),
        ("--report report --out again --offline", 0),
        ("first --out first --offline", 0),
        ("first --out released --release release", 0),
    ] {
        let ran = fetch(arguments);
        let value: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        assert_eq!((ran.code, &value["outcome"]), (Some(0), &"ok".into()), "{value}");
        assert_eq!((value["fetched"].as_array().map(Vec::len), server.seen().len()), (Some(requests), requests));
    }
    let read = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let demonstration = fs::read(committed("docs/demo/evidence.vitrine-bundle")).unwrap();
    assert!(read("first") == demonstration && read("again") == demonstration);
    let released = verify::Bundle::parse(&read("released")).unwrap();
    assert_eq!((released.feed.release.as_deref(), released.feed.release_proof), (Some(&b"{}"[..]), None));
}
