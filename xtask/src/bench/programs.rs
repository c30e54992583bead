//! `measure` against the programs that compute the same: veritysetup and sev-snp-measure.

use anyhow::{Context as _, ensure};
use image::files::read_bounded;
use image::pipeline::measured::MAX_BOOT_FILE;
use measure::cmdline::Tee;
use measure::snp::{KernelHashes, Launch, LaunchDigest, Ovmf, Shape, ShapeTable, VmmProfile};
use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::times::{Times, pair};
use super::{Bench, Row, says, timed};

const RUNS: usize = 5;

/// Bytes under dm-verity.
const DATA: u64 = 1 << 30;

const SEV_SNP_MEASURE: &str = "import sys\nfrom sevsnpmeasure.cli import main\nsys.exit(main())";

pub(super) fn rows(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let [limit, speedup] = verdict(bench)?;
    Ok(vec![verity(bench)?, digest(bench)?, table(bench)?, limit, speedup])
}

fn verity(bench: &Bench) -> anyhow::Result<Row> {
    let [data, ours, theirs] = ["data", "ours", "theirs"].map(|name| bench.path(name));
    noise(&data).with_context(|| format!("writing {}", data.display()))?;
    File::create(&theirs).with_context(|| format!("creating {}", theirs.display()))?;
    let mut ours_of = bench.xtask(["measure", "verity", "--data"]);
    ours_of.arg(&data).arg("--hash-tree").arg(&ours);
    let mut theirs_of = bench.tool("usr/sbin/veritysetup");
    theirs_of.args(["format", "--salt", "-"]).args([&data, &theirs]);
    let (root, format) = (says(&mut ours_of)?, says(&mut theirs_of)?);
    ensure!(format.contains(root.trim_end()), "veritysetup says\n{format}where we say {root}");
    let times = pair(RUNS, || timed(&mut ours_of), || timed(&mut theirs_of))?;
    std::fs::remove_file(&data).with_context(|| format!("removing {}", data.display()))?;
    Ok(Row::speedup("dm-verity tree of 1 GiB: `measure verity` against `veritysetup format`", &times, 2.5))
}

/// Bytes that look random, the same each time.
fn noise(path: &Path) -> std::io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 1_u64;
    for _ in 0..DATA / 8 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        out.write_all(&(state ^ state >> 29).to_le_bytes())?;
    }
    out.flush()?;
    out.get_ref().sync_all()
}

fn digest(bench: &Bench) -> anyhow::Result<Row> {
    let wheel = bench.checkout.lock.file("sev-snp-measure").context("image.lock: no file sev-snp-measure")?;
    let unpacked = bench.path("sev-snp-measure");
    let python = || {
        let mut command = bench.tool("usr/bin/python3");
        // It may keep what it compiled, but not in the tools tree.
        command.env("PYTHONHOME", bench.tools.join("usr")).env("PYTHONPYCACHEPREFIX", bench.path("pycache"));
        command.env("PYTHONPATH", &unpacked);
        command
    };
    says(python().args(["-m", "zipfile", "-e"]).arg(bench.store.path(&wheel.sha256)).arg(&unpacked))?;
    let line = bench.dist.command_line(Tee::Snp)?;
    let launch = |mut command: Command| {
        command.args(["--vcpus", "1", "--vcpu-type", "EPYC-v4", "--guest-features", "0x1"]);
        for (flag, file) in [("--ovmf", "ovmf.fd"), ("--kernel", "vmlinuz"), ("--initrd", "initrd")] {
            command.arg(flag).arg(bench.dist.path(file));
        }
        command.args(["--append", &line]);
        command
    };
    let mut ours = launch(bench.xtask(["measure", "snp"]));
    let mut theirs = python();
    theirs.args(["-c", SEV_SNP_MEASURE, "--mode", "snp"]);
    let mut theirs = launch(theirs);
    let (digest, expected) = (says(&mut ours)?, says(&mut theirs)?);
    ensure!(digest == expected, "sev-snp-measure says {expected}where we say {digest}");
    let times = pair(RUNS, || timed(&mut ours), || timed(&mut theirs))?;
    Ok(Row::speedup("one SNP launch digest: `measure snp` against `sev-snp-measure`", &times, 5.0))
}

fn table(bench: &Bench) -> anyhow::Result<Row> {
    let read = |name| {
        let path = bench.dist.path(name);
        read_bounded(Path::new(&path), MAX_BOOT_FILE).with_context(|| format!("reading {path}"))
    };
    let (firmware, kernel, initrd) = (read("ovmf.fd")?, read("vmlinuz")?, read("initrd")?);
    let line = bench.dist.command_line(Tee::Snp)?;
    let launch = || -> anyhow::Result<Launch> {
        let hashes = KernelHashes::of(&kernel, Some(&initrd), line.as_bytes());
        Ok(Launch::new(&Ovmf::parse(&firmware)?, Some(&hashes), &VmmProfile::QEMU)?)
    };
    let shape = Shape { vcpus: 1.try_into()?, cpu: "EPYC-v4".parse()?, sev_features: "0x1".parse()? };
    let times = pair(
        RUNS,
        || {
            let started = Instant::now();
            black_box::<ShapeTable>(ShapeTable::new(&launch()?.before_vmsas));
            Ok(started.elapsed())
        },
        || {
            let started = Instant::now();
            black_box::<LaunchDigest>(launch()?.before_vmsas.digest(&shape));
            Ok(started.elapsed())
        },
    )?;
    Ok(Row::overhead("all 512 launch digests of the shape table, files hashed, against one", &times, 1.5))
}

/// Times of one verdict, which another program takes: it alone links the verifier that ours is compared with.
fn verdict(bench: &Bench) -> anyhow::Result<[Row; 2]> {
    let mut cargo = bench.cargo();
    let lines = says(cargo.args(["bench", "--quiet", "--locked", "--package", "verify", "--bench", "verdict"]))?;
    let mut times = (Vec::new(), Vec::new());
    for line in lines.lines() {
        let (ours, theirs) = line.split_once(' ').with_context(|| format!("expected two times, found {line:?}"))?;
        times.0.push(Duration::from_nanos(ours.parse()?));
        times.1.push(Duration::from_nanos(theirs.parse()?));
    }
    ensure!(!times.0.is_empty(), "the bench of package verify printed no times");
    let times = (Times::new(times.0), Times::new(times.1));
    Ok([
        Row::limit("one SNP verdict in process, on one core", &times.0, 0.005),
        Row::speedup("the same: all rules and JSON, against `sev`'s chain and signatures", &times, 1.0),
    ])
}
