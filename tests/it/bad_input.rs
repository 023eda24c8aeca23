//! Input that is wrong, cut off, too large or hostile: each gets the status and the code that the protocol says, memory
//! stays bounded, and a client beside it notices nothing.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request, connect};
use axiom_tests::peer::{Peer as _, Session, Stateless, message};
use axiom_tests::servers;
use serde_json::{Value, json};

/// A gateway before one real server, and a healthy client that calls it until the end.
struct Scene {
    gateway: Gateway,
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    healthy: Option<JoinHandle<()>>,
}

impl Scene {
    fn new() -> Self {
        let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let mut session = Session::open(&gateway.server("dual"));
        let (until, counted) = (Arc::clone(&stop), Arc::clone(&calls));
        let healthy = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                let reply = session.call("test_simple_text", &json!({}));
                assert_eq!(reply.text(), "This is a simple text response for testing.");
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Scene {
            gateway,
            stop,
            calls,
            healthy: Some(healthy),
        }
    }

    fn session(&self) -> Session {
        Session::open(&self.gateway.server("dual"))
    }

    fn stateless(&self) -> Stateless {
        Stateless::new(&self.gateway.server("dual"))
    }

    /// The healthy client got an answer to every call, and got some after the bad input too.
    fn end(mut self) {
        let before = self.calls.load(Ordering::Relaxed);
        axiom_tests::wait::until("the healthy client goes on", || {
            (self.calls.load(Ordering::Relaxed) > before).then_some(())
        });
        self.stop.store(true, Ordering::Relaxed);
        self.healthy
            .take()
            .expect("ended once")
            .join()
            .expect("every call of the healthy client was answered");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn check(what: &str, request: &Request, scene: &Scene, status: u16, code: Option<i64>) -> Value {
    let answer = request.send(scene.gateway.address());
    let found = answer.status;
    let text = answer.text();
    assert_eq!(found, status, "{what}: {text}");
    let Some(code) = code else { return Value::Null };
    let body: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{what}: {error} in {text:?}"));
    assert_eq!(body["error"]["code"], json!(code), "{what}: {body}");
    assert_eq!(body["jsonrpc"], "2.0", "{what}: {body}");
    body
}

#[test]
fn bodies_that_are_not_a_message() {
    let scene = Scene::new();
    let session = scene.session();
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"", -32700),
        ("{'jsonrpc':'2.0'}", -32700),
        ("\u{1}\u{2}", -32700),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",}", -32700),
        ("null", -32600),
        ("1", -32600),
        ("\"text\"", -32600),
        ("[]", -32600),
        ("{}", -32600),
        ("{\"id\":1,\"method\":\"ping\"}", -32600),
        ("{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":7}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"ping\"}", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"method\":\"tools/list\"}",
            -32600,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}",
            -32600,
        ),
    ] {
        check(body, &session.request(body), &scene, 400, Some(code));
    }
    scene.end();
}

#[test]
fn bytes_that_are_not_utf_8() {
    let scene = Scene::new();
    let body = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"\xff\xfe\"}}"
        .to_vec();
    check(
        "not UTF-8",
        &scene.session().request(body),
        &scene,
        400,
        Some(-32700),
    );
    scene.end();
}

#[test]
fn requests_of_a_session_that_are_wrong() {
    let scene = Scene::new();
    let session = scene.session();
    let ask = |method: &str, params: &str| session.request(message("1", method, params));
    check(
        "an unknown method",
        &ask("no/such/method", "{}"),
        &scene,
        200,
        Some(-32601),
    );
    check(
        "an unknown tool",
        &ask("tools/call", r#"{"name":"no_such_tool"}"#),
        &scene,
        200,
        Some(-32602),
    );
    check("no name", &ask("tools/call", "{}"), &scene, 200, Some(-32602));
    check(
        "a name that is a number",
        &ask("tools/call", r#"{"name":7}"#),
        &scene,
        200,
        Some(-32602),
    );
    check(
        "two names",
        &ask("tools/call", r#"{"name":"test_simple_text","name":"x"}"#),
        &scene,
        400,
        Some(-32600),
    );

    let ping = || ask("ping", "{}");
    check("no session", &ping().without("mcp-session-id"), &scene, 400, None);
    let unknown = ping()
        .without("mcp-session-id")
        .header("mcp-session-id", "never-given");
    check("an unknown session", &unknown, &scene, 404, None);
    let version = |version: &str| {
        ping()
            .without("mcp-protocol-version")
            .header("mcp-protocol-version", version)
    };
    check("an unknown version", &version("2099-01-01"), &scene, 400, None);
    check("no version at all", &version("soon"), &scene, 400, None);
    scene.end();
}

#[test]
fn stateless_requests_that_are_wrong() {
    let scene = Scene::new();
    let client = scene.stateless();
    let list = || client.request("1", "tools/list", &json!({}));
    let call = || client.request("1", "tools/call", &json!({ "name": "test_simple_text" }));
    assert_eq!(
        list().send(scene.gateway.address()).status,
        200,
        "the request that is changed below is correct"
    );
    assert_eq!(
        call().send(scene.gateway.address()).status,
        200,
        "and so is this one"
    );

    let unknown = client.request("1", "no/such/method", &json!({}));
    check("an unknown method", &unknown, &scene, 404, Some(-32601));
    for removed in [
        "initialize",
        "ping",
        "logging/setLevel",
        "resources/subscribe",
        "resources/unsubscribe",
    ] {
        check(
            removed,
            &client.request("1", removed, &json!({ "uri": "test://x" })),
            &scene,
            404,
            Some(-32601),
        );
    }

    let set = |request: Request, name: &str, value: &str| request.without(name).header(name, value);
    check(
        "no method header",
        &list().without("mcp-method"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "another method",
        &set(list(), "mcp-method", "prompts/list"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "its case differs",
        &set(list(), "mcp-method", "Tools/List"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "two methods",
        &list().header("mcp-method", "tools/list"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "no name header",
        &call().without("mcp-name"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "another name",
        &set(call(), "mcp-name", "test_image_content"),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "bad base64",
        &set(call(), "mcp-name", "=?base64?!!?="),
        &scene,
        400,
        Some(-32020),
    );
    check(
        "another version",
        &set(list(), "mcp-protocol-version", "2025-11-25"),
        &scene,
        400,
        None,
    );

    let mut future = list();
    future.body = String::from_utf8(future.body)
        .unwrap()
        .replace("2026-07-28", "2099-01-01")
        .into_bytes();
    let future = set(future, "mcp-protocol-version", "2099-01-01");
    let body = check("an unknown version", &future, &scene, 400, Some(-32022));
    assert_eq!(body["error"]["data"]["requested"], "2099-01-01");
    let supported = body["error"]["data"]["supported"]
        .as_array()
        .expect("it says which are supported");
    assert!(supported.contains(&json!("2026-07-28")), "{supported:?}");

    let mut bare = list();
    bare.body = message("1", "tools/list", "{}").into_bytes();
    check("no _meta", &bare, &scene, 400, Some(-32602));
    scene.end();
}

#[test]
fn http_that_is_wrong() {
    let scene = Scene::new();
    let session = scene.session();
    let ping = || session.request(message("1", "ping", "{}"));
    assert_eq!(
        ping().send(scene.gateway.address()).status,
        200,
        "the request that is changed below is correct"
    );

    check(
        "a strange host",
        &ping().header("host", "evil.example.com"),
        &scene,
        403,
        None,
    );
    check(
        "a strange origin",
        &ping().header("origin", "http://evil.example.com"),
        &scene,
        403,
        None,
    );
    check(
        "our own origin",
        &ping().header("origin", "http://localhost:3000"),
        &scene,
        200,
        None,
    );
    check(
        "PUT",
        &Request {
            method: "PUT".to_owned(),
            ..ping()
        },
        &scene,
        405,
        None,
    );
    check(
        "nowhere",
        &Request {
            path: "/nowhere".to_owned(),
            ..ping()
        },
        &scene,
        404,
        None,
    );
    check(
        "no such server",
        &Request {
            path: "/s/nobody/mcp".to_owned(),
            ..ping()
        },
        &scene,
        404,
        None,
    );
    check(
        "a huge header",
        &ping().header("x-large", &"x".repeat(1024 * 1024)),
        &scene,
        431,
        None,
    );
    scene.end();
}

/// A page in a browser may send plain text anywhere without being asked first, but not JSON.
#[test]
fn bodies_of_another_type() {
    let scene = Scene::new();
    let session = scene.session();
    let ping = |name: &str, value: &str| {
        let request = session.request(message("1", "ping", "{}"));
        request.without(name).header(name, value)
    };
    check(
        "JSON with a charset",
        &ping("content-type", "application/json; charset=utf-8"),
        &scene,
        200,
        None,
    );
    check(
        "plain text",
        &ping("content-type", "text/plain"),
        &scene,
        415,
        None,
    );
    check(
        "no type",
        &session
            .request(message("1", "ping", "{}"))
            .without("content-type"),
        &scene,
        415,
        None,
    );
    check("takes HTML only", &ping("accept", "text/html"), &scene, 406, None);
    scene.end();
}

/// Connections that say something else than HTTP, or stop in the middle: they end, and take nobody with them.
#[test]
fn connections_that_break_off() {
    let scene = Scene::new();
    let whole = scene
        .session()
        .request(message("1", "ping", "{}"))
        .bytes(scene.gateway.address());
    let half = whole.len() / 2;
    let starts: Vec<Vec<u8>> = vec![
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"GET\r\n\r\n".to_vec(),
        b"POST /mcp HTTP/9.9\r\n\r\n".to_vec(),
        b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(),
        whole[..half].to_vec(),
        whole[..whole.len() - 3].to_vec(),
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\ncontent-length: 7\r\n\r\n12345"
            .to_vec(),
        b"POST /mcp HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_vec(),
    ];
    for start in &starts {
        for _ in 0..20 {
            let mut stream = connect(scene.gateway.address()).expect("it accepts");
            stream.write_all(start).expect("it reads");
            stream
                .shutdown(Shutdown::Write)
                .expect("half a connection can be closed");
            let mut answer = Vec::new();
            // Reset is as good an end as any; what matters is that it ends before the deadline.
            let ended = stream.read_to_end(&mut answer);
            let timed_out = |error: &std::io::Error| error.kind() == std::io::ErrorKind::WouldBlock;
            assert!(
                !ended.as_ref().is_err_and(timed_out),
                "{:?} hangs",
                String::from_utf8_lossy(start)
            );
            let answer = String::from_utf8_lossy(&answer);
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 4"),
                "{start:?}: {answer}"
            );
        }
    }
    scene.end();
}

#[test]
fn nesting_of_a_hundred_thousand() {
    let scene = Scene::new();
    let deep = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "0" };
        let arguments = format!("{}{inner}{}", open.repeat(deep), close.repeat(deep));
        let params = format!(r#"{{"name":"test_simple_text","arguments":{{"x":{arguments}}}}}"#);
        check(
            open,
            &scene.session().request(message("1", "tools/call", &params)),
            &scene,
            400,
            Some(-32700),
        );
    }
    scene.end();
}

/// Bodies of 64 MiB, announced or not, eight at a time.
#[test]
fn bodies_of_64_mib() {
    let scene = Scene::new();
    let session = scene.session();
    let before = scene.gateway.rss_kib();
    let size = 64 * 1024 * 1024;
    let params = format!(
        r#"{{"name":"test_simple_text","arguments":{{"x":"{}"}}}}"#,
        "x".repeat(size)
    );
    let announced = session.request(message("1", "tools/call", &params));
    let mut chunked = session.request(Vec::new()).header("transfer-encoding", "chunked");
    chunked.body = [
        format!("{size:x}\r\n").into_bytes(),
        vec![b' '; size],
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();

    // Nothing of a body that is too long need be sent to be refused.
    let mut head = announced.bytes(scene.gateway.address());
    head.truncate(head.len() - announced.body.len());
    let mut stream = connect(scene.gateway.address()).expect("it accepts");
    stream.write_all(&head).expect("it reads");
    assert_eq!(Answer::read(stream).expect("it answers at once").status, 413);

    std::thread::scope(|scope| {
        let send = |request: &Request| {
            // It may close before it has read everything; then the client sees a reset instead of the answer.
            let answer = request.try_send(scene.gateway.address());
            if let Ok(answer) = answer {
                assert_eq!(answer.status, 413);
            }
        };
        for request in [&announced, &chunked] {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(move || send(request))).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().expect("each is refused"));
        }
    });
    let grown_mib = scene.gateway.peak_rss_kib().saturating_sub(before) / 1024;
    assert!(
        grown_mib < 64,
        "512 MiB were sent and it held {grown_mib} MiB of them"
    );
    scene.end();
}

/// A client that writes all before it listens hears why it was refused, not that the connection broke.
#[test]
fn whoever_is_refused_while_still_writing_hears_why() {
    let scene = Scene::new();
    let address = scene.gateway.address();
    // More than sockets hold.
    let large = vec![b' '; 12 << 20];
    let post = |path: &str| Request::post(path, large.clone());
    for (request, status) in [
        (post("/healthz"), 404),
        (post("/api/v1/stats"), 404),
        (post("/api/v1/events/blocks"), 405),
        (post("/s/none/mcp"), 404),
        (post("/s/dual/sse"), 405),
        (post("/s/dual/message?sessionId=none"), 404),
        (
            post("/s/dual/mcp")
                .without("content-type")
                .header("content-type", "text/plain"),
            415,
        ),
        (post("/s/dual/mcp").header("origin", "https://evil.example"), 403),
    ] {
        let mut stream = connect(address).expect("it accepts");
        let written = stream.write_all(&request.bytes(address));
        written.unwrap_or_else(|error| panic!("{} stopped reading: {error}", request.path));
        let answer = Answer::read(stream).expect("it answers");
        assert_eq!(answer.status, status, "{}", request.path);
        assert!(answer.text().ends_with('\n'), "{}", request.path);
    }
    scene.end();
}
