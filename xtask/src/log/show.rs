//! A log for people: what each entry says. The log vouches for none of it; whether an entry counts is said if the log's
//! root keys are known.

use ::measure::Sha256;
use log_client::dsse::Envelope;
use log_client::edge::directory::Directory;
use log_client::edge::rules::Rules;
use log_client::keys::KeyId;
use log_client::lifecycle::Book;
use log_client::merkle::leaf_hash;
use log_client::statement::{Predicate, Rebuilt, Statement};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a reason that are shown.
const MAX_REASON: usize = 512;

/// Who says to have rebuilt a release, and what came out.
#[derive(Default)]
struct Rebuilds {
    reproduced: BTreeSet<KeyId>,
    differs: BTreeSet<KeyId>,
}

/// A line for each of the first `size` entries, and the same for programs.
pub(super) fn entries(directory: &Directory, size: u64, rules: &Rules) -> anyhow::Result<(String, serde_json::Value)> {
    // Twice over the log: what is said of a release stands behind it.
    let mut rebuilds = BTreeMap::<Sha256, Rebuilds>::new();
    for entry in directory.entries_of(size) {
        let Some((envelope, Statement { predicate: Predicate::Rebuild(rebuild), .. })) = read(&entry?) else {
            continue;
        };
        let signers = envelope.unverified_signatures().iter().map(|signature| signature.keyid);
        let about = rebuilds.entry(rebuild.release_sha256).or_default();
        match rebuild.outcome {
            Rebuilt::Reproduced => about.reproduced.extend(signers),
            Rebuilt::Differs => about.differs.extend(signers),
        }
    }
    let mut book = rules.roots.as_ref().map(|roots| Book::new(roots.keys().to_vec(), roots.quorum()));
    let (mut text, mut listed) = (String::new(), Vec::new());
    for (entry, index) in directory.entries_of(size).zip(0_u64..) {
        let entry = entry?;
        let (leaf, bytes) = (leaf_hash(&entry), entry.len());
        let (kind, says) = match read(&entry) {
            Some((envelope, statement)) => {
                (statement.predicate.predicate_type(), says(&statement, rebuilds.get(&envelope.sha256())))
            }
            None => ("not a statement", String::new()),
        };
        let verdict = book.as_mut().map(|book| book.push(&entry).map(drop));
        let counts = verdict.as_ref().map(Result::is_ok);
        // Some of its words are those of whoever wrote the entry: they must not move a terminal's cursor.
        let reason = verdict.and_then(Result::err).map(|error| printable(&format!("{:#}", anyhow::Error::new(error))));
        let note = reason.as_ref().map_or_else(String::new, |reason| format!("  DOES NOT COUNT: {reason}"));
        text += format!("{index:>8} {leaf} {bytes:>6} {kind} {says}{note}").trim_end();
        text.push('\n');
        listed.push(json!({
            "index": index, "leaf_sha256": leaf, "bytes": bytes, "kind": kind, "says": says, "counts": counts,
            "reason": reason,
        }));
    }
    Ok((text, listed.into()))
}

fn printable(text: &str) -> String {
    let shown = |c: char| if matches!(c, ' '..='~') { c.to_string() } else { c.escape_unicode().to_string() };
    text.chars().take(MAX_REASON).map(shown).collect()
}

fn read(entry: &[u8]) -> Option<(Envelope, Statement)> {
    let envelope = Envelope::parse(entry).ok()?;
    let statement = Statement::parse(envelope.unverified_payload()).ok()?;
    Some((envelope, statement))
}

fn says(statement: &Statement, rebuilds: Option<&Rebuilds>) -> String {
    let named = || {
        let subjects = statement.subjects.iter();
        subjects.map(|subject| format!("{} {}", subject.name, subject.digest.sha256)).collect::<Vec<_>>().join(", ")
    };
    match &statement.predicate {
        Predicate::Release(release) => {
            let rebuilt = |count: usize, verb| (count > 0).then(|| format!(", {verb} {count} keys"));
            let said = rebuilds.map(|rebuilds| {
                let reproduced = rebuilt(rebuilds.reproduced.len(), "rebuilt by");
                [reproduced, rebuilt(rebuilds.differs.len(), "said to differ by")].into_iter().flatten().collect()
            });
            let said: String = said.unwrap_or_else(|| ", not rebuilt by anyone".to_owned());
            let tee = release.tee;
            format!("{} counter {}, {tee}, until {}{said}", release.version, release.counter, release.not_after)
        }
        Predicate::Status(status) => {
            let live: Vec<_> = statement.live().map(|(version, _)| version).collect();
            format!(
                "{} until {}, live: {}; counter from {} on; {} chips; {} keys",
                status.sequence,
                status.not_after,
                live.join(" "),
                status.minimum_counter,
                status.fleet_chips,
                status.keys.len()
            )
        }
        Predicate::KeyAdd(_) => named(),
        Predicate::KeyRevoke(revoke) => format!("{} from entry {}: {}", named(), revoke.from_index, revoke.reason),
        Predicate::Fleet(fleet) => format!("{} chips under {}", fleet.chips, fleet.root_sha256),
        Predicate::Rebuild(rebuild) => {
            let outcome = if rebuild.outcome == Rebuilt::Reproduced { "reproduced" } else { "differs" };
            format!("{} {outcome} at {}", rebuild.version, rebuild.built_at)
        }
        _ => String::new(),
    }
}
