//! What an earlier supervisor left: orders that waited, tasks that run or have ended meanwhile, tasks that ended before.

use std::sync::Arc;
use std::time::Duration;

use axiom_events::{ReadError, Reader};
use axiom_sandbox::exit::{Exit, How};

use super::follow::EXIT;
use super::ledger::{At, LedgerPage, Pages, Stored, Told};
use super::view::Phase;
use super::{Shared, attempt, places, record};
use crate::schedule::Refused;

/// Of what happened to a task, how far back its last end is looked for.
const HAPPENED_MAX: usize = 64;

pub(super) fn all(shared: &Arc<Shared>, pages: Pages) {
    for (id, page) in pages {
        one(shared, &id, page);
    }
    shared.prune();
}

fn one(shared: &Arc<Shared>, id: &Arc<str>, page: LedgerPage) {
    let LedgerPage {
        created,
        order,
        restarts,
        over,
        killed,
        ending,
        is_told,
    } = page;
    let attempts = shared.ledger.attempts(id);
    let at = shared.ledger.at(id);
    // What it said was recorded before its end was written down.
    let stored = match ending.is_some() || over == attempts {
        true => at.next,
        false => shared.recorded_of(id, &at),
    };
    {
        let mut table = shared.table();
        let entry = table.add(id, Arc::clone(&order), created);
        entry.attempt = attempts;
        entry.restarts = restarts;
        entry.over = over;
        entry.killed = killed;
        entry.progress.change(|kept| {
            (kept.stored, kept.told) = (stored, at.told);
            kept.has_file = at != At::default();
        });
        if let Some(ending) = &ending {
            table.end(id, ending.clone());
        }
    }
    match ending {
        Some(ending) => {
            if is_told && !at.told.is_end() {
                shared.find_told(id);
                shared.tell_end(id, &order, ending.how.as_ref(), attempts, None);
            }
        }
        // It waited; its deadline begins anew, since nobody could have started it meanwhile.
        None if attempts == 0 => attempt::queue_again(shared, id),
        None if over == attempts => rest(shared, id, attempts, at.told),
        None => {
            if shared.exit(id, attempts).is_some() && at.told < Told::rests(attempts) {
                shared.find_told(id);
            }
            watch(shared, id, attempts);
        }
    }
}

/// Its last attempt is over, and it waits for the next one: as long as if that had ended just now.
fn rest(shared: &Arc<Shared>, id: &Arc<str>, attempt: u32, told: Told) {
    let (order, pause) = {
        let mut table = shared.table();
        let Some(entry) = table.tasks.get_mut(id) else {
            return;
        };
        entry.phase = Phase::Resting;
        let restarts = u32::try_from(entry.restarts.len()).unwrap_or(u32::MAX);
        let before = restarts.saturating_sub(1);
        let pause = entry.order.restart.pause_before(before, true, 0);
        (Arc::clone(&entry.order), pause.unwrap_or(Duration::ZERO))
    };
    if shared.options.recording.is_some() && told < Told::rests(attempt) {
        shared.find_told(id);
        let how: Option<How> = shared.exit(id, attempt).map(|exit| exit.how);
        shared.tell_end(id, &order, how.as_ref(), attempt, Some(pause));
    }
    let work = attempt::rest(Arc::clone(shared), Arc::clone(id), pause);
    shared.also("a task that rests", work);
}

/// It runs, or has ended and nobody has told it: both is found out by looking.
fn watch(shared: &Arc<Shared>, id: &Arc<str>, attempt: u32) {
    let adopted = {
        let mut table = shared.table();
        let Some(order) = table.tasks.get(id).map(|entry| Arc::clone(&entry.order)) else {
            return;
        };
        let job = places::job(shared, id, &order);
        let adopted = table.scheduler.adopt(shared.now(), job);
        if let (Ok(lease), Some(entry)) = (&adopted, table.tasks.get_mut(id)) {
            entry.lease = Some(*lease);
            entry.phase = Phase::Running;
            entry.said.get_or_insert_default();
        }
        adopted
    };
    match adopted {
        Ok(lease) => shared.also(
            "an adopted task",
            attempt::go_on(Arc::clone(shared), Arc::clone(id), lease, attempt),
        ),
        Err(Refused { why, .. }) => {
            tracing::error!(task = %id, %why, "a task that was left cannot be watched; it is left as it is");
        }
    }
}

impl Shared {
    /// How much of a task is recorded: with what was handed to the log last, if it is there.
    fn recorded_of(&self, id: &str, at: &At) -> Stored {
        let Some(recording) = &self.options.recording else {
            return at.next;
        };
        if at.stored == at.next {
            return at.stored;
        }
        match last_offset(&recording.log.reader(), &record::said(id)) {
            Ok(last) if last.is_some_and(|last| last >= at.floor) => at.next,
            Ok(_) => at.stored,
            Err(error) => {
                // None may be missing.
                tracing::error!(task = %id, %error, "how much of a task is recorded cannot be asked; some may be there twice");
                at.stored
            }
        }
    }

    /// Asks the log which of a task's ends it has.
    fn find_told(&self, id: &str) {
        let (Some(recording), Some(progress)) = (&self.options.recording, self.progress(id)) else {
            return;
        };
        match last_end(&recording.log.reader(), id) {
            Ok(told) => drop(progress.change(|kept| kept.told = kept.told.max(told))),
            Err(error) => {
                tracing::error!(task = %id, %error, "whether a task's end is recorded cannot be asked; it may be there twice");
            }
        }
    }

    /// How an attempt ended, if it has.
    fn exit(&self, id: &str, attempt: u32) -> Option<Exit> {
        let path = self.ledger.attempt(id, attempt).join(EXIT);
        // What cannot be read is told by whoever watches it.
        Exit::read(&path).ok().flatten()
    }
}

fn last_offset(reader: &Reader, stream: &str) -> Result<Option<u64>, ReadError> {
    let hits = reader.stream_backward(stream, u64::MAX, 1)?;
    Ok(hits.first().map(|hit| hit.recorded().offset))
}

fn last_end(reader: &Reader, id: &str) -> Result<Told, ReadError> {
    let hits = reader.stream_backward(&record::happened(id), u64::MAX, HAPPENED_MAX)?;
    let ends = hits.iter().filter_map(|hit| {
        let event = hit.recorded().event;
        if event.kind != record::ENDED {
            return None;
        }
        let body: serde_json::Value = serde_json::from_slice(event.body).ok()?;
        let attempt = u32::try_from(body.get("attempt")?.as_u64()?).ok()?;
        Some(match body.get("again_in_ms") {
            Some(_) => Told::rests(attempt),
            None => Told::ended(attempt),
        })
    });
    Ok(ends.max().unwrap_or_default())
}
