//! What a modern request says twice: in its body and in HTTP headers.
//!
//! Whoever speaks HTTP with a client checks that both agree; whoever speaks HTTP with a server sends both. Arguments are
//! mirrored where a tool's schema says so (`x-mcp-header`), so that schema must be known before such a call is made.

use std::sync::Arc;

use axiom_protocol::headers::{HeaderLookup, Lookup, MCP_PARAM_PREFIX};
use axiom_protocol::method::Method;
use axiom_protocol::revision::Era;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bridge;
use crate::catalog::ListKind;
use crate::fault::Fault;
use crate::message::Message;
use crate::upstream::Link;

/// A client's `Mcp-Param-*` headers.
#[derive(Debug, Clone, Default)]
pub(crate) struct ParamHeaders {
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ParamHeaders {
    pub(crate) fn of(headers: &HeaderMap) -> ParamHeaders {
        let headers = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with(MCP_PARAM_PREFIX))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        ParamHeaders { headers }
    }
}

impl HeaderLookup for ParamHeaders {
    fn get(&self, name: &str) -> Lookup<'_> {
        let mut values = self
            .headers
            .iter()
            .filter(|(given, _)| given.as_str().eq_ignore_ascii_case(name));
        match (values.next(), values.next()) {
            (None, _) => Lookup::Missing,
            (Some((_, value)), None) => Lookup::One(value.as_bytes()),
            (Some(_), Some(_)) => Lookup::Many,
        }
    }
}

/// The headers for `link`. `given` is what the client sent, `None` if it has no headers to send; `name` is the server's
/// own name of what is called, where the client used another.
///
/// A server on HTTP checks what it gets, so the client's headers are passed on as they are. On any other link the check
/// is ours.
pub(crate) async fn headers(
    link: &Arc<Link>,
    message: &Message,
    name: Option<&str>,
    given: Option<&ParamHeaders>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let to_modern_http = link.is_http() && link.era() == Era::Modern;
    let mut headers = if to_modern_http {
        bridge::modern_headers(message, name)
    } else {
        Vec::new()
    };
    match given {
        Some(given) if to_modern_http => headers.extend(given.headers.iter().cloned()),
        Some(given) => check(link, message, name, given).await?,
        None if to_modern_http => headers.extend(mirrored(link, message, name).await?),
        None => {}
    }
    Ok(headers)
}

/// Checks a client's headers against the arguments, where the tool mirrors any.
async fn check(
    link: &Arc<Link>,
    message: &Message,
    name: Option<&str>,
    given: &ParamHeaders,
) -> Result<(), Fault> {
    if message.method() != Method::ToolsCall {
        return Ok(());
    }
    let catalog = link.upstream.catalogs.get(link, ListKind::Tools).await?;
    if catalog.headers.is_empty() {
        return Ok(());
    }
    let called = message.text(message.envelope.param.name).unwrap_or_default();
    match catalog.headers.get(name.unwrap_or(&called)) {
        Some(tool) => tool
            .check(given, &message.bytes, message.envelope.param.arguments)
            .map_err(|error| Fault::HeaderMismatch(error.to_string())),
        None => Ok(()),
    }
}

/// The headers that a client without headers would have sent.
async fn mirrored(
    link: &Arc<Link>,
    message: &Message,
    name: Option<&str>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    if message.method() != Method::ToolsCall {
        return Ok(Vec::new());
    }
    let catalog = link.upstream.catalogs.get(link, ListKind::Tools).await?;
    let called = message.text(message.envelope.param.name).unwrap_or_default();
    let Some(tool) = catalog.headers.get(name.unwrap_or(&called)) else {
        return Ok(Vec::new());
    };
    let emitted = tool.emit(&message.bytes, message.envelope.param.arguments);
    Ok(emitted
        .into_iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(&value).ok()?))
        })
        .collect())
}
