//! Which logs there are and which keys they have: files from whoever runs them. Nothing of it is compiled in.

use crate::base64;
use crate::note::{SignatureType, VerifierKey};
use measure::Sha256;
use measure::appraise::Time;
use measure::digest::Hex;
use serde::Deserialize;

/// Longest SigningConfig or TrustedRoot, in bytes.
pub const MAX_CONFIG: usize = 1 << 20;
/// Most logs, old ones included.
const MAX_LOGS: usize = 256;

const SIGNING_CONFIG: &str = "application/vnd.dev.sigstore.signingconfig.v0.2+json";
const TRUSTED_ROOT: [&str; 2] =
    ["application/vnd.dev.sigstore.trustedroot+json;version=0.1", "application/vnd.dev.sigstore.trustedroot.v0.1+json"];
/// A SubjectPublicKeyInfo of Ed25519 (RFC 8410) is this and the 32 bytes of the key.
const ED25519_SPKI: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The logs whose checkpoints count (Sigstore TrustedRoot v0.1); certificate authorities and the like are not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedRoot {
    logs: Vec<TransparencyLog>,
}

/// A log that a trusted root names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransparencyLog {
    /// SHA-256 by which entries name the log: C2SP's key id in full.
    pub id: Sha256,
    /// The key of its checkpoints; its name is the log's origin.
    pub key: VerifierKey,
}

/// Where to submit (Sigstore SigningConfig v0.2); only the logs are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningConfig {
    /// The logs, in the file's order.
    pub logs: Vec<Service>,
}

/// A log that takes submissions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its address, without a final slash.
    pub url: String,
    /// 2 for Rekor v2.
    pub major_api_version: u32,
    /// From when on.
    pub start: Time,
    /// Until when, if that is known.
    pub end: Option<Time>,
}

/// Why a file names no logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// Too long.
    #[error("expected at most {MAX_CONFIG} bytes, found {found}")]
    Size {
        /// Bytes found.
        found: usize,
    },
    /// Not JSON, or not what is expected there.
    #[error("expected Sigstore's {expected}")]
    Json {
        /// The file's kind.
        expected: &'static str,
        /// What serde says, with the position.
        source: serde_json::Error,
    },
    /// A member is not what it must be.
    #[error("{field}: expected {expected}, found {found:?}")]
    Field {
        /// The member.
        field: &'static str,
        /// What it must be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// No log takes submissions at that time.
    #[error("no Rekor v2 log of the signing config takes submissions at {now}")]
    NoService {
        /// The time.
        now: Time,
    },
}

fn unexpected(field: &'static str, expected: &'static str, found: impl Into<String>) -> TrustError {
    TrustError::Field { field, expected, found: found.into() }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8], expected: &'static str) -> Result<T, TrustError> {
    if bytes.len() > MAX_CONFIG {
        return Err(TrustError::Size { found: bytes.len() });
    }
    serde_json::from_slice(bytes).map_err(|source| TrustError::Json { expected, source })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RootJson {
    media_type: String,
    tlogs: Vec<LogJson>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    base_url: String,
    public_key: KeyJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyJson {
    #[serde(with = "base64")]
    raw_bytes: Vec<u8>,
    key_details: String,
}

impl TrustedRoot {
    /// Reads a trusted root. Logs with a kind of key that no checkpoint is verified with are left out.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let json: RootJson = read(bytes, "trusted root")?;
        if !TRUSTED_ROOT.contains(&json.media_type.as_str()) {
            return Err(unexpected("mediaType", "a trusted root of version 0.1", json.media_type));
        }
        if json.tlogs.len() > MAX_LOGS {
            return Err(unexpected("tlogs", "at most 256", json.tlogs.len().to_string()));
        }
        let logs = json.tlogs.iter().filter_map(|log| log.parse().transpose()).collect::<Result<_, _>>()?;
        Ok(Self { logs })
    }

    /// The log with that id.
    pub fn log(&self, id: &Sha256) -> Option<&TransparencyLog> {
        self.logs.iter().find(|log| log.id == *id)
    }

    /// The log at that address.
    pub fn log_at(&self, url: &str) -> Option<&TransparencyLog> {
        self.log_named(origin(url)?)
    }

    /// The log, if there is only one.
    pub fn only_log(&self) -> Option<&TransparencyLog> {
        let [log] = self.logs.as_slice() else { return None };
        Some(log)
    }

    /// The log with that origin.
    pub fn log_named(&self, origin: &str) -> Option<&TransparencyLog> {
        self.logs.iter().find(|log| log.key.name() == origin)
    }
}

impl LogJson {
    fn parse(&self) -> Result<Option<TransparencyLog>, TrustError> {
        if self.public_key.key_details != "PKIX_ED25519" {
            return Ok(None);
        }
        let origin = origin(&self.base_url).ok_or_else(|| unexpected("baseUrl", "an http address", &self.base_url))?;
        let spki = &self.public_key.raw_bytes;
        let expected = "the SubjectPublicKeyInfo of an Ed25519 key";
        let wrong = || unexpected("rawBytes", expected, Hex(spki).to_string());
        let key = spki.strip_prefix(&ED25519_SPKI).ok_or_else(wrong)?;
        let verifier = VerifierKey::new(origin, SignatureType::ED25519, key).map_err(|_not_a_key| wrong())?;
        let SignatureType(kind) = SignatureType::ED25519;
        let id = Sha256::of(&[origin.as_bytes(), b"\n", &[kind], key].concat());
        Ok(Some(TransparencyLog { id, key: verifier }))
    }
}

/// The origin of a log at `url`: the address without its scheme.
fn origin(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    (!rest.is_empty()).then_some(rest)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigJson {
    media_type: String,
    rekor_tlog_urls: Vec<ServiceJson>,
    rekor_tlog_config: SelectorJson,
}

#[derive(Deserialize)]
struct SelectorJson {
    selector: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ServiceJson {
    url: String,
    major_api_version: u32,
    valid_for: ValidityJson,
}

#[derive(Deserialize)]
struct ValidityJson {
    start: String,
    end: Option<String>,
}

impl SigningConfig {
    /// Reads a signing config. It must leave the choice of the log to us (`ANY`).
    ///
    /// # Errors
    /// When it is not one, or asks for several logs.
    pub fn parse(bytes: &[u8]) -> Result<Self, TrustError> {
        let json: ConfigJson = read(bytes, "signing config")?;
        if json.media_type != SIGNING_CONFIG {
            return Err(unexpected("mediaType", SIGNING_CONFIG, json.media_type));
        }
        if json.rekor_tlog_config.selector != "ANY" {
            return Err(unexpected("selector", "ANY", json.rekor_tlog_config.selector));
        }
        if json.rekor_tlog_urls.len() > MAX_LOGS {
            return Err(unexpected("rekorTlogUrls", "at most 256", json.rekor_tlog_urls.len().to_string()));
        }
        let time = |text: String| text.parse().map_err(|_form| unexpected("validFor", "a time in RFC 3339", text));
        let service = |service: ServiceJson| {
            if origin(&service.url).is_none() {
                return Err(unexpected("url", "an http address", service.url));
            }
            Ok(Service {
                url: service.url.trim_end_matches('/').to_owned(),
                major_api_version: service.major_api_version,
                start: time(service.valid_for.start)?,
                end: service.valid_for.end.map(time).transpose()?,
            })
        };
        Ok(Self { logs: json.rekor_tlog_urls.into_iter().map(service).collect::<Result<_, _>>()? })
    }

    /// The Rekor v2 log that takes submissions at `now`: the one that began last, if there are several.
    ///
    /// # Errors
    /// When none does.
    pub fn rekor_v2(&self, now: Time) -> Result<&Service, TrustError> {
        let open = |service: &&Service| service.start <= now && service.end.is_none_or(|end| now < end);
        let v2 = self.logs.iter().filter(|service| service.major_api_version == 2);
        v2.filter(open).max_by_key(|service| service.start).ok_or(TrustError::NoService { now })
    }
}
