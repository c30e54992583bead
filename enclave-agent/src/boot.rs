//! How the guest came up: `/init`'s stages, then systemd's time, then the agent's.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Largest file read here; the real ones have less than a tenth of it.
const MAX_FILE: u64 = 16 << 10;
/// `/init`'s stages, in order: it hands over only after the last.
const INIT_STAGES: [&str; 7] = ["kernel", "mounts", "modules", "disks", "verity", "read", "root"];
/// Microseconds of a clock tick of /proc/PID/stat: USER_HZ is 100 on x86-64.
const TICK_US: u64 = 10_000;

/// One stage, in microseconds since the kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    stage: String,
    begin_us: u64,
    end_us: u64,
}

/// The stages up to the agent's start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Boot {
    stages: Vec<Stage>,
}

impl Boot {
    /// Reads what `/init` left in /run/vitrine/boot.jsonl and when this process started, below the directory
    /// `root`. Fails unless every stage is there.
    pub(crate) fn read(root: &Path) -> io::Result<Self> {
        let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
        let text = read_small(root, "run/vitrine/boot.jsonl")?;
        let mut stages = text.lines().map(serde_json::from_str).collect::<Result<Vec<Stage>, _>>()?;
        if !stages.iter().map(|stage| stage.stage.as_str()).eq(INIT_STAGES) {
            return Err(invalid("expected the stages of /init, each once"));
        }
        let begin_us = stages.last().map_or(0, |stage| stage.end_us);
        let stat = read_small(root, "proc/self/stat")?;
        let end_us = start_ticks(&stat).ok_or_else(|| invalid("expected a start time"))?.saturating_mul(TICK_US);
        // The tick may have begun before /init's last stage ended.
        stages.push(Stage { stage: "systemd".into(), begin_us, end_us: end_us.max(begin_us) });
        Ok(Self { stages })
    }

    /// Every stage, with the agent's own, which took `agent`.
    pub(crate) fn until(mut self, agent: Duration) -> Vec<Stage> {
        let begin_us = self.stages.last().map_or(0, |stage| stage.end_us);
        let took = u64::try_from(agent.as_micros()).unwrap_or(u64::MAX);
        self.stages.push(Stage { stage: "agent".into(), begin_us, end_us: begin_us.saturating_add(took) });
        self.stages
    }
}

/// The text of `root`/`path`, at most [`MAX_FILE`] of it.
pub(crate) fn read_small(root: &Path, path: &str) -> io::Result<String> {
    let mut text = String::new();
    File::open(root.join(path))?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// Field 22 of /proc/PID/stat (proc_pid_stat(5)); field 2, the name, may hold spaces and ends at the last `)`.
fn start_ticks(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_follow_each_other() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 1 0 612 1 1";
        assert_eq!(start_ticks(stat), Some(612));
        let last = Stage { stage: "root".into(), begin_us: 1, end_us: 9 };
        let stages = Boot { stages: vec![last] }.until(Duration::from_millis(2));
        assert_eq!(stages[1], Stage { stage: "agent".into(), begin_us: 9, end_us: 2009 });
    }
}
