//! Packages as an attacker would make them, built byte by byte.

use image::formats::deb::Deb;
use image::formats::listing::Kind;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// One tar member; the name and link are written as they are.
fn member(name: &str, kind: u8, link: &str, mode: u32, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    old.linkflag = [kind];
    header.set_size(content.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(42);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    let mut bytes = [header.as_bytes().as_slice(), content].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str) -> Vec<u8> {
    member(name, b'0', "", 0o644, b"content")
}

fn dir(name: &str) -> Vec<u8> {
    member(name, b'5', "", 0o755, b"")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(name, b'2', target, 0o777, b"")
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, content.len()).bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(2), b'\n');
    }
    bytes
}

fn deb(data: &[u8], suffix: &str) -> Vec<u8> {
    let control = archive(&[member("./control", b'0', "", 0o644, b"Package: x\nVersion: 1\nDepends: a,\n b\n")]);
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (&format!("data.tar{suffix}"), data)])
}

/// Unpacks `package` into `into` and gives the error's whole chain.
fn unpack(package: &[u8], into: &Path) -> Result<(), String> {
    let file = into.with_extension("deb");
    fs::write(&file, package).map_err(|error| error.to_string())?;
    let deb = Deb::open(&file).map_err(|error| format!("{error:#}"))?;
    let listed = deb.entries().map_err(|error| format!("{error:#}"));
    let unpacked = deb.unpack(into).map_err(|error| format!("{error:#}"));
    if let (Ok(listed), Ok(unpacked)) = (&listed, &unpacked) {
        assert_eq!(listed, unpacked);
    }
    unpacked.map(drop)
}

#[test]
fn unpacks_what_the_package_declares() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("tree");
    fs::create_dir(&root)?;
    let long = format!("./{}/{}", "d".repeat(200), "f".repeat(200));
    let base = archive(&[dir("./"), dir("./usr/"), link("./lib", "usr/lib"), dir("./usr/lib/")]);
    unpack(&deb(&base, ""), &root)?;
    let data = archive(&[
        dir("./"),
        dir("./lib/"),
        file("./lib/x"),
        member("./lib/y", b'1', "./lib/x", 0o644, b""),
        member("./su", b'0', "", 0o4511, b"#!"),
        link("./abs", "/etc/passwd"),
        member("././@LongLink", b'L', "", 0, format!("{long}\0").as_bytes()),
        file("ignored"),
    ]);
    unpack(&deb(&data, ""), &root)?;
    assert_eq!(fs::read(root.join("usr/lib/x"))?, b"content");
    assert_eq!(fs::read(root.join("usr/lib/y"))?, b"content");
    assert_eq!(fs::read(root.join(&long))?, b"content");
    assert_eq!(fs::metadata(root.join("su"))?.permissions().mode() & 0o7777, 0o711);
    assert_eq!(fs::read_link(root.join("abs"))?, Path::new("/etc/passwd"));

    let package = Deb::open(&root.with_extension("deb"))?;
    assert_eq!(package.control()?.get("Depends").map(String::as_str), Some("a,\n b"));
    let entries = package.entries()?;
    let su = entries.iter().find(|entry| entry.path.as_bytes() == b"su").ok_or("no su")?;
    assert_eq!((su.mode, su.uid, su.gid), (0o4511, 0, 42));
    let kinds = ["lib/x", "lib/y"].map(|path| entries.iter().find(|entry| entry.path.as_bytes() == path.as_bytes()));
    assert_eq!(kinds[0].map(|entry| &entry.kind), kinds[1].map(|entry| &entry.kind));
    assert!(matches!(kinds[1], Some(entry) if matches!(entry.kind, Kind::File { size: 7, .. })));
    Ok(())
}

#[test]
fn nothing_leaves_the_tree() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let outside = scratch.path().join("outside");
    fs::create_dir(&outside)?;
    let absolute = outside.to_str().ok_or("odd temporary directory")?.to_owned();
    let oversized = {
        let mut bytes = file("./x");
        bytes.truncate(512);
        bytes[124..136].copy_from_slice(b"77777777777\0");
        bytes[148..156].fill(b' ');
        let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
        bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        bytes
    };
    let mut bad_sum = file("./x");
    bad_sum[0] ^= 1;
    for (index, (members, expected)) in [
        (vec![file("/etc/passwd")], "absolute path"),
        (vec![file("./../outside/x")], "contains `..`"),
        (vec![file("a/../../x")], "contains `..`"),
        (vec![link("./out", "../outside"), file("./out/x")], "leaves the tree"),
        (vec![dir("./d/"), link("./d/out", "../../outside")], "leaves the tree"),
        (
            vec![link("./a", "/"), dir("./d/"), link("./d/b", "a/.."), link("./d/a", "/"), file("./d/b/x")],
            "leaves the tree",
        ),
        (vec![link("./loop", "loop"), file("./loop/x")], "more than 40 links"),
        (vec![file("./f"), file("./f/x")], "neither a directory"),
        (vec![member("./h", b'1', "../outside/x", 0o644, b"")], "contains `..`"),
        (vec![link("./l", "/etc/passwd"), member("./h", b'1', "./l", 0o644, b"")], "not an earlier file"),
        (vec![member("./dev", b'3', "", 0o644, b"")], "character device"),
        (vec![member("./dev", b'4', "", 0o644, b"")], "block device"),
        (vec![member("./pipe", b'6', "", 0o644, b"")], "named pipe"),
        (vec![member("./sparse", b'S', "", 0o644, b"")], "sparse"),
        (vec![file("./x"), file("./x")], "duplicate member x"),
        (vec![file("./x"), file("x")], "duplicate member x"),
        (vec![link("./", "/etc")], "can only be a directory"),
        (vec![member("./d", b'5', "", 0o755, b"data")], "not a file but has 4 bytes"),
        (vec![member("x", b'L', "", 0, &[b'a'; 20_000])], "extended header of 20000 bytes"),
        (vec![oversized], "bytes before the end of a member"),
        (vec![bad_sum], "checksum"),
    ]
    .into_iter()
    .enumerate()
    {
        let root = scratch.path().join(format!("tree{index}"));
        fs::create_dir(&root)?;
        let error = unpack(&deb(&archive(&members), ""), &root).err().ok_or(format!("{expected}: was unpacked"))?;
        assert!(error.contains(expected), "{expected}: {error}");
        assert_eq!(fs::read_dir(&outside)?.count(), 0, "{expected}: wrote outside");
    }

    // An absolute link is followed as if the tree were the root.
    let root = scratch.path().join("chroot");
    fs::create_dir(&root)?;
    unpack(&deb(&archive(&[link("./out", &absolute), file("./out/x")]), ""), &root)?;
    assert_eq!(fs::read_dir(&outside)?.count(), 0);
    assert!(root.join(absolute.trim_start_matches('/')).join("x").exists());
    // What another package has put there is not replaced.
    let again = unpack(&deb(&archive(&[file("./out/x")]), ""), &root);
    assert!(again.is_err_and(|error| error.contains("also in another package")));
    Ok(())
}

#[test]
fn outer_structure_is_strict() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("tree");
    fs::create_dir(&root)?;
    let tar = archive(&[]);
    let version: (&str, &[u8]) = ("debian-binary", b"2.0\n");
    for (package, expected) in [
        (b"".to_vec(), "ar magic"),
        (b"PK\x03\x04 and so on".to_vec(), "not a debian package"),
        (ar(&[("debian-binary", b"3.0\n")]), "expected \"2.0"),
        (ar(&[version, ("data.tar", &tar)]), "expected control.tar"),
        (ar(&[version, ("control.tar", &tar), ("data.tar.lzma", &tar)]), "expected data.tar"),
        (ar(&[version, ("control.tar", &tar), ("data.tar", &tar), ("x", b"")]), "bytes after data.tar"),
        (deb(&[archive(&[]), vec![1; 512]].concat(), ""), "data after the archive's end"),
        (deb(&tar, ".xz"), "xz"),
        (deb(&tar, ".gz"), "gzip"),
        (deb(&tar, ".zst"), "zstd"),
    ] {
        let error = unpack(&package, &root).err().ok_or(format!("{expected}: was accepted"))?;
        assert!(error.to_lowercase().contains(expected), "{expected}: {error}");
    }
    Ok(())
}

#[test]
fn truncated_anywhere_is_an_error() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&archive(&[dir("./"), file("./x")]))?;
    let gzip = gzip.finish()?;
    let whole = deb(&gzip, ".gz");
    let root = scratch.path().join("whole");
    fs::create_dir(&root)?;
    unpack(&whole, &root)?;
    // Cut from the file, and cut from the stream with an ar header that fits.
    let cut_file = (0..whole.len() - 1).map(|at| whole[..at].to_vec());
    let cut_stream = (0..gzip.len()).map(|at| deb(&gzip[..at], ".gz"));
    let plain = archive(&[dir("./"), file("./x")]);
    let cut_tar = (0..plain.len()).step_by(512).map(|at| deb(&plain[..at], ""));
    for (index, package) in cut_file.chain(cut_stream).chain(cut_tar).enumerate() {
        let root = scratch.path().join(format!("tree{index}"));
        fs::create_dir(&root)?;
        assert!(unpack(&package, &root).is_err(), "cut {index} was accepted");
    }
    let trailing = deb(&[gzip, b"more".to_vec()].concat(), ".gz");
    assert!(unpack(&trailing, &root).is_err());
    Ok(())
}

#[test]
fn md5sums_are_recomputed() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let package = scratch.path().join("x.deb");
    let data = archive(&[dir("./"), file("./x")]);
    for (sums, expected) in [
        ("9a0364b9e99bb480dd25e1f0284c8555  x\n", Ok(Some(1))),
        ("", Ok(Some(0))),
        ("0a0364b9e99bb480dd25e1f0284c8555  x\n", Err("MD5 of x: found 0a03")),
        ("9a0364b9e99bb480dd25e1f0284c8555  y\n", Err("names y, which is not a file")),
        ("9a0364b9e99bb480dd25e1f0284c8555 x\n", Err("line 1 of md5sums")),
    ] {
        let control = archive(&[file("./control"), member("./md5sums", b'0', "", 0o644, sums.as_bytes())]);
        fs::write(&package, ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &data)]))?;
        match (Deb::open(&package)?.check_md5sums(), expected) {
            (Ok(found), expected) => assert_eq!(Ok(found), expected),
            (Err(error), Err(expected)) => assert!(format!("{error:#}").contains(expected), "{error:#}"),
            (Err(error), Ok(_)) => return Err(error.into()),
        }
    }
    Ok(())
}

#[test]
fn bombs_are_refused() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let root = scratch.path().join("tree");
    fs::create_dir(&root)?;
    // 80 MiB of zeros in one file make 80 KB of gzip.
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut header = tar::Header::new_gnu();
    header.set_path("zeros")?;
    header.set_size(80 << 20);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    gzip.write_all(header.as_bytes())?;
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 80 << 20), &mut gzip)?;
    gzip.write_all(&[0; 1024])?;
    let error = unpack(&deb(&gzip.finish()?, ".gz"), &root).err().ok_or("the bomb was unpacked")?;
    assert!(error.contains("unpacks to more than"), "{error}");
    Ok(())
}
