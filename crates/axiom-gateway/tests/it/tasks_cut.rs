//! A session server on HTTP whose answers to `tasks/result` are cut on the way: the task goes on, and is not begun again.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axiom_gateway::options::{Endpoint, Options, ServerOptions};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;

use crate::client::{Client, modern};
use crate::stage::{Stage, json};
use crate::tasks::{TASKS, declaring, handle};

const TASK: &str =
    r#"{"taskId":"t","status":"working","createdAt":"c","lastUpdatedAt":"u","ttl":600000,"pollInterval":50}"#;

#[tokio::test]
async fn a_result_cut_on_its_way_is_asked_for_again() {
    for knows_tasks in [false, true] {
        let heard = Heard::default();
        let stage = Stage::with(options(serve(Arc::clone(&heard)).await));
        let mut client = Client::new(&stage, "/s/cut/mcp");
        let params = r#"{"name":"needs"}"#;
        let result = if knows_tasks {
            client.say(&declaring("1", "tools/call", params, "")).await;
            let task = handle(&json(&client.hears().await));
            loop {
                let get = declaring("2", "tasks/get", &format!(r#"{{"taskId":"{task}"}}"#), "");
                let answer = json(&client.asks(&get).await);
                match answer["result"]["status"].as_str() {
                    Some("working") => tokio::task::yield_now().await,
                    _ => break answer["result"]["result"].clone(),
                }
            }
        } else {
            client.say(&modern("1", "tools/call", params)).await;
            json(&client.hears().await)["result"].clone()
        };
        assert_eq!(result["content"], json("[]"), "{result}");
        let heard = heard.lock().unwrap();
        let times = |method: &str| heard.iter().filter(|heard| *heard == method).count();
        assert_eq!(times("tools/call"), 1, "{heard:?}");
        assert_eq!(times("tasks/result"), 3, "{heard:?}");
        assert_eq!(times("tasks/cancel"), 0, "{heard:?}");
    }
}

/// The methods that the server has heard.
type Heard = Arc<Mutex<Vec<String>>>;

fn options(address: SocketAddr) -> Options {
    let endpoint = Endpoint::Http {
        url: format!("http://{address}/mcp"),
        headers: Default::default(),
    };
    Options {
        servers: [("cut".to_owned(), ServerOptions::new(endpoint))].into(),
        ..Options::default()
    }
}

async fn serve(heard: Heard) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            let heard = Arc::clone(&heard);
            let service = service_fn(move |request| respond(Arc::clone(&heard), request));
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(connection), service);
            tokio::spawn(serving);
        }
    });
    address
}

async fn respond(heard: Heard, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    if *request.method() != Method::POST {
        return Ok(with(StatusCode::METHOD_NOT_ALLOWED, "text/plain", ""));
    }
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = json(std::str::from_utf8(&body).unwrap());
    let method = message["method"].as_str().unwrap_or_default();
    let times = {
        let mut heard = heard.lock().unwrap();
        heard.push(method.to_owned());
        heard.iter().filter(|heard| *heard == method).count()
    };
    Ok(match (method, times) {
        // Cut by a proxy that sees nothing come, and refused by one that sees no end.
        ("tasks/result", 1) => with(StatusCode::OK, "text/event-stream", ": silence\n\n"),
        ("tasks/result", 2) => with(StatusCode::GATEWAY_TIMEOUT, "text/plain", "too slow"),
        ("tasks/result", _) => answer(&message, r#"{"content":[]}"#),
        ("tasks/get", _) if finished(&heard) => answer(&message, &TASK.replace("working", "completed")),
        ("tasks/get", _) => answer(&message, TASK),
        ("tools/call", _) => answer(&message, &format!(r#"{{"task":{TASK}}}"#)),
        ("tools/list", _) => answer(
            &message,
            r#"{"tools":[{"name":"needs","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}"#,
        ),
        ("initialize", _) => answer(
            &message,
            &format!(
                r#"{{"protocolVersion":"2025-11-25","capabilities":{TASKS},"serverInfo":{{"name":"cut","version":"1"}}}}"#
            ),
        ),
        _ if message.get("id").is_none() => with(StatusCode::ACCEPTED, "text/plain", ""),
        _ => with(
            StatusCode::OK,
            "application/json",
            &format!(
                r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"unknown"}}}}"#,
                message["id"]
            ),
        ),
    })
}

fn finished(heard: &Heard) -> bool {
    let heard = heard.lock().unwrap();
    heard.iter().filter(|heard| *heard == "tasks/result").count() > 2
}

fn answer(message: &Value, result: &str) -> Response<Full<Bytes>> {
    let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]);
    with(StatusCode::OK, "application/json", &body)
}

fn with(status: StatusCode, content_type: &str, body: &str) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("mcp-session-id", "s")
        .body(Full::new(Bytes::from(body.to_owned())))
        .unwrap()
}
