//! Reports from the hardware, through the kernel's configfs-tsm (Linux, Documentation/ABI/testing/configfs-tsm-report).

use crate::{Failure, Kind, MAX_REPORT};
use channel::evidence::Kind::{Snp, Tdx};
use measure::Digest;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Our entry below the kernel's directory. It stays: making it again for each report would be one more thing to fail.
const ENTRY: &str = "sys/kernel/config/tsm/report/vitrine";

/// How often a report is asked for while others change what it would be of. Nobody does in this guest.
const ATTEMPTS: usize = 4;

/// Most bytes of an attribute that is text.
const MAX_TEXT: u64 = 64;

/// Most bytes of a report that are read: one too many shows that it is too long.
const LIMIT: u64 = MAX_REPORT as u64 + 1;

/// Bytes of an SEV-SNP report (AMD 56860, "ATTESTATION_REPORT structure").
const SNP_REPORT: usize = 0x4a0;

/// Whether the kernel has a provider of reports, below the directory `root`: without one it makes no entries.
pub(crate) fn present(root: &Path) -> bool {
    entry(root).is_ok()
}

/// A report of this kind over `data`, of VMPL 0 where there are levels.
pub(crate) fn report(root: &Path, kind: Kind, data: &Digest<64>) -> Result<Vec<u8>, Failure> {
    let entry = entry(root).map_err(|_| Failure::Provider)?;
    let provider = match kind {
        Snp => "sev_guest",
        Tdx => "tdx_guest",
    };
    if text(&entry.join("provider")).map_err(|_| Failure::Provider)? != provider {
        return Err(Failure::Provider);
    }
    if kind == Snp {
        write(&entry.join("privlevel"), b"0").map_err(|_| Failure::Report)?;
    }
    for _ in 0..ATTEMPTS {
        if let Some(report) = attempt(&entry, data).map_err(|_| Failure::Report)? {
            let fits = match kind {
                Snp => report.len() == SNP_REPORT,
                Tdx => (1..=MAX_REPORT).contains(&report.len()),
            };
            return fits.then_some(report).ok_or(Failure::Report);
        }
    }
    Err(Failure::Report)
}

/// Our entry, made if need be.
fn entry(root: &Path) -> io::Result<PathBuf> {
    let entry = root.join(ENTRY);
    match fs::create_dir(&entry) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(entry),
    }
}

/// `None` if what was read may be over something else: the kernel counts what is written to the entry, and between the
/// first look and the last that must be our one write.
fn attempt(entry: &Path, data: &Digest<64>) -> io::Result<Option<Vec<u8>>> {
    let before = generation(entry)?;
    // The kernel takes the bytes when the file is closed, and nobody hears of an error then, but by the count.
    write(&entry.join("inblob"), data.as_bytes())?;
    let mut report = Vec::new();
    match File::open(entry.join("outblob")).and_then(|file| file.take(LIMIT).read_to_end(&mut report)) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ResourceBusy) => return Ok(None),
        read => read?,
    };
    let after = generation(entry)?;
    Ok((before.checked_add(1) == Some(after)).then_some(report))
}

fn generation(entry: &Path) -> io::Result<u64> {
    text(&entry.join("generation"))?.parse().map_err(|_| ErrorKind::InvalidData.into())
}

fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_TEXT).read_to_string(&mut text)?;
    Ok(text.trim_ascii_end().to_owned())
}

fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    File::options().write(true).open(path)?.write_all(bytes)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::thread;

    /// What the kernel does when a report is asked for.
    #[derive(Clone, Copy)]
    pub(crate) enum Kernel {
        /// It makes one of so many bytes, which begin with what was asked for.
        Makes(usize),
        /// As it does, somebody else writes to the entry, so many times in a row.
        Moved(usize),
        /// What was asked for was not taken.
        Lost,
    }

    /// An entry below `root`, whose kernel answers so many requests. The two blobs are pipes: neither side goes on before
    /// the other has come there.
    pub(crate) fn kernel(root: &Path, provider: &str, kernel: Kernel, requests: usize) {
        let entry = root.join(ENTRY);
        fs::create_dir_all(&entry).unwrap();
        for (name, text) in [("provider", provider), ("generation", "7\n"), ("privlevel", "")] {
            fs::write(entry.join(name), text).unwrap();
        }
        for name in ["inblob", "outblob"] {
            mkfifo(&entry.join(name), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        }
        thread::spawn(move || {
            for request in 0..requests {
                let mut asked = fs::read(entry.join("inblob")).unwrap();
                let writes = match kernel {
                    Kernel::Moved(times) if request < times => 2,
                    Kernel::Lost => 0,
                    _ => 1,
                };
                let generation = generation(&entry).unwrap();
                fs::write(entry.join("generation"), format!("{}\n", generation + writes)).unwrap();
                asked.resize(if let Kernel::Makes(size) = kernel { size } else { SNP_REPORT }, 0);
                write(&entry.join("outblob"), &asked).unwrap();
            }
        });
    }

    #[test]
    fn what_is_handed_on_is_over_what_was_asked_for() {
        use Kernel::{Lost, Makes, Moved};
        let good = Ok(SNP_REPORT);
        for (name, provider, kind, made, requests, expected) in [
            ("good", "sev_guest\n", Snp, Makes(SNP_REPORT), 1, good),
            ("a quote", "tdx_guest\n", Tdx, Makes(MAX_REPORT), 1, Ok(MAX_REPORT)),
            ("another provider", "tdx_guest\n", Snp, Makes(SNP_REPORT), 0, Err(Failure::Provider)),
            ("another provider", "sev_guest\n", Tdx, Makes(SNP_REPORT), 0, Err(Failure::Provider)),
            ("an unknown provider", "sev_guest_\n", Snp, Makes(SNP_REPORT), 0, Err(Failure::Provider)),
            ("short", "sev_guest\n", Snp, Makes(SNP_REPORT - 1), 1, Err(Failure::Report)),
            ("long", "sev_guest\n", Snp, Makes(SNP_REPORT + 1), 1, Err(Failure::Report)),
            ("an endless quote", "tdx_guest\n", Tdx, Makes(MAX_REPORT + 1), 1, Err(Failure::Report)),
            ("moved once", "sev_guest\n", Snp, Moved(1), 2, good),
            ("moved always", "sev_guest\n", Snp, Moved(ATTEMPTS), ATTEMPTS, Err(Failure::Report)),
            ("lost", "sev_guest\n", Snp, Lost, ATTEMPTS, Err(Failure::Report)),
        ] {
            let root = tempfile::tempdir().unwrap();
            kernel(root.path(), provider, made, requests);
            let data = Digest::new([9; 64]);
            let found = report(root.path(), kind, &data);
            assert_eq!(found.as_ref().map(Vec::len).map_err(|failure| *failure), expected, "{name}");
            assert!(found.is_err() || found.unwrap().starts_with(data.as_bytes()), "{name}");
            let privlevel = fs::read(root.path().join(ENTRY).join("privlevel")).unwrap();
            assert_eq!(privlevel, if kind == Snp && requests > 0 { &b"0"[..] } else { b"" }, "{name}");
        }
    }

    #[test]
    fn without_a_provider_there_is_no_entry() {
        let root = tempfile::tempdir().unwrap();
        assert!(!present(root.path()));
        assert_eq!(report(root.path(), Snp, &Digest::new([9; 64])), Err(Failure::Provider));
        fs::create_dir_all(root.path().join(ENTRY).parent().unwrap()).unwrap();
        assert!(present(root.path()));
        // An entry without anything in it.
        assert_eq!(report(root.path(), Snp, &Digest::new([9; 64])), Err(Failure::Provider));
    }
}
