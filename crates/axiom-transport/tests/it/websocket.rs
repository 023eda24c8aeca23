//! WebSocket: our client against our server on hyper's upgrade, and both against rules broken by hand.

use std::collections::BTreeMap;

use axiom_transport::pipe::{CloseReason, Pipe};
use axiom_transport::websocket::{SUBPROTOCOL, WsError, accept, accept_key, connect};
use bytes::Bytes;
use http::{Response, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio::net::TcpStream;

use crate::peer::{full, serve};

const BYTES_MAX: usize = 100_000;

/// An echo server behind a real upgrade.
async fn echo_url() -> String {
    let (address, _) = serve(|mut request| async move {
        let key = request.headers()[header::SEC_WEBSOCKET_KEY]
            .to_str()
            .unwrap()
            .to_owned();
        if request.headers().get(header::AUTHORIZATION).is_none() {
            return Response::builder().status(401).body(full("who are you")).unwrap();
        }
        assert_eq!(request.headers()[header::SEC_WEBSOCKET_PROTOCOL], SUBPROTOCOL);
        tokio::spawn(async move {
            let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
            let parts = upgraded.downcast::<TokioIo<TcpStream>>().unwrap();
            assert!(parts.read_buf.is_empty());
            let mut pipe = accept(parts.io.into_inner(), BYTES_MAX).await;
            while let Ok(message) = pipe.rx.recv().await {
                pipe.tx.send(message).await.unwrap();
            }
        });
        Response::builder()
            .status(101)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, accept_key(&key))
            .header(header::SEC_WEBSOCKET_PROTOCOL, SUBPROTOCOL)
            .body(full(""))
            .unwrap()
    })
    .await;
    format!("ws://{address}/ws")
}

fn login() -> BTreeMap<String, String> {
    BTreeMap::from([("authorization".to_owned(), "Bearer x".to_owned())])
}

#[tokio::test]
async fn echo() {
    let mut pipe = connect(&echo_url().await, &login(), BYTES_MAX).await.unwrap();
    for length in [0, 2, 200, 70_000] {
        let message = Bytes::from(format!("\"{}ü\"", "x".repeat(length)));
        pipe.tx.send(message.clone()).await.unwrap();
        assert_eq!(pipe.rx.recv().await.unwrap(), message);
    }
    pipe.tx.close();
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Stopped);
}

#[tokio::test]
async fn a_refused_upgrade_tells_the_status() {
    let error = connect(&echo_url().await, &BTreeMap::new(), BYTES_MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, WsError::Refused { status: 401, .. }), "{error}");
    let error = connect("http://127.0.0.1/", &BTreeMap::new(), BYTES_MAX)
        .await
        .unwrap_err();
    assert!(matches!(error, WsError::Target(_)), "{error}");
}

#[test]
fn the_example_of_the_rfc() {
    assert_eq!(
        accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
}

/// A masked client frame.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    assert!(length < 126);
    [&[head, 0x80 | length, 0, 0, 0, 0], payload].concat()
}

/// A server pipe whose client is the test.
async fn server() -> (tokio::io::DuplexStream, Pipe) {
    let (client, io) = duplex(1 << 20);
    (client, accept(io, 20).await)
}

#[tokio::test]
async fn pings_are_answered_and_closes_too() {
    let (mut client, mut pipe) = server().await;
    client.write_all(&frame(0x89, b"hi")).await.unwrap();
    client.write_all(&frame(0x81, b"{}")).await.unwrap();
    client.write_all(&frame(0x88, &[0x03, 0xE8])).await.unwrap();
    assert_eq!(pipe.rx.recv().await.unwrap(), "{}");
    let closed = pipe.rx.recv().await.unwrap_err();
    assert_eq!(closed.reason, CloseReason::Eof);
    assert_eq!(
        closed.to_string(),
        "the peer closed the connection with code 1000"
    );
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, [b"\x8A\x02hi".as_slice(), b"\x88\x02\x03\xE8"].concat());
}

#[tokio::test]
async fn broken_rules_end_the_conversation() {
    for (frames, reason, code) in [
        (frame(0x82, b"binary"), CloseReason::Protocol, Some(1003)),
        (
            frame(0x81, &[b'x'; 21]),
            CloseReason::TooLarge { bytes_max: 20 },
            Some(1009),
        ),
        (frame(0x81, b"\xFF\xFE"), CloseReason::Protocol, None),
        (b"\x81\x02{}".to_vec(), CloseReason::Protocol, None),
        (Vec::new(), CloseReason::Io, None),
    ] {
        let (mut client, mut pipe) = server().await;
        client.write_all(&frames).await.unwrap();
        if frames.is_empty() {
            client.shutdown().await.unwrap();
        }
        assert_eq!(pipe.rx.recv().await.unwrap_err().reason, reason, "{frames:?}");
        assert!(pipe.tx.is_closed());
        let mut received = Vec::new();
        client.read_to_end(&mut received).await.unwrap();
        if let Some(code) = code {
            assert_eq!(
                received,
                [&[0x88, 2], u16::to_be_bytes(code).as_slice()].concat(),
                "{frames:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let (mut client, mut pipe) = server().await;
    assert_eq!(pipe.rx.recv().await.unwrap_err().reason, CloseReason::Io);
    let mut received = Vec::new();
    client.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"\x89\x00\x89\x00\x89\x00");
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_stop_us_from_reading() {
    let (mut client, io) = duplex(64);
    let mut pipe = accept(io, 20).await;
    // Our side has more to write than fits anywhere.
    let stuck = tokio::spawn({
        let tx = pipe.tx.clone();
        async move { while tx.send(Bytes::from_static(b"0123456789")).await.is_ok() {} }
    });
    for _ in 0..100 {
        client.write_all(&frame(0x81, b"{}")).await.unwrap();
        assert_eq!(pipe.rx.recv().await.unwrap(), "{}");
    }
    drop(client);
    stuck.await.unwrap();
}
