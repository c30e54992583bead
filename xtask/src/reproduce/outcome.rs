//! What came out of a reproduction, against what was released.

use super::Place;
use super::published::Published;
use crate::report::Answer;
use anyhow::Context as _;
use image::compare::{Build, Difference, Provenance, compare};
use image::pipeline::build::Checkout;
use image::pipeline::dist;
use image::pipeline::measured::{Artifact, MEASUREMENTS_LOCK, Manifest, Measurements};
use image::pipeline::stage::{Cache, Record, Stage};
use image::result::vary::Axis;
use log_client::statement::Subject;
use measure::Sha256;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A build that was made again.
#[derive(Debug, Default)]
pub(super) struct Rebuild {
    /// Its files.
    pub(super) dist: PathBuf,
    /// Stages that were not built but taken from earlier builds.
    pub(super) cached: Vec<Stage>,
    /// Stages that an earlier run of the same reproduction has built.
    pub(super) resumed: Vec<Stage>,
    /// What was made different.
    pub(super) varied: Vec<Axis>,
    /// What was not, and why.
    pub(super) same: Vec<Axis>,
    /// Texts that must not be in the image.
    pub(super) traces: Vec<String>,
}

/// Whether the release came out.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) rebuild: Rebuild,
    /// What came out, file by file.
    pub(super) subjects: Vec<Subject>,
    /// Files that are not as signed, with what was signed.
    wrong: Vec<(Subject, Sha256)>,
    records: Vec<Record>,
    /// What each stage left when the release was built, as far as is known.
    released: BTreeMap<Stage, Sha256>,
    /// The first differences inside, if the files of the release are at hand.
    differences: Vec<Difference>,
    first: Option<Difference>,
    manifest: Manifest,
}

impl Outcome {
    /// Hashes what was built, and looks for what differs.
    pub(super) fn of(
        published: &Published,
        checkout: &Checkout,
        rebuild: Rebuild,
        cache: &Path,
        place: &Place,
    ) -> anyhow::Result<Self> {
        let (manifest, records) = dist::read(&rebuild.dist)?;
        let (mut subjects, mut wrong) = (Vec::new(), Vec::new());
        for signed in &published.statement.subjects {
            let path = rebuild.dist.join(&signed.name);
            // What did not come out at all is as wrong as it gets: nothing has the digest of no bytes but an empty file.
            let found = if path.exists() { Artifact::of(&path)?.sha256 } else { Sha256::of(b"") };
            subjects.push(Subject::new(signed.name.as_str(), found));
            if found != signed.digest.sha256 || !path.exists() {
                wrong.push((Subject::new(signed.name.as_str(), found), signed.digest.sha256));
            }
        }
        let released = match published.with_stages() {
            Some(dir) => dist::records(dir)?.into_iter().map(|record| (record.stage, record.output)).collect(),
            None => {
                let measurements = Measurements::read(&checkout.root.join(MEASUREMENTS_LOCK))?;
                measurements.stage.iter().map(|stage| (stage.name, stage.output)).collect()
            }
        };
        let (mut differences, mut first) = (Vec::new(), None);
        if let (false, Some(dir)) = (wrong.is_empty(), published.whole()) {
            let old = Build::open(dir, Some(&Cache::new(cache)))?;
            let new = Build::open(&rebuild.dist, Some(&Cache::new(&place.path)))?;
            let comparison = compare(&old, &new).context("comparing the release with what was built")?;
            first = comparison.first().cloned();
            differences = comparison.differences;
        }
        Ok(Self { rebuild, subjects, wrong, records, released, differences, first, manifest })
    }

    /// Whether every file is the release's.
    pub(super) fn is_reproduced(&self) -> bool {
        self.wrong.is_empty()
    }

    /// A line for each stage.
    pub(super) fn lines(&self) -> String {
        let line = |record: &Record| {
            let Record { stage, output, .. } = record;
            let how = match () {
                () if self.rebuild.cached.contains(stage) => ", not built: from an earlier build",
                () if self.rebuild.resumed.contains(stage) => ", built before this run was resumed",
                () => "",
            };
            let released = match self.released.get(stage) {
                Some(released) if released == output => "as released".to_owned(),
                Some(released) => format!("DIFFERS, released sha256:{released:#}"),
                None => "not known of the release".to_owned(),
            };
            format!("{:>12}  sha256:{output:#} {released}{how}\n", stage.name())
        };
        self.records.iter().map(line).collect()
    }

    /// The stage in which it begins.
    fn first_stage(&self) -> Option<Stage> {
        let differs =
            |record: &&Record| self.released.get(&record.stage).is_some_and(|output| *output != record.output);
        self.records.iter().find(differs).map(|record| record.stage)
    }

    /// The answer for people and programs.
    pub(super) fn answer(&self, published: &Published, took: Duration, build: Duration) -> anyhow::Result<Answer> {
        let release = &published.release;
        let names = |stages: &[Stage]| stages.iter().map(|stage| stage.name()).collect::<Vec<_>>();
        let axes = |axes: &[Axis]| axes.iter().map(|axis| axis.name).collect::<Vec<_>>();
        let wrong = self.wrong.iter().map(|(found, signed)| {
            json!({ "name": found.name, "released_sha256": signed, "rebuilt_sha256": found.digest.sha256 })
        });
        let stage = |record: &Record| {
            json!({
                "stage": record.stage, "rebuilt_sha256": record.output, "released_sha256": self.released.get(&record.stage),
            })
        };
        let payload = json!({
            "version": release.version.to_string(),
            "commit": release.commit,
            "release_sha256": Sha256::of(&published.entry),
            "reproduced": self.is_reproduced(),
            "full": self.rebuild.cached.is_empty(),
            "from_cache": names(&self.rebuild.cached),
            "resumed": names(&self.rebuild.resumed),
            "varied": axes(&self.rebuild.varied),
            "not_varied": axes(&self.rebuild.same),
            "must_leave_no_trace": self.rebuild.traces,
            "stages": self.records.iter().map(stage).collect::<Vec<_>>(),
            "files_that_differ": wrong.collect::<Vec<_>>(),
            "first": self.first,
            "differences": self.differences,
            "dist": self.rebuild.dist,
            "seconds": took.as_secs_f64(),
            "build_seconds": build.as_secs_f64(),
        });
        if self.is_reproduced() {
            let boot = self.manifest.boot(release.tee)?;
            let row = boot.snp.rows().first().context("the shape table is empty")?;
            let mut how = String::new();
            if let Some(last) = self.rebuild.cached.last() {
                how = format!(" from behind stage {} on, which was not built again", last.name());
            }
            if !self.rebuild.varied.is_empty() {
                how = format!(" with another {}", axes(&self.rebuild.varied).join(", "));
            }
            if !self.rebuild.same.is_empty() {
                how += &format!("; not varied: {}", axes(&self.rebuild.same).join(", "));
            }
            let word = if self.rebuild.cached.is_empty() { "REPRODUCED" } else { "REPRODUCED IN PART" };
            let (version, seconds) = (release.version, took.as_secs());
            let reason = format!("release {version} came out again, every byte of it{how}");
            let text = format!("{word}  {version}{how}, in {seconds} s\n  snp, 1 vCPU  sha384:{}\n", row.launch_digest);
            return Ok(Answer { yes: true, reason, text, payload });
        }
        let stage = self.first_stage().or(self.first.as_ref().map(|first| first.stage));
        let stage = stage.map_or("measure", Stage::name);
        let files: Vec<_> = self.wrong.iter().map(|(found, _)| found.name.as_str()).collect();
        let mut text = format!("DIFFERS  {}: first in stage {stage}\n", release.version);
        let mut reason = format!("release {}: stage {stage} differs", release.version);
        match &self.first {
            Some(first) => {
                text += &shown(first);
                let path = first.path.as_ref().map(|path| format!(" {path}")).unwrap_or_default();
                reason += &format!(": {}{path}: {}", first.artifact, first.kind.name());
                let more = self.differences.len().saturating_sub(1);
                if more > 0 {
                    text += &format!("  and       {more} more differences; --json has all\n");
                }
            }
            None => {
                text += &self
                    .wrong
                    .iter()
                    .map(|(found, signed)| {
                        format!("  {}: released sha256:{signed}, rebuilt sha256:{}\n", found.name, found.digest.sha256)
                    })
                    .collect::<String>();
                text += "  the release's directory has more to compare with than was given: name it instead\n";
                reason += &format!(": {}", files.join(", "));
            }
        }
        text += &format!("  kept      {}\n", self.rebuild.dist.display());
        if let Some(dir) = published.whole() {
            let name = files.iter().find(|name| self.first.as_ref().is_some_and(|first| first.artifact == **name));
            if let Some(name) = name.or(files.first()) {
                let (old, new) = (dir.join(name), self.rebuild.dist.join(name));
                text += &format!("  for more  diffoscope '{}' '{}'\n", old.display(), new.display());
            }
        }
        Ok(Answer { yes: false, reason, text, payload })
    }
}

/// A difference, a line for each thing about it.
fn shown(first: &Difference) -> String {
    let mut text = format!("  where     {}", first.artifact);
    text += &first.path.as_ref().map(|path| format!(": {path}")).unwrap_or_default();
    text += "\n";
    if let Some(from) = &first.provenance {
        text += &format!("  from      {}\n", whence(from));
    }
    let at = first.offset.map(|offset| format!(", at byte {offset}")).unwrap_or_default();
    text += &format!("  what      {}{at}\n", first.kind.name());
    for (whose, value) in [("released", &first.old), ("rebuilt ", &first.new)] {
        let value = value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        text += &format!("  {whose}  {value}\n");
    }
    text + &format!("  cause     {}\n", first.cause)
}

fn whence(from: &Provenance) -> String {
    match from {
        Provenance::Package { package, old, new, source } => {
            let version = old.as_ref().or(new.as_ref()).map(|version| format!(" {version}")).unwrap_or_default();
            let source = source.as_ref().map(|source| format!(" (source {source})")).unwrap_or_default();
            format!("package {package}{version}{source}")
        }
        Provenance::File { file } => format!("{file} of the repository"),
        Provenance::Built { name } => format!("compiled from the crate {name} of the repository"),
        Provenance::Generated { rule } => format!("a rule of ours: {rule:?}"),
        Provenance::Allowed { reason } => format!("a listed exception: {reason}"),
        Provenance::Fetched { name } => format!("the locked file {name}"),
    }
}
