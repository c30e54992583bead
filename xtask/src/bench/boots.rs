//! The image's boot against its kernel's.

use anyhow::{Context as _, bail, ensure};
use image::progress::{Progress as _, Silent, Unit};
use image::result::launch::{Firmware, Guest, Platform, Readiness, free_port};
use measure::cmdline::Tee;
use std::time::Duration;

use super::times::pair;
use super::{Bench, Row};

const RUNS: usize = 3;

/// Longest boot.
const LIMIT: Duration = Duration::from_secs(120);

/// At the end of a command line, something that `/init` refuses before it looks at any device.
const REFUSED: &str = " refused";

pub(super) fn rows(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let row = |what, measured| -> anyhow::Result<Row> {
        let (ready, bare) = pair(RUNS, || boot(bench, measured, ""), || boot(bench, measured, REFUSED))?;
        let figure = format!("{:.2}x", ready.median() / bare.median());
        Ok(Row { what, seen: ready.to_string(), against: bare.to_string(), figure, target: String::new(), met: None })
    };
    Ok(vec![
        row("boot to `/readyz` under SeaBIOS, against the kernel's until `/init` runs", false)?,
        row("the same under the measured firmware", true)?,
    ])
}

/// Until the image serves, or until `/init` has refused the `addition` to the command line and QEMU has ended.
fn boot(bench: &Bench, measured: bool, addition: &str) -> anyhow::Result<Duration> {
    let dir = tempfile::tempdir_in(bench.work.path()).context("creating a directory for a guest")?;
    let path =
        |name: &str| dir.path().join(name).to_str().map(str::to_owned).context("expected a UTF-8 cache directory");
    let line = bench.dist.command_line(Tee::Simulated)? + addition;
    let firmware = match measured {
        true => bench.dist.measured_firmware(&line, &path("hashes.page")?)?,
        false => Firmware::SeaBios,
    };
    let machine = bench.dist.machine(Platform::Simulated(firmware), line, path("console.log")?, free_port()?);
    let mut guest = Guest::start(&machine, &bench.tools, dir.path(), |_full| ())?;
    let readiness = guest.wait(LIMIT, &*Silent.bar("", 0, Unit::Items), &mut || Ok(false))?;
    let console = guest.console()?.join("\n");
    match readiness {
        Readiness::Serving { took, .. } if addition.is_empty() => Ok(took),
        Readiness::Stopped { took } if !addition.is_empty() => {
            ensure!(console.contains(addition.trim()), "/init did not refuse {addition:?}; the console:\n{console}");
            Ok(took)
        }
        other => bail!("the guest with {addition:?} on its command line: {other:?}; the console:\n{console}"),
    }
}
