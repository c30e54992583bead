//! What a session looks like from outside: sizes and times of messages, whatever is said in them.

use core::time::Duration;

/// How a session's messages are shaped. The client chooses; it is the one byte of the first message, in clear but
/// hashed, so nobody in the middle can change it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shaping {
    /// Requests in buckets; replies as one message of [`SLOT`] bytes every [`INTERVAL`], their number rounded up to a
    /// series. Sizes and times say how long a reply is to within a quarter, and nothing else.
    Paced,
    /// Requests in buckets, messages of four sizes, sent when there is something to send. For programs that ask for
    /// whole replies: the times of messages still tell.
    Bucket,
    /// Messages as long as what is in them. Sizes and times tell everything that they can tell.
    Off,
}

/// Bytes of messages as they are sent, in [`Shaping::Paced`] and [`Shaping::Bucket`].
pub const SIZES: [usize; 4] = [256, 1024, 4096, LARGEST];
/// Bytes of the largest message.
pub const LARGEST: usize = 16_384;
/// Bytes of a paced message.
pub const SLOT: usize = 256;
/// Time from one paced message to the next.
pub const INTERVAL: Duration = Duration::from_millis(50);
/// After each so many paced messages the client sends one, which says whether it has enough.
pub const BEAT: u32 = 20;
/// Paced messages of the shortest reply.
const SHORTEST: u32 = 20;

impl Shaping {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Self::Paced => 1,
            Self::Bucket => 2,
            Self::Off => 3,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::Paced, Self::Bucket, Self::Off].into_iter().find(|shaping| shaping.to_byte() == byte)
    }

    /// Whether a message can have this size.
    pub(crate) fn admits(self, size: usize) -> bool {
        match self {
            Self::Paced | Self::Bucket => SIZES.contains(&size),
            Self::Off => size <= LARGEST,
        }
    }

    /// Whether messages are padded to their size.
    pub(crate) fn pads(self) -> bool {
        self != Self::Off
    }
}

/// Messages that a request is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes of each.
    pub size: usize,
    /// How many.
    pub count: usize,
}

/// Buckets of less than 64 KiB; the others are multiples of 64 KiB.
const SMALL: [Bucket; 5] = [
    Bucket { size: 1024, count: 2 },
    Bucket { size: 4096, count: 1 },
    Bucket { size: 4096, count: 2 },
    Bucket { size: 16_384, count: 1 },
    Bucket { size: 16_384, count: 2 },
];
const UNIT: Bucket = Bucket { size: 16_384, count: 4 };

impl Bucket {
    /// The smallest bucket with room for a request of `length` bytes, if each message takes `per_message` bytes less
    /// than its size and the whole takes `once` more.
    pub(crate) fn of(length: usize, per_message: usize, once: usize) -> Self {
        let needed = length.saturating_add(once);
        let room = |bucket: &Self| bucket.size.saturating_sub(per_message).saturating_mul(bucket.count);
        let small = SMALL.into_iter().find(|bucket| room(bucket) >= needed);
        small.unwrap_or_else(|| {
            let units = needed.div_ceil(room(&UNIT));
            Self { size: UNIT.size, count: UNIT.count.saturating_mul(units) }
        })
    }
}

/// How many paced messages a reply has whose last one with something in it is number `used`: 20, and each time a
/// quarter more, rounded up.
pub fn rounded(used: u32) -> u32 {
    let mut slots = SHORTEST;
    while slots < used {
        slots = slots.saturating_add(slots.div_ceil(4));
    }
    slots
}

/// The next point after `now` of the grid that begins at `start`. A message that is late goes out at the next point:
/// two never follow each other closer than the grid, because what made one late may be what was said.
pub(crate) fn next_slot(start: Duration, now: Duration) -> Duration {
    let passed = now.saturating_sub(start).as_nanos().checked_div(INTERVAL.as_nanos()).unwrap_or(0);
    let slots = u32::try_from(passed).unwrap_or(u32::MAX).saturating_add(1);
    start.saturating_add(INTERVAL.saturating_mul(slots))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double_and_then_add() {
        for (length, size, count) in [
            (0, 1024, 2),
            (1966, 1024, 2),
            (1967, 4096, 1),
            (4033, 4096, 1),
            (4034, 4096, 2),
            (8110, 4096, 2),
            (8111, 16_384, 1),
            (16_321, 16_384, 1),
            (16_322, 16_384, 2),
            (32_687, 16_384, 4),
            (65_416, 16_384, 4),
            (65_417, 16_384, 8),
            (1 << 20, 16_384, 68),
        ] {
            assert_eq!(Bucket::of(length, 19, 44), Bucket { size, count }, "{length}");
        }
    }

    #[test]
    fn replies_grow_by_a_quarter() {
        let mut series = vec![rounded(0)];
        while series.len() < 9 {
            series.push(rounded(series.last().unwrap() + 1));
        }
        assert_eq!(series, [20, 25, 32, 40, 50, 63, 79, 99, 124]);
        assert_eq!([rounded(20), rounded(99), rounded(u32::MAX)], [20, 99, u32::MAX]);
    }

    #[test]
    fn late_messages_return_to_the_grid() {
        let at = Duration::from_millis;
        for (now, next) in [(7, 57), (8, 57), (56, 57), (57, 107), (106, 107), (999, 1007), (0, 57)] {
            assert_eq!(next_slot(at(7), at(now)), at(next), "{now}");
        }
        assert!(next_slot(Duration::ZERO, Duration::MAX) > Duration::ZERO);
    }
}
