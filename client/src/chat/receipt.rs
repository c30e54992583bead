//! Receipts as files: the guest's signature, and all that it is over ("Receipt file" in `docs/formats.md`).

use crate::session::Session;
use anyhow::{Context as _, ensure};
use base64ct::{Base64, Encoding as _};
use channel::receipt::Receipt;
use measure::Digest;
use measure::snp::report::Report;
use serde_json::json;
use verify::bundle::Evidence;

/// A receipt, and what it should be about.
pub(super) struct Signed<'a> {
    /// The receipt.
    pub(super) receipt: &'a [u8],
    /// The salt that was sent.
    pub(super) salt: &'a [u8; 32],
    /// The body of the request.
    pub(super) request: &'a [u8],
    /// The whole answer.
    pub(super) answer: &'a str,
}

impl Signed<'_> {
    /// The file, if the guest of this session has signed just this.
    pub(super) fn verify(&self, session: &Session) -> anyhow::Result<Vec<u8>> {
        let Self { receipt, salt, request, answer } = *self;
        let statement = session.statement();
        let said = Receipt::verify(receipt, statement).context("the receipt is not signed by this session's guest")?;
        ensure!(said.is_about(salt, request, answer.as_bytes()), "the receipt is about something else");
        ensure!(statement.models.contains(&said.model), "the receipt names a model that the guest does not have");
        if let Evidence::Snp(evidence) = &session.bundle().evidence {
            let measured = Report::parse(&evidence.report)?.measurement();
            ensure!(measured.0 == said.measurement, "the receipt names another measurement than the guest's report");
        }
        let file = json!({
            "schema": 1,
            "receipt": Base64::encode_string(receipt),
            "statement": Base64::encode_string(&statement.to_bytes()?),
            "salt": Digest::new(*salt),
            "request": str::from_utf8(request)?,
            "answer": answer,
        });
        Ok(format!("{file}\n").into_bytes())
    }
}
