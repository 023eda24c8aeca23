//! TLS: the same client and WebSocket over a server certificate that a root of our own has signed.
//!
//! The root is found as a user's would be, through `SSL_CERT_FILE`, so the test starts itself with that set. The root's
//! key was thrown away after it had signed the one certificate, for `localhost`, which lies here with its key.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use axiom_transport::http_client::{HttpError, Target};
use axiom_transport::websocket;
use bytes::Bytes;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

#[test]
fn https() {
    let _alone = crate::child::ALONE.blocking_lock();
    // Where we are now, which need not be where we were built: target directories are shared.
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let root = format!("{here}/tests/it/https/root.pem");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "https::with_our_root", "--ignored"])
        .env("SSL_CERT_FILE", root)
        .env_remove("SSL_CERT_DIR")
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
#[ignore = "the test `https` starts it with our root certificate"]
async fn with_our_root() {
    let (address, acceptor) = listen().await;
    let url =
        |scheme: &str, host: &str| format!("{scheme}://{host}:{}/", address.local_addr().unwrap().port());
    let target = Target::parse(&url("https", "localhost"), &BTreeMap::new()).unwrap();

    // Several requests on one connection, and bodies of many TLS records both ways.
    let bodies = [2, 20_000, 3_000_000].map(|bytes| Bytes::from(vec![b'x'; bytes]));
    let server = async {
        let mut stream = accept(&address, &acceptor).await;
        for body in &bodies {
            echo_once(&mut stream, body.len()).await;
        }
    };
    let client = async {
        for body in &bodies {
            let answer = target.post(&[], body.clone()).await.unwrap();
            assert_eq!(answer.body.collect(10_000_000).await.unwrap(), body);
        }
    };
    tokio::join!(server, client);

    // A name that is not in the certificate.
    let stranger = Target::parse(&url("https", "127.0.0.1"), &BTreeMap::new()).unwrap();
    let refused = async {
        let (stream, _) = address.accept().await.unwrap();
        acceptor.accept(stream).await.is_err()
    };
    let (outcome, refused) = tokio::join!(stranger.get(&[]), refused);
    let error = outcome.unwrap_err();
    assert!(
        refused && matches!(error, HttpError::Tls { .. }) && error.retry_is_safe(),
        "{error}"
    );

    // A WebSocket handshake reaches the server through TLS.
    let url = url("wss", "localhost");
    let none = BTreeMap::new();
    let (outcome, ()) = tokio::join!(websocket::connect(&url, &none, 1000), async {
        let mut stream = accept(&address, &acceptor).await;
        let head = read_head(&mut stream).await.0;
        assert!(head.contains("Sec-WebSocket-Protocol: mcp"), "{head}");
        stream
            .write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            .await
            .unwrap();
        stream.flush().await.unwrap();
    });
    assert!(matches!(
        outcome,
        Err(websocket::WsError::Refused { status: 403, .. })
    ));
}

async fn listen() -> (TcpListener, TlsAcceptor) {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("https/server.pem"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("https/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(|certificate| certificate.unwrap()).collect(), key)
        .unwrap();
    let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    (
        TcpListener::bind(address).await.unwrap(),
        TlsAcceptor::from(Arc::new(config)),
    )
}

async fn accept(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    let (stream, _) = listener.accept().await.unwrap();
    acceptor.accept(stream).await.unwrap()
}

/// Answers one request with its own body.
async fn echo_once(stream: &mut TlsStream<TcpStream>, body_bytes: usize) {
    let (_, mut body) = read_head(stream).await;
    while body.len() < body_bytes {
        assert_ne!(stream.read_buf(&mut body).await.unwrap(), 0);
    }
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {body_bytes}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stream.flush().await.unwrap();
}

/// The head of a request, and what came behind it.
async fn read_head(stream: &mut TlsStream<TcpStream>) -> (String, Vec<u8>) {
    let mut received = Vec::new();
    loop {
        if let Some(end) = received.windows(4).position(|part| part == b"\r\n\r\n") {
            let body = received.split_off(end + 4);
            return (String::from_utf8(received).unwrap(), body);
        }
        assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0);
    }
}
