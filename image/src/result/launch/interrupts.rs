//! Ctrl-C as a value: a machine under way is ended in order, and its console quoted, instead of cut off.

use anyhow::Context as _;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// SIGINT and SIGTERM, which no longer end the process.
#[derive(Debug)]
pub struct Interrupts(SignalFd);

impl Interrupts {
    /// Takes the signals over; to be called before the process has other threads. Children inherit that they ignore
    /// them, which leaves it to their parent to end them.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn take() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block().context("blocking SIGINT and SIGTERM")?;
        let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
        Ok(Self(SignalFd::with_flags(&signals, flags).context("making a descriptor for signals")?))
    }

    /// Whether one has come since the last call.
    ///
    /// # Errors
    /// When the descriptor cannot be read.
    pub fn pending(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.read_signal().context("reading pending signals")?.is_some())
    }
}
