//! The program as a user or a script starts it: what it prints where, and its exit code.

#![expect(clippy::disallowed_methods, reason = "starts the program")]

#[cfg(feature = "simulated-hardware")]
mod agent;
mod chat;
#[cfg(feature = "simulated-hardware")]
mod connect;
mod demo;
mod fetch;
#[cfg_attr(not(feature = "simulated-hardware"), expect(dead_code, reason = "nobody talks to it then"))]
mod guest;
#[cfg(feature = "simulated-hardware")]
mod log;
mod monitor;
#[expect(dead_code, reason = "unit tests tell it to do more than these do")]
#[path = "../../src/fetch/server.rs"]
mod server;
mod verify;
mod version;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What came of one run.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// The program with nothing of this machine's environment.
fn vitrine<S: AsRef<std::ffi::OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitrine"));
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> Ran {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [stdout, stderr] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    Ran { code: status.code(), stdout, stderr }
}

/// A file of the checkout.
fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join(name)
}
