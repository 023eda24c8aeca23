//! Tells a person how the servers are, once per change.

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_gateway::{Gateway, ServerStatus};

use crate::commands::servers::reason;
use crate::terminal::Terminal;

/// What was last said of each server.
#[derive(Debug, Default)]
pub(super) struct States {
    told: BTreeMap<String, Told>,
    looks: u32,
}

#[derive(Debug, Default)]
struct Told {
    line: String,
    /// Looks at which it was up and its lists were not there yet.
    waited: u32,
}

/// How often to look at first: a person is watching.
const LOOK_SOON: Duration = Duration::from_millis(100);
/// And later: only news that is worth a line in a terminal nobody looks at.
const LOOK_LATER: Duration = Duration::from_secs(5);
/// How many first looks: 30 seconds of them.
const LOOKS_SOON: u32 = 300;
/// Some servers have no tools, and their count never comes.
const WAIT_FOR_TOOLS: u32 = 20;

impl States {
    /// How long to wait before the next look.
    pub(super) fn pause(&self) -> Duration {
        if self.looks < LOOKS_SOON {
            LOOK_SOON
        } else {
            LOOK_LATER
        }
    }

    /// Something is about to happen: the configuration changed.
    pub(super) fn look_closely(&mut self) {
        self.looks = 0;
    }

    pub(super) fn tell_changes(&mut self, gateway: &Gateway, terminal: &Terminal) {
        self.looks = self.looks.saturating_add(1);
        let servers = gateway.servers();
        self.told
            .retain(|name, _| servers.iter().any(|server| server.name == *name));
        for server in servers {
            let told = self.told.entry(server.name.clone()).or_default();
            let Some((mark, fact)) = news(&server, told, terminal) else {
                continue;
            };
            let line = format!("{mark} {}  {fact}", server.name);
            if line != told.line {
                terminal.say(format_args!("  {line}"));
                told.line = line;
            }
        }
    }
}

/// What is worth telling: that it works and what it offers, or why it does not.
fn news(server: &ServerStatus, told: &mut Told, terminal: &Terminal) -> Option<(String, String)> {
    match (server.state, server.tools, &server.error) {
        ("up", None, None) if told.waited < WAIT_FOR_TOOLS => {
            told.waited += 1;
            None
        }
        ("up", tools, None) => {
            let tools = match tools {
                None => "no tools".to_owned(),
                Some(1) => "1 tool".to_owned(),
                Some(tools) => format!("{tools} tools"),
            };
            Some((
                terminal.green("✓"),
                format!("{tools}  {}", terminal.dim(&server.revisions.join(", "))),
            ))
        }
        ("up", _, Some(error)) => Some((terminal.yellow("!"), reason(&server.name, error))),
        ("down", _, Some(error)) => Some((terminal.red("✗"), reason(&server.name, error))),
        _ => None,
    }
}
