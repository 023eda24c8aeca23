//! The readers that look on: terminal, SSE, WebSocket, MCP notifications.
//!
//! None of them holds up a task. Each has a queue of its own, bounded in bytes; one that falls behind loses the oldest lines
//! and is told which: by task, with their first and last number, before anything newer of that task. It can ask the store
//! for them.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use super::block::{Block, Numbered, Stream};
use super::hub::Shared;
use super::lock;

mod queue;

use queue::Queue;

/// What a reader wants to see.
#[derive(Debug, Clone, Default)]
pub struct Subscription {
    pub tasks: Tasks,
    /// One of the two outputs, or both.
    pub stream: Option<Stream>,
    /// So many of the last lines first, as far as they are still in memory and fit into the queue.
    pub last_lines: usize,
    /// What may wait for this reader. None, or more than `reader_bytes_max` of the hub's options, is that.
    pub queue_bytes_max: Option<usize>,
}

#[derive(Debug, Clone, Default)]
pub enum Tasks {
    #[default]
    All,
    These(HashSet<Arc<str>>),
}

/// What a reader gets.
#[derive(Debug, Clone)]
pub enum News {
    Lines(Lines),
    /// Lines of one task that this reader was too slow for. They stand before whatever else it gets of that task.
    Missed(Missed),
    /// So many lines more, of tasks that are not named: too many tasks were missed to remember each.
    MissedMore {
        lines: u64,
    },
}

/// Lines of one stream of one task.
#[derive(Debug, Clone)]
pub struct Lines {
    block: Arc<Block>,
    /// Lines of the block that come before what this reader asked for.
    skipped: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    pub task: Arc<str>,
    /// The first and the last that were missed. Between them may be lines of the other stream, if only one was wanted.
    pub first: u64,
    pub last: u64,
    /// How many were missed.
    pub lines: u64,
}

/// Looks on.
#[derive(Debug)]
pub struct LiveReader {
    pub(super) shared: Arc<Shared>,
    pub(super) feed: Arc<Feed>,
}

/// One reader, as the writers see it.
#[derive(Debug)]
pub(super) struct Feed {
    subscription: Subscription,
    queue: Mutex<Queue>,
    news: Notify,
}

/// All readers, and the last lines for those to come.
///
/// One lock for both: a new reader gets the last lines and then what follows them, without a gap and nothing twice. It is
/// held for a push per reader; what is forgotten is freed outside.
#[derive(Debug)]
pub(super) struct Live {
    recent_bytes_max: usize,
    readers_max: usize,
    state: Mutex<LiveState>,
}

#[derive(Debug, Default)]
struct LiveState {
    recent: VecDeque<Arc<Block>>,
    recent_bytes: usize,
    readers: Vec<Arc<Feed>>,
}

impl LiveReader {
    /// The next lines, or what was missed before them; None when the hub is closed, every writer gone and all is read.
    ///
    /// # Cancel safety
    /// Safe: news is taken only when it is returned.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            // Asked first: after it is over nothing is added.
            let is_over = self.shared.is_over();
            if let Some(news) = self.next_now() {
                return Some(news);
            }
            if is_over {
                return None;
            }
            self.feed.news.notified().await;
        }
    }

    /// News that is here already.
    pub fn next_now(&mut self) -> Option<News> {
        lock(&self.feed.queue).pop()
    }
}

impl Drop for LiveReader {
    fn drop(&mut self) {
        self.shared.live.remove(&self.feed);
    }
}

impl Lines {
    pub fn task(&self) -> &Arc<str> {
        self.block.task()
    }

    pub fn stream(&self) -> Stream {
        self.block.stream()
    }

    pub fn time_ns(&self) -> i64 {
        self.block.time_ns()
    }

    pub fn iter(&self) -> impl Iterator<Item = Numbered<'_>> {
        self.block.lines_from(self.skipped)
    }

    fn len(&self) -> usize {
        self.block.len() - self.skipped
    }
}

impl Subscription {
    fn wants(&self, block: &Block) -> bool {
        let is_stream = self.stream.is_none_or(|stream| stream == block.stream());
        is_stream
            && match &self.tasks {
                Tasks::All => true,
                Tasks::These(tasks) => tasks.contains(block.task()),
            }
    }
}

impl Live {
    pub(super) fn new(recent_bytes_max: usize, readers_max: usize) -> Self {
        Live {
            recent_bytes_max,
            readers_max,
            state: Mutex::default(),
        }
    }

    /// Gives a block to every reader that wants it. Returns the last lines that it pushes out, to be dropped without locks.
    pub(super) fn publish(&self, block: &Arc<Block>) -> Vec<Arc<Block>> {
        let mut state = lock(&self.state);
        for feed in state.readers.iter().filter(|feed| feed.subscription.wants(block)) {
            lock(&feed.queue).push(Lines {
                block: Arc::clone(block),
                skipped: 0,
            });
            feed.news.notify_one();
        }
        let mut forgotten = Vec::new();
        state.recent.push_back(Arc::clone(block));
        state.recent_bytes += block.bytes();
        while state.recent_bytes > self.recent_bytes_max {
            let Some(oldest) = state.recent.pop_front() else {
                break;
            };
            state.recent_bytes -= oldest.bytes();
            forgotten.push(oldest);
        }
        forgotten
    }

    /// A new reader, or None if there are too many.
    pub(super) fn subscribe(&self, subscription: Subscription, queue_bytes_max: usize) -> Option<Arc<Feed>> {
        let mut state = lock(&self.state);
        if state.readers.len() >= self.readers_max {
            return None;
        }
        let mut queue = Queue::new(queue_bytes_max);
        let mut left = subscription.last_lines;
        let wanted = state
            .recent
            .iter()
            .rev()
            .filter(|block| subscription.wants(block));
        for block in wanted {
            let skipped = block.len().saturating_sub(left);
            left -= block.len() - skipped;
            let block = Arc::clone(block);
            if skipped == block.len() || !queue.push_front(Lines { block, skipped }) {
                break;
            }
        }
        let feed = Arc::new(Feed {
            subscription,
            queue: Mutex::new(queue),
            news: Notify::new(),
        });
        state.readers.push(Arc::clone(&feed));
        Some(feed)
    }

    /// Wakes every reader, to see that it is over.
    pub(super) fn wake_all(&self) {
        let state = lock(&self.state);
        state.readers.iter().for_each(|feed| feed.news.notify_one());
    }

    /// What the last lines take, and what waits for the readers, if nobody shared anything.
    pub(super) fn bytes(&self) -> (usize, usize) {
        let state = lock(&self.state);
        let queues = state.readers.iter().map(|feed| lock(&feed.queue).bytes());
        (state.recent_bytes, queues.sum())
    }

    fn remove(&self, feed: &Arc<Feed>) {
        lock(&self.state)
            .readers
            .retain(|other| !Arc::ptr_eq(other, feed));
    }
}
