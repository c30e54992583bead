//! The server inside the guest: attested sessions, in which a model answers (docs/formats.md, "Session" and "Calls").
//!
//! It speaks with clients on sockets that it is passed, and with two others through sockets of the file system: the helper
//! that has reports made, and the workers that answer. It opens no other connection, reads a few files, writes nothing
//! but log lines on stderr, and needs no privilege.

mod agent;
mod attestation;
mod boot;
mod calls;
mod identity;
mod limits;
mod log;
mod metrics;
mod pages;
mod readiness;
mod server;
mod session;
mod socket;
pub mod websocket;
mod workers;

pub use limits::Limits;
pub use log::{Event, write as log};
pub use readiness::{Readiness, can_open_ip_socket};

use std::future::Future;
use std::io;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::agent::Agent;
use crate::metrics::Metrics;
use crate::pages::Pages;

/// What an agent needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The directory below which its files are: `/`, unless it is a test's.
    pub root: PathBuf,
    /// Where the helper listens.
    pub attest: PathBuf,
    /// Where a worker is started for each connection.
    pub infer: PathBuf,
    /// How much there is of everything.
    pub limits: Limits,
    /// Whether the process [can make](can_open_ip_socket) an IP socket. One that can is never ready.
    pub ip_socket: bool,
}

/// The sockets that the agent listens on.
#[derive(Debug)]
pub struct Listeners {
    /// For sessions and pages.
    pub session: TcpListener,
    /// For metrics.
    pub metrics: TcpListener,
}

/// How far the agent has come.
pub(crate) enum Phase {
    /// Not ready, for this reason; and what sessions from before have.
    Waiting(Readiness, Option<Arc<Agent>>),
    /// Sessions can begin.
    Ready(Arc<Agent>),
}

impl Phase {
    pub(crate) fn readiness(&self) -> Readiness {
        match self {
            Self::Waiting(reason, _) => *reason,
            Self::Ready(_) => Readiness::Ready,
        }
    }

    fn agent(&self) -> Option<&Arc<Agent>> {
        match self {
            Self::Waiting(_, agent) => agent.as_ref(),
            Self::Ready(agent) => Some(agent),
        }
    }
}

/// Serves until `stop` completes and what was running then has ended, or had the time that it has for it. To be called in a
/// runtime of tokio with I/O and time.
///
/// # Errors
/// When the clock or the listeners cannot be used.
pub async fn serve(config: Config, listeners: Listeners, stop: impl Future<Output = ()>) -> io::Result<()> {
    let begin_us = boot::now_us()?;
    listeners.session.set_nonblocking(true)?;
    listeners.metrics.set_nonblocking(true)?;
    let root = config.root.as_path();
    let stages = boot::stages(root, begin_us).ok();
    let pages = Pages::new(stages.as_deref());
    let metrics = Metrics::new(stages.as_deref().unwrap_or(&[]), metrics::memory(root).ok());
    let checked = readiness::check(root, stages.is_some(), config.ip_socket);
    log::write(Event::Serving(checked));

    let first = if checked == Readiness::Ready { Readiness::NoReport } else { checked };
    let (phase, seen) = watch::channel(Phase::Waiting(first, None));
    let (stopping, drain) = watch::channel(false);
    let respond = {
        let (seen, drain) = (seen.clone(), drain.clone());
        move |request| pages::respond(request, &pages, &seen.borrow(), &drain)
    };
    let stop = async {
        stop.await;
        log::write(Event::Draining);
        stopping.send_replace(true);
    };
    let mut told = drain.clone();
    let stop_too = async {
        let _ = told.wait_for(|stopping| *stopping).await;
    };
    let prepare = async {
        if checked == Readiness::Ready {
            return prepare(&config, &metrics, &phase).await;
        }
        std::future::pending().await
    };
    let served = async {
        tokio::join!(
            server::run(listeners.session.try_into()?, respond, &metrics, stop, &config.limits),
            metrics::serve(listeners.metrics.try_into()?, &metrics, &config, stop_too),
        );
        Ok(())
    };
    let served: io::Result<()> = tokio::select! {
        served = served => served,
        failed = prepare => failed,
    };
    served?;
    let agent = seen.borrow().agent().cloned();
    if let Some(agent) = agent {
        let all = agent.most_sessions();
        let _ = timeout(config.limits.drain, agent.sessions.acquire_many(all)).await;
    }
    log::write(Event::Stopped);
    Ok(())
}

/// Tries until the agent is ready, and again when a report is not what it must be or a worker does not get ready.
///
/// # Errors
/// When nobody starts workers any more.
async fn prepare(config: &Config, metrics: &Arc<Metrics>, phase: &watch::Sender<Phase>) -> io::Result<()> {
    let say = |reason| {
        if phase.borrow().readiness() != reason {
            phase.send_modify(|phase| *phase = Phase::Waiting(reason, phase.agent().cloned()));
            log::write(Event::Serving(reason));
        }
    };
    let agent = loop {
        match Agent::new(config, metrics).await {
            Ok(agent) => break agent,
            Err(reason) => say(reason),
        }
        sleep(config.limits.retry).await;
    };
    let agent = Arc::new(agent);
    loop {
        if !agent.workers.are_ready() {
            say(Readiness::NoWorker);
        }
        agent.workers.until(true).await.map_err(io::Error::other)?;
        phase.send_replace(Phase::Ready(Arc::clone(&agent)));
        log::write(Event::Serving(Readiness::Ready));
        let reason = tokio::select! {
            reason = agent.wrong() => reason,
            failed = agent.workers.until(false) => failed.map(|()| Readiness::NoWorker).map_err(io::Error::other)?,
        };
        say(reason);
        while let Err(reason) = {
            sleep(config.limits.retry).await;
            agent.try_report().await
        } {
            say(reason);
        }
    }
}
