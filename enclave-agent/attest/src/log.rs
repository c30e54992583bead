//! What the helper logs: one line per event of a closed list, none of which carries anything of anybody's.

use crate::Failure;
use measure::cmdline::Tee;
use std::io::{Write as _, stderr};

/// What happens.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// Not started with exactly one listening Unix socket.
    NoListener,
    /// Requests are answered from now on.
    Serving(Tee),
    /// Requests are answered from now on, those for reports with a failure: the machine is not what its command line says.
    WrongMachine,
    /// There was no report, or no operator document.
    NoAnswer(Failure),
    /// The socket failed.
    Failed,
}

/// Writes one line to stderr, which is the journal. A lost log line is no reason to stop.
pub fn write(event: Event) {
    let _ = stderr().write_all(line(event).as_bytes());
}

fn line(event: Event) -> String {
    match event {
        Event::NoListener => "event=no_listener\n".to_owned(),
        Event::Serving(tee) => format!("event=serving tee={tee}\n"),
        Event::WrongMachine => "event=wrong_machine\n".to_owned(),
        Event::NoAnswer(failure) => format!("event=no_answer reason={}\n", failure.code()),
        Event::Failed => "event=failed\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_each() {
        assert_eq!(line(Event::Serving(Tee::Simulated)), "event=serving tee=simulated\n");
        assert_eq!(line(Event::NoAnswer(Failure::Provider)), "event=no_answer reason=provider\n");
    }
}
