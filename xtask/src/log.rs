//! `cargo xtask log`: the transparency log in a directory.

use crate::key::PassphraseFlags;
use crate::report::{self, Answer};
use crate::workspace;
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use log_client::bundle::MAX_ENTRY;
use log_client::dsse::Envelope;
use log_client::edge::cosign::{self, Mirror};
use log_client::edge::directory::Directory;
use log_client::edge::log::{self, Log};
use log_client::edge::{fsck, serve, witness::Witness};
use log_client::keys::at_rest::SecretKey;
use log_client::merkle::leaf_hash;
use log_client::note::SignatureType;
use log_client::policy::MAX_POLICY;
use log_client::statement::Statement;
use log_client::{Policy, Signer, SplitView, VerifierKey};
use serde_json::json;
use std::fs::File;
use std::io::BufReader;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// Keeps, checks and serves a log.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Begin a log, or take over a mirror of one after checking it.
    Init {
        /// The log's directory.
        dir: PathBuf,
        /// The log's name, for ever: where it will be, without https://.
        #[arg(long)]
        origin: String,
        #[command(flatten)]
        key: KeyFlags,
    },
    /// Add entries; they are on the disk when this ends. Prints the index of each file.
    Append {
        /// The log's directory.
        dir: PathBuf,
        /// Files, each of them an entry.
        #[arg(required_unless_present = "lines")]
        files: Vec<PathBuf>,
        /// A text each line of which is an entry, however many.
        #[arg(long, value_name = "FILE", conflicts_with = "files")]
        lines: Option<PathBuf>,
    },
    /// Sign what was added, have witnesses cosign it and publish it.
    Checkpoint {
        /// The log's directory.
        dir: PathBuf,
        #[command(flatten)]
        key: KeyFlags,
        #[command(flatten)]
        others: WitnessFlags,
    },
    /// Print the proof that an entry is in the log, as a .tlog-proof.
    Proof {
        /// The log's directory.
        dir: PathBuf,
        /// The entry's index.
        #[arg(required_unless_present = "entry")]
        index: Option<u64>,
        /// The entry, instead of its index.
        #[arg(long, value_name = "FILE", conflicts_with = "index")]
        entry: Option<PathBuf>,
        #[command(flatten)]
        vkey: VkeyFlags,
    },
    /// Rehash a log, ours or another's, from its entries to its signed root.
    Fsck {
        /// The log's directory.
        dir: PathBuf,
        #[command(flatten)]
        vkey: VkeyFlags,
    },
    /// Rehash a log and list its entries.
    Show {
        /// The log's directory.
        dir: PathBuf,
        #[command(flatten)]
        vkey: VkeyFlags,
    },
    /// Serve a log's public files over HTTP, until interrupted.
    Serve {
        /// The log's directory.
        dir: PathBuf,
        /// The address and port to listen on.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Be a witness of logs, until interrupted.
    Witness {
        /// Where the newest checkpoint of each log is kept. A witness from a backup is none.
        state: PathBuf,
        /// The witness's name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        key: KeyFlags,
        /// A log to witness, by its verifier key.
        #[arg(long, value_name = "VKEY", required = true)]
        log: Vec<VerifierKey>,
        /// The address and port to listen on.
        #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
}

/// A secret key and its passphrase.
#[derive(Debug, clap::Args)]
struct KeyFlags {
    /// The file that `key new` made.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    passphrase: PassphraseFlags,
}

#[derive(Debug, clap::Args)]
struct VkeyFlags {
    /// The log's verifier key; without it, that of our own log in the directory.
    #[arg(long, value_name = "VKEY")]
    vkey: Option<VerifierKey>,
}

/// Who besides the log's key makes a checkpoint acceptable.
#[derive(Debug, clap::Args)]
pub(crate) struct WitnessFlags {
    /// The witnesses and how many of them must sign, as a tlog-policy.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Accept a policy whose quorums need have no witness in common.
    #[arg(long, requires = "policy")]
    split_view_accepted: bool,
    /// Where a copy of the log is, a directory or address: if it has more than this one, nothing is signed.
    #[arg(long, value_name = "DIR|URL")]
    mirror: Vec<Mirror>,
}

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    match &flags.what {
        What::Init { dir, origin, key } => {
            let log = Log::init(dir, &key.signer(origin, SignatureType::ED25519)?)?;
            let (vkey, size) = (log.key().to_string(), log.tree().size);
            let reason = format!("{} holds the log {origin} with {size} entries", dir.display());
            Ok(Answer { yes: true, reason, text: format!("{vkey}\n"), payload: json!({ "vkey": vkey, "size": size }) })
        }
        What::Append { dir, files, lines: None } => append(dir, files),
        What::Append { dir, lines: Some(lines), .. } => import(dir, lines),
        What::Checkpoint { dir, key, others } => checkpoint(dir, key, others),
        What::Proof { dir, index, entry, vkey } => proof(dir, *index, entry.as_deref(), &vkey.of(dir)?),
        What::Fsck { dir, vkey } => check(dir, &vkey.of(dir)?, false),
        What::Show { dir, vkey } => check(dir, &vkey.of(dir)?, true),
        What::Serve { dir, listen } => {
            log::vkey(dir)?;
            serve::log(dir, &listening(*listen, "checkpoint")?)?;
            bail!("the server ended")
        }
        What::Witness { state, name, key, log, listen } => {
            let witness = Witness::open(state, key.signer(name, SignatureType::COSIGNATURE)?, log.clone())?;
            workspace::now()?;
            report::explain(&format!("witness {}\n", witness.key()));
            // A clock that is set to before 1970 meanwhile makes cosignatures that are too old to count.
            witness.serve(&listening(*listen, "add-checkpoint")?, || workspace::now().map_or(0, |now| now.0))?;
            bail!("the server ended")
        }
    }
}

impl KeyFlags {
    fn signer(&self, name: &str, kind: SignatureType) -> anyhow::Result<Signer> {
        match crate::key::open(&self.key, &self.passphrase)? {
            SecretKey::Ed25519(key) => Ok(Signer::with_key(name, kind, key)?),
            SecretKey::P256(_) => bail!("{}: expected an Ed25519 key, found a P-256 key", self.key.display()),
        }
    }
}

impl WitnessFlags {
    /// The policy, if there is one.
    pub(crate) fn policy(&self) -> anyhow::Result<Option<Policy>> {
        let split = if self.split_view_accepted { SplitView::Accepted } else { SplitView::Refused };
        let read = |path: &PathBuf| {
            let reading = || format!("reading {}", path.display());
            let bytes = read_bounded(path, MAX_POLICY as u64).with_context(reading)?;
            Policy::parse(&bytes, split).with_context(reading)
        };
        self.policy.as_ref().map(read).transpose()
    }

    /// Where copies of the log are.
    pub(crate) fn mirrors(&self) -> &[Mirror] {
        &self.mirror
    }
}

impl VkeyFlags {
    fn of(&self, dir: &Path) -> anyhow::Result<VerifierKey> {
        match &self.vkey {
            Some(vkey) => Ok(vkey.clone()),
            None => log::vkey(dir).context("the log is not one of ours: name its --vkey"),
        }
    }
}

fn append(dir: &Path, files: &[PathBuf]) -> anyhow::Result<Answer> {
    let entries = files.iter().map(|file| entry(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let (log, indexes) = Log::open(dir)?.append(&entries)?;
    let size = log.tree().size;
    let text = indexes.iter().map(|index| format!("{index}\n")).collect();
    let reason = format!("{} entries are among the {size} of {}", files.len(), dir.display());
    Ok(Answer { yes: true, reason, text, payload: json!({ "indexes": indexes, "size": size }) })
}

fn import(dir: &Path, lines: &Path) -> anyhow::Result<Answer> {
    let file = File::open(lines).with_context(|| format!("opening {}", lines.display()))?;
    let log = Log::open(dir)?;
    let before = log.tree().size;
    let mut read: usize = 0;
    let log = log.import(log::lines(BufReader::new(file)), |more| {
        read += more;
        report::explain(&format!("{read} entries\n"));
    });
    let size = log.with_context(|| format!("adding {}", lines.display()))?.tree().size;
    let reason = format!("{} of {read} entries are new; {} has {size}", size - before, dir.display());
    let payload = json!({ "entries": read, "new": size - before, "size": size });
    Ok(Answer { yes: true, text: format!("{reason}\n"), reason, payload })
}

fn checkpoint(dir: &Path, key: &KeyFlags, others: &WitnessFlags) -> anyhow::Result<Answer> {
    let policy = others.policy()?;
    let signer = key.signer(log::vkey(dir)?.name(), SignatureType::ED25519)?;
    let (log, accepted) = cosign::checkpoint(Log::open(dir)?, &signer, policy.as_ref(), &others.mirror)?;
    let published = log.directory().checkpoint(log.key())?;
    let witnesses = accepted.map_or(0, |accepted| accepted.witnesses.len());
    let size = published.checkpoint().size;
    let reason = format!("{} publishes {size} entries, cosigned by {witnesses} witnesses", dir.display());
    let payload = json!({
        "size": size,
        "root_sha256": published.checkpoint().root,
        "witnesses": witnesses,
        "checkpoint": published.note(),
    });
    Ok(Answer { yes: true, reason, text: published.note().to_owned(), payload })
}

fn proof(dir: &Path, index: Option<u64>, file: Option<&Path>, vkey: &VerifierKey) -> anyhow::Result<Answer> {
    let directory = Directory::new(dir);
    let size = directory.checkpoint(vkey)?.checkpoint().size;
    let index = match (index, file) {
        (Some(index), _) => Some(index).filter(|index| *index < size),
        (None, Some(file)) => directory.find(&leaf_hash(&entry(file)?), size)?,
        (None, None) => bail!("expected an index or --entry"),
    };
    let Some(index) = index else {
        let reason = format!("the entry is not among the {size} that {} publishes", dir.display());
        return Ok(Answer { yes: false, reason, text: String::new(), payload: json!({ "size": size }) });
    };
    let proof = directory.prove(index, vkey)?.to_string();
    let reason = format!("entry {index} is among the {size} of {}", vkey.name());
    Ok(Answer { yes: true, reason, payload: json!({ "index": index, "size": size, "proof": proof }), text: proof })
}

fn check(dir: &Path, vkey: &VerifierKey, show: bool) -> anyhow::Result<Answer> {
    let directory = Directory::new(dir);
    let signed = match fsck::fsck(&directory, vkey)? {
        Ok(signed) => signed,
        Err(damage) => {
            let reason = damage.to_string();
            return Ok(Answer { yes: false, reason, text: String::new(), payload: json!({}) });
        }
    };
    let (size, root) = (signed.checkpoint().size, signed.checkpoint().root);
    let reason = format!("{size} entries of {} hash to the signed root {root}", vkey.name());
    let mut payload = json!({ "origin": vkey.name(), "size": size, "root_sha256": root });
    if !show {
        return Ok(Answer { yes: true, text: format!("{reason}\n"), reason, payload });
    }
    let entries = (0..size).map(|index| {
        let entry = directory.entry(index, size)?;
        let kind = kind(&entry);
        anyhow::Ok((index, leaf_hash(&entry), entry.len(), kind))
    });
    let entries = entries.collect::<anyhow::Result<Vec<_>>>()?;
    let lines = entries.iter().map(|(index, leaf, bytes, kind)| format!("{index:>8} {leaf} {bytes:>6} {kind}\n"));
    let listed = entries
        .iter()
        .map(|(index, leaf, bytes, kind)| json!({ "index": index, "leaf_sha256": leaf, "bytes": bytes, "kind": kind }));
    payload["entries"] = listed.collect();
    Ok(Answer { yes: true, reason, text: lines.collect(), payload })
}

/// What kind of statement an entry says it is. The log vouches for none of it.
fn kind(entry: &[u8]) -> &'static str {
    let statement = Envelope::parse(entry).ok().and_then(|it| Statement::parse(it.unverified_payload()).ok());
    statement.map_or("not a statement", |statement| statement.predicate.predicate_type())
}

fn entry(file: &Path) -> anyhow::Result<Vec<u8>> {
    read_bounded(file, MAX_ENTRY as u64).with_context(|| format!("reading {}", file.display()))
}

fn listening(address: SocketAddr, path: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("listening on {address}"))?;
    let address = listener.local_addr().context("asking for the port")?;
    ensure!(address.port() != 0, "no port was given");
    report::explain(&format!("listening on http://{address}/{path}\n"));
    Ok(listener)
}
