//! Whether a lock is what it should be, without changing anything.

use super::{is_allowed, keyring};
use crate::formats::deb::Deb;
use crate::inputs::archive::relation::{Relation, Version};
use crate::inputs::archive::{Index, MAX_INRELEASE, MAX_PACKAGES, Release, dependencies, index_path, relation};
use crate::inputs::fetch::{Mirrors, Missing, fetch_all, http::Client, locked};
use crate::inputs::lock::{self, Lock, Package, Set};
use crate::inputs::request::Request;
use crate::inputs::store::Store;
use crate::progress::{Progress, Unit};
use anyhow::Context as _;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What is wrong with the lock.
    pub problems: Vec<String>,
    /// Packages whose dependencies were not looked at, because they are not in the store.
    pub unfetched: Vec<String>,
    /// Archives whose hash chain was not followed, because their indexes are not in the store. Only whoever updated
    /// the lock has them for sure, and the build rests on the packages' own digests.
    pub unchained: Vec<String>,
}

/// Checks `lock` against the request of the checkout at `root` and against what `store` holds. Reads only.
pub fn check(lock: &Lock, request: &Request, root: &Path, store: &Store) -> anyhow::Result<Checked> {
    let mut checked = check_packages(lock, request, store)?;
    let mut newest = Some(0);
    for archive in &lock.archives {
        match chain(lock, archive, request, root, store)? {
            Some((date, problems)) => {
                newest = newest.map(|newest| newest.max(date));
                checked.problems.extend(problems);
            }
            None => {
                newest = None;
                checked.unchained.push(archive.name.clone());
            }
        }
    }
    if let Some(newest) = newest.filter(|newest| *newest != lock.source_date_epoch) {
        let found = lock.source_date_epoch;
        checked
            .problems
            .push(format!("source-date-epoch: expected {newest}, the archives' newest Date, found {found}"));
    }
    Ok(checked)
}

/// The part of [`check`] that takes no time: request and packages, not the archives' indexes.
pub fn check_packages(lock: &Lock, request: &Request, store: &Store) -> anyhow::Result<Checked> {
    let mut checked = Checked::default();
    let digest = request.digest();
    if digest != lock.request_sha256 {
        checked.problems.push(format!(
            "the request has changed: its digest is {digest}, the lock answers {}; run `cargo xtask lock --update`",
            lock.request_sha256
        ));
    }
    checked.problems.extend(unanswered(lock, request));
    let contents = contents(lock, store, &mut checked)?;
    for set in Set::ALL.into_iter().filter(|set| set.is_closed()) {
        checked.problems.extend(unmet(lock, set, &contents));
    }
    Ok(checked)
}

/// What the request asks for and the lock does not have, or has without being asked.
fn unanswered(lock: &Lock, request: &Request) -> Vec<String> {
    let mut problems = Vec::new();
    for set in Set::ALL {
        let asked: Vec<&str> =
            request.packages.get(&set).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        let locked: Vec<&str> = lock.packages(set).map(|package| package.name.as_str()).collect();
        match set {
            // What a name points to is known from the index only, and more than the named is there on purpose.
            Set::Kernel | Set::Initrd if asked.len() == locked.len() => {}
            _ if set.is_closed() => {
                let missing = asked.iter().filter(|name| !locked.contains(name));
                problems.extend(missing.map(|name| format!("{set}: the requested package {name} is not locked")));
            }
            _ if asked == locked => {}
            _ => problems.push(format!("{set}: expected {}, found {}", asked.join(" "), locked.join(" "))),
        }
    }
    if lock.files != request.files {
        problems.push("the files are not the requested ones".to_owned());
    }
    problems
}

/// What a package's own control file says.
struct Content {
    version: Version,
    depends: Vec<relation::Alternatives>,
    provides: Vec<Relation>,
}

fn contents<'a>(lock: &'a Lock, store: &Store, checked: &mut Checked) -> anyhow::Result<BTreeMap<&'a str, Content>> {
    let mut contents = BTreeMap::new();
    for package in lock.packages.iter().filter(|package| package.sets.iter().any(|set| set.is_closed())) {
        let Package { name, version, arch, .. } = package;
        if !store.holds(&package.sha256, Some(package.size)) {
            checked.unfetched.push(format!("{name} {version}"));
            continue;
        }
        let control = Deb::open(&store.path(&package.sha256))?.control()?;
        let field = |key| control.get(key).map_or("", String::as_str);
        let found = [field("Package"), field("Version"), field("Architecture")];
        if found != [name.as_str(), version, arch] {
            let found = found.join(" ");
            checked.problems.push(format!("the file locked as {name} {version} {arch} calls itself {found}"));
        }
        let provides = relation::parse(field("Provides"))?.into_iter().flat_map(|one| one.0).collect();
        let content = Content { version: Version::new(version), depends: dependencies(&control)?, provides };
        contents.insert(name.as_str(), content);
    }
    Ok(contents)
}

/// The dependencies that `set` does not fulfil. Where a package is not fetched, it is believed to be what is missing.
fn unmet(lock: &Lock, set: Set, contents: &BTreeMap<&str, Content>) -> Vec<String> {
    let members: Vec<&Package> = lock.packages(set).collect();
    let complete = members.iter().all(|package| contents.contains_key(package.name.as_str()));
    let is_met = |relation: &Relation| {
        members.iter().any(|package| {
            let itself = || package.name == relation.name && relation.allows(&Version::new(&package.version));
            match contents.get(package.name.as_str()) {
                Some(content) => itself() || content.provides.iter().any(|provided| relation.is_provided_by(provided)),
                None => itself(),
            }
        })
    };
    let mut unmet = Vec::new();
    for package in &members {
        let Some(content) = contents.get(package.name.as_str()) else { continue };
        for group in &content.depends {
            if group.0.iter().any(is_met) || !complete && group.0.iter().all(|one| lock.package(&one.name).is_none()) {
                continue;
            }
            let mut problem = format!("{set}: {} {} needs {group}", package.name, content.version);
            for found in group.0.iter().filter_map(|one| lock.package(&one.name)) {
                problem.push_str(&format!(", the lock has {} {} for {}", found.name, found.version, sets(found)));
            }
            unmet.push(problem);
        }
    }
    unmet
}

fn sets(package: &Package) -> String {
    package.sets.iter().map(|set| set.name()).collect::<Vec<_>>().join(" and ")
}

/// Follows the chain from the keyring to the packages of `archive`: its date, and what is wrong. `None` if the store
/// does not have the indexes.
fn chain(
    lock: &Lock,
    archive: &lock::Archive,
    request: &Request,
    root: &Path,
    store: &Store,
) -> anyhow::Result<Option<(u64, Vec<String>)>> {
    let name = &archive.name;
    let Some(requested) = request.archives.get(archive.request()) else {
        return Ok(Some((0, vec![format!("archive {name}: the request has no such archive")])));
    };
    let Some(inrelease) = store.read(&archive.inrelease_sha256, MAX_INRELEASE)? else { return Ok(None) };
    let Some(packages) = store.read(&archive.packages_sha256, MAX_PACKAGES)? else { return Ok(None) };
    // The signature must have been good when the lock was made, not today.
    let release = Release::verify(&inrelease, &keyring(root, requested)?, &archive.suite, lock.source_date_epoch);
    let release = match release.with_context(|| format!("archive {name}")) {
        Ok(release) => release,
        Err(error) => return Ok(Some((0, vec![format!("{error:#}")]))),
    };
    let mut problems = Vec::new();
    let (size, sha256) = release.file(&index_path(&archive.component))?;
    if (size, sha256) != (packages.len() as u64, archive.packages_sha256) {
        problems.push(format!("archive {name}: its InRelease names another index, {sha256}"));
        return Ok(Some((release.date, problems)));
    }
    let ours: BTreeMap<&str, &Package> = lock
        .packages
        .iter()
        .filter(|package| package.archive == *name)
        .map(|package| (package.name.as_str(), package))
        .collect();
    let index = Index::parse(&packages, |package| ours.contains_key(package) && is_allowed(requested, package))?;
    for (package_name, package) in ours {
        let same = index.packages.iter().any(|indexed| {
            package_name == indexed.name
                && package.version == indexed.version.as_str()
                && package.arch == indexed.arch
                && package.pool == indexed.pool
                && package.size == indexed.size
                && package.sha256 == indexed.sha256
                && package.source == indexed.source
                && package.source_version == indexed.source_version
        });
        if !same {
            let version = &package.version;
            problems.push(format!("archive {name} does not vouch for {package_name} {version} {}", package.sha256));
        }
    }
    Ok(Some((release.date, problems)))
}

/// Tries to bring the indexes of `lock` into `store`, so that [`check`] can follow the hash chain. Mirrors have them
/// until the archive changes, snapshot.debian.org for ever. What cannot be had stays unchained.
pub fn fetch_indexes(lock: &Lock, store: &Store, mirrors: &Mirrors, progress: &dyn Progress) -> anyhow::Result<()> {
    match fetch_all(mirrors.indexes(lock), store, mirrors.patience, progress) {
        Err(error) if error.is::<Missing>() => Ok(()),
        outcome => outcome.map(|_fetched| ()),
    }
}

/// Names of locked files that no mirror has any more.
pub fn online(lock: &Lock, mirrors: &Mirrors, progress: &dyn Progress) -> anyhow::Result<Vec<String>> {
    let wanted = mirrors.live(lock);
    let client = Client::new(mirrors.patience);
    let bar = progress.bar("ask", wanted.len() as u64, Unit::Items);
    let next = AtomicUsize::new(0);
    let found: Mutex<Vec<(usize, anyhow::Result<bool>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..crate::inputs::fetch::THREADS {
            scope.spawn(|| {
                while let at = next.fetch_add(1, Ordering::Relaxed)
                    && let Some((name, urls)) = wanted.get(at)
                {
                    bar.note(name);
                    let there = is_anywhere(&client, urls);
                    bar.add(1);
                    locked(&found).push((at, there));
                }
            });
        }
    });
    drop(bar);
    let mut found = std::mem::take(&mut *locked(&found));
    found.sort_by_key(|(at, _)| *at);
    let mut gone = Vec::new();
    for ((name, _), (_, there)) in wanted.iter().zip(found) {
        if !there.with_context(|| format!("asking for {name}"))? {
            gone.push(name.clone());
        }
    }
    Ok(gone)
}

/// A mirror that does not answer is an error only if no other has the file.
fn is_anywhere(client: &Client, urls: &[String]) -> anyhow::Result<bool> {
    let answers: Vec<anyhow::Result<bool>> = urls.iter().map(|url| client.is_there(url)).collect();
    match answers.iter().any(|answer| matches!(answer, Ok(true))) {
        true => Ok(true),
        false => answers.into_iter().collect::<Result<Vec<_>, _>>().map(|_all_gone| false),
    }
}
