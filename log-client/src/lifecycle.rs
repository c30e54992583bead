//! What a release is worth now: its key, its status, the fleet, and who has rebuilt it.
//!
//! Everything hangs on a status that root keys have signed; it names the keys in force, the releases that are live and the
//! fleet's root. A rule that needs it is not performed without a fresh one. Proofs of the log are verified elsewhere: each
//! entry comes with its index, or with the reason why it has none.

mod book;
mod events;
mod newest;

pub use book::{Book, BookError, Changes};
pub use events::{Event, EventError, Ledger, Logged};

use crate::dsse::Envelope;
use crate::fleet::Row;
use crate::keys::{KeyId, PublicKey};
use crate::statement::{InForce, Predicate, Rebuilt, Release, Statement, Status};
use measure::Sha256;
use measure::appraise::{Finding, Rule, Time};
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::ChipId;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;

/// By how much the issuer's clock may be ahead of ours, in seconds.
pub const CLOCK_SKEW: u64 = 300;

/// An entry of the log.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// The entry's bytes.
    pub bytes: &'a [u8],
    /// Its index, once a proof has been verified.
    pub index: Result<u64, Unproved>,
}

/// Why something that only a proof can say is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unproved {
    /// There is no proof, or a wrong one; this is why.
    Wrong(String),
    /// It cannot be decided before this rule passes.
    Waits(Rule),
    /// Nobody asked for a proof.
    NotAsked,
}

/// What rules look at. Nothing in it has been believed yet, but what is proved and what the hardware said.
#[derive(Debug, Clone)]
pub struct Evidence<'a> {
    /// The release.
    pub release: Option<Entry<'a>>,
    /// The status.
    pub status: Option<Entry<'a>>,
    /// Statements of those who have rebuilt the release.
    pub rebuilds: Vec<Entry<'a>>,
    /// All entries behind the release.
    pub tail: Result<&'a [Vec<u8>], Unproved>,
    /// The chip and its TCB, as the hardware's report says; `None` if the report was not verified, or is not of SEV-SNP.
    pub platform: Option<(Product, TcbVersion, ChipId)>,
    /// The chip's row of the roster; else why there is none.
    pub row: Result<Row, String>,
    /// The highest numbers this client has ever accepted.
    pub seen: Seen,
}

/// What a client remembers, so that nobody shows it an older world; zeros at first. Who loses it relies on the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest counter of a release.
    pub counter: u64,
    /// The highest sequence number of a status.
    pub sequence: u64,
}

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Demands<'a> {
    /// The root keys.
    pub roots: &'a [PublicKey],
    /// How many of them must have signed.
    pub threshold: NonZeroUsize,
    /// The oldest status, in seconds; `None` for any.
    pub status_max_age: Option<u64>,
    /// Whether the chip must be in the fleet.
    pub fleet: bool,
    /// Who is believed about rebuilds: a key for each organisation.
    pub rebuilders: &'a BTreeMap<String, PublicKey>,
    /// How many of them must have rebuilt the release.
    pub rebuilder_quorum: usize,
    /// Whether no newer release may be in the log, although the status may call older ones live, too.
    pub newest: bool,
}

const STATUS_PRESENT: Rule = Rule { id: "status.present", holds: "a status came with the evidence" };
const STATUS_FORM: Rule = Rule { id: "status.form", holds: "it is a status statement" };
const STATUS_SIGNATURE: Rule = Rule { id: "status.signature", holds: "enough root keys have signed it" };
const STATUS_INCLUSION: Rule = Rule { id: "status.inclusion", holds: "it is in the log" };
const STATUS_VALIDITY: Rule = Rule { id: "status.validity", holds: "it has been issued and has not expired" };
const STATUS_AGE: Rule = Rule { id: "status.age", holds: "it is not older than the policy allows" };
const STATUS_ROLLBACK: Rule = Rule { id: "status.rollback", holds: "no newer one has been seen" };
const STATUS_TCB: Rule = Rule { id: "status.tcb", holds: "the platform has at least the firmware it asks for" };
const RELEASE_PRESENT: Rule = Rule { id: "release.present", holds: "a release came with the evidence" };
const RELEASE_FORM: Rule = Rule { id: "release.form", holds: "it is an envelope around a release statement" };
const RELEASE_INCLUSION: Rule = Rule { id: "log.inclusion", holds: "it is in the log" };
const RELEASE_SIGNATURE: Rule = Rule { id: "release.signature", holds: "it is signed by a key in force" };
const RELEASE_LIVE: Rule = Rule { id: "release.live", holds: "the status calls it live" };
const RELEASE_SUPERSEDED: Rule = Rule { id: "release.superseded", holds: "the status still accepts its counter" };
const RELEASE_ROLLBACK: Rule = Rule { id: "release.rollback", holds: "no newer one has been seen" };
const RELEASE_REBUILDERS: Rule = Rule { id: "release.rebuilders", holds: "enough organisations have rebuilt it" };
const FLEET_ROW: Rule = Rule { id: "fleet.row", holds: "the chip is in the fleet that the status names" };

/// Every rule decided here, in the order of the findings. `release.present`, `release.form` and `log.inclusion` are others' to
/// decide.
pub const RULES: [Rule; 16] = [
    STATUS_PRESENT,
    STATUS_FORM,
    STATUS_SIGNATURE,
    STATUS_INCLUSION,
    STATUS_VALIDITY,
    STATUS_AGE,
    STATUS_ROLLBACK,
    STATUS_TCB,
    RELEASE_SIGNATURE,
    RELEASE_LIVE,
    RELEASE_SUPERSEDED,
    RELEASE_ROLLBACK,
    RELEASE_REBUILDERS,
    FLEET_ROW,
    newest::STATUS,
    newest::RELEASE,
];

/// One finding for each of [`RULES`].
pub fn appraise(evidence: &Evidence<'_>, demands: &Demands<'_>, now: Time) -> Vec<Finding> {
    let mut status = Known::status(evidence, demands);
    let release = Known::release(evidence);
    let mut findings = vec![
        status_present(evidence),
        status_form(&status),
        status_signature(&status, demands),
        status_inclusion(evidence),
        status_validity(&status, now),
        status_age(&status, demands, now),
        status_rollback(&status, evidence.seen),
    ];
    status.stale = findings.iter().find(|finding| !finding.permits()).map(|finding| finding.rule);
    findings.extend([
        status_tcb(&status, evidence),
        release_signature(&release, &status),
        release_live(&release, &status),
        release_superseded(&release, &status),
        release_rollback(&release, evidence.seen),
        release_rebuilders(&release, evidence, demands),
        fleet_row(&status, evidence, demands),
    ]);
    findings.extend(newest::find(&release, &status, evidence, demands));
    debug_assert!(findings.iter().map(|finding| finding.rule).eq(RULES));
    findings
}

/// A statement of the kind that is asked for, or the rule that stands in the way.
struct Known<P> {
    read: Result<Read<P>, Rule>,
    /// The rule that says whether it may be believed, if it does not.
    doubt: Option<Rule>,
    /// The rule that says whether it says something about now, if it does not.
    stale: Option<Rule>,
    /// Why it has not the form.
    reason: String,
}

struct Read<P> {
    envelope: Envelope,
    index: Result<u64, Unproved>,
    statement: Statement,
    predicate: P,
}

impl<P> Known<P> {
    fn new(entry: Option<&Entry<'_>>, [present, form]: [Rule; 2], take: impl FnOnce(&Predicate) -> Option<P>) -> Self {
        let known = |read, reason| Self { read, doubt: None, stale: None, reason };
        let Some(Entry { bytes, index }) = entry else { return known(Err(present), String::new()) };
        match read(bytes) {
            Err(reason) => known(Err(form), reason),
            Ok((envelope, statement)) => match take(&statement.predicate) {
                Some(predicate) => {
                    known(Ok(Read { envelope, index: index.clone(), statement, predicate }), String::new())
                }
                None => known(Err(form), format!("it is a {}", statement.predicate.predicate_type())),
            },
        }
    }

    /// What it says, whoever says so.
    fn said(&self) -> Result<&Read<P>, Rule> {
        self.read.as_ref().map_err(|rule| *rule)
    }

    /// What it says, if that may be believed.
    fn believed(&self) -> Result<&Read<P>, Rule> {
        self.said().and_then(|read| self.doubt.map_or(Ok(read), Err))
    }

    /// What it says, if that may be believed of now.
    fn current(&self) -> Result<&Read<P>, Rule> {
        self.said().and_then(|read| self.stale.map_or(Ok(read), Err))
    }
}

/// The statement of an entry, whoever signed it.
fn read(entry: &[u8]) -> Result<(Envelope, Statement), String> {
    let envelope = Envelope::parse(entry).map_err(|error| error.to_string())?;
    let statement = Statement::parse(envelope.unverified_payload()).map_err(|error| error.to_string())?;
    Ok((envelope, statement))
}

impl Known<Status> {
    fn status(evidence: &Evidence<'_>, demands: &Demands<'_>) -> Self {
        let rules = [STATUS_PRESENT, STATUS_FORM];
        let mut status = Self::new(evidence.status.as_ref(), rules, |predicate| match predicate {
            Predicate::Status(status) => Some(status.clone()),
            _ => None,
        });
        let signed = |read: &Read<_>| read.envelope.verify(demands.roots, demands.threshold).is_ok();
        status.doubt = (!status.read.as_ref().is_ok_and(signed)).then_some(STATUS_SIGNATURE);
        status
    }
}

impl Known<Release> {
    fn release(evidence: &Evidence<'_>) -> Self {
        Self::new(evidence.release.as_ref(), [RELEASE_PRESENT, RELEASE_FORM], |predicate| match predicate {
            Predicate::Release(release) => Some(release.as_ref().clone()),
            _ => None,
        })
    }
}

fn status_present(evidence: &Evidence<'_>) -> Finding {
    match &evidence.status {
        Some(entry) => Finding::passed(STATUS_PRESENT, format!("sha256 {}", Sha256::of(entry.bytes)), ""),
        None => Finding::failed(STATUS_PRESENT, "none", "", "the evidence came without one"),
    }
}

fn status_form(status: &Known<Status>) -> Finding {
    match status.said() {
        Ok(read) => Finding::passed(STATUS_FORM, format!("status {}", read.predicate.sequence), ""),
        Err(STATUS_FORM) => Finding::failed(STATUS_FORM, "", "", status.reason.clone()),
        Err(rule) => Finding::waits_for(STATUS_FORM, rule),
    }
}

fn status_signature(status: &Known<Status>, demands: &Demands<'_>) -> Finding {
    let required = format!("{} of {} root keys", demands.threshold, demands.roots.len());
    match status.said().map(|read| (&read.envelope, read.envelope.verify(demands.roots, demands.threshold))) {
        Err(rule) => Finding::waits_for(STATUS_SIGNATURE, rule),
        Ok((_, Ok(signers))) => Finding::passed(STATUS_SIGNATURE, listed(&signers), required),
        Ok((envelope, Err(error))) => {
            Finding::failed(STATUS_SIGNATURE, signatures(envelope), required, error.to_string())
        }
    }
}

fn status_inclusion(evidence: &Evidence<'_>) -> Finding {
    match evidence.status.as_ref().map(|entry| &entry.index) {
        None => Finding::waits_for(STATUS_INCLUSION, STATUS_PRESENT),
        Some(Ok(index)) => Finding::passed(STATUS_INCLUSION, format!("entry {index}"), ""),
        Some(Err(Unproved::Wrong(reason))) => Finding::failed(STATUS_INCLUSION, "", "a proof", reason.as_str()),
        Some(Err(Unproved::Waits(rule))) => Finding::waits_for(STATUS_INCLUSION, *rule),
        Some(Err(Unproved::NotAsked)) => Finding::not_asked(STATUS_INCLUSION, "", "the policy asks for no log"),
    }
}

fn status_validity(status: &Known<Status>, now: Time) -> Finding {
    let status = match status.believed() {
        Ok(read) => &read.predicate,
        Err(rule) => return Finding::waits_for(STATUS_VALIDITY, rule),
    };
    let issued = status.issued_at.0 <= now.0.saturating_add(CLOCK_SKEW);
    let reason = if issued { "it has expired" } else { "it is from the future" };
    let observed = format!("from {} to {}", status.issued_at, status.not_after);
    Finding::of(STATUS_VALIDITY, issued && now <= status.not_after, observed, format!("covers {now}"), reason)
}

fn status_age(status: &Known<Status>, demands: &Demands<'_>, now: Time) -> Finding {
    let status = match status.believed() {
        Ok(read) => &read.predicate,
        Err(rule) => return Finding::waits_for(STATUS_AGE, rule),
    };
    let age = now.0.saturating_sub(status.issued_at.0);
    match demands.status_max_age {
        None => Finding::not_asked(STATUS_AGE, format!("{age} s"), "the policy accepts any"),
        Some(max) => {
            Finding::of(STATUS_AGE, age <= max, format!("{age} s"), format!("at most {max} s"), "it is too old")
        }
    }
}

fn status_rollback(status: &Known<Status>, seen: Seen) -> Finding {
    match status.believed() {
        Err(rule) => Finding::waits_for(STATUS_ROLLBACK, rule),
        Ok(read) => at_least(STATUS_ROLLBACK, read.predicate.sequence, seen.sequence, "a newer status has been seen"),
    }
}

fn status_tcb(status: &Known<Status>, evidence: &Evidence<'_>) -> Finding {
    let status = match status.current() {
        Ok(read) => &read.predicate,
        Err(rule) => return Finding::waits_for(STATUS_TCB, rule),
    };
    let Some((product, tcb, _)) = evidence.platform else {
        return Finding::missing(STATUS_TCB, "", "", "what the platform has is not known");
    };
    match status.tcb_minimums.iter().find(|minimum| minimum.product == product) {
        None => Finding::failed(STATUS_TCB, product.name(), "", "the status accepts no such product"),
        Some(minimum) => {
            let below: Vec<_> = tcb.below(minimum.tcb).collect();
            let reason = format!("too old: {}", below.join(", "));
            Finding::of(STATUS_TCB, below.is_empty(), tcb.to_string(), format!("at least {}", minimum.tcb), reason)
        }
    }
}

fn release_signature(release: &Known<Release>, status: &Known<Status>) -> Finding {
    let (entry, keys) = match (release.said(), status.current()) {
        (Ok(release), Ok(status)) => (release, &status.predicate.keys),
        (Err(rule), _) | (_, Err(rule)) => return Finding::waits_for(RELEASE_SIGNATURE, rule),
    };
    let Ok(index) = entry.index else { return Finding::waits_for(RELEASE_SIGNATURE, RELEASE_INCLUSION) };
    let in_force: Vec<_> = keys.iter().filter(|key| key.covers(index)).map(|key| key.public_key).collect();
    let required = format!("a key in force at entry {index}");
    match entry.envelope.verify(&in_force, NonZeroUsize::MIN) {
        Ok(signers) => Finding::passed(RELEASE_SIGNATURE, listed(&signers), required),
        Err(error) => {
            let out_of_force = |key: &&InForce| !key.covers(index) && signed_by(&entry.envelope, &key.public_key.id());
            let reason = keys
                .iter()
                .find(out_of_force)
                .map_or_else(|| error.to_string(), |key| format!("key {} is not in force there", key.public_key.id()));
            Finding::failed(RELEASE_SIGNATURE, signatures(&entry.envelope), required, reason)
        }
    }
}

fn release_live(release: &Known<Release>, status: &Known<Status>) -> Finding {
    let (release, statement) = match (release.said(), status.current()) {
        (Ok(release), Ok(status)) => (release, &status.statement),
        (Err(rule), _) | (_, Err(rule)) => return Finding::waits_for(RELEASE_LIVE, rule),
    };
    let (version, sha256) = (release.predicate.version.to_string(), release.envelope.sha256());
    let live = statement.live().find(|(live, _)| *live == version);
    let reason = match live {
        None => "the status does not name it: it was withdrawn, or never announced",
        Some(_) => "the status names another release of this version",
    };
    let versions: Vec<_> = statement.live().map(|(version, _)| version).collect();
    let holds = live.is_some_and(|(_, live)| live == sha256);
    Finding::of(RELEASE_LIVE, holds, version, versions.join(", "), reason)
}

fn release_superseded(release: &Known<Release>, status: &Known<Status>) -> Finding {
    match (release.said(), status.current()) {
        (Ok(release), Ok(status)) => {
            let (found, least) = (release.predicate.counter, status.predicate.minimum_counter);
            at_least(RELEASE_SUPERSEDED, found, least, "the status does not accept it any more")
        }
        (Err(rule), _) | (_, Err(rule)) => Finding::waits_for(RELEASE_SUPERSEDED, rule),
    }
}

fn release_rollback(release: &Known<Release>, seen: Seen) -> Finding {
    match release.said() {
        Err(rule) => Finding::waits_for(RELEASE_ROLLBACK, rule),
        Ok(read) => at_least(RELEASE_ROLLBACK, read.predicate.counter, seen.counter, "a newer release has been seen"),
    }
}

fn release_rebuilders(release: &Known<Release>, evidence: &Evidence<'_>, demands: &Demands<'_>) -> Finding {
    let (sha256, commit) = match release.said() {
        Ok(release) => (release.envelope.sha256(), release.predicate.commit),
        Err(rule) => return Finding::waits_for(RELEASE_REBUILDERS, rule),
    };
    let reproduced = |entry: &Entry<'_>| {
        let (envelope, statement) = read(entry.bytes).ok()?;
        let Predicate::Rebuild(said) = statement.predicate else { return None };
        let same = said.release_sha256 == sha256 && said.commit == commit && said.outcome == Rebuilt::Reproduced;
        same.then_some(envelope)
    };
    let logged = |rebuild: &&Entry<'_>| matches!(rebuild.index, Ok(_) | Err(Unproved::NotAsked));
    let logged = evidence.rebuilds.iter().filter(logged);
    let agreeing: Vec<_> = logged.filter_map(reproduced).collect();
    let by = |key: &PublicKey| {
        agreeing.iter().any(|envelope| envelope.verify(std::slice::from_ref(key), NonZeroUsize::MIN).is_ok())
    };
    // One key under two names is one organisation.
    let names: BTreeMap<KeyId, &str> =
        demands.rebuilders.iter().filter(|(_, key)| by(key)).map(|(name, key)| (key.id(), name.as_str())).collect();
    let observed = names.values().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(", ");
    match demands.rebuilder_quorum {
        0 => Finding::not_asked(RELEASE_REBUILDERS, observed, "the policy asks for none"),
        quorum => {
            let undecided = evidence.rebuilds.iter().find_map(|rebuild| match rebuild.index {
                Err(Unproved::Waits(rule)) => Some(rule),
                _ => None,
            });
            if let Some(rule) = undecided.filter(|_| names.len() < quorum) {
                return Finding::waits_for(RELEASE_REBUILDERS, rule);
            }
            let required = format!("{quorum} of {}", demands.rebuilders.len());
            Finding::of(RELEASE_REBUILDERS, names.len() >= quorum, observed, required, "too few have logged a rebuild")
        }
    }
}

fn fleet_row(status: &Known<Status>, evidence: &Evidence<'_>, demands: &Demands<'_>) -> Finding {
    let chip = evidence.platform.map(|(_, _, chip)| chip);
    let observed = chip.map_or_else(String::new, |chip| chip.to_string());
    if !demands.fleet {
        return Finding::not_asked(FLEET_ROW, observed, "the policy accepts any");
    }
    let status = match status.current() {
        Ok(read) => &read.predicate,
        Err(rule) => return Finding::waits_for(FLEET_ROW, rule),
    };
    let required = format!("one of the {} chips under the root {}", status.fleet_chips, status.fleet_root_sha256);
    let Some(chip) = chip else {
        return Finding::missing(FLEET_ROW, observed, required, "which chip it is is not known");
    };
    let row = match &evidence.row {
        Ok(row) => row,
        Err(reason) => return Finding::failed(FLEET_ROW, observed, required, reason.as_str()),
    };
    if row.chip != chip {
        return Finding::failed(FLEET_ROW, observed, required, format!("the row is that of chip {}", row.chip));
    }
    match row.verify(status.fleet_chips, &status.fleet_root_sha256) {
        Ok(()) => Finding::passed(FLEET_ROW, observed, required),
        Err(error) => Finding::failed(FLEET_ROW, observed, required, error.to_string()),
    }
}

fn at_least(rule: Rule, found: u64, least: u64, reason: &str) -> Finding {
    Finding::of(rule, found >= least, found.to_string(), format!("at least {least}"), reason)
}

fn listed(keys: &[KeyId]) -> String {
    keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn signatures(envelope: &Envelope) -> String {
    let keys: Vec<_> = envelope.unverified_signatures().iter().map(|signature| signature.keyid).collect();
    listed(&keys)
}

fn signed_by(envelope: &Envelope, key: &KeyId) -> bool {
    envelope.unverified_signatures().iter().any(|signature| signature.keyid == *key)
}

#[cfg(test)]
mod tests;
