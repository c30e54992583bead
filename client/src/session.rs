//! A session with a guest whose evidence was accepted: what `chat` and `connect` talk through. Nothing of the user's is
//! sent before the verdict, and there is one way to a verdict and no second try with less.

mod wire;
mod words;

pub(crate) use wire::Address;

use crate::receipt::Signer;
use crate::report;
use crate::state::State;
use crate::{files, host, policy, roots};
use anyhow::{Context as _, ensure};
use channel::client::{Hello, Received, Verified};
use channel::{Evidence, Outcome, Seed, Shaping};
use measure::snp::report::Report;
use openai::{Call, Piece, Pieces};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use verify::bundle::MAX_BUNDLE;
use verify::session::{Live, appraise, bundle};
use verify::{Bundle, Policy, Verdict, verdict};
use wire::{PATIENCE, Wire};

/// How long nothing may come of a paced reply, of which something comes every 50 ms.
const PACED: Duration = Duration::from_secs(30);
/// The same of another: the model reads a long conversation before it says something.
const UNPACED: Duration = Duration::from_secs(10 * 60);
/// How often a caller is asked whether it has enough.
const TICK: Duration = Duration::from_millis(250);

/// With whom a session is wanted, and what is demanded of them.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Flags {
    /// Where the guest is: http://HOST:8080, or https:// if TLS is in front of it. What is said is encrypted to the guest
    /// in either case.
    #[arg(value_name = "URL")]
    address: Address,
    /// What is demanded: a policy file. If not given, the policy that `vitrine policy` prints, which names nobody's keys
    /// and so accepts nobody.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The release's signed statement: what the guest sends must be the same, byte by byte.
    #[arg(long, value_name = "FILE")]
    release: Option<PathBuf>,
    /// A directory in which this client remembers the newest that it has accepted of each log, and below which it does not
    /// go. It is made if it is not there; without it nothing is remembered.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// What somebody on the way can see of an answer: how long it is, to within a quarter (paced); when its parts came
    /// (bucket); everything that sizes and times say (off).
    #[arg(long, value_enum, default_value_t = Shape::Paced)]
    shaping: Shape,
    /// Write what the verdict was on into this file, accepted or not: `vitrine verify` gives the same verdict on it.
    #[arg(long, value_name = "FILE")]
    save_bundle: Option<PathBuf>,
    /// Talk to a guest where everything passed but the hardware is simulated. Everybody can read along.
    #[cfg(feature = "simulated-hardware")]
    #[arg(long)]
    dangerously_accept_simulated_hardware: bool,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Shape {
    Paced,
    Bucket,
    Off,
}

/// What sessions are opened with.
#[derive(Debug)]
pub(crate) struct Target {
    address: Address,
    policy: Policy,
    /// Whether it is the one that is in this program.
    policy_is_ours: bool,
    release: Option<Vec<u8>>,
    state: Option<PathBuf>,
    shaping: Shaping,
    save_bundle: Option<PathBuf>,
    accepts_simulated: bool,
}

impl Target {
    /// Reads the files that the flags name.
    pub(crate) fn read(flags: &Flags) -> anyhow::Result<Self> {
        let release = flags.release.as_ref().map(|path| files::read(path, MAX_BUNDLE as u64)).transpose()?;
        #[cfg(feature = "simulated-hardware")]
        let accepts_simulated = flags.dangerously_accept_simulated_hardware;
        #[cfg(not(feature = "simulated-hardware"))]
        let accepts_simulated = false;
        Ok(Self {
            address: flags.address.clone(),
            policy: policy::read(flags.policy.as_deref())?,
            policy_is_ours: flags.policy.is_none(),
            release,
            state: flags.state.clone(),
            shaping: match flags.shaping {
                Shape::Paced => Shaping::Paced,
                Shape::Bucket => Shaping::Bucket,
                Shape::Off => Shaping::Off,
            },
            save_bundle: flags.save_bundle.clone(),
            accepts_simulated,
        })
    }
}

/// What came of [`open`].
pub(crate) enum Opened {
    /// The verdict is no. Nothing of the user's was sent, and the connection is closed.
    Refused(Box<Verdict>),
    /// The verdict is yes.
    Session(Box<Session>),
}

/// A positive verdict on one session. Only [`open`] makes one.
pub(crate) struct Accepted {
    verdict: Verdict,
    bundle: Bundle,
}

/// A session with a guest whose evidence was accepted.
pub(crate) struct Session {
    channel: Verified<Accepted>,
    wire: Wire,
    /// Times in the session count from here.
    started: Instant,
    shaping: Shaping,
    /// Whether something went wrong, after which there is nothing more to be had.
    broken: bool,
}

/// Connects, has the guest attest to the session, and judges what it shows. A new session each time: nothing is kept of
/// an earlier verdict but what [`State`] remembers of logs.
///
/// # Errors
/// When there is no verdict: nobody answers, or not by the protocol, or a file cannot be read or written.
pub(crate) fn open(target: &Target) -> anyhow::Result<Opened> {
    let started = Instant::now();
    let mut wire = Wire::dial(&target.address, PATIENCE)?;
    const HANDSHAKE: &str = "shaking hands with what should be a guest";
    let (hello, m1) = Hello::new(Seed::new(host::random()?), target.shaping).context(HANDSHAKE)?;
    wire.send(m1)?;
    let (connected, m3) = hello.finish(&wire.expect()?, started.elapsed()).context(HANDSHAKE)?;
    wire.send(m3)?;
    let unverified = connected.evidence(&wire.expect()?).context(HANDSHAKE)?;
    match unverified.judge(|evidence| judge(target, evidence)) {
        Ok(channel) => {
            let session = Session { channel, wire, started, shaping: target.shaping, broken: false };
            Ok(Opened::Session(Box::new(session)))
        }
        Err(Refusal::Verdict(verdict)) => Ok(Opened::Refused(verdict)),
        Err(Refusal::Undecided(error)) => Err(error),
    }
}

/// Why there is no session.
enum Refusal {
    Verdict(Box<Verdict>),
    Undecided(anyhow::Error),
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self::Undecided(error)
    }
}

/// The one way to an [`Accepted`].
fn judge(target: &Target, evidence: &Evidence) -> Result<Accepted, Refusal> {
    let Target { policy, release, .. } = target;
    let state = target.state.as_deref().map(State::open).transpose()?;
    let memories = state.as_ref().map_or_else(|| Ok(Vec::new()), |state| state.memories(policy))?;
    let live = Live { evidence, release: release.as_deref(), memories: &memories, now: host::now()? };
    let verdict = appraise(&live, policy, &roots::believed());
    let bundle = bundle(evidence);
    match (&target.save_bundle, &bundle) {
        (None, _) => {}
        (Some(path), Ok(bundle)) => {
            files::replace(path, &bundle.to_bytes().context("writing the evidence as a bundle")?)?
        }
        (Some(path), Err(error)) => report::progress(&format!("{} is not written: {error}", path.display())),
    }
    match verdict.outcome() {
        verdict::Outcome::Accepted => {}
        verdict::Outcome::Simulated if target.accepts_simulated => report::progress(
            "SIMULATED HARDWARE: whoever runs it reads what you write; you have asked for it with \
             --dangerously-accept-simulated-hardware",
        ),
        verdict::Outcome::Simulated | verdict::Outcome::Rejected => return Err(Refusal::Verdict(Box::new(verdict))),
    }
    if let Some(state) = state {
        state.learn(&verdict)?;
    }
    Ok(Accepted { verdict, bundle: bundle.context("reading what was accepted")? })
}

impl Session {
    /// The verdict by which there is this session.
    pub(crate) fn verdict(&self) -> &Verdict {
        &self.channel.acceptance().verdict
    }

    /// What it was on.
    pub(crate) fn bundle(&self) -> &Bundle {
        &self.channel.acceptance().bundle
    }

    /// Whose receipts these are.
    ///
    /// # Errors
    /// When the report that was accepted is none.
    pub(crate) fn signer(&self) -> anyhow::Result<Signer> {
        let measurement = match &self.bundle().evidence {
            verify::bundle::Evidence::Snp(evidence) => Some(Report::parse(&evidence.report)?.measurement()),
            verify::bundle::Evidence::Tdx(_) => None,
        };
        Ok(Signer { statement: self.channel.evidence().statement.clone(), measurement })
    }

    /// How long it can still be used.
    pub(crate) fn left(&self) -> Duration {
        self.channel.expires().saturating_sub(self.started.elapsed())
    }

    /// The session, if something can be asked in it.
    pub(crate) fn still_open(mut self: Box<Self>) -> Option<Box<Self>> {
        self.is_open().then_some(self)
    }

    /// Whether something can be asked, as far as one can know before: reads what has come since the last reply.
    pub(crate) fn is_open(&mut self) -> bool {
        self.broken = self.broken || !self.is_quiet().unwrap_or(false);
        !self.broken
    }

    fn is_quiet(&mut self) -> anyhow::Result<bool> {
        // It ends: the channel takes the rest of a reply's padding, of which it knows how much there is, and a goodbye.
        while let Some(received) = self.receive(Duration::ZERO)? {
            if received.over {
                return Ok(false);
            }
        }
        Ok(!self.left().is_zero())
    }

    /// Asks, and gives `each` what comes: every piece of the reply, and several times a second [`None`], while there is
    /// nothing. When `each` breaks, the reply is cancelled and the rest of it dropped. It returns when the reply is over;
    /// what a paced one is rounded up with comes later and is for [`rest`](Self::rest).
    ///
    /// The outcome is [`Outcome::Complete`], and `each` got every piece; [`Outcome::Cancelled`], if `each` broke before; or
    /// [`Outcome::Failed`].
    ///
    /// # Errors
    /// When the reply has not come to its end, or is not one. There is nothing more to be had from the session then.
    pub(crate) fn ask(
        &mut self,
        call: &Call,
        each: &mut dyn FnMut(Option<Piece>) -> ControlFlow<()>,
    ) -> anyhow::Result<Outcome> {
        self.rest()?;
        let outcome = self.converse(call, each).context("the reply is incomplete");
        self.broken = outcome.is_err();
        outcome
    }

    /// Waits until the session is idle, as it must be for the next request. [`ask`](Self::ask) does it first.
    ///
    /// # Errors
    /// When it does not become so.
    pub(crate) fn rest(&mut self) -> anyhow::Result<()> {
        ensure!(!self.broken, "the session is over");
        while !self.channel.is_idle() {
            let received = self.receive(PACED).and_then(|received| received.context("nothing came"));
            self.broken = received.is_err();
            received?;
        }
        Ok(())
    }

    fn converse(
        &mut self,
        call: &Call,
        each: &mut dyn FnMut(Option<Piece>) -> ControlFlow<()>,
    ) -> anyhow::Result<Outcome> {
        for message in self.channel.request(&call.to_bytes(), self.started.elapsed())? {
            self.wire.send(message)?;
        }
        let patience = if self.shaping == Shaping::Paced { PACED } else { UNPACED };
        let (mut pieces, mut enough, mut withheld) = (Pieces::default(), false, false);
        let mut last = Instant::now();
        loop {
            let (mut news, mut end) = (Vec::new(), None);
            match self.receive(TICK)? {
                Some(received) => {
                    last = Instant::now();
                    ensure!(!received.over, "the guest has ended the session");
                    news = pieces.push(&received.content)?.into_iter().map(Some).collect();
                    end = received.end;
                }
                None => ensure!(last.elapsed() <= patience, "nothing came for {} s", patience.as_secs()),
            }
            if news.is_empty() && end.is_none() {
                news.push(None);
            }
            for piece in news {
                if enough {
                    withheld |= piece.is_some();
                } else if each(piece).is_break() {
                    enough = true;
                    if end.is_none()
                        && let Some(message) = self.channel.cancel(self.started.elapsed())?
                    {
                        self.wire.send(message)?;
                    }
                }
            }
            match end {
                Some(Outcome::Complete) => {
                    pieces.end()?;
                    // The guest had said all of it before it was told to stop, and the caller has not got all.
                    end = end.filter(|_| !withheld).or(Some(Outcome::Cancelled));
                }
                Some(Outcome::Cancelled) => ensure!(enough, "the guest has cut it off"),
                Some(Outcome::Failed) => {}
                None => continue,
            }
            return end.context("a reply has an end");
        }
    }

    /// The next message, if it is there within this time, and answers it if it is to be answered.
    fn receive(&mut self, time: Duration) -> anyhow::Result<Option<Received>> {
        let Some(message) = self.wire.receive(time)? else { return Ok(None) };
        let mut received = self.channel.receive(&message, self.started.elapsed())?;
        if let Some(beat) = received.send.take() {
            self.wire.send(beat)?;
        }
        Ok(Some(received))
    }

    /// Ends the session, so that the guest need not wait for more.
    pub(crate) fn close(mut self) {
        // Whoever watches is not to see where a paced reply really ended.
        if self.rest().is_ok()
            && self.is_open()
            && let Ok(bye) = self.channel.close(self.started.elapsed())
        {
            let _gone = self.wire.send(bye);
        }
        self.wire.close();
    }
}
