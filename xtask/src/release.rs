//! `cargo xtask release`: signs what `dist/` is, enters it in the log, and writes the release with its proof.

pub(crate) mod demonstration;
pub(crate) mod statement;

use crate::key::{self, PassphraseFlags};
use crate::log::OthersFlags;
use crate::report::{Answer, Terminal};
use crate::{measure, workspace};
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use image::pipeline::build::Checkout;
use image::pipeline::dist;
use image::pipeline::measured::Manifest;
use image::progress::Progress as _;
use log_client::dsse::{Envelope, MAX_ENVELOPE};
use log_client::edge::cosign;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::SecretKey;
use log_client::note::{SignatureType, Signer};
use log_client::statement::{Predicate, Release, Statement, Version};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// The signed statement in a release.
pub(crate) const RELEASE: &str = "release.json";
/// Its proof.
pub(crate) const PROOF: &str = "release.json.tlog-proof";

/// What `release` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Like 1.2.3; greater than that of every release in the log.
    #[arg(long, required_unless_present = "simulate")]
    version: Option<Version>,

    /// The Ed25519 key that signs the statement.
    #[arg(long, value_name = "FILE", required_unless_present = "simulate")]
    key: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseFlags,

    /// The log's directory.
    #[arg(long, value_name = "DIR", required_unless_present = "simulate")]
    log: Option<PathBuf>,

    /// A release for `launch --simulate`, with a log, a witness, a status and a policy for clients that are made for it alone:
    /// to try things, in `releases/simulated` of the checkout by default. Its keys are forgotten when this ends, and a week
    /// later it has to be made again.
    #[arg(long, conflicts_with_all = ["version", "key", "passphrase_file", "log", "log_key", "policy", "mirror", "tee"])]
    simulate: bool,

    /// The log's key, if it is not the same as --key.
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,

    /// The file with the passphrase of --log-key, such as /dev/fd/4.
    #[arg(long, value_name = "FILE", requires = "log_key")]
    log_passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    others: OthersFlags,

    /// What the guest runs on. A release for `simulated` is for tests and demonstrations.
    #[arg(long, value_enum, default_value_t = TeeFlag::Snp)]
    tee: TeeFlag,

    /// For how many days the image may be trusted, whatever happens.
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(u64).range(1..=3650))]
    valid: u64,

    /// The output directory of `build`; the checkout's `dist/` by default.
    #[arg(long, value_name = "DIR")]
    dist: Option<PathBuf>,

    /// Where the release is written; `releases/VERSION` of the checkout by default.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum TeeFlag {
    Snp,
    Simulated,
}

/// What the release in this file says, if there is one. Nobody has looked at its signatures.
///
/// # Errors
/// When it cannot be read, or is no release.
pub(crate) fn unverified(path: &Path) -> anyhow::Result<Option<(Statement, Release)>> {
    let reading = || format!("reading {}", path.display());
    let envelope = match read_bounded(path, MAX_ENVELOPE as u64) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => Envelope::parse(&read.with_context(reading)?).with_context(reading)?,
    };
    let statement = Statement::parse(envelope.unverified_payload()).with_context(reading)?;
    let Predicate::Release(release) = &statement.predicate else {
        bail!("{}: expected the statement of a release, found a {}", reading(), statement.predicate.predicate_type())
    };
    let release = Release::clone(release);
    Ok(Some((statement, release)))
}

/// Runs `release`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let root = workspace::root()?;
    let dist = workspace::built(flags.dist.as_deref())?;
    let version = flags.version.map_or_else(|| env!("CARGO_PKG_VERSION").parse(), Ok)?;
    let out = match &flags.out {
        Some(out) => std::path::absolute(out).with_context(|| format!("resolving {}", out.display()))?,
        None if flags.simulate => root.join("releases/simulated"),
        None => root.join("releases").join(version.to_string()),
    };
    ensure!(flags.simulate || !out.exists(), "{} exists; a release is not overwritten", out.display());
    let commit = clean(&root)?;
    let manifest = match measured(&root, &dist)? {
        Ok(manifest) => manifest,
        Err(differences) => {
            let reason = "dist/ is not what measurements.lock says; run `cargo xtask build`, or, if the change is meant, \
                          `cargo xtask measure --update`, and commit";
            let reason = reason.to_owned();
            let payload = serde_json::json!({ "differences": differences });
            return Ok(Answer { yes: false, reason, text: differences.join("\n") + "\n", payload });
        }
    };
    let now = workspace::now()?;
    let facts = statement::Facts {
        version,
        tee: match flags.tee {
            TeeFlag::Snp if !flags.simulate => ::measure::cmdline::Tee::Snp,
            TeeFlag::Snp | TeeFlag::Simulated => ::measure::cmdline::Tee::Simulated,
        },
        commit,
        not_after: ::measure::appraise::Time(now.0.saturating_add(flags.valid * 24 * 60 * 60)),
        root: &root,
        dist: &dist,
    };
    let (Some(key), Some(dir)) = (&flags.key, &flags.log) else {
        return demonstration::run(&facts, &manifest, now, &out);
    };
    let key = ed25519(key, &flags.passphrase)?;
    let log = flags.others.open_newest(dir)?;
    let signer = match &flags.log_key {
        None => key.clone(),
        Some(file) => ed25519(file, &PassphraseFlags { passphrase_file: flags.log_passphrase_file.clone() })?,
    };
    let signer = Signer::with_key(log.key().name(), SignatureType::ED25519, signer)?;
    ensure!(
        signer.key() == log.key(),
        "the key is {}, that of the log {} is {}; name it with --log-key",
        signer.key(),
        dir.display(),
        log.key()
    );

    let terminal = Terminal::new();
    let started = Instant::now();
    let logged = statement::logged(&log)?;
    let statement = match statement::next(&facts, &manifest, &logged)? {
        Ok(statement) => statement,
        Err(reason) => {
            return Ok(Answer { yes: false, reason, text: String::new(), payload: serde_json::json!({}) });
        }
    };
    let envelope = Envelope::sign(statement.to_bytes(), &[&key])?;
    let entry = envelope.to_bytes();
    let (log, indexes) = log.append(std::slice::from_ref(&entry)).context("appending to the log")?;
    let [index] = indexes[..] else { bail!("expected one index of the log, found {indexes:?}") };
    let published = cosign::checkpoint(log, &signer, flags.others.mirrors());
    let (log, accepted) = published.context("the entry is in the log, but not published; the same command goes on")?;
    let proof = log.directory().prove(index, log.key())?;
    terminal.done("logged", &format!("{} at index {index}", log.key().name()), started.elapsed());

    let started = Instant::now();
    write(&out, &dist, &manifest, &entry, &proof.to_string())?;
    terminal.done("wrote", &out.display().to_string(), started.elapsed());
    let (release, size) = (envelope.sha256(), log.signed().checkpoint().size);
    let payload = serde_json::json!({
        "release": out, "release_sha256": release, "version": version.to_string(), "log": log.key().name(),
        "index": index, "log_size": size, "witnesses": accepted.map_or(0, |accepted| accepted.witnesses.len()),
    });
    let reason = format!("released {version} as entry {index} of {}", log.key().name());
    Ok(Answer { yes: true, reason, text: format!("{release}  {}\n", out.join(RELEASE).display()), payload })
}

/// The commit that is checked out, if nothing differs from it.
#[expect(clippy::disallowed_methods, reason = "asks git what is committed")]
fn clean(root: &Path) -> anyhow::Result<::measure::Sha1> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().context("starting git")?;
        ensure!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
        String::from_utf8(output.stdout).context("reading what git says")
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=normal"])?;
    ensure!(
        changed.is_empty(),
        "the checkout has changes that are not committed, such as: {}; commit them, or keep elsewhere what is no part of it, \
         such as keys and logs",
        first_line(&changed),
    );
    let head = git(&["rev-parse", "HEAD"])?;
    head.trim_end().parse().with_context(|| format!("expected a commit, found {head:?}"))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or(text).trim()
}

/// What `dist` measures to, or what is not as `measurements.lock` says.
fn measured(root: &Path, dist: &Path) -> anyhow::Result<Result<Manifest, Vec<String>>> {
    let (manifest, mut differences) = measure::anew(dist)?;
    differences.extend(image::pipeline::build::check(&Checkout::read(root)?, dist)?);
    Ok(if differences.is_empty() { Ok(manifest) } else { Err(differences) })
}

fn ed25519(file: &Path, passphrase: &PassphraseFlags) -> anyhow::Result<SigningKey> {
    match key::open(file, passphrase)? {
        SecretKey::Ed25519(key) => Ok(key),
        SecretKey::P256(_) => bail!("{}: expected an Ed25519 key, found one for submissions", file.display()),
    }
}

/// The directory with everything: the files of `dist`, the statement and its proof.
fn write(out: &Path, dist: &Path, manifest: &Manifest, entry: &[u8], proof: &str) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir().context("creating a scratch directory")?;
    let made = |name: &str, bytes: &[u8]| {
        let path = scratch.path().join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        anyhow::Ok(path)
    };
    let names = statement::files(manifest);
    let mut files: Vec<_> = names.iter().map(|name| (name.as_str(), dist.join(name))).collect();
    files.push((RELEASE, made(RELEASE, entry)?));
    files.push((PROOF, made(PROOF, proof.as_bytes())?));
    dist::replace(out, &files)
}
