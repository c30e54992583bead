//! The manifest of the root file system: the one in `content/`, and what is refused.

use image::contents::manifest::{Added, Keep, Manifest, Source};
use image::formats::listing::TreePath;
use image::inputs::lock::{Lock, Set};

const SAMPLE: &str = r"schema: 1
keep:
  - package: base-files
    reason: mount points
    paths:
      - dev
      - lib
  - package: libc6
    reason: the C library
    paths:
      - usr/lib/libc.so.6
add:
  - path: etc/passwd
    content: 0644 0:42
    reason: users
  - path: etc/x
    link: ../y
    reason: a link
";

#[test]
fn a_manifest_is_read_as_written() -> anyhow::Result<()> {
    let path = |text: &str| TreePath::new(text.as_bytes());
    let manifest = Manifest::parse(SAMPLE)?;
    let dev =
        Keep { package: "base-files".into(), reason: "mount points".into(), paths: vec![path("dev")?, path("lib")?] };
    assert_eq!(manifest.keep.first(), Some(&dev));
    let passwd = Added { source: Source::Content, mode: 0o644, uid: 0, gid: 42, reason: "users".into() };
    assert_eq!(manifest.added.get(&path("etc/passwd")?), Some(&passwd));
    let link = manifest.added.get(&path("etc/x")?).map(|added| &added.source);
    assert_eq!(link, Some(&Source::Link("../y".into())));
    Ok(())
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (from, to, expected) in [
        ("schema: 1", "schema: 2", "schema 2; expected 1"),
        ("schema: 1", "", "missing field `schema`"),
        ("schema: 1", "schema: 1\nschema: 1", "duplicate"),
        ("    reason: users", "    reason: users\n    group: x", "group"),
        ("    reason: the C library", "    reason: the C library\n    glob: x", "glob"),
        ("    reason: users", "    reason: ' '", "line 13: reason: expected a few words"),
        ("    reason: users\n", "", "missing field `reason`"),
        ("      - lib\n", "      - lib\n      - lib\n", "line 8: lib is named a second time"),
        ("      - dev\n      - lib\n", "      - lib\n      - dev\n", "line 7: dev stands after lib"),
        ("      - usr/lib/libc.so.6", "      - lib", "line 11: lib is named a second time"),
        ("path: etc/x", "path: etc/passwd", "line 16: etc/passwd is named a second time"),
        ("path: etc/x", "path: etc/a", "line 16: etc/a stands after etc/passwd"),
        ("path: etc/x", "path: dev", "line 16: dev is named a second time"),
        ("package: libc6", "package: a", "line 8: a with usr/lib/libc.so.6 stands after base-files"),
        ("    paths:\n      - usr/lib/libc.so.6", "    paths: []", "line 8: paths: expected at least one"),
        ("      - dev", "      - /dev", "absolute path"),
        ("      - dev", "      - a/../dev", "`..`"),
        ("path: etc/x", "path: etc//x", "empty"),
        ("content: 0644 0:42", "content: 644 0:42", "line 13: \"644 0:42\"; expected MODE UID:GID"),
        ("content: 0644 0:42", "content: +644 0:42", "expected MODE UID:GID"),
        ("content: 0644 0:42", "content: 04755 0:42", "expected MODE UID:GID"),
        ("content: 0644 0:42", "content: 4755 0:42", "no bit outside 0755"),
        ("content: 0644 0:42", "content: 0664 0:42", "no bit outside 0755"),
        ("content: 0644 0:42", "content: 0644 0:65535", "ids up to 65534"),
        ("content: 0644 0:42", "content: 0644 0:042", "expected MODE UID:GID"),
        ("content: 0644 0:42", "content: 0644 root:root", "expected MODE UID:GID"),
        ("content: 0644 0:42", "content: 0644 0:42\n    built: 0644 0:0", "expected one of content, built"),
        ("    content: 0644 0:42\n", "", "expected one of content, built"),
        ("content: 0644 0:42", "allowed: 0644 0:42", "allowed with sha256"),
        ("content: 0644 0:42", "allowed: 0644 0:42\n    sha256: 00", "expected 64 hexadecimal digits"),
    ] {
        assert!(SAMPLE.contains(from), "{from}");
        let error = Manifest::parse(&SAMPLE.replacen(from, to, 1)).map(|_| ()).map_err(|error| format!("{error:#}"));
        let error = error.expect_err(to);
        assert!(error.contains(expected), "{to:?} gave {error:?}; expected {expected:?}");
    }
    let long = format!("{SAMPLE}{}", "#\n".repeat(200_000));
    assert!(Manifest::parse(&long).is_err_and(|error| error.to_string().contains("expected at most")));
}

#[test]
fn the_committed_manifest_fits_the_lock_and_gives_nothing_to_a_service() -> anyhow::Result<()> {
    let manifest = Manifest::parse(include_str!("../../content/manifest.yaml"))?;
    let lock = Lock::parse(include_str!("../../image.lock"))?;
    for keep in &manifest.keep {
        assert!(lock.packages(Set::Rootfs).any(|package| package.name == keep.package), "{}", keep.package);
    }
    let root_owned = manifest.added.values().all(|added| (added.uid, added.gid) == (0, 0));
    assert!(root_owned, "nothing in the root belongs to a user that a service runs as");
    Ok(())
}
