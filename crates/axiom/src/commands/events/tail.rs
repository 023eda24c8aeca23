//! `axiom events tail`: the newest events, and those that come.

use std::time::Duration;

use axiom_core::time;
use axiom_events::{Next, Reader, Recorded};

use super::{configured, open, shard, tell_gap, unreadable};
use crate::cli::Tail;
use crate::events::{human, json};
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// Pause between two looks at the files: as soon as a person would notice.
const PAUSE: Duration = Duration::from_millis(100);

pub async fn run(tail: &Tail, terminal: &Terminal) -> Result<Exit, Failed> {
    if let Some(url) = &tail.redis {
        let url = match url {
            Some(url) => url.clone(),
            None => shared_by_configuration(tail, terminal)?,
        };
        return super::shared::run(tail, &url, terminal).await;
    }
    let reader = open(&shard(&tail.at, terminal)?)?;
    let mut at = reader.end();
    let newest = newest(&reader, tail, terminal)?;
    if !terminal.lines(&newest)? || !tail.follow {
        return Ok(Exit::Ok);
    }
    let mut signals = Signals::listen()?;
    let mut unread = std::pin::pin!(terminal.unread());
    loop {
        tokio::select! {
            // cancel-safe: a signal that was not taken is still there.
            () = signals.interrupted() => return Ok(Exit::Interrupted),
            // Nothing may happen for hours, and until then nothing would be written that fails.
            () = &mut unread => return Ok(Exit::Ok),
            // cancel-safe: a timer.
            () = time::sleep(PAUSE) => {}
        }
        if !more(&reader, &mut at, tail, terminal)? {
            return Ok(Exit::Ok);
        }
    }
}

fn shared_by_configuration(tail: &Tail, terminal: &Terminal) -> Result<String, Failed> {
    let redis = configured(&tail.at, terminal)?.redis.map(|redis| redis.url);
    redis.ok_or_else(|| {
        Failed::new(Exit::NotFound, "the configuration names no Redis").hint(
            "add redis = \"redis://127.0.0.1:6379\" to its section [events], or name one behind --redis",
        )
    })
}

/// The newest events that are wanted, as lines, oldest first.
fn newest(reader: &Reader, tail: &Tail, terminal: &Terminal) -> Result<Vec<u8>, Failed> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let first = reader.first();
    let mut end = reader.end();
    while end > first && lines.len() < tail.lines {
        let Next::Block(block) = reader.at(end - 1).map_err(|error| unreadable(&error))? else {
            // What cannot be read is told where the log is read in its order.
            end -= 1;
            continue;
        };
        let wanted = block.events().rev().filter(|recorded| recorded.offset < end);
        for recorded in wanted.filter(|recorded| is_wanted(tail, recorded)) {
            if lines.len() == tail.lines {
                break;
            }
            let mut line = Vec::new();
            write(&mut line, &recorded, tail, terminal);
            lines.push(line);
        }
        end = block.offsets().start;
    }
    Ok(lines.into_iter().rev().flatten().collect())
}

/// Shows what has come since. False when nobody reads it any more.
fn more(reader: &Reader, at: &mut u64, tail: &Tail, terminal: &Terminal) -> Result<bool, Failed> {
    reader.refresh().map_err(|error| unreadable(&error))?;
    loop {
        let mut lines = Vec::new();
        match reader.at(*at).map_err(|error| unreadable(&error))? {
            Next::End => return Ok(true),
            Next::Gap(gap) => {
                tell_gap(reader, &gap, terminal)?;
                *at = gap.end;
            }
            Next::Block(block) => {
                for recorded in block.events().filter(|recorded| recorded.offset >= *at) {
                    if is_wanted(tail, &recorded) {
                        write(&mut lines, &recorded, tail, terminal);
                    }
                }
                *at = block.offsets().end;
            }
        }
        if !lines.is_empty() && !terminal.lines(&lines)? {
            return Ok(false);
        }
    }
}

/// What groups and projections keep for themselves is not what happened: it is shown to those who ask for it by name.
fn is_wanted(tail: &Tail, recorded: &Recorded<'_>) -> bool {
    let is_bookkeeping = recorded.event.stream.starts_with('$');
    tail.filter.wants(&recorded.event) && (!is_bookkeeping || tail.filter.names_streams())
}

fn write(out: &mut Vec<u8>, recorded: &Recorded<'_>, tail: &Tail, terminal: &Terminal) {
    if tail.json {
        json(out, recorded);
    } else {
        human(out, recorded, &terminal.for_data());
    }
}
