//! Asking the helper, for whoever may wait.

use crate::{Answer, Failure, HEAD, Head, Kind, Malformed, Request};
use measure::Sha256;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long one read or write may take: a secure processor that is asked by other guests as well takes seconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A report or quote, as whoever made it has made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What it is said to be.
    pub kind: Kind,
    /// Its bytes, at most [`MAX_REPORT`](crate::MAX_REPORT).
    pub bytes: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The socket, or the helper behind it, failed.
    #[error("asking for it: {0}")]
    Socket(#[from] io::Error),
    /// What came is no answer, or one to another question.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The helper says no.
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// Asks the helper at `socket` for the report of the session with these hashes.
///
/// # Errors
/// When there is none.
pub fn report(socket: &Path, handshake: Sha256, statement: Sha256) -> Result<Report, AskError> {
    match ask(socket, &Request::Report { handshake, statement })? {
        Answer::Report { kind, bytes } => Ok(Report { kind, bytes }),
        _ => Err(Malformed.into()),
    }
}

/// Asks the helper at `socket` for the operator document; `None` if the host gave none.
///
/// # Errors
/// When it is not known what the host gave.
pub fn operator(socket: &Path) -> Result<Option<Vec<u8>>, AskError> {
    match ask(socket, &Request::Operator)? {
        Answer::Operator(document) => Ok(document),
        _ => Err(Malformed.into()),
    }
}

/// Asks the helper at `socket` for the newest feed; empty if the host gave none yet.
///
/// # Errors
/// When the helper does not answer.
pub fn feed(socket: &Path) -> Result<Vec<u8>, AskError> {
    match ask(socket, &Request::Feed)? {
        Answer::Feed(feed) => Ok(feed),
        _ => Err(Malformed.into()),
    }
}

fn ask(socket: &Path, request: &Request) -> Result<Answer, AskError> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&request.to_bytes())?;
    let mut head = [0; HEAD];
    stream.read_exact(&mut head)?;
    let head = Head::parse(&head)?;
    let mut body = vec![0; head.body_len()];
    stream.read_exact(&mut body)?;
    match head.answer(&body)? {
        Answer::Failed(failure) => Err(failure.into()),
        answer => Ok(answer),
    }
}
