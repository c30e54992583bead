//! The inputs of an image as a commit has them, and what they are said to measure to: a comparison without a build.

use super::inputs::{Change, Class, Item, Items, between, collect};
use super::measurements::{self, Through};
use super::{Cause, Comparison, Difference, Kind, Value};
use crate::inputs::crates::{self, Crate};
use crate::inputs::lock::{LOCK, Lock, Set};
use crate::pipeline::dist;
use crate::pipeline::measured::{MEASUREMENTS_LOCK, Measurements};
use crate::pipeline::stage::Stage;
use anyhow::Context as _;
use measure::Sha256;
use std::collections::{BTreeMap, BTreeSet};

/// Committed files that are read for what they say.
pub const LOCKS: [&str; 4] = [LOCK, MEASUREMENTS_LOCK, crates::LOCKS[0], crates::LOCKS[1]];
/// Committed files that are inputs by their bytes; a directory stands for everything in it.
pub const FILES: [&str; 6] = ["content", "mkosi.conf", "mkosi.images", "image/request.toml", COMPILER, MODULES];
/// What names the Rust release.
const COMPILER: &str = "rust-toolchain.toml";
/// What names the modules in the initrd.
const MODULES: &str = "enclave-agent/init/modules.txt";

/// What a commit has of the files that [`LOCKS`] and [`FILES`] name.
#[derive(Debug)]
pub struct Committed {
    lock: Lock,
    /// The crates of each lock.
    crates: [Vec<Crate>; 2],
    /// The others, by path.
    files: BTreeMap<String, Sha256>,
    measurements: Measurements,
}

impl Committed {
    /// From the bytes of the files, by path.
    ///
    /// # Errors
    /// When a lock is missing or cannot be understood.
    pub fn parse(files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let bytes = files.get(name).with_context(|| format!("there is no {name}"))?;
            String::from_utf8(bytes.clone()).with_context(|| format!("{name}: expected UTF-8"))
        };
        let parsed = |name: &str| {
            let text = text(name)?;
            crates::parse(&text).with_context(|| format!("reading {name}"))
        };
        let [lock, measured, guest, infer] = LOCKS;
        let measurements = toml::from_str(&text(measured)?).with_context(|| format!("reading {measured}"))?;
        let others = files.iter().filter(|(name, _)| !LOCKS.contains(&name.as_str()));
        Ok(Self {
            lock: Lock::parse(&text(lock)?).with_context(|| format!("reading {lock}"))?,
            // Images did without llama.cpp at first.
            crates: [parsed(guest)?, if files.contains_key(infer) { parsed(infer)? } else { Vec::new() }],
            files: others.map(|(name, bytes)| (name.clone(), Sha256::of(bytes))).collect(),
            measurements,
        })
    }

    /// What differs in `new`: the inputs, the measurements, and the artifacts by their committed digests. An artifact that
    /// differs though the inputs of its stage do not is unexplained.
    pub fn compare(&self, new: &Self) -> Comparison {
        let classes = [Class::Package, Class::Crate, Class::Compiler, Class::Fetched, Class::File];
        let mut inputs: Vec<_> =
            classes.into_iter().flat_map(|class| between(class, &self.items(class), &new.items(class))).collect();
        let (before, after) = (self.lock.source_date_epoch, new.lock.source_date_epoch);
        if before != after {
            let name = "source-date-epoch".to_owned();
            let (old, new) = (Some(Value::Time(before)), Some(Value::Time(after)));
            inputs.push(Change { class: Class::Setting, name, old, new, source: None, stages: Vec::new() });
        }
        inputs.sort();
        let differences: Vec<_> =
            dist::FILES.iter().filter_map(|(name, stage)| self.artifact(new, name, *stage, &inputs)).collect();
        let through = |measured: &[&str]| -> Vec<Through> {
            let of = differences.iter().filter(|it| measured.contains(&it.artifact.as_str()));
            of.map(|difference| {
                let inputs = match &difference.cause {
                    Cause::Input { inputs } => inputs.clone(),
                    _ => Vec::new(),
                };
                Through { artifact: difference.artifact.clone(), inputs }
            })
            .collect()
        };
        let measurements = measurements::between(&self.measurements, &new.measurements, &through);
        Comparison { inputs, differences, measurements, doubts: Vec::new() }
    }

    fn items(&self, class: Class) -> Items {
        let item = |name: &str, version: Option<&str>, sha256, source: Option<&str>, stages| {
            let (version, source) = (version.map(str::to_owned), source.map(str::to_owned));
            (name.to_owned(), Item { version, sha256, source, stages })
        };
        match class {
            Class::Package => collect(
                self.lock
                    .packages
                    .iter()
                    .map(|it| item(&it.name, Some(&it.version), it.sha256, Some(&it.source), of_sets(&it.sets))),
            ),
            Class::Crate => {
                let stages = [vec![Stage::Guest], vec![Stage::Llama, Stage::Infer]];
                let of = |(crates, stages): (&'_ Vec<Crate>, Vec<Stage>)| -> Vec<_> {
                    let item = |it: &Crate| item(&it.name, Some(&it.version), it.sha256, None, stages.clone());
                    crates.iter().map(item).collect()
                };
                collect(self.crates.iter().zip(stages).flat_map(of))
            }
            Class::Fetched => collect(self.lock.files.iter().map(|it| {
                let sha256 = it.member.as_ref().map_or(it.sha256, |member| member.sha256);
                item(&it.name, None, sha256, None, of_sets(&it.sets))
            })),
            _ => {
                let is = |name: &str| (name == COMPILER) == (class == Class::Compiler);
                let files = self.files.iter().filter(|(name, _)| is(name));
                collect(files.map(|(name, sha256)| item(name, None, *sha256, None, of_file(name))))
            }
        }
    }

    /// An artifact that the measurements of both commits have otherwise.
    fn artifact(&self, other: &Self, name: &str, stage: Stage, inputs: &[Change]) -> Option<Difference> {
        let digest = |it: &Self| it.measurements.artifacts.get(name).copied().map(Value::Sha256);
        let (old, new) = (digest(self), digest(other));
        if old == new {
            return None;
        }
        let input = |it: &Self, stage| it.measurements.stage.iter().find(|it| it.name == stage).map(|it| it.input);
        let changed: BTreeSet<_> =
            needed(stage).into_iter().filter(|it| input(self, *it) != input(other, *it)).collect();
        let goes_in = |change: &&Change| match change.class {
            Class::Setting | Class::Compiler => true,
            _ => change.stages.iter().any(|stage| changed.contains(stage)),
        };
        let names = inputs.iter().filter(goes_in).map(|it| format!("{} {}", it.class.name(), it.name));
        let mut names: Vec<_> = names.collect();
        if names.is_empty() {
            // Code and sources, of which the commit says only the digests.
            names.extend(changed.iter().map(|stage| format!("inputs of stage {}", stage.name())));
        }
        let cause = if changed.is_empty() { Cause::Unexplained } else { Cause::Input { inputs: names } };
        let artifact = name.to_owned();
        let (path, kind, offset, provenance) = (None, Kind::Output, None, None);
        Some(Difference { stage, artifact, path, kind, offset, old, new, provenance, cause })
    }
}

/// The stages that packages and files of these sets go into.
fn of_sets(sets: &[Set]) -> Vec<Stage> {
    let stage = |set: &Set| match set {
        Set::Firmware => Some(Stage::Measure),
        Set::Initrd => Some(Stage::Initrd),
        Set::Kernel => Some(Stage::Kernel),
        Set::Model => Some(Stage::Model),
        Set::Rootfs => Some(Stage::Packages),
        Set::Toolchain => Some(Stage::Toolchain),
        Set::Tools => Some(Stage::Tools),
        Set::Vectors => None,
    };
    let stages: BTreeSet<_> = sets.iter().filter_map(stage).collect();
    stages.into_iter().collect()
}

/// The stages that a committed file goes into.
fn of_file(name: &str) -> Vec<Stage> {
    match name {
        MODULES => vec![Stage::Kernel, Stage::Initrd],
        "mkosi.conf" => vec![Stage::Kernel, Stage::Initrd, Stage::Packages],
        name if name.starts_with("content/") => vec![Stage::Rootfs],
        name if name.starts_with("mkosi.images/kernel/") => vec![Stage::Kernel],
        name if name.starts_with("mkosi.images/initrd/") => vec![Stage::Initrd],
        name if name.starts_with("mkosi.images/rootfs/") => vec![Stage::Packages],
        // The seed, which every volume and disk is named by.
        _ => vec![Stage::Rootfs, Stage::Model, Stage::Disk],
    }
}

/// The stages that a stage's output is made from, itself included.
fn needed(stage: Stage) -> BTreeSet<Stage> {
    let earlier: &[Stage] = match stage {
        Stage::Tools | Stage::Toolchain => &[],
        Stage::Guest | Stage::Llama | Stage::Client => &[Stage::Toolchain],
        Stage::Infer => &[Stage::Llama],
        Stage::Kernel | Stage::Packages | Stage::Model => &[Stage::Tools],
        Stage::Initrd => &[Stage::Kernel, Stage::Guest],
        Stage::Rootfs => &[Stage::Packages, Stage::Guest, Stage::Infer],
        Stage::Disk => &[Stage::Rootfs],
        Stage::Measure => &[Stage::Client, Stage::Initrd, Stage::Model, Stage::Disk],
    };
    earlier.iter().flat_map(|stage| needed(*stage)).chain([stage]).collect()
}
