//! Stages, their input and output digests, and the cache keyed by them.
//!
//! A stage's *input digest* covers everything that may change its output: lock lines, committed files, the output
//! digests of earlier stages and the source text of the code that runs it (its *recipe*). Its *output digest* is the
//! digest of the listing of what it left ([`crate::formats::listing`]). Both are in `stages.json` and `measurements.lock`
//! (docs/formats.md), which makes the cache safe and a mismatch explainable.

use crate::files::remove_tree;
use crate::formats::listing::Listing;
use crate::progress::{Progress, Unit};
use crate::tools::compiler::{CLIENT, INFER, Programs};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The stages, in the order of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// The tools tree: mkosi and everything it runs.
    Tools,
    /// The toolchain tree: rustc, cargo, gcc and g++, CMake.
    Toolchain,
    /// The guest's binaries, compiled in the toolchain tree.
    Guest,
    /// llama.cpp as archives, with its Rust bindings, compiled in the toolchain tree.
    Llama,
    /// `infer`, compiled in the toolchain tree and linked with llama.cpp.
    Infer,
    /// `vitrine`, compiled in the toolchain tree. No part of the image.
    Client,
    /// The kernel image and its modules.
    Kernel,
    /// `/init` and the modules it loads, as a cpio archive.
    Initrd,
    /// The root's packages as mkosi lays them out.
    Packages,
    /// The composed root: erofs, its hash tree, provenance.
    Rootfs,
    /// The model disk.
    Model,
    /// The bootable disk.
    Disk,
    /// Command lines, artifact digests, launch digests, bill of materials.
    Measure,
}

impl Stage {
    /// Every stage, first to last.
    pub const ALL: [Self; 13] = [
        Self::Tools,
        Self::Toolchain,
        Self::Guest,
        Self::Llama,
        Self::Infer,
        Self::Client,
        Self::Kernel,
        Self::Initrd,
        Self::Packages,
        Self::Rootfs,
        Self::Model,
        Self::Disk,
        Self::Measure,
    ];

    /// The stage's name in files and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Toolchain => "toolchain",
            Self::Guest => "guest",
            Self::Llama => "llama",
            Self::Infer => "infer",
            Self::Client => "client",
            Self::Kernel => "kernel",
            Self::Initrd => "initrd",
            Self::Packages => "packages",
            Self::Rootfs => "rootfs",
            Self::Model => "model",
            Self::Disk => "disk",
            Self::Measure => "measure",
        }
    }

    /// The stage that compiles the program of this package.
    pub(crate) fn compiling(package: &str) -> Self {
        let is_in = |programs: &Programs| programs.packages.iter().any(|known| known.name == package);
        match package {
            _ if is_in(&INFER) => Self::Infer,
            _ if is_in(&CLIENT) => Self::Client,
            _ => Self::Guest,
        }
    }
}

/// What goes into one run of a stage: named digests.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Inputs(BTreeMap<String, Sha256>);

impl Inputs {
    /// Adds an input.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, digest: Sha256) -> Self {
        self.0.insert(name.into(), digest);
        self
    }

    /// Each input with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Sha256)> {
        self.0.iter().map(|(name, digest)| (name.as_str(), digest))
    }

    /// SHA-256 over `vitrine/stage/1`, a zero byte, the stage's name, a newline and per input, sorted by name:
    /// name, space, 64 hexadecimal digits, newline.
    pub fn digest(&self, stage: Stage) -> Sha256 {
        let mut text = format!("vitrine/stage/1\0{}\n", stage.name());
        for (name, digest) in &self.0 {
            text += &format!("{name} {digest}\n");
        }
        Sha256::of(text.as_bytes())
    }
}

/// What one stage took and gave, as `stages.json` and `measurements.lock` record it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// Which stage.
    pub stage: Stage,
    /// [`Inputs::digest`].
    #[serde(rename = "input_sha256")]
    pub input: Sha256,
    /// Digest of the listing of the stage's output directory.
    #[serde(rename = "output_sha256")]
    pub output: Sha256,
    /// The inputs one by one.
    #[serde(rename = "inputs_sha256")]
    pub inputs: Inputs,
}

/// A finished stage: its output directory and its record.
#[derive(Debug)]
pub struct Output {
    /// The digests.
    pub record: Record,
    tree: PathBuf,
    verified: OnceCell<()>,
}

impl Output {
    /// The directory that holds exactly what the stage left. What an earlier run left is hashed again before its
    /// first use, so that a damaged cache entry never reaches an image.
    pub fn tree(&self) -> anyhow::Result<&Path> {
        if self.verified.get().is_none() {
            let found = Listing::of_directory(&self.tree, Some((0, 0)))?.digest().0;
            ensure!(
                found == self.record.output,
                "{} has changed since it was made (recorded {}, found {found}); delete it and build again",
                self.tree.display(),
                self.record.output,
            );
            self.verified.get_or_init(|| ());
        }
        Ok(&self.tree)
    }
}

/// The directory of finished stages in Vitrine's cache.
pub const STAGES: &str = "stages";

/// Finished stages on disk: `stages/<stage>/<input digest>/{output,tree/}` in Vitrine's cache.
///
/// An entry appears by one rename, so that a kill leaves either nothing or a temporary directory that the next run
/// of the same stage removes; a file lock per entry keeps concurrent runs from doing the same work twice.
#[derive(Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The finished stages in Vitrine's cache at `cache`. Their directory is created when first used.
    pub fn new(cache: &Path) -> Self {
        Self { dir: cache.join(STAGES) }
    }

    /// The finished stage that `record` describes, if it is still there.
    pub fn finished(&self, record: Record) -> Option<Output> {
        let tree = self.dir.join(record.stage.name()).join(record.input.to_string()).join("tree");
        tree.is_dir().then(|| Output { record, tree, verified: OnceCell::new() })
    }

    /// Runs `make` in an empty directory, or takes what an earlier run with equal inputs left.
    ///
    /// `make` is given the directory to fill, and a scratch directory that is removed afterwards unless it fails.
    pub fn run(
        &self,
        stage: Stage,
        inputs: Inputs,
        progress: &dyn Progress,
        make: impl FnOnce(&Path, &Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<Output> {
        let started = Instant::now();
        let input = inputs.digest(stage);
        let dir = self.dir.join(stage.name());
        fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let lock_path = dir.join(format!("{input}.lock"));
        let lock = File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        if let Err(refused) = lock.try_lock() {
            let locking = || format!("locking {}", lock_path.display());
            let TryLockError::WouldBlock = refused else { return Err(refused).with_context(locking) };
            let waiting = progress.bar("wait", 1, Unit::Items);
            waiting.note(&format!("another run makes the stage {}", stage.name()));
            lock.lock().with_context(locking)?;
            progress.done("wait", &format!("another run has made the stage {}", stage.name()), started.elapsed());
        }

        let entry = dir.join(input.to_string());
        let record = |output| Record { stage, input, output, inputs };
        if let Some(output) = recorded(&entry)? {
            return Ok(Output { record: record(output), tree: entry.join("tree"), verified: OnceCell::new() });
        }

        // The lock is ours, so whatever is here under this input was left by a run that was killed.
        let temporary = dir.join(format!("{input}.tmp"));
        let scratch = dir.join(format!("{input}.scratch"));
        remove_tree(&entry)?;
        remove_left_behind(&dir, &lock_path)?;
        let tree = temporary.join("tree");
        for new in [&tree, &scratch] {
            fs::create_dir_all(new).with_context(|| format!("creating {}", new.display()))?;
        }
        let made = make(&tree, &scratch).and_then(|()| Ok(Listing::of_directory(&tree, Some((0, 0)))?.digest().0));
        if made.is_err() {
            // The scratch directory stays until the next run of the stage: it has the log that the message names.
            remove_tree(&temporary)?;
        }
        let output = made.with_context(|| format!("stage {}", stage.name()))?;
        let digest_path = temporary.join("output");
        fs::write(&digest_path, format!("{output}\n")).with_context(|| format!("writing {}", digest_path.display()))?;
        fs::rename(&temporary, &entry).with_context(|| format!("renaming into {}", entry.display()))?;
        remove_tree(&scratch)?;
        progress.done(stage.name(), &format!("sha256:{output:#}"), started.elapsed());
        Ok(Output { record: record(output), tree: entry.join("tree"), verified: OnceCell::from(()) })
    }
}

/// Removes the temporary directories of a stage whose run has ended, whatever its inputs were; `ours` is the lock of
/// this run.
fn remove_left_behind(dir: &Path, ours: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry.with_context(|| format!("reading {}", dir.display()))?.path();
        if !path.extension().is_some_and(|extension| extension == "tmp" || extension == "scratch") {
            continue;
        }
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).with_context(|| format!("creating {}", lock_path.display()))?;
        if lock_path == ours || lock.try_lock().is_ok() {
            remove_tree(&path)?;
        }
    }
    Ok(())
}

/// The output digest recorded in `entry`, if there is a finished one.
fn recorded(entry: &Path) -> anyhow::Result<Option<Sha256>> {
    let path = entry.join("output");
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        text => {
            let text = text.with_context(|| format!("reading {}", path.display()))?;
            let digest = text.trim_end().parse();
            Ok(Some(digest.with_context(|| format!("{}: delete {} and build again", path.display(), entry.display()))?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;

    fn run(cache: &Cache, make: impl FnOnce(&Path, &Path) -> anyhow::Result<()>) -> anyhow::Result<Output> {
        cache.run(Stage::Model, Inputs::default().with("a", Sha256::of(b"a")), &Silent, make)
    }

    fn fill(tree: &Path, _scratch: &Path) -> anyhow::Result<()> {
        Ok(fs::write(tree.join("f"), "content")?)
    }

    #[test]
    fn reuses_an_entry_and_notices_damage() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let first = run(&cache, fill).unwrap();
        let finished = cache.finished(first.record.clone()).unwrap();
        assert_eq!(finished.tree().unwrap(), first.tree().unwrap());
        assert!(cache.finished(Record { stage: Stage::Disk, ..first.record.clone() }).is_none());
        let again = run(&cache, |_, _| panic!("must not run")).unwrap();
        assert_eq!(again.record, first.record);
        assert_eq!(fs::read_to_string(again.tree().unwrap().join("f")).unwrap(), "content");

        fs::write(first.tree().unwrap().join("f"), "tampered").unwrap();
        let damaged = run(&cache, |_, _| panic!("must not run")).unwrap();
        let finished = cache.finished(first.record).unwrap();
        for tree in [damaged.tree(), finished.tree()] {
            assert!(tree.unwrap_err().to_string().contains("has changed since it was made"));
        }
    }

    #[test]
    fn a_failed_or_killed_run_leaves_no_entry() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let failed = run(&cache, |tree, _| {
            fs::write(tree.join("half"), "")?;
            anyhow::bail!("killed")
        });
        assert!(format!("{:#}", failed.unwrap_err()).contains("stage model: killed"));
        // Only the lock and what may hold a log are left, here and by a killed run with other inputs.
        let stage = dir.path().join("stages/model");
        assert_eq!(fs::read_dir(&stage).unwrap().count(), 2);
        let live = stage.join("1.scratch");
        let lock = File::create(stage.join("1.lock")).unwrap();
        lock.lock().unwrap();
        for left in [live.clone(), stage.join("0.scratch"), stage.join("0.tmp/tree")] {
            fs::create_dir_all(left).unwrap();
        }
        let output = run(&cache, |tree, scratch| {
            assert_eq!(fs::read_dir(tree).unwrap().count(), 0);
            fill(tree, scratch)
        });
        assert!(output.is_ok());
        assert!(live.exists(), "of a run under way");
        assert_eq!([stage.join("0.scratch"), stage.join("0.tmp")].map(|left| left.exists()), [false, false]);
    }

    #[test]
    fn concurrent_runs_do_the_work_once() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path());
        let runs = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    run(&cache, |tree, scratch| {
                        runs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        fill(tree, scratch)
                    })
                    .unwrap()
                });
            }
        });
        assert_eq!(runs.into_inner(), 1);
    }

    #[test]
    fn the_input_digest_depends_on_stage_name_and_value() {
        let a = Inputs::default().with("a", Sha256::of(b"1"));
        let digest = a.digest(Stage::Model);
        assert_ne!(digest, a.digest(Stage::Disk));
        assert_ne!(digest, Inputs::default().with("b", Sha256::of(b"1")).digest(Stage::Model));
        assert_ne!(digest, Inputs::default().with("a", Sha256::of(b"2")).digest(Stage::Model));
        assert_ne!(digest, Inputs::default().digest(Stage::Model));
    }
}
