//! `axiom tools`: what can be called.

use serde_json::value::RawValue;

use crate::attach::with_gateway;
use crate::cli::Tools;
use crate::client::{Client, ClientError, Tool, array};
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

pub async fn run(tools: &Tools, terminal: &Terminal) -> Result<Exit, Failed> {
    let list = with_gateway(&tools.file, terminal, async |base: &str| {
        let path = tools
            .server
            .as_ref()
            .map_or_else(|| "/mcp".to_owned(), |server| format!("/s/{server}/mcp"));
        let mut client = match (Client::open(base, &path).await, &tools.server) {
            (Err(ClientError::Status { status, .. }), Some(server)) if status == 404 => {
                return Err(super::call::no_server(base, server).await);
            }
            (client, _) => client?,
        };
        let list = client.list("tools/list", "tools").await?;
        client.close().await;
        Ok(list)
    })
    .await?;
    if tools.json {
        terminal.data(array(&list))?;
    } else {
        print(&list, terminal)?;
    }
    Ok(Exit::Ok)
}

fn print(list: &[Box<RawValue>], terminal: &Terminal) -> Result<(), Failed> {
    if list.is_empty() {
        terminal.say("no tools; `axiom servers` says how the servers are");
        return Ok(());
    }
    let mut table = Table::new(["TOOL", "ARGUMENTS", "DESCRIPTION"]);
    for tool in list.iter().map(|item| Tool::of(item)) {
        let first_line = tool.description.trim().lines().next().unwrap_or_default();
        table.row([tool.name.clone(), arguments(&tool), first_line.to_owned()]);
    }
    terminal.data(table)?;
    Ok(())
}

/// `a b [c]`: the optional ones in brackets.
fn arguments(tool: &Tool) -> String {
    let optional = tool
        .properties
        .keys()
        .filter(|name| !tool.required.iter().any(|required| required == name))
        .map(|name| format!("[{name}]"));
    let names: Vec<String> = tool.required.iter().cloned().chain(optional).collect();
    names.join(" ")
}
