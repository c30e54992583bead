//! What a release says, from the build, the checkout and the log.

use crate::launch::product::launch_policy;
use anyhow::Context as _;
use image::files::read_bounded;
use image::inputs::lock::LOCK;
use image::pipeline::dist::{MANIFEST, STAGES};
use image::pipeline::measured::{Artifact, Manifest};
use log_client::dsse::Envelope;
use log_client::edge::log::Log;
use log_client::statement::{LaunchPolicy, Predicate, Release, Statement, Subject, TokenAccess, Version};
use measure::Sha1;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::Product;
use std::path::Path;

/// Largest `rust-toolchain.toml` that is read, in bytes.
const MAX_TOOLCHAIN: u64 = 4096;

/// What is not in the build's manifest.
pub(crate) struct Facts<'a> {
    pub(crate) version: Version,
    pub(crate) tee: Tee,
    pub(crate) commit: Sha1,
    pub(crate) not_after: Time,
    pub(crate) root: &'a Path,
    pub(crate) dist: &'a Path,
}

/// The releases in the log, by whoever signed them, oldest first.
pub(super) fn logged(log: &Log) -> anyhow::Result<Vec<Statement>> {
    let mut releases = Vec::new();
    for (entry, index) in log.directory().entries_of(log.tree().size).zip(0_u64..) {
        let parse = || anyhow::Ok(Statement::parse(Envelope::parse(&entry?)?.unverified_payload())?);
        let statement = parse().with_context(|| format!("reading entry {index} of the log"))?;
        releases.extend(matches!(statement.predicate, Predicate::Release(_)).then_some(statement));
    }
    Ok(releases)
}

/// The statement that comes after `logged`; or the last one of them, if it is of the same version and says the same: a run
/// that stopped after it was logged goes on. `Err` says why there is none.
pub(super) fn next(
    facts: &Facts<'_>,
    manifest: &Manifest,
    logged: &[Statement],
) -> anyhow::Result<Result<Statement, String>> {
    let releases = || {
        logged.iter().filter_map(|statement| match &statement.predicate {
            Predicate::Release(release) => Some((statement, release)),
            _ => None,
        })
    };
    let counter = releases().map(|(_, release)| release.counter).max().unwrap_or(0);
    let new = statement(facts, manifest, counter.saturating_add(1), facts.not_after)?;
    let Some((newest, release)) = releases().max_by_key(|(_, release)| release.version) else { return Ok(Ok(new)) };
    if release.version < facts.version {
        return Ok(Ok(new));
    }
    let same = statement(facts, manifest, release.counter, release.not_after)?;
    if release.version == facts.version && *newest == same {
        return Ok(Ok(same));
    }
    Ok(Err(format!("the log has version {} already; a release must be newer", release.version)))
}

/// What a release of this build says, if it is the one with this counter.
///
/// # Errors
/// When the build cannot be started on that TEE, or a file of it cannot be read.
pub(crate) fn statement(
    facts: &Facts<'_>,
    manifest: &Manifest,
    counter: u64,
    not_after: Time,
) -> anyhow::Result<Statement> {
    let boot = manifest.boot(facts.tee)?;
    let policy = |product| LaunchPolicy { product, policy: launch_policy(product) };
    let release = Release {
        version: facts.version,
        counter,
        not_after,
        commit: facts.commit,
        lock_sha256: Artifact::of(&facts.root.join(LOCK))?.sha256,
        toolchain: toolchain(facts.root)?,
        tee: facts.tee,
        host_resistant: manifest.host_resistant,
        // Every engine there is looks tokens up in tables.
        token_access: TokenAccess::Indexed,
        command_line: boot.command_line.clone(),
        root_sha256: manifest.root.root_sha256,
        model_sha256: manifest.model.root_sha256,
        snp: boot.snp.source().clone(),
        launch_policies: Product::ALL.into_iter().map(policy).collect(),
    };
    Ok(Statement::new(subjects(manifest, facts.dist)?, Predicate::Release(Box::new(release)))?)
}

/// The files of a build, hashed.
pub(crate) fn subjects(manifest: &Manifest, dist: &Path) -> anyhow::Result<Vec<Subject>> {
    let subject = |name: &String| Ok(Subject::new(name, Artifact::of(&dist.join(name))?.sha256));
    files(manifest).iter().map(subject).collect()
}

/// The files of a build: what its manifest names, the manifest itself, and how it was made.
pub(super) fn files(manifest: &Manifest) -> Vec<String> {
    let made_last = [MANIFEST, STAGES].map(str::to_owned);
    manifest.artifacts.keys().cloned().chain(made_last).collect()
}

/// The release in `rust-toolchain.toml`.
fn toolchain(root: &Path) -> anyhow::Result<Version> {
    let path = root.join("rust-toolchain.toml");
    let text = read_bounded(&path, MAX_TOOLCHAIN).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8(text).with_context(|| format!("reading {}", path.display()))?;
    let channel = text.lines().find_map(|line| line.strip_prefix("channel = \"")?.strip_suffix('"'));
    let channel = channel.with_context(|| format!("{}: expected channel = \"VERSION\"", path.display()))?;
    channel.parse().with_context(|| format!("{}: channel", path.display()))
}
