//! docs/reference/configuration.md: every key of axiom.toml, from its JSON Schema.

use serde_json::Value;

use super::NOTICE;

/// The page for `schema`, as `axiom config schema` prints it.
pub(crate) fn page(schema: &Value) -> String {
    let mut page = format!("{NOTICE}\n\n# Configuration\n");
    page.push_str(
        "\nOne file, `axiom.toml`; the same keys may be written as JSON. An unknown key is an error that names its line.\n\
         Durations are written like `30s`, `5m` or `1h30m`, sizes like `64KiB` or `4MiB`.\n\
         An editor that knows JSON Schema can use [axiom.schema.json](../../schema/axiom.schema.json).\n",
    );
    Schema { root: schema }.section(&mut page, "", schema);
    page
}

/// Behind a path there may be many tables of.
const LIST: &str = "[]";

/// The whole schema, in which `$ref` is looked up.
#[derive(Clone, Copy)]
struct Schema<'a> {
    root: &'a Value,
}

impl<'a> Schema<'a> {
    /// A table of one object's keys, then a section for each table below it.
    fn section(self, page: &mut String, path: &str, schema: &'a Value) {
        let schema = self.resolved(schema);
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            return;
        };
        if !path.is_empty() {
            let heading = match path.strip_suffix(LIST) {
                Some(path) => format!("[[{path}]]"),
                None => format!("[{path}]"),
            };
            page.push_str(&format!("\n## `{heading}`\n"));
        }
        if let Some(description) = schema.get("description").and_then(Value::as_str) {
            page.push_str(&format!("\n{description}\n"));
        }
        let (tables, keys): (Vec<_>, Vec<_>) = properties
            .iter()
            .partition(|(_, property)| self.table_below(property).is_some());
        self.keys(page, &keys, schema);
        for (key, property) in tables {
            let Some((suffix, below)) = self.table_below(property) else {
                continue;
            };
            let dot = if path.is_empty() { "" } else { "." };
            self.section(page, &format!("{path}{dot}{key}{suffix}"), below);
        }
    }

    fn keys(self, page: &mut String, keys: &[(&String, &'a Value)], schema: &'a Value) {
        if keys.is_empty() {
            return;
        }
        let required: Vec<&str> = schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        page.push_str("\n| key | type | default | what it is |\n|---|---|---|---|\n");
        for (key, property) in keys {
            let default = match property
                .get("default")
                .or_else(|| self.resolved(property).get("default"))
            {
                Some(Value::Null) | None if required.contains(&key.as_str()) => "required".to_owned(),
                Some(Value::Null) | None => String::new(),
                Some(default) => format!("`{default}`"),
            };
            let kind = self.kind(property);
            let description = self.description(property);
            page.push_str(&format!(
                "| `{key}` | {} | {} | {} |\n",
                cell(&kind),
                cell(&default),
                cell(&description)
            ));
        }
    }

    /// The object schema that makes `property` a table of its own, and how its path goes on.
    fn table_below(self, property: &'a Value) -> Option<(&'static str, &'a Value)> {
        let schema = self.resolved(property);
        if schema.get("properties").is_some() {
            return Some(("", schema));
        }
        let below = [("additionalProperties", ".<name>"), ("items", LIST)];
        below.into_iter().find_map(|(key, suffix)| {
            let values = self.resolved(schema.get(key)?);
            values.get("properties").map(|_| (suffix, values))
        })
    }

    fn kind(self, property: &'a Value) -> String {
        let schema = self.resolved(property);
        if let Some(alternatives) = ["anyOf", "oneOf"]
            .iter()
            .find_map(|key| schema.get(*key)?.as_array())
        {
            let kinds: Vec<String> = alternatives
                .iter()
                .filter(|one| !is_null(one))
                .map(|one| self.kind(one))
                .collect();
            return kinds.join(" or ");
        }
        if let Some(value) = schema.get("const") {
            return format!("`{value}`");
        }
        if let Some(values) = schema.get("enum").and_then(Value::as_array) {
            return values
                .iter()
                .map(|value| format!("`{value}`"))
                .collect::<Vec<_>>()
                .join(" or ");
        }
        match type_name(schema) {
            "array" => format!(
                "list of {}",
                schema
                    .get("items")
                    .map_or_else(|| "values".to_owned(), |item| self.kind(item))
            ),
            "object" => match schema
                .get("additionalProperties")
                .filter(|values| values.is_object())
            {
                Some(values) => format!("table of {}", self.kind(values)),
                None => "table".to_owned(),
            },
            other => other.to_owned(),
        }
    }

    fn description(self, property: &'a Value) -> String {
        let own = property
            .get("description")
            .or_else(|| self.resolved(property).get("description"));
        let mut description = own.and_then(Value::as_str).unwrap_or_default().to_owned();
        // Each alternative of a documented choice says what it means.
        let choices = self.resolved(property).get("oneOf").and_then(Value::as_array);
        for choice in choices.into_iter().flatten() {
            if let (Some(value), Some(meaning)) = (
                choice.get("const"),
                choice.get("description").and_then(Value::as_str),
            ) {
                description.push_str(&format!(" `{value}`: {meaning}"));
            }
        }
        description
    }

    /// Follows `$ref`, and `allOf` or a nullable `anyOf` around a single schema.
    fn resolved(self, schema: &'a Value) -> &'a Value {
        if let Some(pointer) = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|name| name.strip_prefix('#'))
        {
            return self
                .root
                .pointer(pointer)
                .map_or(schema, |found| self.resolved(found));
        }
        let alternatives = ["allOf", "anyOf"]
            .iter()
            .find_map(|key| schema.get(*key)?.as_array());
        match alternatives
            .map(|all| all.iter().filter(|one| !is_null(one)).collect::<Vec<_>>())
            .as_deref()
        {
            Some([only]) => self.resolved(only),
            _ => schema,
        }
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").and_then(Value::as_str) == Some("null")
}

/// The type that is not `null`, in a person's words.
fn type_name(schema: &Value) -> &str {
    let name = match schema.get("type") {
        Some(Value::String(name)) => name.as_str(),
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null")
            .unwrap_or("any"),
        _ => "any",
    };
    if name == "boolean" { "true or false" } else { name }
}

/// One line, no bar: both would end a table's cell.
fn cell(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_rows_and_tables_become_sections() {
        let schema = serde_json::json!({
            "description": "What it is told.",
            "properties": {
                "gateway": { "$ref": "#/$defs/Gateway" },
                "servers": { "additionalProperties": { "$ref": "#/$defs/Server" }, "type": "object" },
                "rules": { "items": { "$ref": "#/$defs/Rule" }, "type": "array" },
            },
            "$defs": {
                "Gateway": { "properties": {
                    "listen": { "type": "string", "default": "127.0.0.1:3000", "description": "Where.\nPort 0 picks." },
                    "prefix": { "$ref": "#/$defs/Prefix", "default": "always" },
                } },
                "Prefix": { "oneOf": [
                    { "const": "always", "description": "Always." }, { "const": "never", "description": "Never." } ] },
                "Rule": { "properties": { "name": { "type": "string", "description": "Its own." } } },
                "Server": { "required": ["url"], "properties": {
                    "url": { "type": "string" },
                    "command": { "type": ["array", "null"], "items": { "type": "string" } },
                    "env": { "type": "object", "additionalProperties": { "type": "string" } },
                } },
            },
        });
        let page = page(&schema);
        for expected in [
            "\nWhat it is told.\n",
            "## `[gateway]`\n",
            "| `listen` | string | `\"127.0.0.1:3000\"` | Where. Port 0 picks. |\n",
            "| `prefix` | `\"always\"` or `\"never\"` | `\"always\"` | `\"always\"`: Always. `\"never\"`: Never. |\n",
            "## `[[rules]]`\n",
            "| `name` | string |  | Its own. |\n",
            "## `[servers.<name>]`\n",
            "| `url` | string | required |  |\n",
            "| `command` | list of string |  |  |\n",
            "| `env` | table of string |  |  |\n",
        ] {
            assert!(page.contains(expected), "missing {expected:?} in\n{page}");
        }
    }
}
