//! Who must agree before a log goes on: laid down once, kept to by every command that writes.

use crate::key;
use crate::report::Answer;
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use log_client::SplitView;
use log_client::edge::cosign::{self, Mirror};
use log_client::edge::log::Log;
use log_client::edge::rules::{Roots, Rules, Witnesses};
use log_client::keys::PublicKey;
use log_client::keys::at_rest::AnyPublicKey;
use log_client::policy::MAX_POLICY;
use serde_json::json;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What `init` and `rules` lay down.
#[derive(Debug, clap::Args)]
pub(super) struct RulesFlags {
    #[command(flatten)]
    roots: RootFlags,
    #[command(flatten)]
    policy: PolicyFlags,
    /// Where a copy of the log is, a directory or address: if it has more than this one, nothing is added or signed.
    #[arg(long, value_name = "DIR|URL")]
    mirror: Vec<Mirror>,
}

/// Whose statements decide which entries count.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RootFlags {
    /// The public half of a root key.
    #[arg(long, value_name = "FILE.pub", requires = "root_quorum")]
    root_key: Vec<PathBuf>,
    /// How many root keys must sign a status, a fleet or an event of a key.
    #[arg(long, value_name = "M", requires = "root_key")]
    root_quorum: Option<NonZeroUsize>,
}

/// Who besides the log's key makes a checkpoint acceptable.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct PolicyFlags {
    /// The witnesses and how many of them must sign, as a tlog-policy. The first that a log's directory is told of is laid
    /// down: later commands keep to it.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Accept a policy whose quorums need have no witness in common.
    #[arg(long, requires = "policy")]
    split_view_accepted: bool,
}

/// Who is asked by commands that write.
#[derive(Debug, clap::Args)]
pub(crate) struct OthersFlags {
    #[command(flatten)]
    policy: PolicyFlags,
    /// Where a copy of the log is, besides those laid down: if it has more than this one, nothing is added or signed.
    #[arg(long, value_name = "DIR|URL")]
    mirror: Vec<Mirror>,
}

impl RootFlags {
    /// The root keys that are given.
    pub(super) fn read(&self) -> anyhow::Result<Option<Roots>> {
        let keys = self.root_key.iter().map(|file| public(file)).collect::<anyhow::Result<_>>()?;
        self.root_quorum.map(|quorum| Roots::new(keys, quorum)).transpose()
    }
}

impl PolicyFlags {
    /// The policy that is given.
    pub(super) fn read(&self) -> anyhow::Result<Option<Witnesses>> {
        let Some(path) = &self.policy else { return Ok(None) };
        let split = if self.split_view_accepted { SplitView::Accepted } else { SplitView::Refused };
        let reading = || format!("reading {}", path.display());
        let bytes = read_bounded(path, MAX_POLICY as u64).with_context(reading)?;
        let text = String::from_utf8(bytes).with_context(reading)?;
        Witnesses::new(text, split).with_context(reading).map(Some)
    }
}

impl RulesFlags {
    /// The rules that are given.
    pub(super) fn read(&self) -> anyhow::Result<Rules> {
        let mirrors = self.mirror.iter().map(absolute).collect::<anyhow::Result<_>>()?;
        Ok(Rules { roots: self.roots.read()?, mirrors, witnesses: self.policy.read()? })
    }
}

/// Lays down what is given, in place of what was, and keeps the rest; shows what holds then.
pub(super) fn lay_down(dir: &Path, flags: &RulesFlags, no_policy: bool, no_mirrors: bool) -> anyhow::Result<Answer> {
    let log = Log::open(dir)?;
    let (given, old) = (flags.read()?, log.rules().clone());
    let rules = Rules {
        roots: given.roots.or(old.roots),
        mirrors: if no_mirrors || !given.mirrors.is_empty() { given.mirrors } else { old.mirrors },
        witnesses: if no_policy { None } else { given.witnesses.or(old.witnesses) },
    };
    let text = match rules == *log.rules() {
        true => rules.to_string(),
        false => log.with_rules(rules)?.rules().to_string(),
    };
    let reason = format!("the rules of {}", dir.display());
    Ok(Answer { yes: true, reason, payload: json!({ "rules": text }), text })
}

impl OthersFlags {
    /// The log in `dir`, with the witnesses that are given here, if none were laid down before.
    pub(crate) fn open(&self, dir: &Path) -> anyhow::Result<Log> {
        let log = Log::open(dir)?;
        match (self.policy.read()?, &log.rules().witnesses) {
            (None, _) => Ok(log),
            (Some(given), None) => {
                let rules = Rules { witnesses: Some(given), ..log.rules().clone() };
                log.with_rules(rules)
            }
            (Some(given), Some(laid_down)) => {
                let same = given == *laid_down;
                ensure!(same, "--policy is not the policy that was laid down; change that with `log rules --policy`");
                Ok(log)
            }
        }
    }

    /// The same, to be added to: nobody has seen more of the log.
    pub(crate) fn open_newest(&self, dir: &Path) -> anyhow::Result<Log> {
        let log = self.open(dir)?;
        cosign::is_newest(&log, &self.mirror)?;
        Ok(log)
    }

    /// Where copies of the log are, besides those laid down.
    pub(crate) fn mirrors(&self) -> &[Mirror] {
        &self.mirror
    }
}

/// A mirror that is the same wherever the next command is started.
fn absolute(mirror: &Mirror) -> anyhow::Result<Mirror> {
    Ok(match mirror {
        Mirror::Url(url) => Mirror::Url(url.clone()),
        Mirror::Directory(path) => {
            let path = std::path::absolute(path).with_context(|| format!("resolving {}", path.display()))?;
            ensure!(path.to_str().is_some(), "the mirror {} is not UTF-8", path.display());
            Mirror::Directory(path)
        }
    })
}

pub(super) fn public(file: &Path) -> anyhow::Result<PublicKey> {
    match key::public(file)? {
        AnyPublicKey::Ed25519(key) => Ok(key),
        AnyPublicKey::P256(_) => bail!("{}: expected an Ed25519 key, found one for submissions", file.display()),
    }
}
