//! Answers that are no completion, errors above all: in OpenAI's form, and never with a word of what was asked.

use super::http::Answer;
use super::sessions::Trouble;
use openai::Failure;
use serde_json::json;

/// The type of most answers.
pub(super) const JSON: &str = "application/json";

/// What OpenAI's clients take as a word not to try again, and how long to wait before they do (RFC 9110, 10.2.3).
const FINAL: (&str, &str) = ("X-Should-Retry", "false");
const LATER: (&str, &str) = ("Retry-After", "1");

/// A JSON answer that is what was asked for.
pub(super) fn found(body: Vec<u8>) -> Answer {
    Answer { status: 200, content_type: JSON, field: None, body }
}

/// An error; `kind` is one of OpenAI's.
pub(super) fn error(status: u16, kind: &str, message: &str) -> Answer {
    coded(status, kind, message, None)
}

fn coded(status: u16, kind: &str, message: &str, code: Option<&str>) -> Answer {
    let error = json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    let field = (status == 401).then_some(("WWW-Authenticate", "Bearer"));
    Answer { status, content_type: JSON, field, body: error.to_string().into_bytes() }
}

/// What a guest's failure is for who asked.
pub(super) fn failed(failure: Failure) -> Answer {
    let message = format!("the guest: {failure}");
    match failure {
        Failure::TooLong => coded(400, "invalid_request_error", &message, Some("context_length_exceeded")),
        Failure::Model => error(503, "server_error", &message),
        _ => error(502, "server_error", &message),
    }
}

/// Why there is no answer of a guest's.
pub(super) fn trouble(trouble: &Trouble) -> Answer {
    let (status, field) = match trouble {
        Trouble::Refused(..) => (502, Some(FINAL)),
        Trouble::Busy | Trouble::Unreachable(_) => (503, Some(LATER)),
        Trouble::Ending | Trouble::Broken => (503, None),
    };
    Answer { field, ..error(status, "server_error", &trouble.to_string()) }
}
