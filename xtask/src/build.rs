//! `cargo xtask build`: the main job, from the lock to `dist/`.

use crate::fetch::MirrorFlags;
use crate::report::{Answer, Terminal};
use crate::workspace;
use anyhow::{Context as _, bail};
use image::inputs::fetch::{self, Mirrors};
use image::inputs::resolve;
use image::inputs::store::Store;
use image::pipeline::build::{self, Checkout};
use image::pipeline::dist;
use image::pipeline::measured::Manifest;
use image::pipeline::scratch::Scratch;
use image::pipeline::stage::Cache;
use image::progress::Progress as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What `build` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Where the result goes; the checkout's `dist/` by default.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Run every stage, whatever earlier runs left; downloads are kept.
    #[arg(long)]
    no_cache: bool,

    #[command(flatten)]
    mirrors: MirrorFlags,
}

/// Fetches, builds, measures.
pub(crate) fn run(flags: &Flags) -> anyhow::Result<Answer> {
    let started = Instant::now();
    let root = workspace::root()?;
    let cache = workspace::cache()?;
    let progress = Terminal::new();
    let checkout = Checkout::read(&root)?;
    let out = workspace::dist(flags.out.as_deref())?;
    dist::check_place(&out)?;
    let store = Store::open(&cache)?;
    let mirrors = flags.mirrors.apply(Mirrors::new(&checkout.request))?;
    fetch(&checkout, &store, &mirrors, &progress)?;

    // Beside the cache and not in a temporary directory: stages move large trees into place by renaming them.
    let work = Scratch::new(&cache.join("work"))?;
    let stages = Cache::new(if flags.no_cache { work.path() } else { &cache });
    let built = build::build(&checkout, &store, &stages, &progress)?;
    let manifest = built.write(&out, work.path())?;
    work.remove()?;
    progress.done("build", &out.display().to_string(), started.elapsed());
    Ok(Answer {
        yes: true,
        reason: format!("{} holds the image", out.display()),
        text: summary(&out, &manifest)?,
        payload: serde_json::json!({ "out": out, "manifest": manifest, "stages": built.records() }),
    })
}

/// Brings what `checkout` locks into `store`, and checks that the lock answers the request.
pub(crate) fn fetch(checkout: &Checkout, store: &Store, mirrors: &Mirrors, progress: &Terminal) -> anyhow::Result<()> {
    let started = Instant::now();
    let fetched = fetch::fetch(&checkout.lock, &checkout.crates(), store, mirrors, progress)?;
    progress.done(
        "fetch",
        &format!("{} files, {} new", fetched.present + fetched.fetched, fetched.fetched),
        started.elapsed(),
    );
    let problems = resolve::check_packages(&checkout.lock, &checkout.request, store)?.problems;
    if let Some(first) = problems.first() {
        bail!("image.lock: {} problems, the first: {first}; `cargo xtask lock --check` names all", problems.len());
    }
    Ok(())
}

/// The digests a person looks for first.
pub(crate) fn summary(out: &Path, manifest: &Manifest) -> anyhow::Result<String> {
    let mut text = format!(
        "{}\n  root   verity sha256:{}\n  model  verity sha256:{}\n",
        out.display(),
        manifest.root.root_sha256,
        manifest.model.root_sha256
    );
    for boot in &manifest.boots {
        let row = boot.snp.rows().first().context("the shape table is empty")?;
        text += &format!(
            "  snp    {:9} {} vCPU, {}: sha384:{}\n",
            boot.tee,
            u32::from(row.vcpus),
            row.cpu,
            row.launch_digest
        );
    }
    Ok(text)
}
