//! A chat completion: the call, and its reply as OpenAI's clients expect it, whole or as server-sent events.

use super::answers::{JSON, error, failed, trouble};
use super::http::{Answer, Connection};
use super::sessions::{Asked, Trouble};
use crate::host;
use crate::receipt::Signed;
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use channel::Outcome;
use openai::{Call, Piece, Route};
use openai::{Completion, Finish, Usage};
use serde_json::{Value, json};
use std::io;
use std::ops::ControlFlow;

/// The type of server-sent events.
const EVENTS: &str = "text/event-stream; charset=utf-8";

/// What takes a reply: each piece of it, and nothing while there is nothing, until it breaks.
pub(super) type Each<'a> = &'a mut dyn FnMut(Option<Piece>) -> ControlFlow<()>;

/// What the form of the answer depends on. What a body may be is for the guest to say; what this cannot read, it refuses.
#[derive(Default, serde::Deserialize)]
struct Wish {
    /// Told back.
    #[serde(default)]
    model: String,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
}

#[derive(serde::Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

/// A reply that is being received, and the client that waits for it.
struct Reply<'a> {
    client: &'a mut Connection,
    /// Whether the client sends another request afterwards.
    keep: bool,
    completion: Completion,
    /// Whether each piece goes on at once, and whether the client has the head of the answer already.
    streamed: bool,
    begun: bool,
    gone: bool,
    text: String,
    done: Option<(Finish, Usage)>,
    receipt: Option<Vec<u8>>,
    /// What the guest said instead of an answer, or of the rest of it.
    instead: Option<Answer>,
}

/// Answers a client that has sent `body`; says whether the connection can be used again.
///
/// # Errors
/// When the client is gone.
pub(super) fn answer(
    client: &mut Connection,
    body: Vec<u8>,
    receipt: bool,
    keep: bool,
    ask: impl FnOnce(&Call, Each<'_>) -> Result<Asked, Trouble>,
) -> io::Result<bool> {
    let wish: Wish = serde_json::from_slice(&body).unwrap_or_else(|_refused_by_the_guest| Wish::default());
    let (id, created) = (host::random::<16>(), host::now());
    let (Ok(salt), Ok(id), Ok(created)) = (receipt.then(host::random::<32>).transpose(), id, created) else {
        client.answer(&error(500, "server_error", "this machine has no randomness or no time"), keep)?;
        return Ok(keep);
    };
    let completion = Completion {
        id: format!("chatcmpl-{}", Base64UrlUnpadded::encode_string(&id)),
        created: created.0,
        model: wish.model,
    };
    let streamed = wish.stream == Some(true);
    let usage = wish.stream_options.and_then(|options| options.include_usage) == Some(true);
    let call = Call { route: Route::Chat, salt, body };
    let (text, done, receipt, instead) = (String::new(), None, None, None);
    let mut reply =
        Reply { client, keep, completion, streamed, begun: false, gone: false, text, done, receipt, instead };
    let asked = ask(&call, &mut |piece| reply.take(piece));
    reply.finish(&call, usage, asked)
}

impl Reply<'_> {
    /// Takes the next piece, if there is one; breaks when there is nobody to take it for.
    fn take(&mut self, piece: Option<Piece>) -> ControlFlow<()> {
        match piece {
            None => {}
            Some(Piece::Text(text)) => {
                if self.streamed {
                    let event = self.completion.text(&text);
                    self.gone = self.send(&[event]).is_err();
                }
                self.text += &text;
            }
            Some(Piece::Done(finish, usage)) => self.done = Some((finish, usage)),
            Some(Piece::Receipt(receipt)) => self.receipt = Some(receipt),
            Some(Piece::Refused(body)) => {
                self.instead = Some(Answer { status: 400, content_type: JSON, field: None, body });
            }
            Some(Piece::Failed(failure)) => self.instead = Some(failed(failure)),
            Some(Piece::Busy) => self.instead = Some(trouble(&Trouble::Busy)),
            Some(Piece::Models(_)) => self.instead = Some(trouble(&Trouble::Broken)),
        }
        self.gone |= self.client.gone();
        if self.gone { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// Sends events, after the head and the event that begins an answer if they have not been sent.
    fn send(&mut self, events: &[Vec<u8>]) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut event = |json: &[u8]| bytes.extend([b"data: ", json, b"\n\n"].concat());
        if !self.begun {
            self.client.begin(EVENTS, self.keep)?;
            self.begun = true;
            event(&self.completion.begin());
        }
        events.iter().for_each(|json| event(json));
        self.client.piece(&bytes)
    }

    /// Tells the client how it ended. An answer that is not whole has another end than one that is.
    fn finish(mut self, call: &Call, usage: bool, asked: Result<Asked, Trouble>) -> io::Result<bool> {
        if self.gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let asked = match asked {
            Ok(asked) => asked,
            Err(why) => return self.fail(&trouble(&why)),
        };
        if let Some(instead) = self.instead.take() {
            return self.fail(&instead);
        }
        let (Outcome::Complete, Some((finish, counts))) = (asked.outcome, self.done) else {
            return self.fail(&trouble(&Trouble::Broken));
        };
        let receipt = match self.receipt(call, &asked) {
            Ok(receipt) => receipt,
            Err(refused) => return self.fail(&refused),
        };
        if !self.streamed {
            let mut body = self.completion.whole(&self.text, finish, counts);
            if let Some(receipt) = receipt {
                body = with_receipt(&body, receipt)?;
            }
            self.client.answer(&Answer { status: 200, content_type: JSON, field: None, body }, self.keep)?;
            return Ok(self.keep);
        }
        let mut events = vec![self.completion.end(finish)];
        events.extend(usage.then(|| self.completion.usage(counts)));
        if let Some(receipt) = receipt {
            let mut body: Value = serde_json::from_slice(&self.completion.usage(counts))?;
            body.as_object_mut().map(|object| object.remove("usage"));
            events.push(with_receipt(body.to_string().as_bytes(), receipt)?);
        }
        events.push(b"[DONE]".to_vec());
        self.send(&events)?;
        self.client.end()?;
        Ok(self.keep)
    }

    /// The receipt, if one was asked for. It must be the guest's, and about this.
    fn receipt(&self, call: &Call, asked: &Asked) -> Result<Option<Value>, Answer> {
        let Some(salt) = &call.salt else { return Ok(None) };
        let bad = |what| error(502, "server_error", what);
        let signed = self.receipt.as_deref().ok_or_else(|| bad("the guest gave no receipt"))?;
        let statement = asked.signer.statement.to_bytes();
        let verified = Signed { receipt: signed, salt, body: &call.body, answer: &self.text }.verify(&asked.signer);
        let (Ok(()), Ok(statement)) = (verified, statement) else {
            return Err(bad("the guest's receipt is for something else"));
        };
        let [receipt, salt, statement] = [signed, salt, &statement].map(Base64::encode_string);
        Ok(Some(json!({ "receipt": receipt, "salt": salt, "key_statement": statement })))
    }

    /// Answers with an error; if there is a part of an answer already, with an event of it and no end.
    fn fail(self, answer: &Answer) -> io::Result<bool> {
        if self.begun {
            self.client.piece(&[b"data: ", answer.body.as_slice(), b"\n\n"].concat())?;
            return Ok(false);
        }
        self.client.answer(answer, self.keep)?;
        Ok(self.keep)
    }
}

/// `object` with one more member.
fn with_receipt(object: &[u8], receipt: Value) -> io::Result<Vec<u8>> {
    let mut object: Value = serde_json::from_slice(object)?;
    object["vitrine_receipt"] = receipt;
    Ok(object.to_string().into_bytes())
}
