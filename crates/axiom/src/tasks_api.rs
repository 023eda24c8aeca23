//! Tasks at the gateway's address, for programs and people: what the server `tasks` does, as plain HTTP.
//!
//! | request                                          | what                                                |
//! |--------------------------------------------------|-----------------------------------------------------|
//! | `GET /api/v1/tasks?state=&name=&count=&cursor=`  | the tasks, the newest first                         |
//! | `POST /api/v1/tasks`                             | starts some; takes what the tool `spawn` takes      |
//! | `GET /api/v1/tasks/scheduler`                    | who waits for what, and what is in use              |
//! | `GET /api/v1/tasks/live?task=&last=&stream=&prefix=&raw=` | what tasks say, as server-sent events or on a WebSocket |
//! | `GET /api/v1/tasks/ID`                           | one task, with its last lines                       |
//! | `DELETE /api/v1/tasks/ID`                        | forgets one that has ended                          |
//! | `GET /api/v1/tasks/ID/output?from=` or `?last=`  | lines; with `wait_s` those that come next           |
//! | `POST /api/v1/tasks/ID/input`                    | `{"text", "newline", "end", "why"}`                 |
//! | `POST /api/v1/tasks/ID/interrupt`                | `{"prompt", "why"}`                                 |
//! | `POST /api/v1/tasks/ID/signal`                   | `{"signal", "why"}`                                 |
//! | `POST /api/v1/tasks/ID/resize`                   | `{"columns", "rows", "why"}`                        |
//! | `POST /api/v1/tasks/ID/freeze`, `thaw`, `kill`   | `{"why"}`                                           |
//!
//! What is refused is `{"error": {"code", "message", "hint"}}`.

mod live;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_gateway::Annex;
use axiom_gateway::options::Options;
use axiom_runtime::order::Who;
use axiom_runtime::schedule::{Class, Snapshot};
use axiom_runtime::supervisor::Steer;
use axiom_sandbox::spec::Size;
use axiom_transport::server::{Body, discard};
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Map, Value as Json, json};
use url::form_urlencoded;

use crate::builtin::arguments::Arguments;
use crate::tasks::{
    Desk, Kind, LOOK_MAX, Look, Mode, ORDER_ARGUMENTS, Refusal, WAIT_MAX, names, seconds, status,
};
use crate::tasks_server::list;

const PATH: &str = "/api/v1/tasks";
/// Of a request.
const BODY_BYTES_MAX: usize = 4 << 20;
/// How long it may take to come.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Lines that are shown with a task.
const LAST_LINES: usize = 20;
/// What of a query is a number.
const NUMBERS: &[&str] = &["from", "last", "count", "wait_s"];

/// Answers for one desk.
#[derive(Debug)]
pub struct TasksApi {
    desk: Arc<Desk>,
}

impl TasksApi {
    pub fn new(desk: &Arc<Desk>) -> TasksApi {
        TasksApi {
            desk: Arc::clone(desk),
        }
    }
}

impl Annex for TasksApi {
    fn has(&self, path: &str) -> bool {
        path.strip_prefix(PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn keeps_out(&self, _: &Options) -> Option<&'static str> {
        (!self.desk.is_shared()).then_some(
            "tasks are for callers on the gateway's own machine, who call it by a loopback name and without a proxy; for \
             others with share = true in its section [tasks]\n",
        )
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let desk = Arc::clone(&self.desk);
        Box::pin(async move {
            let answered = answer(&desk, request, peer).await;
            answered.unwrap_or_else(|refusal| refused(&refusal))
        })
    }
}

async fn answer(
    desk: &Arc<Desk>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Response<Body>, Refusal> {
    if live::is_socket(&request) {
        return live::socket::open(desk, request, format!("admin {}", peer.ip()));
    }
    let (head, body) = request.into_parts();
    let path = head.uri.path().strip_prefix(PATH).unwrap_or_default();
    let path = path.strip_prefix('/').unwrap_or(path);
    let query = head.uri.query().unwrap_or_default();
    let who = format!("admin {}", peer.ip());
    if head.method == Method::POST {
        let params = posted(body).await?;
        return match path.split_once('/') {
            None if path.is_empty() => spawn(desk, &params, &who).await,
            Some((task, action)) => {
                let id = desk.find(task)?;
                Ok(answered(&steer(desk, &id, action, &params, who).await?))
            }
            None => Err(nothing_here()),
        };
    }
    // Nothing else takes a body, but there may be one.
    discard(&head.headers, body).await;
    if head.method == Method::DELETE {
        let id = desk.find(path)?;
        desk.supervisor.remove(&id)?;
        return Ok(answered(&json!({"forgotten": &*id})));
    }
    if head.method != Method::GET {
        return Err(nothing_here());
    }
    match path.split_once('/') {
        None if path.is_empty() => {
            let params = asked(query);
            let arguments = Arguments::of(&params, &["state", "name", "count", "cursor"])?;
            Ok(answered(&list(desk, &arguments)?.0))
        }
        None if path == "scheduler" => Ok(answered(&scheduler(&desk.supervisor.snapshot()))),
        None if path == "live" => live::open(desk, query),
        None => Ok(answered(&desk.whole(&desk.find(path)?, LAST_LINES).await?.0)),
        Some((task, "output")) => output(desk, &desk.find(task)?, query).await,
        Some(_) => Err(nothing_here()),
    }
}

/// A request's body, as the arguments of a tool; none if there is none.
async fn posted(body: Incoming) -> Result<Json, Refusal> {
    let read = Limited::new(body, BODY_BYTES_MAX).collect();
    let bytes = match time::timeout(BODY_TIME, read).await {
        Ok(Ok(read)) => read.to_bytes(),
        Ok(Err(_)) => {
            let message = format!("a request of more than {BODY_BYTES_MAX} B, or one that broke off");
            return Err(Refusal::wrong(message));
        }
        Err(_) => return Err(Refusal::wrong("the request did not arrive in time")),
    };
    if bytes.is_empty() {
        return Ok(json!({}));
    }
    let body: Json = serde_json::from_slice(&bytes)
        .map_err(|error| Refusal::wrong(format!("the request is no JSON: {error}")))?;
    match body.is_object() {
        true => Ok(json!({"arguments": body})),
        false => Err(Refusal::wrong("the request must be a JSON object")),
    }
}

/// A query, as the arguments of a tool.
fn asked(query: &str) -> Json {
    let mut arguments = Map::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let number = value
            .parse::<u64>()
            .ok()
            .filter(|_| NUMBERS.contains(&name.as_ref()));
        let value = number.map_or_else(|| json!(value), |number| json!(number));
        arguments.insert(name.into_owned(), value);
    }
    json!({"arguments": arguments})
}

async fn spawn(desk: &Arc<Desk>, params: &Json, who: &str) -> Result<Response<Body>, Refusal> {
    let arguments = Arguments::of(params, ORDER_ARGUMENTS)?;
    let wait = seconds(&arguments, "wait_s", WAIT_MAX)?.unwrap_or_default();
    let ids = desk.spawn(&arguments, who)?;
    let has_ended = desk.ends(&ids, Mode::All, wait, None).await;
    let views = ids.iter().map(|id| desk.view(id));
    let views = views.collect::<Result<Vec<_>, _>>()?;
    let tasks: Vec<Json> = views.iter().map(status).collect();
    Ok(answered(&json!({"tasks": tasks, "has_ended": has_ended})))
}

/// Does something to a task. Gives how it is then.
async fn steer(
    desk: &Desk,
    id: &Arc<str>,
    action: &str,
    params: &Json,
    who: String,
) -> Result<Json, Refusal> {
    let known: &[&str] = match action {
        "input" => &["text", "newline", "end", "why"],
        "interrupt" => &["prompt", "why"],
        "signal" => &["signal", "why"],
        "resize" => &["columns", "rows", "why"],
        "freeze" | "thaw" | "kill" => &["why"],
        _ => return Err(nothing_here()),
    };
    let arguments = Arguments::of(params, known)?;
    let by = Who::new(who, arguments.text("why")?.unwrap_or_default());
    match action {
        "input" => {
            let (text, ends) = (arguments.text("text")?, arguments.flag("end", false)?);
            if text.is_none() && !ends {
                let refusal = Refusal::wrong("`text` is missing");
                return Err(refusal.hint("give what it is to read, or `end` for its end"));
            }
            if let Some(text) = text {
                desk.say(id, text, arguments.flag("newline", true)?, &by).await?;
            }
            if ends {
                desk.steer(id, Steer::EndInput, &by).await?;
            }
        }
        "interrupt" => {
            let prompt = arguments.text("prompt")?;
            let what = prompt.map_or(Steer::Interrupt, |prompt| Steer::Redirect(prompt.to_owned()));
            desk.steer(id, what, &by).await?;
        }
        "signal" => {
            // There is none of number 0, so that none is left out in silence.
            let signal = match arguments.get("signal") {
                Some(_) => arguments.count("signal", 1, 64)?,
                None => return Err(Refusal::wrong("`signal` is missing").hint("give a signal's number")),
            };
            let signal = i32::try_from(signal).unwrap_or(i32::MAX);
            desk.steer(id, Steer::Signal(signal), &by).await?;
        }
        "resize" => {
            let count = |name: &str| match arguments.get(name) {
                Some(_) => Ok(arguments.count(name, 1, usize::from(u16::MAX))?),
                None => Err(Refusal::wrong(format!("`{name}` is missing"))
                    .hint("give how many columns and rows its terminal is to have")),
            };
            let side = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
            let size = Size {
                columns: side(count("columns")?),
                rows: side(count("rows")?),
            };
            desk.steer(id, Steer::Resize(size), &by).await?;
        }
        "freeze" => desk.steer(id, Steer::Freeze, &by).await?,
        "thaw" => desk.steer(id, Steer::Thaw, &by).await?,
        _ => {
            let killed = desk.kill(&[Arc::clone(id)], &by).await?;
            return Ok(json!({"killed": names(&killed)}));
        }
    }
    Ok(status(&desk.view(id)?))
}

async fn output(desk: &Arc<Desk>, id: &Arc<str>, query: &str) -> Result<Response<Body>, Refusal> {
    let params = asked(query);
    let arguments = Arguments::of(&params, &["from", "last", "count", "stream", "wait_s"])?;
    let look = Look::read(&arguments)?;
    let wait = seconds(&arguments, "wait_s", LOOK_MAX)?.unwrap_or_default();
    let found = match wait.is_zero() {
        true => desk.lines(id, look).await?,
        false => desk.new_lines(id, look, wait).await?,
    };
    let state = desk.view(id)?.phase.name();
    let mut shown = json!({"task": &**id, "state": state, "is_end": found.is_end});
    found.put_into(&mut shown, "lines");
    Ok(answered(&shown))
}

fn scheduler(snapshot: &Snapshot) -> Json {
    let classes = Class::ALL.into_iter().map(|class| {
        let shown = json!({
            "queued": snapshot.queued[class],
            "waited_s": snapshot.waited[class].map(|waited| waited.as_secs_f64()),
            "is_shut_out": snapshot.shut_out[class],
        });
        (format!("{class:?}").to_lowercase(), shown)
    });
    let executors = snapshot.backends.iter().map(|backend| {
        json!({
            "name": &*backend.name,
            "running": backend.running,
            "starting": backend.starting,
            "starting_max": backend.starting_max,
            "breaker": format!("{:?}", backend.breaker),
        })
    });
    json!({
        "memory_bytes": snapshot.budget.memory_bytes,
        "used_memory_bytes": u64::try_from(snapshot.used_memory_bytes).unwrap_or(u64::MAX),
        "running_max": snapshot.budget.tasks,
        "running": snapshot.started,
        "starting": snapshot.starting,
        "queued_bytes": snapshot.queued_bytes,
        "classes": classes.collect::<Map<String, Json>>(),
        "executors": executors.collect::<Vec<_>>(),
    })
}

fn nothing_here() -> Refusal {
    Refusal::new(Kind::Unknown, "there is nothing here that takes this")
        .hint("docs/guide/tasks-server.md has all requests about tasks")
}

fn answered(body: &Json) -> Response<Body> {
    response(StatusCode::OK, body)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let (status, error) = told(refusal);
    response(status, &json!({"error": error}))
}

/// A refusal, as programs read it.
fn told(refusal: &Refusal) -> (StatusCode, Json) {
    let (status, code) = match refusal.kind {
        Kind::Wrong => (StatusCode::BAD_REQUEST, "wrong"),
        Kind::Unknown => (StatusCode::NOT_FOUND, "unknown"),
        Kind::NotNow => (StatusCode::CONFLICT, "not_now"),
        Kind::Full => (StatusCode::SERVICE_UNAVAILABLE, "full"),
        Kind::Broken => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
    };
    (
        status,
        json!({"code": code, "message": refusal.message, "hint": refusal.hint}),
    )
}

fn response(status: StatusCode, body: &Json) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{body}\n").into_bytes()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
