//! What is published of how the agent does, for anybody who can reach the port: docs/metrics.md has the reasons.
//!
//! A value is of one of two kinds, and its type says which. What is [`Seen`] can be computed by whoever sees the packets,
//! and is exact. What only the agent knows, [`Known`] and [`Timed`], is gathered for each connection in a [`Tally`] and
//! rounded and added to the page together with that of at least [`TOGETHER`] sessions which have ended. Either way the page
//! changes at points of a grid of a minute ([`crate::Limits::metrics_every`]) and at no other time. There is no label that
//! is not in this directory, and none that a peer has a say in.

mod page;

use std::future::Future;
use std::io;
use std::mem;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use tokio::net::TcpListener;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::boot::{Stage, read_small};
use crate::{Config, server};

/// How many sessions must have ended since the last time before what only the agent knows is published again.
const TOGETHER: u64 = 10;
/// Bytes of a page of memory on x86-64.
const MEMORY_PAGE: u64 = 4096;

/// What anybody could count who sees the packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A session was shown a report.
    Attested,
    /// There was none to show, or not the right one.
    NotAttested,
    /// A handshake came to its end.
    HandshakeComplete,
    /// What came was not a handshake.
    HandshakeMalformed,
    /// It took too long.
    HandshakeLate,
    /// There were too many before it.
    HandshakeLimited,
    /// There was no evidence to end it with.
    HandshakeNotAttested,
    /// The client ended it.
    HandshakeGone,
    /// Not a request for one of the pages.
    RejectedHttp,
    /// Not the WebSocket that it must be, or something on it that has no place there.
    RejectedWebSocket,
    /// Not the message that a session has next.
    RejectedRecord,
}

/// What only the agent can count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    /// A chat request was answered in full.
    ChatComplete,
    /// The client had enough of the answer.
    ChatCancelled,
    /// There was no answer, or only a part of one.
    ChatFailed,
    /// It was not a request that is answered.
    ChatRefused,
    /// All workers were busy.
    ChatBusy,
    /// The list of models was asked for.
    Models,
    /// A request was for nothing that there is.
    RejectedCall,
    /// Tokens of prompts.
    TokensIn,
    /// Tokens of answers.
    TokensOut,
}

/// What only the agent can measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timed {
    /// The agent's work on a handshake.
    Handshake,
    /// From the end of a handshake to a report on it.
    Report,
    /// Sealing one message.
    Seal,
    /// From a request to the first token of its answer.
    FirstToken,
}

const SEEN: usize = Seen::RejectedRecord as usize + 1;
const KNOWN: usize = Known::TokensOut as usize + 1;
const TIMED: usize = Timed::FirstToken as usize + 1;
/// Bounds of a histogram.
const BOUNDS: usize = 6;

/// What is published, and what waits to be.
pub(crate) struct Metrics {
    boot: Vec<Stage>,
    state: Mutex<State>,
}

struct State {
    seen: [u64; SEEN],
    /// Sessions that are open.
    open: u64,
    /// Of the keys in use.
    epoch: u64,
    waiting: Values,
    /// Sessions that ended since something was added to `published`.
    ended: u64,
    published: Values,
    /// Resident bytes, when that was; `None` if it is not known.
    memory: Option<u64>,
    page: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Values {
    counts: [u64; KNOWN],
    times: [Times; TIMED],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    /// Up to each bound and no other, and last those above all of them.
    counts: [u64; BOUNDS + 1],
    sum: Duration,
}

impl Metrics {
    /// Nothing has happened yet but the stages of the boot, which `/boot` says too; `memory` is of this process.
    pub(crate) fn new(boot: &[Stage], memory: Option<u64>) -> Arc<Self> {
        let (waiting, published) = (Values::NONE, Values::NONE);
        let state =
            State { seen: [0; SEEN], open: 0, epoch: 0, waiting, ended: 0, published, memory, page: Arc::from("") };
        let metrics = Self { boot: boot.to_vec(), state: Mutex::new(state) };
        metrics.publish(memory);
        Arc::new(metrics)
    }

    /// Counts something that can be seen from outside.
    pub(crate) fn seen(&self, seen: Seen) {
        let mut state = self.state();
        let count = &mut state.seen[seen as usize];
        *count = count.saturating_add(1);
    }

    /// The keys in use are those of this epoch, as every evidence message says. Whether they are others than before.
    pub(crate) fn epoch(&self, epoch: u64) -> bool {
        mem::replace(&mut self.state().epoch, epoch) != epoch
    }

    /// For a new connection.
    pub(crate) fn tally(self: &Arc<Self>) -> Tally {
        Tally { metrics: Arc::clone(self), values: Values::NONE, session: false }
    }

    /// Makes a new page. To be called at the points of the grid and nowhere else; `memory` is what this process
    /// has of it now.
    pub(crate) fn publish(&self, memory: Option<u64>) {
        let mut state = self.state();
        if state.ended >= TOGETHER {
            let mut waiting = mem::replace(&mut state.waiting, Values::NONE);
            // What is left over is gone: with it, the next sums would tell in the end what this one was exactly.
            page::round(&mut waiting);
            state.published.add(&waiting);
            state.ended = 0;
            state.memory = memory;
        }
        state.page = page::render(&self.boot, &state).into();
    }

    /// The page.
    pub(crate) fn page(&self) -> Arc<str> {
        Arc::clone(&self.state().page)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers are no less true because somebody else has panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one connection adds to the page, some time after it has ended.
pub(crate) struct Tally {
    metrics: Arc<Metrics>,
    values: Values,
    session: bool,
}

impl Tally {
    /// The connection is a session from now on: evidence was sent.
    pub(crate) fn attested(&mut self) {
        if !mem::replace(&mut self.session, true) {
            let mut state = self.metrics.state();
            state.open = state.open.saturating_add(1);
            drop(state);
            self.metrics.seen(Seen::Attested);
        }
    }

    /// Counts something `many` times.
    pub(crate) fn count(&mut self, known: Known, many: u64) {
        let count = &mut self.values.counts[known as usize];
        *count = count.saturating_add(many);
    }

    /// Notes how long something `took`.
    pub(crate) fn time(&mut self, timed: Timed, took: Duration) {
        let times = &mut self.values.times[timed as usize];
        let bucket = page::bounds(timed).iter().take_while(|bound| took > **bound).count();
        times.counts[bucket] = times.counts[bucket].saturating_add(1);
        times.sum = times.sum.saturating_add(took);
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let mut state = self.metrics.state();
        state.waiting.add(&self.values);
        if self.session {
            state.open = state.open.saturating_sub(1);
            state.ended = state.ended.saturating_add(1);
        }
    }
}

impl Values {
    const NONE: Self =
        Self { counts: [0; KNOWN], times: [Times { counts: [0; BOUNDS + 1], sum: Duration::ZERO }; TIMED] };

    fn add(&mut self, more: &Self) {
        let sum = |to: &mut [u64], from: &[u64]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = to.saturating_add(*from));
        };
        sum(&mut self.counts, &more.counts);
        for (to, from) in self.times.iter_mut().zip(&more.times) {
            sum(&mut to.counts, &from.counts);
            to.sum = to.sum.saturating_add(from.sum);
        }
    }
}

/// Keeps `metrics` to the grid and serves the page until `stop` completes, then lets running connections end.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: &Arc<Metrics>,
    config: &Config,
    stop: impl Future<Output = ()>,
) {
    let every = config.limits.metrics_every;
    let mut grid = interval_at(Instant::now() + every, every);
    // A point that was missed has no page; the next one is where it would be anyway.
    grid.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let published = async {
        loop {
            grid.tick().await;
            metrics.publish(memory(&config.root).ok());
        }
    };
    let shown = Arc::clone(metrics);
    let page = move |path: &str| (path == "/metrics").then(|| (StatusCode::OK, page::CONTENT_TYPE, shown.page()));
    let respond = move |request| server::answer(&request, &page);
    tokio::select! {
        () = server::run(listener, respond, metrics, stop, &config.limits) => {}
        () = published => {}
    }
}

/// Resident bytes of this process, by /proc below the directory `root`.
pub(crate) fn memory(root: &Path) -> io::Result<u64> {
    let text = read_small(root, "proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "expected pages in statm"))?;
    Ok(pages.saturating_mul(MEMORY_PAGE))
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use crate::Limits;

    use super::*;

    /// The line that begins with `name`, without it.
    fn value<'a>(page: &'a str, name: &str) -> &'a str {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in\n{page}"))
    }

    fn session(metrics: &Arc<Metrics>, tokens: u64) {
        let mut tally = metrics.tally();
        tally.attested();
        tally.count(Known::TokensOut, tokens);
        tally.time(Timed::Seal, Duration::from_micros(30));
    }

    #[test]
    fn what_is_seen_waits_for_the_next_page() {
        let metrics = Metrics::new(&[], None);
        let before = metrics.page();
        let mut tallies = [metrics.tally(), metrics.tally(), metrics.tally()];
        for tally in &mut tallies[..2] {
            tally.attested();
            tally.attested();
        }
        metrics.epoch(7);
        metrics.seen(Seen::RejectedRecord);
        assert!(metrics.page() == before);
        metrics.publish(None);
        let page = metrics.page();
        assert_eq!(value(&page, "agent_sessions"), "2");
        assert_eq!(value(&page, r#"agent_attestations_total{outcome="success"}"#), "2");
        assert_eq!(value(&page, r#"agent_rejected_total{input="record"}"#), "1");
        assert_eq!(value(&page, "agent_key_epoch"), "7");
        drop(tallies);
        metrics.publish(None);
        assert_eq!(value(&metrics.page(), "agent_sessions"), "0");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_are_made_at_points_of_the_grid() {
        let metrics = Metrics::new(&[], None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let served = Arc::clone(&metrics);
        let minute = Limits::GUEST.metrics_every;
        let config =
            Config { root: "/".into(), attest: "/".into(), infer: "/".into(), limits: Limits::GUEST, ip_socket: false };
        let server = tokio::spawn(async move { serve(listener, &served, &config, sleep(3 * minute)).await });
        sleep(Duration::from_millis(500)).await;
        let mut points = Vec::new();
        for second in 1..180 {
            let before = metrics.page();
            metrics.epoch(second);
            sleep(Duration::from_secs(1)).await;
            if metrics.page() != before {
                points.push(second);
            }
        }
        assert_eq!(points, [60, 120]);
        server.await.unwrap();
    }

    #[test]
    fn what_is_known_waits_for_ten_sessions_that_ended() {
        let metrics = Metrics::new(&[], Some(1));
        let tokens = |metrics: &Metrics| value(&metrics.page(), r#"agent_tokens_total{direction="out"}"#).to_owned();
        for _ in 1..TOGETHER {
            session(&metrics, 5000);
        }
        // Neither what is no session, nor a session that is not over, makes up the number.
        for _ in 0..TOGETHER {
            metrics.tally().count(Known::TokensOut, 1);
        }
        let mut open = metrics.tally();
        open.attested();
        open.count(Known::TokensOut, 70_000);
        metrics.publish(Some(1 << 30));
        assert_eq!(tokens(&metrics), "0");
        assert_eq!(value(&metrics.page(), "agent_memory_bytes"), (16 << 20).to_string());
        session(&metrics, 5000);
        assert_eq!(tokens(&metrics), "0");
        metrics.publish(Some(1 << 30));
        assert_eq!(tokens(&metrics), "50000");
        assert_eq!(value(&metrics.page(), "agent_memory_bytes"), (1 << 30).to_string());
        // Then it begins again.
        drop(open);
        metrics.publish(Some(2));
        assert_eq!(tokens(&metrics), "50000");
        for _ in 1..TOGETHER {
            session(&metrics, 0);
        }
        metrics.publish(Some(2));
        assert_eq!(tokens(&metrics), "120000");
    }

    #[test]
    fn numbers_are_rounded_down_and_memory_up() {
        let metrics = Metrics::new(&[], None);
        for number in 0..2 * TOGETHER - 1 {
            session(&metrics, if number == 0 { 999 } else { 111 });
        }
        metrics.publish(Some((16 << 20) + 1));
        let page = metrics.page();
        assert_eq!(value(&page, r#"agent_tokens_total{direction="out"}"#), "2000");
        assert_eq!(value(&page, "agent_memory_bytes"), (32 << 20).to_string());
        assert_eq!(value(&page, r#"agent_seal_seconds_bucket{le="0.00001"}"#), "0");
        assert_eq!(value(&page, r#"agent_seal_seconds_bucket{le="0.00005"}"#), "10");
        assert_eq!(value(&page, r#"agent_seal_seconds_bucket{le="+Inf"}"#), "10");
        assert_eq!(value(&page, "agent_seal_seconds_count"), "10");
        assert_eq!(value(&page, "agent_seal_seconds_sum"), "0.000550");
    }

    #[test]
    fn what_rounding_leaves_is_never_published() {
        let metrics = Metrics::new(&[], None);
        for _ in 0..3 {
            for number in 0..TOGETHER + 5 {
                session(&metrics, if number == 0 { 1900 } else { 0 });
            }
            metrics.publish(None);
        }
        let page = metrics.page();
        assert_eq!(value(&page, r#"agent_tokens_total{direction="out"}"#), "3000");
        assert_eq!(value(&page, "agent_seal_seconds_count"), "30");
        assert_eq!(value(&page, r#"agent_seal_seconds_bucket{le="+Inf"}"#), "30");
        assert_eq!(value(&page, "agent_seal_seconds_sum"), "0.001350");
    }

    #[test]
    fn times_fall_into_their_bucket() {
        let metrics = Metrics::new(&[], None);
        for (micros, bucket) in
            [(0, 0), (500, 0), (501, 1), (250_000, BOUNDS - 1), (250_001, BOUNDS), (u64::MAX, BOUNDS)]
        {
            let mut tally = metrics.tally();
            tally.time(Timed::Handshake, Duration::from_micros(micros));
            assert_eq!(tally.values.times[0].counts[bucket], 1, "{micros}");
        }
    }

    #[test]
    fn memory_of_this_process() {
        assert!(memory(Path::new("/")).unwrap() > MEMORY_PAGE);
        assert!(memory(Path::new("/proc/self")).is_err());
    }
}
