//! What a modern request says twice: in its body and in HTTP headers.
//!
//! Whoever speaks HTTP with a client checks that both agree; whoever speaks HTTP with a server sends both. Arguments are
//! mirrored where a tool's schema says so (`x-mcp-header`), so that schema must be known before such a call is made.

use std::sync::Arc;

use axiom_protocol::headers::{HeaderLookup, Lookup, MCP_METHOD, MCP_NAME, MCP_PARAM_PREFIX, encode_value};
use axiom_protocol::method::Method;
use axiom_protocol::revision::Era;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::bridge;
use crate::catalog::{Catalog, ListKind};
use crate::fault::Fault;
use crate::message::Message;
use crate::upstream::Link;

/// What a client mirrored in headers: `Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mirrored {
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Mirrored {
    pub(crate) fn of(headers: &HeaderMap) -> Mirrored {
        // Room for the usual two, without growing.
        let mut mirrored = Vec::with_capacity(2);
        for (name, value) in headers {
            if is_mirrored(name.as_str()) {
                mirrored.push((name.clone(), value.clone()));
            }
        }
        Mirrored { headers: mirrored }
    }

    /// The same for a server that calls the thing by another name.
    fn renamed(&self, name: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = self.headers.clone();
        if let Some(name) = name
            && let Ok(value) = HeaderValue::from_str(&encode_value(name))
            && let Some((_, given)) = headers.iter_mut().find(|(header, _)| header == MCP_NAME)
        {
            *given = value;
        }
        headers
    }
}

fn is_mirrored(name: &str) -> bool {
    // All begin with this, and most headers do not.
    name.starts_with("mcp-") && (name == MCP_METHOD || name == MCP_NAME || name.starts_with(MCP_PARAM_PREFIX))
}

impl HeaderLookup for Mirrored {
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
    given: Option<&Mirrored>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let to_modern_http = link.is_http() && link.era() == Era::Modern;
    match given {
        // They agree with the body: that was checked when the request came in.
        Some(given) if to_modern_http => Ok(given.renamed(name)),
        Some(given) => check(link, message, name, given).await.map(|()| Vec::new()),
        None if to_modern_http => {
            let mut headers = bridge::modern_headers(message, name);
            headers.extend(from_arguments(link, message, name).await?);
            Ok(headers)
        }
        None => Ok(Vec::new()),
    }
}

/// What the server's tools mirror: as it was seen last, so that a call seldom waits for a list.
async fn tools_of(link: &Arc<Link>) -> Result<Arc<Catalog>, Fault> {
    match link.upstream.catalogs.kept(link, ListKind::Tools) {
        Some(catalog) => Ok(catalog),
        None => Box::pin(link.upstream.catalogs.get(link, ListKind::Tools)).await,
    }
}

/// Checks a client's headers against the arguments, where the tool mirrors any.
async fn check(
    link: &Arc<Link>,
    message: &Message,
    name: Option<&str>,
    given: &Mirrored,
) -> Result<(), Fault> {
    if message.method() != Method::ToolsCall {
        return Ok(());
    }
    let catalog = tools_of(link).await?;
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

/// The arguments' headers that a client without headers would have sent.
async fn from_arguments(
    link: &Arc<Link>,
    message: &Message,
    name: Option<&str>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    if message.method() != Method::ToolsCall {
        return Ok(Vec::new());
    }
    let catalog = tools_of(link).await?;
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
