//! HTTP on a passed socket: a few pages, one request per connection, bounded in every direction.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::limits::Limits;
use crate::log::{self, Event};
use crate::metrics::{Metrics, Seen};

/// Bytes of a request's head; the smallest limit that hyper has.
const HEAD_BYTES: usize = 8192;
/// Header fields of a request.
const HEAD_FIELDS: usize = 32;
/// Pause after a failed accept, which is a lack of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An answer: its status, what it is, and itself.
pub(crate) type Page = (StatusCode, &'static str, Arc<str>);

/// The answer to a request for one of the pages.
pub(crate) fn answer(request: &Request<Incoming>, page: impl FnOnce(&str) -> Option<Page>) -> Response<String> {
    let uri = request.uri();
    let found = if uri.query().is_some() { None } else { page(uri.path()) };
    let (status, kind, text) = match &found {
        _ if !request.body().is_end_stream() => (StatusCode::PAYLOAD_TOO_LARGE, "text/plain", "no body\n"),
        None => (StatusCode::NOT_FOUND, "text/plain", "not found\n"),
        Some(_) if request.method() != Method::GET => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n"),
        Some((status, kind, text)) => (*status, *kind, &**text),
    };
    let mut response = Response::new(text.to_owned());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // And there is no other request. To say so to hyper would keep connections from becoming sessions.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}

/// Answers requests with `respond` until `stop` completes, then lets running connections end. What is refused is counted.
pub(crate) async fn run(
    listener: TcpListener,
    respond: impl Fn(Request<Incoming>) -> Response<String> + Send + Sync + 'static,
    metrics: &Arc<Metrics>,
    stop: impl Future<Output = ()>,
    limits: &Limits,
) {
    let Limits { connections, connection_time, head_time, connection_drain, .. } = *limits;
    let (respond, slots) = (Arc::new(respond), Arc::new(Semaphore::new(connections as usize)));
    let mut stop = pin!(stop);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut stop => break,
            next = next => next,
        };
        match (slot, accepted) {
            (Ok(slot), Ok((stream, _))) => {
                let (respond, metrics) = (Arc::clone(&respond), Arc::clone(metrics));
                tokio::spawn(async move {
                    let respond = |request| {
                        let response = respond(request);
                        if response.status().is_client_error() {
                            metrics.seen(Seen::RejectedHttp);
                        }
                        response
                    };
                    // A connection that breaks or is too slow just ends.
                    let ended = timeout(connection_time, connection(stream, head_time, &respond)).await;
                    if ended.is_ok_and(|ended| ended.is_err_and(|error| error.is_parse())) {
                        metrics.seen(Seen::RejectedHttp);
                    }
                    drop(slot);
                });
            }
            _ => {
                log::write(Event::AcceptFailed);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = timeout(connection_drain, slots.acquire_many(connections)).await;
}

async fn connection(
    stream: TcpStream,
    head_time: Duration,
    respond: &(impl Fn(Request<Incoming>) -> Response<String> + Sync),
) -> hyper::Result<()> {
    // A paced message is due when it is due.
    let _ = stream.set_nodelay(true);
    let service = service_fn(async |request| Ok::<_, Infallible>(respond(request)));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read as _, Write as _};
    use std::net::{SocketAddr, TcpStream};
    use std::thread;
    use std::time::Instant;

    use tokio::sync::oneshot;

    use super::*;
    use crate::pages::Pages;
    use crate::readiness::Readiness;

    /// For what must happen, on however busy a machine; what must not happen would take twice as long.
    const PATIENCE: Duration = Duration::from_secs(60);
    const PATIENT: Limits = Limits {
        connection_time: Duration::from_secs(120),
        head_time: Duration::from_secs(120),
        connection_drain: Duration::from_secs(120),
        ..Limits::GUEST
    };

    /// Runs the server on a free port while `client` runs; gives what that returns once the server has ended.
    fn with_server<T: Send + 'static>(
        readiness: Readiness,
        limits: &Limits,
        client: impl FnOnce(SocketAddr, oneshot::Sender<()>) -> T + Send + 'static,
    ) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let at = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel();
            let client = thread::spawn(move || client(at, stop));
            let pages = Pages::new((readiness == Readiness::Ready).then_some(&[]));
            let respond = move |request: Request<Incoming>| answer(&request, |path| pages.page(path, readiness));
            run(listener, respond, &Metrics::new(&[], None), async { drop(stopped.await) }, limits).await;
            client.join().unwrap()
        })
    }

    fn connect(at: SocketAddr) -> TcpStream {
        let stream = TcpStream::connect(at).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// All that the server sends in answer to `request`, until it closes the connection.
    fn ask(at: SocketAddr, request: &str) -> String {
        let mut stream = connect(at);
        // The server may close before it has read all of a request that it refuses.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8(answer).unwrap()
    }

    fn status_and_body(readiness: Readiness, request: String) -> (String, String) {
        let answer = with_server(readiness, &PATIENT, move |at, _stop| ask(at, &request));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or("").trim_start_matches("HTTP/1.1 ");
        (status.split(' ').next().unwrap_or("").to_owned(), body.to_owned())
    }

    #[test]
    fn pages_and_refusals() {
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        let fields: String = (0..=HEAD_FIELDS).map(|n| format!("x{n}: 1\r\n")).collect();
        let ready = r#"{"ready":true,"reason":"ready","schema":1}"#;
        let not_ready = r#"{"ready":false,"reason":"egress_open","schema":1}"#;
        for (readiness, request, status, body) in [
            (Readiness::Ready, get("/healthz"), "200", "ok\n"),
            (Readiness::Ready, get("/readyz"), "200", ready),
            (Readiness::Ready, get("/boot"), "200", r#"{"schema":1,"stages":[]}"#),
            (Readiness::EgressOpen, get("/healthz"), "200", "ok\n"),
            (Readiness::EgressOpen, get("/readyz"), "503", not_ready),
            (Readiness::EgressOpen, get("/boot"), "503", not_ready),
            (Readiness::Ready, get("/"), "404", "not found\n"),
            (Readiness::Ready, get("/readyz/"), "404", "not found\n"),
            (Readiness::Ready, get("/readyz?x"), "404", "not found\n"),
            (Readiness::Ready, get("/readyz").replace("GET", "POST"), "405", "GET only\n"),
            (Readiness::Ready, get("/readyz").replace("GET", "HEAD"), "405", ""),
            (Readiness::Ready, get("/other").replace("GET", "POST"), "404", "not found\n"),
            (Readiness::Ready, get("/healthz").replace("Host: x", "Content-Length: 1"), "413", "no body\n"),
            (Readiness::Ready, get("/healthz").replace("Host: x", "Transfer-Encoding: chunked"), "413", "no body\n"),
            (
                Readiness::Ready,
                get("/healthz").replace("Host: x", &format!("x: {}", "y".repeat(HEAD_BYTES))),
                "431",
                "",
            ),
            (Readiness::Ready, get("/healthz").replace("Host: x\r\n", &fields), "431", ""),
            (Readiness::Ready, get(&format!("/{}", "y".repeat(2 * HEAD_BYTES))), "431", ""),
            (Readiness::Ready, "nonsense\r\n\r\n".into(), "400", ""),
        ] {
            let first_line = request.lines().next().unwrap_or("").to_owned();
            let found = status_and_body(readiness, request);
            assert_eq!(found, (status.into(), body.into()), "{}", &first_line[..first_line.len().min(60)]);
        }
    }

    #[test]
    fn one_request_per_connection_and_no_clock() {
        let twice = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2);
        let answer = with_server(Readiness::Ready, &PATIENT, move |at, _stop| ask(at, &twice));
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(answer.contains("connection: close") && !answer.contains("date:"), "{answer}");
    }

    /// A connection that has been accepted, on which half a request was sent.
    fn begin_to_ask(at: SocketAddr) -> TcpStream {
        let mut stream = connect(at);
        stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
        // One after the other: who comes later is answered, so this one was taken.
        assert!(ask(at, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
        stream
    }

    fn rest(stream: &mut TcpStream) -> io::Result<String> {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map(|_| answer)
    }

    #[test]
    fn slow_clients_are_cut_off() {
        let soon = Duration::from_millis(50);
        for limits in [Limits { head_time: soon, ..PATIENT }, Limits { connection_time: soon, ..PATIENT }] {
            let answer = with_server(Readiness::Ready, &limits, |at, _stop| {
                let mut stream = connect(at);
                stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
                rest(&mut stream)
            });
            // What is unread when it closes the connection makes that an error.
            assert!(
                answer.as_ref().map_or_else(|error| error.kind() == io::ErrorKind::ConnectionReset, String::is_empty),
                "{answer:?}"
            );
        }
    }

    #[test]
    fn connections_are_limited() {
        let limits = Limits { connections: 3, ..PATIENT };
        let (early, answer) = with_server(Readiness::Ready, &limits, |at, _stop| {
            let idle: Vec<_> = (0..3).map(|_| connect(at)).collect();
            let mut next = connect(at);
            next.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").unwrap();
            next.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            let early = next.read(&mut [0]).map_err(|error| error.kind());
            // It is answered when one of them has gone.
            drop(idle);
            next.set_read_timeout(Some(PATIENCE)).unwrap();
            (early, rest(&mut next).unwrap())
        });
        assert_eq!(early, Err(io::ErrorKind::WouldBlock));
        assert!(answer.ends_with("ok\n"), "{answer}");
    }

    #[test]
    fn stopping_waits_for_connections_but_not_long() {
        let answer = with_server(Readiness::Ready, &PATIENT, |at, stop| {
            let mut running = begin_to_ask(at);
            stop.send(()).unwrap();
            let begin = Instant::now();
            while TcpStream::connect(at).is_ok() {
                assert!(begin.elapsed() < PATIENCE, "there are still new connections");
            }
            running.write_all(b"\r\n").unwrap();
            rest(&mut running).unwrap()
        });
        assert!(answer.ends_with("ok\n"), "{answer}");

        // Whoever does not end is not waited for: the server has ended, which it did not for their sake.
        let limits = Limits { connection_drain: Duration::from_millis(50), ..PATIENT };
        let begin = Instant::now();
        let mut idle = with_server(Readiness::Ready, &limits, |at, stop| {
            let idle = begin_to_ask(at);
            stop.send(()).unwrap();
            idle
        });
        assert!(begin.elapsed() < PATIENCE && rest(&mut idle).unwrap().is_empty());
    }
}
