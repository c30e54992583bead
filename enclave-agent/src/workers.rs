//! Workers: processes of one request each, which systemd starts behind a socket. One that was never used is kept ready: the
//! next is started once one has said its first word, for which its user waits, or when somebody waits for the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openai::{Frame, FrameError, Request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::limits::Limits;
use crate::log::{self, Event};

/// Bytes that are read from a worker at once.
const READ: usize = 4096;

/// Where workers come from.
pub(crate) struct Workers {
    spare: Mutex<mpsc::Receiver<Spare>>,
    /// Somebody waits for one.
    wanted: Arc<Notify>,
    /// Whether one of the last two that were started got ready.
    warm: watch::Receiver<bool>,
    slots: Arc<Semaphore>,
    wait: Duration,
    silence: Duration,
    end: Duration,
}

/// A worker for one request. When this is dropped, the worker learns that nobody wants more of it. Its slot is free when it
/// has gone: there are never more at work than slots, whatever clients begin and give up.
pub(crate) struct Worker {
    /// Until it is dropped.
    working: Option<(Connection, OwnedSemaphorePermit)>,
    /// Until its first word.
    turn: Option<OwnedSemaphorePermit>,
    silence: Duration,
    end: Duration,
}

/// A worker that has said nothing for too long, or is gone, or has said what it may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the worker is lost")]
pub(crate) struct Lost;

impl Workers {
    /// Has the first worker started behind `socket`. At most `most` work at a time.
    pub(crate) fn start(socket: PathBuf, limits: &Limits, most: u32) -> Self {
        let ((ready, spare), (got_ready, warm)) = (mpsc::channel(1), watch::channel(false));
        let wanted = Arc::new(Notify::new());
        let (time, retry) = (limits.worker_start, limits.retry);
        tokio::spawn(Starts { socket, wanted: Arc::clone(&wanted), got_ready, time, retry }.keep_ready(ready));
        let slots = Arc::new(Semaphore::new(most as usize));
        let (wait, silence, end) = (limits.worker_wait, limits.worker_silence, limits.worker_end);
        Self { spare: Mutex::new(spare), wanted, warm, slots, wait, silence, end }
    }

    /// Waits until the last worker that was started got ready, or until it did not.
    ///
    /// # Errors
    /// When nobody starts workers any more, because something has panicked.
    pub(crate) async fn until(&self, ready: bool) -> Result<(), Lost> {
        self.warm.clone().wait_for(|warm| *warm == ready).await.map(|_| ()).map_err(|_| Lost)
    }

    /// Whether the last worker that was started got ready.
    pub(crate) fn are_ready(&self) -> bool {
        *self.warm.borrow()
    }

    /// A worker that nobody has used, unless all are busy for as long as one waits for that.
    pub(crate) async fn take(&self) -> Option<Worker> {
        let next = async {
            let slot = Arc::clone(&self.slots).acquire_owned().await.ok()?;
            let mut spare = self.spare.lock().await;
            loop {
                if spare.is_empty() {
                    self.wanted.notify_one();
                }
                let Spare { mut connection, turn } = spare.recv().await?;
                if connection.is_idle() {
                    let (silence, end) = (self.silence, self.end);
                    return Some(Worker { working: Some((connection, slot)), turn, silence, end });
                }
            }
        };
        timeout(self.wait, next).await.ok().flatten()
    }
}

impl Worker {
    /// Hands over the request.
    pub(crate) async fn ask(&mut self, request: &Request) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        openai::write_request(&mut bytes, request).map_err(|_| Lost)?;
        let sent = timeout(self.silence, self.connection()?.stream.write_all(&bytes)).await;
        sent.map_err(|_| Lost)?.map_err(|_| Lost)
    }

    /// The next thing that it says.
    pub(crate) async fn next(&mut self) -> Result<Frame, Lost> {
        let frame = timeout(self.silence, self.connection()?.next()).await.map_err(|_| Lost)?;
        self.turn = None;
        frame
    }

    fn connection(&mut self) -> Result<&mut Connection, Lost> {
        self.working.as_mut().map(|(connection, _)| connection).ok_or(Lost)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without a runtime all of it is over.
        let (Some((Connection { mut stream, .. }, slot)), Ok(runtime)) = (self.working.take(), Handle::try_current())
        else {
            return;
        };
        let end = self.end;
        runtime.spawn(async move {
            let gone = async {
                stream.shutdown().await?;
                while stream.read(&mut [0; READ]).await? > 0 {}
                Ok::<_, io::Error>(())
            };
            // One that does not go is not waited for without end; systemd ends it.
            let _ = timeout(end, gone).await;
            drop(slot);
        });
    }
}

struct Connection {
    stream: UnixStream,
    /// What has come and is not a whole frame yet.
    held: Vec<u8>,
}

impl Connection {
    async fn next(&mut self) -> Result<Frame, Lost> {
        loop {
            let mut rest = self.held.as_slice();
            match openai::read(&mut rest) {
                Ok(frame) => {
                    self.held = rest.to_vec();
                    return Ok(frame);
                }
                Err(FrameError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
                Err(_) => return Err(Lost),
            }
            self.held.reserve(READ);
            if self.stream.read_buf(&mut self.held).await.map_err(|_| Lost)? == 0 {
                return Err(Lost);
            }
        }
    }

    /// Whether it is there, and has said nothing.
    fn is_idle(&mut self) -> bool {
        let nothing = self.stream.try_read(&mut [0; 1]).map_err(|error| error.kind());
        self.held.is_empty() && nothing == Err(io::ErrorKind::WouldBlock)
    }
}

/// A worker that nobody has used.
struct Spare {
    connection: Connection,
    /// The next one's, unless that is wanted before.
    turn: Option<OwnedSemaphorePermit>,
}

/// How workers are started.
struct Starts {
    socket: PathBuf,
    wanted: Arc<Notify>,
    got_ready: watch::Sender<bool>,
    time: Duration,
    retry: Duration,
}

impl Starts {
    /// Keeps one worker in `ready`.
    async fn keep_ready(self, ready: mpsc::Sender<Spare>) {
        let turns = Arc::new(Semaphore::new(1));
        while let Ok(place) = ready.reserve().await {
            let turn = tokio::select! {
                turn = Arc::clone(&turns).acquire_owned() => turn.ok(),
                () = self.wanted.notified() => None,
            };
            let connection = self.one().await;
            // Whoever has wanted one meanwhile gets this one.
            tokio::select! {
                biased;
                () = self.wanted.notified() => {}
                () = std::future::ready(()) => {}
            }
            place.send(Spare { connection, turn });
            self.got_ready.send_replace(true);
        }
    }

    /// Tries until there is one.
    async fn one(&self) -> Connection {
        let mut failed = false;
        loop {
            if let Ok(Ok(connection)) = timeout(self.time, started(&self.socket)).await {
                return connection;
            }
            // A single one may have been too slow, or one too many for systemd.
            if failed {
                self.got_ready.send_replace(false);
            }
            failed = true;
            log::write(Event::NoWorker);
            sleep(self.retry).await;
        }
    }
}

async fn started(socket: &Path) -> Result<Connection, Lost> {
    let stream = UnixStream::connect(socket).await.map_err(|_| Lost)?;
    let mut connection = Connection { stream, held: Vec::new() };
    match connection.next().await? {
        Frame::Ready => Ok(connection),
        _ => Err(Lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody starts workers: whoever did has panicked after the last `was_ready` or not.
    fn without_starter(was_ready: bool) -> Workers {
        let ((_, spare), (_, warm)) = (mpsc::channel(1), watch::channel(was_ready));
        let (slots, time) = (Arc::new(Semaphore::new(1)), Duration::from_secs(3600));
        Workers { spare: Mutex::new(spare), wanted: Arc::default(), warm, slots, wait: time, silence: time, end: time }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_starter_nothing_is_waited_for() {
        assert_eq!(without_starter(false).until(true).await, Err(Lost));
        assert_eq!(without_starter(true).until(false).await, Err(Lost));
        assert!(without_starter(true).take().await.is_none());
    }
}
