//! `axiom events hold`: what must not be deleted, whatever retention says.

use std::sync::Arc;

use axiom_core::time::unix_nanos;
use axiom_events::disk::Machine;
use axiom_tiers::manifest::{Change, Hold, Manifest};
use serde_json::json;

use super::shard;
use crate::cli::{EventsAt, HoldAdd, HoldCommand, HoldList, HoldRemove};
use crate::compose::tiers_failed;
use crate::events::{Place, full};
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

pub fn run(command: &HoldCommand, terminal: &Terminal) -> Result<Exit, Failed> {
    match command {
        HoldCommand::Add(add) => self::add(add, terminal),
        HoldCommand::List(list) => self::list(list, terminal),
        HoldCommand::Remove(remove) => self::remove(remove, terminal),
    }
}

fn add(add: &HoldAdd, terminal: &Terminal) -> Result<Exit, Failed> {
    let is_empty = add.tenant.is_none()
        && add.stream.is_none()
        && add.task.is_none()
        && add.from.is_none()
        && add.to.is_none();
    if is_empty && !add.everything {
        let failed = Failed::new(Exit::Usage, "the hold says nothing of which events");
        return Err(failed.hint("name a --tenant, --stream, --task, --from or --to, or hold --everything"));
    }
    let manifest = manifest(&add.at, terminal)?;
    let by = who();
    let hold = Hold {
        id: 0,
        tenant: add.tenant.clone(),
        stream: add.stream.clone(),
        task: add.task.clone(),
        from: add.from.map(time_of).transpose()?,
        to: add.to.map(time_of).transpose()?,
        reason: add.reason.clone(),
        by: by.clone(),
        at: unix_nanos(),
    };
    let mut id = 0;
    let changed = manifest.change(&by, |state| {
        id = state.next_hold;
        Some(Change::Hold(Hold { id, ..hold }))
    });
    changed.map_err(|error| tiers_failed(&error))?;
    terminal.data(id)?;
    terminal.say("held from now on; what was deleted before does not come back");
    Ok(Exit::Ok)
}

fn list(list: &HoldList, terminal: &Terminal) -> Result<Exit, Failed> {
    let manifest = manifest(&list.at, terminal)?;
    let state = manifest.now();
    if list.json {
        for hold in &state.holds {
            terminal.data(json!({
                "id": hold.id,
                "tenant": hold.tenant,
                "stream": hold.stream,
                "task": hold.task,
                "from": hold.from.map(full),
                "to": hold.to.map(full),
                "reason": hold.reason,
                "by": hold.by,
                "at": full(hold.at),
            }))?;
        }
        return Ok(Exit::Ok);
    }
    if state.holds.is_empty() {
        terminal.say("nothing is held");
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(["ID", "EVENTS", "REASON", "BY", "SINCE"]);
    for hold in &state.holds {
        table.row([
            hold.id.to_string(),
            words(hold),
            hold.reason.clone(),
            hold.by.clone(),
            full(hold.at),
        ]);
    }
    terminal.data(table)?;
    Ok(Exit::Ok)
}

fn remove(remove: &HoldRemove, terminal: &Terminal) -> Result<Exit, Failed> {
    let manifest = manifest(&remove.at, terminal)?;
    let id = remove.id;
    let mut is_there = false;
    let changed = manifest.change(&who(), |state| {
        is_there = state.holds.iter().any(|hold| hold.id == id);
        is_there.then_some(Change::Release { id })
    });
    changed.map_err(|error| tiers_failed(&error))?;
    if !is_there {
        let failed = Failed::new(Exit::NotFound, format!("there is no hold {id}"));
        return Err(failed.hint("`axiom events hold list` shows those there are"));
    }
    terminal.say(format_args!(
        "{id} is held no longer; retention decides from now on"
    ));
    Ok(Exit::Ok)
}

fn manifest(at: &EventsAt, terminal: &Terminal) -> Result<Manifest, Failed> {
    let shard = shard(at, terminal)?;
    Manifest::open(Arc::new(Machine), &shard.folder, 0).map_err(|error| tiers_failed(&error))
}

/// Which events, in the words of the command line.
fn words(hold: &Hold) -> String {
    let named = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={value}"));
    let timed = |name: &str, value: Option<i64>| value.map(|value| format!("{name}={}", full(value)));
    let words: Vec<String> = [
        named("tenant", &hold.tenant),
        named("stream", &hold.stream),
        named("task", &hold.task),
        timed("from", hold.from),
        timed("to", hold.to),
    ]
    .into_iter()
    .flatten()
    .collect();
    match words.is_empty() {
        true => "everything".to_owned(),
        false => words.join(" "),
    }
}

fn time_of(place: Place) -> Result<i64, Failed> {
    match place {
        Place::Time(time) => Ok(time),
        Place::Offset(offset) => {
            let failed = Failed::new(Exit::Usage, format!("{offset} is no time"));
            Err(failed.hint("write a time in UTC like 2026-07-28T09:00:00Z, or how long ago, like 10m"))
        }
    }
}

/// Who is at the keyboard, as far as the system says.
fn who() -> String {
    let names = ["USER", "LOGNAME", "USERNAME"];
    let named = names.iter().find_map(|name| std::env::var(name).ok());
    named
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unknown".to_owned())
}
