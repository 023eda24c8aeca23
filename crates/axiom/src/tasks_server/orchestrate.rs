//! The tool `orchestrate`: coding agents under names that whoever directs them has chosen. An instance is a task with that name.

use std::sync::Arc;

use axiom_runtime::supervisor::{Phase, Steer, View};
use serde_json::{Map, Value as Json, json};

use super::calls::{Asked, Given, STATUS_LINES};
use crate::builtin::arguments::{Arguments, must_be};
use crate::tasks::{LINES_MAX, ORDER_ARGUMENTS, Refusal, brief, status};

pub(super) const ACTIONS: [&str; 7] = [
    "spawn",
    "prompt",
    "steer",
    "answer",
    "get_output",
    "status",
    "cleanup",
];

impl Asked<'_> {
    pub(super) async fn orchestrate(&self) -> Result<Given, Refusal> {
        let known = [
            "action", "instance", "agent", "prompt", "answer", "folder", "last", "why",
        ];
        let arguments = self.arguments(&known)?;
        let action = arguments.text("action")?.unwrap_or_default();
        if !ACTIONS.contains(&action) {
            let what = format!("one of {}", ACTIONS.join(", "));
            return Err(must_be("action", &what, &json!(action)).into());
        }
        let Some(name) = arguments.text("instance")? else {
            return match action {
                "status" => Ok(briefly(&self.instances())),
                _ => Err(Refusal::wrong("`instance` is missing").hint("give the instance's name")),
            };
        };
        if action == "spawn" {
            return self.start(name, &arguments);
        }
        let id = self.instance(name)?;
        let by = self.by(&arguments)?;
        let prompt = || match arguments.text("prompt")? {
            Some(prompt) if !prompt.trim().is_empty() => Ok(prompt.to_owned()),
            _ => Err(Refusal::wrong("`prompt` is missing").hint("say what the agent is to do")),
        };
        let steer = match action {
            "prompt" => Some(Steer::Say(prompt()?)),
            "steer" => Some(Steer::Redirect(prompt()?)),
            "answer" if arguments.get("answer").is_none() => {
                return Err(Refusal::wrong("`answer` is missing").hint("true is yes, false is no"));
            }
            "answer" => Some(Steer::Answer(arguments.flag("answer", false)?)),
            _ => None,
        };
        if let Some(steer) = steer {
            self.desk.steer(&id, steer, &by).await?;
            return Ok(briefly(&[self.desk.view(&id)?]));
        }
        if action == "cleanup" {
            return self.clean_up(&id, &by).await;
        }
        let last = arguments.count("last", STATUS_LINES, LINES_MAX)?;
        let (status, text) = self.desk.whole(&id, last).await?;
        Ok(Given {
            structured: json!({"instances": [status]}),
            text,
            is_error: false,
        })
    }

    fn start(&self, name: &str, arguments: &Arguments<'_>) -> Result<Given, Refusal> {
        if self.instance(name).is_ok_and(|id| self.is_alive(&id)) {
            return Err(Refusal::wrong(format!("there is an instance {name:?} already"))
                .hint("give it a prompt, clean it up, or choose another name"));
        }
        let mut order = Map::new();
        for key in ["agent", "prompt", "folder", "why"] {
            if let Some(value) = arguments.get(key) {
                order.insert(key.to_owned(), value.clone());
            }
        }
        if !order.contains_key("agent") {
            return Err(Refusal::wrong("`agent` is missing")
                .hint("name a coding agent of [agents] in the gateway's configuration"));
        }
        order.insert("name".to_owned(), json!(name));
        let order = json!({"arguments": Json::Object(order)});
        let ids = self
            .desk
            .spawn(&Arguments::of(&order, ORDER_ARGUMENTS)?, &self.who)?;
        let views = ids
            .iter()
            .map(|id| self.desk.view(id))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(briefly(&views))
    }

    /// Ends it, if it has not ended, and forgets it.
    async fn clean_up(&self, id: &Arc<str>, by: &axiom_runtime::order::Who) -> Result<Given, Refusal> {
        self.desk.kill(std::slice::from_ref(id), by).await?;
        let view = self.desk.view(id)?;
        if view.phase != Phase::Ended {
            return Err(Refusal::wrong(format!("{id} has not ended yet")).hint("try again in a moment"));
        }
        self.desk.supervisor.remove(id)?;
        let text = format!("{} is cleaned up", brief(&view));
        Ok(Given {
            structured: json!({"instances": [status(&view)]}),
            text,
            is_error: false,
        })
    }

    fn is_alive(&self, id: &str) -> bool {
        self.desk.view(id).is_ok_and(|view| view.phase != Phase::Ended)
    }

    /// All of them, the oldest first.
    fn instances(&self) -> Vec<View> {
        let mut views = self.desk.supervisor.list();
        views.retain(|view| view.order.agent.is_some() && !view.order.name.is_empty());
        views
    }

    /// The newest of this name.
    fn instance(&self, name: &str) -> Result<Arc<str>, Refusal> {
        let all = self.instances();
        let newest = all.iter().rev().find(|view| view.order.name == name);
        newest.map(|view| Arc::clone(&view.id)).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|view| view.order.name.as_str()).collect();
            let hint = match names[..] {
                [] => "there are none: `action` spawn starts one".to_owned(),
                _ => format!("there are {}", names.join(", ")),
            };
            Refusal::wrong(format!("there is no instance {name:?}")).hint(hint)
        })
    }
}

fn briefly(views: &[View]) -> Given {
    let lines: Vec<String> = views.iter().map(brief).collect();
    Given {
        structured: json!({"instances": views.iter().map(status).collect::<Vec<_>>()}),
        text: match lines.is_empty() {
            true => "there are none".to_owned(),
            false => lines.join("\n"),
        },
        is_error: false,
    }
}
