//! Crates as cargo wants to find them in a directory.

use crate::formats::compression::{Capped, Compression};
use crate::formats::listing::TreePath;
use crate::inputs::crates::{Crate, MAX_CRATE};
use crate::inputs::store::Store;
use anyhow::{Context as _, bail, ensure};
use std::io::Read as _;
use std::path::Path;

/// Most that one may unpack to, in bytes.
const MAX_UNPACKED: u64 = 256 << 20;

/// Unpacks each crate into `into/NAME-VERSION`.
pub(super) fn unpack(crates: &[Crate], store: &Store, into: &Path) -> anyhow::Result<()> {
    for wanted in crates {
        let named = || format!("unpacking the crate {} {}", wanted.name, wanted.version);
        let file = store.read(&wanted.sha256, MAX_CRATE).with_context(named)?;
        let file = file.with_context(|| format!("{} is not in the store: run `cargo xtask fetch`", wanted.sha256));
        one(wanted, &file.with_context(named)?, into).with_context(named)?;
    }
    Ok(())
}

fn one(wanted: &Crate, file: &[u8], into: &Path) -> anyhow::Result<()> {
    let name = format!("{}-{}", wanted.name, wanted.version);
    // Not our own reader: cargo leaves the owner's fields empty, which a Debian package must not.
    let mut tar = tar::Archive::new(Capped::new(Compression::Gzip.reader(file)?, MAX_UNPACKED));
    for member in tar.entries()? {
        let mut member = member?;
        let path = TreePath::from_member(&member.path_bytes())?;
        ensure!(path.components().next() == Some(name.as_bytes()), "{path} is not below {name}");
        match member.header().entry_type() {
            tar::EntryType::Directory => (),
            tar::EntryType::Regular => {
                let mut content = Vec::new();
                member.read_to_end(&mut content).with_context(|| format!("reading {path}"))?;
                super::write(&path.under(into), &content)?;
            }
            kind => bail!("{path} is a {kind:?}, expected files and directories"),
        }
    }
    // cargo compares this with its lock; the file's hash was just checked.
    let checksum = format!("{{\"files\":{{}},\"package\":\"{}\"}}", wanted.sha256);
    super::write(&into.join(name).join(".cargo-checksum.json"), checksum.as_bytes())
}
