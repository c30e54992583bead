//! `inspect` on whole files: what is right, what is wrong and named, what cannot be decided.

use image::formats::filetree::{Content, Node, Tree};
use image::formats::listing::TreePath;
use image::formats::{cpio, disk, verity};
use image::progress::Silent;
use image::result::inspect::{Inspection, inspect};
use measure::guid::Guid;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use uuid::Uuid;

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A disk as ours are, with a small root.
fn whole_disk(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let (data, hash, out) = (dir.join("data"), dir.join("hash"), dir.join("disk"));
    // Padded, so that the tree has a block of its own and hides nothing in one data block.
    let mut erofs = include_bytes!("../../fuzz/samples/erofs/b4096").to_vec();
    erofs.resize(200 * 4096, 0);
    fs::write(&data, erofs)?;
    verity::format(&data, Some(&hash), "00ff".parse()?, Guid::new(7), &Silent)?;
    let parts = [("vitrine-root", data.as_path()), ("vitrine-root-verity", &hash)];
    disk::write(&File::create(&out)?, Uuid::from_u128(1), "vitrine-root-disk", &parts)?;
    Ok(fs::read(out)?)
}

fn inspect_bytes(bytes: &[u8]) -> anyhow::Result<Inspection> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;
    inspect(file.path())
}

fn initrd(name: &str) -> anyhow::Result<Vec<u8>> {
    let node = |content| Node { content, mode: 0o755, uid: 0, gid: 0 };
    let tree = Tree::from([
        (TreePath::ROOT, node(Content::Directory)),
        (TreePath::new(name.as_bytes())?, node(Content::Bytes(b"hello".to_vec()))),
    ]);
    let mut bytes = Vec::new();
    cpio::write(&tree, 0, &mut bytes)?;
    Ok(bytes)
}

#[test]
fn a_disk_is_checked_down_to_its_blocks() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let mut bytes = whole_disk(scratch.path())?;
    let root = verity::format(&scratch.path().join("data"), None, "00ff".parse()?, Guid::NIL, &Silent)?.root;
    let found = inspect_bytes(&bytes)?;
    assert_eq!(found.wrong, Vec::<String>::new());
    let text = found.to_string();
    assert!(text.contains(&format!("root {root}, computed from vitrine-root")), "{text}");
    assert!(text.contains("  su f 4755 0 70000 6 "), "{text}");
    let json = serde_json::to_value(&found)?;
    assert_eq!(json["format"], "disk");
    assert_eq!(json["table"]["partitions"][1]["content"]["root_sha256"], root.to_string());

    let (data, hash) = (1 << 20, 2 << 20);
    for (at, expected) in [
        (520, "header CRC-32"),
        (bytes.len() - 1024, "the backup partition table"),
        (data + 1024 + 50, "partition \"vitrine-root\": superblock CRC-32C"),
        (data + 150 * 4096, "data block 150"),
        (hash + 4096, "hash block 0"),
        (hash + 4096 + 5 * 32, "hash block 0"),
        (hash + 2 * 4096, "hash block 1"),
        (hash + 8, "expected 1 as the superblock's version"),
        (hash + 88, "hash block 1 (level 0)"),
        (hash + 75, "it covers"),
    ] {
        bytes[at] ^= 0x40;
        let wrong = inspect_bytes(&bytes)?.wrong;
        assert!(wrong.first().is_some_and(|first| first.contains(expected)), "{at} {expected}: {wrong:?}");
        bytes[at] ^= 0x40;
    }
    for length in [100, 513, 600, 4096, 1 << 20, (1 << 20) + 5000, bytes.len() - 512, bytes.len() - 1] {
        assert!(inspect_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
    Ok(())
}

#[test]
fn initrds_of_several_parts() -> Outcome {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&initrd("late")?)?;
    let late = gzip.finish()?;
    let early = initrd("early")?;
    let both = [early.as_slice(), &[0; 300], &late].concat();
    let found = inspect_bytes(&both)?;
    assert!(found.wrong.is_empty(), "{found}");
    let json = serde_json::to_value(&found)?;
    assert_eq!(json["archives"].as_array().map(Vec::len), Some(2));
    assert_eq!(json["archives"][1]["compression"], "gzip");
    assert!(json["archives"][1]["entries"][1].as_str().is_some_and(|entry| entry.starts_with("late f 0755 0 0 5 ")));

    let mut twice = [early.clone(), early.clone()].concat();
    assert!(inspect_bytes(&twice)?.wrong.is_empty());
    twice[early.len() + 6] = b'x';
    assert!(inspect_bytes(&twice)?.wrong.first().is_some_and(|wrong| wrong.contains("archive 2: cpio member 1")));
    for undecided in [&early[..early.len() - 1], &both[..both.len() - 30], b"070701", b"07070100", &late[..20]] {
        assert!(inspect_bytes(undecided).is_err());
    }
    Ok(())
}

#[test]
fn anything_else_is_undecided() {
    for bytes in [b"".as_slice(), b"hello", &[0; 4096], &[0xff; 8192], b"\x1f\x8bnot gzip", b"verity\0\0", b"!<arch>\n"]
    {
        let error = inspect_bytes(bytes).err().map(|error| format!("{error:#}"));
        assert!(error.is_some_and(|error| error.contains("inspecting")), "{bytes:?}");
    }
}
