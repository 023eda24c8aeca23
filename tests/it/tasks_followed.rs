//! What tasks say, for clients that do not ask again and again: resources that tell when there is more, and a WebSocket with a way
//! back.

use std::io::{Read as _, Write as _};
use std::process::Command;
use std::time::{Duration, Instant};

use axiom_tests::child::Running;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request, connect};
use axiom_tests::peer::{LATEST_LEGACY, Peer, Session, Stateless, split};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

use crate::news::{ID, Stream};
use crate::tasks_server::{ask, config, spawn, texts};

const UPDATED: &str = "notifications/resources/updated";

/// A session with its stream.
fn session(url: &str) -> (Session, Stream) {
    let session = Session::open(url);
    let (address, path) = split(url);
    let stream = Request::new("GET", &path)
        .header("accept", "text/event-stream")
        .header("mcp-protocol-version", LATEST_LEGACY)
        .header(
            "mcp-session-id",
            session.id.as_deref().expect("sessions have ids"),
        )
        .send(address);
    assert_eq!(stream.status, 200);
    (session, Stream::of(stream))
}

/// Starts one that says what it is told, and waits until it listens.
fn echo(client: &mut dyn Peer) -> String {
    let task = spawn(client, json!({ "command": ["cat"] }));
    wait::until("it runs", || {
        let state = ask(client, "status", json!({ "task": task }))["state"].clone();
        (state == "running").then_some(())
    });
    task
}

fn output_of(task: &str) -> String {
    format!("task://{task}/output")
}

/// Reads the resource until it ends like this.
fn read_until(client: &mut dyn Peer, uri: &str, end: &str) {
    wait::until("the resource has it", || {
        let read = client
            .ask("resources/read", &json!({ "uri": uri }).to_string())
            .value();
        let text = read["contents"][0]["text"].as_str()?.to_owned();
        text.ends_with(end).then_some(())
    });
}

#[test]
fn a_session_is_told_of_more_output() {
    let gateway = Gateway::start(&config());
    for (url, prefix) in [(gateway.server("tasks"), ""), (gateway.mcp(), "tasks__")] {
        let (mut session, mut stream) = session(&url);
        assert_eq!(
            session.initialized["capabilities"]["resources"]["subscribe"],
            true
        );
        let plain = &mut Stateless::new(&gateway.server("tasks"));
        let [one, other] = [(); 2].map(|()| echo(plain));
        let say = |plain: &mut Stateless, task: &str, text: &str| {
            ask(plain, "send", json!({ "task": task, "text": text }));
        };
        let subscribe = |session: &mut Session, method: &str, uri: &str| {
            let reply = session.ask(&format!("resources/{method}"), &json!({ "uri": uri }).to_string());
            assert_eq!(reply.value(), json!({}), "{method} {uri}");
        };
        subscribe(&mut session, "subscribe", &output_of(&one));
        subscribe(&mut session, "subscribe", &output_of(&other));
        for (task, text) in [(&one, "first"), (&other, "second"), (&one, "third")] {
            say(plain, task, text);
            let told = stream.hears_of(UPDATED);
            assert_eq!(told["params"]["uri"], output_of(task), "{prefix}{text}");
            read_until(&mut session, &output_of(task), &format!("{text}\n"));
        }
        // No more of it; its end is news of the other.
        subscribe(&mut session, "unsubscribe", &output_of(&one));
        say(plain, &one, "unheard");
        ask(plain, "kill", json!({ "tasks": [other] }));
        assert_eq!(stream.hears_of(UPDATED)["params"]["uri"], output_of(&other));
        let missing = session.ask("resources/subscribe", r#"{"uri":"task://ffff/output"}"#);
        assert!(missing.error.is_some(), "{missing:?}");
        ask(plain, "kill", json!({ "tasks": [one] }));
    }
}

#[test]
fn a_client_without_a_session_is_told_of_more_output() {
    let gateway = Gateway::start(&config());
    let client = &mut Stateless::new(&gateway.server("tasks"));
    for url in [gateway.server("tasks"), gateway.mcp()] {
        let task = echo(client);
        let uri = output_of(&task);
        let listener = Stateless::new(&url);
        let filter = json!({ "notifications": { "resourceSubscriptions": [uri, "task://ffff/output"] } });
        let answer = listener.send(&listener.request("3", "subscriptions/listen", &filter));
        let mut stream = Stream::of(answer);
        let first = stream.hears();
        assert_eq!(
            first["params"]["notifications"],
            json!({ "resourceSubscriptions": [uri] }),
            "{first}"
        );
        for text in ["one", "two"] {
            ask(client, "send", json!({ "task": task, "text": text }));
            let told = stream.hears_of(UPDATED);
            assert_eq!(
                told["params"],
                json!({ "uri": uri, "_meta": { ID: 3 } }),
                "{told}"
            );
            read_until(client, &uri, &format!("{text}\n"));
        }
        ask(client, "send", json!({ "task": task, "end": true }));
        stream.hears_of(UPDATED);
        let ended = ask(client, "wait", json!({ "tasks": [task] }));
        assert_eq!(ended["tasks"][0]["code"], 0, "{ended}");
    }
}

/// However much is said, a client hears of it some times a second; one that does not read costs nothing and holds up nobody.
#[test]
fn much_output_is_little_news() {
    let gateway = Gateway::start(&config().tasks("record = \"ends\""));
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let go = gateway.file().with_file_name("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; seq 200000", go.display());
    let task = spawn(client, json!({ "shell": script }));
    let uri = output_of(&task);
    let listens = |id: &str| -> Answer {
        let filter = json!({ "notifications": { "resourceSubscriptions": [uri] } });
        let listener = Stateless::new(&gateway.server("tasks"));
        listener.send(&listener.request(id, "subscriptions/listen", &filter))
    };
    let _stalled = listens("8");
    let mut stream = Stream::of(listens("9"));
    stream.hears();
    let began = Instant::now();
    std::fs::write(&go, "").expect("a file");
    let ended = ask(
        client,
        "wait",
        json!({ "tasks": [task], "timeout_s": 60, "last": 1 }),
    );
    let took = began.elapsed();
    assert_eq!(
        (&ended["is_done"], &ended["tasks"][0]["lines"]),
        (&json!(true), &json!(200_000)),
        "{ended}"
    );
    // The last news may be on its way.
    let mut told = 0;
    while let Ok(message) = stream.messages.recv_timeout(Duration::from_secs(1)) {
        assert_eq!(message["method"], UPDATED, "{message}");
        told += 1;
    }
    let quarters = took.as_millis() / 250;
    assert!((1..=quarters + 3).contains(&told), "{told} news in {took:?}");
}

/// A client on a WebSocket, by Node.
struct Socket {
    client: Running,
    seen: usize,
}

impl Socket {
    fn open(gateway: &Gateway, query: &str) -> Socket {
        let url = gateway
            .url(&format!("/api/v1/tasks/live{query}"))
            .replace("http://", "ws://");
        let mut command = Command::new(bed::node());
        command.arg(bed::ours("clients/live.mjs")).arg(url);
        let mut socket = Socket {
            client: Running::start("a client on a WebSocket", &mut command),
            seen: 0,
        };
        socket.hears("open");
        socket
    }

    /// The next message of this name. Others on the way are dropped.
    fn hears(&mut self, event: &str) -> Value {
        let is_wanted = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("a message is JSON");
            message["event"] == event
        };
        let (at, line) = self.client.stdout.wait_from(self.seen, event, is_wanted);
        self.seen = at + 1;
        serde_json::from_str(&line).expect("a message is JSON")
    }

    fn says(&mut self, message: &Value) {
        self.writes(&message.to_string());
    }

    fn writes(&mut self, text: &str) {
        let stdin = self.client.stdin.as_mut().expect("it reads");
        writeln!(stdin, "{text}").expect("it reads");
    }
}

#[test]
fn a_websocket_shows_live_and_takes_input() {
    let gateway = Gateway::start(&config());
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let mut socket = Socket::open(&gateway, "?prefix=1");
    let task = spawn(
        client,
        json!({ "command": ["sh"], "terminal": {}, "why": "to be at" }),
    );
    socket.says(&json!({ "action": "resize", "task": task, "columns": 101, "rows": 33, "id": "a" }));
    wait::until("its terminal has the size", || {
        let answer = match socket.hears_one_of(&["done", "refused"]) {
            answer if answer["event"] == "done" => return Some(answer),
            answer => answer,
        };
        // It may not run yet.
        assert_eq!(
            (&answer["error"]["code"], &answer["id"]),
            (&json!("not_now"), &json!("a")),
            "{answer}"
        );
        socket.says(&json!({ "action": "resize", "task": task, "columns": 101, "rows": 33, "id": "a" }));
        None
    });
    socket.says(
        &json!({ "action": "input", "task": task.get(..8), "text": "stty size", "id": 7, "why": "a look" }),
    );
    let done = socket.hears("done");
    assert_eq!(
        (&done["id"], &done["task"], &done["action"]),
        (&json!(7), &json!(task), &json!("input"))
    );
    // It may have come before that.
    let lines = socket
        .client
        .stdout
        .wait("its terminal has the size", |line| line.contains("33 101"));
    let lines: Value = serde_json::from_str(&lines).expect("a message is JSON");
    assert_eq!(lines["task"], task);
    assert!(
        lines["text"]
            .as_str()
            .is_some_and(|text| text.starts_with(&format!("[{}]", task.get(..8).unwrap_or_default()))),
        "{lines}"
    );
    // What cannot be done says why, and nothing is cut off.
    for (message, code, words) in [
        (
            r#"{"action":"dance","task":"TASK","id":1}"#,
            "unknown",
            "nothing here",
        ),
        (
            r#"{"action":"input","task":"TASK","txt":"x","id":1}"#,
            "wrong",
            "no argument `txt`",
        ),
        (
            r#"{"action":"signal","task":"TASK","id":1}"#,
            "wrong",
            "`signal` is missing",
        ),
        (
            r#"{"action":"kill","task":"ffff","id":1}"#,
            "unknown",
            "there is no task",
        ),
        (r#"{"task":"TASK"}"#, "wrong", "must be a JSON object"),
        ("no JSON", "wrong", "must be a JSON object"),
    ] {
        socket.writes(&message.replace("TASK", &task));
        let refused = socket.hears("refused");
        let said = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(
            refused["error"]["code"] == code && said.contains(words),
            "{message}: {refused}"
        );
    }
    socket.says(&json!({ "action": "kill", "task": task, "why": "over", "id": 9 }));
    assert_eq!(socket.hears("done")["killed"], json!([task]));
    let how = ask(client, "status", json!({ "task": task }))["how"].clone();
    assert!(
        how.as_str()
            .is_some_and(|how| how.contains("killed: over (admin")),
        "{how}"
    );
    // One task alone, with its last lines.
    let said = spawn(client, json!({ "shell": "echo once; sleep 300" }));
    ask(client, "output", json!({ "task": said, "from": 0, "wait_s": 60 }));
    let mut late = Socket::open(&gateway, &format!("?task={said}&last=5"));
    let lines = late.hears("lines");
    assert_eq!(
        (&lines["task"], &lines["text"], &lines["number"]),
        (&json!(said), &json!("once"), &json!(0))
    );
    // Its client goes; the other one stays until the gateway ends.
    late.client.stdin = None;
    assert_eq!(late.hears("close")["clean"], true);
    ask(client, "kill", json!({ "tasks": [said] }));
    assert!(gateway.stop().success());
    socket.hears("close");
}

impl Socket {
    fn hears_one_of(&mut self, events: &[&str]) -> Value {
        let is_wanted = |line: &str| {
            let message: Value = serde_json::from_str(line).expect("a message is JSON");
            message["event"]
                .as_str()
                .is_some_and(|event| events.contains(&event))
        };
        let (at, line) = self.client.stdout.wait_from(self.seen, "an answer", is_wanted);
        self.seen = at + 1;
        serde_json::from_str(&line).expect("a message is JSON")
    }
}

fn upgrade() -> Request {
    Request::new("GET", "/api/v1/tasks/live")
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
}

#[test]
fn a_websocket_is_not_for_pages_and_strangers_and_a_slow_reader_holds_up_nobody() {
    let gateway = Gateway::start(&config().tasks("record = \"ends\""));
    let refused = |request: Request, status: u16| {
        assert_eq!(request.send(gateway.address()).status, status, "{request:?}");
    };
    refused(upgrade().header("origin", "https://evil.example"), 403);
    refused(upgrade().header("host", "evil.example"), 403);
    refused(upgrade().header("x-forwarded-for", "192.0.2.1"), 403);
    refused(upgrade().without("sec-websocket-key"), 400);

    // It reads nothing of what comes.
    let mut slow = connect(gateway.address()).expect("it listens");
    slow.write_all(&upgrade().bytes(gateway.address()))
        .expect("it is sent");
    let mut head = [0; 12];
    slow.read_exact(&mut head).expect("it is answered");
    assert_eq!(&head, b"HTTP/1.1 101");
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let before = gateway.rss_kib();
    let task = spawn(
        client,
        json!({ "shell": "yes 0123456789012345678901234567890123456789 | head -n 900000" }),
    );
    let ended = ask(
        client,
        "wait",
        json!({ "tasks": [task], "timeout_s": 60, "last": 1 }),
    );
    assert_eq!(
        (&ended["is_done"], &ended["tasks"][0]["code"]),
        (&json!(true), &json!(0)),
        "{ended}"
    );
    assert_eq!(
        texts(&ended["tasks"][0]["last_lines"]),
        ["0123456789012345678901234567890123456789"]
    );
    let grown = gateway.rss_kib().saturating_sub(before);
    assert!(grown < 40_000, "{grown} KiB for one that does not read");
    drop(slow);
}
