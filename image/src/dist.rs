//! `dist/`: what a build leaves for people. It appears by rename, whole or not at all.

use anyhow::{Context as _, ensure};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::measured::{Artifact, Manifest};
use crate::stage::{self, Record, Stage};
use crate::store;

/// The file that describes the others.
pub const MANIFEST: &str = "manifest.json";
/// The stages' records.
pub const STAGES: &str = "stages.json";
/// The other files, by the stage that leaves each; `manifest.json` has their digests.
pub const FILES: [(&str, Stage); 10] = [
    ("vmlinuz", Stage::Kernel),
    ("initrd", Stage::Initrd),
    ("cmdline", Stage::Measure),
    ("rootfs.erofs", Stage::Rootfs),
    ("rootfs.verity", Stage::Rootfs),
    ("disk.raw", Stage::Disk),
    ("model.raw", Stage::Model),
    ("ovmf.fd", Stage::Measure),
    ("provenance.json", Stage::Measure),
    ("sbom.cdx.json", Stage::Measure),
];

/// Copies `files` (name in `dist/`, source) into a new directory and puts it in place of `dist`.
///
/// Refuses to replace a directory that is not an earlier `dist/`.
pub fn replace(dist: &Path, files: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    if dist.exists() {
        let known = dist.join(MANIFEST).exists() || is_empty(dist)?;
        ensure!(known, "{} exists and was not made by a build; name another --out or remove it", dist.display());
    }
    let name = dist.file_name().with_context(|| format!("{} names no directory", dist.display()))?;
    let beside = |suffix: &str| dist.with_file_name(format!("{}.{suffix}", name.display()));
    let (new, old) = (beside("new"), beside("old"));
    stage::remove(&new)?;
    fs::create_dir_all(&new).with_context(|| format!("creating {}", new.display()))?;
    for (name, source) in files {
        let target = new.join(name);
        fs::copy(source, &target)
            .and_then(|_bytes| File::open(&target)?.sync_all())
            .with_context(|| format!("copying {} to {}", source.display(), target.display()))?;
    }
    // Between the two renames there is no dist/; `old` is kept until the new one is in place.
    stage::remove(&old)?;
    if dist.exists() {
        fs::rename(dist, &old).with_context(|| format!("moving {} away", dist.display()))?;
    }
    fs::rename(&new, dist).with_context(|| format!("renaming into {}", dist.display()))?;
    stage::remove(&old)
}

/// Whether `dist` already holds these files, byte for byte.
pub fn is(dist: &Path, files: &[(&str, PathBuf)], manifest: &Manifest) -> anyhow::Result<bool> {
    for name in [MANIFEST, STAGES] {
        let source = files.iter().find(|(file, _)| *file == name);
        let (_, source) = source.with_context(|| format!("{name} is not among the files"))?;
        let present = dist.join(name);
        if !present.exists() || Artifact::of(&present)? != Artifact::of(source)? {
            return Ok(false);
        }
    }
    Ok(differences(dist, manifest)?.is_empty())
}

/// What `dist` says of itself.
pub fn read(dist: &Path) -> anyhow::Result<(Manifest, Vec<Record>)> {
    Ok((Manifest::read(&dist.join(MANIFEST))?, records(dist)?))
}

/// The stages that made `dist`, as it says.
pub fn records(dist: &Path) -> anyhow::Result<Vec<Record>> {
    let path = dist.join(STAGES);
    let records = serde_json::from_str(&store::read_text(&path, 1 << 20)?);
    records.with_context(|| format!("parsing {}", path.display()))
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    Ok(fs::read_dir(dir).with_context(|| format!("reading {}", dir.display()))?.next().is_none())
}

/// What in `dist` is not what `manifest` says, one line each; empty if everything is.
pub fn differences(dist: &Path, manifest: &Manifest) -> anyhow::Result<Vec<String>> {
    let mut differences = Vec::new();
    for (name, expected) in &manifest.artifacts {
        let path = dist.join(name);
        if !path.exists() {
            differences.push(format!("{name}: expected a file, found nothing"));
            continue;
        }
        let found = Artifact::of(&path)?;
        if found != *expected {
            differences.push(format!("{name}: expected sha256 {}, found {}", expected.sha256, found.sha256));
        }
    }
    Ok(differences)
}
