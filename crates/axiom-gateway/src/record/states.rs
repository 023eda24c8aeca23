//! What changes beside the calls: servers come and go, sessions begin and end, the configuration is read again.

use axiom_events::Level;
use axiom_protocol::text::text;
use axiom_protocol::walk;

use super::desk::Recorder;
use super::members::Members;
use super::{NAME_BYTES_MAX, Via};
use crate::session::Session;
use crate::upstream::{Link, whole};

/// Bytes of a reason that are recorded at most.
const REASON_BYTES_MAX: usize = 2_000;

/// How it is with a connection to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServerState {
    Up,
    /// Up, and it was down before.
    Restarted,
    Down,
}

/// A session's begin or end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionState {
    Begun,
    Ended,
}

impl Recorder {
    /// A server was reached.
    pub(crate) fn server_up(&self, link: &Link, state: ServerState) {
        let server = &*link.upstream.name;
        self.state("gateway.server", Level::Info, Some(server), |members| {
            members.word("server", server);
            members.word("state", state.name());
            members.word("server_revision", link.revision.as_str());
            if let Some(pid) = link.pid() {
                members.number("pid", u64::from(pid));
            }
            members.word("connection", connection(link.private_to.is_some()));
        });
    }

    /// A server could not be reached, or a connection to it has ended by itself.
    pub(crate) fn server_down(&self, server: &str, reason: &str, is_private: bool) {
        self.state("gateway.server", Level::Error, Some(server), |members| {
            members.word("server", server);
            members.word("state", ServerState::Down.name());
            members.text("reason", &self.masked(reason), REASON_BYTES_MAX);
            members.word("connection", connection(is_private));
        });
    }

    pub(crate) fn session(&self, session: &Session, state: SessionState, via: Option<Via>) {
        self.state("gateway.session", Level::Info, None, |members| {
            let state = match state {
                SessionState::Begun => "begun",
                SessionState::Ended => "ended",
            };
            members.word("state", state);
            members.hex("session", session.fingerprint);
            members.text("endpoint", &session.hello.endpoint, NAME_BYTES_MAX);
            if let Some(via) = via {
                members.word("transport", via.name());
            }
            members.word("client_revision", session.revision().as_str());
            let said = &session.hello.client_info[..];
            for (key, name) in [("client_name", "name"), ("client_version", "version")] {
                let value = walk::get(said, whole(said), name).and_then(|at| text(said, at));
                if let Some(value) = value {
                    members.text(key, &value, NAME_BYTES_MAX);
                }
            }
        });
    }

    /// The configuration was read again. Names alone: values may be secrets.
    pub(crate) fn reloaded(&self, come: &[&str], gone: &[&str]) {
        self.state("gateway.config", Level::Info, None, |members| {
            members.word("state", "reloaded");
            members.raw("servers_started", &names(come));
            members.raw("servers_ended", &names(gone));
        });
    }

    fn state(&self, kind: &str, level: Level, server: Option<&str>, fill: impl FnOnce(&mut Members<'_>)) {
        let Some(desk) = self.desk() else { return };
        desk.put(kind, level, server, |body| {
            let mut members = Members::of(body);
            fill(&mut members);
            members.close();
        });
    }
}

impl ServerState {
    fn name(self) -> &'static str {
        match self {
            ServerState::Up => "up",
            ServerState::Restarted => "restarted",
            ServerState::Down => "down",
        }
    }
}

fn connection(is_private: bool) -> &'static str {
    if is_private { "private" } else { "shared" }
}

fn names(names: &[&str]) -> Vec<u8> {
    serde_json::to_vec(names).unwrap_or_default()
}
