//! `why` about the finished build (`$VITRINE_DIST`): up from a file, and back from digests of every kind. Run by `cargo xtask ci`.

#![expect(clippy::disallowed_methods, reason = "the program under test, and which build it is asked about")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn dist() -> PathBuf {
    std::env::var_os("VITRINE_DIST").expect("VITRINE_DIST: the output of `cargo xtask build`").into()
}

fn manifest() -> Value {
    serde_json::from_slice(&std::fs::read(dist().join("manifest.json")).unwrap()).unwrap()
}

/// The exit code and the answer.
fn why(what: &str) -> (i32, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["why", "--json", what, "--dist"]).arg(dist());
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let Output { status, stdout, stderr } = command.current_dir(checkout).output().unwrap();
    let answer = serde_json::from_slice(&stdout);
    (status.code().unwrap(), answer.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&stderr))))
}

/// The only thing that is called so.
#[track_caller]
fn one(what: &str) -> Value {
    let (code, answer) = why(what);
    assert_eq!((code, answer["found"].as_array().map(Vec::len)), (0, Some(1)), "{what}: {answer}");
    answer["found"][0].clone()
}

/// Whether `list` has something of this kind and name.
fn has(list: &Value, kind: &str, name: &str) -> bool {
    list.as_array().unwrap().iter().any(|node| node["kind"] == kind && node["name"] == name)
}

const LAUNCH: [(&str, &str); 4] =
    [("volume", "root volume"), ("command-line", "snp"), ("launch", "snp"), ("launch", "simulated")];

#[test]
#[ignore = "needs a finished build"]
fn up_from_a_file_of_the_guest() {
    let libc = one("/usr/lib/x86_64-linux-gnu/libc.so.6");
    let from: Vec<_> = libc["from"].as_array().unwrap().iter().filter(|node| node["kind"] == "package").collect();
    assert!(from.len() == 1 && from[0]["name"].as_str().unwrap().starts_with("libc6 "), "{from:?}");
    assert!(from[0]["note"].as_str().unwrap().starts_with("source glibc "), "{from:?}");

    let agent = one("usr/bin/enclave-agent");
    assert!(has(&agent["from"], "committed", "enclave-agent/src/main.rs"), "{agent}");
    assert!(!has(&agent["from"], "committed", "client/src/main.rs"), "{agent}");

    let hosts = one("rootfs:etc/hosts");
    let of_hosts = hosts["from"].as_array().unwrap().iter().filter(|node| node["kind"] == "committed");
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%H", "--"]).args(of_hosts.map(|node| node["name"].as_str().unwrap()));
    let last = git.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).output().unwrap();
    let last = String::from_utf8(last.stdout).unwrap();
    assert_eq!(hosts["commit"].as_str().unwrap_or_default(), last.trim(), "{hosts}");
    assert!(has(&hosts["from"], "committed", "content/rootfs/etc/hosts"), "{hosts}");
    for path in [libc, agent, hosts] {
        for (kind, name) in LAUNCH {
            assert!(has(&path["moves"], kind, name), "{kind} {name}: {path}");
        }
    }
    // The client is no part of the image, and what opens the model is not what the root is made of.
    let client = one("dist/vitrine");
    assert!(has(&client["from"], "committed", "client/src/main.rs") && client["moves"] == serde_json::json!([]));
    let volume = one("model volume");
    assert!(has(&volume["from"], "fetched", "smollm2") && !has(&volume["from"], "path", "rootfs:etc/hosts"));
}

#[test]
#[ignore = "needs a finished build"]
fn back_from_digests() {
    let manifest = manifest();
    let text = |pointer: &str| manifest.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let locked = image::inputs::crates::read(checkout).unwrap();
    let crate_of = |name: &str| locked.iter().find(|locked| locked.name == name).unwrap().sha256.to_string();
    let lock = image::inputs::lock::Lock::read(&checkout.join("image.lock")).unwrap();
    let stage = |name: &str| {
        let records = image::pipeline::dist::records(&dist()).unwrap();
        records.into_iter().find(|record| record.stage.name() == name).unwrap()
    };
    for (digest, kind, name) in [
        (manifest["root"]["root_sha256"].as_str().unwrap().to_owned(), "volume", "root volume"),
        (text("/artifacts/vitrine/sha256"), "artifact", "vitrine"),
        (lock.package("ovmf-amdsev").unwrap().sha256.to_string(), "package", "ovmf-amdsev "),
        (crate_of("hyper"), "crate", "hyper "),
        (crate_of("llama-cpp-sys-2"), "crate", "llama-cpp-sys-2 "),
        (crate_of("clap_mangen"), "crate", "clap_mangen "),
        (stage("guest").input.to_string(), "stage", "guest"),
        (stage("rootfs").output.to_string(), "stage", "rootfs"),
        (text("/boots/0/snp/rows/77/launch_digest_sha384"), "launch", "snp"),
        (text("/boots/1/snp/source/before_vmsas_sha384"), "launch", "simulated"),
    ] {
        for asked in [digest.as_str(), &digest[..12], &format!("sha256:{digest}")] {
            let found = one(asked);
            assert_eq!(found["kind"], kind, "{asked}: {found}");
            assert!(found["name"].as_str().unwrap().starts_with(name), "{asked}: {found}");
        }
    }
    let row = one(&text("/boots/0/snp/rows/77/launch_digest_sha384"));
    assert_eq!(row["shape"]["vcpus"], manifest["boots"][0]["snp"]["rows"][77]["vcpus"], "{row}");
    for prefix in ["ovmf-amdsev", "linux-image-"] {
        let package = lock.packages.iter().find(|package| package.name.starts_with(prefix)).unwrap();
        let found = one(&package.name);
        assert!(has(&found["moves"], "launch", "snp") && !has(&found["moves"], "volume", "root volume"), "{found}");
    }
    for nothing in ["nosuch", "0000000", "00000000000000000000", "/usr/bin/nosuch"] {
        assert_eq!(why(nothing).0, 1, "{nothing}");
    }
}
