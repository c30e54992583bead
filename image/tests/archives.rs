//! The writers: same bytes whatever the disk looks like, and readers that agree.

use image::formats::filetree::{Content, Node, Tree, listing};
use image::formats::listing::{Entry, Kind, Listing, TreePath};
use image::formats::{cpio, tar};
use measure::Sha256;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const EPOCH: u32 = 1_700_000_000;

/// A tree whose contents lie in `dir`.
fn tree(dir: &Path) -> Result<Tree, Box<dyn std::error::Error>> {
    let on_disk = dir.join("content");
    fs::write(&on_disk, "from disk")?;
    // What the disk says about owner, mode and time must not matter.
    fs::set_permissions(&on_disk, fs::Permissions::from_mode(0o640))?;
    let long = [b"d".repeat(150), b"/".to_vec(), b"f".repeat(150)].concat();
    let node = |content, mode, gid| Node { content, mode, uid: 0, gid };
    Ok([
        (b"".as_slice(), node(Content::Directory, 0o755, 0)),
        (b"init", node(Content::Bytes(b"#!".to_vec()), 0o4555, 42)),
        (b"a-b", node(Content::Bytes(Vec::new()), 0o600, 0)),
        (b"a", node(Content::Directory, 0o1777, 0)),
        (b"a/b", node(Content::Copied(on_disk), 0o644, 0)),
        (b"lib", node(Content::Symlink(b"/usr/lib".to_vec()), 0o600, 0)),
        (&long[..150], node(Content::Directory, 0o700, 70_000)),
        (&long, node(Content::Symlink(b"x".repeat(200)), 0o777, 0)),
    ]
    .into_iter()
    .map(|(path, node)| Ok((TreePath::new(path)?, node)))
    .collect::<Result<_, image::formats::listing::PathError>>()?)
}

fn read_tar(bytes: &[u8]) -> anyhow::Result<Vec<Entry>> {
    let mut reader = tar::Reader::new(bytes);
    let mut entries = Vec::new();
    while let Some(member) = reader.next_member()? {
        assert_eq!(member.mtime, u64::from(EPOCH));
        let kind = match member.kind {
            tar::MemberKind::File(size) => {
                let (length, sha256) = image::formats::hash::copy(&mut reader, &mut std::io::sink())?;
                assert_eq!(length, size);
                Kind::File { size, sha256 }
            }
            tar::MemberKind::Directory => Kind::Directory,
            tar::MemberKind::Symlink(target) => Kind::Symlink { target },
            other => anyhow::bail!("{other:?}"),
        };
        entries.push(Entry { path: member.path, kind, mode: member.mode, uid: member.uid, gid: member.gid });
    }
    reader.finish()?;
    Ok(entries)
}

#[test]
fn readers_find_what_writers_wrote() -> Outcome {
    let scratch = tempfile::tempdir()?;
    let tree = tree(scratch.path())?;
    let expected = listing(&tree)?;
    let expected = expected.entries();

    let (mut cpio, mut tar) = (Vec::new(), Vec::new());
    cpio::write(&tree, EPOCH, &mut cpio)?;
    tar::write(&tree, EPOCH.into(), &mut tar)?;
    let mut rest = cpio.as_slice();
    assert_eq!(cpio::read(&mut rest)?, expected);
    assert!(rest.is_empty());
    assert_eq!(read_tar(&tar)?, expected);

    // Other places, times and modes on disk give the same bytes.
    let elsewhere = tempfile::tempdir()?;
    let other = self::tree(elsewhere.path())?;
    fs::set_permissions(elsewhere.path().join("content"), fs::Permissions::from_mode(0o444))?;
    let (mut again, mut tar_again) = (Vec::new(), Vec::new());
    cpio::write(&other, EPOCH, &mut again)?;
    tar::write(&other, EPOCH.into(), &mut tar_again)?;
    assert!(again == cpio && tar_again == tar);
    Ok(())
}

#[test]
fn cpio_bytes_are_these() -> Outcome {
    let node = |content, mode| Node { content, mode, uid: 0, gid: 0 };
    let tree = Tree::from([
        (TreePath::ROOT, node(Content::Directory, 0o755)),
        (TreePath::new(b"x")?, node(Content::Bytes(b"hello".to_vec()), 0o644)),
    ]);
    let mut bytes = Vec::new();
    cpio::write(&tree, 16, &mut bytes)?;
    let zeros = "0".repeat(32);
    let expected = format!(
        "07070100000001000041ed00000000000000000000000100000010{:0>8}{zeros}0000000200000000.\0\
         07070100000002000081a400000000000000000000000100000010{:0>8}{zeros}0000000200000000x\0hello\0\0\0\
         07070100000000000000000000000000000000000000010000000000000000{zeros}0000000b00000000TRAILER!!!\0\0\0\0",
        0, 5
    );
    assert_eq!(String::from_utf8(bytes)?, expected);
    Ok(())
}

#[test]
fn a_tree_without_a_parent_is_refused() -> Outcome {
    let node = |content| Node { content, mode: 0o644, uid: 0, gid: 0 };
    let file = || node(Content::Bytes(Vec::new()));
    for tree in [
        Tree::from([(TreePath::new(b"x")?, file())]),
        Tree::from([(TreePath::ROOT, file())]),
        Tree::from([(TreePath::ROOT, node(Content::Directory)), (TreePath::new(b"d/x")?, file())]),
        Tree::from([
            (TreePath::ROOT, node(Content::Directory)),
            (TreePath::new(b"d")?, file()),
            (TreePath::new(b"d/x")?, file()),
        ]),
    ] {
        assert!(cpio::write(&tree, 0, &mut Vec::new()).is_err());
        assert!(tar::write(&tree, 0, &mut Vec::new()).is_err());
    }
    let trailer = Tree::from([(TreePath::ROOT, node(Content::Directory)), (TreePath::new(b"TRAILER!!!")?, file())]);
    assert!(cpio::write(&trailer, 0, &mut Vec::new()).is_err());
    Ok(())
}

#[test]
fn cpio_reader_is_strict() -> Outcome {
    let node = |content, mode| Node { content, mode, uid: 0, gid: 0 };
    let tree = Tree::from([
        (TreePath::ROOT, node(Content::Directory, 0o755)),
        (TreePath::new(b"ab")?, node(Content::Bytes(b"hello".to_vec()), 0o644)),
    ]);
    let mut bytes = Vec::new();
    cpio::write(&tree, 0, &mut bytes)?;
    for at in 0..bytes.len() {
        assert!(cpio::read(&mut &bytes[..at]).is_err(), "cut at {at} was accepted");
    }
    let second = 112;
    for (at, new, expected) in [
        (second, "070702".as_bytes(), "expected \"070701\""),
        (second + 6, b"xyz", "not hexadecimal"),
        (second + 6, b"+0000001", "not hexadecimal"),
        (second + 14, b"000061a4", "data"),
        (second + 54, b"ffffffff", "ends"),
        (second + 94, b"00000000", "name of 0 bytes"),
        (second + 94, b"00001001", "name of 4097 bytes"),
        (second + 102, b"00000001", "checksum"),
        (second + 110, b"..", "contains `..`"),
        (second + 110, b"/x", "absolute"),
        (second + 110, b"./", "duplicate"),
        (second + 112, b"x", "zero byte"),
        (second + 113, b"x", "padding"),
        (second + 14, b"000011a4", "data"),
        (second + 14, b"000001a4", "data"),
    ] {
        let mut hostile = bytes.clone();
        hostile[at..at + new.len()].copy_from_slice(new);
        let error = cpio::read(&mut hostile.as_slice()).err().ok_or(format!("{expected}: was accepted"))?;
        assert!(format!("{error:#}").contains(expected), "{expected}: {error:#}");
    }
    Ok(())
}

#[test]
fn hard_links_in_cpio_share_their_content() -> Outcome {
    let mut bytes = Vec::new();
    for (name, content) in [("a", ""), ("b", "data")] {
        let size = content.len();
        bytes.extend(
            format!("07070100000007000081a4{:016}0000000200000000{size:08x}{:032}0000000200000000{name}\0", 0, 0)
                .bytes(),
        );
        bytes.extend_from_slice(content.as_bytes());
    }
    bytes.extend(format!("070701{:032}00000001{:048}0000000b00000000TRAILER!!!\0\0\0\0", 0, 0).bytes());
    let entries = cpio::read(&mut bytes.as_slice())?;
    let expected = Kind::File { size: 4, sha256: Sha256::of(b"data") };
    assert_eq!(entries.iter().map(|entry| &entry.kind).collect::<Vec<_>>(), [&expected, &expected]);
    assert_eq!(Listing::new(entries)?.entries().len(), 2);
    Ok(())
}
