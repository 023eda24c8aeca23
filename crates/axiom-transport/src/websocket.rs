//! MCP over WebSocket, both directions: subprotocol `mcp`, one message per text frame.
//!
//! One task per connection runs a reading and a writing loop side by side, so that a peer that is slow to read cannot
//! keep us from reading.

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::channel::{Receiver, Sender};
use axiom_core::time::timeout;
use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::http_client::{HttpError, Target, TargetError, dial};
use crate::pipe::{CloseReason, Closed, Pipe, Pump, plumb, stopped};
use crate::server::Body;

/// The subprotocol that client and server agree on.
pub const SUBPROTOCOL: &str = "mcp";

/// Messages that wait between the socket and the pipe's owner, each way.
const QUEUE_LEN_MAX: usize = 16;

/// The answer to the upgrade request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A ping goes out after this much silence of ours: shorter than the idle limits of common proxies (60 s).
const PING_AFTER: Duration = Duration::from_secs(30);

/// A peer that sent nothing for this long, not even pongs for three pings, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// How long the peer may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

/// Read and write buffers per connection. The library's 128 KiB would be most of an idle session's memory.
const BUFFER_BYTES: usize = 4 * 1024;

/// Why no WebSocket came about.
#[derive(Debug, thiserror::Error)]
pub enum WsError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{at} answered the upgrade request with status {status}")]
    Refused { at: String, status: u16 },
    #[error("{at} did not answer the upgrade request within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    Timeout { at: String },
    #[error("the upgrade to WebSocket failed at {at}: {cause}")]
    Handshake { at: String, cause: String },
}

/// Connects to a `ws` or `wss` URL. `headers` go with the upgrade request.
///
/// # Errors
/// [`WsError`] names the server.
///
/// # Cancel safety
/// A dropped call closes the connection.
pub async fn connect(
    url: &str,
    headers: &BTreeMap<String, String>,
    message_bytes_max: usize,
) -> Result<Pipe, WsError> {
    let target = Target::parse_as(url, headers, ["ws", "wss"], "ws or wss")?;
    let at = || target.at().to_string();
    let request = upgrade_request(&target).map_err(|error| WsError::Handshake {
        at: at(),
        cause: error.to_string(),
    })?;
    let stream = dial(&target).await?;
    let handshake = client_async_with_config(request, stream, Some(config(message_bytes_max)));
    match timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok((socket, _response))) => Ok(start(socket, message_bytes_max)),
        Ok(Err(SocketError::Http(answer))) => Err(WsError::Refused {
            at: at(),
            status: answer.status().as_u16(),
        }),
        Ok(Err(error)) => Err(WsError::Handshake {
            at: at(),
            cause: error.to_string(),
        }),
        Err(_elapsed) => Err(WsError::Timeout { at: at() }),
    }
}

/// Serves a connection on which the upgrade has been answered already (with [`accept_key`] and [`SUBPROTOCOL`]).
pub async fn accept<IO>(io: IO, message_bytes_max: usize) -> Pipe
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config(message_bytes_max))).await;
    start(socket, message_bytes_max)
}

/// The `Sec-WebSocket-Accept` value that answers a `Sec-WebSocket-Key`.
pub fn accept_key(sec_websocket_key: &str) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(sec_websocket_key.trim().as_bytes())
}

/// The answer to a request that asks for a WebSocket; `None` if it does not ask as it must. Who gives it takes the connection over
/// ([`accept`]) once it is sent.
pub fn switching_protocols(headers: &HeaderMap) -> Option<Response<Body>> {
    let is = |name: HeaderName, value: &str| {
        let given = headers.get(name).and_then(|given| given.to_str().ok());
        given.is_some_and(|given| given.to_ascii_lowercase().contains(value))
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?.to_str().ok()?;
    let key = HeaderValue::from_str(&accept_key(key)).ok()?;
    if !(is(header::UPGRADE, "websocket") && is(header::CONNECTION, "upgrade")) {
        return None;
    }
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    Some(response)
}

fn upgrade_request(target: &Target) -> Result<Request<()>, http::Error> {
    let url = target.url();
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = format!("{}{port}", url.host_str().unwrap_or_default());
    let mut request = Request::get(format!(
        "{}://{host}{}{}",
        url.scheme(),
        url.path(),
        url.query().map(|query| format!("?{query}")).unwrap_or_default()
    ))
    .header(header::HOST, host)
    .header(header::CONNECTION, "Upgrade")
    .header(header::UPGRADE, "websocket")
    .header(header::SEC_WEBSOCKET_VERSION, "13")
    .header(header::SEC_WEBSOCKET_KEY, generate_key())
    .header(
        header::SEC_WEBSOCKET_PROTOCOL,
        HeaderValue::from_static(SUBPROTOCOL),
    )
    .body(())?;
    for (name, value) in target.fixed() {
        request.headers_mut().insert(name.clone(), value.clone());
    }
    Ok(request)
}

fn config(message_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
}

fn start<IO>(socket: WebSocketStream<IO>, message_bytes_max: usize) -> Pipe
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (pipe, pump) = plumb(QUEUE_LEN_MAX);
    axiom_core::spawn("websocket", serve(socket, pump, message_bytes_max));
    pipe
}

async fn serve<IO>(socket: WebSocketStream<IO>, mut pump: Pump, message_bytes_max: usize)
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut frames) = socket.split();
    let closed = tokio::select! {
        // Neither is polled again after this: what the other one held is lost with the connection.
        closed = read(&mut frames, &pump.incoming, message_bytes_max) => closed,
        closed = write(&mut sink, &mut pump.outgoing) => closed,
    };
    let code = match closed.reason {
        CloseReason::TooLarge { .. } => Some(CloseCode::Size),
        CloseReason::Protocol => Some(CloseCode::Unsupported),
        CloseReason::Stopped => Some(CloseCode::Normal),
        _ => None,
    };
    let is_ours = closed.reason == CloseReason::Stopped;
    pump.end(closed);
    drop(pump);
    if let Some(code) = code {
        let frame = CloseFrame {
            code,
            reason: Utf8Bytes::from_static(""),
        };
        let goodbye = async {
            sink.send(Message::Close(Some(frame))).await?;
            // Our close is answered, and what the peer had sent before it is read and dropped.
            while is_ours && frames.next().await.is_some_and(|frame| frame.is_ok()) {}
            Ok::<(), SocketError>(())
        };
        let _peer_is_gone = timeout(CLOSE_WAIT, goodbye).await.is_err();
    }
}

/// Reads until the conversation ends; says how.
async fn read<IO>(
    frames: &mut SplitStream<WebSocketStream<IO>>,
    incoming: &Sender<Bytes>,
    bytes_max: usize,
) -> Closed
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let mut goodbye = None;
    loop {
        let Ok(frame) = timeout(SILENCE_MAX, frames.next()).await else {
            return Closed::new(
                CloseReason::Io,
                format!("the peer was silent for {} s", SILENCE_MAX.as_secs()),
            );
        };
        match frame {
            Some(Ok(Message::Text(text))) => {
                if incoming.send(Bytes::from(text)).await.is_err() {
                    return stopped();
                }
            }
            Some(Ok(Message::Binary(_))) => {
                return Closed::new(
                    CloseReason::Protocol,
                    "the peer sent a binary frame; MCP messages are text",
                );
            }
            // The library answers pings and close frames while it reads on.
            Some(Ok(Message::Close(frame))) => goodbye = Some(goodbye_text(frame)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Err(error)) => match goodbye {
                Some(detail) => return Closed::new(CloseReason::Eof, detail),
                None => return broken(error, bytes_max),
            },
            None => {
                let detail = goodbye.unwrap_or_else(|| "the peer closed the connection".into());
                return Closed::new(CloseReason::Eof, detail);
            }
        }
    }
}

fn goodbye_text(frame: Option<CloseFrame>) -> String {
    match frame {
        Some(CloseFrame { code, reason }) if reason.is_empty() => {
            format!("the peer closed the connection with code {}", u16::from(code))
        }
        Some(CloseFrame { code, reason }) => {
            format!(
                "the peer closed the connection with code {}: {reason}",
                u16::from(code)
            )
        }
        None => "the peer closed the connection".into(),
    }
}

fn broken(error: SocketError, bytes_max: usize) -> Closed {
    match error {
        SocketError::Capacity(CapacityError::MessageTooLong { .. }) => Closed::new(
            CloseReason::TooLarge { bytes_max },
            format!("the peer sent a message of more than {bytes_max} B"),
        ),
        SocketError::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
            Closed::new(CloseReason::Io, "the peer went away without a close frame")
        }
        SocketError::Protocol(error) => Closed::new(
            CloseReason::Protocol,
            format!("the peer broke the WebSocket protocol: {error}"),
        ),
        SocketError::Utf8(_) => Closed::new(CloseReason::Protocol, "the peer sent text that is not UTF-8"),
        error => Closed::new(CloseReason::Io, format!("the connection broke: {error}")),
    }
}

/// Writes what the owner sends, and pings when he is silent, until he closes.
async fn write<IO>(
    sink: &mut SplitSink<WebSocketStream<IO>, Message>,
    outgoing: &mut Receiver<Bytes>,
) -> Closed
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        // cancel-safe: a message stays queued until recv returns it.
        let frame = match timeout(PING_AFTER, outgoing.recv()).await {
            Ok(Some(message)) => match Utf8Bytes::try_from(message) {
                Ok(text) => Message::Text(text),
                Err(_not_utf8) => {
                    return Closed::new(CloseReason::Protocol, "a message to send is not UTF-8");
                }
            },
            Ok(None) => return stopped(),
            Err(_silence) => Message::Ping(Bytes::new()),
        };
        if let Err(error) = sink.send(frame).await {
            return Closed::new(CloseReason::Io, format!("failed to write to the peer: {error}"));
        }
    }
}
