//! Regular expressions that a person wrote, for what tasks say: bounded in size, and linear in the text they look at.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Bytes of one pattern as it is written.
pub const PATTERN_BYTES_MAX: usize = 2048;
/// Memory of one pattern once it is built, and again as much for what it remembers while it looks.
const BUILT_BYTES_MAX: usize = 1 << 20;

/// A regular expression. `^` and `$` are the ends of a line.
#[derive(Clone)]
pub struct Pattern(Regex);

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct BadPattern {
    pub problem: String,
    /// What to do instead.
    pub hint: String,
}

impl Pattern {
    /// # Errors
    /// When it is none, is empty, or is too large.
    pub fn new(text: &str) -> Result<Pattern, BadPattern> {
        let bad = |problem: String, hint: &str| {
            Err(BadPattern {
                problem,
                hint: hint.to_owned(),
            })
        };
        if text.is_empty() {
            return bad(
                "is empty, and would fit everything".to_owned(),
                "write what is looked for; everything is \".*\"",
            );
        }
        if text.len() > PATTERN_BYTES_MAX {
            let problem = format!("has {} B; the longest has {PATTERN_BYTES_MAX} B", text.len());
            return bad(problem, "look for a part of it");
        }
        let built = RegexBuilder::new(text)
            .multi_line(true)
            .size_limit(BUILT_BYTES_MAX)
            .dfa_size_limit(BUILT_BYTES_MAX)
            .build();
        match built {
            Ok(regex) => Ok(Pattern(regex)),
            Err(regex::Error::CompiledTooBig(_)) => bad(
                format!("takes more than {BUILT_BYTES_MAX} B of memory once it is built"),
                "repeat less: each {n} is n copies of what stands before it",
            ),
            Err(error) => bad(
                format!("is no regular expression: {}", last_line(&error.to_string())),
                "what is meant as it stands takes a \\ before each of . * + ? ( ) [ ] { } | ^ $ \\",
            ),
        }
    }

    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// Where it first is, in bytes.
    pub fn find(&self, text: &str) -> Option<std::ops::Range<usize>> {
        self.0.find(text).map(|found| found.range())
    }
}

/// The crate draws the place on lines of its own, and says at last what is wrong there.
fn last_line(text: &str) -> &str {
    let line = text.lines().last().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}/", self.as_str())
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Pattern {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pattern_says_why() {
        let problem = |text: &str| Pattern::new(text).unwrap_err().problem;
        assert_eq!(problem(""), "is empty, and would fit everything");
        assert_eq!(problem("a("), "is no regular expression: unclosed group");
        assert!(problem(&"a".repeat(3000)).starts_with("has 3000 B"));
        assert!(problem(r"(\w{100}){1000}").starts_with("takes more than"));
        assert!(Pattern::new(r"^\d+ of \d+$").unwrap().is_in("x\n3 of 4\ny"));
    }
}
