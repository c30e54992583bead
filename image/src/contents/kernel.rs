//! The kernel and the modules that `/init` loads, out of Debian's package.

use crate::formats::deb::Deb;
use anyhow::{Context as _, bail, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The list of modules, in a checkout. `/init` has it compiled in.
pub const MODULES: &str = "enclave-agent/init/modules.txt";

/// Most directories below each other in a package's modules.
const MAX_DEPTH: usize = 32;

/// The names in the list of modules, in its order.
///
/// # Errors
/// When a name is there twice or could be a path.
pub fn modules(list: &str) -> anyhow::Result<Vec<&str>> {
    let mut names = Vec::new();
    for line in list.lines() {
        let Some(name) = line.split('#').next().and_then(|line| line.split_whitespace().next()) else { continue };
        ensure!(name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{name:?} is no module's name");
        ensure!(!names.contains(&name), "module {name} is listed twice");
        names.push(name);
    }
    Ok(names)
}

/// Unpacks the kernel package `deb` into the empty directory `work`, and moves its kernel to `vmlinuz` and the named
/// modules to `modules/NAME.ko.xz` in `into`, which is on the same file system.
///
/// # Errors
/// When the package does not hold exactly one kernel, or lacks a module.
pub fn extract(deb: &Path, modules: &[&str], work: &Path, into: &Path) -> anyhow::Result<()> {
    Deb::open(deb)?.unpack(work)?;
    let in_package = || format!("in the kernel package {}", deb.display());
    let boot = work.join("boot");
    let kernels: Vec<_> = names(&boot)?.into_iter().filter(|path| named(path).starts_with("vmlinuz-")).collect();
    let [kernel] = kernels.as_slice() else {
        bail!("expected one boot/vmlinuz-*, found {} {}", kernels.len(), in_package());
    };
    let mut found = BTreeMap::new();
    find_modules(&work.join("usr/lib/modules"), MAX_DEPTH, &mut found)?;
    fs::create_dir(into.join("modules")).with_context(|| format!("creating modules in {}", into.display()))?;
    let mut moves = vec![(kernel, into.join("vmlinuz"))];
    for name in modules {
        let file = format!("{name}.ko.xz");
        let path = found.get(&file).with_context(|| format!("no module {name} {}", in_package()))?;
        moves.push((path, into.join("modules").join(file)));
    }
    for (from, to) in moves {
        fs::rename(from, &to).with_context(|| format!("moving {} to {}", from.display(), to.display()))?;
    }
    Ok(())
}

fn find_modules(dir: &Path, depth: usize, found: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<()> {
    ensure!(depth > 0, "{} is more than {MAX_DEPTH} directories deep", dir.display());
    for path in names(dir)? {
        let kind = path.symlink_metadata().with_context(|| format!("looking at {}", path.display()))?;
        if kind.is_dir() {
            find_modules(&path, depth - 1, found)?;
        } else if kind.is_file() && named(&path).ends_with(".ko.xz") {
            let twice = found.insert(named(&path).to_owned(), path.clone());
            ensure!(twice.is_none(), "the module {} is there twice", path.display());
        }
    }
    Ok(())
}

fn names(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listing = fs::read_dir(dir).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listing.with_context(|| format!("reading {}", dir.display()))
}

/// The last component, or nothing if it is no UTF-8, as which it is none of ours.
fn named(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_names_in_order() {
        let list = "# comment\nb-c # why\n\na_1 absent-ok  # why not\n";
        assert_eq!(modules(list).unwrap(), ["b-c", "a_1"]);
        for (list, expected) in [("a\na # again\n", "listed twice"), ("../a\n", "no module's name")] {
            assert!(modules(list).unwrap_err().to_string().contains(expected), "{list}");
        }
    }
}
