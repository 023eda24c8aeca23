//! `axiom up`: listen, say where, serve, reload, drain.

mod states;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use axiom_core::drain;
use axiom_core::time::sleep;
use axiom_gateway::Gateway;
use axiom_gateway::options::Options;
use axiom_tiers::Service;
use serde_json::json;

use crate::cli::Up;
use crate::compose::{Desks, Given, base_of, bind, given, open_recording, reachable, serve, stop};
use crate::config::load::Source;
use crate::outcome::{Exit, Failed};
use crate::query;
use crate::reload::{Reload, Watch, changed};
use crate::share::share;
use crate::signals::{Asked, Signals};
use crate::terminal::Terminal;
use states::States;

pub async fn run(up: &Up, terminal: &Terminal) -> Result<Exit, Failed> {
    let given = given(&up.file, terminal)?;
    let mut signals = Signals::listen()?;
    let listener = bind(up.listen.unwrap_or(given.config.options.listen))?;
    let served = listener.local_addr()?;
    let mut options = Options {
        listen: served,
        ..given.config.options.clone()
    };
    let drain_timeout = options.limits.drain_timeout;
    let recording = open_recording(&given.config)?;
    let (log, tiers) = recording
        .map(|recording| (recording.log, recording.tiers))
        .unzip();
    let is_recording = log.is_some();
    let sharing = share(&options, log.as_ref())?;
    let (drain, draining) = drain::drain();
    let desk = Desks::open(&given.config, served, log.as_ref(), &draining)?;
    desk.plug_in(&mut options);
    let gateway = Gateway::recording(options, log);
    desk.attach(&gateway);
    if let (Some(events), true) = (&given.config.options.events, is_recording) {
        let store = given.config.tiers.store.as_ref();
        query::attach(&gateway, events, store, draining.clone());
    }
    let mut serving = pin!(serve(Arc::clone(&gateway), listener, draining));
    announce(up, &given, served, terminal)?;
    desk.try_out(terminal);
    gateway.warm_up();
    // In JSON the log tells how the servers are.
    let states = (!up.json).then(States::default);
    let parts = Parts {
        gateway: &gateway,
        tiers: tiers.clone(),
        desk: desk.clone(),
    };
    let mut upkeep = pin!(upkeep(parts, given, served, states, &mut signals, terminal));
    tokio::select! {
        served = &mut serving => return served.map(|()| Exit::Ok),
        // Dropping it stops watching the file, which the shutdown needs no more.
        () = &mut upkeep => {}
    }
    let mut again = Signals::listen()?;
    let finish = async {
        let (in_time, served) = tokio::join!(drain.finish(drain_timeout), &mut serving);
        // What tasks have said is recorded before the log is closed.
        desk.close().await;
        stop(tiers).await;
        gateway.close().await;
        if let Some(sharing) = sharing {
            sharing.finish().await;
        }
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
fn announce(up: &Up, given: &Given, served: SocketAddr, terminal: &Terminal) -> Result<(), Failed> {
    let base = base_of(reachable(served));
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
    if let Some(events) = &options.events {
        terminal.say(format_args!("  events   {}", events.dir.display()));
    }
    #[cfg(target_os = "linux")]
    if let Some(tasks) = &given.config.tasks {
        terminal.say(format_args!("  tasks    {}", tasks.dir.display()));
    }
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
    if !served.ip().is_loopback() {
        let mark = terminal.yellow("warning:");
        terminal.say(format_args!(
            "{mark} whoever can reach {served} can use these servers; clients are not asked who they are"
        ));
    }
    terminal.say("point your MCP client at");
    // The one line of data.
    terminal.data(&mcp)?;
    Ok(())
}

/// What a changed configuration is applied to.
struct Parts<'a> {
    gateway: &'a Arc<Gateway>,
    tiers: Option<Arc<Service>>,
    desk: Desks,
}

/// Runs until somebody asks to stop: tells how the servers are, and follows changes of the file.
async fn upkeep(
    parts: Parts<'_>,
    given: Given,
    served: SocketAddr,
    mut states: Option<States>,
    signals: &mut Signals,
    terminal: &Terminal,
) {
    let Given { source, config, text } = given;
    let Parts { gateway, tiers, desk } = parts;
    let mut watch = None;
    let mut reload = None;
    if let Some(path) = source.rereadable() {
        let reload = reload.insert(
            Reload::new(path.to_owned(), text, config, served)
                .moving(tiers)
                .serving(desk),
        );
        watch = start_watching(&reload.files());
        // A change between the first reading and the start of the watch went unnoticed.
        reload.run(gateway, terminal);
    }
    loop {
        let asked = tokio::select! {
            // cancel-safe: a signal that was not taken stays.
            asked = signals.next() => asked,
            // cancel-safe: see Watch::changed.
            () = changed(&mut watch) => Asked::Reload,
            // cancel-safe: a timer.
            () = pause(states.as_ref()) => {
                if let Some(states) = &mut states {
                    states.tell_changes(gateway, terminal);
                }
                continue;
            }
        };
        match (asked, &mut reload) {
            (Asked::Stop, _) => return,
            (Asked::Reload, Some(reload)) => {
                let files = reload.files();
                reload.run(gateway, terminal);
                if reload.files() != files {
                    watch = start_watching(&reload.files());
                }
                if let Some(states) = &mut states {
                    states.look_closely();
                }
            }
            (Asked::Reload, None) => terminal.say("there is no configuration file that can be read again"),
        }
    }
}

/// Until the next look at the servers; for ever if nobody wants to hear of them.
async fn pause(states: Option<&States>) {
    match states {
        Some(states) => sleep(states.pause()).await,
        None => std::future::pending().await,
    }
}

fn start_watching(files: &[PathBuf]) -> Option<Watch> {
    match Watch::start(files) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "changes of the configuration file are not noticed; SIGHUP reads it again");
            None
        }
    }
}
