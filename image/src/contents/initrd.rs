//! The initrd: `/init` and the kernel modules it loads.

use crate::contents::provenance::{Origin, Rule, Traced};
use crate::formats::listing::{Entry, Kind, Listing};
use crate::inputs::lock::Package;
use anyhow::{Context as _, bail, ensure};
use std::path::{Path, PathBuf};

/// Traces every path of the tree at `laid_out`: `/init` is compiled, a module is an unmodified member of
/// `kernel`, directories are those these need. Any other path is an error. Modes and owners are fixed: 0755 and 0644,
/// root.
pub fn trace(laid_out: &Path, kernel: &Package, members: &[Entry]) -> anyhow::Result<Vec<Traced>> {
    let listing = Listing::of_directory(laid_out, Some((0, 0)))?;
    listing.entries().iter().map(|entry| trace_one(laid_out, entry, kernel, members)).collect()
}

fn trace_one(laid_out: &Path, entry: &Entry, kernel: &Package, members: &[Entry]) -> anyhow::Result<Traced> {
    let path = entry.path.to_string();
    let (mode, origin) = match (&entry.kind, path.as_str()) {
        (Kind::Directory, "." | "modules") => (0o755, Origin::Generated { rule: Rule::ParentDirectory }),
        (Kind::File { .. }, "init") => (0o755, Origin::Built { name: "init".to_owned() }),
        (Kind::File { .. }, module) if module.starts_with("modules/") => {
            let same = |member: &&Entry| member.path.file_name() == entry.path.file_name();
            let member = members.iter().find(same).with_context(|| format!("{} does not ship {path}", kernel.name))?;
            ensure!(member.kind == entry.kind, "{path} of the initrd is not {} of {}", member.path, kernel.name);
            (0o644, Origin::Deb { package: kernel.name.clone(), version: kernel.version.clone() })
        }
        _ => bail!("{path} of the initrd has no provenance; only /init and /modules/ belong there"),
    };
    let file: Option<PathBuf> = matches!(entry.kind, Kind::File { .. }).then(|| entry.path.under(laid_out));
    Ok(Traced { entry: Entry { mode, ..entry.clone() }, file, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::listing::TreePath;
    use measure::{Sha1, Sha256};
    use std::fs;

    fn kernel() -> Package {
        Package {
            sets: Vec::new(),
            name: "linux-image".into(),
            version: "6".into(),
            arch: "amd64".into(),
            archive: "debian".into(),
            pool: "pool/l.deb".into(),
            size: 1,
            sha256: Sha256::of(b""),
            sha1: Sha1::new([0; 20]),
            source: "linux".into(),
            source_version: "6".into(),
        }
    }

    fn member(content: &[u8]) -> Entry {
        Entry {
            path: TreePath::new(b"usr/lib/modules/6/a.ko.xz").unwrap(),
            kind: Kind::File { size: content.len() as u64, sha256: Sha256::of(content) },
            mode: 0o644,
            uid: 0,
            gid: 0,
        }
    }

    fn traced(files: &[(&str, &str)]) -> anyhow::Result<Vec<Traced>> {
        let dir = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        trace(dir.path(), &kernel(), &[member(b"module")])
    }

    #[test]
    fn only_the_init_and_unmodified_modules() {
        let good = traced(&[("init", "x"), ("modules/a.ko.xz", "module")]).unwrap();
        let lines: Vec<_> = good.iter().map(|traced| (traced.entry.path.to_string(), traced.entry.mode)).collect();
        let expected = [(".", 0o755), ("init", 0o755), ("modules", 0o755), ("modules/a.ko.xz", 0o644)];
        assert_eq!(lines, expected.map(|(path, mode)| (path.to_owned(), mode)));

        let table: [(&[(&str, &str)], &str); 3] = [
            (&[("init", "x"), ("modules/a.ko.xz", "changed")], "is not usr/lib/modules/6/a.ko.xz of linux-image"),
            (&[("init", "x"), ("modules/b.ko.xz", "module")], "does not ship modules/b.ko.xz"),
            (&[("init", "x"), ("bin/sh", "")], "bin of the initrd has no provenance"),
        ];
        for (files, expected) in table {
            let error = format!("{:#}", traced(files).unwrap_err());
            assert!(error.contains(expected), "{error}");
        }
    }
}
