//! A server that forgot our session, because it was restarted, because the session expired, or because another replica
//! of it answers now: a fresh session is opened, once, and what may be repeated is repeated there.
//!
//! What is known of a request that met the loss depends on how it was met:
//!
//! | what came                                        | executed?                                   | the client gets             |
//! |--------------------------------------------------|---------------------------------------------|-----------------------------|
//! | 404, or 400 with words about the session         | no: a session is looked up before all else  | an answer, or `SessionLost` |
//! | the connection breaks                            | nobody knows                                | `Died`                      |
//! | its stream breaks, and to resume it gives 404    | nobody knows: it was under way              | `Died`                      |
//! | 200 or 202 with nothing in it                    | nobody knows                                | `Protocol`                  |
//!
//! Only the first row is handled here; in the others a request is never sent twice. And though it was not executed in
//! the first row, not every call is repeated. It may rely on what the server kept for the session: an open page, a
//! transaction, a directory that was chosen. In a fresh session the same words may mean something else, and nobody
//! would notice. Lists, reads and the like rely on nothing. Of a tool only its own annotations say so; they are the
//! server's claim, so they count only where the operator says that this server is to be trusted (`trust_annotations`).
//! They are read anew from the server that would execute the call, which may be another version than before.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::walk::get;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::Want;
use super::link::{Link, Wire, whole};
use super::wire::post_once;
use crate::catalog::ListKind;
use crate::exchange::Answered;
use crate::fault::Fault;
use crate::message::Message;

const FORGOTTEN: &str = "the server forgot the session";

/// Whether a refusal of `request` says that the server does not know our session.
pub(super) fn is_forgotten(status: StatusCode, refusal: &[u8], request: &[u8], link: &Link) -> bool {
    match status {
        StatusCode::BAD_REQUEST => is_about_session(refusal),
        StatusCode::NOT_FOUND => is_about_session(refusal) || !is_answer(refusal, request, link),
        _ => false,
    }
}

/// Older reference servers answer 400 instead of 404 when they do not know the session.
fn is_about_session(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text).to_ascii_lowercase();
    let says = |words: [&str; 2]| words.iter().all(|word| text.contains(word));
    [
        ["no valid", "session"],
        ["invalid", "session"],
        ["session", "not found"],
        ["session", "expired"],
        ["unknown", "session"],
        ["server", "not initialized"],
    ]
    .into_iter()
    .any(says)
}

/// True for an error under the request's own id: the server knows the session and something else was not found.
fn is_answer(refusal: &[u8], request: &[u8], link: &Link) -> bool {
    let scan = |bytes: &[u8]| Message::scan(Bytes::copy_from_slice(bytes), &link.limits()).ok();
    let (Some(refusal), Some(request)) = (scan(refusal), scan(request)) else {
        return false;
    };
    refusal.kind() == Kind::Error && refusal.id().is_some() && refusal.id() == request.id()
}

/// Opens a session in place of the one that was forgotten and sends the request again, if that is the same request
/// there.
///
/// # Errors
/// `SessionLost` if it is not; whatever the server answers to a new `initialize`.
pub(super) async fn again(
    link: Arc<Link>,
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
) -> Result<Answered, Fault> {
    tracing::info!(server = %link.upstream.name, "the server forgot our session; opening another");
    let request = Message::scan(body.clone(), &link.limits())
        .map_err(|error| link.upstream.protocol_fault(error.to_string()))?;
    let fresh = reopen(&link).await?;
    let is_same_there = match (&fresh.wire, request.method()) {
        // It comes back as another server: what was said in the words of the old one is not for it.
        _ if fresh.era() != link.era() => false,
        (Wire::Duplex(_), _) => false,
        (Wire::Http(_), Method::ToolsCall) => is_harmless(&fresh, &request).await,
        (Wire::Http(_), method) => relies_on_nothing(method),
    };
    let Wire::Http(wire) = &fresh.wire else {
        return Err(lost(&link, status));
    };
    if !is_same_there {
        return Err(lost(&link, status));
    }
    wire.skip_id(request.id().unwrap_or_default());
    let answer = post_once(&fresh, &headers, body).await?;
    Ok(Answered::new(answer, fresh))
}

fn lost(link: &Link, status: StatusCode) -> Fault {
    Fault::SessionLost {
        server: link.upstream.name.to_string(),
        status: status.as_u16(),
    }
}

/// Requests that mean the same in any session. Levels and subscriptions are state of the session, but state that the
/// request itself sets.
fn relies_on_nothing(method: Method) -> bool {
    matches!(
        method,
        Method::Ping
            | Method::ToolsList
            | Method::PromptsList
            | Method::PromptsGet
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::Complete
            | Method::SetLevel
            | Method::ResourcesSubscribe
            | Method::ResourcesUnsubscribe
            | Method::TasksGet
            | Method::TasksList
            | Method::TasksResult
    )
}

/// Whether a server that is trusted says that this call only reads, or does nothing when it is done again.
async fn is_harmless(link: &Arc<Link>, call: &Message) -> bool {
    if !link.upstream.options.trust_annotations {
        return false;
    }
    let Ok(tools) = link.upstream.catalogs.get(link, ListKind::Tools).await else {
        return false;
    };
    let name = call.text(call.envelope.param.name).unwrap_or_default();
    let Some(tool) = tools.items.iter().find(|tool| tool.key == name) else {
        return false;
    };
    get(&tool.raw, whole(&tool.raw), "annotations").is_some_and(|annotations| {
        ["readOnlyHint", "idempotentHint"]
            .iter()
            .any(|hint| get(&tool.raw, annotations, hint).is_some_and(|at| at.of(&tool.raw) == b"true"))
    })
}

async fn reopen(link: &Arc<Link>) -> Result<Arc<Link>, Fault> {
    link.close(link.died(FORGOTTEN));
    let want = Want {
        revision: link.revision,
        capabilities: link.capabilities.clone(),
        class: link.class,
        owner: link.owner(),
    };
    link.upstream.link(&want).await
}

impl Link {
    /// The server refused to go on with a stream that it had given us. If it forgot the session, the next call need not
    /// find that out the hard way.
    pub(crate) fn stream_refused(self: &Arc<Self>, status: StatusCode) {
        let Wire::Http(wire) = &self.wire else { return };
        let may_be_forgotten = matches!(status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST);
        if !may_be_forgotten || !wire.has_session() || self.is_down() {
            return;
        }
        tracing::info!(server = %self.upstream.name, "the server forgot our session");
        // At once, so that no call takes this one any more.
        self.close(self.died(FORGOTTEN));
        if self.private_to.is_some() && self.owner().is_none() {
            // Nobody is left who would use another one.
            return;
        }
        let link = Arc::clone(self);
        drop(spawn::spawn_on(
            &self.upstream.runtime,
            "open session anew",
            async move {
                // Whatever changed meanwhile was told to the session that is gone; the new one makes up for it.
                if let Err(fault) = reopen(&link).await {
                    tracing::warn!(server = %link.upstream.name, %fault, "no session could be opened");
                }
            },
        ));
    }
}
