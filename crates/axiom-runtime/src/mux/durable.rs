//! The one reader that must get everything: the event store.
//!
//! It takes what waits of one task after the other, in turns, as a [`Batch`], and says when that is stored; only then the
//! task may write as much again. A batch that is dropped before goes back to where it was.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::block::Block;
use super::hub::Shared;
use super::lock;
use super::writer::{Task, TaskState};

/// Reads for the store. There is one at a time; after it was dropped, another one can be made and goes on.
#[derive(Debug)]
pub struct DurableReader {
    pub(super) shared: Arc<Shared>,
}

/// Everything that waited of one task, in its order.
#[derive(Debug)]
pub struct Batch {
    shared: Arc<Shared>,
    task: Arc<Task>,
    blocks: VecDeque<Arc<Block>>,
}

/// The tasks of which something waits, each once, unless a batch of it is being stored.
#[derive(Debug, Default)]
pub(super) struct Ready {
    tasks: Mutex<VecDeque<Arc<Task>>>,
    pub(super) news: Notify,
}

impl DurableReader {
    /// The next batch, or None when the hub is closed, every writer gone and everything handed out.
    ///
    /// # Cancel safety
    /// Safe: a batch is taken only when it is returned.
    pub async fn next(&mut self) -> Option<Batch> {
        loop {
            // Asked first: after it is over nothing is added.
            let is_over = self.shared.is_over();
            if let Some(batch) = self.next_now() {
                return Some(batch);
            }
            if is_over {
                return None;
            }
            self.shared.ready.news.notified().await;
        }
    }

    /// A batch that waits already. Several of different tasks may be held at once.
    pub fn next_now(&mut self) -> Option<Batch> {
        let task = lock(&self.shared.ready.tasks).pop_front()?;
        let blocks = {
            let mut state = lock(&task.state);
            state.is_in_hand = true;
            std::mem::take(&mut state.waiting)
        };
        Some(Batch {
            shared: Arc::clone(&self.shared),
            task,
            blocks,
        })
    }
}

impl Drop for DurableReader {
    fn drop(&mut self) {
        self.shared.has_durable.store(false, SeqCst);
    }
}

impl Batch {
    pub fn task(&self) -> &Arc<str> {
        &self.task.id
    }

    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter().map(|block| &**block)
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        self.blocks().map(Block::bytes).sum()
    }

    /// All of it is safe now: its task gets its credit back.
    pub fn stored(mut self) {
        let bytes = self.bytes();
        self.blocks.clear();
        self.shared.budget.release(&self.task.account, bytes);
    }
}

impl Drop for Batch {
    /// The task takes its turn again, with what came meanwhile and, if it was not stored, with this before it.
    fn drop(&mut self) {
        let mut state = lock(&self.task.state);
        state.is_in_hand = false;
        let newer = std::mem::replace(&mut state.waiting, std::mem::take(&mut self.blocks));
        state.waiting.extend(newer);
        if !state.waiting.is_empty() {
            self.shared.ready.push(&self.task);
        }
    }
}

impl Ready {
    /// One more block of a task waits. The task's state is locked, so that it is listed once.
    pub(super) fn add(&self, task: &Arc<Task>, state: &mut TaskState, block: Arc<Block>) {
        let is_first = state.waiting.is_empty();
        state.waiting.push_back(block);
        if is_first && !state.is_in_hand {
            self.push(task);
        }
    }

    fn push(&self, task: &Arc<Task>) {
        lock(&self.tasks).push_back(Arc::clone(task));
        self.news.notify_one();
    }
}
