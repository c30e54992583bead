//! What a build measures to: `manifest.json` for programs, `measurements.lock` for reviewers (docs/formats.md).

use crate::files;
use crate::formats::hash;
use crate::pipeline::dist::{COMMAND_LINE, DISK, INITRD, KERNEL, MODEL, OVMF};
use crate::pipeline::stage::{Record, Stage};
use crate::pipeline::volume::{self, Volume};
use crate::progress::Progress;
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use measure::cmdline::{CommandLine, Tee};
use measure::snp::{KernelHashes, Launch, LaunchDigest, Ovmf, ShapeTable, VmmProfile};
use measure::verity::VerityRoot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Version of both formats.
pub const SCHEMA: u32 = 1;
/// Largest kernel, initrd or firmware that is read into memory, in bytes.
pub const MAX_BOOT_FILE: u64 = 1 << 30;
/// Largest `manifest.json` that is read, in bytes; the shape tables are most of it.
const MAX_MANIFEST: u64 = 8 << 20;
/// Largest `measurements.lock` that is read, in bytes.
const MAX_MEASUREMENTS: u64 = 1 << 20;
/// The committed expectation, at the top of the checkout.
pub const MEASUREMENTS_LOCK: &str = "measurements.lock";

/// `manifest.json`: every artifact's digest, the verity volumes, and what each command line measures to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Every time in the image, in seconds since 1970.
    pub source_date_epoch: u64,
    /// Whether the guest withstands its host. `false` while the kernel or the firmware is Debian's (SECURITY.md).
    pub host_resistant: bool,
    /// Files of `dist/` by name; `manifest.json` and `stages.json`, which are made after it, are not among them.
    pub artifacts: BTreeMap<String, Artifact>,
    /// The root volume on `disk.raw`.
    pub root: Volume,
    /// The model volume on `model.raw`.
    pub model: Volume,
    /// The image with each command line it can be started with; the first is `dist/cmdline`.
    pub boots: Vec<Boot>,
}

/// One file of `dist/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256 of the file.
    pub sha256: Sha256,
}

impl Artifact {
    /// Of the file at `path`.
    pub fn of(path: &Path) -> anyhow::Result<Self> {
        let hash = || hash::copy(&mut File::open(path)?, &mut std::io::sink());
        let (size, sha256) = hash().with_context(|| format!("hashing {}", path.display()))?;
        Ok(Self { size, sha256 })
    }
}

/// The image with one command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Boot {
    /// `vitrine.tee` on the command line: `snp`, or `simulated` for hardware that vouches for nothing.
    pub tee: String,
    /// The command line, without the NUL that QEMU hashes with it.
    pub command_line: String,
    /// What SEV-SNP measures for every shape.
    pub snp: ShapeTable,
}

impl Boot {
    /// What QEMU's direct boot of these bytes measures to.
    pub fn new(command_line: &CommandLine, ovmf: &Ovmf<'_>, kernel: &[u8], initrd: &[u8]) -> anyhow::Result<Self> {
        let text = command_line.to_string();
        let hashes = KernelHashes::of(kernel, Some(initrd), text.as_bytes());
        let launch = Launch::new(ovmf, Some(&hashes), &VmmProfile::QEMU).context("measuring the launch")?;
        Ok(Self { tee: command_line.tee.to_string(), command_line: text, snp: ShapeTable::new(&launch.before_vmsas) })
    }
}

impl Manifest {
    /// Reads a `manifest.json`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = files::read_text(path, MAX_MANIFEST)?;
        let manifest: Self = serde_json::from_str(&text).with_context(|| format!("parsing {}", path.display()))?;
        ensure!(manifest.schema == SCHEMA, "{}: expected schema {SCHEMA}, found {}", path.display(), manifest.schema);
        // They are looked up in the directory, and nowhere else.
        let plain = |name: &str| !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if let Some(name) = manifest.artifacts.keys().find(|name| !plain(name)) {
            bail!("{}: artifacts: expected names of files, found {name:?}", path.display());
        }
        Ok(manifest)
    }

    /// Measures the files in `dist` anew: what `manifest.json` there should say. Only which files there are, the epoch
    /// and `host_resistant` are taken from `self`; everything else is computed.
    pub fn recomputed(&self, dist: &Path, progress: &dyn Progress) -> anyhow::Result<Self> {
        let read = |name: &str| {
            let path = dist.join(name);
            files::read_bounded(&path, MAX_BOOT_FILE).with_context(|| format!("reading {}", path.display()))
        };
        let (ovmf, kernel, initrd) = (read(OVMF)?, read(KERNEL)?, read(INITRD)?);
        let ovmf = Ovmf::parse(&ovmf).context(OVMF)?;
        let cmdline: CommandLine = String::from_utf8(read(COMMAND_LINE)?)
            .with_context(|| format!("{}: expected UTF-8", dist.join(COMMAND_LINE).display()))?
            .parse()
            .with_context(|| format!("parsing {}", dist.join(COMMAND_LINE).display()))?;
        let root = volume::measure(&cmdline.root, &dist.join(DISK), progress)?;
        let model = volume::measure(&cmdline.model, &dist.join(MODEL), progress)?;
        let artifact = |name: &String| Ok((name.clone(), Artifact::of(&dist.join(name))?));
        let boot = |tee| {
            let command_line = CommandLine { tee, root: root.clone(), model: model.clone() };
            Boot::new(&command_line, &ovmf, &kernel, &initrd)
        };
        Ok(Self {
            artifacts: self.artifacts.keys().map(artifact).collect::<anyhow::Result<_>>()?,
            boots: vec![boot(cmdline.tee)?, boot(Tee::Simulated)?],
            root: (&root).into(),
            model: (&model).into(),
            ..self.clone()
        })
    }

    /// The image started with that TEE.
    pub fn boot(&self, tee: Tee) -> anyhow::Result<&Boot> {
        let name = tee.to_string();
        self.boots.iter().find(|boot| boot.tee == name).with_context(|| format!("the image has no boot for {name}"))
    }
}

/// `measurements.lock`: what the committed inputs are expected to give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Measurements {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Root of the root volume's hash tree.
    pub root_sha256: VerityRoot,
    /// Root of the model volume's hash tree.
    pub model_sha256: VerityRoot,
    /// SHA-256 of each file of `dist/`.
    #[serde(rename = "artifact-sha256")]
    pub artifacts: BTreeMap<String, Sha256>,
    /// For each TEE what its launch digests derive from.
    pub snp: BTreeMap<String, SnpMeasurements>,
    /// Every stage, in order.
    pub stage: Vec<StageDigests>,
}

/// SEV-SNP's part of [`Measurements`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SnpMeasurements {
    /// The launch digest before the first VMSA page.
    pub before_vmsas_sha384: LaunchDigest,
    /// SHA-256 of the shape table.
    pub table_sha256: Sha256,
    /// The launch digest of the table's first row: one vCPU, EPYC-v4, SEV_FEATURES 0x1.
    pub one_vcpu_sha384: LaunchDigest,
}

/// One stage's digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageDigests {
    /// Which stage.
    pub name: Stage,
    /// Its input digest.
    #[serde(rename = "input-sha256")]
    pub input: Sha256,
    /// Its output digest.
    #[serde(rename = "output-sha256")]
    pub output: Sha256,
}

/// The first lines of `measurements.lock`.
const HEADER: &str = "\
# What the committed inputs build to. Written by `cargo xtask measure --update`; review its changes like code.
# `cargo xtask measure --check` fails when dist/ or any input of a stage no longer matches.

";

impl Measurements {
    /// The expectation that a finished build meets.
    pub fn new(manifest: &Manifest, records: &[Record]) -> anyhow::Result<Self> {
        let snp = manifest.boots.iter().map(|boot| {
            let one_vcpu_sha384 = boot.snp.rows().first().context("the shape table is empty")?.launch_digest;
            let source = boot.snp.source();
            let measurements = SnpMeasurements {
                before_vmsas_sha384: source.before_vmsas,
                table_sha256: source.table_sha256,
                one_vcpu_sha384,
            };
            Ok((boot.tee.clone(), measurements))
        });
        Ok(Self {
            schema: SCHEMA,
            root_sha256: manifest.root.root_sha256,
            model_sha256: manifest.model.root_sha256,
            artifacts: manifest.artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.sha256)).collect(),
            snp: snp.collect::<anyhow::Result<_>>()?,
            stage: records
                .iter()
                .map(|record| StageDigests { name: record.stage, input: record.input, output: record.output })
                .collect(),
        })
    }

    /// Reads the file at `path`.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let parse = || {
            let measurements: Self = toml::from_str(&files::read_text(path, MAX_MEASUREMENTS)?)?;
            ensure!(measurements.schema == SCHEMA, "schema: expected {SCHEMA}, found {}", measurements.schema);
            Ok(measurements)
        };
        parse().with_context(|| format!("{}; `cargo xtask measure --update` writes it", path.display()))
    }

    /// The file's text.
    pub fn render(&self) -> anyhow::Result<String> {
        Ok(HEADER.to_owned() + &toml::to_string(self).context("rendering the measurements")?)
    }

    /// Replaces the file at `path`.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        files::replace(path, self.render()?.as_bytes())
    }

    /// What differs from `found`, one line each; empty if nothing does.
    pub fn differences(&self, found: &Self) -> Vec<String> {
        let (expected, found) = (self.facts(), found.facts());
        let names: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
        let value =
            |facts: &BTreeMap<String, String>, name| facts.get(name).cloned().unwrap_or_else(|| "nothing".into());
        names
            .into_iter()
            .filter(|name| expected.get(*name) != found.get(*name))
            .map(|name| format!("{name}: expected {}, found {}", value(&expected, name), value(&found, name)))
            .collect()
    }

    /// Every digest with a name that says what it is.
    fn facts(&self) -> BTreeMap<String, String> {
        let mut facts = BTreeMap::from([
            ("root volume".to_owned(), self.root_sha256.to_string()),
            ("model volume".to_owned(), self.model_sha256.to_string()),
        ]);
        for (name, sha256) in &self.artifacts {
            facts.insert(format!("artifact {name}"), sha256.to_string());
        }
        for (tee, snp) in &self.snp {
            facts.insert(format!("snp launch ({tee}), before VMSAs"), snp.before_vmsas_sha384.to_string());
            facts.insert(format!("snp launch ({tee}), shape table"), snp.table_sha256.to_string());
            facts.insert(format!("snp launch ({tee}), one vCPU"), snp.one_vcpu_sha384.to_string());
        }
        for stage in &self.stage {
            facts.insert(format!("stage {} input", stage.name.name()), stage.input.to_string());
            facts.insert(format!("stage {} output", stage.name.name()), stage.output.to_string());
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_have_plain_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        let zero = "0".repeat(64);
        let guid = "00000000-0000-0000-0000-000000000001";
        let volume = serde_json::json!({
            "data_partuuid": guid, "hash_partuuid": guid, "data_blocks": 1, "salt": zero, "root_sha256": zero,
        });
        let read = |name: &str| {
            let manifest = serde_json::json!({
                "schema": SCHEMA, "source_date_epoch": 0, "host_resistant": false, "boots": [],
                "artifacts": { name: { "size": 0, "sha256": zero } }, "root": volume, "model": volume,
            });
            std::fs::write(&path, manifest.to_string()).unwrap();
            Manifest::read(&path)
        };
        read("rootfs.erofs").unwrap();
        for name in ["../../etc/shadow", "/etc/shadow", "a/b", "..", ".hidden", ""] {
            let error = read(name).unwrap_err().to_string();
            assert!(error.contains("expected names of files"), "{name}: {error}");
        }
    }
}
