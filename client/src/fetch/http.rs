//! One bounded answer over HTTP, asked for patiently.

use anyhow::bail;
use std::time::{Duration, Instant};
use ureq::http::header::{DATE, RETRY_AFTER};
use ureq::http::{HeaderMap, StatusCode};
use ureq::tls::{RootCerts, TlsConfig};

/// Redirects followed for one request.
const REDIRECTS: u32 = 3;

/// When to stop asking.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// How often one URL is asked at most.
    pub(crate) attempts: u32,
    /// Before the second attempt; twice as long before each further one.
    pub(crate) pause: Duration,
    /// For a connection, and for the first line of an answer.
    pub(crate) connect: Duration,
    /// For the next byte of an answer.
    pub(crate) stall: Duration,
    /// For everything that one [`Client`] does.
    pub(crate) total: Duration,
}

impl Patience {
    /// For a service that limits how often it is asked, over any network, but at most `total` altogether.
    pub(crate) fn with_total(total: Duration) -> Self {
        let seconds = Duration::from_secs;
        Self { attempts: 8, pause: Duration::from_millis(500), connect: seconds(15), stall: seconds(15), total }
    }
}

/// An HTTP client with our limits.
pub(crate) struct Client<'a> {
    agent: ureq::Agent,
    patience: Patience,
    deadline: Instant,
    say: &'a dyn Fn(&str),
}

/// What a server answered. Nothing vouches for it yet.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

/// Why one request did not deliver.
enum Refusal {
    /// Asking again changes nothing.
    Final(String),
    /// It may work next time, at the earliest after the time the server names.
    Later(String, Option<Duration>),
}

impl<'a> Client<'a> {
    /// A client that gives up as `patience` says, from now on, and tells `say` what it does.
    pub(crate) fn new(patience: Patience, say: &'a dyn Fn(&str)) -> Self {
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
        Self { agent: config.into(), patience, deadline: Instant::now() + patience.total, say }
    }

    /// What `url` answers, of at most `limit` bytes.
    pub(crate) fn get(&self, url: &str, limit: u64) -> anyhow::Result<Answer> {
        (self.say)(&format!("fetching {url}"));
        let mut pause = self.patience.pause;
        for attempt in 1.. {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!("{url}: no answer within {} s", self.patience.total.as_secs());
            }
            let (reason, named) = match self.ask(url, limit, left) {
                Ok(answer) => return Ok(answer),
                Err(Refusal::Final(reason)) => bail!("{url}: {reason}"),
                Err(Refusal::Later(reason, named)) => (reason, named),
            };
            if attempt == self.patience.attempts {
                bail!("{url}: {reason}, also at attempt {attempt}");
            }
            // Half of the pause is left to chance, so that many clients do not come back at one time.
            let wait = named.unwrap_or_default().max(pause.mul_f64(0.5 + fastrand::f64() / 2.0));
            if wait >= self.deadline.saturating_duration_since(Instant::now()) {
                let total = self.patience.total.as_secs();
                bail!("{url}: {reason}; to wait {:.1} s more would exceed {total} s in all", wait.as_secs_f64());
            }
            (self.say)(&format!("{url}: {reason}; again in {:.1} s", wait.as_secs_f64()));
            std::thread::sleep(wait);
            pause *= 2;
        }
        unreachable!("the loop has no end")
    }

    fn ask(&self, url: &str, limit: u64, left: Duration) -> Result<Answer, Refusal> {
        let request = self.agent.get(url).config().timeout_global(Some(left));
        // A redirect must not lead out of what was asked for.
        let request = request.https_only(url.starts_with("https://")).build();
        let mut response = request.call().map_err(Refusal::of)?;
        let status = response.status();
        if status != StatusCode::OK {
            let later = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT);
            return Err(match later || status.is_server_error() {
                true => Refusal::Later(format!("answered {status}"), named_pause(response.headers())),
                false => Refusal::Final(format!("answered {status}")),
            });
        }
        let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(Refusal::of)?;
        Ok(Answer { headers: response.headers().clone(), body })
    }
}

impl Refusal {
    fn of(error: ureq::Error) -> Self {
        use ureq::Error::{BodyStalled, ConnectionFailed, HostNotFound, Io, Protocol, Timeout};
        match error {
            // rustls hides inside of an I/O error what it thinks of the server's certificate.
            Io(error) if error.kind() == std::io::ErrorKind::InvalidData => Self::Final(error.to_string()),
            Io(_) | Timeout(_) | HostNotFound | ConnectionFailed | Protocol(_) | BodyStalled => {
                Self::Later(error.to_string(), None)
            }
            error => Self::Final(error.to_string()),
        }
    }
}

/// The pause that a server asks for (RFC 9110 section 10.2.3): seconds, or a date, which counts from the server's own.
fn named_pause(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name)?.to_str().ok();
    let after = text(RETRY_AFTER)?;
    match after.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let [from, until] = [text(DATE)?, after].map(httpdate::parse_http_date);
            until.ok()?.duration_since(from.ok()?).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch::server::{Reply, Server};
    use std::cell::RefCell;

    const LIMIT: u64 = 100;

    fn impatience() -> Patience {
        let (pause, time) = (Duration::from_millis(1), Duration::from_secs(30));
        Patience { attempts: 3, pause, connect: time, stall: time, total: time }
    }

    fn status(status: u16, headers: &str) -> Reply {
        Reply::Status(status, headers.to_owned())
    }

    fn then(first: Reply, then: Reply) -> Reply {
        Reply::First(Box::new(first), Box::new(then))
    }

    #[test]
    fn patience_with_what_may_pass_and_only_with_that() {
        let good = || Reply::File(b"good".to_vec(), String::new());
        let big = vec![b'x'; LIMIT as usize + 1];
        for (reply, expected, requests) in [
            (good(), "good", 1),
            (then(status(429, "Retry-After: 0\r\n"), good()), "good", 2),
            (then(status(503, ""), then(status(500, ""), good())), "good", 3),
            (then(Reply::Truncated(b"good".to_vec(), 2), good()), "good", 2),
            (then(Reply::Silent, good()), "good", 2),
            (then(Reply::Garbage, good()), "good", 2),
            (status(503, ""), "answered 503 Service Unavailable, also at attempt 3", 3),
            (status(404, ""), "answered 404 Not Found", 1),
            (status(204, ""), "answered 204 No Content", 1),
            (status(429, "Retry-After: 31\r\n"), "429 Too Many Requests; to wait 31.0 s more would exceed 30 s", 1),
            (
                status(503, "Date: Mon, 23 Nov 2026 23:59:59 GMT\r\nRetry-After: Tue, 24 Nov 2026 00:01:00 GMT\r\n"),
                "to wait 61.0 s more",
                1,
            ),
            (Reply::File(big.clone(), String::new()), "body", 1),
            (Reply::Unmeasured(big), "body", 1),
            (Reply::Redirect("/good".to_owned()), "good", 2),
            (Reply::Redirect("/asked".to_owned()), "too many redirects", 4),
        ] {
            let server = Server::new([("/asked", reply), ("/good", good())]);
            let said = RefCell::new(Vec::new());
            let say = |line: &str| said.borrow_mut().push(line.to_owned());
            let found = match Client::new(impatience(), &say).get(&format!("{}/asked", server.url), LIMIT) {
                Ok(answer) => String::from_utf8(answer.body).unwrap(),
                Err(error) => format!("{error:#}"),
            };
            assert!(found.contains(expected), "{found:?} for {expected:?}: {said:?}");
            assert_eq!(server.seen().len(), requests, "{expected}: {said:?}");
        }
    }

    #[test]
    fn a_server_that_stalls_is_left() {
        let good = || b"good".to_vec();
        let server = Server::new([("/asked", then(Reply::Stalled(good(), 2), Reply::File(good(), String::new())))]);
        // On a busy machine an honest server is left now and then, too.
        let patience = Patience { attempts: u32::MAX, stall: Duration::from_millis(300), ..impatience() };
        let found = Client::new(patience, &|_line| ()).get(&format!("{}/asked", server.url), LIMIT).unwrap();
        assert!(found.body == good() && server.seen().len() >= 2);
    }

    #[test]
    fn the_time_is_limited_as_a_whole() {
        let server = Server::new([("/asked", status(503, ""))]);
        let patience = Patience { attempts: u32::MAX, total: Duration::from_millis(50), ..impatience() };
        let error = Client::new(patience, &|_line| ()).get(&format!("{}/asked", server.url), LIMIT).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("would exceed") || error.contains("no answer within"), "{error}");
    }
}
