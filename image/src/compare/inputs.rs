//! What goes into two images, compared: packages, crates, the compiler, committed files.

use super::build::{Build, Class as Part, Component};
use super::{Comparison, Value};
use crate::inputs::lock::is_name;
use crate::pipeline::stage::Stage;
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
                Some(("file" | "guest" | "llama" | "infer" | "client", path)) => (Class::File, path.to_owned()),
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
                (
                    name.clone(),
                    Item { version: version.clone(), sha256: *sha256, source: source.clone(), stages: Vec::new() },
                )
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
pub(super) type Items = BTreeMap<String, BTreeSet<Item>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Item {
    pub(super) version: Option<String>,
    pub(super) sha256: Sha256,
    pub(super) source: Option<String>,
    /// Where it goes in, if that is known.
    pub(super) stages: Vec<Stage>,
}

pub(super) fn collect(items: impl Iterator<Item = (String, Item)>) -> Items {
    let mut all = Items::new();
    for (name, item) in items {
        all.entry(name).or_default().insert(item);
    }
    all
}

pub(super) fn between(class: Class, old: &Items, new: &Items) -> Vec<Change> {
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
        let is_known = |it: &Item| it.version.is_some();
        let by_version = versions(before) != versions(after) && before.iter().chain(after).all(is_known);
        let value = |items: &BTreeSet<Item>| match by_version {
            _ if items.is_empty() => None,
            true => {
                let versions: Vec<_> = items.iter().filter_map(|item| item.version.clone()).collect();
                Some(Value::Text(versions.join(", ")))
            }
            false => items.first().map(|item| Value::Sha256(item.sha256)),
        };
        let source = after.iter().chain(before).find_map(|item| item.source.clone());
        let stages: BTreeSet<_> = after.iter().chain(before).flat_map(|item| item.stages.iter().copied()).collect();
        let (old, new) = (value(before), value(after));
        changes.push(Change { class, name: name.clone(), old, new, source, stages: stages.into_iter().collect() });
    }
    changes
}
