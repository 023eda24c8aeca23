//! An HTTP server's answer to one POST: one JSON body, or an event stream that ends with the response.
//!
//! A JSON answer is passed on as it comes: only its head is looked at for the id. A stream that breaks before the
//! response is taken up again where the server gave event ids (2025-11-25).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::envelope::{Kind, ReplyHead, ReplyScanner, peek_reply};
use axiom_transport::http_client::{Answer, AnswerBody, Headers};
use axiom_transport::sse::{Decoder, Event};
use bytes::Bytes;
use http::StatusCode;

use super::rest::Rest;
use super::{Asker, Final, Heard, Ids, Step, Waiting, restore_answer, restore_notice};
use crate::fault::Fault;
use crate::message::Message;
use crate::upstream::Link;

/// Bytes of a JSON answer that are awaited before the client gets its head. Up to here a server that breaks off still
/// gives a typed error; beyond, the client's connection is cut.
const HOLD_BYTES_MAX: usize = 128 << 10;
/// Bytes of an error body that are worth reading.
const ERROR_BYTES_MAX: usize = 64 << 10;
/// Times a broken stream is taken up again for one call.
const RESUMES_MAX: u32 = 20;
/// Pause before taking a stream up again when the server names none.
const RESUME_PAUSE: Duration = Duration::from_millis(500);
const RESUME_PAUSE_MAX: Duration = Duration::from_secs(10);

/// The head of an answer, and the link that was asked in the end (a re-initialised one, perhaps).
#[derive(Debug)]
pub(crate) struct Answered {
    pub status: StatusCode,
    pub headers: Headers,
    /// What was read of the body already.
    pub read: Bytes,
    /// The rest of it.
    pub body: Option<AnswerBody>,
    pub link: Arc<Link>,
}

impl Answered {
    pub(crate) fn new(answer: Answer, link: Arc<Link>) -> Answered {
        Answered {
            status: answer.status,
            headers: answer.headers,
            read: Bytes::new(),
            body: Some(answer.body),
            link,
        }
    }
}

/// An answer being read.
pub(crate) struct HttpAnswer {
    link: Arc<Link>,
    status: StatusCode,
    shape: Shape,
}

enum Shape {
    Json {
        body: Option<AnswerBody>,
        held: VecDeque<Bytes>,
        held_len: usize,
        /// Bytes to await before looking for the id; raised when it stands behind a large result.
        hold_max: usize,
    },
    Events {
        body: Option<AnswerBody>,
        decoder: Box<Decoder>,
        place: Box<Place>,
    },
    /// Not MCP: an error page, an empty answer.
    Other {
        body: Option<AnswerBody>,
        held: Vec<u8>,
        is_json: bool,
    },
}

/// Where to go on in an event stream that breaks.
#[derive(Default)]
struct Place {
    last_event_id: Option<Bytes>,
    retry: Option<Duration>,
    resumes: u32,
    pause: Option<std::pin::Pin<Box<time::Sleep>>>,
    resuming: Option<Waiting<Answer>>,
}

impl HttpAnswer {
    pub(crate) fn new(answered: Answered) -> HttpAnswer {
        let Answered {
            status,
            headers,
            read,
            body,
            link,
        } = answered;
        let bytes_max = link.upstream.limits.upstream_message_bytes_max;
        let shape = if status.is_success() && headers.says("text/event-stream") {
            Shape::Events {
                body,
                decoder: Box::new(Decoder::new(bytes_max)),
                place: Box::default(),
            }
        } else if status == StatusCode::OK && headers.says("application/json") {
            Shape::Json {
                body,
                held: VecDeque::new(),
                held_len: 0,
                hold_max: HOLD_BYTES_MAX,
            }
        } else {
            Shape::Other {
                body,
                held: read.to_vec(),
                is_json: headers.says("application/json"),
            }
        };
        HttpAnswer { link, status, shape }
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Cancel-safe: what was read is kept in `self`.
    pub(crate) async fn next(&mut self, ids: &Ids, asker: Asker<'_>) -> Heard {
        let link = Arc::clone(&self.link);
        match &mut self.shape {
            Shape::Json {
                body,
                held,
                held_len,
                hold_max,
            } => Step::Done(read_json(&link, body, held, held_len, hold_max, ids).await).into(),
            Shape::Events { body, decoder, place } => {
                read_event(&link, body, decoder, place, ids, asker).await
            }
            Shape::Other { body, held, is_json } => {
                Step::Done(read_other(&link, self.status, body, held, *is_json, ids).await).into()
            }
        }
    }
}

/// Cancel-safe: what was read is in `held`.
async fn read_json(
    link: &Arc<Link>,
    body: &mut Option<AnswerBody>,
    held: &mut VecDeque<Bytes>,
    held_len: &mut usize,
    hold_max: &mut usize,
    ids: &Ids,
) -> Result<Final, Fault> {
    loop {
        while *held_len <= *hold_max {
            let Some(source) = body.as_mut() else { break };
            match source.chunk().await {
                Some(Ok(chunk)) => {
                    *held_len += chunk.len();
                    held.push_back(chunk);
                }
                Some(Err(error)) => return Err(link.died(&error.to_string())),
                None => *body = None,
            }
        }
        let bytes_max = link.upstream.limits.upstream_message_bytes_max;
        match find_id(held) {
            Ok(found) => {
                let total = body.as_ref().and_then(AnswerBody::content_length);
                return put_id(link, std::mem::take(held), found, ids, body.take(), total);
            }
            // It stands behind a result larger than we like to hold: hold more, within the limit.
            Err(None) if body.is_some() && *hold_max < bytes_max => *hold_max = bytes_max,
            Err(None) => return Err(link.upstream.protocol_fault("its answer has no id")),
            Err(Some(reason)) => return Err(link.upstream.protocol_fault(reason)),
        }
    }
}

/// Where the id's token is in an answer, in bytes from its start, and what the answer is, if that was seen.
struct Found {
    start: usize,
    end: usize,
    kind: Option<Kind>,
}

/// Finds the id, or says why there is none (`None`: not seen so far).
fn find_id(parts: &VecDeque<Bytes>) -> Result<Found, Option<String>> {
    let first = parts
        .front()
        .ok_or_else(|| Some("its answer is empty".to_owned()))?;
    match peek_reply(first) {
        ReplyHead::Id { id, kind: Some(kind) } => {
            return Ok(Found {
                start: id.start as usize,
                end: id.end as usize,
                kind: Some(kind),
            });
        }
        ReplyHead::NotAnObject => return Err(Some("its answer is no JSON object".to_owned())),
        ReplyHead::Id { .. } | ReplyHead::NotInHead => {}
    }
    let mut scanner = ReplyScanner::new();
    for part in parts {
        scanner
            .feed(part)
            .map_err(|error| Some(format!("its answer is not readable: {error}")))?;
    }
    let at = scanner.id().ok_or(None)?;
    let offset = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    Ok(Found {
        start: offset(at.start),
        end: offset(at.end),
        kind: scanner.kind(),
    })
}

/// Replaces the id, which may lie across parts, and leaves every other byte where it is.
fn put_id(
    link: &Arc<Link>,
    parts: VecDeque<Bytes>,
    found: Found,
    ids: &Ids,
    rest: Option<AnswerBody>,
    total: Option<u64>,
) -> Result<Final, Fault> {
    let Found { start, end, kind } = found;
    if ids.client_id == ids.upstream_id && is_at(&parts, start, end, &ids.upstream_id) {
        // The common case of the modern era: nothing to put back.
        return finished(link, parts, kind, rest, total);
    }
    let mut seen = Vec::with_capacity(end.saturating_sub(start));
    let mut out = VecDeque::with_capacity(parts.len() + 2);
    let mut offset = 0;
    for part in parts {
        let (from, to) = (
            start.saturating_sub(offset).min(part.len()),
            end.saturating_sub(offset).min(part.len()),
        );
        seen.extend_from_slice(&part[from..to]);
        let next = offset + part.len();
        if from > 0 {
            out.push_back(part.slice(..from));
        }
        // The new id goes where the old one ends.
        if end > offset && end <= next {
            out.push_back(ids.client_id.clone());
        }
        if to < part.len() {
            out.push_back(part.slice(to..));
        }
        offset = next;
    }
    if seen != ids.upstream_id {
        return Err(link.upstream.protocol_fault(format!(
            "it answered with the id {} instead of {}",
            String::from_utf8_lossy(&seen),
            String::from_utf8_lossy(&ids.upstream_id)
        )));
    }
    let total = total.map(|total| (total + ids.client_id.len() as u64).saturating_sub(seen.len() as u64));
    finished(link, out, kind, rest, total)
}

/// True if the id stands whole in the first part.
fn is_at(parts: &VecDeque<Bytes>, start: usize, end: usize, id: &[u8]) -> bool {
    parts.front().and_then(|first| first.get(start..end)) == Some(id)
}

fn finished(
    link: &Arc<Link>,
    parts: VecDeque<Bytes>,
    kind: Option<Kind>,
    rest: Option<AnswerBody>,
    total: Option<u64>,
) -> Result<Final, Fault> {
    if kind == Some(Kind::Request) {
        return Err(link.upstream.protocol_fault("it answered with a request"));
    }
    Ok(Final {
        status: StatusCode::OK,
        is_result: kind != Some(Kind::Error),
        parts,
        rest: rest.map(|body| Rest::new(body, total, link)),
    })
}

async fn read_event(
    link: &Arc<Link>,
    body: &mut Option<AnswerBody>,
    decoder: &mut Decoder,
    place: &mut Place,
    ids: &Ids,
    asker: Asker<'_>,
) -> Heard {
    loop {
        match decoder.next() {
            Ok(Some(event)) => {
                place.note(&event);
                // It is alive: only hanging up again and again without a word is given up.
                place.resumes = 0;
                if let Some(heard) = take_event(link, event, ids, asker) {
                    return heard;
                }
                continue;
            }
            Ok(None) => {}
            Err(error) => return Step::Done(Err(link.upstream.protocol_fault(error.to_string()))).into(),
        }
        let broken = match body.as_mut() {
            Some(source) => match source.chunk().await {
                Some(Ok(chunk)) => {
                    decoder.feed(chunk);
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => "its event stream ended without an answer".to_owned(),
            },
            None => "its event stream ended without an answer".to_owned(),
        };
        *body = None;
        match place.resume(link, &broken).await {
            Ok(answer) => {
                *body = Some(answer.body);
                *decoder = Decoder::new(link.upstream.limits.upstream_message_bytes_max);
            }
            Err(fault) => return Step::Done(Err(fault)).into(),
        }
    }
}

/// What one event means for the call; `None` if it is not for the client.
fn take_event(link: &Arc<Link>, event: Event, ids: &Ids, asker: Asker<'_>) -> Option<Heard> {
    if event.data.is_empty() {
        return None;
    }
    let message = match Message::scan(event.data, &link.limits()) {
        Ok(message) => message,
        Err(error) => {
            let fault = link
                .upstream
                .protocol_fault(format!("an event is not readable: {error}"));
            return Some(Step::Done(Err(fault)).into());
        }
    };
    let step = match message.kind() {
        Kind::Response | Kind::Error if message.id() == Some(&ids.upstream_id[..]) => {
            Step::Done(Ok(restore_answer(&message, ids, StatusCode::OK)))
        }
        // Some servers answer what they could not read with an error without id: it can only mean this call.
        Kind::Error if message.id().is_none_or(|id| id == b"null") => {
            let mut message = message;
            message.bytes = Bytes::from(axiom_protocol::rewrite::object_with(
                &message.bytes,
                message.envelope.object,
                &[("id", &ids.upstream_id)],
                &[],
            ));
            match Message::scan(message.bytes, &link.limits()) {
                Ok(message) => Step::Done(Ok(restore_answer(&message, ids, StatusCode::OK))),
                Err(error) => Step::Done(Err(link.upstream.protocol_fault(error.to_string()))),
            }
        }
        Kind::Response | Kind::Error => {
            tracing::warn!(server = %link.upstream.name, "an answer to another call was dropped");
            return None;
        }
        Kind::Notification => {
            link.observe(&message);
            match restore_notice(&message, ids) {
                Some(notice) => Step::Notice(notice),
                None => Step::Notice(task_progress(&message, link, asker)?),
            }
        }
        Kind::Request => match asker {
            Asker::Caller if link.is_ping(&message) => return None,
            Asker::Caller => return Some(Heard::Asked(Box::new(message))),
            Asker::Session(session) => Step::Notice(link.question(&message, Some(session))?),
            Asker::Nobody => Step::Notice(link.question(&message, None)?),
        },
    };
    Some(step.into())
}

impl Place {
    fn note(&mut self, event: &Event) {
        if event.id.is_some() {
            self.last_event_id.clone_from(&event.id);
        }
        if event.retry.is_some() {
            self.retry = event.retry;
        }
    }

    /// Waits the server's pause and asks for the rest of the stream.
    ///
    /// Cancel-safe: the pause and the request are kept in `self`.
    async fn resume(&mut self, link: &Arc<Link>, broken: &str) -> Result<Answer, Fault> {
        let Some(last_event_id) = self.last_event_id.clone() else {
            return Err(link.died(broken));
        };
        loop {
            if let Some(resuming) = self.resuming.as_mut() {
                let answer = resuming.as_mut().await;
                self.resuming = None;
                match answer {
                    Ok(answer) if answer.status == StatusCode::OK => return Ok(answer),
                    Ok(answer) => {
                        link.stream_refused(answer.status);
                        let reason = format!("{broken}; resuming it gave HTTP {}", answer.status.as_u16());
                        return Err(link.died(&reason));
                    }
                    Err(fault) if self.resumes >= RESUMES_MAX => return Err(fault),
                    Err(_) => {}
                }
            }
            if self.resumes >= RESUMES_MAX {
                return Err(link.died(broken));
            }
            let pause = self.retry.unwrap_or(RESUME_PAUSE).min(RESUME_PAUSE_MAX);
            self.pause
                .get_or_insert_with(|| Box::pin(time::sleep(pause)))
                .await;
            self.pause = None;
            self.resumes += 1;
            let link = Arc::clone(link);
            let id = last_event_id.clone();
            self.resuming = Some(Box::pin(async move { link.get_stream(Some(id)).await }));
        }
    }
}

/// An answer that is neither JSON nor events. A JSON-RPC error in it is still the server's answer.
async fn read_other(
    link: &Arc<Link>,
    status: StatusCode,
    body: &mut Option<AnswerBody>,
    held: &mut Vec<u8>,
    is_json: bool,
    ids: &Ids,
) -> Result<Final, Fault> {
    while let Some(source) = body.as_mut() {
        match source.chunk().await {
            Some(Ok(chunk)) if held.len() + chunk.len() <= ERROR_BYTES_MAX => held.extend_from_slice(&chunk),
            Some(Ok(_) | Err(_)) | None => *body = None,
        }
    }
    if is_json
        && let Ok(message) = Message::scan(Bytes::copy_from_slice(held), &link.limits())
        && message.kind() == Kind::Error
        && message
            .id()
            .is_none_or(|id| id == &ids.upstream_id[..] || id == b"null")
    {
        // An answer under no id (the server could not read ours) goes to the client under its own.
        let bytes = axiom_protocol::rewrite::object_with(
            &message.bytes,
            message.envelope.object,
            &[("id", &ids.client_id)],
            &[],
        );
        return Ok(Final {
            status,
            is_result: false,
            parts: VecDeque::from([Bytes::from(bytes)]),
            rest: None,
        });
    }
    Err(link.http_fault(status, held))
}

/// Progress of a task that `asker` has begun, under the client's own token. Another client's goes to that one.
fn task_progress(message: &Message, link: &Link, asker: Asker<'_>) -> Option<Bytes> {
    let (session, notice) = link.tokens.restore(message)?;
    if matches!(asker, Asker::Session(asker) if asker.id == session.id) {
        return Some(notice);
    }
    session.send(&notice, link.upstream.limits.replay_bytes_max);
    None
}
