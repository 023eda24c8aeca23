//! The fake servers over real sockets and real pipes.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
};

use axiom_testkit::{
    echo::Eras,
    echo_http::{EchoServer, Options},
    faulty::{self, Fault},
    faulty_http, floor,
};

const CALL: &str =
    r#"{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hi"}}}"#;
const ECHO: &str = r#"{"jsonrpc":"2.0","id":5,"result":{"content":[{"type":"text","text":"hi"}]}}"#;
const INITIALIZE: &str =
    r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}"#;

struct Response {
    status: u16,
    head: String,
    body: String,
}

/// Sends one request on a connection of its own; `None` if it was closed without an answer.
fn send(address: SocketAddr, method: &str, headers: &[&str], body: &str) -> Option<Response> {
    let mut stream = open(address, method, headers, body);
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a readable answer");
    let (head, body) = response.split_once("\r\n\r\n")?;
    let status = head
        .split(' ')
        .nth(1)
        .expect("a status")
        .parse()
        .expect("a number");
    Some(Response {
        status,
        head: head.to_owned(),
        body: body.to_owned(),
    })
}

fn open(address: SocketAddr, method: &str, headers: &[&str], body: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let length = body.len();
    write!(
        stream,
        "{method} /mcp HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
    .expect("the request is sent");
    stream
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://")
        .trim_end_matches("/mcp")
        .parse()
        .expect("an address")
}

fn status(response: Option<Response>) -> u16 {
    response.expect("an answer").status
}

#[test]
fn a_session_is_minted_wanted_and_ended() {
    let server = EchoServer::start(Options::default()).expect("a server");
    let at = address(&server.url());
    assert_eq!(status(send(at, "POST", &[], CALL)), 400);
    assert_eq!(status(send(at, "POST", &["mcp-session-id: nobody"], CALL)), 404);

    let initialized = send(at, "POST", &[], INITIALIZE).expect("an answer");
    let session = initialized
        .head
        .lines()
        .find(|line| line.starts_with("mcp-session-id"))
        .expect("a session id");
    let called = send(at, "POST", &[session], CALL).expect("an answer");
    assert_eq!((called.status, called.body.as_str()), (200, ECHO));
    assert_eq!(
        status(send(
            at,
            "POST",
            &[session],
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#
        )),
        202
    );
    assert_eq!(server.sessions(), 1);

    assert_eq!(status(send(at, "DELETE", &[session], "")), 200);
    assert_eq!(status(send(at, "POST", &[session], CALL)), 404);
}

#[test]
fn a_stateless_server_wants_no_session() {
    let server = EchoServer::start(Options {
        sessions: false,
        ..Options::default()
    })
    .expect("a server");
    let initialized = send(address(&server.url()), "POST", &[], INITIALIZE).expect("an answer");
    assert!(!initialized.head.contains("mcp-session-id"));
    assert_eq!(
        send(address(&server.url()), "POST", &[], CALL)
            .expect("an answer")
            .body,
        ECHO
    );
}

#[test]
fn modern_requests_must_agree_with_their_headers() {
    let server = EchoServer::start(Options::default()).expect("a server");
    let at = address(&server.url());
    let call = CALL.replace(
        "\"name\"",
        "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
         \"io.modelcontextprotocol/clientCapabilities\":{}},\"name\"",
    );
    let version = "mcp-protocol-version: 2026-07-28";
    let good = send(
        at,
        "POST",
        &[version, "mcp-method: tools/call", "mcp-name: echo"],
        &call,
    )
    .expect("an answer");
    assert_eq!(good.status, 200);
    assert!(good.body.contains("\"resultType\":\"complete\""));
    for (headers, body, code) in [
        (
            [version, "mcp-method: tools/call", "mcp-name: blob"],
            call.as_str(),
            "-32020",
        ),
        (
            [version, "mcp-method: tools/list", "mcp-name: echo"],
            call.as_str(),
            "-32020",
        ),
        (
            [version, "mcp-method: tools/call", "mcp-name: echo"],
            CALL,
            "-32602",
        ),
    ] {
        let bad = send(at, "POST", &headers, body).expect("an answer");
        assert_eq!(bad.status, 400);
        assert!(bad.body.contains(code), "{}", bad.body);
    }
}

#[test]
fn a_stream_stays_open_and_carries_what_is_announced() {
    let server = EchoServer::start(Options {
        sessions: false,
        ..Options::default()
    })
    .expect("a server");
    let stream = open(address(&server.url()), "GET", &["accept: text/event-stream"], "");
    let mut lines = BufReader::new(stream)
        .lines()
        .map(|line| line.expect("a readable line"));
    assert!(lines.next().expect("a status").contains("200"));
    assert!(lines.by_ref().any(|line| line.is_empty()), "the head ends");
    assert_eq!(
        server.announce(r#"{"method":"notifications/tools/list_changed"}"#),
        1
    );
    assert!(lines.any(|line| line == r#"data: {"method":"notifications/tools/list_changed"}"#));
}

#[test]
fn the_floor_passes_everything_on() {
    let server = EchoServer::start(Options {
        sessions: false,
        ..Options::default()
    })
    .expect("a server");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let at = listener.local_addr().expect("an address");
    let _floor = floor::start(&listener, address(&server.url()), 2).expect("a proxy");
    for _ in 0..3 {
        assert_eq!(send(at, "POST", &[], CALL).expect("an answer").body, ECHO);
    }
    let blob = CALL.replace("\"echo\"", "\"blob\"");
    assert!(send(at, "POST", &[], &blob).expect("an answer").body.len() > 64 * 1024);
}

#[test]
fn faulty_servers_fail_over_http_too() {
    let start = |fault| faulty_http::start(faulty::Options::new(fault)).expect("a server");
    let dies = start(Fault::DiesMidCall);
    assert_eq!(status(send(dies.address(), "POST", &[], INITIALIZE)), 200);
    assert!(send(dies.address(), "POST", &[], CALL).is_none());
    let wrong = start(Fault::WrongId);
    assert!(
        send(wrong.address(), "POST", &[], CALL)
            .expect("an answer")
            .body
            .contains("nobody")
    );
}

#[test]
fn the_programs_print_their_address_or_speak_stdio() {
    let mut echo = Command::new(env!("CARGO_BIN_EXE_axiom-echo"))
        .args(["--mode", "stateless", "--eras", "legacy"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("axiom-echo starts");
    let mut line = String::new();
    BufReader::new(echo.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    let url = line.split('"').nth(7).expect("an address");
    assert_eq!(
        send(address(url), "POST", &[], CALL).expect("an answer").body,
        ECHO
    );
    echo.kill().expect("it runs");
    echo.wait().expect("it ended");

    let mut faulty = Command::new(env!("CARGO_BIN_EXE_axiom-faulty"))
        .args(["--fault", "dies-mid-call"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("axiom-faulty starts");
    let mut stdin = faulty.stdin.take().expect("piped");
    writeln!(stdin, "{INITIALIZE}\n{CALL}").expect("it reads");
    let output = faulty.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(output.stdout.iter().filter(|byte| **byte == b'\n').count(), 1);
}

#[test]
fn a_modern_only_server_refuses_the_old_handshake() {
    let server = EchoServer::start(Options {
        eras: Eras::Modern,
        ..Options::default()
    })
    .expect("a server");
    let refused = send(address(&server.url()), "POST", &[], INITIALIZE).expect("an answer");
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("-32022"));
}
