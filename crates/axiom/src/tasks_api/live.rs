//! What tasks say, while they say it, as server-sent events, or on a WebSocket: see [`socket`].
//!
//! | event    | data                                                                                              |
//! |----------|---------------------------------------------------------------------------------------------------|
//! | `lines`  | `task`, `stream`, `time`, the `number` of the first line, and the lines in `text`, without the last one's end |
//! | `missed` | `task`, `first`, `last`, `lines`: this reader was too slow for them; `output` has them              |
//!
//! A comment comes when nothing else has come for a while. Whoever does not read in time holds up nobody: it misses lines.

pub(super) mod socket;

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axiom_core::channel::{self, Receiver};
use axiom_core::{spawn, time};
use axiom_runtime::mux::clean::{Colours, clean};
use axiom_runtime::mux::{Lines, LiveReader, News, Subscription, Tasks};
use axiom_transport::server::{Body, BodyError};
use axiom_transport::sse;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming};
use serde_json::{Value as Json, json};
use url::form_urlencoded;

use crate::builtin::arguments::Arguments;
use crate::events::full;
use crate::tasks::{Desk, Refusal, stream, stream_name};

/// Silence after which a comment is sent, so that nothing in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: Bytes = Bytes::from_static(b": \n\n");
/// Events between the tasks and a slow client. What waits behind them is bounded in bytes.
const EVENTS_MAX: usize = 16;
const LAST_MAX: usize = 10_000;

/// How lines are shown.
#[derive(Debug, Clone, Copy)]
struct Look {
    /// `[task] ` in front of each.
    has_prefix: bool,
    /// With everything that would steer a terminal.
    is_raw: bool,
}

/// Whether a request asks for the same on a WebSocket.
pub(super) fn is_socket(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET
        && request.uri().path().strip_prefix(super::PATH) == Some("/live")
        && request
            .headers()
            .get(header::UPGRADE)
            .and_then(|given| given.to_str().ok())
            .is_some_and(|given| given.to_ascii_lowercase().contains("websocket"))
}

pub(super) fn open(desk: &Arc<Desk>, query: &str) -> Result<Response<Body>, Refusal> {
    let (reader, look) = begin(desk, query)?;
    let events = pump(Arc::clone(desk), reader, look);
    let mut response = Response::new(Body::stream(Events { events }));
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Begins to look on, as the query says.
fn begin(desk: &Arc<Desk>, query: &str) -> Result<(LiveReader, Look), Refusal> {
    let mut tasks = HashSet::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if name == "task" {
            for beginning in value.split(',').filter(|beginning| !beginning.is_empty()) {
                tasks.insert(desk.find(beginning)?);
            }
        }
    }
    let params = super::asked(query);
    let arguments = Arguments::of(&params, &["task", "last", "stream", "prefix", "raw"])?;
    let is_set = |name: &str| Ok::<_, Refusal>(arguments.text(name)?.is_some_and(|value| value != "0"));
    let look = Look {
        has_prefix: is_set("prefix")?,
        is_raw: is_set("raw")?,
    };
    let last_lines = match arguments.get("last") {
        None => 0,
        Some(value) if value.as_u64() == Some(0) => 0,
        Some(_) => arguments.count("last", 1, LAST_MAX)?,
    };
    let reader = desk.supervisor.subscribe(Subscription {
        tasks: match tasks.is_empty() {
            true => Tasks::All,
            false => Tasks::These(tasks),
        },
        stream: stream(&arguments)?,
        last_lines,
        queue_bytes_max: None,
    })?;
    Ok((reader, look))
}

/// Carries news to the response until either has had enough, or the gateway ends.
fn pump(desk: Arc<Desk>, mut reader: LiveReader, look: Look) -> Receiver<Bytes> {
    let (tx, rx) = channel::bounded(EVENTS_MAX);
    drop(spawn("live stream of tasks", async move {
        // So that a client knows that it is heard.
        let mut next = KEEP_ALIVE_COMMENT;
        while tx.send(next).await.is_ok() {
            next = tokio::select! {
                // cancel-safe: news is taken only when it is returned.
                news = reader.next() => match news {
                    Some(news) => event(&desk, &news, look),
                    None => break,
                },
                // cancel-safe: a timer.
                () = time::sleep(KEEP_ALIVE) => KEEP_ALIVE_COMMENT,
                // cancel-safe: nothing is consumed.
                () = tx.closed() => break,
                // cancel-safe: the value stays.
                () = desk.closed() => break,
            };
        }
    }));
    rx
}

fn event(desk: &Desk, news: &News, look: Look) -> Bytes {
    let (name, data) = told(desk, news, look);
    let mut event = Vec::new();
    sse::encode(&mut event, Some(name), None, data.to_string().as_bytes());
    event.into()
}

/// News, by its name.
fn told(desk: &Desk, news: &News, look: Look) -> (&'static str, Json) {
    match news {
        News::Lines(lines) => ("lines", shown(desk, lines, look)),
        News::Missed(missed) => (
            "missed",
            json!({"task": &*missed.task, "first": missed.first, "last": missed.last, "lines": missed.lines}),
        ),
        News::MissedMore { lines } => ("missed", json!({"lines": lines})),
    }
}

fn shown(desk: &Desk, lines: &Lines, look: Look) -> Json {
    let mut text = String::new();
    let mut first = None;
    for numbered in lines.iter() {
        match first {
            None => first = Some(numbered.sequence),
            Some(_) => text.push('\n'),
        }
        if look.has_prefix {
            desk.supervisor.write_prefix(lines.task(), false, &mut text);
        }
        let line = numbered.line.text();
        match look.is_raw {
            true => text.push_str(&String::from_utf8_lossy(line)),
            false => text.push_str(&clean(line, Colours::Keep)),
        }
    }
    json!({
        "task": &**lines.task(),
        "stream": stream_name(lines.stream()),
        "time": full(lines.time_ns()),
        "number": first,
        "text": text,
    })
}

struct Events {
    events: Receiver<Bytes>,
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.events
            .poll_recv(cx)
            .map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}
