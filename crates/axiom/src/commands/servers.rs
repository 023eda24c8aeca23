//! `axiom servers`: the servers and how each of them is.

use serde_json::value::RawValue;

use crate::attach::with_gateway;
use crate::cli::Servers;
use crate::client::{self, Client, Members, array};
use crate::events::moment::short;
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
    let list: Vec<Members> = list.iter().map(|item| Members::of(item)).collect();
    // Only a gateway that records knows.
    if list.iter().any(|server| server.raw("since_ms").is_some()) {
        let mut table = Table::new([
            "NAME",
            "KIND",
            "STATE",
            "SINCE",
            "RESTARTS",
            "REVISIONS",
            "TOOLS",
            "ERROR",
        ]);
        for server in &list {
            let [name, kind, state, revisions, tools, error] = cells(server);
            let since = server.read::<i64>("since_ms");
            let since = since.map_or_else(|| "-".to_owned(), |since| short(since.saturating_mul(1_000_000)));
            let restarts = cell(server, "restarts");
            table.row([name, kind, state, since, restarts, revisions, tools, error]);
        }
        terminal.data(table)?;
    } else {
        let mut table = Table::new(["NAME", "KIND", "STATE", "REVISIONS", "TOOLS", "ERROR"]);
        list.iter().for_each(|server| table.row(cells(server)));
        terminal.data(table)?;
    }
    Ok(())
}

fn cells(server: &Members) -> [String; 6] {
    let mut cells = ["name", "kind", "state", "revisions", "tools", "error"].map(|key| cell(server, key));
    cells[5] = reason(&cells[0], &cells[5]);
    cells
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
