//! What this machine says: the one place that reads the clock and the environment.

use anyhow::{Context as _, ensure};
use measure::appraise::Time;
use std::path::PathBuf;
use std::time::SystemTime;

/// The time by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub(crate) fn clock() -> SystemTime {
    SystemTime::now()
}

/// The same in whole seconds.
pub(crate) fn now() -> anyhow::Result<Time> {
    let since = clock().duration_since(SystemTime::UNIX_EPOCH).context("this machine's clock is before 1970")?;
    Ok(Time(since.as_secs()))
}

/// Bytes that nobody can guess.
pub(crate) fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("asking this machine for randomness")?;
    Ok(bytes)
}

/// Whether the user does not mind colours (<https://no-color.org>).
pub(crate) fn colours() -> bool {
    set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb")
}

/// Where collateral is kept: below `$VITRINE_CACHE`, else `$XDG_CACHE_HOME/vitrine`, else `~/.cache/vitrine`.
pub(crate) fn collateral() -> anyhow::Result<PathBuf> {
    let cache = set("VITRINE_CACHE")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(set("XDG_CACHE_HOME")?).join("vitrine")))
        .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache/vitrine")))
        .context("no cache directory: set VITRINE_CACHE, XDG_CACHE_HOME or HOME")?;
    ensure!(cache.is_absolute(), "the cache directory {} is not absolute", cache.display());
    Ok(cache.join("collateral"))
}

#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
fn set(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}
