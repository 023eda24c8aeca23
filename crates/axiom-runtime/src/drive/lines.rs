//! A task's output as lines for rules.

use crate::mux::clean::{Cleaner, Colours, clean};
use crate::mux::lines::{End, Splitter};
use axiom_sandbox::output::Source;

const BACKSPACE: u8 = 0x08;
/// Rules look at less of it.
const LINE_BYTES_MAX: usize = 8 << 10;

/// Cuts what one task writes into lines, as rules see them.
#[derive(Debug)]
pub struct Lines {
    streams: [Stream; 3],
}

#[derive(Debug)]
struct Stream {
    splitter: Splitter,
    cleaner: Cleaner,
    /// Of the state of a line that is drawn again and again, what is no decoration.
    drawn: String,
}

impl Default for Lines {
    fn default() -> Lines {
        Lines {
            streams: std::array::from_fn(|_| Stream {
                splitter: Splitter::new(LINE_BYTES_MAX),
                cleaner: Cleaner::new(Colours::Strip),
                drawn: String::new(),
            }),
        }
    }
}

impl Lines {
    /// Gives out the lines that these bytes end, cleaned. A line that is drawn again, with nothing else in it than before but
    /// a mark that turns, is no new line: an agent that only turns its mark is silent.
    pub fn split(&mut self, source: Source, bytes: &[u8], mut out: impl FnMut(&str)) {
        let Stream {
            splitter,
            cleaner,
            drawn,
        } = self.stream(source);
        splitter.feed(bytes, |line| {
            let text = cleaner.clean(line);
            let words: String = text.chars().filter(|c| c.is_alphabetic()).collect();
            let is_drawn_again = line.end == End::Cr && (words.is_empty() || words == *drawn);
            if line.end == End::Cr {
                *drawn = words;
            }
            if !is_drawn_again {
                out(&text);
            }
        });
    }

    /// Whether a line was begun and not ended.
    pub fn is_open(&mut self, source: Source) -> bool {
        self.stream(source).splitter.is_open()
    }

    /// What a line says so far that was begun and not ended, cleaned; of a long one its last piece. `None` if there is none.
    pub fn open(&mut self, source: Source) -> Option<String> {
        let splitter = &self.stream(source).splitter;
        splitter.is_open().then(|| open_text(splitter.rest()))
    }

    fn stream(&mut self, source: Source) -> &mut Stream {
        let [stdout, stderr, terminal] = &mut self.streams;
        match source {
            Source::Stdout => stdout,
            Source::Stderr => stderr,
            Source::Terminal => terminal,
        }
    }
}

/// As a person sees it: a mark that turns takes itself back, which is no control character to be shown.
fn open_text(rest: &[u8]) -> String {
    if !rest.contains(&BACKSPACE) {
        return clean(rest, Colours::Strip).into_owned();
    }
    let mut shown = String::new();
    for c in String::from_utf8_lossy(rest).chars() {
        match c == char::from(BACKSPACE) {
            true => drop(shown.pop()),
            false => shown.push(c),
        }
    }
    clean(shown.as_bytes(), Colours::Strip).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_finished_is_read_so_far() {
        let mut lines = Lines::default();
        assert_eq!(lines.open(Source::Stdout), None);
        let mut check = |written: &[u8], expected: Option<&str>| {
            lines.split(Source::Stdout, written, |_| ());
            assert_eq!(lines.open(Source::Stdout).as_deref(), expected, "{written:?}");
        };
        check(b"a\nPass", Some("Pass"));
        check(b"\x1b[1mword\x1b[0m: \xc3", Some("Password: "));
        check(b"\xa9\x1b[", Some("Password: \u{e9}"));
        check(b"m|\x08/\x08-", Some("Password: \u{e9}-"));
        check(b"\n", None);
    }

    #[test]
    fn a_mark_that_turns_says_nothing() {
        let mut lines = Lines::default();
        let mut said = Vec::new();
        let written = "a\r\n| work\r/ work\r- work\r\x1b[K- done\rb\r\n| work\r";
        lines.split(Source::Terminal, written.as_bytes(), |line| {
            said.push(line.to_owned())
        });
        lines.split(Source::Terminal, b"x", |line| said.push(line.to_owned()));
        assert_eq!(said, ["a", "| work", "- done", "b", "| work"]);
        assert!(lines.is_open(Source::Terminal) && !lines.is_open(Source::Stderr));
    }
}
