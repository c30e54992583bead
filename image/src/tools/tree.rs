//! Trees of programs: the packages of one set, unpacked without running any maintainer script, plus the few files
//! that such scripts would have made and that something needs.

use crate::formats::deb::Deb;
use crate::inputs::lock::{Package, Set};
use crate::progress::{Progress, Unit};
use anyhow::{Context as _, bail};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The user id as which tools run in their tree; see [`crate::tools::sandbox::Sandbox::uid`].
pub const UID: u32 = 1000;

/// Makes `/bin`, `/lib` and so on links into `/usr`, so it must be unpacked before anything else.
const FIRST: &str = "base-files";

/// Something a maintainer script would have made.
struct Fix {
    /// Where, relative to the tree. Its directory is made if no package has it.
    path: &'static str,
    made: Made,
}

enum Made {
    /// A file with this content.
    File(&'static str),
    /// A symbolic link with this target.
    Link(&'static str),
}

/// The fixes for `set`.
fn fixes(set: Set) -> &'static [Fix] {
    match set {
        Set::Tools => &[
            // mkosi mounts a file over it.
            Fix { path: "etc/resolv.conf", made: Made::File("") },
            // mkosi and Python look up who is calling.
            Fix { path: "etc/passwd", made: Made::File(PASSWD) },
            Fix { path: "etc/group", made: Made::File(GROUP) },
            // An alternative; dpkg's and mkosi's scripts call it.
            Fix { path: "usr/bin/awk", made: Made::Link("mawk") },
        ],
        Set::Toolchain => &[
            // cargo looks up who is calling.
            Fix { path: "etc/passwd", made: Made::File(PASSWD) },
            Fix { path: "etc/group", made: Made::File(GROUP) },
        ],
        Set::Firmware | Set::Initrd | Set::Kernel | Set::Model | Set::Rootfs | Set::Vectors => &[],
    }
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbuild:x:1000:1000:build:/tmp:/bin/sh\n";
const GROUP: &str = "root:x:0:\nbuild:x:1000:\n";

/// Unpacks the packages of `set`, each given with where its `.deb` is, into the empty directory `into`.
///
/// Uses all processors. Everything in the tree belongs to the caller, see [`Deb::unpack`].
///
/// # Errors
/// When a package cannot be unpacked or two packages hold the same file; `into` is then not fit for use.
pub fn unpack(set: Set, packages: &[(&Package, PathBuf)], into: &Path, progress: &dyn Progress) -> anyhow::Result<()> {
    let bar = progress.bar("unpack", packages.iter().map(|(package, _deb)| package.size).sum(), Unit::Bytes);
    let unpack = |(package, deb): &(&Package, PathBuf)| {
        bar.note(&package.name);
        let unpacked = Deb::open(deb).and_then(|deb| deb.unpack(into));
        unpacked.with_context(|| format!("package {} {} of set {set}", package.name, package.version))?;
        bar.add(package.size);
        Ok(())
    };
    // Large packages first, so that none is left over at the end while the other processors idle.
    let (mut first, mut rest): (Vec<_>, Vec<_>) = packages.iter().partition(|(package, _deb)| package.name == FIRST);
    rest.sort_by_key(|(package, _deb)| std::cmp::Reverse(package.size));
    if let Some(package) = first.pop() {
        unpack(package)?;
    }
    in_parallel(&rest, |package| unpack(package))?;
    for fix in fixes(set) {
        apply(fix, into).with_context(|| format!("making {} in the tree of set {set}", fix.path))?;
    }
    Ok(())
}

/// Does `work` for each item on all processors and returns the first error.
fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> anyhow::Result<()> + Sync) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let take = || {
        while !failed.load(Ordering::Relaxed)
            && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
        {
            work(item).inspect_err(|_error| failed.store(true, Ordering::Relaxed))?;
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(take)).collect();
        for worker in workers {
            match worker.join() {
                Ok(done) => done?,
                Err(_panic) => bail!("a thread that unpacks panicked"),
            }
        }
        Ok(())
    })
}

fn apply(fix: &Fix, into: &Path) -> anyhow::Result<()> {
    let path = into.join(fix.path);
    anyhow::ensure!(path.symlink_metadata().is_err(), "a package has it: remove the fix");
    if let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) {
        fs::create_dir_all(parent)?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755))?;
    }
    match fix.made {
        Made::File(content) => {
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        }
        Made::Link(target) => symlink(target, &path)?,
    }
    Ok(())
}
