//! How much of it: at most so many in any span of time, for each caller, server and tool.
//!
//! A [`Rate`] is a promise about every span of its length, wherever it begins: never more than its count. (A bucket of tokens lets
//! through twice as many around the moment at which it was full; counting by the clock's minutes does so around each minute.)
//! Time is cut into sixteenths of the span, and what was let through in the last seventeen of them counts. So after a burst the next
//! one is let through up to a sixteenth of the span later than it might be, never earlier.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use rate::{NoRate, Rate};
pub use window::Window;

mod rate;
mod window;

/// Counts for each key, in this process alone. Cheap to ask from many threads at once.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    hasher: RandomState,
    shards: Vec<Mutex<Shard>>,
}

/// Keys that fall together, so that threads seldom wait for each other.
#[derive(Debug, Default)]
struct Shard {
    windows: HashMap<u64, Window>,
    /// Each key once, with when it is known to have been counted. Two spans later it is looked at again.
    begun: VecDeque<(Duration, u64)>,
}

/// It is too much now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {rate}; in {} ms there is room again", after.as_millis())]
pub struct TooMany {
    pub rate: Rate,
    /// How long until one is let through, if nobody else comes first.
    pub after: Duration,
}

const SHARDS: usize = 16;

impl Limiter {
    pub fn new(rate: Rate) -> Limiter {
        Limiter {
            rate,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
        }
    }

    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Takes one for this key, `now` being the time since a moment that never changes. Of two threads that ask at once each sees what
    /// the other was given.
    ///
    /// # Errors
    /// When there is none: nothing was taken, and asking costs the key nothing.
    pub fn take<K: Hash + ?Sized>(&self, key: &K, now: Duration) -> Result<(), TooMany> {
        // What is kept of a key is a keyed hash: nobody can choose names that fall together.
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        shard.forget(self.rate, now);
        let Shard { windows, begun } = &mut *shard;
        let window = match windows.entry(hash) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                begun.push_back((now, hash));
                place.insert(Window::new(self.rate))
            }
        };
        let taken = window.take(now);
        taken.map_err(|after| TooMany {
            rate: self.rate,
            after,
        })
    }

    /// Keys that are counted now: those of whom something was let through lately.
    pub fn len(&self) -> usize {
        (0..SHARDS as u64)
            .map(|shard| self.shard(shard).windows.len())
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(hash % SHARDS as u64).unwrap_or_default();
        let shard = self.shards.get(at).expect("there are as many");
        // No critical section leaves one half-changed.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets up to two keys of whom nothing counts any more, so that what is kept is bounded by what is let through.
    fn forget(&mut self, rate: Rate, now: Duration) {
        for _ in 0..2 {
            let Some((begun, hash)) = self.begun.front().copied() else {
                return;
            };
            if begun + rate.span() * 2 > now {
                return;
            }
            self.begun.pop_front();
            if let Entry::Occupied(mut known) = self.windows.entry(hash) {
                match known.get_mut().last(now) {
                    None => drop(known.remove()),
                    Some(last) => self.begun.push_back((last, hash)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
