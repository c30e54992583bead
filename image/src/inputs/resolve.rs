//! From a request to a lock: which bytes answer it today.
//!
//! Debian's own resolver, apt, decides which packages a set needs. It runs in a tree unpacked from verified packages,
//! reads indexes that were verified here, and only names digests; each is looked up in those indexes again.

mod apt;
mod check;
mod diff;
#[cfg(test)]
mod tests;

use crate::files::read_bounded;
use crate::formats::hash;
use crate::inputs::archive::{Index, Indexed, Keyring, MAX_INRELEASE, MAX_PACKAGES, Release, index_path, index_paths};
use crate::inputs::fetch::{Mirrors, fetch, fetch_all, http::Client};
use crate::inputs::lock::{self, Lock, Package, Set};
use crate::inputs::request::{self, KEYRINGS, Request};
use crate::inputs::store::Store;
use crate::progress::Progress;
use anyhow::{Context as _, bail, ensure};
use measure::{Sha1, Sha256};
use sha1::Digest as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

pub use check::{Checked, check, check_packages, fetch_indexes, online};
pub use diff::diff;

/// Largest keyring file, in bytes.
const MAX_KEYRING: u64 = 1 << 20;

/// What a resolution works with.
pub struct Resolver<'a> {
    /// The checkout: its request and keyrings are read.
    pub root: &'a Path,
    /// Where indexes and packages are kept.
    pub store: &'a Store,
    /// Where they are from.
    pub mirrors: &'a Mirrors,
    /// Directory for a temporary tree of about 150 MB.
    pub scratch: &'a Path,
    /// The time, in seconds since 1970.
    pub now: u64,
    /// Told what happens.
    pub progress: &'a dyn Progress,
}

/// A verified state of an archive.
struct State {
    lock: lock::Archive,
    release: Release,
    index: Index,
}

/// A package, and the archive it is from.
type Candidate<'a> = (&'a str, &'a Indexed);

impl Resolver<'_> {
    /// The lock that replaces `old`: resolved anew, or with `only` changed in that package and what else is built from
    /// its source. The notes are for people: what is odd but no reason to stop.
    pub fn update(
        &self,
        request: &Request,
        old: Option<&Lock>,
        only: Option<&str>,
    ) -> anyhow::Result<(Lock, Vec<String>)> {
        let (new, notes) = self.resolve(request, old)?;
        let new = keep_stamps(old, new);
        let lock = match only {
            None => new,
            Some(only) => merge(old.context("there is no image.lock to change one package of")?, new, only)?,
        };
        fetch(&lock, &[], self.store, self.mirrors, self.progress)?;
        let checked = check(&lock, request, self.root, self.store)?;
        ensure!(checked.problems.is_empty(), "the new lock does not hold:\n{}", checked.problems.join("\n"));
        Ok((lock, notes))
    }

    fn resolve(&self, request: &Request, old: Option<&Lock>) -> anyhow::Result<(Lock, Vec<String>)> {
        let mut states = Vec::new();
        let mut notes = Vec::new();
        for (name, archive) in &request.archives {
            let locked = old.and_then(|old| old.archives.iter().find(|locked| locked.name == *name));
            let state = self.state(name, archive, locked).with_context(|| format!("verifying the archive {name}"))?;
            if state.release.valid_until.is_some_and(|until| until < self.now) {
                let days = (self.now - state.release.date) / 86_400;
                notes.push(format!("the mirrors' state of {name} is {days} days old and past its Valid-Until"));
            }
            states.push(state);
        }
        let candidates = Candidates::new(&states);
        let chosen = self.choose(request, &candidates)?;
        let packages = self.complete(&chosen)?;
        let source_date_epoch = states.iter().map(|state| state.release.date).max().unwrap_or(0);
        let archives = states.into_iter().map(|state| state.lock).collect();
        let (request_sha256, files) = (request.digest(), request.files.clone());
        Ok((Lock { source_date_epoch, request_sha256, archives, packages, files }, notes))
    }

    /// Fetches and verifies an archive's current state, which is not older than the locked one if that is in the store:
    /// an old state is signed as well as a new one, and its packages lack what has been fixed since.
    fn state(&self, name: &str, archive: &request::Archive, locked: Option<&lock::Archive>) -> anyhow::Result<State> {
        let start = Instant::now();
        let (suite, component) = (&archive.suite, &archive.component);
        let keyring = keyring(self.root, archive)?;
        let locked = match locked.filter(|locked| locked.suite == *suite) {
            Some(locked) => self.store.read(&locked.inrelease_sha256, MAX_INRELEASE)?,
            None => None,
        };
        let oldest = match locked {
            Some(inrelease) => Release::verify(&inrelease, &keyring, suite, self.now).context("the locked state")?.date,
            None => 0,
        };
        let client = Client::new(self.mirrors.patience);
        let mut refused = Vec::new();
        for url in self.mirrors.pool(name, &format!("dists/{suite}/InRelease")) {
            let verified = client.unverified(&url, MAX_INRELEASE).and_then(|inrelease| {
                let release = Release::verify(&inrelease, &keyring, suite, self.now)?;
                let date = release.date;
                ensure!(
                    date >= oldest,
                    "its Date is {date}, older than the locked state's {oldest}: a mirror that lags"
                );
                Ok((inrelease, release))
            });
            let (inrelease, release) = match verified {
                Ok(verified) => verified,
                Err(error) => {
                    refused.push(format!("{url}: {error:#}"));
                    continue;
                }
            };
            let inrelease_sha256 = self.store.put(&inrelease)?;
            let path = index_path(component);
            let (size, sha256) = release.file(&path)?;
            ensure!(size <= MAX_PACKAGES, "expected at most {MAX_PACKAGES} bytes of {path}, found {size}");
            let paths = index_paths(component, &sha256).map(|path| format!("dists/{suite}/{path}"));
            let urls: Vec<_> = paths.iter().flat_map(|path| self.mirrors.pool(name, path)).collect();
            let count = urls.len();
            let wanted = self.mirrors.wanted(format!("{name} {path}"), sha256, Some(size), urls, count);
            fetch_all(vec![wanted], self.store, self.mirrors.patience, self.progress)?;
            let packages = self.store.read(&sha256, MAX_PACKAGES)?.with_context(|| format!("{path} vanished"))?;
            let index = Index::parse(&packages, |package| is_allowed(archive, package))?;
            let lock = lock::Archive {
                name: name.to_owned(),
                suite: suite.clone(),
                component: component.clone(),
                snapshot: stamp(self.now),
                inrelease_sha256,
                packages_sha256: sha256,
            };
            self.progress.done("verify", &format!("{name}: {} packages", index.packages.len()), start.elapsed());
            return Ok(State { lock, release, index });
        }
        bail!("no mirror has a good InRelease:\n{}", refused.join("\n"))
    }

    /// The packages of every set, each with the sets it is in.
    fn choose<'a>(
        &self,
        request: &Request,
        candidates: &Candidates<'a>,
    ) -> anyhow::Result<BTreeMap<&'a str, (Candidate<'a>, BTreeSet<Set>)>> {
        let mut chosen: BTreeMap<&str, (Candidate<'_>, BTreeSet<Set>)> = BTreeMap::new();
        let apt = apt::Apt::unpack(self, candidates)?;
        for (set, requested) in &request.packages {
            let start = Instant::now();
            let of_set: Vec<Candidate<'_>> = match set {
                _ if requested.is_empty() => continue,
                set if set.is_closed() => {
                    let digests = apt.solve(requested.keys().map(String::as_str));
                    let digests = digests.with_context(|| format!("resolving the set {set}"))?;
                    digests.iter().map(|digest| candidates.by_digest(digest)).collect::<Result<_, _>>()?
                }
                Set::Kernel | Set::Initrd => requested
                    .keys()
                    .map(|name| candidates.pointed_to(name))
                    .collect::<Result<_, _>>()
                    .with_context(|| format!("resolving the set {set}"))?,
                _ => requested
                    .keys()
                    .map(|name| candidates.newest(name))
                    .collect::<Result<_, _>>()
                    .with_context(|| format!("resolving the set {set}"))?,
            };
            self.progress.done("resolve", &format!("{set}: {} packages", of_set.len()), start.elapsed());
            for candidate in of_set {
                let (known, sets) = chosen.entry(&candidate.1.name).or_insert_with(|| (candidate, BTreeSet::new()));
                let (name, ours, theirs) = (&known.1.name, &known.1.version, &candidate.1.version);
                ensure!(known.1.sha256 == candidate.1.sha256, "two sets disagree on {name}: {ours} and {theirs}");
                sets.insert(*set);
            }
        }
        Ok(chosen)
    }

    /// Fetches the chosen packages and adds what only their content can tell.
    fn complete(&self, chosen: &BTreeMap<&str, (Candidate<'_>, BTreeSet<Set>)>) -> anyhow::Result<Vec<Package>> {
        self.fetch(chosen.values().map(|(candidate, _)| candidate))?;
        let start = Instant::now();
        let mut packages = Vec::new();
        for ((archive, indexed), sets) in chosen.values() {
            packages.push(Package {
                sets: sets.iter().copied().collect(),
                name: indexed.name.clone(),
                version: indexed.version.to_string(),
                arch: indexed.arch.clone(),
                archive: (*archive).to_owned(),
                pool: indexed.pool.clone(),
                size: indexed.size,
                sha256: indexed.sha256,
                sha1: sha1(&self.store.checked_path(&indexed.sha256)?)?,
                source: indexed.source.clone(),
                source_version: indexed.source_version.clone(),
            });
        }
        self.progress.done("hash", &format!("{} packages", packages.len()), start.elapsed());
        Ok(packages)
    }

    fn fetch<'c>(&self, candidates: impl Iterator<Item = &'c Candidate<'c>>) -> anyhow::Result<()> {
        let wanted = candidates.map(|(archive, indexed)| {
            let urls = self.mirrors.pool(archive, &indexed.pool.replace('+', "%2b"));
            let (name, count) = (format!("{} {}", indexed.name, indexed.version), urls.len());
            self.mirrors.wanted(name, indexed.sha256, Some(indexed.size), urls, count)
        });
        fetch_all(wanted.collect(), self.store, self.mirrors.patience, self.progress).map(|_fetched| ())
    }
}

/// `new`, with the time stamps of `old` where the archive is still in the same state.
fn keep_stamps(old: Option<&Lock>, mut new: Lock) -> Lock {
    for archive in &mut new.archives {
        match old.and_then(|old| old.archive(&archive.name)) {
            Some(old) if old.inrelease_sha256 == archive.inrelease_sha256 => archive.snapshot.clone_from(&old.snapshot),
            _ => {}
        }
    }
    new
}

/// `old` with what `new` has for the package `only` and for its source's other packages.
fn merge(old: &Lock, new: Lock, only: &str) -> anyhow::Result<Lock> {
    ensure!(
        old.request_sha256 == new.request_sha256,
        "the request has changed since image.lock was made: run `cargo xtask lock --update` without a package"
    );
    let found = old.package(only).or_else(|| new.package(only));
    let source =
        found.with_context(|| format!("neither the old lock nor the new has a package {only}"))?.source.clone();
    let mut archives = new.archives;
    let mut packages: Vec<Package> = new.packages.iter().filter(|package| package.source == source).cloned().collect();
    for kept in old.packages.iter().filter(|package| package.source != source) {
        // The new index vouches for what it still lists; the rest needs the state of the archive it was locked from.
        let same = |package: &&Package| package.sha256 == kept.sha256 && package.archive == kept.archive;
        let archive = match new.packages.iter().find(same) {
            Some(_) => kept.archive.clone(),
            None => {
                let mut state = old.archive(&kept.archive).context("the old lock lacks an archive")?.clone();
                if !state.name.contains('.') {
                    state.name = format!("{}.{}", state.name, state.snapshot);
                }
                let name = state.name.clone();
                if !archives.contains(&state) {
                    archives.push(state);
                }
                name
            }
        };
        packages.push(Package { archive, ..kept.clone() });
    }
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    archives.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Lock { archives, packages, ..new })
}

/// The archive's keyring, from the checkout at `root`.
fn keyring(root: &Path, archive: &request::Archive) -> anyhow::Result<Keyring> {
    let path = root.join(KEYRINGS).join(&archive.keyring);
    let armored = read_bounded(&path, MAX_KEYRING).with_context(|| format!("reading {}", path.display()))?;
    Keyring::parse(&armored).with_context(|| format!("reading {}", path.display()))
}

/// Whether the request takes `package` from `archive`.
fn is_allowed(archive: &request::Archive, package: &str) -> bool {
    archive.only.as_ref().is_none_or(|only| {
        only.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(start) => package.starts_with(start),
            None => package == pattern,
        })
    })
}

fn sha1(path: &Path) -> anyhow::Result<Sha1> {
    let mut hash = sha1::Sha1::new();
    std::fs::File::open(path)
        .and_then(|mut file| hash::feed(&mut file, &mut hash))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(Sha1::new(hash.finalize().into()))
}

/// `YYYYMMDDTHHMMSSZ`.
fn stamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March put the leap day last; 400 of them have 146,097 days, and the first began in year 0.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (year * 365 + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (month * 153 + 2) / 5 + 1;
    let (year, month) = (era * 400 + year, month + 3);
    let (year, month) = if month > 12 { (year + 1, month - 12) } else { (year, month) };
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// Every package that the request's archives offer.
struct Candidates<'a> {
    states: &'a [State],
    by_name: BTreeMap<&'a str, Vec<Candidate<'a>>>,
    by_digest: BTreeMap<Sha256, Candidate<'a>>,
}

impl<'a> Candidates<'a> {
    fn new(states: &'a [State]) -> Self {
        let (mut by_name, mut by_digest) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        for state in states {
            for indexed in &state.index.packages {
                let candidate = (state.lock.name.as_str(), indexed);
                by_name.entry(indexed.name.as_str()).or_default().push(candidate);
                // The first archive by name wins where two have the same file.
                by_digest.entry(indexed.sha256).or_insert(candidate);
            }
        }
        Self { states, by_name, by_digest }
    }

    fn by_digest(&self, digest: &Sha256) -> anyhow::Result<Candidate<'a>> {
        let found = self.by_digest.get(digest).copied();
        found.with_context(|| format!("apt chose a file with SHA-256 {digest}, which no verified index lists"))
    }

    /// The package of this name with the highest version.
    fn newest(&self, name: &str) -> anyhow::Result<Candidate<'a>> {
        let found = self.by_name.get(name).into_iter().flatten().max_by_key(|(_, indexed)| &indexed.version);
        found.copied().with_context(|| format!("no archive of the request has a package {name}"))
    }

    /// The one package that a package such as `linux-image-cloud-amd64` exists to point to.
    fn pointed_to(&self, name: &str) -> anyhow::Result<Candidate<'a>> {
        let pointer = self.newest(name)?.1;
        match &pointer.depends[..] {
            [only] => match &only.0[..] {
                [relation] => {
                    let candidates = self.by_name.get(relation.name.as_str()).into_iter().flatten();
                    let allowed = candidates.filter(|(_, indexed)| relation.allows(&indexed.version));
                    let newest = allowed.max_by_key(|(_, indexed)| &indexed.version);
                    newest.copied().with_context(|| format!("no archive of the request has {only}"))
                }
                _ => bail!("expected {name} to depend on one package, found {only}"),
            },
            found => bail!("expected {name} to depend on one package, found {}", found.len()),
        }
    }

    /// Debian's essential packages, `name`, and a way to fulfil their dependencies: always the first alternative. It
    /// need not be the best way, only one whose programs run.
    fn naive_closure(&self, name: &str) -> anyhow::Result<Vec<Candidate<'a>>> {
        let all = self.states.iter().flat_map(|state| &state.index.packages);
        let essential = all.filter(|indexed| indexed.essential).map(|indexed| indexed.name.as_str());
        let mut open: Vec<&str> = essential.chain([name]).collect();
        let mut closure = BTreeMap::new();
        while let Some(name) = open.pop() {
            let candidate = match self.by_name.contains_key(name) {
                true => self.newest(name)?,
                false => {
                    let mut all = self.by_digest.values();
                    let provides = |indexed: &Indexed| {
                        indexed.provides.iter().flat_map(|one| &one.0).any(|relation| relation.name == name)
                    };
                    let provider = all.find(|(_, indexed)| provides(indexed));
                    *provider.with_context(|| format!("no archive of the request has or provides {name}"))?
                }
            };
            if closure.insert(candidate.1.name.as_str(), candidate).is_none() {
                let first = |group: &'a crate::inputs::archive::relation::Alternatives| group.0.first();
                open.extend(candidate.1.depends.iter().filter_map(first).map(|relation| relation.name.as_str()));
            }
        }
        Ok(closure.into_values().collect())
    }
}
