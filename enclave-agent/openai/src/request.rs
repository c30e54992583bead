//! A request: the part of OpenAI's chat completions that there is, with a limit to everything.

use core::fmt;
use core::marker::PhantomData;
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// Largest body that is read, in bytes.
pub const MAX_BODY: usize = 256 << 10;
/// Most messages.
pub const MAX_MESSAGES: usize = 256;
/// Most bytes of all messages' contents together. A model's context is smaller than that.
pub const MAX_TEXT: usize = 128 << 10;
/// Longest name of a model, in bytes.
pub const MAX_MODEL: usize = 128;
/// Most tokens that can be asked for.
pub const MAX_COMPLETION: u32 = 4096;
/// Most stop strings, and the longest, in bytes.
pub const MAX_STOPS: usize = 4;
/// Longest stop string, in bytes.
pub const MAX_STOP: usize = 128;
/// Highest seed: the one above means "any" to llama.cpp.
const MAX_SEED: u32 = u32::MAX - 1;
/// Most bytes of a reason: it may quote the request.
const MAX_REASON: usize = 240;

/// What a user asks for.
#[derive(Clone, PartialEq)]
pub struct Request {
    /// The model's name, which must be the one that is served.
    pub model: String,
    /// At least one.
    pub messages: Vec<Message>,
    /// Most tokens of the answer; as many as the context holds, up to [`MAX_COMPLETION`], if not given.
    pub max_tokens: Option<u32>,
    /// 0 to 2. With 0 the likeliest token is taken each time, and the same request gets the same answer.
    pub temperature: f32,
    /// Above 0, up to 1: only the likeliest tokens that together are this likely are drawn from.
    pub top_p: f32,
    /// What the draws depend on. The agent puts one in where the user has none.
    pub seed: Option<u32>,
    /// The answer ends before the first of these; none is empty.
    pub stop: Vec<String>,
    /// Whether the answer comes in pieces.
    pub stream: bool,
    /// Whether a last piece says how many tokens there were.
    pub include_usage: bool,
}

/// A turn of the conversation.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What they say.
    pub content: String,
}

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Whoever set the conversation up.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// Why a body is not a request. The text names the field and may quote what was sent, so it is for the client and for
/// nobody else: no log, no metric.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    reason: String,
    /// What programs know it by, where OpenAI's has one.
    code: Option<&'static str>,
}

/// The JSON object as clients write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    model: String,
    messages: Vec<Object<Message>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stop: Option<Stop>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream_options: Option<Object<StreamOptions>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    temperature: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    top_p: Option<f32>,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "stop: expected a string or a list of strings")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamOptions {
    include_usage: bool,
}

/// A structure written with the names of its members. By itself serde takes a list of their values, too.
#[derive(Serialize)]
#[serde(transparent)]
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members)).map(Object)
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

impl Request {
    /// Reads what a client sent.
    ///
    /// # Errors
    /// When it is not a JSON object of known fields, each once and within its limits.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        Self::parse_within(body, MAX_BODY)
    }

    /// The same with another limit on its bytes.
    pub(crate) fn parse_within(body: &[u8], limit: usize) -> Result<Self, Refusal> {
        within("body", "bytes", body.len(), 1, limit)?;
        let Object::<Body>(body) = serde_json::from_slice(body).map_err(|error| Refusal::new(&error.to_string()))?;
        let messages: Vec<Message> = body.messages.into_iter().map(|Object(message)| message).collect();
        within("model", "bytes", body.model.len(), 1, MAX_MODEL)?;
        within("messages", "of them", messages.len(), 1, MAX_MESSAGES)?;
        within("messages", "bytes of content", messages.iter().map(|m| m.content.len()).sum(), 0, MAX_TEXT)?;
        if body.max_tokens.is_some() && body.max_completion_tokens.is_some() {
            return Err(Refusal::new("max_tokens: it is another name of max_completion_tokens, which is there, too"));
        }
        let max_tokens = body.max_completion_tokens.or(body.max_tokens);
        if let Some(tokens) = max_tokens {
            within("max_tokens", "tokens", tokens as usize, 1, MAX_COMPLETION as usize)?;
        }
        let temperature = body.temperature.unwrap_or(1.0);
        if !(0.0..=2.0).contains(&temperature) {
            return Err(Refusal::new(&format!("temperature: expected 0 to 2, found {temperature}")));
        }
        let top_p = body.top_p.unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            return Err(Refusal::new(&format!("top_p: expected more than 0 and at most 1, found {top_p}")));
        }
        if body.seed.is_some_and(|seed| seed > MAX_SEED) {
            return Err(Refusal::new(&format!("seed: expected at most {MAX_SEED}")));
        }
        let stop = match body.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stops)) => stops,
        };
        within("stop", "of them", stop.len(), 0, MAX_STOPS)?;
        for stop in &stop {
            within("stop", "bytes", stop.len(), 1, MAX_STOP)?;
        }
        let stream = body.stream.unwrap_or(false);
        if body.stream_options.is_some() && !stream {
            return Err(Refusal::new("stream_options: expected \"stream\": true beside it"));
        }
        Ok(Self {
            model: body.model,
            messages,
            max_tokens,
            temperature,
            top_p,
            seed: body.seed,
            stop,
            stream,
            include_usage: body.stream_options.is_some_and(|Object(options)| options.include_usage),
        })
    }

    /// The request as a body that [`Self::parse`] reads back.
    pub fn to_json(&self) -> Vec<u8> {
        let body = Body {
            model: self.model.clone(),
            messages: self.messages.iter().cloned().map(Object).collect(),
            max_completion_tokens: self.max_tokens,
            max_tokens: None,
            seed: self.seed,
            stop: (!self.stop.is_empty()).then(|| Stop::Many(self.stop.clone())),
            stream: Some(self.stream),
            stream_options: self.stream.then_some(Object(StreamOptions { include_usage: self.include_usage })),
            temperature: Some(self.temperature),
            top_p: Some(self.top_p),
        };
        serde_json::to_vec(&body).expect("strings and numbers have a form in JSON")
    }
}

impl Refusal {
    fn new(reason: &str) -> Self {
        let end = (0..=MAX_REASON.min(reason.len())).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
        Self { reason: reason[..end].to_owned(), code: None }
    }

    /// For a request to a model that is not served.
    pub fn unknown_model(model: &str) -> Self {
        Self { code: Some("model_not_found"), ..Self::new(&format!("model: there is no model `{model}` here")) }
    }

    /// OpenAI's error object.
    pub fn to_json(&self) -> Vec<u8> {
        let error = serde_json::json!({
            "error": { "message": self.reason, "type": "invalid_request_error", "param": null, "code": self.code },
        });
        error.to_string().into_bytes()
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Refusal")
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request")
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Message")
    }
}

fn within(field: &str, unit: &str, found: usize, least: usize, most: usize) -> Result<(), Refusal> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(Refusal::new(&format!("{field}: expected {least} to {most} {unit}, found {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn body(change: Value) -> Value {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "2+2?" }] });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    }

    fn parse(change: Value) -> Result<Request, String> {
        Request::parse(body(change).to_string().as_bytes()).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn what_is_not_given_has_openais_value() {
        let request = parse(json!({})).unwrap();
        assert_eq!((request.temperature, request.top_p, request.seed), (1.0, 1.0, None));
        assert_eq!((request.max_tokens, request.stream, request.include_usage), (None, false, false));
        assert!(request.stop.is_empty() && request.messages.len() == 1);
        // The same with what clients write for "not given".
        assert!(parse(json!({ "stop": null, "seed": null, "temperature": null, "stream": null })).unwrap() == request);
    }

    #[test]
    fn requests_survive_the_way_to_the_worker() {
        for change in [
            json!({}),
            json!({ "stream": true, "stream_options": { "include_usage": true }, "stop": "a", "seed": 0 }),
            json!({ "stop": ["a", "b"], "temperature": 0.7, "top_p": 0.1, "seed": MAX_SEED, "max_tokens": 1 }),
            json!({ "messages": [{ "role": "system", "content": "\u{0}\u{1f600}" }, { "role": "assistant", "content": "" }] }),
        ] {
            let request = parse(change.clone()).unwrap();
            assert!(Request::parse(&request.to_json()).unwrap() == request, "{change}");
        }
    }

    /// One value at each limit, and one beyond, with what is said of it.
    #[test]
    fn every_limit_holds() {
        let text = |size: usize| "x".repeat(size);
        let messages =
            |count: usize, content: usize| json!(vec![json!({ "role": "user", "content": text(content) }); count]);
        for change in [
            json!({ "temperature": 0 }),
            json!({ "temperature": 2 }),
            json!({ "top_p": 1 }),
            json!({ "top_p": 1e-30 }),
            json!({ "max_tokens": 1 }),
            json!({ "max_completion_tokens": MAX_COMPLETION }),
            json!({ "seed": MAX_SEED }),
            json!({ "stop": [] }),
            json!({ "stop": vec![text(MAX_STOP); MAX_STOPS] }),
            json!({ "messages": messages(MAX_MESSAGES, 1) }),
            json!({ "messages": messages(1, MAX_TEXT) }),
            json!({ "model": text(MAX_MODEL) }),
        ] {
            assert!(parse(change.clone()).is_ok(), "{change}");
        }
        for (change, says) in [
            (json!({ "temperature": -0.1 }), "temperature: expected 0 to 2"),
            (json!({ "temperature": 2.1 }), "temperature: expected 0 to 2"),
            (json!({ "temperature": "hot" }), "expected f32"),
            (json!({ "top_p": 0 }), "top_p: expected more than 0"),
            (json!({ "top_p": 1.1 }), "top_p: expected more than 0"),
            (json!({ "max_tokens": 0 }), "max_tokens: expected 1 to 4096"),
            (json!({ "max_tokens": MAX_COMPLETION + 1 }), "max_tokens: expected 1 to 4096"),
            (json!({ "max_tokens": -1 }), "invalid value: integer `-1`"),
            (json!({ "max_tokens": 1, "max_completion_tokens": 1 }), "max_tokens: it is another name"),
            (json!({ "seed": u32::MAX }), "seed: expected at most"),
            (json!({ "seed": 1_u64 << 32 }), "invalid value"),
            (json!({ "stop": "" }), "stop: expected 1 to 128 bytes"),
            (json!({ "stop": [text(MAX_STOP + 1)] }), "stop: expected 1 to 128 bytes"),
            (json!({ "stop": vec!["a"; MAX_STOPS + 1] }), "stop: expected 0 to 4 of them"),
            (json!({ "stop": 1 }), "stop: expected a string or a list"),
            (json!({ "stream_options": { "include_usage": true } }), "stream_options: expected"),
            (json!({ "messages": [] }), "messages: expected 1 to 256 of them"),
            (json!({ "messages": messages(MAX_MESSAGES + 1, 0) }), "messages: expected 1 to 256 of them"),
            (json!({ "messages": messages(2, MAX_TEXT / 2 + 1) }), "messages: expected 0 to 131072 bytes"),
            (json!({ "messages": [{ "role": "tool", "content": "" }] }), "unknown variant `tool`"),
            (json!({ "messages": [{ "role": "user" }] }), "missing field `content`"),
            (json!({ "messages": [{ "role": "user", "content": "", "name": "x" }] }), "unknown field `name`"),
            (json!({ "model": "" }), "model: expected 1 to 128 bytes"),
            (json!({ "model": text(MAX_MODEL + 1) }), "model: expected 1 to 128 bytes"),
            (json!({ "stream": true, "stream_options": { "include_usage": true, "x": 1 } }), "unknown field `x`"),
            (json!({ "grammar": "root ::= x" }), "unknown field `grammar`"),
            (json!({ "cache_prompt": true }), "unknown field `cache_prompt`"),
            (json!({ "n_discard": -1 }), "unknown field `n_discard`"),
            (json!({ "tools": [] }), "unknown field `tools`"),
            (json!({ "logit_bias": {} }), "unknown field `logit_bias`"),
            (json!({ "response_format": {} }), "unknown field `response_format`"),
        ] {
            let refusal = parse(change.clone()).err().unwrap_or_else(|| panic!("{change} passes"));
            assert!(refusal.contains(says) && refusal.len() <= MAX_REASON, "{says}: {refusal}");
        }
        let refused = |body: &[u8]| Request::parse(body).err().map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(refused(&[b' '; MAX_BODY + 1]).contains("body: expected"));
        assert!(refused(b"").contains("body: expected"));
        assert!(refused(br#"{"model":"a","model":"b","messages":[]}"#).contains("duplicate field `model`"));
        assert!(refused(&[body(json!({})).to_string().as_bytes(), b"{}"].concat()).contains("trailing"));
        assert!(refused(&b"[".repeat(10_000)).contains("expected an object"));
        assert!(refused(br#"["m",[{"role":"user","content":""}]]"#).contains("expected an object"));
        assert!(refused(br#"{"model":"m","messages":[["user",""]]}"#).contains("expected an object"));
        assert!(refused(br#"{"model":"m","messages":[],"temperature":1e39}"#).contains("expected"));
    }

    #[test]
    fn nothing_shows_what_a_user_wrote() {
        let request = parse(json!({ "messages": [{ "role": "user", "content": "canary" }] })).unwrap();
        let refusal = Request::parse(br#"{"canary":1}"#).unwrap_err();
        let shown = format!("{request:?} {:?} {refusal:?}", request.messages);
        assert!(!shown.contains("canary"), "{shown}");
        assert!(refusal.to_string().contains("canary") && refusal.to_json().starts_with(b"{\"error\":{\"code\":null"));
        let unknown = Refusal::unknown_model(&"canary".repeat(50));
        assert!(
            unknown.to_json().starts_with(b"{\"error\":{\"code\":\"model_not_found\"")
                && unknown.reason.len() <= MAX_REASON
        );
    }
}
