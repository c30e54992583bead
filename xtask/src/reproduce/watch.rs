//! Reproducing every release of a log, as it appears.
//!
//! The state is a directory: a copy of the log, which only grows, and `done.json`, what was found of each release. A release
//! is in it once its reproduction has ended and was attested; a run that is killed before goes on with it.

use super::published::{Believed, Published};
use super::source::Source;
use super::{Flags, How, attest, one};
use crate::report::{self, Answer};
use crate::workspace;
use anyhow::{Context as _, bail};
use image::files::{read_bounded, replace};
use log_client::edge::copy;
use log_client::edge::cosign::Mirror;
use log_client::edge::directory::Directory;
use measure::Sha256;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What was found of each release.
const DONE: &str = "done.json";
/// Largest `done.json` that is read, in bytes.
const MAX_DONE: u64 = 16 << 20;

/// What was found of one release.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Done {
    version: String,
    reproduced: bool,
    reason: String,
    /// Whether every stage was built. What was written before there was this is done again.
    #[serde(default)]
    full: bool,
    #[serde(default)]
    varied: bool,
    #[serde(default)]
    attested: bool,
}

impl Done {
    /// Whether it leaves nothing of this to be done.
    fn suffices(&self, how: &How, attest: bool) -> bool {
        self.full && (self.varied || !how.vary) && (self.attested || !attest)
    }
}

/// By the SHA-256 of the release, as text.
type All = BTreeMap<String, Done>;

/// Looks once, or for ever.
pub(super) fn run(
    flags: &Flags,
    state: &Path,
    believed: &Believed,
    attest: Option<&attest::Attest>,
) -> anyhow::Result<Answer> {
    if let Source::Tar(path) = Source::new(flags.how.source.as_deref())? {
        bail!("{}: expected git: an archive is the source of one commit", path.display());
    }
    fs::create_dir_all(state).with_context(|| format!("creating {}", state.display()))?;
    loop {
        let looked = look(flags, state, believed, attest);
        let Some(interval) = flags.interval else { return looked };
        match looked {
            Ok(answer) => report::explain(&format!("{}\n", answer.reason)),
            Err(error) => report::explain(&format!("undecided: {error:#}\n")),
        }
        std::thread::sleep(Duration::from_secs(interval.into()));
    }
}

fn look(flags: &Flags, state: &Path, believed: &Believed, attest: Option<&attest::Attest>) -> anyhow::Result<Answer> {
    let log = flags.believe.log.as_ref().context("no --log to watch is named")?;
    let copied = state.join("log");
    let size = copy::copy(log, believed.log_key()?, &copied)?.checkpoint().size;
    let file = state.join(DONE);
    let mut done: All = match read_bounded(&file, MAX_DONE) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => All::new(),
        bytes => {
            let bytes = bytes.with_context(|| format!("reading {}", file.display()))?;
            serde_json::from_slice(&bytes).with_context(|| format!("reading {}", file.display()))?
        }
    };
    let directory = Directory::new(&copied);
    let (mut new, mut undecided) = (0, Vec::new());
    for index in 0..size {
        let entry = directory.entry(index, size)?;
        let Ok((_, release)) = believed.signed(&entry) else { continue };
        let sha256 = Sha256::of(&entry).to_string();
        if done.get(&sha256).is_some_and(|done| done.suffices(&flags.how, attest.is_some())) {
            continue;
        }
        let version = release.version.to_string();
        let found = Published::find(&index.to_string(), Some(&Mirror::Directory(copied.clone())), believed);
        let answer = found.and_then(|published| match published {
            Ok(published) => one(&published, &flags.how, None, attest, &workspace::cache()?),
            Err(reason) => bail!("{reason}"),
        });
        match answer {
            Ok(answer) => {
                report::explain(&answer.text);
                let (varied, attested) = (flags.how.vary, attest.is_some());
                let full = flags.how.is_full();
                let Answer { yes: reproduced, reason, .. } = answer;
                done.insert(sha256, Done { version, reproduced, reason, full, varied, attested });
                replace(&file, &serde_json::to_vec_pretty(&done)?)?;
                new += 1;
            }
            // One release that cannot be built today is no reason to leave out the others.
            Err(error) => undecided.push(format!("release {version}: {error:#}")),
        }
    }
    if !undecided.is_empty() {
        bail!("{new} releases were reproduced or not, {} could not be: {}", undecided.len(), undecided.join("; "));
    }
    let failed: Vec<_> = done.values().filter(|done| !done.reproduced).map(|done| done.reason.clone()).collect();
    let reason = match failed.is_empty() {
        true => format!("{} releases of {size} entries, {new} of them new: every one was reproduced", done.len()),
        false => format!("{} of {} releases were not reproduced: {}", failed.len(), done.len(), failed.join("; ")),
    };
    let payload = json!({ "size": size, "new": new, "releases": done });
    Ok(Answer { yes: failed.is_empty(), text: format!("{reason}\n"), reason, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_by_less_is_done_again() {
        #[derive(clap::Parser)]
        struct Only {
            #[command(flatten)]
            how: How,
        }
        let how = |words: &[&str]| <Only as clap::Parser>::try_parse_from(words).unwrap().how;
        let (plain, vary) = (how(&[""]), how(&["", "--vary"]));
        let done = |text: &str| -> Done {
            serde_json::from_str(&format!(r#"{{"version":"1.2.3","reproduced":true,"reason":"so"{text}}}"#)).unwrap()
        };
        for (text, expected) in [
            ("", [false, false, false]),
            (r#","full":false,"varied":true,"attested":true"#, [false, false, false]),
            (r#","full":true,"varied":false,"attested":false"#, [true, false, false]),
            (r#","full":true,"varied":false,"attested":true"#, [true, true, false]),
            (r#","full":true,"varied":true,"attested":false"#, [true, false, true]),
        ] {
            let done = done(text);
            let found = [done.suffices(&plain, false), done.suffices(&plain, true), done.suffices(&vary, false)];
            assert_eq!(found, expected, "{text}");
        }
    }
}
