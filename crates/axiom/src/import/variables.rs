//! Clients' variable syntaxes to ours: `${VAR}`, `${VAR:-x}`, `${env:VAR}`, `$VAR` (Gemini), `${input:id}`,
//! `${workspaceFolder}` and friends (editors) become `${env:VAR}` or plain text.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::is_variable_name;
use crate::config::tree::{Node, Value};

/// What a client's variables mean in this file.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// VS Code's inputs by id.
    pub(super) inputs: BTreeMap<String, Input>,
    /// What an editor calls the workspace.
    pub(super) folder: Option<PathBuf>,
    /// Whether `$VAR` alone is a variable.
    pub(super) bare_dollar: bool,
}

/// A value that VS Code asks its user for.
#[derive(Debug, Default, Clone)]
pub(super) struct Input {
    description: Option<String>,
    default: Option<String>,
}

/// A translated text.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Translated {
    pub(super) text: String,
    pub(super) notes: Vec<String>,
    pub(super) exports: Vec<String>,
}

/// Reads VS Code's `inputs` array.
pub(super) fn inputs(node: &Node) -> BTreeMap<String, Input> {
    let Value::Array(items) = &node.value else {
        return BTreeMap::new();
    };
    let text = |item: &Node, key: &str| item.get(key).and_then(Node::as_str).map(str::to_owned);
    let input = |item: &Node| {
        let secret = matches!(
            item.get("password").map(|node| &node.value),
            Some(Value::Bool(true))
        );
        let default = text(item, "default").filter(|_| !secret);
        Some((
            text(item, "id")?,
            Input {
                description: text(item, "description"),
                default,
            },
        ))
    };
    items.iter().filter_map(input).collect()
}

pub(super) fn translate(text: &str, scope: &Scope) -> Translated {
    let mut translated = Translated::default();
    if scope.bare_dollar
        && let Some(name) = text.strip_prefix('$').filter(|name| is_variable_name(name))
    {
        translated.text = format!("${{env:{name}}}");
        return translated;
    }
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        translated.text.push_str(before);
        let Some((inner, tail)) = after.split_once('}') else {
            translated.text.push_str("${");
            rest = after;
            continue;
        };
        let meaning = translated.variable(inner, scope);
        translated.text.push_str(&meaning);
        rest = tail;
    }
    translated.text.push_str(rest);
    translated
}

impl Translated {
    /// What `${inner}` becomes.
    fn variable(&mut self, inner: &str, scope: &Scope) -> String {
        if let Some(id) = inner.strip_prefix("input:") {
            return self.input(id, scope);
        }
        let folder = scope.folder.as_ref();
        match inner {
            "userHome" => return "${env:HOME}".to_owned(),
            "pathSeparator" | "/" => return std::path::MAIN_SEPARATOR.to_string(),
            "workspaceFolder" | "workspaceRoot" => {
                if let Some(folder) = folder {
                    return folder.display().to_string();
                }
            }
            "workspaceFolderBasename" => {
                if let Some(name) = folder.and_then(|folder| folder.file_name()) {
                    return name.to_string_lossy().into_owned();
                }
            }
            _ => {}
        }
        let variable = inner.strip_prefix("env:").unwrap_or(inner);
        let name = variable.split_once(":-").map_or(variable, |(name, _)| name);
        if is_variable_name(name) {
            return format!("${{env:{variable}}}");
        }
        self.notes
            .push(format!("`${{{inner}}}` means nothing here and stays as it is"));
        format!("${{{inner}}}")
    }

    fn input(&mut self, id: &str, scope: &Scope) -> String {
        let input = scope.inputs.get(id).cloned().unwrap_or_default();
        let name = variable_name(id);
        if let Some(default) = input.default.filter(|default| !default.contains('}')) {
            return format!("${{env:{name}:-{default}}}");
        }
        let what = input
            .description
            .map(|text| format!(" ({text})"))
            .unwrap_or_default();
        self.notes.push(format!(
            "the editor asked for `{id}`{what}; it is read from {name} now"
        ));
        self.exports.push(name.clone());
        format!("${{env:{name}}}")
    }
}

/// A name that a shell can export: `perplexity-key` becomes `PERPLEXITY_KEY`.
pub(super) fn variable_name(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_uppercase()
            } else {
                '_'
            }
        })
        .collect();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        name.insert(0, '_');
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let scope = Scope {
            inputs: BTreeMap::from([
                (
                    "api-key".to_owned(),
                    Input {
                        description: Some("The key".to_owned()),
                        default: None,
                    },
                ),
                (
                    "region".to_owned(),
                    Input {
                        description: None,
                        default: Some("eu".to_owned()),
                    },
                ),
            ]),
            folder: Some(PathBuf::from("/code/app")),
            bare_dollar: false,
        };
        assert_eq!(translate(text, &scope).text, expected);
    }

    #[test]
    fn every_syntax() {
        check("no variables", "no variables");
        check("${HOME}/x", "${env:HOME}/x");
        check("${A:-b}", "${env:A:-b}");
        check("${env:A}", "${env:A}");
        check("${input:api-key}", "${env:API_KEY}");
        check("${input:region}", "${env:REGION:-eu}");
        check("${workspaceFolder}${/}src", "/code/app/src");
        check("${workspaceFolderBasename}", "app");
        check("${userHome}", "${env:HOME}");
        check("${command:x.y}", "${command:x.y}");
        check("${open", "${open");
        check("$HOME", "$HOME");
    }

    #[test]
    fn gemini_has_bare_dollars() {
        let scope = Scope {
            bare_dollar: true,
            ..Scope::default()
        };
        assert_eq!(translate("$TOKEN", &scope).text, "${env:TOKEN}");
        assert_eq!(translate("$5 and $TOKEN", &scope).text, "$5 and $TOKEN");
    }
}
