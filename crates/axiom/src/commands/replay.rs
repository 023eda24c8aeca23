//! `axiom replay`: recorded calls, made again, and how their answers differ.

mod again;
mod show;

use axiom_events::{Next, Reader};

use crate::attach::{Own, with_gateway_of};
use crate::cli::Replay;
use crate::events::Place;
use crate::outcome::{Exit, Failed};
use crate::replay::diff::Rules;
use crate::replay::recorded::{Call, Refusal};
use crate::terminal::Terminal;
pub(crate) use again::ADDRESSED;
use again::{Again, Outcome, To};

use super::events::{open, shard, unreadable};

pub async fn run(replay: &Replay, terminal: &Terminal) -> Result<Exit, Failed> {
    let reader = open(&shard(&replay.at, terminal)?)?;
    let found = match &replay.call {
        Some(call) => vec![one(&reader, call)?],
        None => many(&reader, replay)?,
    };
    let rules = Rules {
        ignored: replay.ignore.clone(),
        ignores_times: replay.ignore_times,
        ..Rules::default()
    };
    let to = To::parse(replay.to.as_deref())?;
    let own = match &to {
        To::Url(endpoint) => Own::Server(endpoint.clone()),
        To::Same | To::Server(_) => Own::Configured,
    };
    let is_one = replay.call.is_some();
    let outcomes = with_gateway_of(&replay.at.file, own, terminal, async |base: &str| {
        let mut again = Again::new(base, &to, &rules, replay, terminal);
        let mut outcomes = Vec::new();
        for found in found {
            outcomes.push(again.make(found, is_one).await?);
        }
        again.close().await;
        Ok(outcomes)
    })
    .await?;
    match outcomes.as_slice() {
        [outcome] if is_one => show::one(outcome, replay, terminal),
        outcomes => show::many(outcomes, replay, terminal),
    }
}

/// A call, or where it is and why it cannot be made again.
type Found = Result<Call, (u64, Refusal)>;

/// The call that is named, by its id or by its event's offset.
fn one(reader: &Reader, named: &str) -> Result<Found, Failed> {
    let unreadable = |error| unreadable(&error);
    let hit = match named.parse() {
        Ok(offset) => reader.event(offset).map_err(unreadable)?,
        Err(_) => {
            let named = named.to_lowercase();
            reader.task_tail(&named, 1).map_err(unreadable)?.pop()
        }
    };
    let Some(hit) = hit else {
        let failed = Failed::new(Exit::NotFound, format!("no call `{named}` was recorded"));
        return Err(failed.hint(
            "name it by its offset or by its `task`: `axiom events tail` shows the one, and with --json both",
        ));
    };
    let recorded = hit.recorded();
    Ok(Call::of(&recorded).map_err(|refusal| (recorded.offset, refusal)))
}

/// The newest calls that are wanted, oldest first. Calls that were repetitions themselves are left out.
fn many(reader: &Reader, replay: &Replay) -> Result<Vec<Found>, Failed> {
    let mut found = Vec::new();
    let first = match replay.from {
        Some(Place::Offset(offset)) => offset.max(reader.first()),
        _ => reader.first(),
    };
    let since = match replay.from {
        Some(Place::Time(time)) => time,
        _ => i64::MIN,
    };
    let mut end = reader.end();
    while end > first && found.len() < replay.limit {
        let Next::Block(block) = reader.at(end - 1).map_err(|error| unreadable(&error))? else {
            end -= 1;
            continue;
        };
        for recorded in block.events().rev() {
            let event = &recorded.event;
            let is_here = (first..end).contains(&recorded.offset) && event.time >= since;
            if found.len() == replay.limit || !is_here || event.kind != "gateway.call" {
                continue;
            }
            if !replay.filter.as_ref().is_none_or(|filter| filter.wants(event)) || is_repetition(event.body) {
                continue;
            }
            found.push(Call::of(&recorded).map_err(|refusal| (recorded.offset, refusal)));
        }
        end = block.offsets().start;
    }
    found.reverse();
    if found.is_empty() {
        let failed = Failed::new(Exit::NotFound, "no recorded call is wanted by that filter");
        return Err(failed.hint("`axiom events tail --filter '...'` shows what a filter finds"));
    }
    Ok(found)
}

fn is_repetition(body: &[u8]) -> bool {
    let body: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    body.is_some_and(|body| body.get("replay_of").is_some())
}

impl Outcome {
    fn exit(&self) -> Exit {
        match self {
            Outcome::Compared(compared) if compared.is_equal() => Exit::Ok,
            Outcome::Compared(_) => Exit::Failure,
            Outcome::Refused { exit, .. } | Outcome::Failed { exit, .. } => *exit,
        }
    }
}
