//! Clients on pipes, which send and read raw messages.

use std::sync::Arc;

use axiom_core::Draining;
use axiom_gateway::{Gateway, serve_pipe};
use axiom_transport::pipe::{Pipe, pair};
use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::time::timeout;

use crate::stage::{PATIENCE, Stage, json};

const BACKLOG: usize = 4_096;

/// One client's conversation with the gateway.
pub(crate) struct Client {
    pipe: Pipe,
}

impl Client {
    /// A client that has said nothing yet; a modern one need not greet.
    pub(crate) fn new(stage: &Stage, endpoint: &str) -> Client {
        let (ours, theirs) = pair(BACKLOG);
        let (gateway, draining) = (Arc::clone(&stage.gateway), stage.draining.clone());
        tokio::spawn(serve(gateway, endpoint.to_owned(), theirs, draining));
        Client { pipe: ours }
    }

    /// A client of 2025-11-25 that can be asked nothing.
    pub(crate) async fn legacy(stage: &Stage, endpoint: &str) -> Client {
        Client::legacy_with(stage, endpoint, "{}").await
    }

    /// A client of 2025-11-25 with these capabilities.
    pub(crate) async fn legacy_with(stage: &Stage, endpoint: &str, capabilities: &str) -> Client {
        Client::of(stage, endpoint, "2025-11-25", capabilities).await
    }

    /// A client of an older revision.
    pub(crate) async fn of(stage: &Stage, endpoint: &str, revision: &str, capabilities: &str) -> Client {
        let mut client = Client::new(stage, endpoint);
        client.say(&initialize(revision, capabilities)).await;
        let answer = json(&client.hears().await);
        assert_eq!(answer["result"]["protocolVersion"], revision, "{answer}");
        client
            .say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
        client
    }

    pub(crate) async fn say(&self, raw: &str) {
        self.pipe.tx.send(Bytes::from(raw.to_owned())).await.unwrap();
    }

    /// The next message, whatever it is.
    pub(crate) async fn hears(&mut self) -> String {
        let bytes = timeout(PATIENCE, self.pipe.rx.recv())
            .await
            .expect("the gateway said nothing more")
            .expect("the gateway ended the conversation");
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// A message that has come already.
    pub(crate) fn has_heard(&mut self) -> Option<String> {
        let bytes = self.pipe.rx.recv().now_or_never()?.ok()?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// Says something and hears what comes next.
    pub(crate) async fn asks(&mut self, raw: &str) -> String {
        self.say(raw).await;
        self.hears().await
    }

    /// Ends its side; what it hears is still read.
    pub(crate) fn says_no_more(&self) {
        self.pipe.tx.close();
    }

    /// Nothing came up to here: the answer to a ping is the next message.
    pub(crate) async fn heard_nothing_else(&mut self) {
        let next = self
            .asks(r#"{"jsonrpc":"2.0","id":"quiet?","method":"ping"}"#)
            .await;
        assert_eq!(next, r#"{"jsonrpc":"2.0","id":"quiet?","result":{}}"#);
    }

    /// True once the gateway has ended the conversation.
    pub(crate) async fn is_dismissed(&mut self) -> bool {
        timeout(PATIENCE, self.pipe.rx.recv())
            .await
            .is_ok_and(|end| end.is_err())
    }
}

async fn serve(gateway: Arc<Gateway>, endpoint: String, pipe: Pipe, draining: Draining) {
    serve_pipe(gateway, &endpoint, pipe, draining)
        .await
        .expect("a test names endpoints that exist");
}

pub(crate) fn initialize(revision: &str, capabilities: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{{"protocolVersion":"{revision}","capabilities":{capabilities},"clientInfo":{{"name":"client","version":"1"}}}}}}"#
    )
}

/// A request of 2026-07-28. `params` is an object without `_meta`.
pub(crate) fn modern(id: &str, method: &str, params: &str) -> String {
    assert!(json(params).is_object(), "{params}");
    let inner = params
        .strip_prefix('{')
        .and_then(|params| params.strip_suffix('}'))
        .unwrap();
    let comma = if inner.is_empty() { "" } else { "," };
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{inner}{comma}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    )
}

/// A `tools/call` of a legacy client.
pub(crate) fn call(id: &str, tool: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{tool}","arguments":{{}}}}}}"#
    )
}
