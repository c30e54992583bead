//! Reports from a simulated processor, which the host runs at the other end of a port.

use crate::Failure;
use crate::port::{self, Timed};
use crate::server::Machine;
use measure::Digest;
use simulate_port::{ANSWER, Answer, NAME, REPORT, Request};
use std::fs::File;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

/// How long one report may take; less than the agent waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers to somebody before us that are passed over.
const STALE: usize = 8;

/// Where REPORT_DATA is in a report (AMD 56860).
const REPORT_DATA: usize = 0x50;

/// The port, kept open while it works.
#[derive(Debug, Default)]
pub(crate) struct Processor(Option<File>);

impl Processor {
    /// A report over `data`.
    pub(crate) fn report(&mut self, machine: &Machine, data: &Digest<64>) -> Result<Vec<u8>, Failure> {
        let until = Some(Instant::now().checked_add(PATIENCE).ok_or(Failure::Report)?);
        if let Some(port) = self.0.take() {
            // It may have ended since.
            if let Ok(report) = ask(&Timed { stream: &port, until }, data) {
                self.0 = Some(port);
                return Ok(report);
            }
        }
        let device = port::find(&machine.root, NAME).ok().flatten().ok_or(Failure::Provider)?;
        let port = (machine.open)(&device).map_err(|_| Failure::Provider)?;
        let report = ask(&Timed { stream: &port, until }, data).map_err(|_| Failure::Report)?;
        self.0 = Some(port);
        Ok(report)
    }
}

fn ask(port: &Timed<'_, File>, data: &Digest<64>) -> io::Result<Vec<u8>> {
    let mut port = Timed { ..*port };
    port.write_all(&Request { report_data: *data.as_bytes() }.to_bytes())?;
    let mut message = [0; ANSWER];
    for _ in 0..STALE {
        port.read_exact(&mut message)?;
        match Answer::parse(&message) {
            Ok(Answer::Report(report)) if is_over(&report, data) => return Ok(report.to_vec()),
            Ok(Answer::Report(_)) => {}
            Ok(Answer::Refused) | Err(_) => break,
        }
    }
    Err(ErrorKind::InvalidData.into())
}

fn is_over(report: &[u8; REPORT], data: &Digest<64>) -> bool {
    report.get(REPORT_DATA..).is_some_and(|rest| rest.starts_with(data.as_bytes()))
}
