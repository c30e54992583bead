//! What all sessions share, and how it comes to be: only a guest that is ready has it.

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use channel::operator::Operator;
use channel::server::{About, Identity};
use measure::Sha256;
use measure::cmdline::CommandLine;
use openai::MAX_MODEL;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::Config;
use crate::attestation::Attester;
use crate::boot::read_small;
use crate::calls::Model;
use crate::identity::{Identities, random};
use crate::limits::{Budget, Limits, Turns};
use crate::log::{self, Event};
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::workers::Workers;

/// Everything that a session needs.
pub(crate) struct Agent {
    pub(crate) limits: Limits,
    started: Instant,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) attester: Attester,
    /// The operator document as the host gave it.
    pub(crate) operator: Option<Vec<u8>>,
    /// What HOST_DATA is, if there is one.
    pub(crate) operator_digest: Option<Sha256>,
    identities: Mutex<Identities>,
    handshakes: Mutex<Turns>,
    pub(crate) reports: Semaphore,
    pub(crate) sessions: Arc<Semaphore>,
    most_sessions: u32,
    pub(crate) budget: Budget,
    pub(crate) model: Arc<Model>,
    pub(crate) workers: Arc<Workers>,
    wrong: watch::Sender<Option<Readiness>>,
}

impl Agent {
    /// Does all that must have been done before a session, and has the first worker started, which is still to be waited
    /// for.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) async fn new(config: &Config, metrics: &Arc<Metrics>) -> Result<Self, Readiness> {
        let Config { root, attest, infer, limits, .. } = config;
        let model = model(root).map_err(|_| Readiness::ModelUnknown)?;
        let attester = Attester::new(attest.clone(), limits);
        let operator = attester.operator().await.map_err(|_| Readiness::OperatorDocument)?;
        let asked = operator.as_deref().map(Operator::parse).transpose().map_err(|_| Readiness::OperatorDocument)?;
        let digest = operator.as_deref().map(Sha256::of);

        let started = Instant::now();
        let no_report = |_: io::Error| Readiness::NoReport;
        let boot_id = random().map_err(no_report)?;
        let about = About { boot_id, epoch: 0, models: [model.root].into(), operator: digest };
        let identities = Identities::new(about, limits, Duration::ZERO).map_err(no_report)?;
        // A report of no session, because nobody's handshake has this hash.
        let handshake = Sha256::new(random().map_err(no_report)?);
        attester.report(handshake, identities.current().statement_digest(), digest).await?;

        let (sessions, most) = asked.map_or((limits.sessions, limits.workers), |asked| {
            (asked.sessions.min(limits.sessions), asked.workers.min(limits.workers))
        });
        Ok(Self {
            limits: *limits,
            started,
            metrics: Arc::clone(metrics),
            attester,
            operator,
            operator_digest: digest,
            identities: Mutex::new(identities),
            handshakes: Mutex::new(Turns::new(limits)),
            reports: Semaphore::new(limits.reports as usize),
            sessions: Arc::new(Semaphore::new(sessions as usize)),
            most_sessions: sessions,
            budget: Budget::new(limits.held),
            model: Arc::new(model),
            workers: Arc::new(Workers::start(infer.clone(), limits, most)),
            wrong: watch::Sender::new(None),
        })
    }

    /// The time of sessions, which began with the agent.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says that a report was not what it must be, for which reason the guest is not ready from now on.
    pub(crate) fn not_attested(&self, reason: Readiness) {
        // That there was none may be a matter of time.
        if reason != Readiness::NoReport {
            self.wrong.send_replace(Some(reason));
        }
    }

    /// Waits until a report is not what it must be.
    pub(crate) async fn wrong(&self) -> Readiness {
        let mut wrong = self.wrong.subscribe();
        wrong.wait_for(Option::is_some).await.ok().and_then(|wrong| *wrong).unwrap_or(Readiness::NoReport)
    }

    /// Has a report of no session made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) async fn try_report(&self) -> Result<(), Readiness> {
        // Nobody's handshake has this hash.
        let handshake = Sha256::new(random().map_err(|_| Readiness::NoReport)?);
        let statement = self.identity().map_err(|_| Readiness::NoReport)?.statement_digest();
        self.attester.report(handshake, statement, self.operator_digest).await?;
        self.wrong.send_replace(None);
        Ok(())
    }

    /// When that time is this.
    pub(crate) fn at(&self, time: Duration) -> Instant {
        self.started + time
    }

    /// When a handshake with a client at this address may be begun, if it is soon. If so, it counts.
    pub(crate) fn turn(&self, from: IpAddr) -> Option<Instant> {
        let mut turns = self.handshakes.lock().unwrap_or_else(PoisonError::into_inner);
        turns.take(from, self.now()).map(|turn| self.at(turn))
    }

    /// A client has shown that it can read what these keys protect.
    pub(crate) fn session_begins(&self, identity: &Arc<Identity>) {
        self.identities.lock().unwrap_or_else(PoisonError::into_inner).count(identity);
    }

    /// The keys for one more handshake.
    pub(crate) fn identity(&self) -> io::Result<Arc<Identity>> {
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        let (identity, epoch) = identities.of_handshake(self.now())?;
        if self.metrics.epoch(epoch) {
            log::write(Event::KeysReplaced);
        }
        Ok(identity)
    }

    /// Sessions that there can be.
    pub(crate) fn most_sessions(&self) -> u32 {
        self.most_sessions
    }
}

/// What the measured command line says of the model, which `/init` has opened by it, and what its disk says.
fn model(root: &Path) -> io::Result<Model> {
    let line: CommandLine = read_small(root, "run/vitrine/cmdline")?.parse().map_err(io::Error::other)?;
    let text = read_small(root, "model/name")?;
    let name = text.strip_suffix('\n').unwrap_or(&text);
    if !(1..=MAX_MODEL).contains(&name.len()) || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "expected the name of a model"));
    }
    Ok(Model { name: name.to_owned(), root: line.model.root })
}
