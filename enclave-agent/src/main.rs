//! The server inside the guest. At present it says whether the guest is what it should be, and how it booted.
//!
//! What it needs from its unit: two listening TCP sockets and no other, named `session` and `metrics`;
//! `RestrictAddressFamilies=AF_UNIX` and `PrivateNetwork=yes`, without which it is never ready; its own files in /proc,
//! /sys and /run/vitrine to read.
//! It writes nothing but log lines on stderr, ends within [`DRAIN`] of a SIGTERM, and needs no privilege.

mod boot;
mod log;
mod metrics;
mod readiness;
mod server;

use std::io;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use listenfd::ListenFd;
use tokio::signal::unix::{SignalKind, signal};

use crate::log::Event;
use crate::metrics::Metrics;
use crate::server::Pages;

/// How long connections may go on after SIGTERM.
const DRAIN: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let Some((clients, watchers)) = passed_listeners() else {
        log::write(Event::NoListener);
        return ExitCode::FAILURE;
    };
    match serve(clients, watchers) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => {
            log::write(Event::Failed);
            ExitCode::FAILURE
        }
    }
}

/// The sockets that systemd listens on for us, if they are `session` and `metrics` and no other.
fn passed_listeners() -> Option<(TcpListener, TcpListener)> {
    #[expect(clippy::disallowed_methods, reason = "systemd says there which of the sockets is which")]
    let names = std::env::var("LISTEN_FDNAMES").ok()?;
    let mut passed = ListenFd::from_env();
    if passed.len() != 2 {
        return None;
    }
    let mut take = |name| passed.take_tcp_listener(names.split(':').position(|found| found == name)?).ok().flatten();
    Some((take("session")?, take("metrics")?))
}

fn serve(clients: TcpListener, watchers: TcpListener) -> io::Result<()> {
    let begin_us = boot::now_us()?;
    clients.set_nonblocking(true)?;
    watchers.set_nonblocking(true)?;
    let root = Path::new("/");
    let stages = boot::stages(root, begin_us).ok();
    let readiness = readiness::check(root, stages.is_some());
    let pages = Pages::new(readiness, stages.as_deref());
    let metrics = Metrics::new(stages.as_deref().unwrap_or(&[]), metrics::memory(root).ok());
    log::write(Event::Serving(readiness));
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
        let mut terminate = [signal(SignalKind::terminate())?, signal(SignalKind::terminate())?];
        let [first, second] = terminate.each_mut();
        let stop = async {
            first.recv().await;
            log::write(Event::Draining);
        };
        let stop_too = async {
            second.recv().await;
        };
        tokio::join!(
            server::run(clients.try_into()?, move |path| pages.page(path), stop, DRAIN),
            metrics::serve(watchers.try_into()?, &metrics, root, stop_too, DRAIN),
        );
        log::write(Event::Stopped);
        Ok(())
    })
}
