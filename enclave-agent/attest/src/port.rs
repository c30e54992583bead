//! virtio-serial ports as the guest meets them.

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Most bytes of a port's name that are looked at.
const MAX_NAME: u64 = 64;

/// Opens a port's device. Nothing done with it waits by itself: how long is decided for each use.
///
/// # Errors
/// When it is not there, or somebody has it open.
pub fn open(device: &Path) -> io::Result<File> {
    File::options().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(device)
}

/// The device of the port of this name, below the directory `root`; `None` if the host has made none.
pub(crate) fn find(root: &Path, name: &str) -> io::Result<Option<PathBuf>> {
    let class = root.join("sys/class/virtio-ports");
    let ports = match fs::read_dir(&class) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        ports => ports?,
    };
    let mut found = Vec::new();
    for port in ports {
        let port = port?;
        let mut text = Vec::new();
        // A port that has no name yet is not the one.
        let Ok(file) = File::open(port.path().join("name")) else { continue };
        file.take(MAX_NAME).read_to_end(&mut text)?;
        if text.trim_ascii_end() == name.as_bytes() {
            found.push(root.join("dev").join(port.file_name()));
        }
    }
    // The host may give two of them the same name.
    Ok(found.into_iter().min())
}

/// Whether whoever was at the other end of a socket has closed it.
pub(crate) fn is_gone(stream: &impl AsFd) -> io::Result<bool> {
    let mut polled = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    Ok(poll(&mut polled, PollTimeout::ZERO)? > 0)
}

/// A port or a socket, with a time at which waiting for it ends.
pub(crate) struct Timed<'a, T> {
    pub(crate) stream: &'a T,
    /// `None`: never.
    pub(crate) until: Option<Instant>,
}

impl<T: AsFd> Timed<'_, T> {
    fn wait(&self, wanted: PollFlags) -> io::Result<()> {
        loop {
            let timeout = match self.until {
                None => PollTimeout::NONE,
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Err(ErrorKind::TimedOut.into());
                    }
                    // At least a millisecond, which is what poll counts in.
                    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX).max(PollTimeout::from(1_u8))
                }
            };
            let mut polled = [PollFd::new(self.stream.as_fd(), wanted)];
            match poll(&mut polled, timeout) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl<'a, T: AsFd> Read for Timed<'a, T>
where
    &'a T: Read,
{
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLIN)?;
        // Nothing, and no error, if nobody is at the other end.
        (&mut { self.stream }).read(buffer)
    }
}

impl<'a, T: AsFd> Write for Timed<'a, T>
where
    &'a T: Write,
{
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(PollFlags::POLLOUT)?;
        (&mut { self.stream }).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    #[test]
    fn a_port_is_found_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(find(root.path(), "vitrine.feed").unwrap(), None);
        for (port, name) in
            [("vport1p1", "vitrine.sim\n"), ("vport1p3", "vitrine.feed\n"), ("vport1p2", "vitrine.feed\n")]
        {
            let port = root.path().join("sys/class/virtio-ports").join(port);
            fs::create_dir_all(&port).unwrap();
            fs::write(port.join("name"), name).unwrap();
        }
        fs::create_dir(root.path().join("sys/class/virtio-ports/vport1p4")).unwrap();
        let found = |name| find(root.path(), name).unwrap();
        assert_eq!(found("vitrine.sim"), Some(root.path().join("dev/vport1p1")));
        assert_eq!(found("vitrine.feed"), Some(root.path().join("dev/vport1p2")));
        assert_eq!(found("vitrine"), None);
    }

    #[test]
    fn waiting_ends() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let mut past = Timed { stream: &here, until: Some(Instant::now()) };
        assert_eq!(past.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        let mut soon = Timed { stream: &here, until: Some(Instant::now() + Duration::from_millis(1)) };
        assert_eq!(soon.read(&mut [0]).unwrap_err().kind(), ErrorKind::TimedOut);
        there.write_all(b"x").unwrap();
        assert_eq!(Timed { stream: &here, until: None }.read(&mut [0]).unwrap(), 1);
        drop(there);
        assert_eq!(Timed { stream: &here, until: None }.read(&mut [0]).unwrap(), 0);
    }
}
