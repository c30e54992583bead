//! What a guest writes to its console and its ports, kept up to a size. QEMU's own files would grow as long as the guest
//! writes, so it gets named pipes in their place, which are emptied here.

use crate::files::create_own;
use anyhow::Context as _;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use tempfile::TempDir;

/// Most bytes that are kept of each output; a boot writes some 10 KB, and a recorded port a frame a session.
const MAX_OUTPUT: u64 = 64 << 20;

/// How long it takes at most to notice that nobody will ever write.
const LOOK: u16 = 100;

/// Outputs being kept. Dropping them keeps what is still in the pipes; by then QEMU must have ended.
#[derive(Debug)]
pub(super) struct Outputs {
    /// Their directory, which is gone when this is.
    pipes: TempDir,
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Outputs {
    /// Makes a pipe for each pair of a name and a file, in a new directory in `work`, and keeps in the file what comes from
    /// it. A file of an earlier guest is replaced. `warn` is told, once for each, of what is dropped or cannot be written.
    ///
    /// # Errors
    /// When a pipe or a file cannot be made.
    pub(super) fn keep(
        work: &Path,
        outputs: &[(String, PathBuf)],
        warn: impl Fn(&str) + Clone + Send + 'static,
    ) -> anyhow::Result<Self> {
        let pipes = tempfile::Builder::new().prefix("pipes-").tempdir_in(work);
        let pipes = pipes.with_context(|| format!("making a directory in {}", work.display()))?;
        let mut kept = Self { pipes, over: Arc::default(), threads: Vec::new() };
        for (name, file) in outputs {
            let pipe = kept.pipes().join(name);
            let from = open(&pipe).with_context(|| format!("making the pipe {}", pipe.display()))?;
            let name = file.display().to_string();
            let mut file = create_own(file).with_context(|| format!("creating {name}"))?;
            let (over, warn) = (Arc::clone(&kept.over), warn.clone());
            kept.threads.push(std::thread::spawn(move || {
                if let Err(error) = copy(&from, &mut file, MAX_OUTPUT, &over, &|| warn(&full(&name))) {
                    warn(&format!("what the guest writes is lost: writing {name}: {error}"));
                }
            }));
        }
        Ok(kept)
    }

    /// The directory of the pipes.
    pub(super) fn pipes(&self) -> &Path {
        self.pipes.path()
    }

    /// Waits until all is kept that QEMU, which has ended, has written.
    pub(super) fn finish(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // One that has failed has said so.
            let _ended = thread.join();
        }
    }
}

impl Drop for Outputs {
    fn drop(&mut self) {
        self.finish();
    }
}

fn full(name: &str) -> String {
    format!("{name} has {MAX_OUTPUT} bytes, which is all that is kept: what the guest writes from here on is dropped")
}

/// The reading end of a new pipe. It is open before QEMU opens the other, which would wait for it.
fn open(pipe: &Path) -> io::Result<File> {
    nix::unistd::mkfifo(pipe, Mode::S_IRUSR | Mode::S_IWUSR)?;
    OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(pipe)
}

/// Copies what comes until the last writer has closed the pipe, or until it is `over` and nothing comes. Behind the first
/// `limit` bytes all is read and dropped, of which `full` is told once.
fn copy(mut from: &File, to: &mut impl Write, limit: u64, over: &AtomicBool, full: &dyn Fn()) -> io::Result<()> {
    let (mut left, mut told, mut bytes) = (limit, false, vec![0; 64 << 10]);
    loop {
        let last = over.load(Ordering::Relaxed);
        let ready = poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], PollTimeout::from(LOOK));
        match ready {
            Ok(0) if last => return Ok(()),
            Ok(0) | Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        let read = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => continue,
            read => read?,
        };
        let kept = usize::try_from(left).unwrap_or(usize::MAX).min(read);
        to.write_all(&bytes[..kept])?;
        left -= kept as u64;
        if kept < read && !told {
            told = true;
            full();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn what_is_too_much_is_read_and_dropped_and_told_of_once() {
        for (written, limit, told) in
            [(0_usize, 10, 0), (10, 10, 0), (11, 10, 1), (1 << 20, 10, 1), (1 << 20, 1 << 19, 1)]
        {
            let dir = tempfile::tempdir().unwrap();
            let from = open(&dir.path().join("pipe")).unwrap();
            let mut writer = OpenOptions::new().write(true).open(dir.path().join("pipe")).unwrap();
            // More than a pipe holds: it ends only if all of it is read.
            let writer = std::thread::spawn(move || writer.write_all(&vec![b'x'; written]).unwrap());
            let (mut kept, times) = (Vec::new(), Cell::new(0));
            copy(&from, &mut kept, limit as u64, &AtomicBool::new(false), &|| times.set(times.get() + 1)).unwrap();
            writer.join().unwrap();
            assert_eq!((kept.len(), times.get()), (written.min(limit), told), "{written} {limit}");
        }
    }

    #[test]
    fn outputs_end_with_who_writes_and_where_nobody_does() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("other"), "as it was").unwrap();
        // As a QEMU could have left it.
        symlink("other", at("a.log")).unwrap();
        // The directory can be somebody's who has other things there.
        fs::create_dir(at("pipes")).unwrap();
        fs::write(at("pipes/a"), "as it was").unwrap();
        for text in ["an earlier guest's", "first\nlast"] {
            let outputs = [("a".to_owned(), at("a.log")), ("nobody".to_owned(), at("b.log"))];
            let kept = Outputs::keep(dir.path(), &outputs, |text| panic!("{text}")).unwrap();
            fs::write(kept.pipes().join("a"), text).unwrap();
            drop(kept);
            let [a, b, other] = ["a.log", "b.log", "other"].map(|name| fs::read_to_string(at(name)).unwrap());
            assert_eq!((a.as_str(), b.as_str(), other.as_str()), (text, "", "as it was"));
        }
        assert_eq!(fs::read_to_string(at("pipes/a")).unwrap(), "as it was");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
    }
}
