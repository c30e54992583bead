//! Getting checkpoints cosigned, and refusing to sign on top of a backup.

pub use super::source::Mirror;

use super::log::Log;
use super::rules::Witnesses;
use super::source::{PATIENCE, Source, agent};
use crate::checkpoint::SignedCheckpoint;
use crate::note::{MAX_NOTE, Note, Signer, VerifierKey, parse_lines};
use crate::policy::{Accepted, Policy, Witness};
use crate::tree::Tiles;
use crate::witness::{AddCheckpoint, parse_size};
use anyhow::{Context as _, anyhow, bail, ensure};

/// Asks every mirror and witness that the log's rules name, and every one of `mirrors`, whether it has seen more of the log
/// than this directory has signed, which is then from a backup. Nothing must be added or signed on top of one.
///
/// # Errors
/// When one has, a mirror cannot be asked, or the witnesses that can be are no quorum.
pub fn is_newest(log: &Log, mirrors: &[Mirror]) -> anyhow::Result<()> {
    ask(&agent(), log, mirrors).map(drop)
}

/// Signs all entries of a log, has the witnesses of the log's rules cosign, and publishes the checkpoint if their policy
/// accepts it. Before anything is signed, [`is_newest`] must hold. Without a policy no witness is asked.
///
/// # Errors
/// Nothing is published then. What was signed is kept, and the next attempt has the same signed.
pub fn checkpoint(log: Log, signer: &Signer, mirrors: &[Mirror]) -> anyhow::Result<(Log, Option<Accepted>)> {
    let agent = agent();
    let known = ask(&agent, &log, mirrors)?;
    let witnesses = log.rules().witnesses.clone();
    let Some(policy) = witnesses.as_ref().map(Witnesses::policy) else {
        return Ok((log.sign(signer)?.publish(&[])?, None));
    };
    let log = log.sign(signer)?;
    let size = log.signed().checkpoint().size;
    let mut tiles = Tiles::new(size, |tile| log.directory().hashes(tile));
    let mut requests = Vec::new();
    for (witness, old) in policy.witnesses().iter().zip(known) {
        let proof = old.as_ref().map_or(Ok(Vec::new()), |old| tiles.consistency(*old, size))?;
        let checkpoint = log.signed().note().to_owned();
        requests.push((witness, old.map(|old| AddCheckpoint { old, proof, checkpoint })));
    }
    let lines = each(&requests, |(witness, request)| match request {
        Ok(request) => cosignature(&agent, witness, request),
        Err(unreachable) => bail!("{unreachable:#}"),
    });
    let note = lines.iter().flatten().fold(log.signed().note().to_owned(), |note, line| note + line);
    let accepted = policy.accept(note.as_bytes());
    let accepted = accepted.with_context(|| format!("nothing was published: {}", failures(policy, &lines)))?;
    let lines: Vec<_> = lines.into_iter().flatten().collect();
    Ok((log.publish(&lines)?, Some(accepted)))
}

/// How many entries each witness of the log's rules knows, or why it could not be asked.
fn ask(agent: &ureq::Agent, log: &Log, mirrors: &[Mirror]) -> anyhow::Result<Vec<anyhow::Result<u64>>> {
    for mirror in log.rules().mirrors.iter().chain(mirrors) {
        let (theirs, whose) = newest(mirror, log.key())?;
        log.agrees_with(theirs.checkpoint(), &whose)?;
    }
    let Some(policy) = log.rules().witnesses.as_ref().map(Witnesses::policy) else { return Ok(Vec::new()) };
    let known = each(policy.witnesses(), |witness| probe(agent, witness, log.signed()));
    for (witness, size) in policy.witnesses().iter().zip(&known) {
        if let Ok(size) = size {
            log.is_not_behind(*size, &format!("the witness {}", witness.name.escape_ascii()))?;
        }
    }
    let reachable = |at: usize| known.get(at).is_some_and(Result::is_ok);
    ensure!(policy.is_quorum(reachable), "nothing was added or signed: {}", failures(policy, &known));
    Ok(known)
}

/// The newest checkpoint of a copy, and how to call the place.
fn newest(mirror: &Mirror, log: &VerifierKey) -> anyhow::Result<(SignedCheckpoint, String)> {
    let note = Source::new(mirror, PATIENCE).get(super::directory::CHECKPOINT, MAX_NOTE as u64)?;
    let note = note.with_context(|| format!("the mirror {mirror} has no checkpoint"))?;
    let signed = SignedCheckpoint::verify(&note, log);
    Ok((signed.with_context(|| format!("verifying what the mirror {mirror} has"))?, format!("the mirror {mirror}")))
}

/// How many entries a witness knows: it is asked to cosign what was signed before, once more.
fn probe(agent: &ureq::Agent, witness: &Witness, signed: &SignedCheckpoint) -> anyhow::Result<u64> {
    let size = signed.checkpoint().size;
    let request = AddCheckpoint { old: size, proof: Vec::new(), checkpoint: signed.note().to_owned() };
    match post(agent, witness, &request)? {
        Reply::Cosigned(_) => Ok(size),
        Reply::OtherSize(size) => Ok(size),
        // A witness need not cosign that there is nothing yet.
        Reply::Refused(422, _) if size == 0 => Ok(0),
        Reply::Refused(status, reason) => bail!("status {status}: {reason}"),
    }
}

/// A witness's signature line, verified. If it knows another size by now, it is asked once more.
fn cosignature(agent: &ureq::Agent, witness: &Witness, request: &AddCheckpoint) -> anyhow::Result<String> {
    let lines = match post(agent, witness, request)? {
        Reply::Cosigned(lines) => lines,
        Reply::OtherSize(size) => bail!("it knew {} entries and now knows {size}; try again", request.old),
        Reply::Refused(status, reason) => bail!("status {status}: {reason}"),
    };
    let mine = parse_lines(&lines)?.into_iter();
    let mine: String = mine
        .filter(|line| line.name == witness.key.name() && line.id == witness.key.id())
        .map(|line| line.text)
        .collect();
    let note = format!("{}{mine}", request.checkpoint);
    Note::parse(note.as_bytes())?.verify([&witness.key])?;
    Ok(mine)
}

enum Reply {
    Cosigned(String),
    OtherSize(u64),
    Refused(u16, String),
}

fn post(agent: &ureq::Agent, witness: &Witness, request: &AddCheckpoint) -> anyhow::Result<Reply> {
    let url = witness.url.as_ref().ok_or_else(|| anyhow!("the policy has no address of it"))?;
    let url = format!("{}/add-checkpoint", url.trim_end_matches('/'));
    let response = agent.post(&url).send(request.to_string()).with_context(|| format!("asking {url}"))?;
    let (status, content_type, body) = body(response).with_context(|| format!("asking {url}"))?;
    if status == 409 && content_type == "text/x.tlog.size" {
        return Ok(Reply::OtherSize(parse_size(&body).context("status 409 without a size")?));
    }
    let text = String::from_utf8_lossy(&body);
    Ok(match status {
        200 => Reply::Cosigned(text.into_owned()),
        _ => Reply::Refused(status, text.lines().next().unwrap_or_default().escape_debug().take(200).collect()),
    })
}

/// Status, type and whole body of a response, of at most the size of a note.
fn body(mut response: ureq::http::Response<ureq::Body>) -> anyhow::Result<(u16, String, Vec<u8>)> {
    let content_type = response.headers().get("content-type").map(|value| String::from_utf8_lossy(value.as_bytes()));
    let content_type = content_type.unwrap_or_default().into_owned();
    let body = response.body_mut().with_config().limit(MAX_NOTE as u64).read_to_vec()?;
    Ok((response.status().as_u16(), content_type, body))
}

/// Asks all at the same time, and answers in their order.
fn each<A: Sync, B: Send>(all: &[A], ask: impl Fn(&A) -> anyhow::Result<B> + Sync) -> Vec<anyhow::Result<B>> {
    std::thread::scope(|scope| {
        let asked: Vec<_> = all.iter().map(|one| scope.spawn(|| ask(one))).collect();
        let answers = asked.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("asking panicked"))));
        answers.collect()
    })
}

fn failures<T>(policy: &Policy, results: &[anyhow::Result<T>]) -> String {
    let failed = policy.witnesses().iter().zip(results).filter_map(|(witness, result)| {
        Some(format!("witness {}: {:#}", witness.name.escape_ascii(), result.as_ref().err()?))
    });
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { "every witness signed".to_owned() } else { failed.join("; ") }
}
