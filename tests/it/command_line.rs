//! `axiom servers`, `tools` and `call` in a shell: with a running gateway and without one, in words and as JSON. stdout is
//! data, stderr is talk, and the exit code says how it went.

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::{bed, process, servers};
use serde_json::{Value, json};

/// What a command printed, and its exit code.
struct Said {
    data: String,
    talk: String,
    code: Option<i32>,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.data)
            .unwrap_or_else(|error| panic!("{error} in {:?}; {}", self.data, self.talk))
    }

    /// Nothing on stdout, this exit code, and a sentence that holds each of these.
    fn fails(&self, code: i32, holds: &[&str]) {
        assert_eq!((self.code, self.data.as_str()), (Some(code), ""), "{}", self.talk);
        for text in holds {
            assert!(self.talk.contains(text), "no {text:?} in {:?}", self.talk);
        }
    }
}

/// A shell in a folder with an `axiom.toml`.
struct Shell {
    folder: PathBuf,
}

impl Shell {
    fn new(text: &str) -> Self {
        let folder = bed::scratch("shell");
        std::fs::write(folder.join("axiom.toml"), text).expect("a file can be written");
        Shell { folder }
    }

    fn axiom(&self, arguments: &[&str]) -> Said {
        let mut command = Command::new(bed::built("axiom"));
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env("NO_COLOR", "1");
        let mut running = Running::start("axiom", &mut command);
        running.stdin = None;
        Said {
            data: running.stdout.all().join("\n"),
            talk: running.stderr.all().join("\n"),
            code: running.ended().code(),
        }
    }
}

/// One that works, one whose program fails, one where nobody listens.
fn config() -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .stdio("dual", &servers::dual_stdio())
        .stdio("fails", &["false".to_owned()])
        .url("nobody", &format!("http://127.0.0.1:{}/mcp", unused_port()))
}

/// A port that was free a moment ago. Nobody listens there unless the kernel gives it away at once.
fn unused_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
    listener.local_addr().expect("it is bound").port()
}

#[test]
fn without_a_running_gateway() {
    let shell = Shell::new(&config().text());
    every_command(&shell);
    let left = process::with_argument(&shell.folder.display().to_string());
    assert!(left.is_empty(), "{left:?}");
}

/// The shell's configuration names the address and no servers: what it shows is the running gateway's.
#[test]
fn with_a_running_gateway() {
    let gateway = Gateway::start(&config());
    let listen = format!("[gateway]\nlisten = \"{}\"\n", gateway.address());
    let shell = Shell::new(&listen);
    every_command(&shell);
    let calls = gateway.status("everything")["calls"].as_u64();
    assert!(calls > Some(3), "they were the running gateway's: {calls:?}");
}

fn every_command(shell: &Shell) {
    servers_and_tools(shell);
    calls_that_work(shell);
    calls_that_fail(shell);
}

/// Two servers that are down hide neither themselves nor the others.
fn servers_and_tools(shell: &Shell) {
    let said = shell.axiom(&["servers", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    let list = said.json();
    let state = |name: &str| {
        let mut servers = list.as_array().expect("a list").iter();
        let found = servers.find(|server| server["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {list}")).clone()
    };
    assert_eq!(state("everything")["state"], "up");
    assert_eq!(state("everything")["revisions"], json!(["2025-11-25"]));
    assert_eq!(state("everything")["error"], Value::Null);
    for (name, why) in [("fails", "exited with code 1"), ("nobody", "refused")] {
        assert_eq!(state(name)["state"], "down", "{name}");
        let error = state(name)["error"].to_string();
        assert!(error.contains(why), "{name}: {error}");
    }

    let said = shell.axiom(&["servers"]);
    assert_eq!(said.code, Some(0), "{}", said.talk);
    for (name, holds) in [
        ("everything", "up"),
        ("fails", "exited with code 1"),
        ("nobody", "refused"),
    ] {
        let line = said.data.lines().find(|line| line.starts_with(name));
        assert!(line.is_some_and(|line| line.contains(holds)), "{}", said.data);
    }

    let names = |arguments: &[&str]| -> Vec<String> {
        let said = shell.axiom(arguments);
        assert_eq!(said.code, Some(0), "{}", said.talk);
        let list = said.json();
        let tools = list.as_array().expect("a list").iter();
        let name = |tool: &Value| tool["name"].as_str().expect("a tool has a name").to_owned();
        tools.map(name).collect()
    };
    let all = names(&["tools", "--json"]);
    for tool in ["everything__echo", "dual__test_simple_text"] {
        assert!(all.iter().any(|name| name == tool), "{all:?}");
    }
    assert!(names(&["tools", "everything", "--json"]).contains(&"echo".to_owned()));
    let said = shell.axiom(&["tools"]);
    assert!(said.data.contains("everything__echo"), "{}", said.data);
    shell
        .axiom(&["tools", "everythin"])
        .fails(3, &["everythin", "hint:"]);
}

fn calls_that_work(shell: &Shell) {
    let said = shell.axiom(&["call", "everything.echo", "message=hello"]);
    assert_eq!(
        (said.code, said.data.as_str()),
        (Some(0), "Echo: hello"),
        "{}",
        said.talk
    );
    let said = shell.axiom(&["call", "everything.get-sum", "a=40", "b=2", "--json"]);
    assert_eq!(said.json()["content"][0]["text"], "The sum of 40 and 2 is 42.");
    let whole = json!({ "location": "New York" }).to_string();
    let said = shell.axiom(&["call", "everything.get-structured-content", "--json", &whole]);
    assert!(
        said.json()["structuredContent"]["temperature"].is_number(),
        "{}",
        said.data
    );
    let said = shell.axiom(&["call", "dual.test_tool_with_progress"]);
    assert_eq!(
        (said.code, said.data.as_str()),
        (Some(0), "Reported progress"),
        "{}",
        said.talk
    );
    assert!(said.talk.contains("50/100"), "progress is talk: {:?}", said.talk);
    let said = shell.axiom(&["call", "dual.test_image_content"]);
    assert!(
        said.data.contains("image/png"),
        "what is no text is named: {}",
        said.data
    );
}

fn calls_that_fail(shell: &Shell) {
    let call = |arguments: &[&str]| shell.axiom(&[&["call"], arguments].concat());
    call(&["everything.ecoh"]).fails(3, &["everything", "ecoh", "did you mean", "echo"]);
    call(&["evrything.echo"]).fails(3, &["evrything", "did you mean", "everything"]);
    call(&["fails.x"]).fails(5, &["fails", "exited with code 1"]);
    call(&["nobody.x"]).fails(5, &["nobody", "refused"]);
    call(&["everything"]).fails(2, &["SERVER.TOOL", "hint:"]);
    call(&["everything.get-sum", "a=forty", "b=2"]).fails(2, &["`a`", "a number", "forty"]);
    call(&["everything.echo", "hello"]).fails(2, &["hello", "KEY=VALUE"]);
    call(&["everything.echo", "--json", "{\"message\":"]).fails(2, &["--json"]);

    // The tool itself says no: its words are data, and the exit code tells.
    let said = call(&["dual.test_error_handling"]);
    assert_eq!(said.code, Some(1), "{}", said.talk);
    assert!(said.data.contains("intentionally"), "{}", said.data);
    let said = call(&["dual.test_error_handling", "--json"]);
    assert_eq!((said.code, &said.json()["isError"]), (Some(1), &json!(true)));
}

#[test]
fn mistakes_in_the_configuration_are_shown_with_their_place() {
    let shell = Shell::new("[gateway]\nlisten = \"127.0.0.1:0\"\n[servers.files]\ncomand = [\"true\"]\n");
    for command in [&["servers"][..], &["call", "files.x"], &["config", "check"]] {
        let said = shell.axiom(command);
        said.fails(1, &["axiom.toml", "comand", "command"]);
    }
    let shell = Shell::new("");
    shell
        .axiom(&["servers", "--config", "elsewhere.toml"])
        .fails(3, &["elsewhere.toml"]);
    shell.axiom(&["serve"]).fails(2, &["serve"]);
}
