//! All tasks that there are, and the scheduler that knows them by its tickets.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use axiom_core::channel::watch;
use tokio::sync::Notify;

use super::ledger::{Stored, Told};
use super::pages::index::Index;
use super::steer::Said;
use super::view::{AgentView, Ending, Phase};
use super::{Unknown, lock};
use crate::order::{Order, OwnerNames};
use crate::schedule::{Lease, Scheduler, Ticket};

/// Held for moments only, never while somebody waits.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) scheduler: Scheduler<Arc<str>>,
    pub(super) tasks: BTreeMap<Arc<str>, Entry>,
    /// By their numbers, and so in the order in which they came.
    children: HashMap<String, BTreeMap<u64, Arc<str>>>,
    /// Those that have ended and may be forgotten, by when they ended.
    ended: BTreeSet<(i64, Arc<str>)>,
    keys: HashMap<(OwnerNames, String), Arc<str>>,
    numbers: u64,
}

/// One task.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: Arc<str>,
    /// In the order in which they came to this supervisor.
    pub(super) number: u64,
    pub(super) order: Arc<Order>,
    pub(super) phase: Phase,
    pub(super) created: i64,
    /// While it waits.
    pub(super) ticket: Option<Ticket>,
    pub(super) lease: Option<Lease>,
    pub(super) attempt: u32,
    /// Of its attempts, the last one that is over.
    pub(super) over: u32,
    /// When it was started again, those within the window of its policy: nanoseconds since 1970.
    pub(super) restarts: Vec<i64>,
    pub(super) started: Option<i64>,
    pub(super) pid: Option<i32>,
    pub(super) is_frozen: bool,
    pub(super) agent: Option<AgentView>,
    /// What is said to it and was not heard by whoever watches it; `None` while nobody does.
    pub(super) said: Option<VecDeque<Said>>,
    /// Somebody wants its end: who and why.
    pub(super) killed: Option<String>,
    pub(super) progress: Arc<Progress>,
    ending: Option<Ending>,
    /// Those who wait for its end, if somebody does.
    awaited: Option<watch::Sender<Option<Ending>>>,
}

/// How far a task has come, as those know who read it and those who record it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Of its present or last attempt.
    pub(super) read_bytes: AtomicU64,
    kept: Mutex<Kept>,
    /// Of the attempt that is watched.
    index: Mutex<Option<Arc<Index>>>,
    /// Wakes whoever watches the task or waits before its next start: something was said to it or recorded of it, or its end is wanted.
    pub(super) news: Notify,
}

/// What is safe of a task.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) stored: Stored,
    pub(super) told: Told,
    /// The ledger has a file about this.
    pub(super) has_file: bool,
}

impl Progress {
    pub(super) fn kept(&self) -> Kept {
        *lock(&self.kept)
    }

    pub(super) fn stored(&self) -> Stored {
        self.kept().stored
    }

    /// Changes it, tells whoever watches, and gives what it is then.
    pub(super) fn change(&self, change: impl FnOnce(&mut Kept)) -> Kept {
        let kept = {
            let mut kept = lock(&self.kept);
            change(&mut kept);
            *kept
        };
        self.news.notify_one();
        kept
    }

    pub(super) fn index(&self) -> Option<Arc<Index>> {
        lock(&self.index).clone()
    }

    /// An attempt is watched from now on, or not any more.
    pub(super) fn set_index(&self, index: Option<Arc<Index>>) {
        *lock(&self.index) = index;
    }

    /// A new attempt begins: nothing of it is recorded yet.
    pub(super) fn begin_attempt(&self, attempt: u32) -> Stored {
        let mut kept = lock(&self.kept);
        if kept.stored.attempt != attempt {
            kept.stored = Stored {
                attempt,
                lines: kept.stored.lines,
                ..Stored::default()
            };
        }
        kept.stored
    }
}

impl Entry {
    pub(super) fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// To be told of its end.
    pub(super) fn watch_end(&mut self) -> watch::Receiver<Option<Ending>> {
        let ending = &self.ending;
        let awaited = self
            .awaited
            .get_or_insert_with(|| watch::channel(ending.clone()).0);
        awaited.subscribe()
    }
}

impl Table {
    pub(super) fn new(scheduler: Scheduler<Arc<str>>) -> Table {
        Table {
            scheduler,
            tasks: BTreeMap::new(),
            children: HashMap::new(),
            ended: BTreeSet::new(),
            keys: HashMap::new(),
            numbers: 0,
        }
    }

    pub(super) fn entry(&self, id: &str) -> Result<&Entry, Unknown> {
        self.tasks.get(id).ok_or_else(|| Unknown(id.to_owned()))
    }

    pub(super) fn children(&self, id: &str) -> Vec<Arc<str>> {
        let children = self.children.get(id);
        children.map_or_else(Vec::new, |children| children.values().cloned().collect())
    }

    /// The ids that begin like this.
    pub(super) fn beginning<'a>(&'a self, beginning: &'a str) -> impl Iterator<Item = &'a Arc<str>> {
        let from = self
            .tasks
            .range::<str, _>((Bound::Included(beginning), Bound::Unbounded));
        from.map(|(id, _)| id)
            .take_while(move |id| id.starts_with(beginning))
    }

    /// It has ended for good.
    pub(super) fn end(&mut self, id: &str, ending: Ending) {
        let Some(entry) = self.tasks.get_mut(id) else {
            return;
        };
        self.ended.insert((ending.ended, Arc::clone(&entry.id)));
        entry.phase = Phase::Ended;
        entry.ticket = None;
        entry.ending = Some(ending);
        if let Some(awaited) = entry.awaited.take() {
            awaited.send_replace(entry.ending.clone());
        }
    }

    /// The one that ended longest ago, if it ended before that time or there are more of them than this. It is given once.
    pub(super) fn take_old(&mut self, before: i64, kept_max: usize) -> Option<Arc<str>> {
        let is_too_many = self.ended.len() > kept_max;
        let (ended, id) = self.ended.first()?;
        if !is_too_many && *ended >= before {
            return None;
        }
        let old = (*ended, Arc::clone(id));
        self.ended.remove(&old);
        Some(old.1)
    }

    /// The task of an earlier order with the same key.
    pub(super) fn with_key(&self, order: &Order) -> Option<&Arc<str>> {
        let key = order.key.clone()?;
        self.keys.get(&(order.owner.clone(), key))
    }

    pub(super) fn add(&mut self, id: &Arc<str>, order: Arc<Order>, created: i64) -> &mut Entry {
        self.numbers += 1;
        if let Some(parent) = &order.parent {
            let children = self.children.entry(parent.clone()).or_default();
            children.insert(self.numbers, Arc::clone(id));
        }
        if let Some(key) = &order.key {
            let key = (order.owner.clone(), key.clone());
            self.keys.insert(key, Arc::clone(id));
        }
        let entry = Entry {
            id: Arc::clone(id),
            number: self.numbers,
            order,
            phase: Phase::Queued,
            created,
            ticket: None,
            lease: None,
            attempt: 0,
            over: 0,
            restarts: Vec::new(),
            started: None,
            pid: None,
            is_frozen: false,
            agent: None,
            said: None,
            killed: None,
            progress: Arc::default(),
            ending: None,
            awaited: None,
        };
        self.tasks.entry(Arc::clone(id)).or_insert(entry)
    }

    pub(super) fn forget(&mut self, id: &str) {
        let Some(entry) = self.tasks.remove(id) else {
            return;
        };
        if let Some(parent) = &entry.order.parent
            && let Some(children) = self.children.get_mut(parent)
        {
            children.remove(&entry.number);
            if children.is_empty() {
                self.children.remove(parent);
            }
        }
        if let Some(ending) = &entry.ending {
            self.ended.remove(&(ending.ended, Arc::clone(&entry.id)));
        }
        if let Some(key) = &entry.order.key {
            self.keys.remove(&(entry.order.owner.clone(), key.clone()));
        }
    }

    /// A task and all below it: those that are wanted by others come before them.
    pub(super) fn tree(&self, id: &Arc<str>) -> Vec<Arc<str>> {
        let mut all = vec![Arc::clone(id)];
        let mut at = 0;
        while let Some(next) = all.get(at) {
            let children = self.children(next);
            // A task has one parent and came after it, so none is met twice.
            all.extend(children);
            at += 1;
        }
        all.reverse();
        all
    }
}
