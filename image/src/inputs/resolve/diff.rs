//! What changes from one lock to another, for people.

use crate::inputs::lock::{Lock, Package};
use std::collections::BTreeSet;

/// One line for each difference; empty if there is none. Without an old lock everything is new.
pub fn diff(old: Option<&Lock>, new: &Lock) -> String {
    let mut lines = Vec::new();
    if let Some(old) = old
        && old.source_date_epoch != new.source_date_epoch
    {
        lines.push(format!("  source-date-epoch {} -> {}", old.source_date_epoch, new.source_date_epoch));
    }
    let packages = |lock: &'_ Lock| lock.packages.iter().map(|each| each.name.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (old.map(packages).unwrap_or_default(), packages(new));
    for name in before.union(&after) {
        match (old.and_then(|old| old.package(name)), new.package(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => lines.extend(change(old, new)),
            (Some(old), None) => lines.push(format!("- {name} {} ({})", old.version, sets(old))),
            (None, Some(new)) => lines.push(format!("+ {name} {} ({})", new.version, sets(new))),
            (None, None) => {}
        }
    }
    let files = |lock: &'_ Lock| lock.files.iter().map(|each| each.name.clone()).collect::<BTreeSet<_>>();
    let (before, after) = (old.map(files).unwrap_or_default(), files(new));
    for name in before.union(&after) {
        match (old.and_then(|old| old.file(name)), new.file(name)) {
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => lines.push(format!("  {name} {:#} -> {:#}", old.sha256, new.sha256)),
            (Some(_), None) => lines.push(format!("- {name}")),
            (None, _) => lines.push(format!("+ {name}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

fn change(old: &Package, new: &Package) -> Option<String> {
    let (name, mut what) = (&new.name, Vec::new());
    if old.version != new.version {
        what.push(format!("{} -> {}", old.version, new.version));
    } else if old.sha256 != new.sha256 {
        what.push(format!("{} with other bytes: {:#} -> {:#}", new.version, old.sha256, new.sha256));
    }
    match (sets(old), sets(new)) {
        (before, after) if before == after => what.push(format!("({after})")),
        (before, after) => what.push(format!("({before} -> {after})")),
    }
    if old.archive != new.archive {
        what.push(format!("from {} -> {}", old.archive, new.archive));
    }
    // Where the same bytes are stored is of no interest.
    (what.len() > 1).then(|| format!("  {name} {}", what.join(" ")))
}

fn sets(package: &Package) -> String {
    package.sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(", ")
}
