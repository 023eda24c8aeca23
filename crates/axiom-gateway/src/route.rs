//! Method and name to server.

use std::sync::Arc;

use axiom_protocol::method::Method;
use axiom_protocol::span::Span;

use crate::catalog::ListKind;
use crate::fault::Fault;
use crate::merge::Group;
use crate::message::Message;
use crate::names;
use crate::plan::{Endpoint, Scope};
use crate::upstream::{Upstream, Want};

/// Where a request goes.
#[derive(Debug)]
pub(crate) enum Route {
    /// To one server; `rename` replaces the name at that span by the server's own.
    Server {
        upstream: Arc<Upstream>,
        rename: Option<(Span, String)>,
    },
    /// To each of these in turn until one knows what is meant. Only for requests that change nothing.
    FirstOf(Vec<Arc<Upstream>>),
    /// Answered from the merged list.
    List(ListKind),
    /// To all, answered here.
    Everybody,
}

/// Finds the route of a request that the gateway does not answer by itself.
pub(crate) async fn find(endpoint: &Endpoint, want: &Want, message: &Message) -> Result<Route, Fault> {
    let group = match &endpoint.scope {
        Scope::One(upstream) => {
            return Ok(Route::Server {
                upstream: Arc::clone(upstream),
                rename: None,
            });
        }
        Scope::Group(group) => group,
    };
    let param = &message.envelope.param;
    match message.method() {
        Method::ToolsCall => by_name(group, want, message, ListKind::Tools, param.name).await,
        Method::PromptsGet => by_name(group, want, message, ListKind::Prompts, param.name).await,
        Method::Complete if param.reference_name.is_some() => {
            by_name(group, want, message, ListKind::Prompts, param.reference_name).await
        }
        Method::Complete => Box::pin(by_uri(group, want, message, param.reference_uri)).await,
        Method::ResourcesRead | Method::ResourcesSubscribe | Method::ResourcesUnsubscribe => {
            Box::pin(by_uri(group, want, message, param.uri)).await
        }
        Method::SetLevel => Ok(Route::Everybody),
        method => match ListKind::of(method) {
            Some(kind) => Ok(Route::List(kind)),
            None => Err(Fault::UnknownMethod {
                method: message.method_text().into_owned(),
            }),
        },
    }
}

async fn by_name(
    group: &Group,
    want: &Want,
    message: &Message,
    kind: ListKind,
    at: Option<Span>,
) -> Result<Route, Fault> {
    let (Some(at), Some(shown)) = (at, message.text(at)) else {
        return Err(Fault::InvalidParams(format!(
            "{} needs params.name, a string",
            message.method_text()
        )));
    };
    // The usual case needs no list: the name says which server it belongs to.
    if group.prefix == crate::options::Prefix::Always
        && group.view.is_none()
        && let Some((server, name)) = names::split(&shown)
        && let Some(member) = group.member(server)
    {
        return Ok(Route::Server {
            upstream: Arc::clone(member),
            rename: Some((at, name.to_owned())),
        });
    }
    let merged = Box::pin(group.list(want, kind)).await;
    match merged.entries.get(&*shown) {
        Some((member, key)) => {
            let rename = (*key != *shown).then(|| (at, key.clone()));
            Ok(Route::Server {
                upstream: Arc::clone(&group.members[*member]),
                rename,
            })
        }
        None => Err(unknown(group, kind, &shown)),
    }
}

/// Says what is wrong with a name, and what is near it.
fn unknown(group: &Group, kind: ListKind, shown: &str) -> Fault {
    let what = if kind == ListKind::Tools { "tool" } else { "prompt" };
    let down: Vec<&str> = group
        .members
        .iter()
        .filter(|member| member.last_error().is_some())
        .map(|member| &*member.name)
        .collect();
    let hint = if down.is_empty() {
        String::new()
    } else {
        format!(" (not available now: {})", down.join(", "))
    };
    Fault::InvalidParams(format!("unknown {what}: {shown}{hint}"))
}

async fn by_uri(group: &Group, want: &Want, message: &Message, at: Option<Span>) -> Result<Route, Fault> {
    let Some(uri) = message.text(at) else {
        return Err(Fault::InvalidParams(format!(
            "{} needs a uri, a string",
            message.method_text()
        )));
    };
    let resources = group.list(want, ListKind::Resources).await;
    if let Some((member, _)) = resources.entries.get(&*uri) {
        return Ok(Route::Server {
            upstream: Arc::clone(&group.members[*member]),
            rename: None,
        });
    }
    let templates = group.list(want, ListKind::Templates).await;
    // A completion names the template itself.
    if let Some((member, _)) = templates.entries.get(&*uri) {
        return Ok(Route::Server {
            upstream: Arc::clone(&group.members[*member]),
            rename: None,
        });
    }
    let mut owners: Vec<usize> = templates
        .entries
        .iter()
        .filter(|(template, _)| names::uri_matches(template, &uri))
        .map(|(_, (member, _))| *member)
        .collect();
    owners.sort_unstable();
    owners.dedup();
    match owners[..] {
        [only] => Ok(Route::Server {
            upstream: Arc::clone(&group.members[only]),
            rename: None,
        }),
        [] if group.view.is_some() => Err(Fault::InvalidParams(format!("unknown resource: {uri}"))),
        // A subscription that a server takes for a resource of another's would never hear anything.
        [] if message.method() != Method::ResourcesRead => {
            Err(Fault::InvalidParams(format!("unknown resource: {uri}")))
        }
        // A server may know resources that it lists nowhere.
        [] => Ok(Route::FirstOf(group.members.clone())),
        _ => Ok(Route::FirstOf(
            owners
                .into_iter()
                .map(|index| Arc::clone(&group.members[index]))
                .collect(),
        )),
    }
}
