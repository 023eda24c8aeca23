//! `axiom stats`: how many calls there were and how they went. Asked of the gateway that runs, or read from its events.

use std::sync::Arc;

use axiom_events::Reader;
use axiom_events::disk::Machine;
use axiom_gateway::stats_of;
use axiom_tiers::{Shelves, StoreOptions};
use serde_json::value::RawValue;

use crate::attach::{Attached, running_or_config};
use crate::cli::Stats;
use crate::client::{self, Members};
use crate::compose::{open_store, shard_folder, tiers_failed};
use crate::events::moment;
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

pub async fn run(stats: &Stats, terminal: &Terminal) -> Result<Exit, Failed> {
    let report = match running_or_config(&stats.file, terminal).await? {
        Attached::Running(base) => client::get(&base, "/api/v1/stats").await?,
        Attached::Alone(config) => {
            let events = config.options.events.ok_or_else(|| {
                nothing_recorded(
                    "no gateway runs, and the configuration records no events",
                    TURN_ON,
                )
            })?;
            read(&events.dir, events.shard, config.tiers.store.as_ref()).await?
        }
    };
    let members = Members::of(&report);
    if members.read::<bool>("recording") != Some(true) {
        return Err(nothing_recorded(&members.text("message"), &members.text("hint")));
    }
    if stats.json {
        terminal.data(report.get())?;
    } else {
        print(&members, terminal)?;
    }
    Ok(Exit::Ok)
}

const TURN_ON: &str =
    "add a section [events] with dir = \"events\" to the configuration; it counts from then on";

fn nothing_recorded(message: &str, hint: &str) -> Failed {
    Failed::new(Exit::NotFound, message).hint(hint)
}

/// From the files, where no gateway tells.
async fn read(
    dir: &std::path::Path,
    shard: u16,
    store: Option<&StoreOptions>,
) -> Result<Box<RawValue>, Failed> {
    let folder = shard_folder(dir, shard);
    if !folder.is_dir() {
        let failed = Failed::new(
            Exit::NotFound,
            format!("there are no events in {}", dir.display()),
        );
        return Err(failed.hint("a gateway records there once it was started with it as `events.dir`"));
    }
    let failed = |error: &dyn std::fmt::Display| {
        let failed = Failed::new(Exit::Failure, format!("the events cannot be counted: {error}"));
        failed.hint("`axiom events verify` tells what of them can be read")
    };
    // What was counted last may be in an older tier by now.
    let store = store.map(open_store).transpose()?;
    let shelves = Shelves::open(&folder, store).map_err(|error| tiers_failed(&error))?;
    let reader = Reader::open_with(Arc::new(Machine), &folder, Arc::new(shelves));
    let reader = reader.map_err(|error| failed(&error))?;
    let report = stats_of(reader).await.map_err(|error| failed(&error))?;
    serde_json::from_slice(&report).map_err(|error| failed(&error))
}

fn print(report: &Members, terminal: &Terminal) -> Result<(), Failed> {
    let mut table = Table::new([
        "SERVER",
        "TOOL",
        "CALLS",
        "ERRORS",
        "LAST HOUR",
        "LAST MIN",
        "P50",
        "P95",
        "P99",
        "IN",
        "OUT",
    ]);
    table.row(cells("(all)", "", &report.members("all")));
    for server in report.items("servers").unwrap_or_default() {
        let server = Members::of(&server);
        let name = server.read::<Option<String>>("server").flatten();
        let name = name.unwrap_or_else(|| "(gateway)".to_owned());
        table.row(cells(&name, "", &server));
        for tool in server.items("tools").unwrap_or_default() {
            let tool = Members::of(&tool);
            table.row(cells(&name, &tool.text("tool"), &tool));
        }
    }
    if let Some(since) = report.read::<i64>("since_ms") {
        terminal.say(format_args!(
            "calls since {} UTC; durations over all of that time",
            moment::short(since.saturating_mul(1_000_000))
        ));
    }
    let behind = report.read::<u64>("behind").unwrap_or(0);
    if behind > 0 {
        terminal.say(format_args!("{behind} newer events are still being counted"));
    }
    for (key, what) in [
        (
            "lost",
            "events could not be read and are not counted; `axiom events verify` says why",
        ),
        (
            "unknown",
            "calls were recorded by another version and are not counted",
        ),
    ] {
        let count = report.read::<u64>(key).unwrap_or(0);
        if count > 0 {
            terminal.say(format_args!("{} {count} {what}", terminal.yellow("warning:")));
        }
    }
    terminal.data(table)?;
    Ok(())
}

fn cells(server: &str, tool: &str, numbers: &Members) -> [String; 11] {
    let total = numbers.members("total");
    let number = |key: &str| total.read::<u64>(key).unwrap_or(0);
    let lately = |key: &str| {
        let calls = numbers.members(key).read::<u64>("calls").unwrap_or(0);
        calls.to_string()
    };
    let durations = total.members("duration_us");
    let duration = |key: &str| {
        let micros = durations.read::<Option<u64>>(key).flatten();
        micros.map_or_else(|| "-".to_owned(), millis)
    };
    [
        server.to_owned(),
        tool.to_owned(),
        number("calls").to_string(),
        number("errors").to_string(),
        lately("last_hour"),
        lately("last_minute"),
        duration("p50"),
        duration("p95"),
        duration("p99"),
        bytes(number("request_bytes")),
        bytes(number("response_bytes")),
    ]
}

/// Milliseconds with three digits, or seconds.
fn millis(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10),
        10_000..10_000_000 => format!("{} ms", micros / 1000),
        _ => format!("{} s", micros / 1_000_000),
    }
}

fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{} kB", bytes / 1000),
        10_000_000..10_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
