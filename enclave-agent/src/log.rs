//! What the agent logs: one line per event of a closed list. No event carries anything of a peer's or a user's, and none
//! is about a request.

use std::io::{Write as _, stderr};

use crate::readiness::Readiness;

/// All that is logged.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// Not started with the two listening TCP sockets that it needs.
    NoListener,
    /// The runtime or a socket could not be set up; or a part of the agent has panicked.
    Failed,
    /// Requests are answered from now on, and `/readyz` says this.
    Serving(Readiness),
    /// A connection could not be taken over from the kernel.
    AcceptFailed,
    /// A session could not be shown a report, for this reason.
    NotAttested(Readiness),
    /// The helper had no feed for a session.
    NoFeed,
    /// The static keys were replaced.
    KeysReplaced,
    /// A worker did not get ready. It will be tried again.
    NoWorker,
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
        Event::NotAttested(reason) => return format!("event=not_attested reason={}\n", reason.code()),
        Event::NoFeed => "no_feed",
        Event::KeysReplaced => "keys_replaced",
        Event::NoWorker => "no_worker",
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
        let explained = include_str!("../../docs/metrics.md");
        for (event, expected) in [
            (Event::NoListener, "event=no_listener"),
            (Event::Failed, "event=failed"),
            (Event::Serving(Readiness::RootNotVerity), "event=serving reason=root_not_verity"),
            (Event::AcceptFailed, "event=accept_failed"),
            (Event::NotAttested(Readiness::NoReport), "event=not_attested reason=no_report"),
            (Event::NoFeed, "event=no_feed"),
            (Event::KeysReplaced, "event=keys_replaced"),
            (Event::NoWorker, "event=no_worker"),
            (Event::Draining, "event=draining"),
            (Event::Stopped, "event=stopped"),
        ] {
            assert_eq!(line(event), format!("{expected}\n"));
            let name = expected.split(['=', ' ']).nth(1).unwrap();
            assert!(explained.contains(&format!("`{name}`")), "{name} is not in docs/metrics.md");
        }
    }
}
