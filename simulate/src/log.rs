//! A simulated log and its witnesses: a world in which a release is signed, logged, rebuilt and live, and the feed that
//! shows it. A test changes one thing and makes the feed anew.
//!
//! Hashes of trees are computed here by the definition (RFC 6962, section 2.1), and not by `log-client`, which verifies
//! them; statements, envelopes and notes are written by `log-client`, whose texts are compared with other
//! implementations'.

use log_client::dsse::Envelope;
use log_client::feed::{Feed, Rebuild};
use log_client::fleet::Roster;
use log_client::keys::SigningKey;
use log_client::note::{SignatureType, Signer};
use log_client::statement::{
    self, InForce, KeyAdd, KeyRevoke, LaunchPolicy, Predicate, Rebuilt, Release, Role, Statement, Status, Subject,
    TcbMinimum, TokenAccess,
};
use log_client::tail::{Consistency, Tail};
use log_client::{Checkpoint, Proof};
use measure::appraise::Time;
use measure::cmdline::Tee;
use measure::snp::product::{Product, TcbVersion};
use measure::snp::report::{ChipId, GuestPolicy};
use measure::snp::{BeforeVmsas, LaunchDigest, ShapeTable, VmmProfile};
use measure::verity::VerityRoot;
use measure::{Digest, Sha256};
use sha2::Digest as _;

/// The log's name.
pub const ORIGIN: &str = "simulated.invalid/log";
/// The witnesses' names; two of the three are needed.
pub const WITNESSES: [&str; 3] = ["one.invalid", "two.invalid", "three.invalid"];
/// Seeds of the root keys, of which two are needed.
pub const ROOTS: [u8; 3] = [11, 12, 13];
/// Seeds of those whose rebuilds count, of which two are needed.
pub const REBUILDERS: [u8; 3] = [21, 22, 23];
/// Seed of the key that signs releases.
pub const RELEASE: u8 = 1;

/// A log as somebody would like it to be seen. Entries: a key, an older release, the release, the rebuilds, the status,
/// and what else follows.
#[derive(Clone)]
pub struct World {
    /// The log's name.
    pub origin: String,
    /// What is released.
    pub release: Release,
    /// Seeds of the keys that sign it.
    pub release_keys: Vec<u8>,
    /// Instead of the release.
    pub release_entry: Option<Vec<u8>>,
    /// What holds for now. Fleet and keys are as they are here.
    pub status: Status,
    /// Seeds of the keys that sign it.
    pub status_keys: Vec<u8>,
    /// The live releases besides the one above, or instead of it if it is withdrawn.
    pub live: Vec<Subject>,
    /// Whether the status calls the release live.
    pub withdrawn: bool,
    /// Instead of the status.
    pub status_entry: Option<Vec<u8>>,
    /// The chips of the fleet that the status knows.
    pub fleet: Vec<ChipId>,
    /// Who rebuilt the release: the key's seed, and what it said.
    pub rebuilds: Vec<(u8, statement::Rebuild)>,
    /// The entries behind the status.
    pub behind: Vec<Vec<u8>>,
    /// Which witnesses signed the checkpoint, and when.
    pub cosigned: Vec<(&'static str, u64)>,
    /// The same of the checkpoint right after the release was logged.
    pub cosigned_earlier: Vec<(&'static str, u64)>,
    /// The chip whose row travels with the evidence.
    pub chip: ChipId,
    /// How many entries the client has seen.
    pub seen: usize,
}

/// The entry that adds the key, and the two behind it.
const KEY: u64 = 0;
/// The index of the release.
pub const INDEX: usize = 2;

impl World {
    /// Everything is in order at `now`, for this chip.
    pub fn good(now: Time, tee: Tee, (product, tcb, chip): (Product, TcbVersion, ChipId)) -> Self {
        let before = BeforeVmsas {
            launch_digest: LaunchDigest(Digest::new([7; 48])),
            ap_reset: 0x80_b004,
            vmm: &VmmProfile::QEMU,
        };
        let (root, model) = (VerityRoot(Sha256::of(b"root")), VerityRoot(Sha256::of(b"model")));
        let release = Release {
            version: "1.2.3".parse().expect("a version"),
            counter: 4,
            not_after: Time(now.0 + 30 * DAY),
            commit: Digest::new([0xc0; 20]),
            lock_sha256: Sha256::of(b"lock"),
            toolchain: "1.95.0".parse().expect("a version"),
            tee,
            host_resistant: true,
            token_access: TokenAccess::Indexed,
            command_line: format!("vitrine.tee={tee} vitrine.root.digest={root} vitrine.model.digest={model}"),
            root_sha256: root,
            model_sha256: model,
            snp: ShapeTable::new(&before).source().clone(),
            launch_policies: vec![LaunchPolicy { product, policy: GuestPolicy(0x3_0000) }],
        };
        let status = Status {
            sequence: 5,
            issued_at: Time(now.0 - 3600),
            not_after: Time(now.0 - 3600 + 6 * DAY),
            minimum_counter: 4,
            fleet_root_sha256: Sha256::of(b""),
            fleet_chips: 0,
            tcb_minimums: vec![TcbMinimum { product, tcb }],
            keys: vec![InForce { public_key: key(RELEASE).public(), added_at: KEY, revoked_from: None }],
        };
        let chips = [[0x11; 64], [0xee; 64]].map(|bytes| ChipId(Digest::new(bytes)));
        let rebuild = statement::Rebuild {
            version: release.version,
            release_sha256: Sha256::of(b""),
            commit: release.commit,
            lock_sha256: release.lock_sha256,
            built_at: Time(now.0 - 2 * DAY),
            seconds: 372,
            host: statement::RebuildHost {
                distribution: "a distribution".into(),
                kernel: "a kernel".into(),
                cpu: "a processor".into(),
            },
            variations: vec![],
            outcome: Rebuilt::Reproduced,
        };
        Self {
            origin: ORIGIN.into(),
            release,
            release_keys: vec![RELEASE],
            release_entry: None,
            status,
            status_keys: vec![11, 13],
            live: vec![],
            withdrawn: false,
            status_entry: None,
            fleet: vec![chips[0], chip, chips[1]],
            rebuilds: vec![(21, rebuild.clone()), (22, rebuild)],
            behind: vec![b"an entry of another kind".to_vec()],
            cosigned: vec![(WITNESSES[0], now.0 - 1800), (WITNESSES[1], now.0 - 1200)],
            cosigned_earlier: vec![(WITNESSES[1], now.0 - 3 * DAY), (WITNESSES[2], now.0 - 3 * DAY)],
            chip,
            seen: INDEX + 1,
        }
    }

    /// The release's envelope.
    pub fn release(&self) -> Vec<u8> {
        self.release_entry.clone().unwrap_or_else(|| signed_release(&self.release, &self.release_keys))
    }

    /// All entries of the log.
    pub fn entries(&self) -> Vec<Vec<u8>> {
        let older = Release { version: "1.2.2".parse().expect("a version"), counter: 3, ..self.release.clone() };
        let mut entries = vec![key_add(RELEASE), signed_release(&older, &[RELEASE]), self.release()];
        entries.extend(self.rebuilds());
        entries.push(self.status());
        entries.extend(self.behind.iter().cloned());
        entries
    }

    /// The index of the status.
    pub fn status_index(&self) -> usize {
        INDEX + 1 + self.rebuilds.len()
    }

    /// The feed that shows this world.
    pub fn feed(&self) -> Feed {
        let entries = self.entries();
        let checkpoint = self.checkpoint(entries.len(), &self.cosigned);
        let proof = |index, size, checkpoint: &str| {
            let (hashes, checkpoint) = (inclusion(index, &entries[..size]), checkpoint.to_owned());
            Proof { unverified_extra: None, index: index as u64, hashes, checkpoint }.to_string().into_bytes()
        };
        let now = |index| proof(index, entries.len(), &checkpoint);
        let earlier = self.checkpoint(INDEX + 1, &self.cosigned_earlier);
        let row = self.roster().row(&self.chip).map(|row| row.to_string().into_bytes());
        let rebuilds =
            (INDEX + 1..self.status_index()).map(|at| Rebuild { envelope: entries[at].clone(), proof: now(at) });
        let consistency = Consistency { old: self.seen as u64, hashes: consistency(self.seen, &entries) };
        Feed {
            release: Some(entries[INDEX].clone()),
            release_proof: Some(now(INDEX)),
            earlier_proof: Some(proof(INDEX, INDEX + 1, &earlier)),
            status: Some(entries[self.status_index()].clone()),
            status_proof: Some(now(self.status_index())),
            fleet_row: row,
            rebuilds: rebuilds.collect(),
            consistency: Some(consistency.to_string().into_bytes()),
            tail: Some(Tail { entries: entries[INDEX + 1..].to_vec() }.to_bytes().expect("small entries")),
        }
    }

    /// What a client remembers that has seen this world before: "Memory" in `docs/formats.md`.
    pub fn memory(&self, counter: u64, sequence: u64) -> String {
        let (size, root) = (self.seen, tree_root(&self.entries()[..self.seen]));
        let origin = &self.origin;
        format!(
            "{{\"schema\":1,\"origin\":\"{origin}\",\"size\":{size},\"root_sha256\":\"{root}\",\"counter\":{counter},\
             \"sequence\":{sequence}}}\n"
        )
    }

    /// The checkpoint of the first `size` entries, signed by the log and by these witnesses.
    pub fn checkpoint(&self, size: usize, cosigned: &[(&str, u64)]) -> String {
        let (origin, root) = (self.origin.clone(), tree_root(&self.entries()[..size]));
        let text = Checkpoint { origin, size: size as u64, root, extensions: vec![] }.to_string();
        let log = signer(&self.origin, SignatureType::ED25519).sign(&text, 0);
        let witnesses = cosigned.iter().map(|(name, time)| signer(name, SignatureType::COSIGNATURE).sign(&text, *time));
        format!("{text}\n{log}{}", witnesses.collect::<String>())
    }

    fn rebuilds(&self) -> impl Iterator<Item = Vec<u8>> {
        let release_sha256 = Sha256::of(&self.release());
        self.rebuilds.iter().map(move |(seed, said)| {
            // Whoever says another release means it.
            let unsaid = said.release_sha256 == Sha256::of(b"");
            let release_sha256 = if unsaid { release_sha256 } else { said.release_sha256 };
            let said = statement::Rebuild { release_sha256, ..said.clone() };
            sign(vec![Subject::new("vmlinuz", Sha256::of(b"kernel"))], Predicate::Rebuild(said), &[*seed])
        })
    }

    fn status(&self) -> Vec<u8> {
        if let Some(entry) = &self.status_entry {
            return entry.clone();
        }
        self.signed_status(self.status.sequence, &self.status_keys)
    }

    /// A status of this world with another number.
    pub fn signed_status(&self, sequence: u64, keys: &[u8]) -> Vec<u8> {
        let roster = self.roster();
        let (fleet_root_sha256, fleet_chips) = (roster.root(), roster.chips());
        let status = Status { sequence, fleet_root_sha256, fleet_chips, ..self.status.clone() };
        let name = format!("release/{}", self.release.version);
        let release = (!self.withdrawn).then(|| Subject::new(name, Sha256::of(&self.release())));
        let fleet = Subject::new("fleet", Sha256::of(roster.to_string().as_bytes()));
        sign([fleet].into_iter().chain(release).chain(self.live.clone()).collect(), Predicate::Status(status), keys)
    }

    fn roster(&self) -> Roster {
        let mut chips = self.fleet.clone();
        chips.sort();
        chips.iter().map(|chip| format!("{chip}\n")).collect::<String>().parse().expect("a roster")
    }
}

const DAY: u64 = 24 * 60 * 60;

/// The key that comes from a seed of so many equal bytes.
pub fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The key of a log or witness, which comes from its name.
pub fn signer(name: &str, kind: SignatureType) -> Signer {
    Signer::new(name, kind, Sha256::of(name.as_bytes()).as_bytes()).expect("a name")
}

/// An envelope that these keys signed.
pub fn sign(subjects: Vec<Subject>, predicate: Predicate, seeds: &[u8]) -> Vec<u8> {
    let statement = Statement::new(subjects, predicate).expect("a statement");
    let keys: Vec<_> = seeds.iter().map(|seed| key(*seed)).collect();
    Envelope::sign(statement.to_bytes(), &keys.iter().collect::<Vec<_>>()).expect("an envelope").to_bytes()
}

/// A release's envelope.
pub fn signed_release(release: &Release, seeds: &[u8]) -> Vec<u8> {
    let subjects = vec![Subject::new("vmlinuz", Sha256::of(b"kernel"))];
    sign(subjects, Predicate::Release(Box::new(release.clone())), seeds)
}

/// An entry that adds a release key.
pub fn key_add(seed: u8) -> Vec<u8> {
    let public = key(seed).public();
    let predicate = KeyAdd { role: Role::Release, public_key: public.as_bytes().to_vec() };
    sign(vec![Subject::new("builder", public.id())], Predicate::KeyAdd(predicate), &ROOTS[..2])
}

/// An entry that revokes it from an index on.
pub fn key_revoke(seed: u8, from_index: u64) -> Vec<u8> {
    let subject = Subject::new("builder", key(seed).public().id());
    sign(vec![subject], Predicate::KeyRevoke(KeyRevoke { from_index, reason: "lost".into() }), &ROOTS[..2])
}

/// The section `release` of a policy that asks for all that there is to ask.
pub fn policy() -> toml::Table {
    let hex = |seed: u8| Digest::new(*key(seed).public().as_bytes()).to_string();
    let roots: Vec<_> = ROOTS.iter().map(|seed| format!("\"{}\"", hex(*seed))).collect();
    let rebuilders: Vec<_> =
        REBUILDERS.iter().map(|seed| format!("organisation-{seed} = \"{}\"", hex(*seed))).collect();
    let text = format!(
        "host-resistant = \"required\"\nminimum-counter = 4\nroot-keys = [{}]\nroot-quorum = 2\n\
         status-max-age = 86400\nfleet = \"required\"\nrebuilders = {{ {} }}\nrebuilder-quorum = 2\n[log]\n\
         witnesses = '''\n{}'''\ncheckpoint-max-age = 259200\nminimum-age = 86400\nsplit-view = \"refused\"\n\
         consistency = \"required\"\ntail = \"required\"\n",
        roots.join(", "),
        rebuilders.join(", "),
        witnesses("2"),
    );
    text.parse().expect("TOML")
}

/// The log and its witnesses as a C2SP tlog-policy, so many of whom are needed.
pub fn witnesses(quorum: &str) -> String {
    let key = |name| signer(name, SignatureType::COSIGNATURE).key().to_string();
    let lines: String = WITNESSES.iter().map(|name| format!("witness {name} {}\n", key(name))).collect();
    let log = signer(ORIGIN, SignatureType::ED25519);
    format!("log {}\n{lines}group enough {quorum} {}\nquorum enough\n", log.key(), WITNESSES.join(" "))
}

fn leaf(entry: &[u8]) -> Sha256 {
    Sha256::new(sha2::Sha256::new().chain_update([0]).chain_update(entry).finalize().into())
}

/// The root of these entries.
pub fn tree_root(entries: &[Vec<u8>]) -> Sha256 {
    match entries {
        [] => Sha256::of(b""),
        [entry] => leaf(entry),
        _ => {
            let (left, right) = halves(entries);
            let hash = sha2::Sha256::new().chain_update([1]).chain_update(tree_root(left).as_bytes());
            Sha256::new(hash.chain_update(tree_root(right).as_bytes()).finalize().into())
        }
    }
}

fn halves(entries: &[Vec<u8>]) -> (&[Vec<u8>], &[Vec<u8>]) {
    entries.split_at(entries.len().next_power_of_two() / 2)
}

/// The proof that the entry at `index` is one of these (RFC 6962, section 2.1.1).
pub fn inclusion(index: usize, entries: &[Vec<u8>]) -> Vec<Sha256> {
    if entries.len() < 2 {
        return vec![];
    }
    let (left, right) = halves(entries);
    let (mut path, sibling) = match index < left.len() {
        true => (inclusion(index, left), tree_root(right)),
        false => (inclusion(index - left.len(), right), tree_root(left)),
    };
    path.push(sibling);
    path
}

/// The proof that the first `old` of these were there before (RFC 6962, section 2.1.2).
fn consistency(old: usize, entries: &[Vec<u8>]) -> Vec<Sha256> {
    fn subproof(old: usize, entries: &[Vec<u8>], whole: bool) -> Vec<Sha256> {
        if old == entries.len() {
            return if whole { vec![] } else { vec![tree_root(entries)] };
        }
        let (left, right) = halves(entries);
        let (mut proof, other) = match old <= left.len() {
            true => (subproof(old, left, whole), tree_root(right)),
            false => (subproof(old - left.len(), right, false), tree_root(left)),
        };
        proof.push(other);
        proof
    }
    if old == 0 { vec![] } else { subproof(old, entries, true) }
}
