//! Our programs, compiled in the toolchain tree from a workspace that holds nothing else: those of the guest, the worker
//! with llama.cpp, and the client.
//!
//! Everything the compiler sees is at `/build`, whatever the checkout's path, and no other file of the host is there.
//! The result is what the locked toolchain makes of the committed sources and the locked crates.

mod client;
mod guest;
mod infer;
mod llama;
mod vendor;
mod workspace;

use crate::inputs::crates;
use crate::inputs::store::Store;
use crate::progress::{Progress, Unit};
use crate::tools::sandbox::{Bind, Network, Sandbox};
use crate::tools::tree;
use anyhow::{Context as _, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};

pub use client::CLIENT;
pub use guest::GUEST;
pub use infer::INFER;
pub use workspace::Workspace;

/// Programs that are compiled together.
#[derive(Debug)]
pub struct Programs {
    /// Each of them.
    pub packages: &'static [Package],
    /// Their `Cargo.lock` in the checkout.
    pub(crate) lock: &'static str,
    /// What they link that is compiled apart.
    native: Option<&'static Native>,
    /// Sources that belong to features which none of them asks for, as beginnings of paths: they change nothing.
    pub(crate) left_out: &'static [&'static str],
    /// What rustc is told besides what all are compiled with.
    flags: &'static [&'static str],
    /// How they are optimised: `[profile.release]`.
    profile: &'static str,
}

/// A package that is one program.
#[derive(Debug)]
pub struct Package {
    /// Its directory in the checkout.
    pub directory: &'static str,
    /// Its name.
    pub name: &'static str,
    /// What the program is called.
    pub binary: &'static str,
}

/// A crate whose build script compiles C++ for minutes. It runs in a stage of its own, and where the crate is linked, what
/// it left there stands in for it (<https://doc.rust-lang.org/cargo/reference/build-scripts.html#overriding-build-scripts>).
#[derive(Debug)]
pub(crate) struct Native {
    /// The crate.
    name: &'static str,
    /// Its `links`.
    links: &'static str,
    /// The bindings that its build script writes; the crate includes them from its `OUT_DIR`.
    bindings: &'static str,
    /// The archives that its build script leaves in `lib`.
    archives: &'static [&'static str],
    /// What the archives need of the toolchain, and where that is.
    libraries: &'static [&'static str],
    search: &'static str,
    /// What its build script is told besides what all are.
    env: &'static [(&'static str, &'static str)],
}

/// Where the compiler finds everything.
const BUILD: &str = "/build";

/// What the programs are compiled for; given explicitly, so that build scripts are not linked like the programs.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The C compiler, which links, and the one for C++.
const CC: &str = "/usr/bin/x86_64-linux-gnu-gcc-14";
const CXX: &str = "/usr/bin/x86_64-linux-gnu-g++-14";

/// Where what a [`Native`] crate left is, below [`BUILD`].
const NATIVE: &str = "native";

impl Workspace {
    /// Compiles the programs, or the crate in C++, into `into`, in the empty directory `work` on the same file system. The
    /// log is `cargo.log` in `work`. `native` is what [`Workspace::native`] left, if the programs link it.
    ///
    /// # Errors
    /// When a crate is not in `store`, cargo fails or uses a crate that `Cargo.lock` does not name, or what was made names
    /// the directory it was compiled in.
    pub fn build(
        &self,
        toolchain: &Path,
        native: Option<&Path>,
        store: &Store,
        work: &Path,
        into: &Path,
        progress: &dyn Progress,
    ) -> anyhow::Result<()> {
        let build = work.join("build");
        for (path, content) in &self.files {
            write(&build.join(path), content)?;
        }
        vendor::unpack(&self.crates, store, &build.join("vendor"))?;
        let bar = progress.bar("cargo", self.crates.len() as u64, Unit::Items);
        compiler(&self.make, toolchain, native, work, &build).run(&mut |line| {
            let line = line.trim();
            bar.note(line);
            bar.add(line.starts_with("Compiling ").into());
        })?;
        self.check_lock(&build.join("Cargo.lock"))?;
        for (from, name) in self.make.files(&build.join("target").join(TARGET).join("release"))? {
            let to = into.join(&name);
            let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            let leaks = leaks(&bytes, &[&format!("{BUILD}/"), &format!("{BUILD}\0")]);
            ensure!(leaks.is_empty(), "{name} names the directory it was compiled in: {}", leaks.join(", "));
            fs::rename(&from, &to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))?;
        }
        Ok(())
    }

    /// Fails if cargo left a lock that names a crate that ours does not.
    fn check_lock(&self, path: &Path) -> anyhow::Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        for used in crates::parse(&text).with_context(|| format!("reading {}", path.display()))? {
            let known = self.crates.contains(&used);
            ensure!(known, "cargo used {} {}, which Cargo.lock does not name", used.name, used.version);
        }
        Ok(())
    }
}

/// What a workspace is compiled for.
#[derive(Debug)]
enum Make {
    Programs(&'static Programs),
    Native(&'static Programs, &'static Native),
}

impl Make {
    fn programs(&self) -> &'static Programs {
        match self {
            Self::Programs(programs) | Self::Native(programs, _) => programs,
        }
    }

    fn packages(&self) -> Vec<&'static str> {
        match self {
            Self::Programs(programs) => programs.packages.iter().map(|package| package.name).collect(),
            Self::Native(_, native) => vec![native.name],
        }
    }

    /// The files in cargo's directory `release` that are wanted, and what they are called.
    fn files(&self, release: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
        let native = match self {
            Self::Programs(programs) => {
                let binaries = programs.packages.iter().map(|package| package.binary);
                return Ok(binaries.map(|binary| (release.join(binary), binary.to_owned())).collect());
            }
            Self::Native(_, native) => native,
        };
        // The script runs in a directory whose name cargo chooses.
        let (build, prefix) = (release.join("build"), format!("{}-", native.name));
        let entries = fs::read_dir(&build).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let entries = entries.with_context(|| format!("reading {}", build.display()))?;
        let mut ours = entries.iter().filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix));
        let (Some(out), None) = (ours.next(), ours.next()) else {
            bail!("{}: expected one directory {prefix}*", build.display());
        };
        let out = out.path().join("out");
        let archives = native.archives.iter().map(|archive| format!("lib{archive}.a"));
        let archives = archives.map(|archive| (out.join("lib").join(&archive), archive));
        Ok(archives.chain([(out.join(native.bindings), native.bindings.to_owned())]).collect())
    }
}

/// cargo's command line and surroundings.
fn compiler(make: &Make, toolchain: &Path, native: Option<&Path>, work: &Path, build: &Path) -> Sandbox {
    let mut argv = vec!["/usr/bin/cargo", "build", "--release", "--offline", "--target", TARGET];
    argv.extend(make.packages().iter().flat_map(|package| ["--package", package]));
    let env = [
        ("CARGO_HOME", "/tmp/cargo"),
        // For crates with parts in C, which ask for `cc`: a link that only a maintainer script would make.
        ("CC", CC),
        ("CFLAGS", "-ffile-prefix-map=/build=."),
        ("CXX", CXX),
        ("CXXFLAGS", "-ffile-prefix-map=/build=."),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PATH", "/usr/bin"),
    ];
    let own = make.programs().native.map_or(&[][..], |native| native.env);
    let bind = |host: &Path, guest, writable| Bind { host: host.to_path_buf(), guest, writable };
    let native = native.map(|native| bind(native, Path::new(BUILD).join(NATIVE), false));
    Sandbox {
        root: toolchain.to_path_buf(),
        binds: [bind(build, BUILD.into(), true)].into_iter().chain(native).collect(),
        argv: argv.into_iter().map(str::to_owned).collect(),
        env: env.iter().chain(own).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        cwd: PathBuf::from(BUILD),
        network: Network::None,
        uid: tree::UID,
        log: work.join("cargo.log"),
    }
}

/// cargo's configuration: how the programs are compiled and linked. Optimisation is in the workspace's manifest.
fn config(make: &Make) -> String {
    let all = [
        // No library, no loader: `/init` is alone in its file system and the agent nearly so, and the client runs on any
        // Linux.
        "-Ctarget-feature=+crt-static",
        "-Clink-arg=-Wl,--build-id=none",
        // For paths that are below both, the last wins.
        "--remap-path-prefix=/build=.",
        "--remap-path-prefix=/build/vendor=vendor",
    ];
    let flags: Vec<_> = make.programs().flags.iter().copied().chain(all).collect();
    let linked = match make {
        Make::Programs(Programs { native: Some(native), .. }) => linked(native),
        _ => String::new(),
    };
    format!(
        r#"[target.{TARGET}]
linker = "{CC}"
rustflags = {flags:?}
{linked}
[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
"#
    )
}

/// What is there instead of running the build script of the crate.
fn linked(native: &Native) -> String {
    let Native { links, search, .. } = native;
    let there = format!("{BUILD}/{NATIVE}");
    let libraries: Vec<_> =
        native.archives.iter().chain(native.libraries).map(|library| format!("static={library}")).collect();
    format!(
        r#"
[target.{TARGET}.{links}]
rustc-link-lib = {libraries:?}
rustc-link-search = ["native={there}", "native={search}"]
rustc-env = {{ OUT_DIR = "{there}" }}
"#
    )
}

/// Where `bytes` hold one of `needles`: each as it stands there, with what follows up to a zero byte.
///
/// For directories that must not be in any file of the image; a needle should be a path long enough to have no other
/// meaning.
pub fn leaks(bytes: &[u8], needles: &[&str]) -> Vec<String> {
    const SHOWN: usize = 120;
    let mut found = Vec::new();
    for needle in needles.iter().filter(|needle| !needle.is_empty()) {
        let needle = needle.as_bytes();
        // Few bytes of a program are slashes, so that looking at the first byte alone is fast.
        for (at, _first) in bytes.iter().enumerate().filter(|&(_at, byte)| Some(byte) == needle.first()) {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.starts_with(needle) {
                let text = rest.iter().copied().take(SHOWN).take_while(|&byte| byte != 0).collect::<Vec<_>>();
                found.push(format!("{:?} at byte {at}", String::from_utf8_lossy(&text)));
            }
        }
    }
    found
}

fn write(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(path, content));
    made.with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests;
