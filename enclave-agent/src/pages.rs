//! What is at which path: three pages, and the place where sessions begin.

use std::sync::Arc;

use channel::{PATH, SUBPROTOCOL};
use hyper::body::{Body as _, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use crate::Phase;
use crate::boot::Stage;
use crate::readiness::Readiness;
use crate::server::{self, Page};
use crate::session;
use crate::socket::Socket;
use crate::websocket;

/// The pages, of which only what they say of readiness changes.
#[derive(Debug)]
pub(crate) struct Pages {
    boot: Option<Arc<str>>,
}

impl Pages {
    /// `boot` is `None` if the stages are not known.
    pub(crate) fn new(boot: Option<&[Stage]>) -> Self {
        Self { boot: boot.map(|stages| serde_json::json!({ "schema": 1, "stages": stages }).to_string().into()) }
    }

    /// The page at `path`.
    pub(crate) fn page(&self, path: &str, readiness: Readiness) -> Option<Page> {
        match (path, &self.boot) {
            ("/healthz", _) => Some((StatusCode::OK, "text/plain", "ok\n".into())),
            ("/boot", Some(boot)) => Some((StatusCode::OK, "application/json", Arc::clone(boot))),
            ("/readyz" | "/boot", _) => Some(ready(readiness)),
            _ => None,
        }
    }
}

fn ready(readiness: Readiness) -> Page {
    let ready = readiness == Readiness::Ready;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let text = serde_json::json!({ "schema": 1, "ready": ready, "reason": readiness.code() }).to_string();
    (status, "application/json", text.into())
}

/// The answer to a request on the port of sessions.
pub(crate) fn respond(
    mut request: Request<Incoming>,
    pages: &Pages,
    phase: &Phase,
    drain: &watch::Receiver<bool>,
) -> Response<String> {
    let uri = request.uri();
    let begins = uri.path() == PATH && uri.query().is_none() && request.method() == Method::GET;
    let begins = begins && request.body().is_end_stream();
    // Whoever begins no session is told this in its place, and at other paths what is there.
    let refuse = |page: Page| {
        let there = |path: &str| if path == PATH { Some(page) } else { pages.page(path, phase.readiness()) };
        server::answer(&request, there)
    };
    let Phase::Ready(agent) = phase else { return refuse(ready(phase.readiness())) };
    let Some(fields) = websocket::accept(request.headers()).filter(|_| begins) else {
        let text = format!("a WebSocket with {SUBPROTOCOL} only\n");
        return refuse((StatusCode::BAD_REQUEST, "text/plain", text.into()));
    };
    let Ok(place) = Arc::clone(&agent.sessions).try_acquire_owned() else {
        return refuse((StatusCode::SERVICE_UNAVAILABLE, "text/plain", "too many sessions\n".into()));
    };
    let mut response = Response::new(String::new());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().extend(fields);
    let (agent, drain) = (Arc::clone(agent), drain.clone());
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await
            && let Some(socket) = Socket::new(upgraded, agent.limits.send_time)
        {
            // What is left of HTTP is not kept for as long as a session.
            drop(request);
            session::serve(agent, socket, drain).await;
        }
        drop(place);
    });
    response
}
