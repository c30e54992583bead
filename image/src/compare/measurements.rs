//! Which measurement moves, and through what.

use super::{Build, Cause, Difference};
use crate::pipeline::dist;
use crate::pipeline::measured::Measurements;
use measure::Sha256;
use measure::snp::LaunchDigest;
use measure::verity::VerityRoot;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A measurement that is not the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// What is measured.
    pub name: String,
    /// Its values.
    #[serde(flatten)]
    pub digests: Digests,
    /// The artifacts that are measured and differ.
    pub through: Vec<Through>,
}

/// The old and the new value, one of which may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Digests {
    /// The root of a volume.
    Root {
        /// Before.
        old_root_sha256: Option<VerityRoot>,
        /// After.
        new_root_sha256: Option<VerityRoot>,
    },
    /// A launch digest.
    Launch {
        /// Before.
        old_sha384: Option<LaunchDigest>,
        /// After.
        new_sha384: Option<LaunchDigest>,
    },
    /// A table of launch digests.
    Table {
        /// Before.
        old_sha256: Option<Sha256>,
        /// After.
        new_sha256: Option<Sha256>,
    },
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn value(algorithm: &str, digest: Option<&impl fmt::Display>) -> String {
            digest.map_or_else(|| "nothing".to_owned(), |digest| format!("{algorithm}:{digest}"))
        }
        let (old, new) = match self {
            Self::Root { old_root_sha256: old, new_root_sha256: new } => {
                (value("sha256", old.as_ref()), value("sha256", new.as_ref()))
            }
            Self::Launch { old_sha384: old, new_sha384: new } => {
                (value("sha384", old.as_ref()), value("sha384", new.as_ref()))
            }
            Self::Table { old_sha256: old, new_sha256: new } => {
                (value("sha256", old.as_ref()), value("sha256", new.as_ref()))
            }
        };
        write!(f, "{old} -> {new}")
    }
}

/// A measured artifact that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Through {
    /// Its name in `dist/`.
    pub artifact: String,
    /// The inputs that account for it; empty if none does.
    pub inputs: Vec<String>,
}

/// What `manifest.json` of each build says is measured, compared.
pub(super) fn moved(old: &Build, new: &Build, differences: &[Difference]) -> anyhow::Result<Vec<Moved>> {
    let records = |build: &Build| build.records.values().cloned().collect::<Vec<_>>();
    let before = Measurements::new(&old.manifest, &records(old))?;
    let after = Measurements::new(&new.manifest, &records(new))?;
    Ok(between(&before, &after, &|artifacts| through(artifacts, differences)))
}

/// Two lists of measurements compared; `through` says which of the artifacts given differ.
pub(super) fn between(
    before: &Measurements,
    after: &Measurements,
    through: &dyn Fn(&[&str]) -> Vec<Through>,
) -> Vec<Moved> {
    let mut moved = Vec::new();
    let mut put = |name: String, digests, measured: &[&str]| {
        moved.push(Moved { name, digests, through: through(measured) });
    };
    let roots = [
        ("root volume", before.root_sha256, after.root_sha256, ["rootfs.erofs", "rootfs.verity"].as_slice()),
        ("model volume", before.model_sha256, after.model_sha256, &[dist::MODEL]),
    ];
    for (name, old, new, measured) in roots {
        if old != new {
            let digests = Digests::Root { old_root_sha256: Some(old), new_root_sha256: Some(new) };
            put(name.to_owned(), digests, measured);
        }
    }
    let booted = [dist::OVMF, dist::KERNEL, dist::INITRD, dist::COMMAND_LINE];
    let tees: BTreeSet<_> = before.snp.keys().chain(after.snp.keys()).collect();
    for tee in tees {
        let (old, new) = (before.snp.get(tee), after.snp.get(tee));
        let launches = [
            ("before VMSAs", old.map(|it| it.before_vmsas_sha384), new.map(|it| it.before_vmsas_sha384)),
            ("one vCPU", old.map(|it| it.one_vcpu_sha384), new.map(|it| it.one_vcpu_sha384)),
        ];
        for (what, old_sha384, new_sha384) in launches {
            if old_sha384 != new_sha384 {
                put(format!("snp launch ({tee}), {what}"), Digests::Launch { old_sha384, new_sha384 }, &booted);
            }
        }
        let (old_sha256, new_sha256) = (old.map(|it| it.table_sha256), new.map(|it| it.table_sha256));
        if old_sha256 != new_sha256 {
            put(format!("snp launch ({tee}), shape table"), Digests::Table { old_sha256, new_sha256 }, &booted);
        }
    }
    moved
}

fn through(artifacts: &[&str], differences: &[Difference]) -> Vec<Through> {
    let mut of = BTreeMap::<&str, Vec<&Difference>>::new();
    for difference in differences {
        of.entry(&difference.artifact).or_default().push(difference);
    }
    let artifacts = artifacts.iter().filter(|artifact| of.contains_key(**artifact));
    let through = artifacts.map(|&artifact| {
        let mut inputs = BTreeSet::new();
        let (mut seen, mut todo) = (BTreeSet::new(), vec![artifact]);
        while let Some(next) = todo.pop() {
            if !seen.insert(next) {
                continue;
            }
            for difference in of.get(next).into_iter().flatten() {
                match &difference.cause {
                    Cause::Input { inputs: found } => inputs.extend(found.iter().cloned()),
                    Cause::Follows { from } => todo.push(from),
                    _ => {}
                }
            }
        }
        Through { artifact: artifact.to_owned(), inputs: inputs.into_iter().collect() }
    });
    through.collect()
}
