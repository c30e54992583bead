//! A real Rekor v2 server and stock cosign: what we publish is accepted, what is tampered with is not.
//!
//! Ignored unless asked for; `docs/interop.md` says where the programs come from. With VITRINE_RECORD set, the first
//! exchanges are written to `log-client/src/rekor/recorded/`.

#![expect(clippy::disallowed_methods, reason = "starts the programs that it is told of")]

mod engines;

use engines::{Running, free_ports, program};
use log_client::keys::{SigningKey, SubmissionKey};
use log_client::monitor::{Kind, State, Watch};
use log_client::rekor::http::Http;
use log_client::rekor::publish::{PublicLog as _, RekorV2, Request, Response};
use log_client::rekor::{SigningConfig, Submission, TrustedRoot};
use log_client::sigstore::{self, Bundle};
use log_client::{Policy, SplitView};
use measure::appraise::Time;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

/// More than a full tile.
const ENTRIES: u64 = 300;
/// Submissions at a time: each waits for the next checkpoint.
const PARALLEL: usize = 50;

fn base64(bytes: &[u8]) -> String {
    use base64ct::Encoding as _;
    base64ct::Base64::encode_string(bytes)
}

struct Server {
    _running: Running,
    url: String,
    storage: PathBuf,
}

impl Server {
    fn start(directory: &Path) -> Self {
        let seed = [7; 32];
        // PrivateKeyInfo of Ed25519 (RFC 8410).
        let prefix = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        let key = directory.join("log.pem");
        let pem = base64(&[&prefix[..], &seed].concat());
        fs::write(&key, format!("-----BEGIN PRIVATE KEY-----\n{pem}\n-----END PRIVATE KEY-----\n")).unwrap();
        let [http, grpc, metrics] = free_ports();
        let storage = directory.join("storage");
        let child = program("rekor-server")
            .args(["serve", "--hostname", "log.example", "--checkpoint-interval", "500ms", "--storage-dir"])
            .arg(&storage)
            .arg("--signer-filepath")
            .arg(&key)
            .args(["--http-port", &http.to_string(), "--grpc-port", &grpc.to_string()])
            .args(["--http-metrics-port", &metrics.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { _running: Running(child), url: format!("http://127.0.0.1:{http}"), storage };
        let deadline = Instant::now() + Duration::from_secs(60);
        let request = Request { url: format!("{}/healthz", server.url), body: None, limit: 4096 };
        while Http::new().exchange(&request).is_err() {
            assert!(Instant::now() < deadline, "the server does not answer");
            thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// The server takes entries and its directory is served by whoever likes: here, by us.
    fn exchange(&self, request: &Request) -> io::Result<Response> {
        let path = request.url.strip_prefix("https://log.example/").expect("one log");
        match path.strip_prefix("api/v2/").filter(|_| request.body.is_none()) {
            Some(file) => Ok(match fs::read(self.storage.join(file)) {
                Ok(body) => Response { status: 200, log_index: None, body },
                Err(_absent) => Response { status: 404, log_index: None, body: Vec::new() },
            }),
            None => Http::new().exchange(&Request { url: format!("{}/{path}", self.url), ..request.clone() }),
        }
    }
}

fn trusted_root() -> Value {
    let key = SigningKey::from_seed(&[7; 32]).public();
    let spki = [&[0x30, 0x2a, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 0x21, 0][..], key.as_bytes()].concat();
    let id = measure::Sha256::of(&[b"log.example\n\x01", &key.as_bytes()[..]].concat());
    json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "tlogs": [{
            "baseUrl": "https://log.example",
            "hashAlgorithm": "SHA2_256",
            "publicKey": {
                "rawBytes": base64(&spki), "keyDetails": "PKIX_ED25519", "validFor": {"start": "2026-01-01T00:00:00Z"},
            },
            "logId": {"keyId": base64(id.as_bytes())},
        }],
        "certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": [],
    })
}

fn signing_config() -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
        "caUrls": [], "oidcUrls": [], "tsaUrls": [],
        "rekorTlogUrls": [{
            "url": "https://log.example", "majorApiVersion": 2, "operator": "example",
            "validFor": {"start": "2026-01-01T00:00:00Z"},
        }],
        "rekorTlogConfig": {"selector": "ANY"}, "tsaConfig": {"selector": "ANY"},
    })
}

fn cosign_accepts(directory: &Path, artifact: &[u8], bundle: &[u8]) -> bool {
    let file = |name: &str, bytes: &[u8]| {
        fs::write(directory.join(name), bytes).unwrap();
        directory.join(name)
    };
    let output = program("cosign")
        .env("HOME", directory)
        .args(["verify-blob", "--key"])
        .arg(directory.join("key.pub"))
        .arg("--bundle")
        .arg(file("bundle.json", bundle))
        .arg("--trusted-root")
        .arg(directory.join("trusted_root.json"))
        .arg(file("artifact", artifact))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.success(), said.contains("Verified OK"), "{said}");
    output.status.success()
}

#[test]
#[ignore = "needs a Rekor v2 server and cosign"]
fn published_and_accepted_by_cosign() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let server = Server::start(directory);
    let key = SubmissionKey::from_scalar(&[5; 32]).unwrap();
    let pem = log_client::keys::at_rest::AnyPublicKey::P256(key.public()).to_pem();
    fs::write(directory.join("key.pub"), pem).unwrap();
    let (root_json, config_json) = (trusted_root().to_string(), signing_config().to_string());
    fs::write(directory.join("trusted_root.json"), &root_json).unwrap();
    let root = TrustedRoot::parse(root_json.as_bytes()).unwrap();
    let config = SigningConfig::parse(config_json.as_bytes()).unwrap();
    let service = config.rekor_v2(Time(1_800_000_000)).unwrap();

    let recorded = RefCell::new(Vec::new());
    let exchange = |request: &Request| {
        let response = server.exchange(request)?;
        recorded.borrow_mut().push(json!({
            "url": request.url, "request": request.body, "status": response.status,
            "log_index": response.log_index, "response": base64(&response.body),
        }));
        Ok(response)
    };
    let mut log = RekorV2 { service, root: &root, exchange };

    // Accepted; and asked again, proved by tiles.
    let artifact = |number: u64| format!("release {number}").into_bytes();
    let mut bundles = Vec::new();
    for number in [0, 1, 2, 1] {
        let submission = Submission::sign(&artifact(number), &key);
        let published = log.submit(&submission).unwrap();
        assert_eq!(published.entry.index, number);
        bundles.push((number, sigstore::write(&submission, &published)));
    }
    if std::env::var_os("VITRINE_RECORD").is_some() {
        let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rekor/recorded");
        let exchanges = serde_json::to_string_pretty(&*recorded.borrow()).unwrap();
        for (name, text) in [
            ("exchanges.json", exchanges + "\n"),
            ("trusted_root.json", root_json.clone()),
            ("signing_config.json", config_json.clone()),
            ("bundle.json", String::from_utf8(bundles[3].1.clone()).unwrap()),
        ] {
            fs::write(out.join(name), text).unwrap();
        }
    }

    // A tree with a full tile.
    let rest: Vec<u64> = (3..ENTRIES).collect();
    thread::scope(|scope| {
        for part in rest.chunks(rest.len().div_ceil(PARALLEL)) {
            let (server, root, key) = (&server, &root, &key);
            scope.spawn(move || {
                let mut log = RekorV2 { service, root, exchange: |request: &Request| server.exchange(request) };
                part.iter().for_each(|number| drop(log.submit(&Submission::sign(&artifact(*number), key)).unwrap()));
            });
        }
    });
    for number in [0, 200, ENTRIES - 1] {
        let submission = Submission::sign(&artifact(number), &key);
        let published = log.submit(&submission).unwrap();
        // The server does not find every duplicate.
        assert!(published.checkpoint.checkpoint().size >= ENTRIES);
        bundles.push((number, sigstore::write(&submission, &published)));
    }

    // A monitor that has not been told of one of them.
    let known =
        (0..ENTRIES).filter(|number| *number != 270).map(|number| measure::Sha256::of(&artifact(number))).collect();
    let watched = root.only_log().unwrap();
    let policy = format!("log {}\nquorum none\n", watched.key);
    let policy = Policy::parse(policy.as_bytes(), SplitView::Accepted).unwrap();
    let mut state = State::of_rekor(watched.key.name(), &key.public());
    let watch = Watch { policy: &policy, max_age: None, known: &known, now: Time(1_800_000_000) };
    while state.look(&watch, |name, _| fs::read(server.storage.join(name))).unwrap() {}
    let alarms: Vec<_> = state.pending().iter().map(|alarm| alarm.kind).collect();
    assert!(state.size() >= ENTRIES && !alarms.is_empty());
    assert!(alarms.iter().all(|kind| *kind == Kind::UnknownRelease), "{:?}", state.pending());

    for (number, bundle) in &bundles {
        let artifact = artifact(*number);
        let parsed = Bundle::parse(bundle).unwrap();
        parsed.verify(&artifact, &key.public(), &root).unwrap();
        assert!(cosign_accepts(directory, &artifact, bundle), "release {number}");
        assert!(!cosign_accepts(directory, b"another", bundle), "release {number}");
    }

    // What we refuse, cosign refuses.
    let (number, bundle) = &bundles[4];
    let text = String::from_utf8(bundle.clone()).unwrap();
    let json: Value = serde_json::from_str(&text).unwrap();
    let entry = &json["verificationMaterial"]["tlogEntries"][0];
    let member = |value: &Value| value.as_str().unwrap().to_owned();
    let flipped = |value: &Value| {
        let text = member(value);
        let at = text.len() / 2;
        let with = if text.as_bytes()[at] == b'A' { "B" } else { "A" };
        (text.clone(), format!("{}{with}{}", &text[..at], &text[at + 1..]))
    };
    for (name, (from, to)) in [
        ("digest", flipped(&json["messageSignature"]["messageDigest"]["digest"])),
        ("signature", flipped(&json["messageSignature"]["signature"])),
        ("hash", flipped(&entry["inclusionProof"]["hashes"][0])),
        ("log", flipped(&entry["logId"]["keyId"])),
        ("body", flipped(&entry["canonicalizedBody"])),
    ] {
        let tampered = text.replacen(&from, &to, 1);
        assert_ne!(tampered, text);
        let ours = Bundle::parse(tampered.as_bytes())
            .is_ok_and(|bundle| bundle.verify(&artifact(*number), &key.public(), &root).is_ok());
        let theirs = cosign_accepts(directory, &artifact(*number), tampered.as_bytes());
        assert_eq!((ours, theirs), (false, false), "{name}");
    }
}
