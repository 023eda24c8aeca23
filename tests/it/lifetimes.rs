//! How long things live: a call whose client left, by revision; the stream of a call that is taken up again; a batch;
//! and ten thousand sessions that nobody ends.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axiom_testkit::echo::Eras;
use axiom_testkit::echo_http::{EchoServer, Options};
use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request, connect};
use axiom_tests::peer::{LATEST_LEGACY, MODERN, Peer as _, Session, Stateless, message, split};
use axiom_tests::{process, servers, wait};
use serde_json::{Value, json};

/// One server of each era by each way, so that each client meets its own era and the other one.
const UPSTREAMS: [&str; 4] = ["modern-http", "modern-stdio", "legacy-http", "legacy-stdio"];

/// What the issue promises from the client's leaving to the server's knowing.
const CANCELLED_WITHIN: Duration = Duration::from_millis(200);

struct Scene {
    gateway: Gateway,
    _servers: [Running; 2],
}

impl Scene {
    fn new() -> Self {
        let (modern, modern_url) = servers::modern_only_http();
        let (legacy, legacy_url) = servers::legacy_only_http();
        let config = Config::new()
            .url("modern-http", &modern_url)
            .stdio("modern-stdio", &servers::modern_only_stdio())
            .url("legacy-http", &legacy_url)
            .stdio("legacy-stdio", &servers::legacy_only_stdio());
        Scene {
            gateway: Gateway::start(&config),
            _servers: [modern, legacy],
        }
    }

    /// What the server says of its slow calls: how many began, how many it knows to be given up.
    fn slow_calls(&self, server: &str) -> SlowCalls {
        let told = Stateless::new(&self.gateway.server(server)).call("test_slow_calls", &json!({}));
        let told: Value = serde_json::from_str(&told.text()).expect("it tells JSON");
        let count = |field: &str| told[field].as_u64().expect("it counts");
        SlowCalls {
            begun: count("begun"),
            cancelled: count("cancelled"),
        }
    }

    /// Sends a request that nothing answers yet, and waits until its server is at work.
    fn begin(&self, server: &str, request: &Request) -> TcpStream {
        let before = self.slow_calls(server);
        let address = self.gateway.address();
        let mut stream = connect(address).expect("the gateway listens");
        stream
            .write_all(&request.bytes(address))
            .expect("the gateway reads");
        wait::until("the slow call begins", || {
            (self.slow_calls(server).begun > before.begun).then_some(())
        });
        stream
    }

    /// Leaves, and says how long it takes until the server knows that one call more was given up.
    fn leave(&self, server: &str, connection: impl Sized) -> Duration {
        let before = self.slow_calls(server);
        let left = Instant::now();
        drop(connection);
        wait::until("the server knows that its call was given up", || {
            (self.slow_calls(server).cancelled > before.cancelled).then_some(())
        });
        let took = left.elapsed();
        assert_eq!(
            self.slow_calls(server).cancelled,
            before.cancelled + 1,
            "{server}"
        );
        took
    }

    fn modern_slow(&self, server: &str, with_progress: bool) -> Request {
        let mut params = json!({ "name": "test_slow", "arguments": {} });
        if with_progress {
            params["_meta"]["progressToken"] = json!("slow");
        }
        Stateless::new(&self.gateway.server(server)).request("1", "tools/call", &params)
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct SlowCalls {
    begun: u64,
    cancelled: u64,
}

/// Before the answer has begun and after its first event, at servers of both eras by both ways.
#[test]
fn a_client_of_2026_cancels_by_leaving() {
    // A busy machine may hold one of them up; a pause of our own making would hold them all up.
    const TIMES: usize = 3;
    let scene = Scene::new();
    for server in UPSTREAMS {
        let early = (0..TIMES).map(|_| {
            let waiting = scene.begin(server, &scene.modern_slow(server, false));
            scene.leave(server, waiting)
        });
        let early = early.min().expect("it was tried");
        let late = (0..TIMES).map(|_| {
            let waiting = scene.begin(server, &scene.modern_slow(server, true));
            let mut answer = Answer::read(waiting).expect("an answer begins");
            let first = answer.next_message().expect("an event comes");
            assert!(first.contains(r#""progressToken":"slow""#), "{server}: {first}");
            scene.leave(server, answer)
        });
        let late = late.min().expect("it was tried");
        eprintln!("{server}: {early:?} before the first event, {late:?} after it");
        assert!(early < CANCELLED_WITHIN, "{server}: {early:?}");
        assert!(late < CANCELLED_WITHIN, "{server}: {late:?}");
    }
}

/// The call goes on. It is still that client's to cancel, by saying so.
#[test]
fn a_client_of_2025_does_not_cancel_by_leaving() {
    let scene = Scene::new();
    for server in UPSTREAMS {
        let session = Session::open(&scene.gateway.server(server));
        let slow = json!({ "name": "test_slow", "arguments": {} }).to_string();
        let request = session.request(message("\"left\"", "tools/call", &slow));
        drop(scene.begin(server, &request));
        // A later cancellation, of somebody else, reaches the server: that of the first call would have done so before.
        let other = scene.begin(server, &scene.modern_slow(server, false));
        scene.leave(server, other);
        let before = scene.slow_calls(server);
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"left"}}"#;
        assert_eq!(session.send(&session.request(cancel)).status, 202, "{server}");
        wait::until("the server knows that the first call was given up", || {
            (scene.slow_calls(server).cancelled == before.cancelled + 1).then_some(())
        });
    }
}

/// Two calls of one session and one of another are left after their first event. Each stream gives the rest of its own.
#[test]
fn a_stream_is_resumed_and_tells_of_nothing_else() {
    let scene = Scene::new();
    for server in UPSTREAMS {
        let url = scene.gateway.server(server);
        let (session, stranger) = (Session::open(&url), Session::open(&url));
        let one = begun(&session, "1", "one");
        let two = begun(&session, "\"2\"", "two");
        let three = begun(&stranger, "1", "three");

        // An event of another session says nothing here; of an equal name there may be one of this session's own.
        for (reader, event, theirs) in [(&stranger, &one, "one"), (&session, &three, "three")] {
            let pried = resume(reader, &url, event);
            if pried.status == 200 {
                let text = pried.text();
                assert!(!text.contains(&format!("\"{theirs}\"")), "{server}: {text}");
            } else {
                assert_eq!(pried.status, 400, "{server}");
            }
        }
        for (reader, last, id, token) in [
            (&session, &two, json!("2"), "two"),
            (&session, &one, json!(1), "one"),
            (&stranger, &three, json!(1), "three"),
        ] {
            let mut rest = resume(reader, &url, last);
            assert_eq!(rest.status, 200, "{server}");
            let told: Vec<Value> = std::iter::from_fn(|| rest.next_message())
                .map(|text| serde_json::from_str(&text).expect("an event is JSON"))
                .collect();
            let [half, all, result] = told.as_slice() else {
                panic!("{server}: {told:?}");
            };
            for (event, progress) in [(half, 50), (all, 100)] {
                assert_eq!(event["params"]["progressToken"], token, "{server}");
                assert_eq!(event["params"]["progress"], progress, "{server}");
            }
            assert_eq!(result["id"], id, "{server}");
            let text = &result["result"]["content"][0]["text"];
            assert_eq!(text, "Reported progress", "{server}");
        }
    }
}

/// Calls, and leaves after the first event. The event's id.
fn begun(session: &Session, id: &str, token: &str) -> String {
    let params =
        json!({ "name": "test_tool_with_progress", "arguments": {}, "_meta": { "progressToken": token } });
    let mut answer = session.send(&session.request(message(id, "tools/call", &params.to_string())));
    let first = std::iter::from_fn(|| answer.next_event()).find(|event| !event.data.is_empty());
    let first = first.expect("an event comes");
    assert!(first.data.contains(r#""progress":0"#), "{}", first.data);
    first.id.expect("its stream can be resumed")
}

fn resume(session: &Session, url: &str, last_event_id: &str) -> Answer {
    let (address, path) = split(url);
    let id = session.id.as_deref().expect("the session has an id");
    Request::new("GET", &path)
        .header("accept", "text/event-stream")
        .header("mcp-session-id", id)
        .header("mcp-protocol-version", LATEST_LEGACY)
        .header("last-event-id", last_event_id)
        .send(address)
}

/// 2025-03-26 alone has batches. Servers never see one, so those of later revisions answer them too.
#[test]
fn a_batch_is_split_and_gathered() {
    let scene = Scene::new();
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let tool = |id: &str, name: &str| {
        let params = json!({ "name": name, "arguments": {} }).to_string();
        message(id, "tools/call", &params)
    };
    let batch = format!(
        "[{},{initialized},{},{},7]",
        message("\"p\"", "ping", "{}"),
        tool("2", "test_simple_text"),
        tool("\"e\"", "test_error_handling")
    );
    for server in UPSTREAMS {
        let url = scene.gateway.server(server);
        let session = Session::open_as(&url, "2025-03-26", &json!({}));
        let answer = session.send(&session.request(batch.clone()));
        assert_eq!(answer.status, 200, "{server}");
        let answers = answer.json();
        let answers = answers.as_array().expect("a batch is answered by a batch");
        assert_eq!(answers.len(), 4, "{server}: {answers:?}");
        let of = |id: Value| {
            let mut found = answers.iter().filter(|answer| answer["id"] == id);
            let (first, second) = (found.next(), found.next());
            assert_eq!(second, None, "{server}: two answers to {id}");
            first.unwrap_or_else(|| panic!("{server}: no answer to {id} in {answers:?}"))
        };
        assert_eq!(of(json!("p"))["result"], json!({}), "{server}");
        let text = &of(json!(2))["result"]["content"][0]["text"];
        assert_eq!(text, "This is a simple text response for testing.", "{server}");
        assert_eq!(of(json!("e"))["result"]["isError"], true, "{server}");
        assert_eq!(of(Value::Null)["error"]["code"], -32600, "{server}");
        let silent = session.send(&session.request(format!("[{initialized}]")));
        assert_eq!(silent.status, 202, "{server}");
        assert_eq!(silent.text(), "", "{server}");

        for revision in ["2025-06-18", LATEST_LEGACY] {
            let session = Session::open_as(&url, revision, &json!({}));
            let refused = session.send(&session.request(batch.clone()));
            assert_eq!(refused.status, 400, "{server} {revision}");
            assert_eq!(refused.json()["error"]["code"], -32600, "{server} {revision}");
        }
        let (address, path) = split(&url);
        let stateless = Request::post(&path, batch.clone())
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", "tools/call");
        assert_eq!(stateless.send(address).status, 400, "{server} {MODERN}");
    }
}

/// Sessions opened and abandoned, in waves; 10,000 in all. Each can be asked something, so each has a session of its own
/// at the server. A session's own few hundred bytes are forgotten some ten seconds after its last word, so a wave meets
/// what the one before it has left.
const WAVES: [usize; 3] = [3_000, 3_500, 3_500];
/// Clients at once.
const CLIENTS: usize = 4;
/// Far fewer than there are sessions, so that most of them can open theirs only because another was abandoned.
const LINKS_MAX: usize = 400;
/// Idle for two seconds, found by a sweep every five; the rest is for a busy machine.
const REAPED_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn ten_thousand_abandoned_sessions() {
    let server = EchoServer::start(Options {
        eras: Eras::Legacy,
        sessions: true,
        tools: 3,
    });
    let server = server.expect("a port is free");
    let config = Config::new()
        .url("echo", &server.url())
        .with("echo", "idle_timeout = \"2s\"")
        .with("echo", &format!("links_max = {LINKS_MAX}"));
    let gateway = Gateway::start(&config);
    let resident_kib = WAVES.map(|sessions| {
        let begun = Instant::now();
        abandon(&gateway, sessions);
        let (took, resident_kib) = (begun.elapsed(), gateway.rss_kib());
        // A link's place is given away and its goodbye said at the same moment; the goodbyes are on their way.
        let open = server.sessions();
        assert!(open <= 2 * LINKS_MAX, "{open} sessions are open at the server");
        // The gateway's own, for lists and news, stays.
        let reaped = Instant::now();
        wait::until("the server's sessions are ended", || {
            (server.sessions() <= 1).then_some(())
        });
        let reaped = reaped.elapsed();
        let descriptors = process::descriptors(gateway.pid());
        eprintln!(
            "{sessions} sessions in {took:?}, {resident_kib} KiB; {open} open at the server, ended after {reaped:?}; \
             {descriptors} descriptors"
        );
        assert!(reaped < REAPED_WITHIN, "{reaped:?}");
        assert!(descriptors < 4 * LINKS_MAX, "{descriptors} descriptors are open");
        resident_kib
    });
    let [first_kib, .., last_kib] = resident_kib;
    let bound_kib = first_kib + first_kib / 5 + 4 * 1024;
    assert!(last_kib <= bound_kib, "{first_kib} KiB grew to {last_kib} KiB");
    // Whoever comes now is served as ever.
    let mut session = Session::open(&gateway.server("echo"));
    assert_eq!(session.call("echo", &json!({ "text": "late" })).text(), "late");
}

/// So many sessions with one call each, by a few clients at once.
fn abandon(gateway: &Gateway, sessions: usize) {
    let (next, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut wire = KeptAlive::open(gateway);
                while next.fetch_add(1, Ordering::Relaxed) < sessions {
                    wire.one_session();
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(served.load(Ordering::Relaxed), sessions);
}

/// One connection for many requests: 30,000 of their own would leave no port free.
struct KeptAlive<'a> {
    gateway: &'a Gateway,
    stream: TcpStream,
}

impl KeptAlive<'_> {
    fn open(gateway: &Gateway) -> KeptAlive<'_> {
        let stream = connect(gateway.address()).expect("the gateway listens");
        KeptAlive { gateway, stream }
    }

    fn send(&mut self, body: String, session: Option<&str>) -> Answer {
        let mut request = Request::post("/s/echo/mcp", body).header("connection", "keep-alive");
        if let Some(id) = session {
            request = request
                .header("mcp-session-id", id)
                .header("mcp-protocol-version", LATEST_LEGACY);
        }
        let bytes = request.bytes(self.gateway.address());
        self.stream.write_all(&bytes).expect("the gateway reads");
        // Nothing follows an answer before the next request, so nothing is lost with this reader.
        let reading = self.stream.try_clone().expect("a socket can be shared");
        Answer::read(reading).expect("the gateway answers")
    }

    /// Opens a session, makes one call, and never comes back.
    fn one_session(&mut self) {
        let hello = json!({
            "protocolVersion": LATEST_LEGACY,
            "capabilities": { "elicitation": {} },
            "clientInfo": { "name": "passer-by", "version": "1" },
        });
        let answer = self.send(message("0", "initialize", &hello.to_string()), None);
        let id = answer.header("mcp-session-id").map(str::to_owned);
        let welcome = answer.json();
        let id = id.unwrap_or_else(|| panic!("no session but {welcome}"));
        let call = json!({ "name": "echo", "arguments": { "text": "once" } }).to_string();
        let answer = self.send(message("1", "tools/call", &call), Some(&id)).json();
        assert_eq!(answer["result"]["content"][0]["text"], "once", "{answer}");
    }
}
