//! The crates that `Cargo.lock` names.

use crate::lock::is_name;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::path::Path;

/// Largest `Cargo.lock` that is read.
const MAX_CARGO_LOCK: u64 = 4 << 20;

/// A crate from crates.io.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the `.crate` file.
    pub sha256: Sha256,
}

#[derive(serde::Deserialize)]
struct CargoLock {
    version: u32,
    #[serde(default)]
    package: Vec<Entry>,
}

#[derive(serde::Deserialize)]
struct Entry {
    name: String,
    version: String,
    source: Option<String>,
    checksum: Option<Sha256>,
}

/// The crates of the `Cargo.lock` at `path`, as [`parse`] finds them.
pub fn read(path: &Path) -> anyhow::Result<Vec<Crate>> {
    let text = crate::store::read_text(path, MAX_CARGO_LOCK)?;
    parse(&text).with_context(|| format!("reading {}", path.display()))
}

/// The crates of a `Cargo.lock`, sorted. Workspace members are not among them; any other source than crates.io is
/// an error, because only crates.io's files are named by a checksum.
pub fn parse(cargo_lock: &str) -> anyhow::Result<Vec<Crate>> {
    let parsed: CargoLock = toml::from_str(cargo_lock)?;
    ensure!(matches!(parsed.version, 3 | 4), "expected Cargo.lock version 3 or 4, found {}", parsed.version);
    let mut crates = Vec::new();
    for Entry { name, version, source, checksum } in parsed.package {
        let Some(source) = source else { continue };
        ensure!(is_name(&name) && is_name(&version), "{name:?} {version:?} is not a name and a version");
        ensure!(
            source == "registry+https://github.com/rust-lang/crates.io-index",
            "{name} {version}: expected a crate from crates.io, found {source}"
        );
        let sha256 = checksum.with_context(|| format!("{name} {version}: expected a checksum, found none"))?;
        crates.push(Crate { name, version, sha256 });
    }
    crates.sort();
    Ok(crates)
}
