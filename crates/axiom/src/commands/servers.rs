//! `axiom servers`: the servers and how each of them is.

use serde_json::value::RawValue;

use crate::attach::with_gateway;
use crate::cli::Servers;
use crate::client::{self, Client, Members, array};
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
        terminal.data(array(&list))?;
    } else {
        print(&list, terminal)?;
    }
    Ok(Exit::Ok)
}

/// The gateway's own list.
pub(super) async fn list(base: &str) -> Result<Vec<Box<RawValue>>, Failed> {
    let answer = client::get(base, "/api/v1/servers").await?;
    Members::of(&answer)
        .items("servers")
        .ok_or_else(|| Failed::new(Exit::Failure, "the gateway's list of servers has an unknown form"))
}

fn print(list: &[Box<RawValue>], terminal: &Terminal) -> Result<(), Failed> {
    if list.is_empty() {
        terminal.say("no servers; add one to the configuration, or run `axiom import FILE`");
        return Ok(());
    }
    let mut table = Table::new(["NAME", "KIND", "STATE", "REVISIONS", "TOOLS", "ERROR"]);
    for server in list.iter().map(|item| Members::of(item)) {
        let mut cells =
            ["name", "kind", "state", "revisions", "tools", "error"].map(|key| cell(&server, key));
        cells[5] = reason(&cells[0], &cells[5]);
        table.row(cells);
    }
    terminal.data(table)?;
    Ok(())
}

/// A text as it is, a list with blanks between, and `-` for what is not there.
fn cell(server: &Members, key: &str) -> String {
    let list = || server.read(key).map(|items: Vec<String>| items.join(" "));
    let other = || server.raw(key).map(|value| value.get().to_owned());
    server
        .read::<Option<String>>(key)
        .map(|text| text.unwrap_or_else(|| "-".to_owned()))
        .or_else(list)
        .or_else(other)
        .unwrap_or_else(|| "-".to_owned())
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
