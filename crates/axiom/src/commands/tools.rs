//! `axiom tools`: what can be called.

use serde_json::Value as Json;

use crate::cli::Tools;
use crate::client::{Client, ClientError};
use crate::compose::with_gateway;
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
        terminal.data(Json::Array(list))?;
    } else {
        print(&list, terminal)?;
    }
    Ok(Exit::Ok)
}

fn print(list: &[Json], terminal: &Terminal) -> Result<(), Failed> {
    if list.is_empty() {
        terminal.say("no tools; `axiom servers` says how the servers are");
        return Ok(());
    }
    let mut table = Table::new(["TOOL", "ARGUMENTS", "DESCRIPTION"]);
    for tool in list {
        let text = |key: &str| tool.get(key).and_then(Json::as_str).unwrap_or_default();
        let first_line = text("description").trim().lines().next().unwrap_or_default();
        table.row([text("name").to_owned(), arguments(tool), first_line.to_owned()]);
    }
    terminal.data(table)?;
    Ok(())
}

/// `a b [c]`: the optional ones in brackets.
fn arguments(tool: &Json) -> String {
    let schema = tool.get("inputSchema").unwrap_or(&Json::Null);
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let properties = schema.get("properties").and_then(Json::as_object);
    let optional = properties.into_iter().flatten().map(|(name, _)| name.as_str());
    let optional = optional
        .filter(|name| !required.contains(name))
        .map(|name| format!("[{name}]"));
    let names: Vec<String> = required
        .iter()
        .map(|name| (*name).to_owned())
        .chain(optional)
        .collect();
    names.join(" ")
}
