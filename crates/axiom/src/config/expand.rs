//! `${env:NAME}` and `${env:NAME:-default}` inside a value. `$${env:NAME}` stands for the text `${env:NAME}` itself.
//!
//! Any other `${...}` stays as it is: shells and programs have their own meaning for it. A default ends at the first `}`.

use super::tree::Span;
use super::{Environment, Problem};

/// Why one `${env:...}` could not be filled in. Carries that part of the text, to underline it.
#[derive(Debug, PartialEq)]
pub(super) enum ExpandError {
    /// The variable is not set and there is no default.
    Missing { part: String, name: String },
    /// No closing brace.
    Unclosed { part: String },
    /// What stands where the name should be is not one.
    BadName { part: String, name: String },
}

const OPEN: &str = "${env:";

/// Fills in every `${env:...}` of `template`.
///
/// # Errors
/// Every part that could not be filled in, not only the first.
pub(super) fn expand(template: &str, environment: Environment<'_>) -> Result<String, Vec<ExpandError>> {
    let mut text = String::with_capacity(template.len());
    let mut errors = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once(OPEN) {
        if let Some(literal) = before.strip_suffix('$') {
            text.push_str(literal);
            text.push_str(OPEN);
            rest = after;
            continue;
        }
        text.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            errors.push(ExpandError::Unclosed {
                part: format!("{OPEN}{after}"),
            });
            rest = "";
            break;
        };
        match look_up(inner, environment) {
            Ok(value) => text.push_str(&value),
            Err(error) => errors.push(error),
        }
        rest = tail;
    }
    text.push_str(rest);
    if errors.is_empty() { Ok(text) } else { Err(errors) }
}

fn look_up(inner: &str, environment: Environment<'_>) -> Result<String, ExpandError> {
    let part = || format!("{OPEN}{inner}}}");
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(ExpandError::BadName {
            part: part(),
            name: name.to_owned(),
        });
    }
    // As in a shell, `:-` also replaces a variable that is set but empty.
    match (environment(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(ExpandError::Missing {
            part: part(),
            name: name.to_owned(),
        }),
    }
}

/// A name that a shell could export.
pub(crate) fn is_name(name: &str) -> bool {
    let start = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    start && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl ExpandError {
    /// The text to underline.
    pub(super) fn part(&self) -> &str {
        match self {
            ExpandError::Missing { part, .. }
            | ExpandError::Unclosed { part }
            | ExpandError::BadName { part, .. } => part,
        }
    }

    pub(super) fn into_problem(self, span: &Span, key: &str) -> Problem {
        match self {
            ExpandError::Missing { name, .. } => {
                let message = format!("`{key}` needs the environment variable {name}, which is not set");
                let help = format!("export {name}=..., or give a default: ${{env:{name}:-default}}");
                Problem::error(span, message, "not set").help(help)
            }
            ExpandError::Unclosed { .. } => {
                let help = "write ${env:NAME}; for the literal text write $${env:";
                Problem::error(
                    span,
                    format!("`{key}` has an unclosed `${{env:`"),
                    "no `}` follows",
                )
                .help(help)
            }
            ExpandError::BadName { name, .. } => {
                let message = format!("`{key}` asks for `{name}`, which cannot be a variable's name");
                Problem::error(span, message, "not a name").help("names have letters, digits and `_`")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let environment = |name: &str| match name {
            "HOME" => Some("/home/me".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let text = expand(template, &environment).unwrap_or_else(|errors| format!("{errors:?}"));
        assert_eq!(text, expected);
    }

    #[test]
    fn fills_in() {
        check("plain", "plain");
        check("${env:HOME}/x", "/home/me/x");
        check("${env:HOME}${env:HOME}", "/home/me/home/me");
        check("${env:NO:-a:-b}", "a:-b");
        check("[${env:EMPTY:-d}]", "[d]");
        check("[${env:EMPTY}]", "[]");
        check("$${env:HOME}", "${env:HOME}");
        check("${HOME} $HOME ${input:x}", "${HOME} $HOME ${input:x}");
    }

    #[test]
    fn says_what_is_wrong() {
        check("${env:NO}", r#"[Missing { part: "${env:NO}", name: "NO" }]"#);
        check("${env:A B}", r#"[BadName { part: "${env:A B}", name: "A B" }]"#);
        check("${env:", r#"[Unclosed { part: "${env:" }]"#);
        check(
            "${env:A}-${env:B}",
            r#"[Missing { part: "${env:A}", name: "A" }, Missing { part: "${env:B}", name: "B" }]"#,
        );
    }
}
