//! The text form of a time: RFC 3339.

use super::Time;
use std::fmt;
use std::str::FromStr;

const DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z, the last second of a year with four digits.
const LAST: u64 = 253_402_300_799;
/// Days before each month of a year that is not a leap year.
const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// The text is not a time between 1970 and 9999.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a time such as 2026-11-23T09:30:00Z (RFC 3339, from 1970 on), found {0:?}")]
pub struct ParseTimeError(String);

/// Always in UTC, such as `2026-11-23T09:30:00Z`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 > LAST {
            return write!(f, "{} s after 1970", self.0);
        }
        let (days, second) = (self.0 / DAY, self.0 % DAY);
        // A year has at least 365 days, so this is too late by a few years at most.
        let mut year = (days / 365).saturating_add(1970);
        while days_before_year(year) > days {
            year = year.saturating_sub(1);
        }
        let day = days.saturating_sub(days_before_year(year));
        let month = (1..=12).rev().find(|month| days_before_month(year, *month) <= day).unwrap_or(1);
        let day = day.saturating_sub(days_before_month(year, month)).saturating_add(1);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// RFC 3339 section 5.6 with any offset. Fractions of a second are dropped; a leap second is the second after it.
impl FromStr for Time {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parsed(text).ok_or_else(|| ParseTimeError(text.chars().take(64).collect()))
    }
}

fn parsed(text: &str) -> Option<Time> {
    let (date, rest) = text.split_at_checked(10)?;
    let (time, offset) = rest.strip_prefix(['T', 't'])?.split_at_checked(8)?;
    let [year, month, day] = fields(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = fields(time, ':', [2, 2, 2])?;
    let days = match month {
        2 => 28_u64.saturating_add(leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    let valid = year >= 1970 && (1..=12).contains(&month) && (1..=days).contains(&day);
    if !valid || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let offset = match offset.strip_prefix('.') {
        None => offset,
        Some(fraction) => {
            let offset = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            (offset.len() < fraction.len()).then_some(offset)?
        }
    };
    let (east, offset) = match offset {
        "Z" | "z" => (true, 0),
        _ => {
            let (east, offset) = match offset.strip_prefix('+') {
                Some(offset) => (true, offset),
                None => (false, offset.strip_prefix('-')?),
            };
            let [hours, minutes] = fields(offset, ':', [2, 2])?;
            (east, (hours < 24 && minutes < 60).then_some(seconds(hours, minutes, 0))?)
        }
    };
    let days = days_before_year(year).checked_add(days_before_month(year, month))?.checked_add(day)?.checked_sub(1)?;
    let local = days.checked_mul(DAY)?.checked_add(seconds(hour, minute, second))?;
    // East of Greenwich clocks are ahead.
    let utc = if east { local.checked_sub(offset) } else { local.checked_add(offset) };
    utc.filter(|utc| *utc <= LAST).map(Time)
}

/// Numbers of exactly these many digits with `between` between them.
fn fields<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[u64; N]> {
    let mut parts = text.split(between);
    let mut values = [0; N];
    for (value, digits) in values.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))?;
        *value = part.parse().ok()?;
    }
    parts.next().is_none().then_some(values)
}

fn seconds(hours: u64, minutes: u64, seconds: u64) -> u64 {
    hours.saturating_mul(3600).saturating_add(minutes.saturating_mul(60)).saturating_add(seconds)
}

/// 1 in a leap year of the Gregorian calendar, else 0.
fn leap(year: u64) -> u64 {
    (year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))).into()
}

/// Days from 1970 to the beginning of a year from 1970 on.
fn days_before_year(year: u64) -> u64 {
    let since = year.saturating_sub(1970);
    // Leap years before this one, less those before 1970.
    let last = year.saturating_sub(1);
    let leaps = (last / 4).saturating_sub(last / 100).saturating_add(last / 400).saturating_sub(477);
    since.saturating_mul(365).saturating_add(leaps)
}

/// Days from the beginning of the year to that of its month, from 1 on.
fn days_before_month(year: u64, month: u64) -> u64 {
    let before = month.checked_sub(1).and_then(|month| BEFORE.get(usize::try_from(month).ok()?)).copied().unwrap_or(0);
    before.saturating_add(if month > 2 { leap(year) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:01Z", 951_825_601),
            ("2026-11-23T09:30:00Z", 1_795_426_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(text.parse(), Ok(Time(seconds)), "{text}");
            assert_eq!(Time(seconds).to_string(), text);
        }
        assert_eq!(Time(LAST + 1).to_string(), "253402300800 s after 1970");
        for (text, seconds) in [
            ("1970-01-01t01:00:00.999+00:30", 1_800),
            ("1970-01-01T00:00:00-02:00", 7_200),
            ("1972-06-30T23:59:60z", 78_796_800),
        ] {
            assert_eq!(text.parse(), Ok(Time(seconds)), "{text}");
        }
    }

    #[test]
    fn every_day_follows_the_last() {
        let mut last = String::new();
        // Beyond 400 years the calendar repeats itself.
        for day in 0..160_000 {
            let text = Time(day * DAY).to_string();
            assert!(text > last, "{text} after {last}");
            assert_eq!(text.parse(), Ok(Time(day * DAY)));
            last = text;
        }
        assert_eq!(last, "2408-01-24T00:00:00Z");
    }

    #[test]
    fn every_other_text_is_refused() {
        for text in [
            "",
            "2026-11-23",
            "2026-11-23T09:30:00",
            "2026-11-23 09:30:00Z",
            "2026-11-23T09:30Z",
            "2026-11-23T09:30:00.Z",
            "2026-11-23T09:30:00ZZ",
            "2026-11-23T09:30:00+1:00",
            "2026-11-23T09:30:00+24:00",
            "2026-11-23T09:30:00+00:60",
            "2026-02-29T09:30:00Z",
            "2100-02-29T09:30:00Z",
            "2026-04-31T09:30:00Z",
            "2026-00-01T09:30:00Z",
            "2026-13-01T09:30:00Z",
            "2026-11-00T09:30:00Z",
            "2026-11-23T24:30:00Z",
            "2026-11-23T09:60:00Z",
            "2026-11-23T09:30:61Z",
            "+026-11-23T09:30:00Z",
            "2026-1é-23T09:30:00Z",
            "1969-12-31T23:00:00-02:00",
            "1970-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
        ] {
            assert!(text.parse::<Time>().is_err(), "{text}");
        }
    }
}
