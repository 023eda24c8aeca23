//! What an earlier supervisor left: orders that waited, tasks that run or have ended meanwhile, tasks that ended before.

use std::sync::Arc;

use super::ledger::{LedgerPage, Pages};
use super::view::Phase;
use super::{Shared, attempt, places};
use crate::schedule::Refused;

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
        ending,
    } = page;
    let attempts = shared.ledger.attempts(id);
    let is_over = ending.is_some();
    {
        let mut table = shared.table();
        let entry = table.add(id, Arc::clone(&order), created);
        entry.attempt = attempts;
        entry.restarts = restarts;
        entry.stored.send_replace(shared.ledger.stored(id));
        if is_over {
            entry.phase = Phase::Ended;
            entry.ended.send_replace(ending);
        }
    }
    match (is_over, attempts) {
        (true, _) => {}
        // It waited; its deadline begins anew, since nobody could have started it meanwhile.
        (false, 0) => attempt::queue_again(shared, id),
        (false, _) => watch(shared, id, attempts),
    }
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
