//! What can be wrong with a release, with what a log says of it, and with what a client remembers.

use super::{Case, Refusal};
use crate::log::{self, INDEX, ORIGIN, REBUILDERS, RELEASE, ROOTS, WITNESSES, World};
use crate::log::{inclusion, key_add, key_revoke, sign, signed_release};
use log_client::Proof;
use log_client::dsse::Envelope;
use log_client::feed::Feed;
use log_client::note::SignatureType;
use log_client::statement::{FleetPredicate, Predicate, Rebuilt, Release, Subject};
use log_client::tail::Tail;
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::ChipId;
use measure::{Digest, Sha256};
use std::collections::BTreeMap;
use std::rc::Rc;

const DAY: u64 = 24 * 60 * 60;

/// A world, what becomes of its feed, and what the client remembers and asks for.
#[derive(Clone)]
struct Scene {
    now: u64,
    world: World,
    after: Vec<After>,
    /// Highest counter and sequence number, or nothing is remembered.
    seen: Option<(u64, u64)>,
    /// What is remembered, if it is not of this world.
    memory: Option<String>,
    policy: toml::Table,
}

/// Good and bad cases; `of` is good evidence of the chip of all of them.
pub(super) fn cases(of: &Case) -> Vec<Case> {
    let tcb = TcbVersion { fmc: 0, boot_loader: 10, tee: 5, snp: 27, microcode: 200 };
    let chip = ChipId(Digest::new(std::array::from_fn(|at| at as u8 + 1)));
    let mut all = Scene {
        now: of.now,
        world: World::good(Time(of.now), Tee::Simulated, (Product::Genoa, tcb, chip)),
        after: vec![],
        seen: Some((4, 5)),
        memory: None,
        policy: of.policy.clone(),
    };
    super::demand(&mut all.policy, "release", log::policy().into());
    let good: [(&str, &str, Change); 7] = [
        ("log", "a release with all that a log can say of it", |_| {}),
        ("log-stranger", "a client that remembers nothing", |scene| scene.seen = None),
        ("log-same", "a client that has seen this very tree", |scene| scene.world.seen = 7),
        ("log-plain", "no proof of consistency and no tail, and none is asked for", |scene| {
            scene.demand("log.consistency", "\"any\"");
            scene.demand("log.tail", "\"any\"");
            scene.after(|feed| (feed.consistency, feed.tail) = (None, None));
        }),
        ("log-other-client", "the proof of consistency is for another client, and none is asked for", |scene| {
            scene.demand("log.consistency", "\"any\"");
            let entries = scene.world.entries();
            scene.memory = Some(memory(ORIGIN, 2, log::tree_root(&entries[..2])));
        }),
        ("log-three", "a third organisation has rebuilt it as well", |scene| {
            let third = scene.world.rebuilds[0].1.clone();
            scene.world.rebuilds.push((REBUILDERS[2], third));
        }),
        ("log-older-live", "a newer release is live as well, and any live one will do", |scene| {
            scene.demand("log.tail", "\"any\"");
            let newer = newer(&scene.world);
            scene.world.live.push(Subject::new("release/1.2.4", Sha256::of(&newer)));
            scene.world.behind.push(newer);
        }),
    ];
    let mut cases: Vec<_> = good.iter().map(|(name, says, change)| all.with(*change).case(of, name, says)).collect();
    for (rule, name, says, change) in
        [release().as_slice(), &proofs(), &status(), &rebuilds(), &fleet(), &remembered(), &tail()].concat()
    {
        let rule = match rule.strip_prefix('?') {
            Some(rule) => Refusal::Undecided(rule.to_owned()),
            None => Refusal::Fails(rule.to_owned()),
        };
        let case = all.with(change).case(of, &format!("log/{name}"), says);
        cases.push(Case { of: Some("log".to_owned()), rule: Some(rule), ..case });
    }
    cases
}

/// What becomes of a finished feed.
type After = Rc<dyn Fn(&mut Feed)>;
type Change = fn(&mut Scene);
/// The rule, the case's name, what is wrong, and the change. A rule after a question mark is undecided.
type Bad = (&'static str, &'static str, &'static str, Change);

fn release() -> Vec<Bad> {
    vec![
        ("release.present", "release-missing", "there is no release", |s| s.after(|feed| feed.release = None)),
        ("release.form", "release-fleet", "a fleet in place of the release", |s| {
            let predicate = FleetPredicate { root_sha256: Sha256::of(b""), chips: 0 };
            let subject = Subject::new("fleet", Sha256::of(b""));
            s.world.release_entry = Some(sign(vec![subject], Predicate::Fleet(predicate), &[RELEASE]));
        }),
        ("release.form", "release-space", "a space at the end of the release's envelope", |s| {
            s.world.release_entry = Some([s.world.release(), b" ".to_vec()].concat());
        }),
        ("release.tee", "release-snp", "a release for real hardware", |s| {
            s.world.release.tee = Tee::Snp;
            s.world.release.command_line = s.world.release.command_line.replace("=simulated", "=snp");
        }),
        ("release.host-resistant", "release-not-resistant", "its host can get into it", |s| {
            s.world.release.host_resistant = false;
        }),
        ("release.counter", "release-old", "an older release than the policy allows", |s| {
            s.demand("minimum-counter", "5");
        }),
        ("release.expiry", "release-expired", "the release has expired", |s| {
            s.world.release.not_after = Time(s.now - 1)
        }),
        ("release.signature", "key-unknown", "a key signed that nobody added", |s| s.world.release_keys = vec![9]),
        ("release.signature", "key-root", "root keys signed the release", |s| s.world.release_keys = vec![11, 12, 13]),
        ("release.signature", "key-revoked", "the key is revoked from the release on", |s| {
            s.world.status.keys[0].revoked_from = Some(INDEX as u64);
        }),
        ("release.signature", "key-later", "the key was added after the release", |s| {
            s.world.status.keys[0].added_at = INDEX as u64;
        }),
        ("release.signature", "key-none", "no key is in force", |s| s.world.status.keys.clear()),
        ("release.signature", "signature-bit", "a character of the release's signature", |s| {
            s.world.release_entry = Some(bit_of_signature(&s.world.release()));
        }),
        ("release.live", "withdrawn", "the status does not call the release live", |s| s.world.withdrawn = true),
        ("release.live", "replaced", "the status calls another release of this version live", |s| {
            s.world.withdrawn = true;
            s.world.live.push(Subject::new("release/1.2.3", Sha256::of(b"another")));
        }),
        ("release.superseded", "superseded", "the status does not accept its counter any more", |s| {
            s.world.status.minimum_counter = 5;
        }),
        ("release.rollback", "rollback", "the client has accepted a newer release", |s| s.seen = Some((5, 5))),
    ]
}

fn proofs() -> Vec<Bad> {
    vec![
        ("log.proof", "proof-missing", "there is no proof", |s| s.after(|feed| feed.release_proof = None)),
        ("log.proof", "proof-header", "another first line of the proof", |s| s.proof("proof@v1", "proof@v2")),
        ("log.proof", "proof-index-form", "an index with a leading zero", |s| s.proof("index 2", "index 02")),
        ("log.proof", "proof-index-none", "no index", |s| s.proof("index 2\n", "")),
        ("log.proof", "proof-base64", "a hash that is not base64", |s| s.proof("=\n", "\n")),
        ("log.witnesses", "checkpoint-origin", "the checkpoint of another log", |s| {
            s.proof("\n\nsimulated", "\n\nother")
        }),
        ("log.witnesses", "checkpoint-size", "another size than was signed", |s| s.proof("\n7\n", "\n8\n")),
        ("log.witnesses", "checkpoint-root", "a character of the root", |s| s.lines(|lines| flip(&mut lines[8], 5))),
        ("log.witnesses", "checkpoint-extended", "a line that was not signed", |s| {
            s.proof("=\n\n\u{2014}", "=\nx\n\n\u{2014}")
        }),
        ("log.witnesses", "log-signature-bit", "a character of the log's signature", |s| {
            s.lines(|lines| flip(&mut lines[10], 60))
        }),
        ("log.witnesses", "log-signature-none", "the log did not sign", |s| s.lines(|lines| drop(lines.remove(10)))),
        ("log.witnesses", "cosignature-bit", "a character of a witness's signature", |s| {
            s.lines(|lines| flip(&mut lines[11], 60))
        }),
        ("log.witnesses", "cosignature-time", "a character of the time of a witness", |s| {
            s.lines(|lines| flip(&mut lines[11], 27))
        }),
        ("log.witnesses", "one-witness", "one witness of two that are needed", |s| s.world.cosigned.truncate(1)),
        ("log.witnesses", "one-witness-twice", "one witness signed twice", |s| {
            s.world.cosigned[1] = (WITNESSES[0], s.world.cosigned[0].1 + 60);
        }),
        ("log.witnesses", "stranger-witness", "a witness that nobody asked", |s| {
            s.world.cosigned[1].0 = "stranger.invalid";
        }),
        ("log.witnesses", "no-witness", "nobody but the log signed", |s| s.world.cosigned.clear()),
        ("log.witnesses", "stranger-log", "the log of a stranger", |s| s.world.origin = "stranger.invalid/log".into()),
        // The second witness saw another tree, and what it signed is put under this one.
        ("log.witnesses", "split", "two witnesses saw two trees", |s| {
            let mut other = s.world.clone();
            other.behind.push(b"another world".to_vec());
            other.cosigned.remove(0);
            s.world.cosigned.truncate(1);
            let stray = other.checkpoint(other.entries().len(), &other.cosigned);
            let line = stray.lines().last().expect("a line").to_owned();
            s.lines(move |lines| lines.push(line.clone()));
        }),
        ("log.inclusion", "index", "another index", |s| s.proof("index 2", "index 3")),
        ("log.inclusion", "index-beyond", "an index outside the tree", |s| s.proof("index 2", "index 7")),
        ("log.inclusion", "path-bit", "a character of a hash of the path", |s| s.lines(|lines| flip(&mut lines[3], 7))),
        ("log.inclusion", "path-short", "a hash of the path is missing", |s| s.lines(|lines| drop(lines.remove(3)))),
        ("log.inclusion", "path-long", "a hash too many", |s| s.lines(|lines| lines.insert(3, lines[3].clone()))),
        ("log.inclusion", "path-order", "the hashes of the path in another order", |s| {
            s.lines(|lines| lines.swap(2, 3))
        }),
        ("log.one-checkpoint", "status-earlier", "the status is proved under an earlier checkpoint", |s| {
            let size = s.world.status_index() + 1;
            let checkpoint = s.world.checkpoint(size, &s.world.cosigned);
            s.status_under(size, checkpoint);
        }),
        ("log.one-checkpoint", "status-other-time", "the status under the same tree, cosigned at another time", |s| {
            let cosigned: Vec<_> = s.world.cosigned.iter().map(|(name, time)| (*name, time - 60)).collect();
            let size = s.world.entries().len();
            s.status_under(size, s.world.checkpoint(size, &cosigned));
        }),
        ("log.one-checkpoint", "rebuild-earlier", "a rebuild is proved under an earlier checkpoint", |s| {
            s.after(|feed| feed.rebuilds[0].proof = replaced(&feed.rebuilds[0].proof, "one.invalid", "eno.invalid"));
        }),
        ("log.checkpoint-age", "frozen", "enough witnesses saw the checkpoint four days ago, one just now", |s| {
            let now = s.now;
            s.world.cosigned = vec![(WITNESSES[0], now - 4 * DAY), (WITNESSES[1], now - 4 * DAY), (WITNESSES[2], now)];
        }),
        ("log.checkpoint-age", "future", "the checkpoint is from tomorrow", |s| {
            s.world.cosigned.iter_mut().for_each(|(_, time)| *time += DAY);
        }),
        ("log.minimum-age", "too-new", "the release was logged an hour ago", |s| {
            let now = s.now;
            s.world.cosigned_earlier.iter_mut().for_each(|(_, time)| *time = now - 3600);
        }),
        ("log.minimum-age", "earlier-backdated", "one witness says three days ago, the other says an hour ago", |s| {
            s.world.cosigned_earlier[1].1 = s.now - 3600;
        }),
        ("log.minimum-age", "earlier-missing", "there is no earlier proof", |s| {
            s.after(|feed| feed.earlier_proof = None)
        }),
        ("log.minimum-age", "earlier-one-witness", "one witness signed the earlier checkpoint", |s| {
            s.world.cosigned_earlier.truncate(1);
        }),
        ("log.minimum-age", "earlier-other-entry", "the earlier proof is of another entry", |s| {
            s.after(|feed| {
                feed.earlier_proof = feed.earlier_proof.as_ref().map(|it| replaced(it, "index 2", "index 1"))
            });
        }),
        ("log.minimum-age", "earlier-junk", "the earlier proof is none", |s| {
            s.after(|feed| feed.earlier_proof = Some(b"x".to_vec()));
        }),
    ]
}

fn status() -> Vec<Bad> {
    vec![
        ("status.present", "status-missing", "there is no status", |s| {
            s.after(|feed| (feed.status, feed.status_proof) = (None, None));
        }),
        ("status.form", "status-release", "a release in place of the status", |s| {
            s.world.status_entry = Some(signed_release(&s.world.release, &[11, 13]));
        }),
        ("status.form", "status-junk", "junk in place of the status", |s| s.world.status_entry = Some(b"{}".to_vec())),
        ("status.signature", "status-one-root", "one root key signed the status", |s| s.world.status_keys = vec![11]),
        ("status.signature", "status-release-key", "a release key signed the status", |s| {
            s.world.status_keys = vec![RELEASE, 11];
        }),
        ("status.signature", "status-bit", "a character of a signature of the status", |s| {
            s.world.status_entry = Some(bit_of_signature(&s.world.signed_status(5, &ROOTS)));
        }),
        ("status.inclusion", "status-unproved", "no proof of the status", |s| {
            s.after(|feed| feed.status_proof = None);
        }),
        ("status.inclusion", "status-junk-proof", "a proof of the status that is none", |s| {
            s.after(|feed| feed.status_proof = Some(b"x".to_vec()));
        }),
        ("status.inclusion", "status-elsewhere", "the proof of another entry", |s| {
            s.after(|feed| feed.status_proof = feed.release_proof.clone());
        }),
        ("status.inclusion", "status-unlogged", "another status than the one in the log", |s| {
            let entry = s.world.signed_status(5, &ROOTS);
            s.after(move |feed| feed.status = Some(entry.clone()));
        }),
        ("status.validity", "status-expired", "the status has expired", |s| s.world.status.not_after = Time(s.now - 1)),
        ("status.validity", "status-future", "the status was issued tomorrow", |s| {
            s.world.status.issued_at = Time(s.now + DAY);
        }),
        ("status.age", "status-stale", "the status is older than the policy allows", |s| {
            s.world.status.issued_at = Time(s.now - 2 * DAY);
            s.world.status.not_after = Time(s.now + DAY);
        }),
        ("status.rollback", "status-rollback", "the client has accepted a newer status", |s| s.seen = Some((4, 6))),
        ("status.tcb", "status-tcb", "the status asks for newer firmware", |s| {
            s.world.status.tcb_minimums[0].tcb.snp += 1;
        }),
        ("status.tcb", "status-product", "the status knows another product", |s| {
            s.world.status.tcb_minimums[0].product = Product::Turin;
        }),
        ("status.newest", "status-newer", "a newer status is behind it", |s| {
            let newer = s.world.signed_status(6, &ROOTS[..2]);
            s.world.behind.push(newer);
        }),
        (
            "status.newest",
            "status-before",
            "withdrawn, and logged again behind that; the status is the one of before",
            |s| {
                s.logged_again();
            },
        ),
        ("status.newest", "revoked-since", "the key was revoked after the status", |s| {
            s.world.behind.push(key_revoke(RELEASE, INDEX as u64));
        }),
    ]
}

fn rebuilds() -> Vec<Bad> {
    const RULE: &str = "release.rebuilders";
    vec![
        (RULE, "rebuild-one", "one rebuild of two that are needed", |s| drop(s.world.rebuilds.pop())),
        (RULE, "rebuild-none", "no rebuild", |s| s.world.rebuilds.clear()),
        (RULE, "rebuild-twice", "one organisation said so twice", |s| {
            s.world.rebuilds[1].0 = s.world.rebuilds[0].0;
            s.world.rebuilds[1].1.seconds += 1;
        }),
        (RULE, "rebuild-unlisted", "one of them is on no list", |s| s.world.rebuilds[1].0 = 24),
        (RULE, "rebuild-differs", "one of them got other bytes", |s| s.world.rebuilds[1].1.outcome = Rebuilt::Differs),
        (RULE, "rebuild-other-release", "one rebuilt another release", |s| {
            s.world.rebuilds[1].1.release_sha256 = Sha256::of(b"another");
        }),
        (RULE, "rebuild-other-commit", "one rebuilt another commit", |s| {
            s.world.rebuilds[1].1.commit = Digest::new([0xc1; 20]);
        }),
        (RULE, "rebuild-bit", "a character of a signature", |s| {
            s.after(|feed| {
                let envelope = &mut feed.rebuilds[1].envelope;
                *envelope = bit_of_signature(envelope);
            })
        }),
        (RULE, "rebuild-unproved", "one of them is not in the log", |s| {
            s.after(|feed| feed.rebuilds[1].proof = feed.rebuilds[0].proof.clone());
        }),
        (RULE, "rebuild-quorum", "three are needed, of whom two said so", |s| s.demand("rebuilder-quorum", "3")),
    ]
}

fn fleet() -> Vec<Bad> {
    const RULE: &str = "fleet.row";
    vec![
        (RULE, "row-missing", "there is no row", |s| s.after(|feed| feed.fleet_row = None)),
        (RULE, "row-junk", "a row that is none", |s| s.after(|feed| feed.fleet_row = Some(b"x".to_vec()))),
        (RULE, "row-other", "the row of another chip", |s| s.world.chip = s.world.fleet[0]),
        (RULE, "row-index", "the row with another index", |s| s.row(|lines| lines[2] = "1".into())),
        (RULE, "row-bit", "a character of a hash of the row's path", |s| s.row(|lines| flip(&mut lines[3], 7))),
        (RULE, "row-short", "a hash of the row's path is missing", |s| s.row(|lines| drop(lines.pop()))),
        (RULE, "chip-removed", "the chip was removed from the fleet since", |s| {
            let row = s.world.feed().fleet_row;
            s.after(move |feed| feed.fleet_row = row.clone());
            s.world.fleet.remove(1);
        }),
    ]
}

fn remembered() -> Vec<Bad> {
    vec![
        ("status.rollback", "other-log", "the client has accepted a newer status of another log of its policy", |s| {
            s.remembers_another_log((4, 6));
        }),
        (
            "release.rollback",
            "other-log-release",
            "it has accepted a newer release of another log of its policy",
            |s| {
                s.remembers_another_log((5, 5));
            },
        ),
        ("log.rollback", "truncated", "the client has seen a larger tree", |s| {
            s.memory = Some(memory(ORIGIN, 8, Sha256::of(b"a larger tree")));
        }),
        ("log.consistency", "forked", "the client has seen another tree of this size", |s| {
            s.memory = Some(memory(ORIGIN, 7, Sha256::of(b"another tree")));
        }),
        ("log.consistency", "forked-before", "the client has seen another tree that was smaller", |s| {
            s.memory = Some(memory(ORIGIN, 3, Sha256::of(b"another tree")));
        }),
        ("log.consistency", "consistency-bit", "a character of the proof of consistency", |s| {
            s.consistency(|lines| flip(&mut lines[2], 7))
        }),
        ("log.consistency", "consistency-short", "a hash of the proof of consistency is missing", |s| {
            s.consistency(|lines| drop(lines.pop()))
        }),
        ("log.consistency", "consistency-junk", "a proof of consistency that is none", |s| {
            s.after(|feed| feed.consistency = Some(b"x".to_vec()));
        }),
        ("?log.consistency", "consistency-missing", "no proof of consistency, which is asked for", |s| {
            s.after(|feed| feed.consistency = None);
        }),
    ]
}

fn tail() -> Vec<Bad> {
    vec![
        ("log.tail", "tail-missing", "the entries behind the release did not come", |s| {
            s.after(|feed| feed.tail = None);
        }),
        ("log.tail", "tail-junk", "a tail that is none", |s| s.after(|feed| feed.tail = Some(b"x".to_vec()))),
        ("log.tail", "tail-short", "the last entry was left out", |s| s.tail(|entries| drop(entries.pop()))),
        ("log.tail", "tail-first", "the first entry was left out", |s| s.tail(|entries| drop(entries.remove(0)))),
        ("log.tail", "tail-long", "an entry was added", |s| s.tail(|entries| entries.push(vec![]))),
        ("log.tail", "tail-order", "two entries are in another order", |s| s.tail(|entries| entries.swap(0, 1))),
        ("log.tail", "tail-bit", "a character of an entry", |s| s.tail(|entries| entries[0][9] ^= 1)),
        ("release.newest", "newer", "a newer release is in the log", |s| {
            let newer = newer(&s.world);
            s.world.behind.push(newer);
        }),
        ("release.newest", "newer-live", "the status calls a newer release live, which is not behind this one", |s| {
            s.world.live.push(Subject::new("release/1.2.4", Sha256::of(b"newer")));
        }),
        ("release.newest", "newer-by-new-key", "a newer release by a newer key is in the log", |s| {
            let release =
                Release { version: "1.2.4".parse().expect("a version"), counter: 5, ..s.world.release.clone() };
            s.world.behind.extend([key_add(2), signed_release(&release, &[2])]);
        }),
    ]
}

impl Scene {
    fn with(&self, change: Change) -> Self {
        let mut scene = self.clone();
        change(&mut scene);
        scene
    }

    /// The case of this scene.
    fn case(&self, of: &Case, name: &str, says: &str) -> Case {
        let mut feed = self.world.feed();
        self.after.iter().for_each(|change| change(&mut feed));
        let mut evidence = of.evidence.clone();
        // Of some parts there are several: they are numbered.
        let mut count = BTreeMap::new();
        for (name, bytes) in feed.parts() {
            let number: &mut usize = count.entry(name).or_default();
            *number += 1;
            let name = if name.starts_with("rebuild") { format!("{name}-{number}") } else { name.to_owned() };
            evidence.insert(name, bytes.to_vec());
        }
        let seen = || self.seen.map(|(counter, sequence)| self.world.memory(counter, sequence));
        evidence.extend(self.memory.clone().or_else(seen).map(|memory| ("memory".to_owned(), memory.into_bytes())));
        let (name, says, policy) = (name.to_owned(), says.to_owned(), self.policy.clone());
        Case { name, says, of: None, rule: None, evidence, policy, ..of.clone() }
    }

    /// Gives a key of the section `release` another value, written as TOML.
    fn demand(&mut self, path: &str, value: &str) {
        let document: toml::Table = format!("value = {value}").parse().expect("the value is TOML");
        super::demand(&mut self.policy, &format!("release.{path}"), document["value"].clone());
    }

    /// Does something to the finished feed.
    fn after(&mut self, change: impl Fn(&mut Feed) + 'static) {
        self.after.push(Rc::new(change));
    }

    /// Replaces a text in the release's proof.
    fn proof(&mut self, from: &'static str, to: &'static str) {
        self.after(move |feed| feed.release_proof = feed.release_proof.as_ref().map(|it| replaced(it, from, to)));
    }

    /// Does something to the lines of the release's proof: the first line, the index, three hashes, an empty line, the
    /// origin, the size, the root, an empty line, the log's signature, the witnesses'.
    fn lines(&mut self, change: impl Fn(&mut Vec<String>) + 'static) {
        self.after(move |feed| feed.release_proof = feed.release_proof.as_ref().map(|it| lines(it, &change)));
    }

    /// Does something to the lines of the chip's row.
    fn row(&mut self, change: impl Fn(&mut Vec<String>) + 'static) {
        self.after(move |feed| feed.fleet_row = feed.fleet_row.as_ref().map(|it| lines(it, &change)));
    }

    /// Does something to the lines of the proof of consistency.
    fn consistency(&mut self, change: impl Fn(&mut Vec<String>) + 'static) {
        self.after(move |feed| feed.consistency = feed.consistency.as_ref().map(|it| lines(it, &change)));
    }

    /// Does something to the entries of the tail.
    fn tail(&mut self, change: fn(&mut Vec<Vec<u8>>)) {
        self.after(move |feed| {
            let mut tail = Tail::parse(feed.tail.as_ref().expect("a tail")).expect("a tail");
            change(&mut tail.entries);
            feed.tail = Some(tail.to_bytes().expect("small entries"));
        });
    }

    /// Withdraws the release, logs it once more behind that, and shows it there with the status of before.
    fn logged_again(&mut self) {
        let mut later = self.world.clone();
        later.withdrawn = true;
        later.live = vec![Subject::new("release/1.2.4", Sha256::of(&newer(&self.world)))];
        self.world.behind = vec![newer(&self.world), later.signed_status(6, &ROOTS[..2]), self.world.release()];
        let entries = self.world.entries();
        let (size, index) = (entries.len(), entries.len() - 1);
        let proof = |cosigned: &[(&str, u64)]| {
            let (hashes, checkpoint) = (inclusion(index, &entries), self.world.checkpoint(size, cosigned));
            Proof { unverified_extra: None, index: index as u64, hashes, checkpoint }.to_string().into_bytes()
        };
        let (now, earlier) = (proof(&self.world.cosigned), proof(&self.world.cosigned_earlier));
        self.after(move |feed| {
            (feed.release_proof, feed.earlier_proof) = (Some(now.clone()), Some(earlier.clone()));
            feed.tail = Some(Tail { entries: vec![] }.to_bytes().expect("no entries"));
        });
    }

    /// Names a second log in the policy, of which the client remembers these numbers.
    fn remembers_another_log(&mut self, (counter, sequence): (u64, u64)) {
        let other = World { origin: "another.invalid/log".into(), ..self.world.clone() };
        let key = log::signer(&other.origin, SignatureType::ED25519).key().to_string();
        self.demand("log.witnesses", &format!("'''\nlog {key}\n{}'''", log::witnesses("2")));
        self.memory = Some(other.memory(counter, sequence));
    }

    /// Proves the status under this checkpoint of the first `size` entries.
    fn status_under(&mut self, size: usize, checkpoint: String) {
        let (index, entries) = (self.world.status_index(), self.world.entries());
        let hashes = inclusion(index, &entries[..size]);
        let proof = Proof { unverified_extra: None, index: index as u64, hashes, checkpoint }.to_string().into_bytes();
        self.after(move |feed| feed.status_proof = Some(proof.clone()));
    }
}

/// The text with something else in the first place where it says `from`.
fn replaced(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = str::from_utf8(bytes).expect("text");
    assert!(text.contains(from), "{text}");
    text.replacen(from, to, 1).into_bytes()
}

/// The text after something was done to its lines.
fn lines(bytes: &[u8], change: impl Fn(&mut Vec<String>)) -> Vec<u8> {
    let mut lines = str::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect();
    change(&mut lines);
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into_bytes()
}

/// Makes a character of base64 another one.
fn flip(line: &mut String, at: usize) {
    let other = if line.as_bytes()[at] == b'A' { "B" } else { "A" };
    line.replace_range(at..=at, other);
}

/// The envelope with a bit of its first signature changed.
fn bit_of_signature(envelope: &[u8]) -> Vec<u8> {
    let envelope = Envelope::parse(envelope).expect("an envelope");
    let mut signatures = envelope.unverified_signatures().to_vec();
    signatures[0].sig[7] ^= 1;
    Envelope::new(envelope.unverified_payload().to_vec(), signatures).expect("an envelope").to_bytes()
}

/// The release after this world's.
fn newer(world: &World) -> Vec<u8> {
    let release = Release { version: "1.2.4".parse().expect("a version"), counter: 5, ..world.release.clone() };
    signed_release(&release, &[RELEASE])
}

/// What is remembered of another tree.
fn memory(origin: &str, size: u64, root: Sha256) -> String {
    format!(
        "{{\"schema\":1,\"origin\":\"{origin}\",\"size\":{size},\"root_sha256\":\"{root}\",\"counter\":4,\"sequence\":5}}\n"
    )
}
