//! The real worker with the real model: `VITRINE_MODEL=FILE cargo test --test worker -- --ignored`. The figures are of
//! SmolLM2-135M-Instruct as it is in image.lock.

#![expect(clippy::disallowed_methods, reason = "which model to test with is in the environment; workers are programs")]

use openai::{Failure, Finish, Frame, Request, Usage};
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};

/// A worker and the agent's end of its connection.
struct Worker {
    child: Child,
    stream: UnixStream,
}

impl Worker {
    fn start(model: &str) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_infer"));
        command
            .args([model, "2"])
            .env_clear()
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        // Or our copy of its end would keep the connection open.
        drop(command);
        Self { child, stream: ours }
    }

    fn ready() -> Self {
        let mut worker = Self::start(&std::env::var("VITRINE_MODEL").expect("VITRINE_MODEL names the model's file"));
        assert!(worker.next() == Frame::Ready, "expected that it is ready");
        worker
    }

    fn next(&mut self) -> Frame {
        openai::read(&mut self.stream).expect("a frame")
    }

    /// Text and end of the answer.
    fn answer(mut self, request: &Request) -> (String, Frame) {
        openai::write_request(&mut self.stream, request).unwrap();
        let mut text = String::new();
        loop {
            match self.next() {
                Frame::Text(piece) => text += &piece,
                end => {
                    assert_eq!(self.end(), 0);
                    return (text, end);
                }
            }
        }
    }

    /// Its exit status, when it has said nothing but frames.
    fn end(mut self) -> i32 {
        drop(self.stream);
        let status = self.child.wait().unwrap();
        let mut said = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!((status.signal(), said.as_str()), (None, ""));
        status.code().unwrap()
    }
}

fn request(content: &str, rest: &str) -> Request {
    let content = content.replace('\n', "\\n");
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{content}"}}]{rest}}}"#);
    Request::parse(body.as_bytes()).unwrap()
}

const GREEDY: &str = r#","temperature":0,"max_tokens":24"#;

#[test]
#[ignore = "needs the model"]
fn it_answers_and_greedily_twice_the_same() {
    let ask = request("What is 2+2?", GREEDY);
    let (first, end) = Worker::ready().answer(&ask);
    assert!(first.contains('4'), "{first}");
    assert!(matches!(end, Frame::Done(_, Usage { prompt: 35..50, completion: 1..=24 })));
    assert!(Worker::ready().answer(&ask) == (first, end));
}

#[test]
#[ignore = "needs the model"]
fn draws_depend_on_the_seed_alone() {
    let ask = |seed: u32| {
        let rest = format!(r#","temperature":1.5,"top_p":0.9,"max_tokens":16,"seed":{seed}"#);
        Worker::ready().answer(&request("Tell me a story.", &rest)).0
    };
    let first = ask(1);
    assert!(ask(1) == first && ask(2) != first, "{first}");
}

#[test]
#[ignore = "needs the model"]
fn limits_hold() {
    let (text, end) = Worker::ready().answer(&request("Count from 1 to 50.", r#","temperature":0,"max_tokens":3"#));
    assert!(matches!(end, Frame::Done(Finish::Length, Usage { completion: 3, .. })), "{text}");
    let (whole, _) = Worker::ready().answer(&request("Count from 1 to 50.", GREEDY));
    let word: String = whole.chars().skip(4).take(4).collect();
    let stop = word.replace('\n', "\\n");
    let (text, end) =
        Worker::ready().answer(&request("Count from 1 to 50.", &format!(r#"{GREEDY},"stop":["{stop}"]"#)));
    assert!(matches!(end, Frame::Done(Finish::Stop, _)));
    assert_eq!(Some(text.as_str()), whole.split(&word).next());
    // More than the context holds: 2048 tokens.
    let (text, end) = Worker::ready().answer(&request(&"one ".repeat(4000), GREEDY));
    assert!(text.is_empty() && end == Frame::Failed(Failure::TooLong));
    // A marker in what the user writes is text: it ends no turn.
    let marker = Worker::ready().answer(&request("<|im_end|>", r#","temperature":0,"max_tokens":1"#)).1;
    let plain = Worker::ready().answer(&request("x", r#","temperature":0,"max_tokens":1"#)).1;
    let (Frame::Done(_, marker), Frame::Done(_, plain)) = (marker, plain) else { panic!("expected two answers") };
    assert!(marker.prompt > plain.prompt + 2, "{marker:?} {plain:?}");
}

#[test]
#[ignore = "needs the model"]
fn it_ends_when_nobody_listens() {
    let mut worker = Worker::ready();
    openai::write_request(&mut worker.stream, &request("Count from 1 to 500.", r#","temperature":0"#)).unwrap();
    assert!(matches!(worker.next(), Frame::Text(_)));
    assert_eq!(worker.end(), 0);
    // Also before there is a request, as a spare that is not needed.
    assert_eq!(Worker::ready().end(), 1);
}

#[test]
#[ignore = "needs the model"]
fn what_is_no_request_is_not_answered() {
    let mut worker = Worker::ready();
    worker.stream.write_all(b"\x05\x02\0\0\0{}").unwrap();
    assert!(worker.next() == Frame::Failed(Failure::Request));
    assert_eq!(worker.end(), 0);
}

#[test]
#[ignore = "needs the worker with llama.cpp"]
fn without_a_model_it_says_so() {
    for missing in ["/nonexistent", "/dev/null", env!("CARGO_MANIFEST_PATH")] {
        let mut worker = Worker::start(missing);
        assert!(worker.next() == Frame::Failed(Failure::Model), "{missing}");
        assert_eq!(worker.end(), 0);
    }
}
