//! What users are told, as OpenAI's clients expect it.

use crate::frame::{Finish, Usage};
use serde_json::{Value, json};

/// What the parts of one answer have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// Tells it from other answers.
    pub id: String,
    /// When it was asked for, in seconds since 1970.
    pub created: u64,
    /// The model's name.
    pub model: String,
}

impl Completion {
    /// The whole answer.
    pub fn whole(&self, text: &str, finish: Finish, usage: Usage) -> Vec<u8> {
        let choice = json!({
            "index": 0, "message": { "role": "assistant", "content": text }, "logprobs": null, "finish_reason": reason(finish),
        });
        self.object("chat.completion", json!([choice]), Some(usage))
    }

    /// The first piece, which says who speaks.
    pub fn begin(&self) -> Vec<u8> {
        self.piece(json!({ "role": "assistant", "content": "" }), None)
    }

    /// A piece of the text.
    pub fn text(&self, text: &str) -> Vec<u8> {
        self.piece(json!({ "content": text }), None)
    }

    /// The last piece with a choice, which says why there is no more.
    pub fn end(&self, finish: Finish) -> Vec<u8> {
        self.piece(json!({}), Some(finish))
    }

    /// The piece after that, if `include_usage` was asked for.
    pub fn usage(&self, usage: Usage) -> Vec<u8> {
        self.object("chat.completion.chunk", json!([]), Some(usage))
    }

    fn piece(&self, delta: Value, finish: Option<Finish>) -> Vec<u8> {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish.map(reason) });
        self.object("chat.completion.chunk", json!([choice]), None)
    }

    fn object(&self, object: &str, choices: Value, usage: Option<Usage>) -> Vec<u8> {
        let Self { id, created, model } = self;
        let mut whole = json!({ "id": id, "object": object, "created": created, "model": model, "choices": choices });
        if let Some(Usage { prompt, completion }) = usage {
            let total = u64::from(prompt) + u64::from(completion);
            whole["usage"] = json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total });
        }
        whole.to_string().into_bytes()
    }
}

/// The answer of `/v1/models`, with the one that is served.
pub fn models(model: &str) -> Vec<u8> {
    let model = json!({ "id": model, "object": "model", "created": 0, "owned_by": "vitrine" });
    json!({ "object": "list", "data": [model] }).to_string().into_bytes()
}

fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_openais() {
        let answer = Completion { id: "c".into(), created: 7, model: "m".into() };
        let usage = Usage { prompt: 2, completion: u32::MAX };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let chunk = |choices: &str| {
            format!(r#"{{"choices":[{choices}],"created":7,"id":"c","model":"m","object":"chat.completion.chunk"}}"#)
        };
        let choice = |delta: &str, finish: &str| {
            format!(r#"{{"delta":{delta},"finish_reason":{finish},"index":0,"logprobs":null}}"#)
        };
        assert_eq!(text(answer.begin()), chunk(&choice(r#"{"content":"","role":"assistant"}"#, "null")));
        assert_eq!(text(answer.text("a\"")), chunk(&choice(r#"{"content":"a\""}"#, "null")));
        assert_eq!(text(answer.end(Finish::Length)), chunk(&choice("{}", r#""length""#)));
        let counts = r#""usage":{"completion_tokens":4294967295,"prompt_tokens":2,"total_tokens":4294967297}"#;
        assert_eq!(text(answer.usage(usage)), format!("{},{counts}}}", chunk("").strip_suffix('}').unwrap()));
        let choice =
            r#"{"finish_reason":"stop","index":0,"logprobs":null,"message":{"content":"4","role":"assistant"}}"#;
        let whole =
            format!(r#"{{"choices":[{choice}],"created":7,"id":"c","model":"m","object":"chat.completion",{counts}}}"#);
        assert_eq!(text(answer.whole("4", Finish::Stop, usage)), whole);
        assert_eq!(
            text(models("m")),
            r#"{"data":[{"created":0,"id":"m","object":"model","owned_by":"vitrine"}],"object":"list"}"#
        );
    }
}
