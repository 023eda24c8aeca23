//! The standing stream from a server: how the gateway hears of changes that no call brought up.
//!
//! A legacy HTTP server has a GET stream; a modern one answers `subscriptions/listen`, one for all clients: for the lists
//! it announces and for every resource that somebody wants to hear of. A legacy pipe needs neither. A stream that breaks
//! is opened again, and what was missed meanwhile is made good by treating everything as changed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{spawn, time};
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::Era;
use axiom_protocol::walk;
use axiom_transport::http_client::Answer;
use axiom_transport::sse::Decoder;
use bytes::Bytes;
use http::StatusCode;

use super::comeback::changed_meanwhile;
use super::link::{Link, Outgoing, STANDING_TIMEOUT, Standing};
use crate::bridge;
use crate::exchange::{Exchange, Step};
use crate::message::Message;

/// First pause before a broken stream is opened again; doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A stream that lived this long was a real one, even if it said nothing.
const LASTED_MIN: Duration = Duration::from_secs(30);
/// Time for a server to acknowledge a subscription. Whoever waits for it has given up by then.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a subscription is read on after another took its place: what was sent before that one began is still on its
/// way. News that come on both are told twice, which only makes clients look twice.
const OVERLAP: Duration = Duration::from_secs(1);

/// Starts what this link needs, for as long as it lives. `missed` if it takes the place of one that was lost.
///
/// A server may ask on its standing stream, and what it asks before somebody listens is lost. So where a client can be
/// asked, this waits until the stream is open, or known not to exist, for a moment at most.
pub(super) async fn start(link: &Arc<Link>, missed: bool) {
    let task = match link.era() {
        Era::Legacy if link.is_http() => spawn("server stream", follow_get(Arc::clone(link), missed)),
        // A pipe needs no stream.
        Era::Legacy if missed => return changed_meanwhile(link),
        Era::Legacy => return,
        Era::Modern if link.greeting.announces_any() || link.greeting.tells_of_resources() => {
            spawn("server subscription", follow_listen(Arc::clone(link), missed))
        }
        Era::Modern => return link.set_standing(Standing::Closed),
    };
    link.keep_task(task);
    // (A session's own link need not wait yet: its client has not called anything. The first call that may ask does.)
    if link.era() == Era::Legacy && link.can_ask() && link.private_to.is_none() {
        link.standing_settled().await;
    }
}

async fn follow_get(link: Arc<Link>, mut missed: bool) {
    let mut last_event_id = None;
    let mut pause = PAUSE;
    // Once the server was asked and did not refuse; a refusal after that has another reason.
    let mut was_taken = false;
    let mut is_first = true;
    while !link.is_down() {
        let opened = time::now();
        let mut heard = false;
        let mut asking = Box::pin(link.get_stream(last_event_id.clone()));
        let answer = match time::timeout(STANDING_TIMEOUT, &mut asking).await {
            Ok(answer) => answer,
            Err(_) => {
                was_taken = true;
                // Nobody need wait any longer.
                link.set_standing(Standing::Closed);
                if std::mem::take(&mut missed) {
                    changed_meanwhile(&link);
                }
                asking.await
            }
        };
        let broken = answer.is_err();
        match answer {
            Ok(answer) if is_event_stream(&answer) => {
                was_taken = true;
                link.set_standing(Standing::Open);
                if std::mem::take(&mut missed) {
                    changed_meanwhile(&link);
                }
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
                link.set_standing(Standing::Closed);
            }
            // It did not refuse the request before this one. (Not every server sends the head of a stream before it has
            // news, so that one may have looked like no answer at all.) It was started anew meanwhile, and knows nothing of
            // our session.
            Ok(answer)
                if !is_first && matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST) =>
            {
                link.stream_refused(answer.status);
                // Unless that closed it already.
                return link.close(link.died("the server forgot the session"));
            }
            // 405: the server offers no such stream. Anything else in the 400s, or a page, will not get better either.
            Ok(answer) if !answer.status.is_server_error() => {
                if missed {
                    changed_meanwhile(&link);
                }
                return link.set_standing(Standing::Closed);
            }
            Ok(_) | Err(_) => link.set_standing(Standing::Closed),
        }
        is_first = false;
        let lasted = heard || opened.elapsed() >= LASTED_MIN;
        missed |= (lasted || broken && was_taken) && last_event_id.is_none();
        pause_after(&mut pause, lasted).await;
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

/// What came of asking for a subscription.
enum Asked {
    /// It has begun, for these resources.
    Begun(Box<Exchange>, BTreeSet<String>),
    /// The server does not do that.
    Refused,
    Broken,
}

/// Keeps one subscription open for all clients. When they want to hear of other resources than before, another one is
/// opened before the old one is closed.
async fn follow_listen(link: Arc<Link>, mut missed: bool) {
    let desk = &link.upstream.desk;
    let mut changes = desk.changes();
    let mut pause = PAUSE;
    let mut current: Option<Box<Exchange>> = None;
    let mut number: u64 = 0;
    while !link.is_down() {
        // Seen before it is read: what comes meanwhile makes another round.
        changes.mark_unchanged();
        let (version, uris) = desk.orders();
        let Some(filter) = filter_of(&link, &uris) else {
            // Nothing to hear. An old subscription to nothing is not kept either.
            current = None;
            desk.promise(version, BTreeSet::new());
            link.set_standing(Standing::Closed);
            wait_for_change(&mut changes).await;
            continue;
        };
        number += 1;
        match ask(&link, &filter, &uris, number).await {
            Asked::Begun(exchange, promised) => {
                if let Some(old) = current.replace(exchange) {
                    drop(spawn("last news", read_out(Arc::clone(&link), old)));
                }
                link.set_standing(Standing::Open);
                if std::mem::take(&mut missed) {
                    changed_meanwhile(&link);
                }
                desk.promise(version, promised);
            }
            Asked::Refused => {
                tracing::warn!(server = %link.upstream.name, "the server refused a subscription");
                desk.promise(version, BTreeSet::new());
                if current.is_none() {
                    link.set_standing(Standing::Closed);
                    wait_for_change(&mut changes).await;
                    continue;
                }
            }
            Asked::Broken => current = None,
        }
        let opened = time::now();
        if let Some(exchange) = current.as_mut() {
            if read(&link, exchange, &mut changes).await == Read::Changed {
                continue;
            }
            current = None;
            missed = true;
        }
        link.set_standing(Standing::Closed);
        desk.broken();
        if opened.elapsed() >= LASTED_MIN {
            pause = PAUSE;
        }
        tokio::select! {
            // cancel-safe: nothing is consumed
            () = time::sleep(pause) => pause = (pause * 2).min(PAUSE_MAX),
            // cancel-safe: see `watch::Receiver::changed`. Somebody waits for what is new.
            () = wait_for_change(&mut changes) => {}
        }
    }
}

async fn wait_for_change(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        // The desk lives as long as the server, which this task belongs to.
        std::future::pending::<()>().await;
    }
}

/// The lists that the server announces, and these resources; `None` if that is nothing.
fn filter_of(link: &Link, uris: &BTreeSet<String>) -> Option<String> {
    let mut filter = serde_json::Map::new();
    for (kind, field) in [
        ("tools", "toolsListChanged"),
        ("prompts", "promptsListChanged"),
        ("resources", "resourcesListChanged"),
    ] {
        if link.greeting.announces(kind) {
            filter.insert(field.to_owned(), true.into());
        }
    }
    if link.greeting.tells_of_resources() && !uris.is_empty() {
        let uris = uris.iter().cloned().collect::<Vec<_>>();
        filter.insert("resourceSubscriptions".to_owned(), uris.into());
    }
    (!filter.is_empty()).then(|| serde_json::Value::from(filter).to_string())
}

async fn ask(link: &Arc<Link>, filter: &str, uris: &BTreeSet<String>, number: u64) -> Asked {
    let params = bridge::modern_params_with(&[("notifications", filter.as_bytes())]);
    let id = format!("\"axiom-listen-{number}\"");
    let bytes = Bytes::from(reply::request(id.as_bytes(), "subscriptions/listen", &params));
    let Ok(message) = Message::scan(bytes, &link.limits()) else {
        return Asked::Refused;
    };
    let outgoing = Outgoing {
        message: &message,
        edits: Vec::new(),
        headers: bridge::modern_headers(&message, None),
        session: None,
        takes_questions: false,
        is_ours: true,
    };
    let Ok(mut exchange) = link.call(outgoing).await else {
        return Asked::Broken;
    };
    exchange.wait_forever();
    match time::timeout(ACKNOWLEDGE_TIMEOUT, exchange.next()).await {
        Ok(Step::Notice(bytes)) => {
            let promised = match Message::scan(bytes.clone(), &link.limits()) {
                Ok(first) if first.method() == Method::SubscriptionAcknowledged => acknowledged(&first, uris),
                // It speaks without a word of welcome; what it says is news.
                Ok(_) | Err(_) => {
                    take(link, bytes);
                    uris.clone()
                }
            };
            Asked::Begun(Box::new(exchange), promised)
        }
        Ok(Step::Done(Ok(answer))) if !answer.is_result => Asked::Refused,
        Ok(Step::Done(_)) | Err(_) => Asked::Broken,
    }
}

/// The resources that an acknowledgement names.
fn acknowledged(message: &Message, asked: &BTreeSet<String>) -> BTreeSet<String> {
    let raw = &message.bytes;
    let Some(filter) = message.envelope.param.notifications else {
        return asked.clone();
    };
    walk::get(raw, filter, "resourceSubscriptions")
        .into_iter()
        .flat_map(|list| walk::elements(raw, list))
        .filter_map(|at| message.text(Some(at)).map(|uri| uri.into_owned()))
        .collect()
}

#[derive(PartialEq)]
enum Read {
    /// Other resources are wanted.
    Changed,
    /// The stream has ended, in one way or another.
    Ended,
}

async fn read(link: &Arc<Link>, exchange: &mut Exchange, changes: &mut watch::Receiver<u64>) -> Read {
    loop {
        tokio::select! {
            biased;
            // cancel-safe: see `Exchange::next`
            step = exchange.next() => match step {
                Step::Notice(bytes) => take(link, bytes),
                Step::Done(_) => return Read::Ended,
            },
            // cancel-safe: see `watch::Receiver::changed`
            () = wait_for_change(changes) => return Read::Changed,
        }
    }
}

/// Reads what is still on its way on a subscription that another one has replaced.
async fn read_out(link: Arc<Link>, mut exchange: Box<Exchange>) {
    let reading = async {
        while let Step::Notice(bytes) = exchange.next().await {
            take(&link, bytes);
        }
    };
    // Over, either way.
    let _in_time = time::timeout(OVERLAP, reading).await.is_ok();
}
