//! Another replica's answer on its way to the client, as it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axiom_protocol::headers::MCP_SESSION_ID;
use axiom_transport::http_client::{Answer, AnswerBody};
use axiom_transport::server::{Body, BodyError};
use bytes::Bytes;
use http::{HeaderName, Method, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::gateway::Gateway;

/// What a client reads of an answer's head. The rest is about the connection between the replicas.
const PASSED_BACK: [HeaderName; 6] = [
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::RETRY_AFTER,
    header::ALLOW,
    HeaderName::from_static(MCP_SESSION_ID),
    HeaderName::from_static("x-accel-buffering"),
];

pub(super) fn response(gateway: &Arc<Gateway>, answer: Answer, method: &Method) -> Response<Body> {
    // A standing stream has no end of its own: it ends when this gateway does.
    let until = (method == Method::GET).then(|| {
        let gateway = Arc::clone(gateway);
        let until: Pin<Box<dyn Future<Output = ()> + Send>> =
            Box::pin(async move { gateway.drain_begun().await });
        until
    });
    let left = answer.body.content_length();
    let mut response = Response::new(match left {
        Some(0) => Body::Empty,
        _ => Body::stream(Relayed {
            body: answer.body,
            left,
            until,
        }),
    });
    *response.status_mut() = answer.status;
    for name in PASSED_BACK {
        if let Some(value) = answer.headers.value(&name) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

struct Relayed {
    body: AnswerBody,
    /// Bytes still to come, if the owner has said how many.
    left: Option<u64>,
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl HttpBody for Relayed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(chunk) = self.body.poll_chunk(cx) {
            return Poll::Ready(chunk.map(|chunk| match chunk {
                Ok(chunk) => {
                    self.left = self.left.map(|left| left.saturating_sub(chunk.len() as u64));
                    Ok(Frame::data(chunk))
                }
                Err(error) => Err(BodyError {
                    reason: error.to_string(),
                }),
            }));
        }
        if let Some(until) = self.until.as_mut()
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
