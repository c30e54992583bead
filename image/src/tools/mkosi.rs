//! mkosi, run from the tools tree for one image at a time: committed configuration and locked packages in, a directory
//! out.
//!
//! mkosi reads many files by name (`mkosi.local.conf`, `mkosi.rootpw`, ...), so it is given a fresh directory that holds
//! nothing but what is named here. It runs as a user that is not root, in a namespace with no other user: it then
//! turns chown into nothing by itself, and the tree is the same whoever calls. Owners come from the packages later.

use crate::inputs::lock::Package;
use crate::progress::{Progress, Unit};
use crate::tools::sandbox::{Bind, Network, Sandbox};
use crate::tools::tree;
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Settings of every image, in a checkout.
const COMMON: &str = "mkosi.conf";

/// How mkosi begins a message about its configuration. All of them are warnings: errors end it.
const WARNING: &str = "‣ /work/config/";

/// One image and everything that shapes it.
#[derive(Debug, Clone)]
pub struct Image<'a> {
    /// Its directory in `mkosi.images`.
    pub name: &'a str,
    /// The checkout, or a copy of its committed inputs.
    pub checkout: &'a Path,
    /// The unpacked tools set.
    pub tools: &'a Path,
    /// What apt can choose from, each package with its `.deb`. None for an image that installs nothing.
    pub packages: &'a [(&'a Package, PathBuf)],
    /// Host directories that the image's configuration names as `/trees/NAME`.
    pub trees: BTreeMap<&'a str, &'a Path>,
    /// Newest time of any file, in seconds since 1970.
    pub source_date_epoch: u64,
}

/// The committed files that configure the image called `name`, relative to the checkout.
pub fn configuration(name: &str) -> [String; 2] {
    [COMMON.to_owned(), format!("mkosi.images/{name}/mkosi.conf")]
}

impl Image<'_> {
    /// Builds the image into `into`, an empty directory on the file system of `work`, which is empty too and is left
    /// with the log `mkosi.log` and what else mkosi leaves.
    ///
    /// # Errors
    /// When mkosi fails or warns about its configuration.
    pub fn build(&self, work: &Path, into: &Path, progress: &dyn Progress) -> anyhow::Result<()> {
        self.fill(work).with_context(|| format!("preparing {} for mkosi", work.display()))?;
        let sandbox = self.sandbox(work);
        let bar = progress.bar("mkosi", 1, Unit::Items);
        let mut warnings = Vec::new();
        sandbox
            .run(&mut |line| {
                bar.note(line);
                if line.starts_with(WARNING) {
                    warnings.push(line.to_owned());
                }
            })
            .with_context(|| format!("building the image {}", self.name))?;
        let log = &sandbox.log;
        ensure!(
            warnings.is_empty(),
            "mkosi warns about the image {} ({}): {}",
            self.name,
            log.display(),
            warnings.join("\n")
        );
        let output = work.join("output/image");
        fs::rename(&output, into).with_context(|| format!("renaming {} to {}", output.display(), into.display()))
    }

    /// Makes everything that mkosi finds in `/work`.
    fn fill(&self, work: &Path) -> anyhow::Result<()> {
        for dir in ["cache", "output", "packages", "workspace", "config/mkosi.conf.d"] {
            fs::create_dir_all(work.join(dir)).with_context(|| format!("creating {dir}"))?;
        }
        let config = work.join("config");
        let [common, own] = configuration(self.name);
        for (from, to) in [(&common, "mkosi.conf"), (&own, "mkosi.conf.d/image.conf")] {
            fs::copy(self.checkout.join(from), config.join(to)).with_context(|| format!("copying {from}"))?;
        }
        // Without this file mkosi would write one that names Debian's servers.
        let sources = config.join("mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources");
        // An image without it is taken for an empty one, also if nothing is to be installed.
        let os_release = config.join("mkosi.skeleton/usr/lib/os-release");
        for empty in [Some(sources), self.packages.is_empty().then_some(os_release)].into_iter().flatten() {
            let made = empty.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&empty, ""));
            made.with_context(|| format!("creating {}", empty.display()))?;
        }
        for (package, deb) in self.packages {
            let name = Path::new(&package.pool).file_name().with_context(|| format!("{} has no file", package.pool))?;
            let link = work.join("packages").join(name);
            // The store may be on another file system or belong to somebody else.
            let linked = fs::hard_link(deb, &link).or_else(|_refused| fs::copy(deb, &link).map(drop));
            linked.with_context(|| format!("linking {} to {}", deb.display(), link.display()))?;
        }
        Ok(())
    }

    /// mkosi's command line and surroundings.
    fn sandbox(&self, work: &Path) -> Sandbox {
        let mut argv = vec!["/usr/bin/mkosi".to_owned(), format!("--source-date-epoch={}", self.source_date_epoch)];
        argv.extend(
            [
                "--output=image",
                "--output-directory=/work/output",
                "--package-cache-dir=/work/cache",
                "--workspace-directory=/work/workspace",
                "--with-network=no",
            ]
            .map(str::to_owned),
        );
        if !self.packages.is_empty() {
            argv.push("--package-directory=/work/packages".to_owned());
        }
        argv.push("build".to_owned());
        let bind = |host: &Path, guest: PathBuf, writable| Bind { host: host.to_path_buf(), guest, writable };
        let mut binds = vec![
            bind(work, "/work".into(), true),
            // mkosi mounts a terminal in its own sandboxes, and nothing should speak to ours.
            bind(Path::new("/dev/null"), "/dev/tty".into(), true),
        ];
        binds.extend(self.trees.iter().map(|(name, host)| bind(host, Path::new("/trees").join(name), false)));
        let env = [("HOME", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/bin:/usr/sbin"), ("TERM", "dumb")];
        Sandbox {
            root: self.tools.to_path_buf(),
            binds,
            argv,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            cwd: PathBuf::from("/work/config"),
            network: Network::None,
            uid: tree::UID,
            log: work.join("mkosi.log"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image<'a>(checkout: &'a Path, tools: &'a Path) -> Image<'a> {
        let trees = BTreeMap::from([("kernel", tools)]);
        Image { name: "kernel", checkout, tools, packages: &[], trees, source_date_epoch: 7 }
    }

    /// The paths of all files below `dir`, sorted.
    fn files(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => found.extend(files(&entry.path()).iter().map(|file| format!("{name}/{file}"))),
                false => found.push(name),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn only_committed_files_reach_mkosi() {
        let dir = tempfile::tempdir().unwrap();
        let checkout = dir.path();
        fs::create_dir_all(checkout.join("mkosi.images/kernel")).unwrap();
        for stray in ["mkosi.local.conf", "mkosi.rootpw", "mkosi.images/kernel/mkosi.local.conf"] {
            fs::write(checkout.join(stray), "").unwrap();
        }
        let work = checkout.join("work");
        let error = image(checkout, checkout).fill(&work).unwrap_err();
        assert_eq!(error.to_string(), "copying mkosi.conf");
        for file in configuration("kernel") {
            fs::write(checkout.join(&file), file).unwrap();
        }
        image(checkout, checkout).fill(&work).unwrap();
        assert_eq!(
            files(&work.join("config")),
            [
                "mkosi.conf",
                "mkosi.conf.d/image.conf",
                "mkosi.sandbox/etc/apt/sources.list.d/mkosi.sources",
                "mkosi.skeleton/usr/lib/os-release",
            ]
        );
    }

    #[test]
    fn mkosi_is_told_everything_on_its_command_line() {
        let sandbox = image(Path::new("/checkout"), Path::new("/tools")).sandbox(Path::new("/scratch"));
        assert_eq!(
            sandbox.argv.join(" "),
            "/usr/bin/mkosi --source-date-epoch=7 --output=image --output-directory=/work/output \
             --package-cache-dir=/work/cache --workspace-directory=/work/workspace --with-network=no build"
        );
        let names: Vec<_> = sandbox.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(names, ["HOME=/tmp", "LANG=C.UTF-8", "PATH=/usr/bin:/usr/sbin", "TERM=dumb"]);
        let writable: Vec<_> = sandbox.binds.iter().filter(|bind| bind.writable).map(|bind| &bind.guest).collect();
        assert_eq!(writable, [Path::new("/work"), Path::new("/dev/tty")]);
        assert_eq!((sandbox.network, sandbox.uid), (Network::None, tree::UID));
    }
}
