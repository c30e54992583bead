//! Receipts: whether a guest has signed just what was asked and answered, and the file that says so ("Receipt file" in
//! `docs/formats.md`).

use anyhow::{Context as _, ensure};
use base64ct::{Base64, Encoding as _};
use channel::KeyStatement;
use channel::receipt::{Receipt, Sampling};
use measure::snp::LaunchDigest;
use measure::{Digest, Sha384};
use openai::Request;
use serde_json::json;

/// Whose receipts they are: the guest of a session whose evidence was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Signer {
    /// What the evidence vouches for.
    pub(crate) statement: KeyStatement,
    /// What its report says was launched, if it is one of SEV-SNP.
    pub(crate) measurement: Option<LaunchDigest>,
}

/// A receipt, and what it should be about.
pub(crate) struct Signed<'a> {
    /// The receipt.
    pub(crate) receipt: &'a [u8],
    /// The salt that was sent.
    pub(crate) salt: &'a [u8; 32],
    /// The body of the request.
    pub(crate) body: &'a [u8],
    /// The whole answer.
    pub(crate) answer: &'a str,
}

impl Signed<'_> {
    /// Whether it is `signer` who has signed, and just this.
    ///
    /// # Errors
    /// When it is not, with what is wrong.
    pub(crate) fn verify(&self, signer: &Signer) -> anyhow::Result<()> {
        let Self { receipt, salt, body, answer } = *self;
        let Signer { statement, measurement } = signer;
        let said = Receipt::verify(receipt, statement).context("the receipt is not signed by this session's guest")?;
        ensure!(said.is_about(salt, body, answer.as_bytes()), "the receipt is about something else");
        ensure!(statement.models.contains(&said.model), "the receipt names a model that the guest does not have");
        let request = Request::parse(body)?;
        let Sampling { temperature, top_p, seed, max_tokens } = said.sampling;
        let as_asked = (temperature, top_p) == (request.temperature.to_bits(), request.top_p.to_bits())
            && request.seed.is_none_or(|asked| seed == u64::from(asked))
            && request.max_tokens.is_none_or(|asked| max_tokens == u64::from(asked));
        ensure!(as_asked, "the receipt is of an answer that was sampled otherwise than it was asked for");
        let as_measured =
            measurement.is_none_or(|LaunchDigest(measured)| Sha384::new(*measured.as_bytes()) == said.measurement);
        ensure!(as_measured, "the receipt names another measurement than the guest's report");
        Ok(())
    }

    /// The file of a verified one.
    ///
    /// # Errors
    /// When the statement is too large to be one, or the body is not UTF-8.
    pub(crate) fn file(&self, signer: &Signer) -> anyhow::Result<Vec<u8>> {
        let Self { receipt, salt, body, answer } = *self;
        let file = json!({
            "schema": 1,
            "receipt": Base64::encode_string(receipt),
            "statement": Base64::encode_string(&signer.statement.to_bytes()?),
            "salt": Digest::new(*salt),
            "request": str::from_utf8(body)?,
            "answer": answer,
        });
        Ok(format!("{file}\n").into_bytes())
    }
}
