//! Builds with something planted in the output of one stage, every later stage run by its real function.

use anyhow::Context as _;
use image::compare::Build;
use image::formats::erofs::Superblock;
use image::formats::filetree::{Content, Node, Tree};
use image::formats::listing::{Kind, Listing};
use image::inputs::store::Store;
use image::pipeline::build::{self, Checkout};
use image::pipeline::dist;
use image::pipeline::measured::Manifest;
use image::pipeline::scratch::Scratch;
use image::pipeline::stage::{Cache, Record, STAGES, Stage};
use image::pipeline::volume::{self, Volume};
use image::progress::Silent;
use measure::Sha256;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

/// The finished build, and where others are made of it.
pub(crate) struct Scene {
    pub(crate) checkout: Checkout,
    pub(crate) dist: PathBuf,
    pub(crate) old: Build,
    pub(crate) cache: Cache,
    /// The root file system's paths with their bytes.
    pub(crate) root: Tree,
    cache_dir: PathBuf,
    store: Store,
    records: BTreeMap<Stage, Record>,
    scratch: Scratch,
}

/// What is done to a stage's output, in a copy of it. The second directory is empty.
pub(crate) type Plant<'a> = &'a dyn Fn(&Path, &Path) -> anyhow::Result<()>;

impl Scene {
    pub(crate) fn new(checkout: &Path, dist: &Path, cache_dir: &Path) -> anyhow::Result<Self> {
        let cache = Cache::new(cache_dir);
        let old = Build::open(dist, Some(&cache))?;
        let records = dist::records(dist)?.into_iter().map(|record| (record.stage, record)).collect();
        Ok(Self {
            checkout: Checkout::read(checkout)?,
            dist: dist.to_path_buf(),
            old,
            cache,
            root: paths(&dist.join("rootfs.erofs"))?,
            cache_dir: cache_dir.to_path_buf(),
            store: Store::open(cache_dir)?,
            records,
            // Beside the stages, so that their files can be linked.
            scratch: Scratch::new(&cache_dir.join("work"))?,
        })
    }

    pub(crate) fn remove(self) -> anyhow::Result<()> {
        self.scratch.remove()
    }

    /// An empty directory.
    pub(crate) fn directory(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.scratch.path().join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Builds `checkout` with `planted` done to the output of its stage, in a directory called `name`, and gives its
    /// `dist/` and the directory of its stages. A stage whose inputs are those of the finished build, and any in `same`,
    /// gives what it gave there; so do llama.cpp and the client, which take minutes to compile.
    pub(crate) fn build(
        &self,
        name: &str,
        checkout: &Checkout,
        same: &[Stage],
        planted: Option<(Stage, Plant<'_>)>,
    ) -> anyhow::Result<(PathBuf, Cache)> {
        let directory = self.directory(name)?;
        let mut outputs = BTreeMap::<Stage, Sha256>::new();
        for stage in Stage::ALL {
            // A stage that has to run gives what nobody knows yet, and so do those that need it.
            let Ok(inputs) = checkout.inputs(stage, &outputs) else { continue };
            let input = inputs.digest(stage);
            let record = self.records.get(&stage).context("a stage without a record")?;
            let original = self.cache_dir.join(STAGES).join(stage.name()).join(record.input.to_string());
            let entry = directory.join(STAGES).join(stage.name()).join(input.to_string());
            fs::create_dir_all(entry.parent().context("an entry")?)?;
            if let Some((_, plant)) = planted.filter(|(planted, _)| *planted == stage) {
                let (tree, work) = (entry.join("tree"), directory.join("plant"));
                link_tree(&original.join("tree"), &tree)?;
                fs::create_dir(&work)?;
                plant(&tree, &work).with_context(|| format!("planting {name}"))?;
                let output = Listing::of_directory(&tree, Some((0, 0)))?.digest().0;
                fs::write(entry.join("output"), format!("{output}\n"))?;
                outputs.insert(stage, output);
            } else if input == record.input || matches!(stage, Stage::Llama | Stage::Client) || same.contains(&stage) {
                symlink(&original, &entry)?;
                outputs.insert(stage, record.output);
            }
        }
        let cache = Cache::new(&directory);
        let built = build::build(checkout, &self.store, &cache, &Silent).with_context(|| format!("building {name}"))?;
        let dist = directory.join("dist");
        let work = directory.join("work");
        fs::create_dir_all(&work)?;
        built.write(&dist, &work)?;
        Ok((dist, cache))
    }

    /// Removes what [`Scene::build`] made.
    pub(crate) fn forget(&self, name: &str) -> anyhow::Result<()> {
        Ok(fs::remove_dir_all(self.scratch.path().join(name))?)
    }

    pub(crate) fn name(&self, name: &'static str) -> volume::Name<'static> {
        volume::Name { name, seed: self.checkout.request.seed }
    }

    /// Makes the root file system anew from an edited tree.
    pub(crate) fn edit_root(&self, output: &Path, work: &Path, edit: &dyn Fn(&mut Tree)) -> anyhow::Result<()> {
        let mut tree = self.root.clone();
        edit(&mut tree);
        let tools = self.cache.finished(self.records[&Stage::Tools].clone()).context("the tools tree")?;
        let data = output.join("rootfs.erofs");
        let epoch = self.checkout.lock.source_date_epoch;
        volume::filesystem(self.name("root"), &tree, epoch, tools.tree()?, work, &data)?;
        self.protect(output)
    }

    /// Makes the hash tree of the root file system anew.
    pub(crate) fn protect(&self, output: &Path) -> anyhow::Result<()> {
        let (data, hash) = (output.join("rootfs.erofs"), output.join("rootfs.verity"));
        let disk = volume::protect(self.name("root"), &data, &hash, &Silent)?;
        edit(&output.join("volume.json"), |_| Ok(serde_json::to_vec_pretty(&Volume::from(&disk))?))
    }

    /// What the measure stage's output says of itself, computed anew from `dist/` as it would be.
    pub(crate) fn measure_again(&self, output: &Path, work: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(&self.dist)? {
            let path = entry?.path();
            let name = path.file_name().context("a file")?;
            let own = output.join(name);
            symlink(if own.exists() { &own } else { &path }, work.join(name))?;
        }
        let manifest = Manifest::read(&output.join(dist::MANIFEST))?.recomputed(work, &Silent)?;
        edit(&output.join(dist::MANIFEST), |_| Ok(serde_json::to_vec_pretty(&manifest)?))
    }

    /// The checkout with other files: `edits` are paths and what is done to each.
    pub(crate) fn checkout(&self, name: &str, edits: &[(&str, &dyn Fn(String) -> String)]) -> anyhow::Result<Checkout> {
        let root = self.directory(name)?.join("checkout");
        fs::create_dir(&root)?;
        for entry in fs::read_dir(&self.checkout.root)? {
            let path = entry?.path();
            let to = root.join(path.file_name().context("a file")?);
            let edited = edits.iter().any(|(edited, _)| root.join(edited).starts_with(&to));
            match path.is_dir() {
                true if edited => copy_tree(&path, &to)?,
                false if edited => fs::copy(&path, &to).map(drop)?,
                _ => symlink(&path, &to)?,
            }
        }
        for (path, change) in edits {
            let path = root.join(path);
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let changed = change(text.clone());
            anyhow::ensure!(text != changed, "{} did not change", path.display());
            fs::write(&path, changed)?;
        }
        Checkout::read(&root)
    }
}

/// Replaces a file that may be linked to elsewhere.
pub(crate) fn edit(path: &Path, change: impl FnOnce(Vec<u8>) -> anyhow::Result<Vec<u8>>) -> anyhow::Result<()> {
    let mode = fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.permissions();
    let bytes = change(fs::read(path)?)?;
    fs::remove_file(path)?;
    fs::write(path, bytes)?;
    Ok(fs::set_permissions(path, mode)?)
}

/// The paths of an erofs image.
fn paths(path: &Path) -> anyhow::Result<Tree> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let read = |at: u64, buffer: &mut [u8]| file.read_exact_at(buffer, at);
    let mut tree = Tree::new();
    for (entry, place) in Superblock::read(&read, length)?.paths(&read)? {
        let content = match entry.kind {
            Kind::Directory => Content::Directory,
            Kind::Symlink { target } => Content::Symlink(target),
            _ => {
                let mut bytes = Vec::new();
                for (start, length) in place.pieces {
                    let mut piece = vec![0; usize::try_from(length)?];
                    start.map_or(Ok(()), |start| file.read_exact_at(&mut piece, start))?;
                    bytes.extend(piece);
                }
                Content::Bytes(bytes)
            }
        };
        tree.insert(entry.path, Node { content, mode: entry.mode, uid: entry.uid, gid: entry.gid });
    }
    Ok(tree)
}

/// A copy of a tree whose files are those of the original.
fn link_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        let kind = fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            link_tree(&path, &to)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(&path)?, &to)?;
        } else {
            fs::hard_link(&path, &to)?;
        }
    }
    let mode = fs::metadata(from)?.permissions().mode();
    Ok(fs::set_permissions(to, fs::Permissions::from_mode(mode))?)
}

fn copy_tree(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_tree(&entry.path(), &to)?,
            false => fs::copy(entry.path(), &to).map(drop)?,
        }
    }
    Ok(())
}
