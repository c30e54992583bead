//! Files of the packages in the set `vectors` of `image.lock`.

use image::formats::compression::Compression;
use image::formats::deb::Deb;
use image::inputs::lock::{LOCK, Lock};
use image::inputs::store::Store;
use measure::Sha256;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

/// The file at `path` in a locked crate, such as `tests/report.hex`.
pub(crate) fn of_crate(name: &str, path: &str) -> Vec<u8> {
    let wanted = lock().file(name).unwrap_or_else(|| panic!("no file {name} in {LOCK}")).sha256;
    let archive = std::fs::File::open(stored(&wanted)).expect("a crate in the store");
    let unpacked = Compression::Gzip.reader(BufReader::new(archive)).expect("a compressed crate");
    let mut members = tar::Archive::new(unpacked);
    for member in members.entries().expect("a crate") {
        let mut member = member.expect("a file of a crate");
        // Below the directory NAME-VERSION.
        if member.path_bytes().splitn(2, |byte| *byte == b'/').nth(1) == Some(path.as_bytes()) {
            let mut bytes = Vec::new();
            member.read_to_end(&mut bytes).expect("a file of a crate");
            return bytes;
        }
    }
    panic!("no {path} in the crate {name}")
}

/// The file at `path` below the one directory of a locked Debian package of Go sources.
pub(crate) fn of_go(package: &str, path: &str) -> Vec<u8> {
    let lock = lock();
    let wanted = lock.packages.iter().find(|locked| locked.name == package);
    let wanted = wanted.unwrap_or_else(|| panic!("no package {package} in {LOCK}")).sha256;
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let deb = Deb::open(&stored(&wanted)).expect("a package in the store");
    deb.unpack(scratch.path()).expect("a package");
    let sources = scratch.path().join("usr/share/gocode/src/github.com/google");
    let source = package.trim_start_matches("golang-github-google-").trim_end_matches("-dev");
    std::fs::read(sources.join(source).join(path)).unwrap_or_else(|error| panic!("{path} in {package}: {error}"))
}

fn lock() -> Lock {
    Lock::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(LOCK)).expect("a lock")
}

#[expect(clippy::disallowed_methods, reason = "where the cache is is the caller's to say")]
fn stored(sha256: &Sha256) -> PathBuf {
    let cache = std::env::var_os("VITRINE_CACHE").expect("needs VITRINE_CACHE; run by cargo xtask ci");
    Store::open(Path::new(&cache)).expect("a store").path(sha256)
}

/// The certificates of a PEM file, DER.
pub(crate) fn certificates(pem: &[u8]) -> Vec<Vec<u8>> {
    let parsed = pem::parse_many(pem).expect("PEM");
    parsed.into_iter().map(|certificate| certificate.into_contents()).collect()
}
