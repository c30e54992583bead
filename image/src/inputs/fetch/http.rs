//! One file over HTTP: resumed, bounded, hashed while it streams.

use super::{MissingFile, Patience, Wanted};
use crate::formats::hash;
use crate::inputs::crates::MAX_CRATE;
use crate::inputs::store::Store;
use crate::progress::Bar;
use anyhow::Context as _;
use measure::Sha256;
use sha2::Digest as _;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use ureq::http::StatusCode;
use ureq::http::header::{CONTENT_RANGE, RANGE};
use ureq::tls::{RootCerts, TlsConfig};

/// Redirects followed for one request.
const REDIRECTS: u32 = 5;

/// An HTTP client with our limits.
pub(crate) struct Client {
    agent: ureq::Agent,
    patience: Patience,
}

/// Why a file was not obtained.
pub(super) enum Failure {
    /// No URL has it.
    Nowhere(MissingFile),
    /// Something is wrong here, not there.
    Local(anyhow::Error),
}

/// Why one request did not deliver.
enum Refusal {
    /// The server does not have the file.
    Gone(StatusCode),
    /// The server has something else.
    Wrong(String),
    /// It may work next time.
    Later(String),
    /// Something is wrong here, not there.
    Local(anyhow::Error),
}

impl Client {
    /// A client that gives up as `patience` says.
    pub(crate) fn new(patience: Patience) -> Self {
        let config = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent("vitrine")
            .max_redirects(REDIRECTS)
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.connect))
            .timeout_per_read(Some(patience.stall))
            .build();
        Self { agent: config.into(), patience }
    }

    /// Whether `url` is there, without its body.
    pub(crate) fn is_there(&self, url: &str) -> anyhow::Result<bool> {
        self.patiently(|| match self.agent.head(url).call() {
            Ok(response) if response.status().is_success() => Ok(true),
            Ok(response) if is_gone(response.status()) => Ok(false),
            Ok(response) => Err(Refusal::Later(response.status().to_string())),
            Err(error) => Err(Refusal::Later(error.to_string())),
        })
        .map_err(|refusal| refusal.into_error(url))
    }

    /// The body of `url`, of at most `limit` bytes. Nothing vouches for it yet.
    pub(crate) fn unverified(&self, url: &str, limit: u64) -> anyhow::Result<Vec<u8>> {
        self.patiently(|| {
            let mut response = self.agent.get(url).call().map_err(|error| Refusal::Later(error.to_string()))?;
            match response.status() {
                StatusCode::OK => {}
                status if is_gone(status) => return Err(Refusal::Gone(status)),
                status => return Err(Refusal::Later(status.to_string())),
            }
            let body = response.body_mut().with_config().limit(limit).read_to_vec();
            body.map_err(|error| Refusal::Later(error.to_string()))
        })
        .map_err(|refusal| refusal.into_error(url))
    }

    /// Brings `wanted` into the store from the first URL that has it.
    pub(super) fn obtain(&self, wanted: &Wanted, store: &Store, bar: &dyn Bar) -> Result<(), Failure> {
        let path = store.part(&wanted.sha256);
        let Some(mut part) = lock_part(&path, wanted, store).map_err(Failure::Local)? else { return Ok(()) };
        let mut counted = Counted { bar, seen: 0 };
        let (mut tried, mut gone) = (Vec::new(), 0);
        for from in &wanted.paths {
            match store.copy(from, &wanted.sha256) {
                Ok(true) => return fs::remove_file(&path).map_err(|error| Failure::Local(error.into())),
                Ok(false) => tried.push(format!("{}: there is no such file", from.display())),
                Err(error) => return Err(Failure::Local(error.context(wanted.name.clone()))),
            }
        }
        for (at, url) in wanted.urls.iter().enumerate() {
            match self.patiently(|| self.download(url, wanted, &mut part, &path, &mut counted)) {
                Ok(()) => return store.enter(&path, &wanted.sha256).map_err(Failure::Local),
                Err(Refusal::Local(error)) => return Err(Failure::Local(error)),
                Err(refusal) => {
                    gone += usize::from(at < wanted.mirrors && matches!(refusal, Refusal::Gone(_)));
                    tried.push(format!("{:#}", refusal.into_error(url)));
                }
            }
        }
        let offline = wanted.urls.is_empty();
        let gone = !offline && gone == wanted.mirrors;
        Err(Failure::Nowhere(MissingFile { name: wanted.name.clone(), gone, offline, tried }))
    }

    /// Tries again, with growing pauses, what may work next time.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Result<T, Refusal>) -> Result<T, Refusal> {
        let mut pause = self.patience.pause;
        for _ in 1..self.patience.attempts {
            match attempt() {
                Err(Refusal::Later(_)) => std::thread::sleep(pause),
                result => return result,
            }
            pause *= 2;
        }
        attempt()
    }

    /// Completes `part` from `url`; on success it holds the wanted bytes and is on disk.
    fn download(
        &self,
        url: &str,
        wanted: &Wanted,
        part: &mut File,
        path: &Path,
        counted: &mut Counted<'_>,
    ) -> Result<(), Refusal> {
        let local = |error: io::Error| Refusal::Local(anyhow::Error::new(error).context(writing(path, wanted)));
        let cap = wanted.size.unwrap_or(MAX_CRATE);
        let mut had = part.metadata().map_err(local)?.len();
        let mut body = None;
        if had < cap || wanted.size.is_none() {
            let mut request = self.agent.get(url);
            if had > 0 {
                request = request.header(RANGE, format!("bytes={had}-"));
            }
            let response = request.call().map_err(|error| Refusal::Later(error.to_string()))?;
            match response.status() {
                StatusCode::PARTIAL_CONTENT if had > 0 && continues(response.headers().get(CONTENT_RANGE), had) => {}
                StatusCode::OK => {
                    part.set_len(0).map_err(local)?;
                    had = 0;
                }
                StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => {
                    part.set_len(0).map_err(local)?;
                    return Err(Refusal::Later("the server answered with another range".to_owned()));
                }
                status if is_gone(status) => return Err(Refusal::Gone(status)),
                status => return Err(Refusal::Later(status.to_string())),
            }
            if let Some(length) = response.body().content_length() {
                let total = had.saturating_add(length);
                if total > cap || wanted.size.is_some_and(|size| size != total) {
                    part.set_len(0).map_err(local)?;
                    return Err(Refusal::Wrong(format!("expected {cap} bytes, the server announces {total}")));
                }
            }
            body = Some(response.into_body().into_with_config().limit(u64::MAX).reader());
        }

        part.rewind().map_err(local)?;
        let mut hash = sha2::Sha256::new();
        hash::feed(part, &mut hash).map_err(local)?;
        let mut total = had;
        counted.reached(total);
        let mut buffer = vec![0; 64 << 10];
        while let Some(body) = &mut body {
            let count = match body.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Refusal::Later(format!("after {total} bytes: {error}"))),
            };
            let bytes = buffer.get(..count).unwrap_or_default();
            total += count as u64;
            if total > cap {
                part.set_len(0).map_err(local)?;
                return Err(Refusal::Wrong(format!("expected {cap} bytes, found more")));
            }
            part.write_all(bytes).map_err(local)?;
            hash.update(bytes);
            counted.reached(total);
        }
        if wanted.size.is_some_and(|size| total < size) {
            return Err(Refusal::Later(format!("expected {cap} bytes, the body ended after {total}")));
        }
        let found = Sha256::new(hash.finalize().into());
        if found == wanted.sha256 {
            return part.sync_all().map_err(local);
        }
        part.set_len(0).map_err(local)?;
        let reason = format!("expected SHA-256 {}, found {found}", wanted.sha256);
        // What was there before may have been another server's lie, so this one gets a second chance.
        Err(if had > 0 { Refusal::Later(reason) } else { Refusal::Wrong(reason) })
    }
}

impl Refusal {
    fn into_error(self, url: &str) -> anyhow::Error {
        match self {
            Self::Gone(status) => anyhow::anyhow!("{url}: {status}"),
            Self::Wrong(reason) | Self::Later(reason) => anyhow::anyhow!("{url}: {reason}"),
            Self::Local(error) => error,
        }
    }
}

/// Tells the bar only about bytes it has not seen, however often a download starts again.
struct Counted<'a> {
    bar: &'a dyn Bar,
    seen: u64,
}

impl Counted<'_> {
    fn reached(&mut self, total: u64) {
        self.bar.add(total.saturating_sub(self.seen));
        self.seen = self.seen.max(total);
    }
}

/// The server's way to say that it does not have the file, rather than that it has a problem.
fn is_gone(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN)
}

fn continues(range: Option<&ureq::http::HeaderValue>, from: u64) -> bool {
    range.and_then(|value| value.to_str().ok()).is_some_and(|value| value.starts_with(&format!("bytes {from}-")))
}

fn writing(path: &Path, wanted: &Wanted) -> String {
    let size = wanted.size.map_or("unknown".to_owned(), |size| size.to_string());
    format!("writing {} ({}, {size} bytes); it will resume when this is mended", path.display(), wanted.name)
}

/// Opens the incomplete file and takes its lock; `None` if another process completed it meanwhile.
fn lock_part(path: &Path, wanted: &Wanted, store: &Store) -> anyhow::Result<Option<File>> {
    loop {
        let open = || File::options().read(true).write(true).create(true).truncate(false).open(path);
        let part = open().with_context(|| writing(path, wanted))?;
        part.lock().with_context(|| format!("locking {}", path.display()))?;
        if store.holds(&wanted.sha256, wanted.size) {
            return Ok(None);
        }
        // The name may by now be another file's, or nobody's: the lock counts only if it is on what is there.
        let ours = part.metadata().with_context(|| writing(path, wanted))?.ino();
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours) {
            return Ok(Some(part));
        }
    }
}
