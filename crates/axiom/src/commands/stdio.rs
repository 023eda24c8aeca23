//! `axiom stdio`: the same servers on stdin and stdout, as the child of a desktop client.

use std::pin::pin;
use std::sync::Arc;

use axiom_core::drain;
use axiom_gateway::{Gateway, UnknownEndpoint, serve_pipe};
use axiom_transport::stdio::own_stdio;

use crate::cli::Stdio;
use crate::compose::{Given, Recording, given, open_recording, stop};
use crate::outcome::{Exit, Failed};
use crate::reload::{Reload, Watch, changed};
use crate::signals::{Asked, Signals};
use crate::terminal::Terminal;

pub async fn run(stdio: &Stdio, terminal: &Terminal) -> Result<Exit, Failed> {
    let Given { source, config, text } = given(&stdio.file, terminal)?;
    let endpoint = endpoint(stdio, &config.options)?;
    let mut signals = Signals::listen()?;
    let limits = config.options.limits.clone();
    // Every desktop client starts one of these, and all but the first find the log taken. None of them stands still for it.
    let recording = open_recording(&config).unwrap_or_else(|failed| {
        tracing::warn!(reason = failed.message, "events of this process are not recorded");
        None
    });
    let (log, tiers) = recording.map(|Recording { log, tiers }| (log, tiers)).unzip();
    let gateway = Gateway::recording(config.options.clone(), log);
    let (drain, draining) = drain::drain();
    let pipe = own_stdio(limits.message_bytes_max);
    let mut serving = pin!(serve_pipe(Arc::clone(&gateway), &endpoint, pipe, draining));
    // Nobody listens.
    let served = config.options.listen;
    let mut watch = None;
    let mut reload = None;
    if let Some(path) = source.rereadable() {
        let reload = reload.insert(Reload::new(path.to_owned(), text, config, served).moving(tiers.clone()));
        watch = Watch::start(&reload.files()).ok();
        // A change between the first reading and the start of the watch went unnoticed.
        reload.run(&gateway, terminal);
    }
    loop {
        let asked = tokio::select! {
            // The client closed its side: the orderly end.
            served = &mut serving => {
                stop(tiers).await;
                gateway.close().await;
                return served.map(|()| Exit::Ok).map_err(unknown);
            }
            // cancel-safe: a signal that was not taken stays.
            asked = signals.next() => asked,
            // cancel-safe: see Watch::changed.
            () = changed(&mut watch) => Asked::Reload,
        };
        match (asked, &mut reload) {
            (Asked::Stop, _) => break,
            (Asked::Reload, Some(reload)) => reload.run(&gateway, terminal),
            (Asked::Reload, None) => {}
        }
    }
    let finish = async {
        let (in_time, served) = tokio::join!(drain.finish(limits.drain_timeout), &mut serving);
        stop(tiers).await;
        gateway.close().await;
        if !in_time {
            tracing::warn!("some calls did not end in time");
        }
        served.map(|()| Exit::Ok).map_err(unknown)
    };
    tokio::select! {
        exit = finish => exit,
        // cancel-safe: the process ends here.
        () = signals.interrupted() => Ok(Exit::Interrupted),
    }
}

/// The endpoint was there a moment ago: a reload took it away.
fn unknown(error: UnknownEndpoint) -> Failed {
    Failed::new(Exit::NotFound, error.to_string())
}

/// The path of the endpoint that is served.
fn endpoint(stdio: &Stdio, options: &axiom_gateway::options::Options) -> Result<String, Failed> {
    let missing = |what: &str, name: &str| {
        Err(Failed::new(
            Exit::NotFound,
            format!("there is no {what} `{name}` in the configuration"),
        ))
    };
    match (&stdio.server, &stdio.view) {
        (Some(name), _) if !options.servers.contains_key(name) => missing("server", name),
        (Some(name), _) => Ok(format!("/s/{name}/mcp")),
        (None, Some(name)) if !options.views.contains_key(name) => missing("view", name),
        (None, Some(name)) => Ok(format!("/v/{name}/mcp")),
        (None, None) => Ok("/mcp".to_owned()),
    }
}
