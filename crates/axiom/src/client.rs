//! A plain MCP client of revision 2025-11-25 over HTTP, for the commands that ask a gateway something.

mod answer;
mod error;
mod members;
mod tool;

use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::time::timeout;
use axiom_gateway::REPLAY_OF;
use axiom_protocol::codes;
use axiom_protocol::revision::Revision;
use axiom_transport::http_client::Target;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::json;
use serde_json::value::RawValue;

pub use answer::Message;
pub use error::ClientError;
pub use members::{Members, array};
pub use tool::Tool;

/// A session with one endpoint of a gateway.
#[derive(Debug)]
pub struct Client {
    target: Target,
    /// Sent with every request once the session is there: its id and the revision.
    session: Vec<(HeaderName, HeaderValue)>,
    /// Of the request that is being made: the call that it repeats.
    replay_of: Option<HeaderValue>,
    last_id: u64,
}

const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");

/// The gateway has its own, shorter limit on silence; this one only ends what would otherwise never end.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3_600);
/// Pages of one list; a server with more of them is going in circles.
const PAGES_MAX: usize = 1_000;
/// Bytes of one answer: the gateway's default limit on a server's message, and room around it.
const ANSWER_BYTES_MAX: usize = 65 << 20;

impl Client {
    /// Opens a session at `base` + `path`, like `/mcp` or `/s/files/mcp`.
    ///
    /// # Errors
    /// [`ClientError::Status`] with 404 if there is no such endpoint.
    pub async fn open(base: &str, path: &str) -> Result<Self, ClientError> {
        Client::open_as(base, path, Revision::LATEST_LEGACY).await
    }

    /// The same with the revision that the client asks for, which must be one with sessions.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_as(base: &str, path: &str, revision: Revision) -> Result<Self, ClientError> {
        let target = Target::parse(&format!("{base}{path}"), &BTreeMap::new())?;
        let mut client = Client {
            target,
            session: Vec::new(),
            replay_of: None,
            last_id: 0,
        };
        let params = json!({
            "protocolVersion": revision.as_str(),
            // Nobody sits here who could be asked anything.
            "capabilities": {},
            "clientInfo": {"name": "axiom", "version": env!("CARGO_PKG_VERSION")},
        });
        let (result, session_id) = client.exchange("initialize", &params, &mut |_| {}).await?;
        let version = Revision::parse(&Members::of(&result).text("protocolVersion"));
        let version = version.ok_or_else(|| ClientError::protocol("initialize named no known revision"))?;
        client
            .session
            .push((PROTOCOL_VERSION, HeaderValue::from_static(version.as_str())));
        client.session.extend(session_id.map(|id| (SESSION_ID, id)));
        client
            .tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))
            .await?;
        Ok(client)
    }

    /// One request; what arrives before its answer goes to `on_message`. The result is the server's own text.
    ///
    /// # Errors
    /// Transport, status, or the error that the server answered.
    pub async fn request(
        &mut self,
        method: &str,
        params: &impl Serialize,
        on_message: &mut dyn FnMut(&Message),
    ) -> Result<Box<RawValue>, ClientError> {
        Ok(self.exchange(method, params, on_message).await?.0)
    }

    /// A request that repeats a recorded call, which the gateway's own record of it says.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn repeat(
        &mut self,
        call: &str,
        method: &str,
        params: &impl Serialize,
        on_message: &mut dyn FnMut(&Message),
    ) -> Result<Box<RawValue>, ClientError> {
        self.replay_of = HeaderValue::try_from(call).ok();
        let answer = self.request(method, params, on_message).await;
        self.replay_of = None;
        answer
    }

    /// The items of all pages of a list, each as it came.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn list(&mut self, method: &str, key: &str) -> Result<Vec<Box<RawValue>>, ClientError> {
        let mut items = Vec::new();
        let mut params = json!({});
        for _page in 0..PAGES_MAX {
            let page = self.request(method, &params, &mut |_| {}).await?;
            let page = Members::of(&page);
            let more = page.items(key);
            items.extend(
                more.ok_or_else(|| ClientError::protocol(format!("{method} answered without `{key}`")))?,
            );
            match page.read::<String>("nextCursor") {
                Some(cursor) => params = json!({"cursor": cursor}),
                None => return Ok(items),
            }
        }
        Err(ClientError::protocol(format!(
            "{method} has more than {PAGES_MAX} pages"
        )))
    }

    /// Ends the session. The answer does not matter: it would end by itself.
    pub async fn close(self) {
        if self.session.iter().any(|(name, _)| *name == SESSION_ID) {
            let _told = timeout(Duration::from_secs(2), self.target.delete(&self.session))
                .await
                .is_ok();
        }
    }

    async fn exchange(
        &mut self,
        method: &str,
        params: &impl Serialize,
        on_message: &mut dyn FnMut(&Message),
    ) -> Result<(Box<RawValue>, Option<HeaderValue>), ClientError> {
        self.last_id += 1;
        let id = self.last_id;
        let request = Request {
            jsonrpc: "2.0",
            id,
            method,
            params,
        };
        let exchange = async {
            let answer = self.post(&request).await?;
            let session_id = answer.headers.value(&SESSION_ID);
            let mut messages = answer::Messages::of(answer).await?;
            loop {
                let message = messages.next().await?;
                if message.answers(id) {
                    return Ok((message.into_result()?, session_id));
                }
                self.refuse(&message).await?;
                on_message(&message);
            }
        };
        // A big future, and only one of it at a time.
        timeout(REQUEST_TIMEOUT, Box::pin(exchange))
            .await
            .map_err(|_| ClientError::Timeout)?
    }

    /// Answers a request of the server: there is nobody here to be asked.
    async fn refuse(&self, message: &Message) -> Result<(), ClientError> {
        let (Some(method), Some(id)) = (&message.method, message.id.as_deref()) else {
            return Ok(());
        };
        let refused = || RpcError {
            code: codes::METHOD_NOT_FOUND,
            message: format!("the command line cannot answer {method}"),
        };
        let error = (method != "ping").then(refused);
        let answer = Response {
            jsonrpc: "2.0",
            id,
            result: error.is_none().then(|| json!({})),
            error,
        };
        self.tell(&answer).await
    }

    /// Sends what has no answer.
    async fn tell(&self, message: &impl Serialize) -> Result<(), ClientError> {
        let answer = self.post(message).await?;
        answer.body.collect(ANSWER_BYTES_MAX).await?;
        Ok(())
    }

    async fn post(
        &self,
        message: &impl Serialize,
    ) -> Result<axiom_transport::http_client::Answer, ClientError> {
        let body = serde_json::to_vec(message)
            .map_err(|error| ClientError::protocol(format!("a message cannot be written: {error}")))?;
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                header::ACCEPT,
                HeaderValue::from_static("application/json, text/event-stream"),
            ),
        ];
        headers.extend(self.session.iter().cloned());
        headers.extend(self.replay_of.clone().map(|call| (REPLAY_OF, call)));
        let answer = self.target.post(&headers, Bytes::from(body)).await?;
        if answer.status.is_success() {
            Ok(answer)
        } else {
            Err(answer::refusal(answer).await)
        }
    }
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a P,
}

/// The id goes back as it came.
#[derive(Serialize)]
struct Response<'a> {
    jsonrpc: &'static str,
    id: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<RpcError>,
}

#[derive(Serialize)]
struct RpcError {
    code: i64,
    message: String,
}

/// Whether an Axiom gateway answers at this base address.
pub async fn is_axiom(base: &str) -> bool {
    let Ok(target) = Target::parse(&format!("{base}/healthz"), &BTreeMap::new()) else {
        return false;
    };
    match timeout(LOOK_TIMEOUT, target.get(&[])).await {
        Ok(Ok(answer)) => {
            let server = answer.headers.get(&header::SERVER).unwrap_or_default();
            server == b"axiom" || server.starts_with(b"axiom/")
        }
        _ => false,
    }
}

/// A gateway on this machine answers at once, or is in no state to be used.
const LOOK_TIMEOUT: Duration = Duration::from_millis(500);

/// A JSON document of the gateway's own API.
///
/// # Errors
/// Transport, status, or an answer that is not JSON.
pub async fn get(base: &str, path: &str) -> Result<Box<RawValue>, ClientError> {
    let target = Target::parse(&format!("{base}{path}"), &BTreeMap::new())?;
    let answer = timeout(GET_TIMEOUT, target.get(&[]))
        .await
        .map_err(|_| ClientError::Timeout)??;
    if answer.status != StatusCode::OK {
        return Err(answer::refusal(answer).await);
    }
    let body = answer.body.collect(ANSWER_BYTES_MAX).await?;
    serde_json::from_slice(&body)
        .map_err(|error| ClientError::protocol(format!("{path} is not JSON: {error}")))
}

/// The gateway answers its own API from memory.
const GET_TIMEOUT: Duration = Duration::from_secs(10);
