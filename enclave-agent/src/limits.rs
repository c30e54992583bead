//! How much there is of everything, and how long it may take.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use attest::Rate;

/// The limits of an agent.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections that are served at the same time on each port, without those that have become sessions; others wait in
    /// the kernel's queue.
    pub connections: u32,
    /// From accepting a connection to its end or a session's beginning, whatever the peer does.
    pub connection_time: Duration,
    /// For the head of a request within that.
    pub head_time: Duration,
    /// For connections to end after SIGTERM.
    pub connection_drain: Duration,
    /// Sessions that are open at the same time; the operator document can ask for fewer.
    pub sessions: u32,
    /// Handshakes that are begun: one each so often, after at most [`handshake_burst`](Self::handshake_burst) at once.
    pub handshake_every: Duration,
    /// Handshakes that are begun at once after a pause.
    pub handshake_burst: u32,
    /// For a handshake to be begun after it was asked for.
    pub handshake_wait: Duration,
    /// From the WebSocket's beginning to the evidence.
    pub handshake_time: Duration,
    /// Handshakes that have a report made at the same time. Others wait here, where whoever is gone is forgotten.
    pub reports: u32,
    /// From asking the helper to its answer.
    pub report_time: Duration,
    /// How old the feed may be that a client is sent.
    pub feed_age: Duration,
    /// Bytes of messages, requests and replies in all sessions together, beside the 32 KiB that each may always hold; of a
    /// request whose rest is still to come, half of it.
    pub held: usize,
    /// From the first message of a request to its last.
    pub request_time: Duration,
    /// From a message's first byte to its last.
    pub message_time: Duration,
    /// For a client to take a message.
    pub send_time: Duration,
    /// From the end of a reply, or the beginning of the session, to the next request.
    pub idle_time: Duration,
    /// From one ping to the next.
    pub ping_every: Duration,
    /// A session ends in which nothing came for so long.
    pub silence: Duration,
    /// Workers that answer at the same time; the operator document can ask for fewer. One more waits.
    pub workers: u32,
    /// From a request to a worker for it.
    pub worker_wait: Duration,
    /// From starting a worker to its being ready.
    pub worker_start: Duration,
    /// From one thing that a worker says to the next.
    pub worker_silence: Duration,
    /// From when nobody wants more of a worker to its end.
    pub worker_end: Duration,
    /// For a set of static keys.
    pub identity_time: Duration,
    /// Sessions under a set of static keys.
    pub identity_sessions: u32,
    /// From one page of metrics to the next (docs/metrics.md).
    pub metrics_every: Duration,
    /// From something that failed at the start to the next try.
    pub retry: Duration,
    /// For replies to end after SIGTERM.
    pub drain: Duration,
}

impl Limits {
    /// Those of a guest.
    pub const GUEST: Self = Self {
        connections: 256,
        connection_time: Duration::from_secs(10),
        head_time: Duration::from_secs(5),
        connection_drain: Duration::from_secs(5),
        sessions: 4096,
        handshake_every: Duration::from_millis(20),
        handshake_burst: 40,
        handshake_wait: Duration::from_secs(4),
        handshake_time: Duration::from_secs(10),
        reports: 2,
        report_time: Duration::from_secs(8),
        feed_age: Duration::from_secs(5),
        held: 64 << 20,
        request_time: Duration::from_secs(30),
        message_time: Duration::from_secs(20),
        send_time: Duration::from_secs(20),
        idle_time: Duration::from_secs(15 * 60),
        ping_every: Duration::from_secs(30),
        silence: Duration::from_secs(75),
        workers: 8,
        worker_wait: Duration::from_secs(10),
        worker_start: Duration::from_secs(300),
        worker_silence: Duration::from_secs(300),
        worker_end: Duration::from_secs(60),
        identity_time: Duration::from_secs(60 * 60),
        identity_sessions: 1000,
        metrics_every: Duration::from_secs(60),
        retry: Duration::from_secs(1),
        drain: Duration::from_secs(60),
    };
}

/// Turns of handshakes: one each so often, some at once after a pause, and a few that are waited for.
#[derive(Debug)]
pub(crate) struct Turns {
    rate: Rate,
    every: Duration,
    wait: Duration,
    /// Turns to come, and who has them.
    waiting: VecDeque<(Duration, IpAddr)>,
}

/// What counts as one address: of IPv6 all those with the same first 64 bits.
fn whose(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

impl Turns {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { handshake_every: every, handshake_burst: burst, handshake_wait: wait, .. } = *limits;
        Self { rate: Rate::new(every, burst), every, wait, waiting: VecDeque::new() }
    }

    /// The next turn for a client at this address, unless too many wait. If there is one, it counts. Nobody has more of
    /// the turns to come than are left for everybody else, so who asks for all of them does not get the last ones.
    pub(crate) fn take(&mut self, from: IpAddr, now: Duration) -> Option<Duration> {
        let from = whose(from);
        while self.waiting.front().is_some_and(|(at, _)| *at <= now) {
            self.waiting.pop_front();
        }
        let at = self.rate.next(now);
        if at > now {
            let own = self.waiting.iter().filter(|(_, of)| *of == from).count();
            let left = now.saturating_add(self.wait).saturating_sub(at);
            let own = u32::try_from(own).unwrap_or(u32::MAX);
            if left < self.every.saturating_mul(own).max(self.every) {
                return None;
            }
            self.waiting.push_back((at, from));
        }
        self.rate.take(now);
        Some(at)
    }
}

/// Bytes that may be held by all sessions together, of what is more than [`LITTLE`].
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    limit: usize,
    held: Arc<AtomicUsize>,
}

/// Bytes that a session may hold however much the others do, and that count for none: a message, and an ordinary question
/// or an answer to one.
const LITTLE: usize = 32 << 10;

/// One session's part.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Budget,
    held: usize,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, held: Arc::default() }
    }

    pub(crate) fn share(&self) -> Share {
        Share { budget: self.clone(), held: 0 }
    }
}

impl Share {
    /// Notes what the session holds now, of a request whose rest is still to come or otherwise; whether that is still
    /// within the budget.
    pub(crate) fn set(&mut self, held: usize, receiving: bool) -> bool {
        let held = held.saturating_sub(LITTLE);
        let others = self.budget.held.fetch_sub(self.held, Ordering::Relaxed).saturating_sub(self.held);
        self.held = held;
        self.budget.held.fetch_add(held, Ordering::Relaxed);
        let limit = if receiving { self.budget.limit / 2 } else { self.budget.limit };
        // Whoever holds little is not the one who has to go.
        held == 0 || others.saturating_add(held) <= limit
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.held, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn turns(burst: u32, wait: u64) -> Turns {
        let every = Duration::from_millis(20);
        let limits = Limits { handshake_every: every, handshake_burst: burst, ..Limits::GUEST };
        Turns::new(&Limits { handshake_wait: Duration::from_millis(wait), ..limits })
    }

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn a_burst_and_then_a_rate() {
        let mut turns = turns(3, 0);
        let taken = [0, 0, 1, 1, 19, 20, 20].map(|now| turns.take(ONE, Duration::from_millis(now)).is_some());
        assert_eq!(taken, [true, true, true, false, false, true, false]);
    }

    #[test]
    fn turns_are_waited_for_and_nobody_has_all() {
        let at = Duration::from_millis;
        let mut turns = turns(1, 400);
        let greedy: Vec<_> = (0..100).filter_map(|_| turns.take(ONE, at(0))).collect();
        assert_eq!(greedy, (0..=10).map(|turn| at(20 * turn)).collect::<Vec<_>>());
        // However long it goes on, another gets a turn whenever it asks, and in time.
        for now in 0..1000 {
            while turns.take(ONE, at(now)).is_some() {}
            if now % 100 == 0 {
                let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
                assert!(turns.take(other, at(now)).is_some_and(|turn| turn <= at(now + 400)), "{now}");
            }
        }
        // A thousand milliseconds are fifty turns, whoever had them.
        assert!(turns.rate.next(at(1000)) <= at(1000 + 400));
    }

    #[test]
    fn addresses_that_one_has_count_as_one() {
        for (one, other, same) in [
            ("10.0.0.1", "10.0.0.2", false),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let [of_one, of_other] = [one, other].map(|address| whose(address.parse().unwrap()));
            assert_eq!(of_one == of_other, same, "{one} {other}");
        }
    }

    #[test]
    fn a_budget_is_of_all_shares_together() {
        let budget = Budget::new(200 << 10);
        let (mut first, mut second) = (budget.share(), budget.share());
        let mut set = |first_holds: usize, second_holds: usize, receiving| {
            (first.set(first_holds << 10, false), second.set(second_holds << 10, receiving))
        };
        assert_eq!(set(152, 0, false), (true, true));
        assert_eq!(set(152, 112, false), (true, true));
        assert_eq!(set(152, 113, false), (true, false));
        // Replies have room that half a request has not, and little is always held.
        assert_eq!(set(92, 72, true), (true, true));
        assert_eq!(set(92, 73, true), (true, false));
        assert_eq!(set(0, 32, true), (true, true));
        assert_eq!(set(232, 32, true), (true, true));
        assert_eq!(set(233, 32, true), (false, true));
        drop(first);
        assert!(second.set(232 << 10, false));
    }

    #[test]
    fn many_who_hold_little_take_nothing_from_who_holds_more() {
        let budget = Budget::new(200 << 10);
        let mut many: Vec<_> = (0..100).map(|_| budget.share()).collect();
        assert!(many.iter_mut().all(|share| share.set(LITTLE, true)));
        assert!(budget.share().set(LITTLE + (200 << 10), false));
    }
}
