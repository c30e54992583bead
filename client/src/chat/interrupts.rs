//! Ctrl-C, which ends an answer and not the program.

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What Ctrl-C does. The program has one thread, or it would have to be held in all of them.
pub(super) struct Interrupts {
    mask: SigSet,
    held: SignalFd,
}

impl Interrupts {
    /// Nothing is held yet.
    pub(super) fn new() -> nix::Result<Self> {
        let mask = SigSet::from(Signal::SIGINT);
        Ok(Self { mask, held: SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)? })
    }

    /// From now on it does nothing, but [`happened`](Self::happened) says so.
    pub(super) fn hold(&self) -> nix::Result<()> {
        self.mask.thread_block()?;
        self.happened();
        Ok(())
    }

    /// From now on it ends the program.
    pub(super) fn release(&self) -> nix::Result<()> {
        self.happened();
        self.mask.thread_unblock()
    }

    /// Whether it did, since it is held or since this was asked.
    pub(super) fn happened(&self) -> bool {
        matches!(self.held.read_signal(), Ok(Some(_)))
    }
}
