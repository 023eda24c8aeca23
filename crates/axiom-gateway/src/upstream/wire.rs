//! Streamable HTTP towards a server: each message is a POST.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axiom_core::spawn;
use axiom_protocol::headers::{LAST_EVENT_ID, MCP_PROTOCOL_VERSION, MCP_SESSION_ID};
use axiom_protocol::revision::Revision;
use axiom_transport::http_client::{Answer, HttpError, Target};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use tokio::runtime::Handle;

use super::asides::Asides;
use super::link::{Link, Wire};
use super::stale;
use crate::exchange::Answered;
use crate::fault::Fault;

/// The HTTP side of a link.
pub(super) struct HttpWire {
    /// For POSTs: with content type, what we accept, revision, session.
    posting: Target,
    /// For everything else: with revision and session.
    asking: Target,
    has_session: bool,
    /// A session's requests need ids that are unique in it.
    next_id: Option<AtomicU64>,
    asides: Arc<Asides>,
}

/// Bytes of a refusal that are worth reading.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// The Accept header of every POST, as both eras demand.
const ACCEPT_BOTH: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");

impl HttpWire {
    pub(super) fn new(target: Target, revision: Option<Revision>, session: Option<HeaderValue>) -> HttpWire {
        let mut headers = Vec::new();
        if let Some(revision) = revision {
            headers.push((
                HeaderName::from_static(MCP_PROTOCOL_VERSION),
                HeaderValue::from_static(revision.as_str()),
            ));
        }
        let has_session = session.is_some();
        headers.extend(session.map(|id| (HeaderName::from_static(MCP_SESSION_ID), id)));
        let asking = target.with_headers(&headers);
        let posting = asking.with_headers(&[(header::CONTENT_TYPE, JSON), (header::ACCEPT, ACCEPT_BOTH)]);
        HttpWire {
            posting,
            asking,
            has_session,
            next_id: has_session.then(|| AtomicU64::new(1)),
            asides: Arc::default(),
        }
    }

    /// A fresh id, if requests to this server must not carry the client's own.
    pub(super) fn own_ids(&self) -> Option<u64> {
        self.next_id
            .as_ref()
            .map(|next| next.fetch_add(1, Ordering::Relaxed))
    }

    /// Keeps a request's id from being given again in this session.
    pub(super) fn skip_id(&self, id: &[u8]) {
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse::<u64>().ok());
        if let (Some(next), Some(id)) = (&self.next_id, id) {
            next.fetch_max(id.saturating_add(1), Ordering::Relaxed);
        }
    }

    pub(super) fn has_session(&self) -> bool {
        self.has_session
    }

    pub(super) fn asides(&self) -> &Arc<Asides> {
        &self.asides
    }

    pub(super) async fn post(
        &self,
        extra: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        self.posting.post(extra, body).await
    }

    pub(super) async fn get(&self, link: &Link, last_event_id: Option<Bytes>) -> Result<Answer, Fault> {
        let mut headers = vec![(header::ACCEPT, EVENTS)];
        if let Some(id) = last_event_id
            && let Ok(id) = HeaderValue::from_maybe_shared(id)
        {
            headers.push((HeaderName::from_static(LAST_EVENT_ID), id));
        }
        self.asking
            .get(&headers)
            .await
            .map_err(|error| http_error(link, &error))
    }

    /// Tells a server with sessions that ours is over. Nobody waits for the answer.
    pub(super) fn say_goodbye(&self, runtime: &Handle) {
        if !self.has_session {
            return;
        }
        let target = self.asking.clone();
        drop(spawn::spawn_on(runtime, "end session at server", async move {
            if let Err(error) = target.delete(&[]).await {
                tracing::debug!(%error, "a session could not be ended at its server");
            }
        }));
    }
}

/// Posts a request. A request that was certainly not executed is posted again, once: on a fresh connection if the old
/// one was stale, in a fresh session if the server forgot ours and the request means the same there.
pub(super) async fn post(
    link: Arc<Link>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<Answered, Fault> {
    let answer = post_once(&link, &headers, body.clone()).await?;
    let Wire::Http(wire) = &link.wire else {
        return Ok(Answered::new(answer, link));
    };
    if !wire.has_session || !matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) {
        return Ok(Answered::new(answer, link));
    }
    let (status, head) = (answer.status, answer.headers);
    let read = answer.body.collect(ERROR_BYTES_MAX).await.unwrap_or_default();
    if !stale::is_forgotten(status, &read, &body, &link) {
        return Ok(Answered {
            status,
            headers: head,
            read,
            body: None,
            link,
        });
    }
    Box::pin(stale::again(link, status, headers, body)).await
}

/// A notification or an answer: the server only says that it took it.
pub(super) async fn send(link: &Arc<Link>, body: Bytes) -> Result<(), Fault> {
    let answer = post_once(link, &[], body).await?;
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let text = answer.body.collect(4 << 10).await.unwrap_or_default();
    Err(link.http_fault(status, &text))
}

pub(super) async fn post_once(
    link: &Arc<Link>,
    headers: &[(HeaderName, HeaderValue)],
    body: Bytes,
) -> Result<Answer, Fault> {
    let Wire::Http(wire) = &link.wire else {
        return Err(link.fault());
    };
    match wire.post(headers, body.clone()).await {
        Err(error) if error.retry_is_safe() => wire
            .post(headers, body)
            .await
            .map_err(|error| http_error(link, &error)),
        result => result.map_err(|error| http_error(link, &error)),
    }
}

pub(super) fn http_error(link: &Link, error: &HttpError) -> Fault {
    if error.retry_is_safe() {
        link.upstream.unavailable(&error.to_string())
    } else {
        link.died(&error.to_string())
    }
}
