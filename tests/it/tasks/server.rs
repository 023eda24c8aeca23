//! A server of 2026-07-28 alone with the tasks extension, on rmcp: an implementation that shares nothing with ours.

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;

use axiom_tests::wait;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rmcp::ServerHandler;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, CancelTaskParams, ContentBlock,
    CreateTaskResult, ErrorData, GetTaskParams, GetTaskResult, InputRequest, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, UpdateTaskParams,
};
use rmcp::service::{RequestContext, RoleServer};
use rmcp::task_manager::{TaskContext, TaskExit, TaskManager, TaskOptions};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

/// The running server. Its tasks live as long as it does.
pub(crate) struct TaskServer {
    pub url: String,
    address: SocketAddr,
    runtime: Option<Runtime>,
}

/// Its one tool: `work { then }`, where `then` says what the task does: `"done"`, `"ask"` its client first, `"fail"`, or
/// work until it is `"cancelled"`.
#[derive(Clone, Default)]
struct Work {
    tasks: TaskManager,
}

impl TaskServer {
    pub(crate) fn start() -> TaskServer {
        TaskServer::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    fn start_at(address: SocketAddr) -> TaskServer {
        // Not asynchronously: a test may be.
        let listener = std::net::TcpListener::bind(address).expect("the port is free");
        listener.set_nonblocking(true).expect("it is a socket");
        let runtime = Runtime::new().expect("a runtime starts");
        let address = listener.local_addr().expect("it is bound");
        let work = Work::default();
        let service = StreamableHttpService::new(
            move || Ok(work.clone()),
            Arc::<LocalSessionManager>::default(),
            StreamableHttpServerConfig::default(),
        );
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("it does not block");
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                let answer = service_fn(move |request| {
                    let service = service.clone();
                    async move { Ok::<_, Infallible>(service.handle(request).await) }
                });
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    // A client may leave when it likes.
                    drop(http.serve_connection(TokioIo::new(stream), answer).await);
                });
            }
        });
        TaskServer {
            url: format!("http://{address}/mcp"),
            address,
            runtime: Some(runtime),
        }
    }

    /// Ends it with all its tasks, and starts it at the same place.
    pub(crate) fn restarted(mut self) -> TaskServer {
        if let Some(runtime) = self.runtime.take() {
            // Until then the port is taken.
            runtime.shutdown_timeout(wait::DEADLINE);
        }
        TaskServer::start_at(self.address)
    }
}

impl Drop for TaskServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

async fn run(task: TaskContext, then: String) -> Result<CallToolResult, TaskExit> {
    match then.as_str() {
        "ask" => {
            let question = json!({ "method": "elicitation/create", "params": {
                "mode": "form", "message": "Who are you?",
                "requestedSchema": { "type": "object", "properties": { "name": { "type": "string" } } }
            } });
            let question: InputRequest = serde_json::from_value(question).expect("it is a question");
            let answer = task.request_input("who", question).await?;
            Ok(said(&format!(
                "Hello, {}!",
                answer["content"]["name"].as_str().unwrap_or("nobody")
            )))
        }
        "fail" => Err(ErrorData::internal_error("no luck", Some(json!({ "n": 1 }))).into()),
        "cancelled" => {
            tokio::select! {
                () = task.cancelled() => Err(TaskExit::Cancelled),
                () = pending() => unreachable!("it works for ever"),
            }
        }
        _ => Ok(said("done")),
    }
}

fn said(text: &str) -> CallToolResult {
    CallToolResult::success(vec![ContentBlock::text(text)])
}

impl ServerHandler for Work {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(
            ServerCapabilities::builder()
                .enable_tools()
                .enable_tasks()
                .build(),
        )
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        Cow::Owned(vec![ProtocolVersion::V_2026_07_28])
    }

    async fn list_tools(
        &self,
        _request: Option<PaginatedRequestParams>,
        _context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let tools = json!({ "tools": [{ "name": "work", "inputSchema": { "type": "object" } }] });
        Ok(serde_json::from_value(tools).expect("it is a list"))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let then = arguments["then"].as_str().unwrap_or("done").to_owned();
        if !context
            .client_capabilities()
            .is_some_and(|client| client.supports_tasks())
        {
            return Ok(CallToolResponse::from(said("at once")));
        }
        let options = TaskOptions::new().with_poll_interval_ms(50);
        let task = self.tasks.spawn(options, |task| Box::pin(run(task, then)));
        Ok(CallToolResponse::Task(CreateTaskResult::new(task)))
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.tasks.get_task(&request.task_id).map(GetTaskResult::new)
    }

    async fn update_task(
        &self,
        request: UpdateTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.update_task(&request.task_id, request.input_responses)
    }

    async fn cancel_task(
        &self,
        request: CancelTaskParams,
        _context: RequestContext<RoleServer>,
    ) -> Result<(), ErrorData> {
        self.tasks.cancel_task(&request.task_id)
    }
}
