//! Reading somebody's log, wherever it is, within a time that is given.

use super::directory::read;
use crate::tile::Tile;
use anyhow::{Context as _, ensure};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long one file may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// Where a log, or a copy of it, is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mirror {
    /// In a directory.
    Directory(PathBuf),
    /// Below an address.
    Url(String),
}

impl std::str::FromStr for Mirror {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = text.starts_with("https://") || text.starts_with("http://");
        Ok(if url { Self::Url(text.trim_end_matches('/').to_owned()) } else { Self::Directory(text.into()) })
    }
}

impl std::fmt::Display for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

/// A log that is being read. Nothing that comes from it has been verified.
pub(crate) struct Source<'a> {
    mirror: &'a Mirror,
    agent: ureq::Agent,
    deadline: Instant,
}

impl<'a> Source<'a> {
    /// The log there, for so long at most. Over the network a file may take [`PATIENCE`].
    #[expect(clippy::arithmetic_side_effects, reason = "the clock does not end")]
    pub(crate) fn new(mirror: &'a Mirror, patience: Duration) -> Self {
        Self { mirror, agent: agent(), deadline: Instant::now() + patience }
    }

    /// A file of the log, of at most `limit` bytes; `None` if there is no such file.
    pub(crate) fn get(&self, name: &str, limit: u64) -> anyhow::Result<Option<Vec<u8>>> {
        let reading = || format!("reading {}/{name}", self.mirror);
        let left = self.deadline.saturating_duration_since(Instant::now());
        ensure!(!left.is_zero(), "{}: the time is over", reading());
        match self.mirror {
            Mirror::Directory(root) => match read(&root.join(name), limit) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
                bytes => bytes.map(Some).with_context(reading),
            },
            Mirror::Url(url) => {
                let request = self.agent.get(format!("{url}/{name}")).config();
                let mut response =
                    request.timeout_global(Some(left.min(PATIENCE))).build().call().with_context(reading)?;
                let status = response.status().as_u16();
                ensure!(status == 200 || status == 404, "{}: status {status}", reading());
                let body = response.body_mut().with_config().limit(limit).read_to_vec().with_context(reading)?;
                Ok((status == 200).then_some(body))
            }
        }
    }

    /// A tile, or the full one that it is the beginning of: which of them, and its bytes.
    pub(crate) fn tile(&self, tile: Tile, limit: u64) -> anyhow::Result<(Tile, Vec<u8>)> {
        let found = match self.get(&tile.to_string(), limit)? {
            Some(bytes) => Some((tile, bytes)),
            None if tile.is_full() => None,
            None => self.get(&tile.full().to_string(), limit)?.map(|bytes| (tile.full(), bytes)),
        };
        found.with_context(|| format!("{} has no {tile}", self.mirror))
    }
}

pub(crate) fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        .tls_config(ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build())
        .user_agent("vitrine")
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build();
    config.into()
}
