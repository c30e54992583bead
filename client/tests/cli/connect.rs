//! `vitrine connect`, between clients and a guest in a thread.

use super::guest::{Fault, Guest, Running, write_policy};
use super::{Ran, committed, run, vitrine};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const FLAG: &str = "--dangerously-accept-simulated-hardware";
/// What nobody but the guest may see.
const QUESTION: &str = "what the canary says";

/// `connect` with the guest at `url`, by the policy in `dir`.
fn connect(url: &str, dir: &Path, more: &[&str]) -> Command {
    let mut command = vitrine(["connect", url, "--policy", "policy", FLAG]);
    command
        .args(if more.contains(&"--shaping") { &[][..] } else { &["--shaping", "off"] })
        .args(more)
        .current_dir(dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A running one.
struct Endpoint {
    child: Child,
    /// `http://ADDRESS/v1` and the token.
    url: String,
    key: String,
}

impl Endpoint {
    fn start(guest: &Running, more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_policy(&dir.path().join("policy"));
        Self::begin(&guest.url, dir.path(), more)
    }

    fn begin(guest: &str, dir: &Path, more: &[&str]) -> Self {
        let mut child = connect(guest, dir, more).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let [url, key] = ["export OPENAI_BASE_URL=", "export OPENAI_API_KEY="].map(|name| {
            let line = lines.next().expect("two lines").unwrap();
            line.strip_prefix(name).unwrap_or_else(|| panic!("{line}")).to_owned()
        });
        drop(lines);
        Self { child, url, key }
    }

    fn address(&self) -> &str {
        self.url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap()
    }

    /// Sends a request; what comes is read from the connection.
    fn ask(&self, body: &Value) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let (body, address, key) = (body.to_string(), self.address(), &self.key);
        let fields = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n", body.len());
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        stream.write_all([head, body].concat().as_bytes()).unwrap();
        stream
    }

    /// All of the answer: its status, and what follows the head.
    fn answer(&self, body: &Value) -> (String, String) {
        let mut answer = String::new();
        self.ask(body).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().into(), body.into())
    }

    /// Asks it to end, and waits; what it said, which is nothing of the user's.
    fn end(mut self) -> Ran {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let [mut stdout, mut stderr] = [String::new(), String::new()];
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        self.child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        let code = self.child.wait().unwrap().code();
        assert!(!stderr.contains("canary") && !stderr.contains(&self.key), "{stderr}");
        assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
        Ran { code, stdout, stderr }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn question(more: Value) -> Value {
    let mut body = json!({ "model": "parrot", "messages": [{ "role": "user", "content": QUESTION }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn streamed() -> Value {
    question(json!({ "stream": true }))
}

/// The text in the events of a stream.
fn text(answer: &str) -> String {
    let events = answer.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
    events.filter_map(|event| event["choices"][0]["delta"]["content"].as_str().map(str::to_owned)).collect()
}

/// Reads until the answer has begun to say something.
fn first_text(stream: &mut TcpStream) {
    let (mut answer, mut bytes) = (Vec::new(), [0; 1024]);
    while !String::from_utf8_lossy(&answer).contains("what ") {
        let read = stream.read(&mut bytes).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&bytes[..read]);
    }
}

#[test]
fn a_client_gets_the_guests_answers_after_the_verdict() {
    for shaping in ["off", "bucket", "paced"] {
        let guest = Guest::good().start(1);
        let endpoint = Endpoint::start(&guest, &["--shaping", shaping, "--sessions", "1"]);
        let (status, whole) = endpoint.answer(&question(json!({})));
        let whole: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!((status.as_str(), &whole["choices"][0]["message"]["content"]), ("200", &json!(QUESTION)), "{whole}");
        let (status, answer) = endpoint.answer(&streamed());
        assert_eq!((status.as_str(), text(&answer).as_str()), ("200", QUESTION), "{answer}");
        assert!(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{answer}");
        let (status, error) = endpoint.answer(&question(json!({ "grammar": "root ::= x" })));
        assert!(status == "400" && error.contains("unknown field `grammar`"), "{status} {error}");
        let said = endpoint.end().stderr;
        assert!(said.contains("SIMULATED as of ") && said.contains("\n  policy    demonstration"), "{said}");
        assert_eq!(guest.next().len(), 3);
    }
}

#[test]
fn a_guest_that_is_refused_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    write_policy(&dir.path().join("policy"));
    for json in [false, true] {
        let guest = Guest { fault: Fault::Report, ..Guest::good() }.start(1);
        let ran = run(&mut connect(&guest.url, dir.path(), if json { &["--json"] } else { &[] }));
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert!(ran.stderr.lines().last().unwrap().contains("[snp.identity.report-data]"), "{}", ran.stderr);
        match json {
            // A shell would run it.
            false => assert_eq!(ran.stdout, ""),
            true => assert_eq!(serde_json::from_str::<Value>(&ran.stdout).unwrap()["outcome"], "no"),
        }
        assert!(guest.next().is_empty());
    }
    let guest = Guest::good().start(1);
    let ran = run(&mut connect(&guest.url, dir.path(), &["--listen", "0.0.0.0:0"]));
    assert!(ran.code == Some(2) && ran.stderr.contains("--dangerously-listen-anywhere"), "{}", ran.stderr);
}

/// The guest leaves after each answer, and is another one from its second session on.
#[test]
fn every_session_is_judged() {
    let guest = Guest { fault: Fault::Leaves, ..Guest::good() }.start(3);
    let endpoint = Endpoint::start(&guest, &[]);
    for _ in 0..2 {
        let (status, answer) = endpoint.answer(&streamed());
        assert_eq!((status.as_str(), text(&answer).as_str()), ("200", QUESTION), "{answer}");
        assert_eq!(guest.next().len(), 1);
    }
    endpoint.end();

    let guest = Guest { fault: Fault::Turns, ..Guest::good() }.start(3);
    let endpoint = Endpoint::start(&guest, &[]);
    assert_eq!(endpoint.answer(&question(json!({}))).0, "200");
    assert_eq!(guest.next().len(), 1);
    for _ in 0..2 {
        let (status, error) = endpoint.answer(&streamed());
        assert_eq!(status, "502", "{error}");
        assert!(error.contains("nothing was sent") && error.contains("[snp.identity.report-data]"), "{error}");
        assert!(guest.next().is_empty());
    }
    // A verdict is told when it is another one.
    assert_eq!(endpoint.end().stderr.matches("\nREJECTED").count(), 1);
}

#[test]
fn what_breaks_off_has_no_end() {
    for (fault, says) in [
        (Fault::Ends, "broke off"),
        (Fault::Garbage, "broke off"),
        (Fault::Truncates, "broke off"),
        (Fault::Fails, "the model failed"),
    ] {
        let guest = Guest { fault, ..Guest::good() }.start(2);
        let endpoint = Endpoint::start(&guest, &[]);
        let (status, answer) = endpoint.answer(&streamed());
        assert_eq!((status.as_str(), text(&answer).as_str()), ("200", QUESTION), "{fault:?} {answer}");
        assert!(answer.contains(says) && !answer.contains("[DONE]") && !answer.ends_with("0\r\n\r\n"), "{answer}");
        let (status, error) = endpoint.answer(&question(json!({})));
        assert!(["502", "503"].contains(&status.as_str()) && error.contains(says), "{fault:?} {error}");
        assert!(!error.contains("canary"), "{error}");
        endpoint.end();
    }
}

#[test]
fn requests_at_once_have_sessions_of_their_own_and_end_with_their_clients() {
    let guest = Guest { fault: Fault::Endless, ..Guest::good() }.start(2);
    let endpoint = Endpoint::start(&guest, &["--sessions", "2"]);
    // Both answers have begun, and neither ends.
    let mut both = [(); 2].map(|()| endpoint.ask(&streamed()));
    both.iter_mut().for_each(first_text);
    drop(both);
    // There are no more sessions, so these are in the first two.
    let mut both = [(); 2].map(|()| endpoint.ask(&streamed()));
    both.iter_mut().for_each(first_text);
    // Whoever waits when it ends is told so.
    let [mut one, mut other] = both;
    endpoint.end();
    for stream in [&mut one, &mut other] {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.contains("was ended") && !rest.contains("[DONE]"), "{rest}");
    }
    assert_eq!([guest.next().len(), guest.next().len()], [2, 2]);
}

/// A guest that is another program, with the agent itself in it (enclave-agent/scene/examples/guest.rs).
struct Agent {
    child: Child,
    url: String,
    model: String,
}

impl Agent {
    fn start(dir: &Path) -> Self {
        let mut command = Command::new(std::env::var_os("VITRINE_GUEST").expect("VITRINE_GUEST"));
        command.arg(dir.join("policy")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let (address, model) = line.trim_end().split_once(' ').expect("an address and a model");
        Self { url: format!("http://{address}"), model: model.into(), child }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// What gets the packages is client/tests/openai/get.sh.
#[test]
#[ignore = "needs OpenAI's Python package and a guest, VITRINE_OPENAI and VITRINE_GUEST; `cargo xtask ci` has them"]
fn other_clients() {
    let packages = std::env::var_os("VITRINE_OPENAI").expect("VITRINE_OPENAI");
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    for shaping in ["off", "paced"] {
        let endpoint = Endpoint::begin(&agent.url, dir.path(), &["--shaping", shaping]);
        let mut python = Command::new("python3");
        python.args(["-B", "-W", "error"]).arg(committed("client/tests/openai/use.py")).args([&agent.model, QUESTION]);
        python.env("PYTHONPATH", &packages);
        let mut body = streamed();
        body["model"] = agent.model.as_str().into();
        let authorization = format!("Authorization: Bearer {}", endpoint.key);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--no-buffer", "--max-time", "60"]);
        curl.args(["--header", &authorization, "--header", "Content-Type: application/json"]);
        curl.args(["--data", &body.to_string(), &format!("{}/chat/completions", endpoint.url)]);
        for command in [&mut python, &mut curl] {
            command.env("OPENAI_BASE_URL", &endpoint.url).env("OPENAI_API_KEY", &endpoint.key).env("NO_PROXY", "*");
            let ran = run(command);
            assert_eq!(ran.code, Some(0), "{command:?}: {}{}", ran.stdout, ran.stderr);
            let said = if ran.stdout.starts_with("data: ") { text(&ran.stdout) } else { ran.stdout.trim_end().into() };
            assert_eq!(said, QUESTION, "{command:?}");
        }
        endpoint.end();
    }
}
