//! What a release says, against what it would say if it were made of the rebuild.

use crate::release::statement::{Facts, statement, subjects};
use anyhow::Context as _;
use image::pipeline::measured::Manifest;
use log_client::statement::{Release, Statement};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// A member of the statement that the rebuild does not have, or has otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Otherwise {
    /// Its path, such as `predicate.snp.vmm`, or `subject NAME`.
    pub(super) field: String,
    /// What is signed; null if nothing is.
    pub(super) released: Value,
    /// What the rebuild gives; null if it gives nothing.
    pub(super) rebuilt: Value,
}

impl fmt::Display for Otherwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { field, released, rebuilt } = self;
        write!(f, "{field}: released {released}, rebuilt {rebuilt}")
    }
}

/// What `signed` says otherwise than a release of the build in `dist`, made from the source in `root`. Taken over is what no
/// build decides: version, counter, `not_after`, the commit that the source was taken from, and for which of the image's command
/// lines it is. A file with another digest is not among them: what is in it says more.
pub(super) fn otherwise(
    signed: &Statement,
    release: &Release,
    manifest: &Manifest,
    root: &Path,
    dist: &Path,
) -> anyhow::Result<Vec<Otherwise>> {
    let mut found = Vec::new();
    let files = subjects(manifest, dist)?;
    let names: BTreeSet<_> = signed.subjects.iter().chain(&files).map(|subject| subject.name.as_str()).collect();
    for name in names {
        let rebuilt = files.iter().find(|file| file.name == name).map(|file| file.digest.sha256);
        let released = signed.subject(name);
        if released.is_none() || rebuilt.is_none() {
            let (released, rebuilt) = (serde_json::to_value(released)?, serde_json::to_value(rebuilt)?);
            found.push(Otherwise { field: format!("subject {name}"), released, rebuilt });
        }
    }
    if manifest.boot(release.tee).is_err() {
        let tees: Vec<_> = manifest.boots.iter().map(|boot| boot.tee.as_str()).collect();
        let (released, rebuilt) = (release.tee.to_string().into(), tees.into());
        found.push(Otherwise { field: "predicate.tee".to_owned(), released, rebuilt });
        return Ok(found);
    }
    let Release { version, tee, commit, not_after, counter, .. } = *release;
    let facts = Facts { version, tee, commit, not_after, root, dist };
    let rebuilt = statement(&facts, manifest, counter, not_after)?;
    differ("predicate", &predicate(signed)?, &predicate(&rebuilt)?, &mut found);
    Ok(found)
}

/// The predicate as a reader of the signed bytes has it.
fn predicate(statement: &Statement) -> anyhow::Result<Value> {
    let value: Value = serde_json::from_slice(&statement.to_bytes()).context("reading a statement")?;
    value.get("predicate").cloned().context("a statement without a predicate")
}

fn differ(field: &str, released: &Value, rebuilt: &Value, found: &mut Vec<Otherwise>) {
    if let (Value::Object(left), Value::Object(right)) = (released, rebuilt) {
        let names: BTreeSet<_> = left.keys().chain(right.keys()).collect();
        for name in names {
            let member = |object: &serde_json::Map<String, Value>| object.get(name).cloned().unwrap_or(Value::Null);
            differ(&format!("{field}.{name}"), &member(left), &member(right), found);
        }
    } else if released != rebuilt {
        found.push(Otherwise { field: field.to_owned(), released: released.clone(), rebuilt: rebuilt.clone() });
    }
}
