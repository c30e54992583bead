//! What a log says of the release, for a bundle. The log is believed in nothing: all of it is read, and has to hash to a
//! checkpoint that the policy accepts.

use super::Flags;
use crate::files;
use crate::state::State;
use anyhow::{Context as _, bail, ensure};
use log_client::dsse::Envelope;
use log_client::edge::cosign::Mirror;
use log_client::edge::feed::{Besides, Snapshot, Trust, Which};
use log_client::edge::rules::Roots;
use log_client::fleet::Roster;
use log_client::statement::{Predicate, Statement};
use log_client::{Checkpoint, Feed, Proof};
use measure::snp::report::{ChipId, Report};
use std::path::Path;
use std::time::Duration;
use verify::policy::{MAX_POLICY, ReleasePolicy, Witnesses};
use verify::{Memory, Policy};

/// Largest roster: the most chips there are, each on its line.
const MAX_ROSTER: u64 = 16 << 20;

/// The feed of the release that `given` names, or of the one that the flags do. `report` is the evidence, if it names a
/// chip.
pub(super) fn fill(flags: &Flags, log: &Mirror, given: Feed, report: Option<&[u8]>) -> anyhow::Result<Feed> {
    ensure!(!flags.offline || matches!(log, Mirror::Directory(_)), "{log}: not with --offline");
    let path = flags.policy.as_ref().context("--log needs --policy")?;
    let policy = Policy::parse(&path.display().to_string(), &files::read(path, MAX_POLICY as u64)?)?;
    let (release, witnesses) = asked(&policy).with_context(|| path.display().to_string())?;
    let roots = Roots::new(release.root_keys.iter().map(|key| key.0).collect(), release.root_quorum)?;
    let seen = remembered(flags, &policy)?;
    let patience = Duration::from_secs(flags.timeout.into());
    let trust = Trust { policy: witnesses, roots: &roots, seen: seen.as_ref(), patience };
    let snapshot = Snapshot::read(log, &trust)?;
    let which = match (flags.entry, &given.release) {
        (Some(which), _) => which,
        (None, Some(release)) => version(release)?,
        (None, None) => bail!("which release? Name it with --entry or --release"),
    };
    let roster = flags.roster.as_deref().map(roster).transpose()?;
    let chip = match (&roster, report) {
        (Some(roster), Some(report)) => Some((roster, chip(report)?)),
        (Some(_), None) => bail!("--roster is for SEV-SNP reports: a quote names no chip"),
        (None, _) => None,
    };
    // What was there is what was proved before now.
    let earlier = if flags.proof.is_some() { None } else { given.earlier_proof };
    let earlier = earlier.or(given.release_proof).map(|bytes| Proof::parse(&bytes)).transpose()?;
    let rebuilders: Vec<_> = release.rebuilders.values().map(|key| key.0).collect();
    let besides = Besides { chip, rebuilders: Some(&rebuilders), earlier_proof: earlier.as_ref(), tail: flags.tail };
    let mut feed = snapshot.feed(which, &besides, witnesses)?;
    // It holds as long as the roster does.
    feed.fleet_row = feed.fleet_row.or(given.fleet_row);
    let same = given.release.is_none() || given.release == feed.release;
    ensure!(same, "the log has another release of this version");
    Ok(feed)
}

/// What a policy asks of releases, and whose checkpoints it accepts.
fn asked(policy: &Policy) -> anyhow::Result<(&ReleasePolicy, &log_client::Policy)> {
    let release = policy.release.is().context("release must be a table: nobody is asked about releases")?;
    match release.log.is().map(|log| &log.witnesses) {
        Some(Witnesses::Of(witnesses)) => Ok((release, witnesses)),
        _ => bail!("release.log.witnesses names no log"),
    }
}

/// The checkpoint that the log must continue.
fn remembered(flags: &Flags, policy: &Policy) -> anyhow::Result<Option<Checkpoint>> {
    let Some(directory) = &flags.state else { return Ok(None) };
    let memories = State::open(directory)?.memories(policy)?;
    let checkpoint = |Memory { origin, size, root_sha256, .. }: Memory| Checkpoint {
        origin,
        size,
        root: root_sha256,
        extensions: vec![],
    };
    ensure!(memories.len() < 2, "the policy names several logs that are remembered: which one is not known");
    Ok(memories.into_iter().next().map(checkpoint))
}

fn version(release: &[u8]) -> anyhow::Result<Which> {
    let envelope = Envelope::parse(release).context("reading the release")?;
    match Statement::parse(envelope.unverified_payload()).context("reading the release")?.predicate {
        Predicate::Release(release) => Ok(Which::Version(release.version)),
        other => bail!("expected a release, found a {}", other.predicate_type()),
    }
}

fn roster(path: &Path) -> anyhow::Result<Roster> {
    let reading = || format!("reading {}", path.display());
    let text = String::from_utf8(files::read(path, MAX_ROSTER)?).with_context(reading)?;
    text.parse().with_context(reading)
}

fn chip(report: &[u8]) -> anyhow::Result<ChipId> {
    Ok(Report::parse(report).context("reading the report")?.chip_id())
}
