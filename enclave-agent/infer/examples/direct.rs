//! What the worker is measured against: llama-cpp-2 in one process, with nothing around it.
//!
//! `direct MODEL THREADS TOKENS` loads the model as the worker does. Each line on its standard input is a user's only
//! message; it answers greedily and says on a line how many nanoseconds the first token took, how many all of them, how many
//! tokens and how many bytes there are, and then those bytes.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::sampling::LlamaSampler;
use std::error::Error;
use std::io::{BufRead as _, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Instant;

/// As in the worker's `engine`.
const CONTEXT: u32 = 2048;
const BATCH: u32 = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, path, threads, tokens] = arguments.as_slice() else { return Err("expected MODEL THREADS TOKENS".into()) };
    let (threads, most): (i32, u64) = (threads.parse()?, tokens.parse()?);
    let mut backend = LlamaBackend::init()?;
    backend.void_logs();
    let parameters = LlamaModelParams::default().with_use_mmap(true).with_use_mlock(true);
    let model = LlamaModel::load_from_file(&backend, Path::new(path), &parameters)?;
    let parameters = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(CONTEXT))
        .with_n_batch(BATCH)
        .with_n_ubatch(BATCH)
        .with_n_threads(threads)
        .with_n_threads_batch(threads);
    let mut context = model.new_context(&backend, parameters)?;
    for line in std::io::stdin().lock().lines() {
        let system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";
        let turn = |name: &str, text: &str| format!("<|im_start|>{name}\n{text}<|im_end|>\n");
        let prompt = [turn("system", system), turn("user", &line?), "<|im_start|>assistant\n".into()].concat();
        context.clear_kv_cache();
        let start = Instant::now();
        let mut next = model.vocab().tokenize(prompt.as_bytes(), false, true);
        let (mut sampler, mut position) = (LlamaSampler::greedy(), 0);
        let (mut answer, mut count, mut first) = (Vec::new(), 0, None);
        while count < most {
            let mut batch = LlamaBatch::new(next.len(), 1);
            for (at, token) in next.iter().enumerate() {
                batch.add(*token, position, &[0], at + 1 == next.len())?;
                position += 1;
            }
            context.decode(&mut batch)?;
            let token = sampler.sample(&context, -1);
            first.get_or_insert_with(|| start.elapsed());
            if model.vocab().is_eog(token) {
                break;
            }
            answer.extend(model.vocab().token_to_piece(token, false, None));
            count += 1;
            next = vec![token];
        }
        let [first, all] = [first.unwrap_or_default(), start.elapsed()].map(|time| time.as_nanos());
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{first} {all} {count} {}", answer.len())?;
        stdout.write_all(&answer)?;
        stdout.flush()?;
    }
    Ok(())
}
