//! What is answered to whom.

use super::answers::{error, found, trouble};
use super::guard::Token;
use super::http::{Answer, Connection, Head, Unread};
use super::sessions::{Sessions, Trouble};
use super::{CHAT, HEALTH, MODELS, RECEIPT, chat};
use channel::Outcome;
use openai::MAX_BODY;
use openai::{Call, Piece, Route};
use std::io;
use std::net::{TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

/// Clients at a time; further ones are turned away.
pub(super) const MAX_CONNECTIONS: usize = 64;
/// After a failure to accept a connection, which is a lack of something that others give back.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What every connection needs.
pub(super) struct Server {
    pub(super) token: Token,
    pub(super) sessions: Arc<Sessions>,
}

/// Serves whoever connects, for as long as the process lives.
pub(super) fn accept(listener: &TcpListener, server: Server) {
    let server = Arc::new(server);
    loop {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        // Each connection has one, and this loop.
        if Arc::strong_count(&server) > MAX_CONNECTIONS {
            continue;
        }
        let server = Arc::clone(&server);
        // A client that goes away, is too slow or gets no thread concerns nobody else.
        let _unserved = std::thread::Builder::new().spawn(move || server.serve(stream));
    }
}

impl Server {
    fn serve(&self, stream: TcpStream) {
        let Ok(mut client) = Connection::new(stream) else { return };
        loop {
            let more = match client.head() {
                Ok(head) => self.answer(&mut client, &head),
                Err(unread) => refuse(&mut client, unread),
            };
            match more {
                Ok(true) => {}
                Ok(false) => return client.close(),
                Err(_gone) => return,
            }
        }
    }

    /// Answers a request; says whether there can be another on this connection.
    fn answer(&self, client: &mut Connection, head: &Head) -> io::Result<bool> {
        let _work = self.sessions.work();
        let refusal = |status, message| error(status, "invalid_request_error", message);
        if let Some((status, message)) = self.token.refuses(head, client.local()?) {
            return whole(client, head, &refusal(status, message));
        }
        if head.path != HEALTH {
            client.trust();
        }
        let receipt = match head.one(RECEIPT) {
            None if head.all(RECEIPT).next().is_none() => false,
            Some(b"1") => true,
            _ => return whole(client, head, &refusal(400, "X-Vitrine-Receipt: expected 1")),
        };
        let too_large = |limit: usize| head.length > limit as u64;
        let (method, path) = (head.method.as_str(), head.path.as_str());
        let answer = match (method, path) {
            ("POST", CHAT) if too_large(MAX_BODY) => refusal(413, "expected a body of at most 256 KiB"),
            ("GET", HEALTH | MODELS) if too_large(0) => refusal(413, "expected no body"),
            ("POST", CHAT) => {
                let body = match client.body(head) {
                    Ok(body) => body,
                    Err(unread) => return refuse(client, unread),
                };
                return chat::answer(client, body, receipt, head.keep, |call, each| self.sessions.ask(call, each));
            }
            ("GET", HEALTH) => Answer { status: 200, content_type: "text/plain", field: None, body: b"ok\n".to_vec() },
            ("GET", MODELS) => self.models(),
            (_, HEALTH | MODELS) => Answer { field: Some(("Allow", "GET")), ..refusal(405, "expected GET") },
            (_, CHAT) => Answer { field: Some(("Allow", "POST")), ..refusal(405, "expected POST") },
            _ => refusal(404, "there are /v1/models and /v1/chat/completions"),
        };
        whole(client, head, &answer)
    }

    fn models(&self) -> Answer {
        let call = Call { route: Route::Models, salt: None, body: Vec::new() };
        let mut answer = None;
        let asked = self.sessions.ask(&call, &mut |piece| {
            match piece {
                Some(Piece::Models(json)) => answer = Some(found(json)),
                Some(Piece::Busy) => answer = Some(trouble(&Trouble::Busy)),
                _ => {}
            }
            ControlFlow::Continue(())
        });
        match (asked, answer) {
            (Ok(asked), Some(answer)) if asked.outcome == Outcome::Complete => answer,
            (Ok(_), _) => trouble(&Trouble::Broken),
            (Err(why), _) => trouble(&why),
        }
    }
}

/// Sends a whole answer to a request whose body was not read. If it has one, nothing can follow it, and neither can
/// anything follow an answer to HEAD, which is to have no body, or to a stranger.
fn whole(client: &mut Connection, head: &Head, answer: &Answer) -> io::Result<bool> {
    let keep = client.trusted() && head.keep && head.length == 0 && head.method != "HEAD";
    client.answer(answer, keep)?;
    Ok(keep)
}

fn refuse(client: &mut Connection, unread: Unread) -> io::Result<bool> {
    let Unread::Refused(status, message) = unread else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    client.answer(&error(status, "invalid_request_error", message), false)?;
    Ok(false)
}
