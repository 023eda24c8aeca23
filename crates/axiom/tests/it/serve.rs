//! `up`, `stdio`, and the commands that talk to a gateway, with the built-in demo server.

use std::net::TcpListener;

use insta::assert_snapshot;
use rustix::process::Signal;
use serde_json::{Value as Json, json};

use crate::running::Running;
use crate::session::Scratch;

/// A configuration with the demo server in a process of its own, and no fixed address: whatever else runs on this
/// machine, a command starts its own gateway.
fn configured(name: &str) -> Scratch {
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n[servers.demo]\ncommand = [{:?}, \"stdio\", \"--server\", \"demo\"]\ncwd = \"empty\"\n",
        env!("CARGO_BIN_EXE_axiom"),
    );
    let scratch = Scratch::with(name, "axiom.toml", &text);
    std::fs::create_dir(scratch.path.join("empty")).unwrap();
    scratch
}

/// A gateway with the demo server, ready, and its address.
fn demo_gateway(scratch: &Scratch) -> (Running, String) {
    let up = Running::start(scratch, &["--listen", "127.0.0.1:0"]);
    let url = up.data();
    up.talk("demo  4 tools");
    let address = url
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .to_owned();
    (up, address)
}

#[test]
fn up_says_one_line_when_ready_and_ends_when_asked() {
    let scratch = Scratch::new("up-json");
    for signal in [Signal::TERM, Signal::INT] {
        let up = Running::start(&scratch, &["up", "--listen", "127.0.0.1:0", "--json"]);
        let said: Json = serde_json::from_str(&up.data()).unwrap();
        assert_eq!(said["event"], "listening");
        let base = said["admin"].as_str().unwrap().trim_end_matches('/').to_owned();
        assert_eq!(said["mcp"], format!("{base}/mcp"));
        up.signal(signal);
        let (rest, status) = up.end();
        assert_eq!((rest, status.code()), (Vec::new(), Some(0)), "{signal:?}");
    }
}

#[test]
fn up_is_the_default_command_and_its_data_is_the_address() {
    let scratch = Scratch::new("default");
    let up = Running::start(&scratch, &["--listen", "127.0.0.1:0"]);
    let url = up.data();
    assert!(
        url.starts_with("http://127.0.0.1:") && url.ends_with("/mcp"),
        "{url}"
    );
    up.talk("demo  4 tools");
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

#[test]
fn commands_find_the_running_gateway() {
    let other = Scratch::new("attached-to");
    let (up, address) = demo_gateway(&other);
    // The file has no servers: whoever answers with the demo's tools is the gateway of the other folder.
    let text = format!("[gateway]\nlisten = \"{address}\"\n");
    let scratch = Scratch::with("attached", "axiom.toml", &text);
    let run = |arguments: &[&str]| scratch.run(arguments).replace(&address, "ADDRESS");
    assert_snapshot!(run(&["call", "demo.echo", "text=hello"]), @r#"
    exit 0
    --- stdout
    hello
    --- stderr
    warning: the gateway at http://ADDRESS was started without a file, not from <scratch>/axiom.toml
    hint: give one of them another `gateway.listen`, or stop that gateway
    "#);
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
    assert_snapshot!(run(&["call", "demo.echo", "text=hello"]), @r#"
    exit 3
    --- stderr
    error: there is no server `demo`
    "#);
}

/// A gateway of `axiom.toml` with the demo server, ready, and its address.
fn running_from_a_file(scratch: &Scratch) -> (Running, String) {
    let up = Running::start(scratch, &["up"]);
    let address = up
        .data()
        .trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .to_owned();
    up.talk("demo  4 tools");
    (up, address)
}

/// Somebody edits the file of a running gateway and makes a mistake.
#[test]
fn a_mistake_in_the_file_is_a_warning_while_a_gateway_runs() {
    let scratch = configured("mistaken");
    let (up, address) = running_from_a_file(&scratch);
    let run = |arguments: &[&str]| scratch.run(arguments).replace(&address, "ADDRESS");
    let listen = format!("[gateway]\nlisten = \"{address}\"\n");

    scratch.write(
        "axiom.toml",
        &format!("{listen}[servers.demo]\ncomand = [\"x\"]\n"),
    );
    up.talk("the last good configuration stays in force");
    assert_snapshot!(run(&["call", "demo.echo", "text=hello"]), @r#"
    exit 0
    --- stdout
    hello
    --- stderr
      × `servers.demo` says neither how to start the server nor where it is
       ╭─[axiom.toml:3:10]
     2 │ listen = "ADDRESS"
     3 │ [servers.demo]
       ·          ──┬─
       ·            ╰── no `command`, no `url`
     4 │ comand = ["x"]
       ╰────
      help: add command = ["program", "argument"] or url = "http://host/mcp"

      × unknown key `comand` in `servers.demo`
       ╭─[axiom.toml:4:1]
     3 │ [servers.demo]
     4 │ comand = ["x"]
       · ───┬──
       ·    ╰── not a key here
       ╰────
      help: did you mean `command`?
    warning: axiom.toml has 2 errors; this is the gateway at http://ADDRESS, which serves what it read before
    "#);
    assert!(run(&["tools", "demo"]).starts_with("exit 0\n--- stdout\nTOOL "));
    assert!(run(&["servers"]).starts_with("exit 0\n--- stdout\nNAME "));

    // What cannot even be read to its end names the address above the mistake.
    scratch.write("axiom.toml", &format!("{listen}[servers.demo\n"));
    let said = run(&["call", "demo.echo", "text=hello"]);
    assert!(
        said.starts_with("exit 0\n--- stdout\nhello\n--- stderr\n"),
        "{said}"
    );
    assert!(
        said.contains("not valid TOML") && said.contains("warning: axiom.toml has 1 error"),
        "{said}"
    );

    up.signal(Signal::TERM);
    assert!(up.end().1.success());
    let said = run(&["call", "demo.echo", "text=hello"]);
    assert!(said.starts_with("exit 1\n--- stderr\n"), "{said}");
    assert!(said.ends_with("error: axiom.toml has 1 error\n"), "{said}");
}

#[test]
fn the_gateway_of_another_file_is_named() {
    let scratch = configured("another-file");
    let (up, address) = running_from_a_file(&scratch);
    scratch.write("other.toml", &format!("[gateway]\nlisten = \"{address}\"\n"));
    let run = |arguments: &[&str]| scratch.run(arguments).replace(&address, "ADDRESS");
    assert_snapshot!(run(&["call", "demo.echo", "text=hello", "--config", "other.toml"]), @r#"
    exit 0
    --- stdout
    hello
    --- stderr
    warning: the gateway at http://ADDRESS was started from <scratch>/axiom.toml, not from <scratch>/other.toml
    hint: give one of them another `gateway.listen`, or stop that gateway
    "#);
    let said = run(&["servers", "--config", "other.toml"]);
    assert!(said.contains("started from <scratch>/axiom.toml"), "{said}");

    // The same file, however it is named, is no other one.
    std::fs::write(
        scratch.path.join("axiom.toml"),
        scratch.read("axiom.toml").replace("127.0.0.1:0", &address),
    )
    .unwrap();
    for named in ["axiom.toml", "./axiom.toml", "empty/../axiom.toml"] {
        let said = run(&["call", "demo.echo", "text=hello", "--config", named]);
        assert_eq!(said, "exit 0\n--- stdout\nhello\n", "{named}");
    }
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

#[test]
fn an_address_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let scratch = Scratch::new("taken");
    assert_snapshot!(scratch.run(&["up", "--listen", &address]).replace(&address, "ADDRESS"), @r#"
    exit 5
    --- stderr
    error: cannot listen at ADDRESS: Address already in use (os error 98)
    hint: something listens there already; try `axiom servers`, or --listen 127.0.0.1:0
    "#);
}

#[test]
fn calls() {
    let scratch = configured("calls");
    assert_snapshot!(scratch.run(&["call", "demo.echo", "text=a=b"]), @r#"
    exit 0
    --- stdout
    a=b
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.add", "a=1", "b=2"]), @r#"
    exit 0
    --- stdout
    3
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.add", "--json", "{\"a\": 1, \"b\": 2.5}"]), @r#"
    exit 0
    --- stdout
    {"content":[{"text":"3.5","type":"text"}],"structuredContent":{"sum":3.5}}
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.echo", "--json", "text=hi"]), @r#"
    exit 0
    --- stdout
    {"content":[{"text":"hi","type":"text"}]}
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.slow", "seconds=0.2", "steps=2"]), @r#"
    exit 0
    --- stdout
    done after 0.2 s
    --- stderr
    1/2 step 1 of 2
    2/2 step 2 of 2
    "#);
}

/// A configuration with the server that answers fixed bytes.
fn exact(name: &str) -> Scratch {
    let script = std::path::Path::new(crate::session::DATA).join("exact.sh");
    let text = format!(
        "[gateway]\nlisten = \"127.0.0.1:0\"\n[servers.exact]\ncommand = [\"/bin/sh\", {:?}]\n",
        script.display().to_string(),
    );
    Scratch::with(name, "axiom.toml", &text)
}

#[test]
fn what_a_tool_says_is_printed_as_it_came() {
    let scratch = exact("exact-result");
    assert_snapshot!(scratch.run(&["call", "exact.wide", "--json"]), @r#"
    exit 0
    --- stdout
    {"structuredContent":{"z":123456789012345678901234567890,"a":[1.50,1E400],"u":"\u00e9"},"content":[]}
    "#);
    assert_snapshot!(scratch.run(&["call", "exact.wide"]), @r#"
    exit 0
    --- stdout
    {
      "z": 123456789012345678901234567890,
      "a": [
        1.50,
        1E400
      ],
      "u": "\u00e9"
    }
    "#);
    assert_snapshot!(scratch.run(&["tools", "exact", "--json"]), @r#"
    exit 0
    --- stdout
    [{"title":"Z","name":"wide","inputSchema":{"type":"object","properties":{"n":{"type":"integer","maximum":1e400}},"required":["n"]}},{"name":"back","inputSchema":{"type":"object","properties":{"n":{"type":"integer","maximum":1e400}},"required":["n"]}}]
    "#);
    assert_snapshot!(scratch.run(&["tools", "exact"]), @r#"
    exit 0
    --- stdout
    TOOL  ARGUMENTS  DESCRIPTION
    wide  n
    back  n
    "#);
}

#[test]
fn what_is_typed_is_sent_as_it_was_typed() {
    let scratch = exact("exact-arguments");
    assert_snapshot!(scratch.run(&["call", "exact.back", "n=123456789012345678901234567890", "a=1.50", "--json"]), @r#"
    exit 0
    --- stdout
    {"structuredContent":{"n":123456789012345678901234567890,"a":1.50},"content":[]}
    "#);
    assert_snapshot!(scratch.run(&["call", "exact.back", "--json", "{\"n\": 123456789012345678901234567890, \"a\": 1e400}"]), @r#"
    exit 0
    --- stdout
    {"structuredContent":{"n": 123456789012345678901234567890, "a": 1e400},"content":[]}
    "#);
}

#[test]
fn calls_that_fail() {
    let scratch = configured("calls-fail");
    assert_snapshot!(scratch.run(&["call", "echo"]), @r#"
    exit 2
    --- stderr
    error: `echo` is not SERVER.TOOL
    hint: `axiom servers` names the servers
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.echo", "hello"]), @r#"
    exit 2
    --- stderr
    error: `hello` is not KEY=VALUE
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.add", "a=one", "b=2"]), @r#"
    exit 2
    --- stderr
    error: `a` must be a number, not `one`
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.add", "a=1"]), @r#"
    exit 1
    --- stdout
    `a` and `b` must be numbers
    --- stderr
    error: the tool reports a failure
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.ecco"]), @r#"
    exit 3
    --- stderr
    error: the server `demo` has no tool `ecco`
    hint: did you mean `echo`?
    "#);
    assert_snapshot!(scratch.run(&["call", "dmo.echo"]), @r#"
    exit 3
    --- stderr
    error: there is no server `dmo`
    hint: did you mean `demo`?
    "#);
    assert_snapshot!(scratch.run(&["call", "demo.add", "--json", "{1}"]), @r#"
    exit 2
    --- stderr
    error: --json has no valid JSON object: key must be a string at line 1 column 2
    "#);
}

#[test]
fn lists() {
    let scratch = configured("lists");
    assert_snapshot!(scratch.run(&["tools", "demo"]), @r#"
    exit 0
    --- stdout
    TOOL  ARGUMENTS          DESCRIPTION
    add   a b                Adds two numbers.
    echo  text               Gives back the text it gets.
    now                      The current time, in UTC.
    slow  [seconds] [steps]  Takes its time, reports progress on the way, and can be cancelled.
    "#);
    let output = scratch.command(&["servers", "--json"]).output().unwrap();
    let servers: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&servers[0]["name"], &servers[0]["state"]),
        (&json!("demo"), &json!("up"))
    );
    let output = scratch.command(&["tools", "--json"]).output().unwrap();
    let tools: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(tools.as_array().unwrap().len(), 4);
}

#[test]
fn stdio_serves_its_parent_and_ends_with_it() {
    let scratch = Scratch::new("stdio");
    let mut stdio = Running::start(&scratch, &["stdio", "--server", "demo"]);
    let initialize = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
        "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}
    }});
    stdio.write(&initialize.to_string());
    let answer: Json = serde_json::from_str(&stdio.data()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["protocolVersion"]),
        (&json!(1), &json!("2025-11-25"))
    );
    stdio.write(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    stdio.write(r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}"#);
    let answer: Json = serde_json::from_str(&stdio.data()).unwrap();
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]["text"]),
        (&json!("x"), &json!("hi"))
    );
    stdio.close_stdin();
    let (rest, status) = stdio.end();
    assert_eq!((rest, status.code()), (Vec::new(), Some(0)));
}

#[test]
fn stdio_of_a_server_that_is_not_there() {
    let scratch = Scratch::new("stdio-missing");
    assert_snapshot!(scratch.run(&["stdio", "--server", "nope"]), @r#"
    exit 3
    --- stderr
    error: there is no server `nope` in the configuration
    "#);
}

#[test]
fn a_changed_file_is_applied_and_a_broken_one_is_not() {
    let good = |servers: &str| format!("[gateway]\nlisten = \"127.0.0.1:0\"\n{servers}");
    let scratch = Scratch::with(
        "reload",
        "axiom.toml",
        &good("[servers.a]\nurl = \"http://127.0.0.1:9/mcp\"\n"),
    );
    let up = Running::start(&scratch, &["up", "--json"]);
    up.data();
    // As editors do it: a new file in the place of the old one.
    scratch.write(
        "axiom.toml.new",
        &good("[servers.b]\nurl = \"http://127.0.0.1:9/mcp\"\n"),
    );
    std::fs::rename(
        scratch.path.join("axiom.toml.new"),
        scratch.path.join("axiom.toml"),
    )
    .unwrap();
    up.talk("- server a");
    up.talk("+ server b");
    scratch.write("axiom.toml", "[servers.b]\nurl = 1\n");
    up.talk("`servers.b.url` must be a string");
    up.talk("the last good configuration stays in force");
    scratch.write(
        "axiom.toml",
        &good("[servers.b]\nurl = \"http://127.0.0.1:9/mcp\"\ncall_timeout = \"1s\"\n"),
    );
    up.talk("~ server b: call_timeout");
    scratch.write("axiom.toml", "[gateway]\nlisten = \"127.0.0.1:9\"\n");
    up.talk("- server b");
    up.talk("gateway.listen = \"127.0.0.1:9\" needs a restart");
    up.signal(Signal::HUP);
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

/// What cannot change while events are recorded is told, once, and without the password in an address.
#[test]
fn changes_that_wait_for_a_restart_are_told() {
    let events =
        |more: &str| format!("[gateway]\nlisten = \"127.0.0.1:0\"\n[events]\ndir = \"events\"\n{more}");
    let scratch = Scratch::with("waiting", "axiom.toml", &events(""));
    let up = Running::start(&scratch, &["up", "--json"]);
    up.data();
    for (more, told) in [
        ("shard = 3\n", "events.shard needs a restart"),
        (
            "shard = 3\nflight_sql = \"127.0.0.1:9\"\n",
            "events.flight_sql needs a restart",
        ),
        (
            "shard = 3\nredis = \"redis://:hunter2@127.0.0.1:9\"\n",
            "events.redis needs a restart",
        ),
    ] {
        scratch.write("axiom.toml", &events(more));
        let said = up.talk(told);
        assert!(!said.contains("hunter2"), "{said}");
    }
    scratch.write("axiom.toml", &events("shard = 3\nbodies = \"full\"\n"));
    up.talk("~ events: bodies");
    up.talk("events.redis needs a restart");
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

/// What an editor leaves behind that found the disk full.
#[test]
fn a_file_that_became_empty_takes_no_server_away() {
    let scratch = configured("emptied");
    let (up, address) = running_from_a_file(&scratch);
    scratch.write("axiom.toml", "");
    up.talk("error: axiom.toml is empty; the last good configuration stays in force");
    scratch.write("call.toml", &format!("[gateway]\nlisten = \"{address}\"\n"));
    let said = scratch.run(&["call", "demo.echo", "text=hello", "--config", "call.toml"]);
    assert!(said.starts_with("exit 0\n--- stdout\nhello\n"), "{said}");
    // Meant so, it is done.
    scratch.write("axiom.toml", "# No servers.\n");
    up.talk("- server demo");
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

/// A pipe can be read once: what was read stays in force, and nobody waits for more.
#[test]
fn a_configuration_from_a_pipe_is_read_once() {
    let scratch = Scratch::new("piped");
    let text = json!({"gateway": {"listen": "127.0.0.1:0"}, "servers": {"demo": {
        "command": [env!("CARGO_BIN_EXE_axiom"), "stdio", "--server", "demo"],
        "cwd": scratch.path.join("empty"),
    }}});
    std::fs::create_dir(scratch.path.join("empty")).unwrap();
    let mut up = Running::start(&scratch, &["up", "--config", "/dev/stdin"]);
    up.write(&text.to_string());
    up.close_stdin();
    up.data();
    up.talk("demo  4 tools");
    up.signal(Signal::HUP);
    up.talk("there is no configuration file that can be read again");
    up.signal(Signal::TERM);
    assert!(up.end().1.success());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_stdout_is_named() {
    let scratch = configured("full");
    for arguments in [&["call", "demo.echo", "text=hello"][..], &["config", "schema"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = scratch.command(arguments).stdout(full).output().unwrap();
        assert_eq!(
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap().as_str()
            ),
            (
                Some(1),
                "error: cannot write to stdout: No space left on device (os error 28)\n"
            ),
        );
    }
}

/// A call of half a minute that has begun, and the gateway that carries it.
fn a_long_call(scratch: &Scratch) -> (Running, Running) {
    let (up, address) = demo_gateway(scratch);
    // An empty configuration, so that the call can only be answered by the other process.
    scratch.write("call.toml", &format!("[gateway]\nlisten = \"{address}\"\n"));
    let arguments = [
        "call",
        "demo.slow",
        "seconds=2",
        "steps=20",
        "--config",
        "call.toml",
    ];
    let call = Running::start(scratch, &arguments);
    call.talk("1/20");
    (up, call)
}

#[test]
fn the_first_signal_lets_calls_finish() {
    let scratch = Scratch::new("drain");
    let (up, call) = a_long_call(&scratch);
    up.signal(Signal::TERM);
    up.talk("finishing running calls");
    let (said, status) = call.end();
    assert_eq!(
        (said, status.code()),
        (vec!["done after 2.0 s".to_owned()], Some(0))
    );
    assert_eq!(up.end().1.code(), Some(0));
}

#[test]
fn the_second_signal_does_not_wait() {
    let scratch = Scratch::new("drain-twice");
    let (up, call) = a_long_call(&scratch);
    up.signal(Signal::INT);
    up.talk("finishing running calls");
    up.signal(Signal::INT);
    assert_eq!(up.end().1.code(), Some(130));
    assert_eq!(call.end().1.code(), Some(5));
}

#[test]
fn a_call_can_be_interrupted() {
    let scratch = configured("interrupt");
    let call = Running::start(&scratch, &["call", "demo.slow", "seconds=60", "steps=600"]);
    call.talk("1/600");
    call.signal(Signal::INT);
    let (said, status) = call.end();
    assert_eq!((said, status.code()), (Vec::new(), Some(130)));
}

/// A server that cannot be started is told, and hides nothing of the others.
#[test]
fn one_bad_server_does_not_hide_the_rest() {
    let text = "[servers.gone]\ncommand = [\"no-such-program\"]\n[servers.exits]\ncommand = [\"sh\", \"-c\", \"exit 3\"]\n";
    let scratch = Scratch::with("bad-servers", "axiom.toml", text);
    let output = scratch
        .command(&["servers", "--json"])
        .env("PATH", "/usr/bin:/bin")
        .output()
        .unwrap();
    let servers: Json = serde_json::from_slice(&output.stdout).unwrap();
    let told: Vec<(&str, &str)> = servers
        .as_array()
        .unwrap()
        .iter()
        .map(|server| {
            (
                server["name"].as_str().unwrap(),
                server["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [("exits", "down"), ("gone", "down")]);
    assert_eq!(output.status.code(), Some(0));
    assert!(scratch.run(&["call", "gone.x"]).starts_with("exit 5\n"));
}
