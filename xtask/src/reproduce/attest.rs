//! Saying in public what a reproduction found.

use super::How;
use super::published::Published;
use crate::key::{self, PassphraseFlags};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use log_client::dsse::Envelope;
use log_client::edge::cosign::{self, Mirror};
use log_client::edge::log::Log;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::SecretKey;
use log_client::statement::{Predicate, Rebuild, RebuildHost, Rebuilt, Statement, Subject};
use measure::Sha256;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// How to say it.
#[derive(Debug, clap::Args)]
pub(super) struct AttestFlags {
    /// Sign a statement of what was found, whatever it is, with this Ed25519 key, and add it to --log if that is a directory of
    /// ours; who publishes the log's next checkpoint publishes it.
    #[arg(long, value_name = "KEY")]
    attest: Option<PathBuf>,

    #[command(flatten)]
    passphrase: PassphraseFlags,

    /// Where the statement is written; rebuild-VERSION.json by default.
    #[arg(long, value_name = "FILE", requires = "attest")]
    statement: Option<PathBuf>,
}

/// Who says it, and where.
pub(super) struct Attest {
    pub(super) key: SigningKey,
    pub(super) log: Option<PathBuf>,
    pub(super) file: Option<PathBuf>,
}

/// What there is to say.
#[derive(Debug)]
pub(super) struct Found {
    /// What came out; if nothing was built, what kept it from being built.
    pub(super) subjects: Vec<Subject>,
    /// What was made different on purpose.
    pub(super) variations: Vec<String>,
    pub(super) outcome: Rebuilt,
}

impl Found {
    /// Nothing was built, for it cannot give the release.
    pub(super) fn unbuilt(subject: Subject) -> Self {
        Self { subjects: vec![subject], variations: Vec::new(), outcome: Rebuilt::Differs }
    }
}

/// What was said.
pub(super) struct Attested {
    pub(super) text: String,
    pub(super) payload: serde_json::Value,
}

impl AttestFlags {
    /// Opens the key, before anything that takes long.
    pub(super) fn open(&self, log: Option<&Mirror>, how: &How) -> anyhow::Result<Option<Attest>> {
        let Some(file) = &self.attest else { return Ok(None) };
        ensure!(!how.inputs && how.is_full(), "--attest: only a full reproduction is attested");
        let SecretKey::Ed25519(key) = key::open(file, &self.passphrase)? else {
            bail!("{}: expected an Ed25519 key, found one for submissions", file.display())
        };
        let log = match log {
            None => {
                bail!("--attest: name the --log; `rebuild-VERSION.json` is for its operator if it is at an address")
            }
            Some(Mirror::Url(_)) => None,
            Some(Mirror::Directory(dir)) => {
                Log::open(dir).context("--attest adds to the log, which must be one of ours")?;
                Some(dir.clone())
            }
        };
        Ok(Some(Attest { key, log, file: self.statement.clone() }))
    }
}

impl Attest {
    /// Signs, writes and logs.
    pub(super) fn write(&self, published: &Published, found: Found, took: Duration) -> anyhow::Result<Attested> {
        let release = &published.release;
        let Found { subjects, mut variations, outcome } = found;
        variations.truncate(log_client::statement::MAX_VARIATIONS);
        let workspace::Host { distribution, kernel, cpu } = workspace::host()?;
        let rebuild = Rebuild {
            version: release.version,
            release_sha256: Sha256::of(&published.entry),
            commit: release.commit,
            lock_sha256: release.lock_sha256,
            built_at: workspace::now()?,
            seconds: took.as_secs(),
            host: RebuildHost { distribution, kernel, cpu },
            variations,
            outcome,
        };
        let statement = Statement::new(subjects, Predicate::Rebuild(rebuild))?;
        let envelope = Envelope::sign(statement.to_bytes(), &[&self.key])?;
        let entry = envelope.to_bytes();
        let file = self.file.clone().unwrap_or_else(|| format!("rebuild-{}.json", release.version).into());
        let file = std::path::absolute(&file).with_context(|| format!("resolving {}", file.display()))?;
        image::files::replace(&file, &entry)?;
        let index = match &self.log {
            Some(dir) => {
                let log = Log::open(dir)?;
                cosign::is_newest(&log, &[])?;
                log.append(&[entry])?.1.first().copied()
            }
            None => None,
        };
        let logged = match index {
            Some(index) => format!("entry {index} of the log, public with its next checkpoint"),
            None => "not in the log yet: send it to the log's operator".to_owned(),
        };
        let text = format!("{}  {}: {logged}", envelope.sha256(), file.display());
        let payload = json!({ "statement": file, "sha256": envelope.sha256(), "index": index });
        Ok(Attested { text, payload })
    }
}
