//! News of tasks for a subscription that the gateway puts together: each server that has some of them is asked for them
//! in a subscription of its own. What a session server tells of its tasks does not come this way; its clients poll.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::text::{push_quoted, quoted};
use axiom_protocol::walk;
use bytes::Bytes;
use futures_util::future::select_all;

use crate::bridge::{self, Introduction};
use crate::exchange::{Exchange, Step};
use crate::fault::Fault;
use crate::message::Message;
use crate::plan::{Endpoint, Scope};
use crate::seal::Sealer;
use crate::task::{self, Home, Naming, words};
use crate::upstream::{Link, Outgoing, Want};

/// Time for a server to agree to a subscription. Its client waits so long.
const AGREE_TIMEOUT: Duration = Duration::from_secs(10);

/// One server's news of some tasks.
#[derive(Debug)]
pub(crate) struct TaskNews {
    exchange: Exchange,
    naming: Naming,
    /// Handles of the tasks that the server agreed to tell of.
    pub handles: Vec<String>,
}

/// Asks the servers of the tasks that a subscription names.
pub(super) async fn follow(
    sealer: &Sealer,
    endpoint: &Endpoint,
    message: &Message,
) -> Result<Vec<TaskNews>, Fault> {
    let raw = &message.bytes;
    let filter = message.envelope.param.notifications;
    let handles = filter.map_or_else(Vec::new, |filter| words::task_ids(raw, filter));
    if handles.is_empty() {
        return Ok(Vec::new());
    }
    if !words::declares_tasks(message) {
        return Err(task::not_declared(message));
    }
    let mut by_server: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for at in handles {
        let handle = message.text(Some(at)).unwrap_or_default();
        let named = task::open(sealer, &endpoint.path, &handle)?;
        by_server.entry(named.server).or_default().push(named.id);
    }
    let Scope::Group(group) = &endpoint.scope else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for (server, ids) in by_server {
        // A server that is down tells nothing, and is not acknowledged.
        let Some(upstream) = group.member(&server) else {
            continue;
        };
        let Ok(link) = upstream.link(&Want::plain(Revision::MODERN)).await else {
            continue;
        };
        if link.era() == Era::Modern {
            let naming = Naming::new(&link, &endpoint.path, Home::Anywhere);
            all.extend(ask(&link, naming, message, &ids).await);
        }
    }
    Ok(all)
}

/// Asks one server. `None` if it does not agree.
async fn ask(link: &Arc<Link>, naming: Naming, message: &Message, ids: &[String]) -> Option<TaskNews> {
    let ids: Vec<Vec<u8>> = ids.iter().map(|id| quoted(id)).collect();
    let filter = [b"{\"taskIds\":[", &ids.join(&b","[..])[..], b"]}"].concat();
    let client = Introduction::default().with_tasks();
    let params = bridge::params_introducing(&client, &[("notifications", &filter)]);
    // Under the client's own id, so that what comes names the client's subscription.
    let id = message.id().unwrap_or(b"null");
    let bytes = Bytes::from(reply::request(id, "subscriptions/listen", &params));
    let request = Message::scan(bytes, &link.limits()).ok()?;
    let outgoing = Outgoing {
        message: &request,
        edits: Vec::new(),
        headers: bridge::modern_headers(&request, None),
        session: None,
        takes_questions: false,
        is_ours: false,
    };
    let mut exchange = link.call(outgoing).await.ok()?;
    exchange.wait_forever();
    let Ok(Step::Notice(first)) = time::timeout(AGREE_TIMEOUT, exchange.next()).await else {
        return None;
    };
    let first = Message::scan(first, &link.limits()).ok()?;
    if first.method() != Method::SubscriptionAcknowledged {
        return None;
    }
    let raw = &first.bytes;
    let agreed = words::task_ids(raw, walk::get(raw, first.envelope.params?, "notifications")?);
    let handles: Vec<String> = agreed
        .into_iter()
        .filter_map(|at| Some(naming.handle(&first.text(Some(at))?)))
        .collect();
    (!handles.is_empty()).then_some(TaskNews {
        exchange,
        naming,
        handles,
    })
}

/// The next news of any of these; `None` when a server tells nothing more.
///
/// # Cancel safety
/// Safe: see [`Exchange::next`].
pub(super) async fn next(all: &mut [TaskNews]) -> Option<Bytes> {
    if all.is_empty() {
        return std::future::pending().await;
    }
    let (step, from, _) = select_all(all.iter_mut().map(|news| Box::pin(news.exchange.next()))).await;
    let Step::Notice(notice) = step else { return None };
    let TaskNews { exchange, naming, .. } = &all[from];
    Some(match Message::scan(notice.clone(), &exchange.link().limits()) {
        Ok(message) => words::with_handles(&message, Method::None, naming),
        Err(_) => notice,
    })
}

/// `"taskIds":[...]` of an acknowledgement; empty if there are none.
pub(super) fn acknowledged(all: &[TaskNews]) -> String {
    let mut out = Vec::new();
    for handle in all.iter().flat_map(|news| &news.handles) {
        out.extend_from_slice(if out.is_empty() { b"\"taskIds\":[" } else { b"," });
        push_quoted(&mut out, handle);
    }
    if !out.is_empty() {
        out.push(b']');
    }
    String::from_utf8(out).unwrap_or_default()
}
