//! What changes beside the calls: servers come and go, sessions begin and end, the configuration is read again.

use axiom_events::Level;
use axiom_protocol::text::text;
use axiom_protocol::walk;

use super::desk::{Draft, Recorder};
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
        self.state("gateway.server", Level::Info, |draft| {
            draft.server(&link.upstream.name);
            draft.word("state", state.name());
            draft.word("server_revision", link.revision.as_str());
            if let Some(pid) = link.pid() {
                draft.number("pid", u64::from(pid));
            }
            draft.word("connection", connection(link.private_to.is_some()));
        });
    }

    /// A server could not be reached, or a connection to it has ended by itself.
    pub(crate) fn server_down(&self, server: &str, reason: &str, is_private: bool) {
        self.state("gateway.server", Level::Error, |draft| {
            draft.server(server);
            draft.word("state", ServerState::Down.name());
            draft.text("reason", &self.masked(reason), REASON_BYTES_MAX);
            draft.word("connection", connection(is_private));
        });
    }

    pub(crate) fn session(&self, session: &Session, state: SessionState, via: Option<Via>) {
        self.state("gateway.session", Level::Info, |draft| {
            let state = match state {
                SessionState::Begun => "begun",
                SessionState::Ended => "ended",
            };
            draft.word("state", state);
            draft.hex("session", session.fingerprint);
            draft.text("endpoint", &session.hello.endpoint, NAME_BYTES_MAX);
            if let Some(via) = via {
                draft.word("transport", via.name());
            }
            draft.word("client_revision", session.revision().as_str());
            let said = &session.hello.client_info[..];
            for (key, name) in [("client_name", "name"), ("client_version", "version")] {
                let value = walk::get(said, whole(said), name).and_then(|at| text(said, at));
                if let Some(value) = value {
                    draft.text(key, &value, NAME_BYTES_MAX);
                }
            }
        });
    }

    /// The configuration was read again. Names alone: values may be secrets.
    pub(crate) fn reloaded(&self, come: &[&str], gone: &[&str]) {
        self.state("gateway.config", Level::Info, |draft| {
            draft.word("state", "reloaded");
            draft.raw("servers_started", &names(come));
            draft.raw("servers_ended", &names(gone));
        });
    }

    fn state(&self, kind: &str, level: Level, fill: impl FnOnce(&mut Draft)) {
        let Some(desk) = self.desk() else { return };
        let mut draft = Draft::new();
        fill(&mut draft);
        desk.put_state(kind, level, draft);
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
