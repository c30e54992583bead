//! The programs of others that tests talk to, in the directory VITRINE_ENGINES (docs/interop.md says how to make it).

#![allow(dead_code, reason = "not every test needs all of it")]
#![expect(clippy::disallowed_methods, reason = "starts the programs that it is told of")]

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// One of the programs.
pub(crate) fn program(name: &str) -> Command {
    let directory = std::env::var_os("VITRINE_ENGINES");
    let directory =
        directory.expect("expected VITRINE_ENGINES, the directory that log-client/tests/engines/get.sh made");
    let path = PathBuf::from(directory).join(name);
    assert!(path.exists(), "{} is missing; log-client/tests/engines/get.sh makes it", path.display());
    let mut command = Command::new(path);
    // Debian builds Go programs in a mode in which routes with a method are not found.
    command.env("GODEBUG", "httpmuxgo121=0").stdin(Stdio::null());
    command
}

/// A server, until it is dropped.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Ports that nobody listened on a moment ago.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
