//! Clients choose their own ids and progress tokens. Five hundred that choose the same ones on one server process must
//! each get what is theirs.

use std::net::TcpStream;

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request, connect};
use axiom_tests::peer::{Peer as _, Session, Stateless, finish, message};
use axiom_tests::{process, servers};
use serde_json::json;

const CLIENTS: usize = 500;

#[test]
fn five_hundred_sessions_with_id_1_and_token_1() {
    let gateway = Gateway::start(&Config::new().stdio("everything", &servers::everything().command));
    let url = gateway.server("everything");
    let sessions: Vec<Session> = (0..CLIENTS).map(|_| Session::open(&url)).collect();

    let request = |session: &Session, n: usize| {
        let arguments = json!({ "message": format!("this is for client {n} alone") });
        let params = json!({ "name": "echo", "arguments": arguments, "_meta": { "progressToken": 1 } });
        session.request(message("1", "tools/call", &params.to_string()))
    };
    let requests: Vec<Request> = sessions
        .iter()
        .enumerate()
        .map(|(n, session)| request(session, n))
        .collect();
    for (n, mut answer) in at_once(&gateway, &requests).into_iter().enumerate() {
        let reply = finish("1", &mut answer);
        assert_eq!(reply.text(), format!("Echo: this is for client {n} alone"));
    }

    let children = process::descendants(gateway.pid());
    assert_eq!(children.len(), 1, "the sessions share one process: {children:?}");
}

#[test]
fn each_session_gets_its_own_progress() {
    let gateway = Gateway::start(&Config::new().stdio("everything", &servers::everything().command));
    let url = gateway.server("everything");
    let sessions: Vec<Session> = (0..CLIENTS).map(|_| Session::open(&url)).collect();

    // How many steps a call takes is what tells one client's progress from another's.
    let steps = |n: usize| n % 7 + 1;
    let request = |session: &Session, n: usize| {
        let arguments = json!({ "duration": 1, "steps": steps(n) });
        let meta = json!({ "progressToken": 1 });
        let params =
            json!({ "name": "trigger-long-running-operation", "arguments": arguments, "_meta": meta });
        session.request(message("1", "tools/call", &params.to_string()))
    };
    let requests: Vec<Request> = sessions
        .iter()
        .enumerate()
        .map(|(n, session)| request(session, n))
        .collect();
    for (n, mut answer) in at_once(&gateway, &requests).into_iter().enumerate() {
        let reply = finish("1", &mut answer);
        let text = reply.text();
        assert!(
            text.contains(&format!("Steps: {}.", steps(n))),
            "client {n} got {text}"
        );
        let progress: Vec<_> = reply
            .before
            .iter()
            .filter(|seen| seen["method"] == "notifications/progress")
            .collect();
        assert_eq!(progress.len(), steps(n), "client {n} got {progress:?}");
        for (step, seen) in progress.iter().enumerate() {
            assert_eq!(seen["params"]["progressToken"], json!(1), "client {n}");
            assert_eq!(seen["params"]["progress"], json!(step + 1), "client {n}");
            assert_eq!(seen["params"]["total"], json!(steps(n)), "client {n}");
        }
    }
}

#[test]
fn five_hundred_stateless_clients_with_id_1_and_token_1() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    let client = Stateless::new(&gateway.server("dual"));
    let requests: Vec<Request> = (0..CLIENTS)
        .map(|n| {
            let arguments = json!({ "arg1": format!("client {n}"), "arg2": "alone" });
            let meta = json!({ "progressToken": 1 });
            let params =
                json!({ "name": "test_prompt_with_arguments", "arguments": arguments, "_meta": meta });
            client.request("1", "prompts/get", &params)
        })
        .collect();
    for (n, mut answer) in at_once(&gateway, &requests).into_iter().enumerate() {
        let value = finish("1", &mut answer).value();
        let text = format!("Prompt with arguments: arg1='client {n}', arg2='alone'");
        assert_eq!(
            value["messages"][0]["content"]["text"],
            text.as_str(),
            "client {n}"
        );
    }
}

/// An id is a string or an integer, and comes back as it was: `"1"` is not `1`, and long integers stay whole.
#[test]
fn ids_come_back_as_they_were() {
    let gateway = Gateway::start(&Config::new().stdio("everything", &servers::everything().command));
    let mut session = Session::open(&gateway.server("everything"));
    for id in [
        "1",
        "\"1\"",
        "-7",
        "123456789012345678901234567890",
        "\"a\\u0000b \\ud83e\\udd80\"",
        "\"\"",
    ] {
        let reply = session.ask_as(id, "tools/call", r#"{"name":"echo","arguments":{"message":"x"}}"#);
        assert_eq!(reply.text(), "Echo: x", "{id}");
    }
    assert_eq!(
        session.call("echo", &json!({ "message": "still here" })).text(),
        "Echo: still here"
    );
}

/// Writes all requests before it reads the first answer.
fn at_once(gateway: &Gateway, requests: &[Request]) -> Vec<Answer> {
    use std::io::Write as _;

    let write = |request: &Request| -> TcpStream {
        let mut stream = connect(gateway.address()).expect("the gateway takes 500 connections");
        stream
            .write_all(&request.bytes(gateway.address()))
            .expect("the gateway reads");
        stream
    };
    let streams: Vec<TcpStream> = requests.iter().map(write).collect();
    streams
        .into_iter()
        .map(|stream| Answer::read(stream).expect("each request is answered"))
        .collect()
}
