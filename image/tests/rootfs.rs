//! Composing a root file system from small synthetic trees: what passes, and what each gate refuses.

use image::contents::manifest::Manifest;
use image::contents::provenance::{self, Origin, Rule, Traced};
use image::contents::rootfs::{Binary, Installed, Sources, compose};
use image::formats::listing::{Entry, Kind, TreePath};
use image::inputs::lock::{Package, Set};
use measure::{Sha1, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

/// The smallest file the ELF gate takes: an x86-64 header without segments.
fn program() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec();
    header.resize(64, 0);
    header[16] = 3;
    header[18] = 62;
    header[20] = 1;
    header[52] = 64;
    header
}

/// One locked package, mkosi's tree, a checkout and a binary, all of them agreeing.
struct World {
    dir: tempfile::TempDir,
    package: Package,
    entries: Vec<Entry>,
    built: BTreeMap<TreePath, Binary>,
}

impl World {
    fn new() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let package = Package {
            sets: vec![Set::Rootfs],
            name: "app".into(),
            version: "1:2-3".into(),
            arch: "amd64".into(),
            archive: "debian".into(),
            pool: "pool/app.deb".into(),
            size: 1,
            sha256: Sha256::of(b"deb"),
            sha1: Sha1::new([0; 20]),
            source: "app".into(),
            source_version: "2-3".into(),
        };
        let agent = Binary { file: dir.path().join("agent"), name: "enclave-agent".into() };
        let built = BTreeMap::from([(TreePath::new(b"opt/agent")?, agent)]);
        let mut world = Self { dir, package, entries: Vec::new(), built };
        fs::write(world.dir.path().join("agent"), program())?;
        fs::create_dir_all(world.tree(""))?;
        fs::create_dir_all(world.content("etc"))?;
        fs::write(world.content("etc/hosts"), "127.0.0.1 localhost\n")?;
        for directory in [".", "tmp", "usr", "usr/bin", "usr/lib"] {
            world.ship(directory, Kind::Directory, if directory == "tmp" { 0o1777 } else { 0o755 })?;
        }
        world.ship_link("lib", "usr/lib")?;
        world.ship_link("usr/lib/libx.so", "libx.so.1")?;
        world.ship_link("usr/lib/dangling", "../share/nothing")?;
        world.ship_link("usr/lib/loop", "loop")?;
        world.ship_file("usr/lib/libx.so.1", &program(), 0o644)?;
        world.ship_file("usr/bin/tool", &program(), 0o755)?;
        world.ship_file("usr/bin/python3.13", &program(), 0o755)?;
        world.ship_file("usr/bin/elevate", &program(), 0o4755)?;
        world.ship_file("usr/bin/shared", &program(), 0o775)?;
        world.ship_file("usr/bin/script", b"#!/bin/sh\n", 0o755)?;
        world.ship_file("usr/bin/text", b"text\n", 0o755)?;
        world.ship_file("usr/bin/cut", b"\x7fELF\x02\x01\x01", 0o755)?;
        world.ship_file("usr/lib/systemd/system/good.service", b"ExecStart=-!/usr/bin/tool -x\n", 0o644)?;
        world.ship_file("usr/lib/systemd/system/bad.service", b"ExecStart=/usr/bin/missing\n", 0o644)?;
        for (name, line) in
            [("spaced", "ExecStart= \t/usr/bin/missing -x"), ("mark", "ExecStop = -"), ("reset", "ExecStart=")]
        {
            world.ship_file(&format!("usr/lib/systemd/system/{name}.service"), line.as_bytes(), 0o644)?;
        }
        Ok(world)
    }

    fn content(&self, path: &str) -> PathBuf {
        self.dir.path().join("checkout/content/rootfs").join(path)
    }

    fn tree(&self, path: &str) -> PathBuf {
        self.dir.path().join("tree").join(path)
    }

    fn ship(&mut self, path: &str, kind: Kind, mode: u16) -> anyhow::Result<()> {
        let place = self.tree(path);
        fs::create_dir_all(place.parent().unwrap_or(&place))?;
        if kind == Kind::Directory {
            fs::create_dir_all(&place)?;
        }
        let path = TreePath::from_member(path.as_bytes())?;
        self.entries.push(Entry { path, kind, mode, uid: 0, gid: 0 });
        Ok(())
    }

    fn ship_file(&mut self, path: &str, bytes: &[u8], mode: u16) -> anyhow::Result<()> {
        self.ship(path, Kind::File { size: bytes.len() as u64, sha256: Sha256::of(bytes) }, mode)?;
        Ok(fs::write(self.tree(path), bytes)?)
    }

    fn ship_link(&mut self, path: &str, target: &str) -> anyhow::Result<()> {
        self.ship(path, Kind::Symlink { target: target.into() }, 0o777)?;
        Ok(symlink(target, self.tree(path))?)
    }

    /// Composes with these paths of the package kept, and these lines of `add` besides the usual ones.
    fn compose(&self, keep: &[&str], add: &str) -> anyhow::Result<Vec<Traced>> {
        let mut keep = keep.to_vec();
        keep.sort_unstable();
        let keep: String = keep.iter().map(|path| format!("      - {path}\n")).collect();
        let manifest = Manifest::parse(&format!(
            "schema: 1\nkeep:\n  - package: app\n    reason: x\n    paths:\n{keep}add:\n  \
             - path: etc/hosts\n    content: 0600 0:7\n    reason: x\n  \
             - path: opt/agent\n    built: 0755 0:0\n    reason: x\n{add}"
        ))?;
        let installed = [Installed { package: &self.package, entries: self.entries.clone() }];
        let tree = self.tree("");
        let checkout = self.dir.path().join("checkout");
        compose(&manifest, &Sources { tree: &tree, checkout: &checkout, built: &self.built, packages: &installed })
    }

    /// The message of a composition that must fail.
    fn refusal(&self, keep: &[&str], add: &str) -> String {
        match self.compose(keep, add) {
            Ok(_) => format!("{keep:?} {add:?} was accepted"),
            Err(error) => format!("{error:#}"),
        }
    }
}

#[test]
fn every_path_has_its_origin_and_modes_are_never_the_disks() -> anyhow::Result<()> {
    let world = World::new()?;
    let composed = world.compose(&["lib", "usr/bin/tool", "usr/lib/libx.so"], "")?;
    let lines: Vec<_> = composed
        .iter()
        .map(|traced| {
            let Entry { path, mode, uid, gid, .. } = &traced.entry;
            let origin = match &traced.origin {
                Origin::Deb { package, version } => format!("{package} {version}"),
                Origin::Content { file } => file.clone(),
                Origin::Built { name } => format!("built {name}"),
                Origin::Generated { rule: Rule::ParentDirectory } => "parent".to_owned(),
                other => format!("{other:?}"),
            };
            format!("{path} {mode:04o} {uid}:{gid} {origin}")
        })
        .collect();
    assert_eq!(
        lines,
        [
            ". 0755 0:0 app 1:2-3",
            "etc 0755 0:0 parent",
            "etc/hosts 0600 0:7 content/rootfs/etc/hosts",
            "lib 0777 0:0 app 1:2-3",
            "opt 0755 0:0 parent",
            "opt/agent 0755 0:0 built enclave-agent",
            "usr 0755 0:0 app 1:2-3",
            "usr/bin 0755 0:0 app 1:2-3",
            "usr/bin/tool 0755 0:0 app 1:2-3",
            "usr/lib 0755 0:0 app 1:2-3",
            "usr/lib/libx.so 0777 0:0 app 1:2-3",
            "usr/lib/libx.so.1 0644 0:0 app 1:2-3",
        ]
    );
    Ok(())
}

#[test]
fn each_gate_refuses() -> anyhow::Result<()> {
    let world = World::new()?;
    for (keep, expected) in [
        ("usr/bin/absent", "keeps usr/bin/absent of app, which does not ship it; no locked rootfs package ships it"),
        ("usr/bin/elevate", "usr/bin/elevate: mode 4755 is set-id"),
        ("usr/bin/shared", "usr/bin/shared: mode 0775 is set-id, sticky or writable by others"),
        ("tmp", "tmp: mode 1777 is set-id, sticky"),
        ("usr/bin/script", "usr/bin/script: it is a script"),
        ("usr/bin/text", "usr/bin/text: mode 0755 makes it executable, but it is no program"),
        ("usr/bin/python3.13", "usr/bin/python3.13: programs called python are refused"),
        ("usr/bin/cut", "usr/bin/cut: reading its ELF header"),
        ("usr/lib/dangling", "usr/lib/dangling: it points to ../share/nothing, which is not kept"),
        ("usr/lib/loop", "usr/lib/loop: it points to loop, which is not kept"),
        ("usr/lib/systemd/system/bad.service", "bad.service: ExecStart starts /usr/bin/missing, which is not kept"),
        (
            "usr/lib/systemd/system/spaced.service",
            "spaced.service: ExecStart starts /usr/bin/missing, which is not kept",
        ),
        ("usr/lib/systemd/system/mark.service", "mark.service: expected a program in ExecStop"),
        ("usr/lib/systemd/system/good.service", "good.service: ExecStart starts /usr/bin/tool, which is not kept"),
    ] {
        let error = world.refusal(&[keep], "");
        assert!(error.contains(expected), "{keep}: {error}");
    }
    world.compose(&["usr/lib/systemd/system/good.service", "usr/bin/tool"], "")?;
    world.compose(&["usr/lib/systemd/system/reset.service"], "")?;
    for (add, expected) in [
        ("  - path: usr/bin\n    link: /nowhere\n    reason: x\n", "usr/bin has paths below it, but it is Symlink"),
        ("  - path: x\n    content: 0644 0:0\n    reason: x\n", "names x, but content/rootfs has no such file"),
        ("  - path: x\n    built: 0755 0:0\n    reason: x\n", "names x, but the guest stage builds no such binary"),
        ("  - path: sh\n    link: opt/agent\n    reason: x\n", "sh: programs called sh are refused"),
        (
            "  - path: usr/bin/text\n    allowed: 0644 0:0\n    sha256: \
             0000000000000000000000000000000000000000000000000000000000000000\n    reason: x\n",
            "its sha256 is b9e68e1bea3e5b19",
        ),
    ] {
        let error = world.refusal(&["usr/bin/tool"], add);
        assert!(error.contains(expected), "{add}: {error}");
    }
    Ok(())
}

#[test]
fn libraries_are_followed_by_name() -> anyhow::Result<()> {
    let mut world = World::new()?;
    // This test itself is a program with libraries and a loader.
    world.ship_file("usr/bin/linked", &fs::read(std::env::current_exe()?)?, 0o755)?;
    let mut kept = vec!["usr/bin/linked"];
    for (missing, path) in [
        ("its loader /lib64/ld-linux-x86-64.so.2", "lib64/ld-linux-x86-64.so.2"),
        ("the library libgcc_s.so.1", "usr/lib/x86_64-linux-gnu/libgcc_s.so.1"),
        ("the library libc.so.6", "usr/lib/libc.so.6"),
        ("the library ld-linux-x86-64.so.2", "usr/lib/ld-linux-x86-64.so.2"),
    ] {
        let error = world.refusal(&kept, "");
        assert!(error.contains("usr/bin/linked: it") && error.contains(missing), "{missing}: {error}");
        world.ship_file(path, &program(), 0o755)?;
        kept.push(path);
    }
    world.compose(&kept, "")?;
    Ok(())
}

#[test]
fn sources_that_changed_are_refused() -> anyhow::Result<()> {
    type Change = fn(&mut World) -> anyhow::Result<()>;
    let changes: [(Change, &str); 6] = [
        (|world| Ok(fs::write(world.tree("usr/bin/tool"), "other")?), "usr/bin/tool in mkosi's tree is not the member"),
        (|world| Ok(fs::remove_file(world.tree("usr/bin/tool"))?), "found None"),
        (
            |world| {
                fs::rename(world.tree("usr/bin"), world.tree("usr/sbin"))?;
                Ok(symlink("sbin", world.tree("usr/bin"))?)
            },
            "usr/bin is a link; expected a directory on the way to usr/bin/tool",
        ),
        (|world| Ok(fs::write(world.content("etc/extra"), "")?), "content/rootfs/etc/extra is there, but"),
        (|world| Ok(fs::remove_file(world.content("etc/hosts"))?), "content/rootfs has no such file"),
        (
            |world| {
                let binary = Binary { file: world.dir.path().join("agent"), name: "x".into() };
                world.built.insert(TreePath::new(b"usr/bin/more")?, binary);
                Ok(())
            },
            "binary usr/bin/more is built, but",
        ),
    ];
    for (change, expected) in changes {
        let mut world = World::new()?;
        change(&mut world)?;
        let error = world.refusal(&["usr/bin/tool"], "");
        assert!(error.contains(expected), "{expected}: {error}");
    }
    Ok(())
}

#[test]
fn a_finished_image_holds_what_was_traced() -> anyhow::Result<()> {
    let world = World::new()?;
    let traced = world.compose(&["usr/bin/tool"], "")?;
    let found: Vec<_> = traced.iter().map(|traced| traced.entry.clone()).collect();
    provenance::check("root", &found, &traced)?;

    type Change = fn(&mut Vec<Entry>) -> anyhow::Result<()>;
    let changes: [(Change, &str); 4] = [
        (
            |found| {
                let tool = found.last().cloned();
                let path = TreePath::new(b"usr/bin/copy")?;
                found.extend(tool.map(|tool| Entry { path, ..tool }));
                Ok(())
            },
            "usr/bin/copy of the root has no provenance; it has the content of opt/agent",
        ),
        (
            |found| {
                let path = TreePath::new(b"usr/new")?;
                found.push(Entry { path, kind: Kind::Directory, mode: 0o755, uid: 0, gid: 0 });
                Ok(())
            },
            "usr/new of the root has no provenance; it stands after usr/bin/tool",
        ),
        (
            |found| {
                found.last_mut().into_iter().for_each(|tool| tool.uid = 1);
                Ok(())
            },
            "usr/bin/tool of the root is not what it was traced to",
        ),
        (
            |found| {
                found.pop();
                Ok(())
            },
            "usr/bin/tool is not in the finished root",
        ),
    ];
    for (change, expected) in changes {
        let mut found = found.clone();
        change(&mut found)?;
        let error = provenance::check("root", &found, &traced).map_err(|error| error.to_string()).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    Ok(())
}

#[test]
fn provenance_is_written_merged_and_read() -> anyhow::Result<()> {
    let world = World::new()?;
    let traced = world.compose(&["usr/bin/tool"], "")?;
    let hosts: Vec<_> = traced.into_iter().filter(|traced| traced.entry.path.as_bytes().starts_with(b"etc")).collect();
    let rootfs = provenance::render(&BTreeMap::from([("rootfs", hosts.as_slice())]))?;
    let expected = r#"{
  "schema": 1,
  "images": {
    "rootfs": [
      {
        "path": "etc",
        "mode": "0755",
        "owner": "0:0",
        "class": "generated",
        "rule": "parent-directory"
      },
      {
        "path": "etc/hosts",
        "mode": "0600",
        "owner": "0:7",
        "sha256": "HASH",
        "class": "content",
        "file": "content/rootfs/etc/hosts"
      }
    ]
  }
}
"#;
    let expected = expected.replace("HASH", &Sha256::of(b"127.0.0.1 localhost\n").to_string());
    assert_eq!(rootfs, expected);

    let initrd = rootfs.replace("\"rootfs\"", "\"initrd\"").into_bytes();
    let merged = provenance::merge(&[initrd.clone(), rootfs.into_bytes()])?;
    assert_eq!(merged.matches("etc/hosts\",").count(), 2);
    assert_eq!(provenance::packages(merged.as_bytes())?.len(), 0);
    assert!(provenance::merge(&[initrd.clone(), initrd]).is_err(), "one image twice");
    let other = br#"{"schema":2,"images":{}}"#;
    assert!(provenance::merge(&[other.to_vec()]).is_err(), "another schema");

    let all = world.compose(&["lib", "usr/bin/tool"], "")?;
    let text = provenance::render(&BTreeMap::from([("rootfs", all.as_slice())]))?;
    assert_eq!(provenance::packages(text.as_bytes())?.into_iter().collect::<Vec<_>>(), ["app"]);
    Ok(())
}
