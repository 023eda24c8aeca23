//! TOML text to the one tree.

use toml_edit::{Document, Item, TableLike, Value as TomlValue};

use super::problem::Problem;
use super::tree::{Entry, Node, Span, Value};

/// Parses TOML 1.1.
///
/// # Errors
/// The first syntax error; a duplicate key is one. What follows it cannot be trusted, so only one is given.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let document = Document::parse(text).map_err(|error| syntax(text, &error))?;
    Ok(Node {
        span: 0..text.len(),
        value: table(document.as_table(), &(0..0)),
    })
}

fn syntax(text: &str, error: &toml_edit::TomlError) -> Problem {
    let span = within(text, error.span().unwrap_or(0..0));
    let (message, label) = match error.message() {
        "duplicate key" => {
            let key = text.get(span.clone()).unwrap_or_default().to_owned();
            (format!("`{key}` is set twice"), "set here again".to_owned())
        }
        other => ("this is not valid TOML".to_owned(), other.to_owned()),
    };
    Problem::error(&span, message, label)
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
fn table(table: &dyn TableLike, near: &Span) -> Value {
    let entries = table.iter().filter_map(|(name, item)| {
        let key_span = table
            .key(name)
            .and_then(toml_edit::Key::span)
            .unwrap_or_else(|| near.clone());
        let node = node(item, &key_span)?;
        Some(Entry {
            key: name.to_owned(),
            key_span,
            node,
        })
    });
    Value::Table(entries.collect())
}

fn node(item: &Item, near: &Span) -> Option<Node> {
    let span = item.span().unwrap_or_else(|| near.clone());
    let value = match item {
        Item::None => return None,
        Item::Value(value) => scalar(value, &span),
        Item::Table(inner) => table(inner, near),
        Item::ArrayOfTables(tables) => Value::Array(
            tables
                .iter()
                .map(|inner| Node {
                    span: inner.span().unwrap_or_else(|| span.clone()),
                    value: table(inner, &span),
                })
                .collect(),
        ),
    };
    Some(Node { span, value })
}

fn scalar(value: &TomlValue, near: &Span) -> Value {
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
                        value: scalar(item, &span),
                        span,
                    }
                })
                .collect(),
        ),
        TomlValue::InlineTable(inner) => table(inner, near),
    }
}
