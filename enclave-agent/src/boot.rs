//! How the guest came up: `/init`'s stages, then systemd's time, then the agent's.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// Largest file read here; the real ones have less than a tenth of it.
const MAX_FILE: u64 = 16 << 10;
/// `/init`'s stages, in order: it hands over only after the last.
const INIT_STAGES: [&str; 7] = ["kernel", "mounts", "modules", "disks", "verity", "read", "root"];
/// One stage, in microseconds since the kernel started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Stage {
    stage: String,
    begin_us: u64,
    end_us: u64,
}

impl Stage {
    /// The stage called `name`.
    pub(crate) fn of(name: &str, begin_us: u64, end_us: u64) -> Self {
        Self { stage: name.to_owned(), begin_us, end_us }
    }

    /// One of `/init`'s, or `systemd` or `agent`.
    pub(crate) fn name(&self) -> &str {
        &self.stage
    }

    /// How long it took.
    pub(crate) fn took(&self) -> Duration {
        Duration::from_micros(self.end_us.saturating_sub(self.begin_us))
    }
}

/// What `/init` left in /run/vitrine/boot.jsonl below the directory `root`, systemd's part, which ended when the agent
/// began, and the agent's, which ends now. Fails unless every stage of `/init` is there.
pub(crate) fn stages(root: &Path, agent_begin_us: u64) -> io::Result<Vec<Stage>> {
    let text = read_small(root, "run/vitrine/boot.jsonl")?;
    let mut stages = text.lines().map(serde_json::from_str).collect::<Result<Vec<Stage>, _>>()?;
    if !stages.iter().map(|stage| stage.stage.as_str()).eq(INIT_STAGES) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "expected the stages of /init, each once"));
    }
    let init_end_us = stages.last().map_or(0, |stage| stage.end_us);
    for (stage, begin_us, end_us) in [("systemd", init_end_us, agent_begin_us), ("agent", agent_begin_us, now_us()?)] {
        stages.push(Stage::of(stage, begin_us, end_us));
    }
    Ok(stages)
}

/// Microseconds since the kernel started: the clock that `/init` notes its stages by.
pub(crate) fn now_us() -> io::Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(now.tv_sec().cast_unsigned() * 1_000_000 + now.tv_nsec().cast_unsigned() / 1000)
}

/// The text of `root`/`path`; an error if it is more than [`MAX_FILE`].
pub(crate) fn read_small(root: &Path, path: &str) -> io::Result<String> {
    let mut text = String::new();
    let read = File::open(root.join(path))?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    // Half a list of mounts would hide those that cover others.
    if read as u64 > MAX_FILE { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn systemd_and_agent_follow_init() {
        let root = std::env::temp_dir().join(format!("vitrine-agent-boot-{}", std::process::id()));
        fs::create_dir_all(root.join("run/vitrine")).unwrap();
        let line = |name: &&str| format!("{{\"stage\":\"{name}\",\"begin_us\":1,\"end_us\":2}}\n");
        fs::write(root.join("run/vitrine/boot.jsonl"), INIT_STAGES.iter().map(line).collect::<String>()).unwrap();
        let begin = now_us().unwrap();
        let stages = stages(&root, begin).unwrap();
        fs::remove_dir_all(root).unwrap();
        let [.., systemd, agent] = &stages[..] else { panic!("{stages:?}") };
        assert_eq!(*systemd, Stage::of("systemd", 2, begin));
        assert_eq!((agent.stage.as_str(), agent.begin_us), ("agent", begin));
        assert!(agent.end_us >= begin);
    }
}
