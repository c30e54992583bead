//! A finished build, opened for comparing.

use crate::contents::provenance::{self, Line, Origin};
use crate::files;
use crate::pipeline::dist;
use crate::pipeline::measured::{Manifest, Measurements};
use crate::pipeline::stage::{Cache, Record, Stage};
use crate::progress::Progress;
use anyhow::Context as _;
use measure::Sha256;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest `provenance.json` or `sbom.cdx.json` that is read, in bytes.
const MAX_JSON: u64 = 64 << 20;

/// A finished build: a `dist/`, or the directory of a release.
#[derive(Debug)]
pub struct Build {
    pub(super) dir: PathBuf,
    pub(super) manifest: Manifest,
    pub(super) records: BTreeMap<Stage, Record>,
    /// By image and path.
    pub(super) origins: BTreeMap<(String, String), Origin>,
    /// By name in the bill of materials.
    pub(super) components: BTreeMap<String, Component>,
    /// Whole outputs of stages, as far as they are at hand.
    pub(super) trees: BTreeMap<Stage, crate::pipeline::stage::Output>,
}

/// A part of the image as the bill of materials lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) kind: String,
    pub(super) class: Class,
    pub(super) name: String,
    pub(super) version: Option<String>,
    pub(super) sha256: Sha256,
    /// The Debian source package, without its version.
    pub(super) source: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Package,
    Crate,
    File,
}

impl Build {
    /// Opens the build in `dir`. What its stages left is looked for in `cache`.
    ///
    /// # Errors
    /// When one of the files that describe a build cannot be read.
    pub fn open(dir: &Path, cache: Option<&Cache>) -> anyhow::Result<Self> {
        let (manifest, records) = dist::read(dir)?;
        // A pipe or a link to a device in somebody's release never ends.
        for path in manifest.artifacts.keys().map(|name| dir.join(name)).filter(|path| path.exists()) {
            files::require_regular(&path)?;
        }
        let finished = |record: &Record| Some((record.stage, cache?.finished(record.clone())?));
        let trees = records.iter().filter_map(finished).collect();
        let records = records.into_iter().map(|record| (record.stage, record)).collect();
        let (traced, sbom) = (dir.join(dist::PROVENANCE), dir.join(dist::SBOM));
        let origins = origins(&files::read_text(&traced, MAX_JSON)?);
        let origins = origins.with_context(|| format!("reading {}", traced.display()))?;
        let components = components(&files::read_text(&sbom, MAX_JSON)?);
        let components = components.with_context(|| format!("reading {}", sbom.display()))?;
        Ok(Self { dir: dir.to_path_buf(), manifest, records, origins, components, trees })
    }

    /// What measures and names this build.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Measures the files anew: what `manifest.json` says of them and is not so, one line each.
    pub fn doubts(&self, progress: &dyn Progress) -> Vec<String> {
        let records: Vec<_> = self.records.values().cloned().collect();
        let measured = |manifest: &Manifest| Measurements::new(manifest, &records);
        let doubts = self.manifest.recomputed(&self.dir, progress).and_then(|found| {
            let mut doubts = measured(&self.manifest)?.differences(&measured(&found)?);
            if doubts.is_empty() && found != self.manifest {
                doubts.push("the volumes are not those on the disks".to_owned());
            }
            Ok(doubts)
        });
        doubts.unwrap_or_else(|error| vec![format!("it cannot be measured: {error:#}")])
    }

    /// Where a path of an image is from.
    pub(super) fn origin(&self, image: &str, path: &str) -> Option<&Origin> {
        self.origins.get(&(image.to_owned(), path.to_owned()))
    }

    /// The package of this name.
    pub(super) fn package(&self, name: &str) -> Option<&Component> {
        self.components.values().find(|part| part.class == Class::Package && part.name == name)
    }

    /// The first part of this kind.
    pub(super) fn part(&self, kind: &str) -> Option<&Component> {
        self.components.values().find(|part| part.kind == kind)
    }

    /// The names of the inputs of `stage` that `other` does not have equal.
    pub(super) fn changed_inputs(&self, other: &Self, stage: Stage) -> Vec<String> {
        let inputs = |build: &Self| -> BTreeMap<String, Sha256> {
            let record = build.records.get(&stage);
            let all = record.iter().flat_map(|record| record.inputs.iter());
            all.map(|(name, digest)| (name.to_owned(), *digest)).collect()
        };
        let (old, new) = (inputs(self), inputs(other));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        names.into_iter().filter(|name| old.get(*name) != new.get(*name)).cloned().collect()
    }

    /// Whether the records say that `stage` left something else in `other`.
    pub(super) fn output_differs(&self, other: &Self, stage: Stage) -> bool {
        let output = |build: &Self| build.records.get(&stage).map(|record| record.output);
        output(self) != output(other)
    }
}

fn origins(text: &str) -> anyhow::Result<BTreeMap<(String, String), Origin>> {
    let lines = |(image, lines): (String, Vec<Line>)| {
        lines.into_iter().map(move |line| ((image.clone(), line.path), line.origin))
    };
    Ok(provenance::parse(text.as_bytes())?.into_iter().flat_map(lines).collect())
}

#[derive(Deserialize)]
struct Sbom {
    components: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "bom-ref")]
    bom_ref: String,
    name: String,
    version: Option<String>,
    hashes: Vec<Hash>,
    #[serde(default)]
    properties: Vec<Property>,
}

#[derive(Deserialize)]
struct Hash {
    content: Sha256,
}

#[derive(Deserialize)]
struct Property {
    name: String,
    value: String,
}

fn components(text: &str) -> anyhow::Result<BTreeMap<String, Component>> {
    let parsed: Sbom = serde_json::from_str(text)?;
    let component = |listed: Listed| {
        let class = match &listed.bom_ref {
            reference if reference.starts_with("pkg:deb/") => Class::Package,
            reference if reference.starts_with("pkg:cargo/") => Class::Crate,
            _ => Class::File,
        };
        let sha256 = listed.hashes.first().with_context(|| format!("{}: expected a hash", listed.name))?.content;
        let source = listed.properties.iter().find(|property| property.name == "vitrine:debian-source");
        let source = source.and_then(|property| property.value.split(' ').next()).map(str::to_owned);
        let Listed { kind, bom_ref, name, version, .. } = listed;
        Ok((bom_ref, Component { kind, class, name, version, sha256, source }))
    };
    parsed.components.into_iter().map(component).collect()
}
