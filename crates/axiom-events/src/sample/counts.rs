//! How often each template came in each task, and what of that was skipped and is yet to be told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Sort;
use super::counter::Second;
use super::lru::Lru;

/// Pairs of a task and a template that are remembered at most.
const PAIRS_MAX: usize = 65_536;
/// Seconds of one pair that are held together at most.
const SECONDS_MAX: usize = 120;
/// What a pair takes: its place, its number and its sort, names aside.
const PAIR_BYTES: usize = Lru::<Pair>::PLACE_BYTES + 64 + size_of::<Sort>() + 32;

/// Number of a task and of a template, neither of which is ever given to another one.
pub(super) type Key = (u64, u64);

#[derive(Debug)]
pub(super) struct Counts {
    pairs: Lru<Pair>,
    numbers: HashMap<Key, u32, RandomState>,
    /// Places of pairs of which something is to be told; some of them may have been told already.
    untold: VecDeque<u32>,
    bytes: usize,
    bytes_max: usize,
}

/// A template in a task.
#[derive(Debug)]
pub(super) struct Pair {
    key: Key,
    pub(super) sort: Arc<Sort>,
    /// The window that `seen` counts in.
    window: i64,
    seen: u64,
    /// When the last one was kept.
    pub(super) kept: Option<i64>,
    /// Skipped and not told, ascending.
    seconds: Vec<Second>,
}

/// Skipped events that are to be told now.
#[derive(Debug)]
pub(super) struct Untold {
    pub(super) sort: Arc<Sort>,
    pub(super) seconds: Vec<Second>,
}

impl Counts {
    pub(super) fn new(bytes_max: usize) -> Counts {
        Counts {
            pairs: Lru::default(),
            numbers: HashMap::default(),
            untold: VecDeque::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// The place of a pair, if it is known.
    pub(super) fn find(&mut self, key: Key) -> Option<u32> {
        let at = *self.numbers.get(&key)?;
        self.pairs.touch(at);
        Some(at)
    }

    /// Adds a pair that is not known, and says where. What has to be told because of it goes to `out`.
    pub(super) fn add(&mut self, key: Key, sort: Arc<Sort>, out: &mut Vec<Untold>) -> u32 {
        let pair = Pair {
            key,
            sort,
            window: 0,
            seen: 0,
            kept: None,
            seconds: Vec::new(),
        };
        let bytes = pair.bytes();
        while (self.pairs.len() >= PAIRS_MAX || self.bytes + bytes > self.bytes_max)
            && self.forget_oldest(out)
        {}
        self.bytes += bytes;
        let at = self.pairs.insert(pair);
        self.numbers.insert(key, at);
        at
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut Pair {
        self.pairs.get_mut(at).expect("it was just found")
    }

    /// Counts a skipped event. What has to be told because of it goes to `out`.
    pub(super) fn skip(&mut self, at: u32, second: Second, out: &mut Vec<Untold>) {
        let pair = self.pairs.get_mut(at).expect("it was just found");
        if pair.seconds.is_empty() {
            self.untold.push_back(at);
        }
        let before = pair.seconds.capacity();
        second.add_to(&mut pair.seconds);
        self.bytes += (pair.seconds.capacity() - before) * size_of::<Second>();
        let is_full = pair.seconds.len() >= SECONDS_MAX;
        if is_full {
            out.extend(self.take(at));
        }
        while self.bytes > self.bytes_max && self.forget_oldest(out) {}
    }

    /// Takes what was skipped of one pair.
    pub(super) fn next_untold(&mut self) -> Option<Untold> {
        while let Some(at) = self.untold.pop_front() {
            if let Some(untold) = self.take(at) {
                return Some(untold);
            }
        }
        None
    }

    pub(super) fn has_untold(&self) -> bool {
        !self.untold.is_empty()
    }

    /// What they take in memory, near enough for a limit.
    pub(super) fn bytes(&self) -> usize {
        self.bytes + self.untold.capacity() * size_of::<u32>()
    }

    fn take(&mut self, at: u32) -> Option<Untold> {
        let pair = self.pairs.get_mut(at)?;
        if pair.seconds.is_empty() {
            return None;
        }
        let seconds = std::mem::take(&mut pair.seconds);
        self.bytes -= seconds.capacity() * size_of::<Second>();
        Some(Untold {
            sort: Arc::clone(&pair.sort),
            seconds,
        })
    }

    /// False if there is none.
    fn forget_oldest(&mut self, out: &mut Vec<Untold>) -> bool {
        let Some(oldest) = self.pairs.oldest() else {
            return false;
        };
        out.extend(self.take(oldest));
        if let Some(pair) = self.pairs.remove(oldest) {
            self.bytes -= pair.bytes();
            self.numbers.remove(&pair.key);
        }
        // It may be named here over and over, for places are used again.
        if self.untold.len() > 2 * PAIRS_MAX {
            let pairs = &self.pairs;
            let has_seconds = |at: &u32| pairs.get(*at).is_some_and(|pair| !pair.seconds.is_empty());
            self.untold.retain(has_seconds);
        }
        true
    }
}

impl Pair {
    /// Another event; says how many it makes in this window.
    pub(super) fn see(&mut self, window: i64) -> u64 {
        if self.window != window {
            (self.window, self.seen) = (window, 0);
        }
        self.seen += 1;
        self.seen
    }

    /// Without its seconds.
    fn bytes(&self) -> usize {
        PAIR_BYTES + self.sort.kind.len()
    }
}
