//! What came out of a reproduction, against what was released.

use super::attest::Found;
use super::published::Published;
use super::says::{Otherwise, otherwise};
use super::source::Fresh;
use crate::release::statement;
use crate::report::Answer;
use anyhow::Context as _;
use image::compare::render::clean;
use image::compare::{Build, Difference, Provenance, compare};
use image::pipeline::dist;
use image::pipeline::measured::{MEASUREMENTS_LOCK, Manifest, Measurements};
use image::pipeline::stage::{Cache, Record, Stage};
use image::result::vary::Axis;
use log_client::statement::{Rebuilt, Subject};
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
    rebuild: Rebuild,
    /// What came out, file by file.
    subjects: Vec<Subject>,
    /// Files that are not as signed, with what was signed.
    wrong: Vec<(Subject, Sha256)>,
    /// What else is signed and not so.
    otherwise: Vec<Otherwise>,
    /// Whether the source is known to be the commit.
    source_checked: bool,
    records: Vec<Record>,
    /// What each stage left when the release was built, as far as is known.
    released: BTreeMap<Stage, Sha256>,
    /// The first differences inside, if the files of the release are at hand.
    differences: Vec<Difference>,
    first: Option<Difference>,
    manifest: Manifest,
}

impl Outcome {
    /// Hashes what was built, and looks for what differs: in the files, and in what else is signed, which clients believe.
    /// `cache` and `place` have the stages of earlier builds and of this one.
    pub(super) fn of(
        published: &Published,
        source: &Fresh,
        rebuild: Rebuild,
        cache: &Path,
        place: &Path,
    ) -> anyhow::Result<Self> {
        let (manifest, records) = dist::read(&rebuild.dist)?;
        let Published { statement: signed, release, .. } = published;
        let subjects = statement::subjects(&manifest, &rebuild.dist)?;
        let signed_so = |file: &Subject| signed.subject(&file.name).filter(|signed| *signed != file.digest.sha256);
        let wrong: Vec<_> = subjects.iter().filter_map(|file| Some((file.clone(), signed_so(file)?))).collect();
        let otherwise = otherwise(signed, release, &manifest, &source.root, &rebuild.dist)?;
        let released = match published.with_stages() {
            Some(dir) => dist::records(dir)?.into_iter().map(|record| (record.stage, record.output)).collect(),
            None => {
                let measurements = Measurements::read(&source.root.join(MEASUREMENTS_LOCK))?;
                measurements.stage.iter().map(|stage| (stage.name, stage.output)).collect()
            }
        };
        let (mut differences, mut first) = (Vec::new(), None);
        // A release that leaves out a file of the build is no build to compare with.
        let whole = subjects.iter().all(|file| signed.subject(&file.name).is_some());
        if let (false, Some(dir)) = (wrong.is_empty(), published.whole().filter(|_| whole)) {
            let old = Build::open(dir, Some(&Cache::new(cache)))?;
            let new = Build::open(&rebuild.dist, Some(&Cache::new(place)))?;
            let comparison = compare(&old, &new).context("comparing the release with what was built")?;
            first = comparison.first().cloned();
            differences = comparison.differences;
        }
        let source_checked = source.checked.is_the_commit();
        Ok(Self {
            rebuild,
            subjects,
            wrong,
            otherwise,
            source_checked,
            records,
            released,
            differences,
            first,
            manifest,
        })
    }

    /// Whether every file is the release's, and everything that it says is so.
    pub(super) fn is_reproduced(&self) -> bool {
        self.wrong.is_empty() && self.otherwise.is_empty()
    }

    /// What there is to attest.
    pub(super) fn found(self) -> Found {
        let variations = self.rebuild.varied.iter().map(|axis| axis.name.to_owned()).collect();
        let outcome = if self.is_reproduced() { Rebuilt::Reproduced } else { Rebuilt::Differs };
        Found { subjects: self.subjects, variations, outcome }
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
            "source_checked": self.source_checked,
            "full": self.rebuild.cached.is_empty(),
            "from_cache": names(&self.rebuild.cached),
            "resumed": names(&self.rebuild.resumed),
            "varied": axes(&self.rebuild.varied),
            "not_varied": axes(&self.rebuild.same),
            "must_leave_no_trace": self.rebuild.traces,
            "stages": self.records.iter().map(stage).collect::<Vec<_>>(),
            "files_that_differ": wrong.collect::<Vec<_>>(),
            "said_otherwise": self.otherwise,
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
            if !self.rebuild.cached.is_empty() {
                how = format!(" but for {}, not built again", names(&self.rebuild.cached).join(", "));
            }
            if !self.rebuild.varied.is_empty() {
                how += &format!(" with another {}", axes(&self.rebuild.varied).join(", "));
            }
            if !self.rebuild.same.is_empty() {
                how += &format!("; not varied: {}", axes(&self.rebuild.same).join(", "));
            }
            if !self.source_checked {
                how += &format!("; the source was not checked against commit {}", release.commit);
            }
            let word = match (self.source_checked, self.rebuild.cached.is_empty()) {
                (false, _) => "REPRODUCED FROM AN UNCHECKED SOURCE",
                (true, false) => "REPRODUCED IN PART",
                (true, true) => "REPRODUCED",
            };
            let (version, seconds) = (release.version, took.as_secs());
            let reason = format!("release {version} came out again, every byte of it{how}");
            let text = format!("{word}  {version}{how}, in {seconds} s\n  snp, 1 vCPU  sha384:{}\n", row.launch_digest);
            return Ok(Answer { yes: true, reason, text, payload });
        }
        let said: String = self.otherwise.iter().map(|otherwise| format!("  {otherwise}\n")).collect();
        if let (true, Some(first)) = (self.wrong.is_empty(), self.otherwise.first()) {
            let reason = format!(
                "release {}: every file is as released, but not what is said of them: {first}",
                release.version
            );
            let text = format!(
                "DIFFERS  {}: in what the release says\n{said}  the program that released it is that of commit {}\n  kept      {}\n",
                release.version,
                release.commit,
                self.rebuild.dist.display()
            );
            return Ok(Answer { yes: false, reason, text, payload });
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
        text += &said;
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
    let path = first.path.as_ref().map(|path| format!(": {path}")).unwrap_or_default();
    let mut text = format!("  where     {}\n", clean(&format!("{}{path}", first.artifact)));
    if let Some(from) = &first.provenance {
        text += &format!("  from      {}\n", clean(&whence(from)));
    }
    let at = first.offset.map(|offset| format!(", at byte {offset}")).unwrap_or_default();
    text += &format!("  what      {}{at}\n", first.kind.name());
    for (whose, value) in [("released", &first.old), ("rebuilt ", &first.new)] {
        let value = value.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string);
        text += &format!("  {whose}  {}\n", clean(&value));
    }
    text + &format!("  cause     {}\n", clean(&first.cause.to_string()))
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

#[cfg(test)]
mod shown_tests {
    use super::*;
    use image::compare::{Cause, Kind, Value};

    #[test]
    fn a_strangers_words_stay_on_their_line() {
        let bad = |word: &str| format!("{word}\u{1b}[9A\u{202e}\nREPRODUCED  1.0.0");
        let first = Difference {
            stage: Stage::Rootfs,
            artifact: bad("artifact"),
            path: Some(bad("path")),
            kind: Kind::Bytes,
            offset: None,
            old: Some(Value::Text(bad("old"))),
            new: None,
            provenance: Some(Provenance::Package {
                package: bad("package"),
                old: Some(bad("version")),
                new: None,
                source: Some(bad("source")),
            }),
            cause: Cause::Follows { from: bad("from") },
        };
        let text = shown(&first);
        assert_eq!(text.lines().count(), 6, "{text}");
        assert!(text.bytes().all(|byte| matches!(byte, b'\n' | b' '..=b'~')), "{text}");
    }
}
