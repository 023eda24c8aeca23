use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::config::{Format, decode};

fn read_one(file: &str, text: &str) -> Found {
    read(Path::new(file), text, Secrets::Moved).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn written(found: Found) -> String {
    let plans = write::plan("", found.drafts, &[]).unwrap();
    write::merged("", plans.iter()).unwrap()
}

#[test]
fn a_servers_file_of_a_client_is_a_configuration() {
    let text = r#"{"mcpServers": {
        "files": {"command": "npx", "args": ["-y", "pkg", "${HOME}"], "env": {"TOKEN": "secret", "PORT": 80}},
        "my remote": {"type": "http", "url": "https://h/mcp", "headers": {"X": "${A:-b}"}}
    }}"#;
    let decoded = decode(text, Format::Json, &|name| {
        (name == "HOME").then(|| "/home/me".to_owned())
    });
    let config = decoded.config.unwrap_or_else(|| panic!("{:?}", decoded.problems));
    assert_eq!(
        config.options.servers.keys().collect::<Vec<_>>(),
        ["files", "my-remote"]
    );
    let shown = format!("{:?}", config.options.servers["files"].endpoint);
    assert_eq!(
        shown,
        r#"Stdio { command: ["npx", "-y", "pkg", "/home/me"], env: ["PORT", "TOKEN"], cwd: None }"#
    );
}

#[test]
fn a_broken_entry_of_a_client_is_reported_in_its_place() {
    let text = r#"{"mcpServers": {"bad": {"args": ["x"]}}}"#;
    let decoded = decode(text, Format::Json, &|_| None);
    assert!(decoded.config.is_none());
    assert_eq!(text.get(decoded.problems[0].span.clone()), Some("\"bad\""));
}

#[test]
fn secrets_with_one_name_and_two_values_get_two_variables() {
    let text = r#"{"mcpServers": {
        "a": {"command": "a", "env": {"API_KEY": "one"}},
        "b": {"command": "b", "env": {"API_KEY": "two"}},
        "c": {"command": "c", "env": {"API_KEY": "one"}}
    }}"#;
    let found = read_one("x.json", text);
    let exports: Vec<&[String]> = found
        .drafts
        .iter()
        .map(|draft| draft.exports.as_slice())
        .collect();
    assert_eq!(exports, [["API_KEY"], ["B_API_KEY"], ["API_KEY"]]);
    let text = written(found);
    assert!(!text.contains("one") && !text.contains("two"), "{text}");
}

#[test]
fn two_files_with_one_name() {
    let found = |command: &str| {
        read_one(
            "x.json",
            &format!(r#"{{"mcpServers": {{"a": {{"command": "{command}"}}}}}}"#),
        )
    };
    let first = write::plan("", found("one").drafts, &[]).unwrap();
    let second = write::plan("", found("two").drafts, &first).unwrap();
    let again = write::plan("", found("one").drafts, &first).unwrap();
    assert_eq!(first[0].standing, write::Standing::New);
    assert_eq!(second[0].standing, write::Standing::Conflict);
    assert_eq!(again[0].standing, write::Standing::Same);
}

/// Values that look like parts of clients' files.
fn json_like_theirs() -> impl Strategy<Value = Json> {
    let word = prop::sample::select(vec![
        "",
        "npx",
        "é",
        "${input:a}",
        "${HOME}",
        "${",
        "}",
        "$X",
        "ghp_0123456789abcdefABCDEF",
        "http://h/",
        "ws://",
        "a=b",
        "\u{0}",
        "${workspaceFolder}",
        "sse",
    ]);
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        word.prop_map(Json::from),
    ];
    let key = prop::sample::select(vec![
        "mcpServers",
        "servers",
        "mcp",
        "context_servers",
        "mcp_servers",
        "inputs",
        "projects",
        "a",
        "a__b",
        "é",
        "",
        "command",
        "args",
        "env",
        "url",
        "httpUrl",
        "headers",
        "type",
        "cwd",
        "disabled",
        "timeout",
        "path",
        "id",
        "env_vars",
        "env_http_headers",
        "bearer_token_env_var",
        "startup_timeout_sec",
    ]);
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::vec((key.clone(), inner), 0..5).prop_map(|pairs| Json::Object(
                pairs
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect()
            )),
        ]
    })
}

proptest! {
    /// Whatever a client's file holds: what is written can be read again, and nothing is written twice.
    #[test]
    fn what_is_imported_is_a_configuration(servers in json_like_theirs()) {
        let text = json!({"mcpServers": {"one": servers}}).to_string();
        for secrets in [Secrets::Moved, Secrets::Inline] {
            let Ok(found) = read(Path::new("x.json"), &text, secrets) else { continue };
            let again = found.drafts.clone();
            let plans = write::plan("", found.drafts, &[]).unwrap();
            let Ok(merged) = write::merged("# mine\n", plans.iter()) else { continue };
            prop_assert!(merged.starts_with("# mine\n"));
            let second = write::plan(&merged, again, &[]).unwrap();
            prop_assert!(second.iter().all(|plan| plan.standing == write::Standing::Same), "{}", merged);
        }
    }

    #[test]
    fn no_file_breaks_the_import(root in json_like_theirs()) {
        for name in ["x.json", ".cursor/mcp.json", ".gemini/settings.json", ".vscode/mcp.json"] {
            if let Ok(found) = read(Path::new(name), &root.to_string(), Secrets::Moved) {
                let plans = write::plan("", found.drafts, &[]).unwrap();
                preview::text(name, found.client.name(), &plans, &found.skipped);
            }
        }
        decode(&root.to_string(), Format::Json, &|_| None);
    }
}
