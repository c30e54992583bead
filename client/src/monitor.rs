//! `vitrine monitor`: watches a log, and raises an alarm when something is in it that nobody cut.
//!
//! The state holds the alarms that have not been told. It is on the disk before the first of them is, and forgets them
//! after the last: whatever is interrupted, none is lost, and one may come twice.

mod hook;
mod store;
#[cfg(test)]
mod tests;

use crate::fetch::http::{Client, Patience};
use crate::report::{self, Answer};
use crate::{files, host};
use anyhow::{Context as _, bail, ensure};
use log_client::SplitView;
use log_client::keys::SubmissionPublicKey;
use log_client::monitor::{Alarm, State, Watch};
use log_client::rekor::{MAX_CONFIG, TrustedRoot};
use measure::Sha256;
use measure::appraise::Time;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store;
use verify::Policy;
use verify::policy::{MAX_POLICY, Witnesses};

/// Bytes of a list of releases: 100,000 lines of `sha256sum`.
const MAX_KNOWN: u64 = 16 << 20;
/// Bytes of a public key's file.
const MAX_KEY: u64 = 64 << 10;

/// What `monitor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// The log: an address, or a directory.
    #[arg(long, value_name = "URL|DIR")]
    log: String,
    /// A policy that names the log, its witnesses and the root keys.
    #[arg(long, value_name = "FILE", required_unless_present = "rekor_key")]
    policy: Option<PathBuf>,
    /// Watch a Rekor v2 log, for what this submission key (P-256, PEM) signed, instead of a log of releases. Its address
    /// is as in Sigstore's files; a directory has `checkpoint` and `tile` in it.
    #[arg(long, value_name = "FILE", conflicts_with = "policy", requires = "trusted_root")]
    rekor_key: Option<PathBuf>,
    /// Sigstore's TrustedRoot (v0.1) with the Rekor log's key; of one log alone if the log is a directory.
    #[arg(long, value_name = "FILE", requires = "rekor_key")]
    trusted_root: Option<PathBuf>,
    /// An alarm if the Rekor log has not grown for so many seconds.
    #[arg(long, value_name = "SECONDS", requires = "rekor_key")]
    max_age: Option<u64>,
    /// A directory for what was seen; it is made if it is not there. It must not be lost: without it a fork cannot be seen.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The releases that you cut: what `sha256sum` prints of each release.json. Without it no release is known.
    #[arg(long, value_name = "FILE")]
    known: Option<PathBuf>,
    /// A program that gets each alarm on its standard input and says with exit code 0 that it has it.
    #[arg(long, value_name = "PROGRAM")]
    exec: Option<PathBuf>,
    /// Look once; so it is without `--interval`.
    #[arg(long, conflicts_with = "interval")]
    once: bool,
    /// Look again so many seconds after each look, until the process is ended.
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: Option<u32>,
    /// Give up if 4096 entries take more seconds than this.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: u32,
    /// Look as of this time, RFC 3339 or seconds since 1970, instead of by this machine's clock.
    #[arg(long, value_name = "TIME", value_parser = crate::verify::time, conflicts_with = "interval")]
    now: Option<Time>,
}

/// What a pass needs of the world.
struct World<'a> {
    /// A file of the log.
    get: &'a mut dyn FnMut(&str, u64) -> anyhow::Result<Vec<u8>>,
    /// Replaces a file of the state's directory.
    write: &'a mut dyn FnMut(&str, &[u8]) -> anyhow::Result<()>,
    /// Tells an alarm.
    tell: &'a mut dyn FnMut(&Alarm) -> anyhow::Result<()>,
}

/// What is watched: whose checkpoints count, how old they may be, and the state before anything was read.
struct Subject {
    log: log_client::Policy,
    max_age: Option<u64>,
    new: State,
}

/// Watches once, or for ever.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let subject = match (&flags.policy, &flags.rekor_key, &flags.trusted_root) {
        (Some(policy), _, _) => releases(policy)?,
        (None, Some(key), Some(root)) => submissions(flags, key, root)?,
        _ => bail!("expected --policy, or --rekor-key and --trusted-root"),
    };
    let store = Store::open(&flags.state)?;
    let mut state = store.read(subject.new)?;
    loop {
        let watched = known(flags).and_then(|known| {
            let now = flags.now.map_or_else(host::now, Ok)?;
            let watch = Watch { policy: &subject.log, max_age: subject.max_age, known: &known, now };
            watch_once(flags, &store, &mut state, &watch)
        });
        match (flags.interval, watched) {
            (None, watched) => return watched,
            (Some(_), Ok(answer)) => report::progress(&answer.reason),
            (Some(_), Err(error)) => report::progress(&format!("undecided: {error:#}")),
        }
        std::thread::sleep(Duration::from_secs(flags.interval.unwrap_or(1).into()));
    }
}

/// The log of releases that a policy names.
fn releases(path: &Path) -> anyhow::Result<Subject> {
    let policy = files::read(path, MAX_POLICY as u64)?;
    let policy = Policy::parse(&path.display().to_string(), &policy)?;
    let (release, log) = match policy.release.is().map(|release| (release, release.log.is())) {
        Some((release, Some(log))) => (release, log),
        _ => bail!("{}: release and release.log must be tables: there is nothing to watch for", path.display()),
    };
    let Witnesses::Of(witnesses) = &log.witnesses else {
        bail!("{}: release.log.witnesses names no log", path.display())
    };
    let mut origins = witnesses.logs().iter().map(|log| log.key.name());
    let origin = origins.next().with_context(|| format!("{}: no log in the witnesses", path.display()))?;
    ensure!(origins.all(|other| other == origin), "{}: expected one log, found several", path.display());
    let new = State::new(origin, release.root_keys.iter().map(|key| key.0).collect(), release.root_quorum);
    Ok(Subject { log: witnesses.clone(), max_age: log.checkpoint_max_age.is().copied(), new })
}

/// The Rekor v2 log at the given address, and what this key signed in it.
fn submissions(flags: &Flags, key: &Path, root: &Path) -> anyhow::Result<Subject> {
    let reading = |path: &Path| format!("reading {}", path.display());
    let pem = pem::parse(files::read(key, MAX_KEY)?).with_context(|| reading(key))?;
    let key = SubmissionPublicKey::from_spki(pem.contents()).with_context(|| reading(key))?;
    let trusted = TrustedRoot::parse(&files::read(root, MAX_CONFIG as u64)?).with_context(|| reading(root))?;
    let log = match is_url(&flags.log) {
        true => trusted.log_at(&flags.log),
        false => trusted.only_log(),
    };
    let log = log.with_context(|| match is_url(&flags.log) {
        true => format!("{}: no log at {}", root.display(), flags.log),
        false => format!("{}: expected one log, as the log is a directory", root.display()),
    })?;
    let policy = format!("log {}\nquorum none\n", log.key);
    // Whether witnesses have signed as well is for those who verify bundles; nobody is shown anything here.
    let policy = log_client::Policy::parse(policy.as_bytes(), SplitView::Accepted)?;
    Ok(Subject { log: policy, max_age: flags.max_age, new: State::of_rekor(log.key.name(), &key) })
}

fn is_url(log: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| log.starts_with(scheme))
}

fn watch_once(flags: &Flags, store: &Store, state: &mut State, watch: &Watch<'_>) -> anyhow::Result<Answer> {
    let url = is_url(&flags.log).then(|| {
        let below = if flags.rekor_key.is_some() { "/api/v2" } else { "" };
        format!("{}{below}", flags.log.trim_end_matches('/'))
    });
    let silent = |_line: &str| ();
    let mut client = None;
    let mut get = |name: &str, limit: u64| match &url {
        Some(url) => {
            // The time is for one look, and every look begins with the checkpoint.
            if name == "checkpoint" || client.is_none() {
                client = Some(Client::new(Patience::with_total(Duration::from_secs(flags.timeout.into())), &silent));
            }
            let client = client.as_ref().context("there is a client")?;
            Ok(client.get(&format!("{url}/{name}"), limit)?.body)
        }
        None => files::read(&Path::new(&flags.log).join(name), limit),
    };
    let mut told = 0_usize;
    let mut tell = |alarm: &Alarm| {
        report::alarm(alarm)?;
        if let Some(program) = &flags.exec {
            hook::run(program, alarm)?;
        }
        told += 1;
        Ok(())
    };
    let mut write = |name: &str, bytes: &[u8]| store.write(name, bytes);
    let passed = pass(state, watch, &mut World { get: &mut get, write: &mut write, tell: &mut tell });
    let (standing, pending) = (state.standing().len(), state.pending().len());
    let quiet = told == 0 && standing == 0 && pending == 0;
    let read = format!("{} entries read", state.size());
    match passed {
        // What was found is true whatever came after.
        Err(error) if quiet => Err(error),
        passed => {
            let cut_short = passed.err().map(|error| format!("; then: {error:#}")).unwrap_or_default();
            Ok(Answer {
                yes: quiet,
                reason: format!("{told} new alarms, {pending} not told yet, {standing} standing, {read}{cut_short}"),
                text: String::new(),
                payload: serde_json::json!({
                    "alarms": told, "pending": pending, "standing": state.standing(), "size": state.size(), "root_sha256": state.root(),
                }),
            })
        }
    }
}

/// Reads everything that is new and tells what there is to tell, also if reading came to an end half-way.
fn pass(state: &mut State, watch: &Watch<'_>, world: &mut World<'_>) -> anyhow::Result<()> {
    tell(state, world)?;
    loop {
        let looked = state.look(watch, &mut *world.get);
        for alarm in state.pending() {
            for (name, note) in alarm.evidence.iter().zip(&alarm.notes) {
                (world.write)(name, note.as_bytes())?;
            }
        }
        (world.write)(store::STATE, &state.to_bytes())?;
        tell(state, world)?;
        if !looked? {
            return Ok(());
        }
    }
}

/// Tells what is pending. The state on the disk has it until all of it is told, or one cannot be.
fn tell(state: &mut State, world: &mut World<'_>) -> anyhow::Result<()> {
    if state.pending().is_empty() {
        return Ok(());
    }
    let mut told = 0;
    let outcome = state.pending().iter().try_for_each(|alarm| {
        (world.tell)(alarm).with_context(|| format!("telling the alarm {}", alarm.id))?;
        told += 1;
        anyhow::Ok(())
    });
    state.delivered(told);
    (world.write)(store::STATE, &state.to_bytes())?;
    outcome
}

/// The releases that were cut: the first word of each line that is not empty and begins with no `#`.
fn known(flags: &Flags) -> anyhow::Result<BTreeSet<Sha256>> {
    let Some(path) = &flags.known else { return Ok(BTreeSet::new()) };
    let text =
        String::from_utf8(files::read(path, MAX_KNOWN)?).with_context(|| format!("reading {}", path.display()))?;
    let digest = |(line, number): (&str, usize)| {
        let word = line.split_whitespace().next().filter(|word| !word.starts_with('#'))?;
        Some(word.parse().with_context(|| format!("{}, line {number}", path.display())))
    };
    text.lines().zip(1..).filter_map(digest).collect()
}
