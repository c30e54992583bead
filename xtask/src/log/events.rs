//! What root keys say: a status, which releases are live, keys, the fleet. A statement follows from the log; it is signed
//! here, or drafted, signed on other machines and submitted.

use super::rules::OthersFlags;
use crate::key::{self, PassphraseFlags};
use crate::report::{self, Answer};
use crate::workspace;
use ::measure::Sha256;
use ::measure::snp::product::{Product, TcbVersion};
use ::measure::snp::report::ChipId;
use anyhow::{Context as _, bail, ensure};
use image::files::read_bounded;
use log_client::dsse::{Envelope, MAX_ENVELOPE};
use log_client::edge::log::Log;
use log_client::fleet::{MAX_CHIPS, Roster};
use log_client::keys::SigningKey;
use log_client::keys::at_rest::{AnyPublicKey, SecretKey};
use log_client::lifecycle::{Book, Changes};
use log_client::statement::{Role, Statement, TcbMinimum, Version};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Bytes of the largest roster.
const MAX_ROSTER: u64 = MAX_CHIPS as u64 * 129;
const DAY: u64 = 24 * 60 * 60;

/// Where the statement goes, and who signs it.
#[derive(Debug, clap::Args)]
pub(super) struct EventFlags {
    /// The log's directory.
    dir: PathBuf,
    /// A root key; as many as the log's root quorum.
    #[arg(long, value_name = "FILE", required_unless_present = "draft", conflicts_with = "draft")]
    key: Vec<PathBuf>,
    /// The file with the passphrase of each --key, in their order, or of all; without it the terminal is asked.
    #[arg(long, value_name = "FILE", requires = "key")]
    passphrase_file: Vec<PathBuf>,
    /// Write the statement to this file instead, for `log sign` on other machines and then `log submit`.
    #[arg(long, value_name = "FILE")]
    draft: Option<PathBuf>,
    #[command(flatten)]
    others: OthersFlags,
}

/// What changes with a status.
#[derive(Debug, clap::Args)]
pub(super) struct StatusFlags {
    /// For how many days it holds.
    #[arg(long, value_name = "DAYS", default_value_t = 7, value_parser = clap::value_parser!(u64).range(1..=7))]
    valid: u64,
    /// Releases with a smaller counter do not count from now on.
    #[arg(long, value_name = "COUNTER")]
    minimum_counter: Option<u64>,
    /// The least firmware of a product, such as Genoa:boot-loader=9,tee=0,snp=21,microcode=72; on Turin also fmc. Once given,
    /// those of the last status are replaced; other products are not accepted.
    #[arg(long, value_name = "PRODUCT:VERSIONS", value_parser = tcb_minimum)]
    tcb_minimum: Vec<TcbMinimum>,
}

/// Says what holds for now, without the releases `withdrawn`.
pub(super) fn status(event: &EventFlags, flags: &StatusFlags, withdrawn: &[Version]) -> anyhow::Result<Answer> {
    let mut tcb_minimums = flags.tcb_minimum.clone();
    tcb_minimums.sort_by_key(|minimum| minimum.product);
    let changes = Changes {
        withdrawn: withdrawn.iter().copied().collect(),
        minimum_counter: flags.minimum_counter,
        tcb_minimums: (!tcb_minimums.is_empty()).then_some(tcb_minimums),
    };
    let now = workspace::now()?;
    event.say(|book| Ok(book.next_status(now, flags.valid.saturating_mul(DAY), changes)?))
}

/// Adds a key. What it is for follows from its kind.
pub(super) fn key_add(event: &EventFlags, file: &Path, name: Option<&str>) -> anyhow::Result<Answer> {
    let (role, kind, bytes) = match key::public(file)? {
        AnyPublicKey::Ed25519(key) => (Role::Release, "release", key.as_bytes().to_vec()),
        AnyPublicKey::P256(key) => (Role::Submission, "submission", key.spki().to_vec()),
    };
    event.say(|book| Ok(book.key_add(name.unwrap_or(kind), role, bytes)?))
}

/// Revokes a release key.
pub(super) fn key_revoke(event: &EventFlags, key: &str, from: Option<u64>, reason: &str) -> anyhow::Result<Answer> {
    let id = match key.parse::<Sha256>() {
        Ok(id) => id,
        Err(_) => key::public(Path::new(key))?.id(),
    };
    event.say(|book| Ok(book.key_revoke(id, from, reason)?))
}

/// Says which chips are the fleet.
pub(super) fn fleet(event: &EventFlags, file: &Path) -> anyhow::Result<Answer> {
    let statement = Book::fleet(&roster(file)?)?;
    event.say(|_book| Ok(statement))
}

/// A chip's row of a roster.
pub(super) fn row(file: &Path, chip: ChipId) -> anyhow::Result<Answer> {
    let roster = roster(file)?;
    let payload = json!({ "chips": roster.chips(), "root_sha256": roster.root() });
    Ok(match roster.row(&chip) {
        Some(row) => {
            let reason = format!("chip {} of {}", row.index, roster.chips());
            Answer { yes: true, reason, text: row.to_string(), payload }
        }
        None => {
            let reason = format!("the chip is not among the {} of {}", roster.chips(), file.display());
            Answer { yes: false, reason, text: String::new(), payload }
        }
    })
}

/// Adds a signature to a draft, or to what others have signed.
pub(super) fn sign(file: &Path, key: &Path, passphrase: &PassphraseFlags, out: &Path) -> anyhow::Result<Answer> {
    let reading = || format!("reading {}", file.display());
    let bytes = read_bounded(file, MAX_ENVELOPE as u64).with_context(reading)?;
    let signed = Envelope::parse(&bytes).ok();
    let payload = signed.as_ref().map_or(bytes.as_slice(), Envelope::unverified_payload).to_vec();
    let statement = Statement::parse(&payload).with_context(reading)?;
    // Who signs sees what.
    report::explain(&format!("signing {}\n", String::from_utf8_lossy(&payload)));
    let key = ed25519(key, passphrase)?;
    let envelope = match signed {
        Some(envelope) => envelope.sign_also(&key)?,
        None => Envelope::sign(payload, &[&key])?,
    };
    key::create(out, &envelope.to_bytes())?;
    let signatures = envelope.unverified_signatures().len();
    let kind = statement.predicate.predicate_type();
    let reason = format!("{}: a {kind} with {signatures} signatures", out.display());
    let payload = json!({ "predicate_type": kind, "signatures": signatures, "key_sha256": key.public().id() });
    Ok(Answer { yes: true, text: format!("{reason}\n"), reason, payload })
}

/// Joins what was signed in different places, and adds it to the log.
pub(super) fn submit(dir: &Path, files: &[PathBuf], others: &OthersFlags) -> anyhow::Result<Answer> {
    let part = |file: &PathBuf| {
        let reading = || format!("reading {}", file.display());
        let bytes = read_bounded(file, MAX_ENVELOPE as u64).with_context(reading)?;
        Envelope::parse(&bytes).with_context(reading)
    };
    let parts = files.iter().map(part).collect::<anyhow::Result<Vec<_>>>()?;
    add(others.open_newest(dir)?, &Envelope::joined(&parts)?)
}

impl EventFlags {
    /// Makes a statement and signs it and adds it to the log, or drafts it.
    fn say(&self, statement: impl FnOnce(&Book) -> anyhow::Result<Statement>) -> anyhow::Result<Answer> {
        let log = self.others.open_newest(&self.dir)?;
        let statement = statement(&log.book()?)?;
        if let Some(draft) = &self.draft {
            key::create(draft, &statement.to_bytes())?;
            let kind = statement.predicate.predicate_type();
            let quorum = log.rules().roots.as_ref().map_or(0, |roots| roots.quorum().get());
            let reason = format!("{}: a {kind}, to be signed by {quorum} root keys", draft.display());
            let payload = json!({ "predicate_type": kind, "root_quorum": quorum });
            return Ok(Answer { yes: true, text: format!("{reason}\n"), reason, payload });
        }
        let files = self.passphrase_file.len();
        ensure!(
            [0, 1, self.key.len()].contains(&files),
            "expected one --passphrase-file for all keys or one for each of {}, found {files}",
            self.key.len()
        );
        let signers = self.key.iter().enumerate().map(|(at, key)| {
            let file = self.passphrase_file.get(at).or(self.passphrase_file.first());
            ed25519(key, &PassphraseFlags { passphrase_file: file.cloned() })
        });
        let signers = signers.collect::<anyhow::Result<Vec<_>>>()?;
        let envelope = Envelope::sign(statement.to_bytes(), &signers.iter().collect::<Vec<_>>())?;
        add(log, &envelope)
    }
}

fn add(log: Log, envelope: &Envelope) -> anyhow::Result<Answer> {
    let statement = Statement::parse(envelope.unverified_payload())?;
    ensure!(log.rules().roots.is_some(), "the log's rules name no root keys; see `log rules`");
    let (log, indexes) = log.append(&[envelope.to_bytes()])?;
    let [index] = indexes[..] else { bail!("expected one index of the log, found {indexes:?}") };
    let kind = statement.predicate.predicate_type();
    let reason = format!("a {kind} is entry {index} of {}; `log checkpoint` publishes it", log.key().name());
    let payload = json!({ "index": index, "predicate_type": kind, "sha256": envelope.sha256() });
    Ok(Answer { yes: true, reason, text: format!("{index}\n"), payload })
}

/// The roster in a file.
pub(super) fn roster(file: &Path) -> anyhow::Result<Roster> {
    let reading = || format!("reading {}", file.display());
    let text = String::from_utf8(read_bounded(file, MAX_ROSTER).with_context(reading)?).with_context(reading)?;
    text.parse().with_context(reading)
}

fn ed25519(file: &Path, passphrase: &PassphraseFlags) -> anyhow::Result<SigningKey> {
    match key::open(file, passphrase)? {
        SecretKey::Ed25519(key) => Ok(key),
        SecretKey::P256(_) => bail!("{}: expected an Ed25519 key, found one for submissions", file.display()),
    }
}

/// The least firmware of a product: every part of it, by name.
fn tcb_minimum(text: &str) -> anyhow::Result<TcbMinimum> {
    let (product, versions) = text.split_once(':').context("expected PRODUCT:VERSIONS")?;
    let known = Product::ALL.into_iter().find(|known| known.name() == product);
    let product = known.with_context(|| format!("expected Milan, Genoa or Turin, found {product:?}"))?;
    let mut given = std::collections::BTreeMap::new();
    for version in versions.split(',') {
        let (name, number) = version.split_once('=').with_context(|| format!("expected NAME=NUMBER: {version:?}"))?;
        let number: u8 = number.parse().with_context(|| format!("{name}: expected 0 to 255, found {number:?}"))?;
        ensure!(given.insert(name, number).is_none(), "{name} is there twice");
    }
    if product != Product::Turin {
        ensure!(given.insert("fmc", 0).is_none(), "{product} has no fmc");
    }
    let mut take = |name| given.remove(name).with_context(|| format!("{name} is missing"));
    let tcb = TcbVersion {
        fmc: take("fmc")?,
        boot_loader: take("boot-loader")?,
        tee: take("tee")?,
        snp: take("snp")?,
        microcode: take("microcode")?,
    };
    ensure!(given.is_empty(), "expected boot-loader, tee, snp, microcode, found {:?} besides", given.keys());
    Ok(TcbMinimum { product, tcb })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn least_firmware_in_one_word() {
        let read = |text| tcb_minimum(text).map_err(|error| format!("{error:#}"));
        let genoa = read("Genoa:boot-loader=9,tee=0,snp=21,microcode=72").unwrap();
        let tcb = TcbVersion { fmc: 0, boot_loader: 9, tee: 0, snp: 21, microcode: 72 };
        assert_eq!(genoa, TcbMinimum { product: Product::Genoa, tcb });
        assert_eq!(read("Turin:fmc=1,boot-loader=9,tee=0,snp=21,microcode=72").unwrap().tcb.fmc, 1);
        for (text, expected) in [
            ("Genoa", "PRODUCT:VERSIONS"),
            ("genoa:tee=0", "expected Milan, Genoa or Turin"),
            ("Genoa:boot-loader=9,tee=0,snp=21", "microcode is missing"),
            ("Turin:boot-loader=9,tee=0,snp=21,microcode=72", "fmc is missing"),
            ("Genoa:fmc=0,boot-loader=9,tee=0,snp=21,microcode=72", "Genoa has no fmc"),
            ("Genoa:boot-loader=9,tee=0,tee=1,snp=21,microcode=72", "tee is there twice"),
            ("Genoa:boot-loader=256,tee=0,snp=21,microcode=72", "expected 0 to 255"),
            ("Genoa:boot-loader=9,tee=0,snp=21,microcode=72,x=1", "found [\"x\"] besides"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
