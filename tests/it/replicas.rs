//! Several gateways with the same keys: a session goes on after a restart and on another replica, and what only one
//! replica has is asked there.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use axiom_tests::bed;
use axiom_tests::client::{Client, Way};
use axiom_tests::config::{Config, put};
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request};
use axiom_tests::peer::{LATEST_LEGACY, Peer as _, Session, Stateless, finish, message};
use axiom_tests::{servers, wait};
use serde_json::{Value, json};

use crate::features::all_features;

/// An address that nobody listens at.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

/// A file with one fresh key, as a user makes it.
pub(crate) fn key_file() -> PathBuf {
    let file = bed::scratch("keys").join("axiom.keys");
    new_key(&file);
    file
}

fn new_key(file: &Path) {
    let made = std::process::Command::new(bed::built("axiom"))
        .args(["key", "new", "--into"])
        .arg(file)
        .output()
        .expect("axiom starts");
    assert!(made.status.success(), "{made:?}");
}

pub(crate) fn with_keys(keys: &Path) -> Config {
    Config::new()
        .stdio("dual", &servers::dual_stdio())
        .gateway(&key_line(keys))
}

fn key_line(keys: &Path) -> String {
    format!("key_file = {}", json!(keys))
}

/// A replica that others reach where it listens.
fn replica(keys: &Path) -> Gateway {
    replica_with(with_keys(keys))
}

fn replica_with(config: Config) -> Gateway {
    let address = free_address();
    let config = config.gateway(&format!("advertise = \"http://{address}\""));
    Gateway::start_at(&config, address)
}

/// The same session, at another gateway.
fn at(session: &Session, gateway: &Gateway) -> Session {
    session.elsewhere(&gateway.server("dual"))
}

pub(crate) fn simple_text(session: &mut Session) -> String {
    session.call("test_simple_text", &json!({})).text()
}

pub(crate) const SIMPLE_TEXT: &str = "This is a simple text response for testing.";

pub(crate) fn can_be_asked() -> Value {
    json!({ "elicitation": {} })
}

#[test]
fn a_restart_keeps_sessions() {
    let (keys, address) = (key_file(), free_address());
    for capabilities in [json!({}), can_be_asked()] {
        let gateway = Gateway::start_at(&with_keys(&keys), address);
        let mut session = Session::open_as(&gateway.server("dual"), LATEST_LEGACY, &capabilities);
        assert_eq!(simple_text(&mut session), SIMPLE_TEXT);
        gateway.stop();
        let gateway = Gateway::start_at(&with_keys(&keys), address);
        assert_eq!(simple_text(&mut session), SIMPLE_TEXT, "{capabilities}");
        gateway.kill();
        let _gateway = Gateway::start_at(&with_keys(&keys), address);
        assert_eq!(simple_text(&mut session), SIMPLE_TEXT, "{capabilities}");
    }
}

#[test]
fn without_a_key_file_a_restart_ends_sessions() {
    let address = free_address();
    let config = Config::new().stdio("dual", &servers::dual_stdio());
    let gateway = Gateway::start_at(&config, address);
    let mut session = Session::open(&gateway.server("dual"));
    gateway.stop();
    let _gateway = Gateway::start_at(&config, address);
    let reply = session.call("test_simple_text", &json!({}));
    assert_eq!((reply.status, reply.code()), (404, -32001), "{}", reply.message());
}

#[test]
fn keys_are_rotated_under_running_gateways() {
    let keys = key_file();
    let gateway = Gateway::start(&with_keys(&keys));
    let reread = |text: &str| {
        let from = gateway.stderr().len();
        put(&keys, text);
        gateway
            .stderr()
            .wait_from(from, "the keys are read again", |line| line.contains("key_file"));
    };
    let old = std::fs::read_to_string(&keys).unwrap();
    let mut before = Session::open(&gateway.server("dual"));
    new_key(&keys);
    let both = std::fs::read_to_string(&keys).unwrap();
    let new = both.strip_prefix(&old).unwrap();

    reread(&format!("{new}{old}"));
    assert_eq!(simple_text(&mut before), SIMPLE_TEXT, "the old key opens");
    let mut after = Session::open(&gateway.server("dual"));
    reread(new);
    assert_eq!(
        before.call("test_simple_text", &json!({})).status,
        404,
        "the old key is gone"
    );
    assert_eq!(simple_text(&mut after), SIMPLE_TEXT);

    reread("not a key\n");
    assert!(
        gateway.stderr().text().contains("line 1 is no key"),
        "{}",
        gateway.stderr().text()
    );
    assert_eq!(simple_text(&mut after), SIMPLE_TEXT, "the last good keys stay");
}

/// What the id of a session carries needs no other replica, and so survives it.
#[test]
fn a_plain_session_is_served_by_every_replica() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let session = Session::open(&a.server("dual"));
    assert_eq!(simple_text(&mut at(&session, &b)), SIMPLE_TEXT);
    let mut at_b = at(&session, &b);
    a.kill();
    assert_eq!(simple_text(&mut at_b), SIMPLE_TEXT);
}

#[test]
fn a_question_to_the_client_finds_it_through_another_replica() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    for answered_at in [&a, &b] {
        let mut stream = call_with_question(&at(&session, &b));
        let question = next(&mut stream);
        assert_eq!(question["method"], "elicitation/create", "{question}");
        assert_eq!(answer(&at(&session, answered_at), &question).status, 202);
        let result = finish("7", &mut stream).text();
        assert!(result.contains("Ada"), "{result}");
    }
}

/// Sends the call of a tool that asks.
fn call_with_question(session: &Session) -> Answer {
    let call = json!({ "name": "test_elicitation", "arguments": { "message": "Who?" } });
    session.send(&session.request(message("7", "tools/call", &call.to_string())))
}

pub(crate) fn next(stream: &mut Answer) -> Value {
    let text = stream.next_message().expect("the stream goes on");
    serde_json::from_str(&text).expect("a message is JSON")
}

pub(crate) fn answer(session: &Session, question: &Value) -> Answer {
    let result = json!({ "action": "accept", "content": { "username": "Ada", "email": "ada@example.com" } });
    let answer = json!({ "jsonrpc": "2.0", "id": question["id"], "result": result });
    session.send(&session.request(answer.to_string()))
}

#[test]
fn news_come_through_another_replica() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    for capabilities in [json!({}), can_be_asked()] {
        let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &capabilities);
        let mut stream = standing_stream(&at(&session, &b));
        // Sent to the one, done by the other; so is what follows.
        let uri = json!({ "uri": "test://watched-resource" });
        let reply = at(&session, &b).ask("resources/subscribe", &uri.to_string());
        assert_eq!(reply.value(), json!({}));
        at(&session, &a)
            .call("test_trigger_resource_update", &uri)
            .value();
        let updated = std::iter::from_fn(|| Some(next(&mut stream)))
            .find(|news| news["method"] == "notifications/resources/updated");
        assert_eq!(
            updated.map(|news| news["params"]["uri"].clone()),
            Some(uri["uri"].clone())
        );

        let ended = at(&session, &b).send(&without_body(&session, "DELETE"));
        assert_eq!(ended.status, 200);
        // The stream ends with the session.
        while stream.next_message().is_some() {}
        for gateway in [&a, &b] {
            let reply = at(&session, gateway).call("test_simple_text", &json!({}));
            assert_eq!(reply.status, 404, "{capabilities}");
        }
    }
}

fn standing_stream(session: &Session) -> Answer {
    let request = without_body(session, "GET").header("accept", "text/event-stream");
    let answer = session.send(&request);
    assert_eq!(answer.status, 200);
    assert!(answer.is_sse());
    answer
}

fn without_body(session: &Session, method: &str) -> Request {
    let mut request = session.request("");
    request.method = method.to_owned();
    request
}

/// Only the owner and the replica that was asked know of the end. A third one still does what needs neither.
#[test]
fn a_session_that_ended_elsewhere() {
    let keys = key_file();
    let [a, b, c] = [replica(&keys), replica(&keys), replica(&keys)];
    for (capabilities, served) in [(json!({}), 200), (can_be_asked(), 404)] {
        let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &capabilities);
        let ended = at(&session, &b).send(&without_body(&session, "DELETE"));
        assert_eq!(ended.status, 200);
        let uri = r#"{"uri":"test://watched-resource"}"#;
        for (gateway, call) in [(&a, 404), (&b, 404), (&c, served)] {
            let mut session = at(&session, gateway);
            let called = session.call("test_simple_text", &json!({}));
            assert_eq!(called.status, call, "{capabilities}");
            let stream = without_body(&session, "GET").header("accept", "text/event-stream");
            assert_eq!(session.send(&stream).status, 404, "{capabilities}");
            let subscribed = session.ask("resources/subscribe", uri);
            assert_eq!(subscribed.status, 404, "{capabilities}");
        }
    }
}

/// The end is known where it was asked for, although the owner does not hear of it.
#[test]
fn a_session_that_ends_while_its_owner_is_out_of_reach() {
    let keys = key_file();
    let address = free_address();
    let config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let a = Gateway::start_at(&config, address);
    let b = replica(&keys);
    let session = Session::open(&a.server("dual"));
    a.kill();
    let ended = at(&session, &b).send(&without_body(&session, "DELETE"));
    assert_eq!(ended.status, 404, "it cannot be ended where it is");
    let a = Gateway::start_at(&config, address);
    let called = at(&session, &b).call("test_simple_text", &json!({}));
    assert_eq!(called.status, 404);
    // Which sessions were ended does not outlive a process.
    assert_eq!(simple_text(&mut at(&session, &a)), SIMPLE_TEXT);
}

/// It is told to the server that the owner has, wherever the client says it.
#[test]
fn the_log_level_of_a_session_holds_at_its_owner() {
    let keys = key_file();
    let modern = Config::new().stdio("dual", &servers::modern_only_stdio());
    for (servers, elsewhere) in [(with_keys(&keys), 3), (modern.gateway(&key_line(&keys)), 0)] {
        let [a, b] = [replica_with(servers.clone()), replica_with(servers)];
        let session = Session::open(&a.server("dual"));
        for (level, here) in [("error", 0), ("info", 3)] {
            let params = json!({ "level": level }).to_string();
            assert_eq!(
                at(&session, &b).ask("logging/setLevel", &params).value(),
                json!({})
            );
            for (gateway, lines) in [(&a, here), (&b, elsewhere)] {
                let reply = at(&session, gateway).call("test_tool_with_logging", &json!({}));
                let logged = reply
                    .before
                    .iter()
                    .filter(|told| told["method"] == "notifications/message");
                assert_eq!(logged.count(), lines, "{level} {lines}: {:?}", reply.before);
            }
        }
    }
}

/// Capabilities that are too long for an id are kept where the session began.
#[test]
fn a_session_too_long_for_its_id_is_found() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let capabilities = json!({ "experimental": { "long": { "text": "x".repeat(4 << 10) } } });
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &capabilities);
    assert_eq!(simple_text(&mut at(&session, &b)), SIMPLE_TEXT);
    let ended = at(&session, &b).send(&without_body(&session, "DELETE"));
    assert_eq!((ended.status, passed_on(&b)), (200, 2));
    let reply = at(&session, &b).call("test_simple_text", &json!({}));
    assert_eq!(reply.status, 404);
}

#[test]
fn a_lost_owner_ends_what_only_it_had() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let session = at(&session, &b);
    let mut stream = call_with_question(&session);
    assert_eq!(next(&mut stream)["method"], "elicitation/create");
    a.kill();
    // What had begun is cut, not ended; what comes next is told to begin again.
    assert!(stream.was_cut());
    let request = message("8", "tools/call", r#"{"name":"test_simple_text"}"#);
    let notification = r#"{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}"#;
    for lost in [
        session.request(request),
        session.request(notification),
        without_body(&session, "GET").header("accept", "text/event-stream"),
        without_body(&session, "DELETE"),
    ] {
        let answer = session.send(&lost);
        assert_eq!(answer.status, 404, "{lost:?}");
        assert_eq!(answer.json()["error"]["code"], -32001, "{lost:?}");
    }
    let mut again = Session::open_as(&b.server("dual"), LATEST_LEGACY, &can_be_asked());
    assert_eq!(simple_text(&mut again), SIMPLE_TEXT);
}

/// The owner's end while it has the request, before it has said anything: nobody knows what became of it.
#[test]
fn an_owner_lost_in_the_middle_of_a_call() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let session = at(&session, &b);
    let mut asking = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let call = r#"{"name":"test_slow"}"#;
            session.send(&session.request(message("9", "tools/call", call)))
        });
        wait::until("the call is at the server", || {
            (a.status("dual")["in_flight"].as_u64() > Some(0)).then_some(())
        });
        a.kill();
        waiting.join().unwrap()
    });
    let reply = finish("9", &mut asking);
    assert_eq!((reply.status, reply.code()), (200, 1003), "{}", reply.message());
    assert!(reply.message().contains("may or may not have taken effect"));
}

/// A tool with an effect that asks in the middle of a call.
fn counted(keys: &Path, runs: &Path) -> Gateway {
    replica_with(with_counted(keys, runs))
}

pub(crate) fn with_counted(keys: &Path, runs: &Path) -> Config {
    let script = bed::ours("servers/counted.mjs");
    let command = [bed::node(), script, runs.display().to_string()];
    with_keys(keys).stdio("counted", &command)
}

pub(crate) fn runs_of(file: &Path) -> usize {
    std::fs::read_to_string(file).unwrap_or_default().lines().count()
}

pub(crate) fn stateless(gateway: &Gateway) -> Stateless {
    let mut client = Stateless::new(&gateway.server("counted"));
    client.capabilities = can_be_asked();
    client
}

/// The same request with the answers to what was asked.
pub(crate) fn answered(asked: &Value) -> String {
    let key = asked["inputRequests"]
        .as_object()
        .and_then(|asked| asked.keys().next());
    let key = key.unwrap_or_else(|| panic!("nothing is asked in {asked}"));
    let answer = json!({ "action": "accept", "content": { "name": "Ada" } });
    json!({ "name": "run", "arguments": {}, "requestState": asked["requestState"], "inputResponses": { key: answer } })
        .to_string()
}

#[test]
fn a_parked_call_is_continued_through_another_replica() {
    let (keys, runs) = (key_file(), bed::scratch("runs").join("runs"));
    let [a, b] = [counted(&keys, &runs), counted(&keys, &runs)];
    let asked = stateless(&a).call("run", &json!({})).value();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    assert_eq!(runs_of(&runs), 1);
    let params = answered(&asked);
    let reply = stateless(&b).ask("tools/call", &params);
    assert_eq!(reply.text(), "Ada: 1");
    assert_eq!(passed_on(&b), 1);
    for gateway in [&a, &b] {
        let again = stateless(gateway).ask("tools/call", &params);
        assert_eq!(again.code(), 1010, "it was answered: {}", again.message());
    }
    assert_eq!(runs_of(&runs), 1);
}

#[test]
fn a_parked_call_whose_replica_is_lost() {
    let (keys, runs) = (key_file(), bed::scratch("runs").join("runs"));
    let [a, b] = [counted(&keys, &runs), counted(&keys, &runs)];
    let asked = stateless(&a).call("run", &json!({})).value();
    a.kill();
    let lost = stateless(&b).ask("tools/call", &answered(&asked));
    assert_eq!(lost.code(), 1010, "{}", lost.message());
    assert!(lost.message().contains("whether it took effect is unknown"));
    assert_eq!(runs_of(&runs), 1, "nobody ran it again");
}

#[test]
fn a_changed_state_of_a_parked_call_goes_nowhere() {
    let (keys, runs) = (key_file(), bed::scratch("runs").join("runs"));
    let [a, b] = [counted(&keys, &runs), counted(&keys, &runs)];
    let tampered = |asked: &Value| {
        let mut asked = asked.clone();
        let state = asked["requestState"].as_str().expect("a state is text");
        asked["requestState"] = format!("{state}-TAMPERED").into();
        answered(&asked)
    };
    let asked = stateless(&a).call("run", &json!({})).value();
    let refused = stateless(&b).ask("tools/call", &tampered(&asked));
    assert_eq!(refused.code(), -32602, "{}", refused.message());
    assert_eq!((passed_on(&b), runs_of(&runs)), (0, 1));
    assert_eq!(
        stateless(&b).ask("tools/call", &answered(&asked)).text(),
        "Ada: 1"
    );
}

#[test]
fn a_restarted_owner_goes_on_with_its_sessions() {
    let (keys, address) = (key_file(), free_address());
    let config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let a = Gateway::start_at(&config, address);
    let b = replica(&keys);
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    assert_eq!(simple_text(&mut at(&session, &b)), SIMPLE_TEXT);
    a.kill();
    let _a = Gateway::start_at(&config, address);
    assert_eq!(simple_text(&mut at(&session, &b)), SIMPLE_TEXT);
}

/// One that holds its connections open and says nothing is waited for.
#[test]
fn a_slow_owner_is_not_a_lost_one() {
    let keys = key_file();
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let a_config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let [a, b] = [Gateway::start(&a_config), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let session = at(&session, &b);
    let asked = json!({ "jsonrpc": "2.0", "id": 1, "result": { "late": true } }).to_string();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| session.ask_as("1", "tools/list", "{}"));
        let (mut stream, _) = owner.accept().unwrap();
        let head = read_head(&mut stream);
        assert!(head.contains("\r\naxiom-hop: "), "{head}");
        assert!(
            !head.contains("connection:"),
            "only what the owner must know: {head}"
        );
        // Longer than a connection may take.
        assert!(
            wait::within(std::time::Duration::from_secs(3), || waiting
                .is_finished()
                .then_some(()))
            .is_none()
        );
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-internal: no\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
        assert_eq!(waiting.join().unwrap().value(), json!({ "late": true }));
    });
}

/// One that does not accept a connection, as behind a cut network, is lost soon.
#[test]
fn an_owner_out_of_reach() {
    let keys = key_file();
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    // Where the queue of connections is full, the kernel lets further ones wait.
    rustix::net::listen(&owner, 0).unwrap();
    let patience = std::time::Duration::from_millis(200);
    let _full: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect_timeout(&address, patience).ok()).collect();
    let a_config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let [a, b] = [Gateway::start(&a_config), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let asked_at = std::time::Instant::now();
    let reply = at(&session, &b).ask("tools/list", "{}");
    assert_eq!((reply.status, reply.code()), (404, -32001));
    assert!(
        asked_at.elapsed() < std::time::Duration::from_secs(8),
        "{:?}",
        asked_at.elapsed()
    );
}

#[test]
fn a_batch_goes_where_its_session_is() {
    let keys = key_file();
    let [a, b] = [replica(&keys), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), "2025-03-26", &json!({}));
    let ping = message("1", "ping", "{}");
    let call = message("2", "tools/call", r#"{"name":"test_simple_text"}"#);
    let session = at(&session, &b);
    let answers = session.send(&session.request(format!("[{ping},{call}]"))).json();
    assert_eq!(answers[0]["result"], json!({}));
    assert_eq!(answers[1]["result"]["content"][0]["text"], SIMPLE_TEXT);
    assert_eq!(passed_on(&b), 1);
}

/// Two replicas have streams of one session: each is found where it is.
#[test]
fn a_broken_stream_is_resumed_where_its_call_runs() {
    let keys = key_file();
    let at_once = |config: Config| config.gateway("limits.drain_timeout = \"100ms\"");
    let [a, b] = [(); 2].map(|()| replica_with(at_once(with_keys(&keys))));
    let session = Session::open(&a.server("dual"));
    let [of_a, of_b] = [&a, &b].map(|gateway| broken_stream(&at(&session, gateway)));
    let stream_of = |id: &str| id.split_once('-').expect("a stream and a number").0.to_owned();
    assert_ne!(stream_of(&of_a), stream_of(&of_b));
    for (id, passed) in [(of_b, 0), (of_a, 1)] {
        let session = at(&session, &b);
        let request = without_body(&session, "GET")
            .header("accept", "text/event-stream")
            .header("last-event-id", &id);
        let mut stream = session.send(&request);
        assert_eq!(stream.status, 200);
        let progress = next(&mut stream);
        assert_eq!(progress["params"]["progressToken"], json!("t"), "{progress}");
        assert_eq!(passed_on(&b), passed, "{id}");
    }
}

/// Begins a call that reports once and goes on; the id of the event before the report.
fn broken_stream(session: &Session) -> String {
    let call = json!({ "name": "test_slow", "_meta": { "progressToken": "t" } });
    let mut stream = session.send(&session.request(message("3", "tools/call", &call.to_string())));
    let first = stream.next_event().expect("the stream begins with an event");
    assert_eq!(first.data, "", "it only gives an id");
    first.id.expect("it gives an id")
}

/// A client that leaves is noticed by the owner.
#[test]
fn a_client_that_leaves_closes_the_way_to_the_owner() {
    let keys = key_file();
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let a_config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let [a, b] = [Gateway::start(&a_config), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let mut client = TcpStream::connect(b.address()).unwrap();
    let request = at(&session, &b).request(message("1", "tools/list", "{}"));
    client.write_all(&request.bytes(b.address())).unwrap();
    let (mut stream, _) = owner.accept().unwrap();
    read_head(&mut stream);
    drop(client);
    stream.set_read_timeout(Some(wait::DEADLINE)).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).expect("the connection is closed");
}

fn read_head(stream: &mut TcpStream) -> String {
    stream
        .set_read_timeout(Some(wait::DEADLINE))
        .expect("a socket takes a timeout");
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).ok(), Some(1), "the head goes on");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("a head is text")
}

#[test]
fn a_request_travels_at_most_once() {
    let keys = key_file();
    // Where sessions of `a` are looked for, somebody listens who is called otherwise.
    let address = free_address();
    let named = |name: &str| with_keys(&keys).gateway(&format!("advertise = \"{name}\""));
    let a = Gateway::start(&named(&format!("http://{address}")));
    let b = Gateway::start_at(&named("http://127.0.0.1:9"), address);
    let c = replica(&keys);
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    assert_eq!(simple_text(&mut at(&session, &a)), SIMPLE_TEXT);
    let request = message("1", "tools/list", "{}");
    for astray in [
        session.request(request),
        without_body(&session, "GET").header("accept", "text/event-stream"),
        without_body(&session, "DELETE"),
    ] {
        let answer = at(&session, &c).send(&astray);
        assert_eq!(answer.status, 404, "{astray:?}");
        assert_eq!(answer.json()["error"]["code"], -32001);
    }
    assert_eq!((passed_on(&c), passed_on(&b)), (3, 0));
}

/// Requests that it has passed on to others.
pub(crate) fn passed_on(gateway: &Gateway) -> usize {
    let log = gateway.stderr().text();
    log.matches("asking the replica that has it").count()
}

/// Only another replica needs no allowed name to be called by.
#[test]
fn a_forged_hop_is_a_client() {
    let keys = key_file();
    // Not one of the loopback names that are always allowed.
    let listener = TcpListener::bind("127.0.0.2:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let a = Gateway::start_at(&config, address);
    let b = replica(&keys);
    let refused = Request::post("/s/dual/mcp", "{}").send(a.address());
    assert_eq!(refused.status, 403);
    let forged = Request::post("/s/dual/mcp", "{}").header("axiom-hop", "AAAA");
    assert_eq!(forged.send(a.address()).status, 403);

    let session = Session::open_by_name(
        &a.server("dual"),
        Some("localhost"),
        LATEST_LEGACY,
        &can_be_asked(),
    );
    assert_eq!(
        simple_text(&mut at(&session, &b)),
        SIMPLE_TEXT,
        "a hop needs no name"
    );
    let session = at(&session, &b);
    let forged = session
        .request(message("1", "tools/list", "{}"))
        .header("axiom-hop", session.id.as_deref().unwrap());
    assert!(
        finish("1", &mut session.send(&forged)).result.is_some(),
        "it is passed on as any other"
    );
}

/// A real hop, with another request or too often: it is good for what it was made for.
#[test]
fn a_hop_cannot_be_used_for_another_request() {
    let keys = key_file();
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = owner.local_addr().unwrap();
    let a_config = with_keys(&keys).gateway(&format!("advertise = \"http://{address}\""));
    let [a, b] = [Gateway::start(&a_config), replica(&keys)];
    let session = Session::open_as(&a.server("dual"), LATEST_LEGACY, &can_be_asked());
    let request = at(&session, &b).request(message("1", "tools/list", "{}"));
    let mut client = TcpStream::connect(b.address()).unwrap();
    client.write_all(&request.bytes(b.address())).unwrap();
    let (mut stream, _) = owner.accept().unwrap();
    let head = read_head(&mut stream);
    let hop = head
        .lines()
        .find_map(|line| line.strip_prefix("axiom-hop: "))
        .unwrap();
    let session = at(&session, &a);
    let listed = session
        .request(message("1", "tools/list", "{}"))
        .header("axiom-hop", hop);
    assert_eq!(session.send(&listed).status, 200, "it was made for this one");
    let called = session
        .request(message("1", "tools/call", r#"{"name":"test_simple_text"}"#))
        .header("axiom-hop", hop);
    assert_eq!(session.send(&called).status, 403);
}

/// A real client behind a load balancer that deals its connections out in turn.
#[test]
fn clients_of_sessions_behind_a_load_balancer() {
    let keys = key_file();
    let replicas = [replica(&keys), replica(&keys)];
    let balancer = balance(replicas.iter().map(Gateway::address).collect());
    for client in [Client::TsV1, Client::TsV2Legacy, Client::PyMcpLegacy] {
        all_features(client, &Way::Http(format!("http://{balancer}/s/dual/mcp")), "");
        all_features(client, &Way::Http(format!("http://{balancer}/mcp")), "dual__");
    }
    assert!(replicas.iter().all(|replica| passed_on(replica) > 0));
}

/// Answers come on the stream, which one replica has; messages may go to any.
#[test]
fn a_client_of_2024_behind_a_load_balancer() {
    let keys = key_file();
    let replicas = [replica(&keys), replica(&keys)];
    let balancer = balance(replicas.iter().map(Gateway::address).collect());
    all_features(
        Client::TsV1,
        &Way::Sse(format!("http://{balancer}/s/dual/sse")),
        "",
    );
    assert!(replicas.iter().any(|replica| passed_on(replica) > 0));
}

/// Copies each connection to the next of `backends`, for as long as the test runs.
fn balance(backends: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for backend in backends.into_iter().cycle() {
            let Ok((client, _)) = listener.accept() else {
                return;
            };
            let Ok(server) = TcpStream::connect(backend) else {
                continue;
            };
            let (Ok(server_too), Ok(client_too)) = (server.try_clone(), client.try_clone()) else {
                return;
            };
            for (mut from, mut to) in [(client, server), (server_too, client_too)] {
                std::thread::spawn(move || {
                    // Whoever closes, the other side is told.
                    let _copied = std::io::copy(&mut from, &mut to).is_ok();
                    let _closed = to.shutdown(std::net::Shutdown::Write).is_ok();
                });
            }
        }
    });
    address
}
