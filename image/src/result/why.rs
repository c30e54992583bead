//! From a file of the image to what it is made of, and up to the launch digest; from a digest to what has it.
//!
//! A build is a graph: an edge leads from what goes in to what a change of it can move. Its nodes and most of its edges are
//! what `stages.json`, `provenance.json` and `manifest.json` say; names, versions and digests of packages and crates are the
//! lock's, and it is checked that they are those of the build.

use crate::contents::provenance::{self, Line, Origin};
use crate::files;
use crate::inputs::crates::Crate;
use crate::inputs::lock::{LOCK, Package, Set};
use crate::pipeline::build::{Checkout, FIRMWARE};
use crate::pipeline::dist;
use crate::pipeline::measured::{Boot, Manifest};
use crate::pipeline::stage::{Record, Stage};
use anyhow::{Context as _, bail};
use measure::Sha256;
use measure::snp::{LaunchDigest, ShapeRow};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::path::Path;

/// Fewest digits of a digest that are looked for.
const MIN_DIGITS: usize = 8;
/// Largest `provenance.json` that is read, in bytes.
const MAX_PROVENANCE: u64 = 64 << 20;

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A locked Debian package.
    Package,
    /// A locked crate.
    Crate,
    /// Another locked file.
    Fetched,
    /// A committed file.
    Committed,
    /// Another input of a stage.
    Input,
    /// A stage.
    Stage,
    /// A path of the root or the initrd.
    Path,
    /// A file of `dist/`.
    Artifact,
    /// A volume that dm-verity protects.
    Volume,
    /// The kernel's command line for one kind of hardware.
    CommandLine,
    /// What SEV-SNP measures when the image starts with that command line.
    Launch,
}

impl Kind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Package => "package",
            Self::Crate => "crate",
            Self::Fetched => "fetched file",
            Self::Committed => "committed file",
            Self::Input => "input",
            Self::Stage => "stage",
            Self::Path => "path",
            Self::Artifact => "artifact",
            Self::Volume => "volume",
            Self::CommandLine => "command line",
            Self::Launch => "launch digest",
        }
    }
}

/// A digest of either length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(untagged)]
pub enum Hash {
    /// SHA-256.
    Sha256(Sha256),
    /// SHA-384.
    Sha384(LaunchDigest),
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sha256(digest) => digest.fmt(f),
            Self::Sha384(digest) => digest.fmt(f),
        }
    }
}

/// Something that a build is made of, or makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Its name: of a package or crate with the version behind a space, of a path with the image in front of a colon.
    pub name: String,
    /// What is known of where it is from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its digests by name.
    #[serde(flatten)]
    pub digests: BTreeMap<&'static str, Hash>,
}

/// A build as a graph.
#[derive(Debug)]
pub struct Graph {
    nodes: Vec<Node>,
    /// Where each kind and name is.
    index: BTreeMap<(Kind, String), usize>,
    /// From each node to those that it goes into.
    into: BTreeMap<usize, BTreeSet<usize>>,
    boots: Vec<Boot>,
    /// What in the checkout is not what the build was made of, one line each.
    pub stale: Vec<String>,
}

/// What was asked for.
#[derive(Debug, Serialize)]
pub struct Found<'a> {
    /// The thing itself.
    #[serde(flatten)]
    pub node: &'a Node,
    /// The machine that has the launch digest that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<&'a ShapeRow>,
    /// What goes into it, nearest first.
    pub from: Vec<&'a Node>,
    /// What it goes into, nearest first: what a change of it can move.
    pub moves: Vec<&'a Node>,
}

impl Graph {
    /// The build in `dist`, which may be the directory of a release.
    ///
    /// # Errors
    /// When a file that describes a build cannot be read.
    pub fn open(dist: &Path, checkout: &Checkout) -> anyhow::Result<Self> {
        let (manifest, records) = dist::read(dist)?;
        let path = dist.join(dist::PROVENANCE);
        let provenance = provenance::parse(files::read_text(&path, MAX_PROVENANCE)?.as_bytes());
        let provenance = provenance.with_context(|| format!("reading {}", path.display()))?;
        let mut graph = Self {
            nodes: Vec::new(),
            index: BTreeMap::new(),
            into: BTreeMap::new(),
            boots: manifest.boots.clone(),
            stale: Vec::new(),
        };
        graph.add_records(&records);
        graph.add_locked(&records, checkout);
        graph.add_artifacts(&manifest);
        for (image, lines) in &provenance {
            for line in lines {
                graph.add_path(image, line);
            }
        }
        graph.add_measured(&manifest);
        Ok(graph)
    }

    /// What `query` names: a path, a package, a crate, a file, an artifact or a stage by its name, or anything by a digest or
    /// its first digits. Empty if nothing is called so.
    ///
    /// # Errors
    /// When the digits begin more than one digest.
    pub fn find(&self, query: &str) -> anyhow::Result<Vec<Found<'_>>> {
        let named: Vec<_> = (0..self.nodes.len()).filter(|&at| self.nodes[at].is_called(query)).collect();
        if !named.is_empty() {
            return Ok(named.into_iter().map(|at| self.found(at, None)).collect());
        }
        let digits = query.split_once(':').map_or(query, |(_algorithm, digits)| digits);
        if digits.len() < MIN_DIGITS || !digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Ok(Vec::new());
        }
        let mut digests = BTreeSet::new();
        let mut found = Vec::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let matching: Vec<_> =
                node.digests.values().map(Hash::to_string).filter(|it| it.starts_with(digits)).collect();
            if !matching.is_empty() {
                digests.extend(matching);
                found.push(self.found(at, None));
            }
            let Some(boot) = self.boots.iter().find(|boot| node.kind == Kind::Launch && boot.tee == node.name) else {
                continue;
            };
            for row in boot.snp.rows().iter().filter(|row| row.launch_digest.to_string().starts_with(digits)) {
                digests.insert(row.launch_digest.to_string());
                found.retain(|it: &Found<'_>| it.node != node);
                found.push(self.found(at, Some(row)));
            }
        }
        if digests.len() > 1 {
            let all: Vec<_> = digests.into_iter().collect();
            bail!("{digits} begins {} digests: {}", all.len(), all.join(", "));
        }
        Ok(found)
    }

    fn found<'a>(&'a self, at: usize, shape: Option<&'a ShapeRow>) -> Found<'a> {
        let into = |node: usize| self.into.get(&node).into_iter().flatten().copied().collect::<Vec<_>>();
        let from = |node: usize| {
            self.into.iter().filter(|(_, into)| into.contains(&node)).map(|(from, _)| *from).collect::<Vec<_>>()
        };
        Found { node: &self.nodes[at], shape, from: self.reach(at, from), moves: self.reach(at, into) }
    }

    /// What `next` leads to, nearest first.
    fn reach(&self, start: usize, next: impl Fn(usize) -> Vec<usize>) -> Vec<&Node> {
        let (mut seen, mut todo, mut found) = (BTreeSet::from([start]), VecDeque::from([start]), Vec::new());
        while let Some(at) = todo.pop_front() {
            for near in next(at) {
                if seen.insert(near) {
                    found.push(&self.nodes[near]);
                    todo.push_back(near);
                }
            }
        }
        found
    }

    /// The node of this kind and name; a new one, if there is none.
    fn node(&mut self, kind: Kind, name: impl Into<String>) -> usize {
        let name = name.into();
        let new = self.nodes.len();
        let at = *self.index.entry((kind, name.clone())).or_insert(new);
        if at == new {
            self.nodes.push(Node { kind, name, note: None, digests: BTreeMap::new() });
        }
        at
    }

    fn with(&mut self, kind: Kind, name: impl Into<String>, digest: &'static str, value: Sha256) -> usize {
        let at = self.node(kind, name);
        self.nodes[at].digests.insert(digest, Hash::Sha256(value));
        at
    }

    fn edge(&mut self, from: usize, into: usize) {
        self.into.entry(from).or_default().insert(into);
    }

    fn stage(&mut self, stage: Stage) -> usize {
        self.node(Kind::Stage, stage.name())
    }

    fn artifact(&mut self, name: &str) -> usize {
        self.node(Kind::Artifact, name)
    }

    /// The stages and their inputs. What makes the root and the initrd from content and packages is told path by path.
    fn add_records(&mut self, records: &[Record]) {
        for Record { stage, input, output, inputs } in records {
            let at = self.with(Kind::Stage, stage.name(), "input_sha256", *input);
            self.nodes[at].digests.insert("output_sha256", Hash::Sha256(*output));
            for (name, digest) in inputs.iter() {
                let (class, rest) = name.split_once(':').unwrap_or(("", name));
                let from = match class {
                    "stage" => self.node(Kind::Stage, rest),
                    // Told package by package.
                    "lock" => continue,
                    // A path of the root, which is told on its own.
                    "file" if rest.starts_with("content/rootfs/") => {
                        self.with(Kind::Committed, rest, "sha256", *digest);
                        continue;
                    }
                    "file" => self.with(Kind::Committed, rest, "sha256", *digest),
                    // Reduced to what the programs need, and thus not the committed bytes.
                    "guest" | "client" if rest.ends_with(".toml") || rest.ends_with(".lock") => {
                        self.with(Kind::Input, name, "sha256", *digest)
                    }
                    "guest" | "client" => self.with(Kind::Committed, rest, "sha256", *digest),
                    _ if name == "recipe" => {
                        self.with(Kind::Input, format!("recipe of {}", stage.name()), "sha256", *digest)
                    }
                    _ => self.with(Kind::Input, name, "sha256", *digest),
                };
                self.edge(from, at);
            }
        }
    }

    /// What the lock and `Cargo.lock` name.
    fn add_locked(&mut self, records: &[Record], checkout: &Checkout) {
        let mut recorded: BTreeMap<&str, Sha256> = BTreeMap::new();
        for record in records {
            recorded.extend(record.inputs.iter().map(|(name, digest)| (name, *digest)));
        }
        for set in [Set::Firmware, Set::Kernel, Set::Model, Set::Rootfs, Set::Toolchain, Set::Tools] {
            if recorded.get(format!("lock:{set}").as_str()) != Some(&checkout.lock.set_digest(set)) {
                self.stale.push(format!("{LOCK}: this build is of another set {set}"));
            }
            let stage = match set {
                Set::Toolchain => Some(Stage::Toolchain),
                Set::Tools => Some(Stage::Tools),
                Set::Kernel => Some(Stage::Kernel),
                _ => None,
            };
            for package in checkout.lock.packages(set) {
                let at = self.package(package);
                match stage {
                    Some(stage) => {
                        let stage = self.stage(stage);
                        self.edge(at, stage);
                    }
                    None if set == Set::Firmware && package.name == FIRMWARE => {
                        let firmware = self.artifact(dist::OVMF);
                        self.edge(at, firmware);
                    }
                    None => {}
                }
            }
        }
        for file in checkout.lock.files.iter().filter(|file| file.sets.contains(&Set::Model)) {
            let at = self.with(Kind::Fetched, &file.name, "sha256", file.sha256);
            self.nodes[at].note = Some(file.url.clone());
            if let Some(member) = &file.member {
                self.nodes[at].digests.insert("member_sha256", Hash::Sha256(member.sha256));
            }
            let stage = self.stage(Stage::Model);
            self.edge(at, stage);
        }
        for (stage, workspace) in checkout.compiled() {
            let lock = format!("{}:Cargo.lock", stage.name());
            let found = workspace.inputs().find(|(path, _digest)| *path == "Cargo.lock").map(|(_path, digest)| digest);
            if recorded.get(lock.as_str()).copied() != found {
                self.stale.push(format!("Cargo.lock: this build's {} has other crates", stage.name()));
            }
            let into = self.stage(stage);
            for Crate { name, version, sha256 } in workspace.crates() {
                let at = self.with(Kind::Crate, format!("{name} {version}"), "sha256", *sha256);
                self.nodes[at].note = Some(format!("https://crates.io/crates/{name}/{version}"));
                self.edge(at, into);
            }
        }
    }

    fn package(&mut self, package: &Package) -> usize {
        let Package { name, version, sha256, source, source_version, .. } = package;
        let at = self.with(Kind::Package, format!("{name} {version}"), "sha256", *sha256);
        self.nodes[at].note = Some(format!(
            "source {source} {source_version}, https://sources.debian.org/src/{source}/{source_version}/"
        ));
        at
    }

    /// The files of `dist/` and the stages that leave them, but for those that `measure` writes, which say more than they are
    /// made of.
    fn add_artifacts(&mut self, manifest: &Manifest) {
        for (name, artifact) in &manifest.artifacts {
            self.with(Kind::Artifact, name, "sha256", artifact.sha256);
        }
        for (name, stage) in dist::FILES.iter().filter(|(_name, stage)| *stage != Stage::Measure) {
            let (from, into) = (self.stage(*stage), self.artifact(name));
            self.edge(from, into);
        }
        let [erofs, tree, disk] = ["rootfs.erofs", "rootfs.verity", dist::DISK].map(|name| self.artifact(name));
        self.edge(erofs, tree);
        self.edge(tree, disk);
        let (paths, parts) = (self.artifact(dist::PROVENANCE), self.artifact(dist::SBOM));
        self.edge(paths, parts);
    }

    fn add_path(&mut self, image: &str, line: &Line) {
        let at = self.node(Kind::Path, format!("{image}:{}", line.path));
        if let Some(sha256) = line.sha256 {
            self.nodes[at].digests.insert("sha256", Hash::Sha256(sha256));
        }
        let (note, from) = match &line.origin {
            Origin::Deb { package, version } => {
                let name = format!("{package} {version}");
                (format!("unmodified member of package {name}"), Some(self.node(Kind::Package, name)))
            }
            Origin::Content { file } => (format!("committed text, {file}"), Some(self.node(Kind::Committed, file))),
            Origin::Built { name } => {
                (format!("compiled from the crate {name} of this repository"), Some(self.stage(Stage::compiling(name))))
            }
            Origin::Generated { rule } => (format!("generated by the rule {rule:?}"), None),
            Origin::Allowed { reason } => (format!("as mkosi left it: {reason}"), Some(self.stage(Stage::Packages))),
        };
        self.nodes[at].note = Some(format!("{note}; {} {}", line.mode, line.owner));
        if let Some(from) = from {
            self.edge(from, at);
        }
        let artifact = if image == "rootfs" { "rootfs.erofs" } else { dist::INITRD };
        for into in [artifact, dist::PROVENANCE] {
            let into = self.artifact(into);
            self.edge(at, into);
        }
    }

    /// Volumes, command lines and launch digests.
    fn add_measured(&mut self, manifest: &Manifest) {
        let root = self.with(Kind::Volume, "root volume", "root_sha256", manifest.root.root_sha256.0);
        let model = self.with(Kind::Volume, "model volume", "root_sha256", manifest.model.root_sha256.0);
        let (erofs, weights) = (self.artifact("rootfs.erofs"), self.stage(Stage::Model));
        self.edge(erofs, root);
        self.edge(weights, model);
        for boot in &manifest.boots {
            let sha256 = Sha256::of(boot.command_line.as_bytes());
            let text = self.with(Kind::CommandLine, &boot.tee, "sha256", sha256);
            self.nodes[text].note = Some(boot.command_line.clone());
            self.edge(root, text);
            self.edge(model, text);
            let source = boot.snp.source();
            let launch = self.with(Kind::Launch, &boot.tee, "table_sha256", source.table_sha256);
            self.nodes[launch].digests.insert("before_vmsas_sha384", Hash::Sha384(source.before_vmsas));
            if let Some(row) = boot.snp.rows().first() {
                self.nodes[launch].digests.insert("one_vcpu_sha384", Hash::Sha384(row.launch_digest));
            }
            let shapes = boot.snp.rows().len();
            self.nodes[launch].note = Some(format!("{shapes} launch digests, one for each shape of machine"));
            self.edge(text, launch);
            for name in [dist::KERNEL, dist::INITRD, dist::OVMF] {
                let from = self.artifact(name);
                self.edge(from, launch);
            }
            let file = self.artifact(dist::COMMAND_LINE);
            if self.nodes[file].digests.get("sha256") == Some(&Hash::Sha256(sha256)) {
                self.edge(text, file);
            }
        }
    }
}

impl Node {
    fn is_called(&self, query: &str) -> bool {
        let plain = query.trim_start_matches('/');
        match self.kind {
            Kind::Package | Kind::Crate => {
                self.name == query || self.name.split_once(' ').is_some_and(|(name, _version)| name == query)
            }
            Kind::Path => self.name == query || self.name.split_once(':').is_some_and(|(_image, path)| path == plain),
            Kind::Artifact => self.name == query || query.strip_prefix("dist/") == Some(&self.name),
            Kind::CommandLine | Kind::Launch => false,
            Kind::Fetched | Kind::Committed | Kind::Input | Kind::Stage | Kind::Volume => self.name == query,
        }
    }
}
