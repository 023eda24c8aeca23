//! What the tools do.

use std::sync::Arc;
use std::time::Duration;

use axiom_runtime::order::Who;
use axiom_runtime::supervisor::{Phase, Steer, View};
use serde_json::{Value as Json, json};

use crate::builtin::arguments::{Arguments, must_be};
use crate::builtin::conversation::Call;
use crate::builtin::wire::{self, Era, RpcError};
use crate::tasks::{
    Desk, LINES_MAX, LOOK_MAX, Look, Mode, Node, ORDER_ARGUMENTS, Progress, Refusal, WAIT_MAX, brief, names,
    seconds, status, tree_text,
};

use super::lasting::{Lasting, TASKS_MAX, TasksCall, Work, after};
use super::{TasksServer, about};

pub(super) const STATUS_LINES: usize = 20;
pub(super) const WAIT_LINES: usize = 5;
/// Seconds. Many clients give up after a minute.
pub(super) const WAIT: f64 = 50.0;
pub(super) const LIST: usize = 50;
pub(super) const LIST_MAX: usize = 500;
/// Tasks of one call that are shown with their last lines. Of more there are only the ends.
const SHOWN_MAX: usize = 50;
const TREE_MAX: usize = 1000;

/// What a tool gives: for programs, and for whoever reads.
pub(super) struct Given {
    pub(super) structured: Json,
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// What a call comes to.
pub(super) enum Answer {
    Given(Given),
    /// It lasts, and its client knows how to ask for it later.
    Task(Lasting),
}

impl From<Given> for Answer {
    fn from(given: Given) -> Answer {
        Answer::Given(given)
    }
}

impl Given {
    /// What a tool gives.
    pub(super) fn result(self) -> Json {
        let mut result = json!({
            "content": [{"type": "text", "text": self.text}],
            "structuredContent": self.structured,
        });
        if self.is_error {
            result["isError"] = json!(true);
        }
        result
    }
}

/// A refusal as a result that the model can read.
pub(super) fn refused(refusal: &Refusal) -> Json {
    json!({"content": [{"type": "text", "text": refusal.words()}], "isError": true})
}

/// Who calls, for the record.
pub(super) fn caller(call: &Call) -> String {
    match &call.client {
        Some(client) => format!("mcp {}", client.chars().take(100).collect::<String>()),
        None => "mcp".to_owned(),
    }
}

/// Answers `tools/call`. What is wrong with a call is a result that the model can read.
pub(super) async fn call(server: &Arc<TasksServer>, call: &Call) -> Result<Json, RpcError> {
    let name = wire::text(&call.params, "name")?;
    let asked = Asked {
        desk: &server.desk,
        call,
        who: caller(call),
        wants_task: wire::wants_task(call.era, &call.params),
    };
    let answer = match name {
        "spawn" => asked.spawn().await,
        "wait" => asked.wait().await,
        "race" => asked.race().await,
        "send" => asked.send().await.map(Answer::from),
        "status" => asked.status().await.map(Answer::from),
        "output" => asked.output().await.map(Answer::from),
        "interrupt" => asked.interrupt().await.map(Answer::from),
        "kill" => asked.kill().await.map(Answer::from),
        "list" => asked.list().map(Answer::from),
        "orchestrate" => asked.orchestrate().await.map(Answer::from),
        "tree" => asked.tree().map(Answer::from),
        other => return Err(RpcError::invalid_params(format!("unknown tool: {other}"))),
    };
    match answer {
        Ok(Answer::Given(given)) => Ok(given.result()),
        Ok(Answer::Task(lasting)) => about::begun(server, call, &lasting),
        Err(refusal) => Ok(refused(&refusal)),
    }
}

pub(super) struct Asked<'a> {
    pub(super) desk: &'a Arc<Desk>,
    call: &'a Call,
    pub(super) who: String,
    /// It gets a handle of what lasts.
    wants_task: bool,
}

impl<'a> Asked<'a> {
    pub(super) fn arguments(&self, known: &[&str]) -> Result<Arguments<'a>, Refusal> {
        Ok(Arguments::of(&self.call.params, known)?)
    }

    pub(super) fn by(&self, arguments: &Arguments<'_>) -> Result<Who, Refusal> {
        Ok(Who::new(
            self.who.clone(),
            arguments.text("why")?.unwrap_or_default(),
        ))
    }

    /// The task that is asked for.
    fn task(&self, arguments: &Arguments<'_>) -> Result<Arc<str>, Refusal> {
        match arguments.text("task")? {
            Some(beginning) => self.desk.find(beginning),
            None => Err(Refusal::wrong("`task` is missing").hint("give a task's id; `list` shows them")),
        }
    }

    /// The tasks that are asked for, each once.
    fn tasks(&self, arguments: &Arguments<'_>) -> Result<Vec<Arc<str>>, Refusal> {
        let wrong = |value: &Json| Refusal::from(must_be("tasks", "an array of ids", value));
        let beginnings: Vec<&str> = match arguments.get("tasks") {
            Some(Json::String(one)) => vec![one],
            Some(value @ Json::Array(items)) => {
                let texts = items.iter().map(Json::as_str);
                texts.collect::<Option<_>>().ok_or_else(|| wrong(value))?
            }
            Some(other) => return Err(wrong(other)),
            None => Vec::new(),
        };
        let mut ids = Vec::new();
        for beginning in beginnings {
            let id = self.desk.find(beginning)?;
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        match ids.is_empty() {
            true => Err(Refusal::wrong("`tasks` names none").hint("give ids of tasks; `list` shows them")),
            false => Ok(ids),
        }
    }

    /// What the client asks for as the time for which its handle is good.
    pub(super) fn lasting(&self, work: Work) -> Answer {
        let ttl = self.call.params.pointer("/task/ttl").and_then(Json::as_u64);
        Answer::Task(Lasting::new(self.desk, work, ttl))
    }

    /// True for a client that gets a handle of a call that lasts: one of a session asks for it, whatever the call is.
    pub(super) fn gets_handle(&self, lasts: bool) -> bool {
        self.wants_task && (lasts || self.call.era == Era::Legacy)
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let token = wire::progress_token(&self.call.params)?;
        Some(Progress::new(token.clone(), self.call.tx.clone()))
    }

    async fn spawn(&self) -> Result<Answer, Refusal> {
        let arguments = self.arguments(ORDER_ARGUMENTS)?;
        let wait = seconds(&arguments, "wait_s", WAIT_MAX)?;
        let ids = self.desk.spawn(&arguments, &self.who)?;
        let lasts = wait.is_some_and(|wait| !wait.is_zero());
        if self.gets_handle(lasts) && ids.len() <= TASKS_MAX {
            return Ok(self.lasting(Work::Tasks {
                call: TasksCall::Spawn,
                ids,
                mode: Mode::All,
                last: STATUS_LINES,
                until: wait.map(after),
            }));
        }
        let Some(wait) = wait else {
            let views = self.views(&ids)?;
            return Ok(Answer::Given(Given {
                structured: json!({"tasks": views.iter().map(status).collect::<Vec<_>>()}),
                text: briefs(&views),
                is_error: false,
            }));
        };
        let has_ended = self.desk.ends(&ids, Mode::All, wait, self.progress()).await;
        let (tasks, text) = shown(self.desk, &ids, STATUS_LINES).await?;
        Ok(Answer::Given(Given {
            structured: json!({"tasks": tasks, "has_ended": has_ended}),
            text,
            is_error: false,
        }))
    }

    async fn send(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["task", "text", "newline", "end", "answer", "why"])?;
        if arguments.get("answer").is_some() {
            let id = self.task(&arguments)?;
            let is_yes = arguments.flag("answer", false)?;
            self.desk
                .steer(&id, Steer::Answer(is_yes), &self.by(&arguments)?)
                .await?;
            let text = format!("{id} was told {}", if is_yes { "yes" } else { "no" });
            return Ok(Given {
                structured: json!({"task": &*id, "bytes": 0}),
                text,
                is_error: false,
            });
        }
        let (text, ends) = (arguments.text("text")?, arguments.flag("end", false)?);
        let is_line = arguments.flag("newline", true)?;
        if text.is_none() && !ends {
            return Err(
                Refusal::wrong("`text` is missing").hint("give what it is to read, or `end` for its end")
            );
        }
        let id = self.task(&arguments)?;
        let by = self.by(&arguments)?;
        let mut bytes = 0;
        if let Some(text) = text {
            bytes = self.desk.say(&id, text, is_line, &by).await?;
        }
        if ends {
            self.desk.steer(&id, Steer::EndInput, &by).await?;
        }
        Ok(Given {
            structured: json!({"task": &*id, "bytes": bytes}),
            text: format!("{id} has {bytes} B more to read"),
            is_error: false,
        })
    }

    async fn status(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["task", "last"])?;
        let last = arguments.count("last", STATUS_LINES, LINES_MAX)?;
        let (structured, text) = self.desk.whole(&self.task(&arguments)?, last).await?;
        Ok(Given {
            structured,
            text,
            is_error: false,
        })
    }

    async fn output(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["task", "from", "last", "count", "stream", "wait_s"])?;
        let look = Look::read(&arguments)?;
        let wait = seconds(&arguments, "wait_s", LOOK_MAX)?.unwrap_or(Duration::ZERO);
        let id = self.task(&arguments)?;
        let found = match wait.is_zero() {
            true => self.desk.lines(&id, look).await?,
            false => self.desk.new_lines(&id, look, wait).await?,
        };
        let state = self.desk.view(&id)?.phase.name();
        let mut structured = json!({"task": &*id, "state": state, "is_end": found.is_end});
        found.put_into(&mut structured, "lines");
        let mut text = found.text();
        if text.is_empty() {
            text = format!("nothing from line {} on; the task is {state}", found.next);
        }
        Ok(Given {
            structured,
            text,
            is_error: false,
        })
    }

    async fn interrupt(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["task", "signal", "prompt", "why"])?;
        let signal = match arguments.get("signal") {
            None => None,
            Some(_) => Some(arguments.count("signal", 2, 64)?),
        };
        let prompt = arguments.text("prompt")?;
        let id = self.task(&arguments)?;
        let by = self.by(&arguments)?;
        let signal = signal.and_then(|signal| i32::try_from(signal).ok());
        match (signal, prompt) {
            (None, Some(prompt)) => {
                self.desk
                    .steer(&id, Steer::Redirect(prompt.to_owned()), &by)
                    .await?;
            }
            (Some(signal), prompt) => {
                self.desk.steer(&id, Steer::Signal(signal), &by).await?;
                if let Some(prompt) = prompt {
                    self.desk.say(&id, prompt, true, &by).await?;
                }
            }
            (None, None) => self.desk.steer(&id, Steer::Interrupt, &by).await?,
        }
        let view = self.desk.view(&id)?;
        Ok(Given {
            structured: json!({"task": &*id, "state": view.phase.name()}),
            text: brief(&view),
            is_error: false,
        })
    }

    async fn wait(&self) -> Result<Answer, Refusal> {
        let arguments = self.arguments(&["tasks", "mode", "timeout_s", "last"])?;
        let mode = match arguments.text("mode")? {
            None | Some("all") => Mode::All,
            Some("any") => Mode::Any,
            Some(other) => return Err(must_be("mode", "`all` or `any`", &json!(other)).into()),
        };
        let last = match arguments.get("last") {
            Some(value) if value.as_u64() == Some(0) => 0,
            _ => arguments.count("last", WAIT_LINES, 100)?,
        };
        let wait = seconds(&arguments, "timeout_s", WAIT_MAX)?;
        let wait = wait.unwrap_or_else(|| Duration::from_secs_f64(WAIT));
        let ids = self.tasks(&arguments)?;
        if self.gets_handle(!wait.is_zero()) && ids.len() <= TASKS_MAX {
            return Ok(self.lasting(Work::Tasks {
                call: TasksCall::Wait,
                ids,
                mode,
                last,
                until: Some(after(wait)),
            }));
        }
        let is_done = self.desk.ends(&ids, mode, wait, self.progress()).await;
        let (tasks, text) = shown(self.desk, &ids, last).await?;
        Ok(Answer::Given(Given {
            structured: json!({"tasks": tasks, "is_done": is_done}),
            text,
            is_error: false,
        }))
    }

    async fn kill(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["tasks", "why"])?;
        let ids = self.tasks(&arguments)?;
        let killed = self.desk.kill(&ids, &self.by(&arguments)?).await?;
        let views = self.views(&killed)?;
        let text = match views.is_empty() {
            true => "they had ended before".to_owned(),
            false => briefs(&views),
        };
        Ok(Given {
            structured: json!({"killed": names(&killed), "tasks": views.iter().map(status).collect::<Vec<_>>()}),
            text,
            is_error: false,
        })
    }

    fn list(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["state", "name", "count", "cursor"])?;
        let (structured, views) = list(self.desk, &arguments)?;
        let text = match views.is_empty() {
            true => "there are none".to_owned(),
            false => briefs(&views),
        };
        Ok(Given {
            structured,
            text,
            is_error: false,
        })
    }

    fn tree(&self) -> Result<Given, Refusal> {
        let arguments = self.arguments(&["task"])?;
        let root = arguments
            .text("task")?
            .map(|beginning| self.desk.find(beginning))
            .transpose()?;
        let views = self.desk.supervisor.list();
        let roots: Vec<Arc<str>> = match root {
            Some(root) => vec![root],
            None => views
                .iter()
                .filter(|view| is_root(view, &views))
                .map(|view| Arc::clone(&view.id))
                .collect(),
        };
        let mut left = TREE_MAX;
        let nodes = Node::forest(&views, &roots, &mut left);
        let text = match nodes.is_empty() {
            true => "nothing runs or waits".to_owned(),
            false => tree_text(&nodes),
        };
        let tasks: Vec<Json> = nodes.iter().map(Node::json).collect();
        Ok(Given {
            structured: json!({"tasks": tasks, "is_cut": left == 0}),
            text,
            is_error: false,
        })
    }

    fn views(&self, ids: &[Arc<str>]) -> Result<Vec<View>, Refusal> {
        views(self.desk, ids)
    }
}

fn views(desk: &Desk, ids: &[Arc<str>]) -> Result<Vec<View>, Refusal> {
    ids.iter().map(|id| desk.view(id)).collect()
}

/// Tasks with their last lines; of many only how they are.
pub(super) async fn shown(
    desk: &Desk,
    ids: &[Arc<str>],
    last: usize,
) -> Result<(Vec<Json>, String), Refusal> {
    if ids.len() > SHOWN_MAX || last == 0 {
        let views = views(desk, ids)?;
        return Ok((views.iter().map(status).collect(), briefs(&views)));
    }
    let each = (STATUS_LINES * SHOWN_MAX / 2 / ids.len().max(1)).clamp(1, last);
    let (mut shown, mut text) = (Vec::new(), String::new());
    for id in ids {
        let (status, words) = desk.whole(id, each).await?;
        shown.push(status);
        text.push_str(&words);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok((shown, text))
}

fn briefs(views: &[View]) -> String {
    let lines: Vec<String> = views.iter().map(brief).collect();
    lines.join("\n")
}

/// Of those that have not ended: nobody that has not ended either wanted it.
fn is_root(view: &View, views: &[View]) -> bool {
    let is_alive = |view: &View| view.phase != Phase::Ended;
    let parent = view.order.parent.as_deref();
    let parent = parent.and_then(|parent| views.iter().find(|other| *other.id == *parent));
    is_alive(view) && !parent.is_some_and(is_alive)
}

/// Some of the tasks, the newest first.
pub(crate) fn list(desk: &Desk, arguments: &Arguments<'_>) -> Result<(Json, Vec<View>), Refusal> {
    let state = arguments.text("state")?;
    const STATES: &[&str] = &["alive", "queued", "starting", "running", "resting", "ended"];
    if let Some(state) = state.filter(|state| !STATES.contains(state)) {
        let what = format!("one of {}", STATES.join(", "));
        return Err(must_be("state", &what, &json!(state)).into());
    }
    let name = arguments.text("name")?.unwrap_or_default();
    let count = arguments.count("count", LIST, LIST_MAX)?;
    let behind = arguments.text("cursor")?.map(place).transpose()?;
    let mut views = desk.supervisor.list();
    views.retain(|view| {
        let is_state = state.is_none_or(|state| match state {
            "alive" => view.phase != Phase::Ended,
            state => view.phase.name() == state,
        });
        let order = &view.order;
        is_state && (order.name.contains(name) || order.spec.argv.iter().any(|text| text.contains(name)))
    });
    let total = views.len();
    views.sort_by(|one, other| (other.created, &other.id).cmp(&(one.created, &one.id)));
    if let Some((created, id)) = behind {
        views.retain(|view| (view.created, &*view.id) < (created, id));
    }
    let has_more = views.len() > count;
    views.truncate(count);
    let mut shown = json!({"tasks": views.iter().map(status).collect::<Vec<_>>(), "total": total});
    if let Some(last) = views.last().filter(|_| has_more) {
        shown["next_cursor"] = json!(format!("{}-{}", last.created, last.id));
    }
    Ok((shown, views))
}

/// The place of the last task that was shown.
fn place(cursor: &str) -> Result<(i64, &str), Refusal> {
    let parts = cursor.split_once('-');
    let place = parts.and_then(|(created, id)| Some((created.parse().ok()?, id)));
    place.ok_or_else(|| Refusal::wrong("`cursor` is none").hint("give `next_cursor` of the result before"))
}
