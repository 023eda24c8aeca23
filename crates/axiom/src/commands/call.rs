//! `axiom call SERVER.TOOL key=value`: one tool call.

mod arguments;
mod show;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::attach::with_gateway;
use crate::cli::Call;
use crate::client::{Client, ClientError, Members, Tool};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;
use arguments::Typed;

pub async fn run(call: &Call, terminal: &Terminal) -> Result<Exit, Failed> {
    let typed = Typed::parse(call)?;
    let result = with_gateway(&call.file, terminal, async |base: &str| {
        let mut client = match Client::open(base, &format!("/s/{}/mcp", typed.server)).await {
            Err(ClientError::Status { status, .. }) if status == 404 => {
                return Err(no_server(base, &typed.server).await);
            }
            client => client?,
        };
        let tools = client.list("tools/list", "tools").await?;
        let tools: Vec<Tool> = tools.iter().map(|item| Tool::of(item)).collect();
        let tool = tools.iter().find(|tool| tool.name == typed.tool);
        let tool = tool.ok_or_else(|| no_tool(&typed, &tools))?;
        let params = Params {
            name: &typed.tool,
            arguments: typed.arguments(tool)?,
            meta: Meta {
                progress_token: "call",
            },
        };
        let result = client
            .request("tools/call", &params, &mut |message| {
                show::tell(message, terminal);
            })
            .await;
        client.close().await;
        Ok(result?)
    })
    .await?;
    let is_error = Members::of(&result).read("isError") == Some(true);
    if call.json.is_some() {
        terminal.data(&result)?;
    } else {
        show::print(&result, terminal)?;
    }
    if is_error {
        terminal.say(format_args!(
            "{} the tool reports a failure",
            terminal.red("error:")
        ));
    }
    Ok(if is_error { Exit::Failure } else { Exit::Ok })
}

#[derive(Debug, Serialize)]
struct Params<'a> {
    name: &'a str,
    arguments: Box<RawValue>,
    #[serde(rename = "_meta")]
    meta: Meta,
}

/// A token asks for progress; a person wants to see it.
#[derive(Debug, Serialize)]
struct Meta {
    #[serde(rename = "progressToken")]
    progress_token: &'static str,
}

/// The failure for a server that is not there, with the one that was perhaps meant.
pub(super) async fn no_server(base: &str, name: &str) -> Failed {
    let servers = super::servers::list(base).await.unwrap_or_default();
    let names: Vec<String> = servers
        .iter()
        .map(|server| Members::of(server).text("name"))
        .collect();
    let failed = Failed::new(Exit::NotFound, format!("there is no server `{name}`"));
    hinted(failed, name, &names, "the servers are")
}

fn no_tool(typed: &Typed, tools: &[Tool]) -> Failed {
    let names: Vec<String> = tools.iter().map(|tool| tool.name.clone()).collect();
    let message = format!("the server `{}` has no tool `{}`", typed.server, typed.tool);
    hinted(
        Failed::new(Exit::NotFound, message),
        &typed.tool,
        &names,
        "its tools are",
    )
}

fn hinted(failed: Failed, name: &str, names: &[String], otherwise: &str) -> Failed {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    match crate::config::did_you_mean(name, &names) {
        Some(hint) => failed.hint(hint),
        None if names.is_empty() => failed,
        None => failed.hint(format!("{otherwise} {}", names.join(", "))),
    }
}
