//! The only place that prints. stdout holds the answer; progress, stage lines and errors go to stderr.

use image::progress::{Bar, Progress, Unit};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

/// Version of the JSON answers' shape.
const SCHEMA: u32 = 1;

/// What a command has to say. An `Err` instead means that it could not decide (exit 2).
pub(crate) struct Answer {
    /// Whether the answer is yes (exit 0) or no (exit 1).
    pub(crate) yes: bool,
    /// One line: why.
    pub(crate) reason: String,
    /// The answer for people, printed as it is but for what would do something to a terminal.
    pub(crate) text: String,
    /// The answer for programs; must be an object.
    pub(crate) payload: serde_json::Value,
}

/// Prints `answer` and gives the exit code of the contract: 0 yes, 1 no, 2 undecided.
pub(crate) fn print(command: &str, json: bool, answer: anyhow::Result<Answer>) -> ExitCode {
    let (outcome, code, reason) = match &answer {
        Ok(answer) if answer.yes => ("ok", 0, answer.reason.clone()),
        Ok(answer) => ("no", 1, answer.reason.clone()),
        Err(error) => ("undecided", 2, format!("{error:#}")),
    };
    let mut stdout = std::io::stdout().lock();
    // A reader that has seen enough closes the pipe; that is not an error of ours.
    let _broken_pipe = if json {
        let mut object = serde_json::json!({
            "schema": SCHEMA, "command": command, "outcome": outcome, "reason": reason,
        });
        if let (Ok(Answer { payload: serde_json::Value::Object(payload), .. }), Some(object)) =
            (answer, object.as_object_mut())
        {
            object.extend(payload);
        }
        writeln!(stdout, "{object}")
    } else {
        let text = answer.map(|answer| answer.text).unwrap_or_else(|_undecided| String::new());
        stdout.write_all(printable(&text).as_bytes())
    };
    if code != 0 {
        let _closed = writeln!(std::io::stderr(), "{}: {}", if code == 1 { "no" } else { "error" }, printable(&reason));
    }
    ExitCode::from(code)
}

/// Prints what explains an answer, on stderr, where it does not get in the answer's way.
pub(crate) fn explain(text: &str) {
    let _closed = std::io::stderr().write_all(printable(text).as_bytes());
}

/// `text` without characters that would do something to a terminal: some of it is from whoever made a release, or from a tool
/// that read one.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Separators and marks that reorder or end lines without being control characters.
        let hidden = matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        );
        match c {
            '\n' => out.push(c),
            _ if c.is_control() || hidden => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// Draws bars on a terminal and plain lines elsewhere. Clones draw around each other's bars.
#[derive(Clone)]
pub(crate) struct Terminal {
    bars: MultiProgress,
    fancy: bool,
}

impl Terminal {
    /// Progress on stderr.
    pub(crate) fn new() -> Self {
        let fancy = std::io::stderr().is_terminal();
        let target = if fancy { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { bars: MultiProgress::with_draw_target(target), fancy }
    }

    /// Says what nobody may miss.
    pub(crate) fn warn(&self, text: &str) {
        let line = printable(&format!("{:>12}  {text}", "WARNING"));
        let _closed = if self.fancy { self.bars.println(line) } else { writeln!(std::io::stderr(), "{line}") };
    }
}

impl Progress for Terminal {
    fn done(&self, verb: &str, object: &str, took: Duration) {
        let line = printable(&format!("{verb:>12}  {object}  {:.1}s", took.as_secs_f64()));
        let _closed = if self.fancy { self.bars.println(line) } else { writeln!(std::io::stderr(), "{line}") };
    }

    fn bar(&self, verb: &str, total: u64, unit: Unit) -> Box<dyn Bar> {
        let amounts = match unit {
            Unit::Bytes => "{bytes}/{total_bytes}",
            Unit::Items => "{pos}/{len}",
        };
        // Of one thing there is no telling how much is done.
        let bar = if unit == Unit::Items && total <= 1 { String::new() } else { format!("[{{bar:30}}] {amounts}  ") };
        let template = format!("{{prefix:>12}}  {bar}{{wide_msg}}");
        let style = ProgressStyle::with_template(&template).unwrap_or_else(|_fixed| ProgressStyle::default_bar());
        let bar = ProgressBar::new(total).with_style(style.progress_chars("=> ")).with_prefix(verb.to_owned());
        Box::new(Drawn(self.bars.add(bar)))
    }
}

struct Drawn(ProgressBar);

impl Bar for Drawn {
    fn add(&self, amount: u64) {
        self.0.inc(amount);
    }

    fn note(&self, text: &str) {
        self.0.set_message(printable(text));
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_does_something_to_a_terminal() {
        for (text, expected) in [
            ("a\nb \u{e4}", "a\nb \u{e4}"),
            ("\u{1b}[2J\rok", "\\u{1b}[2J\\u{d}ok"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("\u{202e}dab\u{2066}\u{feff}", "\\u{202e}dab\\u{2066}\\u{feff}"),
        ] {
            assert_eq!(printable(text), expected);
        }
    }
}
