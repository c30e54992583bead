//! The agent as systemd starts it.
//!
//! What it needs from its unit: two listening TCP sockets and no other, named `session` and `metrics`;
//! `RestrictAddressFamilies=AF_UNIX` and `PrivateNetwork=yes`, without which it is never ready; its own files in /proc,
//! /sys, /run/vitrine and /model to read, and the sockets of the helper and of the workers. SIGTERM ends it.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use enclave_agent::{Config, Event, Limits, Listeners, can_open_ip_socket, log, serve};
use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    // What a panic says could be somebody's.
    std::panic::set_hook(Box::new(|_| log(Event::Failed)));
    let Some(listeners) = passed_listeners() else {
        log(Event::NoListener);
        return ExitCode::FAILURE;
    };
    match run(listeners) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            log(Event::Failed);
            ExitCode::FAILURE
        }
    }
}

/// The sockets that systemd listens on for us, if they are `session` and `metrics` and no other.
fn passed_listeners() -> Option<Listeners> {
    #[expect(clippy::disallowed_methods, reason = "systemd says there which of the sockets is which")]
    let names = std::env::var("LISTEN_FDNAMES").ok()?;
    let mut passed = ListenFd::from_env();
    if passed.len() != 2 {
        return None;
    }
    let mut take = |name| passed.take_tcp_listener(names.split(':').position(|found| found == name)?).ok().flatten();
    Some(Listeners { session: take("session")?, metrics: take("metrics")? })
}

fn run(listeners: Listeners) -> io::Result<()> {
    // Nobody reads its memory, and no core is left of it.
    nix::sys::prctl::set_dumpable(false)?;
    let config = Config {
        root: PathBuf::from("/"),
        attest: PathBuf::from(attest::SOCKET),
        infer: PathBuf::from("/run/agent/infer.sock"),
        limits: Limits::GUEST,
        ip_socket: can_open_ip_socket(),
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        serve(config, listeners, async {
            terminate.recv().await;
        })
        .await
    })
}
