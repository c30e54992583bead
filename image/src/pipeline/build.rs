//! The pipeline: what each stage takes, and the order in which stages run.
//!
//! [`Checkout::inputs`] is the only place that says what a stage depends on; the build and `measure --check` both use
//! it. The stages themselves are in `build/stages.rs`.

mod recipe;
mod stages;

pub(crate) use stages::FIRMWARE;

use crate::contents::{kernel, manifest};
use crate::files;
use crate::inputs::crates::Crate;
use crate::inputs::lock::{LOCK, Lock, Set};
use crate::inputs::request::Request;
use crate::inputs::store::Store;
use crate::pipeline::dist;
use crate::pipeline::measured::{MEASUREMENTS_LOCK, Manifest, Measurements};
use crate::pipeline::stage::{Cache, Inputs, Output, Record, Stage};
use crate::progress::Progress;
use crate::tools::compiler::{CLIENT, GUEST, INFER, Workspace};
use crate::tools::mkosi;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use nix::sys::stat::{Mode, umask};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What the root is composed of.
const CONTENT: &str = "content/manifest.yaml";
/// Largest manifest that is read, in bytes.
const MAX_CONTENT: u64 = 1 << 20;

/// The committed inputs.
#[derive(Debug)]
pub struct Checkout {
    /// The directory that holds them.
    pub root: PathBuf,
    /// `image/request.toml`.
    pub request: Request,
    /// `image.lock`.
    pub lock: Lock,
    /// The guest's sources and crates.
    pub guest: Workspace,
    /// Those of llama.cpp.
    pub llama: Workspace,
    /// Those of the worker that is linked with it.
    pub infer: Workspace,
    /// The client's.
    pub client: Workspace,
    /// `content/manifest.yaml`.
    pub content: manifest::Manifest,
}

impl Checkout {
    /// Reads the committed inputs in `root`; an error if the lock does not answer the request.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let request = Request::read(root)?;
        let lock = Lock::read(&root.join(LOCK))?;
        ensure!(
            lock.request_sha256 == request.digest(),
            "{LOCK}: request-sha256: expected {} (the digest of what image/request.toml and mkosi.images ask for), \
             found {}; run `cargo xtask lock --update`",
            request.digest(),
            lock.request_sha256,
        );
        let [guest, infer, client] = [&GUEST, &INFER, &CLIENT].map(|programs| Workspace::read(root, programs));
        let llama = Workspace::native(root, &INFER)?.context("nothing is compiled apart from infer")?;
        let content =
            files::read_text(&root.join(CONTENT), MAX_CONTENT).and_then(|text| manifest::Manifest::parse(&text));
        Ok(Self {
            root: root.to_path_buf(),
            request,
            lock,
            guest: guest?,
            llama,
            infer: infer?,
            client: client?,
            content: content.context(CONTENT)?,
        })
    }

    /// The crates of all our programs, sorted.
    pub fn crates(&self) -> Vec<Crate> {
        let crates: BTreeSet<_> = self.compiled().into_iter().flat_map(|(_, it)| it.crates()).cloned().collect();
        crates.into_iter().collect()
    }

    /// What is compiled, with the stages that do.
    pub fn compiled(&self) -> [(Stage, &Workspace); 4] {
        let Self { guest, llama, infer, client, .. } = self;
        [(Stage::Guest, guest), (Stage::Llama, llama), (Stage::Infer, infer), (Stage::Client, client)]
    }

    /// What `stage` depends on, given the output digests of the stages before it.
    ///
    /// # Errors
    /// When a committed file cannot be read, or `outputs` lacks a stage that comes before.
    pub fn inputs(&self, stage: Stage, outputs: &BTreeMap<Stage, Sha256>) -> anyhow::Result<Inputs> {
        let of_stage = |inputs: Inputs, earlier: Stage| {
            let output = outputs.get(&earlier).with_context(|| format!("no output of stage {}", earlier.name()))?;
            anyhow::Ok(inputs.with(format!("stage:{}", earlier.name()), *output))
        };
        let of_set = |inputs: Inputs, set: Set| inputs.with(format!("lock:{set}"), self.lock.set_digest(set));
        let text = |text: &dyn ToString| Sha256::of(text.to_string().as_bytes());

        let inputs = Inputs::default().with("recipe", recipe::of(stage));
        let inputs = match stage {
            Stage::Tools => of_set(inputs, Set::Tools),
            Stage::Toolchain => of_set(inputs, Set::Toolchain),
            Stage::Guest | Stage::Llama | Stage::Infer | Stage::Client => {
                let named = |(path, digest)| (format!("{}:{path}", stage.name()), digest);
                let mut inputs = of_stage(inputs, Stage::Toolchain)?;
                if stage == Stage::Infer {
                    inputs = of_stage(inputs, Stage::Llama)?;
                }
                let own = self.compiled().into_iter().filter(|(compiled, _)| *compiled == stage);
                let files = own.flat_map(|(_, workspace)| workspace.inputs()).map(named);
                files.fold(inputs, |inputs, (name, digest)| inputs.with(name, digest))
            }
            Stage::Kernel => self.mkosi(of_set(of_stage(inputs, Stage::Tools)?, Set::Kernel), "kernel")?,
            Stage::Initrd => {
                let inputs = of_stage(of_stage(of_stage(inputs, Stage::Tools)?, Stage::Kernel)?, Stage::Guest)?;
                self.mkosi(self.file(inputs, kernel::MODULES)?, "initrd")?
            }
            Stage::Packages => self.mkosi(of_set(of_stage(inputs, Stage::Tools)?, Set::Rootfs), "rootfs")?,
            Stage::Rootfs => {
                let earlier = [Stage::Tools, Stage::Packages, Stage::Guest, Stage::Infer];
                let inputs = earlier.into_iter().try_fold(inputs, of_stage)?;
                self.directory(of_set(inputs, Set::Rootfs), Path::new("content"))?
            }
            Stage::Model => of_set(of_stage(inputs, Stage::Tools)?, Set::Model),
            Stage::Disk => of_stage(inputs, Stage::Rootfs)?,
            Stage::Measure => {
                use Stage::{Client, Disk, Guest, Infer, Initrd, Kernel, Model, Rootfs};
                let earlier = [Guest, Infer, Client, Kernel, Initrd, Rootfs, Model, Disk];
                let mut inputs = earlier.into_iter().try_fold(inputs, of_stage)?;
                // The bill of materials lists the crates, which can change while the programs stay the same.
                for (name, workspace) in [("guest", &self.guest), ("infer", &self.infer)] {
                    let crates = workspace.inputs().filter(|(path, _digest)| *path == "Cargo.lock");
                    inputs = crates.fold(inputs, |inputs, (path, it)| inputs.with(format!("{name}:{path}"), it));
                }
                [Set::Firmware, Set::Rootfs, Set::Kernel, Set::Model].into_iter().fold(inputs, of_set)
            }
        };
        Ok(match stage {
            Stage::Tools | Stage::Toolchain | Stage::Guest | Stage::Llama | Stage::Infer | Stage::Client => inputs,
            _ => inputs
                .with("source-date-epoch", text(&self.lock.source_date_epoch))
                .with("seed", text(&self.request.seed)),
        })
    }

    fn file(&self, inputs: Inputs, path: &str) -> anyhow::Result<Inputs> {
        let full = self.root.join(path);
        let bytes = fs::read(&full).with_context(|| format!("reading {}", full.display()))?;
        Ok(inputs.with(format!("file:{path}"), Sha256::of(&bytes)))
    }

    fn mkosi(&self, inputs: Inputs, image: &str) -> anyhow::Result<Inputs> {
        mkosi::configuration(image).iter().try_fold(inputs, |inputs, path| self.file(inputs, path))
    }

    /// Every file below `directory`, which is relative to the checkout.
    fn directory(&self, mut inputs: Inputs, directory: &Path) -> anyhow::Result<Inputs> {
        let full = self.root.join(directory);
        let entries = fs::read_dir(&full).with_context(|| format!("reading {}", full.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("reading {}", full.display()))?;
            let path = directory.join(entry.file_name());
            let kind = entry.file_type().with_context(|| format!("looking at {}", path.display()))?;
            if kind.is_dir() {
                inputs = self.directory(inputs, &path)?;
            } else {
                ensure!(kind.is_file(), "{}: expected a file or directory, found something else", path.display());
                let path = path.to_str().with_context(|| format!("{}: expected a UTF-8 name", path.display()))?;
                inputs = self.file(inputs, path)?;
            }
        }
        Ok(inputs)
    }
}

/// Finished stages.
pub(crate) type Outputs = BTreeMap<Stage, Output>;

/// A finished build.
#[derive(Debug)]
pub struct Built {
    outputs: Outputs,
}

/// Runs every stage whose output `cache` does not have. Everything in the lock and [`Checkout::crates`] must be in
/// `store`. Sets the umask of the process.
///
/// # Errors
/// When an input is missing or a stage fails; the stages before it stay in `cache`.
pub fn build(checkout: &Checkout, store: &Store, cache: &Cache, progress: &dyn Progress) -> anyhow::Result<Built> {
    // The modes of what a stage leaves are part of its digest.
    umask(Mode::from_bits_truncate(0o022));
    let mut outputs = Outputs::new();
    for stage in Stage::ALL {
        let digests = outputs.iter().map(|(stage, output)| (*stage, output.record.output)).collect();
        let inputs = checkout.inputs(stage, &digests)?;
        let output = cache.run(stage, inputs, progress, |tree, scratch| {
            stages::run(stage, &stages::Context { checkout, store, outputs: &outputs, tree, scratch, progress })
        })?;
        outputs.insert(stage, output);
    }
    Ok(Built { outputs })
}

impl Built {
    /// The records of all stages, in order.
    pub fn records(&self) -> Vec<Record> {
        self.outputs.values().map(|output| output.record.clone()).collect()
    }

    /// Where the file of `dist/` called `name` is.
    fn file(&self, stage: Stage, name: &str) -> anyhow::Result<PathBuf> {
        let output = self.outputs.get(&stage).with_context(|| format!("stage {} has not run", stage.name()))?;
        Ok(output.tree()?.join(name))
    }

    /// Puts the build's files into `dist`, unless they are there already. `scratch` is an empty directory.
    pub fn write(&self, dist: &Path, scratch: &Path) -> anyhow::Result<Manifest> {
        let manifest = self.file(Stage::Measure, dist::MANIFEST)?;
        let stages = scratch.join(dist::STAGES);
        let json = serde_json::to_vec_pretty(&self.records())?;
        fs::write(&stages, json).with_context(|| format!("writing {}", stages.display()))?;
        let mut files = vec![(dist::MANIFEST, manifest.clone()), (dist::STAGES, stages)];
        for (name, stage) in dist::FILES {
            files.push((name, self.file(stage, name)?));
        }
        let manifest = Manifest::read(&manifest)?;
        if !dist::is(dist, &files, &manifest)? {
            dist::replace(dist, &files)?;
        }
        Ok(manifest)
    }
}

/// What no longer holds of `measurements.lock`, one line each; empty if everything does: the committed inputs give
/// every stage its recorded input digest, `dist` was built from them, and its files have the recorded digests.
pub fn check(checkout: &Checkout, dist: &Path) -> anyhow::Result<Vec<String>> {
    let expected = Measurements::read(&checkout.root.join(MEASUREMENTS_LOCK))?;
    let outputs = expected.stage.iter().map(|stage| (stage.name, stage.output)).collect();
    let unknown = Stage::ALL.into_iter().filter(|stage| !expected.stage.iter().any(|known| known.name == *stage));
    let mut differences: Vec<_> =
        unknown.map(|stage| format!("stage {}: measurements.lock does not have it", stage.name())).collect();
    // The inputs of some stages are outputs of others.
    let known = if differences.is_empty() { expected.stage.as_slice() } else { &[] };
    for stage in known {
        let found = checkout.inputs(stage.name, &outputs)?.digest(stage.name);
        if found != stage.input {
            let name = stage.name.name();
            differences.push(format!(
                "stage {name} input: measurements.lock has {}, the committed files give {found}; build, then \
                 `cargo xtask measure --update`",
                stage.input
            ));
        }
    }
    let (manifest, records) = dist::read(dist)?;
    differences.extend(expected.differences(&Measurements::new(&manifest, &records)?));
    differences.extend(dist::differences(dist, &manifest)?);
    Ok(differences)
}
