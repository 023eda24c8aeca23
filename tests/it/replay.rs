//! `axiom replay`: recorded calls made again, at the same server and at another one, and how their answers differ.

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session, Stateless};
use axiom_tests::{bed, servers};
use serde_json::{Value, json};

use crate::events::{Said, axiom, folder, recorded};

/// Two servers, and a view with a name of its own.
fn config(bodies: &str) -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .stdio("dual", &servers::dual_stdio())
        .view("mine", "include = [\"everything.*\"]")
        .view("mine", "rename = { \"everything.echo\" = \"say\" }")
        .events(&format!("dir = \"events\"\nbodies = \"{bodies}\""))
}

/// A configuration with an address that the command line finds the running gateway by.
struct At {
    gateway: Gateway,
    file: String,
}

impl At {
    /// The gateway has a port of its own; a second file beside it names that.
    fn start(config: &Config) -> At {
        let gateway = Gateway::start(config);
        let file = gateway.file().with_file_name("client.toml");
        let text = config
            .text()
            .replace("127.0.0.1:0", &gateway.address().to_string());
        std::fs::write(&file, text).expect("the folder is ours");
        At {
            file: file.display().to_string(),
            gateway,
        }
    }

    fn replay(&self, arguments: &[&str]) -> Said {
        let mut all = vec!["replay", "--config", &self.file];
        all.extend(arguments);
        axiom(&all)
    }

    fn json(&self, arguments: &[&str]) -> (Vec<Value>, Option<i32>) {
        let mut all = arguments.to_vec();
        all.push("--json");
        let said = self.replay(&all);
        let parse =
            |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        (said.data.iter().map(parse).collect(), said.code)
    }

    fn calls(&self, filter: &str, count: usize) -> Vec<Value> {
        recorded(
            &folder(&self.gateway),
            &format!("kind=gateway.call {filter}"),
            count,
        )
    }
}

fn task(call: &Value) -> &str {
    call["task"].as_str().expect("a call has an id")
}

#[test]
fn a_call_is_made_again_and_its_answer_compared() {
    let at = At::start(&config("full"));
    let mut client = Stateless::new(&at.gateway.mcp());
    client
        .call("everything__echo", &json!({ "message": "hello" }))
        .text();
    client.call("everything__get-sum", &json!({ "a": "x" })).value();
    let mut session = Session::open(&at.gateway.url("/v/mine/mcp"));
    session.call("say", &json!({ "message": "in a view" })).text();
    session.ask("resources/read", r#"{"uri":"nobody://has/this"}"#);
    let echo = &at.calls("name=everything__echo", 1)[0];

    // By its id and by its offset; the gateway that runs is asked, and records it.
    for named in [task(echo).to_owned(), echo["offset"].to_string()] {
        let said = at.replay(&[&named, "--yes"]);
        assert_eq!(
            (said.code, said.data.join("\n").as_str()),
            (Some(0), "equal"),
            "{}",
            said.talk
        );
    }
    let again = at.calls(&format!("replay_of={}", task(echo)), 2);
    assert_eq!(again[0]["body"]["name"], "everything__echo");
    assert_eq!(again[0]["body"]["outcome"], "result");
    assert_ne!(again[0]["task"], echo["task"]);

    // A tool's own error and a name of a view are repeated as well.
    for filter in ["name=everything__get-sum", "name=say"] {
        let call = &at.calls(filter, 1)[0];
        let said = at.replay(&[task(call), "--yes"]);
        assert_eq!(said.code, Some(0), "{filter}: {} {:?}", said.talk, said.data);
        let said = at.replay(&[task(call), "--yes", "--to", "everything"]);
        assert_eq!(said.code, Some(0), "{filter}: {} {:?}", said.talk, said.data);
    }

    // What only one of them knows differs, place by place.
    let (shown, code) = at.json(&[task(echo), "--yes", "--to", "dual"]);
    assert_eq!(code, Some(1), "{shown:?}");
    assert_eq!(shown[0]["verdict"], "different");
    assert_eq!(shown[0]["recorded_outcome"], "result");
    let first = &shown[0]["differences"][0];
    assert!(
        first["path"].as_str().is_some_and(|path| path.starts_with('$')),
        "{first}"
    );
    let ignored: Vec<String> = shown[0]["differences"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|difference| Some(format!("--ignore={}", difference["path"].as_str()?)))
        .collect();
    if shown[0]["outcome"] == "result" || shown[0]["outcome"] == "tool_error" {
        let mut arguments = vec![task(echo), "--yes", "--to", "dual"];
        arguments.extend(ignored.iter().map(String::as_str));
        assert_eq!(at.json(&arguments).1, Some(0), "{ignored:?}");
    }
}

#[test]
fn a_tool_that_may_do_something_is_called_only_when_somebody_says_so() {
    let at = At::start(&config("full"));
    let mut client = Stateless::new(&at.gateway.server("dual"));
    let tools = client.ask("tools/list", "{}").value();
    let tools = tools["tools"].as_array().expect("a list");
    let reads = |tool: &Value| tool["annotations"]["readOnlyHint"] == true;
    let writing = tools.iter().find(|tool| !reads(tool)).expect("one says nothing");
    let name = writing["name"].as_str().expect("it has a name");
    client.call(name, &json!({}));
    let call = &at.calls(&format!("method=tools/call name={name}"), 1)[0];
    let said = at.replay(&[task(call)]);
    assert_eq!(said.code, Some(4), "{}", said.talk);
    assert!(
        said.talk
            .contains(&format!("the tool `{name}` does not say that it only reads")),
        "{}",
        said.talk
    );
    assert!(said.talk.contains("hint: with --yes"), "{}", said.talk);
    at.calls(&format!("method=tools/call name={name}"), 1);
    let said = at.replay(&[task(call), "--yes"]);
    assert!(matches!(said.code, Some(0 | 1)), "{}", said.talk);
    at.calls(&format!("method=tools/call name={name}"), 2);
}

#[test]
fn many_calls_are_made_again_and_summed_up() {
    let at = At::start(&config("full"));
    let mut session = Session::open(&at.gateway.mcp());
    for n in 0..5 {
        session
            .call("everything__echo", &json!({ "message": format!("{n}") }))
            .text();
    }
    session.ask("prompts/list", "{}").value();
    session.call("everything__no-such", &json!({}));
    at.calls("method!=initialize", 7);
    let said = at.replay(&["--filter", "session=* method!=initialize", "--yes"]);
    assert_eq!(said.code, Some(0), "{} {:?}", said.talk, said.data);
    assert_eq!(said.data.len(), 8, "{:?}", said.data);
    assert!(said.data[0].starts_with("CALL"), "{:?}", said.data);
    assert!(
        said.talk
            .contains("7 equal, 0 different, 0 not made again, 0 failed"),
        "{}",
        said.talk
    );
    at.calls("replay_of=*", 7);

    // Repetitions are not repeated; the newest come first; a table is a page.
    let (shown, code) = at.json(&["--filter", "name=everything__echo", "--yes", "--limit", "2"]);
    assert_eq!((shown.len(), code), (2, Some(0)), "{shown:?}");
    let offsets: Vec<u64> = shown.iter().filter_map(|line| line["offset"].as_u64()).collect();
    assert!(offsets[0] < offsets[1], "{offsets:?}");
    let echoes = at.calls("name=everything__echo", 5 + 5 + 2);
    assert_eq!(shown[1]["offset"], echoes[4]["offset"]);

    let nothing = at.replay(&["--filter", "server=nobody"]);
    assert_eq!(nothing.code, Some(3), "{}", nothing.talk);
    let greeting = at.replay(&["--filter", "method=initialize"]);
    assert_eq!(greeting.code, Some(3), "{}", greeting.talk);
    assert!(
        greeting.data[1].contains("is a conversation's beginning"),
        "{:?}",
        greeting.data
    );
}

#[test]
fn without_a_gateway_one_is_made_and_records() {
    let at = At::start(&config("redacted"));
    let mut client = Stateless::new(&at.gateway.mcp());
    client
        .call("everything__echo", &json!({ "message": "hello" }))
        .text();
    client
        .call("everything__echo", &json!({ "message": "password=hunter2" }))
        .text();
    let calls = at.calls("name=everything__echo", 2);
    let (file, dir) = (at.file.clone(), folder(&at.gateway));
    at.gateway.stop();
    let said = axiom(&["replay", task(&calls[0]), "--yes", "--config", &file]);
    assert_eq!(
        (said.code, said.data),
        (Some(0), vec!["equal".to_owned()]),
        "{}",
        said.talk
    );
    let again = recorded(&dir, "replay_of=*", 1);
    assert_eq!(again[0]["body"]["replay_of"], calls[0]["task"]);
    assert_eq!(again[0]["body"]["endpoint"], "/mcp");

    let masked = axiom(&["replay", task(&calls[1]), "--yes", "--config", &file]);
    assert_eq!(masked.code, Some(3), "{}", masked.talk);
    assert!(
        masked
            .talk
            .contains("its request was recorded without its secrets"),
        "{}",
        masked.talk
    );

    // A server that is in no configuration.
    let (_running, url) = servers::everything_over("streamableHttp");
    let said = axiom(&[
        "replay",
        task(&calls[0]),
        "--yes",
        "--config",
        &file,
        "--to",
        &url,
    ]);
    assert_eq!(
        (said.code, said.data),
        (Some(0), vec!["equal".to_owned()]),
        "{}",
        said.talk
    );
    let there = &recorded(&dir, "replay_of=* server=to", 1)[0];
    assert_eq!(there["body"]["name"], "echo");
}

#[test]
fn what_cannot_be_made_again_is_explained() {
    let at = At::start(&config("off"));
    let mut client = Stateless::new(&at.gateway.mcp());
    client
        .call("everything__echo", &json!({ "message": "hello" }))
        .text();
    let call = &at.calls("name=everything__echo", 1)[0];
    let refused = at.replay(&[task(call)]);
    assert_eq!(refused.code, Some(3), "{}", refused.talk);
    assert!(
        refused.talk.contains("what was asked was not recorded"),
        "{}",
        refused.talk
    );
    assert!(
        refused
            .talk
            .contains("hint: set bodies = \"redacted\" or \"full\""),
        "{}",
        refused.talk
    );

    at.gateway
        .rewrite(&config("full").events("body_bytes_max = \"1kB\""));
    at.gateway.stderr().wait_from(0, "the change is told", |line| {
        line.contains("events: bodies, body_bytes_max")
    });
    client
        .call("everything__echo", &json!({ "message": "x".repeat(2_000) }))
        .text();
    let call = &at.calls("name=everything__echo request_bytes>2000", 1)[0];
    let refused = at.replay(&[task(call)]);
    assert!(
        refused
            .talk
            .contains("its request was longer than what is recorded"),
        "{}",
        refused.talk
    );
    assert!(refused.talk.contains("`body_bytes_max`"), "{}", refused.talk);

    for (arguments, code, words) in [
        (vec!["0"], 3, "is no call but"),
        (vec!["ffffffffffffffffffffffffffffffff"], 3, "no call `ffff"),
        (vec!["--filter", "sever=x"], 2, "did you mean `server`?"),
        (vec!["1", "--ignore", "$.a[x]"], 2, "is no step"),
        (vec!["1", "--to", "ftp://x"], 2, "its scheme is ftp"),
        (vec![], 2, "CALL"),
    ] {
        let said = at.replay(&arguments);
        assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.talk);
        assert!(said.talk.contains(words), "{arguments:?}: {}", said.talk);
    }
    let scratch = bed::scratch("nothing");
    let nothing = axiom(&["replay", "1", "--dir", &scratch.display().to_string()]);
    assert_eq!(nothing.code, Some(3), "{}", nothing.talk);
}
