//! `axiom events export`: events as JSON, one on each line.

use axiom_core::time::unix_nanos;
use axiom_events::{Next, Reader, Recorded};

use super::{open, shard, tell_gap, unreadable};
use crate::cli::{Export, ExportFormat};
use crate::events::{Place, json};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub fn run(export: &Export, terminal: &Terminal) -> Result<Exit, Failed> {
    let ExportFormat::Ndjson = export.format;
    let reader = open(&shard(&export.at, terminal)?)?;
    check_places(export, &reader, terminal)?;
    let mut at = reader.first();
    if let Some(Place::Offset(from)) = export.from {
        at = at.max(from);
    }
    let mut end = reader.end();
    if let Some(Place::Offset(to)) = export.to {
        end = end.min(to);
    }
    let mut is_complete = true;
    // Out of files that other tenants' events are still in.
    let mut retired = 0;
    let mut lines = Vec::new();
    while at < end {
        match reader.at(at).map_err(|error| unreadable(&error))? {
            Next::End => break,
            Next::Gap(gap) => {
                is_complete &= tell_gap(&reader, &gap, terminal)?;
                at = gap.end;
            }
            Next::Block(block) => {
                retired += block.retired();
                lines.clear();
                let here = block
                    .events()
                    .filter(|recorded| (at..end).contains(&recorded.offset));
                for recorded in here.filter(|recorded| is_wanted(export, recorded)) {
                    json(&mut lines, &recorded);
                }
                at = block.offsets().end;
                if !lines.is_empty() && !terminal.lines(&lines)? {
                    return Ok(Exit::Ok);
                }
            }
        }
    }
    if retired > 0 {
        terminal.say(format_args!("{retired} events in between were retired"));
    }
    if is_complete {
        return Ok(Exit::Ok);
    }
    Err(Failed::new(
        Exit::Failure,
        "some events could not be read and are missing above",
    ))
}

/// What cannot find anything is a slip, or an offset of another log.
fn check_places(export: &Export, reader: &Reader, terminal: &Terminal) -> Result<(), Failed> {
    let is_backwards = match (export.from, export.to) {
        (Some(Place::Offset(from)), Some(Place::Offset(to))) => from > to,
        (Some(Place::Time(from)), Some(Place::Time(to))) => from > to,
        _ => false,
    };
    if is_backwards {
        return Err(Failed::new(Exit::Usage, "--to is before --from"));
    }
    let mark = terminal.yellow("warning:");
    match export.from {
        Some(Place::Offset(from)) if from > reader.end() => {
            terminal.say(format_args!(
                "{mark} there is no event {from} yet; the next is {}",
                reader.end()
            ));
        }
        Some(Place::Time(from)) if from > unix_nanos() => {
            terminal.say(format_args!("{mark} --from is in the future"));
        }
        _ => {}
    }
    Ok(())
}

/// Times are producers' and need not ascend: each event is asked for its own.
fn is_wanted(export: &Export, recorded: &Recorded<'_>) -> bool {
    let time = recorded.event.time;
    let since = |place: &Place| matches!(place, Place::Time(from) if time < *from);
    let until = |place: &Place| matches!(place, Place::Time(to) if time >= *to);
    !export.from.as_ref().is_some_and(since)
        && !export.to.as_ref().is_some_and(until)
        && export.filter.wants(&recorded.event)
}
