//! What the agent logs: one line per event of a closed list. No event carries anything of a peer's or a user's.

use std::io::{Write as _, stderr};

use crate::readiness::Readiness;

/// All that is logged.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// Not started with exactly one listening TCP socket.
    NoListener,
    /// The runtime or the socket could not be set up.
    Failed,
    /// Requests are answered from now on, and `/readyz` says this.
    Serving(Readiness),
    /// A connection could not be taken over from the kernel.
    AcceptFailed,
    /// SIGTERM: no new connections.
    Draining,
    /// The last connection has ended, or its time has.
    Stopped,
}

/// Writes one line to stderr, which is the journal. A lost log line is no reason to stop serving.
pub fn write(event: Event) {
    let _ = stderr().write_all(line(event).as_bytes());
}

fn line(event: Event) -> String {
    let name = match event {
        Event::NoListener => "no_listener",
        Event::Failed => "failed",
        Event::Serving(readiness) => return format!("event=serving reason={}\n", readiness.code()),
        Event::AcceptFailed => "accept_failed",
        Event::Draining => "draining",
        Event::Stopped => "stopped",
    };
    format!("event={name}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        assert_eq!(line(Event::Draining), "event=draining\n");
        assert_eq!(line(Event::Serving(Readiness::RootNotVerity)), "event=serving reason=root_not_verity\n");
    }
}
