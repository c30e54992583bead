//! How often something may be done.

use std::time::Duration;

/// One turn each so often, and after a pause some at once. Times are since a point of the caller's choice.
#[derive(Debug)]
pub struct Rate {
    every: Duration,
    /// How far ahead of one each so often turns may be.
    ahead: Duration,
    /// When all turns that were taken would be over, one after the other.
    even: Duration,
}

impl Rate {
    /// One turn `every` so often, at most `at_once` together.
    pub fn new(every: Duration, at_once: u32) -> Self {
        Self { every, ahead: every.saturating_mul(at_once.saturating_sub(1)), even: Duration::ZERO }
    }

    /// When the next turn is: `now`, or later.
    pub fn next(&self, now: Duration) -> Duration {
        self.even.saturating_sub(self.ahead).max(now)
    }

    /// Takes the next turn, whenever that is.
    pub fn take(&mut self, now: Duration) {
        self.even = self.even.max(now).saturating_add(self.every);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_each() {
        let at = Duration::from_millis;
        let mut rate = Rate::new(at(20), 3);
        let mut taken = |now| {
            let now = at(now);
            let turn = rate.next(now) == now;
            if turn {
                rate.take(now);
            }
            turn
        };
        assert_eq!(
            [0, 0, 1, 1, 19, 20, 20, 21, 40].map(&mut taken),
            [true, true, true, false, false, true, false, false, true]
        );
        // A pause gives back what can be had at once and no more.
        assert_eq!([5000; 4].map(&mut taken), [true, true, true, false]);
        assert!(!taken(5019) && taken(5020));
    }

    #[test]
    fn turns_can_be_taken_ahead() {
        let mut rate = Rate::new(Duration::from_secs(1), 1);
        for turn in 0..5 {
            assert_eq!(rate.next(Duration::ZERO), Duration::from_secs(turn));
            rate.take(Duration::ZERO);
        }
        assert_eq!(rate.next(Duration::from_secs(9)), Duration::from_secs(9));
    }
}
