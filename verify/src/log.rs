//! Rules over what a log says: proofs, the checkpoint that all of them end at, and how it fits what was seen before.

use crate::appraise::Request;
use crate::memory::Memory;
use crate::policy::{LogPolicy, Need, OrAny, Witnesses};
use crate::release::{PRESENT, any, passed};
use log_client::lifecycle::{CLOCK_SKEW, Seen, Unproved};
use log_client::merkle::{leaf_hash, root_with_tail, verify_consistency, verify_inclusion};
use log_client::tail::{Consistency, Tail};
use log_client::{Accepted, Feed, Proof};
use measure::appraise::{Finding, Rule, Time};

const PROOF: Rule = Rule { id: "log.proof", holds: "a proof of its place in a log came with it" };
const WITNESSES: Rule =
    Rule { id: "log.witnesses", holds: "the log and enough of its witnesses signed the checkpoint" };
const INCLUSION: Rule = Rule { id: "log.inclusion", holds: "it is in the log" };
const ONE_CHECKPOINT: Rule = Rule { id: "log.one-checkpoint", holds: "all proofs end at one and the same checkpoint" };
const CHECKPOINT_AGE: Rule = Rule { id: "log.checkpoint-age", holds: "what the log says of it is recent" };
const MINIMUM_AGE: Rule = Rule { id: "log.minimum-age", holds: "it has been in the log for long enough" };
const ROLLBACK: Rule = Rule { id: "log.rollback", holds: "no larger tree of this log has been seen" };
const CONSISTENCY: Rule = Rule { id: "log.consistency", holds: "the tree begins with the one that has been seen" };
const TAIL: Rule = Rule { id: "log.tail", holds: "every entry behind it came with it" };

/// A rule and the function that decides it.
type Check = (Rule, fn(&Log<'_>) -> Finding);

/// The rules that a policy without a log does not ask, in the order of findings.
const CHECKS: [Check; 9] = [
    (PROOF, |log| log.proof().map_or_else(|found| found, |proof| passed(PROOF, format!("index {}", proof.index)))),
    (WITNESSES, |log| log.checkpoint().map_or_else(|found| found, |(_, seen)| passed(WITNESSES, shown(seen)))),
    (INCLUSION, |log| log.inclusion()),
    (ONE_CHECKPOINT, one_checkpoint),
    (CHECKPOINT_AGE, checkpoint_age),
    (MINIMUM_AGE, minimum_age),
    (ROLLBACK, rollback),
    (CONSISTENCY, consistency),
    (TAIL, |log| log.tail_finding()),
];

/// Every rule, in the order of the findings.
pub(crate) fn rules() -> impl Iterator<Item = Rule> {
    CHECKS.iter().map(|(rule, _)| *rule)
}

/// One finding for each rule, for a policy that asks for no log.
pub(crate) fn not_asked() -> impl Iterator<Item = Finding> {
    rules().map(|rule| any(rule, ""))
}

/// What came from the log, as far as it could be read.
pub(crate) struct Log<'a> {
    feed: &'a Feed,
    policy: &'a LogPolicy,
    now: Time,
    memories: &'a [Memory],
    proof: Result<Proof, String>,
    /// `None` if the policy names no log or there is no proof.
    accepted: Option<Result<Accepted, String>>,
    tail: Option<Result<Tail, String>>,
}

impl<'a> Log<'a> {
    pub(crate) fn new(request: &Request<'a>, policy: &'a LogPolicy) -> Self {
        let feed = &request.bundle.feed;
        let proof = read(feed.release_proof.as_deref());
        let accepted = match (&policy.witnesses, &proof) {
            (Witnesses::Of(witnesses), Ok(proof)) => {
                Some(witnesses.accept(proof.checkpoint.as_bytes()).map_err(|refusal| refusal.to_string()))
            }
            _ => None,
        };
        let tail = feed.tail.as_deref().map(|bytes| Tail::parse(bytes).map_err(|error| error.to_string()));
        Self { feed, policy, now: request.now, memories: request.memories, proof, accepted, tail }
    }

    /// One finding for each rule.
    pub(crate) fn findings(&self) -> impl Iterator<Item = Finding> {
        CHECKS.iter().map(|(_, decide)| decide(self))
    }

    /// What the client remembers of this log.
    fn memory(&self) -> Option<&'a Memory> {
        let (_, seen) = self.checkpoint().ok()?;
        self.memories.iter().find(|memory| memory.origin == seen.checkpoint.origin)
    }

    /// The highest numbers that the client remembers of any log of the policy: releases and statuses are the root keys',
    /// whichever log shows them.
    pub(crate) fn seen(&self) -> Seen {
        let Witnesses::Of(witnesses) = &self.policy.witnesses else { return Seen::default() };
        let known = |memory: &&Memory| witnesses.logs().iter().any(|log| log.key.name() == memory.origin);
        let numbers = self.memories.iter().filter(known).map(Memory::seen);
        numbers.fold(Seen::default(), |most, seen| Seen {
            counter: most.counter.max(seen.counter),
            sequence: most.sequence.max(seen.sequence),
        })
    }

    /// The checkpoint that was accepted.
    pub(crate) fn accepted(&self) -> Option<&Accepted> {
        self.checkpoint().ok().map(|(_, seen)| seen)
    }

    /// The release's index.
    pub(crate) fn index(&self) -> Result<u64, Unproved> {
        match (&self.proof, self.inclusion().permits()) {
            (Ok(proof), true) => Ok(proof.index),
            _ => Err(Unproved::Waits(INCLUSION)),
        }
    }

    /// The index of another entry, whose proof must end at the release's checkpoint.
    pub(crate) fn index_of(&self, entry: &[u8], proof: Option<&[u8]>) -> Result<u64, Unproved> {
        let (ours, seen) = self.checkpoint().map_err(|_| Unproved::Waits(WITNESSES))?;
        let proof = read(proof).map_err(Unproved::Wrong)?;
        if proof.checkpoint != ours.checkpoint {
            return Err(Unproved::Waits(ONE_CHECKPOINT));
        }
        included(entry, &proof, seen).map_err(Unproved::Wrong)
    }

    /// All entries behind the release.
    pub(crate) fn tail(&self) -> Result<&[Vec<u8>], Unproved> {
        match &self.tail {
            None if self.policy.tail == Need::Any => Err(Unproved::NotAsked),
            Some(Ok(tail)) if self.tail_finding().permits() => Ok(&tail.entries),
            _ => Err(Unproved::Waits(TAIL)),
        }
    }

    /// The proof that came with the release, or what [`PROOF`] finds.
    fn proof(&self) -> Result<&Proof, Finding> {
        if self.feed.release.is_none() {
            return Err(Finding::waits_for(PROOF, PRESENT));
        }
        self.proof.as_ref().map_err(|reason| Finding::failed(PROOF, "", "", reason.as_str()))
    }

    /// The proof and its checkpoint, which log and witnesses have signed, or what [`WITNESSES`] finds.
    fn checkpoint(&self) -> Result<(&Proof, &Accepted), Finding> {
        let proof = self.proof().map_err(|_| Finding::waits_for(WITNESSES, PROOF))?;
        match &self.accepted {
            Some(Ok(seen)) => Ok((proof, seen)),
            Some(Err(refusal)) => Err(Finding::failed(WITNESSES, "", "", refusal.as_str())),
            None => Err(Finding::missing(WITNESSES, "", "", "the policy names no log")),
        }
    }

    fn inclusion(&self) -> Finding {
        let Some(entry) = &self.feed.release else { return Finding::waits_for(INCLUSION, PRESENT) };
        let Ok((proof, seen)) = self.checkpoint() else { return Finding::waits_for(INCLUSION, WITNESSES) };
        let observed = format!("index {} of {}", proof.index, seen.checkpoint.size);
        match included(entry, proof, seen) {
            Ok(_) => passed(INCLUSION, observed),
            Err(reason) => Finding::failed(INCLUSION, observed, "", reason),
        }
    }

    fn tail_finding(&self) -> Finding {
        let tail = match (&self.tail, self.policy.tail) {
            (None, Need::Any) => return any(TAIL, "none"),
            (None, Need::Required) => return Finding::failed(TAIL, "none", "", "the evidence came without them"),
            (Some(Err(reason)), _) => return Finding::failed(TAIL, "", "", reason.as_str()),
            (Some(Ok(tail)), _) => tail,
        };
        let (Some(entry), Ok((proof, seen)), true) = (&self.feed.release, self.checkpoint(), self.index().is_ok())
        else {
            return Finding::waits_for(TAIL, INCLUSION);
        };
        let behind = tail.entries.iter().map(|entry| leaf_hash(entry));
        let (size, root) = (seen.checkpoint.size, seen.checkpoint.root);
        let found = root_with_tail(&leaf_hash(entry), (proof.index, size), &proof.hashes, behind);
        let observed = format!("{} entries behind entry {} of {size}", tail.entries.len(), proof.index);
        let reason = "with them the tree has another root: some are missing or others";
        Finding::of(TAIL, found == Ok(root), observed, "", reason)
    }
}

/// The proof in these bytes, or why there is none.
fn read(bytes: Option<&[u8]>) -> Result<Proof, String> {
    Proof::parse(bytes.ok_or("it came without one")?).map_err(|error| error.to_string())
}

/// The index of the entry, if the proof leads from it to the checkpoint.
fn included(entry: &[u8], proof: &Proof, Accepted { checkpoint, .. }: &Accepted) -> Result<u64, String> {
    verify_inclusion(&leaf_hash(entry), proof.index, checkpoint.size, &checkpoint.root, &proof.hashes)
        .map(|()| proof.index)
        .map_err(|error| error.to_string())
}

fn one_checkpoint(log: &Log<'_>) -> Finding {
    let Ok((ours, _)) = log.checkpoint() else { return Finding::waits_for(ONE_CHECKPOINT, WITNESSES) };
    let rebuilds = log.feed.rebuilds.iter().map(|rebuild| ("a rebuild", Some(rebuild.proof.as_slice())));
    let others = [("the status", log.feed.status_proof.as_deref())].into_iter().chain(rebuilds);
    // What is not a proof at all is for the rules that need it to say.
    let strays = others.filter(|(_, bytes)| read(*bytes).is_ok_and(|proof| proof.checkpoint != ours.checkpoint));
    let strays: Vec<_> = strays.map(|(whose, _)| whose).collect();
    let reason = format!("another one is under the proof of {}", strays.join(" and of "));
    Finding::of(ONE_CHECKPOINT, strays.is_empty(), "", "", reason)
}

fn checkpoint_age(log: &Log<'_>) -> Finding {
    let Ok((_, seen)) = log.checkpoint() else { return Finding::waits_for(CHECKPOINT_AGE, WITNESSES) };
    let observed = seen.as_of.map_or_else(String::new, |then| Time(then).to_string());
    let OrAny::Is(oldest) = log.policy.checkpoint_max_age else { return any(CHECKPOINT_AGE, observed) };
    let required = format!("at most {oldest} s old");
    match seen.as_of {
        None => Finding::missing(CHECKPOINT_AGE, "", required, "no witness says when"),
        Some(then) if then > log.now.0.saturating_add(CLOCK_SKEW) => {
            Finding::failed(CHECKPOINT_AGE, observed, required, "it is from the future")
        }
        Some(then) => {
            let holds = log.now.0.saturating_sub(then) <= oldest;
            Finding::of(CHECKPOINT_AGE, holds, observed, required, "enough witnesses have not signed anything newer")
        }
    }
}

fn minimum_age(log: &Log<'_>) -> Finding {
    if log.policy.minimum_age == 0 {
        return any(MINIMUM_AGE, "");
    }
    let latest = Time(log.now.0.saturating_sub(log.policy.minimum_age));
    let required = format!("at most {latest}");
    let (Ok((_, seen)), Ok(index)) = (log.checkpoint(), log.index()) else {
        return Finding::waits_for(MINIMUM_AGE, INCLUSION);
    };
    let since = match &log.feed.earlier_proof {
        None => Ok(seen.since),
        Some(bytes) => earlier(log, bytes, &seen.checkpoint.origin, index),
    };
    match since {
        Err(reason) => Finding::failed(MINIMUM_AGE, "", required, format!("the earlier proof: {reason}")),
        Ok(None) => Finding::missing(MINIMUM_AGE, "", required, "no witness says when"),
        Ok(Some(then)) => {
            let observed = Time(then).to_string();
            Finding::of(
                MINIMUM_AGE,
                Time(then) <= latest,
                observed,
                required,
                "others had too little time to notice it",
            )
        }
    }
}

/// Since when enough witnesses have seen the release by an earlier proof.
fn earlier(log: &Log<'_>, bytes: &[u8], origin: &str, index: u64) -> Result<Option<u64>, String> {
    let (Some(release), Witnesses::Of(witnesses)) = (&log.feed.release, &log.policy.witnesses) else {
        return Err("there is nothing to compare it with".into());
    };
    let proof = read(Some(bytes))?;
    let seen = proof.verify(release, witnesses).map_err(|error| error.to_string())?;
    match seen.checkpoint.origin == origin && proof.index == index {
        true => Ok(seen.since),
        false => Err(format!("it is of entry {} of {}", proof.index, seen.checkpoint.origin)),
    }
}

fn rollback(log: &Log<'_>) -> Finding {
    let Ok((_, seen)) = log.checkpoint() else { return Finding::waits_for(ROLLBACK, WITNESSES) };
    let size = seen.checkpoint.size;
    let Some(memory) = log.memory() else { return Finding::not_asked(ROLLBACK, size.to_string(), STRANGER) };
    let required = format!("at least {}", memory.size);
    Finding::of(ROLLBACK, size >= memory.size, size.to_string(), required, "the log has been larger")
}

/// Why there is nothing to compare with.
const STRANGER: &str = "nothing of this log is remembered";

fn consistency(log: &Log<'_>) -> Finding {
    let Ok((_, seen)) = log.checkpoint() else { return Finding::waits_for(CONSISTENCY, WITNESSES) };
    let Some(memory) = log.memory() else { return Finding::not_asked(CONSISTENCY, "", STRANGER) };
    let (old, new) = ((memory.size, &memory.root_sha256), (seen.checkpoint.size, &seen.checkpoint.root));
    let (observed, required) = (format!("{} entries", new.0), format!("begins with the {} seen before", old.0));
    let fork = "the log shows two trees; both checkpoints are evidence of it";
    if old.0 >= new.0 {
        return match old.0 == new.0 {
            true => Finding::of(CONSISTENCY, old.1 == new.1, observed, required, fork),
            false => Finding::waits_for(CONSISTENCY, ROLLBACK),
        };
    }
    let proof = log.feed.consistency.as_deref().map(|bytes| {
        let text = str::from_utf8(bytes).map_err(|_invalid| "it is not text".to_owned())?;
        text.parse::<Consistency>().map_err(|error| error.to_string())
    });
    // A proof from another size is somebody else's.
    let proof = proof.filter(|proof| proof.as_ref().map_or(true, |proof| proof.old == old.0));
    let judged = match (proof, log.policy.consistency) {
        (None, Need::Any) => return Finding::not_asked(CONSISTENCY, observed, "no proof from there came with it"),
        (None, Need::Required) => {
            return Finding::missing(CONSISTENCY, observed, required, "no proof from there came with it");
        }
        (Some(proof), _) => proof
            .and_then(|proof| verify_consistency(old, new, &proof.hashes).map_err(|error| format!("{error}: {fork}"))),
    };
    match judged {
        Ok(()) => Finding::passed(CONSISTENCY, observed, required),
        Err(reason) => Finding::failed(CONSISTENCY, observed, required, reason),
    }
}

/// A checkpoint in words.
fn shown(Accepted { checkpoint, as_of, witnesses, .. }: &Accepted) -> String {
    let names: Vec<_> = witnesses.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    let then = as_of.map_or_else(String::new, |then| format!(" as of {}", Time(then)));
    format!("{}, {} entries{then}, cosigned by {}", checkpoint.origin, checkpoint.size, names.join(", "))
}
