//! The simulated secure processor beside QEMU.

use anyhow::Context as _;
use image::result::launch::SNP_POLICY;
use measure::snp::LaunchDigest;
use simulate::{Guest, Processor, Product, service};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The product it pretends to be.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum ProductFlag {
    Milan,
    Genoa,
    Turin,
}

/// The socket, in the guest's work directory.
pub(super) const SOCKET: &str = "processor.sock";

/// The processor under a guest that was launched like this.
pub(super) fn of(product: ProductFlag, launch_digest: LaunchDigest, host_data: [u8; 32]) -> Processor {
    let product = match product {
        ProductFlag::Milan => Product::Milan,
        ProductFlag::Genoa => Product::Genoa,
        ProductFlag::Turin => Product::Turin,
    };
    Processor::patched(product, Guest { policy: SNP_POLICY, measurement: *launch_digest.0.as_bytes(), host_data })
}

/// Listens on [`SOCKET`] in the directory `work` and answers, one connection after the other, as long as this program runs.
pub(super) fn listen(work: &Path, processor: Processor) -> anyhow::Result<()> {
    let name = work.join(SOCKET);
    // The address of a socket has at most 107 bytes, which the path of a cache directory may exceed.
    let directory = File::open(work).with_context(|| format!("opening {}", work.display()))?;
    let address = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    match fs::remove_file(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        removed => removed.with_context(|| format!("removing the socket {} of an earlier guest", name.display()))?,
    }
    let listener = UnixListener::bind(&address).with_context(|| format!("listening on {}", name.display()))?;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A connection that fails is QEMU's end; it connects again if it goes on.
            let _ended = stream.and_then(|mut stream| service::serve(&mut stream, &processor));
        }
    });
    Ok(())
}
