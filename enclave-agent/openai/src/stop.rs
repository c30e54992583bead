//! From the bytes of tokens to pieces of text, up to the first stop string.

use core::ops::Range;

/// Tokens may end within a character, and a stop string may come in several tokens: what could be the beginning of one is
/// held back until it is decided.
pub struct Cutter {
    stops: Vec<String>,
    held: Vec<u8>,
}

impl Cutter {
    /// Cuts before the first of `stops`, none of which is empty.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, held: Vec::new() }
    }

    /// Takes the bytes of a token; gives the text that is certain now, and whether a stop string has come. Nothing may
    /// be pushed after that.
    pub fn push(&mut self, bytes: &[u8]) -> (String, bool) {
        self.held.extend_from_slice(bytes);
        // The one that is complete first, so that it does not matter how much comes at once.
        let found =
            self.stops.iter().filter_map(|stop| find(&self.held, stop.as_bytes())).min_by_key(|at| (at.end, at.start));
        if let Some(at) = found {
            self.held.truncate(at.start);
            return (self.rest(), true);
        }
        let stops = self.stops.iter().map(|stop| undecided(&self.held, stop.as_bytes()));
        let held_back = stops.max().unwrap_or(0).max(incomplete(&self.held));
        let rest = self.held.split_off(self.held.len() - held_back);
        let certain = std::mem::replace(&mut self.held, rest);
        (String::from_utf8_lossy(&certain).into_owned(), false)
    }

    /// What was held back, when nothing more comes. What never became a character is U+FFFD.
    pub fn rest(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

fn find(text: &[u8], stop: &[u8]) -> Option<Range<usize>> {
    text.windows(stop.len()).position(|window| window == stop).map(|start| start..start + stop.len())
}

/// How many bytes at the end of `text` are the beginning of `stop`.
fn undecided(text: &[u8], stop: &[u8]) -> usize {
    (1..stop.len()).rev().find(|&size| text.ends_with(&stop[..size])).unwrap_or(0)
}

/// How many bytes at the end of `text` are the beginning of a character.
fn incomplete(text: &[u8]) -> usize {
    let tail = text.len().saturating_sub(3);
    let starts = text[tail..].iter().rposition(|byte| *byte >= 0xc0);
    let Some(at) = starts.map(|at| tail + at) else { return 0 };
    match std::str::from_utf8(&text[at..]) {
        Err(error) if error.error_len().is_none() => text.len() - at,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes out of `text` in pieces of this size, and whether it was stopped.
    fn cut(text: &[u8], stops: &[&str], size: usize) -> (String, bool) {
        let mut cutter = Cutter::new(stops.iter().map(|&stop| stop.to_owned()).collect());
        let mut out = String::new();
        for piece in text.chunks(size) {
            let (text, stopped) = cutter.push(piece);
            out += &text;
            if stopped {
                return (out, true);
            }
        }
        out += &cutter.rest();
        (out, false)
    }

    #[test]
    fn text_ends_before_the_first_stop_however_it_comes() {
        for (text, stops, expected, stopped) in [
            ("one two", &[][..], "one two", false),
            ("one two", &["tw"], "one ", true),
            ("one two", &["two", "e t"], "on", true),
            ("one two", &["one t", "ne"], "o", true),
            ("one two", &["ne two", "two"], "o", true),
            ("aab", &["ab"], "a", true),
            ("abab", &["abb"], "abab", false),
            ("ab", &["abc"], "ab", false),
            ("née 😀!", &["!"], "née 😀", true),
            ("née 😀!", &["😀"], "née ", true),
            ("xyz", &["xyz"], "", true),
        ] {
            for size in 1..=text.len() {
                assert_eq!(
                    cut(text.as_bytes(), stops, size),
                    (expected.to_owned(), stopped),
                    "{text} {stops:?} {size}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        for size in 1..4 {
            assert_eq!(cut(b"a\xf0\x9f", &[], size).0, "a\u{fffd}");
            assert_eq!(cut(b"a\xffb", &[], size).0, "a\u{fffd}b");
        }
    }

    #[test]
    fn nothing_is_held_back_without_need() {
        let mut cutter = Cutter::new(vec!["##".into()]);
        assert_eq!(cutter.push(b"one #"), ("one ".to_owned(), false));
        assert_eq!(cutter.push(b"1"), ("#1".to_owned(), false));
        assert_eq!(cutter.push(b"\xc3"), (String::new(), false));
        assert_eq!(cutter.push(b"\xa9"), ("\u{e9}".to_owned(), false));
    }
}
