//! What a page says: its commands, what they print, and its configuration files.

/// One `$ command` of a console block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) command: String,
    /// What the page shows below the command; empty when it shows nothing.
    pub(crate) expected: Vec<String>,
}

/// The commands of every `console` block, in order.
pub(crate) fn steps(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (line, shown) in blocks(text, "console") {
        for (offset, shown) in shown.iter().enumerate() {
            if let Some(command) = shown.strip_prefix("$ ") {
                // Words after `#` are for the reader.
                let command = command.split("  #").next().unwrap_or(command).trim().to_owned();
                steps.push(Step {
                    line: line + offset,
                    command,
                    expected: Vec::new(),
                });
            } else if let Some(step) = steps.last_mut() {
                step.expected.push((*shown).to_owned());
            }
        }
    }
    for step in &mut steps {
        while step.expected.last().is_some_and(String::is_empty) {
            step.expected.pop();
        }
    }
    steps
}

/// Every `toml` block that says in its first line that it is an axiom.toml.
pub(crate) fn configurations(text: &str) -> Vec<(usize, String)> {
    let blocks = blocks(text, "toml").into_iter();
    blocks
        .filter(|(_, lines)| {
            lines
                .first()
                .is_some_and(|first| first.starts_with("# axiom.toml"))
        })
        .map(|(line, lines)| (line, lines.join("\n") + "\n"))
        .collect()
}

/// The fenced blocks in `language`: number of their first line, and their lines.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<(usize, Vec<&'a str>)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<&str>)> = None;
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(_) if fenced => {
                fenced = false;
                blocks.extend(open.take());
            }
            Some(opening) => {
                fenced = true;
                // The first line of the block is the one after this, and lines count from 1.
                open = (opening.trim() == language).then(|| (index + 2, Vec::new()));
            }
            None => {
                if let Some((_, lines)) = &mut open {
                    lines.push(line);
                }
            }
        }
    }
    blocks
}

/// A command's words as a shell would split them: single and double quotes, and `~` for `home`.
pub(crate) fn words(command: &str, home: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ') => words.push(String::new()),
            (None, '~') if words.last().is_some_and(String::is_empty) => {
                words.last_mut().into_iter().for_each(|word| word.push_str(home));
            }
            _ => words.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Whether `lines` are what the page shows; a page that shows nothing accepts anything.
pub(crate) fn matches(expected: &[String], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => true,
        Some((any, rest)) if any == "..." => {
            rest.is_empty()
                || (0..=lines.len()).any(|at| lines.get(at..).is_some_and(|tail| matches(rest, tail)))
        }
        Some((first, rest)) => lines.split_first().is_some_and(|(line, tail)| {
            matches_line(first.trim_end(), line.trim_end())
                && (if rest.is_empty() {
                    tail.is_empty()
                } else {
                    matches(rest, tail)
                })
        }),
    }
}

/// Whether `line` is `pattern`, where `[..]` stands for anything.
pub(crate) fn matches_line(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split("[..]");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# A\n```console\n$ axiom tools   # all of them\ndemo.echo\n\n$ axiom\n```\n```toml\n# axiom.toml\na = 1\n```\n";

    #[test]
    fn commands_and_what_they_print() {
        let step = |line, command: &str, expected: &[&str]| Step {
            line,
            command: command.to_owned(),
            expected: expected.iter().map(|line| (*line).to_owned()).collect(),
        };
        assert_eq!(
            steps(PAGE),
            [step(3, "axiom tools", &["demo.echo"]), step(6, "axiom", &[])]
        );
        assert_eq!(configurations(PAGE), [(9, "# axiom.toml\na = 1\n".to_owned())]);
    }

    #[test]
    fn words_are_split_as_a_shell_does() {
        assert_eq!(
            words("a --json '{\"b\": 1}' ~/c d~", "/home/me"),
            ["a", "--json", "{\"b\": 1}", "/home/me/c", "d~"]
        );
    }

    #[test]
    fn patterns() {
        let check = |expected: &[&str], lines: &[&str]| {
            matches(
                &expected.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(),
                lines,
            )
        };
        assert!(check(&[], &["anything"]));
        assert!(check(&["a", "...", "d"], &["a", "b", "c", "d"]));
        assert!(check(&["a", "..."], &["a"]));
        assert!(check(&["port [..] in [..] ms"], &["port 3000 in 4 ms"]));
        assert!(!check(&["a"], &["a", "b"]));
        assert!(!check(&["a [..] c"], &["a b d"]));
        assert!(!check(&["a", "b"], &["a"]));
    }
}
