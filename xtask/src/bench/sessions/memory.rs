//! What processes take of memory (proc(5)).

use anyhow::Context as _;
use std::fs;

use super::super::builds::numbers;

/// The processes that `pid` has started and that have not ended.
pub(super) fn children(pid: u32) -> anyhow::Result<Vec<u32>> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).with_context(|| format!("reading the tasks of {pid}"))?;
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    Ok(lists.flat_map(|list| numbers(&list)).collect())
}

/// KiB of memory that a process does not share with others.
pub(super) fn private(pid: u32) -> anyhow::Result<u64> {
    Ok(kib(pid, "smaps_rollup", "Private_Clean:")? + kib(pid, "smaps_rollup", "Private_Dirty:")?)
}

/// KiB of memory that is no file's.
pub(super) fn anonymous(pid: u32) -> anyhow::Result<u64> {
    kib(pid, "status", "RssAnon:")
}

fn kib(pid: u32, file: &str, name: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse().ok());
    found.with_context(|| format!("{path}: expected {name}"))
}
