//! What `/init` says: one line if it fails, the times of its stages if it does not.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;

use nix::time::{ClockId, clock_gettime};

use crate::{Doing as _, Failure};

/// Bytes of one record that the kernel log takes (`PRINTKRB_RECORD_MAX` is 1024, with some room for the prefix).
const MAX_LINE: usize = 960;

/// Writes one line to the kernel log at the level that no `quiet` hides. It reaches a console if the measured
/// command line gave the kernel one; a failure to log changes nothing about the end of the boot.
pub(crate) fn fatal(reason: &str) {
    let mut line = format!("<0>vitrine-init: {}", reason.replace('\n', " "));
    line.truncate(line.floor_char_boundary(MAX_LINE));
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        let _ = log.write_all(line.as_bytes());
    }
}

/// When each stage ended, in microseconds of the monotonic clock, which starts with the kernel.
pub(crate) struct Stages {
    last: u64,
    lines: String,
}

impl Stages {
    /// The first stage is the kernel's, from its start to this call.
    pub(crate) fn begin() -> Result<Self, Failure> {
        let mut stages = Self { last: 0, lines: String::new() };
        stages.done("kernel")?;
        Ok(stages)
    }

    /// Ends the stage `name`.
    pub(crate) fn done(&mut self, name: &'static str) -> Result<(), Failure> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).doing("reading the clock")?;
        let now = now.tv_sec().cast_unsigned() * 1_000_000 + now.tv_nsec().cast_unsigned() / 1000;
        let begin = self.last;
        writeln!(self.lines, "{{\"stage\":\"{name}\",\"begin_us\":{begin},\"end_us\":{now}}}")
            .doing("noting a time")?;
        self.last = now;
        Ok(())
    }

    /// One JSON object per stage and line, in order: `stage`, `begin_us`, `end_us`.
    pub(crate) fn json_lines(&self) -> &str {
        &self.lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_contiguous_json_lines() {
        let mut stages = Stages::begin().unwrap();
        stages.done("mounts").unwrap();
        let [kernel, mounts] = stages.json_lines().lines().collect::<Vec<_>>()[..] else { panic!() };
        let end =
            kernel.strip_prefix("{\"stage\":\"kernel\",\"begin_us\":0,\"end_us\":").unwrap().trim_end_matches('}');
        assert!(mounts.starts_with(&format!("{{\"stage\":\"mounts\",\"begin_us\":{end},\"end_us\":")), "{mounts}");
    }
}
