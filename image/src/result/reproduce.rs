//! Making a release again: whether everything that went in is what it says, and the source from an archive.

use crate::files;
use crate::formats::compression::{Capped, Compression};
use crate::pipeline::build::Checkout;
use crate::pipeline::measured::{MEASUREMENTS_LOCK, Measurements};
use crate::pipeline::stage::{Record, Stage};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Component, Path, PathBuf};

/// Largest source archive, unpacked, in bytes, and most files in it.
const MAX_SOURCE: u64 = 1 << 30;
const MAX_FILES: usize = 100_000;
/// What an input digest is called that covers the code of the stage.
const RECIPE: &str = "recipe";

/// Where the chain from the source to the release's stages breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    /// The stage.
    pub stage: Stage,
    /// Its input; `None` if the digest over all of them is wrong.
    pub input: Option<String>,
    /// What the release says.
    pub expected: Option<Sha256>,
    /// What there is.
    pub found: Option<Sha256>,
}

impl Broken {
    /// Whether it is the program that runs that differs, and not the source.
    pub fn is_the_program(&self) -> bool {
        self.input.as_deref() == Some(RECIPE)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |digest: &Option<Sha256>| digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
        let input = self.input.as_deref().unwrap_or("the digest over its inputs");
        let (expected, found) = (shown(&self.expected), shown(&self.found));
        write!(f, "stage {}, {input}: the release has {expected}, here is {found}", self.stage.name())
    }
}

/// Follows the chain from `checkout` through the stages that `records` describe: every input of every stage is what the source
/// and the running program give, and the output of the stage before. Nothing is built. The first break is the first of the
/// answer.
///
/// # Errors
/// When a source file cannot be read, or `records` are not those of every stage in order.
pub fn chain(checkout: &Checkout, records: &[Record]) -> anyhow::Result<Vec<Broken>> {
    let stages = records.iter().map(|record| record.stage);
    ensure!(stages.eq(Stage::ALL), "stages.json: expected one record of each stage, in order");
    let outputs = records.iter().map(|record| (record.stage, record.output)).collect();
    let mut broken = Vec::new();
    for record in records {
        let (stage, here) = (record.stage, checkout.inputs(record.stage, &outputs)?);
        let map = |inputs: &crate::pipeline::stage::Inputs| -> BTreeMap<String, Sha256> {
            inputs.iter().map(|(name, digest)| (name.to_owned(), *digest)).collect()
        };
        let (expected, found) = (map(&record.inputs), map(&here));
        let names: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        for name in names.into_iter().filter(|name| expected.get(*name) != found.get(*name)) {
            let (expected, found) = (expected.get(name).copied(), found.get(name).copied());
            broken.push(Broken { stage, input: Some(name.clone()), expected, found });
        }
        let digest = record.inputs.digest(stage);
        if digest != record.input {
            broken.push(Broken { stage, input: None, expected: Some(record.input), found: Some(digest) });
        }
    }
    Ok(broken)
}

/// As [`chain`], for a release without its records: the source's `measurements.lock` has a digest over each stage's inputs.
///
/// # Errors
/// When a source file cannot be read.
pub fn chain_of_lock(checkout: &Checkout) -> anyhow::Result<Vec<Broken>> {
    let expected = Measurements::read(&checkout.root.join(MEASUREMENTS_LOCK))?;
    let outputs = expected.stage.iter().map(|stage| (stage.name, stage.output)).collect();
    let mut broken = Vec::new();
    for stage in &expected.stage {
        let found = checkout.inputs(stage.name, &outputs)?.digest(stage.name);
        if found != stage.input {
            broken.push(Broken { stage: stage.name, input: None, expected: Some(stage.input), found: Some(found) });
        }
    }
    Ok(broken)
}

/// Unpacks a source archive (tar, perhaps compressed by gzip, xz or zstd) into the empty directory `into`. A directory around
/// all of it, as forges put one there, is left out.
///
/// # Errors
/// When it is no such archive, has something else than files, directories and links in it, a link leads out of it, or it is too
/// large.
pub fn unpack(archive: &Path, into: &Path) -> anyhow::Result<()> {
    let unpacking = || format!("unpacking {}", archive.display());
    let mut file = BufReader::new(File::open(archive).with_context(unpacking)?);
    let compression = Compression::recognise(file.fill_buf().with_context(unpacking)?);
    let reader = Capped::new(compression.reader(file).with_context(unpacking)?, MAX_SOURCE);
    let mut tar = tar::Archive::new(reader);
    for (count, entry) in tar.entries().with_context(unpacking)?.enumerate() {
        let mut entry = entry.with_context(unpacking)?;
        let kind = entry.header().entry_type();
        // Git writes the commit's name there, which proves nothing.
        if kind == tar::EntryType::XGlobalHeader {
            continue;
        }
        let path = entry.path().with_context(unpacking)?.into_owned();
        ensure!(count < MAX_FILES, "{}: more than {MAX_FILES} files", archive.display());
        let known = kind.is_file() || kind.is_dir() || kind.is_symlink();
        ensure!(known, "{}: {} is no file, directory or link", archive.display(), path.display());
        let inside = entry.unpack_in(into).with_context(unpacking)?;
        ensure!(inside, "{}: {} leads out of the archive", archive.display(), path.display());
    }
    let names = || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(into)?.map(|entry| Ok(entry?.path())).collect() };
    match &names().with_context(unpacking)?[..] {
        [] => bail!("{}: it is empty", archive.display()),
        [only] if fs::symlink_metadata(only).with_context(unpacking)?.is_dir() => {
            // Beside it, so that nothing in it has to make room.
            let aside = into.with_extension("unpacked");
            fs::rename(only, &aside).with_context(unpacking)?;
            files::remove_tree(into)?;
            fs::rename(&aside, into).with_context(unpacking)?;
        }
        _ => {}
    }
    links_stay_inside(&fs::canonicalize(into).with_context(unpacking)?, Path::new("")).with_context(unpacking)
}

/// Makes sure that no link below `dir`, which is in `root`, leads out of `root`: neither by its words, nor through other links.
fn links_stay_inside(root: &Path, dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(root.join(dir))? {
        let entry = entry?;
        let (kind, name) = (entry.file_type()?, dir.join(entry.file_name()));
        if kind.is_dir() {
            links_stay_inside(root, &name)?;
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path())?;
            let mut depth = Some(dir.components().count());
            for part in target.components() {
                depth = match part {
                    Component::Normal(_) => depth.and_then(|depth| depth.checked_add(1)),
                    Component::CurDir => depth,
                    Component::ParentDir => depth.and_then(|depth| depth.checked_sub(1)),
                    Component::RootDir | Component::Prefix(_) => None,
                };
            }
            let inside = match fs::canonicalize(entry.path()) {
                Ok(end) => end.starts_with(root),
                // It leads nowhere, or round in a circle: to nothing that could be read.
                Err(_nowhere) => true,
            };
            ensure!(depth.is_some() && inside, "{} links to {}, out of the archive", name.display(), target.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_in_an_archive_leads_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("secret")).unwrap();
        fs::write(dir.path().join("secret/file"), "").unwrap();
        let outside = dir.path().join("secret");
        for (count, (links, expected)) in [
            (&[("only", outside.to_str().unwrap())][..], Some("only links to")),
            (&[("only", "../secret")], Some("only links to")),
            (&[("x/a", "file"), ("x/d/b", "../file"), ("x/dangling", "d/nothing")], None),
            (&[("x/d/a", "../../../secret")], Some("d/a links to ../../../secret")),
            (&[("x/d/a", "../../secret")], Some("d/a links to ../../secret")),
            // By their words the second is inside.
            (&[("x/d/up", "../"), ("x/e", "d/up/../secret"), ("x/file2", "file")], Some("e links to d/up/../secret")),
            (&[("x/round", "round")], None),
        ]
        .into_iter()
        .enumerate()
        {
            let mut tar = tar::Builder::new(Vec::new());
            if links[0].0.starts_with('x') {
                let mut header = tar::Header::new_gnu();
                header.set_size(0);
                header.set_mode(0o644);
                tar.append_data(&mut header, "x/file", &b""[..]).unwrap();
            }
            for (name, target) in links {
                let mut header = tar::Header::new_gnu();
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_size(0);
                tar.append_link(&mut header, name, target).unwrap();
            }
            let archive = dir.path().join(format!("{count}.tar"));
            fs::write(&archive, tar.into_inner().unwrap()).unwrap();
            let into = dir.path().join(format!("into{count}"));
            fs::create_dir(&into).unwrap();
            let said = unpack(&archive, &into).map_err(|error| format!("{error:#}"));
            match expected {
                Some(expected) => {
                    assert!(said.as_ref().is_err_and(|said| said.contains(expected)), "{links:?}: {said:?}")
                }
                None => assert!(said.is_ok() && into.join("file").exists(), "{links:?}: {said:?}"),
            }
            assert!(dir.path().join("secret/file").exists(), "{links:?}");
        }
    }
}
