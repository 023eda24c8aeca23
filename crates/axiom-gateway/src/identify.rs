//! Which era and session an HTTP POST belongs to: a table of cases.
//!
//! | body                            | headers                              | case                                  |
//! |---------------------------------|--------------------------------------|---------------------------------------|
//! | `_meta` names a revision        | any                                  | modern: headers must agree with body  |
//! | `initialize`                    | any                                  | legacy: a new session                 |
//! | anything                        | `MCP-Protocol-Version: 2026-07-28`   | modern, and `_meta` is missing: -32602|
//! | anything                        | `Mcp-Session-Id`                     | legacy: that session, or 404          |
//! | anything                        | neither                              | 400                                   |
//!
//! Session ids on modern requests are ignored, as the specification asks.

use std::sync::Arc;

use axiom_protocol::envelope::Kind;
use axiom_protocol::headers::{HeaderLookup, Lookup, MCP_PROTOCOL_VERSION, MCP_SESSION_ID, check_modern};
use axiom_protocol::method::Method;
use axiom_protocol::revision::{Era, Revision};
use http::HeaderMap;

use crate::fault::Fault;
use crate::message::Message;
use crate::mirror::Mirrored;
use crate::phase::Caller;
use crate::plan::Endpoint;
use crate::session::{Session, SessionTable};

/// Whose message it is.
#[derive(Debug)]
pub(crate) enum Who {
    Caller(Caller),
    /// `initialize`: there is no session yet.
    Newcomer,
}

/// HTTP headers as the protocol crate sees them.
struct Headers<'a>(&'a HeaderMap);

impl HeaderLookup for Headers<'_> {
    fn get(&self, name: &str) -> Lookup<'_> {
        let mut values = self.0.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Lookup::Missing,
            (Some(value), None) => Lookup::One(value.as_bytes()),
            (Some(_), Some(_)) => Lookup::Many,
        }
    }
}

/// Decides the case.
pub(crate) fn identify(
    sessions: &SessionTable,
    endpoint: &Endpoint,
    headers: &HeaderMap,
    message: &Message,
) -> Result<Who, Fault> {
    if let Some(version) = message.text(message.envelope.in_meta.protocol_version) {
        return modern(headers, message, &version).map(Who::Caller);
    }
    if message.method() == Method::Initialize && message.kind() == Kind::Request {
        return Ok(Who::Newcomer);
    }
    let version = headers
        .get(MCP_PROTOCOL_VERSION)
        .and_then(|value| value.to_str().ok());
    match version.map(Revision::parse) {
        Some(Some(revision)) if revision.era() == Era::Modern => {
            if message.kind() == Kind::Notification {
                // No header rules are defined for modern notifications, and there is none we would act on.
                return Ok(Who::Caller(Caller::Modern { mirrored: None }));
            }
            Err(Fault::InvalidParams(
                "a request of revision 2026-07-28 needs params._meta with io.modelcontextprotocol/protocolVersion"
                    .to_owned(),
            ))
        }
        Some(None) => Err(Fault::UnsupportedVersion {
            requested: version.unwrap_or_default().to_owned(),
        }),
        Some(Some(_)) | None => {
            session_of(sessions, endpoint, headers).map(|session| Who::Caller(Caller::Legacy(session)))
        }
    }
}

fn modern(headers: &HeaderMap, message: &Message, version: &str) -> Result<Caller, Fault> {
    if message.kind() == Kind::Request {
        check_modern(&Headers(headers), &message.bytes, &message.envelope)
            .map_err(|error| Fault::HeaderMismatch(error.to_string()))?;
    }
    require_modern(message, version)?;
    Ok(Caller::Modern {
        mirrored: Some(Mirrored::of(headers)),
    })
}

/// What every modern message must say of itself, whatever carried it.
pub(crate) fn require_modern(message: &Message, version: &str) -> Result<(), Fault> {
    if version != Revision::MODERN.as_str() {
        return Err(Fault::UnsupportedVersion {
            requested: version.to_owned(),
        });
    }
    if message.kind() == Kind::Request && message.envelope.in_meta.client_capabilities.is_none() {
        return Err(Fault::InvalidParams(
            "params._meta needs io.modelcontextprotocol/clientCapabilities, an object".to_owned(),
        ));
    }
    Ok(())
}

/// The legacy session a request names.
pub(crate) fn session_of(
    sessions: &SessionTable,
    endpoint: &Endpoint,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Fault> {
    let token = headers.get(MCP_SESSION_ID).ok_or(Fault::SessionRequired)?;
    token
        .to_str()
        .ok()
        .and_then(|token| sessions.find(token))
        .filter(|session| session.hello.endpoint == *endpoint.path)
        .ok_or(Fault::SessionUnknown)
}
