//! What rules have typed, found again in what a task says.
//!
//! A terminal shows what is typed, once or, where a program draws its screen anew, many times, and at any time later. So what
//! was typed is known for as long as the task lives; it is the rules' own text, and there are few of those.
//!
//! ```text
//! long text, eight characters and more    taken out wherever it stands: `| > continue please |`
//! a piece of long text, all of the line   a terminal has broken the line: the line is nobody's word
//! short text, such as `y`                 taken out at the line's end, behind a space: `Run it? (y/n) y`
//! ```

use std::borrow::Cow;

/// Shorter text is found by chance in what a task says.
const LONG_CHARS: usize = 8;

#[derive(Debug, Clone, Default)]
pub(super) struct Echo {
    /// Lines, each once and without blanks around it.
    typed: Vec<String>,
}

impl Echo {
    pub(super) fn typed(&mut self, text: &str) {
        for line in lines(text) {
            self.add(line);
        }
    }

    /// Only what is long, and nothing beyond so many lines.
    pub(super) fn typed_by_others(&mut self, text: &str, lines_max: usize) {
        let room = lines_max.saturating_sub(self.typed.len());
        for line in lines(text).filter(|line| is_long(line)).take(room) {
            self.add(line);
        }
    }

    fn add(&mut self, line: &str) {
        if !self.typed.iter().any(|known| known == line) {
            self.typed.push(line.to_owned());
        }
    }

    /// What the task itself said; empty if that is nothing.
    pub(super) fn cut<'a>(&self, line: &'a str) -> Cow<'a, str> {
        let mut own = Cow::Borrowed(line);
        for typed in &self.typed {
            if let Some(less) = without(&own, typed) {
                own = Cow::Owned(less);
            }
        }
        own
    }

    /// Whether nothing of the line is the task's own.
    pub(super) fn is_all(line: &str, own: &str) -> bool {
        own.len() < line.len() && !own.contains(char::is_alphanumeric)
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.split(['\n', '\r']).map(str::trim);
    lines.filter(|line| !line.is_empty())
}

/// `None` if the line has nothing of it.
fn without(line: &str, typed: &str) -> Option<String> {
    if is_long(typed) {
        if line.contains(typed) {
            return Some(line.replace(typed, ""));
        }
        let piece = line.trim_matches(|c: char| !c.is_alphanumeric());
        return (is_long(piece) && typed.contains(piece)).then(String::new);
    }
    let before = line.trim_end().strip_suffix(typed)?;
    (before.is_empty() || before.ends_with(char::is_whitespace)).then(|| before.to_owned())
}

fn is_long(text: &str) -> bool {
    text.chars().nth(LONG_CHARS - 1).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_not_the_tasks_word() {
        let mut echo = Echo::default();
        echo.typed("Please look at the error once more.\ny\n");
        let check = |line: &str, own: &str| assert_eq!(echo.cut(line), own, "{line}");
        check("> Please look at the error once more.", "> ");
        check("| > Please look at the error once more. |", "| >  |");
        check("> Please look at the e", "");
        check("rror once more.", "");
        check("Run it? (y/n) y", "Run it? (y/n) ");
        check("y", "");
        // The task's own.
        check("error: nothing was found", "error: nothing was found");
        check("many", "many");
        check("the error", "");
        check("an error", "an error");
        assert!(Echo::is_all("> y", &echo.cut("> y")));
        assert!(!Echo::is_all(">", &echo.cut(">")));
    }
}
