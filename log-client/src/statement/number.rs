//! Numbers in statements: every JSON reader has them exactly.

use measure::appraise::Time;
use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};

/// Largest integer in a statement: 2^53 - 1, as far as a double is exact.
pub const MAX_INTEGER: u64 = (1 << 53) - 1;

/// A whole number of at most [`MAX_INTEGER`].
pub(super) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match u64::deserialize(deserializer)? {
        number if number <= MAX_INTEGER => Ok(number),
        number => Err(D::Error::custom(format!("expected at most {MAX_INTEGER}, found {number}"))),
    }
}

/// The same, or `null`.
pub(super) fn integer_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<u64>::deserialize(deserializer)? {
        Some(number) if number > MAX_INTEGER => {
            Err(D::Error::custom(format!("expected at most {MAX_INTEGER}, found {number}")))
        }
        number => Ok(number),
    }
}

/// Seconds since 1970.
pub(super) mod time {
    use super::*;

    pub(in crate::statement) fn serialize<S: Serializer>(time: &Time, serializer: S) -> Result<S::Ok, S::Error> {
        time.0.serialize(serializer)
    }

    pub(in crate::statement) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        integer(deserializer).map(Time)
    }
}
