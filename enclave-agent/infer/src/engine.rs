//! The model in memory, and answers made with it.

use crate::template::{self, Part};
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use llama_cpp_2::token::LlamaToken;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use openai::{Cutter, Failure, Finish, Frame, MAX_COMPLETION, Request, Usage};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Tokens of conversation and answer together.
const CONTEXT: u32 = 2048;

/// Tokens of the conversation that are computed at a time; between them a closed connection is noticed.
const BATCH: u32 = 256;

/// Most threads.
const MAX_THREADS: usize = 64;

/// A loaded model, ready to answer once. Both parts live as long as the process, which is what frees them.
pub(crate) struct Engine {
    model: &'static LlamaModel,
    context: LlamaContext<'static>,
}

/// Why there is no complete answer.
pub(crate) enum Ended {
    /// The other side closed the connection.
    Closed,
    /// To be told.
    Failed(Failure),
}

impl Engine {
    /// Loads the model in the file at `path` and makes a token with it, on so many threads; 0 stands for as many as there
    /// are processors. `None` if that fails or if its weights cannot be kept in memory.
    pub(crate) fn load(path: &Path, threads: u8) -> Option<Self> {
        let threads = match usize::from(threads) {
            0 => std::thread::available_parallelism().ok()?.get(),
            threads => threads,
        };
        let threads = i32::try_from(threads.min(MAX_THREADS)).ok()?;
        let mut backend = LlamaBackend::init().ok()?;
        backend.void_logs();
        let backend: &'static LlamaBackend = Box::leak(Box::new(backend));
        let weights = std::fs::metadata(path).ok()?.len();
        // Mapped, so that the page cache has them once for all workers; with every page present and locked, so that
        // none is read from the disk, where the host sees it, because of what a user wrote.
        let parameters = LlamaModelParams::default().with_use_mmap(true).with_use_mlock(true);
        let model = LlamaModel::load_from_file(backend, path, &parameters).ok()?;
        let model: &'static LlamaModel = Box::leak(Box::new(model));
        if locked()? < model.size().min(weights) {
            return None;
        }
        let parameters = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(CONTEXT))
            .with_n_batch(BATCH)
            .with_n_ubatch(BATCH)
            .with_n_threads(threads)
            .with_n_threads_batch(threads);
        let mut engine = Self { model, context: model.new_context(backend, parameters).ok()? };
        // Shows that it works, and touches what the first user would wait for otherwise. Every conversation begins so.
        let first = *engine.tokens(&template::parts(&[])).first()?;
        engine.decode(&[first], 0).ok()?;
        let _token = LlamaSampler::greedy().sample(&engine.context, -1);
        engine.context.clear_kv_cache();
        Some(engine)
    }

    /// Answers on `stream`, a frame for each piece of text.
    pub(crate) fn answer(&mut self, request: &Request, stream: &mut UnixStream) -> Result<(), Ended> {
        let prompt = self.tokens(&template::parts(&request.messages));
        let used = u32::try_from(prompt.len()).map_err(|_| Ended::Failed(Failure::TooLong))?;
        let room = CONTEXT.checked_sub(used).filter(|room| *room > 0).ok_or(Ended::Failed(Failure::TooLong))?;
        let most = request.max_tokens.unwrap_or(MAX_COMPLETION).min(room);
        let mut position = 0;
        for batch in prompt.chunks(BATCH as usize) {
            go_on(stream)?;
            position = self.decode(batch, position)?;
        }

        let mut sampler = sampler(request);
        let mut cutter = Cutter::new(request.stop.clone());
        let mut completion = 0;
        let finish = loop {
            let token = sampler.sample(&self.context, -1);
            if self.model.vocab().is_eog(token) {
                break Finish::Stop;
            }
            completion += 1;
            let (text, stopped) = cutter.push(&self.model.vocab().token_to_piece(token, false, None));
            send(stream, text)?;
            if stopped {
                break Finish::Stop;
            }
            if completion == most {
                break Finish::Length;
            }
            go_on(stream)?;
            position = self.decode(&[token], position)?;
        };
        send(stream, cutter.rest())?;
        Frame::Done(finish, Usage { prompt: used, completion }).write(stream).map_err(|_| Ended::Closed)
    }

    fn tokens(&self, parts: &[Part]) -> Vec<LlamaToken> {
        let vocab = self.model.vocab();
        let tokens = |part: &Part| match part {
            Part::Marker(marker) => vocab.tokenize(marker.as_bytes(), false, true),
            Part::Text(text) => vocab.tokenize(text.as_bytes(), false, false),
        };
        parts.iter().flat_map(tokens).collect()
    }

    /// Computes `tokens` from `position` on; what comes after the last is ready to be sampled. The position after them.
    fn decode(&mut self, tokens: &[LlamaToken], position: i32) -> Result<i32, Ended> {
        let failed = || Ended::Failed(Failure::Engine);
        let mut batch = LlamaBatch::new(tokens.len(), 1);
        let mut next = position;
        for (at, &token) in tokens.iter().enumerate() {
            batch.add(token, next, &[0], at + 1 == tokens.len()).map_err(|_| failed())?;
            next += 1;
        }
        self.context.decode(&mut batch).map_err(|_| failed())?;
        Ok(next)
    }
}

/// What draws the tokens. Without a seed in the request it is 0.
fn sampler(request: &Request) -> LlamaSampler {
    if request.temperature == 0.0 {
        return LlamaSampler::greedy();
    }
    LlamaSampler::chain_simple([
        LlamaSampler::temp(request.temperature),
        LlamaSampler::top_p(request.top_p, 1),
        LlamaSampler::dist(request.seed.unwrap_or(0)),
    ])
}

fn send(stream: &mut UnixStream, text: String) -> Result<(), Ended> {
    if text.is_empty() {
        return Ok(());
    }
    Frame::Text(text).write(stream).map_err(|_| Ended::Closed)
}

/// Whether the other side still waits and says nothing, as it should.
fn go_on(stream: &UnixStream) -> Result<(), Ended> {
    match recv(stream.as_raw_fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
        Err(Errno::EAGAIN) => Ok(()),
        _ => Err(Ended::Closed),
    }
}

/// Bytes of this process that are locked in memory (proc_pid_status(5)).
fn locked() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 =
        status.lines().find_map(|line| line.strip_prefix("VmLck:"))?.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}
