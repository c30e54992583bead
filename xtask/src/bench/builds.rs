//! `build` against mkosi alone, and what is built again when.

use anyhow::Context as _;
use image::inputs::lock::Set;
use image::pipeline::stage::Stage;
use image::progress::Silent;
use image::tools::mkosi;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::times::{Times, pair};
use super::{Bench, DIST, Row, says, timed};

/// Runs of a whole build, and of one with nothing to do.
const RUNS: usize = 3;
const NOTHING_RUNS: usize = 5;

/// The stages that do nothing but unpack a compiler or compile.
const COMPILED: [Stage; 6] = [Stage::Tools, Stage::Toolchain, Stage::Guest, Stage::Llama, Stage::Infer, Stage::Client];
/// The stages that do not look at `content/`.
const NO_CONTENT: [Stage; 10] = [
    Stage::Tools,
    Stage::Toolchain,
    Stage::Guest,
    Stage::Llama,
    Stage::Infer,
    Stage::Client,
    Stage::Kernel,
    Stage::Initrd,
    Stage::Packages,
    Stage::Model,
];

/// The file that is changed.
const CHANGED: &str = "content/rootfs/etc/systemd/network/ethernet.network";

/// Seconds a build may take for a changed file, besides the time of a run of mkosi.
const CHANGED_TARGET: f64 = 15.0;

/// Most memory, in MiB.
const MEMORY_TARGET: u64 = 1024;
/// Pause between two looks at the memory in use.
const PAUSE: Duration = Duration::from_millis(20);

pub(super) fn rows(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let root = &bench.checkout.root;
    let build = |root: &Path, cache: &Path| bench.build(root, cache, &cache.join("dist"));
    let whole = || timed(&mut build(root, bench.cache_with(&COMPILED)?.path()));
    let times = pair(RUNS, whole, || plain_mkosi(bench))?;
    let mkosi = times.1.median();

    let mut nothing = bench.build(root, &bench.cache, &bench.path(DIST));
    let nothing = (0..NOTHING_RUNS).map(|_| timed(&mut nothing)).collect::<anyhow::Result<_>>()?;

    let copy = bench.path("checkout");
    copy_checkout(root, &copy).with_context(|| format!("copying {} to {}", root.display(), copy.display()))?;
    let cache = bench.cache_with(&NO_CONTENT)?;
    let changed = || {
        let path = copy.join(CHANGED);
        let appended = File::options().append(true).open(&path).and_then(|mut file| file.write_all(b"# Changed.\n"));
        appended.with_context(|| format!("changing {}", path.display()))?;
        timed(&mut build(&copy, cache.path()))
    };
    let changed = (0..RUNS).map(|_| changed()).collect::<anyhow::Result<_>>()?;

    let peak = peak_memory(build(root, bench.cache_with(&COMPILED[2..])?.path()))? >> 20;
    Ok(vec![
        Row::overhead("`build` after the compile stages, against mkosi alone with the root's packages", &times, 1.5),
        Row::limit("`build` with nothing to do", &Times::new(nothing), 2.0),
        Row::limit("`build` after a change in `content/`", &Times::new(changed), mkosi + CHANGED_TARGET),
        Row::new(
            "peak memory of `build` without the compile stage",
            format!("{peak} MiB"),
            "",
            String::new(),
            format!("at most {MEMORY_TARGET} MiB"),
            peak <= MEMORY_TARGET,
        ),
    ])
}

/// One run of mkosi for the root, with all that it takes and nothing else.
fn plain_mkosi(bench: &Bench) -> anyhow::Result<Duration> {
    let dir = tempfile::tempdir_in(bench.work.path()).context("creating a directory for mkosi")?;
    let [work, into] = ["work", "into"].map(|name| dir.path().join(name));
    for path in [&work, &into] {
        fs::create_dir(path).with_context(|| format!("creating {}", path.display()))?;
    }
    let image = mkosi::Image {
        name: "rootfs",
        checkout: &bench.checkout.root,
        tools: &bench.tools,
        packages: &bench.packages(Set::Rootfs),
        trees: BTreeMap::new(),
        source_date_epoch: bench.checkout.lock.source_date_epoch,
    };
    let started = Instant::now();
    image.build(&work, &into, &Silent)?;
    Ok(started.elapsed())
}

/// A checkout with the same files, of which those in `content/` can be changed.
fn copy_checkout(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_name() == "content" {
            copy_directory(&entry.path(), &copy)?;
        } else {
            symlink(entry.path(), copy)?;
        }
    }
    Ok(())
}

fn copy_directory(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copy = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &copy)?;
        } else {
            fs::copy(entry.path(), copy)?;
        }
    }
    Ok(())
}

/// The most memory that the program and all that it started had at once, in bytes: the sum over the processes that
/// exist at a time of the most that each ever had, which is never too little.
pub(super) fn peak_memory(mut command: Command) -> anyhow::Result<u64> {
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let mut peak = 0;
            while !ended.load(Ordering::Relaxed) {
                peak = peak.max(memory_below(std::process::id()));
                thread::sleep(PAUSE);
            }
            peak
        });
        let said = says(&mut command);
        ended.store(true, Ordering::Relaxed);
        let peak = sampler.join().map_err(|_panic| anyhow::anyhow!("counting memory panicked"))?;
        said.map(|_text| peak)
    })
}

/// High-water marks of the processes below `pid`, in bytes (proc(5)). A process that ends meanwhile counts nothing.
fn memory_below(pid: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let children = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children.flat_map(|list| numbers(&list)).collect();
    children.into_iter().map(|child| own_memory(child) + memory_below(child)).sum()
}

pub(super) fn numbers(list: &str) -> Vec<u32> {
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn own_memory(pid: u32) -> u64 {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return 0 };
    let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
    kib.map_or(0, |kib: u64| kib << 10)
}
