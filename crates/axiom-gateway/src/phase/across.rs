//! A call at a server of the other era.

use std::sync::Arc;

use axiom_protocol::revision::Era;
use axiom_protocol::text::text;

use super::tasks::{self, Stage};
use super::{Caller, Rename, Reply, Request, rename_edit};
use crate::bridge::{self, Introduction, may_ask};
use crate::call::{Call, Declared, Park, Rounds, Side, answer_open, ask_again, has_visited};
use crate::fault::Fault;
use crate::message::Message;
use crate::mirror;
use crate::parking::{Bound, Claimed, Parked, bound_to};
use crate::upstream::{Link, Outgoing, Want};

pub(super) async fn call(
    asked: &Request<'_>,
    link: Arc<Link>,
    rename: Option<&Rename>,
) -> Result<Reply, Fault> {
    match asked.caller {
        Caller::Modern { .. } => at_session_server(asked, link, rename).await,
        Caller::Legacy(_) => at_modern_server(asked, &link, rename).await,
    }
}

/// A modern client's call. It may be one that is on its way already, with the answers that its server waits for.
async fn at_session_server(
    asked: &Request<'_>,
    plain: Arc<Link>,
    rename: Option<&Rename>,
) -> Result<Reply, Fault> {
    let message = asked.message;
    if !bridge::has_legacy_twin(message.method()) {
        return Err(Fault::UnknownMethod {
            method: message.method_text().into_owned(),
        });
    }
    if may_ask(message.method())
        && let Some(at) = message.envelope.param.request_state
    {
        let bound = bound_to(&asked.endpoint.path, message);
        let state = text(&message.bytes, at).unwrap_or_default();
        match asked.gateway.parking.claim(&state, &bound)? {
            Claimed::Parked(parked) => return resume(asked, *parked, &bound, rename).await,
            Claimed::Afresh if has_visited(message) => {}
            Claimed::Afresh => {
                return Err(Fault::NotAnswered {
                    method: "elicitation/create".to_owned(),
                    reason: "the page was not visited".to_owned(),
                });
            }
        }
    }
    // A session server learns at `initialize` what its client can be asked, so there is a link for each declaration.
    let declared = Declared::of(message).capabilities();
    let want = Want::declaring(declared);
    let mut link = match want.capabilities == plain.capabilities {
        true => plain,
        false => plain.upstream.link(&want).await?,
    };
    // What the server asks there next might be either call's.
    if may_ask(message.method()) && link.has_parked() {
        link.upstream.set_apart(&link);
        link = link.upstream.link(&want).await?;
    }
    // It was found out just now that it has no sessions.
    if link.era() == Era::Modern {
        let exchange = super::send(&link, asked.caller, message, rename).await?;
        return Ok(Reply::Call(Box::new(Call::straight(exchange, message.method()))));
    }
    if let Some(level) = message.text(message.envelope.in_meta.log_level) {
        link.tell_level(&level).await;
    }
    let mut outgoing = fit(asked, &link, rename, &Introduction::default())?;
    let creation = tasks::at_session_server(asked, &link, rename, Stage::New).await;
    if let Some(creation) = &creation {
        // Afterwards the server would have begun its work.
        creation.check_room(&link)?;
        outgoing = tasks::as_task(&outgoing, &link)?;
    }
    // What the client mirrored is checked here: the server cannot.
    let Caller::Modern { mirrored } = asked.caller else {
        return Err(Fault::Cancelled);
    };
    mirror::headers(&link, &outgoing, None, mirrored.as_ref()).await?;
    let exchange = link
        .call(Outgoing {
            message: &outgoing,
            edits: Vec::new(),
            headers: Vec::new(),
            session: None,
            takes_questions: may_ask(message.method()),
            is_ours: false,
        })
        .await?;
    let park = Park::new(&asked.gateway.parking, asked.endpoint, message);
    let call = Call::across(exchange, message.method(), Side::Park(park));
    Ok(Reply::Call(Box::new(call.with_task(creation))))
}

/// The client has come back: its answers go to the server, and the call goes on under the new request's id.
async fn resume(
    asked: &Request<'_>,
    mut parked: Parked,
    bound: &Bound,
    rename: Option<&Rename>,
) -> Result<Reply, Fault> {
    let message = asked.message;
    let id = message
        .envelope
        .id
        .map(|at| message.slice(at))
        .unwrap_or_default();
    answer_open(&mut parked, message).await?;
    let parking = &asked.gateway.parking;
    if !parked.open.is_empty() {
        return ask_again(parking, parked, &id, bound).map(Reply::Now);
    }
    let token = message
        .envelope
        .in_meta
        .progress_token
        .map(|at| message.slice(at));
    let park = Park::resumed(parking, asked.endpoint, message, parked.round);
    let mut exchange = parked.into_exchange().ok_or(Fault::StateLost)?;
    // It may become a task yet.
    let link = Arc::clone(exchange.link());
    let creation = tasks::at_session_server(asked, &link, rename, Stage::UnderWay).await;
    exchange.taken_up_by(id, token);
    let call = Call::across(exchange, message.method(), Side::Park(park));
    Ok(Reply::Call(Box::new(call.with_task(creation))))
}

/// The call of a client with a session, who is introduced to the server in each request.
async fn at_modern_server(
    asked: &Request<'_>,
    link: &Arc<Link>,
    rename: Option<&Rename>,
) -> Result<Reply, Fault> {
    let Caller::Legacy(session) = asked.caller else {
        return Err(Fault::Cancelled);
    };
    let creation = tasks::at_modern_server(asked, link);
    let client = match &creation {
        Some(_) => Introduction::of(session).with_tasks(),
        None => Introduction::of(session),
    };
    let outgoing = fit(asked, link, rename, &client)?;
    let headers = mirror::headers(link, &outgoing, None, None).await?;
    let exchange = link
        .call(Outgoing {
            message: &outgoing,
            edits: Vec::new(),
            headers: headers.clone(),
            session: Some(session),
            takes_questions: false,
            is_ours: false,
        })
        .await?;
    let patience = asked.gateway.parking.ttl();
    let rounds = Rounds::new(session, outgoing, headers, patience);
    let call = Call::across(exchange, asked.message.method(), Side::Rounds(rounds));
    Ok(Reply::Call(Box::new(call.with_task(creation))))
}

/// The message as a server of the other era reads it. Its parameters change shape, so the rename goes first.
pub(super) fn fit(
    asked: &Request<'_>,
    link: &Link,
    rename: Option<&Rename>,
    client: &Introduction,
) -> Result<Message, Fault> {
    debug_assert_ne!(link.era(), asked.caller.era());
    debug_assert!(link.era() == Era::Modern || client.info.is_empty());
    let mut quoted = Vec::new();
    let mut edits = rename_edit(rename, &mut quoted);
    if edits.is_empty() {
        return bridge::request(asked.message, link, client);
    }
    let renamed = Message::scan(asked.message.with(&mut edits), &link.limits()).map_err(Fault::Unreadable)?;
    bridge::request(&renamed, link, client)
}
