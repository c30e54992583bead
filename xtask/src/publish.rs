//! `cargo xtask publish`: makes releases known where others look.

use crate::key::{self, PassphraseFlags};
use crate::release::RELEASE;
use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::files::{read_bounded, replace};
use image::progress::{Progress as _, Unit};
use log_client::dsse::MAX_ENVELOPE;
use log_client::keys::SubmissionKey;
use log_client::keys::at_rest::SecretKey;
use log_client::rekor::http::Http;
use log_client::rekor::publish::{PublishError, RekorV2, Request, retry};
use log_client::rekor::{MAX_CONFIG, Service, SigningConfig, Submission, TrustedRoot};
use log_client::sigstore::{self, Bundle, MAX_BUNDLE};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// What `publish rekor` leaves beside a release's statement.
const BUNDLE: &str = "release.json.rekor.sigstore.json";
/// The first wait after a failure; each further one is twice as long, up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What `publish` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    to: To,
}

#[derive(Debug, clap::Subcommand)]
enum To {
    /// To a Rekor v2 log; writes a Sigstore bundle into each release. Releases that have one are only checked, so the
    /// same command, again, attaches what an outage has delayed.
    Rekor(RekorFlags),
}

#[derive(Debug, clap::Args)]
struct RekorFlags {
    /// Releases, as `release` writes them.
    #[arg(required = true)]
    releases: Vec<PathBuf>,

    /// The P-256 key for submissions.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    #[command(flatten)]
    passphrase: PassphraseFlags,

    /// Sigstore's SigningConfig (v0.2): where to submit.
    #[arg(long, value_name = "FILE")]
    signing_config: PathBuf,

    /// Sigstore's TrustedRoot (v0.1): the logs' keys.
    #[arg(long, value_name = "FILE")]
    trusted_root: PathBuf,

    /// For how many seconds a log that is down is asked again.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    patience: u64,
}

/// Runs `publish`.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let To::Rekor(flags) = &flags.to;
    let config = SigningConfig::parse(&read(&flags.signing_config, MAX_CONFIG)?)
        .with_context(|| format!("reading {}", flags.signing_config.display()))?;
    let root = TrustedRoot::parse(&read(&flags.trusted_root, MAX_CONFIG)?)
        .with_context(|| format!("reading {}", flags.trusted_root.display()))?;
    let SecretKey::P256(key) = key::open(&flags.key, &flags.passphrase)? else {
        bail!("{}: expected a P-256 key; `key new --algorithm p256` makes one", flags.key.display());
    };
    let publisher = Publisher {
        service: config.rekor_v2(workspace::now()?)?,
        root: &root,
        key: &key,
        patience: Duration::from_secs(flags.patience),
        http: Http::new(),
        terminal: Terminal::new(),
    };
    let mut entries = Vec::new();
    let mut refused = Vec::new();
    for release in &flags.releases {
        match publisher.publish(release).with_context(|| format!("publishing {}", release.display()))? {
            Ok(index) => entries.push((release, index)),
            Err(reason) => refused.push(format!("{}: {reason}", release.display())),
        }
    }
    let text: String = entries.iter().map(|(release, index)| format!("{index}  {}\n", release.display())).collect();
    let reason = match refused.first() {
        Some(first) => format!("{} of {} were not published, the first: {first}", refused.len(), flags.releases.len()),
        None => format!("{} in the log {}", flags.releases.len(), publisher.service.url),
    };
    let entries: Vec<_> =
        entries.iter().map(|(release, index)| serde_json::json!({ "release": release, "index": index })).collect();
    let payload = serde_json::json!({ "log": publisher.service.url, "entries": entries, "refused": refused });
    Ok(Answer { yes: refused.is_empty(), reason, text, payload })
}

struct Publisher<'a> {
    service: &'a Service,
    root: &'a TrustedRoot,
    key: &'a SubmissionKey,
    patience: Duration,
    http: Http,
    terminal: Terminal,
}

impl Publisher<'_> {
    /// The index of the release's entry, or why there will be none.
    fn publish(&self, release: &Path) -> anyhow::Result<Result<u64, String>> {
        let artifact = read(&release.join(RELEASE), MAX_ENVELOPE)?;
        let path = release.join(BUNDLE);
        if path.try_exists().with_context(|| format!("looking for {}", path.display()))? {
            let bundle = Bundle::parse(&read(&path, MAX_BUNDLE)?)
                .and_then(|bundle| bundle.verify(&artifact, &self.key.public(), self.root).map(|_| bundle.index()));
            return Ok(bundle.map_err(|error| format!("{BUNDLE}: {:#}", anyhow::Error::new(error))));
        }
        let started = Instant::now();
        let submission = Submission::sign(&artifact, self.key);
        let exchange = |request: &Request| self.http.exchange(request);
        let mut log = RekorV2 { service: self.service, root: self.root, exchange };
        let bar = self.terminal.bar("submit", 0, Unit::Items);
        let wait = |failed: u32, error: &PublishError| {
            let pause = FIRST_WAIT.saturating_mul(1_u32.checked_shl(failed - 1).unwrap_or(u32::MAX)).min(LONGEST_WAIT);
            let again = started.elapsed().saturating_add(pause) <= self.patience;
            if again {
                bar.note(&format!("attempt {failed}: {error}; waiting {} s", pause.as_secs()));
                thread::sleep(pause);
            }
            again
        };
        let published = match retry(&mut log, &submission, wait) {
            Ok(published) => published,
            // The release is none the worse for it: the same command attaches the proof later.
            Err(error) if error.is_temporary() => return Err(anyhow::Error::new(error)),
            Err(error) => return Ok(Err(format!("{:#}", anyhow::Error::new(error)))),
        };
        let bundle = sigstore::write(&submission, &published);
        ensure!(bundle.len() <= MAX_BUNDLE, "the bundle has {} bytes, more than {MAX_BUNDLE}", bundle.len());
        replace(&path, &bundle)?;
        self.terminal.done(
            "published",
            &format!("{} at index {}", release.display(), published.entry.index),
            started.elapsed(),
        );
        Ok(Ok(published.entry.index))
    }
}

fn read(path: &Path, limit: usize) -> anyhow::Result<Vec<u8>> {
    read_bounded(path, limit as u64).with_context(|| format!("reading {}", path.display()))
}
