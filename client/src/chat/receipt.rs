//! Receipts as files: the guest's signature, and all that it is over ("Receipt file" in `docs/formats.md`).

use crate::session::Session;
use anyhow::{Context as _, ensure};
use base64ct::{Base64, Encoding as _};
use channel::receipt::{Receipt, Sampling};
use measure::Digest;
use measure::snp::report::Report;
use openai::Request;
use serde_json::json;
use verify::bundle::Evidence;

/// A receipt, and what it should be about.
pub(super) struct Signed<'a> {
    /// The receipt.
    pub(super) receipt: &'a [u8],
    /// The salt that was sent.
    pub(super) salt: &'a [u8; 32],
    /// The body of the request, and what it says.
    pub(super) body: &'a [u8],
    pub(super) request: &'a Request,
    /// The whole answer.
    pub(super) answer: &'a str,
}

impl Signed<'_> {
    /// The file, if the guest of this session has signed just this.
    pub(super) fn verify(&self, session: &Session) -> anyhow::Result<Vec<u8>> {
        let Self { receipt, salt, body, request, answer } = *self;
        let statement = session.statement();
        let said = Receipt::verify(receipt, statement).context("the receipt is not signed by this session's guest")?;
        ensure!(said.is_about(salt, body, answer.as_bytes()), "the receipt is about something else");
        ensure!(statement.models.contains(&said.model), "the receipt names a model that the guest does not have");
        let Sampling { temperature, top_p, seed, max_tokens } = said.sampling;
        let as_asked = (temperature, top_p) == (request.temperature.to_bits(), request.top_p.to_bits())
            && request.seed.is_none_or(|asked| seed == u64::from(asked))
            && request.max_tokens.is_none_or(|asked| max_tokens == u64::from(asked));
        ensure!(as_asked, "the receipt is of an answer that was sampled otherwise than it was asked for");
        if let Evidence::Snp(evidence) = &session.bundle().evidence {
            let measured = Report::parse(&evidence.report)?.measurement();
            ensure!(measured.0 == said.measurement, "the receipt names another measurement than the guest's report");
        }
        let file = json!({
            "schema": 1,
            "receipt": Base64::encode_string(receipt),
            "statement": Base64::encode_string(&statement.to_bytes()?),
            "salt": Digest::new(*salt),
            "request": str::from_utf8(body)?,
            "answer": answer,
        });
        Ok(format!("{file}\n").into_bytes())
    }
}
