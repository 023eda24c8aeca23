//! What legacy clients wish to be told, on whatever server: resources they subscribe to, and how much is logged.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_protocol::method::Method;
use axiom_protocol::revision::Era;
use bytes::Bytes;

use crate::fault::Fault;
use crate::log_level::{LEVELS, is_level};
use crate::message::Message;
use crate::phase::{Caller, Reply, now};
use crate::plan::{Endpoint, Scope};
use crate::session::Session;
use crate::upstream::{Link, Outgoing, Reader, Upstream};

/// Resources that one session may be subscribed to at servers that have no sessions.
const URIS_MAX: usize = 1_024;
/// The methods that [`shared`] has a say in.
pub(crate) fn may_be_shared(method: Method) -> bool {
    matches!(
        method,
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::SetLevel
    )
}

/// A legacy client's wish, on the link that it uses: answered here, or passed on and noted. `None` if it goes on as
/// usual.
pub(crate) async fn shared(
    link: &Arc<Link>,
    caller: &Caller,
    message: &Message,
) -> Result<Option<Reply>, Fault> {
    match (caller.session(), link.era()) {
        (Some(session), Era::Modern) => without_server(link, session, message).await.map(Some),
        (_, Era::Legacy) => counted(link, caller, message).await,
        // Methods that a modern client does not have.
        (None, Era::Modern) => Ok(None),
    }
}

/// On a modern server, which knows neither sessions nor these methods: the gateway keeps what the session wishes, and
/// adds it to its own requests.
async fn without_server(link: &Arc<Link>, session: &Arc<Session>, message: &Message) -> Result<Reply, Fault> {
    let unknown = || Fault::UnknownMethod {
        method: message.method_text().into_owned(),
    };
    let id = message.id().unwrap_or(b"null");
    if message.method() == Method::SetLevel {
        if !link.greeting.has("logging") {
            return Err(unknown());
        }
        note_level(session, message)?;
        return Ok(now(id, b"{}"));
    }
    if !link.greeting.tells_of_resources() {
        return Err(unknown());
    }
    let uri = message
        .text(message.envelope.param.uri)
        .ok_or_else(|| Fault::InvalidParams(format!("{} needs params.uri, a string", message.method_text())))?
        .into_owned();
    let reader = Reader::Session(session.id);
    let upstream = &link.upstream;
    if message.method() == Method::ResourcesUnsubscribe {
        session.with(|state| state.subscriptions.remove(&uri));
        upstream.unwatch(reader, Some(&[uri]));
        return Ok(now(id, b"{}"));
    }
    if session.with(|state| state.subscriptions.len()) >= URIS_MAX {
        return Err(Fault::InvalidParams(format!(
            "more than {URIS_MAX} resources in one session"
        )));
    }
    // From now on it is told, also before it opens its stream.
    upstream.hub.join(session);
    let share = upstream.watch(link, reader, vec![uri]).await?;
    let Some(uri) = share.uris.first().cloned() else {
        return Err(Fault::InvalidParams(format!(
            "server '{}' does not tell of this resource",
            upstream.name
        )));
    };
    session.with(|state| state.subscriptions.insert(uri));
    share.leave_to_session();
    Ok(now(id, b"{}"))
}

/// On a legacy server: counted, so that a shared server is told once, and noted only when the server agreed.
async fn counted(link: &Arc<Link>, caller: &Caller, message: &Message) -> Result<Option<Reply>, Fault> {
    let (Some(session), Some(uri)) = (caller.session(), message.text(message.envelope.param.uri)) else {
        if let (Some(session), Method::SetLevel) = (caller.session(), message.method()) {
            // The server says what is wrong with a level that there is not.
            let _noted = note_level(session, message).is_ok();
        }
        return Ok(None);
    };
    let id = message.id().unwrap_or(b"null");
    let is_asked = match message.method() {
        Method::ResourcesSubscribe => link.has_subscribers(&uri),
        Method::ResourcesUnsubscribe => !link.unsubscribe(session.id, &uri),
        _ => return Ok(None),
    };
    let reply = if is_asked {
        now(id, b"{}")
    } else {
        let outgoing = Outgoing {
            message,
            edits: Vec::new(),
            headers: Vec::new(),
            session: Some(session),
            takes_questions: false,
            is_ours: false,
        };
        let answer = link.call(outgoing).await?.finish().await?;
        if !answer.is_result {
            return Ok(Some(Reply::Now(answer)));
        }
        Reply::Now(answer)
    };
    if message.method() == Method::ResourcesSubscribe {
        link.subscribe(session.id, &uri);
        link.upstream.hub.join(session);
        link.standing_settled().await;
        session.with(|state| state.subscriptions.insert(uri.into_owned()));
    } else {
        session.with(|state| state.subscriptions.remove(&*uri));
    }
    Ok(Some(reply))
}

fn note_level(session: &Session, message: &Message) -> Result<(), Fault> {
    let level = message.text(message.envelope.param.level);
    let Some(level) = level.filter(|level| is_level(level)) else {
        return Err(Fault::InvalidParams(format!(
            "logging/setLevel needs params.level, one of {}",
            LEVELS.join(", ")
        )));
    };
    session.with(|state| state.log_level = Some(level.into_owned()));
    Ok(())
}

/// `logging/setLevel` on an endpoint of several servers: each that logs is told, those not yet up when they come up.
pub(crate) fn set_level(endpoint: &Endpoint, caller: &Caller, message: &Message) -> Result<(), Fault> {
    let (Scope::Group(group), Some(session)) = (&endpoint.scope, caller.session()) else {
        return Ok(());
    };
    note_level(session, message)?;
    let want = caller.want();
    let params = Bytes::copy_from_slice(message.raw(message.envelope.params).unwrap_or(b"{}"));
    for link in group
        .members
        .iter()
        .filter_map(|member: &Arc<Upstream>| member.live_link(&want))
    {
        if link.era() == Era::Legacy && link.greeting.has("logging") {
            tell_level(link, params.clone());
        }
    }
    Ok(())
}

/// Tells a server the level that its session's client has asked for.
pub(crate) fn tell_level(link: Arc<Link>, params: Bytes) {
    drop(spawn("set log level", async move {
        if let Err(fault) = link.request("logging/setLevel", &params).await {
            tracing::debug!(server = %link.upstream.name, %fault, "the log level could not be set");
        }
    }));
}
