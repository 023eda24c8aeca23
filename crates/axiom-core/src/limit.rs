//! A time limit that is seldom reached, and costs next to nothing to those who finish before it.
//!
//! A runtime timer is a lock and a place in a wheel of linked lists, taken and given back for every call, though nearly
//! every call is over in a millisecond. A [`Limit`] takes one only after [`PATIENCE`]: until then it is an entry in a
//! small table of its thread, which one task looks through every so often for those that are still there.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};

use crate::spawn;
use crate::time::{self, Instant, Sleep};

/// How long a limit waits without a timer, at least; twice as long at most.
const PATIENCE: Duration = Duration::from_millis(50);

/// Something may take so long. The time runs from the first poll.
#[derive(Debug)]
pub struct Limit {
    after: Duration,
    state: State,
}

#[derive(Debug)]
enum State {
    Fresh,
    /// In the table of a thread.
    Patient {
        since: Instant,
        place: Place,
    },
    Armed(Pin<Box<Sleep>>),
}

impl Limit {
    /// `Duration::MAX` is no limit.
    pub fn new(after: Duration) -> Limit {
        Limit {
            after,
            state: State::Fresh,
        }
    }

    /// Waits until the limit is reached.
    ///
    /// # Cancel safety
    /// Safe: the time goes on while nobody waits.
    pub async fn reached(&mut self) {
        poll_fn(|cx| self.poll_reached(cx)).await;
    }

    /// As [`reached`](Limit::reached), for futures written by hand.
    pub fn poll_reached(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.after == Duration::MAX {
            return Poll::Pending;
        }
        match &mut self.state {
            State::Fresh => {
                let since = time::now();
                if self.after > 2 * PATIENCE && is_bound_to_this_thread() {
                    let place = Place::take(cx.waker());
                    self.state = State::Patient { since, place };
                    return Poll::Pending;
                }
                self.arm(since, cx)
            }
            State::Patient { since, place } => {
                if place.keep(cx.waker()) {
                    return Poll::Pending;
                }
                let since = *since;
                self.arm(since, cx)
            }
            State::Armed(sleep) => sleep.as_mut().poll(cx),
        }
    }

    fn arm(&mut self, since: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // An instant that cannot be told is never.
        let Some(until) = since.checked_add(self.after) else {
            return Poll::Pending;
        };
        let mut sleep = Box::pin(time::sleep_until(until));
        let poll = sleep.as_mut().poll(cx);
        self.state = State::Armed(sleep);
        poll
    }
}

/// Where tasks move between threads, a thread's table is no place to wait in.
fn is_bound_to_this_thread() -> bool {
    Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
    /// Tells entries apart that had the same place one after the other, on any thread.
    static SERIAL: Cell<u64> = Cell::new(first_serial());
}

/// Every thread has a range of its own.
fn first_serial() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static THREADS: AtomicU64 = AtomicU64::new(1);
    THREADS.fetch_add(1, Ordering::Relaxed) << 40
}

/// Those who wait without a timer, on one thread.
#[derive(Default)]
struct Table {
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    round: u64,
    is_watched: bool,
}

struct Entry {
    serial: u64,
    round: u64,
    waker: Waker,
}

/// An entry in a thread's table. It is given back on drop; on another thread the next look at the table does it.
#[derive(Debug)]
struct Place {
    index: usize,
    serial: u64,
}

impl Place {
    fn take(waker: &Waker) -> Place {
        let serial = SERIAL.replace(SERIAL.get() + 1);
        let (index, watch) = TABLE.with_borrow_mut(|table| {
            let entry = Some(Entry {
                serial,
                round: table.round,
                waker: waker.clone(),
            });
            let index = match table.free.pop() {
                Some(index) => {
                    table.entries[index] = entry;
                    index
                }
                None => {
                    table.entries.push(entry);
                    table.entries.len() - 1
                }
            };
            (index, !std::mem::replace(&mut table.is_watched, true))
        });
        if watch {
            drop(spawn("time limits", watch_table(Watching)));
        }
        Place { index, serial }
    }

    /// Goes on waiting, to wake `waker`. False if the entry's time here is over.
    fn keep(&self, waker: &Waker) -> bool {
        TABLE.with_borrow_mut(|table| match table.entries.get_mut(self.index) {
            Some(Some(entry)) if entry.serial == self.serial => {
                entry.waker.clone_from(waker);
                true
            }
            _ => false,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The thread may be ending, and its table gone. The waker is dropped outside of the borrow: it may free a task.
        let _freed = TABLE.try_with(|table| {
            let mut table = table.try_borrow_mut().ok()?;
            let entry = table.entries.get_mut(self.index)?;
            let taken = entry.take_if(|entry| entry.serial == self.serial)?;
            table.free.push(self.index);
            Some(taken)
        });
    }
}

/// Looks through the table as long as there is anybody in it.
async fn watch_table(_watching: Watching) {
    loop {
        time::sleep(PATIENCE).await;
        let (late, is_empty) = TABLE.with_borrow_mut(Table::look);
        late.into_iter().for_each(Waker::wake);
        if is_empty {
            return;
        }
    }
}

impl Table {
    /// Takes out those who have been here since before the last look.
    fn look(&mut self) -> (Vec<Waker>, bool) {
        let mut late = Vec::new();
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = entry.take_if(|entry| entry.round < self.round) {
                late.push(entry.waker);
                self.free.push(index);
            }
        }
        self.round += 1;
        (late, self.free.len() == self.entries.len())
    }
}

/// Held by the task that watches. A runtime that ends drops the task, and then nobody watches.
struct Watching;

impl Drop for Watching {
    fn drop(&mut self) {
        let _ended = TABLE.try_with(|table| {
            if let Ok(mut table) = table.try_borrow_mut() {
                table.is_watched = false;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lasts(after: Duration) -> Duration {
        let start = time::now();
        Limit::new(after).reached().await;
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_is_reached_on_time() {
        for millis in [1, 50, 99, 100, 101, 120, 5_000] {
            let after = Duration::from_millis(millis);
            assert_eq!(lasts(after).await, after);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn thousands_at_once_and_in_a_row() {
        let after = Duration::from_secs(1);
        for _ in 0..3 {
            let all: Vec<_> = (0..1_000).map(|_| spawn("wait", lasts(after))).collect();
            for one in all {
                assert_eq!(one.join().await, Some(after));
            }
        }
        TABLE.with_borrow(|table| assert_eq!(table.free.len(), table.entries.len()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finishes_early_leaves_nothing() {
        let mut limit = Limit::new(Duration::from_secs(1));
        let poll = limit.poll_reached(&mut Context::from_waker(Waker::noop()));
        assert!(poll.is_pending());
        TABLE.with_borrow(|table| assert_eq!(table.entries.iter().flatten().count(), 1));
        drop(limit);
        TABLE.with_borrow(|table| assert_eq!(table.entries.iter().flatten().count(), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn time_goes_on_while_nobody_waits() {
        let mut limit = Limit::new(Duration::from_secs(1));
        assert!(
            limit
                .poll_reached(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        time::sleep(Duration::from_secs(2)).await;
        let late = time::now();
        limit.reached().await;
        assert_eq!(late.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn no_limit() {
        let mut none = Limit::new(Duration::MAX);
        assert!(
            none.poll_reached(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
    }

    /// One thread may have several runtimes, one after the other, and the first may end while somebody waits.
    #[test]
    fn a_runtime_that_ends_takes_its_watch_along() {
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().start_paused(true).build().unwrap()
        };
        runtime().block_on(async {
            drop(spawn("wait", lasts(Duration::from_secs(60))));
            tokio::task::yield_now().await;
        });
        let after = Duration::from_secs(1);
        assert_eq!(runtime().block_on(lasts(after)), after);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_tasks_move() {
        lasts(Duration::from_millis(120)).await;
    }
}
