//! What no root filesystem may have, whatever the manifest says, and what it would fail without.

use super::elf::{self, Needs};
use super::tree::Tree;
use crate::contents::manifest::MODE_MASK;
use crate::contents::provenance::Traced;
use crate::formats::listing::{Kind, TreePath};
use anyhow::{Context as _, bail, ensure};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;

/// Programs that run what they are given, let someone in, mount or install; found by name, whatever digits, dots and
/// hyphens follow.
const REFUSED: &[&str] = &[
    "agetty", "apt", "ash", "awk", "bash", "busybox", "csh", "dash", "dpkg", "ed", "fish", "gawk", "gdb", "getty",
    "ksh", "login", "lua", "mawk", "mount", "nawk", "newgrp", "node", "passwd", "perl", "php", "python", "rbash",
    "ruby", "sh", "strace", "su", "sudo", "sulogin", "tclsh", "tcsh", "toybox", "umount", "unshare", "vi", "vim",
    "zsh",
];

/// Where glibc's loader looks last, in order, as Debian configures it.
const LIBRARY_DIRECTORIES: [&[u8]; 4] = [b"/lib/x86_64-linux-gnu", b"/usr/lib/x86_64-linux-gnu", b"/lib", b"/usr/lib"];

/// Directories whose files are systemd units and their drop-ins.
const UNIT_DIRECTORIES: [&[u8]; 2] = [b"etc/systemd/system/", b"usr/lib/systemd/system/"];

/// Runs every gate on every path.
pub(super) fn check(tree: &Tree) -> anyhow::Result<()> {
    let mut needs = BTreeMap::new();
    for (path, traced) in &tree.0 {
        needs.extend(check_path(tree, traced).with_context(|| path.to_string())?.map(|needs| (path, needs)));
    }
    let programs = needs.iter().filter(|(_, needs)| needs.interpreter.is_some()).map(|(path, _)| *path);
    let mut loaded = BTreeSet::new();
    for program in programs {
        loaded.extend(check_libraries(tree, &needs, program)?);
    }
    // What no program names is loaded by name at run time.
    for library in needs.keys().filter(|path| !loaded.contains(*path)) {
        check_libraries(tree, &needs, library)?;
    }
    Ok(())
}

/// The gates that look at one path; gives what it needs if it is a program or library.
fn check_path(tree: &Tree, traced: &Traced) -> anyhow::Result<Option<Needs>> {
    let entry = &traced.entry;
    let directory = entry.path.parent().unwrap_or(TreePath::ROOT);
    if entry.mode & 0o111 != 0 && entry.kind != Kind::Directory {
        let name = entry.path.file_name().unwrap_or_default();
        let stem = name.split(|byte| !byte.is_ascii_alphabetic()).next().unwrap_or_default();
        let refused = REFUSED.iter().find(|refused| refused.as_bytes() == stem);
        ensure!(refused.is_none(), "programs called {} are refused", refused.unwrap_or(&""));
    }
    let Some(file) = &traced.file else {
        return match &entry.kind {
            Kind::Symlink { target } => {
                let target_text = String::from_utf8_lossy(target);
                let resolved = tree.resolve(&directory, target);
                resolved.map(|_| None).with_context(|| format!("it points to {target_text}, which is not kept"))
            }
            Kind::Directory => check_mode(entry.mode).map(|()| None),
            kind => bail!("it is {kind:?}; expected file, directory or link"),
        };
    };
    check_mode(entry.mode)?;
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let is_elf = bytes.starts_with(b"\x7fELF");
    ensure!(!bytes.starts_with(b"#!"), "it is a script; nothing in the image could run it");
    ensure!(is_elf || entry.mode & 0o111 == 0, "mode {:04o} makes it executable, but it is no program", entry.mode);
    if UNIT_DIRECTORIES.iter().any(|units| entry.path.as_bytes().starts_with(units)) {
        check_unit(tree, &bytes)?;
    }
    is_elf.then(|| elf::needs(&bytes)).transpose()
}

fn check_mode(mode: u16) -> anyhow::Result<()> {
    ensure!(
        mode & !MODE_MASK == 0,
        "mode {mode:04o} is set-id, sticky or writable by others; {MODE_MASK:04o} is the most"
    );
    Ok(())
}

/// Follows what `program` loads, in the loader's order, and gives the libraries' paths. A name that is loaded already is
/// not searched again, as the loader has it.
fn check_libraries(
    tree: &Tree,
    needs: &BTreeMap<&TreePath, Needs>,
    program: &TreePath,
) -> anyhow::Result<Vec<TreePath>> {
    let mut loaded = Vec::new();
    let mut names = BTreeSet::new();
    let mut queue = VecDeque::from([program.clone()]);
    while let Some(path) = queue.pop_front() {
        let Some(needs) = needs.get(&path) else { bail!("{path}, which {program} loads, is no library") };
        if let Some(loader) = &needs.interpreter {
            let shown = String::from_utf8_lossy(loader);
            tree.resolve(&TreePath::ROOT, loader).with_context(|| format!("{path}: its loader {shown} is not kept"))?;
        }
        for library in needs.libraries.iter().filter(|library| names.insert((*library).clone())) {
            let directories = needs.directories.iter().map(Vec::as_slice).chain(LIBRARY_DIRECTORIES);
            let mut places = directories.map(|directory| [directory, b"/", library].concat());
            let found = places.find_map(|place| tree.resolve(&TreePath::ROOT, &place));
            let shown = String::from_utf8_lossy(library);
            let found = found.with_context(|| format!("{path}: it needs the library {shown}, which is not kept"))?;
            queue.push_back(found.entry.path.clone());
            loaded.push(found.entry.path.clone());
        }
    }
    Ok(loaded)
}

/// Every program that a unit starts is in the tree.
fn check_unit(tree: &Tree, bytes: &[u8]) -> anyhow::Result<()> {
    let text = std::str::from_utf8(bytes).context("reading it as a unit")?;
    let settings = text.lines().filter_map(|line| line.split_once('='));
    for (key, value) in settings.filter(|(key, _)| key.trim_end().starts_with("Exec")) {
        let value = value.trim();
        // An empty value is a reset: it takes back what the unit's other files start.
        if value.is_empty() {
            continue;
        }
        let program = value.trim_start_matches(['-', '@', ':', '+', '!', '|']).split_whitespace().next();
        let program = program.with_context(|| format!("expected a program in {key}={value}"))?;
        let found = tree.resolve(&TreePath::ROOT, program.as_bytes());
        found.with_context(|| format!("{key} starts {program}, which is not kept"))?;
    }
    Ok(())
}
