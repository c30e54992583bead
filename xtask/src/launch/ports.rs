//! The host's end of virtio-serial ports: sockets on which QEMU finds somebody.

use anyhow::Context as _;
use attest::frame;
use image::result::launch::Port;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

/// How often a port gets its frame again, for a guest whose reader began later or anew.
pub(super) const AGAIN: Duration = Duration::from_secs(2);

/// The port `name`, whose socket is in the directory `work`.
pub(super) fn port(work: &Path, name: &'static str) -> anyhow::Result<Port> {
    let socket = work.join(name);
    let socket = socket.to_str().with_context(|| format!("{} is not UTF-8", socket.display()))?.to_owned();
    Ok(Port { name, socket })
}

/// Listens on the socket of the port `name` in the directory `work`, and has `serve` serve one connection after the other,
/// as long as this program runs.
pub(super) fn listen(
    work: &Path,
    name: &'static str,
    mut serve: impl FnMut(UnixStream) -> io::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    let path = work.join(name);
    // The address of a socket has at most 107 bytes, which the path of a cache directory may exceed.
    let directory = File::open(work).with_context(|| format!("opening {}", work.display()))?;
    let address = format!("/proc/self/fd/{}/{name}", directory.as_raw_fd());
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.with_context(|| format!("removing the socket {} of an earlier guest", path.display()))?,
    }
    let listener = UnixListener::bind(&address).with_context(|| format!("listening on {}", path.display()))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that fails is QEMU's end; it connects again if it goes on.
            let _ended = stream.and_then(&mut serve);
        }
    });
    Ok(())
}

/// Sends what `newest` gives as a frame, again and again with this pause.
pub(super) fn send(
    port: &'static frame::Port,
    pause: Duration,
    mut newest: impl FnMut() -> Vec<u8> + Send + 'static,
) -> impl FnMut(UnixStream) -> io::Result<()> + Send + 'static {
    move |mut stream| {
        loop {
            stream.write_all(&port.frame(&newest()).map_err(io::Error::other)?)?;
            thread::sleep(pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use attest::frame::{FEED, Reader};
    use std::io::Read as _;

    #[test]
    fn the_guests_reader_finds_what_is_newest_on_every_connection() {
        let work = tempfile::tempdir().unwrap();
        let mut count = 0_u8;
        let newest = move || {
            count = count.wrapping_add(1);
            vec![count; FEED.limit]
        };
        // An earlier guest's socket is no obstacle.
        for _ in 0..2 {
            listen(work.path(), FEED.name, send(&FEED, Duration::ZERO, newest)).unwrap();
        }
        let mut last = 0;
        for _ in 0..2 {
            let mut stream = UnixStream::connect(work.path().join(FEED.name)).unwrap();
            let (mut reader, mut chunk) = (Reader::new(&FEED), [0; 1000]);
            let found = loop {
                let read = stream.read(&mut chunk).unwrap();
                if let Some(found) = reader.push(&chunk[..read]) {
                    break found;
                }
            };
            assert!(found[0] > last && found == vec![found[0]; FEED.limit]);
            last = found[0];
        }
    }
}
