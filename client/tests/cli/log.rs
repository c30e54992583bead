//! `vitrine verify --state` and `vitrine fetch-collateral --log`, on a simulated log.

use super::demo::{self, NOW};
use super::server::{Reply, Server};
use super::{Ran, committed, run, vitrine};
use log_client::edge::log::Log;
use log_client::note::SignatureType;
use measure::Sha256;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::Report;
use simulate::log::{ORIGIN, World, policy, signer};
use std::fs;
use std::path::{Path, PathBuf};
use verify::bundle::Evidence;
use verify::{Bundle, Memory};

fn world() -> World {
    let tcb = TcbVersion { fmc: 1, boot_loader: 1, tee: 1, snp: 4, microcode: 90 };
    let chip = Report::parse(&demo::evidence().report).unwrap().chip_id();
    World::good(NOW, Tee::Simulated, (Product::Turin, tcb, chip))
}

/// A directory with the policy of the demonstration that asks for everything of the log, but for what comes and goes.
fn directory() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut demanded: toml::Table = fs::read_to_string(committed("docs/demo/policy.toml")).unwrap().parse().unwrap();
    let mut release = policy();
    release["log"]["tail"] = "any".into();
    demanded.insert("release".into(), release.into());
    fs::write(dir.path().join("policy"), demanded.to_string()).unwrap();
    dir
}

fn bundle(world: &World) -> Vec<u8> {
    Bundle { feed: world.feed(), ..Bundle::bare(Evidence::Snp(demo::evidence())) }.to_bytes().unwrap()
}

/// The verdict on `bundle` by a client that remembers.
fn verdict(dir: &Path, bundle: &[u8]) -> Ran {
    fs::write(dir.join("bundle"), bundle).unwrap();
    let mut command = vitrine(["verify", "bundle", "--policy", "policy", "--now", &NOW.0.to_string()]);
    command.args(["--state", "state", "--dangerously-accept-simulated-hardware"]).current_dir(dir);
    run(&mut command)
}

fn memory(dir: &Path) -> PathBuf {
    dir.join("state").join(format!("{}.json", Sha256::of(ORIGIN.as_bytes())))
}

#[test]
fn what_was_accepted_is_remembered_and_nothing_older_is() {
    let dir = directory();
    let dir = dir.path();
    let refused = |ran: Ran, rule: &str| {
        assert_eq!(ran.code, Some(1), "{}", ran.stdout);
        assert!(ran.stderr.contains(&format!("no: rejected: {rule} failed")), "{}", ran.stderr);
    };
    // What is rejected is not remembered.
    let frozen = World { cosigned: vec![], ..world() };
    refused(verdict(dir, &bundle(&frozen)), "log.witnesses");
    assert!(!memory(dir).exists());

    let ran = verdict(dir, &bundle(&world()));
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);
    let first = fs::read(memory(dir)).unwrap();
    let known = Memory::parse(&first).unwrap();
    assert_eq!((known.size, known.counter, known.sequence), (7, 4, 5));
    assert_eq!(verdict(dir, &bundle(&world())).code, Some(0), "the same once more");

    // The log goes on, and the bundle proves that it does.
    let mut grown = world();
    grown.behind.push(b"more".to_vec());
    grown.seen = 7;
    assert_eq!(verdict(dir, &bundle(&grown)).code, Some(0));
    assert_eq!(Memory::parse(&fs::read(memory(dir)).unwrap()).unwrap().size, 8);
    refused(verdict(dir, &bundle(&world())), "log.rollback");
    let mut forked = world();
    forked.behind.push(b"another".to_vec());
    refused(verdict(dir, &bundle(&forked)), "log.consistency");
    assert_eq!(Memory::parse(&fs::read(memory(dir)).unwrap()).unwrap().size, 8, "a refusal changes nothing");

    // Who has lost the memory relies on the status; a broken one is not taken for a lost one.
    fs::write(memory(dir), &first[1..]).unwrap();
    let ran = verdict(dir, &bundle(&world()));
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("without this file the client starts anew"), "{}", ran.stderr);
    fs::remove_file(memory(dir)).unwrap();
    assert_eq!(verdict(dir, &bundle(&world())).code, Some(0));
    assert_eq!(fs::read(memory(dir)).unwrap(), first);
}

/// A directory that anybody can serve, with the world's log in it.
fn log(world: &World, root: &Path) {
    let key = signer(ORIGIN, SignatureType::ED25519);
    let log = if root.join(".state").exists() { Log::open(root).unwrap() } else { Log::init(root, &key).unwrap() };
    let (log, _indexes) = log.append(&world.entries()).unwrap();
    let checkpoint = world.checkpoint(world.entries().len(), &world.cosigned);
    let lines = checkpoint.split_inclusive('\n').skip_while(|line| !line.starts_with('\u{2014}')).skip(1);
    log.sign(&key).unwrap().publish(&lines.map(str::to_owned).collect::<Vec<_>>()).unwrap();
}

#[test]
fn a_bundle_is_filled_from_a_log() {
    let dir = directory();
    let dir = dir.path();
    let world = world();
    log(&world, &dir.join("log"));
    let file = |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).unwrap();
    let mut fleet = world.fleet.clone();
    fleet.sort();
    file("roster", fleet.iter().map(|chip| format!("{chip}\n")).collect::<String>().as_bytes());
    file("release", &world.release());
    file("proof", &world.feed().earlier_proof.unwrap());
    file("bare", &fs::read(committed("docs/demo/evidence.vitrine-bundle")).unwrap());
    let crl = Reply::File(demo::evidence().crl.unwrap(), String::new());
    let server = Server::new([("/vcek/v1/Turin/crl", crl)]);
    let fetch = |arguments: &str| {
        let mut command =
            vitrine(["fetch-collateral", "--now", &NOW.0.to_string(), "--kds", &server.url, "--out", "filled"]);
        run(command.args(arguments.split(' ')).env("VITRINE_CACHE", dir).current_dir(dir))
    };
    for (arguments, reason) in [
        ("bare --log log", "--policy"),
        ("bare --log log --policy policy", "which release? Name it with --entry or --release"),
        ("bare --log log --policy policy --entry 9", "is no release of this log"),
        ("bare --log nowhere --policy policy --entry 2", "nowhere has no checkpoint"),
        ("bare --log log --policy policy --entry 1 --release release", "another release"),
        ("bare --log https://127.0.0.1:1/ --policy policy --entry 2 --offline", "not with --offline"),
        ("bare --feed roster", "feed: expected the first line"),
    ] {
        let ran = fetch(arguments);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{arguments}: {}", ran.stderr);
    }
    let all = "--policy policy --log log --roster roster --tail --state state";
    let ran = fetch(&format!("bare --release release --proof proof {all}"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let filled = fs::read(dir.join("filled")).unwrap();
    // The same as the world shows, but for the proof of consistency: nothing is remembered yet.
    let mut expected = world.feed();
    expected.consistency = None;
    expected.rebuilds.reverse();
    assert_eq!(Bundle::parse(&filled).unwrap().feed, expected);
    let ran = verdict(dir, &filled);
    assert_eq!(ran.code, Some(0), "{}", ran.stdout);

    // Renewed after the log has grown: what is remembered is continued.
    let mut grown = world.clone();
    grown.behind.push(b"more".to_vec());
    log(&grown, &dir.join("log"));
    let ran = fetch(&format!("filled {}", all.replace("--roster roster ", "")));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let renewed = fs::read(dir.join("filled")).unwrap();
    let feed = Bundle::parse(&renewed).unwrap().feed;
    assert!(feed.consistency.is_some() && feed.earlier_proof == expected.earlier_proof);
    assert_eq!(verdict(dir, &renewed).code, Some(0));
    assert_eq!(Memory::parse(&fs::read(memory(dir)).unwrap()).unwrap().size, 8);

    // A feed that somebody else made is put in as it is.
    fs::write(dir.join("feed"), feed.to_bytes().unwrap()).unwrap();
    assert_eq!(fetch("bare --feed feed").code, Some(0));
    assert_eq!(fs::read(dir.join("filled")).unwrap(), renewed);
}
