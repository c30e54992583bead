//! Times of repeated runs, and what follows from them.

use super::Row;
use std::fmt;
use std::time::Duration;

/// How long the runs of one thing took; shortest first, never empty.
#[derive(Debug, Clone)]
pub(super) struct Times(Vec<Duration>);

/// Runs `a` and `b` in turn, `runs` times each, so that what disturbs the machine disturbs both.
pub(super) fn pair(
    runs: usize,
    mut a: impl FnMut() -> anyhow::Result<Duration>,
    mut b: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<(Times, Times)> {
    let mut times = (Vec::new(), Vec::new());
    for _ in 0..runs {
        times.0.push(a()?);
        times.1.push(b()?);
    }
    Ok((Times::new(times.0), Times::new(times.1)))
}

impl Times {
    pub(super) fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The middle one, in seconds; the longer of two in the middle.
    pub(super) fn median(&self) -> f64 {
        self.0[self.0.len() / 2].as_secs_f64()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let last = self.0.len() - 1;
        let [shortest, longest] = [self.0[0], self.0[last]].map(|time| time.as_secs_f64());
        let (factor, unit, digits) = match self.median() {
            median if median < 0.001 => (1e6, "µs", 0),
            median if median < 0.1 => (1e3, "ms", 1),
            median if median < 10.0 => (1.0, "s", 2),
            _ => (1.0, "s", 1),
        };
        write!(f, "{:.digits$} {unit} ", self.median() * factor)?;
        write!(f, "({:.digits$}..{:.digits$})", shortest * factor, longest * factor)
    }
}

impl Row {
    /// `ours` is to be at least `target` times as fast as `theirs`.
    pub(super) fn speedup(what: &'static str, (ours, theirs): &(Times, Times), target: f64) -> Self {
        let ratio = theirs.median() / ours.median();
        Self::new(what, ours, theirs, format!("{ratio:.2}x faster"), format!("at least {target}x"), ratio >= target)
    }

    /// `ours` is to take at most `target` times as long as `base`.
    pub(super) fn overhead(what: &'static str, (ours, base): &(Times, Times), target: f64) -> Self {
        let ratio = ours.median() / base.median();
        Self::new(what, ours, base, format!("{ratio:.2}x"), format!("at most {target}x"), ratio <= target)
    }

    /// `times` is to be at most `target` seconds.
    pub(super) fn limit(what: &'static str, times: &Times, target: f64) -> Self {
        let shown = if target < 0.1 { format!("{:.0} ms", target * 1e3) } else { format!("{target:.1} s") };
        Self::new(what, times, "", String::new(), format!("at most {shown}"), times.median() <= target)
    }

    pub(super) fn new(
        what: &'static str,
        seen: impl ToString,
        against: impl ToString,
        figure: String,
        target: String,
        met: bool,
    ) -> Self {
        Self { what, seen: seen.to_string(), against: against.to_string(), figure, target, met: Some(met) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_of_medians() {
        let times = |seconds: [f64; 3]| Times::new(seconds.map(Duration::from_secs_f64).to_vec());
        let (short, long) = (times([2.0, 1.0, 9.0]), times([8.0, 6.0, 0.5]));
        assert_eq!(short.to_string(), "2.00 s (1.00..9.00)");
        assert_eq!(times([0.002, 0.001, 0.003]).to_string(), "2.0 ms (1.0..3.0)");
        assert_eq!(times([0.000_2, 0.000_1, 0.000_3]).to_string(), "200 µs (100..300)");
        for (row, figure, met) in [
            (Row::speedup("", &(short.clone(), long.clone()), 3.0), "3.00x faster", true),
            (Row::speedup("", &(short.clone(), long.clone()), 3.1), "3.00x faster", false),
            (Row::overhead("", &(long.clone(), short.clone()), 3.0), "3.00x", true),
            (Row::overhead("", &(long.clone(), short.clone()), 2.9), "3.00x", false),
            (Row::limit("", &short, 2.0), "", true),
            (Row::limit("", &short, 1.9), "", false),
        ] {
            assert_eq!((row.figure.as_str(), row.met), (figure, Some(met)), "{row:?}");
        }
    }
}
