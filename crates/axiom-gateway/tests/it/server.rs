//! A server whose every answer a test decides. What has a fixed answer is answered at once and counted; everything else
//! is handed to the test, which plays the server.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};

use axiom_transport::pipe::{Builtin, Pipe, PipeSender, pair};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::stage::{PATIENCE, json};

/// Messages on the way to a server or from it. Small, so that a server that does not read is noticed soon.
const BACKLOG: usize = 16;

/// One scripted server; a new conversation for each link the gateway opens.
pub(crate) struct Server {
    name: String,
    state: Mutex<State>,
    heard: mpsc::UnboundedSender<Heard>,
    hearing: tokio::sync::Mutex<mpsc::UnboundedReceiver<Heard>>,
}

#[derive(Default)]
struct State {
    /// Result or error by method, as JSON objects `{"result":..}` or `{"error":..}`.
    fixed: BTreeMap<String, String>,
    /// Methods of all messages, in order.
    asked: Vec<String>,
    /// Raw `initialize` requests, one for each legacy conversation.
    greetings: Vec<String>,
    lines: VecDeque<Line>,
    /// Conversations that the gateway has not ended.
    open: usize,
    /// A server that is down: conversations end before they begin.
    down: bool,
    /// A server that never says anything.
    mute: bool,
    /// A server that reads nothing more.
    stalled: bool,
    /// What it says as soon as it is told that its client is ready.
    when_initialized: Option<String>,
}

/// A message the test has to deal with.
#[derive(Clone)]
pub(crate) struct Heard {
    pub line: Line,
    pub raw: String,
    pub message: Value,
}

/// One conversation, seen from the server.
#[derive(Clone)]
pub(crate) struct Line {
    tx: PipeSender,
    /// Which conversation with this server it is, from 1.
    pub number: usize,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Server {
    fn new(name: &str, fixed: &[(&str, String)]) -> Arc<Server> {
        let (heard, hearing) = mpsc::unbounded_channel();
        let fixed = fixed
            .iter()
            .map(|(method, reply)| ((*method).to_owned(), reply.clone()))
            .collect();
        Arc::new(Server {
            name: name.to_owned(),
            state: Mutex::new(State {
                fixed,
                ..State::default()
            }),
            heard,
            hearing: tokio::sync::Mutex::new(hearing),
        })
    }

    /// A server of 2025-11-25 with these `capabilities`.
    pub(crate) fn legacy(name: &str, capabilities: &str) -> Arc<Server> {
        let greeting = format!(
            r#"{{"result":{{"protocolVersion":"2025-11-25","capabilities":{capabilities},"serverInfo":{{"name":"{name}","version":"1"}}}}}}"#
        );
        let unknown = r#"{"error":{"code":-32601,"message":"method not found"}}"#.to_owned();
        let alive = r#"{"result":{}}"#.to_owned();
        Server::new(
            name,
            &[
                ("initialize", greeting),
                ("server/discover", unknown),
                ("ping", alive),
            ],
        )
    }

    /// A server of 2026-07-28 that knows nothing of `initialize`.
    pub(crate) fn modern(name: &str, capabilities: &str) -> Arc<Server> {
        let discovery = format!(
            r#"{{"result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{capabilities},"ttlMs":0,"cacheScope":"public","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"{name}","version":"1"}}}}}}}}"#
        );
        let unknown = r#"{"error":{"code":-32601,"message":"method not found"}}"#.to_owned();
        Server::new(name, &[("server/discover", discovery), ("initialize", unknown)])
    }

    /// A legacy server that lists these tools and says that it announces changes.
    pub(crate) fn with_tools(name: &str, tools: &[&str]) -> Arc<Server> {
        let server = Server::legacy(name, r#"{"tools":{"listChanged":true}}"#);
        server.list_tools(tools);
        server
    }

    pub(crate) fn list_tools(&self, tools: &[&str]) {
        let tools: Vec<String> = tools
            .iter()
            .map(|tool| format!(r#"{{"name":"{tool}","inputSchema":{{"type":"object"}}}}"#))
            .collect();
        self.answers("tools/list", &format!(r#"{{"tools":[{}]}}"#, tools.join(",")));
    }

    /// From now on `method` is answered with this result.
    pub(crate) fn answers(&self, method: &str, result: &str) {
        let reply = format!(r#"{{"result":{result}}}"#);
        self.state.lock().unwrap().fixed.insert(method.to_owned(), reply);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.state.lock().unwrap().down = down;
    }

    pub(crate) fn set_mute(&self) {
        self.state.lock().unwrap().mute = true;
    }

    /// Said as soon as a client is ready.
    pub(crate) fn asks_when_initialized(&self, raw: &str) {
        self.state.lock().unwrap().when_initialized = Some(raw.to_owned());
    }

    /// From now on nothing is read: after the next message, which nobody hears.
    pub(crate) fn stall(&self) {
        self.state.lock().unwrap().stalled = true;
    }

    /// How often `method` came, fixed answers included.
    pub(crate) fn times_asked(&self, method: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.asked.iter().filter(|asked| *asked == method).count()
    }

    /// The raw `initialize` of each legacy conversation.
    pub(crate) fn greetings(&self) -> Vec<String> {
        self.state.lock().unwrap().greetings.clone()
    }

    /// Conversations that the gateway has not ended.
    pub(crate) fn open_lines(&self) -> usize {
        self.state.lock().unwrap().open
    }

    /// The newest conversation.
    pub(crate) fn line(&self) -> Line {
        self.state
            .lock()
            .unwrap()
            .lines
            .back()
            .expect("somebody connected")
            .clone()
    }

    /// The next message that has no fixed answer.
    pub(crate) async fn hears(&self) -> Heard {
        let mut hearing = self.hearing.lock().await;
        timeout(PATIENCE, hearing.recv())
            .await
            .unwrap_or_else(|_| panic!("{} heard nothing more", self.name))
            .expect("the server holds the sender")
    }

    /// The next message without fixed answer, which must be of `method`.
    pub(crate) async fn hears_of(&self, method: &str) -> Heard {
        let heard = self.hears().await;
        assert_eq!(
            heard.message["method"], method,
            "{} heard {}",
            self.name, heard.raw
        );
        heard
    }

    /// A message without fixed answer that has come already.
    pub(crate) async fn has_heard(&self) -> Option<Heard> {
        self.hearing.lock().await.try_recv().ok()
    }

    /// Nothing waits for the test. Whatever is on its way must have arrived: the caller has seen a later message.
    pub(crate) async fn heard_nothing_else(&self) {
        if let Some(heard) = self.has_heard().await {
            panic!("{} heard {}", self.name, heard.raw);
        }
    }

    /// Takes a message: answers it or hands it to the test.
    async fn take(&self, line: &Line, raw: String) {
        let message = json(&raw);
        let method = message["method"].as_str().unwrap_or_default().to_owned();
        let fixed = {
            let mut state = self.state.lock().unwrap();
            state.asked.push(method.clone());
            if method == "initialize" {
                state.greetings.push(raw.clone());
            }
            if state.mute {
                return;
            }
            state.fixed.get(&method).cloned()
        };
        match fixed {
            Some(reply) => {
                let outcome = reply.strip_prefix('{').unwrap();
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{},{outcome}"#, message["id"]);
                line.say(&answer).await;
            }
            None if method == "notifications/initialized" => {
                let first_word = self.state.lock().unwrap().when_initialized.clone();
                if let Some(first_word) = first_word {
                    line.say(&first_word).await;
                }
            }
            None => {
                let line = line.clone();
                // The test holds the receiver for as long as the server.
                let _delivered = self.heard.send(Heard { line, raw, message }).is_ok();
            }
        }
    }
}

impl Builtin for Server {
    fn name(&self) -> &str {
        &self.name
    }

    fn connect(self: Arc<Self>) -> Pipe {
        let (theirs, ours) = pair(BACKLOG);
        let Pipe { tx, mut rx } = ours;
        let line = {
            let mut state = self.state.lock().unwrap();
            let line = Line {
                tx,
                number: state.lines.len() + 1,
            };
            if state.down {
                line.tx.close();
                return theirs;
            }
            state.lines.push_back(line.clone());
            state.open += 1;
            line
        };
        tokio::spawn(async move {
            while let Ok(bytes) = rx.recv().await {
                if self.state.lock().unwrap().stalled {
                    // Held, not dropped: the conversation is still open.
                    std::future::pending::<()>().await;
                }
                self.take(&line, String::from_utf8(bytes.to_vec()).unwrap()).await;
            }
            self.state.lock().unwrap().open -= 1;
        });
        theirs
    }
}

impl Heard {
    /// The id the gateway gave the request.
    pub(crate) fn id(&self) -> &Value {
        &self.message["id"]
    }

    /// Answers the request.
    pub(crate) async fn answer(&self, result: &str) {
        let id = self.id();
        self.line
            .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
            .await;
    }

    pub(crate) async fn refuse(&self, error: &str) {
        let id = self.id();
        self.line
            .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#))
            .await;
    }
}

impl Line {
    /// Sends a message as it stands.
    pub(crate) async fn say(&self, raw: &str) {
        // A gateway that left is the test's subject, not a mistake of the script.
        let _left = self.tx.send(Bytes::from(raw.to_owned())).await.is_err();
    }

    /// The server dies.
    pub(crate) fn die(&self) {
        self.tx.close();
    }
}
