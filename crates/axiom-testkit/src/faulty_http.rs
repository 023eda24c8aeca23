//! The faulty servers over Streamable HTTP.

use std::{io, net::TcpListener, sync::Arc};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;

use crate::{
    faulty::{Act, Fault, Faulty, GARBAGE, Options},
    server::{self, Running, Service},
    wire::Message,
};

/// Starts a faulty server on a free port of the loopback interface.
///
/// # Errors
/// No port is free, or no thread can be started.
pub fn start(options: Options) -> io::Result<Running> {
    start_on(TcpListener::bind("127.0.0.1:0")?, options)
}

/// # Errors
/// The listener cannot be used, or no thread can be started.
pub fn start_on(listener: TcpListener, options: Options) -> io::Result<Running> {
    server::start(
        listener,
        FaultyService(Arc::new(State {
            faulty: Faulty::new(options),
            started: now(),
        })),
    )
}

#[derive(Debug, Clone)]
struct FaultyService(Arc<State>);

#[derive(Debug)]
struct State {
    faulty: Faulty,
    started: tokio::time::Instant,
}

fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

impl Service for FaultyService {
    type Body = Full<Bytes>;

    fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<Full<Bytes>>>> + Send + 'static {
        let state = Arc::clone(&self.0);
        async move {
            if state.faulty.options.fault == Fault::SlowStart {
                tokio::time::sleep_until(state.started + state.faulty.options.delay).await;
            }
            if request.method() != Method::POST {
                return Ok(answer(StatusCode::METHOD_NOT_ALLOWED, Bytes::new()));
            }
            let body = request
                .into_body()
                .collect()
                .await
                .map_err(io::Error::other)?
                .to_bytes();
            let Some(message) = Message::read(&body) else {
                return Ok(answer(StatusCode::BAD_REQUEST, Bytes::new()));
            };
            match state.faulty.act(&message) {
                Act::Answer(body) => Ok(answer(StatusCode::OK, Bytes::from(body))),
                Act::Garbage => Ok(answer(StatusCode::OK, Bytes::from_static(GARBAGE))),
                Act::Nothing if message.id.is_some() => std::future::pending().await,
                Act::Nothing => Ok(answer(StatusCode::ACCEPTED, Bytes::new())),
                Act::Die => Err(io::Error::other("the fault closes the connection")),
            }
        }
    }
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
