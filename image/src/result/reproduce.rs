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
use std::path::{Path, PathBuf};

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
/// When it is no such archive, has something else than files, directories and links in it, or is too large.
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
        [only] if only.is_dir() => {
            // Beside it, so that nothing in it has to make room.
            let aside = into.with_extension("unpacked");
            fs::rename(only, &aside).with_context(unpacking)?;
            files::remove_tree(into)?;
            fs::rename(&aside, into).with_context(unpacking)
        }
        _ => Ok(()),
    }
}
