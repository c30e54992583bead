//! Who may use the endpoint: programs of this user that were given the token. A page in a browser may not, whatever it
//! was told, nor one whose name was made to mean this machine (DNS rebinding).

use super::http::Head;
use crate::{files, host};
use anyhow::{Context as _, ensure};
use base64ct::{Base64UrlUnpadded, Encoding as _};
use nix::unistd::Uid;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use subtle::ConstantTimeEq as _;

/// Bytes of a token from a file: as many as make it as hard to guess as a key, and a limit.
const TOKEN: std::ops::RangeInclusive<usize> = 24..=256;

/// What a client must show.
pub(super) struct Token(String);

/// Why a request is not answered: status and text.
pub(super) type Refusal = (u16, &'static str);

impl Token {
    /// A new one.
    pub(super) fn generate() -> anyhow::Result<Self> {
        Ok(Self(format!("vitrine-{}", Base64UrlUnpadded::encode_string(&host::random::<32>()?))))
    }

    /// The one that a file holds in its one line. Nobody else may be able to read or write the file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        Self::read_as(path, Uid::effective())
    }

    /// The same of the user `me`.
    pub(super) fn read_as(path: &Path, me: Uid) -> anyhow::Result<Self> {
        let shown = path.display();
        let reading = || format!("reading {shown}");
        let file = files::open(path).with_context(reading)?;
        // Of what is read, not of what is there by then.
        let metadata = file.metadata().with_context(reading)?;
        let (owner, mode) = (metadata.uid(), metadata.permissions().mode());
        ensure!(owner == me.as_raw(), "{shown}: expected a file of user {me}, found one of user {owner}");
        ensure!(mode & 0o077 == 0, "{shown}: others may open it (mode {:03o}); `chmod 600 {shown}`", mode & 0o777);
        let text = files::read_all(file, *TOKEN.end() as u64 + 1).with_context(reading)?;
        let token = text.strip_suffix(b"\n").unwrap_or(&text);
        let visible = token.iter().all(u8::is_ascii_graphic) && TOKEN.contains(&token.len());
        let token = String::from_utf8(token.to_vec()).ok().filter(|_| visible);
        let (least, most) = (TOKEN.start(), TOKEN.end());
        Ok(Self(
            token
                .with_context(|| format!("{shown}: expected one line of {least} to {most} visible ASCII characters"))?,
        ))
    }

    /// What is to be told to the user, once.
    pub(super) fn show(&self) -> &str {
        &self.0
    }

    /// Why a request that came to the address `at` is refused; `None` if it is not.
    pub(super) fn refuses(&self, head: &Head, at: SocketAddr) -> Option<Refusal> {
        if !head.one("host").is_some_and(|host| names(host, at)) {
            return Some((421, "Host: expected the address that `vitrine connect` listens on"));
        }
        if head.all("origin").next().is_some() || head.method == "OPTIONS" {
            return Some((403, "no page may use this endpoint: expected no Origin"));
        }
        if head.path == super::HEALTH {
            return None;
        }
        let bearer = head.one("authorization").and_then(bearer);
        if !bearer.is_some_and(|found| found.ct_eq(self.0.as_bytes()).into()) {
            return Some((401, "Authorization: expected Bearer and the token of `vitrine connect`"));
        }
        None
    }
}

/// Whether a `Host` means the address `at` itself, and not a name that leads to it.
fn names(host: &[u8], at: SocketAddr) -> bool {
    let Ok(host) = str::from_utf8(host) else { return false };
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    let address = match at {
        SocketAddr::V4(at) => at.ip().to_string(),
        SocketAddr::V6(at) => format!("[{}]", at.ip()),
    };
    let local = at.ip().is_loopback() && name.eq_ignore_ascii_case("localhost");
    port == at.port().to_string() && (local || name.eq_ignore_ascii_case(&address))
}

/// What follows the scheme `Bearer`.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}
