//! The crates that `Cargo.lock` names.

use crate::inputs::lock::is_name;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::collections::BTreeSet;
use std::path::Path;

/// Largest `.crate` file, in bytes; crates.io takes 10 MiB unless it makes an exception. `Cargo.lock` names no sizes.
pub(crate) const MAX_CRATE: u64 = 64 << 20;
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

/// Where a checkout names crates that go into the image: the workspace's lock, and that of the worker with llama.cpp.
pub const LOCKS: [&str; 2] = ["Cargo.lock", "enclave-agent/infer/Cargo.lock"];

/// The crates of all [`LOCKS`] of `checkout`, sorted.
pub fn read(checkout: &Path) -> anyhow::Result<Vec<Crate>> {
    let mut all = BTreeSet::new();
    for path in LOCKS.map(|lock| checkout.join(lock)) {
        let text = crate::files::read_text(&path, MAX_CARGO_LOCK)?;
        all.extend(parse(&text).with_context(|| format!("reading {}", path.display()))?);
    }
    Ok(all.into_iter().collect())
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

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n[[package]]\nname = \"ours\"\nversion = \"0.0.0\"\n[[package]]\nname = \"z\"\n\
        version = \"1.0.0+2\"\nsource = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
        checksum = \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";

    #[test]
    fn only_crates_with_a_checksum_from_crates_io() {
        let crates = parse(LOCK).unwrap();
        assert_eq!((crates.len(), crates[0].name.as_str(), crates[0].version.as_str()), (1, "z", "1.0.0+2"));
        assert!(parse(include_str!("../../../Cargo.lock")).unwrap().is_sorted());
        for (from, to, expected) in [
            ("version = 4", "version = 9", "expected Cargo.lock version 3 or 4, found 9"),
            ("checksum = \"ba", "checksum = \"b", "63 bytes"),
            ("registry+", "git+", "expected a crate from crates.io"),
            ("name = \"z\"", "name = \"../z\"", "not a name"),
            ("checksum", "sum", "expected a checksum"),
        ] {
            assert!(LOCK.contains(from), "{from:?}");
            let error = format!("{:#}", parse(&LOCK.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(expected), "{from:?} -> {to:?}: expected {expected:?} in {error:?}");
        }
    }
}
