//! Where task ids stand in messages, and a task in the words of either era. All of it by byte ranges: what a task holds
//! besides stays as the server wrote it.

use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::rewrite::{Edit, object_with};
use axiom_protocol::span::Span;
use axiom_protocol::text::{push_quoted, text};
use axiom_protocol::walk::{elements, get, members};
use bytes::Bytes;

use super::{EXTENSION, Named, Naming};
use crate::message::Message;
use crate::upstream::whole;

/// The `_meta` key by which a message says that it belongs to a task.
pub(crate) const RELATED: &str = "io.modelcontextprotocol/related-task";

/// Whether a request of 2026-07-28 declares that its client knows tasks.
pub(crate) fn declares_tasks(message: &Message) -> bool {
    let raw = &message.bytes;
    message
        .envelope
        .in_meta
        .client_capabilities
        .and_then(|capabilities| get(raw, capabilities, "extensions"))
        .and_then(|extensions| get(raw, extensions, EXTENSION))
        .is_some_and(|settings| settings.of(raw).starts_with(b"{"))
}

/// How a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Working,
    InputRequired,
    Completed,
    Failed,
    Cancelled,
}

impl Status {
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Failed | Status::Cancelled)
    }
}

/// What is read of a task; both eras write these alike.
pub(crate) fn status_of(raw: &[u8], task: Span) -> Option<Status> {
    Some(match text(raw, get(raw, task, "status")?)?.as_ref() {
        "working" => Status::Working,
        "input_required" => Status::InputRequired,
        "completed" => Status::Completed,
        "failed" => Status::Failed,
        "cancelled" => Status::Cancelled,
        _ => return None,
    })
}

pub(crate) fn id_of(raw: &[u8], task: Span) -> Option<String> {
    text(raw, get(raw, task, "taskId")?).map(std::borrow::Cow::into_owned)
}

/// A whole number of milliseconds of a task: `ttl`, `pollInterval` or their names in the other era.
pub(crate) fn millis_of(raw: &[u8], task: Span, names: [&str; 2]) -> Option<std::time::Duration> {
    let value = names.iter().find_map(|name| get(raw, task, name))?;
    let millis = std::str::from_utf8(value.of(raw)).ok()?.parse().ok()?;
    Some(std::time::Duration::from_millis(millis))
}

pub(crate) const TTL: [&str; 2] = ["ttl", "ttlMs"];
pub(crate) const POLL: [&str; 2] = ["pollInterval", "pollIntervalMs"];

/// The task's id in an object's `_meta`, if that says that the message belongs to a task.
fn related(raw: &[u8], object: Span) -> Option<Span> {
    let related = get(raw, get(raw, object, "_meta")?, RELATED)?;
    get(raw, related, "taskId")
}

/// The server's task that a question says it belongs to.
pub(crate) fn related_id(question: &Message) -> Option<String> {
    let raw = &question.bytes;
    let at = related(raw, question.envelope.params?)?;
    text(raw, at).map(std::borrow::Cow::into_owned)
}

/// The server's task that a request waits for: it asks and logs meanwhile. `edits` put the server's own id in place of a
/// handle.
pub(crate) fn waits_for(request: &Message, edits: &[Edit<'_>]) -> Option<String> {
    let at = request.envelope.param.task_id?;
    if request.method() != Method::TasksResult {
        return None;
    }
    let own = edits.iter().find(|edit| edit.at == at);
    let id = own.map_or_else(|| request.text(Some(at)), |own| text(own.with, whole(own.with)));
    id.map(std::borrow::Cow::into_owned)
}

/// The ids of the server's tasks in what it says to its client; `of` is the method that an answer answers.
pub(crate) fn places(message: &Message, of: Method) -> Vec<Span> {
    let raw = &message.bytes;
    let mut places = Vec::new();
    if let Some(result) = message.envelope.result {
        places.extend(related(raw, result));
        match of {
            Method::TasksGet | Method::TasksCancel => {
                places.extend(get(raw, result, "taskId"));
                places.extend(in_payload(raw, result));
            }
            Method::TasksList => {
                let tasks = get(raw, result, "tasks");
                let tasks = tasks.into_iter().flat_map(|tasks| elements(raw, tasks));
                places.extend(tasks.filter_map(|task| get(raw, task, "taskId")));
            }
            _ => {}
        }
    }
    if let Some(params) = message.envelope.params {
        places.extend(related(raw, params));
        match message.method() {
            Method::TaskStatus | Method::TasksNotification => {
                places.extend(get(raw, params, "taskId"));
                places.extend(in_payload(raw, params));
            }
            Method::SubscriptionAcknowledged => {
                let filter = get(raw, params, "notifications");
                places.extend(filter.into_iter().flat_map(|filter| task_ids(raw, filter)));
            }
            _ => {}
        }
    }
    places
}

/// What a task of 2026-07-28 carries inside may say once more which task it belongs to.
fn in_payload(raw: &[u8], task: Span) -> Vec<Span> {
    let mut places: Vec<Span> = get(raw, task, "result")
        .and_then(|result| related(raw, result))
        .into_iter()
        .collect();
    if let Some(requests) = get(raw, task, "inputRequests") {
        let params = members(raw, requests).filter_map(|(_, request)| get(raw, request, "params"));
        places.extend(params.filter_map(|params| related(raw, params)));
    }
    places
}

/// The elements of a subscription's `taskIds`.
pub(crate) fn task_ids(raw: &[u8], filter: Span) -> Vec<Span> {
    let ids = get(raw, filter, "taskIds");
    ids.into_iter().flat_map(|ids| elements(raw, ids)).collect()
}

/// The message with handles in place of the server's ids.
pub(crate) fn with_handles(message: &Message, of: Method, naming: &Naming) -> Bytes {
    let raw = &message.bytes;
    let handles: Vec<(Span, Bytes)> = places(message, of)
        .into_iter()
        .filter_map(|at| Some((at, naming.token(&text(raw, at)?))))
        .collect();
    if handles.is_empty() {
        return raw.clone();
    }
    let mut edits: Vec<Edit<'_>> = handles
        .iter()
        .map(|(at, token)| Edit { at: *at, with: token })
        .collect();
    message.with(&mut edits)
}

/// What a client says of a task in passing (`related-task`), with the server's own id. `open` reads a handle of that
/// server's. `None` if nothing is said, or of another task.
pub(crate) fn with_own_ids(message: &Message, open: impl Fn(&str) -> Option<Named>) -> Option<Bytes> {
    let raw = &message.bytes;
    let object = match message.kind() {
        Kind::Request | Kind::Notification => message.envelope.params,
        Kind::Response => message.envelope.result,
        Kind::Error => None,
    };
    let at = related(raw, object?)?;
    let named = open(&text(raw, at)?)?;
    let mut own = Vec::new();
    push_quoted(&mut own, &named.id);
    Some(message.with(&mut [Edit { at, with: &own }]))
}

/// An object without the sign that it belongs to a task, for a client that knows nothing of the task.
pub(crate) fn without_related(raw: &[u8], object: Span) -> Option<Vec<u8>> {
    let meta = get(raw, object, "_meta")?;
    get(raw, meta, RELATED)?;
    let meta = object_with(raw, meta, &[], &[RELATED]);
    Some(if members(&meta, whole(&meta)).next().is_none() {
        object_with(raw, object, &[], &["_meta"])
    } else {
        object_with(raw, object, &[("_meta", &meta)], &[])
    })
}

/// A modern server's task as 2025-11-25 writes it, under this handle. Its payload is no part of it there.
pub(crate) fn legacy_task(raw: &[u8], task: Span, token: &[u8]) -> Vec<u8> {
    let mut out = renamed(raw, task, |name| match name {
        "resultType" | "result" | "error" | "inputRequests" | "_meta" => None,
        "ttlMs" => Some("ttl"),
        "pollIntervalMs" => Some("pollInterval"),
        other => Some(other),
    });
    out = object_with(&out, whole(&out), &[("taskId", token)], &[]);
    if get(&out, whole(&out), "ttl").is_none() {
        out = object_with(&out, whole(&out), &[("ttl", b"null")], &[]);
    }
    out
}

/// A session server's task as 2026-07-28 writes it, under this handle and with these fields set.
pub(crate) fn modern_task(raw: &[u8], task: Span, token: &[u8], set: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = renamed(raw, task, |name| match name {
        "_meta" => None,
        "ttl" => Some("ttlMs"),
        "pollInterval" => Some("pollIntervalMs"),
        other => Some(other),
    });
    let mut fields: Vec<(&str, &[u8])> = vec![("taskId", token)];
    if get(&out, whole(&out), "ttlMs").is_none() {
        fields.push(("ttlMs", b"null"));
    }
    fields.extend_from_slice(set);
    out = object_with(&out, whole(&out), &fields, &[]);
    out
}

/// The object with some members under another name, and without those that have none.
fn renamed(raw: &[u8], object: Span, name_of: impl Fn(&str) -> Option<&str>) -> Vec<u8> {
    let mut out = Vec::with_capacity(object.len());
    out.push(b'{');
    for (key, value) in members(raw, object) {
        let Some(name) = text(raw, key) else { continue };
        let Some(name) = name_of(&name) else { continue };
        if out.len() > 1 {
            out.push(b',');
        }
        push_quoted(&mut out, name);
        out.push(b':');
        out.extend_from_slice(value.of(raw));
    }
    out.push(b'}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODERN: &str = r#"{"resultType":"task","taskId":"t","status":"working","createdAt":"c","lastUpdatedAt":"u","ttlMs":123456789012345678901234567890,"pollIntervalMs":5.0e2,"x":[1, 2],"_meta":{"m":1}}"#;
    const LEGACY: &str = r#"{"taskId":"t","status":"working","createdAt":"c","lastUpdatedAt":"u","ttl":123456789012345678901234567890,"pollInterval":5.0e2,"x":[1, 2]}"#;

    #[test]
    fn a_task_in_the_words_of_the_other_era() {
        let raw = MODERN.as_bytes();
        let legacy = legacy_task(raw, whole(raw), b"\"t\"");
        assert_eq!(String::from_utf8(legacy.clone()).unwrap(), LEGACY);
        let modern = modern_task(&legacy, whole(&legacy), b"\"h\"", &[("resultType", b"\"task\"")]);
        let expected = LEGACY
            .replace("\"t\"", "\"h\"")
            .replace("ttl", "ttlMs")
            .replace("pollInterval", "pollIntervalMs")
            .replace("[1, 2]}", r#"[1, 2],"resultType":"task"}"#);
        assert_eq!(String::from_utf8(modern).unwrap(), expected);
        // Neither era lets it out.
        assert_eq!(
            legacy_task(b"{}", whole(b"{}"), b"\"h\""),
            br#"{"taskId":"h","ttl":null}"#
        );
        assert_eq!(
            modern_task(b"{}", whole(b"{}"), b"\"h\"", &[]),
            br#"{"taskId":"h","ttlMs":null}"#
        );
    }

    #[test]
    fn what_a_client_need_not_know() {
        for (said, kept) in [
            (
                r#"{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#,
                Some(r#"{"content":[]}"#),
            ),
            (
                r#"{"_meta":{"a":1,"io.modelcontextprotocol/related-task":{}},"b":2}"#,
                Some(r#"{"_meta":{"a":1},"b":2}"#),
            ),
            (r#"{"_meta":{"a":1}}"#, None),
            ("{}", None),
        ] {
            let left = without_related(said.as_bytes(), whole(said.as_bytes()));
            assert_eq!(left.as_deref(), kept.map(str::as_bytes), "{said}");
        }
    }
}
