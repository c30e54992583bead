//! `cargo xtask release --simulate`: a release for simulated hardware with everything around it, in one directory. The keys
//! are made for it and forgotten with the command, so that nobody ever adds to what they signed.

use super::statement::{self, Facts};
use super::{PROOF, RELEASE};
use crate::report::Answer;
use ::measure::Digest;
use ::measure::appraise::Time;
use ::measure::snp::product::{Product, TcbVersion};
use ::measure::snp::report::{ChipId, Report};
use anyhow::{Context as _, bail, ensure};
use image::pipeline::dist;
use image::pipeline::measured::Manifest;
use log_client::SplitView;
use log_client::dsse::Envelope;
use log_client::edge::cosign::Mirror;
use log_client::edge::feed::{Besides, Snapshot, Trust, Which};
use log_client::edge::log::Log;
use log_client::edge::rules::{Roots, Rules, Witnesses};
use log_client::fleet::Roster;
use log_client::keys::SigningKey;
use log_client::keys::at_rest::SecretKey;
use log_client::lifecycle::{Book, Changes};
use log_client::note::{SignatureType, Signer};
use log_client::statement::{Role, TcbMinimum};
use simulate::{Guest, Processor};
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;
use toml::{Table, Value};

/// What a client needs of the log beside the evidence.
pub(crate) const FEED: &str = "release.feed";
/// Whom a client has to believe for it.
pub(crate) const POLICY: &str = "policy.toml";
/// The log's directory.
const LOG: &str = "log";

/// The log's and the witness's names.
const ORIGIN: &str = "simulated.invalid/log";
const WITNESS: &str = "simulated.invalid/witness";
/// As long as a status can hold, in seconds.
const WEEK: u64 = 7 * 24 * 60 * 60;
/// How long a log on the disk may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the release that `facts` and `manifest` describe in the directory `out`, in place of one that is there.
pub(super) fn run(facts: &Facts<'_>, manifest: &Manifest, now: Time, out: &Path) -> anyhow::Result<Answer> {
    let known = !out.exists() || out.join(POLICY).exists();
    ensure!(known, "{} exists and is not of `release --simulate`; name another --out", out.display());
    let parent = out.parent().with_context(|| format!("{} names no directory", out.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let scratch = tempfile::tempdir_in(parent).with_context(|| format!("writing to {}", parent.display()))?;
    let at = |name: &str| scratch.path().join(name);
    let (tcb, chip) = hardware()?;
    let roster: Roster = format!("{chip}\n").parse()?;

    let (root, builder) = (key()?, key()?);
    let signer = Signer::with_key(ORIGIN, SignatureType::ED25519, key()?)?;
    let witness = Signer::with_key(WITNESS, SignatureType::COSIGNATURE, key()?)?;
    let believed = format!("log {}\nwitness only {}\nquorum only\n", signer.key(), witness.key());
    let roots = Roots::new(vec![root.public()], NonZeroUsize::MIN)?;
    let witnesses = Witnesses::new(believed.clone(), SplitView::Refused)?;
    let rules = Rules { roots: Some(roots.clone()), mirrors: vec![], witnesses: Some(witnesses.clone()) };
    fs::create_dir(at(LOG)).with_context(|| format!("creating {}", at(LOG).display()))?;
    let log = Log::init_with(&at(LOG), &signer, rules)?;

    let signed = |statement: log_client::statement::Statement, key| {
        anyhow::Ok(Envelope::sign(statement.to_bytes(), &[key])?.to_bytes())
    };
    let release = signed(statement::statement(facts, manifest, 1, facts.not_after)?, &builder)?;
    let key_add = log.book()?.key_add("release", Role::Release, builder.public().as_bytes().to_vec())?;
    let before = [signed(key_add, &root)?, signed(Book::fleet(&roster)?, &root)?, release.clone()];
    let (log, _) = log.append(&before)?;
    let least = vec![TcbMinimum { product: Product::Genoa, tcb }];
    let changes = Changes { tcb_minimums: Some(least), ..Changes::default() };
    let status = log.book()?.next_status(now, WEEK, changes)?;
    let (log, _) = log.append(&[signed(status, &root)?])?;
    let log = log.sign(&signer)?;
    // A witness that is part of the same program has nothing to compare.
    let cosignature = witness.sign(&log.signed().checkpoint().to_string(), now.0);
    log.publish(&[cosignature])?;

    let policy = witnesses.policy();
    let trust = Trust { policy, roots: &roots, seen: None, patience: PATIENCE };
    let snapshot = Snapshot::read(&Mirror::Directory(at(LOG)), &trust)?;
    let besides = Besides { chip: Some((&roster, chip)), ..Besides::default() };
    let feed = snapshot.feed(Which::Version(facts.version), &besides, policy)?;
    let proof = feed.release_proof.as_deref().context("a feed has the release's proof")?;

    for (name, bytes) in [
        (RELEASE, &release[..]),
        (PROOF, proof),
        (FEED, &feed.to_bytes()?),
        (POLICY, self::policy(&roots, &believed)?.as_bytes()),
    ] {
        fs::write(at(name), bytes).with_context(|| format!("writing {}", at(name).display()))?;
    }
    let built = statement::files(manifest);
    let mut files: Vec<_> = built.iter().map(|name| (name.as_str(), facts.dist.join(name))).collect();
    files.extend([RELEASE, PROOF, FEED, POLICY].map(|name| (name, at(name))));
    dist::replace(out, &files)?;
    fs::rename(at(LOG), out.join(LOG)).with_context(|| format!("moving the log to {}", out.display()))?;

    let sha256 = ::measure::Sha256::of(&release);
    let until = Time(now.0.saturating_add(WEEK));
    let reason =
        format!("released {} for simulated hardware, for clients with its policy until {until}", facts.version);
    let payload = serde_json::json!({
        "release": out, "release_sha256": sha256, "version": facts.version.to_string(), "policy": out.join(POLICY),
        "not_after": until.0,
    });
    Ok(Answer { yes: true, reason, text: format!("{sha256}  {}\n", out.join(RELEASE).display()), payload })
}

/// The firmware and the chip that `launch --simulate` pretends to have.
fn hardware() -> anyhow::Result<(TcbVersion, ChipId)> {
    let guest = Guest { policy: 0, measurement: [0; 48], host_data: [0; 32] };
    let report = Processor::patched(simulate::Product::Genoa, guest).report([0; 64]);
    let report = Report::parse(&report)?;
    let (tcb, _reserved) = TcbVersion::of_report(report.reported_tcb(), Product::Genoa);
    Ok((tcb, report.chip_id()))
}

fn key() -> anyhow::Result<SigningKey> {
    match SecretKey::generate_ed25519()? {
        SecretKey::Ed25519(key) => Ok(key),
        SecretKey::P256(_) => bail!("expected an Ed25519 key"),
    }
}

/// What clients of the release demand: policies/strict.toml, but for what a simulation or an hour cannot have.
fn policy(roots: &Roots, witnesses: &str) -> anyhow::Result<String> {
    let mut policy: Table = include_str!("../../../policies/strict.toml").parse()?;
    let any = || Value::from("any");
    let keys = roots.keys().iter().map(|key| Digest::new(*key.as_bytes()).to_string()).collect::<Vec<_>>();
    let quorum = i64::try_from(roots.quorum().get())?;
    for (path, value) in [
        ("name", Value::from("demonstration")),
        ("simulated", Value::from("accepted")),
        ("tdx", Value::from("refused")),
        // The simulated revocation list is as old as the program.
        ("snp.crl-max-age", any()),
        ("release.host-resistant", any()),
        ("release.root-keys", Value::from(keys)),
        ("release.root-quorum", Value::from(quorum)),
        ("release.rebuilder-quorum", Value::from(0)),
        ("release.log.witnesses", Value::from(witnesses)),
        // The one witness has signed once.
        ("release.log.checkpoint-max-age", Value::from(i64::try_from(WEEK)?)),
        ("release.log.minimum-age", Value::from(0)),
    ] {
        let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
        let names = table.split('.').filter(|name| !name.is_empty());
        let table = names.into_iter().try_fold(&mut policy, |table, name| table.get_mut(name)?.as_table_mut());
        let place = table.and_then(|table| table.get_mut(name));
        *place.with_context(|| format!("policies/strict.toml: expected the key {path}, found none"))? = value;
    }
    Ok(format!(
        "# policies/strict.toml for one release on simulated hardware, by `cargo xtask release --simulate`.\n{policy}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not demanded is what stands in `policy`, and no more.
    #[test]
    fn the_policy_is_one() {
        let (root, log, witness) = (key().unwrap(), key().unwrap(), key().unwrap());
        let roots = Roots::new(vec![root.public()], NonZeroUsize::MIN).unwrap();
        let log = Signer::with_key(ORIGIN, SignatureType::ED25519, log).unwrap();
        let witness = Signer::with_key(WITNESS, SignatureType::COSIGNATURE, witness).unwrap();
        let witnesses = format!("log {}\nwitness only {}\nquorum only\n", log.key(), witness.key());
        let text = policy(&roots, &witnesses).unwrap();
        let read = verify::Policy::parse(POLICY, text.as_bytes()).unwrap();
        let release = read.release.is().unwrap();
        assert_eq!((release.root_keys.len(), release.root_quorum, release.rebuilder_quorum), (1, NonZeroUsize::MIN, 0));
        assert!(matches!(release.log.is().unwrap().witnesses, verify::policy::Witnesses::Of(_)));
    }
}
