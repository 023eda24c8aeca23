//! A mailbox for one waiter: cheap enough to make one per call, bounded, and its last letter always fits.
//!
//! A call gets any number of notices (progress, log lines) and exactly one final answer. Notices are lossy by nature,
//! so a waiter who does not read loses the oldest ones (they are counted); the answer is never lost.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// The posting side. Cheap to clone.
#[derive(Debug)]
pub struct Mailbox<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

/// The reading side. Dropping it makes the mailbox refuse letters.
#[derive(Debug)]
pub struct Letters<T> {
    shared: Arc<Mutex<Shared<T>>>,
}

#[derive(Debug)]
struct Shared<T> {
    /// Each with whether it may be dropped.
    letters: VecDeque<(T, bool)>,
    letters_max: usize,
    lost: u64,
    waker: Option<Waker>,
    reader_gone: bool,
}

/// A mailbox that holds at most `letters_max` lossy letters.
pub fn mailbox<T>(letters_max: usize) -> (Mailbox<T>, Letters<T>) {
    let shared = Arc::new(Mutex::new(Shared {
        letters: VecDeque::new(),
        letters_max,
        lost: 0,
        waker: None,
        reader_gone: false,
    }));
    (
        Mailbox {
            shared: Arc::clone(&shared),
        },
        Letters { shared },
    )
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Mailbox {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> Mailbox<T> {
    /// Posts a letter that pushes out the oldest lossy one when the box is full, or is dropped itself if there is none.
    /// Gives it back if nobody reads any more.
    pub fn post_lossy(&self, letter: T) -> Result<(), T> {
        self.put(letter, true)
    }

    /// Posts a letter that must arrive, whatever the bound. For the one final answer, and for what needs one.
    pub fn post(&self, letter: T) -> Result<(), T> {
        self.put(letter, false)
    }

    /// Posts a letter that must arrive, unless `letters_max` wait already: then it is given back, too.
    pub fn post_within(&self, letter: T, letters_max: usize) -> Result<(), T> {
        if lock(&self.shared).letters.len() >= letters_max {
            return Err(letter);
        }
        self.put(letter, false)
    }

    /// True if nobody will read another letter.
    pub fn is_abandoned(&self) -> bool {
        lock(&self.shared).reader_gone
    }

    fn put(&self, letter: T, lossy: bool) -> Result<(), T> {
        let waker = {
            let mut shared = lock(&self.shared);
            if shared.reader_gone {
                return Err(letter);
            }
            if lossy && shared.letters.len() >= shared.letters_max {
                shared.lost += 1;
                match shared.letters.iter().position(|(_, lossy)| *lossy) {
                    Some(oldest) => drop(shared.letters.remove(oldest)),
                    None => return Ok(()),
                }
            }
            shared.letters.push_back((letter, lossy));
            shared.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl<T> Letters<T> {
    /// The next letter, in order.
    ///
    /// # Cancel safety
    /// Safe: a letter is removed only when it is returned.
    pub async fn next(&mut self) -> T {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// A letter that is here already.
    pub fn waiting(&mut self) -> Option<T> {
        lock(&self.shared).letters.pop_front().map(|(letter, _)| letter)
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        let mut shared = lock(&self.shared);
        if let Some((letter, _)) = shared.letters.pop_front() {
            return Poll::Ready(letter);
        }
        shared.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Letters pushed out because nobody read them in time.
    pub fn lost(&self) -> u64 {
        lock(&self.shared).lost
    }
}

impl<T> Drop for Letters<T> {
    fn drop(&mut self) {
        let mut shared = lock(&self.shared);
        shared.reader_gone = true;
        shared.letters.clear();
    }
}

fn lock<T>(shared: &Mutex<Shared<T>>) -> std::sync::MutexGuard<'_, Shared<T>> {
    // Every critical section above leaves the state whole, so a poisoned lock is still good.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_answer_and_the_newest_notices() {
        let (mailbox, mut letters) = mailbox(2);
        for notice in 1..=5 {
            assert_eq!(mailbox.post_lossy(notice), Ok(()));
        }
        assert_eq!(mailbox.post(99), Ok(()));
        assert_eq!(mailbox.post_lossy(6), Ok(()));
        assert_eq!(letters.lost(), 4);
        assert_eq!(
            [letters.next().await, letters.next().await, letters.next().await],
            [5, 99, 6]
        );
    }

    #[tokio::test]
    async fn gives_the_letter_back_when_nobody_reads() {
        let (mailbox, letters) = mailbox(2);
        drop(letters);
        assert_eq!(mailbox.post_lossy("late"), Err("late"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_wait_loses_nothing() {
        let (mailbox, mut letters) = mailbox(2);
        let waited = crate::time::timeout(std::time::Duration::from_secs(1), letters.next()).await;
        // Nothing was there to wait for.
        waited.unwrap_err();
        assert_eq!(mailbox.post_lossy(7), Ok(()));
        assert_eq!(letters.next().await, 7);
    }
}
