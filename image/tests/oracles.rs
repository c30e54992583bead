//! What other people's programs make of our bytes. They are run from an unpacked tools tree (mkosi's tools as locked),
//! named by `VITRINE_TOOLS_TREE`.

use image::formats::deb::Deb;
use image::formats::disk;
use image::formats::filetree::{self, Content, Node, Tree};
use image::formats::listing::{Kind, Listing, TreePath};
use image::formats::{cpio, erofs, tar};
use measure::guid::Guid;
use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const NEEDS: &str = "needs VITRINE_TOOLS_TREE: a directory with the locked tools; run by cargo xtask ci";

#[expect(clippy::disallowed_methods, reason = "an oracle is another program, and where it is is the caller's to say")]
fn tool(name: &str) -> Command {
    let tree = PathBuf::from(std::env::var_os("VITRINE_TOOLS_TREE").expect(NEEDS));
    let mut command = Command::new(tree.join("usr/lib64/ld-linux-x86-64.so.2"));
    command.arg("--library-path").arg(tree.join("usr/lib/x86_64-linux-gnu")).arg(tree.join(name));
    command
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let Output { status, stdout, stderr } = command.stdin(Stdio::null()).output()?;
    let stdout = String::from_utf8_lossy(&stdout);
    anyhow::ensure!(status.success(), "{command:?}: {status}\n{stdout}{}", String::from_utf8_lossy(&stderr));
    Ok(stdout.into_owned())
}

/// A tree with everything that our images may hold, and some size.
fn tree(dir: &Path) -> anyhow::Result<Tree> {
    let node = |content, mode, gid| Node { content, mode, uid: 0, gid };
    let mut tree = Tree::from([
        (TreePath::ROOT, node(Content::Directory, 0o755, 0)),
        (TreePath::new(b"su")?, node(Content::Bytes(b"x".to_vec()), 0o4755, 70_000)),
        (TreePath::new(b"empty")?, node(Content::Bytes(Vec::new()), 0o600, 0)),
        (TreePath::new(b"block")?, node(Content::Bytes(vec![1; 4096]), 0o644, 0)),
        (TreePath::new(b"almost")?, node(Content::Bytes(vec![2; 8191]), 0o644, 0)),
        (TreePath::new(b"lib")?, node(Content::Symlink(b"/usr/lib".to_vec()), 0o777, 0)),
        (TreePath::new(&b"n".repeat(100))?, node(Content::Symlink(b"t".repeat(100)), 0o777, 0)),
        (TreePath::new(&b"m".repeat(101))?, node(Content::Symlink(b"t".repeat(3000)), 0o777, 0)),
        (TreePath::new(b"many")?, node(Content::Directory, 0o1777, 0)),
        (TreePath::new(b"none")?, node(Content::Directory, 0o700, 5)),
    ]);
    let big = dir.join("big");
    fs::write(&big, (0..3_000_001_u32).map(|at| (at / 7) as u8).collect::<Vec<_>>())?;
    tree.insert(TreePath::new(b"big")?, node(Content::Copied(big), 0o444, 0));
    for number in 0..2000 {
        let name = format!("many/{number}-{}", "x".repeat(number % 90));
        tree.insert(TreePath::new(name.as_bytes())?, node(Content::Bytes(name.into_bytes()), 0o644, 0));
    }
    Ok(tree)
}

#[test]
#[ignore = "needs VITRINE_TOOLS_TREE; run by cargo xtask ci"]
fn sfdisk_reads_our_disk() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let (data, out) = (scratch.path().join("data"), scratch.path().join("disk"));
    fs::write(&data, [7; 5000])?;
    let seed = uuid::Uuid::from_u128(1);
    disk::write(&File::create(&out)?, seed, "test-disk", &[("test", &data), ("test-verity", &data)])?;
    let dump = run(tool("usr/sbin/sfdisk").arg("--dump").arg(&out))?;
    assert!(dump.contains("label: gpt") && dump.contains("last-lba: 8158"), "{dump}");
    for (label, start) in [("test", 2048), ("test-verity", 4096)] {
        let guid = disk::guid(seed, label).to_string().to_uppercase();
        let line = dump.lines().find(|line| line.contains(&guid)).ok_or(anyhow::anyhow!("no {label} in {dump}"))?;
        assert!(line.contains(&format!("start={start:12}, size=          16,")), "{line}");
        assert!(line.ends_with(&format!("name=\"{label}\"")), "{line}");
    }
    let verdict = run(tool("usr/sbin/sfdisk").arg("--verify").arg(&out))?;
    assert!(verdict.contains("No errors detected"), "{verdict}");
    Ok(())
}

#[test]
#[ignore = "needs VITRINE_TOOLS_TREE; run by cargo xtask ci"]
fn cpio_reads_our_initrd() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let tree = tree(scratch.path())?;
    let archive = scratch.path().join("initrd");
    cpio::write(&tree, 1_700_000_000, &mut File::create(&archive)?)?;
    let listed = run(tool("usr/bin/cpio").args(["--list", "--quiet", "--file"]).arg(&archive))?;
    let expected = tree.keys().map(|path| format!("{path}\n")).collect::<String>();
    assert_eq!(listed, expected);
    let verbose = run(tool("usr/bin/cpio").args(["-tvn", "--quiet", "--file"]).arg(&archive))?;
    assert!(verbose.contains("-rwsr-xr-x   1 0        70000           1 "), "{verbose}");
    Ok(())
}

/// What `mkfs.erofs` makes of our tar is the tree, whoever reads it back.
#[test]
#[ignore = "needs VITRINE_TOOLS_TREE; run by cargo xtask ci"]
fn erofs_image_holds_the_tree() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let tree = tree(scratch.path())?;
    let archive = scratch.path().join("tree.tar");
    tar::write(&tree, 1_700_000_000, &mut File::create(&archive)?)?;
    let mut bytes = Vec::new();
    for (name, directory) in [("a.erofs", "."), ("b.erofs", "elsewhere")] {
        let directory = scratch.path().join(directory);
        fs::create_dir_all(&directory)?;
        let out = directory.join(name);
        let argv = erofs::mkfs(1_700_000_000, Guid::new(1), &out.to_string_lossy(), &archive.to_string_lossy());
        run(tool("usr/bin/mkfs.erofs").args(argv.iter().skip(1)).current_dir(&directory).env("TZ", "Asia/Tokyo"))?;
        bytes.push(fs::read(out)?);
    }
    assert!(bytes[0] == bytes[1], "the same archive gave two images");
    let image = scratch.path().join("a.erofs");
    run(tool("usr/bin/fsck.erofs").arg(&image))?;
    let read = |at: u64, buffer: &mut [u8]| {
        let from = &bytes[0][usize::try_from(at).map_err(std::io::Error::other)?..];
        buffer.copy_from_slice(&from[..buffer.len()]);
        Ok(())
    };
    let superblock = erofs::Superblock::read(&read, bytes[0].len() as u64)?;
    assert_eq!((superblock.uuid, superblock.time), (Guid::new(1), 1_700_000_000));
    assert_eq!(erofs::list(&read, &superblock)?.to_string(), filetree::listing(&tree)?.to_string());
    Ok(())
}

/// Every package of a directory unpacks to what `dpkg-deb` makes of it.
#[test]
#[ignore = "needs VITRINE_TOOLS_TREE; run by cargo xtask ci"]
fn dpkg_deb_unpacks_the_same() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let package = scratch.path().join("x.deb");
    let from = scratch.path().join("package");
    fs::create_dir_all(from.join("DEBIAN"))?;
    fs::create_dir_all(from.join(format!("usr/{}", "d".repeat(120))))?;
    fs::write(
        from.join("DEBIAN/control"),
        "Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x\nDescription: x\n",
    )?;
    fs::write(from.join(format!("usr/{}/{}", "d".repeat(120), "f".repeat(120))), vec![3; 100_000])?;
    symlink("t".repeat(150), from.join("usr/link"))?;
    fs::hard_link(from.join("DEBIAN/control"), from.join("usr/a"))?;
    fs::hard_link(from.join("DEBIAN/control"), from.join("usr/b"))?;
    for compression in ["xz", "zstd", "gzip", "none"] {
        // It finds tar through PATH, which is the host's; that one only ever packs the sample.
        run(tool("usr/bin/dpkg-deb").args(["--root-owner-group", "-Z", compression, "-b"]).arg(&from).arg(&package))?;
        let into = scratch.path().join(compression);
        fs::create_dir(&into)?;
        let deb = Deb::open(&package)?;
        assert_eq!(deb.control()?.get("Package").map(String::as_str), Some("x"));
        let declared = Listing::new(deb.unpack(&into)?)?;
        let on_disk = Listing::of_directory(&into, Some((0, 0)))?;
        let content = |listing: &Listing| -> Vec<(TreePath, Kind)> {
            listing.entries().iter().map(|entry| (entry.path.clone(), entry.kind.clone())).collect()
        };
        assert_eq!(content(&declared), content(&on_disk), "{compression}");
        let original = Listing::of_directory(&from.join("usr"), Some((0, 0)))?;
        let unpacked = Listing::of_directory(&into.join("usr"), Some((0, 0)))?;
        assert_eq!(content(&original), content(&unpacked), "{compression}");
    }
    Ok(())
}
