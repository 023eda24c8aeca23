//! What the README promises to somebody who follows it word by word: its example is a valid file, and the servers of
//! another program are taken over and used.

use std::path::Path;
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::client::inspector;
use axiom_tests::config::put;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

#[test]
fn its_example_is_a_valid_file() {
    let readme = std::fs::read_to_string(bed::ours("../README.md")).expect("there is a README");
    let examples: Vec<&str> = readme
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(example, _)| example)
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        let folder = bed::scratch("example");
        std::fs::write(folder.join("axiom.toml"), example).expect("a file can be written");
        let (code, said) = axiom(&folder, &["config", "check"]);
        assert_eq!(code, Some(0), "{example}\n{said}");
        for problem in ["⚠", "×"] {
            assert!(!said.contains(problem), "{said}");
        }
    }
}

#[test]
fn the_servers_of_claude_desktop_are_taken_over() {
    let folder = bed::scratch("claude-desktop");
    let npm = |name: &str| bed::npm(&format!("@modelcontextprotocol/{name}/dist/index.js"));
    let servers = json!({
        "files": { "command": bed::node(), "args": [npm("server-filesystem"), "."] },
        "memory": {
            "command": bed::node(),
            "args": [npm("server-memory")],
            "env": { "MEMORY_FILE_PATH": folder.join("memory.json"), "API_TOKEN": "sk-0123456789abcdef0123" },
        },
    });
    let theirs = folder.join("claude_desktop_config.json");
    std::fs::write(&theirs, json!({ "mcpServers": servers }).to_string()).expect("a file can be written");

    let (code, said) = axiom(&folder, &["import", "claude_desktop_config.json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("--write") && said.contains("server-memory"),
        "{said}"
    );
    assert!(
        !folder.join("axiom.toml").exists(),
        "without --write it only shows"
    );

    let (code, said) = axiom(&folder, &["import", "claude_desktop_config.json", "--write"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("export API_TOKEN"), "{said}");
    let file = folder.join("axiom.toml");
    let text = std::fs::read_to_string(&file).expect("it was written");
    assert!(
        text.contains("${env:API_TOKEN}") && !text.contains("sk-0123"),
        "{text}"
    );
    let (code, said) = axiom(&folder, &["config", "check"]);
    assert_eq!(code, Some(1), "the token is not in this environment: {said}");
    assert!(said.contains("API_TOKEN") && said.contains("export"), "{said}");

    // A person would set it; here the file gets what it says.
    let text = text.replace("${env:API_TOKEN}", "${env:API_TOKEN:-none}");
    std::fs::write(&file, &text).expect("a file can be written");
    let gateway = Gateway::start_in(&folder);
    let listed = inspector("http", &[&gateway.mcp()], &["--method", "tools/list"]);
    let names = names(&listed);
    for tool in ["files__read_text_file", "memory__read_graph"] {
        assert!(names.contains(&tool), "{names:?}");
    }
    let mut session = Session::open(&gateway.mcp());
    let listing = session
        .call("files__list_directory", &json!({ "path": "." }))
        .text();
    assert!(listing.contains("claude_desktop_config.json"), "{listing}");

    // And edited while it runs.
    let again = json!([bed::node(), npm("server-memory")]);
    put(&file, &format!("{text}\n[servers.again]\ncommand = {again}\n"));
    wait::until("the new server's tools are listed", || {
        let list = Session::open(&gateway.mcp()).ask("tools/list", "{}").value();
        self::names(&list).contains(&"again__read_graph").then_some(())
    });
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["tools"].as_array().expect("tools are a list").iter();
    tools.filter_map(|tool| tool["name"].as_str()).collect()
}

/// The exit code, and all that it printed.
fn axiom(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env_remove("API_TOKEN");
    let mut running = Running::start("axiom", &mut command);
    running.stdin = None;
    let said = [running.stdout.all(), running.stderr.all()].concat().join("\n");
    (running.ended().code(), said)
}
