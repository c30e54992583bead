//! One session from fixed seeds, byte for byte: what an implementation in another language has to arrive at, and what
//! must not change without a new version of the protocol.

mod pair;

use channel::client::Hello;
use channel::receipt::{Receipt, Sampling, answer_hash, request_hash};
use channel::server;
use channel::{Outcome, Seed, Shaping};
use measure::digest::Hex;
use measure::verity::VerityRoot;
use measure::{Sha256, Sha384};
use pair::{ZERO, attestation, guest, judged, report};
use std::fmt::Write as _;
use std::path::PathBuf;

const REQUEST: &[u8] = b"request";
const ANSWER: &[u8] = b"answer";

/// The file's text.
fn session() -> String {
    let mut text = String::new();
    let mut line = |name: &str, bytes: &[u8]| writeln!(text, "{name} = {}", Hex(bytes)).unwrap();
    let [keys, client_seed, server_seed] = [1, 2, 3].map(|seed| [seed; 32]);
    line("seed of the server's keys", &keys);
    line("seed of the client", &client_seed);
    line("seed of the server", &server_seed);
    let guest = guest(1);
    line("key statement", guest.statement());

    let (hello, m1) = Hello::new(Seed::new(client_seed), Shaping::Paced).unwrap();
    let (answer, m2) = server::Hello::answer(&guest, Seed::new(server_seed), &m1).unwrap();
    let (connected, m3) = hello.finish(&m2, ZERO).unwrap();
    let attesting = answer.finish(&m3, ZERO).unwrap();
    line("m1", &m1);
    line("m2", &m2);
    line("m3", &m3);
    line("handshake hash", attesting.handshake().as_bytes());
    line("report data", attesting.report_data().as_bytes());
    let said = report(&attesting);
    let (mut server, message) = attesting.attest(&attestation(&said)).unwrap();
    line("sha256 of the evidence message", Sha256::of(&message).as_bytes());
    let mut client = judged(connected.evidence(&message).unwrap()).unwrap();

    line("request", REQUEST);
    for message in client.request(REQUEST, ZERO).unwrap() {
        line("from the client", &message);
        server.receive(&message, ZERO).unwrap();
    }
    line("answer", ANSWER);
    server.write(ANSWER, ZERO).unwrap();
    server.finish(Outcome::Complete, ZERO).unwrap();
    while let Some(due) = server.due() {
        let message = server.poll(due).unwrap().unwrap();
        line("from the server", &message);
        if let Some(beat) = client.receive(&message, due).unwrap().send {
            line("from the client", &beat);
        }
    }

    let salt = [4; 32];
    let receipt = Receipt {
        statement: guest.statement_digest(),
        measurement: Sha384::of(b"measurement"),
        model: VerityRoot(Sha256::of(b"model")),
        request: request_hash(&salt, REQUEST),
        answer: answer_hash(&salt, ANSWER),
        sampling: Sampling { temperature: 0, top_p: 1_f32.to_bits(), seed: 42, max_tokens: 256 },
    };
    line("salt", &salt);
    line("receipt", &receipt.sign(&guest).unwrap());
    text
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/known/session.txt")
}

#[test]
fn the_session_is_the_known_one() {
    let known = std::fs::read_to_string(path()).unwrap();
    let session = session();
    for (number, (found, known)) in session.lines().zip(known.lines()).enumerate() {
        assert_eq!(found, known, "line {}", number + 1);
    }
    assert_eq!(session.len(), known.len());
}

#[test]
#[ignore = "it writes the file anew: cargo test -p channel --test known -- --ignored"]
fn write() {
    std::fs::write(path(), session()).unwrap();
}
