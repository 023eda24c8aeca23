//! The tasks in one conversation with a server. Each keeps the conversation open while it runs, and for as long as its
//! client may come for what it came to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::time;
use axiom_core::time::Instant;

use super::Attendant;
use crate::fault::Fault;
use crate::upstream::Link;

/// A task that says nothing of its end, or of one in the far future, is kept this long.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// An outcome that its client has seen is kept this long after, should the answer have been lost.
const SEEN_KEPT: Duration = Duration::from_secs(300);
/// Tasks that run. Each that is attended to has a request waiting at the server.
const RUNNING_MAX: usize = 1_000;
/// Tasks that have ended, and what they came to. A server that is asked again says it again, as long as it keeps it.
const ENDED_MAX: usize = 1_000;
const ENDED_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The tasks in one conversation.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    until: Instant,
    attendant: Option<Arc<Attendant>>,
    /// Questions of former attendants.
    asked: usize,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    at: Instant,
    /// Bytes of what it came to, as far as they are kept here.
    len: usize,
}

impl Tasks {
    /// Keeps the conversation open for the task's sake, until it ends or its time has passed since it was last seen to run.
    pub(crate) fn hold(&self, id: &str, ttl: Option<Duration>) {
        let mut held = self.lock();
        if let Some(held) = held.get_mut(id) {
            held.until = held.until.max(end_of(ttl));
        } else if has_room(&held) {
            held.insert(id.to_owned(), Held::new(ttl));
        }
    }

    /// Whether one more may be begun.
    pub(crate) fn check_room(&self, link: &Link) -> Result<(), Fault> {
        match has_room(&self.lock()) {
            true => Ok(()),
            false => Err(self.full(link)),
        }
    }

    pub(super) fn full(&self, link: &Link) -> Fault {
        Fault::TooManyTasks {
            server: link.upstream.name.to_string(),
            tasks_max: RUNNING_MAX,
        }
    }

    /// The task's attendant. If there was none, a new one, who is to begin and to stay until then. `None` if there is no
    /// room for the task.
    pub(super) fn attendant(
        &self,
        id: &str,
        ttl: Option<Duration>,
    ) -> Option<(Arc<Attendant>, Option<Instant>)> {
        let mut held = self.lock();
        if !held.contains_key(id) && !has_room(&held) {
            return None;
        }
        let held = held.entry(id.to_owned()).or_insert_with(|| Held::new(ttl));
        if let Some(attendant) = &held.attendant {
            return Some((Arc::clone(attendant), None));
        }
        let attendant = Arc::new(Attendant::new(held.asked));
        held.attendant = Some(Arc::clone(&attendant));
        Some((attendant, Some(held.until)))
    }

    /// The task's attendant, if there is one.
    pub(super) fn attended(&self, id: &str) -> Option<Arc<Attendant>> {
        self.lock().get(id).and_then(|held| held.attendant.clone())
    }

    /// Nobody attends to the task any more, and it is kept: it may go on. Its questions' names stay used.
    pub(super) fn unattend(&self, id: &str, by: &Arc<Attendant>) {
        if let Some(held) = self.lock().get_mut(id)
            && held
                .attendant
                .take_if(|attendant| Arc::ptr_eq(attendant, by))
                .is_some()
        {
            held.asked = by.asked();
        }
    }

    /// The task has come to something, of which `len` bytes are kept. What ended longest ago makes room.
    pub(crate) fn ended(&self, id: &str, len: usize) {
        let mut held = self.lock();
        if let Some(held) = held.get_mut(id) {
            held.ended = Some(Ended { at: time::now(), len });
        }
        loop {
            let (mut count, mut bytes) = (0, 0_usize);
            let mut first: Option<(Instant, &String)> = None;
            for (other, ended) in held.iter().filter_map(|(id, held)| Some((id, held.ended?))) {
                count += 1;
                bytes = bytes.saturating_add(ended.len);
                if other != id && first.is_none_or(|(at, _)| ended.at < at) {
                    first = Some((ended.at, other));
                }
            }
            let Some((_, first)) = first.filter(|_| count > ENDED_MAX || bytes > ENDED_BYTES_MAX) else {
                return;
            };
            let first = first.clone();
            held.remove(&first);
        }
    }

    /// The client has seen what the task came to, or that it has ended: the conversation is not kept for it much longer.
    pub(crate) fn seen(&self, id: &str) {
        if let Some(held) = self.lock().get_mut(id) {
            held.until = held.until.min(time::now() + SEEN_KEPT);
        }
    }

    /// The task was cancelled: nobody waits for it any more.
    pub(crate) fn dismiss(&self, id: &str) {
        let held = self.lock().remove(id);
        if let Some(attendant) = held.and_then(|held| held.attendant) {
            attendant.dismiss();
        }
    }

    /// The conversation has ended: nobody must go on asking on it.
    pub(crate) fn lose_all(&self, fault: &Fault) {
        let held = std::mem::take(&mut *self.lock());
        for attendant in held.into_values().filter_map(|held| held.attendant) {
            if !attendant.has_ended() {
                attendant.lose(fault);
            }
        }
    }

    /// The task has ended, and its client has what it came to.
    pub(crate) fn release(&self, id: &str) {
        self.lock().remove(id);
    }

    /// True while a task is kept.
    pub(crate) fn is_any(&self) -> bool {
        let now = time::now();
        self.lock().values().any(|held| held.until > now)
    }

    /// Forgets tasks whose time has passed.
    pub(crate) fn sweep(&self) {
        let now = time::now();
        self.lock().retain(|_, held| held.until > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        // No critical section leaves the map half-changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn new(ttl: Option<Duration>) -> Held {
        Held {
            until: end_of(ttl),
            attendant: None,
            asked: 0,
            ended: None,
        }
    }
}

fn end_of(ttl: Option<Duration>) -> Instant {
    time::now() + ttl.unwrap_or(KEPT_MAX).min(KEPT_MAX)
}

/// What has ended takes no room from what is to begin.
fn has_room(held: &HashMap<String, Held>) -> bool {
    // Most conversations have few tasks, and need not be counted.
    held.len() < RUNNING_MAX || held.values().filter(|held| held.ended.is_none()).count() < RUNNING_MAX
}
