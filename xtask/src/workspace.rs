//! Where the checkout and the cache are, and what time it is: the one place that reads the environment.

use anyhow::{Context as _, ensure};
use image::pipeline::dist::MANIFEST;
use measure::appraise::Time;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The checkout this xtask was started from: the nearest directory upwards that holds `image.lock` or this
/// workspace's `mkosi.images`.
pub(crate) fn root() -> anyhow::Result<PathBuf> {
    let here = std::env::current_dir().context("finding the current directory")?;
    here.ancestors()
        .find(|dir| dir.join("mkosi.images").is_dir() && dir.join("xtask").is_dir())
        .map(Path::to_path_buf)
        .with_context(|| format!("{} is not inside a checkout (no mkosi.images/ upwards)", here.display()))
}

/// A build's output directory: the one given, else `dist/` of the checkout.
pub(crate) fn dist(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => std::path::absolute(path).with_context(|| format!("resolving {}", path.display())),
        None => Ok(root()?.join("dist")),
    }
}

/// The same of a build that is there.
pub(crate) fn built(given: Option<&Path>) -> anyhow::Result<PathBuf> {
    let dist = dist(given)?;
    let built = dist.join(MANIFEST).is_file();
    ensure!(built, "no build is in {}; run `cargo xtask build`, or name its --out directory", dist.display());
    Ok(dist)
}

/// Vitrine's cache: `$VITRINE_CACHE`, else `$XDG_CACHE_HOME/vitrine`, else `~/.cache/vitrine`.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = set("VITRINE_CACHE")
        .or_else(|| Some(set("XDG_CACHE_HOME")?.join("vitrine")))
        .or_else(|| Some(set("HOME")?.join(".cache/vitrine")))
        .context("no cache directory: set VITRINE_CACHE, XDG_CACHE_HOME or HOME")?;
    anyhow::ensure!(cache.is_absolute(), "the cache directory {} is not absolute", cache.display());
    Ok(cache)
}

/// The time, for what is of its time: a resolution, a release, a submission.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
pub(crate) fn now() -> anyhow::Result<Time> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(Time(since.as_secs()))
}

/// This machine, as it calls itself.
pub(crate) struct Host {
    /// The distribution's name and version.
    pub(crate) distribution: String,
    /// The kernel's release.
    pub(crate) kernel: String,
    /// The model of the first processor.
    pub(crate) cpu: String,
}

/// What this machine is, in the characters that a statement may have.
pub(crate) fn host() -> anyhow::Result<Host> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("reading {path}"));
    let plain = |text: &str| {
        let text = text.trim().trim_matches('"').chars();
        let text = text.map(|c| if matches!(c, ' '..='~') && c != '"' && c != '\\' { c } else { '?' });
        let text: String = text.take(log_client::statement::MAX_TEXT).collect();
        if text.is_empty() { "unknown".to_owned() } else { text }
    };
    let value = |text: &str, key: &str, separator| {
        let line = text.lines().find(|line| line.split(separator).next().is_some_and(|name| name.trim() == key));
        plain(line.and_then(|line| line.split_once(separator)).map_or("", |(_, value)| value))
    };
    Ok(Host {
        distribution: value(&read("/etc/os-release")?, "PRETTY_NAME", '='),
        kernel: plain(&read("/proc/sys/kernel/osrelease")?),
        cpu: value(&read("/proc/cpuinfo")?, "model name", ':'),
    })
}
