//! rmcp, an implementation of the protocol that shares nothing with ours, as a client of the gateway in both eras.
#![allow(
    deprecated,
    reason = "sampling and roots are deprecated in the protocol, and alive"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axiom_tests::client::answers;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::servers;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientConfig, CreateMessageRequestParams, CreateMessageResult,
    ElicitRequestParams, ElicitResult, ErrorData, GetPromptRequestParams, ListRootsResult,
    ProgressNotificationParam, ProtocolVersion, ReadResourceRequestParams,
};
use rmcp::service::{NotificationContext, RequestContext, RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ClientLifecycleMode, ClientServiceExt as _};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Answers whatever it is asked, and counts the progress that it is told.
#[derive(Clone, Default)]
struct Person {
    progress: Arc<AtomicUsize>,
}

fn typed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("rmcp reads what the protocol allows")
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut config = ClientConfig::default();
        config.capabilities = typed(json!({ "elicitation": {}, "sampling": {}, "roots": {} }));
        config
    }

    async fn create_elicitation(
        &self,
        _request: ElicitRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(typed(answers()["elicitation"].clone()))
    }

    async fn create_message(
        &self,
        _request: CreateMessageRequestParams,
        _context: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        Ok(typed(answers()["sampling"].clone()))
    }

    async fn list_roots(&self, _context: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        Ok(typed(json!({ "roots": answers()["roots"] })))
    }

    async fn on_progress(&self, _told: ProgressNotificationParam, _context: NotificationContext<RoleClient>) {
        self.progress.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn without_the_gateway() {
    let (_server, url) = servers::dual_http();
    use_everything(&url, ClientLifecycleMode::Initialize, "").await;
    use_everything(&url, modern(), "").await;
}

#[tokio::test]
async fn in_a_session() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    use_everything(&gateway.server("dual"), ClientLifecycleMode::Initialize, "").await;
    use_everything(&gateway.mcp(), ClientLifecycleMode::Initialize, "dual__").await;
}

#[tokio::test]
async fn without_a_session() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    use_everything(&gateway.server("dual"), modern(), "").await;
    use_everything(&gateway.mcp(), modern(), "dual__").await;
}

/// Behind a server of before 2026-07-28 the probe says so, and the client opens a session by itself.
#[tokio::test]
async fn finding_out_the_era() {
    let gateway = Gateway::start(&Config::new().stdio("everything", &servers::everything().command));
    let mode = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    };
    for (url, prefix) in [
        (gateway.server("everything"), ""),
        (gateway.mcp(), "everything__"),
    ] {
        let client = connect(&url, mode.clone(), Person::default()).await;
        let result = call(&client, &format!("{prefix}echo"), json!({ "message": "hello" })).await;
        assert_eq!(text(&result), "Echo: hello");
        client.cancel().await.expect("it ends");
    }
}

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    }
}

async fn use_everything(url: &str, mode: ClientLifecycleMode, prefix: &str) {
    let person = Person::default();
    let client = connect(url, mode, person.clone()).await;

    let tools = client.list_all_tools().await.expect("tools are listed");
    assert!(
        tools
            .iter()
            .any(|tool| tool.name == format!("{prefix}test_simple_text")),
        "{tools:?}"
    );

    let result = call(&client, &format!("{prefix}test_tool_with_progress"), json!({})).await;
    assert_eq!(text(&result), "Reported progress");
    assert_eq!(
        person.progress.load(Ordering::Relaxed),
        3,
        "rmcp asks for progress with each call"
    );

    let result = call(
        &client,
        &format!("{prefix}test_input_required_result_multiple_inputs"),
        json!({}),
    )
    .await;
    assert_eq!(text(&result), "Paris Ada, of 1 roots");

    let read = client
        .read_resource(ReadResourceRequestParams::new("test://static-text"))
        .await;
    let read = serde_json::to_value(read.expect("it is read")).expect("a result is JSON");
    assert_eq!(
        read["contents"][0]["text"],
        "This is the content of the static text resource."
    );

    let arguments = json!({ "arg1": "a", "arg2": "b" });
    let mut prompt = GetPromptRequestParams::new(format!("{prefix}test_prompt_with_arguments"));
    prompt.arguments = arguments.as_object().cloned();
    let got =
        serde_json::to_value(client.get_prompt(prompt).await.expect("it is got")).expect("a result is JSON");
    assert_eq!(
        got["messages"][0]["content"]["text"],
        "Prompt with arguments: arg1='a', arg2='b'"
    );

    client.cancel().await.expect("it ends");
}

async fn connect(url: &str, mode: ClientLifecycleMode, person: Person) -> RunningService<RoleClient, Person> {
    let transport = StreamableHttpClientTransport::from_uri(url);
    person
        .serve_with_lifecycle(transport, mode)
        .await
        .expect("it connects")
}

async fn call(client: &RunningService<RoleClient, Person>, tool: &str, arguments: Value) -> CallToolResult {
    let mut params = CallToolRequestParams::new(tool.to_owned());
    params.arguments = arguments.as_object().cloned();
    client
        .call_tool(params)
        .await
        .unwrap_or_else(|error| panic!("{tool}: {error}"))
}

fn text(result: &CallToolResult) -> String {
    let value = serde_json::to_value(result).expect("a result is JSON");
    value["content"][0]["text"]
        .as_str()
        .unwrap_or_else(|| panic!("no text in {value}"))
        .to_owned()
}
