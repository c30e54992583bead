//! A witness: cosigns what grows, remembers what it cosigned, and shows it (C2SP tlog-witness).
//!
//! For each log there is a directory named by the SHA-256 of its origin, with `checkpoint`, the newest one cosigned;
//! `fork`, the first one that the log signed with another root for as many entries: both together prove what it did;
//! and `inconsistent`, the last one that was not shown to continue from the newest, which may only have been sent badly.

use super::directory::{CHECKPOINT, read};
use super::durable::replace;
use super::http::{Request, Response, serve};
use crate::checkpoint::{Checkpoint, SignedCheckpoint};
use crate::note::{MAX_NOTE, SignatureType, Signer, VerifierKey};
use crate::witness::{AddCheckpoint, Answer, MAX_REQUEST};
use anyhow::{Context as _, ensure};
use measure::Sha256;
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const FORK: &str = "fork";
const INCONSISTENT: &str = "inconsistent";
const LOCK: &str = "lock";
const SCRATCH: &str = "tmp";

/// A witness with its state on the disk.
pub struct Witness {
    root: PathBuf,
    signer: Signer,
    logs: Vec<VerifierKey>,
    /// Held while a checkpoint is compared with the stored one and stored: two that grow the same tree must not both
    /// be cosigned, the longer one first.
    storing: Mutex<()>,
    _lock: Flock<File>,
}

impl Witness {
    /// The witness whose state is in `root`, which it creates, and which no other process may use meanwhile.
    pub fn open(root: &Path, signer: Signer, logs: Vec<VerifierKey>) -> anyhow::Result<Self> {
        let kind = signer.key().kind();
        ensure!(kind == SignatureType::COSIGNATURE, "expected a witness's key (type 04), found type {:02}", kind.0);
        let scratch = root.join(SCRATCH);
        fs::create_dir_all(&scratch).with_context(|| format!("creating {}", scratch.display()))?;
        let path = root.join(LOCK);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error);
        let lock = lock.with_context(|| format!("locking {}; is another witness running there?", path.display()))?;
        Ok(Self { root: root.to_owned(), signer, logs, storing: Mutex::new(()), _lock: lock })
    }

    /// The witness's key, for policies.
    pub fn key(&self) -> &VerifierKey {
        self.signer.key()
    }

    /// Answers `add-checkpoint` and shows checkpoints until the process ends. `now` is the time in seconds since 1970.
    pub fn serve(&self, listener: &TcpListener, now: impl Fn() -> u64 + Sync) -> anyhow::Result<()> {
        serve(listener, MAX_REQUEST, |request| self.answer(request, now()))
    }

    fn answer(&self, request: &Request, now: u64) -> Response {
        let response = match (request.method.as_str(), request.path.as_str()) {
            ("POST", "/add-checkpoint") => self.add(&request.body, now),
            ("GET", path) => self.show(path),
            _ => return Response::text(405, "expected POST /add-checkpoint"),
        };
        // What exactly failed is for the operator, who sees that something did by the status.
        response.unwrap_or_else(|_undecided| Response::text(500, "the witness's state cannot be read or written"))
    }

    fn add(&self, body: &[u8], now: u64) -> anyhow::Result<Response> {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(error) => return Ok(Response::text(400, &error.to_string())),
        };
        let _storing = self.storing.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = match request.unverified_origin() {
            Ok(origin) => self.latest(&origin)?,
            Err(error) => return Ok(Response::text(400, &error.to_string())),
        };
        let answer = request.answer(&self.logs, latest.as_ref().map(SignedCheckpoint::checkpoint));
        let status = answer.status();
        Ok(match answer {
            Answer::Cosign(new) => {
                let line = self.signer.sign(&new.checkpoint().to_string(), now);
                self.store(new.checkpoint(), CHECKPOINT, &(new.note_by(&self.logs)? + &line))?;
                Response { body: line.into(), ..Response::text(status, "") }
            }
            Answer::OtherSize(size) => {
                Response { content_type: "text/x.tlog.size", ..Response::text(status, &size.to_string()) }
            }
            Answer::Inconsistent { error, evidence } => {
                let size = evidence.checkpoint().size;
                let forked = latest.is_some_and(|latest| latest.checkpoint().size == size);
                self.store(evidence.checkpoint(), if forked { FORK } else { INCONSISTENT }, evidence.note())?;
                Response::text(status, &error.to_string())
            }
            Answer::Malformed(reason) => Response::text(status, &reason),
            Answer::UnknownLog => Response::text(status, "this witness does not know the log"),
            Answer::NotSigned => Response::text(status, "the log did not sign this checkpoint"),
        })
    }

    /// `/<SHA-256 of the origin>/checkpoint`, the newest that was cosigned.
    fn show(&self, path: &str) -> anyhow::Result<Response> {
        let log = path.strip_prefix('/').and_then(|path| path.strip_suffix("/checkpoint")?.parse::<Sha256>().ok());
        let Some(log) = log else { return Ok(Response::text(404, "expected /<sha256 of the origin>/checkpoint")) };
        let path = self.root.join(log.to_string()).join(CHECKPOINT);
        match read(&path, MAX_NOTE as u64) {
            Ok(body) => Ok(Response { body, ..Response::text(200, "") }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Ok(Response::text(404, "nothing cosigned of this log"))
            }
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    /// What was cosigned last of the log with this name; `None` if it is unknown or new.
    fn latest(&self, origin: &str) -> anyhow::Result<Option<SignedCheckpoint>> {
        let path = self.root.join(Sha256::of(origin.as_bytes()).to_string()).join(CHECKPOINT);
        let reading = || format!("reading {}", path.display());
        let note = match read(&path, MAX_NOTE as u64) {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(reading),
        };
        let mut logs = self.logs.iter().filter(|log| log.name() == origin);
        let signed = logs.find_map(|log| SignedCheckpoint::verify(&note, log).ok());
        signed.with_context(|| format!("{}: not signed by a log that this witness knows", path.display())).map(Some)
    }

    fn store(&self, checkpoint: &Checkpoint, name: &str, note: &str) -> anyhow::Result<()> {
        let file = format!("{}/{name}", Sha256::of(checkpoint.origin.as_bytes()));
        // Nothing that is sent later can take the evidence away.
        if name == FORK && self.root.join(&file).exists() {
            return Ok(());
        }
        replace(&self.root, &self.root.join(SCRATCH), &file, note.as_bytes())
    }
}
