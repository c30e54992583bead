//! A call and its reply, from the content of a request to the pieces.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use channel::MAX_REPLY;
use channel::receipt::{Receipt, Sampling, answer_hash, request_hash};
use channel::server::Identity;
use measure::verity::VerityRoot;
use measure::{Sha256, Sha384};
use openai::call::{Call, Malformed, Piece, Route};
use openai::{Failure, Finish, Frame, MAX_COMPLETION, Refusal, Request, Usage};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::identity::random;
use crate::workers::{Worker, Workers};

/// Bytes that a piece takes beside its content, while it waits to be written into the reply.
const EACH_PIECE: usize = 64;

/// The model that is served.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    /// Its name in the API.
    pub(crate) name: String,
    /// The root of its disk.
    pub(crate) root: VerityRoot,
}

/// What signs the receipts of a session, and says whose they are.
#[derive(Clone)]
pub(crate) struct Signer {
    /// The keys that the session began with.
    pub(crate) identity: Arc<Identity>,
    /// The guest's measurement.
    pub(crate) measurement: Sha384,
}

/// A reply that is being made. When it is dropped, its worker is.
pub(crate) struct Reply {
    pieces: mpsc::UnboundedReceiver<Piece>,
    _work: JoinSet<()>,
    /// Bytes of the call, once as it is understood and once as a worker is given it.
    call: usize,
    /// Whether the answer is kept to its end, for a receipt.
    receipt: bool,
    told: Arc<AtomicUsize>,
}

/// Where pieces of a reply go, at once: whoever reads slowly holds what was said, and not the worker who said it.
struct Teller {
    pieces: mpsc::UnboundedSender<Piece>,
    /// Bytes of all of them, at most [`MAX_REPLY`].
    told: Arc<AtomicUsize>,
}

impl Reply {
    /// Begins the reply to a request with this content.
    ///
    /// # Errors
    /// When it is not a call.
    pub(crate) fn begin(
        content: &[u8],
        model: &Arc<Model>,
        workers: &Arc<Workers>,
        signer: &Signer,
    ) -> Result<Self, Malformed> {
        let call = Call::parse(content)?;
        let receipt = call.salt.is_some();
        let (sender, pieces) = mpsc::unbounded_channel();
        let told = Arc::new(AtomicUsize::new(0));
        let teller = Teller { pieces: sender, told: Arc::clone(&told) };
        let answer = answer(call, Arc::clone(model), Arc::clone(workers), signer.clone(), teller);
        let mut work = JoinSet::new();
        work.spawn(async move {
            // That nobody listens any more is no failure.
            let _ = answer.await;
        });
        Ok(Self { pieces, _work: work, call: content.len().saturating_mul(2), receipt, told })
    }

    /// Bytes that it holds: of the call, of what was answered and may wait to be sent, and of the same for a receipt.
    pub(crate) fn held(&self) -> usize {
        let told = self.told.load(Ordering::Relaxed);
        self.call.saturating_add(told).saturating_add(if self.receipt { told } else { 0 })
    }

    /// The next piece; `None` when it was the last.
    pub(crate) async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }
}

/// Nobody wants the rest.
struct Unwanted;

fn tell(to: &Teller, piece: Piece) -> Result<(), Unwanted> {
    let size = match &piece {
        Piece::Text(text) => text.len(),
        Piece::Receipt(bytes) | Piece::Models(bytes) | Piece::Refused(bytes) => bytes.len(),
        Piece::Done(..) | Piece::Failed(_) | Piece::Busy => 0,
    };
    let told = to.told.fetch_add(size.saturating_add(EACH_PIECE), Ordering::Relaxed);
    if told > MAX_REPLY {
        let _ = to.pieces.send(Piece::Failed(Failure::Engine));
        return Err(Unwanted);
    }
    to.pieces.send(piece).map_err(|_| Unwanted)
}

async fn answer(
    call: Call,
    model: Arc<Model>,
    workers: Arc<Workers>,
    signer: Signer,
    pieces: Teller,
) -> Result<(), Unwanted> {
    if call.route == Route::Models {
        return tell(&pieces, Piece::Models(openai::models(&model.name)));
    }
    let mut request = match Request::parse(&call.body).and_then(|request| served(request, &model.name)) {
        Ok(request) => request,
        Err(refusal) => return tell(&pieces, Piece::Refused(refusal.to_json())),
    };
    let Ok(sampling) = settle(&mut request) else { return tell(&pieces, Piece::Failed(Failure::Engine)) };
    let receipt = call.salt.map(|salt| Pending {
        salt,
        request: request_hash(&salt, &call.body),
        answer: String::new(),
        model: model.root,
        sampling,
    });
    drop(call);
    let Some(worker) = workers.take().await else { return tell(&pieces, Piece::Busy) };
    converse(worker, &request, receipt, &signer, &pieces).await
}

async fn converse(
    mut worker: Worker,
    request: &Request,
    mut receipt: Option<Pending>,
    signer: &Signer,
    pieces: &Teller,
) -> Result<(), Unwanted> {
    let mut said = worker.ask(request).await.map(|()| None);
    loop {
        match said {
            Ok(None) => {}
            Ok(Some(Frame::Text(text))) => {
                if let Some(receipt) = &mut receipt {
                    receipt.answer.push_str(&text);
                }
                tell(pieces, Piece::Text(text))?;
            }
            Ok(Some(Frame::Done(finish, usage))) => {
                drop(worker);
                return done(finish, usage, receipt, signer, pieces).await;
            }
            Ok(Some(Frame::Failed(failure))) => return tell(pieces, Piece::Failed(failure)),
            Ok(Some(Frame::Ready)) | Err(_) => return tell(pieces, Piece::Failed(Failure::Engine)),
        }
        said = worker.next().await.map(Some);
    }
}

async fn done(
    finish: Finish,
    usage: Usage,
    receipt: Option<Pending>,
    signer: &Signer,
    pieces: &Teller,
) -> Result<(), Unwanted> {
    tell(pieces, Piece::Done(finish, usage))?;
    match receipt.and_then(|receipt| receipt.sign(signer)) {
        Some(receipt) => tell(pieces, Piece::Receipt(receipt)),
        None => Ok(()),
    }
}

/// The request, if it is for the model that there is.
fn served(request: Request, model: &str) -> Result<Request, Refusal> {
    if request.model == model { Ok(request) } else { Err(Refusal::unknown_model(&request.model)) }
}

/// Decides what the request leaves open, and says what decides the answer.
fn settle(request: &mut Request) -> io::Result<Sampling> {
    if request.temperature > 0.0 && request.seed.is_none() {
        // Half of them: the highest is no seed.
        request.seed = Some(u32::from_le_bytes(random()?) >> 1);
    }
    Ok(Sampling {
        temperature: request.temperature.to_bits(),
        top_p: request.top_p.to_bits(),
        seed: request.seed.unwrap_or(0).into(),
        max_tokens: request.max_tokens.unwrap_or(MAX_COMPLETION).into(),
    })
}

/// A receipt whose answer is not whole yet.
struct Pending {
    salt: [u8; 32],
    request: Sha256,
    answer: String,
    model: VerityRoot,
    sampling: Sampling,
}

impl Pending {
    fn sign(self, signer: &Signer) -> Option<Vec<u8>> {
        let receipt = Receipt {
            statement: signer.identity.statement_digest(),
            measurement: signer.measurement,
            model: self.model,
            request: self.request,
            answer: answer_hash(&self.salt, self.answer.as_bytes()),
            sampling: self.sampling,
        };
        receipt.sign(&signer.identity).ok()
    }
}
