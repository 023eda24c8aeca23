//! How a client is welcomed: `initialize` for legacy revisions, `server/discover` for the modern one.
//!
//! Version negotiation, legacy: the revision the client asks for if we know it, else our newest legacy one. On an
//! endpoint of a single server it is that server's, if that is an older one. What a newer server says is levelled.

use std::sync::Arc;

use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::object_with;
use bytes::Bytes;

use crate::bridge::OUR_INFO;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::level;
use crate::message::Message;
use crate::phase::{Caller, Reply, now, with_field};
use crate::plan::{Endpoint, Scope};
use crate::session::{Hello, Outlet, Session};
use crate::upstream::{Link, Want, whole};

mod capabilities;

/// What an endpoint of several servers offers. Each has a handler, whatever the servers behind it offer.
const GROUP_CAPABILITIES: &str = concat!(
    "{\"completions\":{},\"logging\":{},\"prompts\":{\"listChanged\":true},",
    "\"resources\":{\"listChanged\":true,\"subscribe\":true},",
    "\"tasks\":{\"cancel\":{},\"list\":{},\"requests\":{\"tools\":{\"call\":{}}}},\"tools\":{\"listChanged\":true}}"
);
/// The same for modern clients, who have no logging capability to negotiate.
const GROUP_CAPABILITIES_MODERN: &str = concat!(
    "{\"completions\":{},\"extensions\":{\"io.modelcontextprotocol/tasks\":{}},\"prompts\":{\"listChanged\":true},",
    "\"resources\":{\"listChanged\":true,\"subscribe\":true},\"tools\":{\"listChanged\":true}}"
);

/// What a client may say of itself. Real ones need a few hundred bytes.
const HELLO_BYTES_MAX: usize = 64 << 10;

/// Answers `initialize`: a new session, and the answer that tells the client of it.
pub(crate) async fn initialize(
    gateway: &Gateway,
    endpoint: &Endpoint,
    message: &Message,
    outlet: Outlet,
) -> Result<(Arc<Session>, Reply), Fault> {
    if gateway.is_draining() {
        return Err(Fault::ShuttingDown);
    }
    let session = gateway.sessions.begin(hello_of(endpoint, message)?);
    if !matches!(outlet, Outlet::None) {
        // Before a server can ask anything.
        session.with(|state| state.outlet = outlet);
    }
    let id = message.id().unwrap_or(b"null");
    let result = match &endpoint.scope {
        Scope::Group(group) => {
            let names: Vec<&str> = group.members.iter().map(|member| &*member.name).collect();
            let greeting = group_greeting(session.revision(), &names);
            level::greeting(&greeting, session.revision()).unwrap_or(greeting)
        }
        Scope::One(upstream) => {
            let link = upstream.link(&Want::of_session(&session)).await?;
            if link.revision < session.hello.revision {
                // The first and only time for this session.
                let _first = session.agreed.set(link.revision).is_ok();
            }
            let greeting = one_greeting(&link, session.revision());
            let is_newer = session.revision() < link.revision;
            let levelled = is_newer.then(|| level::greeting(&greeting, session.revision()));
            levelled.flatten().unwrap_or(greeting)
        }
    };
    Ok((session, now(id, &result)))
}

fn hello_of(endpoint: &Endpoint, message: &Message) -> Result<Hello, Fault> {
    let param = &message.envelope.param;
    let asked = message.text(param.protocol_version).ok_or_else(|| {
        Fault::InvalidParams("initialize needs params.protocolVersion, a string".to_owned())
    })?;
    let object = |span: Option<axiom_protocol::span::Span>| {
        // Copied: a session must not hold on to the whole message.
        span.map(|span| Bytes::copy_from_slice(span.of(&message.bytes)))
            .filter(|bytes| bytes.starts_with(b"{"))
    };
    let hello = Hello {
        revision: Revision::parse(&asked)
            .filter(|revision| revision.era() == Era::Legacy)
            .unwrap_or(Revision::LATEST_LEGACY),
        endpoint: endpoint.path.to_string(),
        capabilities: object(param.capabilities).ok_or_else(|| {
            Fault::InvalidParams("initialize needs params.capabilities, an object".to_owned())
        })?,
        client_info: object(param.client_info).unwrap_or_default(),
    };
    if hello.capabilities.len() + hello.client_info.len() > HELLO_BYTES_MAX {
        return Err(Fault::InvalidParams(format!(
            "capabilities and clientInfo together exceed {HELLO_BYTES_MAX} B"
        )));
    }
    Ok(hello)
}

fn group_greeting(revision: Revision, servers: &[&str]) -> Vec<u8> {
    let instructions = serde_json::Value::from(instructions(servers)).to_string();
    format!(
        "{{\"protocolVersion\":\"{}\",\"capabilities\":{GROUP_CAPABILITIES},\"serverInfo\":{OUR_INFO},\
         \"instructions\":{instructions}}}",
        revision.as_str()
    )
    .into_bytes()
}

fn instructions(servers: &[&str]) -> String {
    if servers.is_empty() {
        return "This gateway has no servers yet.".to_owned();
    }
    format!(
        "Tools and prompts are named server__name. Servers: {}.",
        servers.join(", ")
    )
}

/// A single server's own greeting, under the revision that is spoken here.
fn one_greeting(link: &Link, revision: Revision) -> Vec<u8> {
    let version = format!("\"{}\"", revision.as_str());
    match link.era() {
        Era::Legacy => with_field(&link.greeting.result, "protocolVersion", version.as_bytes()),
        Era::Modern => {
            let result = &link.greeting.result;
            let info = axiom_protocol::walk::get(result, whole(result), "_meta")
                .and_then(|meta| {
                    axiom_protocol::walk::get(result, meta, "io.modelcontextprotocol/serverInfo")
                })
                .map_or(OUR_INFO.as_bytes(), |info| info.of(result));
            let offered = capabilities::for_legacy(&link.greeting.capabilities).to_string();
            object_with(
                result,
                whole(result),
                &[
                    ("protocolVersion", version.as_bytes()),
                    ("capabilities", offered.as_bytes()),
                    ("serverInfo", info),
                ],
                &["resultType", "supportedVersions", "ttlMs", "cacheScope", "_meta"],
            )
        }
    }
}

/// Answers `server/discover`.
pub(crate) async fn discover(
    endpoint: &Endpoint,
    caller: &Caller,
    message: &Message,
) -> Result<Reply, Fault> {
    let id = message.id().unwrap_or(b"null");
    let upstream = match &endpoint.scope {
        Scope::Group(group) => {
            let names: Vec<&str> = group.members.iter().map(|member| &*member.name).collect();
            return Ok(now(id, &group_discovery(&names)));
        }
        Scope::One(upstream) => upstream,
    };
    let link = upstream.link(&caller.want()).await?;
    let result = &link.greeting.result;
    let discovery = match link.era() {
        // Its own words, but for the revisions: here it is the gateway that speaks them.
        Era::Modern => with_field(
            result,
            "supportedVersions",
            format!("[{}]", supported_versions()).as_bytes(),
        ),
        Era::Legacy => one_discovery(&link),
    };
    Ok(now(id, &discovery))
}

fn group_discovery(servers: &[&str]) -> Vec<u8> {
    let instructions = serde_json::Value::from(instructions(servers)).to_string();
    format!(
        "{{\"resultType\":\"complete\",\"supportedVersions\":[{}],\"capabilities\":{GROUP_CAPABILITIES_MODERN},\
         \"instructions\":{instructions},\"ttlMs\":0,\"cacheScope\":\"public\",\
         \"_meta\":{{\"io.modelcontextprotocol/serverInfo\":{OUR_INFO}}}}}",
        supported_versions()
    )
    .into_bytes()
}

/// What a legacy server said at `initialize`, in the words of `server/discover`.
fn one_discovery(link: &Link) -> Vec<u8> {
    let greeting = &link.greeting.result;
    let info = axiom_protocol::walk::get(greeting, whole(greeting), "serverInfo")
        .map_or(OUR_INFO.as_bytes(), |info| info.of(greeting));
    let meta = axiom_protocol::walk::get(greeting, whole(greeting), "_meta");
    let meta = meta.map_or(&b"{}"[..], |meta| meta.of(greeting));
    let meta = with_field(meta, "io.modelcontextprotocol/serverInfo", info);
    let offered = capabilities::for_modern(&link.greeting.capabilities).to_string();
    let versions = format!("[{}]", supported_versions());
    object_with(
        greeting,
        whole(greeting),
        &[
            ("resultType", b"\"complete\""),
            ("supportedVersions", versions.as_bytes()),
            ("capabilities", offered.as_bytes()),
            ("ttlMs", b"0"),
            ("cacheScope", b"\"private\""),
            ("_meta", &meta),
        ],
        &["protocolVersion", "serverInfo"],
    )
}

/// All revisions, newest first, as JSON strings.
fn supported_versions() -> String {
    let quoted: Vec<String> = Revision::ALL
        .iter()
        .rev()
        .map(|revision| format!("\"{}\"", revision.as_str()))
        .collect();
    quoted.join(",")
}
