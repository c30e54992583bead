//! The only place that prints. stdout holds the answer; what is being done and errors go to stderr.

use anyhow::Context as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Version of the JSON answers' shape.
const SCHEMA: u32 = 1;

/// What a command has to say. An `Err` instead means that it could not decide (exit 2).
pub(crate) struct Answer {
    /// Whether the answer is yes (exit 0) or no (exit 1).
    pub(crate) yes: bool,
    /// One line: why.
    pub(crate) reason: String,
    /// The answer for people.
    pub(crate) text: String,
    /// The answer for programs; must be an object.
    pub(crate) payload: serde_json::Value,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// One JSON object instead of text.
    pub(crate) json: bool,
    /// Whether the user does not mind colours; only a terminal gets any.
    pub(crate) colour: bool,
}

/// Prints `answer` and gives the exit code of the contract: 0 yes, 1 no, 2 undecided.
pub(crate) fn print(command: &str, style: Style, answer: anyhow::Result<Answer>) -> ExitCode {
    let (outcome, mut code, reason) = match &answer {
        Ok(answer) if answer.yes => ("ok", 0, answer.reason.clone()),
        Ok(answer) => ("no", 1, answer.reason.clone()),
        Err(error) => ("undecided", 2, format!("{error:#}")),
    };
    let mut stdout = io::stdout().lock();
    let printed = if style.json {
        let mut object = serde_json::json!({
            "schema": SCHEMA, "command": command, "outcome": outcome, "reason": reason,
        });
        if let (Ok(Answer { payload: serde_json::Value::Object(payload), .. }), Some(object)) =
            (answer, object.as_object_mut())
        {
            object.extend(payload);
        }
        writeln!(stdout, "{}", ascii(&object.to_string()))
    } else {
        let text = answer.map(|answer| printable(&answer.text)).unwrap_or_else(|_undecided| String::new());
        let text = if style.colour && stdout.is_terminal() { coloured(&text) } else { text };
        stdout.write_all(text.as_bytes())
    };
    if code != 0 {
        complain(if code == 1 { "no" } else { "error" }, &reason);
    }
    match printed.and_then(|()| stdout.flush()) {
        // A reader that has seen enough closes the pipe; that changes no answer.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain("error", &format!("writing the answer to stdout: {error}"));
            code = 2;
        }
        _ => {}
    }
    ExitCode::from(code)
}

/// Says on stderr what is being done.
pub(crate) fn progress(line: &str) {
    let _closed = writeln!(io::stderr(), "{}", printable(line));
}

/// Prints a line on stdout at once.
///
/// # Errors
/// When nobody reads it.
pub(crate) fn tell(line: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", printable(line)).context("writing to stdout")?;
    stdout.flush().context("writing to stdout")
}

/// Says the next part of a model's answer on stdout. A terminal gets nothing but text: it is a stranger's.
pub(crate) fn say(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let text = if stdout.is_terminal() { answer(text) } else { text.to_owned() };
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Asks for a question.
pub(crate) fn prompt() {
    let mut stderr = io::stderr().lock();
    let _closed = stderr.write_all(b"> ").and_then(|()| stderr.flush());
}

/// Prints an alarm as one line on stdout.
///
/// # Errors
/// When nobody reads it: it has not been told then.
pub(crate) fn alarm(alarm: &log_client::monitor::Alarm) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{}", line(alarm)?)?;
    Ok(stdout.flush()?)
}

/// A value as JSON in one line of printable ASCII: strangers wrote some of it.
pub(crate) fn line(value: &impl serde::Serialize) -> anyhow::Result<String> {
    Ok(ascii(&serde_json::to_string(value)?))
}

fn ascii(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' => line.push(c),
            _ => c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| line.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    line
}

fn complain(kind: &str, reason: &str) {
    let _closed = writeln!(io::stderr(), "{kind}: {}", printable(reason));
}

/// `text` without characters that would do something to a terminal: some of it is from whoever made the evidence.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Separators and marks that reorder or end lines without being control characters.
        let hidden = matches!(
            c,
            '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        );
        match c {
            '\n' => out.push(c),
            _ if c.is_control() || hidden => out.extend(c.escape_unicode()),
            _ => out.push(c),
        }
    }
    out
}

/// The same of an answer, in which there may be a program, with its tabulators.
fn answer(text: &str) -> String {
    text.split('\t').map(printable).collect::<Vec<_>>().join("\t")
}

/// Whether `text` is printed as it is.
#[cfg(test)]
pub(crate) fn is_printable(text: &str) -> bool {
    printable(text) == text
}

/// `text` with the first words of the lines that matter most in colour (ECMA-48 SGR).
fn coloured(text: &str) -> String {
    const WORDS: [(&str, &str); 7] = [
        ("ACCEPTED", "1;32"),
        ("REJECTED", "1;31"),
        ("SIMULATED", "1;33"),
        ("passed", "32"),
        ("FAILED", "1;31"),
        ("NOT PERFORMED", "1;31"),
        ("not asked for", "2"),
    ];
    let line = |line: &str| {
        let words = line.trim_start_matches(' ');
        let (indent, _) = line.split_at(line.len() - words.len());
        match WORDS.iter().find_map(|(word, code)| Some((word, code, words.strip_prefix(word)?))) {
            Some((word, code, rest)) => format!("{indent}\x1b[{code}m{word}\x1b[0m{rest}"),
            None => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_a_terminal_but_text_and_our_own_colours() {
        for (text, expected) in [
            ("a ü\n b\n", "a ü\n b\n"),
            ("\x1b[2Jx\r\t\u{9b}\u{7f}", "\\u{1b}[2Jx\\u{d}\\u{9}\\u{9b}\\u{7f}"),
            ("a\u{202e}b\u{2028}\u{61c}", "a\\u{202e}b\\u{2028}\\u{61c}"),
        ] {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(answer("\ta\x1b]0;x\x07\t\n"), "\ta\\u{1b}]0;x\\u{7}\t\n");
        let text = "REJECTED as of 1\n\n  FAILED  a: passed\n  passed  b\nother\n";
        let expected = "\x1b[1;31mREJECTED\x1b[0m as of 1\n\n  \x1b[1;31mFAILED\x1b[0m  a: passed\n  \
                        \x1b[32mpassed\x1b[0m  b\nother\n";
        assert_eq!(coloured(text), expected);
    }
}
