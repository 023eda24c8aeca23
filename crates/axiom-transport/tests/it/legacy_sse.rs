//! The 2024-11-05 client against a small server of that revision.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axiom_transport::http_client::Target;
use axiom_transport::legacy_sse::{SseConnectError, connect};
use axiom_transport::pipe::{CloseReason, Pipe};
use bytes::Bytes;
use http::{Method, Response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::sync::{Mutex, mpsc};

use crate::peer::{Body, full, serve};

/// A server whose stream starts with `first`; what is posted to `/messages` comes back on it.
async fn url(first: &'static str) -> String {
    let (events, stream) = mpsc::channel::<String>(100);
    events.send(first.to_owned()).await.unwrap();
    let stream = Arc::new(Mutex::new(Some(stream)));
    let (address, _) = serve(move |request| {
        let (events, stream) = (events.clone(), Arc::clone(&stream));
        async move {
            if request.method() == Method::GET {
                let Some(stream) = stream.lock().await.take() else {
                    return Response::builder().status(404).body(full("")).unwrap();
                };
                return Response::builder()
                    .header("content-type", "text/event-stream; charset=utf-8")
                    .body(events_body(stream))
                    .unwrap();
            }
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let message = String::from_utf8(body.to_vec()).unwrap();
            if message == "refuse" {
                return Response::builder().status(400).body(full("no")).unwrap();
            }
            let event = match message.as_str() {
                "end" => String::new(),
                message => format!(": comment\nevent: message\r\ndata: {message}\r\n\r\n"),
            };
            events.send(event).await.unwrap();
            Response::builder().status(202).body(full("Accepted")).unwrap()
        }
    })
    .await;
    format!("http://{address}/sse")
}

/// Sends each text; an empty one ends the stream.
fn events_body(stream: mpsc::Receiver<String>) -> Body {
    let frames = futures_util::stream::unfold(stream, |mut stream| async {
        let event = stream.recv().await.filter(|event| !event.is_empty())?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(event))), stream))
    });
    BodyExt::boxed(StreamBody::new(frames))
}

async fn open(url: &str) -> Result<Pipe, SseConnectError> {
    connect(&Target::parse(url, &BTreeMap::new()).unwrap(), 10_000).await
}

const ENDPOINT: &str = "event: endpoint\ndata: /messages?session=1\n\n";

#[tokio::test]
async fn round_trips() {
    let mut pipe = open(&url(ENDPOINT).await).await.unwrap();
    for number in 0..50 {
        let message = Bytes::from(format!("{{\"id\":{number}}}"));
        pipe.tx.send(message.clone()).await.unwrap();
        assert_eq!(pipe.rx.recv().await.unwrap(), message);
    }
    pipe.tx.send(Bytes::from_static(b"end")).await.unwrap();
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Eof);
    assert!(pipe.tx.is_closed());
}

#[tokio::test]
async fn a_refused_message_ends_it() {
    let mut pipe = open(&url(ENDPOINT).await).await.unwrap();
    pipe.tx.send(Bytes::from_static(b"refuse")).await.unwrap();
    let closed = pipe.rx.recv().await.unwrap_err();
    assert_eq!(closed.reason, CloseReason::Protocol);
    assert!(
        closed.to_string().ends_with("refused a message with status 400"),
        "{closed}"
    );
}

#[tokio::test]
async fn a_message_above_the_limit_ends_it() {
    let mut pipe = open(&url(ENDPOINT).await).await.unwrap();
    pipe.tx.send(Bytes::from("x".repeat(10_100))).await.unwrap();
    assert_eq!(
        pipe.rx.recv().await.unwrap_err().reason,
        CloseReason::TooLarge { bytes_max: 10_000 }
    );
}

#[tokio::test]
async fn closing_ends_both_directions() {
    let mut pipe = open(&url(ENDPOINT).await).await.unwrap();
    pipe.tx.close();
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Stopped);
}

#[tokio::test]
async fn what_is_no_such_server() {
    let error = open(&url("event: endpoint\ndata: http://example.com/\n\n").await)
        .await
        .unwrap_err();
    assert!(
        matches!(error, SseConnectError::ForeignEndpoint { .. }),
        "{error}"
    );
    let error = open(&url("event: message\ndata: {}\n\n").await)
        .await
        .unwrap_err();
    assert!(matches!(error, SseConnectError::Endpoint { .. }), "{error}");
    let url = url(ENDPOINT).await;
    let _pipe = open(&url).await.unwrap();
    let error = open(&url).await.unwrap_err();
    assert!(
        matches!(error, SseConnectError::Status { status: 404, .. }),
        "{error}"
    );
    let (address, _) = serve(|_| async { Response::new(full("<html>")) }).await;
    let error = open(&format!("http://{address}/")).await.unwrap_err();
    assert!(matches!(error, SseConnectError::ContentType { .. }), "{error}");
}
