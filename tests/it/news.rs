//! News across the eras, from real servers to real clients and to raw ones: changed lists, updates of resources, log lines.
//! However many clients listen, a server of 2026-07-28 has one subscription; and nobody goes without news because a
//! server was restarted.

use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use axiom_tests::bed;
use axiom_tests::child::Running;
use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request};
use axiom_tests::peer::{LATEST_LEGACY, Peer as _, Session, Stateless, split};
use axiom_tests::{process, servers, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const WATCHED: &str = "test://watched-resource";
const MODERN_ONLY: &str = "servers/modern_only.mjs";
const LEGACY_ONLY: &str = "servers/legacy_only.mjs";
pub(crate) const ID: &str = "io.modelcontextprotocol/subscriptionId";

/// What each client is told when its server changes something. `prefix` stands before names on the common endpoint.
fn is_told(client: Client, way: &Way, prefix: &str) {
    let tool = |name: &str| json!({ "do": "callTool", "name": format!("{prefix}{name}") });
    let mut update = tool("test_trigger_resource_update");
    update["arguments"] = json!({ "uri": WATCHED });
    let mut steps = vec![
        json!({ "do": "subscribe", "uri": WATCHED, "trigger": update }),
        json!({ "do": "toolsChanged", "trigger": tool("test_trigger_tool_change") }),
        // Again: what was given up can be had once more.
        json!({ "do": "subscribe", "uri": WATCHED, "trigger": update }),
    ];
    let legacy = !matches!(client, Client::TsV2Modern | Client::PyMcpModern | Client::FastMcp);
    if legacy {
        steps.push(json!({ "do": "setLevel", "level": "info" }));
        steps.push(tool("test_tool_with_logging"));
    }
    let report = client.run(way, &json!({}), &steps);
    let who = format!("{client:?} over {way:?}");
    assert_eq!(report.version() < "2026", legacy, "{who}");
    for step in [0, 2] {
        assert_eq!(report.ok(step)["uri"], WATCHED, "{who}");
        // Python's client keeps the id to itself.
        let tagged = report.ok(step)["_meta"].get(ID).is_some();
        assert_eq!(tagged, client == Client::TsV2Modern, "{who}: {}", report.ok(step));
    }
    report.ok(1);
    if legacy {
        report.ok(3);
        let told = report.events(4, "notifications/message");
        assert_eq!(told.len(), 3, "{who}: {told:?}");
    }
}

/// A session hears of a server that knows no sessions, whatever carries either side.
#[test]
fn session_clients_of_a_modern_server() {
    let (_server, url) = servers::modern_only_http();
    let config = Config::new()
        .stdio("child", &servers::modern_only_stdio())
        .url("remote", &url);
    // Behind the common endpoint a resource belongs to one server.
    let alone = Gateway::start(&Config::new().url("remote", &url));
    let gateway = Gateway::start(&config);
    for client in [Client::TsV1, Client::TsV2Legacy, Client::PyMcpLegacy] {
        for server in ["child", "remote"] {
            is_told(client, &Way::Http(gateway.server(server)), "");
        }
        is_told(client, &Way::Http(alone.mcp()), "remote__");
    }
    is_told(Client::TsV1, &Way::Sse(gateway.url("/s/child/sse")), "");
    let ws = gateway.url("/s/remote/ws").replace("http://", "ws://");
    is_told(Client::TsV1, &Way::WebSocket(ws), "");
}

/// A client without a session hears of a server that knows sessions only.
#[test]
fn modern_clients_of_a_session_server() {
    let (_server, url) = servers::legacy_only_http();
    let config = Config::new()
        .stdio("child", &servers::legacy_only_stdio())
        .url("remote", &url);
    let alone = Gateway::start(&Config::new().url("remote", &url));
    let gateway = Gateway::start(&config);
    for client in [Client::TsV2Modern, Client::PyMcpModern, Client::FastMcp] {
        for server in ["child", "remote"] {
            is_told(client, &Way::Http(gateway.server(server)), "");
        }
        is_told(client, &Way::Http(alone.mcp()), "remote__");
    }
}

/// A server over HTTP that counts its subscriptions, at this port or, for 0, at any.
fn counting(script: &str, port: u16) -> (Running, String) {
    let mut command = Command::new(bed::node());
    command
        .args(["--import", &bed::ours("servers/count_listens.mjs")])
        .arg(bed::ours(script))
        .arg("http");
    if port != 0 {
        command.env("PORT", port.to_string());
    }
    let running = Running::start("a server that counts", &mut command);
    let url = running.listening()["mcp"]
        .as_str()
        .expect("it says where")
        .to_owned();
    (running, url)
}

/// Waits until the server has this many subscriptions, and tells how many there ever were.
fn has_open(server: &Running, open: u64) -> u64 {
    wait::until(&format!("{open} subscriptions are open"), || {
        let text = server.stdout.text();
        let last = text.lines().rfind(|line| line.contains("\"listens\""))?;
        let counted: Value = serde_json::from_str(last).expect("a line is JSON");
        (counted["open"] == open).then(|| counted["ever"].as_u64().expect("it counts"))
    })
}

/// A stream that is read beside the test: comments keep it alive, so that a read alone would never end. Dropped, it is
/// hung up.
pub(crate) struct Stream {
    pub(crate) messages: Receiver<Value>,
    connection: TcpStream,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.connection.shutdown(Shutdown::Both));
    }
}

impl Stream {
    pub(crate) fn of(mut answer: Answer) -> Stream {
        let connection = answer.connection();
        let (tx, messages) = channel();
        std::thread::spawn(move || {
            while let Some(text) = answer.next_message() {
                let message = serde_json::from_str(&text).expect("a message is JSON");
                // Nobody reads on: the stream is closed with this thread.
                if tx.send(message).is_err() {
                    return;
                }
            }
        });
        Stream { messages, connection }
    }

    pub(crate) fn hears(&mut self) -> Value {
        let message = self.messages.recv_timeout(wait::DEADLINE);
        message.expect("there is a message in time")
    }

    /// Waits for the notification; everything else on the way is news as well, and dropped.
    pub(crate) fn hears_of(&mut self, method: &str) -> Value {
        loop {
            let message = self.hears();
            if message["method"] == method {
                return message;
            }
        }
    }

    fn ends(&mut self) {
        let end = self.messages.recv_timeout(wait::DEADLINE);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected), "nothing follows");
    }
}

/// A session with its standing stream.
struct Listener {
    session: Session,
    stream: Stream,
}

impl Listener {
    fn open(url: &str) -> Listener {
        let session = Session::open(url);
        let (address, path) = split(url);
        let id = session.id.clone().expect("sessions have ids");
        let stream = Request::new("GET", &path)
            .header("accept", "text/event-stream")
            .header("mcp-protocol-version", LATEST_LEGACY)
            .header("mcp-session-id", &id)
            .send(address);
        assert_eq!(stream.status, 200);
        Listener {
            session,
            stream: Stream::of(stream),
        }
    }

    fn asks(&mut self, method: &str) {
        let reply = self.session.ask(method, &json!({ "uri": WATCHED }).to_string());
        assert_eq!(reply.value(), json!({}), "{method}");
    }
}

/// Opens a stream of 2026-07-28, whose acknowledgement must say `accepted`.
fn listens(url: &str, id: &str, filter: &Value, accepted: &Value) -> Stream {
    let peer = Stateless::new(url);
    let request = peer.request(id, "subscriptions/listen", &json!({ "notifications": filter }));
    let answer = peer.send(&request);
    assert_eq!(answer.status, 200);
    assert!(answer.is_sse());
    let mut stream = Stream::of(answer);
    let first = stream.hears();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(&first["params"]["notifications"], accepted, "{first}");
    assert_eq!(first["params"]["_meta"][ID].to_string(), id);
    stream
}

fn triggers(url: &str, tool: &str) {
    let reply = Stateless::new(url).call(tool, &json!({ "uri": WATCHED }));
    assert_eq!(reply.text(), "Told");
}

const UPDATED: &str = "notifications/resources/updated";
const TOOLS: &str = "notifications/tools/list_changed";

#[test]
fn many_clients_are_one_subscription_at_the_server() {
    let (mut server, url) = counting(MODERN_ONLY, 0);
    let gateway = Gateway::start(&Config::new().url("new", &url));
    let mut listeners: Vec<Listener> = (0..3)
        .flat_map(|_| {
            [
                Listener::open(&gateway.server("new")),
                Listener::open(&gateway.mcp()),
            ]
        })
        .collect();
    for listener in &mut listeners {
        listener.asks("resources/subscribe");
    }
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
    let mut streams: Vec<Stream> = ["1", "\"two\"", "3"]
        .iter()
        .map(|id| listens(&gateway.mcp(), id, &filter, &filter))
        .collect();
    // The first named no resource; the second one does, and all share it.
    assert_eq!(has_open(&server, 1), 2);

    triggers(&gateway.server("new"), "test_trigger_resource_update");
    for listener in &mut listeners {
        let update = listener.stream.hears();
        assert_eq!(update["method"], UPDATED, "{update}");
        assert_eq!(update["params"], json!({ "uri": WATCHED }), "without an id");
    }
    for (stream, id) in streams.iter_mut().zip([json!(1), json!("two"), json!(3)]) {
        let update = stream.hears();
        assert_eq!(update["method"], UPDATED, "{update}");
        assert_eq!(update["params"], json!({ "uri": WATCHED, "_meta": { ID: id } }));
    }

    // Who has left hears no update; the lists are news to every session.
    let mut left = listeners.pop().expect("there are six");
    left.asks("resources/unsubscribe");
    triggers(&gateway.server("new"), "test_trigger_resource_update");
    triggers(&gateway.server("new"), "test_trigger_tool_change");
    assert_eq!(left.stream.hears()["method"], TOOLS);
    for listener in &mut listeners {
        assert_eq!(listener.stream.hears()["method"], UPDATED);
        assert_eq!(listener.stream.hears()["method"], TOOLS);
    }
    for stream in &mut streams {
        assert_eq!(stream.hears()["method"], UPDATED);
        assert_eq!(stream.hears()["method"], TOOLS);
    }
    assert_eq!(has_open(&server, 1), 2, "nothing of this concerned the server");

    // The server is killed and comes back where it was: everybody looks again, and hears what comes then.
    let port = split(&url).0.port();
    server.signal(Signal::KILL);
    server.ended();
    let (server, _) = counting(MODERN_ONLY, port);
    for listener in &mut listeners {
        listener.stream.hears_of(TOOLS);
        listener.stream.hears_of(UPDATED);
    }
    for stream in &mut streams {
        stream.hears_of(TOOLS);
        stream.hears_of(UPDATED);
    }
    has_open(&server, 1);
    triggers(&gateway.server("new"), "test_trigger_tool_change");
    for listener in &mut listeners {
        listener.stream.hears_of(TOOLS);
    }

    // The last one who leaves takes the resource out of the subscription, which is another one then.
    drop(streams);
    let before = has_open(&server, 1);
    for listener in &mut listeners {
        listener.asks("resources/unsubscribe");
    }
    let after = wait::until("the subscription is replaced", || {
        Some(has_open(&server, 1)).filter(|ever| *ever > before)
    });
    assert_eq!(after, before + 1);
}

/// The process behind a server that runs as a child.
fn child_of(gateway: &Gateway, argument: &str) -> u32 {
    wait::until("the server runs", || {
        let children: Vec<u32> = process::descendants(gateway.pid())
            .into_iter()
            .map(|process| process.pid)
            .collect();
        let mut running = process::with_argument(argument);
        running.retain(|process| children.contains(&process.pid));
        // While it is found out what the server speaks there are several.
        (running.len() == 1).then(|| running[0].pid)
    })
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it runs");
}

#[test]
fn a_modern_stream_from_a_session_server() {
    let (_server, url) = servers::legacy_only_http();
    let config = Config::new()
        .stdio("child", &servers::legacy_only_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    for server in ["child", "remote"] {
        let url = gateway.server(server);
        let all = json!({ "toolsListChanged": true, "promptsListChanged": true, "resourcesListChanged": true,
                          "resourceSubscriptions": [WATCHED] });
        let mut stream = listens(&url, "\"a\"", &all, &all);
        let prompts = json!({ "promptsListChanged": true });
        let mut other = listens(&url, "7", &prompts, &prompts);
        triggers(&url, "test_trigger_tool_change");
        triggers(&url, "test_trigger_resource_update");
        triggers(&url, "test_trigger_prompt_change");
        for method in [TOOLS, UPDATED, "notifications/prompts/list_changed"] {
            assert_eq!(stream.hears_of(method)["params"]["_meta"][ID], "a", "{server}");
        }
        let first = other.hears();
        assert_eq!(
            first["method"], "notifications/prompts/list_changed",
            "{server}: the filter"
        );
        assert_eq!(first["params"]["_meta"][ID], 7, "{server}");
    }
}

#[test]
fn a_killed_server_is_started_again_for_those_who_listen() {
    for (command, script) in [
        (servers::legacy_only_stdio(), "legacy_only.mjs"),
        (servers::modern_only_stdio(), "modern_only.mjs"),
    ] {
        let gateway = Gateway::start(&Config::new().stdio("child", &command));
        let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
        let mut stream = listens(&gateway.mcp(), "1", &filter, &filter);
        let mut listener = Listener::open(&gateway.server("child"));
        listener.asks("resources/subscribe");
        kill(child_of(&gateway, script));
        for method in [TOOLS, UPDATED] {
            stream.hears_of(method);
            listener.stream.hears_of(method);
        }
        // Not only told once: subscribed again.
        triggers(&gateway.server("child"), "test_trigger_resource_update");
        stream.hears_of(UPDATED);
    }
}

#[test]
fn a_session_server_over_http_that_was_restarted() {
    let (mut server, url) = counting(LEGACY_ONLY, 0);
    let gateway = Gateway::start(&Config::new().url("old", &url));
    let filter = json!({ "toolsListChanged": true, "resourceSubscriptions": [WATCHED] });
    let mut stream = listens(&gateway.server("old"), "1", &filter, &filter);
    server.signal(Signal::KILL);
    server.ended();
    let (_server, _) = counting(LEGACY_ONLY, split(&url).0.port());
    stream.hears_of(TOOLS);
    stream.hears_of(UPDATED);
    // In the session that took the forgotten one's place.
    triggers(&gateway.server("old"), "test_trigger_resource_update");
    stream.hears_of(UPDATED);
}

#[test]
fn streams_end_in_order_when_the_gateway_does() {
    let (_server, url) = servers::legacy_only_http();
    let gateway = Gateway::start(&Config::new().url("old", &url));
    let filter = json!({ "toolsListChanged": true });
    let mut streams = [
        listens(&gateway.server("old"), "1", &filter, &filter),
        listens(&gateway.mcp(), "\"b\"", &filter, &filter),
    ];
    assert!(gateway.stop().success());
    for (stream, id) in streams.iter_mut().zip([json!(1), json!("b")]) {
        let last = stream.hears();
        assert_eq!(last["id"], id, "{last}");
        assert_eq!(
            last["result"],
            json!({ "resultType": "complete", "_meta": { ID: id } })
        );
        stream.ends();
    }
}

/// Each side is told of what works for it.
#[test]
fn capabilities_and_unknown_methods() {
    let gateway = Gateway::start(
        &Config::new()
            .stdio("old", &servers::legacy_only_stdio())
            .stdio("new", &servers::modern_only_stdio()),
    );
    let offered = json!({ "listChanged": true, "subscribe": true });
    let mut session = Session::open(&gateway.server("new"));
    let capabilities = &session.initialized["capabilities"];
    assert_eq!(capabilities["resources"], offered, "{capabilities}");
    assert_eq!(capabilities["logging"], json!({}), "{capabilities}");
    for field in ["resultType", "supportedVersions", "ttlMs", "cacheScope", "_meta"] {
        assert_eq!(session.initialized.get(field), None, "{}", session.initialized);
    }
    let mut stateless = Stateless::new(&gateway.server("old"));
    let discovered = stateless.ask("server/discover", "{}").value();
    assert_eq!(discovered["capabilities"]["resources"], offered, "{discovered}");
    assert_eq!(discovered["supportedVersions"][0], "2026-07-28");
    assert_eq!(
        (&discovered["ttlMs"], &discovered["cacheScope"]),
        (&json!(0), &json!("private"))
    );
    let info = &discovered["_meta"]["io.modelcontextprotocol/serverInfo"];
    assert_eq!(info["name"], "axiom-test-everything", "{discovered}");
    assert!(discovered["instructions"].is_string(), "{discovered}");

    let unknown = stateless.ask("unknown/method", "{}");
    assert_eq!((unknown.status, unknown.code()), (404, -32601));
    let unknown = session.ask("unknown/method", "{}");
    assert_eq!((unknown.status, unknown.code()), (200, -32601));
    // Between peers of one era it is the server that does not know.
    for (status, reply) in [
        (
            404,
            Stateless::new(&gateway.server("new")).ask("unknown/method", "{}"),
        ),
        (
            200,
            Session::open(&gateway.server("old")).ask("unknown/method", "{}"),
        ),
    ] {
        assert_eq!((reply.status, reply.code()), (status, -32601));
        assert!(
            reply.message().to_lowercase().contains("method not found"),
            "{reply:?}"
        );
    }
}
