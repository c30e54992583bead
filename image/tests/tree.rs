//! A tree of programs is what its packages hold, plus the fixes.

use image::inputs::lock::{Package, Set};
use image::progress::Silent;
use image::tools::tree;
use measure::{Sha1, Sha256};
use std::fs;
use std::path::{Path, PathBuf};

/// A package with the given links (path and target) and files (path, each with its package's name inside).
fn package(dir: &Path, name: &str, links: &[(&str, &str)], files: &[&str]) -> (Package, PathBuf) {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    for (path, target) in links {
        tar.append_link(&mut header, path, target).unwrap();
    }
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(name.len() as u64);
    for path in files {
        tar.append_data(&mut header, path, name.as_bytes()).unwrap();
    }
    let data = tar.into_inner().unwrap();
    let mut deb = b"!<arch>\n".to_vec();
    for (member, content) in [("debian-binary", b"2.0\n".as_slice()), ("control.tar", &[0; 1024]), ("data.tar", &data)]
    {
        deb.extend(format!("{member:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, content.len()).into_bytes());
        deb.extend(content);
        assert!(content.len() % 2 == 0);
    }
    let path = dir.join(format!("{name}.deb"));
    fs::write(&path, &deb).unwrap();
    let package = Package {
        sets: vec![Set::Tools],
        name: name.to_owned(),
        version: "1".to_owned(),
        arch: "all".to_owned(),
        archive: "test".to_owned(),
        pool: format!("pool/{name}.deb"),
        size: deb.len() as u64,
        sha256: Sha256::of(&deb),
        sha1: Sha1::new([0; 20]),
        source: name.to_owned(),
        source_version: "1".to_owned(),
    };
    (package, path)
}

fn unpack(packages: &[(Package, PathBuf)], into: &Path) -> anyhow::Result<()> {
    fs::create_dir(into).unwrap();
    let packages: Vec<_> = packages.iter().map(|(package, deb)| (package, deb.clone())).collect();
    tree::unpack(Set::Tools, &packages, into, &Silent)
}

#[test]
fn packages_and_fixes_are_there_and_nothing_is_there_twice() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // The first two would clash if base-files were not the first to be unpacked.
    let mut packages = vec![
        package(dir, "a-tool", &[], &["bin/tool"]),
        package(dir, "base-files", &[("bin", "usr/bin")], &["etc/debian_version"]),
        package(dir, "z-tool", &[], &["usr/bin/other"]),
    ];
    let tree = dir.join("tree");
    unpack(&packages, &tree).unwrap();
    for (path, content) in [("usr/bin/tool", "a-tool"), ("bin/other", "z-tool"), ("etc/resolv.conf", "")] {
        assert_eq!(fs::read_to_string(tree.join(path)).unwrap(), content, "{path}");
    }
    assert_eq!(fs::read_link(tree.join("usr/bin/awk")).unwrap(), Path::new("mawk"));

    for (name, file, expected) in [
        // Packages are unpacked at the same time: either of the two may be the one that finds the file there.
        ("tool-again", "usr/bin/tool", "bin/tool: making a file there (is the path also in another package?)"),
        ("resolver", "etc/resolv.conf", "etc/resolv.conf in the tree of set tools: a package has it"),
    ] {
        packages.push(package(dir, name, &[], &[file]));
        let error = format!("{:#}", unpack(&packages, &dir.join(name)).unwrap_err());
        assert!(error.contains(expected), "expected {expected:?} in {error}");
        packages.pop();
    }
}
