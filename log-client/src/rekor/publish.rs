//! Submitting a release, and getting it proved.
//!
//! Publication is not part of a release: a log that is down delays nothing. What is still to be published is every
//! release without a bundle, and submitting the same twice does no harm, so there is no queue to lose.

use super::{LogEntry, MAX_ANSWER, RekorError, Service, Submission, TrustedRoot};
use crate::checkpoint::{CheckpointError, SignedCheckpoint};
use crate::encoding;
use crate::note::MAX_NOTE;
use crate::tile::{Tile, TileError};
use crate::tree::Tiles;
use std::io;

/// A public log that can be asked to record a release.
///
/// There is one kind today, [`RekorV2`]; retrying ([`retry`]) is the same for all of them, and its tests bring a log
/// that is down. Rekor v1 and Tessera's POST interface would be further implementations.
pub trait PublicLog {
    /// Submits, or finds what was submitted earlier, and verifies the proof.
    ///
    /// # Errors
    /// [`PublishError::is_temporary`] tells whether it is worth trying again.
    fn submit(&mut self, submission: &Submission) -> Result<Published, PublishError>;
}

/// An entry that has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The entry.
    pub entry: LogEntry,
    /// The checkpoint that covers it.
    pub checkpoint: SignedCheckpoint,
}

/// What is asked of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The whole address.
    pub url: String,
    /// A body of JSON to post; otherwise the address is read.
    pub body: Option<String>,
    /// Longest answer that is read, in bytes.
    pub limit: usize,
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The header `X-Log-Index`, if there is one.
    pub log_index: Option<String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why an entry was not published.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The server was not reached, or broke off.
    #[error("asking {url}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        source: io::Error,
    },
    /// The server does not do it.
    #[error("{url} answered {status}: {message}")]
    Status {
        /// The address.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of its answer.
        message: String,
    },
    /// The log takes no entries any more.
    #[error("{url} is frozen; get a newer signing config")]
    Frozen {
        /// The address.
        url: String,
    },
    /// The trusted root has no key for this log.
    #[error("the trusted root has no log at {url}")]
    Untrusted {
        /// The address.
        url: String,
    },
    /// The answer is no proof.
    #[error("the answer of {url}")]
    Answer {
        /// The address.
        url: String,
        /// Why.
        source: RekorError,
    },
    /// The log's checkpoint is not its own.
    #[error("the checkpoint at {url}")]
    Checkpoint {
        /// The address.
        url: String,
        /// Why.
        source: CheckpointError,
    },
    /// A tile is not what it must be.
    #[error("the tile {url}")]
    Tile {
        /// The address.
        url: String,
        /// Why.
        source: TileError,
    },
    /// The log says that it has the entry and does not say where.
    #[error("{url} has the entry but does not say at which index")]
    NoIndex {
        /// The address.
        url: String,
    },
}

impl PublishError {
    /// Whether another attempt may succeed.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            _ => false,
        }
    }
}

/// A Rekor v2 log, asked through `exchange`: an HTTP client, or a recording.
pub struct RekorV2<'a, E> {
    /// The log.
    pub service: &'a Service,
    /// Its key is in there.
    pub root: &'a TrustedRoot,
    /// Asks the server.
    pub exchange: E,
}

impl<E: FnMut(&Request) -> io::Result<Response>> PublicLog for RekorV2<'_, E> {
    fn submit(&mut self, submission: &Submission) -> Result<Published, PublishError> {
        let url = format!("{}/api/v2/log/entries", self.service.url);
        let request = Request { url, body: Some(submission.request()), limit: MAX_ANSWER };
        let Response { status, log_index, body } = self.ask(&request)?;
        let url = request.url;
        let entry = match status {
            200 | 201 => LogEntry::parse(&body).map_err(|source| PublishError::Answer { url: url.clone(), source })?,
            // An earlier attempt was recorded and its answer lost: the tiles prove it as well.
            409 => {
                let index = log_index.as_deref().and_then(encoding::decimal);
                self.entry_at(index.ok_or_else(|| PublishError::NoIndex { url: url.clone() })?)?
            }
            405 => return Err(PublishError::Frozen { url }),
            status => return Err(refused(url, status, &body)),
        };
        match entry.verify(submission, self.root) {
            Ok(checkpoint) => Ok(Published { entry, checkpoint }),
            Err(source) => Err(PublishError::Answer { url, source }),
        }
    }
}

impl<E: FnMut(&Request) -> io::Result<Response>> RekorV2<'_, E> {
    fn ask(&mut self, request: &Request) -> Result<Response, PublishError> {
        let answer = (self.exchange)(request);
        answer.map_err(|source| PublishError::Unreachable { url: request.url.clone(), source })
    }

    fn get(&mut self, path: &str, limit: usize) -> Result<(String, Response), PublishError> {
        let url = format!("{}/api/v2/{path}", self.service.url);
        let response = self.ask(&Request { url: url.clone(), body: None, limit })?;
        Ok((url, response))
    }

    /// The entry at `index`, with a proof made from the log's tiles.
    fn entry_at(&mut self, index: u64) -> Result<LogEntry, PublishError> {
        let service = &self.service.url;
        let log = self.root.log_at(service).ok_or_else(|| PublishError::Untrusted { url: service.clone() })?;
        let (url, response) = self.get("checkpoint", MAX_NOTE)?;
        let note = ok(&url, response)?;
        let signed = SignedCheckpoint::verify(&note, &log.key);
        let signed = signed.map_err(|source| PublishError::Checkpoint { url, source })?;
        let size = signed.checkpoint().size;
        let hashes = Tiles::new(size, |tile| self.tile(tile)).inclusion(index, size)?;
        Ok(LogEntry { index, log: log.id, hashes, checkpoint: signed.note().to_owned() })
    }

    fn tile(&mut self, tile: Tile) -> Result<Vec<measure::Sha256>, PublishError> {
        let (mut url, mut response) = self.get(&tile.to_string(), MAX_ANSWER)?;
        // A partial tile may be deleted once the full one is there; its hashes are the first of that.
        if response.status == 404 && !tile.is_full() {
            (url, response) = self.get(&tile.full().to_string(), MAX_ANSWER)?;
        }
        let mut bytes = ok(&url, response)?;
        bytes.truncate(usize::from(tile.width()).saturating_mul(32));
        tile.hashes(&bytes).map_err(|source| PublishError::Tile { url, source })
    }
}

fn ok(url: &str, response: Response) -> Result<Vec<u8>, PublishError> {
    match response.status {
        200 => Ok(response.body),
        status => Err(refused(url.to_owned(), status, &response.body)),
    }
}

fn refused(url: String, status: u16, body: &[u8]) -> PublishError {
    let message = String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(200).collect();
    PublishError::Status { url, status, message }
}

/// Tries until it works, cannot work, or `wait` says that it is enough: `wait` is told how many attempts have failed and
/// returns false to give up.
///
/// # Errors
/// The last attempt's.
pub fn retry(
    log: &mut impl PublicLog,
    submission: &Submission,
    mut wait: impl FnMut(u32, &PublishError) -> bool,
) -> Result<Published, PublishError> {
    let mut failed = 0_u32;
    loop {
        match log.submit(submission) {
            Err(error) if error.is_temporary() => {
                failed = failed.saturating_add(1);
                if !wait(failed, &error) {
                    return Err(error);
                }
            }
            decided => return decided,
        }
    }
}
