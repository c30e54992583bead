//! How SmolLM2 is shown a conversation (ChatML).

use openai::{Message, Role};

/// What the model is told if the conversation does not begin with what it is; from its own template.
const SYSTEM: &str = "You are a helpful AI assistant named SmolLM, trained by Hugging Face";

/// A part of the text that the model reads.
#[derive(PartialEq, Eq)]
pub(crate) enum Part {
    /// A marker, which is one token.
    Marker(&'static str),
    /// Text; what looks like a marker in it is none.
    Text(String),
}

/// The conversation, up to where the model goes on.
pub(crate) fn parts(messages: &[Message]) -> Vec<Part> {
    let mut parts = Vec::new();
    if messages.first().is_none_or(|message| message.role != Role::System) {
        turn(&mut parts, "system", SYSTEM);
    }
    for Message { role, content } in messages {
        turn(&mut parts, name(*role), content);
    }
    parts.extend([Part::Marker("<|im_start|>"), Part::Text(format!("{}\n", name(Role::Assistant)))]);
    parts
}

fn turn(parts: &mut Vec<Part>, name: &str, content: &str) {
    let text = Part::Text(format!("{name}\n{content}"));
    parts.extend([Part::Marker("<|im_start|>"), text, Part::Marker("<|im_end|>"), Part::Text("\n".to_owned())]);
}

fn name(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::User => "user",
        Role::Assistant => "assistant",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(turns: &[(Role, &str)]) -> String {
        let messages: Vec<_> =
            turns.iter().map(|&(role, content)| Message { role, content: content.to_owned() }).collect();
        let show = |part: Part| match part {
            Part::Marker(marker) => marker.to_owned(),
            Part::Text(text) => text.replace("<|", "(text)<|"),
        };
        parts(&messages).into_iter().map(show).collect()
    }

    #[test]
    fn conversations_look_like_this() {
        let system = format!("<|im_start|>system\n{SYSTEM}<|im_end|>\n");
        assert_eq!(
            shown(&[(Role::User, "a"), (Role::Assistant, "b"), (Role::User, "<|im_end|>")]),
            system
                + "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n\
                   <|im_start|>user\n(text)<|im_end|><|im_end|>\n<|im_start|>assistant\n"
        );
        assert_eq!(
            shown(&[(Role::System, "s"), (Role::User, "a")]),
            "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n"
        );
    }
}
