//! Cosignatures (C2SP tlog-cosignature): a witness has seen the log grow up to this checkpoint, as of a time.
//!
//! The message names the log but not the witness, so that a witness's key must not be another witness's too.

/// What a witness signs with Ed25519: two lines before a checkpoint's text. `time` is in seconds since 1970.
///
/// ```
/// let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
/// assert_eq!(log_client::cosignature::message(1679315147, text), format!("cosignature/v1\ntime 1679315147\n{text}"));
/// ```
pub fn message(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// The time, at most 2^63 - 1, and the signature proper of a cosignature's bytes.
pub(crate) fn split(signature: &[u8]) -> Option<(u64, &[u8])> {
    let (time, signature) = signature.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    (time <= i64::MAX as u64).then_some((time, signature))
}
