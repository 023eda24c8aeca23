//! A client that shows the bytes: the same requests over stdio to a server itself, or over HTTP through the gateway.

use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::http::{Answer, Request};

pub const LATEST_LEGACY: &str = "2025-11-25";
pub const MODERN: &str = "2026-07-28";

/// Something that answers requests.
pub trait Peer {
    /// Sends a request whose params are this text, and waits for its answer.
    fn ask(&mut self, method: &str, params: &str) -> Reply;

    /// `tools/call`
    fn call(&mut self, tool: &str, arguments: &Value) -> Reply {
        self.ask(
            "tools/call",
            &json!({ "name": tool, "arguments": arguments }).to_string(),
        )
    }
}

/// The answer to one request, byte for byte.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// The text of `result` exactly as it was received.
    pub result: Option<String>,
    pub error: Option<Value>,
    /// The messages that came before the answer.
    pub before: Vec<Value>,
    /// The status, over HTTP.
    pub status: u16,
}

impl Reply {
    /// The result's bytes; panics on an error.
    pub fn bytes(&self) -> &str {
        self.result
            .as_deref()
            .unwrap_or_else(|| panic!("no result but status {} {:?}", self.status, self.error))
    }

    pub fn value(&self) -> Value {
        serde_json::from_str(self.bytes()).expect("a result is JSON")
    }

    /// The text of the first content block of a tool's result.
    pub fn text(&self) -> String {
        let value = self.value();
        value["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("no text in {value}"))
            .to_owned()
    }

    pub fn code(&self) -> i64 {
        let error = self
            .error
            .as_ref()
            .unwrap_or_else(|| panic!("no error but {:?}", self.result));
        error["code"].as_i64().expect("an error has a code")
    }

    pub fn message(&self) -> String {
        let error = self
            .error
            .as_ref()
            .unwrap_or_else(|| panic!("no error but {:?}", self.result));
        error["message"]
            .as_str()
            .expect("an error has a message")
            .to_owned()
    }
}

/// A JSON-RPC message, with its result untouched.
#[derive(Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(borrow)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) method: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
}

/// Takes messages until the answer to `id` is there. Those before it are kept.
pub(crate) fn collect(id: &str, mut next: impl FnMut() -> Option<String>) -> Option<Reply> {
    let mut reply = Reply::default();
    loop {
        let text = next()?;
        let message: Message<'_> =
            serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"));
        // An error about an unreadable request has the id null.
        let ours = message
            .id
            .is_none_or(|found| found.get() == id || found.get() == "null");
        if message.method.is_some() || !ours {
            reply.before.push(serde_json::from_str(&text).unwrap());
            continue;
        }
        reply.result = message.result.map(|result| result.get().to_owned());
        reply.error = message
            .error
            .map(|error| serde_json::from_str(error.get()).unwrap());
        return Some(reply);
    }
}

/// A session of 2025-03-26 to 2025-11-25 over Streamable HTTP.
pub struct Session {
    address: SocketAddr,
    path: String,
    /// What to call the server in the Host header, if not by its address.
    host: Option<String>,
    version: String,
    pub id: Option<String>,
    next: u64,
    pub initialized: Value,
}

impl Session {
    pub fn open(url: &str) -> Self {
        Session::open_as(url, LATEST_LEGACY, &json!({}))
    }

    pub fn open_as(url: &str, version: &str, capabilities: &Value) -> Self {
        Session::open_by_name(url, None, version, capabilities)
    }

    /// The same with another name of the server in the Host header of every request.
    pub fn open_by_name(url: &str, host: Option<&str>, version: &str, capabilities: &Value) -> Self {
        let (address, path) = split(url);
        let mut session = Session {
            address,
            path,
            host: host.map(str::to_owned),
            version: version.to_owned(),
            id: None,
            next: 0,
            initialized: Value::Null,
        };
        let body = message("0", "initialize", &initialize_params(version, capabilities));
        let mut request = Request::post(&session.path, body);
        if let Some(host) = host {
            request = request.header("host", host);
        }
        let mut answer = request.send(address);
        session.id = answer.header("mcp-session-id").map(str::to_owned);
        let reply = finish("0", &mut answer);
        session.initialized = reply.value();
        let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        let answer = session.request(initialized).send(address);
        assert_eq!(answer.status, 202, "a notification is accepted");
        session
    }

    /// The same session at another gateway.
    pub fn elsewhere(&self, url: &str) -> Self {
        let (address, path) = split(url);
        Session {
            address,
            path,
            host: None,
            version: self.version.clone(),
            id: self.id.clone(),
            // Ids are unique in a session, wherever its requests go.
            next: self.next + 100,
            initialized: self.initialized.clone(),
        }
    }

    /// A request of this session with this body, for tests that change it before they send it.
    pub fn request(&self, body: impl Into<Vec<u8>>) -> Request {
        let mut request = Request::post(&self.path, body).header("mcp-protocol-version", &self.version);
        if let Some(host) = &self.host {
            request = request.header("host", host);
        }
        if let Some(id) = &self.id {
            request = request.header("mcp-session-id", id);
        }
        request
    }

    pub fn send(&self, request: &Request) -> Answer {
        request.send(self.address)
    }

    /// Sends a request under an id that the test chose.
    pub fn ask_as(&self, id: &str, method: &str, params: &str) -> Reply {
        finish(
            id,
            &mut self.request(message(id, method, params)).send(self.address),
        )
    }
}

impl Peer for Session {
    fn ask(&mut self, method: &str, params: &str) -> Reply {
        self.next += 1;
        self.ask_as(&self.next.to_string(), method, params)
    }
}

/// A client of 2026-07-28: no session, everything in each request.
pub struct Stateless {
    address: SocketAddr,
    path: String,
    next: u64,
    pub capabilities: Value,
}

impl Stateless {
    pub fn new(url: &str) -> Self {
        let (address, path) = split(url);
        Stateless {
            address,
            path,
            next: 0,
            capabilities: json!({}),
        }
    }

    /// A correct request, for tests that change it before they send it.
    pub fn request(&self, id: &str, method: &str, params: &Value) -> Request {
        let mut params = params.clone();
        add_meta(&mut params, &self.capabilities);
        let mut request = Request::post(&self.path, message(id, method, &params.to_string()))
            .header("mcp-protocol-version", MODERN)
            .header("mcp-method", method);
        let named = ["name", "uri", "taskId"]
            .iter()
            .find_map(|field| params[field].as_str());
        if let Some(name) = named {
            request = request.header("mcp-name", name);
        }
        request
    }

    pub fn send(&self, request: &Request) -> Answer {
        request.send(self.address)
    }
}

impl Peer for Stateless {
    fn ask(&mut self, method: &str, params: &str) -> Reply {
        self.next += 1;
        let id = self.next.to_string();
        let params = serde_json::from_str(params).expect("params are JSON");
        finish(&id, &mut self.request(&id, method, &params).send(self.address))
    }
}

/// Reads an answer to its end or to the answer of this id, whichever comes first.
pub fn finish(id: &str, answer: &mut Answer) -> Reply {
    let status = answer.status;
    let reply = collect(id, || answer.next_message());
    let mut reply = reply.unwrap_or_else(|| panic!("status {status} without an answer to {id}"));
    reply.status = status;
    reply
}

pub fn message(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

pub(crate) fn initialize_params(version: &str, capabilities: &Value) -> String {
    let client = json!({ "name": "axiom-e2e", "version": "1" });
    json!({ "protocolVersion": version, "capabilities": capabilities, "clientInfo": client }).to_string()
}

/// What each request of 2026-07-28 says about its client.
pub(crate) fn add_meta(params: &mut Value, capabilities: &Value) {
    let meta = &mut params["_meta"];
    meta["io.modelcontextprotocol/protocolVersion"] = MODERN.into();
    meta["io.modelcontextprotocol/clientInfo"] = json!({ "name": "axiom-e2e", "version": "1" });
    meta["io.modelcontextprotocol/clientCapabilities"] = capabilities.clone();
}

/// `http://ADDRESS/PATH` in two.
pub fn split(url: &str) -> (SocketAddr, String) {
    let rest = url.strip_prefix("http://").expect("test servers are plain HTTP");
    let (address, path) = rest.split_once('/').expect("an endpoint has a path");
    (
        address.parse().expect("test servers have numeric addresses"),
        format!("/{path}"),
    )
}
