//! The programs that ask and answer: a guest, `vitrine connect`, llama-cpp-2 in one process.

use super::{PATIENCE, QUESTION};
use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// An answer: the time to its first token, to its last, and what it was.
pub(super) struct Answered {
    pub(super) first: Duration,
    pub(super) all: Duration,
    pub(super) tokens: u64,
    pub(super) text: String,
}

/// A program that runs until its standard input ends, or until it is dropped.
pub(super) struct Running {
    pub(super) child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(super) fn start(command: &mut std::process::Command) -> anyhow::Result<Self> {
        let spawned = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.with_context(|| format!("starting {command:?}"))?;
        let stdout = BufReader::new(child.stdout.take().context("the program's output is not ours")?);
        Ok(Self { stdin: child.stdin.take(), child, stdout })
    }

    pub(super) fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line).context("waiting for a program")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

pub(super) struct Guest {
    pub(super) address: String,
    pub(super) model: String,
    pub(super) running: Running,
}

pub(super) struct Direct(pub(super) Running);

impl Direct {
    pub(super) fn ask(&mut self) -> anyhow::Result<Answered> {
        writeln!(self.0.stdin.as_mut().context("asking")?, "{QUESTION}")?;
        let line = self.0.line()?;
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [first, all, tokens, bytes] = numbers[..] else { bail!("direct: expected four numbers, found {line:?}") };
        let mut text = vec![0; usize::try_from(bytes)?];
        self.0.stdout.read_exact(&mut text)?;
        let [first, all] = [first, all].map(Duration::from_nanos);
        Ok(Answered { first, all, tokens, text: String::from_utf8_lossy(&text).into_owned() })
    }
}

/// `vitrine connect`.
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) key: String,
    pub(super) model: String,
    pub(super) _running: Running,
}

impl Endpoint {
    pub(super) fn send(&self, tokens: u64) -> anyhow::Result<TcpStream> {
        let mut stream =
            TcpStream::connect(&self.address).with_context(|| format!("connecting to {}", self.address))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let body = json!({
            "model": self.model, "messages": [{ "role": "user", "content": QUESTION }], "temperature": 0,
            "max_tokens": tokens, "stream": true, "stream_options": { "include_usage": true },
        });
        let (body, address, key) = (body.to_string(), &self.address, &self.key);
        let fields = format!("Host: {address}\r\nAuthorization: Bearer {key}\r\nContent-Length: {}\r\n", body.len());
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        stream.write_all([head, body].concat().as_bytes())?;
        Ok(stream)
    }

    pub(super) fn ask(&self, tokens: u64) -> anyhow::Result<Answered> {
        let started = Instant::now();
        let mut lines = BufReader::new(self.send(tokens)?).lines();
        let (mut first, mut text, mut counted, mut said) = (None, String::new(), None, Vec::new());
        let all = loop {
            let line = lines.next().with_context(|| format!("the answer has no end: {said:?}"))??;
            match line.strip_prefix("data: ") {
                Some("[DONE]") => break started.elapsed(),
                Some(event) => {
                    let event: Value = serde_json::from_str(event)?;
                    if let Some(piece) =
                        event["choices"][0]["delta"]["content"].as_str().filter(|text| !text.is_empty())
                    {
                        first.get_or_insert_with(|| started.elapsed());
                        text.push_str(piece);
                    }
                    counted = event["usage"]["completion_tokens"].as_u64().or(counted);
                }
                None => said.push(line),
            }
        };
        let tokens = counted.context("the answer has no usage")?;
        Ok(Answered { first: first.context("the answer has no text")?, all, tokens, text })
    }
}
