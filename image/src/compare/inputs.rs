//! What goes into two images, compared: packages, crates, the compiler, committed files.

use super::build::{Build, Class as Part, Component};
use super::measurements::{self, Moved, Through};
use super::{Comparison, Value};
use crate::inputs::crates::{self, Crate};
use crate::inputs::lock::{LOCK, Lock, is_name};
use crate::pipeline::measured::{MEASUREMENTS_LOCK, Measurements};
use crate::pipeline::stage::Stage;
use anyhow::Context as _;
use measure::Sha256;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// An input that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// What kind of input.
    pub class: Class,
    /// Its name.
    pub name: String,
    /// What it was: a version, or the digest of the bytes where the version is the same or there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
    /// The Debian source package of a package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The stages it goes into, as far as they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stages: Vec<Stage>,
}

/// Kinds of inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// A Debian package.
    Package,
    /// A set of locked packages and files, of which only the digest is at hand.
    Set,
    /// A Rust crate.
    Crate,
    /// The Rust release that builds everything but the guest.
    Compiler,
    /// A locked file that is no package.
    Fetched,
    /// A committed file.
    File,
    /// A number or name that everything depends on.
    Setting,
    /// The code that runs a stage.
    Recipe,
    /// A token of the command line that nothing else accounts for.
    Token,
}

impl Class {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Set => "set",
            Self::Crate => "crate",
            Self::Compiler => "compiler",
            Self::Fetched => "fetched",
            Self::File => "file",
            Self::Setting => "setting",
            Self::Recipe => "recipe",
            Self::Token => "token",
        }
    }
}

impl Change {
    /// Where Debian shows what happens to the source package.
    pub fn tracker(&self) -> Option<String> {
        // The name may be a stranger's.
        let source = self.source.as_ref().filter(|source| is_name(source))?;
        Some(format!("https://tracker.debian.org/pkg/{}", source.replace('+', "%2B")))
    }
}

/// From the records of two builds.
pub(super) fn of_builds(old: &Build, new: &Build) -> anyhow::Result<Vec<Change>> {
    let mut changes = BTreeMap::<(Class, String), Change>::new();
    for stage in Stage::ALL {
        for input in old.changed_inputs(new, stage) {
            let (class, name) = match input.split_once(':') {
                Some(("stage", _)) => continue,
                Some(("lock", set)) => (Class::Set, set.to_owned()),
                Some(("file" | "guest", path)) => (Class::File, path.to_owned()),
                _ if input == "recipe" => (Class::Recipe, stage.name().to_owned()),
                _ => (Class::Setting, input.clone()),
            };
            let digest = |build: &Build| {
                let inputs = build.records.get(&stage)?.inputs.iter();
                inputs.into_iter().find(|(name, _)| *name == input).map(|(_, digest)| Value::Sha256(*digest))
            };
            let (old, new) = (digest(old), digest(new));
            let key = (class, name.clone());
            let change = Change { class, name, old, new, source: None, stages: Vec::new() };
            changes.entry(key).or_insert(change).stages.push(stage);
        }
    }
    let mut all: Vec<_> = changes.into_values().collect();
    for (kind, class) in [(Part::Package, Class::Package), (Part::Crate, Class::Crate), (Part::File, Class::Fetched)] {
        let named = |build: &'_ Build| -> Items {
            let parts = build.components.values().filter(|part| part.class == kind);
            let item = |part: &Component| {
                let Component { name, version, sha256, source, .. } = part;
                (name.clone(), Item { version: version.clone(), sha256: *sha256, source: source.clone() })
            };
            collect(parts.map(item))
        };
        all.extend(between(class, &named(old), &named(new)));
    }
    all.sort();
    Ok(all)
}

/// Adds the tokens of the command line that follow from nothing else.
pub(super) fn add_tokens(comparison: &mut Comparison) {
    let own = comparison.differences.iter().filter(|it| it.kind == super::Kind::Token && !it.cause.explains());
    let change = |difference: &super::Difference| Change {
        class: Class::Token,
        name: difference.path.clone().unwrap_or_else(|| difference.artifact.clone()),
        old: difference.old.clone(),
        new: difference.new.clone(),
        source: None,
        stages: vec![difference.stage],
    };
    let tokens: Vec<_> = own.map(change).collect();
    comparison.inputs.extend(tokens);
}

/// By name; a crate may be there in several versions.
type Items = BTreeMap<String, BTreeSet<Item>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    version: Option<String>,
    sha256: Sha256,
    source: Option<String>,
}

fn collect(items: impl Iterator<Item = (String, Item)>) -> Items {
    let mut all = Items::new();
    for (name, item) in items {
        all.entry(name).or_default().insert(item);
    }
    all
}

fn between(class: Class, old: &Items, new: &Items) -> Vec<Change> {
    let names: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    let none = BTreeSet::new();
    let mut changes = Vec::new();
    for name in names {
        let (before, after) = (old.get(name).unwrap_or(&none), new.get(name).unwrap_or(&none));
        let bytes = |items: &BTreeSet<Item>| -> BTreeSet<_> {
            items.iter().map(|item| (item.version.clone(), item.sha256)).collect()
        };
        if bytes(before) == bytes(after) {
            continue;
        }
        let versions = |items: &BTreeSet<Item>| -> BTreeSet<_> { items.iter().map(|it| it.version.clone()).collect() };
        let by_version = versions(before) != versions(after);
        let value = |items: &BTreeSet<Item>| match by_version {
            _ if items.is_empty() => None,
            true => {
                let versions: Vec<_> = items.iter().filter_map(|item| item.version.clone()).collect();
                Some(Value::Text(versions.join(", ")))
            }
            false => items.first().map(|item| Value::Sha256(item.sha256)),
        };
        let source = after.iter().chain(before).find_map(|item| item.source.clone());
        let (old, new) = (value(before), value(after));
        changes.push(Change { class, name: name.clone(), old, new, source, stages: Vec::new() });
    }
    changes
}

/// The inputs as a commit has them, and what they are said to measure to.
#[derive(Debug)]
pub struct Committed {
    lock: Lock,
    crates: Vec<Crate>,
    /// Other files, by path.
    files: BTreeMap<String, Sha256>,
    measurements: Measurements,
}

/// Committed files that are read as a whole.
pub const LOCKS: [&str; 3] = [LOCK, "Cargo.lock", MEASUREMENTS_LOCK];
/// Committed files that are inputs by their bytes; a directory stands for everything in it.
pub const FILES: [&str; 6] =
    ["content", "mkosi.conf", "mkosi.images", "image/request.toml", COMPILER, "enclave-agent/init/modules.txt"];
/// What names the Rust release.
const COMPILER: &str = "rust-toolchain.toml";

impl Committed {
    /// From the bytes of the files that [`LOCKS`] and [`FILES`] name.
    ///
    /// # Errors
    /// When a lock is missing or cannot be understood.
    pub fn parse(files: &BTreeMap<String, Vec<u8>>) -> anyhow::Result<Self> {
        let text = |name: &str| {
            let bytes = files.get(name).with_context(|| format!("the commit has no {name}"))?;
            String::from_utf8(bytes.clone()).with_context(|| format!("{name}: expected UTF-8"))
        };
        let [lock, cargo_lock, measured] = LOCKS;
        let measurements = toml::from_str(&text(measured)?).with_context(|| format!("reading {measured}"))?;
        let others = files.iter().filter(|(name, _)| !LOCKS.contains(&name.as_str()));
        Ok(Self {
            lock: Lock::parse(&text(lock)?).with_context(|| format!("reading {lock}"))?,
            crates: crates::parse(&text(cargo_lock)?).with_context(|| format!("reading {cargo_lock}"))?,
            files: others.map(|(name, bytes)| (name.clone(), Sha256::of(bytes))).collect(),
            measurements,
        })
    }

    fn items(&self, class: Class) -> Items {
        let is = |name: &String| class == if name == COMPILER { Class::Compiler } else { Class::File };
        match class {
            Class::Package => collect(self.lock.packages.iter().map(|it| {
                let (version, source) = (Some(it.version.clone()), Some(it.source.clone()));
                (it.name.clone(), Item { version, sha256: it.sha256, source })
            })),
            Class::Crate => collect(self.crates.iter().map(|it| {
                (it.name.clone(), Item { version: Some(it.version.clone()), sha256: it.sha256, source: None })
            })),
            Class::Fetched => collect(self.lock.files.iter().map(|it| {
                let sha256 = it.member.as_ref().map_or(it.sha256, |member| member.sha256);
                (it.name.clone(), Item { version: None, sha256, source: None })
            })),
            _ => collect(
                self.files
                    .iter()
                    .filter(|(name, _)| is(name))
                    .map(|(name, sha256)| (name.clone(), Item { version: None, sha256: *sha256, source: None })),
            ),
        }
    }

    /// What differs in `new`. No file of an image is at hand, so there are no differences but those of the inputs and of the
    /// committed measurements.
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
        let digest = |list: &Measurements, name: &str| list.artifacts.get(name).copied();
        let through = |measured: &[&str]| -> Vec<Through> {
            let differs = |name: &&&str| digest(&self.measurements, name) != digest(&new.measurements, name);
            let through = |name: &&str| Through { artifact: (*name).to_owned(), inputs: Vec::new() };
            measured.iter().filter(differs).map(through).collect()
        };
        let measurements: Vec<Moved> = measurements::between(&self.measurements, &new.measurements, &through);
        Comparison { inputs, differences: Vec::new(), measurements, doubts: Vec::new() }
    }
}
