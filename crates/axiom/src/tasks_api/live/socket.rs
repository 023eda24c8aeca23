//! The same on a WebSocket, with a way back: text frames, each a JSON object.
//!
//! | we say                                     | when                                                                   |
//! |--------------------------------------------|------------------------------------------------------------------------|
//! | `{"event": "lines", "task", ...}`          | as the event of this name                                              |
//! | `{"event": "missed", ...}`                 | the same                                                               |
//! | `{"event": "done", "id", "action", ...}`   | what was asked is done; with what the same request by HTTP answers     |
//! | `{"event": "refused", "id", "error"}`      | it is not, and why                                                     |
//!
//! The client says `{"action": "input", "task": "ID", "text": "ls"}`, and likewise `interrupt`, `signal`, `resize`, `freeze`, `thaw` and
//! `kill`, each with what the request of this name takes by HTTP. An `id`, if it gives one, stands in the answer. One is done after the
//! other; lines go on meanwhile. Who does not read misses lines, as there, and holds up nobody.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_runtime::mux::LiveReader;
use axiom_transport::pipe::{Closed, Pipe, PipeReceiver, PipeSender};
use axiom_transport::server::{Body, Place};
use axiom_transport::websocket;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value as Json, json};

use super::super::{steer, told as told_refusal};
use super::{Look, begin, told};
use crate::tasks::{Desk, Refusal};

/// Of what a client says at once: an input, and what stands around it.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

pub(in super::super) fn open(
    desk: &Arc<Desk>,
    mut request: Request<Incoming>,
    who: String,
) -> Result<Response<Body>, Refusal> {
    let response = websocket::switching_protocols(request.headers()).ok_or_else(|| {
        Refusal::wrong("the request asks for a WebSocket, and lacks its key or `Connection: Upgrade`")
            .hint("without the header `Upgrade` it is answered with server-sent events")
    })?;
    let (reader, look) = begin(desk, request.uri().query().unwrap_or_default())?;
    let upgraded = hyper::upgrade::on(&mut request);
    // The connection counts until its client has left, or the gateway ends.
    let place = request.extensions_mut().remove::<Place>();
    let desk = Arc::clone(desk);
    drop(spawn("live socket of tasks", async move {
        let _place = place;
        match upgraded.await {
            Ok(io) => {
                let Pipe { tx, rx } = websocket::accept(TokioIo::new(io), MESSAGE_BYTES_MAX).await;
                tokio::select! {
                    // Dropped, what was on its way is lost with the connection.
                    () = tell(&desk, reader, look, &tx) => {}
                    // Dropped, what was asked last may be done or not.
                    () = hear(&desk, rx, &tx, &who) => {}
                    // cancel-safe: the value stays.
                    () = desk.closed() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
        }
    }));
    Ok(response)
}

/// Carries news to the client until there is none any more, or nobody to tell.
async fn tell(desk: &Desk, mut reader: LiveReader, look: Look, tx: &PipeSender) {
    while let Some(news) = reader.next().await {
        let (name, data) = told(desk, &news, look);
        if say(tx, name, data).await.is_err() {
            return;
        }
    }
}

/// Does what the client asks for, one after the other, until it leaves.
async fn hear(desk: &Desk, mut rx: PipeReceiver, tx: &PipeSender, who: &str) {
    while let Ok(message) = rx.recv().await {
        let asked: Json = serde_json::from_slice(&message).unwrap_or_default();
        let id = asked.get("id").cloned();
        let answered = act(desk, asked, who).await;
        let (name, mut answer) = match answered {
            Ok(done) => ("done", done),
            Err(refusal) => ("refused", json!({"error": told_refusal(&refusal).1})),
        };
        if let Some(id) = id {
            answer["id"] = id;
        }
        if say(tx, name, answer).await.is_err() {
            return;
        }
    }
}

async fn act(desk: &Desk, mut asked: Json, who: &str) -> Result<Json, Refusal> {
    let wrong = || {
        Refusal::wrong("a message must be a JSON object with `action` and `task`")
            .hint("like {\"action\": \"input\", \"task\": \"ID\", \"text\": \"ls\"}")
    };
    let members = asked.as_object_mut().ok_or_else(wrong)?;
    members.remove("id");
    let mut text = |name: &str| match members.remove(name) {
        Some(Json::String(text)) => Ok(text),
        _ => Err(wrong()),
    };
    let (action, task) = (text("action")?, text("task")?);
    let id = desk.find(&task)?;
    let mut done = steer(desk, &id, &action, &json!({"arguments": asked}), who.to_owned()).await?;
    done["action"] = json!(action);
    done["task"] = json!(&*id);
    Ok(done)
}

async fn say(tx: &PipeSender, name: &str, mut data: Json) -> Result<(), Closed> {
    data["event"] = json!(name);
    tx.send(Bytes::from(data.to_string())).await
}
