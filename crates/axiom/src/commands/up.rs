//! `axiom up`: listen, say where, serve, reload, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::drain;
use axiom_core::time::sleep;
use axiom_gateway::Gateway;
use serde_json::{Value as Json, json};

use crate::cli::Up;
use crate::compose::{Given, Warn, base_of, bind, given, reachable, serve};
use crate::config::load::Source;
use crate::outcome::{Exit, Failed};
use crate::reload::{Reload, Watch};
use crate::signals::{Asked, Signals};
use crate::terminal::Terminal;

pub async fn run(up: &Up, terminal: &Terminal) -> Result<Exit, Failed> {
    let mut given = given(&up.file, Warn::Aloud, terminal)?;
    let options = &mut given.config.options;
    options.listen = up.listen.unwrap_or(options.listen);
    let mut signals = Signals::listen()?;
    let listener = bind(options.listen)?;
    options.listen = listener.local_addr()?;
    let drain_timeout = options.limits.drain_timeout;
    let gateway = Gateway::new(options.clone());
    let (drain, draining) = drain::drain();
    let mut serving = pin!(serve(Arc::clone(&gateway), listener, draining));
    announce(up, &given, terminal)?;
    let mut upkeep = pin!(upkeep(&gateway, given, &mut signals, terminal));
    tokio::select! {
        served = &mut serving => return served.map(|()| Exit::Ok),
        // Dropping it stops watching the file, which the shutdown needs no more.
        () = &mut upkeep => {}
    }
    let mut again = Signals::listen()?;
    terminal.say("finishing running calls; once more to stop at once");
    tokio::select! {
        (in_time, served) = async { tokio::join!(drain.finish(drain_timeout), &mut serving) } => {
            served?;
            if !in_time {
                tracing::warn!(drain_timeout_s = drain_timeout.as_secs(), "some calls did not end in time");
            }
            Ok(Exit::Ok)
        }
        // cancel-safe: the process ends here.
        () = again.interrupted() => Ok(Exit::Interrupted),
    }
}

/// Data for programs or for a script, talk for a person.
fn announce(up: &Up, given: &Given, terminal: &Terminal) -> Result<(), Failed> {
    let base = base_of(reachable(given.config.options.listen));
    let mcp = format!("{base}/mcp");
    if up.json {
        terminal.data(json!({"event": "listening", "mcp": mcp, "admin": format!("{base}/")}))?;
        return Ok(());
    }
    let options = &given.config.options;
    let count = options.servers.len();
    let from = match &given.source {
        Source::File(path) => format!(
            "{} ({count} {})",
            path.display(),
            if count == 1 { "server" } else { "servers" }
        ),
        Source::Demo => "no configuration file here: serving the built-in demo".to_owned(),
    };
    terminal.say(format_args!(
        "{} {}",
        terminal.bold("axiom"),
        env!("CARGO_PKG_VERSION")
    ));
    terminal.say(format_args!("  config   {from}"));
    for view in options.views.keys() {
        terminal.say(format_args!("  view     {base}/v/{view}/mcp"));
    }
    match &given.source {
        Source::Demo => {
            terminal.say("  try      axiom call demo.echo text=hello");
            terminal.say("  next     axiom import FILE, with the configuration of your MCP client");
        }
        Source::File(_) => {
            terminal.say("  try      axiom servers, axiom tools, axiom call SERVER.TOOL key=value")
        }
    }
    terminal.say("point your MCP client at");
    // The one line of data.
    terminal.data(&mcp)?;
    Ok(())
}

/// Runs until somebody asks to stop: tells how the servers are, and follows changes of the file.
async fn upkeep(gateway: &Gateway, given: Given, signals: &mut Signals, terminal: &Terminal) {
    let Given { source, config, text } = given;
    let listen = config.options.listen;
    let mut watch = None;
    let mut reload = None;
    if let Source::File(path) = source {
        watch = start_watching(&path, listen);
        let reload = reload.insert(Reload::new(path, text, config.options));
        // A change between the first reading and the start of the watch went unnoticed.
        reload.run(gateway, terminal);
    }
    let mut states = States::default();
    loop {
        let asked = tokio::select! {
            // cancel-safe: a signal that was not taken stays.
            asked = signals.next() => asked,
            // cancel-safe: see Watch::changed.
            () = changed(&mut watch) => Asked::Reload,
            // cancel-safe: a timer.
            () = sleep(states.pause()) => {
                states.tell_changes(gateway, terminal);
                continue;
            }
        };
        match (asked, &mut reload) {
            (Asked::Stop, _) => return,
            (Asked::Reload, Some(reload)) => {
                reload.run(gateway, terminal);
                states.look_closely();
            }
            (Asked::Reload, None) => terminal.say("there is no configuration file to read again"),
        }
    }
}

fn start_watching(path: &std::path::Path, listen: SocketAddr) -> Option<Watch> {
    match Watch::start(path) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%listen, %error, "changes of the configuration file are not noticed; SIGHUP reads it again");
            None
        }
    }
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// What was last said of each server.
#[derive(Debug, Default)]
struct States {
    told: BTreeMap<String, (String, String)>,
    looks: u32,
}

/// How often to look at first: a person is watching.
const LOOK_SOON: Duration = Duration::from_millis(100);
/// And later: only news that is worth a line in a terminal nobody looks at.
const LOOK_LATER: Duration = Duration::from_secs(5);
/// How many first looks: 30 seconds of them.
const LOOKS_SOON: u32 = 300;

impl States {
    fn pause(&self) -> Duration {
        if self.looks < LOOKS_SOON {
            LOOK_SOON
        } else {
            LOOK_LATER
        }
    }

    fn look_closely(&mut self) {
        self.looks = 0;
    }

    fn tell_changes(&mut self, gateway: &Gateway, terminal: &Terminal) {
        self.looks = self.looks.saturating_add(1);
        for status in gateway.servers() {
            // Through its JSON, the form in which the gateway promises its fields.
            let Ok(status) = serde_json::to_value(&status) else {
                continue;
            };
            let (name, state, fact) = summary(&status);
            let now = (state.clone(), fact.clone());
            if self.told.get(&name) != Some(&now) {
                let is_first_and_idle = !self.told.contains_key(&name) && fact.is_empty();
                if !is_first_and_idle {
                    terminal.say(format_args!(
                        "  {} {name}  {state}  {fact}",
                        mark(&status, terminal)
                    ));
                }
                self.told.insert(name, now);
            }
        }
    }
}

fn mark(status: &Json, terminal: &Terminal) -> String {
    if status.get("error").is_some_and(|error| !error.is_null()) {
        terminal.red("✗")
    } else {
        terminal.green("✓")
    }
}

/// Name, state, and the error or what it offers.
fn summary(status: &Json) -> (String, String, String) {
    let text = |key: &str| {
        status
            .get(key)
            .and_then(Json::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let fact = match (
        status.get("error").and_then(Json::as_str),
        status.get("tools").and_then(Json::as_u64),
    ) {
        (Some(error), _) => error.to_owned(),
        (None, Some(1)) => "1 tool".to_owned(),
        (None, Some(tools)) => format!("{tools} tools"),
        (None, None) => String::new(),
    };
    (text("name"), text("state"), fact)
}
