//! From a lock to a store that holds every file it names.
//!
//! A file is looked for in the store, then at content-addressed mirrors, then where it was published, then (for a
//! `.deb`) at snapshot.debian.org by time and by SHA-1. Whatever a server says, only bytes with the locked SHA-256
//! enter the store.

pub(crate) mod http;
#[cfg(test)]
pub(crate) mod server;
#[cfg(test)]
mod tests;

use crate::inputs::archive;
use crate::inputs::crates::Crate;
use crate::inputs::lock::{self, File, Lock, Package};
use crate::inputs::request::Request;
use crate::inputs::store::{Store, place};
use crate::progress::{Progress, Unit};
use anyhow::Context as _;
use http::{Client, Failure};
use measure::Sha256;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Downloads at a time. Debian's mirrors are happy with a handful from one client.
pub(crate) const THREADS: usize = 6;

/// Where to look, and for how long.
#[derive(Debug, Clone)]
pub struct Mirrors {
    /// Base URLs of stores such as ours: a file is at `sha256/<2 digits>/<digest>` below. Asked first.
    pub content: Vec<String>,
    /// The same as directories, such as `archive` writes. Asked before any URL.
    pub directories: Vec<PathBuf>,
    /// Whether nothing but [`Self::directories`] is asked.
    pub offline: bool,
    /// Base URLs of each archive.
    pub archives: BTreeMap<String, Vec<String>>,
    /// What snapshot.debian.org calls each archive.
    pub snapshots: BTreeMap<String, String>,
    /// Base URL of snapshot.debian.org.
    pub snapshot: String,
    /// Base URL of the crates.
    pub crates: String,
    /// When to give up.
    pub patience: Patience,
}

/// When to give up on a server.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To connect, and then to begin to answer.
    pub connect: Duration,
    /// Without a byte.
    pub stall: Duration,
    /// How often to try one URL as long as the failure may be temporary.
    pub attempts: u32,
    /// Pause before the second attempt; doubled for each further one.
    pub pause: Duration,
}

impl Mirrors {
    /// The request's mirrors.
    pub fn new(request: &Request) -> Self {
        let archives = request.archives.iter();
        Self {
            content: Vec::new(),
            directories: Vec::new(),
            offline: false,
            archives: archives.clone().map(|(name, archive)| (name.clone(), archive.mirrors.clone())).collect(),
            snapshots: archives.map(|(name, archive)| (name.clone(), archive.snapshot.clone())).collect(),
            snapshot: request.snapshot.clone(),
            crates: "https://static.crates.io/crates".to_owned(),
            patience: Patience {
                connect: Duration::from_secs(20),
                stall: Duration::from_secs(30),
                attempts: 4,
                pause: Duration::from_millis(500),
            },
        }
    }

    /// Adds what a command line names: `URL` and a directory are content-addressed mirrors, `NAME=URL` the only mirror of an
    /// archive.
    pub fn add(&mut self, mirror: &str) -> anyhow::Result<()> {
        if Path::new(mirror).is_dir() {
            self.directories.push(mirror.into());
            return Ok(());
        }
        let (name, url) = match mirror.split_once('=') {
            Some((name, url)) if lock::is_name(name) => (Some(name), url),
            _ => (None, mirror),
        };
        let url = url.trim_end_matches('/').to_owned();
        anyhow::ensure!(lock::is_url(&url), "expected http://…, https://… or a directory, found {url:?}");
        match name {
            None => self.content.push(url),
            Some(name) => {
                let known: Vec<&str> = self.archives.keys().map(String::as_str).collect();
                let known = known.join(" ");
                let urls = self.archives.get_mut(name).with_context(|| format!("{name:?} is not one of {known}"))?;
                *urls = vec![url];
            }
        }
        Ok(())
    }

    fn all(&self, lock: &Lock, crates: &[Crate]) -> Vec<Wanted> {
        let packages = lock.packages.iter().map(|package| self.package(lock, package));
        let files = lock.files.iter().map(|file| self.file(file));
        packages.chain(files).chain(crates.iter().map(|each| self.a_crate(each))).collect()
    }

    fn package(&self, lock: &Lock, package: &Package) -> Wanted {
        let Package { name, version, archive, pool, size, sha256, sha1, .. } = package;
        // As apt does: some servers take a plus sign in a path for a space.
        let pool = pool.replace('+', "%2b");
        let mut urls = self.pool(lock::request_name(archive), &pool);
        let mirrors = urls.len();
        let locked = lock.archive(archive);
        if let Some((known, locked)) = locked.and_then(|locked| Some((self.snapshots.get(locked.request())?, locked))) {
            urls.push(format!("{}/archive/{known}/{}/{pool}", self.snapshot, locked.snapshot));
        }
        urls.push(format!("{}/file/{sha1}", self.snapshot));
        self.wanted(format!("{name} {version}"), *sha256, Some(*size), urls, mirrors)
    }

    pub(crate) fn pool(&self, archive: &str, path: &str) -> Vec<String> {
        self.archives.get(archive).into_iter().flatten().map(|base| format!("{base}/{path}")).collect()
    }

    /// The signed indexes of each archive.
    pub(crate) fn indexes(&self, lock: &Lock) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for archive in &lock.archives {
            let lock::Archive { name, suite, component, snapshot, inrelease_sha256, packages_sha256 } = archive;
            let (inrelease, index) =
                (format!("dists/{suite}/InRelease"), archive::index_paths(component, packages_sha256));
            let index = index.map(|path| format!("dists/{suite}/{path}"));
            for (sha256, paths) in [(inrelease_sha256, &[inrelease][..]), (packages_sha256, &index)] {
                let mut urls: Vec<_> = paths.iter().flat_map(|path| self.pool(archive.request(), path)).collect();
                let mirrors = urls.len();
                let known = self.snapshots.get(archive.request()).into_iter();
                urls.extend(known.flat_map(|known| {
                    paths.iter().map(move |path| format!("{}/archive/{known}/{snapshot}/{path}", self.snapshot))
                }));
                wanted.push(self.wanted(format!("{name} {suite} index"), *sha256, None, urls, mirrors));
            }
        }
        wanted
    }

    /// Each locked package and file, and where a mirror should have it; snapshots are not asked.
    pub(crate) fn live(&self, lock: &Lock) -> Vec<(String, Vec<String>)> {
        self.all(lock, &[])
            .into_iter()
            .map(|each| (each.name, each.urls.into_iter().take(each.mirrors).collect()))
            .collect()
    }

    fn file(&self, file: &File) -> Wanted {
        self.wanted(file.name.clone(), file.sha256, Some(file.size), vec![file.url.clone()], 1)
    }

    fn a_crate(&self, Crate { name, version, sha256 }: &Crate) -> Wanted {
        let url = format!("{}/{name}/{name}-{version}.crate", self.crates).replace('+', "%2b");
        self.wanted(format!("crate {name} {version}"), *sha256, None, vec![url], 1)
    }

    /// `mirrors` is how many of `urls` are live mirrors rather than snapshots.
    pub(crate) fn wanted(
        &self,
        name: String,
        sha256: Sha256,
        size: Option<u64>,
        urls: Vec<String>,
        mirrors: usize,
    ) -> Wanted {
        let paths = self.directories.iter().map(|directory| directory.join(place(&sha256))).collect();
        if self.offline {
            return Wanted { name, sha256, size, paths, urls: Vec::new(), mirrors: 0 };
        }
        let content = self.content.iter().map(|base| format!("{base}/{}", place(&sha256)));
        let mirrors = mirrors + self.content.len();
        Wanted { name, sha256, size, paths, urls: content.chain(urls).collect(), mirrors }
    }
}

/// A file to fetch.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    name: String,
    sha256: Sha256,
    size: Option<u64>,
    paths: Vec<PathBuf>,
    urls: Vec<String>,
    mirrors: usize,
}

/// What a fetch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// Files that were in the store already.
    pub present: usize,
    /// Files that entered the store.
    pub fetched: usize,
}

/// Locked files that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Each of them, in the lock's order.
    pub files: Vec<MissingFile>,
}

/// A locked file that nobody has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFile {
    /// Name and version.
    pub name: String,
    /// Whether every mirror answered, and said that it does not have the file: the lock is stale.
    pub gone: bool,
    /// Whether no server was asked.
    pub offline: bool,
    /// What each place said.
    pub tried: Vec<String>,
}

impl std::error::Error for Missing {}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} locked files could not be had:", self.files.len())?;
        for file in &self.files {
            writeln!(f, "  {}{}", file.name, if file.gone { " (dropped by every mirror)" } else { "" })?;
            file.tried.iter().try_for_each(|tried| writeln!(f, "    {tried}"))?;
        }
        match self.files.iter().all(|file| file.gone) {
            true => f.write_str(
                "the lock is stale: run `cargo xtask lock --update`, or `cargo xtask fetch --mirror URL` with an \
                 archive of this release, or wait for snapshot.debian.org",
            ),
            false if self.files.iter().all(|file| file.offline) => f.write_str("the archive is not whole"),
            false => f.write_str("check the network and run `cargo xtask fetch` again; it resumes"),
        }
    }
}

/// Fetches every package and file of `lock`, and `crates`, into `store`.
///
/// Fails with [`Missing`] if something could not be had, after having fetched the rest.
pub fn fetch(
    lock: &Lock,
    crates: &[Crate],
    store: &Store,
    mirrors: &Mirrors,
    progress: &dyn Progress,
) -> anyhow::Result<Fetched> {
    fetch_all(mirrors.all(lock, crates), store, mirrors.patience, progress)
}

/// Hashes every locked file in `store` again and removes those whose content has changed: their names.
pub fn verify(lock: &Lock, crates: &[Crate], store: &Store, progress: &dyn Progress) -> anyhow::Result<Vec<String>> {
    let all = names(lock, crates);
    let (start, bar) = (Instant::now(), progress.bar("verify", all.len() as u64, Unit::Items));
    let mut spoilt = Vec::new();
    for (name, sha256) in &all {
        bar.note(name);
        if store.holds(sha256, None) && !store.verify(sha256)? {
            store.remove(sha256)?;
            spoilt.push(name.clone());
        }
        bar.add(1);
    }
    drop(bar);
    progress.done("verify", &format!("{} files", all.len()), start.elapsed());
    Ok(spoilt)
}

/// Everything that [`fetch`] brings: its names and digests.
pub(crate) fn names(lock: &Lock, crates: &[Crate]) -> Vec<(String, Sha256)> {
    let packages = lock.packages.iter().map(|each| (each.name.clone(), each.sha256));
    let files = lock.files.iter().map(|each| (each.name.clone(), each.sha256));
    let crates = crates.iter().map(|each| (format!("crate {} {}", each.name, each.version), each.sha256));
    packages.chain(files).chain(crates).collect()
}

/// What `mutex` guards. Nothing here leaves it half-changed, so a thread that panicked meanwhile does not matter.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Fetches each of `wanted`.
pub(crate) fn fetch_all(
    wanted: Vec<Wanted>,
    store: &Store,
    patience: Patience,
    progress: &dyn Progress,
) -> anyhow::Result<Fetched> {
    let total = wanted.len();
    let wanted: Vec<Wanted> = wanted.into_iter().filter(|each| !store.holds(&each.sha256, each.size)).collect();
    let present = total - wanted.len();
    let (start, bytes) = (Instant::now(), wanted.iter().filter_map(|each| each.size).sum());
    let bar = progress.bar("fetch", bytes, Unit::Bytes);
    let client = Client::new(patience);
    let next = AtomicUsize::new(0);
    let missing: Mutex<Vec<(usize, MissingFile)>> = Mutex::default();
    let local: Mutex<Option<anyhow::Error>> = Mutex::default();
    let work = || {
        while let Some((at, each)) = wanted.get(next.load(Ordering::Relaxed)).and_then(|_more| {
            let at = next.fetch_add(1, Ordering::Relaxed);
            Some((at, wanted.get(at)?))
        }) {
            bar.note(&each.name);
            let Err(failure) = client.obtain(each, store, &*bar) else { continue };
            match failure {
                Failure::Nowhere(file) => locked(&missing).push((at, file)),
                Failure::Local(error) => {
                    // A full disk will not get better: let the other threads stop, too.
                    next.store(wanted.len(), Ordering::Relaxed);
                    locked(&local).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..THREADS.min(wanted.len()) {
            scope.spawn(work);
        }
    });
    drop(bar);
    if let Some(error) = locked(&local).take() {
        return Err(error);
    }
    let mut missing = std::mem::take(&mut *locked(&missing));
    let fetched = wanted.len() - missing.len();
    if fetched > 0 {
        let object = match &wanted[..] {
            [only] => only.name.clone(),
            _ => format!("{fetched} files"),
        };
        progress.done("fetch", &object, start.elapsed());
    }
    missing.sort_by_key(|(at, _)| *at);
    match missing.is_empty() {
        true => Ok(Fetched { present, fetched }),
        false => Err(Missing { files: missing.into_iter().map(|(_, file)| file).collect() }.into()),
    }
}
