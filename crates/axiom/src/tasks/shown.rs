//! How tasks are shown: as JSON for programs, in a few words for models and people.

use std::fmt::Write as _;
use std::sync::Arc;

use axiom_core::time::unix_nanos;
use axiom_runtime::supervisor::{Phase, View};
use serde_json::{Value as Json, json};

use crate::events::full;

/// Characters of a command in a list.
const COMMAND_CHARS: usize = 80;

/// All that there is to say about a task but its lines.
pub(crate) fn status(view: &View) -> Json {
    let order = &view.order;
    let mut shown = json!({
        "task": &*view.id,
        "state": view.phase.name(),
        "command": order.spec.argv,
        "folder": order.spec.folder,
        "executor": order.spec.executor.name(),
        "class": order.class.name(),
        "attempt": view.attempt,
        "created": full(view.created),
        "lines": view.lines,
        "output_bytes": view.output_bytes,
    });
    let mut also = |name: &str, value: Json| {
        shown[name] = value;
    };
    let walls = order.spec.executor.walls();
    if !walls.is_empty() {
        also("walls", json!(walls));
    }
    if !order.name.is_empty() {
        also("name", json!(order.name));
    }
    if let Some(pool) = &order.pool {
        also("pool", json!(pool));
    }
    if let Some(parent) = &order.parent {
        also("parent", json!(parent));
    }
    if !view.children.is_empty() {
        also("children", json!(names(&view.children)));
    }
    if let Some(key) = &order.key {
        also("key", json!(key));
    }
    if !order.by.who.is_empty() || !order.by.why.is_empty() {
        also("by", json!({"who": order.by.who, "why": order.by.why}));
    }
    if let Some(started) = view.started {
        also("started", json!(full(started)));
    }
    if let Some(pid) = view.pid.filter(|_| view.phase == Phase::Running) {
        also("pid", json!(pid));
    }
    if let Some(agent) = &order.agent {
        also("agent", json!(agent));
    }
    if let Some(agent) = &view.agent {
        also("agent_state", json!(format!("{:?}", agent.state).to_lowercase()));
        if let Some(question) = &agent.question {
            also("asks", json!(question));
        }
    }
    if view.is_frozen {
        also("is_frozen", json!(true));
    }
    if let Some(ending) = &view.ending {
        also("ended", json!(full(ending.ended)));
        also("code", json!(ending.code()));
        also("how", json!(ending.words()));
    }
    shown
}

/// Ids, as JSON takes them.
pub(crate) fn names(ids: &[Arc<str>]) -> Vec<&str> {
    ids.iter().map(|id| &**id).collect()
}

/// A task in one line.
pub(crate) fn brief(view: &View) -> String {
    let mut words = format!("{} {}", view.id, view.phase.name());
    if let Some(ending) = &view.ending {
        write!(words, " ({})", ending.words()).ok();
    } else if let (Some(started), Phase::Running) = (view.started, view.phase) {
        let seconds = unix_nanos().saturating_sub(started) / 1_000_000_000;
        write!(words, " for {seconds} s").ok();
    }
    if let Some(agent) = &view.agent {
        write!(words, ", {}", format!("{:?}", agent.state).to_lowercase()).ok();
        if let Some(question) = &agent.question {
            write!(words, ", it asks {question:?}").ok();
        }
    }
    if view.is_frozen {
        words.push_str(", frozen");
    }
    let order = &view.order;
    if !order.name.is_empty() {
        write!(words, " {:?}", order.name).ok();
    }
    let command: String = order.spec.argv.join(" ").chars().take(COMMAND_CHARS).collect();
    write!(words, ": {}", command.escape_debug()).ok();
    words
}

/// A task and those that it wanted.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) view: View,
    pub(crate) children: Vec<Node>,
}

impl Node {
    /// The tree below each of `roots`, of at most so many tasks in all.
    pub(crate) fn forest(views: &[View], roots: &[Arc<str>], left: &mut usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        for id in roots {
            let Some(view) = views.iter().find(|view| view.id == *id) else {
                continue;
            };
            if *left == 0 {
                break;
            }
            *left -= 1;
            nodes.push(Node {
                view: view.clone(),
                children: Node::forest(views, &view.children, left),
            });
        }
        nodes
    }

    pub(crate) fn json(&self) -> Json {
        let children: Vec<Json> = self.children.iter().map(Node::json).collect();
        let mut shown = json!({
            "task": &*self.view.id,
            "state": self.view.phase.name(),
            "children": children,
        });
        if !self.view.order.name.is_empty() {
            shown["name"] = json!(self.view.order.name);
        }
        if let Some(ending) = &self.view.ending {
            shown["how"] = json!(ending.words());
        }
        shown
    }
}

pub(crate) fn tree_text(nodes: &[Node]) -> String {
    fn write_all(nodes: &[Node], depth: usize, out: &mut String) {
        for node in nodes {
            for _ in 0..depth {
                out.push_str("  ");
            }
            out.push_str(&brief(&node.view));
            out.push('\n');
            write_all(&node.children, depth + 1, out);
        }
    }
    let mut out = String::new();
    write_all(nodes, 0, &mut out);
    out
}
