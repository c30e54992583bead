//! The server: one connection, one request, one answer after the other.

use crate::frame::{self, Reader};
use crate::log::{self, Event};
use crate::port::{self, Timed};
use crate::processor::Processor;
use crate::{Answer, Failure, Kind, REQUEST, Rate, Request, tsm};
use channel::evidence::report_data;
use measure::cmdline::{CommandLine, MAX_LEN, Tee};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long a connection may take, beside what the answer takes to make. Only the agent can connect.
const CONNECTION: Duration = Duration::from_secs(2);

/// How long the operator document may take to come.
const DOCUMENT: Duration = Duration::from_secs(5);

/// Fifty reports a second, and as many at once after a pause. The agent limits handshakes before; this holds if it does
/// not.
const EACH: Duration = Duration::from_millis(20);
const AT_ONCE: u32 = 50;

/// How many bytes are read from a port at a time.
const CHUNK: usize = 4096;

/// Pause before a feed's port is looked for again.
const AGAIN: Duration = Duration::from_secs(1);

/// Pause after a [`CHUNK`] that ends no frame: a host that sends without end costs its guest little.
const BREATH: Duration = Duration::from_millis(10);

/// The machine that the helper runs on, or what a test has in its place.
#[derive(Debug, Clone)]
pub struct Machine {
    /// `/`.
    pub root: PathBuf,
    /// Opens a port, by its path below `root`: [`crate::open`].
    pub open: fn(&Path) -> io::Result<File>,
    /// Whether the CPU says that it isolates this guest from its host.
    pub isolated: bool,
}

/// Answers whoever connects to `listener`, for as long as that works.
pub fn run(machine: Machine, listener: &UnixListener) -> io::Error {
    let feed = Arc::new(Mutex::new(Vec::new()));
    let (watched, newest) = (machine.clone(), Arc::clone(&feed));
    thread::spawn(move || {
        loop {
            // A port that is missing, busy or at its end may be there later.
            let _ended = follow(&watched, &newest);
            thread::sleep(AGAIN);
        }
    });
    let tee = tee(&machine);
    log::write(tee.map_or(Event::WrongMachine, Event::Serving));
    let start = Instant::now();
    let rate = Rate::new(EACH, AT_ONCE);
    let mut server = Server { machine, tee, processor: Processor::default(), operator: None, feed, rate };
    loop {
        match listener.accept() {
            // A client that fails fails alone.
            Ok((stream, _address)) => drop(server.serve(&stream, start.elapsed())),
            Err(error) => return error,
        }
    }
}

struct Server {
    machine: Machine,
    tee: Result<Tee, Failure>,
    processor: Processor,
    /// Once it has come.
    operator: Option<Vec<u8>>,
    feed: Arc<Mutex<Vec<u8>>>,
    rate: Rate,
}

impl Server {
    fn serve(&mut self, stream: &UnixStream, now: Duration) -> io::Result<()> {
        let mut message = [0; REQUEST];
        let until = || Instant::now().checked_add(CONNECTION);
        Timed { stream, until: until() }.read_exact(&mut message)?;
        // Who has waited too long is not answered in place of those who still wait.
        if port::is_gone(stream)? {
            return Ok(());
        }
        let answer =
            Request::parse(&message).map_err(|_| Failure::Refused).and_then(|request| self.answer(request, now));
        let answer = answer.unwrap_or_else(|failure| {
            log::write(Event::NoAnswer(failure));
            Answer::Failed(failure)
        });
        let message = answer.to_bytes().map_err(io::Error::other)?;
        Timed { stream, until: until() }.write_all(&message)
    }

    fn answer(&mut self, request: Request, now: Duration) -> Result<Answer, Failure> {
        match request {
            Request::Report { handshake, statement } => {
                let tee = self.tee?;
                if self.rate.next(now) > now {
                    return Err(Failure::Busy);
                }
                self.rate.take(now);
                let data = report_data(&handshake, &statement);
                let (kind, report) = match tee {
                    Tee::Snp => (Kind::Snp, tsm::report(&self.machine.root, Kind::Snp, &data)),
                    Tee::Tdx => (Kind::Tdx, tsm::report(&self.machine.root, Kind::Tdx, &data)),
                    Tee::Simulated => (Kind::Snp, self.processor.report(&self.machine, &data)),
                };
                Ok(Answer::Report { kind, bytes: report? })
            }
            Request::Operator => {
                if self.operator.is_none() {
                    self.operator = operator(&self.machine).map_err(|_| Failure::Operator)?;
                }
                Ok(Answer::Operator(self.operator.clone()))
            }
            Request::Feed => Ok(Answer::Feed(self.feed.lock().unwrap_or_else(PoisonError::into_inner).clone())),
        }
    }
}

/// What the measured command line says the machine is. A simulation on a machine that isolates its guests is none: there
/// is a real processor to ask, and the simulated one is not asked then, whatever the command line says.
fn tee(machine: &Machine) -> Result<Tee, Failure> {
    let mut text = String::new();
    // Longer than the kernel keeps is refused below.
    let read =
        File::open(machine.root.join("proc/cmdline")).and_then(|file| file.take(1 << 12).read_to_string(&mut text));
    let _bytes = read.map_err(|_| Failure::Machine)?;
    const { assert!(MAX_LEN < 1 << 12) };
    let line: CommandLine = text.strip_suffix('\n').unwrap_or(&text).parse().map_err(|_| Failure::Machine)?;
    let real = || {
        let device = |name: &str| machine.root.join("dev").join(name).exists();
        machine.isolated || device("sev-guest") || device("tdx_guest") || tsm::present(&machine.root)
    };
    if line.tee == Tee::Simulated && real() { Err(Failure::Machine) } else { Ok(line.tee) }
}

/// The operator document; `None` if the host has made no port for it.
fn operator(machine: &Machine) -> io::Result<Option<Vec<u8>>> {
    let Some(device) = port::find(&machine.root, frame::OPERATOR.name)? else { return Ok(None) };
    let port = (machine.open)(&device)?;
    let mut port = Timed { stream: &port, until: Instant::now().checked_add(DOCUMENT) };
    next(&mut port, &mut Reader::new(&frame::OPERATOR)).map(Some)
}

/// Keeps what comes on the feed's port, until it ends.
fn follow(machine: &Machine, newest: &Mutex<Vec<u8>>) -> io::Result<()> {
    let Some(device) = port::find(&machine.root, frame::FEED.name)? else { return Ok(()) };
    let port = (machine.open)(&device)?;
    let mut reader = Reader::new(&frame::FEED);
    loop {
        let feed = next(&mut Timed { stream: &port, until: None }, &mut reader)?;
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = feed;
    }
}

/// The next whole frame that comes.
fn next(port: &mut impl io::Read, reader: &mut Reader) -> io::Result<Vec<u8>> {
    let mut chunk = [0; CHUNK];
    loop {
        let read = port.read(&mut chunk)?;
        let bytes = chunk.get(..read).filter(|bytes| !bytes.is_empty()).ok_or(io::ErrorKind::UnexpectedEof)?;
        if let Some(frame) = reader.push(bytes) {
            return Ok(frame);
        }
        thread::sleep(BREATH);
    }
}

#[cfg(test)]
mod tests;
