//! The transparency log: adding, proving, checking and watching, against Tessera where it does the same.

use super::builds::peak_memory;
use super::times::{Times, pair};
use super::{Row, program, says, timed};
use anyhow::{Context as _, ensure};
use image::pipeline::scratch::Scratch;
use log_client::dsse::{Envelope, Signature};
use log_client::edge::directory::Directory;
use log_client::edge::log::Log;
use log_client::keys::SubmissionKey;
use log_client::monitor::{State, Watch};
use log_client::note::SignatureType;
use log_client::rekor::Submission;
use log_client::statement::{Predicate, Rebuild, RebuildHost, Rebuilt, Statement, Subject};
use log_client::{Policy, Signer, SplitView};
use measure::appraise::Time;
use measure::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Entries added one at a time.
const SINGLE: usize = 200;
/// Entries of a batch, and how many batches.
const BATCH: usize = 10_000;
const BATCHES: usize = 5;
/// Entries of the large log, and of those that are watched.
const LARGE: u64 = 1_000_000;
const WATCHED: u64 = 100_000;
/// Proofs made and verified; runs of everything else.
const PROOFS: u64 = 500;
const RUNS: usize = 3;
const NOW: u64 = 1_800_000_000;

struct Logs {
    work: Scratch,
    /// The programs of docs/interop.md.
    engines: PathBuf,
    xtask: PathBuf,
}

/// All figures of the log, measured in `cache`.
pub(super) fn rows(cache: &Path) -> anyhow::Result<Vec<Row>> {
    let xtask = std::env::current_exe().context("finding this program")?;
    let logs = Logs { work: Scratch::new(&cache.join("work"))?, engines: crate::ci::engines(cache)?, xtask };
    let mut rows = logs.adding()?;
    rows.append(&mut logs.large()?);
    rows.append(&mut logs.watching()?);
    logs.work.remove()?;
    Ok(rows)
}

fn signer() -> anyhow::Result<Signer> {
    Ok(Signer::new("example.com/log", SignatureType::ED25519, &[1; 32])?)
}

/// 300 bytes, as `peer` makes them.
fn entry(index: u64) -> Vec<u8> {
    format!("{index:<300}").into_bytes()
}

impl Logs {
    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn engine(&self, name: &str) -> Command {
        let mut command = program(&self.engines.join(name));
        command.env("GODEBUG", "httpmuxgo121=0");
        command
    }

    fn adding(&self) -> anyhow::Result<Vec<Row>> {
        // The key as Go's programs read it, which is that of `signer`.
        let vkey = signer()?.key().to_string();
        let id = vkey.split('+').nth(1).context("a verifier key has three parts")?;
        let key = format!("PRIVATE+KEY+example.com/log+{id}+{}", "AQEB".repeat(11));
        let mut number = 0;
        let mut against_tessera = |count: usize, size: usize| -> anyhow::Result<(Times, Times)> {
            number += 1;
            let (ours, theirs) = (self.path(&format!("ours{number}")), self.path(&format!("theirs{number}")));
            let mut log = Some(Log::init(&ours, &signer()?)?);
            let mut times = Vec::new();
            for batch in 0..count {
                let entries: Vec<_> = (batch * size..(batch + 1) * size).map(|index| entry(index as u64)).collect();
                let started = Instant::now();
                log = Some(log.take().context("a log")?.append(&entries)?.0);
                times.push(started.elapsed());
            }
            let mut peer = self.engine("peer");
            peer.arg("append").arg(&theirs).args([&key, &count.to_string(), &size.to_string()]);
            let said = says(&mut peer)?;
            let theirs: Vec<_> =
                said.lines().map(|line| Ok(Duration::from_nanos(line.parse()?))).collect::<anyhow::Result<_>>()?;
            ensure!(theirs.len() == count, "peer says {said:?}");
            Ok((Times::new(times), Times::new(theirs)))
        };
        let single = against_tessera(SINGLE, 1)?;
        let batch = against_tessera(BATCHES, BATCH)?;
        let per_second = |times: &Times, entries: usize| format!("{times}; {:.0}/s", entries as f64 / times.median());
        let row = |what, (ours, theirs): &(Times, Times), entries, target: f64| {
            let ratio = theirs.median() / ours.median();
            let [ours, theirs] = [ours, theirs].map(|times| per_second(times, entries));
            let figure = format!("{ratio:.2}x faster");
            Row::new(what, ours, theirs, figure, format!("at least {target}x"), ratio >= target)
        };
        let files = self.path("entries");
        fs::create_dir(&files).with_context(|| format!("creating {}", files.display()))?;
        for index in 0..BATCH {
            let path = files.join(format!("{index:05}"));
            fs::write(&path, entry(index as u64)).with_context(|| format!("writing {}", path.display()))?;
        }
        fs::write(self.path("key"), &key)?;
        let published = pair(
            RUNS,
            || {
                let scratch = tempfile::tempdir_in(self.work.path())?;
                let started = Instant::now();
                let mut names: Vec<_> =
                    fs::read_dir(&files)?.map(|file| Ok(file?.path())).collect::<std::io::Result<_>>()?;
                names.sort_unstable();
                let entries: Vec<_> = names.iter().map(fs::read).collect::<std::io::Result<_>>()?;
                let log = Log::init(scratch.path(), &signer()?)?.append(&entries)?.0;
                log.sign(&signer()?)?.publish(&[])?;
                Ok(started.elapsed())
            },
            || {
                let scratch = tempfile::tempdir_in(self.work.path())?;
                let mut example = self.engine("posix-oneshot");
                example.arg("-storage_dir").arg(scratch.path()).arg("-entries").arg(files.join("*"));
                timed(example.arg("-private_key").arg(self.path("key")))
            },
        );
        Ok(vec![
            row("one entry of 300 bytes added for good, against Tessera's library", &single, 1, 1.0),
            Row::limit("the same, without anybody", &single.0, 0.015),
            row("10,000 entries added for good in one step, against Tessera's library", &batch, BATCH, 1.0),
            row(
                "10,000 files added to a new log, signed and published, against Tessera's example as a program",
                &published?,
                BATCH,
                1.0,
            ),
        ])
    }

    fn large(&self) -> anyhow::Result<Vec<Row>> {
        let (log, lines) = (self.path("large"), self.path("lines"));
        let mut out = BufWriter::new(File::create(&lines).with_context(|| format!("creating {}", lines.display()))?);
        (0..LARGE).try_for_each(|index| out.write_all(&entry(index)).and_then(|()| out.write_all(b"\n")))?;
        out.flush()?;
        drop(Log::init(&log, &signer()?)?);
        let mut append = program(&self.xtask);
        append.args(["log", "append"]).arg(&log).arg("--lines").arg(&lines);
        let started = Instant::now();
        let memory = peak_memory(append)?;
        let imported = Times::new(vec![started.elapsed()]);
        let log = Log::open(&log)?.sign(&signer()?)?;
        let text = log.tree().to_string();
        let witnesses = [2_u8, 3, 4]
            .map(|seed| Signer::new(&format!("witness{seed}.example"), SignatureType::COSIGNATURE, &[seed; 32]));
        let mut policy = format!("log {}\n", log.key());
        let mut cosignatures = Vec::new();
        for (number, witness) in witnesses.into_iter().enumerate() {
            let witness = witness?;
            policy += &format!("witness w{number} {}\n", witness.key());
            cosignatures.push(witness.sign(&text, NOW));
        }
        policy += "group all-of-them all w0 w1 w2\nquorum all-of-them\n";
        let policy = Policy::parse(policy.as_bytes(), SplitView::Refused)?;
        let log = log.publish(&cosignatures)?;
        let (root, key) = (log.directory().root().to_owned(), log.key().clone());
        drop(log);

        let disk = disk(&root)?;
        let (mut made, mut verified) = (Vec::new(), Vec::new());
        for number in 0..PROOFS {
            let index = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % LARGE;
            let started = Instant::now();
            let proof = Directory::new(&root).prove(index, &key)?;
            made.push(started.elapsed());
            let entry = entry(index);
            let started = Instant::now();
            black_box(proof.verify(&entry, &policy)?);
            verified.push(started.elapsed());
        }
        let fsck = pair(
            RUNS,
            || timed(program(&self.xtask).args(["log", "fsck"]).arg(&root)),
            || timed(self.engine("peer").arg("fsck").arg(&root).arg(key.to_string())),
        )?;
        let fsck_memory = {
            let mut fsck = program(&self.xtask);
            fsck.args(["log", "fsck"]).arg(&root);
            peak_memory(fsck)?
        };
        let mib = |what, bytes: u64, target: u64| {
            let seen = format!("{} MiB", bytes >> 20);
            Row::new(what, seen, "", String::new(), format!("at most {target} MiB"), bytes >> 20 <= target)
        };
        Ok(vec![
            Row::limit("1,000,000 entries of 300 bytes: `log append --lines`", &imported, 10.0),
            mib("its peak memory", memory, 256),
            mib("the log's files, of 286 MiB of entries", disk, 350),
            Row::speedup("`log fsck` of it, against Tessera's fsck", &fsck, 1.0),
            mib("its peak memory", fsck_memory, 64),
            Row::limit("a proof of one of its entries, from the files", &Times::new(made), 0.005),
            Row::limit("its verification, with three cosignatures", &Times::new(verified), 0.001),
        ])
    }

    fn watching(&self) -> anyhow::Result<Vec<Row>> {
        let key = SubmissionKey::from_scalar(&[5; 32]).context("a scalar")?;
        let other = SubmissionKey::from_scalar(&[6; 32]).context("a scalar")?;
        let submission = Submission::sign(b"", &other);
        let recorded = |index: u64| {
            let digest = Sha256::of(&index.to_be_bytes());
            Ok(Submission { digest, ..submission.clone() }.leaf().into_bytes())
        };
        let rekor = || State::of_rekor("example.com/log", &key.public());
        let ours = || State::new("example.com/log", Vec::new(), NonZeroUsize::MIN);
        Ok(vec![
            self.watch("`monitor`, for each of 100,000 entries of others in a Rekor log", recorded, rekor)?,
            self.watch("`monitor`, for each of 100,000 rebuilds in a log of releases", rebuilt, ours)?,
        ])
    }

    /// From the files to the last entry, without telling or keeping anything.
    fn watch(
        &self,
        what: &'static str,
        entry: impl Fn(u64) -> anyhow::Result<Vec<u8>>,
        new: impl Fn() -> State,
    ) -> anyhow::Result<Row> {
        let root = self.path(&Sha256::of(what.as_bytes()).to_string());
        let log = Log::init(&root, &signer()?)?.import((0..WATCHED).map(entry), |_| ())?;
        log.sign(&signer()?)?.publish(&[])?;
        let policy = format!("log {}\nquorum none\n", signer()?.key());
        let policy = Policy::parse(policy.as_bytes(), SplitView::Accepted)?;
        let watch = Watch { policy: &policy, max_age: None, known: &BTreeSet::new(), now: Time(NOW) };
        let mut times = Vec::new();
        for _ in 0..RUNS {
            let mut state = new();
            let started = Instant::now();
            while state.look(&watch, |name, _| fs::read(root.join(name)))? {}
            times.push(started.elapsed());
            ensure!(state.size() == WATCHED && state.pending().is_empty(), "{:?}", state.pending().first());
        }
        let times = Times::new(times);
        let figure = format!("{:.0}/s", WATCHED as f64 / times.median());
        Ok(Row { what, seen: times.to_string(), against: String::new(), figure, target: String::new(), met: None })
    }
}

/// A statement that gives no reason for an alarm.
fn rebuilt(index: u64) -> anyhow::Result<Vec<u8>> {
    let rebuild = Rebuild {
        version: "1.2.3".parse()?,
        release_sha256: Sha256::of(b"a release"),
        commit: Digest::new([0xc0; 20]),
        lock_sha256: Sha256::of(b"a lock"),
        built_at: Time(index),
        seconds: 372,
        host: RebuildHost { distribution: "Debian".into(), kernel: "6.12".into(), cpu: "AMD EPYC".into() },
        variations: Vec::new(),
        outcome: Rebuilt::Reproduced,
    };
    let subjects = vec![Subject::new("vmlinuz", Sha256::of(b"kernel"))];
    let statement = Statement::new(subjects, Predicate::Rebuild(rebuild))?;
    let nobody = Signature { keyid: Sha256::of(b"nobody"), sig: [0; 64] };
    Ok(Envelope::new(statement.to_bytes(), vec![nobody])?.to_bytes())
}

/// Bytes of the blocks of all files below a directory.
fn disk(directory: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let reading = || format!("reading {}", directory.display());
    let mut bytes = 0;
    for entry in fs::read_dir(directory).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let metadata = entry.metadata().with_context(reading)?;
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            bytes += disk(&entry.path())?;
        }
    }
    Ok(bytes)
}
