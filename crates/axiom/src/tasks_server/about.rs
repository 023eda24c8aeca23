//! What clients ask about calls that last, and how they are told when those are over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axiom_core::channel::watch;
use axiom_protocol::codes;
use axiom_transport::pipe::PipeSender;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use serde_json::{Value as Json, json};

use super::calls::{caller, refused};
use super::lasting::{Lasting, Status};
use super::{TasksServer, read};
use crate::builtin::conversation::Call;
use crate::builtin::wire::{self, Era, RpcError};
use crate::tasks::{Changes, Refusal};

/// Resources and handles of one subscription.
const LISTENED_MAX: usize = 1000;

/// The answer to a call that lasts.
pub(super) fn begun(server: &Arc<TasksServer>, call: &Call, lasting: &Lasting) -> Result<Json, RpcError> {
    let seen = lasting.look(&server.desk, &server.cancels)?;
    let mut task = lasting.shown(&seen, call.era);
    if call.era == Era::Modern {
        task["resultType"] = json!("task");
        return Ok(task);
    }
    call.kept.keep(lasting.id());
    let (server, tx, lasting) = (Arc::clone(server), call.tx.clone(), lasting.clone());
    call.kept.beside("the end of a task's call", async move {
        lasting.settled(&server.desk, &server.cancels).await;
        if let Ok(seen) = lasting.look(&server.desk, &server.cancels) {
            let params = lasting.shown(&seen, Era::Legacy);
            // A closed pipe: nobody is left who wants to know.
            let told = tx.send(wire::notification("notifications/tasks/status", &params));
            let _told = told.await.is_ok();
        }
    });
    Ok(json!({"task": task}))
}

/// `tasks/get`, `tasks/result`, `tasks/list`, `tasks/update`, `tasks/cancel`.
pub(super) async fn answer(server: &Arc<TasksServer>, call: &Call) -> Result<Json, RpcError> {
    let method = call.method.as_str();
    let is_known = match call.era {
        Era::Legacy => method != "tasks/update",
        Era::Modern => !matches!(method, "tasks/result" | "tasks/list"),
    };
    if !is_known {
        return Err(RpcError::unknown_method(method));
    }
    if call.era == Era::Modern && !wire::wants_task(call.era, &call.params) {
        return Err(RpcError::tasks_not_declared(method));
    }
    if method == "tasks/list" {
        return list(server, call);
    }
    let id = wire::text(&call.params, "taskId")?;
    let lasting = Lasting::read(id)?;
    let (desk, cancels) = (&server.desk, &server.cancels);
    match (method, call.era) {
        ("tasks/get", Era::Legacy) => Ok(lasting.shown(&lasting.look(desk, cancels)?, call.era)),
        ("tasks/get", Era::Modern) => whole(server, &lasting).await,
        // It asks for nothing.
        ("tasks/update", _) => lasting.look(desk, cancels).map(|_| json!({})),
        ("tasks/cancel", Era::Legacy) => {
            lasting.cancel(desk, cancels, &caller(call)).await?;
            Ok(lasting.shown(&lasting.look(desk, cancels)?, call.era))
        }
        ("tasks/cancel", Era::Modern) => {
            lasting.look(desk, cancels)?;
            // One that is over stays as it is.
            lasting.cancel(desk, cancels, &caller(call)).await.ok();
            Ok(json!({}))
        }
        _ => {
            lasting.settled(desk, cancels).await;
            let seen = lasting.look(desk, cancels)?;
            match seen.status {
                Status::Working => {
                    let message =
                        "the gateway ends; the task goes on, and can be asked for when the gateway is back";
                    Err(RpcError::new(codes::INTERNAL_ERROR, message))
                }
                Status::Cancelled => Err(RpcError::new(codes::INTERNAL_ERROR, "the task was cancelled")),
                Status::Completed | Status::Failed => {
                    let mut result = outcome(server, &lasting).await;
                    let related = json!({"taskId": id});
                    result["_meta"] = json!({"io.modelcontextprotocol/related-task": related});
                    Ok(result)
                }
            }
        }
    }
}

fn list(server: &TasksServer, call: &Call) -> Result<Json, RpcError> {
    let ids = call.kept.names();
    let shown = ids.iter().filter_map(|id| {
        let lasting = Lasting::read(id).ok()?;
        let seen = lasting.look(&server.desk, &server.cancels).ok()?;
        Some(lasting.shown(&seen, call.era))
    });
    let shown: Vec<Json> = shown.collect();
    wire::one_page(&call.params, "tasks", json!(shown))
}

/// What the call came to, as its result.
async fn outcome(server: &TasksServer, lasting: &Lasting) -> Json {
    match lasting.given(&server.desk).await {
        Ok(given) => given.result(),
        Err(refusal) => refused(&refusal),
    }
}

/// A task of 2026-07-28, with what it came to.
async fn whole(server: &TasksServer, lasting: &Lasting) -> Result<Json, RpcError> {
    let seen = lasting.look(&server.desk, &server.cancels)?;
    let mut task = lasting.shown(&seen, Era::Modern);
    match seen.status {
        Status::Working | Status::Cancelled => {}
        // A result may be one that tells of an error; an `error` in its place would be one of JSON-RPC.
        Status::Completed | Status::Failed => {
            task["status"] = json!("completed");
            let mut result = outcome(server, lasting).await;
            result["resultType"] = json!("complete");
            task["result"] = result;
        }
    }
    Ok(task)
}

/// `subscriptions/listen`: tells until the client gives it up, or the gateway ends.
pub(super) async fn listen(server: &Arc<TasksServer>, call: &Call) -> Result<Json, RpcError> {
    if call.era == Era::Legacy {
        return Err(RpcError::unknown_method(&call.method));
    }
    let filter = call
        .params
        .get("notifications")
        .filter(|filter| filter.is_object());
    let filter = filter.ok_or_else(|| RpcError::invalid_params("`notifications` must be an object"))?;
    let texts = |name: &str| -> BTreeSet<String> {
        let items = filter.get(name).and_then(Json::as_array).into_iter().flatten();
        items
            .filter_map(|item| item.as_str().map(str::to_owned))
            .collect()
    };
    let (uris, handles) = (texts("resourceSubscriptions"), texts("taskIds"));
    if !handles.is_empty() && !wire::wants_task(call.era, &call.params) {
        return Err(RpcError::tasks_not_declared(&call.method));
    }
    if uris.len() + handles.len() > LISTENED_MAX {
        let message = format!("more than {LISTENED_MAX} resources and tasks in one subscription");
        return Err(RpcError::invalid_params(message));
    }
    let by_task = tasks_of(server, &uris);
    // Too many look on: then it is not acknowledged.
    let mut changes = match by_task.is_empty() {
        true => None,
        false => Changes::of(&server.desk, by_task.keys().cloned().collect()).ok(),
    };
    let heard: Vec<&String> = match &changes {
        Some(_) => by_task.values().flatten().collect(),
        None => Vec::new(),
    };
    let lasting: Vec<Lasting> = handles
        .iter()
        .filter_map(|id| Lasting::read(id).ok())
        .filter(|lasting| lasting.look(&server.desk, &server.cancels).is_ok())
        .collect();
    let mut agreed = json!({});
    if !heard.is_empty() {
        agreed["resourceSubscriptions"] = json!(heard);
    }
    if !lasting.is_empty() {
        agreed["taskIds"] = lasting.iter().map(Lasting::id).collect();
    }
    let meta = wire::of_subscription(&call.id);
    let acknowledged = json!({"notifications": agreed, "_meta": meta});
    let tell = |method: &'static str, mut params: Json| {
        params["_meta"] = meta.clone();
        call.tx.send(wire::notification(method, &params))
    };
    // A closed pipe ends the call, which is dropped then.
    let _told = tell("notifications/subscriptions/acknowledged", acknowledged)
        .await
        .is_ok();
    let mut ends: FuturesUnordered<_> = lasting
        .iter()
        .map(|lasting| async move {
            lasting.settled(&server.desk, &server.cancels).await;
            lasting
        })
        .collect();
    loop {
        tokio::select! {
            // cancel-safe: see `Changes::next`.
            changed = next(&mut changes) => match changed {
                Some(tasks) => {
                    for uri in of_these(&by_task, &tasks) {
                        let _told = tell("notifications/resources/updated", json!({"uri": uri})).await.is_ok();
                    }
                }
                None => changes = None,
            },
            // cancel-safe: what has ended is taken only when it is returned.
            Some(lasting) = ends.next() => {
                if let Ok(task) = whole(server, lasting).await {
                    let _told = tell("notifications/tasks", task).await.is_ok();
                }
            }
            // cancel-safe: the value stays.
            () = server.desk.closed() => return Ok(json!({"_meta": meta})),
        }
    }
}

async fn next(changes: &mut Option<Changes>) -> Option<BTreeSet<Arc<str>>> {
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

/// The resources by the tasks that they are of. Others have no news.
fn tasks_of(server: &TasksServer, uris: &BTreeSet<String>) -> BTreeMap<Arc<str>, Vec<String>> {
    let mut by_task: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
    for uri in uris {
        if let Ok(task) = task_of(server, uri) {
            by_task.entry(task).or_default().push(uri.clone());
        }
    }
    by_task
}

/// The task that a resource is of.
pub(super) fn task_of(server: &TasksServer, uri: &str) -> Result<Arc<str>, Refusal> {
    let task = read::task_of(uri).ok_or_else(|| {
        Refusal::wrong(format!("{uri} is no resource here")).hint("they are task://ID and task://ID/output")
    })?;
    server.desk.find(task)
}

/// The same for the client of a session, which subscribes to one resource after another.
pub(super) async fn watch(
    server: Arc<TasksServer>,
    mut uris: watch::Receiver<BTreeSet<String>>,
    tx: PipeSender,
) {
    let mut by_task = BTreeMap::new();
    let mut changes: Option<Changes> = None;
    loop {
        tokio::select! {
            biased;
            // cancel-safe: a change that was not seen is seen by the next call.
            changed = uris.changed() => {
                if changed.is_err() {
                    return;
                }
                by_task = tasks_of(&server, &uris.borrow_and_update());
                let tasks: BTreeSet<Arc<str>> = by_task.keys().cloned().collect();
                let turned = turn(&server, &mut changes, tasks).await;
                if let Err(refusal) = turned {
                    tracing::warn!(why = refusal.message, "a client is not told of resources it has subscribed to");
                }
            }
            // cancel-safe: see `Changes::next`.
            changed = next(&mut changes) => {
                let Some(tasks) = changed else { return };
                for uri in of_these(&by_task, &tasks) {
                    let notification = wire::notification("notifications/resources/updated", &json!({"uri": uri}));
                    if tx.send(notification).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

/// Hears of these tasks from now on.
async fn turn(
    server: &TasksServer,
    changes: &mut Option<Changes>,
    tasks: BTreeSet<Arc<str>>,
) -> Result<(), Refusal> {
    if tasks.is_empty() {
        *changes = None;
        return Ok(());
    }
    match changes {
        Some(changes) => changes.turn_to(tasks).await,
        None => {
            *changes = Some(Changes::of(&server.desk, tasks)?);
            Ok(())
        }
    }
}

/// The resources of these tasks.
fn of_these(by_task: &BTreeMap<Arc<str>, Vec<String>>, tasks: &BTreeSet<Arc<str>>) -> Vec<String> {
    let uris = tasks.iter().filter_map(|task| by_task.get(task));
    uris.flatten().cloned().collect()
}
