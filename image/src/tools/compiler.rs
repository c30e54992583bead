//! Our programs, compiled in the toolchain tree from a workspace that holds nothing else: those of the guest, and the
//! client.
//!
//! Everything the compiler sees is at `/build`, whatever the checkout's path, and no other file of the host is there.
//! The result is what the locked toolchain makes of the committed sources and the locked crates.

mod client;
mod guest;
mod vendor;
mod workspace;

use crate::inputs::crates;
use crate::inputs::store::Store;
use crate::progress::{Progress, Unit};
use crate::tools::sandbox::{Bind, Network, Sandbox};
use crate::tools::tree;
use anyhow::{Context as _, ensure};
use std::fs;
use std::path::{Path, PathBuf};

pub use client::CLIENT;
pub use guest::GUEST;
pub use workspace::Workspace;

/// Programs that are compiled together.
#[derive(Debug)]
pub struct Programs {
    /// Each of them.
    pub packages: &'static [Package],
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

/// Where the compiler finds everything.
const BUILD: &str = "/build";

/// What the programs are compiled for; given explicitly, so that build scripts are not linked like the programs.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The C compiler, which links.
const CC: &str = "/usr/bin/x86_64-linux-gnu-gcc-14";

impl Workspace {
    /// Compiles the programs into `into`, in the empty directory `work` on the same file system. The log is `cargo.log`
    /// in `work`.
    ///
    /// # Errors
    /// When a crate is not in `store`, cargo fails or uses a crate that `Cargo.lock` does not name, or a program names
    /// the directory it was compiled in.
    pub fn build(
        &self,
        toolchain: &Path,
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
        compiler(self.programs, toolchain, work, &build).run(&mut |line| {
            let line = line.trim();
            bar.note(line);
            bar.add(line.starts_with("Compiling ").into());
        })?;
        self.check_lock(&build.join("Cargo.lock"))?;
        for Package { binary, .. } in self.programs.packages {
            let (from, to) = (build.join("target").join(TARGET).join("release").join(binary), into.join(binary));
            let bytes = fs::read(&from).with_context(|| format!("reading {}", from.display()))?;
            let leaks = leaks(&bytes, &[&format!("{BUILD}/"), &format!("{BUILD}\0")]);
            ensure!(leaks.is_empty(), "{binary} names the directory it was compiled in: {}", leaks.join(", "));
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

/// cargo's command line and surroundings.
fn compiler(programs: &Programs, toolchain: &Path, work: &Path, build: &Path) -> Sandbox {
    let mut argv = vec!["/usr/bin/cargo", "build", "--release", "--offline", "--target", TARGET];
    argv.extend(programs.packages.iter().flat_map(|package| ["--package", package.name]));
    let env = [
        ("CARGO_HOME", "/tmp/cargo"),
        // For crates with parts in C, which ask for `cc`: a link that only a maintainer script would make.
        ("CC", CC),
        ("CFLAGS", "-ffile-prefix-map=/build=."),
        ("HOME", "/tmp"),
        ("LANG", "C.UTF-8"),
        ("PATH", "/usr/bin"),
    ];
    Sandbox {
        root: toolchain.to_path_buf(),
        binds: vec![Bind { host: build.to_path_buf(), guest: BUILD.into(), writable: true }],
        argv: argv.into_iter().map(str::to_owned).collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        cwd: PathBuf::from(BUILD),
        network: Network::None,
        uid: tree::UID,
        log: work.join("cargo.log"),
    }
}

/// cargo's configuration: how the programs are compiled and linked. Optimisation is in the workspace's manifest.
fn config(programs: &Programs) -> String {
    let all = [
        // No library, no loader: `/init` is alone in its file system and the agent nearly so, and the client runs on any
        // Linux.
        "-Ctarget-feature=+crt-static",
        "-Clink-arg=-Wl,--build-id=none",
        // For paths that are below both, the last wins.
        "--remap-path-prefix=/build=.",
        "--remap-path-prefix=/build/vendor=vendor",
    ];
    let flags: Vec<_> = programs.flags.iter().copied().chain(all).collect();
    format!(
        r#"[target.{TARGET}]
linker = "{CC}"
rustflags = {flags:?}

[source.crates-io]
replace-with = "vendor"

[source.vendor]
directory = "vendor"
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
mod tests {
    use super::*;

    #[test]
    fn planted_paths_are_found() {
        let bytes = b"\x7fELF /buil /build/src/x.rs\0/home/me/checkout\0/build";
        for (needles, expected) in [
            (&["/build"][..], &["\"/build/src/x.rs\" at byte 11", "\"/build\" at byte 45"][..]),
            (&["/home/me", "/none"], &["\"/home/me/checkout\" at byte 27"]),
            (&["", "/nowhere"], &[]),
        ] {
            assert_eq!(leaks(bytes, needles), expected, "{needles:?}");
        }
    }

    #[test]
    fn cargo_is_told_everything_on_its_command_line() {
        for (programs, packages) in
            [(&GUEST, "--package attest --package enclave-agent --package init"), (&CLIENT, "--package client")]
        {
            let sandbox = compiler(programs, Path::new("/toolchain"), Path::new("/work"), Path::new("/work/build"));
            let fixed = "/usr/bin/cargo build --release --offline --target x86_64-unknown-linux-gnu";
            assert_eq!(sandbox.argv.join(" "), format!("{fixed} {packages}"));
            let names: Vec<_> = sandbox.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let [home, cc, prefixes] =
                ["CARGO_HOME=/tmp/cargo", &format!("CC={CC}"), "CFLAGS=-ffile-prefix-map=/build=."];
            assert_eq!(names, [home, cc, prefixes, "HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin"]);
            assert_eq!((sandbox.binds.len(), sandbox.network), (1, Network::None));
        }
    }
}
