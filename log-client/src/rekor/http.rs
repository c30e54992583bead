//! Asks a log over HTTP.

use super::publish::{Request, Response};
use std::io;
use std::time::Duration;
use ureq::tls::{RootCerts, TlsConfig};

/// How long one exchange may take. Rekor v2 answers when a checkpoint covers the entry, by default every 10 s.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A client that follows no redirect.
pub struct Http {
    agent: ureq::Agent,
}

impl Http {
    /// A client that trusts the certificates which the system trusts.
    pub fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent("vitrine")
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            .build();
        Self { agent: config.into() }
    }

    /// Asks, once.
    ///
    /// # Errors
    /// When there is no answer, or a longer one than the request allows.
    pub fn exchange(&self, request: &Request) -> io::Result<Response> {
        let asked = match &request.body {
            Some(body) => self.agent.post(&request.url).header("content-type", "application/json").send(body),
            None => self.agent.get(&request.url).call(),
        };
        let mut response = asked.map_err(io::Error::other)?;
        let log_index = response.headers().get("x-log-index").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let limit = u64::try_from(request.limit).unwrap_or(u64::MAX);
        let body = response.body_mut().with_config().limit(limit).read_to_vec().map_err(io::Error::other)?;
        Ok(Response { status: response.status().as_u16(), log_index, body })
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}
