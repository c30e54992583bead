//! A feed: everything a client needs of one release, read from a log that is here or anywhere.

use super::events;
use super::rules::{PolicyFlags, RootFlags, public};
use crate::report::Answer;
use crate::workspace;
use ::measure::appraise::Time;
use ::measure::snp::report::ChipId;
use anyhow::{Context as _, bail, ensure};
use image::files::{read_bounded, replace};
use log_client::checkpoint::SignedCheckpoint;
use log_client::edge::cosign::Mirror;
use log_client::edge::feed::{Besides, Snapshot, Trust, Which};
use log_client::edge::log;
use log_client::edge::rules::{Roots, Rules, Witnesses};
use log_client::feed::Feed;
use log_client::note::MAX_NOTE;
use log_client::proof::{MAX_BYTES, Proof};
use log_client::statement::Status;
use log_client::{Policy, SplitView};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `log feed` takes.
#[derive(Debug, clap::Args)]
pub(super) struct FeedFlags {
    /// Where the log is. Of one of our own directories the rules are known; of others give --policy and --root-key.
    #[arg(value_name = "DIR|URL")]
    log: Mirror,
    /// The release, by its index in the log or its version.
    #[arg(long, value_name = "INDEX|VERSION")]
    release: Which,
    #[command(flatten)]
    reading: ReadingFlags,
    /// Where the feed goes, in place of what is there.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How a log is read for a feed, and what goes in besides release and status.
#[derive(Debug, Clone, clap::Args)]
#[group(requires = "log")]
pub(crate) struct ReadingFlags {
    /// The chip whose row is needed.
    #[arg(long, value_name = "ID", requires = "roster")]
    chip: Option<ChipId>,
    /// The roster that the newest status names.
    #[arg(long, value_name = "FILE", requires = "chip")]
    roster: Option<PathBuf>,
    /// The public key of one whose rebuild counts. Without it the rebuilds of all who are named go in unverified, as many as fit.
    #[arg(long, value_name = "FILE.pub")]
    rebuilder: Vec<PathBuf>,
    /// The proof that was written when the release was made: since when it has been public.
    #[arg(long, value_name = "FILE")]
    earlier_proof: Option<PathBuf>,
    /// Also every entry behind the release.
    #[arg(long)]
    tail: bool,
    /// A checkpoint of this log that was seen before: it must be continued, which the feed then proves.
    #[arg(long, value_name = "FILE")]
    seen: Option<PathBuf>,
    /// Refuse a checkpoint whose witnesses signed it longer ago.
    #[arg(long, value_name = "SECONDS")]
    max_age: Option<u64>,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    #[command(flatten)]
    roots: RootFlags,
    #[command(flatten)]
    policy: PolicyFlags,
}

/// Reads the log and writes the feed. The answer is no if no client can accept it, whatever its policy: it is written all
/// the same, because it says why.
pub(super) fn run(flags: &FeedFlags) -> anyhow::Result<Answer> {
    let now = workspace::now()?;
    let (feed, snapshot) = read(&flags.log, flags.release, &flags.reading, now)?;
    let bytes = feed.to_bytes()?;
    replace(&flags.out, &bytes)?;

    let refused = refused(&feed, &snapshot, now);
    let out = flags.out.display();
    let reason = match &refused {
        Some(refused) => format!("{out} was written, but no client can accept it: {refused}"),
        None => format!("{out}: {} bytes, {} rebuilds", bytes.len(), feed.rebuilds.len()),
    };
    let payload = json!({
        "log_size": snapshot.accepted().checkpoint.size,
        "as_of": snapshot.accepted().as_of,
        "status": snapshot.status().map(|status| json!({ "sequence": status.sequence, "not_after": status.not_after.0 })),
        "rebuilds": feed.rebuilds.len(),
        "bytes": bytes.len(),
    });
    Ok(Answer { yes: refused.is_none(), text: format!("{reason}\n"), reason, payload })
}

/// What the log says of the release at this time.
pub(crate) fn read(log: &Mirror, release: Which, flags: &ReadingFlags, now: Time) -> anyhow::Result<(Feed, Snapshot)> {
    let (roots, policy) = trusted(log, flags)?;
    let seen = flags.seen.as_ref().map(|file| checkpoint(file, &policy)).transpose()?;
    let patience = Duration::from_secs(flags.timeout);
    let trust =
        Trust { policy: &policy, roots: &roots, seen: seen.as_ref().map(SignedCheckpoint::checkpoint), patience };
    let snapshot = Snapshot::read(log, &trust)?;
    if let Some(max) = flags.max_age {
        let as_of = snapshot.accepted().as_of.context("--max-age needs witnesses")?;
        let age = now.0.saturating_sub(as_of);
        ensure!(age <= max, "the checkpoint is from {}, {age} s ago: expected at most {max}", Time(as_of));
    }
    let roster = flags.roster.as_ref().map(|file| events::roster(file)).transpose()?;
    let earlier_proof = flags.earlier_proof.as_ref().map(|file| proof(file)).transpose()?;
    let rebuilders = flags.rebuilder.iter().map(|file| public(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let besides = Besides {
        chip: roster.as_ref().zip(flags.chip),
        rebuilders: Some(&rebuilders[..]).filter(|keys| !keys.is_empty()),
        earlier_proof: earlier_proof.as_ref(),
        tail: flags.tail,
    };
    let feed = snapshot.feed(release, &besides, &policy)?;
    Ok((feed, snapshot))
}

/// Why no client can accept the release now.
fn refused(feed: &Feed, snapshot: &Snapshot, now: Time) -> Option<String> {
    let Some((Status { sequence, not_after, .. }, (_, statement))) = snapshot.status().zip(snapshot.book().status())
    else {
        return Some("there is no status".to_owned());
    };
    let release = feed.release.as_deref().map(::measure::Sha256::of);
    if *not_after < now {
        return Some(format!("status {sequence} ended at {not_after}"));
    }
    let live = statement.live().any(|(_, live)| Some(live) == release);
    (!live).then(|| format!("status {sequence} does not call the release live"))
}

/// By whom the log is judged: what is given, else what its owner has laid down.
fn trusted(log: &Mirror, flags: &ReadingFlags) -> anyhow::Result<(Roots, Policy)> {
    let own = match log {
        Mirror::Directory(dir) if dir.join(log::STATE).exists() => Some((log::rules(dir)?, log::vkey(dir)?)),
        _ => None,
    };
    let (laid_down, vkey) = own.map_or((Rules::default(), None), |(rules, vkey)| (rules, Some(vkey)));
    let witnesses = match (flags.policy.read()?.or(laid_down.witnesses), vkey) {
        (Some(witnesses), _) => witnesses,
        // Its owner has laid down that no witness is needed.
        (None, Some(vkey)) => Witnesses::new(format!("log {vkey}\nquorum none\n"), SplitView::Accepted)?,
        (None, None) => bail!("name the log's key and its witnesses: --policy"),
    };
    let roots = flags.roots.read()?.or(laid_down.roots);
    let roots = roots.context("name the --root-key files and the --root-quorum of the log")?;
    Ok((roots, witnesses.policy().clone()))
}

fn checkpoint(file: &Path, policy: &Policy) -> anyhow::Result<SignedCheckpoint> {
    let reading = || format!("reading {}", file.display());
    let note = read_bounded(file, MAX_NOTE as u64).with_context(reading)?;
    let signed = policy.logs().iter().find_map(|log| SignedCheckpoint::verify(&note, &log.key).ok());
    signed.context("not signed by the log of the policy").with_context(reading)
}

fn proof(file: &Path) -> anyhow::Result<Proof> {
    let reading = || format!("reading {}", file.display());
    Proof::parse(&read_bounded(file, MAX_BYTES as u64).with_context(reading)?).with_context(reading)
}
