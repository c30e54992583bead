//! `cargo xtask log`: the transparency log in a directory.

mod events;
pub(crate) mod feed;
mod rules;
mod show;

pub(crate) use rules::OthersFlags;

use crate::key::PassphraseFlags;
use crate::report::{self, Answer};
use crate::workspace;
use ::measure::snp::report::ChipId;
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use log_client::bundle::MAX_ENTRY;
use log_client::edge::cosign;
use log_client::edge::directory::Directory;
use log_client::edge::log::{self, Log};
use log_client::edge::rules::Rules;
use log_client::edge::{fsck, serve, witness::Witness};
use log_client::keys::at_rest::SecretKey;
use log_client::merkle::leaf_hash;
use log_client::note::SignatureType;
use log_client::statement::Version;
use log_client::{Signer, VerifierKey};
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
        #[command(flatten)]
        rules: rules::RulesFlags,
    },
    /// Show whom the log's owner has laid down: root keys, mirrors, witnesses; or change it.
    Rules {
        /// The log's directory.
        dir: PathBuf,
        #[command(flatten)]
        rules: rules::RulesFlags,
        /// Ask no witness any more.
        #[arg(long, conflicts_with = "policy")]
        no_policy: bool,
        /// Ask no mirror any more, or only those given here.
        #[arg(long)]
        no_mirrors: bool,
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
        #[command(flatten)]
        others: OthersFlags,
    },
    /// Say what holds for now: which releases are live, which keys count, the fleet, the least firmware. Once a week.
    Status {
        #[command(flatten)]
        event: events::EventFlags,
        #[command(flatten)]
        status: events::StatusFlags,
    },
    /// Say the same, but for releases that are not to be trusted any more.
    Yank {
        #[command(flatten)]
        event: events::EventFlags,
        /// The release's version.
        #[arg(required = true)]
        version: Vec<Version>,
        #[command(flatten)]
        status: events::StatusFlags,
    },
    /// Let a key sign releases from now on, or, if it is a P-256 key, submissions.
    KeyAdd {
        #[command(flatten)]
        event: events::EventFlags,
        /// Its public half.
        #[arg(value_name = "FILE.pub")]
        public: PathBuf,
        /// What it is called; its purpose by default.
        #[arg(long)]
        name: Option<String>,
    },
    /// Let a release key sign nothing any more.
    KeyRevoke {
        #[command(flatten)]
        event: events::EventFlags,
        /// Its public half, or its key id.
        #[arg(value_name = "FILE.pub|SHA256")]
        public: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// From which entry on; the next one by default, an earlier one if the key was stolen before it was missed.
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
    },
    /// Say which chips are the fleet.
    Fleet {
        #[command(flatten)]
        event: events::EventFlags,
        /// The chip ids, 128 hexadecimal digits each, a line each, ascending.
        roster: PathBuf,
    },
    /// Print a chip's row of a roster, with the path to the root that a status names.
    Row {
        /// The chip ids.
        roster: PathBuf,
        /// The chip's id.
        chip: ChipId,
    },
    /// Write everything that a client needs of one release: it, the newest status, rebuilds, all proofs. Exit code 1 if no
    /// client can accept it.
    Feed(feed::FeedFlags),
    /// Sign what --draft has left with one key, or what others have signed so far with one more. Shows what is signed.
    Sign {
        /// The statement, or the envelope around it.
        file: PathBuf,
        #[command(flatten)]
        key: KeyFlags,
        /// Where the signed envelope goes; nothing is overwritten.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Add a statement that root keys have signed, in one place or in several.
    Submit {
        /// The log's directory.
        dir: PathBuf,
        /// What `log sign` has left: over one statement, each signature once.
        #[arg(required = true)]
        envelope: Vec<PathBuf>,
        #[command(flatten)]
        others: OthersFlags,
    },
    /// Sign what was added, have witnesses cosign it and publish it.
    Checkpoint {
        /// The log's directory.
        dir: PathBuf,
        #[command(flatten)]
        key: KeyFlags,
        #[command(flatten)]
        others: OthersFlags,
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

pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    match &flags.what {
        What::Init { dir, origin, key, rules } => {
            let log = Log::init_with(dir, &key.signer(origin, SignatureType::ED25519)?, rules.read()?)?;
            let (vkey, size) = (log.key().to_string(), log.tree().size);
            let reason = format!("{} holds the log {origin} with {size} entries", dir.display());
            Ok(Answer { yes: true, reason, text: format!("{vkey}\n"), payload: json!({ "vkey": vkey, "size": size }) })
        }
        What::Rules { dir, rules, no_policy, no_mirrors } => rules::lay_down(dir, rules, *no_policy, *no_mirrors),
        What::Append { dir, files, lines: None, others } => append(dir, files, others),
        What::Append { dir, lines: Some(lines), others, .. } => import(dir, lines, others),
        What::Status { event, status } => events::status(event, status, &[]),
        What::Yank { event, version, status } => events::status(event, status, version),
        What::KeyAdd { event, public, name } => events::key_add(event, public, name.as_deref()),
        What::KeyRevoke { event, public, reason, from } => events::key_revoke(event, public, *from, reason),
        What::Fleet { event, roster } => events::fleet(event, roster),
        What::Row { roster, chip } => events::row(roster, *chip),
        What::Feed(flags) => feed::run(flags),
        What::Sign { file, key, out } => events::sign(file, &key.key, &key.passphrase, out),
        What::Submit { dir, envelope, others } => events::submit(dir, envelope, others),
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

impl VkeyFlags {
    fn of(&self, dir: &Path) -> anyhow::Result<VerifierKey> {
        match &self.vkey {
            Some(vkey) => Ok(vkey.clone()),
            None => log::vkey(dir).context("the log is not one of ours: name its --vkey"),
        }
    }
}

fn append(dir: &Path, files: &[PathBuf], others: &OthersFlags) -> anyhow::Result<Answer> {
    let entries = files.iter().map(|file| entry(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let (log, indexes) = others.open_newest(dir)?.append(&entries)?;
    let size = log.tree().size;
    let text = indexes.iter().map(|index| format!("{index}\n")).collect();
    let reason = format!("{} entries are among the {size} of {}", files.len(), dir.display());
    Ok(Answer { yes: true, reason, text, payload: json!({ "indexes": indexes, "size": size }) })
}

fn import(dir: &Path, lines: &Path, others: &OthersFlags) -> anyhow::Result<Answer> {
    let file = File::open(lines).with_context(|| format!("opening {}", lines.display()))?;
    let log = others.open_newest(dir)?;
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

fn checkpoint(dir: &Path, key: &KeyFlags, others: &OthersFlags) -> anyhow::Result<Answer> {
    let signer = key.signer(log::vkey(dir)?.name(), SignatureType::ED25519)?;
    let (log, accepted) = cosign::checkpoint(others.open(dir)?, &signer, others.mirrors())?;
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
    // Root keys are known of our own logs.
    let rules = if dir.join(log::STATE).exists() { log::rules(dir)? } else { Rules::default() };
    let (text, entries) = show::entries(&directory, size, &rules)?;
    payload["entries"] = entries;
    Ok(Answer { yes: true, reason, text, payload })
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
