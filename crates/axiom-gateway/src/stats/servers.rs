//! Since when each server is how it is, and why.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axiom_events::Event;
use serde::{Deserialize, Serialize};

/// Servers that are remembered: more than a gateway has.
const SERVERS_MAX: usize = 4096;

/// What the log says of the servers.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Servers {
    /// When the gateway began, nanoseconds since 1970.
    pub(super) started: Option<i64>,
    servers: BTreeMap<String, Server>,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Server {
    /// When it came up, in this life of the gateway.
    up: Option<i64>,
    /// When it went down, and was not up since; that may have been before the gateway began.
    down: Option<i64>,
    reason: Option<String>,
    restarts: u64,
}

/// Since when servers are how they are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since(pub(super) Servers);

/// What an event says of a server, or of all.
#[derive(Debug, Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    server: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(default)]
    servers_started: Vec<String>,
    #[serde(default)]
    servers_ended: Vec<String>,
}

impl Servers {
    pub(super) fn note(&mut self, event: &Event<'_>) {
        let Ok(told) = serde_json::from_slice::<Told<'_>>(event.body) else {
            return;
        };
        match event.kind {
            "gateway.server" => self.changed(event.time, &told),
            // Those that changed are others now.
            "gateway.config" => {
                for name in told.servers_ended.iter().chain(&told.servers_started) {
                    self.servers.remove(name);
                }
            }
            // Connections do not outlive a gateway. Who was down is down until the contrary is known.
            _ => {
                self.started = Some(event.time);
                self.servers.values_mut().for_each(|server| server.up = None);
            }
        }
    }

    fn changed(&mut self, time: i64, told: &Told<'_>) {
        let Some(name) = told.server.as_deref() else {
            return;
        };
        if !self.servers.contains_key(name) {
            if self.servers.len() >= SERVERS_MAX {
                return;
            }
            self.servers.insert(name.to_owned(), Server::default());
        }
        let server = self.servers.get_mut(name).expect("it was put there");
        match &*told.state {
            // One more connection to a server that is up changes nothing.
            "up" => {
                server.up.get_or_insert(time);
                server.down = None;
            }
            "restarted" => {
                server.up = Some(time);
                server.down = None;
                server.restarts += 1;
            }
            "down" => {
                server.down.get_or_insert(time);
                server.reason = told.reason.as_deref().map(str::to_owned);
            }
            _ => {}
        }
    }
}

impl Since {
    /// Milliseconds since 1970 at which a server came into the state that it is in now, if the log knows.
    pub(crate) fn of(&self, server: &str, state: &str) -> Option<i64> {
        let server = self.0.servers.get(server)?;
        let since = match state {
            "up" => server.up,
            "down" => server.down,
            _ => None,
        };
        since.map(|nanos| nanos.div_euclid(1_000_000))
    }

    /// How often a server came up again after it was down.
    pub(crate) fn restarts(&self, server: &str) -> Option<u64> {
        Some(self.0.servers.get(server)?.restarts)
    }

    /// Why a server went down last.
    pub(crate) fn last_failure(&self, server: &str) -> Option<&str> {
        self.0.servers.get(server)?.reason.as_deref()
    }
}
