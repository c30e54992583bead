//! The sessions behind the endpoint: each judged before anything is said in it, used for one request at a time, kept
//! while nobody needs it, and not longer than it is good for.

use crate::receipt::Signer;
use crate::report;
use crate::session::{self, Opened, Session, Target};
use channel::Outcome;
use openai::{Call, Piece};
use std::ops::ControlFlow;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use verify::Verdict;

/// How long a request waits for a session that others have.
const QUEUE: Duration = Duration::from_secs(20);
/// In a session that ends within this, nothing is begun.
const REST: Duration = Duration::from_secs(5 * 60);
/// How long answers may take to end once the process is to.
const DRAIN: Duration = Duration::from_secs(10);

/// All sessions with a guest.
pub(super) struct Sessions {
    target: Target,
    /// How many there may be.
    most: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    /// How many there are: idle, in use, or about to be.
    open: usize,
    /// Requests that are being answered.
    requests: usize,
    /// Which verdict was told last.
    verdict: String,
    ending: bool,
}

/// A reply that has come to its end.
pub(super) struct Asked {
    pub(super) outcome: Outcome,
    /// The guest whose reply it is.
    pub(super) signer: Signer,
}

/// Why there is no reply, or no more of it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    /// By this verdict, and in one line.
    #[error("{1}")]
    Refused(Box<Verdict>, String),
    #[error("there is no session with the guest: {0:#}")]
    Unreachable(anyhow::Error),
    #[error("the guest has too much else to do, or every session is in use; --sessions allows more")]
    Busy,
    #[error("the session with the guest broke off")]
    Broken,
    #[error("`vitrine connect` was ended")]
    Ending,
}

/// A request that is being answered, until it is dropped.
pub(super) struct Work<'a>(&'a Sessions);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.requests = state.requests.saturating_sub(1));
    }
}

impl Sessions {
    pub(super) fn new(target: Target, most: usize) -> Self {
        Self { target, most, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Opens the first session, for who has started this to see the verdict.
    pub(super) fn start(&self) -> Result<(), Trouble> {
        self.change(|state| state.open = 1);
        let session = self.open()?;
        self.change(|state| state.idle.push(session));
        Ok(())
    }

    /// To be held while a request is answered.
    pub(super) fn work(&self) -> Work<'_> {
        self.change(|state| state.requests = state.requests.saturating_add(1));
        Work(self)
    }

    /// Asks in a session that is there, or in a new one; gives `each` the pieces of the reply, and nothing several times a
    /// second, until it breaks.
    pub(super) fn ask(
        self: &Arc<Self>,
        call: &Call,
        each: &mut dyn FnMut(Option<Piece>) -> ControlFlow<()>,
    ) -> Result<Asked, Trouble> {
        loop {
            let (mut session, used) = self.take()?;
            let mut waited = false;
            let asked = session.ask(call, &mut |piece| {
                waited = true;
                if self.lock().ending { ControlFlow::Break(()) } else { each(piece) }
            });
            let signer = session.signer();
            self.put(session);
            match asked {
                Ok(Outcome::Cancelled) if self.lock().ending => return Err(Trouble::Ending),
                Ok(outcome) => return Ok(Asked { outcome, signer: signer.map_err(Trouble::Unreachable)? }),
                // The guest ends sessions when it likes, so the one that was kept may have been over.
                Err(_) if used && !waited => {}
                Err(error) => {
                    report::progress(&format!("a session broke off: {error:#}"));
                    return Err(Trouble::Broken);
                }
            }
        }
    }

    /// Ends all sessions, those in use as soon as their replies are cancelled.
    pub(super) fn end(&self) {
        let until = Instant::now() + DRAIN;
        let mut state = self.lock();
        state.ending = true;
        while state.requests > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let idle = std::mem::take(&mut state.idle);
        drop(state);
        idle.into_iter().for_each(Session::close);
    }

    /// A session that nobody else uses, and whether it was used before.
    fn take(&self) -> Result<(Session, bool), Trouble> {
        let until = Instant::now() + QUEUE;
        let mut state = self.lock();
        loop {
            if state.ending {
                return Err(Trouble::Ending);
            }
            if let Some(mut session) = state.idle.pop() {
                drop(state);
                if session.is_open() && session.left() > REST {
                    return Ok((session, true));
                }
                session.close();
                self.change(|state| state.open = state.open.saturating_sub(1));
                state = self.lock();
                continue;
            }
            if state.open < self.most {
                state.open = state.open.saturating_add(1);
                drop(state);
                return Ok((self.open()?, false));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Trouble::Busy);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Opens a session that is counted already.
    fn open(&self) -> Result<Session, Trouble> {
        let opened = match session::open(&self.target) {
            Ok(Opened::Session(session)) => {
                self.tell(session.verdict(), || session.summary());
                return Ok(*session);
            }
            Ok(Opened::Refused(verdict)) => {
                self.tell(&verdict, || verdict.to_string());
                let why = self.target.reason(&verdict);
                Trouble::Refused(verdict, why)
            }
            Err(error) => {
                report::progress(&format!("no session: {error:#}"));
                Trouble::Unreachable(error)
            }
        };
        self.change(|state| state.open = state.open.saturating_sub(1));
        Err(opened)
    }

    /// Takes a session back, once what the last reply is padded with has come: nobody waits for that.
    fn put(self: &Arc<Self>, mut session: Session) {
        let sessions = Arc::clone(self);
        let rest = std::thread::Builder::new().spawn(move || {
            let good = session.rest().is_ok();
            sessions.change(|state| match good {
                true => state.idle.push(session),
                false => state.open = state.open.saturating_sub(1),
            });
        });
        if rest.is_err() {
            self.change(|state| state.open = state.open.saturating_sub(1));
        }
    }

    /// Says on stderr what the verdict is, if it is another than the last.
    fn tell(&self, verdict: &Verdict, text: impl FnOnce() -> String) {
        let subject = verdict.subject();
        let said = format!("{} {} {:?}", verdict.outcome(), subject.evidence, subject.matched);
        if std::mem::replace(&mut self.lock().verdict, said.clone()) != said {
            report::progress(text().trim_end());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}
