//! `publish rekor` against a server that answers what a real one was recorded to answer.

#![expect(clippy::disallowed_methods, reason = "the program under test")]

use log_client::keys::SubmissionKey;
use log_client::keys::at_rest::{Passphrase, SecretKey};
use log_client::rekor::TrustedRoot;
use log_client::sigstore::Bundle;
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../log-client/src/rekor/recorded");

/// The body of the recorded answer about "release 1".
fn answer() -> Vec<u8> {
    let exchanges: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(format!("{RECORDED}/exchanges.json")).unwrap()).unwrap();
    use base64ct::Encoding as _;
    base64ct::Base64::decode_vec(exchanges[1]["response"].as_str().unwrap()).unwrap()
}

/// Answers so many requests, one connection each, and gives the address.
fn serve(answers: Vec<(u16, Vec<u8>)>) -> (String, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let served = thread::spawn(move || {
        for (status, body) in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).unwrap() > 2 {
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            (&stream).write_all(&[head.as_bytes(), &body].concat()).unwrap();
        }
    });
    (url, served)
}

fn publish(directory: &Path, url: &str, patience: &str) -> (i32, String) {
    let config = fs::read_to_string(format!("{RECORDED}/signing_config.json")).unwrap();
    fs::write(directory.join("config"), config.replace("https://log.example", url)).unwrap();
    let root = format!("{RECORDED}/trusted_root.json");
    let output = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .current_dir(directory)
        .args(["publish", "rekor", "release", "--key", "key", "--passphrase-file", "passphrase"])
        .args(["--signing-config", "config", "--trusted-root", &root, "--patience", patience])
        .output()
        .unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn an_outage_delays_and_a_refusal_is_said() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let passphrase = Passphrase::new(b"correct horse".to_vec().into()).unwrap();
    let key = SubmissionKey::from_scalar(&[5; 32]).unwrap();
    let public = key.public();
    fs::write(directory.join("key"), SecretKey::P256(key).to_pem(&passphrase).unwrap()).unwrap();
    fs::write(directory.join("passphrase"), "correct horse\n").unwrap();
    fs::create_dir(directory.join("release")).unwrap();
    fs::write(directory.join("release/release.json"), "release 1").unwrap();
    let bundle = directory.join("release/release.json.rekor.sigstore.json");

    let (url, served) = serve(vec![(503, b"later".to_vec())]);
    let (code, said) = publish(directory, &url, "0");
    assert!(code == 2 && said.contains("answered 503: later"), "{said}");
    served.join().unwrap();
    let (code, said) = publish(directory, &url, "0");
    assert!(code == 2 && said.contains("asking http://"), "{said}");
    let (url, served) = serve(vec![(405, vec![])]);
    let (code, said) = publish(directory, &url, "0");
    assert!(code == 1 && said.contains("frozen"), "{said}");
    served.join().unwrap();
    let (url, served) = serve(vec![(201, answer()[1..].to_vec())]);
    let (code, said) = publish(directory, &url, "0");
    assert!(code == 1 && said.contains("expected a transparency log entry"), "{said}");
    served.join().unwrap();
    assert!(!bundle.exists());

    let (url, served) = serve(vec![(503, vec![]), (201, answer())]);
    let (code, said) = publish(directory, &url, "60");
    assert_eq!(code, 0, "{said}");
    served.join().unwrap();
    let root = TrustedRoot::parse(&fs::read(format!("{RECORDED}/trusted_root.json")).unwrap()).unwrap();
    let written = Bundle::parse(&fs::read(&bundle).unwrap()).unwrap();
    written.verify(b"release 1", &public, &root).unwrap();

    // Nothing is asked of anyone any more; a bundle of another release is found out.
    let (code, said) = publish(directory, &url, "0");
    assert_eq!(code, 0, "{said}");
    fs::write(directory.join("release/release.json"), "release 2").unwrap();
    let (code, said) = publish(directory, &url, "0");
    assert!(code == 1 && said.contains("expected a bundle for bytes with sha256"), "{said}");
}
