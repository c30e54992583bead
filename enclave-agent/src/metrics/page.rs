//! The page: every name, label and bound that can be on it, in Prometheus' text format.

use std::fmt::Write as _;
use std::time::Duration;

use super::{BOUNDS, Known, Seen, State, Timed, Times, Values};
use crate::boot::Stage;

/// Of what format the page is.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics of one name: what each line counts, and its labels.
struct Family<T: 'static> {
    name: &'static str,
    help: &'static str,
    lines: &'static [(T, &'static str)],
    /// What numbers are rounded down to a multiple of.
    unit: u64,
}

const SEEN: [Family<Seen>; 3] = [
    Family {
        name: "agent_attestations_total",
        help: "Sessions that were due a report, by whether there was one.",
        lines: &[(Seen::Attested, r#"outcome="success""#), (Seen::NotAttested, r#"outcome="failure""#)],
        unit: 1,
    },
    Family {
        name: "agent_handshakes_total",
        help: "WebSockets, by how their handshake ended.",
        lines: &[
            (Seen::HandshakeComplete, r#"outcome="complete""#),
            (Seen::HandshakeMalformed, r#"outcome="malformed""#),
            (Seen::HandshakeLate, r#"outcome="late""#),
            (Seen::HandshakeLimited, r#"outcome="limited""#),
            (Seen::HandshakeNotAttested, r#"outcome="not_attested""#),
            (Seen::HandshakeGone, r#"outcome="gone""#),
        ],
        unit: 1,
    },
    Family {
        name: "agent_rejected_total",
        help: "What came from the network and was refused, by what it should have been.",
        lines: &[
            (Seen::RejectedHttp, r#"input="http""#),
            (Seen::RejectedWebSocket, r#"input="websocket""#),
            (Seen::RejectedRecord, r#"input="record""#),
        ],
        unit: 1,
    },
];

const KNOWN: [Family<Known>; 2] = [
    Family {
        name: "agent_requests_total",
        help: "Requests, by how they ended.",
        lines: &[
            (Known::ChatComplete, r#"route="chat",outcome="complete""#),
            (Known::ChatCancelled, r#"route="chat",outcome="cancelled""#),
            (Known::ChatFailed, r#"route="chat",outcome="failed""#),
            (Known::ChatRefused, r#"route="chat",outcome="refused""#),
            (Known::ChatBusy, r#"route="chat",outcome="busy""#),
            (Known::Models, r#"route="models",outcome="complete""#),
            (Known::RejectedCall, r#"route="none",outcome="refused""#),
        ],
        unit: 10,
    },
    Family {
        name: "agent_tokens_total",
        help: "Tokens of prompts and of answers.",
        lines: &[(Known::TokensIn, r#"direction="in""#), (Known::TokensOut, r#"direction="out""#)],
        unit: 1000,
    },
];

/// Counts of a histogram are rounded down to a multiple of this, and the sum to one of this many times the first bound.
const HISTOGRAM_UNIT: u64 = 10;
const MEMORY_UNIT: u64 = 16 << 20;

const HISTOGRAMS: [(Timed, &str, &str); 4] = [
    (Timed::Handshake, "agent_handshake_seconds", "The agent's work on a handshake."),
    (Timed::Report, "agent_report_seconds", "From the end of a handshake to a report on it."),
    (Timed::Seal, "agent_seal_seconds", "Sealing one message."),
    (Timed::FirstToken, "agent_first_token_seconds", "From a request to the first token of its answer."),
];

/// What a time is at most, to be of each bucket but the last.
pub(super) const fn bounds(timed: Timed) -> [Duration; BOUNDS] {
    let micros = match timed {
        Timed::Handshake => [500, 1_000, 2_000, 5_000, 50_000, 250_000],
        Timed::Report => [5_000, 20_000, 50_000, 200_000, 1_000_000, 5_000_000],
        Timed::Seal => [5, 10, 50, 100, 500, 5_000],
        Timed::FirstToken => [50_000, 200_000, 500_000, 2_000_000, 10_000_000, 60_000_000],
    };
    let [first, second, third, fourth, fifth, sixth] = micros;
    [
        Duration::from_micros(first),
        Duration::from_micros(second),
        Duration::from_micros(third),
        Duration::from_micros(fourth),
        Duration::from_micros(fifth),
        Duration::from_micros(sixth),
    ]
}

/// Rounds what is about to be added to the page.
pub(super) fn round(values: &mut Values) {
    for family in &KNOWN {
        for (known, _) in family.lines {
            let count = &mut values.counts[*known as usize];
            *count -= *count % family.unit;
        }
    }
    for (timed, ..) in HISTOGRAMS {
        let Times { counts, sum } = &mut values.times[timed as usize];
        counts.iter_mut().for_each(|count| *count -= *count % HISTOGRAM_UNIT);
        let unit = bounds(timed)[0].as_nanos().saturating_mul(HISTOGRAM_UNIT.into());
        let over = u64::try_from(sum.as_nanos() % unit).unwrap_or(0);
        *sum = sum.saturating_sub(Duration::from_nanos(over));
    }
}

pub(super) fn render(boot: &[Stage], state: &State) -> String {
    let mut page = Page(String::new());
    page.head("agent_boot_seconds", "gauge", "How long each stage of the boot took, as on /boot.");
    for stage in boot {
        page.line("agent_boot_seconds", &format!("stage=\"{}\"", stage.name()), &seconds(stage.took()));
    }
    page.gauge("agent_key_epoch", "Which of the guest's sets of keys is in use.", state.epoch);
    page.gauge("agent_sessions", "Sessions that are open.", state.open);
    for family in &SEEN {
        page.family(family, |seen| state.seen[*seen as usize]);
    }
    for family in &KNOWN {
        page.family(family, |known| state.published.counts[*known as usize]);
    }
    for (timed, name, help) in HISTOGRAMS {
        page.histogram(name, help, &bounds(timed), &state.published.times[timed as usize]);
    }
    if let Some(memory) = state.memory {
        let rounded = memory.div_ceil(MEMORY_UNIT).saturating_mul(MEMORY_UNIT);
        page.gauge("agent_memory_bytes", "What the agent has of memory.", rounded);
    }
    page.0
}

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0 += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        // Writing to a string does not fail.
        let _ = match labels {
            "" => writeln!(self.0, "{name} {value}"),
            labels => writeln!(self.0, "{name}{{{labels}}} {value}"),
        };
    }

    fn gauge(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "gauge", help);
        self.line(name, "", &value.to_string());
    }

    fn family<T>(&mut self, family: &Family<T>, value: impl Fn(&T) -> u64) {
        self.head(family.name, "counter", family.help);
        for (line, labels) in family.lines {
            self.line(family.name, labels, &value(line).to_string());
        }
    }

    fn histogram(&mut self, name: &str, help: &str, bounds: &[Duration; BOUNDS], times: &Times) {
        self.head(name, "histogram", help);
        let mut count = 0_u64;
        let names = bounds.iter().map(|bound| bound.as_secs_f64().to_string()).chain(["+Inf".to_owned()]);
        for (bound, more) in names.zip(&times.counts) {
            count = count.saturating_add(*more);
            let labels = format!("le=\"{bound}\"");
            self.line(&format!("{name}_bucket"), &labels, &count.to_string());
        }
        self.line(&format!("{name}_sum"), "", &seconds(times.sum));
        self.line(&format!("{name}_count"), "", &count.to_string());
    }
}

fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

#[cfg(test)]
mod tests {
    use super::super::{KNOWN as KNOWN_LINES, Metrics, SEEN as SEEN_LINES};
    use super::*;

    /// Whoever adds a line to the page adds it here and says in docs/metrics.md why it may be public.
    const NAMES: &str = include_str!("names.txt");

    #[test]
    fn the_lines_are_these() {
        let stages = ["kernel", "systemd"].map(|name| Stage::of(name, 1_000_000, 3_500_000));
        let page = Metrics::new(&stages, Some(1)).page();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let (names, values): (Vec<_>, Vec<_>) = lines.filter_map(|line| line.rsplit_once(' ')).unzip();
        assert_eq!(names, NAMES.lines().collect::<Vec<_>>());
        assert_eq!(values[..2], ["2.500000"; 2]);
        assert!(values.iter().all(|value| value.parse::<f64>().is_ok()));
    }

    #[test]
    fn every_name_is_explained() {
        let explained = include_str!("../../../docs/metrics.md");
        for name in NAMES.lines().map(|line| line.split_once('{').map_or(line, |(name, _)| name)) {
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(explained.contains(&format!("| `{family}` |")), "{family} is not in docs/metrics.md");
        }
    }

    #[test]
    fn every_count_has_a_line() {
        let seen = SEEN.iter().flat_map(|family| family.lines).map(|(seen, _)| *seen as usize);
        let known = KNOWN.iter().flat_map(|family| family.lines).map(|(known, _)| *known as usize);
        assert!(seen.eq(0..SEEN_LINES));
        assert!(known.eq(0..KNOWN_LINES));
    }
}
