//! The guest's helper for attestation, started by systemd on its socket; see the library.
//!
//! What it needs from its unit: exactly one listening Unix socket (`LISTEN_FDS=1`), the kernel's configfs to write to, the
//! devices of virtio-serial ports, and to be root, to whom these belong. It uses no capability.

use attest::log::{self, Event};
use attest::server::{self, Machine};
use listenfd::ListenFd;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(listener) = passed_listener() else {
        log::write(Event::NoListener);
        return ExitCode::FAILURE;
    };
    let machine = Machine { root: "/".into(), open: attest::open, isolated: isolated() };
    let _error = server::run(machine, &listener);
    log::write(Event::Failed);
    ExitCode::FAILURE
}

/// The socket that systemd listens on for us, if it is one, and the only one.
fn passed_listener() -> Option<UnixListener> {
    let mut passed = ListenFd::from_env();
    if passed.len() != 1 {
        return None;
    }
    passed.take_unix_listener(0).ok().flatten()
}

/// Whether the CPU says that it isolates guests, as it says to an SEV-SNP guest (CPUID Fn8000_001F\[EAX\] bit 4, AMD 24594)
/// and to a TDX guest (leaf 21h, Intel 344425).
fn isolated() -> bool {
    use core::arch::x86_64::{__cpuid, __cpuid_count};
    let snp = __cpuid(0x8000_0000).eax >= 0x8000_001f && __cpuid(0x8000_001f).eax & 1 << 4 != 0;
    let tdx = || __cpuid_count(0x21, 0);
    let names = || [tdx().ebx, tdx().edx, tdx().ecx].map(u32::to_le_bytes).concat();
    snp || (__cpuid(0).eax >= 0x21 && names() == b"IntelTDX    ")
}
