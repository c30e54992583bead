//! What the records of two builds say about a difference: which stage made it, where it is from, and whether an input of
//! it differs too.

use super::artifacts::Located;
use super::build::{Build, Class, Component};
use super::image::Found;
use super::{Cause, Difference, Kind, Provenance};
use crate::contents::provenance::Origin;
use crate::pipeline::dist;
use crate::pipeline::stage::Stage;
use std::collections::BTreeSet;

/// What says which paths are in the root, and with which owners and modes.
const MANIFEST: &str = "content/manifest.yaml";
/// What says which modules are in the initrd.
const MODULES: &str = "enclave-agent/init/modules.txt";

/// Explains all of `found` and sorts it by stage; what follows from something else comes last in its stage.
pub(super) fn explain(old: &Build, new: &Build, found: Vec<Located>) -> Vec<Difference> {
    let whole: BTreeSet<_> = found.iter().map(|it| (it.artifact.clone(), it.found.path.clone())).collect();
    let scene = Scene { old, new, whole };
    let (outputs, parts): (Vec<_>, Vec<_>) = found.into_iter().partition(|it| it.found.kind == Kind::Output);
    let mut differences: Vec<_> = parts.into_iter().map(|located| scene.difference(located)).collect();
    let last: Vec<_> = differences.iter().map(|it| scene.consequence(it, &differences)).collect();
    for (difference, from) in differences.iter_mut().zip(last) {
        if let Some(from) = from {
            difference.cause = Cause::Follows { from };
        }
    }
    // A stage of which more is known than the digest.
    let known: BTreeSet<_> = differences.iter().map(|difference| difference.stage).collect();
    let outputs = outputs.into_iter().filter(|located| !known.contains(&located.stage));
    differences.extend(outputs.map(|located| scene.output(located)));
    differences.sort_by_key(|it| (it.stage, matches!(it.cause, Cause::Follows { .. })));
    differences
}

struct Scene<'a> {
    old: &'a Build,
    new: &'a Build,
    /// Everything that differs.
    whole: BTreeSet<(String, Option<String>)>,
}

impl Scene<'_> {
    fn difference(&self, Located { stage, artifact, found }: Located) -> Difference {
        let Found { path, kind, offset, old, new, cause } = found;
        let origin = path.as_deref().and_then(|path| self.origin(&artifact, path));
        let provenance =
            origin.map(|origin| self.provenance(origin)).or_else(|| self.of_artifact(&artifact, &path, kind));
        let made = self.made_by(&artifact, origin, kind);
        let (stage, cause) = match made {
            // The stage's own output is at hand and has it.
            Some(maker) if self.is_in_tree(maker, path.as_deref()) => {
                (stage, Cause::Follows { from: maker.name().to_owned() })
            }
            maker => {
                let stage = maker.unwrap_or(stage);
                let inputs = self.inputs(stage, provenance.as_ref(), kind);
                let explained = !inputs.is_empty() && !matches!(cause, Cause::Follows { .. });
                (stage, if explained { Cause::Input { inputs } } else { cause })
            }
        };
        Difference { stage, artifact, path, kind, offset, old, new, provenance, cause }
    }

    /// A stage of whose output only the digest is at hand.
    fn output(&self, located: Located) -> Difference {
        let mut difference = self.difference(located);
        let earlier = self.old.changed_inputs(self.new, difference.stage);
        let earlier = earlier.iter().find_map(|name| name.strip_prefix("stage:"));
        if let (false, Some(stage)) = (difference.cause.explains(), earlier) {
            difference.cause = Cause::Follows { from: format!("stage {stage}") };
        }
        difference
    }

    fn origin(&self, artifact: &str, path: &str) -> Option<&Origin> {
        let find = |image: &str, path: &str| self.new.origin(image, path).or_else(|| self.old.origin(image, path));
        match artifact {
            dist::INITRD | "kernel" => find("initrd", path),
            "rootfs.erofs" | dist::DISK | "packages" => find("rootfs", path),
            "guest" => self.new.origins.values().find(|it| matches!(it, Origin::Built { name } if name == path)),
            _ => None,
        }
    }

    fn provenance(&self, origin: &Origin) -> Provenance {
        match origin {
            Origin::Deb { package, .. } => self.package(package),
            Origin::Content { file } => Provenance::File { file: file.clone() },
            Origin::Built { name } => Provenance::Built { name: name.clone() },
            Origin::Generated { rule } => Provenance::Generated { rule: *rule },
            Origin::Allowed { reason } => Provenance::Allowed { reason: reason.clone() },
        }
    }

    fn package(&self, name: &str) -> Provenance {
        // The bill of materials leaves out packages of which the image has only directories.
        let version = |build: &Build| {
            let of = |origin: &Origin| match origin {
                Origin::Deb { package, version } if package == name => Some(version.clone()),
                _ => None,
            };
            let known = build.package(name).and_then(|package| package.version.clone());
            known.or_else(|| build.origins.values().find_map(of))
        };
        let listed = self.new.package(name).or_else(|| self.old.package(name));
        Provenance::Package {
            package: name.to_owned(),
            old: version(self.old),
            new: version(self.new),
            source: listed.and_then(|package| package.source.clone()),
        }
    }

    /// Where an artifact as a whole, or a part of it that is no path of a tree, is from.
    fn of_artifact(&self, artifact: &str, path: &Option<String>, kind: Kind) -> Option<Provenance> {
        let part = |kind: &str| self.new.part(kind).or_else(|| self.old.part(kind));
        match (artifact, kind) {
            (_, Kind::Identity) => Some(Provenance::File { file: "image/request.toml".to_owned() }),
            (_, Kind::Time) => Some(Provenance::File { file: crate::inputs::lock::LOCK.to_owned() }),
            (dist::KERNEL, _) => part("operating-system").map(|package| self.package(&package.name)),
            (dist::CLIENT, _) => Some(Provenance::Built { name: "client".to_owned() }),
            (dist::OVMF, _) => part("firmware").map(|package| self.package(&package.name)),
            (dist::MODEL, Kind::Bytes | Kind::Size | Kind::Added | Kind::Removed) if path.is_some() => {
                part("machine-learning-model").map(|file| Provenance::Fetched { name: file.name.clone() })
            }
            _ => None,
        }
    }

    /// The stage before the artifact's own that made the bytes of a path, if that stage left something else.
    fn made_by(&self, artifact: &str, origin: Option<&Origin>, kind: Kind) -> Option<Stage> {
        let in_root = matches!(artifact, "rootfs.erofs" | dist::DISK);
        let maker = match origin? {
            Origin::Built { name } if in_root || artifact == dist::INITRD => Stage::compiling(name),
            Origin::Deb { .. } if artifact == dist::INITRD => Stage::Kernel,
            Origin::Deb { .. } | Origin::Allowed { .. } if in_root => Stage::Packages,
            _ => return None,
        };
        // Owners and modes are set where the image is composed.
        let of_bytes = !matches!(kind, Kind::Mode | Kind::Owner | Kind::Time | Kind::Order);
        (of_bytes && self.old.output_differs(self.new, maker)).then_some(maker)
    }

    fn is_in_tree(&self, maker: Stage, path: Option<&str>) -> bool {
        let Some(path) = path else { return false };
        let name = path.rsplit('/').next().unwrap_or(path);
        let is = |path: &str| self.whole.contains(&(maker.name().to_owned(), Some(path.to_owned())));
        is(path) || matches!(maker, Stage::Guest | Stage::Infer) && is(name)
    }

    /// The inputs that differ and that a difference of this kind can come from.
    fn inputs(&self, stage: Stage, provenance: Option<&Provenance>, kind: Kind) -> Vec<String> {
        // What an earlier stage left is a difference of its own, but for the tools, which leave nothing in an image.
        let mut changed = self.old.changed_inputs(self.new, stage);
        changed.retain(|name| !name.starts_with("stage:") || name == "stage:tools");
        let among = |wanted: &[&str]| -> Vec<String> {
            changed.iter().filter(|name| wanted.contains(&name.as_str())).cloned().collect()
        };
        // Code of ours and tools can do anything but change what is copied.
        let code = || among(&["recipe", "stage:tools"]);
        let manifest = format!("file:{MANIFEST}");
        let modules = format!("file:{MODULES}");
        match (kind, provenance) {
            (Kind::Time, _) => [among(&["source-date-epoch"]), code()].concat(),
            (Kind::Identity, _) => [among(&["seed"]), code()].concat(),
            (Kind::Order, _) => code(),
            (Kind::Mode | Kind::Owner, Some(Provenance::File { .. } | Provenance::Generated { .. })) => {
                [among(&[&manifest]), code()].concat()
            }
            (_, Some(Provenance::Package { package, .. })) => match kind {
                _ if self.package_differs(package) => vec![format!("package {package}")],
                Kind::Added | Kind::Removed => among(&[&manifest, &modules, "lock:rootfs", "lock:kernel"]),
                _ => Vec::new(),
            },
            (_, Some(Provenance::File { file })) => {
                let own = format!("file:{file}");
                let also = if matches!(kind, Kind::Added | Kind::Removed) { &manifest } else { &own };
                [among(&[&own]), if also == &own { Vec::new() } else { among(&[also]) }].concat()
            }
            (_, Some(Provenance::Built { name })) => {
                let changed = self.old.changed_inputs(self.new, Stage::compiling(name));
                changed.iter().flat_map(|name| self.crates(name)).collect()
            }
            (_, Some(Provenance::Fetched { .. })) => among(&["lock:model"]),
            (_, Some(Provenance::Generated { .. } | Provenance::Allowed { .. }) | None) => {
                changed.iter().flat_map(|name| self.crates(name)).collect()
            }
        }
    }

    /// The crates that differ instead of the list of them.
    fn crates(&self, input: &str) -> Vec<String> {
        if !input.ends_with(":Cargo.lock") {
            return vec![input.to_owned()];
        }
        let crates = |build: &Build| -> BTreeSet<(String, Option<String>)> {
            let all = build.components.values().filter(|part| part.class == Class::Crate);
            all.map(|part| (part.name.clone(), part.version.clone())).collect()
        };
        let (old, new) = (crates(self.old), crates(self.new));
        let names: BTreeSet<_> = old.symmetric_difference(&new).map(|(name, _)| format!("crate {name}")).collect();
        if names.is_empty() { vec![input.to_owned()] } else { names.into_iter().collect() }
    }

    fn package_differs(&self, name: &str) -> bool {
        let bytes = |package: Option<&Component>| package.map(|package| package.sha256);
        let Provenance::Package { old, new, .. } = self.package(name) else { return false };
        old != new || bytes(self.old.package(name)) != bytes(self.new.package(name))
    }

    /// What `difference` is computed from, if that differs as well.
    fn consequence(&self, difference: &Difference, all: &[Difference]) -> Option<String> {
        if matches!(difference.cause, Cause::Follows { .. }) {
            return None;
        }
        let own =
            |artifact: &&&str| all.iter().any(|it| it.artifact == ***artifact && it.artifact != difference.artifact);
        let from: &[&str] = match (difference.artifact.as_str(), difference.path.as_deref()) {
            (dist::COMMAND_LINE, Some(key)) if key.starts_with("vitrine.root.") => {
                &["rootfs.erofs", "rootfs.verity", dist::DISK]
            }
            (dist::COMMAND_LINE, Some(key)) if key.starts_with("vitrine.model.") => &[dist::MODEL],
            (dist::PROVENANCE, _) => &["rootfs.erofs", dist::INITRD, dist::SBOM],
            (dist::SBOM, _) if self.old.components != self.new.components => {
                return Some("the parts it lists".to_owned());
            }
            _ => return None,
        };
        from.iter().find(own).map(|&from| from.to_owned())
    }
}
