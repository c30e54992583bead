//! The reduced workspace: the packages of some programs and no others, so that nothing else can change what they become.

use super::{Make, Native, Programs};
use crate::files;
use crate::inputs::crates::{self, Crate};
use anyhow::{Context as _, bail, ensure};
use measure::Sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// Largest source file, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Everything the compiler is given but the crates' contents.
#[derive(Debug)]
pub struct Workspace {
    pub(super) make: Make,
    /// Each file's content by its path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The crates that the packages can reach.
    pub(super) crates: Vec<Crate>,
}

impl Workspace {
    /// Reduces the checkout's workspace to what `programs` need.
    ///
    /// # Errors
    /// When a manifest or `Cargo.lock` is not what cargo writes, or a source file is neither a file nor a directory.
    pub fn read(checkout: &Path, programs: &'static Programs) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        let root = read_toml(&checkout.join("Cargo.toml"))?;
        let directories = programs.packages.iter().map(|package| package.directory);
        let manifests =
            members(&root, directories, |directory| read_toml(&checkout.join(directory).join("Cargo.toml")))?;
        for (member, manifest) in &manifests {
            files.insert(format!("{member}/Cargo.toml"), render(manifest)?);
            // Sources in src, and what they include from beside it.
            collect(checkout, member, false, &mut files)?;
            collect(checkout, &format!("{member}/src"), true, &mut files)?;
            for path in included(manifest) {
                let content = files::read_bounded(&checkout.join(path), MAX_FILE);
                files.insert(path.to_owned(), content.with_context(|| format!("reading {path}"))?);
            }
        }
        files.retain(|path, _content| !programs.left_out.iter().any(|left_out| path.starts_with(left_out)));
        let reduced = root_manifest(root, &manifests, programs.profile).context("in Cargo.toml")?;
        files.insert("Cargo.toml".to_owned(), render(&reduced)?);
        Self::locked(checkout, Make::Programs(programs), manifests.values(), files)
    }

    /// What the programs link that is compiled apart, without the programs; `None` if there is nothing.
    ///
    /// # Errors
    /// As [`Workspace::read`].
    pub fn native(checkout: &Path, programs: &'static Programs) -> anyhow::Result<Option<Self>> {
        let Some(native) = programs.native else { return Ok(None) };
        let Some(package) = programs.packages.first() else { return Ok(None) };
        let path = checkout.join(package.directory).join("Cargo.toml");
        let manifest = only(&read_toml(&path)?, native).with_context(|| format!("in {}", path.display()))?;
        let mut root = manifest.clone();
        root.insert("workspace".to_owned(), Table::new().into());
        root.insert("profile".to_owned(), release(programs.profile)?);
        let files = BTreeMap::from([
            ("Cargo.toml".to_owned(), render(&root)?),
            // cargo builds no package that has nothing to build.
            ("src/lib.rs".to_owned(), Vec::new()),
        ]);
        Ok(Some(Self::locked(checkout, Make::Native(programs, native), [&manifest], files)?))
    }

    /// With cargo's configuration, and with what packages of these manifests need of the lock.
    fn locked<'a>(
        checkout: &Path,
        make: Make,
        manifests: impl IntoIterator<Item = &'a Table>,
        mut files: BTreeMap<String, Vec<u8>>,
    ) -> anyhow::Result<Self> {
        let path = checkout.join(make.programs().lock);
        let lock = files::read_text(&path, MAX_FILE)?;
        let lock = reachable(&lock, manifests).with_context(|| format!("in {}", path.display()))?;
        let crates = crates::parse(&lock).with_context(|| format!("in {}", path.display()))?;
        files.insert("Cargo.lock".to_owned(), lock.into_bytes());
        files.insert(".cargo/config.toml".to_owned(), super::config(&make).into_bytes());
        Ok(Self { make, files, crates })
    }

    /// Each file with its digest, sorted by path: what the programs are made from, apart from the toolchain. The crates
    /// are covered by `Cargo.lock`.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, Sha256)> {
        self.files.iter().map(|(path, content)| (path.as_str(), Sha256::of(content)))
    }

    /// The crates that cargo needs, sorted: those that are compiled, and those for other platforms that it only looks at.
    pub fn crates(&self) -> &[Crate] {
        &self.crates
    }
}

/// The members that the packages in `directories` need, by directory, each reduced to what they ask of it; `read` gives a
/// directory's manifest.
fn members<'a>(
    root: &Table,
    directories: impl Iterator<Item = &'a str>,
    read: impl Fn(&str) -> anyhow::Result<Table>,
) -> anyhow::Result<BTreeMap<String, Table>> {
    let inherited = root.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
    let directory = |name: &str| inherited?.get(name)?.get("path")?.as_str();
    let mut asked: BTreeMap<String, BTreeSet<String>> =
        directories.map(|directory| (directory.to_owned(), BTreeSet::from(["default".to_owned()]))).collect();
    loop {
        let mut more = asked.clone();
        let mut members = BTreeMap::new();
        for (member, features) in &asked {
            let manifest = member_manifest(&read(member)?, features);
            for (name, value) in dependencies(&manifest) {
                let Some(needed) = directory(name) else { continue };
                let features = value.get("features").and_then(Value::as_array).into_iter().flatten();
                let features = features.filter_map(Value::as_str).chain(["default"]).map(str::to_owned);
                more.entry(needed.to_owned()).or_default().extend(features);
            }
            for (name, feature) in entries(&manifest).filter_map(|entry| entry.split_once('/')) {
                let Some(needed) = directory(name) else { continue };
                more.entry(needed.to_owned()).or_default().insert(feature.to_owned());
            }
            members.insert(member.clone(), manifest);
        }
        if more == asked {
            return Ok(members);
        }
        asked = more;
    }
}

/// What the features of a manifest turn on.
fn entries(manifest: &Table) -> impl Iterator<Item = &str> {
    let features = manifest.get("features").and_then(Value::as_table).into_iter().flatten();
    features.filter_map(|(_name, entries)| entries.as_array()).flatten().filter_map(Value::as_str)
}

/// A member's manifest without what only tests need, and without the features that nobody asks for: what only they turn on
/// would be locked and reviewed for nothing.
fn member_manifest(manifest: &Table, asked: &BTreeSet<String>) -> Table {
    let mut manifest = manifest.clone();
    // The last two are a workspace's, which the directory of a package can be.
    for key in ["dev-dependencies", "test", "bench", "example", "workspace", "profile"] {
        manifest.remove(key);
    }
    if let Some(features) = manifest.get_mut("features").and_then(Value::as_table_mut) {
        let mut on = BTreeSet::new();
        let mut todo: Vec<String> = asked.iter().cloned().collect();
        while let Some(name) = todo.pop() {
            let Some(entries) = features.get(&name).and_then(Value::as_array) else { continue };
            if on.insert(name) {
                todo.extend(entries.iter().filter_map(Value::as_str).map(str::to_owned));
            }
        }
        features.retain(|name, _entries| on.contains(name));
        if features.is_empty() {
            manifest.remove("features");
        }
    }
    let on: BTreeSet<String> = entries(&manifest)
        .filter_map(|entry| entry.strip_prefix("dep:").or_else(|| Some(entry.split_once('/')?.0)))
        .map(str::to_owned)
        .collect();
    if let Some(dependencies) = manifest.get_mut("dependencies").and_then(Value::as_table_mut) {
        let optional = |value: &Value| value.get("optional").and_then(Value::as_bool) == Some(true);
        dependencies.retain(|name, value| !optional(value) || on.contains(name));
    }
    manifest
}

/// The workspace's manifest with these members only, and only the dependencies that they inherit.
fn root_manifest(mut root: Table, manifests: &BTreeMap<String, Table>, profile: &str) -> anyhow::Result<Table> {
    root.retain(|key, _value| key == "workspace");
    let workspace = root.get_mut("workspace").and_then(Value::as_table_mut).context("expected [workspace]")?;
    workspace.remove("exclude");
    let members: Vec<_> = manifests.keys().map(|member| Value::String(member.clone())).collect();
    workspace.insert("members".to_owned(), members.into());
    let inherited: BTreeSet<&String> = manifests.values().flat_map(dependencies).map(|(name, _)| name).collect();
    if let Some(dependencies) = workspace.get_mut("dependencies").and_then(Value::as_table_mut) {
        dependencies.retain(|name, _value| inherited.iter().any(|inherited| *inherited == name));
    }
    root.insert("profile".to_owned(), release(profile)?);
    Ok(root)
}

/// `[profile]` with this `release`.
fn release(profile: &str) -> anyhow::Result<Value> {
    let profile: Table = toml::from_str(profile)?;
    Ok(Table::from_iter([("release".to_owned(), profile.into())]).into())
}

/// A manifest of the same name that depends on the crate alone, without its default features.
fn only(manifest: &Table, native: &Native) -> anyhow::Result<Table> {
    let of = |table: &str, key: &str| manifest.get(table).and_then(|table| table.get(key)).cloned();
    let version = of("dependencies", native.name).filter(Value::is_str);
    let version = version.with_context(|| format!("expected a version of {}", native.name))?;
    let keys = ["name", "version", "edition"];
    let package: Table = keys.iter().filter_map(|key| Some(((*key).to_owned(), of("package", key)?))).collect();
    let bare = Table::from_iter([("version".to_owned(), version), ("default-features".to_owned(), false.into())]);
    let dependencies = Table::from_iter([(native.name.to_owned(), bare.into())]);
    Ok(Table::from_iter([("package".to_owned(), package.into()), ("dependencies".to_owned(), dependencies.into())]))
}

/// What a manifest without dev-dependencies depends on, on any platform.
fn dependencies(manifest: &Table) -> Vec<(&String, &Value)> {
    let targets = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = targets.filter_map(Value::as_table).chain([manifest]);
    let kinds = tables.flat_map(|table| ["dependencies", "build-dependencies"].map(|kind| table.get(kind)));
    kinds.flatten().filter_map(Value::as_table).flatten().collect()
}

/// A package of a `Cargo.lock`.
struct Locked<'a> {
    name: String,
    version: String,
    /// Whether it is from a registry, not a member of the workspace.
    is_external: bool,
    /// Names, or names and versions where the name alone is not unique.
    dependencies: Vec<String>,
    text: &'a str,
}

/// `lock` with only those packages that packages with the given manifests can reach.
fn reachable<'a>(lock: &str, manifests: impl IntoIterator<Item = &'a Table>) -> anyhow::Result<String> {
    const HEADER: &str = "[[package]]\n";
    let mut parts = lock.split(HEADER);
    let head = parts.next().unwrap_or("");
    let packages = parts.map(locked).collect::<anyhow::Result<Vec<_>>>()?;
    let mut todo = Vec::new();
    let mut members = BTreeMap::new();
    for manifest in manifests {
        let name = manifest.get("package").and_then(|package| package.get("name")).and_then(Value::as_str);
        let name = name.context("a manifest has no package.name")?;
        let direct: BTreeSet<String> = dependencies(manifest)
            .into_iter()
            .map(|(key, value)| value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned())
            .collect();
        members.insert(name.to_owned(), direct);
        todo.push(name.to_owned());
    }
    let mut kept = BTreeSet::new();
    while let Some(wanted) = todo.pop() {
        let (name, version) = wanted.split_once(' ').map_or((wanted.as_str(), None), |(n, v)| (n, Some(v)));
        let found: Vec<usize> = (0..packages.len())
            .filter(|&at| {
                packages.get(at).is_some_and(|p| p.name == name && version.is_none_or(|version| version == p.version))
            })
            .collect();
        let [at] = found.as_slice() else {
            bail!("expected one package {wanted:?}, found {}", found.len());
        };
        if let (true, Some(package)) = (kept.insert(*at), packages.get(*at)) {
            todo.extend(package.dependencies.iter().filter(|name| is_used(package, name, &members)).cloned());
        }
    }
    let mut out = head.to_owned();
    for package in kept.iter().filter_map(|&at| packages.get(at)) {
        out.push_str(HEADER);
        match package.is_external {
            true => out.push_str(package.text),
            false => out.push_str(&member_text(package, &members)),
        }
    }
    Ok(format!("{}\n", out.trim_end()))
}

/// Whether `package` depends on `dependency` also when nothing is tested.
fn is_used(package: &Locked<'_>, dependency: &str, members: &BTreeMap<String, BTreeSet<String>>) -> bool {
    let name = dependency.split(' ').next().unwrap_or(dependency);
    package.is_external || members.get(&package.name).is_some_and(|direct| direct.contains(name))
}

/// A member's entry without what only its tests need.
fn member_text(package: &Locked<'_>, members: &BTreeMap<String, BTreeSet<String>>) -> String {
    let Locked { name, version, .. } = package;
    let mut text = format!("name = \"{name}\"\nversion = \"{version}\"\n");
    let used: Vec<_> = package.dependencies.iter().filter(|name| is_used(package, name, members)).collect();
    if !used.is_empty() {
        let lines: String = used.iter().map(|name| format!(" \"{name}\",\n")).collect();
        text += &format!("dependencies = [\n{lines}]\n");
    }
    text + "\n"
}

fn locked(text: &str) -> anyhow::Result<Locked<'_>> {
    let table: Table = toml::from_str(text)?;
    let string = |key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let name = string("name").context("a package has no name")?;
    let version = string("version").with_context(|| format!("{name} has no version"))?;
    let dependencies = table.get("dependencies").and_then(Value::as_array).into_iter().flatten();
    let dependencies: Option<_> = dependencies.map(|name| name.as_str().map(str::to_owned)).collect();
    let dependencies = dependencies.with_context(|| format!("{name} depends on something without a name"))?;
    Ok(Locked { name, version, is_external: table.contains_key("source"), dependencies, text })
}

/// Adds the files in `dir`, or below it. What begins with a dot is an editor's or the system's.
fn collect(checkout: &Path, dir: &str, deep: bool, files: &mut BTreeMap<String, Vec<u8>>) -> anyhow::Result<()> {
    let path = checkout.join(dir);
    for entry in fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
        let entry = entry.with_context(|| format!("reading {}", path.display()))?;
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_str().with_context(|| format!("{}: expected a name in UTF-8", path.display()))?;
        let kind = entry.file_type().with_context(|| format!("looking at {}", path.display()))?;
        // Both are reduced.
        let reduced = ["Cargo.toml", "Cargo.lock"].contains(&name);
        if name.starts_with('.') || reduced || (kind.is_dir() && !deep) {
            continue;
        }
        if kind.is_dir() {
            collect(checkout, &format!("{dir}/{name}"), deep, files)?;
        } else {
            ensure!(kind.is_file(), "{}: expected a file or a directory", path.display());
            let content =
                files::read_bounded(&path, MAX_FILE).with_context(|| format!("reading {}", path.display()))?;
            files.insert(format!("{dir}/{name}"), content);
        }
    }
    Ok(())
}

/// What sources of a package include from elsewhere in the checkout: `includes` in its `[package.metadata.vitrine]`.
fn included(manifest: &Table) -> impl Iterator<Item = &str> {
    let package = manifest.get("package").and_then(|package| package.get("metadata"));
    let paths = package.and_then(|metadata| metadata.get("vitrine")?.get("includes")?.as_array());
    paths.into_iter().flatten().filter_map(Value::as_str)
}

fn read_toml(path: &Path) -> anyhow::Result<Table> {
    toml::from_str(&files::read_text(path, MAX_FILE)?).with_context(|| format!("reading {}", path.display()))
}

fn render(manifest: &Table) -> anyhow::Result<Vec<u8>> {
    Ok(toml::to_string(manifest).context("writing a manifest")?.into_bytes())
}

#[cfg(test)]
mod tests;
