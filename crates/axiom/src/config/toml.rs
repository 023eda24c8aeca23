//! TOML text to the one tree.

use toml_edit::{Document, Item, TableLike, Value as TomlValue};

use super::problem::Problem;
use super::tree::{Entry, Node, Span, Value};

/// Parses TOML 1.1. A key that is set twice is reported and its second value left out, so that it hides no other
/// mistake of the file.
///
/// # Errors
/// The first other syntax error. What follows it cannot be trusted, so nothing else is given.
pub(super) fn parse(text: &str) -> Result<(Node, Vec<Problem>), Problem> {
    let mut masked = text.to_owned();
    let mut twice: Vec<Problem> = Vec::new();
    loop {
        let error = match Document::parse(masked.as_str()) {
            Ok(document) => {
                let left_out: Vec<Span> = twice.iter().map(|problem| problem.span.clone()).collect();
                let value = table(document.as_table(), &(0..0), &left_out);
                return Ok((
                    Node {
                        span: 0..text.len(),
                        value,
                    },
                    twice,
                ));
            }
            Err(error) => error,
        };
        let span = within(text, error.span().unwrap_or(0..0));
        if error.message() != "duplicate key" {
            return Err(Problem::error(&span, "this is not valid TOML", error.message()));
        }
        let key = text.get(span.clone()).unwrap_or_default();
        let problem = Problem::error(&span, format!("`{key}` is set twice"), "set here again");
        match stand_in(key, &masked) {
            Some(other) if twice.len() < DUPLICATES_MAX => masked.replace_range(span, &other),
            _ => return Err(problem),
        }
        twice.push(problem);
    }
}

/// Each duplicate costs one more parse.
const DUPLICATES_MAX: usize = 32;

/// A bare key as long as `key`, quotes included, so that every position stays; one that `text` does not have.
fn stand_in(key: &str, text: &str) -> Option<String> {
    let mut letters = (b'a'..=b'z').map(|letter| char::from(letter).to_string().repeat(key.len()));
    letters.find(|other| !text.contains(other))
}

/// Clips a span to the text and to character boundaries, whatever a parser says.
pub(super) fn within(text: &str, span: Span) -> Span {
    let mut start = span.start.min(text.len());
    while !text.is_char_boundary(start) {
        start -= 1;
    }
    let mut end = span.end.clamp(start, text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    start..end
}

/// `near` stands in for spans that the parser does not give (tables that are only implied by a longer header).
fn table(table: &dyn TableLike, near: &Span, left_out: &[Span]) -> Value {
    let entries = table.iter().filter_map(|(name, item)| {
        let key_span = table
            .key(name)
            .and_then(toml_edit::Key::span)
            .unwrap_or_else(|| near.clone());
        if left_out.contains(&key_span) {
            return None;
        }
        let node = node(item, &key_span, left_out)?;
        Some(Entry {
            key: name.to_owned(),
            key_span,
            node,
        })
    });
    Value::Table(entries.collect())
}

fn node(item: &Item, near: &Span, left_out: &[Span]) -> Option<Node> {
    let span = item.span().unwrap_or_else(|| near.clone());
    let value = match item {
        Item::None => return None,
        Item::Value(value) => scalar(value, &span, left_out),
        Item::Table(inner) => table(inner, near, left_out),
        Item::ArrayOfTables(tables) => Value::Array(
            tables
                .iter()
                .map(|inner| Node {
                    span: inner.span().unwrap_or_else(|| span.clone()),
                    value: table(inner, &span, left_out),
                })
                .collect(),
        ),
    };
    Some(Node { span, value })
}

fn scalar(value: &TomlValue, near: &Span, left_out: &[Span]) -> Value {
    match value {
        TomlValue::String(text) => Value::String(text.value().clone()),
        TomlValue::Integer(number) => Value::Integer(*number.value()),
        TomlValue::Float(number) => Value::Number(number.value().to_string()),
        TomlValue::Boolean(flag) => Value::Bool(*flag.value()),
        TomlValue::Datetime(moment) => Value::Datetime(moment.value().to_string()),
        TomlValue::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| {
                    let span = item.span().unwrap_or_else(|| near.clone());
                    Node {
                        value: scalar(item, &span, left_out),
                        span,
                    }
                })
                .collect(),
        ),
        TomlValue::InlineTable(inner) => table(inner, near, left_out),
    }
}
