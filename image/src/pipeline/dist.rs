//! `dist/`: what a build leaves for people. It appears by rename, whole or not at all.

use crate::files::{self, remove_tree};
use crate::pipeline::measured::{Artifact, Manifest};
use crate::pipeline::stage::{Record, Stage};
use anyhow::{Context as _, ensure};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The file that describes the others.
pub const MANIFEST: &str = "manifest.json";
/// The stages' records.
pub const STAGES: &str = "stages.json";
/// Largest `stages.json` that is read, in bytes.
const MAX_STAGES: u64 = 1 << 20;
/// The kernel.
pub const KERNEL: &str = "vmlinuz";
/// The initrd.
pub const INITRD: &str = "initrd";
/// The command line on hardware with SEV-SNP.
pub const COMMAND_LINE: &str = "cmdline";
/// The bootable disk: the root and its hash tree.
pub const DISK: &str = "disk.raw";
/// The model disk.
pub const MODEL: &str = "model.raw";
/// The measured firmware.
pub const OVMF: &str = "ovmf.fd";
/// Where each path of the image is from.
pub const PROVENANCE: &str = "provenance.json";
/// The bill of materials.
pub const SBOM: &str = "sbom.cdx.json";
/// The client, for whoever believes this image.
pub const CLIENT: &str = "vitrine";
/// The other files, by the stage that leaves each; `manifest.json` has their digests.
pub const FILES: [(&str, Stage); 11] = [
    (KERNEL, Stage::Kernel),
    (INITRD, Stage::Initrd),
    (COMMAND_LINE, Stage::Measure),
    ("rootfs.erofs", Stage::Rootfs),
    ("rootfs.verity", Stage::Rootfs),
    (DISK, Stage::Disk),
    (MODEL, Stage::Model),
    (OVMF, Stage::Measure),
    (PROVENANCE, Stage::Measure),
    (SBOM, Stage::Measure),
    (CLIENT, Stage::Client),
];

/// Whether [`replace`] could put a `dist/` there: asked before a long build.
///
/// # Errors
/// When something else is there, or nothing can be written there.
pub fn check_place(dist: &Path) -> anyhow::Result<()> {
    replaceable(dist)?;
    let beside = dist.ancestors().skip(1).find(|parent| parent.exists());
    let beside = beside.with_context(|| format!("{} names no directory", dist.display()))?;
    tempfile::tempfile_in(beside).with_context(|| format!("writing to {}", beside.display())).map(drop)
}

/// Copies `files` (name in `dist/`, source) into a new directory and puts it in place of `dist`.
///
/// Refuses to replace a directory that is not an earlier `dist/`.
pub fn replace(dist: &Path, files: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    let name = dist.file_name().with_context(|| format!("{} names no directory", dist.display()))?;
    let parent = dist.parent().with_context(|| format!("{} names no directory", dist.display()))?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    // Another build may be about to do the same.
    let lock = File::open(parent).with_context(|| format!("opening {}", parent.display()))?;
    lock.lock().with_context(|| format!("locking {}", parent.display()))?;
    replaceable(dist)?;
    let new = parent.join(format!("{}.new", name.display()));
    remove_tree(&new)?;
    if let Err(error) = fill(&new, files).and_then(|()| put(&new, dist)) {
        remove_tree(&new).with_context(|| format!("{error:#}; then"))?;
        return Err(error);
    }
    // The earlier one, if there was one.
    remove_tree(&new)
}

fn replaceable(dist: &Path) -> anyhow::Result<()> {
    let known = !dist.exists() || dist.join(MANIFEST).exists() || is_empty(dist)?;
    ensure!(known, "{} exists and was not made by a build; name another --out or remove it", dist.display());
    Ok(())
}

fn fill(new: &Path, files: &[(&str, PathBuf)]) -> anyhow::Result<()> {
    fs::create_dir(new).with_context(|| format!("creating {}", new.display()))?;
    for (name, source) in files {
        let target = new.join(name);
        fs::copy(source, &target)
            .and_then(|_bytes| File::open(&target)?.sync_all())
            .with_context(|| format!("copying {} to {}", source.display(), target.display()))?;
    }
    Ok(())
}

/// Exchanges `new` with `dist`, so that there is a whole one at any moment.
fn put(new: &Path, dist: &Path) -> anyhow::Result<()> {
    let moved = match renameat2(AT_FDCWD, new, AT_FDCWD, dist, RenameFlags::RENAME_EXCHANGE) {
        Err(Errno::ENOENT) => fs::rename(new, dist),
        // A file system that cannot exchange: for a moment there is none.
        Err(Errno::EINVAL | Errno::ENOSYS) => remove_tree(dist).map(|()| fs::rename(new, dist))?,
        exchanged => exchanged.map_err(Into::into),
    };
    moved.with_context(|| format!("renaming {} to {}", new.display(), dist.display()))
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
    let records = serde_json::from_str(&files::read_text(&path, MAX_STAGES)?);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let (dist, source) = (dir.path().join("a/dist"), dir.path().join("source"));
        for content in ["one", "two"] {
            fs::write(&source, content).unwrap();
            check_place(&dist).unwrap();
            replace(&dist, &[(MANIFEST, source.clone())]).unwrap();
            assert_eq!(fs::read_to_string(dist.join(MANIFEST)).unwrap(), content);
        }
        // What a killed run left is no obstacle.
        fs::create_dir(dir.path().join("a/dist.new")).unwrap();
        let failing = [(MANIFEST, source.clone()), ("initrd", dir.path().join("absent"))];
        let error = replace(&dist, &failing).unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
        assert_eq!((names(&dir.path().join("a")), names(&dist)), (vec!["dist".into()], vec![MANIFEST.into()]));
    }

    #[test]
    fn other_directories_are_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        check_place(&dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("photo"), "").unwrap();
        for error in [check_place(dir.path()).unwrap_err(), replace(dir.path(), &[]).unwrap_err()] {
            assert!(error.to_string().contains("was not made by a build"), "{error}");
        }
        check_place(&dir.path().join("photo")).unwrap_err();
        check_place(Path::new("/")).unwrap_err();
    }
}
