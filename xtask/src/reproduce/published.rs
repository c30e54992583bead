//! A release as somebody published it: found, and believed or not.

use super::Mismatch;
use crate::key;
use crate::release::{PROOF, RELEASE};
use anyhow::{Context as _, bail, ensure};
use image::files::{read_bounded, require_regular};
use image::pipeline::dist::STAGES;
use image::pipeline::measured::Artifact;
use log_client::dsse::{Envelope, MAX_ENVELOPE};
use log_client::edge::copy;
use log_client::edge::cosign::Mirror;
use log_client::edge::directory::Directory;
use log_client::keys::PublicKey;
use log_client::keys::at_rest::AnyPublicKey;
use log_client::merkle::leaf_hash;
use log_client::policy::MAX_POLICY;
use log_client::proof::MAX_BYTES;
use log_client::statement::{Predicate, Release, Statement, Subject, Version};
use log_client::{Policy, Proof, SplitView, VerifierKey};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// Whom to believe. There is no default: who names nobody believes nobody.
#[derive(Debug, clap::Args)]
pub(crate) struct BelieveFlags {
    /// The public key of those who sign releases, as `key new` writes it (FILE.pub). One of them suffices. Whether a key has been
    /// revoked meanwhile is for clients to see, not for this.
    #[arg(long, value_name = "FILE.pub", required = true)]
    key: Vec<PathBuf>,

    /// The log and its witnesses, as a tlog-policy.
    #[arg(long, value_name = "FILE", required_unless_present = "vkey")]
    policy: Option<PathBuf>,

    /// Accept a policy whose quorums need have no witness in common.
    #[arg(long, requires = "policy")]
    split_view_accepted: bool,

    /// The log's verifier key instead of --policy: no witness is asked for.
    #[arg(long, value_name = "VKEY", conflicts_with = "policy")]
    vkey: Option<VerifierKey>,

    /// Where the log is, a directory or address; needed if RELEASE is an index or a version, or has no proof with it.
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) log: Option<Mirror>,
}

/// Who is believed.
pub(crate) struct Believed {
    keys: Vec<PublicKey>,
    policy: Policy,
}

impl BelieveFlags {
    /// Reads the keys and the policy.
    pub(crate) fn read(&self) -> anyhow::Result<Believed> {
        let ed25519 = |file: &PathBuf| match key::public(file)? {
            AnyPublicKey::Ed25519(key) => Ok(key),
            AnyPublicKey::P256(_) => bail!("{}: expected an Ed25519 key, found one for submissions", file.display()),
        };
        let keys = self.key.iter().map(ed25519).collect::<anyhow::Result<_>>()?;
        let policy = match (&self.policy, &self.vkey) {
            (Some(path), _) => {
                let reading = || format!("reading {}", path.display());
                let split = if self.split_view_accepted { SplitView::Accepted } else { SplitView::Refused };
                let bytes = read_bounded(path, MAX_POLICY as u64).with_context(reading)?;
                Policy::parse(&bytes, split).with_context(reading)?
            }
            (None, Some(vkey)) => Policy::parse(format!("log {vkey}\nquorum none\n").as_bytes(), SplitView::Accepted)?,
            (None, None) => bail!("nobody is believed: name --policy or --vkey"),
        };
        Ok(Believed { keys, policy })
    }
}

impl Believed {
    /// The one log of the policy.
    pub(crate) fn log_key(&self) -> anyhow::Result<&VerifierKey> {
        match self.policy.logs() {
            [log] => Ok(&log.key),
            logs => bail!("the policy has {} logs: expected one, to look the release up in", logs.len()),
        }
    }

    /// A release's statement, if one of the keys signed it.
    pub(crate) fn signed(&self, entry: &[u8]) -> Result<(Statement, Release), String> {
        let envelope = Envelope::parse(entry).map_err(|error| error.to_string())?;
        let signed = envelope.verify(&self.keys, NonZeroUsize::MIN);
        signed.map_err(|error| format!("none of the keys that you believe signed it: {error}"))?;
        let statement = Statement::parse(envelope.unverified_payload()).map_err(|error| error.to_string())?;
        match &statement.predicate {
            Predicate::Release(release) => {
                let release = Release::clone(release);
                Ok((statement, release))
            }
            other => Err(format!("it is a {}", other.predicate_type())),
        }
    }
}

/// A release that was believed.
#[derive(Debug)]
pub(crate) struct Published {
    /// The signed bytes.
    pub(crate) entry: Vec<u8>,
    /// The proof of their place in the log.
    pub(crate) proof: String,
    /// What they say.
    pub(crate) statement: Statement,
    /// The same.
    pub(crate) release: Release,
    /// Their index in the log of this name.
    pub(crate) index: u64,
    /// The log's name.
    pub(crate) log: String,
    /// The directory that has files of the release.
    pub(crate) dir: Option<PathBuf>,
}

impl Published {
    /// The release that `what` names: a file, a directory, or an index or version in the log.
    ///
    /// # Errors
    /// When it cannot be read. `Err` inside says why it is not believed.
    pub(crate) fn find(what: &str, log: Option<&Mirror>, believed: &Believed) -> anyhow::Result<Result<Self, String>> {
        let path = Path::new(what);
        let (entry, dir) = if path.exists() {
            let file = if path.is_dir() { path.join(RELEASE) } else { path.to_path_buf() };
            let entry =
                read_bounded(&file, MAX_ENVELOPE as u64).with_context(|| format!("reading {}", file.display()))?;
            (entry, file.parent().map(Path::to_path_buf))
        } else {
            let Some(log) = log else { bail!("{what:?} is no file or directory; name a --log to look it up in") };
            match look_up(what, log, believed)? {
                Ok(entry) => (entry, None),
                Err(reason) => return Ok(Err(reason)),
            }
        };
        let (statement, release) = match believed.signed(&entry) {
            Ok(said) => said,
            Err(reason) => return Ok(Err(reason)),
        };
        let beside = dir.as_ref().map(|dir| dir.join(PROOF)).filter(|path| path.exists());
        let proof = match (beside, log) {
            (Some(path), _) => {
                let reading = || format!("reading {}", path.display());
                let bytes = read_bounded(&path, MAX_BYTES as u64).with_context(reading)?;
                Proof::parse(&bytes).with_context(reading)?
            }
            (None, Some(log)) => {
                let (directory, _copy) = opened(log, believed)?;
                let size = directory.checkpoint(believed.log_key()?)?.checkpoint().size;
                match directory.find(&leaf_hash(&entry), size)? {
                    Some(index) => directory.prove(index, believed.log_key()?)?,
                    None => return Ok(Err(format!("it is not among the {size} entries of the log"))),
                }
            }
            (None, None) => bail!("no proof of its place in a log: there is no {PROOF} beside it; name the --log"),
        };
        let accepted = match proof.verify(&entry, &believed.policy) {
            Ok(accepted) => accepted,
            Err(error) => return Ok(Err(format!("its place in the log: {error}"))),
        };
        let log = accepted.checkpoint.origin.clone();
        Ok(Ok(Self { entry, proof: proof.to_string(), statement, release, index: proof.index, log, dir }))
    }

    /// What its directory has of the signed files, hashed; the first that is not what was signed.
    pub(crate) fn files(&self) -> anyhow::Result<Result<Vec<&str>, Mismatch>> {
        let Some(dir) = &self.dir else { return Ok(Ok(Vec::new())) };
        let mut there = Vec::new();
        for subject in &self.statement.subjects {
            let path = dir.join(&subject.name);
            if !path.exists() {
                continue;
            }
            require_regular(&path)?;
            let (expected, found) = (subject.digest.sha256, Artifact::of(&path)?.sha256);
            if found != expected {
                let reason = format!("{}: signed was sha256 {expected}, found {found}", path.display());
                return Ok(Err(Mismatch { subject: Subject::new(subject.name.as_str(), found), reason }));
            }
            there.push(subject.name.as_str());
        }
        Ok(Ok(there))
    }

    /// The directory, if it has every signed file.
    pub(crate) fn whole(&self) -> Option<&Path> {
        let dir = self.dir.as_deref()?;
        self.statement.subjects.iter().all(|subject| dir.join(&subject.name).exists()).then_some(dir)
    }

    /// The directory, if it has the signed records of the stages.
    pub(crate) fn with_stages(&self) -> Option<&Path> {
        self.dir.as_deref().filter(|dir| self.statement.subject(STAGES).is_some() && dir.join(STAGES).exists())
    }
}

/// The log's public files: where they are, or a copy that lives as long as the second value.
fn opened(log: &Mirror, believed: &Believed) -> anyhow::Result<(Directory, Option<tempfile::TempDir>)> {
    Ok(match log {
        Mirror::Directory(dir) => (Directory::new(dir), None),
        Mirror::Url(_) => {
            let dir = tempfile::tempdir().context("creating a scratch directory")?;
            copy::copy(log, believed.log_key()?, dir.path())?;
            (Directory::new(dir.path()), Some(dir))
        }
    })
}

/// The entry that is a release with this index or version.
fn look_up(what: &str, log: &Mirror, believed: &Believed) -> anyhow::Result<Result<Vec<u8>, String>> {
    let (directory, _copy) = opened(log, believed)?;
    let size = directory.checkpoint(believed.log_key()?)?.checkpoint().size;
    if let Ok(index) = what.parse::<u64>() {
        return match index < size {
            true => Ok(Ok(directory.entry(index, size)?)),
            false => Ok(Err(format!("the log has {size} entries, none with index {index}"))),
        };
    }
    let version: Version = what.parse().with_context(|| format!("{what:?} is no file, directory, index or version"))?;
    for index in 0..size {
        let entry = directory.entry(index, size)?;
        if believed.signed(&entry).is_ok_and(|(_, release)| release.version == version) {
            return Ok(Ok(entry));
        }
    }
    ensure!(size > 0, "the log is empty");
    Ok(Err(format!("none of the {size} entries is a release {version} by those whom you believe")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_released_file_is_no_link() {
        let golden = include_bytes!("../../../log-client/src/statement/golden/release.json");
        let statement = Statement::parse(golden.trim_ascii_end()).unwrap();
        let Predicate::Release(release) = statement.predicate.clone() else { panic!() };
        let dir = tempfile::tempdir().unwrap();
        let published = Published {
            entry: Vec::new(),
            proof: String::new(),
            release: *release,
            index: 0,
            log: String::new(),
            dir: Some(dir.path().to_path_buf()),
            statement,
        };
        assert!(published.files().unwrap().is_ok_and(|there| there.is_empty()));
        let path = dir.path().join(&published.statement.subjects[0].name);
        symlink("/dev/null", &path).unwrap();
        assert!(published.files().err().unwrap().to_string().contains("expected a regular file"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(published.files().unwrap().is_err_and(|wrong| wrong.reason.contains("signed was sha256")));
    }
}
