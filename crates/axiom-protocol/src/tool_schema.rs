//! Finding the `x-mcp-header` annotations in a JSON Schema.

use crate::Span;
use crate::text::text;
use crate::walk::{elements, members};

/// One `x-mcp-header` and what stands beside it.
#[derive(Debug)]
pub(crate) struct Annotation {
    /// The value of `x-mcp-header`, of any type.
    pub(crate) header: Span,
    /// The value of `type`.
    pub(crate) declared: Option<Span>,
    /// The keys from the root, if only `properties` lead here.
    pub(crate) path: Option<Vec<String>>,
}

const KEYWORD: &[u8] = b"x-mcp-header";

/// Every annotation in document order of the levels: first those near the root.
pub(crate) fn annotations(raw: &[u8], schema: Span) -> Vec<Annotation> {
    let text = schema.of(raw);
    // Most tools have none, and a list of tools can be long.
    if memchr::memmem::find(text, KEYWORD).is_none() && memchr::memchr(b'\\', text).is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let mut todo = vec![Place {
        schema,
        path: Some(Vec::new()),
    }];
    let mut next = 0;
    while let Some(place) = todo.get_mut(next) {
        next += 1;
        let path = place.path.take();
        let schema = place.schema;
        found.extend(visit(raw, schema, path, &mut todo));
    }
    found
}

/// A schema still to be looked at.
struct Place {
    schema: Span,
    path: Option<Vec<String>>,
}

/// Notes the schema's own annotations and adds the schemas inside it to `todo`.
fn visit(raw: &[u8], schema: Span, path: Option<Vec<String>>, todo: &mut Vec<Place>) -> Vec<Annotation> {
    let mut headers = Vec::new();
    let mut declared = None;
    for (key, value) in members(raw, schema) {
        match text(raw, key).as_deref().unwrap_or_default() {
            "x-mcp-header" => headers.push(value),
            "type" => declared = Some(value),
            "properties" => {
                for (name, schema) in members(raw, value) {
                    todo.push(Place {
                        schema,
                        path: step(raw, path.as_ref(), name),
                    });
                }
            }
            // Their values are data that only look like schemas.
            "const" | "enum" | "default" | "examples" => {}
            // Their keys are names, so that one called x-mcp-header is no annotation.
            "$defs" | "definitions" | "patternProperties" | "dependentSchemas" | "dependencies" => {
                todo.extend(members(raw, value).map(|(_, schema)| Place { schema, path: None }));
            }
            _ if value.of(raw).starts_with(b"[") => {
                todo.extend(elements(raw, value).map(|schema| Place { schema, path: None }));
            }
            _ if value.of(raw).starts_with(b"{") => todo.push(Place {
                schema: value,
                path: None,
            }),
            _ => {}
        }
    }
    headers
        .into_iter()
        .map(|header| Annotation {
            header,
            declared,
            path: path.clone(),
        })
        .collect()
}

fn step(raw: &[u8], path: Option<&Vec<String>>, name: Span) -> Option<Vec<String>> {
    let name = text(raw, name)?;
    let mut path = path?.clone();
    path.push(name.into_owned());
    Some(path)
}
