//! A comparison for people: as text, and as a comment on a pull request.
//!
//! Most words in it come from files that a stranger may have made. Here they become printable ASCII, and in Markdown they
//! are code, in which nothing is a link, a mention or HTML.

use super::inputs::Change;
use super::{Cause, Comparison, Difference, Kind, Provenance};
use std::fmt::Write as _;

/// Most lines of one section of a comment; a comment may have 65536 characters.
const MAX_LINES: usize = 60;
/// Most characters of one word of a comment.
const MAX_WORD: usize = 200;

/// For a terminal or a file. `old` and `new` say what was compared.
pub fn text(comparison: &Comparison, old: &str, new: &str) -> String {
    let mut out = format!("old  {}\nnew  {}\n", clean(old), clean(new));
    let (consequences, own): (Vec<_>, Vec<_>) = comparison.differences.iter().partition(|it| it.is_consequence());
    section(&mut out, "inputs", comparison.inputs.iter().map(|change| line(&change.words(), Style::Text)));
    section(
        &mut out,
        "differences",
        own.iter().map(|difference| {
            let mut lines = line(&difference.words(), Style::Text);
            for more in difference.more() {
                let _infallible = write!(lines, "\n      {}", line(&more, Style::Text));
            }
            lines
        }),
    );
    section(&mut out, "what follows from them", consequences.iter().map(|it| line(&it.consequence(), Style::Text)));
    section(
        &mut out,
        "measurements",
        comparison.measurements.iter().map(|moved| {
            let mut lines = format!("{}: {}", clean(&moved.name), moved.digests);
            for words in moved.words() {
                let _infallible = write!(lines, "\n      {}", line(&words, Style::Text));
            }
            lines
        }),
    );
    section(&mut out, "what manifest.json says and the files do not", comparison.doubts.iter().map(|it| clean(it)));
    let _infallible = writeln!(out, "{}", comparison.summary());
    out
}

/// For a comment on a pull request.
pub fn markdown(comparison: &Comparison, old: &str, new: &str) -> String {
    let mut out = format!("### {}\n\n{} → {}\n", comparison.summary(), code(old), code(new));
    let (consequences, own): (Vec<_>, Vec<_>) = comparison.differences.iter().partition(|it| it.is_consequence());
    list(
        &mut out,
        "Measurements",
        comparison.measurements.iter().flat_map(|moved| {
            let values = format!("{}: {}", code(&moved.name), code(&moved.digests.to_string()));
            [values]
                .into_iter()
                .chain(moved.words().into_iter().map(|words| format!("  - {}", line(&words, Style::Markdown))))
        }),
    );
    list(
        &mut out,
        "Unexplained",
        comparison.doubts.iter().map(|doubt| code(doubt)).chain(comparison.unexplained().map(Difference::in_comment)),
    );
    list(&mut out, "Inputs", comparison.inputs.iter().map(|change| line(&change.words(), Style::Markdown)));
    let explained = own.iter().filter(|difference| difference.cause.explains());
    list(&mut out, "Differences", explained.map(|difference| difference.in_comment()));
    list(&mut out, "What follows from them", consequences.iter().map(|it| line(&it.consequence(), Style::Markdown)));
    out
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Text,
    Markdown,
}

/// A piece of a line.
enum Word {
    /// Ours.
    Plain(String),
    /// Theirs.
    Quoted(String),
    /// A link of ours.
    Link(String),
}

fn plain(text: &str) -> Word {
    Word::Plain(text.to_owned())
}

fn quoted(text: impl ToString) -> Word {
    Word::Quoted(text.to_string())
}

fn line(words: &[Word], style: Style) -> String {
    let shown = words.iter().map(|word| match (word, style) {
        (Word::Plain(text), _) | (Word::Link(text), Style::Text) => text.clone(),
        (Word::Quoted(text), Style::Text) => clean(text),
        (Word::Quoted(text), Style::Markdown) => code(text),
        (Word::Link(url), Style::Markdown) => format!("<{url}>"),
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// `text` as printable ASCII in one line, with what is none escaped: strangers wrote some of it.
pub fn clean(text: &str) -> String {
    text.as_bytes()
        .iter()
        .flat_map(|&byte| match byte {
            b' '..=b'~' => vec![byte],
            other => other.escape_ascii().collect(),
        })
        .map(char::from)
        .collect()
}

/// A code span (CommonMark 6.1): one backtick more than the longest run in the text.
fn code(text: &str) -> String {
    let mut text = clean(text);
    if text.len() > MAX_WORD {
        text.truncate(MAX_WORD);
        text += "...";
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    // One space on each side is taken off again, unless there is nothing else.
    let space = if text.contains('`') || text.starts_with(' ') || text.ends_with(' ') { " " } else { "" };
    if text.is_empty() { "(nothing)".to_owned() } else { format!("{fence}{space}{text}{space}{fence}") }
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    if lines.peek().is_some() {
        let _infallible = writeln!(out, "{title}");
    }
    for line in lines {
        let _infallible = writeln!(out, "  {line}");
    }
}

fn list(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<_> = lines.collect();
    if !lines.is_empty() {
        let _infallible = writeln!(out, "\n**{title}**\n");
    }
    for line in lines.iter().take(MAX_LINES) {
        let nested = line.starts_with("  - ");
        let _infallible = if nested { writeln!(out, "{line}") } else { writeln!(out, "- {line}") };
    }
    if let Some(more) = lines.len().checked_sub(MAX_LINES).filter(|more| *more > 0) {
        let _infallible = writeln!(out, "- and {more} more: `cargo xtask diff` shows all");
    }
}

impl Comparison {
    /// Whether nothing is measured otherwise and nothing is unexplained.
    pub fn is_clean(&self) -> bool {
        self.measurements.is_empty() && self.doubts.is_empty() && self.unexplained().next().is_none()
    }

    /// One line: what the comparison comes to.
    pub fn summary(&self) -> String {
        let unexplained = self.unexplained().count() + self.doubts.len();
        let measurements = self.measurements.len();
        if measurements + unexplained + self.differences.len() + self.inputs.len() == 0 {
            return "no difference".to_owned();
        }
        let moved = match measurements {
            0 => "no measurement moves".to_owned(),
            1 => "1 measurement moves".to_owned(),
            many => format!("{many} measurements move"),
        };
        let plural = if unexplained == 1 { "" } else { "s" };
        match unexplained {
            0 => moved,
            many => format!("{moved}, {many} unexplained difference{plural}"),
        }
    }
}

impl Change {
    fn words(&self) -> Vec<Word> {
        let mut words = vec![plain(self.class.name()), quoted(&self.name)];
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => words.extend([quoted(old), plain("->"), quoted(new)]),
            (None, Some(new)) => words.extend([quoted(new), plain("(added)")]),
            (Some(old), None) => words.extend([quoted(old), plain("(removed)")]),
            (None, None) => {}
        }
        if !self.stages.is_empty() {
            let stages: Vec<_> = self.stages.iter().map(|stage| stage.name()).collect();
            words.push(Word::Plain(format!("(of {})", stages.join(", "))));
        }
        words.extend(self.tracker().map(Word::Link));
        words
    }
}

impl Difference {
    fn is_consequence(&self) -> bool {
        matches!(self.cause, Cause::Follows { .. })
    }

    /// Stage, artifact, path, kind and offset.
    fn words(&self) -> Vec<Word> {
        let mut words = vec![Word::Plain(format!("{}:", self.stage.name())), quoted(&self.artifact)];
        words.extend(self.path.as_ref().map(quoted));
        words.push(plain(self.kind.name()));
        if let (Some(offset), Kind::Bytes | Kind::Size) = (self.offset, self.kind) {
            words.push(Word::Plain(format!("at byte {offset}")));
        }
        words
    }

    /// Values, provenance and cause, a line each.
    fn more(&self) -> Vec<Vec<Word>> {
        let mut lines = Vec::new();
        if self.old.is_some() || self.new.is_some() {
            let value = |value: &Option<super::Value>| value.as_ref().map_or_else(|| plain("nothing"), quoted);
            lines.push(vec![value(&self.old), plain("->"), value(&self.new)]);
        }
        lines.extend(self.provenance.as_ref().map(Provenance::words));
        lines.push(self.why());
        lines
    }

    fn why(&self) -> Vec<Word> {
        match &self.cause {
            Cause::Input { inputs } => {
                [plain("different input:")].into_iter().chain(inputs.iter().map(quoted)).collect()
            }
            Cause::Follows { from } => vec![plain("follows from"), quoted(from)],
            other => vec![Word::Plain(other.to_string())],
        }
    }

    fn consequence(&self) -> Vec<Word> {
        self.words().into_iter().chain(self.why()).collect()
    }

    fn in_comment(&self) -> String {
        let parts = [self.words()].into_iter().chain(self.more());
        parts.map(|words| line(&words, Style::Markdown)).collect::<Vec<_>>().join("; ")
    }
}

impl Provenance {
    fn words(&self) -> Vec<Word> {
        match self {
            Self::Package { package, old, new, source } => {
                let mut words = vec![plain("package"), quoted(package)];
                match (old, new) {
                    (Some(old), Some(new)) if old == new => words.push(quoted(old)),
                    (Some(old), Some(new)) => words.extend([quoted(old), plain("->"), quoted(new)]),
                    (old, new) => words.extend(old.iter().chain(new).map(quoted)),
                }
                words.extend(source.iter().flat_map(|source| [plain("of source"), quoted(source)]));
                words
            }
            Self::File { file } => vec![plain("repository file"), quoted(file)],
            Self::Built { name } => vec![plain("compiled from crate"), quoted(name)],
            Self::Generated { rule } => vec![Word::Plain(format!("generated by rule {rule:?}"))],
            Self::Allowed { reason } => vec![plain("as the tool left it:"), quoted(reason)],
            Self::Fetched { name } => vec![plain("locked file"), quoted(name)],
        }
    }
}

impl super::Moved {
    fn words(&self) -> Vec<Vec<Word>> {
        let through = self.through.iter().map(|through| {
            let mut words = vec![plain("through"), quoted(&through.artifact)];
            if !through.inputs.is_empty() {
                words.push(plain("by"));
            }
            words.extend(through.inputs.iter().map(quoted));
            words
        });
        through.collect()
    }
}
