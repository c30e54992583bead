//! apt as a function from package names to digests.

use super::{Candidates, Resolver};
use crate::formats::deb::Deb;
use crate::tools::sandbox::{Bind, Network, Sandbox};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Longest list of packages that apt may print, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

/// Where apt's own directories are inside.
const WORK: &str = "/work";

/// An unpacked apt with the verified indexes in its lists. The tree is removed when this is dropped.
pub(super) struct Apt {
    scratch: tempfile::TempDir,
}

impl Apt {
    /// Unpacks apt from `candidates` and gives it their indexes.
    pub(super) fn unpack(resolver: &Resolver<'_>, candidates: &Candidates<'_>) -> anyhow::Result<Self> {
        let start = Instant::now();
        let closure = candidates.naive_closure("apt")?;
        resolver.fetch(closure.iter())?;
        let scratch = tempfile::Builder::new().prefix("resolve-").tempdir_in(resolver.scratch);
        let scratch = scratch.with_context(|| format!("creating a directory in {}", resolver.scratch.display()))?;
        let (root, work) = (scratch.path().join("root"), scratch.path().join("work"));
        fs::create_dir(&root).with_context(|| format!("creating {}", root.display()))?;
        // base-files brings the links that the others are unpacked through.
        let (first, rest): (Vec<_>, Vec<_>) = closure.iter().partition(|(_, indexed)| indexed.name == "base-files");
        for (_, indexed) in first.into_iter().chain(rest) {
            Deb::open(&resolver.store.checked_path(&indexed.sha256)?)?.unpack(&root)?;
        }
        let write = |path: &str, content: &str| {
            let path = work.join(path);
            let directory = path.parent().unwrap_or(&work);
            fs::create_dir_all(directory)
                .and_then(|()| fs::write(&path, content))
                .with_context(|| format!("writing {}", path.display()))
        };
        write("apt.conf", CONFIG)?;
        write("state/lists/partial/.keep", "")?;
        write("cache/archives/partial/.keep", "")?;
        write("etc/apt.conf.d/.keep", "")?;
        write("etc/preferences.d/.keep", "")?;
        let mut sources = String::new();
        for state in candidates.states {
            let name = &state.lock.name;
            // Nobody answers at these addresses. They are trusted because their content was verified here.
            writeln!(sources, "deb [trusted=yes] http://{name}.invalid suite main")?;
            let mut index = String::new();
            for indexed in &state.index.packages {
                index.push_str(&indexed.stanza);
                index.push_str("\n\n");
            }
            write(&format!("state/lists/{name}.invalid_dists_suite_main_binary-amd64_Packages"), &index)?;
        }
        write("etc/sources.list", &sources)?;
        resolver.progress.done("unpack", &format!("apt and {} packages it needs", closure.len() - 1), start.elapsed());
        Ok(Self { scratch })
    }

    /// Digests of everything that must be installed to have the essential packages and `names`.
    pub(super) fn solve<'n>(&self, names: impl Iterator<Item = &'n str>) -> anyhow::Result<Vec<Sha256>> {
        let log = self.scratch.path().join("apt.log");
        let mut argv = vec!["/usr/bin/apt-get", "-qq", "--print-uris", "install", "?essential"];
        argv.extend(names);
        let sandbox = Sandbox {
            root: self.scratch.path().join("root"),
            binds: vec![Bind { host: self.scratch.path().join("work"), guest: WORK.into(), writable: true }],
            argv: argv.into_iter().map(str::to_owned).collect(),
            env: BTreeMap::from([
                ("APT_CONFIG".to_owned(), format!("{WORK}/apt.conf")),
                ("LC_ALL".to_owned(), "C.UTF-8".to_owned()),
                ("PATH".to_owned(), "/usr/sbin:/usr/bin".to_owned()),
            ]),
            cwd: WORK.into(),
            network: Network::None,
            uid: 0,
            log: log.clone(),
        };
        sandbox.run(&mut |_line| {})?;
        parse(&answer(&log)?)
    }
}

const CONFIG: &str = r#"Dir::State "/work/state";
Dir::State::status "/dev/null";
Dir::Cache "/work/cache";
Dir::Etc "/work/etc";
Dir::Log "/work/log";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::ForceHash "SHA256";
"#;

fn answer(log: &Path) -> anyhow::Result<String> {
    crate::files::read_text(log, MAX_ANSWER)
}

/// Lines of `'URI' NAME SIZE SHA256:DIGEST`. Warnings may stand between them.
fn parse(answer: &str) -> anyhow::Result<Vec<Sha256>> {
    let mut digests = Vec::new();
    for line in answer.lines().filter(|line| line.starts_with('\'')) {
        let digest = line.rsplit_once(" SHA256:").with_context(|| format!("apt names no SHA-256: {line:?}"))?.1;
        digests.push(digest.trim().parse().with_context(|| format!("apt names a bad SHA-256: {line:?}"))?);
    }
    ensure!(!digests.is_empty(), "apt chose no package; it said: {answer}");
    Ok(digests)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_apt_prints() {
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let line = format!("'http://debian.invalid/pool/a%2b1.deb' a_1%3a2.deb 10 SHA256:{digest}\n");
        assert_eq!(parse(&format!("W: a warning\n{line}")).unwrap(), [digest.parse().unwrap()]);
        for (answer, expected) in [
            (line.replace("SHA256", "MD5Sum"), "no SHA-256"),
            (line.replace("SHA256:ba", "SHA256:b"), "bad SHA-256"),
            ("E: Unable to locate package x\n".to_owned(), "Unable to locate package x"),
        ] {
            let error = format!("{:#}", parse(&answer).unwrap_err());
            assert!(error.contains(expected), "expected {expected:?} in {error:?}");
        }
    }
}
