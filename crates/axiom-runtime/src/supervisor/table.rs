//! All tasks that there are, and the scheduler that knows them by its tickets.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axiom_core::channel::{Sender, watch};
use tokio::sync::Notify;

use super::Unknown;
use super::ledger::Stored;
use super::steer::Said;
use super::view::{AgentView, Ending, Phase};
use crate::order::{Order, OwnerNames};
use crate::schedule::{Lease, Scheduler, Ticket};

/// Held for moments only, never while somebody waits.
#[derive(Debug)]
pub(crate) struct Table {
    pub(super) scheduler: Scheduler<Arc<str>>,
    pub(super) tasks: BTreeMap<Arc<str>, Entry>,
    children: HashMap<String, Vec<Arc<str>>>,
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
    /// When it was started again, those within the window of its policy: nanoseconds since 1970.
    pub(super) restarts: Vec<i64>,
    pub(super) started: Option<i64>,
    pub(super) pid: Option<i32>,
    /// Of its present or last attempt.
    pub(super) read_bytes: Arc<AtomicU64>,
    pub(super) is_frozen: bool,
    pub(super) agent: Option<AgentView>,
    /// To whoever watches it, while it runs.
    pub(super) steering: Option<Sender<Said>>,
    /// Somebody wants its end: who and why.
    pub(super) killed: Option<String>,
    /// Wakes whoever waits before a new start.
    pub(super) woken: Arc<Notify>,
    /// How much of it is recorded.
    pub(super) stored: watch::Sender<Stored>,
    pub(super) ended: watch::Sender<Option<Ending>>,
}

impl Table {
    pub(super) fn new(scheduler: Scheduler<Arc<str>>) -> Table {
        Table {
            scheduler,
            tasks: BTreeMap::new(),
            children: HashMap::new(),
            keys: HashMap::new(),
            numbers: 0,
        }
    }

    pub(super) fn entry(&self, id: &str) -> Result<&Entry, Unknown> {
        self.tasks.get(id).ok_or_else(|| Unknown(id.to_owned()))
    }

    pub(super) fn children(&self, id: &str) -> Vec<Arc<str>> {
        self.children.get(id).cloned().unwrap_or_default()
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
            children.push(Arc::clone(id));
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
            restarts: Vec::new(),
            started: None,
            pid: None,
            read_bytes: Arc::default(),
            is_frozen: false,
            agent: None,
            steering: None,
            killed: None,
            woken: Arc::new(Notify::new()),
            stored: watch::channel(Stored::default()).0,
            ended: watch::channel(None).0,
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
            children.retain(|child| **child != *id);
            if children.is_empty() {
                self.children.remove(parent);
            }
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
