//! Tasks of servers: work that outlasts the call that began it.
//!
//! A task's id is the server's own, and means nothing to another server or endpoint. So a client gets a *handle* instead:
//! the id, sealed together with whose it is. A request about a task then says by itself where it goes; nobody is asked, a
//! handle that was changed or belongs elsewhere reaches no server, and it is good after a restart and on every replica that
//! has the key. The same task has the same handle each time, because clients compare them.
//!
//! ```text
//! words      where task ids stand in messages, and a task in the words of either era
//! creation   a call that was answered with a task
//! wait       the result of a modern server's task, for a client that waits for it in one request
//! attendant  a session server's task, for a client that comes back again and again
//! progress   what a task tells of its progress after its call was answered
//! held       the tasks in one conversation with a session server
//! awaited    a session server's task that a call waits for, also if the wait is cut
//! ```

use std::sync::Arc;

use axiom_protocol::revision::Era;
use axiom_protocol::text::push_quoted;
use bytes::Bytes;

use crate::call::Declared;
use crate::fault::Fault;
use crate::message::Message;
use crate::parking::PRINCIPAL;
use crate::plan::Endpoint;
use crate::seal::{Owner, Purpose, Sealer};
use crate::session::Session;
use crate::upstream::Link;

pub(crate) use attendant::{Attendant, Payload};
pub(crate) use awaited::Awaited;
pub(crate) use creation::{Creation, Read, Then};
pub(crate) use held::Tasks;
pub(crate) use progress::Tokens;

mod attendant;
mod awaited;
mod creation;
mod held;
mod progress;
pub(crate) mod wait;
pub(crate) mod words;

/// The extension by which clients and servers of 2026-07-28 agree on tasks.
pub(crate) const EXTENSION: &str = "io.modelcontextprotocol/tasks";
/// What a request that has to do with tasks must declare, as `requiredCapabilities`.
pub(crate) const REQUIRED: &str = "{\"extensions\":{\"io.modelcontextprotocol/tasks\":{}}}";

/// A task, as its handle names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub server: String,
    /// The server's own id.
    pub id: String,
    pub home: Home,
}

/// Where a task lives at its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    /// On whatever connection its client has to the server.
    Anywhere,
    /// In one conversation with a session server, shared by modern clients that declare the same.
    Link { number: u64, declared: Declared },
}

/// Gives the tasks of one server their handles at one endpoint.
#[derive(Debug, Clone)]
pub(crate) struct Naming {
    sealer: Arc<Sealer>,
    endpoint: Arc<str>,
    server: Arc<str>,
    home: Home,
    /// Whether the tasks are lost with this process, so that other replicas have to ask it.
    is_local: bool,
    /// The task that the client asks about, and the handle it has for it: it need not learn another one.
    known: Option<(String, Bytes)>,
}

impl Naming {
    pub(crate) fn new(link: &Link, endpoint: &str, home: Home) -> Naming {
        Naming {
            sealer: Arc::clone(&link.upstream.sealer),
            endpoint: endpoint.into(),
            server: Arc::clone(&link.upstream.name),
            home,
            // A modern server on HTTP is the same one for all replicas.
            is_local: !(link.is_http() && link.era() == Era::Modern),
            known: None,
        }
    }

    pub(crate) fn of_session(link: &Link, session: &Session) -> Naming {
        Naming::new(link, &session.hello.endpoint, Home::Anywhere)
    }

    /// The same for the answer to a request about this task.
    pub(crate) fn knowing(mut self, named: &Named, message: &Message) -> Naming {
        let token = message.envelope.param.task_id.map(|at| message.slice(at));
        self.known = token.map(|token| (named.id.clone(), token));
        self
    }

    /// The task that the client asks about; empty if it asks about none.
    pub(crate) fn asked_for(&self) -> &str {
        self.known.as_ref().map_or("", |(id, _)| id)
    }

    /// The handle of the server's task `id`.
    pub(crate) fn handle(&self, id: &str) -> String {
        let mut plain = Vec::with_capacity(64 + id.len());
        match self.home {
            Home::Anywhere => plain.push(ANYWHERE),
            Home::Link { number, declared } => {
                plain.push(LINK);
                plain.extend_from_slice(&number.to_be_bytes());
                plain.push(declared.bits());
            }
        }
        for part in [PRINCIPAL, self.endpoint.as_bytes(), self.server.as_bytes()] {
            // Paths and names of servers are far shorter; one that is not would not open.
            let len = u16::try_from(part.len()).unwrap_or(u16::MAX);
            plain.extend_from_slice(&len.to_be_bytes());
            plain.extend_from_slice(part);
        }
        plain.extend_from_slice(id.as_bytes());
        self.sealer.seal_alike(Purpose::Task, self.is_local, &plain)
    }

    /// The handle as a JSON string.
    pub(crate) fn token(&self, id: &str) -> Bytes {
        if let Some((known, token)) = &self.known
            && known == id
        {
            return token.clone();
        }
        let mut token = Vec::new();
        push_quoted(&mut token, &self.handle(id));
        Bytes::from(token)
    }
}

const ANYWHERE: u8 = 0;
const LINK: u8 = 1;

/// The task that `handle` names at this endpoint. Anything else is refused before a server hears of it.
pub(crate) fn open(sealer: &Sealer, endpoint: &str, handle: &str) -> Result<Named, Fault> {
    let refused = |why: &str| Fault::InvalidParams(format!("the task id {why}"));
    let plain = sealer
        .open(Purpose::Task, handle)
        .ok_or_else(|| refused("is not one of this gateway's, or was changed"))?;
    let (principal, at, named) = decode(&plain).ok_or_else(|| refused("is not one of this gateway's"))?;
    if principal != PRINCIPAL || at != endpoint.as_bytes() {
        return Err(refused("belongs to another endpoint"));
    }
    Ok(named)
}

/// The replica that alone has the task, where that is another one.
pub(crate) fn owner(sealer: &Sealer, message: &Message) -> Option<Arc<str>> {
    let handle = message.text(message.envelope.param.task_id)?;
    match sealer.owner(Purpose::Task, &handle) {
        Owner::Replica(owner) => Some(owner),
        Owner::Here | Owner::Unknown => None,
    }
}

/// What it means for a task that the replica is gone which had it.
pub(crate) fn lost_with_replica(
    sealer: &Sealer,
    endpoint: &Endpoint,
    message: &Message,
    fault: Fault,
) -> Fault {
    let is_gone = matches!(fault, Fault::StateLost | Fault::SessionUnknown);
    if !is_gone || !message.method().is_about_a_task() {
        return fault;
    }
    let handle = message.text(message.envelope.param.task_id).unwrap_or_default();
    match open(sealer, &endpoint.path, &handle) {
        Ok(Named { server, .. }) => Fault::TaskLost { server },
        Err(_) => fault,
    }
}

/// A request that has to do with tasks, of a client that does not declare that it knows them.
pub(crate) fn not_declared(message: &Message) -> Fault {
    Fault::TasksNotDeclared {
        method: message.method_text().into_owned(),
    }
}

/// Principal, endpoint and task.
fn decode(plain: &[u8]) -> Option<(&[u8], &[u8], Named)> {
    let (tag, rest) = plain.split_first()?;
    let (home, rest) = match *tag {
        ANYWHERE => (Home::Anywhere, rest),
        LINK => {
            let (number, rest) = rest.split_first_chunk::<8>()?;
            let (bits, rest) = rest.split_first()?;
            let home = Home::Link {
                number: u64::from_be_bytes(*number),
                declared: Declared::from_bits(*bits),
            };
            (home, rest)
        }
        _ => return None,
    };
    let (principal, rest) = part(rest)?;
    let (endpoint, rest) = part(rest)?;
    let (server, id) = part(rest)?;
    let named = Named {
        server: std::str::from_utf8(server).ok()?.to_owned(),
        id: std::str::from_utf8(id).ok()?.to_owned(),
        home,
    };
    Some((principal, endpoint, named))
}

/// One part with its length before it, and the rest.
fn part(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_says_whose_task_it_is_and_is_good_at_its_endpoint() {
        let sealer = Arc::new(Sealer::default());
        let declared = Declared {
            form: true,
            url: false,
            sampling: true,
            roots: false,
        };
        for home in [Home::Anywhere, Home::Link { number: 7, declared }] {
            let naming = Naming {
                sealer: Arc::clone(&sealer),
                endpoint: "/mcp".into(),
                server: "one".into(),
                home,
                is_local: true,
                known: None,
            };
            for id in ["t", "", "\u{e9}\"\\ \u{1f980}"] {
                let handle = naming.handle(id);
                assert_eq!(handle, naming.handle(id), "clients compare handles");
                let named = open(&sealer, "/mcp", &handle).unwrap();
                assert_eq!((&*named.server, &*named.id, named.home), ("one", id, home));
                for (path, handle) in [
                    ("/v/mine/mcp", handle.clone()),
                    ("/mcp", format!("{handle}A")),
                    ("/mcp", id.to_owned()),
                    ("/mcp", sealer.seal(Purpose::Parked, b"\0\0\0\0\0\0\0t")),
                    ("/mcp", sealer.seal(Purpose::Task, b"\x02")),
                    ("/mcp", sealer.seal(Purpose::Task, b"")),
                ] {
                    let fault = open(&sealer, path, &handle).unwrap_err();
                    assert_eq!(fault.code(), -32602, "{fault}");
                }
            }
        }
    }
}
