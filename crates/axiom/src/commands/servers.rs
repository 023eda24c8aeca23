//! `axiom servers`: the servers and how each of them is.

use serde_json::Value as Json;

use crate::cli::Servers;
use crate::client::{self, Client};
use crate::compose::with_gateway;
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

pub async fn run(servers: &Servers, terminal: &Terminal) -> Result<Exit, Failed> {
    let list = with_gateway(&servers.file, terminal, async |base: &str| {
        // Asking for the tools makes the gateway connect to every server, so that there is something to tell.
        let mut client = Client::open(base, "/mcp").await?;
        client.list("tools/list", "tools").await?;
        client.close().await;
        list(base).await
    })
    .await?;
    if servers.json {
        terminal.data(Json::Array(list))?;
    } else {
        print(&list, terminal)?;
    }
    Ok(Exit::Ok)
}

/// The gateway's own list.
pub(super) async fn list(base: &str) -> Result<Vec<Json>, Failed> {
    let answer = client::get(base, "/api/v1/servers").await?;
    let list = match answer {
        Json::Array(list) => Some(list),
        Json::Object(mut fields) => match fields.remove("servers") {
            Some(Json::Array(list)) => Some(list),
            _ => None,
        },
        _ => None,
    };
    list.ok_or_else(|| Failed::new(Exit::Failure, "the gateway's list of servers has an unknown form"))
}

fn print(list: &[Json], terminal: &Terminal) -> Result<(), Failed> {
    if list.is_empty() {
        terminal.say("no servers; add one to the configuration, or run `axiom import FILE`");
        return Ok(());
    }
    let text = |server: &Json, key: &str| match server.get(key) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Array(items)) => items
            .iter()
            .filter_map(Json::as_str)
            .collect::<Vec<_>>()
            .join(" "),
        Some(Json::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut table = Table::new(["NAME", "KIND", "STATE", "REVISIONS", "TOOLS", "ERROR"]);
    for server in list {
        let mut cells = ["name", "kind", "state", "revisions", "tools", "error"].map(|key| text(server, key));
        cells[5] = reason(&cells[0], &cells[5]);
        table.row(cells);
    }
    terminal.data(table)?;
    Ok(())
}

/// Why a server is down, on one line and without its name, which stands beside it.
pub(super) fn reason(name: &str, error: &str) -> String {
    let prefix = format!("server '{name}' is not available: ");
    error
        .strip_prefix(&prefix)
        .unwrap_or(error)
        .lines()
        .collect::<Vec<_>>()
        .join("; ")
}
