//! `/init` of the measured initrd, PID 1: from the kernel's hand-over to systemd, with nothing in between that
//! the launch measurement does not cover.
//!
//! It loads the listed modules, reads the measured command line, opens the root and the model through dm-verity
//! with the parameters found there, reads the whole root once, and hands over. It mounts nothing else of the
//! host's, starts no other program and has no shell: an error is one line in the kernel log, then a reboot.

#![cfg_attr(not(test), no_main)]

mod disks;
mod dm;
mod log;
mod modules;
mod root;
mod verity;

use std::convert::Infallible;
use std::fmt::Display;
use std::fs;

use measure::cmdline::CommandLine;
use nix::sys::reboot::{RebootMode, reboot};

/// Why the boot ends: one line.
type Failure = String;

/// The C runtime starts this and not Rust's: that opens /dev/null in place of standard streams that are closed, as they
/// are without a console, and aborts because there is no /dev yet.
#[expect(unsafe_code, reason = "exports one symbol")]
#[cfg_attr(test, unsafe(no_mangle))]
// SAFETY: a static program without Rust's entry point has no other `main`, and the C runtime ignores its parameters.
#[cfg_attr(not(test), unsafe(export_name = "main"))]
extern "C" fn pid_1() -> ! {
    std::panic::set_hook(Box::new(|panic| end(&format!("panic: {panic}"))));
    let Err(failure) = boot();
    end(&failure)
}

fn boot() -> Result<Infallible, Failure> {
    let mut stages = log::Stages::begin()?;
    root::mount_kernel_file_systems()?;
    stages.done("mounts")?;

    let text = fs::read_to_string("/proc/cmdline").doing("reading /proc/cmdline")?;
    let line: CommandLine = text.strip_suffix('\n').unwrap_or(&text).parse().doing("/proc/cmdline")?;
    modules::load_all()?;
    root::mount_configfs()?;
    stages.done("modules")?;

    let root = disks::find(&line.root)?;
    let model = disks::find(&line.model)?;
    stages.done("disks")?;

    let mapper = dm::Control::open()?;
    let root = verity::open(&mapper, "vitrine-root", &line.root, &root)?;
    let model = verity::open(&mapper, "vitrine-model", &line.model, &model)?;
    stages.done("verity")?;

    verity::read_all(&root, line.root.data_blocks)?;
    stages.done("read")?;

    root::mount(&root, &model)?;
    modules::forbid_more()?;
    stages.done("root")?;
    root::hand_over(&stages, &line.to_string())
}

/// Says why, and ends the machine. Never returns: without a working reboot call, the exit of PID 1 is a kernel
/// panic, which reboots too (`panic=-1`).
fn end(reason: &str) -> ! {
    log::fatal(reason);
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    std::process::exit(1)
}

/// Names what was being done when an error came up.
trait Doing<T> {
    fn doing(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| format!("{what}: {error}"))
    }
}
