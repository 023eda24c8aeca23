//! The standing stream from a server: how the gateway hears of changes that no call brought up.
//!
//! A legacy HTTP server has a GET stream; a modern one answers `subscriptions/listen`. A legacy pipe needs neither. A
//! stream that breaks is opened again, and what was missed meanwhile is made good by treating every list as changed.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::{spawn, time};
use axiom_protocol::envelope::Kind;
use axiom_protocol::reply;
use axiom_protocol::revision::Era;
use axiom_transport::http_client::Answer;
use axiom_transport::sse::Decoder;
use bytes::Bytes;
use http::StatusCode;

use super::link::{Link, Outgoing};
use crate::bridge;
use crate::catalog::ListKind;
use crate::exchange::Step;
use crate::message::Message;

/// First pause before a broken stream is opened again; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A stream that lived this long was a real one, even if it said nothing.
const LASTED_MIN: Duration = Duration::from_secs(30);

/// Time for a server to open its standing stream. Some say nothing before there is something to say; by then they have the
/// request.
const OPEN_WAIT: Duration = Duration::from_millis(200);

/// Starts what this link needs, for as long as it lives.
///
/// A server may ask on its standing stream, and what it asks before somebody listens is lost. So where a client can be
/// asked, this waits until the stream is open, or known not to exist, within [`OPEN_WAIT`].
pub(super) async fn start(link: &Arc<Link>) {
    let (opened_tx, opened_rx) = axiom_core::channel::oneshot::channel();
    let task = match link.era() {
        Era::Legacy if link.is_http() => spawn("server stream", follow_get(Arc::clone(link), opened_tx)),
        Era::Modern if announces_any(link) => spawn("server subscription", follow_listen(Arc::clone(link))),
        Era::Legacy | Era::Modern => return,
    };
    link.keep_task(task);
    if link.era() == Era::Legacy && link.can_ask() {
        // Whatever comes of it, calls go on.
        let _known = time::timeout(OPEN_WAIT, opened_rx).await.is_ok();
    }
}

fn announces_any(link: &Link) -> bool {
    ["tools", "prompts", "resources"]
        .iter()
        .any(|kind| link.greeting.announces(kind))
}

async fn follow_get(link: Arc<Link>, opened_tx: axiom_core::channel::oneshot::Sender<()>) {
    let mut opened_tx = Some(opened_tx);
    let mut last_event_id = None;
    let mut pause = PAUSE;
    while !link.is_down() {
        let opened = time::now();
        let mut heard = false;
        let stream = link.get_stream(last_event_id.clone()).await;
        if let Some(opened_tx) = opened_tx.take() {
            // Nobody may wait for it.
            let _unwatched = opened_tx.send(()).is_err();
        }
        match stream {
            Ok(answer) if is_event_stream(&answer) => {
                link.set_listening(true);
                let mut body = answer.body;
                let mut decoder = Decoder::new(link.upstream.limits.upstream_message_bytes_max);
                while let Some(Ok(chunk)) = body.chunk().await {
                    decoder.feed(chunk);
                    while let Ok(Some(event)) = decoder.next() {
                        heard = true;
                        if event.id.is_some() {
                            last_event_id.clone_from(&event.id);
                        }
                        if let Some(retry) = event.retry {
                            pause = retry.min(PAUSE_MAX);
                        }
                        if !event.data.is_empty() {
                            take(&link, event.data);
                        }
                    }
                }
                link.set_listening(false);
            }
            // 405: the server offers no such stream. Anything else in the 400s, or a page, will not get better either.
            Ok(answer) if !answer.status.is_server_error() => return,
            Ok(_) | Err(_) => {}
        }
        let lasted = heard || opened.elapsed() >= LASTED_MIN;
        pause_after(&mut pause, lasted).await;
        if lasted && last_event_id.is_none() {
            changed_meanwhile(&link);
        }
    }
}

fn is_event_stream(answer: &Answer) -> bool {
    answer.status == StatusCode::OK && answer.headers.says("text/event-stream")
}

/// Waits before the next attempt: ever longer while streams end as soon as they begin.
async fn pause_after(pause: &mut Duration, lasted: bool) {
    if lasted {
        *pause = PAUSE;
    }
    time::sleep(*pause).await;
    *pause = (*pause * 2).min(PAUSE_MAX);
}

fn take(link: &Arc<Link>, bytes: Bytes) {
    match Message::scan(bytes, &link.limits()) {
        Ok(message) => match message.kind() {
            Kind::Notification => {
                link.observe(&message);
                link.deliver(&message);
            }
            Kind::Request => link.question_aside(message),
            Kind::Response | Kind::Error => tracing::debug!("an answer on a standing stream was dropped"),
        },
        Err(error) => tracing::warn!(server = %link.upstream.name, %error, "an unreadable event was ignored"),
    }
}

async fn follow_listen(link: Arc<Link>) {
    let mut pause = PAUSE;
    while !link.is_down() {
        let opened = time::now();
        // `None`: it refused; it has no such stream.
        let Some(begun) = listen_once(&link).await else {
            return;
        };
        link.set_listening(false);
        let lasted = begun && opened.elapsed() >= LASTED_MIN;
        pause_after(&mut pause, lasted).await;
        if begun {
            changed_meanwhile(&link);
        }
    }
}

/// One subscription until it ends. `Some(true)` if it had begun, `None` if the server refused it.
async fn listen_once(link: &Arc<Link>) -> Option<bool> {
    let mut filter = String::from("{");
    for (kind, field) in [
        ("tools", "toolsListChanged"),
        ("prompts", "promptsListChanged"),
        ("resources", "resourcesListChanged"),
    ] {
        if link.greeting.announces(kind) {
            let comma = if filter.len() > 1 { "," } else { "" };
            filter.push_str(&format!("{comma}\"{field}\":true"));
        }
    }
    filter.push('}');
    let params = bridge::modern_params_with(&[("notifications", filter.as_bytes())]);
    let bytes = Bytes::from(reply::request(
        b"\"axiom-listen\"",
        "subscriptions/listen",
        &params,
    ));
    let message = Message::scan(bytes, &link.limits()).ok()?;
    let headers = bridge::modern_headers(&message, None);
    let outgoing = Outgoing {
        message: &message,
        edits: Vec::new(),
        headers,
        session: None,
        takes_questions: false,
    };
    let mut exchange = link.call(outgoing).await.ok()?;
    exchange.wait_forever();
    let mut begun = false;
    loop {
        match exchange.next().await {
            Step::Notice(bytes) => {
                begun = true;
                link.set_listening(true);
                if let Ok(message) = Message::scan(bytes, &link.limits()) {
                    link.observe(&message);
                    link.deliver(&message);
                }
            }
            Step::Done(Ok(end)) if end.is_result => return Some(begun),
            Step::Done(Ok(_)) => return None,
            Step::Done(Err(_)) => return Some(begun),
        }
    }
}

/// Something may have changed while nobody listened.
fn changed_meanwhile(link: &Arc<Link>) {
    for kind in ListKind::ALL {
        link.upstream.catalogs.invalidate(kind);
    }
    link.upstream.hub.lists_changed(&link.upstream.name);
}
