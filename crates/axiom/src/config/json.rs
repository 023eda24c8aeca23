//! JSON text to the one tree. Comments and trailing commas are allowed, as in the files of editors.

use jsonc_parser::ast::{ObjectPropName, Value as JsonValue};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::problem::Problem;
use super::toml::within;
use super::tree::{Entry, Node, Span, Value};

/// Parses JSON with comments. An empty file is an empty table.
///
/// # Errors
/// The first syntax error; what follows it cannot be trusted.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = ParseOptions {
        allow_comments: true,
        allow_trailing_commas: true,
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let parsed = parse_to_ast(text, &CollectOptions::default(), &options).map_err(|error| {
        let range = error.range();
        let span = within(text, range.start..range.end);
        Problem::error(
            &span,
            "this is not valid JSON",
            error.kind().to_string().to_lowercase(),
        )
    })?;
    match parsed.value {
        Some(value) => Ok(node(text, &value)),
        None => Ok(Node {
            span: 0..text.len(),
            value: Value::Table(Vec::new()),
        }),
    }
}

fn node(text: &str, value: &JsonValue<'_>) -> Node {
    let span = span_of(text, value);
    let value = match value {
        JsonValue::StringLit(literal) => Value::String(literal.value.clone().into_owned()),
        JsonValue::NumberLit(literal) => match literal.value.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => Value::Number(literal.value.to_owned()),
        },
        JsonValue::BooleanLit(literal) => Value::Bool(literal.value),
        JsonValue::NullKeyword(_) => Value::Null,
        JsonValue::Array(array) => {
            Value::Array(array.elements.iter().map(|element| node(text, element)).collect())
        }
        JsonValue::Object(object) => Value::Table(
            object
                .properties
                .iter()
                .map(|property| {
                    let (key, key_span) = match &property.name {
                        ObjectPropName::String(name) => {
                            (name.value.clone().into_owned(), span_of(text, name))
                        }
                        ObjectPropName::Word(name) => (name.value.to_owned(), span_of(text, name)),
                    };
                    Entry {
                        key,
                        key_span,
                        node: node(text, &property.value),
                    }
                })
                .collect(),
        ),
    };
    Node { span, value }
}

fn span_of(text: &str, ranged: &impl Ranged) -> Span {
    let range = ranged.range();
    within(text, range.start..range.end)
}
