//! Exchanges with a real server, recorded by `tests/rekor.rs`, and what may go wrong in them.

use super::publish::{PublicLog, PublishError, Published, RekorV2, Request, Response, retry};
use super::*;
use crate::encoding::from_base64;
use measure::appraise::Time;
use serde_json::Value;
use std::io;

const ROOT: &str = include_str!("recorded/trusted_root.json");
const CONFIG: &str = include_str!("recorded/signing_config.json");
const EXCHANGES: &str = include_str!("recorded/exchanges.json");

fn root() -> TrustedRoot {
    TrustedRoot::parse(ROOT.as_bytes()).unwrap()
}

fn service() -> Service {
    SigningConfig::parse(CONFIG.as_bytes()).unwrap().rekor_v2(Time(1_800_000_000)).unwrap().clone()
}

fn submission(number: u32) -> Submission {
    Submission::sign(format!("release {number}").as_bytes(), &SubmissionKey::from_scalar(&[5; 32]).unwrap())
}

fn recorded() -> Vec<(Request, Response)> {
    let exchanges: Vec<Value> = serde_json::from_str(EXCHANGES).unwrap();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let exchange = |exchange: &Value| {
        let url = text(&exchange["url"]).unwrap();
        let request = Request { url, body: text(&exchange["request"]), limit: 0 };
        let status = exchange["status"].as_u64().unwrap().try_into().unwrap();
        let body = from_base64(exchange["response"].as_str().unwrap()).unwrap();
        (request, Response { status, log_index: text(&exchange["log_index"]), body })
    };
    exchanges.iter().map(exchange).collect()
}

/// Submits, with the recorded answers from `from` on after `change` has seen them.
fn submit(
    from: usize,
    submission: &Submission,
    mut change: impl FnMut(&str, &mut Response),
) -> Result<Published, PublishError> {
    let (service, root) = (service(), root());
    let mut recorded = recorded().into_iter().skip(from);
    let exchange = |asked: &Request| {
        let (request, mut response) = recorded.next().ok_or(io::ErrorKind::ConnectionRefused)?;
        assert_eq!((&asked.url, &asked.body), (&request.url, &request.body));
        assert!(response.body.len() <= asked.limit);
        change(&asked.url, &mut response);
        Ok(response)
    };
    RekorV2 { service: &service, root: &root, exchange }.submit(submission)
}

fn reason(error: &dyn std::error::Error) -> String {
    let source = error.source().map(reason);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[test]
fn recorded_answers_are_accepted() {
    for number in 0..3 {
        let published = submit(number as usize, &submission(number), |_, _| ()).unwrap();
        assert_eq!(published.entry.index, u64::from(number));
    }
    // The fourth is a duplicate of the second, proved by the log's tile.
    let again = submit(3, &submission(1), |_, _| ()).unwrap();
    assert_eq!((again.entry.index, again.entry.hashes.len()), (1, 2));
}

/// What the log records is what is computed here.
#[test]
fn leaf_and_request_as_the_server_has_them() {
    let (request, response) = &recorded()[0];
    assert_eq!(request.body.as_deref(), Some(submission(0).request().as_str()));
    let answer: Value = serde_json::from_slice(&response.body).unwrap();
    let body = from_base64(answer["canonicalizedBody"].as_str().unwrap()).unwrap();
    assert_eq!(Submission::from_leaf(&body), Some(submission(0)));
    assert_eq!(String::from_utf8(body).unwrap(), submission(0).leaf());
}

#[test]
fn a_partial_tile_may_have_become_full() {
    let mut full = Vec::new();
    let (service, root) = (service(), root());
    let recorded = recorded();
    let exchange = |asked: &Request| {
        full.push(asked.url.rsplit_once("/v2/").unwrap().1.to_owned());
        let response = |at: usize| recorded[at].1.clone();
        Ok(match asked.url.rsplit('/').next().unwrap() {
            "entries" => response(3),
            "checkpoint" => response(4),
            "3" => Response { status: 404, ..response(5) },
            _ => Response { body: [response(5).body, vec![9; 253 * 32]].concat(), ..response(5) },
        })
    };
    let published = RekorV2 { service: &service, root: &root, exchange }.submit(&submission(1)).unwrap();
    assert_eq!(published.entry.index, 1);
    assert_eq!(full, ["log/entries", "checkpoint", "tile/0/000.p/3", "tile/0/000"]);
}

#[test]
fn answers_that_prove_nothing() {
    let swap = |from: &'static str, to: &'static str| {
        move |_: &str, response: &mut Response| {
            let text = String::from_utf8(response.body.clone()).unwrap();
            assert!(text.contains(from), "{text}");
            response.body = text.replacen(from, to, 1).into_bytes();
        }
    };
    let cases: [(&'static str, &'static str, &str); 11] = [
        ("\"logIndex\":\"1\"", "\"logIndex\":\"0\"", "the proof that the log has the entry"),
        ("\"logIndex\":\"1\"", "\"logIndex\":\"2\"", "expected an index below the tree's size"),
        ("\"logIndex\":\"1\"", "\"logIndex\":1", "transparency log entry"),
        ("\"logIndex\":\"1\"", "\"logIndex\":\"01\"", "logIndex"),
        ("\"logIndex\":\"1\"", "\"logIndex\":\"1\",\"logIndex\":\"1\"", "transparency log entry"),
        ("hashedrekord\"", "dsse\"", "kindVersion"),
        ("\"integratedTime\":\"0\"", "\"integratedTime\":\"7\"", "integratedTime"),
        ("\"inclusionPromise\":null", "\"inclusionPromise\":{}", "transparency log entry"),
        ("\"keyId\":\"", "\"keyId\":\"AAAA", "transparency log entry"),
        ("log.example\\n2", "log.example\\n3", "checkpoint"),
        ("log.example\\n2", "log.exampl3\\n2", "checkpoint"),
    ];
    for (from, to, expected) in cases {
        let error = reason(&submit(1, &submission(1), swap(from, to)).unwrap_err());
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
    // Another log's key, and another release's entry.
    let entry = LogEntry::parse(&recorded()[1].1.body).unwrap();
    let unknown = LogEntry { log: Sha256::of(b""), ..entry.clone() };
    assert!(matches!(unknown.verify(&submission(1), &root()), Err(RekorError::UnknownLog { .. })));
    assert!(matches!(entry.verify(&submission(0), &root()), Err(RekorError::Inclusion(_))));
    let forged = Submission { signature: submission(0).signature, ..submission(1) };
    assert!(matches!(entry.verify(&forged, &root()), Err(RekorError::Inclusion(_))));
    assert!(matches!(LogEntry::parse(&vec![b' '; MAX_ANSWER + 1]), Err(RekorError::Size { .. })));
}

#[test]
fn servers_that_do_not_do_it() {
    let status = |status: u16| move |_: &str, response: &mut Response| response.status = status;
    for (code, expected, temporary) in [
        (400, "answered 400", false),
        (405, "frozen", false),
        (429, "answered 429", true),
        (500, "answered 500", true),
        (503, "answered 503", true),
    ] {
        let error = submit(0, &submission(0), status(code)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(error.is_temporary(), temporary, "{error}");
    }
    let error = submit(9, &submission(0), |_, _| ()).unwrap_err();
    assert!(matches!(error, PublishError::Unreachable { .. }) && error.is_temporary(), "{error}");
    let error = submit(3, &submission(1), |_, response| response.log_index = None).unwrap_err();
    assert!(matches!(error, PublishError::NoIndex { .. }), "{error}");
    let short =
        |url: &str, response: &mut Response| response.body.truncate(if url.contains("tile") { 64 } else { 999 });
    let error = submit(3, &submission(1), short).unwrap_err();
    assert!(matches!(error, PublishError::Tile { .. }), "{error}");
    let wrong = |url: &str, response: &mut Response| response.body[3] ^= u8::from(url.contains("tile"));
    let error = reason(&submit(3, &submission(1), wrong).unwrap_err());
    assert!(error.contains("the proof that the log has the entry"), "{error}");
    let stale = |url: &str, response: &mut Response| response.body[12] ^= u8::from(url.ends_with("checkpoint"));
    let error = submit(3, &submission(1), stale).unwrap_err();
    assert!(matches!(error, PublishError::Checkpoint { .. }), "{error}");
}

/// A log that is down for a while.
struct Down {
    attempts: u32,
    error: fn() -> PublishError,
}

impl PublicLog for Down {
    fn submit(&mut self, _submission: &Submission) -> Result<Published, PublishError> {
        self.attempts += 1;
        match self.attempts {
            1..=3 => Err((self.error)()),
            _ => submit(0, &submission(0), |_, _| ()),
        }
    }
}

#[test]
fn outages_are_waited_for_and_refusals_are_not() {
    let down = || PublishError::Status { url: String::new(), status: 502, message: String::new() };
    let mut log = Down { attempts: 0, error: down };
    let mut waits = Vec::new();
    let published = retry(&mut log, &submission(0), |failed, _| {
        waits.push(failed);
        true
    });
    assert_eq!((published.unwrap().entry.index, waits), (0, vec![1, 2, 3]));

    // The answer did not come in time, but the log has the entry: it says so, and its tiles prove it.
    let (service, root) = (service(), root());
    let mut answers = [Err(io::ErrorKind::TimedOut.into())].into_iter().chain(recorded().into_iter().skip(3).map(Ok));
    let exchange = |_: &Request| answers.next().unwrap().map(|(_, response)| response);
    let mut log = RekorV2 { service: &service, root: &root, exchange };
    let published = retry(&mut log, &submission(1), |failed, _| failed == 1);
    assert_eq!(published.unwrap().entry.index, 1);

    let mut log = Down { attempts: 0, error: down };
    let error = retry(&mut log, &submission(0), |failed, _| failed < 2).unwrap_err();
    assert_eq!((log.attempts, error.is_temporary()), (2, true));

    let mut log = Down { attempts: 0, error: || PublishError::Frozen { url: String::new() } };
    let error = retry(&mut log, &submission(0), |_, _| panic!("no use")).unwrap_err();
    assert!(matches!(error, PublishError::Frozen { .. }));
}

#[test]
fn roots() {
    let root = root();
    let log = root.log_named("log.example").unwrap();
    assert_eq!(root.log(&log.id), Some(log));
    for (from, to, expected) in [
        ("version=0.1", "version=0.2", "mediaType"),
        ("https://", "ftp://", "baseUrl"),
        ("MCowBQYDK2VwAyEA", "MCowBQYDK2VxAyEA", "rawBytes"),
        ("\"tlogs\"", "\"logs\"", "trusted root"),
        ("\"tlogs\"", "\"tlogs\":[],\"tlogs\"", "trusted root"),
    ] {
        assert_eq!(ROOT.matches(from).count(), 1, "{from}");
        let error = TrustedRoot::parse(ROOT.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    assert_eq!(root.log_at("https://log.example/"), Some(log));
    assert_eq!((root.log_at("log.example"), root.only_log()), (None, Some(log)));
    // A log of Rekor v1 is not in the way.
    let with_v1 = ROOT.replace("PKIX_ED25519", "PKIX_ECDSA_P256_SHA_256");
    assert_eq!(TrustedRoot::parse(with_v1.as_bytes()).unwrap().log_named("log.example"), None);
    assert!(matches!(TrustedRoot::parse(&vec![b' '; MAX_CONFIG + 1]), Err(TrustError::Size { .. })));
}

#[test]
fn services() {
    for (from, to, expected) in [
        ("v0.2+json", "v0.1+json", "mediaType"),
        ("\"rekorTlogConfig\":{\"selector\":\"ANY\"}", "\"rekorTlogConfig\":{\"selector\":\"ALL\"}", "selector"),
        ("https://", "", "url"),
        ("2026-01-01T", "2026-13-01T", "validFor"),
        ("\"majorApiVersion\":2", "\"majorApiVersion\":\"2\"", "signing config"),
    ] {
        assert_eq!(CONFIG.matches(from).count(), 1, "{from}");
        let error = SigningConfig::parse(CONFIG.replace(from, to).as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error}");
    }
    let service = |name: &str, version, start, end| Service {
        url: name.to_owned(),
        major_api_version: version,
        start: Time(start),
        end: Option::map(end, Time),
    };
    let logs = vec![
        service("v1", 1, 0, None),
        service("old", 2, 10, Some(30)),
        service("new", 2, 20, None),
        service("next", 2, 40, None),
    ];
    let config = SigningConfig { logs };
    for (now, expected) in [(9, None), (10, Some("old")), (20, Some("new")), (39, Some("new")), (40, Some("next"))] {
        let found = config.rekor_v2(Time(now)).ok().map(|service| service.url.as_str());
        assert_eq!(found, expected, "{now}");
    }
    let old = SigningConfig { logs: config.logs[1..2].to_vec() };
    assert!(old.rekor_v2(Time(29)).is_ok() && old.rekor_v2(Time(30)).is_err());
}
