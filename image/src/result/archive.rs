//! Every input of a release in one directory, for the day when nobody else has them any more.
//!
//! The directory is a content-addressed mirror: a file is at `sha256/<2 digits>/<digest>`. It needs no index of its own,
//! because `image.lock` and `Cargo.lock` are one.

use crate::files::remove_tree;
use crate::inputs::crates::Crate;
use crate::inputs::fetch;
use crate::inputs::lock::Lock;
use crate::inputs::store::Store;
use crate::progress::{Progress, Unit};
use anyhow::Context as _;
use std::path::Path;
use std::time::Instant;

/// The source in an archive: a git bundle.
pub const SOURCE: &str = "source.bundle";
/// The release in an archive: a directory as `release` writes it.
pub const RELEASE: &str = "release";

/// Copies every input from `store`, where all of them must be, to `out`, and says how many there are. What an earlier run has
/// copied is hashed again.
///
/// # Errors
/// When an input is missing in `store` or has changed there, or `out` has something else in its place.
pub fn write(
    lock: &Lock,
    crates: &[Crate],
    store: &Store,
    out: &Path,
    progress: &dyn Progress,
) -> anyhow::Result<usize> {
    let all = fetch::names(lock, crates);
    let (started, bar) = (Instant::now(), progress.bar("archive", all.len() as u64, Unit::Items));
    let archive = Store::at(out.to_path_buf())?;
    for (name, sha256) in &all {
        bar.note(name);
        if !archive.verify(sha256)? {
            let copied = archive.copy(&store.path(sha256), sha256).with_context(|| name.clone())?;
            anyhow::ensure!(copied, "{name} is not in the store; run `cargo xtask fetch`");
        }
        bar.add(1);
    }
    drop(bar);
    remove_tree(&out.join("part"))?;
    progress.done("archive", &format!("{} files in {}", all.len(), out.display()), started.elapsed());
    Ok(all.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::fetch::{Mirrors, Missing};
    use crate::inputs::lock::tests::sample;
    use crate::inputs::request::Request;
    use crate::progress::Silent;
    use measure::Sha256;
    use std::fs;

    #[test]
    fn a_mirror_that_must_be_whole() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let lock = Lock::parse(&sample().replace("size = 10", "size = 3")).unwrap();
        let crates = [Crate { name: "c".into(), version: "1".into(), sha256: Sha256::of(b"def") }];
        let (store, archive) = (Store::open(&at("cache")).unwrap(), at("archive"));
        store.put(b"abc").unwrap();
        let error = write(&lock, &crates, &store, &archive, &Silent).unwrap_err();
        assert!(error.to_string().contains("crate c 1 is not in the store"), "{error:#}");
        let def = store.put(b"def").unwrap();
        assert_eq!(write(&lock, &crates, &store, &archive, &Silent).unwrap(), 4);
        assert_eq!(fs::read_dir(&archive).unwrap().count(), 1);

        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut mirrors = Mirrors { offline: true, ..Mirrors::new(&Request::read(&checkout).unwrap()) };
        mirrors.add(archive.to_str().unwrap()).unwrap();
        let fetch = |cache: &str| {
            fetch::fetch(&lock, &crates, &Store::open(&at(cache)).unwrap(), &mirrors, &Silent).map(|done| done.fetched)
        };
        assert_eq!(fetch("second").unwrap(), 4);

        let path = Store::at(archive.clone()).unwrap().path(&def);
        fs::remove_file(&path).unwrap();
        let error = fetch("third").unwrap_err();
        assert!(error.downcast_ref::<Missing>().is_some_and(|missing| !missing.files[0].gone), "{error:#}");
        let said = error.to_string();
        assert!(
            said.contains("crate c 1") && said.contains(path.to_str().unwrap()) && !said.contains("http"),
            "{said}"
        );
        fs::write(&path, "deg").unwrap();
        let said = format!("{:#}", fetch("fourth").unwrap_err());
        assert!(
            said.contains("crate c 1") && said.contains("expected SHA-256") && said.contains(path.to_str().unwrap())
        );
        // The next run mends it.
        write(&lock, &crates, &store, &archive, &Silent).unwrap();
        assert_eq!(fetch("fourth").unwrap(), 1);
    }
}
