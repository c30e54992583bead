//! The endpoint over sockets, with guests that are not there or say what is written down.

use super::guard::Token;
use super::http::Connection;
use super::server::{MAX_CONNECTIONS, Server, accept};
use super::sessions::{Asked, Sessions, Trouble};
use super::{Flags, chat};
use crate::receipt::Signer;
use crate::session::Target;
use channel::receipt::{Receipt, Sampling, answer_hash, request_hash};
use channel::server::{About, Identity};
use channel::{KeyStatement, Outcome, Seed};
use clap::Parser as _;
use measure::snp::LaunchDigest;
use measure::verity::VerityRoot;
use measure::{Digest, Sha384};
use nix::unistd::Uid;
use openai::{Call, Failure, Finish, MAX_BODY, Piece, Usage};
use serde_json::{Value, json};
use std::fs::Permissions;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::thread;

const TOKEN: &str = "a-token-that-nobody-guesses";

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn flags(rest: &[&str]) -> Flags {
    Line::parse_from([&["connect"], rest].concat()).flags
}

fn token_file(text: &str, mode: u32) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.as_file().set_permissions(Permissions::from_mode(mode)).unwrap();
    file
}

/// An endpoint for a guest at an address where nobody is.
fn endpoint() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let target = Target::read(&flags(&[&format!("http://{nobody}")]).session).unwrap();
    let token = Token::read(token_file(TOKEN, 0o600).path()).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || accept(&listener, Server { token, sessions: Arc::new(Sessions::new(target, 1)) }));
    at
}

/// Everything that is answered to `request` until the connection is closed.
fn send(at: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).unwrap();
    // It may be refused before all of it is sent.
    let _refused = stream.write_all(request);
    let _refused = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

/// A request of a client that has the token, for what is not there.
fn with_token(at: SocketAddr) -> String {
    format!("GET / HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn requests_that_are_not_answered() {
    let at = endpoint();
    let (host, bearer) = (format!("Host: {at}"), format!("Authorization: Bearer {TOKEN}"));
    let port = at.port();
    let request = |line: &str, fields: &[&str]| format!("{line} HTTP/1.1\r\n{}\r\n\r\n", fields.join("\r\n"));
    let models = |fields: &[&str]| request("GET /v1/models", fields);
    let chat =
        |fields: &[&str]| request("POST /v1/chat/completions", &[&[host.as_str(), &bearer][..], fields].concat());
    let named = |host: &str| models(&[&format!("Host: {host}"), &bearer]);
    let many: Vec<_> = (0..64).map(|n| format!("x{n}: y")).collect();
    for (request, expected) in [
        (request("GET /healthz", &[&host]), "200"),
        // These get past all guards, to a guest that is not there.
        (models(&[&host, &bearer]), "503"),
        (models(&[&host, &format!("authorization: bEARER {TOKEN}")]), "503"),
        (named(&format!("LocalHost:{port}")), "503"),
        (chat(&["Content-Length: 2", "", "{}"]), "503"),
        (models(&[&host]), "401"),
        (models(&[&host, "Authorization: Bearer b-token-that-nobody-guesses"]), "401"),
        (models(&[&host, &format!("{bearer}x")]), "401"),
        (models(&[&host, "Authorization: Bearer "]), "401"),
        (models(&[&host, &format!("Authorization: Basic {TOKEN}")]), "401"),
        (models(&[&host, &bearer, &bearer]), "401"),
        (request("GET /other", &[&host]), "401"),
        (named(&format!("page.example:{port}")), "421"),
        (named(&format!("localhost.page.example:{port}")), "421"),
        (named(&format!("127.0.0.2:{port}")), "421"),
        (named(&format!("127.0.0.1:{}", port ^ 1)), "421"),
        (named("127.0.0.1"), "421"),
        (named("localhost"), "421"),
        (named(""), "421"),
        (models(&[&bearer]), "421"),
        (models(&[&host, &host, &bearer]), "421"),
        (request("GET /healthz", &["Host: page.example"]), "421"),
        (models(&[&host, &bearer, "Origin: http://page.example"]), "403"),
        (models(&[&host, &bearer, "Origin: null"]), "403"),
        (models(&[&host, &bearer, &format!("Origin: http://{at}")]), "403"),
        (request("GET /healthz", &[&host, "Origin: null"]), "403"),
        (request("OPTIONS /v1/chat/completions", &[&host, "Access-Control-Request-Method: POST"]), "403"),
        (request("OPTIONS *", &[&host, &bearer]), "403"),
        (request("GET /", &[&host, &bearer]), "404"),
        (request("GET /v1/models?x=1", &[&host, &bearer]), "404"),
        (request("GET /v1/models/", &[&host, &bearer]), "404"),
        (request("POST /v1/completions", &[&host, &bearer]), "404"),
        (request(&format!("GET http://{at}/v1/models"), &[&host, &bearer]), "404"),
        (request("POST /v1/models", &[&host, &bearer]), "405"),
        (request("HEAD /healthz", &[&host]), "405"),
        (request("GET /v1/chat/completions", &[&host, &bearer]), "405"),
        (chat(&[&format!("Content-Length: {}", MAX_BODY + 1)]), "413"),
        (chat(&["Content-Length: 18446744073709551615"]), "413"),
        (models(&[&host, &bearer, "Content-Length: 1", "", "x"]), "413"),
        (chat(&["Transfer-Encoding: chunked", "", "0", ""]), "411"),
        (chat(&["Content-Length: 2", "Content-Length: 2", "", "{}"]), "400"),
        (chat(&["Content-Length: +2", "", "{}"]), "400"),
        (chat(&["Content-Length: 18446744073709551616"]), "400"),
        (chat(&["Content-Length:"]), "400"),
        (chat(&["X-Vitrine-Receipt: yes"]), "400"),
        (chat(&["Expect: the best"]), "417"),
        (models(&[&host, &bearer]).replace("HTTP/1.1", "HTTP/1.0"), "505"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), "400"),
        ("nonsense\r\n\r\n".into(), "400"),
        (models(&[&host, &bearer, &format!("x: {}", "y".repeat(16 << 10))]), "431"),
        (models(&many.iter().map(String::as_str).chain([host.as_str()]).collect::<Vec<_>>()), "431"),
        // An end in the middle is answered by nothing.
        (chat(&["Content-Length: 9", "", "{"]), "none"),
        ("GET /healthz HTTP/1.1\r\n".into(), "none"),
    ] {
        let answer = send(at, request.as_bytes());
        let line = request.lines().next().unwrap();
        assert_eq!(status(&answer), expected, "{line} {:?}", request.get(..300).unwrap_or(&request));
        let lower = answer.to_ascii_lowercase();
        assert!(!lower.contains("access-control") && !answer.contains(TOKEN), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        for (status, field) in [("401", "WWW-Authenticate: Bearer"), ("503", "Retry-After: 1"), ("405", "Allow: ")] {
            assert_eq!(head.contains(field), status == expected, "{answer}");
        }
        if !["200", "none"].contains(&expected) {
            let error: Value = serde_json::from_str(body).unwrap();
            assert!(error["error"]["message"].is_string() && error["error"]["type"].is_string(), "{answer}");
        }
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let at = endpoint();
    let stranger = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n");
    let (health, asked) = (stranger("/healthz"), with_token(at));
    let last = asked.replace("\r\n\r\n", "\r\nConnection: x, Close\r\n\r\n");
    // What follows a refused body would be read as a request.
    let body = asked.replace("\r\n\r\n", "\r\nContent-Length: 1\r\n\r\n");
    for (requests, answers) in [
        ([asked.as_str(), &asked, &health, &asked], 4),
        ([&last, &asked, &asked, &asked], 1),
        ([&body, &asked, &asked, &asked], 1),
        // Who has not shown the token does not keep a connection.
        ([&health, &health, &health, &asked], 1),
        ([&stranger("/v1/models"), &asked, &asked, &asked], 1),
    ] {
        assert_eq!(send(at, requests.concat().as_bytes()).matches("HTTP/1.1 ").count(), answers, "{requests:?}");
    }
}

#[test]
fn a_client_that_asks_is_told_to_go_on_with_its_body() {
    let at = endpoint();
    let mut stream = TcpStream::connect(at).unwrap();
    let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: {at}\r\nExpect: 100-continue\r\n");
    write!(stream, "{head}Authorization: Bearer {TOKEN}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n").unwrap();
    let mut word = [0; 25];
    stream.read_exact(&mut word).unwrap();
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"{}").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "503");
    // Without the token there is nothing to go on with.
    assert_eq!(status(&send(at, format!("{head}Content-Length: 2\r\n\r\n").as_bytes())), "401");
}

#[test]
fn clients_are_so_many() {
    let at = endpoint();
    let request = with_token(at);
    let mut answered = [0; 8];
    let clients: Vec<_> = (0..MAX_CONNECTIONS)
        .map(|_| {
            let mut stream = TcpStream::connect(at).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            stream.read_exact(&mut answered).unwrap();
            stream
        })
        .collect();
    assert_eq!(send(at, request.as_bytes()), "");
    drop(clients);
    while send(at, request.as_bytes()).is_empty() {
        thread::yield_now();
    }
}

#[test]
fn addresses_and_tokens_that_will_not_do() {
    let run = |rest: &[&str]| super::run(&flags(&[&["http://127.0.0.1:1"], rest].concat()), false).err().unwrap();
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        assert!(run(&["--listen", listen]).to_string().contains("--dangerously-listen-anywhere"), "{listen}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    assert!(run(&["--listen", &at]).to_string().contains(&at));
    for (text, mode, says) in [
        (TOKEN, 0o640, "chmod 600"),
        (TOKEN, 0o604, "chmod 600"),
        ("too-short", 0o600, "expected one line of 24 to 256"),
        ("a token of more than one word", 0o600, "expected one line"),
        ("a-token-that-nobody-guesses\nand-more", 0o600, "expected one line"),
        (&"x".repeat(257), 0o600, "expected one line"),
        (&"x".repeat(300), 0o600, "expected at most"),
    ] {
        let file = token_file(text, mode);
        let error = format!("{:#}", Token::read(file.path()).err().unwrap());
        assert!(error.contains(says) && error.contains(file.path().to_str().unwrap()), "{error}");
        assert!(!error.contains(text));
    }
    assert!(Token::read(Path::new("/nonexistent")).is_err());
    let (file, other) = (token_file(TOKEN, 0o600), Uid::from_raw(Uid::effective().as_raw() ^ 1));
    assert!(Token::read_as(file.path(), other).err().unwrap().to_string().contains("expected a file of user"));
    assert_eq!(Token::read(token_file(&format!("{TOKEN}\n"), 0o400).path()).unwrap().show(), TOKEN);
    let [one, other] = [(); 2].map(|()| Token::generate().unwrap());
    assert!(one.show().len() == 51 && one.show() != other.show());
}

/// What a client gets that has sent `body`, if the guest says `reply`; and what a guest was asked.
struct Exchange {
    reply: Vec<Option<Piece>>,
    end: fn() -> Result<Outcome, Trouble>,
    /// Makes the receipt.
    receipt: fn(&Identity, &Call) -> Option<Vec<u8>>,
    wants_receipt: bool,
    /// Whether the client hangs up before there is a reply.
    hangs_up: bool,
}

fn said(pieces: &[Piece]) -> Exchange {
    Exchange {
        reply: pieces.iter().cloned().map(Some).collect(),
        end: || Ok(Outcome::Complete),
        receipt: |_, _| None,
        wants_receipt: false,
        hangs_up: false,
    }
}

const HI: [&str; 2] = ["Hel", "lo \"you\""];
const USAGE: Usage = Usage { prompt: 3, completion: 2 };

fn hello() -> Vec<Piece> {
    let text = HI.map(|text| Piece::Text(text.into()));
    [&text[..], &[Piece::Done(Finish::Stop, USAGE)]].concat()
}

impl Exchange {
    fn run(self, body: &Value) -> (String, Call) {
        let identity = identity();
        let statement = KeyStatement::parse(identity.statement()).unwrap();
        let signer = Signer { statement, measurement: Some(LaunchDigest(Digest::new([9; 48]))) };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut connection = Connection::new(listener.accept().unwrap().0).unwrap();
        let (body, mut asked) = (body.to_string().into_bytes(), None);
        if self.hangs_up {
            client.shutdown(Shutdown::Both).unwrap();
        }
        let answered = chat::answer(&mut connection, body, self.wants_receipt, true, |call, each| {
            asked = Some(call.clone());
            let receipt = (self.receipt)(&identity, call).map(|receipt| Some(Piece::Receipt(receipt)));
            for piece in self.reply.into_iter().chain(receipt) {
                if each(piece) == ControlFlow::Break(()) {
                    return Ok(Asked { outcome: Outcome::Cancelled, signer });
                }
            }
            (self.end)().map(|outcome| Asked { outcome, signer })
        });
        assert_eq!(answered.is_err(), self.hangs_up);
        // As the server does if there is no more to come; a whole answer is to be seen as such before that.
        drop(connection);
        let mut answer = String::new();
        let _hung_up = client.read_to_string(&mut answer);
        (answer, asked.unwrap())
    }
}

const MODEL: VerityRoot = VerityRoot(Digest::new([8; 32]));

fn identity() -> Identity {
    let about = About { boot_id: [1; 16], epoch: 0, models: [MODEL].into(), operator: None };
    Identity::new(Seed::new([7; 32]), about).unwrap()
}

fn receipt(identity: &Identity, call: &Call) -> Receipt {
    let salt = call.salt.unwrap();
    Receipt {
        statement: identity.statement_digest(),
        measurement: Sha384::new([9; 48]),
        model: MODEL,
        request: request_hash(&salt, &call.body),
        answer: answer_hash(&salt, HI.concat().as_bytes()),
        sampling: Sampling { temperature: 1f32.to_bits(), top_p: 1f32.to_bits(), seed: 0, max_tokens: 1 },
    }
}

fn whole() -> Value {
    json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] })
}

fn streamed() -> Value {
    let mut body = whole();
    body["stream"] = true.into();
    body
}

fn body(answer: &str) -> Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

/// What is in the events of an answer in chunks, each an event's or several; and whether the answer is whole.
fn events(answer: &str) -> (Vec<String>, bool) {
    let mut chunks = answer.split_once("\r\n\r\n").unwrap().1;
    let (mut text, mut ended) = (String::new(), false);
    while let Some((size, rest)) = chunks.split_once("\r\n") {
        let (chunk, rest) = rest.split_at(usize::from_str_radix(size, 16).unwrap());
        ended = chunk.is_empty();
        text += chunk;
        chunks = rest.strip_prefix("\r\n").unwrap();
    }
    let events = text.split_terminator("\n\n").map(|event| event.strip_prefix("data: ").unwrap().to_owned());
    (events.collect(), ended)
}

#[test]
fn a_stream_says_what_a_whole_answer_says() {
    let (answer, call) = said(&hello()).run(&whole());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), "{answer}");
    assert!(call.body == whole().to_string().as_bytes() && call.salt.is_none());
    let body = body(&answer);
    assert_eq!((&body["object"], &body["model"]), (&json!("chat.completion"), &json!("m")));
    assert_eq!(body["choices"][0]["message"]["content"], HI.concat());
    assert_eq!(body["usage"]["total_tokens"], 5);
    for (request, with_usage) in [(streamed(), false), (json!({ "stream_options": { "include_usage": true } }), true)] {
        let mut request = request;
        request["stream"] = true.into();
        let mut reply = hello();
        reply.insert(1, Piece::Text("é".into()));
        let exchange = said(&reply);
        let (answer, call) = exchange.run(&request);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream"), "{answer}");
        assert!(call.body == request.to_string().as_bytes());
        let (mut events, ended) = events(&answer);
        assert!(ended && events.pop().as_deref() == Some("[DONE]"), "{answer}");
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let text: String = events.iter().filter_map(|e| e["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, format!("{}é{}", HI[0], HI[1]));
        assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(events.iter().filter(|event| event["choices"][0]["finish_reason"] == "stop").count(), 1);
        let last = events.last().unwrap();
        assert_eq!(last["usage"]["completion_tokens"] == 2, with_usage, "{last}");
        assert!(events.iter().all(|event| event["id"] == last["id"] && event["object"] == "chat.completion.chunk"));
    }
    // An answer may be empty.
    let (answer, _) = said(&[Piece::Done(Finish::Length, USAGE)]).run(&streamed());
    assert_eq!((events(&answer).0.len(), events(&answer).1), (3, true), "{answer}");
}

#[test]
fn what_is_no_answer_is_never_taken_for_one() {
    let text = || Piece::Text("part".into());
    let refusal = br#"{"error":{"message":"unknown field `tools`","type":"invalid_request_error"}}"#;
    let broken = || Err(Trouble::Broken);
    let (complete, failed, cancelled) = (|| Ok(Outcome::Complete), || Ok(Outcome::Failed), || Ok(Outcome::Cancelled));
    type End = fn() -> Result<Outcome, Trouble>;
    for (reply, end, status, says) in [
        (vec![Piece::Refused(refusal.to_vec())], complete as End, "400", "unknown field `tools`"),
        (vec![Piece::Busy], complete, "503", "too much else"),
        (vec![Piece::Failed(Failure::TooLong)], complete, "400", "longer than the model's context"),
        (vec![Piece::Failed(Failure::Model)], failed, "503", "not available"),
        (vec![Piece::Failed(Failure::Engine)], complete, "502", "the model failed"),
        (vec![text(), Piece::Failed(Failure::Engine)], complete, "502", "the model failed"),
        (vec![text()], failed, "503", "broke off"),
        (vec![text()], cancelled, "503", "broke off"),
        (vec![text()], complete, "503", "broke off"),
        (vec![text(), Piece::Done(Finish::Stop, USAGE)], failed, "503", "broke off"),
        (vec![text(), Piece::Done(Finish::Stop, USAGE)], broken, "503", "broke off"),
        (vec![Piece::Models(b"{}".to_vec())], complete, "503", "broke off"),
        (vec![text()], || Err(Trouble::Ending), "503", "was ended"),
        (vec![], || Err(Trouble::Unreachable(anyhow::anyhow!("nobody there"))), "503", "nobody there"),
    ] {
        let (answer, _) = Exchange { end, ..said(&reply) }.run(&whole());
        assert!(self::status(&answer) == status && !answer.contains("part"), "{answer}");
        assert!(body(&answer)["error"]["message"].as_str().unwrap().contains(says), "{answer}");
        assert_eq!(answer.contains("Retry-After"), matches!(reply.as_slice(), [Piece::Busy] | []), "{answer}");

        let begun = matches!(reply.first(), Some(Piece::Text(_)));
        let (answer, _) = Exchange { end, ..said(&reply) }.run(&streamed());
        assert_eq!(self::status(&answer), if begun { "200" } else { status });
        assert!(!answer.contains("[DONE]"), "{answer}");
        let error: Value = if begun {
            let (events, ended) = events(&answer);
            assert!(!ended && events.len() == 3, "{answer}");
            serde_json::from_str(&events[2]).unwrap()
        } else {
            body(&answer)
        };
        assert!(error["error"]["message"].as_str().unwrap().contains(says), "{answer}");
    }
}

#[test]
fn a_client_that_hangs_up_is_noticed_while_there_is_nothing_to_say() {
    for body in [whole(), streamed()] {
        let reply = [None].into_iter().chain(hello().into_iter().map(Some)).collect();
        // That the reply was cancelled is what `run` sees as an error.
        let (answer, _) = Exchange { reply, hangs_up: true, ..said(&[]) }.run(&body);
        assert_eq!(answer, "");
    }
}

#[test]
fn receipts_are_shown_if_they_are_for_this() {
    type Made = fn(&Identity, &Call) -> Option<Vec<u8>>;
    let right: Made = |identity, call| Some(receipt(identity, call).sign(identity).unwrap());
    for (wants_receipt, made, says) in [
        (true, right, None),
        (true, (|_, _| None) as Made, Some("gave no receipt")),
        (true, |_, _| Some(b"nonsense".to_vec()), Some("something else")),
        (
            true,
            |identity, call| {
                let answer = answer_hash(&call.salt.unwrap(), b"other");
                Some(Receipt { answer, ..receipt(identity, call) }.sign(identity).unwrap())
            },
            Some("something else"),
        ),
        (
            true,
            |identity, call| {
                let request = request_hash(&call.salt.unwrap(), b"other");
                Some(Receipt { request, ..receipt(identity, call) }.sign(identity).unwrap())
            },
            Some("something else"),
        ),
        (
            true,
            |identity, call| {
                let measurement = Sha384::new([8; 48]);
                Some(Receipt { measurement, ..receipt(identity, call) }.sign(identity).unwrap())
            },
            Some("something else"),
        ),
        (
            true,
            |identity, call| {
                let model = VerityRoot(Digest::new([7; 32]));
                Some(Receipt { model, ..receipt(identity, call) }.sign(identity).unwrap())
            },
            Some("something else"),
        ),
        (
            true,
            |identity, call| {
                let sampling = Sampling { temperature: 0, top_p: 0, seed: 0, max_tokens: 1 };
                Some(Receipt { sampling, ..receipt(identity, call) }.sign(identity).unwrap())
            },
            Some("something else"),
        ),
        (false, |_, _| None, None),
    ] {
        let exchange = || Exchange { wants_receipt, receipt: made, ..said(&hello()) };
        for streams in [false, true] {
            let (answer, call) = exchange().run(&if streams { streamed() } else { whole() });
            assert_eq!(call.salt.is_some(), wants_receipt);
            let (object, whole) = match streams {
                false => (body(&answer), says.is_none()),
                true => {
                    let (mut events, ended) = events(&answer);
                    assert_eq!(events.last().is_some_and(|event| event == "[DONE]"), ended);
                    events.retain(|event| event != "[DONE]");
                    (serde_json::from_str(&events.pop().unwrap()).unwrap(), ended)
                }
            };
            assert_eq!(whole, says.is_none(), "{answer}");
            let shown = &object["vitrine_receipt"];
            assert_eq!(shown.is_object(), wants_receipt && says.is_none(), "{answer}");
            if let Some(says) = says {
                assert!(object["error"]["message"].as_str().unwrap().contains(says), "{answer}");
            } else if wants_receipt {
                use base64ct::{Base64, Encoding as _};
                let bytes = |name: &str| Base64::decode_vec(shown[name].as_str().unwrap()).unwrap();
                let statement = KeyStatement::parse(&bytes("key_statement")).unwrap();
                let receipt = Receipt::verify(&bytes("receipt"), &statement).unwrap();
                assert!(receipt.is_about(&bytes("salt").try_into().unwrap(), &call.body, HI.concat().as_bytes()));
            }
        }
    }
}
