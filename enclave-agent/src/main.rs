//! The server inside the guest. At present it says whether the guest is what it should be, and how it booted.
//!
//! What it needs from its unit: exactly one listening TCP socket (`LISTEN_FDS=1`); `RestrictAddressFamilies=AF_UNIX`
//! and `PrivateNetwork=yes`, without which it is never ready; its own files in /proc, /sys and /run/vitrine to read.
//! It writes nothing but log lines on stderr, ends within [`DRAIN`] of a SIGTERM, and needs no privilege.

mod boot;
mod log;
mod readiness;
mod server;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::log::Event;
use crate::server::Pages;

/// How long connections may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Some(listener) = passed_listener() else {
        log::write(Event::NoListener);
        return ExitCode::FAILURE;
    };
    match serve(listener) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            log::write(Event::Failed);
            ExitCode::FAILURE
        }
    }
}

/// The socket that systemd listens on for us, if it is one, and the only one.
fn passed_listener() -> Option<std::net::TcpListener> {
    let mut passed = ListenFd::from_env();
    if passed.len() != 1 {
        return None;
    }
    passed.take_tcp_listener(0).ok().flatten()
}

fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let begin_us = boot::now_us()?;
    listener.set_nonblocking(true)?;
    let root = Path::new("/");
    let stages = boot::stages(root, begin_us);
    let readiness = readiness::check(root, stages.is_ok());
    let pages = Pages::new(readiness, stages.ok());
    log::write(Event::Serving(readiness));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = async move {
            terminate.recv().await;
            log::write(Event::Draining);
        };
        server::run(TcpListener::from_std(listener)?, pages, stop, DRAIN).await;
        log::write(Event::Stopped);
        Ok(())
    })
}
