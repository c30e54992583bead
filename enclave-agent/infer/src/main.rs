//! The worker: one connection, one request, one answer, and the end of the process with everything it knew.
//!
//! `infer MODEL THREADS`, with the connection as standard input, as systemd hands it over (`Accept=yes`); 0 threads stand for
//! as many as there are processors. It loads the model into locked memory, makes a token with it, gives up every system call
//! that inference does not need, says that it is ready, and reads a request (`openai::read_request`). Exit status 0: the answer
//! is complete, the other side had enough, or there was a reason that a frame has told; 1: the connection failed, or the program
//! was started wrongly.
//!
//! It writes nothing but frames. What users write reaches neither stderr nor an exit status.

mod engine;
mod sandbox;
mod template;

use engine::{Ended, Engine};
use openai::{Failure, Frame, FrameError};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The message of a panic could quote a request.
    std::panic::set_hook(Box::new(|_panic| {}));
    match worked() {
        Some(()) => ExitCode::SUCCESS,
        None => ExitCode::FAILURE,
    }
}

/// `None` if there is nobody, or nobody left, to be told what went wrong.
fn worked() -> Option<()> {
    let mut arguments = std::env::args().skip(1);
    let (model, threads) = (arguments.next()?, arguments.next()?.parse().ok()?);
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().ok()?);
    let loaded = sandbox::close_memory().ok().and_then(|()| {
        let engine = Engine::load(Path::new(&model), threads)?;
        sandbox::give_up_system_calls().ok()?;
        Some(engine)
    });
    let Some(mut engine) = loaded else { return Frame::Failed(Failure::Model).write(&mut stream).ok() };
    Frame::Ready.write(&mut stream).ok()?;
    let request = match openai::read_request(&mut stream) {
        Ok(request) => request,
        Err(FrameError::Io(_)) => return None,
        Err(_) => return Frame::Failed(Failure::Request).write(&mut stream).ok(),
    };
    match engine.answer(&request, &mut stream) {
        Ok(()) | Err(Ended::Closed) => Some(()),
        Err(Ended::Failed(failure)) => Frame::Failed(failure).write(&mut stream).ok(),
    }
}
