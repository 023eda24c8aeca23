//! `axiom up`: listen, say where, serve, reload, drain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::drain;
use axiom_core::time::sleep;
use axiom_gateway::{Gateway, ServerStatus};
use serde_json::json;

use crate::cli::Up;
use crate::commands::servers::reason;
use crate::compose::{Given, Warn, base_of, bind, given, reachable, serve};
use crate::config::load::Source;
use crate::outcome::{Exit, Failed};
use crate::reload::{Reload, Watch, changed};
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
    gateway.warm_up();
    // In JSON the log tells how the servers are.
    let mut upkeep = pin!(upkeep(&gateway, given, !up.json, &mut signals, terminal));
    tokio::select! {
        served = &mut serving => return served.map(|()| Exit::Ok),
        // Dropping it stops watching the file, which the shutdown needs no more.
        () = &mut upkeep => {}
    }
    let mut again = Signals::listen()?;
    let finish = async {
        let (in_time, served) = tokio::join!(drain.finish(drain_timeout), &mut serving);
        gateway.close().await;
        if !in_time {
            tracing::warn!(
                drain_timeout_s = drain_timeout.as_secs(),
                "some calls did not end in time"
            );
        }
        served.map(|()| Exit::Ok)
    };
    terminal.say("finishing running calls; once more to stop at once");
    tokio::select! {
        exit = finish => exit,
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
async fn upkeep(
    gateway: &Arc<Gateway>,
    given: Given,
    tells_states: bool,
    signals: &mut Signals,
    terminal: &Terminal,
) {
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
                if tells_states {
                    states.tell_changes(gateway, terminal);
                }
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

/// What was last said of each server.
#[derive(Debug, Default)]
struct States {
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
