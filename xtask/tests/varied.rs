//! The build is the same under other circumstances, and tells nothing about them.
//!
//! Builds the checkout once more (see `image::result::vary`) and compares the result with `dist/` (or `$VITRINE_DIST`). Run
//! by `cargo xtask ci`, or by `cargo test -p xtask --test varied -- --ignored` after `cargo xtask build`.

#![expect(clippy::disallowed_methods, reason = "which build and cache to test is in the environment")]
#![expect(clippy::print_stdout, reason = "it is its own test harness")]

use anyhow::{Context as _, ensure};
use image::inputs::store::STORE;
use image::result::launch::{Dist, tools};
use image::result::{traces, vary};
use image::tools::sandbox::{Bind, Network, Sandbox};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

fn main() -> anyhow::Result<()> {
    image::tools::sandbox::entry();
    if !std::env::args().any(|argument| argument == "--ignored" || argument == "--include-ignored") {
        println!("ignored: builds the image a second time; run by cargo xtask ci");
        return Ok(());
    }
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("a checkout around xtask")?;
    let control = set("VITRINE_DIST").unwrap_or_else(|| checkout.join("dist"));
    let home = || Some(set("HOME")?.join(".cache/vitrine"));
    let cache = set("VITRINE_CACHE").or_else(home).context("VITRINE_CACHE is not set")?;
    let scratch = tempfile::tempdir()?;

    let started = Instant::now();
    let xtask = Path::new(env!("CARGO_BIN_EXE_xtask"));
    let varied = vary::build(checkout, xtask, &cache.join(STORE), scratch.path())?;
    println!("varied build: {:.1} s", started.elapsed().as_secs_f64());
    for vary::Axis { name, value } in &varied.varied {
        println!("varied: {name}: {value}");
    }
    for vary::Axis { name, value } in &varied.same {
        println!("NOT varied: {name}: {value}");
    }
    if let Some(difference) = vary::compare(&control, &varied.dist)? {
        anyhow::bail!("{} and the varied build: {difference}", control.display());
    }
    println!("test every_file_is_the_same ... ok");

    // The bytes are the control's, so what told of the control's circumstances would have differed.
    let root = scratch.path().join("root");
    extract(&Dist::open(&control)?, &cache, &root)?;
    let mut found = traces::in_tree(&root, &varied.traces)?;
    found.extend(traces::in_tree(&control, &varied.traces)?);
    let lines: Vec<_> = found.iter().map(ToString::to_string).collect();
    ensure!(lines.is_empty(), "the image tells where it was built:\n{}", lines.join("\n"));

    fs::write(root.join("planted"), format!("made on {}", vary::HOSTNAME))?;
    ensure!(!traces::in_tree(&root, &varied.traces)?.is_empty(), "a planted trace was not found");
    println!("test no_trace_of_the_build ... ok");
    println!("2 passed, 0 failed");
    Ok(())
}

/// Unpacks the root file system with the tools it was made with.
fn extract(dist: &Dist, cache: &Path, into: &Path) -> anyhow::Result<()> {
    fs::create_dir(into)?;
    let bind = |host: PathBuf, guest: &str, writable| Bind { host, guest: guest.into(), writable };
    let argv = ["/usr/bin/fsck.erofs", "--extract=/run/root", "--overwrite", "--no-preserve", "/run/rootfs.erofs"];
    let sandbox = Sandbox {
        root: tools(dist, cache)?,
        binds: vec![
            bind(into.to_path_buf(), "/run/root", true),
            bind(dist.path("rootfs.erofs").into(), "/run/rootfs.erofs", false),
        ],
        argv: argv.map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        network: Network::None,
        uid: 0,
        log: into.with_extension("log"),
    };
    sandbox.run(&mut |_line| ())
}
