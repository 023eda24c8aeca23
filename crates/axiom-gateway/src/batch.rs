//! JSON-RPC batches, which only 2025-03-26 (and, in part, 2024-11-05) has: each message on its own, the answers gathered
//! into one array.

use std::collections::VecDeque;
use std::sync::Arc;

use axiom_protocol::envelope::{Kind, Limits, ScanError};
use axiom_protocol::revision::Revision;
use axiom_protocol::split_batch;
use bytes::Bytes;
use futures_util::future::join_all;

use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::phase::{self, Caller, Reply};
use crate::plan::Endpoint;
use crate::record::Via;
use crate::session::Session;

/// Messages in one batch.
const LEN_MAX: usize = 100;

/// The messages of a batch; `None` if `bytes` is none.
pub(crate) fn split(bytes: &Bytes, limits: &Limits) -> Result<Option<Vec<Bytes>>, ScanError> {
    let items = split_batch(bytes, limits, LEN_MAX)?;
    Ok(items.map(|items| {
        items
            .into_iter()
            .map(|at| bytes.slice(at.start as usize..at.end as usize))
            .collect()
    }))
}

/// Handles all messages of a batch side by side. The answers, as the parts of one array; `None` if there are none.
pub(crate) async fn handle(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    session: Arc<Session>,
    items: Vec<Bytes>,
    limits: &Limits,
    via: Via,
) -> Result<Option<VecDeque<Bytes>>, Fault> {
    if session.revision() > Revision::V2025_03_26 {
        return Err(Fault::InvalidRequest(
            "batches were removed in revision 2025-06-18".to_owned(),
        ));
    }
    let caller = Caller::Legacy(session);
    let answers = join_all(
        items
            .into_iter()
            .map(|message| item(gateway, endpoint, &caller, message, limits, via)),
    )
    .await;
    let answers: Vec<Bytes> = answers.into_iter().flatten().collect();
    if answers.is_empty() {
        return Ok(None);
    }
    let mut parts = VecDeque::from([Bytes::from_static(b"[")]);
    for (index, answer) in answers.into_iter().enumerate() {
        if index > 0 {
            parts.push_back(Bytes::from_static(b","));
        }
        parts.push_back(answer);
    }
    parts.push_back(Bytes::from_static(b"]"));
    Ok(Some(parts))
}

async fn item(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    bytes: Bytes,
    limits: &Limits,
    via: Via,
) -> Option<Bytes> {
    let message = match Message::scan(bytes, limits) {
        Ok(message) => message,
        Err(error) => return Some(Bytes::from(Fault::Unreadable(error).body(None))),
    };
    match message.kind() {
        Kind::Notification => {
            phase::notification(endpoint, caller, &message);
            None
        }
        Kind::Response | Kind::Error => {
            if let Some(session) = caller.session()
                && let Err(fault) = phase::answer(session, &message)
            {
                tracing::debug!(%fault, "an answer in a batch could not be delivered");
            }
            None
        }
        Kind::Request => match request(gateway, endpoint, caller, &message, via).await {
            Ok(answer) => Some(answer),
            // A cancelled call gets no answer.
            Err(Fault::Cancelled) => None,
            Err(fault) => Some(Bytes::from(fault.body(message.id()))),
        },
    }
}

async fn request(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    message: &Message,
    via: Via,
) -> Result<Bytes, Fault> {
    let record = gateway.recorder.begin(via, endpoint, message, None);
    let answer = match phase::request(gateway, endpoint, caller, message, record).await? {
        Reply::Now(answer) => answer,
        Reply::Call(mut call) => {
            call.cancel_on_drop(false);
            call.finish().await?
        }
        Reply::Subscription(_) => {
            return Err(Fault::InvalidRequest("no subscription in a batch".to_owned()));
        }
    };
    answer.collect(usize::MAX, "axiom").await
}
